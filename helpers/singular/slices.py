"""A move that needs no tuning: along a line through the point, to somewhere else on the slice (Neal 2003).

The slice is ``{w : log density ≥ level}``. The line is cut to the box; a place on it is drawn, and where it lies
outside of the slice the bracket shrinks to it, on the side away from the point. So steps find their own size over any
number of decades, which is what thin curved sets such as ``{K ≤ ε}`` ask for.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

TRIES = 120  # each shrinks the bracket to about 0.6 of itself: below the last bit of a double


def losses(K: Callable[[Tensor], Tensor], w: Tensor) -> Tensor:
    """``K(w)``, without gradients. Raises ``ValueError`` unless it is ``(n,)`` finite numbers for ``w (n, d)``."""
    with torch.no_grad():
        values = K(w)
    if not isinstance(values, Tensor) or not values.is_floating_point():
        seen = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(f"K gave {seen}; expected a floating torch.Tensor ({len(w)},)")
    if values.shape != w.shape[:1]:
        raise ValueError(f"K gave shape {tuple(values.shape)} for {tuple(w.shape)} points; expected ({len(w)},)")
    if not torch.isfinite(values).all():
        raise ValueError(f"K is not finite at {w[~torch.isfinite(values)][0].tolist()}")
    return values


def move(
    log_density: Callable[[Tensor], Tensor],
    w: Tensor,
    level: Tensor,
    direction: Tensor,
    low: Tensor,
    high: Tensor,
    uniform: Callable[[int, Tensor], Tensor],
) -> tuple[Tensor, int]:
    """Every point of ``w (n, d)`` moved along its ``direction (n, d)``, and how many densities that took.

    ``level (n,)`` is at most the log density of ``w``; ``low`` and ``high (d,)`` are the box. ``uniform(try, rows)``
    draws numbers from 0 to 1 for those ``rows``: drawn by row, a chain's moves do not depend on its neighbours.
    """
    ends = torch.stack([(low - w) / direction, (high - w) / direction]).nan_to_num(0.0)
    ends[:, direction == 0] = torch.tensor([[-torch.inf], [torch.inf]], dtype=w.dtype)
    left, right = ends.amin(0).amax(1), ends.amax(0).amin(1)
    out, todo, used = w.clone(), torch.arange(len(w)), 0
    for attempt in range(TRIES):
        step = left[todo] + (right[todo] - left[todo]) * uniform(attempt, todo)
        there = torch.clamp(w[todo] + step[:, None] * direction[todo], low, high)
        inside = log_density(there) >= level[todo]
        used += len(todo)
        out[todo[inside]] = there[inside]
        todo, step = todo[~inside], step[~inside]
        if not len(todo):
            break
        below = step < 0
        left[todo[below]], right[todo[~below]] = step[below], step[~below]
    return out, used
