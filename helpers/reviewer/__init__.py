"""A world of plans under a reviewer, and what its verdicts do to the weights of those who learn in it.

:class:`ReviewedPlans` is the world; ``ARMS`` are the ways to put a reviewer into the loop; :func:`exact` learns by
expected gradients, :func:`sampled` by REINFORCE.
"""

from .arms import ARMS, Arm, Policy, Run, exact, expected_credit, measures, sampled, spillover
from .world import OUTCOMES, READS, WORDS, Outcome, ReviewedPlans, Word

__all__ = [
    "ARMS", "OUTCOMES", "READS", "WORDS", "Arm", "Outcome", "Policy", "ReviewedPlans", "Run", "Word", "exact",
    "expected_credit", "measures", "sampled", "spillover",
]  # fmt: skip
