"""A chart of a resolution: a polynomial map g back to the plane, near whose origin K∘g is a monomial times a unit.

With local coordinates p, q (which are u and v themselves wherever a polynomial change makes them so)

    K(g(u, v)) = p^{2k₁} q^{2k₂} · unit(u, v),        det g′(u, v) = p^{h₁} q^{h₂} · unit′(u, v),

Watanabe's form (*Algebraic Geometry and Statistical Learning Theory*, 2009). The units are what is left of K∘g and of
the Jacobian after exact division; near the origin neither vanishes, and the first is positive.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

import numpy as np
from sympy import Abs, Expr, Rational, Symbol, oo, symbols
from sympy.polys.rings import PolyElement

from .algebraic import Field, Sturm, expression, squarefree
from .blowups import Divisor, Patch, linear, order, substituted

u, v = symbols("u v")


class Absorbed(NamedTuple):
    """The chart with its unit absorbed into the first coordinate, u′ = p · unit^{1/2k₁}, so that K is u′^{2k₁} q^{2k₂}.

    ``coordinate``: u′ in terms of u and v. ``jacobian``: what ``|dx dy|`` is in ``du′ dq``: an expression in the symbol
    ``u'`` and v if the unit depends on v alone (``explicit``), otherwise in u and v.
    """

    coordinate: Expr
    jacobian: Expr
    explicit: bool


@dataclass(frozen=True, eq=False)
class Chart:
    """A chart (see the module): map ``x``, ``y``, local ``coordinates`` p and q, and the ``divisors`` p = 0 and q = 0.

    A coordinate whose divisor is None is one along which nothing vanishes: its k and h are 0. ``at`` is the zero of K
    over which the origin lies, or None for a chart along a curve of zeros, where it is good for all regular points with
    a non-zero ``slope`` that are on no other curve. ``steps`` says by which blow-ups (straight or swapped, and where on
    the new divisor the next origin is) the chart is reached.

    >>> from helpers.singular import resolve
    >>> chart = resolve("x**2 + y**2").charts[0]
    >>> chart.x, chart.y, chart.K, chart.jacobian
    (u, u*v, u**2*v**2 + u**2, u)
    >>> chart.k, chart.h, chart.unit, chart.jacobian_unit
    ((1, 0), (1, 0), v**2 + 1, 1)
    >>> chart.absorbed()
    Absorbed(coordinate=u*sqrt(v**2 + 1), jacobian=Abs(u')/(v**2 + 1), explicit=True)
    """

    patch: Patch
    source: PolyElement
    divisors: tuple[Divisor | None, Divisor | None]
    at: tuple[Expr, Expr] | None
    local: tuple[PolyElement, PolyElement]
    back: tuple[PolyElement, PolyElement]

    @property
    def field(self) -> Field:
        return self.patch.field

    @property
    def k(self) -> tuple[int, int]:
        return tuple(int(d.k) if d else 0 for d in self.divisors)

    @property
    def h(self) -> tuple[int, int]:
        return tuple(int(d.h) if d else 0 for d in self.divisors)

    @property
    def rlct(self) -> Fraction:
        """The least (h + 1) / 2k of its divisors."""
        return min(d.rlct for d in self.divisors if d)

    @property
    def multiplicity(self) -> int:
        """How many of the divisors through the origin attain it."""
        return sum(d.rlct == self.rlct for d in self.divisors if d)

    @cached_property
    def x(self) -> Expr:
        return self._expr(self._map[0])

    @cached_property
    def y(self) -> Expr:
        return self._expr(self._map[1])

    @cached_property
    def coordinates(self) -> tuple[Expr, Expr]:
        return tuple(map(self._expr, self.local))

    @cached_property
    def K(self) -> Expr:
        """K∘g, expanded."""
        return self._expr(self._pulled_back)

    @cached_property
    def jacobian(self) -> Expr:
        """The determinant of g′, expanded."""
        return self._expr(_bracket(*self._map))

    @cached_property
    def unit(self) -> Expr:
        return self._expr(self._units[0])

    @cached_property
    def jacobian_unit(self) -> Expr:
        return self._expr(self._units[1])

    @property
    def sign(self) -> int:
        """Of the Jacobian's unit at the origin: whether the chart keeps the orientation of the plane or reverses it."""
        return self.field.sign(self._units[1].coeff(1))

    @property
    def slope(self) -> Expr:
        """∂(p, q)/∂(u, v): 1 where p, q are u, v; where it vanishes they are no coordinates."""
        return self._expr(_bracket(*self.local))

    @property
    def steps(self) -> tuple[tuple[str, Expr], ...]:
        return self.patch.steps

    @cached_property
    def reach(self) -> tuple[tuple | None, tuple | None]:
        """How far the form holds along each divisor: an interval of v on u = 0, and one of u on v = 0.

        Its ends are rational, just short of the next place where a unit vanishes or another component passes. Up to
        there, off the origin, q is itself a unit on u = 0 and v the other coordinate. None for a coordinate without a
        divisor, or whose divisor is no axis. Together the charts' intervals cover the exceptional divisors.
        """
        if self.at is None:
            return None, None
        return tuple(
            self._along(axis) if divisor and self.local[axis] == self.local[axis].ring.gens[axis] else None
            for axis, divisor in enumerate(self.divisors)
        )

    def absorbed(self) -> Absorbed:
        """The chart with its unit absorbed into its first coordinate."""
        power, (p, q) = Rational(1, 2 * self.k[0]), self.coordinates
        root = self.unit**power
        if not self.unit.has(u) and (p, q) == (u, v):
            U = Symbol("u'")
            there = self.jacobian_unit.subs(u, U / root)
            size = Abs(U) ** self.h[0] * Abs(v) ** self.h[1] * self.unit ** (-(self.h[0] + 1) * power)
            return Absorbed(u * root, size * (there if there == 1 else Abs(there)), True)
        size = Abs(p) ** self.h[0] * Abs(q) ** self.h[1] * Abs(self.jacobian_unit) * self.unit ** (1 - power)
        unit, (one, other) = self._units[0], self.local
        change = self._expr(unit * _bracket(one, other)) + power * self._expr(one * _bracket(unit, other))
        return Absorbed(p * root, size / Abs(change), False)

    def __call__(self, u, v):
        """g in floats: (x, y) of numbers or arrays."""
        return tuple(a + b for a, b in zip(self._origin, self.offset(u, v), strict=True))

    def offset(self, u, v):
        """g less where it sends the origin, in floats: exact as far as floats go however far that is from 0."""
        return tuple(sum(self.field.float(c) * u**a * v**b for (a, b), c in p.terms() if a + b) for p in self._map)

    def preimage(self, x, y):
        """The (u, v) over points of the plane, in floats, numbers or arrays: not finite where the chart sees none."""
        x0, y0 = self._origin if self.at else (0.0, 0.0)
        return self.preimage_of_offset(np.subtract(x, x0), np.subtract(y, y0))

    def preimage_of_offset(self, x, y):
        """The same for points given by how far they are from where the origin is sent (from 0 for curves' charts)."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            for swapped, c in self.patch.path:
                x, y = (y, x) if swapped else (x, y)
                y = y / x - self.field.float(c)
            return tuple(sum(self.field.float(c) * x**a * y**b for (a, b), c in p.terms()) for p in self.back)

    @property
    def _origin(self) -> tuple[float, float]:
        return tuple(self.field.float(p.coeff(1)) for p in self._map)

    def _expr(self, p: PolyElement) -> Expr:
        return expression(p, self.field, u, v)

    @cached_property
    def _map(self) -> tuple[PolyElement, PolyElement]:
        inverse = polynomial_inverse(*self.back)
        return tuple(substituted(p, *inverse) for p in (self.patch.x, self.patch.y))

    @cached_property
    def _pulled_back(self) -> PolyElement:
        return substituted(self.source, *self._map)

    @cached_property
    def _units(self) -> tuple[PolyElement, PolyElement]:
        p, q = self.local
        K, jacobian = self._pulled_back, _bracket(*self._map)
        return (
            K.exquo(p ** (2 * self.k[0]) * q ** (2 * self.k[1])),
            jacobian.exquo(p ** self.h[0] * q ** self.h[1]),
        )

    def _along(self, axis: int) -> tuple:
        R, other = self._map[0].ring, self.local[1 - axis]
        unit, jacobian_unit = self._units
        T = R.drop(axis)
        t, line = T.gens[0], lambda p: T.from_dict({(m[1 - axis],): c for m, c in p.items() if not m[axis]})
        bad = line(unit) * line(jacobian_unit) * line(other).exquo(t)
        ends = [_first_root(self.field, p) for p in (bad.compose(t, -t), bad)]
        return -ends[0], ends[1]


def _bracket(a: PolyElement, b: PolyElement) -> PolyElement:
    """The determinant of the derivatives of two polynomials."""
    u, v = a.ring.gens
    return a.diff(u) * b.diff(v) - a.diff(v) * b.diff(u)


def _first_root(field: Field, p: PolyElement):
    """A rational number just short of the least positive root; infinity if there is none."""
    if p.degree() < 1 or not (sturm := Sturm(field, squarefree(p))).count(0):
        return oo
    low, high = Fraction(0), Fraction(1)
    while not sturm.count(0, high):
        low, high = high, 2 * high
    while high - low > low / 2**14:
        middle = (low + high) / 2
        low, high = (low, middle) if sturm.count(0, middle) else (middle, high)
    return Rational(low.numerator, low.denominator)


def polynomial_inverse(p: PolyElement, q: PolyElement) -> tuple[PolyElement, PolyElement] | None:
    """Polynomials (a, b) with p(a, b) = u and q(a, b) = v, where (p, q) is affine or triangular; otherwise None."""
    R = p.ring
    u, v = (new - old.coeff(1) for new, old in zip(R.gens, (p, q), strict=True))
    p, q = p - p.coeff(1), q - q.coeff(1)
    (a, b), (c, d) = linear(p), linear(q)
    determinant = a * d - b * c
    if determinant and order(p, max) == order(q, max) == 1:
        return (d * u - b * v).quo_ground(determinant), (a * v - c * u).quo_ground(determinant)
    for (one, new), (two, other) in (((p, u), (q, v)), ((q, v), (p, u))):
        for i, z in enumerate(R.gens):  # ``one`` in z alone, ``two`` of first degree in the other variable
            a, b = linear(one)[i], linear(two)[1 - i]
            rest = two - R.gens[1 - i] * b
            if a and b and one == z * a and not any(m[1 - i] for m in rest):
                first = new.quo_ground(a)
                second = (other - substituted(rest, *[first] * 2)).quo_ground(b)
                return (first, second) if i == 0 else (second, first)
    return None
