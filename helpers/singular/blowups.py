"""Point blow-ups, one after the other, until K is a monomial times a unit near every real point over a zero.

Blowing up the origin of a patch with coordinates (u, v) replaces it by the line of directions. Two patches cover that:

    straight  (u, v) ← (u, u v)        swapped  (u, v) ← (u v, u),

and in both the new divisor is u = 0. K's order along it is K's order at the point that was blown up; the Jacobian's is
one more than the sum of its orders along the divisors through that point. What is left of the factors of K are their
strict transforms. A patch is done when at its origin at most two components meet, each smooth, and not tangent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from sympy import QQ, Expr
from sympy.polys.rings import PolyElement, ring

from .algebraic import Field, embed, lift, real_roots


@dataclass(frozen=True)
class Divisor:
    """A component of K = 0 upstairs: an exceptional one, made by a blow-up, or a curve of zeros in the plane.

    K vanishes on it to the order 2k and the Jacobian to the order h, so it asks for λ = (h + 1) / 2k.
    """

    name: str
    k: int
    h: int

    @property
    def rlct(self) -> Fraction:
        return Fraction(self.h + 1, 2 * self.k)


@dataclass(frozen=True)
class Patch:
    """Coordinates around a point upstairs: the map down, the strict transforms (i, fᵢ, eᵢ), the divisors u = 0, v = 0.

    ``path`` are the blow-ups that lead here, each as (swapped, where on the new divisor the origin is).
    """

    field: Field
    x: PolyElement
    y: PolyElement
    strict: tuple
    axes: tuple[Divisor | None, Divisor | None] = (None, None)
    path: tuple = ()

    @property
    def at(self) -> tuple[Expr, Expr]:
        """The point of the plane under the origin."""
        return tuple(self.field.expr(p.coeff(1)) for p in (self.x, self.y))

    @property
    def steps(self) -> tuple[tuple[str, Expr], ...]:
        """The path in words and expressions."""
        return tuple(("swapped" if swapped else "straight", self.field.expr(c)) for swapped, c in self.path)

    def through(self) -> list[tuple[object, tuple]]:
        """What passes through the origin: divisors, and indices of factors; each with its linear part."""
        lines = [(axis, line) for axis, line in zip(self.axes, ((1, 0), (0, 1)), strict=True) if axis]
        return lines + [(i, linear(f)) for i, f, _ in self.strict if not f.coeff(1)]

    def is_normal_crossings(self) -> bool:
        """Whether at the origin there are at most two smooth components, with different tangents."""
        lines = [line for _, line in self.through()]
        if len(lines) > 2 or not all(any(line) for line in lines):
            return False
        return len(lines) < 2 or bool(lines[0][0] * lines[1][1] - lines[0][1] * lines[1][0])


@dataclass(frozen=True, eq=False)
class Blowup:
    """A node of the tree: a point is blown up, and this is what is found on the new divisor.

    ``divisor``: the one made. ``parents``: the names of the divisors that pass through the point. ``steps``: how the
    point is reached, as for a chart. ``children``: further blow-ups, or charts where none is due.
    """

    divisor: Divisor
    parents: tuple[str, ...]
    steps: tuple
    children: tuple

    def __iter__(self):
        """This blow-up and all above it, from below."""
        yield self
        for child in self.children:
            if isinstance(child, Blowup):
                yield from child

    @property
    def charts(self) -> tuple:
        """The charts that end the tree, from left to right."""
        return tuple(
            chart for c in self.children for chart in (c.charts if isinstance(c, Blowup) else (c,))
        )  # fmt: skip

    def __str__(self) -> str:
        """The tree as lines of text, charts by the divisors that meet in them."""
        lines = [f"{self.divisor.name}: k={self.divisor.k}, h={self.divisor.h}, λ={self.divisor.rlct}"]
        for child in self.children:
            names = getattr(child, "divisors", ())
            text = str(child) if isinstance(child, Blowup) else "∩".join(d.name for d in names if d)
            lines += [f"  {line}" for line in text.splitlines()]
        return "\n".join(lines)


def linear(f: PolyElement) -> tuple:
    """The coefficients of u and v."""
    u, v = f.ring.gens
    return f.coeff(u), f.coeff(v)


def order(f: PolyElement, which=min) -> int:
    """The order of vanishing at the origin; with ``max`` the degree."""
    return which(sum(m) for m in f)


def at_point(factors: list, field: Field, x0, y0) -> Patch:
    """The plane around a point."""
    R, u, v = ring("u,v", field.domain)
    x, y = u + x0, v + y0
    strict = tuple((i, substituted(f, x, y), e) for i, (f, e) in enumerate(factors))
    return Patch(field, x, y, strict)


def blow_up(patch: Patch, chart: Callable[[Patch], object], names: Iterator[str], depth: int):
    """The tree over the origin of ``patch``, or just its ``chart`` where K is a monomial; ``names`` yields E1, E2, …"""
    if patch.is_normal_crossings():
        return chart(patch)
    if len(patch.path) >= depth:
        at = ", ".join(map(str, patch.at))
        raise ValueError(f"depth={depth}; K is not at normal crossings over (x, y) = ({at}) after so many blow-ups")
    olds = [c for c, _ in patch.through() if isinstance(c, Divisor)]
    orders = {i: order(f) for i, f, _ in patch.strict}
    K_order = sum(2 * d.k for d in olds) + sum(orders[i] * e for i, _, e in patch.strict)
    assert K_order % 2 == 0, "K does not change its sign, so its order along a real divisor is even"
    new = Divisor(next(names), K_order // 2, 1 + sum(d.h for d in olds))
    above = [
        child for swapped in (False, True) for child in _on_divisor(_transformed(patch, new, orders, swapped), swapped)
    ]
    children = tuple(blow_up(child, chart, names, depth) for child in above)
    return Blowup(new, tuple(d.name for d in olds), patch.steps, children)


def _transformed(patch: Patch, new: Divisor, orders: dict[int, int], swapped: bool) -> Patch:
    """One of the two patches over the blown-up origin."""
    u, v = patch.x.ring.gens
    one, other = (u * v, u) if swapped else (u, u * v)
    strict = []
    for i, f, e in patch.strict:
        divided = {(a - orders[i], b): c for (a, b), c in _monomial(f, swapped).items()}
        strict.append((i, f.ring.from_dict(divided), e))
    x, y = (_monomial(p, swapped) for p in (patch.x, patch.y))
    return Patch(patch.field, x, y, tuple(strict), (new, patch.axes[0 if swapped else 1]), patch.path)


def _monomial(f: PolyElement, swapped: bool) -> PolyElement:
    """f(u, u v), or f(u v, u)."""
    return f.ring.from_dict({(a + b, a if swapped else b): c for (a, b), c in f.items()})


def _on_divisor(patch: Patch, swapped: bool) -> list[Patch]:
    """The patch around each real point of u = 0 where more than the divisor passes.

    Where there is none the patch itself, for the divisor has to be covered. Of the swapped patch only the origin
    counts, the one direction that the straight patch leaves out.
    """
    if swapped:
        return [replace(patch, path=(*patch.path, (True, patch.field.domain.zero)))]
    T = ring("t", patch.field.domain)[0]
    special = T.gens[0] if patch.axes[1] else T.one
    for _, f, _ in patch.strict:
        special *= T.from_dict({(b,): c for (a, b), c in f.items() if not a})
    places = real_roots(patch.field, special) or [(patch.field, None, patch.field.domain.zero)]
    return [_moved(patch, *place) for place in places]


def _moved(patch: Patch, G: Field, alpha, at) -> Patch:
    """The patch with its origin at (0, at), over the field G of that number."""
    x, y = (lift(p, patch.field, G, alpha) for p in (patch.x, patch.y))
    strict = [(i, lift(f, patch.field, G, alpha), e) for i, f, e in patch.strict]
    path = tuple((swapped, embed(c, patch.field, G, alpha)) for swapped, c in patch.path)
    axes = patch.axes if not at else (patch.axes[0], None)
    if at:
        u, v = x.ring.gens
        x, y = (substituted(p, u, v + at) for p in (x, y))
        strict = [(i, substituted(f, u, v + at), e) for i, f, e in strict]
    return Patch(G, x, y, tuple(strict), axes, (*path, (False, at)))


def substituted(f: PolyElement, u: PolyElement, v: PolyElement) -> PolyElement:
    """f(u, v) for two polynomials, by Horner in each variable; f may have its coefficients in ℚ."""
    rows: dict[int, dict[int, object]] = {}
    for (a, b), c in f.items():
        rows.setdefault(a, {})[b] = c if f.ring.domain == u.ring.domain else u.ring.domain.convert(c, QQ)
    value = u.ring.zero
    for a in range(max(rows, default=0), -1, -1):
        inner, row = u.ring.zero, rows.get(a, {})
        for b in range(max(row, default=-1), -1, -1):
            inner = inner * v + row.get(b, u.ring.domain.zero)
        value = value * u + inner
    return value
