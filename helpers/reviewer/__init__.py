"""A world of plans under a reviewer, and what its verdicts do to the weights of those who learn in it.

:class:`ReviewedPlans` is the world; ``ARMS`` are the ways to put a reviewer into the loop; :func:`exact` learns by
expected gradients, :func:`sampled` by REINFORCE. :func:`retried` and :func:`best_of` get around a reviewer without
learning; :func:`work` says what comes of it all.
"""

from .arms import ARMS, Arm, Policy, Run, exact, expected_credit, sampled, spillover, split
from .deployed import best_of, halved, measures, retried, work
from .world import OUTCOMES, READS, WORDS, Outcome, ReviewedPlans, Word

__all__ = [
    "ARMS", "OUTCOMES", "READS", "WORDS", "Arm", "Outcome", "Policy", "ReviewedPlans", "Run", "Word", "best_of",
    "exact", "expected_credit", "halved", "measures", "retried", "sampled", "spillover", "split", "work",
]  # fmt: skip
