"""Draws in the charts of a resolution, where K is a monomial: volumes and posteriors without a chain, in two variables.

In a chart's coordinates everything is broad on a logarithmic scale, so p and q are drawn there: flat in log p as far as
``p^2k`` has to fall, with exponential tails beyond. Draws of all charts are pooled; a point's weight is one over what
*all* charts together would have proposed there (the balance heuristic, Veach & Guibas 1995), so that overlapping charts
need no borders. Draws are independent: no chain, no burn-in, no step, and no rounding of a small K.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.polynomial.polynomial import polyval2d
from scipy.stats import t as student
from sympy import Expr, Poly, factor_list, lambdify

from ..checks import finite, whole
from .charts import Chart, u, v
from .resolution import Resolution, Zero

PARTS = 20  # independent parts of the draws, whose spread is the interval


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
    t = finite("t", t, above=0)
    area, K = weighted_draws(resolution, zero, np.log(max(t, 1.0)), radius=radius, draws=draws, seed=seed)
    weight = area * np.exp(-np.minimum(t * K.clip(max=1e300 / t), 746.0))  # beyond that it is zero
    loss = np.where(weight > 0, t * K.clip(max=1e300 / t), 0.0)
    ratios = (weight * loss).sum(1) / weight.sum(1)
    half = float(student.ppf(0.975, PARTS - 1) * ratios.std(ddof=1) / np.sqrt(PARTS))
    value = float((weight * loss).sum() / weight.sum())
    return Reference(value, (value - half, value + half), float(weight.sum() ** 2 / (weight**2).sum()))


def weighted_draws(
    resolution: Resolution, zero: Zero, depth: float, *, radius: float = 1.0, draws: int = 200_000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Points of the box around ``zero``, drawn in its charts: for each the area it stands for, and K there.

    Both are ``(parts, draws a part)``; the areas of a part sum to that of the box, up to chance. Points are plentiful
    down to ``K = exp(-depth)``. Raises ``ValueError`` as :func:`resolved_coefficient`.

    >>> from helpers.singular import resolve
    >>> disc = resolve("x**2 + y**2")
    >>> area, K = weighted_draws(disc, disc.zeros[0], 20.0)
    >>> float(area[K < 1e-4].sum() / len(area) / np.pi).__round__(5)  # π ε
    0.0001
    """
    depth, radius = finite("depth", depth, least=0), finite("radius", radius, above=0)
    if not isinstance(resolution, Resolution):
        raise ValueError(f"resolution={resolution!r}; expected what resolve(K) returns")
    if zero not in resolution.zeros:
        raise ValueError(f"zero={zero!r} is none of resolution.zeros")
    if zero.at is None:
        raise ValueError(f"zero={zero!r} is a curve; expected a point among resolution.zeros")
    rng = np.random.default_rng(whole("seed", seed))
    each = whole("draws", draws, 1000) // (len(zero.charts) * PARTS)
    charts = [_Proposal(chart, depth) for chart in zero.charts]
    areas, losses = [], []
    for own in charts:
        places, local = own.draw(rng, PARTS * each)
        with np.errstate(all="ignore"):
            X, Y = own.chart.offset(*places)
            inside = (np.abs(X) <= radius) & (np.abs(Y) <= radius)
            seen = [places if c is own else c.chart.preimage_of_offset(X, Y) for c in charts]
            known = [local if c is own else None for c in charts]  # p and q, where they need not be worked out
            proposed = sum(c.density(*uv, pq) for c, uv, pq in zip(charts, seen, known, strict=True))
            area = np.where(inside & (proposed > 0), 1 / proposed, 0.0) / each
        areas.append(area.reshape(PARTS, -1))
        losses.append(_where_it_is_sure(charts, seen, known).reshape(PARTS, -1))
    return np.concatenate(areas, 1), np.concatenate(losses, 1)


def _where_it_is_sure(charts, seen, known):
    # K as the chart says it that is near its origin and whose unit loses little to cancellation
    with np.errstate(all="ignore"):
        found = [chart.K(*uv, pq) for chart, uv, pq in zip(charts, seen, known, strict=True)]
        far = [np.maximum(np.abs(a), np.abs(b)) for a, b in seen]
        sure = np.nan_to_num(np.stack([kept / (1 + f) for (_, kept), f in zip(found, far, strict=True)]), posinf=0.0)
        values = np.nan_to_num(np.stack([value for value, _ in found]))
    return np.take_along_axis(values, np.argmax(sure, axis=0)[None], 0)[0]


class _Proposal:
    """Draws in one chart, and their density in the plane.

    A coordinate that is no axis of the chart is a curve. If it is of first degree in v, draws are made in it as well;
    otherwise they are spread as if nothing vanished there: still right, but of less effect.
    """

    def __init__(self, chart: Chart, depth: float):
        self.chart, self.k = chart, chart.k
        p, q = chart.coordinates
        self.factors = [_Product(e) for e in (p, q, chart.unit)]
        self.jacobian = _Product(chart.jacobian)
        self.bent = p == u and q.has(u) and Poly(q, v).degree() == 1
        self.slope, self.rest = (lambdify(u, e, "numpy") for e in (q.diff(v), q.subs(v, 0)))
        drawn = [p.subs(u, 0) == 0, q.subs(v, 0) == 0 or self.bent]
        # where the flat part of -log|p| ends, and the rate beyond it
        self.ends = [float(depth) / (2 * k) if k and known else 0.0 for k, known in zip(chart.k, drawn, strict=True)]
        self.rates = [h + 1.0 if known else 1.0 for h, known in zip(chart.h, drawn, strict=True)]

    def draw(self, rng, n):
        """Points (u, v), and their local coordinates where they are better known than by working them out."""
        U, V = (self._one(rng, n, end, rate) for end, rate in zip(self.ends, self.rates, strict=True))
        return ((U, (V - self.rest(U)) / self.slope(U)), (U, V)) if self.bent else ((U, V), None)

    @staticmethod
    def _one(rng, n, end, rate):
        part, tail = rng.random(n) * (1 + end + 1 / rate), rng.exponential(size=n)
        tau = np.where(part < 1, -tail, np.where(part < 1 + end, part - 1, end + tail / rate))
        return np.exp(-tau) * rng.choice([-1.0, 1.0], n)

    def density(self, U, V, known=None):
        """Of the draws, per area of the plane."""
        out = 1 / np.abs(self.jacobian(U, V)[0])
        if self.bent:
            out, V = out * np.abs(self.slope(U)), known[1] if known else self.slope(U) * V + self.rest(U)
        for w, end, rate in zip((U, V), self.ends, self.rates, strict=True):
            tau = -np.log(np.abs(w))
            flat = np.exp(np.where(tau < 0, tau, np.where(tau > end, -rate * (tau - end), 0.0)))
            out = out * flat / (2 * np.abs(w) * (1 + end + 1 / rate))
        return np.nan_to_num(out, posinf=0.0)

    def K(self, U, V, known=None):
        """K, and how much of its factors is left after their terms are added: 1 if nothing cancels."""
        value, sure = np.ones(np.shape(U)), np.ones(np.shape(U))
        for i, (factor, power) in enumerate(zip(self.factors, (2 * self.k[0], 2 * self.k[1], 1), strict=True)):
            if power and i < 2 and known:
                value = value * known[i] ** power
            elif power:
                one, kept = factor(U, V)
                value, sure = value * one**power, np.minimum(sure, kept)
        return value, sure


class _Product:
    """A polynomial in u and v by its factors over ℚ, which lose less to cancellation than its terms would."""

    def __init__(self, polynomial: Expr):
        rational = all(c.is_Rational for c in Poly(polynomial, u, v).coeffs())
        constant, factors = factor_list(polynomial, u, v) if rational else (1, [(polynomial, 1)])
        self.constant, self.factors = float(constant), []
        for factor, power in factors:
            terms = Poly(factor, u, v).terms()
            table = np.zeros([1 + max(m[i] for m, _ in terms) for i in (0, 1)])
            for m, c in terms:
                table[m] = float(c)
            self.factors.append((table, int(power)))

    def __call__(self, U, V):
        """The value, and the least share of a factor's terms that is left after they are added: 1 if none cancel."""
        value, sure = np.full(np.shape(U), self.constant), np.ones(np.shape(U))
        for table, power in self.factors:
            total = polyval2d(U, V, table)
            value = value * total**power
            if np.count_nonzero(table) > 1:
                sure = np.minimum(sure, np.abs(total) / polyval2d(np.abs(U), np.abs(V), np.abs(table)))
        return value, sure
