"""How a quantity rises and falls over the steps of a run."""

from __future__ import annotations

from .. import checks
from ..checks import finite


def rise(step: int, steps: int, share: float) -> float:
    """A linear rise to 1 over the first ``share`` of the steps.

    >>> from helpers.runs import rise
    >>> [rise(step, steps=10, share=0.4) for step in range(6)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    """
    step, steps, share = finite("step", step, least=0), finite("steps", steps, least=1), checks.share("share", share)
    return min(1.0, (step + 1) / max(1, share * steps))


def rise_and_fall(step: int, steps: int, up: float, down: float) -> float:
    """:func:`rise` over the first share ``up`` of the steps, then 1, and a linear fall over the last share ``down``.

    >>> from helpers.runs import rise_and_fall
    >>> [rise_and_fall(step, steps=8, up=0.25, down=0.25) for step in range(8)]
    [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5]
    """
    up, down = checks.share("up", up), checks.share("down", down)
    return min(rise(step, steps, up), max(0.0, (steps - step) / max(1, down * steps)))
