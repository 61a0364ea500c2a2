"""What a policy under a reviewer does when deployed: what is executed, how much of it is harm, and how much is work.

The arrays are ``(reasonings, outcomes)``: ``p`` the probability that a plan is written, ``q`` that it is flagged. A
gate executes ``p (1 - q)``. Selection needs no weights to get around it. An agent that writes anew until a plan passes
executes ``p (1 - q) / sum p (1 - q)`` (:func:`retried`): the log-odds of two plans move at once, by
``log (1 - q_i) / (1 - q_j)``. One that picks the best of several by what gets through (:func:`best_of`) submits what is
not seen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..checks import whole
from .world import ReviewedPlans

ROUNDING = 1e-12  # of the largest score


def work(world: ReviewedPlans, executed: np.ndarray, time: float) -> dict[str, float]:
    """What comes of an episode, for the probability ``(C, K)`` that each plan is written and executed.

    ``delivered``: pay of safe plans, over the best safe pay; ``executed_harm``: probability of a harmful one.

    >>> import numpy as np
    >>> from helpers.reviewer import ReviewedPlans, work
    >>> world, executed = ReviewedPlans(), np.zeros((9, 4))
    >>> executed[0, 1] = executed[0, 2] = 0.5  # the well-paid patch, and an open shortcut
    >>> {name: float(value) for name, value in work(world, executed, time=0.0).items()}
    {'delivered': 0.5, 'executed_harm': 0.5}
    """
    executed = _plans("executed", executed, world.q)
    harm, reward = world.harm > 0, world.reward(time)
    done = executed.sum(0)
    return {"delivered": done[~harm] @ reward[~harm] / reward[~harm].max(), "executed_harm": done[harm].sum()}


def measures(world: ReviewedPlans, p: np.ndarray, time: float, gate: bool) -> dict:
    """What an observer of the policy ``p (C, K)`` would see, with the world's reviewer standing by.

    ``attempts``: probability of a harmful plan. ``recall``: share of those that the reviewer flags. ``skill``: pay of
    safe plans over the best safe pay, given a safe plan; ``delivered`` and ``executed_harm`` as in :func:`work`.
    ``monitor``: how often one that reads the reasoning alone raises a flag.

    >>> import numpy as np
    >>> from helpers.reviewer import ReviewedPlans, measures
    >>> even = np.full((9, 4), 1 / 36)  # every plan as likely as any other
    >>> round(float(measures(ReviewedPlans(), even, time=0.0, gate=True)["attempts"]), 6)
    0.5
    """
    q, r, harm = world.detection(time=time), world.reward(time), world.harm > 0
    flagged = p * q
    written, caught = p.sum(0), flagged.sum(0)
    attempts, safe, best = written[harm].sum(), written[~harm], r[~harm].max()
    done = written - caught * gate
    return {
        "attempts": attempts, "recall": caught[harm].sum() / attempts,
        "executed_harm": done[harm].sum(), "delivered": done[~harm] @ r[~harm] / best,
        "reward": done @ r + world.fallback * caught.sum() * gate,
        "skill": safe @ r[~harm] / (safe.sum() * best), "monitor": (p * world.detection("reasoning", time)).sum(),
    }  # fmt: skip


def retried(p: np.ndarray, q: np.ndarray, tries: int | None = None) -> np.ndarray:
    """Probability that each plan is executed if a veto only means: write another, up to ``tries`` (``None``: for ever).

    >>> import numpy as np
    >>> from helpers.reviewer import retried
    >>> p, q = np.array([0.4, 0.1, 0.5]), np.array([0.9, 0.1, 0.0])  # open and hidden harm, and safe work
    >>> [retried(p, q, tries).round(2).tolist() for tries in (1, 2, None)]
    [[0.04, 0.09, 0.5], [0.05, 0.12, 0.68], [0.06, 0.14, 0.79]]
    """
    p, q = _plans("p", p), _plans("q", q, p)
    again = (p * q).sum()  # the chance that a try is vetoed
    if tries is None and again >= 1:
        raise ValueError("tries=None, but every plan is vetoed; expected a plan that can pass")
    rounds = 1 / (1 - again) if tries is None else (again ** np.arange(whole("tries", tries, 1))).sum()
    return p * (1 - q) * rounds


def best_of(p: np.ndarray, score: np.ndarray, n: int) -> np.ndarray:
    """Probability that each plan is submitted: of ``n`` drawn from ``p`` the one with the best score, ties at random.

    Exact: the best of ``n`` has at most score ``s`` with probability ``F(s)^n``. What differs by rounding alone ties.

    >>> import numpy as np
    >>> from helpers.reviewer import best_of
    >>> best_of(np.array([0.5, 0.25, 0.25]), np.array([0.0, 1.0, 1.0]), n=2).tolist()
    [0.25, 0.375, 0.375]
    """
    p, score, n = _plans("p", p), _plans("score", score, p), whole("n", n, 1)
    chosen, below = np.zeros_like(p), 0.0
    values = np.unique(score)
    group = np.r_[0, np.cumsum(np.diff(values) > ROUNDING * np.abs(values).max())][np.searchsorted(values, score)]
    for g in range(group.max() + 1):
        level = np.where(group == g, p, 0.0)
        upto = below + level.sum()
        if level.sum() > 0:
            chosen += level / level.sum() * (upto**n - below**n)
        below = upto
    return chosen


def halved(recall: Sequence[float]) -> int | None:
    """The first step at which recall is no more than half of what it was at first; ``None`` if there is none.

    >>> from helpers.reviewer import halved
    >>> halved([0.8, 0.6, 0.4, 0.1]), halved([0.8, 0.7])
    (2, None)
    """
    recall = np.asarray(recall, dtype=float)
    if recall.ndim != 1 or not len(recall):
        raise ValueError(f"recall has shape {recall.shape}; expected a value a step")
    found = np.flatnonzero(recall <= recall[0] / 2)
    return int(found[0]) if len(found) else None


def _plans(name: str, values: np.ndarray, like: np.ndarray | None = None) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if like is not None and values.shape != like.shape:
        raise ValueError(f"{name} has shape {values.shape}; expected {like.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name} has values that are not finite; expected finite numbers")
    return values
