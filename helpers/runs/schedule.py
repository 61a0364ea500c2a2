"""How a quantity rises and falls over the steps of a run."""

from __future__ import annotations


def rise(step: int, steps: int, share: float) -> float:
    """A linear rise to 1 over the first ``share`` of the steps.

    >>> from helpers.runs import rise
    >>> [rise(step, steps=10, share=0.4) for step in range(6)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    """
    return min(1.0, (step + 1) / max(1, share * steps))


def rise_and_fall(step: int, steps: int, up: float, down: float) -> float:
    """:func:`rise` over the first share ``up`` of the steps, then 1, and a linear fall over the last share ``down``.

    >>> from helpers.runs import rise_and_fall
    >>> [rise_and_fall(step, steps=8, up=0.25, down=0.25) for step in range(8)]
    [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5]
    """
    return min(rise(step, steps, up), (steps - step) / max(1, down * steps))
