"""Fields of real algebraic numbers: against floats of many digits."""

import pytest
from sympy import QQ, Poly, Symbol
from sympy.polys.rings import ring

from helpers.singular.algebraic import RATIONALS, Sturm, embed, real_roots, roots_over_rationals

R, t = ring("t", QQ)
FIELDS = [field for p in (t**2 - 2, t**3 - 2, t**3 - 3 * t + 1, t**4 - 10 * t**2 + 1)
          for field, _ in roots_over_rationals(p)]  # fmt: skip


def over(field):
    S, s = ring("t", field.domain)
    return s, field.domain.unit


def numerically(field, p):
    """The distinct real roots of a polynomial over the field, by another library's floats."""
    roots = Poly([field.expr(c).evalf(60) for c in p.to_dense()], Symbol("t")).nroots(n=40, maxsteps=500)
    real = sorted(float(r.as_real_imag()[0]) for r in roots if abs(r.as_real_imag()[1]) < 1e-12)
    return [r for i, r in enumerate(real) if not i or r - real[i - 1] > 1e-9]


def polynomials(field):
    s, a = over(field)
    one = field.domain.one
    return [s**2 - a, s**2 + a, s**2 - 3 * one, s**3 - s * a + one, (s**2 - 3 * one) * (s - a), s**4 + one,
            s**4 - s**2 * a * 3 + one, s**3 + s**2 * a - s - a]  # fmt: skip


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: str(field.root))
def test_the_real_roots_over_a_field_are_all_there_and_lie_over_its_own_root(field):
    for p in polynomials(field):
        found = real_roots(field, p)
        assert sorted(G.float(root) for G, _, root in found) == pytest.approx(numerically(field, p), abs=1e-9)
        for G, alpha, root in found:
            assert G.float(alpha) == pytest.approx(float(field.root))
            value = G.domain.zero
            for c in p.to_dense():
                value = value * root + embed(c, field, G, alpha)
            assert not value  # exactly


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: str(field.root))
def test_sturm_counts_them_and_signs_are_those_of_floats(field):
    for p in polynomials(field):
        roots = numerically(field, p)
        sturm = Sturm(field, p)
        assert sturm.count() == len(roots)
        assert sturm.count(0) == sum(r > 0 for r in roots) and sturm.count(-1, 1) == sum(-1 < r <= 1 for r in roots)
    a = field.domain.unit
    for b in (a, a * a - 2, a - QQ(7, 5), a**3 - 3 * a + 1, a * 0):
        value = field.expr(b).evalf(50)
        assert field.sign(b) == (0 if abs(value) < 1e-40 else 1 if value > 0 else -1)
        assert field.float(b) == pytest.approx(float(value), abs=1e-300)


def test_a_number_close_to_zero_has_a_sign():
    field = roots_over_rationals(t**2 - 2)[1][0]
    near = field.domain.unit - QQ(1572584048032918633353217, 1111984844349868137938112)  # a convergent of √2
    assert field.sign(near) == -1 and abs(field.float(near)) < 1e-48


def test_a_rational_root_needs_no_field():
    assert roots_over_rationals((2 * t - 1) ** 3) == [(RATIONALS, QQ(1, 2))]
    assert real_roots(RATIONALS, (t**2 + 1) * t)[0][2] == 0
