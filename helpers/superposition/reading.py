"""How well reading along a direction tells active from silent: measured on readings, and exact for random directions.

A feature is read by ``y = d · x``. Where it is active ``y`` should be large, where it is silent small. Three measures
of how well that works, all per feature and none of them tied to a threshold set beforehand:

* AUC: the chance that a reading of an active token is above one of a silent token; ½ says nothing.
* d′: the difference of the two means in standard deviations (the root of the mean of both variances).
* errors at the best threshold, misses and false alarms together, per active token; 1 is what *always silent* makes.

For random directions with ``l`` of ``m`` active all three follow from :class:`~.interference.Interference`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy import integrate
from torch import Tensor

from ..checks import wholes
from .interference import Interference, _each, _fits


class Separation(NamedTuple):
    """Measures per feature ``(features,)``; NaN where a feature is never, or always, active."""

    active: np.ndarray  # number of active tokens
    auc: np.ndarray
    d_prime: np.ndarray
    errors: np.ndarray  # at the best threshold, per active token; at most 1


def separation(readings, on) -> Separation:
    """How well each column of ``readings (tokens, features)`` tells where ``on``, of the same shape, is true.

    Exact: silent readings are sorted, active ones placed among them (ties count half). The best threshold is chosen on
    the same tokens, so rare features look slightly better than they are.

    >>> from helpers.superposition import separation
    >>> readings = [[0.1, 0.0], [0.2, 0.3], [0.9, 0.1], [0.8, 0.2]]
    >>> on = [[False, False], [False, True], [True, False], [True, True]]
    >>> seen = separation(readings, on)
    >>> seen.auc.tolist(), seen.errors.tolist()
    ([1.0, 1.0], [0.0, 0.0])
    """
    if isinstance(readings, Tensor):
        readings = readings.detach().cpu().to(torch.float32 if readings.dtype == torch.bfloat16 else readings.dtype)
    y, on = np.asarray(readings), np.asarray(on)
    if y.dtype.kind not in "fiu":
        raise ValueError(f"readings have dtype {y.dtype}; expected real numbers")
    if y.ndim != 2 or y.shape != on.shape or on.dtype != bool:
        raise ValueError(
            f"readings {y.shape}, on {on.shape} {on.dtype}; expected two of shape (tokens, features), the second bool"
        )
    if not np.isfinite(y).all():
        raise ValueError("readings hold NaN or infinity; expected finite numbers")
    rows = [_column(np.ascontiguousarray(y[:, i]), on[:, i]) for i in range(y.shape[1])]
    return Separation(*np.array(rows, dtype=float).reshape(-1, 4).T)


def _column(y: np.ndarray, on: np.ndarray) -> tuple[float, float, float, float]:
    hits, rest = np.sort(y[on]), np.sort(y[~on])
    if not len(hits) or not len(rest):
        return len(hits), np.nan, np.nan, np.nan
    below, upto = np.searchsorted(rest, hits, "left"), np.searchsorted(rest, hits, "right")
    auc = (below + upto).mean() / (2 * len(rest))
    spread = np.sqrt((hits.var(dtype=float) + rest.var(dtype=float)) / 2)
    d = (hits.mean(dtype=float) - rest.mean(dtype=float)) / spread if spread else np.nan
    first = np.searchsorted(hits, hits, "left")  # threshold at an active reading: those below it are missed
    wrong = min((first + len(rest) - below).min(), len(hits))
    return len(hits), auc, d, wrong / len(hits)


def best_errors(n, m, l) -> np.ndarray:
    """Exact expected errors per active feature at the best common threshold, ``l`` of ``m`` random directions active.

    ``min over θ of  miss(θ) + (m/l - 1) · false_alarm(θ)``. 1 is what *always silent* makes, which is θ → ∞.

    >>> from helpers.superposition import best_errors
    >>> best_errors(512, 8192, [7, 50, 512]).round(3).tolist()
    [0.0, 0.612, 0.996]
    """
    _fits(m, l)

    def solve(n, m, l):
        silent, active = Interference(n, l), Interference(n, l - 1)
        others = (m - l) / l

        def errors(t):
            missed = active.cdf(t - 1) if l > 1 else t >= 1
            return missed + others * silent.sf(t)

        low, high = 0.0, 1 + 6 * np.sqrt(l / n)
        for _ in range(4):  # each look is forty times as close
            grid = np.linspace(low, high, 81)
            wrong = errors(grid)
            near = int(wrong.argmin())
            low, high = grid[max(near - 1, 0)], grid[min(near + 1, 80)]
        return min(float(wrong.min()), 1.0)

    return _each(solve, n, m, l)


def exact_auc(n, l) -> np.ndarray:
    """Exact AUC of one feature's readings, active among ``l`` against silent beside ``l``, for random directions.

    About ``Φ(√(n / (2 l)))``: 0.76 at ``l = n``.

    >>> from helpers.superposition import exact_auc
    >>> exact_auc(512, [7, 50, 512]).round(3).tolist()
    [1.0, 0.989, 0.76]
    """
    wholes("l", l, 1)

    def solve(n, l):
        silent, active = Interference(n, l), Interference(n, l - 1)
        if l == 1:
            return float(silent.cdf(1.0))
        top = 1 + 8 * np.sqrt(l / n)
        y = np.linspace(-top, top, 1001)
        return float(integrate.simpson(silent.pdf(y) * (1 - active.cdf(y - 1)), x=y))

    return _each(solve, n, l)
