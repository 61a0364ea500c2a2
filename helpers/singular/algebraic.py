"""Real algebraic numbers: the field ℚ(α) of one real α, signs in it, and the real roots of polynomials over it.

A zero of K, or the place on a divisor where the next blow-up is due, may be irrational. Such a point lies in a field
ℚ(α): a minimal polynomial of α over ℚ, and an interval in which α is its only root. Arithmetic needs the polynomial
alone; signs, and so everything that is *real*, need the interval too. A root β over ℚ(α) gets a field ℚ(γ) of its own,
one level high, with γ = β + sα (the primitive element theorem): by the norm, factored over ℚ (as Trager does).
Towers of fields never arise.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import inf, prod

from sympy import QQ, Add, Expr, Integer, Poly, Rational, Symbol, rootof
from sympy.polys.rings import PolyElement, ring

Z = Symbol("z")


@dataclass(eq=False)
class Field:
    """ℚ(α), with α a real root of ``minimal`` (its coefficients, highest first) and the only one in ``interval``."""

    domain: object
    root: Expr = Integer(0)
    minimal: tuple = ()
    interval: tuple = ()

    def list(self, a) -> list:
        """The rational coefficients of ``a`` as a polynomial in α, highest first."""
        return [a] if self.domain is QQ else a.to_list()

    def sign(self, a) -> int:
        """The sign of a number of the field; zero is known exactly, so narrowing the interval ends."""
        if not a:
            return 0
        while True:
            low, high = self.bounds(self.list(a))
            if low > 0 or high < 0:
                return 1 if low > 0 else -1
            self.narrow()

    def bounds(self, coefficients: list) -> tuple:
        """An interval that holds the value of a rational polynomial at α."""
        low = high = QQ(0)
        for c in coefficients:
            if low or high:
                ends = [a * b for a in (low, high) for b in self.interval]
                low, high = min(ends), max(ends)
            low, high = low + c, high + c
        return low, high

    def narrow(self) -> None:
        """Halve the interval."""
        low, high = self.interval
        middle = (low + high) / 2
        same = _horner(self.minimal, low) * _horner(self.minimal, middle) > 0
        self.interval = (middle, high) if same else (low, middle)

    def expr(self, a) -> Expr:
        """A number of the field as a sympy expression in its root."""
        return _horner([Rational(int(c.numerator), int(c.denominator)) for c in self.list(a)], self.root).expand()

    def float(self, a) -> float:
        """A number of the field, to the last digits that a float has."""
        while True:
            low, high = self.bounds(self.list(a))
            if high - low <= abs(low + high) / 2**56:
                return float(Fraction(str((low + high) / 2)))
            self.narrow()


RATIONALS = Field(QQ)


def roots_over_rationals(p: PolyElement) -> list[tuple[Field, object]]:
    """The real roots of a rational polynomial in one variable, ascending for each factor: a field, and the root in it.

    >>> from sympy import QQ
    >>> from sympy.polys.rings import ring
    >>> R, t = ring("t", QQ)
    >>> [field.expr(root) for field, root in roots_over_rationals((2 * t - 1) * (t**2 - 2) * (t**2 + 1))]
    [1/2, -sqrt(2), sqrt(2)]
    """
    found = []
    for factor, _ in sorted(p.factor_list()[1], key=lambda item: (item[0].degree(), item[0].to_dense())):
        dense = factor.monic().to_dense()
        found += [(RATIONALS, -dense[1])] if len(dense) == 2 else [(f, f.domain.unit) for f in _fields(dense)]
    return found


def _fields(dense: list) -> list[Field]:
    """ℚ(α) for each real root α of an irreducible polynomial; they share one arithmetic."""
    poly = Poly(dense, Z, domain=QQ)
    spans = [span for span, _ in poly.intervals()]
    if not spans:
        return []
    domain = QQ.algebraic_field((poly, rootof(poly, 0)))
    return [Field(domain, rootof(poly, i), tuple(dense), tuple(map(QQ.convert, s))) for i, s in enumerate(spans)]


def _horner(coefficients, at):
    value = 0 * at
    for c in coefficients:
        value = value * at + c
    return value


def squarefree(p: PolyElement) -> PolyElement:
    """The same roots, each once."""
    return p.monic() if p.degree() < 2 else p.quo(p.gcd(p.diff(p.ring.gens[0]))).monic()


class Sturm:
    """Counts the distinct real roots of a polynomial over ``field``, in all or between two rational numbers."""

    def __init__(self, field: Field, p: PolyElement):
        self.field, chain = field, [p, p.diff(p.ring.gens[0])]
        while chain[-1]:
            chain.append(-chain[-2].rem(chain[-1]))
        self.chain = chain[:-1]

    def _variations(self, at) -> int:
        if at in (inf, -inf):
            values = [q.LC * (-1) ** (q.degree() * (at < 0)) for q in self.chain]
        else:
            x = self.field.domain.convert(QQ.convert(at))
            values = [q.evaluate(0, x) for q in self.chain]
        signs = [s for s in map(self.field.sign, values) if s]
        return sum(a != b for a, b in zip(signs, signs[1:], strict=False))

    def count(self, low=-inf, high=inf) -> int:
        """The number of roots in (low, high]."""
        return self._variations(low) - self._variations(high)


def real_roots(field: Field, p: PolyElement) -> list[tuple[Field, object, object]]:
    """The distinct real roots of ``p`` over ``field``: for each a field G, what α is in G, and the root in G."""
    if p.degree() < 1:
        return []
    alpha, p = field.domain.unit if field.minimal else QQ(0), squarefree(p)
    if p.degree() == 1:
        return [(field, alpha, -p.coeff(1))]
    if not field.minimal:
        return [(G, G.domain.zero, root) for G, root in roots_over_rationals(p)]
    if not Sturm(field, p).count():
        return []
    found, t = [], p.ring.gens[0]
    s, _, norm = p.sqf_norm()
    s = s[0] if isinstance(s, list) else s  # sympy wraps it from 1.13 on
    for factor, _ in norm.factor_list()[1]:
        over = factor.set_ring(p.ring).compose(t, t + s * alpha).gcd(p)
        if over.degree() == 1:
            found.append((field, alpha, -over.monic().coeff(1)))
            continue
        expressed = None
        for G in _fields(factor.monic().to_dense()):
            expressed = expressed or _old_root(field, p, s, G)
            if _is_root(field, G, G.list(expressed)):
                found.append((G, expressed, G.domain.unit - s * expressed))
    return found


def _old_root(field: Field, p: PolyElement, s: int, G: Field):
    """α in G = ℚ(γ): the one common root of its minimal polynomial and of p(γ - sz), where p's coefficients have z."""
    R, z = ring("z", G.domain)
    moved = R.zero
    for c in p.to_dense():
        moved = moved * (R.ground_new(G.domain.unit) - s * z) + R.from_dense(
            [G.domain.convert(a, QQ) for a in field.list(c)]
        )
    minimal = R.from_dense([G.domain.convert(a, QQ) for a in field.minimal])
    common = minimal.gcd(moved).monic()
    assert common.degree() == 1, "the norm is square-free, so the pair (α, β) is found from their sum"
    return -common.coeff(1)


def _is_root(field: Field, G: Field, expressed: list) -> bool:
    """Whether this real γ goes with the α of ``field``, and not with another root of its minimal polynomial."""
    while True:
        low, high = G.bounds(expressed)
        if field.interval[0] < low and high < field.interval[1]:
            return True
        if high < field.interval[0] or field.interval[1] < low:
            return False
        G.narrow()


def lift(p: PolyElement, field: Field, G: Field, alpha) -> PolyElement:
    """A polynomial over ``field`` as one over G, in which α is ``alpha``."""
    if field is G:
        return p
    target = p.ring.clone(domain=G.domain)
    return target.from_dict({m: embed(c, field, G, alpha) for m, c in p.items()})


def embed(a, field: Field, G: Field, alpha):
    """A number of ``field`` in G."""
    return a if field is G else _horner([G.domain.convert(c, QQ) for c in field.list(a)], alpha + G.domain.zero)


def expression(p: PolyElement, field: Field, *variables) -> Expr:
    """A polynomial over ``field`` as a sympy expression in ``variables``."""
    terms = [field.expr(c) * prod(s**e for s, e in zip(variables, m, strict=True)) for m, c in p.terms()]
    return Add(*terms)
