"""Where K vanishes in the plane, and where it needs a closer look: exactly, by lines x = const between critical ones.

K = c ∏ fᵢ^eᵢ over ℚ. The critical x are the real roots of res_y(fᵢ, ∂fᵢ/∂y) and res_y(fᵢ, fⱼ). Between two of them the
roots y of the fᵢ neither meet nor vanish, so one rational line tells for all: where K is negative, and which fᵢ have a
real curve of zeros. On critical lines lie the singular points of ∏ fᵢ = 0, the isolated zeros of K among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, pairwise
from math import floor, prod

from sympy import QQ, ZZ, Poly
from sympy.polys.rings import PolyElement, ring

from .algebraic import Field, embed, real_roots, roots_over_rationals, squarefree
from .reading import X, Y


@dataclass
class Plane:
    """K's factors over ℚ, as (fᵢ, eᵢ); those with real curves of zeros; its special points (field, x₀, y₀)."""

    factors: list[tuple[PolyElement, int]]
    curves: list[int]
    points: list[tuple[Field, object, object]]


def plane(K: PolyElement) -> Plane:
    """Factors, curves and special points of K. Raises ValueError if K is zero, negative somewhere, or has no real zero.

    >>> from helpers.singular.reading import polynomial
    >>> found = plane(polynomial("x**2 * (x**2 + y**2 - 2*y)**2"))
    >>> [f.as_expr() for f, e in found.factors], found.curves
    ([x, x**2 + y**2 - 2*y], [0, 1])
    >>> [(field.expr(a), field.expr(b)) for field, a, b in found.points]
    [(0, 0), (0, 2)]
    """
    if not K:
        raise ValueError("K is the zero polynomial; expected one that vanishes on a thin set only")
    constant, factors = K.factor_list()
    critical = _critical([f for f, _ in factors])
    lines = _between([p for p, _ in critical])
    _refuse_negative(constant, factors, lines)
    curves = [i for i, (f, _) in enumerate(factors) if any(_crossings(f, at) for at in lines) or _vertical(f)]
    points = _special(critical)
    if not curves and not points:
        raise ValueError(f"K={K.as_expr()} has no real zero; expected at least one")
    return Plane(factors, curves, points)


def _critical(factors: list[PolyElement]) -> list[tuple[PolyElement, list]]:
    """Polynomials in x whose roots are critical, each with the ideal to look for special points in on its lines."""
    found = []
    for f in factors:
        if f.degree(1) < 1:
            found.append((_in_x(f), []))
            continue
        discriminant = _in_x(_resultant(f, f.diff(Y)))
        found.append((discriminant, []))
        # a singular point is at least a double root of the discriminant; a single root is a vertical tangent
        found += [(q, [f, f.diff(X), f.diff(Y)]) for q, e in discriminant.factor_list()[1] if e > 1 and f.degree(0) > 0]
    for f, g in combinations(factors, 2):
        found.append((_in_x(_resultant(f, g)), [f, g]))
    return [(p, ideal) for p, ideal in found if not p.is_ground]


def _resultant(f: PolyElement, g: PolyElement) -> PolyElement:
    """The resultant with respect to y; of a factor without y that factor, which has the same roots."""
    without = [p for p in (f, g) if p.degree(1) < 1]
    if without:
        return without[0] if len(without) == 1 else f.ring.one
    one, other = (_over_integers(p) for p in (f, g))
    return f.ring.from_dict({(a, 0): QQ(c) for (a,), c in one.resultant(other).items()})


def _over_integers(p: PolyElement) -> PolyElement:
    """A multiple with whole coefficients, in y and x: resultants eliminate the first variable, and like integers."""
    R = ring("y,x", ZZ)[0]
    return R.from_dict({(b, a): ZZ(int(c.numerator)) for (a, b), c in p.clear_denoms()[1].items()})


def _in_x(p: PolyElement) -> PolyElement:
    return ring("x", QQ)[0].from_dict({(a,): c for (a, _), c in p.items()})


def _on_line(f: PolyElement, domain, at, t: str = "y") -> PolyElement:
    """f(at, y) as a polynomial in one variable over ``domain``."""
    return f.set_ring(f.ring.clone(domain=domain)).evaluate(0, at).set_ring(ring(t, domain)[0])


def _between(polynomials: list[PolyElement]) -> list:
    """Rational numbers below, between and above the real roots of polynomials over ℚ in one variable."""
    parts = {q.monic() for p in polynomials for q, _ in p.factor_list()[1]}
    if not parts:
        return [QQ(0)]
    whole = Poly(prod(parts).to_dense(), *ring("t", QQ)[0].symbols, domain=QQ)
    width, spans = QQ(1), [span for span, _ in whole.intervals()]
    while any(a[1] >= b[0] for a, b in pairwise(spans)):
        width, spans = width / 4, [span for span, _ in whole.intervals(eps=width)]
    if not spans:
        return [QQ(0)]
    ends = [
        (spans[0][0] - 2, spans[0][0]),
        *((a[1], b[0]) for a, b in pairwise(spans)),
        (spans[-1][1], spans[-1][1] + 2),
    ]
    return [_simplest(Fraction(str(low)), Fraction(str(high))) for low, high in ends]


def _simplest(low, high):
    """The first dyadic number strictly between."""
    scale = 1
    while True:
        candidate = floor(low * scale) + 1
        if candidate < high * scale:
            return QQ(candidate, scale)
        scale *= 2


def _crossings(f: PolyElement, at) -> int:
    """How often the line x = at, which is not critical, meets f = 0."""
    p = _on_line(f, QQ, at)
    return 0 if p.is_ground else Poly(p.to_dense(), *p.ring.symbols, domain=QQ).count_roots()


def _vertical(f: PolyElement) -> bool:
    return f.degree(1) < 1 and bool(roots_over_rationals(_in_x(f)))


def _refuse_negative(constant, factors: list, lines: list) -> None:
    """On the lines between critical ones K's sign is that of c ∏ fᵢ over odd eᵢ, between any two roots y of these."""
    odd = [f for f, e in factors if e % 2]
    for at in lines:
        restricted = [_on_line(f, QQ, at) for f in odd]
        for y0 in _between([p for p in restricted if not p.is_ground]):
            if constant * prod(p.evaluate(0, y0) for p in restricted) < 0:
                raise ValueError(f"K is negative at (x, y) = ({at}, {y0}); expected K ≥ 0 everywhere")


def _special(critical: list) -> list[tuple[Field, object, object]]:
    """The real common zeros of the ideals, each point once, from left to right."""
    wanted: dict[PolyElement, list] = {}
    for p, ideal in critical:
        for q, _ in p.factor_list()[1] if ideal else ():
            wanted.setdefault(q.monic(), []).append(ideal)
    found = []
    for q, ideals in wanted.items():
        for field, x0 in roots_over_rationals(q):
            found += _on_critical_line(field, x0, ideals)
    return sorted(found, key=lambda point: (point[0].float(point[1]), point[0].float(point[2])))


def _on_critical_line(field: Field, x0, ideals: list) -> list:
    """The points with first coordinate x₀ at which all polynomials of one of the ideals vanish."""
    union = ring("y", field.domain)[0].one
    for ideal in ideals:
        common, *others = [_on_line(f, field.domain, x0) for f in ideal]
        for other in others:
            common = common.gcd(other)
        if not common.is_ground:
            common = squarefree(common)
            union = union * common.quo(union.gcd(common))
    return [(G, embed(x0, field, G, alpha), y0) for G, alpha, y0 in real_roots(field, union)]
