"""λ and m at the origin without a blow-up: from weights, or from the Newton polygon where that can be trusted.

Let (d, d) be where the diagonal meets the polygon of K, the convex hull of the exponents and all that lies right of and
above them. Then λ ≤ 1/d, with equality exactly in *adapted* coordinates: unless the face that the diagonal meets is an
edge between two monomials, and the polynomial of that edge has a real root, off the axes, of a multiplicity above d
(Varchenko; Ikromov and Müller, https://arxiv.org/abs/0706.1004). Then m = 2 at a vertex or for a root of multiplicity
d, and 1 otherwise. These are other routes to what :func:`helpers.singular.resolve` finds, by which it is tested.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import gcd

from sympy import QQ, Poly
from sympy.polys.rings import PolyElement, ring

from ..checks import whole
from .blowups import substituted
from .reading import X, Y, polynomial

Point = tuple[int, int]


@dataclass(frozen=True)
class NewtonPolygon:
    """The polygon's ``vertices`` from the y-axis to the x-axis, its ``distance`` d, the ``face`` the diagonal meets.

    The face is one vertex, an edge's two, or one and None for an unbounded edge. ``root``: the largest multiplicity of
    a real root, off the axes, of the edge's polynomial (0 if there is none). ``adapted``: whether ``rlct`` = 1/d and
    ``multiplicity`` are those of K; otherwise 1/d is too large.

    >>> from helpers.singular import newton_polygon
    >>> good, bad = newton_polygon("(y**2 - x**3)**2"), newton_polygon("(y - x**2)**2 + x**6")
    >>> good.vertices, good.distance, good.root, good.adapted, good.rlct
    (((0, 4), (6, 0)), Fraction(12, 5), 2, True, Fraction(5, 12))
    >>> bad.vertices, bad.distance, bad.root, bad.adapted, bad.rlct  # λ is 2/3
    (((0, 2), (4, 0)), Fraction(4, 3), 2, False, Fraction(3, 4))
    """

    vertices: tuple[Point, ...]
    distance: Fraction
    face: tuple
    root: int

    @property
    def adapted(self) -> bool:
        return self.root <= self.distance

    @property
    def rlct(self) -> Fraction:
        return 1 / self.distance

    @property
    def multiplicity(self) -> int:
        return 2 if len(self.face) == 1 or self.root == self.distance else 1


def newton_polygon(K) -> NewtonPolygon:
    """The Newton polygon of ``K ≥ 0`` (as for :func:`resolve`) at the origin, and what it says of λ and m there.

    Raises ValueError if K is no polynomial over ℚ in x and y, is zero, or does not vanish at the origin.
    """
    return _polygon(_at_origin(K))


def adapted_rlct(K, steps: int = 20) -> tuple[Fraction, int]:
    """(λ, m) of ``K ≥ 0`` at the origin, by Newton polygons: y ← y + c xⁿ, or x ← x + c yⁿ, until adapted.

    A root of a multiplicity above d is rational and the only one, so each step is forced. Raises ValueError as
    :func:`newton_polygon` does, and if ``steps`` changes of coordinates are not enough.

    >>> from helpers.singular import adapted_rlct
    >>> adapted_rlct("(y - x**2)**2 + x**6")
    (Fraction(2, 3), 1)
    """
    p = _at_origin(K)
    for _ in range(whole("steps", steps, 0) + 1):
        polygon = _polygon(p)
        if polygon.adapted:
            return polygon.rlct, polygon.multiplicity
        p = _moved(p, polygon)
    raise ValueError(
        f"steps={steps}; the coordinates of K={_at_origin(K).as_expr()} are not adapted after so many changes"
    )


def quasi_homogeneous_rlct(K) -> tuple[Fraction, int]:
    """(λ, m) of ``K ≥ 0`` if it is quasi-homogeneous: of degree D when x has a weight a and y a weight b.

    λ is the least of (a + b) / D and of 1/μ over the multiplicities μ of K's real branches, x = 0 and y = 0 included;
    m = 2 if both are equal. Raises ValueError as :func:`newton_polygon` does, and if K has no such weights.

    >>> from helpers.singular import quasi_homogeneous_rlct
    >>> quasi_homogeneous_rlct("(y**2 - x**3)**2"), quasi_homogeneous_rlct("(x**2 - 2*y**2)**2")
    ((Fraction(5, 12), 1), (Fraction(1, 2), 2))
    """
    p = _at_origin(K)
    vertices = _vertices(p)
    if len(vertices) > 2 or any(len(vertices) == 1 or _side(*vertices, point) for point in set(p) - set(vertices)):
        raise ValueError(f"K={p.as_expr()} is not quasi-homogeneous; expected one line of exponents")
    axes = [min(point[i] for point in p) for i in (0, 1)]
    branches = [*axes, _largest_root(p, *vertices) if len(vertices) == 2 else 0]
    along = [Fraction(1, order) for order in branches if order]
    if len(vertices) == 1:
        return min(along), along.count(min(along))
    values = [1 / _crossing(*vertices), *along]
    least = min(values)
    return least, 2 if values[0] == least and least in along else 1


def _at_origin(K) -> PolyElement:
    p = polynomial(K)
    if not p or p.coeff(1):
        raise ValueError(
            f"K={p.as_expr()} has the value {p.coeff(1)} at (0, 0); expected a zero there, and not all of K"
        )
    return p


def _polygon(p: PolyElement) -> NewtonPolygon:
    vertices = _vertices(p)
    first, last = vertices[0], vertices[-1]
    if first[0] >= first[1]:
        face, d = ((first, None) if first[0] > first[1] else (first,)), Fraction(first[0])
    elif last[1] >= last[0]:
        face, d = ((last, None) if last[1] > last[0] else (last,)), Fraction(last[1])
    else:
        a, b = next(edge for edge in pairwise(vertices) if edge[1][0] >= edge[1][1])
        face, d = ((b,) if b[0] == b[1] else (a, b)), _crossing(a, b)
    compact = len(face) == 2 and face[1] is not None
    return NewtonPolygon(vertices, d, face, _largest_root(p, *face) if compact else 0)


def _vertices(p: PolyElement) -> tuple[Point, ...]:
    """The lower left hull of the exponents, from the leftmost lowest to the lowest leftmost."""
    lowest = {}
    for a, b in p:
        lowest[a] = min(b, lowest.get(a, b))
    hull: list[Point] = []
    for point in sorted(lowest.items()):
        if hull and point[1] >= hull[-1][1]:
            continue
        while len(hull) > 1 and _side(hull[-2], hull[-1], point) <= 0:
            hull.pop()
        hull.append(point)
    return tuple(hull)


def _side(a: Point, b: Point, c: Point) -> int:
    """Positive if c lies above the line from a to b, zero on it."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _crossing(a: Point, b: Point) -> Fraction:
    """Where the line through a and b meets the diagonal."""
    right, down = b[0] - a[0], a[1] - b[1]
    return Fraction(a[0] * down + a[1] * right, right + down)


def _edge(p: PolyElement, a: Point, b: Point) -> tuple[int, int, PolyElement]:
    """The edge's polynomial in t = x^right / y^down, and these two exponents."""
    steps = gcd(b[0] - a[0], a[1] - b[1])
    right, down = (b[0] - a[0]) // steps, (a[1] - b[1]) // steps
    T = ring("t", QQ)[0]
    on = {(k,): p.get((a[0] + k * right, a[1] - k * down), 0) for k in range(steps + 1)}
    return right, down, T.from_dict({m: c for m, c in on.items() if c})


def _real_roots(edge: PolyElement) -> list[tuple[PolyElement, int]]:
    """The irreducible factors with real roots; none of these is 0, and each is met by real points off the axes."""
    factors = edge.factor_list()[1]
    return [(q, e) for q, e in factors if Poly(q.to_dense(), *q.ring.symbols, domain=QQ).count_roots()]


def _largest_root(p: PolyElement, a: Point, b: Point) -> int:
    return max((e for _, e in _real_roots(_edge(p, a, b)[2])), default=0)


def _moved(p: PolyElement, polygon: NewtonPolygon) -> PolyElement:
    """K in coordinates in which the root of highest multiplicity is an axis."""
    right, down, edge = _edge(p, *polygon.face)
    factor = max(_real_roots(edge), key=lambda item: item[1])[0].monic()
    t = -factor.coeff(1)  # x^right = t y^down, and right or down is 1
    assert factor.degree() == 1 and 1 in (right, down)
    return substituted(p, X, Y + X**right * (1 / t)) if down == 1 else substituted(p, X + Y**down * t, Y)
