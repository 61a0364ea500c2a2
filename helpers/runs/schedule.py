"""How a quantity rises and falls over the steps of a run."""

from __future__ import annotations


def rise(step: int, steps: int, share: float) -> float:
    """A linear rise to 1 over the first ``share`` of the steps."""
    return min(1.0, (step + 1) / max(1, share * steps))


def rise_and_fall(step: int, steps: int, up: float, down: float) -> float:
    """:func:`rise` over the first share ``up`` of the steps, then 1, and a linear fall over the last share ``down``."""
    return min(rise(step, steps, up), (steps - step) / max(1, down * steps))
