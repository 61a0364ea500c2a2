"""Resolution of a polynomial K(x, y) ≥ 0 at all of its real zeros, and what can be read off it: λ and its multiplicity.

λ = min (h + 1) / 2k over divisors; m is the largest number of divisors with that value through one real point. They say
how volumes shrink, vol(K < ε) ~ c ε^λ (log 1/ε)^{m-1}, and do not depend on the resolution (Watanabe, *Algebraic
Geometry and Statistical Learning Theory*, 2009; defined through resolutions in https://arxiv.org/abs/2411.13392).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import count

from sympy import Expr

from ..checks import whole
from .algebraic import RATIONALS
from .blowups import Blowup, Divisor, Patch, at_point, blow_up
from .charts import Chart, polynomial_inverse
from .plane import Plane, plane
from .reading import polynomial


@dataclass(frozen=True, eq=False)
class Zero:
    """A curve of real zeros (its regular points), or a point that needs a look of its own.

    ``at``: a point (x₀, y₀), or None; ``equation``: of the curve, or None. ``isolated``: whether no curve of zeros
    passes through the point. ``tree``: the blow-ups over it, or None where K is at normal crossings as it stands.
    """

    at: tuple[Expr, Expr] | None
    equation: Expr | None
    charts: tuple[Chart, ...]
    tree: Blowup | None = None

    @property
    def isolated(self) -> bool:
        return self.equation is None and not any(d and not d.h for chart in self.charts for d in chart.divisors)

    @property
    def rlct(self) -> Fraction:
        return min(chart.rlct for chart in self.charts)

    @property
    def multiplicity(self) -> int:
        return max(chart.multiplicity for chart in self.charts if chart.rlct == self.rlct)

    def __repr__(self) -> str:
        where = f"{self.equation} = 0" if self.at is None else f"{self.at}"
        return f"Zero({where}, λ={self.rlct}, m={self.multiplicity}, charts={len(self.charts)})"


@dataclass(frozen=True, eq=False)
class Resolution:
    """What :func:`resolve` returns: ``K`` and its ``zeros``; all else is read off these."""

    K: Expr
    zeros: tuple[Zero, ...]

    @property
    def charts(self) -> tuple[Chart, ...]:
        """The charts of all zeros."""
        return tuple(chart for zero in self.zeros for chart in zero.charts)

    @property
    def rlct(self) -> Fraction:
        """λ, the real log canonical threshold (the learning coefficient) of K: the least over its zeros."""
        return min(zero.rlct for zero in self.zeros)

    @property
    def multiplicity(self) -> int:
        """m: the largest number of divisors that attain λ through one real point upstairs."""
        return max(zero.multiplicity for zero in self.zeros if zero.rlct == self.rlct)

    @property
    def divisors(self) -> tuple[Divisor, ...]:
        """The exceptional divisors E1, E2, … in the order they were made, then the curves of zeros C1, C2, …"""
        found = {d.name: d for chart in self.charts for d in chart.divisors if d}
        return tuple(sorted(found.values(), key=lambda d: (d.name[0] == "C", int(d.name[1:]))))

    @property
    def intersections(self) -> tuple[tuple[str, str], ...]:
        """The pairs of divisors that meet, once for each real point where they do: the edges of the dual graph."""
        pairs = [[d.name for d in c.divisors] for c in self.charts if all(c.divisors)]
        return tuple(tuple(sorted(pair, key=lambda name: (name[0] == "C", int(name[1:])))) for pair in pairs)

    def __repr__(self) -> str:
        return f"Resolution({self.K}, λ={self.rlct}, m={self.multiplicity}, charts={len(self.charts)})"


def resolve(K, depth: int = 40) -> Resolution:
    """Resolve ``K``, a polynomial in x and y with rational coefficients that is nowhere negative, at every real zero.

    ``K`` is a string (``"(y**2 - x**3)**2"``), a sympy expression or ``Poly``, or a number; ``depth`` the most blow-ups
    above each other. Everything is exact; irrational points live in fields ℚ(α) of their own.

    Raises ValueError if K is not such a polynomial (it names the term), is zero, is negative at a point (it names it),
    has no real zero, or is not at normal crossings after ``depth`` blow-ups.

    >>> from helpers.singular import resolve
    >>> cusp = resolve("(y**2 - x**3)**2")
    >>> cusp.rlct, cusp.multiplicity
    (Fraction(5, 12), 1)
    >>> [(d.name, d.k, d.h) for d in cusp.divisors]
    [('E1', 2, 1), ('E2', 3, 2), ('E3', 6, 4), ('C1', 1, 0)]
    >>> cusp.intersections
    (('E3', 'C1'), ('E1', 'E3'), ('E2', 'E3'))
    >>> resolve("x**2 * y**2").zeros
    (Zero((0, 0), λ=1/2, m=2, charts=1), Zero(y = 0, λ=1/2, m=1, charts=1), Zero(x = 0, λ=1/2, m=1, charts=1))
    """
    depth, source = whole("depth", depth, 0), polynomial(K)
    found, names, zeros = plane(source), (f"E{i}" for i in count(1)), []
    curves = {i: Divisor(f"C{n}", found.factors[i][1] // 2, 0) for n, i in enumerate(found.curves, 1)}
    for field, x0, y0 in found.points:
        patch = at_point(found.factors, field, x0, y0)
        tree = blow_up(patch, lambda leaf: _centred(leaf, source, curves), names, depth)
        blown = isinstance(tree, Blowup)
        zeros.append(Zero(patch.at, None, tree.charts if blown else (tree,), tree if blown else None))
    for i, divisor in curves.items():
        zeros.append(Zero(None, found.factors[i][0].as_expr(), _along(found, i, source, divisor)))
    return Resolution(source.as_expr(), tuple(zeros))


def _centred(patch: Patch, source, curves: dict[int, Divisor]) -> Chart:
    """The chart around a point upstairs where K is at normal crossings."""
    R = patch.x.ring
    strict = {i: f for i, f, _ in patch.strict}
    through = [(c, R.gens[patch.axes.index(c)]) if isinstance(c, Divisor) else (curves[c], _equation(strict[c]))
               for c, _ in patch.through()]  # fmt: skip
    if len(through) == 1:
        through.append((None, R.gens[1]))
    return _chart(patch, source, through, patch.at)


def _equation(f):
    """An axis, if f vanishes on it; otherwise f."""
    return next((w for i, w in enumerate(f.ring.gens) if all(m[i] for m in f)), f)


def _chart(patch: Patch, source, through: list, at) -> Chart:
    """A chart whose coordinates are the (divisor, equation) pairs; they become u and v if that can be polynomial."""
    R = patch.x.ring
    (one, p), (two, q) = through
    straight = polynomial_inverse(p, q) is not None
    return Chart(patch, source, (one, two), at, R.gens if straight else (p, q), (p, q) if straight else R.gens)


def _along(found: Plane, i: int, source, divisor: Divisor) -> tuple[Chart, ...]:
    """Charts along a curve f = 0: (f, x) where f has a slope in y, (f, y) where it has one in x; one if that does."""
    patch = at_point(found.factors, RATIONALS, 0, 0)
    f = patch.strict[i][1]
    charts = [_chart(patch, source, [(divisor, f), (None, w)], None) for w in f.ring.gens]
    straight = [chart for chart in charts if chart.local == f.ring.gens]
    sloped = [chart for chart, w in zip(charts, reversed(f.ring.gens), strict=True) if f.diff(w)]
    return tuple(straight[:1] or sloped)
