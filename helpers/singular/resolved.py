"""A sampler in the charts of a resolution, where K is a monomial: the exact reference in two variables.

In a chart's coordinates the posterior is broad on a logarithmic scale, so p and q are drawn there: flat in log p as far
as ``t p^2k`` can fall to 1, with exponential tails beyond. Draws of all charts are pooled; a point's weight compares
the posterior with what *all* charts together would have proposed there (the balance heuristic, Veach & Guibas 1995),
so that overlapping charts need no borders. Draws are independent: no chain, no burn-in, no step.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import t as student
from sympy import lambdify

from ..checks import finite, whole
from .charts import Chart, u, v
from .resolution import Resolution, Zero

PARTS = 20  # independent parts, whose spread is the interval


class Reference(NamedTuple):
    """``λ(t)`` of a flat prior in a box around a zero, with its 95% interval."""

    value: float
    interval: tuple[float, float]
    effective: float  # draws from the posterior itself that the weighted ones are worth


def resolved_coefficient(
    resolution: Resolution, zero: Zero, t: float, *, radius: float = 1.0, draws: int = 200_000, seed: int = 0
) -> Reference:
    """``t E_t[K]`` under a density proportional to ``exp(-t K)`` in the box of half-width ``radius`` around ``zero``.

    ``zero`` is a point among ``resolution.zeros`` and the only one that matters in the box, curves through it aside.
    Raises ``ValueError`` for a zero that is a curve, and for numbers out of range.

    >>> from helpers.singular import resolve
    >>> node = resolve("x**2 * y**2")
    >>> found = resolved_coefficient(node, node.zeros[0], 1000)
    >>> found.interval[0] < 0.3873 < found.interval[1]  # exact: see `exact_coefficient`
    True
    """
    t, radius = finite("t", t, above=0), finite("radius", radius, above=0)
    if zero.at is None:
        raise ValueError(f"zero={zero!r} is a curve; expected a point among resolution.zeros")
    rng = np.random.default_rng(whole("seed", seed))
    share = whole("draws", draws, 1000) // len(zero.charts)
    charts = [_Proposal(chart, t) for chart in zero.charts]
    at = np.array([float(a) for a in zero.at])
    weights, losses = [], []
    for own in charts:
        places = own.draw(rng, share)
        with np.errstate(all="ignore"):
            X, Y = own.map(*places)
            inside = (np.abs(X - at[0]) <= radius) & (np.abs(Y - at[1]) <= radius)
            seen = [places if c is own else c.map.preimage(X, Y) for c in charts]
            proposed = sum(c.density(*uv) for c, uv in zip(charts, seen, strict=True))
            K = _in_the_nearest(charts, seen)
            weight = np.where(inside & (proposed > 0), np.exp(-t * K) / proposed, 0.0)
            loss = np.where(weight > 0, t * K, 0.0)
        weights.append(weight), losses.append(loss)
    weight, loss = (
        np.stack([a[: share // PARTS * PARTS].reshape(PARTS, -1) for a in both], 1) for both in (weights, losses)
    )
    ratios = (weight * loss).sum((1, 2)) / weight.sum((1, 2))
    half = float(student.ppf(0.975, PARTS - 1) * ratios.std(ddof=1) / np.sqrt(PARTS))
    value = float((weight * loss).sum() / weight.sum())
    return Reference(value, (value - half, value + half), float(weight.sum() ** 2 / (weight**2).sum()))


def _in_the_nearest(charts, seen):
    # far from a chart's origin its unit may be a small difference of large terms: ask the chart where the point is near
    far = [np.nan_to_num(np.maximum(np.abs(u), np.abs(v)), nan=np.inf) for u, v in seen]
    return np.take_along_axis(
        np.stack([np.nan_to_num(c.K(*uv)) for c, uv in zip(charts, seen, strict=True)]), np.argmin(far, axis=0)[None], 0
    )[0]


class _Proposal:
    """Draws in one chart, and their density in the plane.

    Along a coordinate that is no axis of the chart (a curve that no polynomial change straightens) draws are spread as
    if nothing vanished there: still right, but of less effect.
    """

    def __init__(self, chart: Chart, t: float):
        self.map = chart
        self.jacobian, self.unit = (lambdify((u, v), e, "numpy") for e in (chart.jacobian, chart.unit))
        self.coordinates, self.k = lambdify((u, v), list(chart.coordinates), "numpy"), chart.k
        axes = [own == axis for own, axis in zip(chart.coordinates, (u, v), strict=True)]
        # where the flat part of -log|u| ends, and the rate beyond it
        self.ends = [np.log(t) / (2 * k) if k and axis else 0.0 for k, axis in zip(chart.k, axes, strict=True)]
        self.rates = [h + 1.0 if axis else 1.0 for h, axis in zip(chart.h, axes, strict=True)]

    def draw(self, rng, n):
        return tuple(self._one(rng, n, end, rate) for end, rate in zip(self.ends, self.rates, strict=True))

    @staticmethod
    def _one(rng, n, end, rate):
        part, tail = rng.random(n) * (1 + end + 1 / rate), rng.exponential(size=n)
        tau = np.where(part < 1, -tail, np.where(part < 1 + end, part - 1, end + tail / rate))
        return np.exp(-tau) * rng.choice([-1.0, 1.0], n)

    def density(self, U, V):
        """Of the draws, per area of the plane."""
        out = 1 / np.abs(self.jacobian(U, V))
        for w, end, rate in zip((U, V), self.ends, self.rates, strict=True):
            tau = -np.log(np.abs(w))
            flat = np.exp(np.where(tau < 0, tau, np.where(tau > end, -rate * (tau - end), 0.0)))
            out = out * flat / (2 * np.abs(w) * (1 + end + 1 / rate))
        return np.nan_to_num(out, posinf=0.0)

    def K(self, U, V):
        p, q = self.coordinates(U, V)
        return p ** (2 * self.k[0]) * q ** (2 * self.k[1]) * self.unit(U, V)
