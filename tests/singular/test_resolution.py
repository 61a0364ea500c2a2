"""Every chart is what it says it is, the charts together are all there is, and λ and m are the known ones."""

import math
import random
import re
from fractions import Fraction
from functools import cache

import mpmath
import pytest
import sympy
from sympy import Rational, oo, symbols

from helpers.singular import KNOWN, Blowup, resolve

x, y, u, v = symbols("x y u v")
# zeros elsewhere than at the origin, curves of zeros, centres in one field upon another
FURTHER = (
    "(x**2 - 2)**2 + (y**2 - 3)**2",
    "((x**2 - 2*y**2)**2 - y**5)**2",
    "(x**2 - 2*y**2)**2*((x - y)**2 - 3*y**2)**2",
    "((x**2 + y**2)**2 - x**2 + y**2)**2",
    "(y**2 - x**3 + x)**2",
    "(x**2 - 2)**2*(x*y - 1)**2",
    "((x**3 - 2*y**3)**2 + y**8)*((x - 1)**2 + (y - 1)**2)",
    "((y**2 - x**3)**2 - x**7)**2*(x**2 + y**4)",
    "(x**2 - 3)**2*(y - 1)**2 + (y - 1)**6",
    "x**2*(x**2 + y**2 - 2*y)**2",
)
resolved = cache(resolve)
all_losses = pytest.mark.parametrize("K", [*KNOWN, *FURTHER])


def charts(K):
    return [chart for chart in resolved(K).charts if chart.at is not None]


@pytest.mark.parametrize(("K", "known"), KNOWN.items())
def test_known_values_come_out(K, known):
    found = resolved(K)
    assert (found.rlct, found.multiplicity) == known


def rings(chart):
    """What turns an expression in u and v into something to compute with: polynomials, or 60 digits at a point."""
    if not chart.field.minimal:
        return [lambda expr: sympy.Poly(expr, u, v, domain="QQ")]
    points = [{u: Rational(a, 7), v: Rational(b, 5)} for a, b in ((3, 2), (-5, 9), (4, -11))]
    return [lambda expr, at=at: sympy.sympify(expr).subs(at).evalf(60) for at in points]


def function(expr, *variables):
    """An expression as a function of numbers, as exact as mpmath is told to be."""
    roots = {root: root.evalf(200) for root in expr.atoms(sympy.CRootOf)}
    return sympy.lambdify(variables, expr.xreplace(roots), "mpmath")


def equal(one, other) -> bool:
    return one == other if isinstance(one, sympy.Poly) else abs(one - other) < 1e-45 * (1 + abs(one))


@all_losses
def test_in_every_chart_K_and_the_jacobian_are_monomials_times_units(K):
    loss = sympy.lambdify((x, y), sympy.sympify(K), "sympy")
    for chart in resolved(K).charts:
        (k1, k2), (h1, h2) = chart.k, chart.h
        slopes = [f.diff(w) for f in (chart.x, chart.y) for w in (u, v)]
        for ring in rings(chart):
            p, q = map(ring, chart.coordinates)
            a, b, c, d = map(ring, slopes)
            pulled_back, jacobian = loss(ring(chart.x), ring(chart.y)), a * d - b * c
            assert equal(pulled_back, p ** (2 * k1) * q ** (2 * k2) * ring(chart.unit))
            assert equal(jacobian, p**h1 * q**h2 * ring(chart.jacobian_unit))
            assert equal(pulled_back, ring(chart.K)) and equal(jacobian, ring(chart.jacobian))


@all_losses
def test_at_a_charts_origin_the_unit_is_positive_and_the_jacobians_is_not_zero(K):
    origin = {u: 0, v: 0}
    for chart in charts(K):
        assert chart.unit.subs(origin).evalf(30) > 0
        assert sympy.sign(chart.jacobian_unit.subs(origin).evalf(30)) == chart.sign != 0
        assert [c.subs(origin) for c in chart.coordinates] == [0, 0] and chart.slope.subs(origin).evalf(30) != 0
        assert (chart.x.subs(origin), chart.y.subs(origin)) == chart.at


def inside(chart, point, delta=0.1) -> bool:
    """Whether a point of the chart is near a divisor, at a place where the chart's form is said to hold."""
    return any(
        interval is not None and abs(point[axis]) < delta and interval[0] < point[1 - axis] < interval[1]
        for axis, interval in enumerate(chart.reach)
    )


def nearby(zero, rng, size=1e-4):
    """Points near a zero, in all directions, and above them all along the divisors."""
    x0, y0 = map(float, zero.at)
    angles = [rng.uniform(0, 2 * math.pi) for _ in range(40)]
    points = [(x0 + size * math.cos(angle), y0 + size * math.sin(angle)) for angle in angles]
    points += [(x0, y0 + size), (x0, y0 - size), (x0 + size, y0), (x0 - size, y0)]
    for chart in zero.charts:
        for _ in range(40):
            small, wide = rng.choice((-1, 1)) * size, math.tan(rng.uniform(-1.56, 1.56))
            points += [chart(small, wide), chart(wide, small)]
    return [point for point in points if math.dist(point, (x0, y0)) < 100 * size]


@all_losses
def test_the_charts_cover_a_neighbourhood_of_every_zero(K):
    rng = random.Random(0)
    for zero in resolved(K).zeros:
        if zero.at is not None and zero.tree is not None:
            for point in nearby(zero, rng):
                seen = [(chart, chart.preimage(*point)) for chart in zero.charts]
                assert any(all(map(math.isfinite, there)) and inside(chart, there) for chart, there in seen), (
                    zero,
                    point,
                )


def test_one_chart_alone_leaves_out_a_direction():
    zero = resolved("x**2 + y**2").zeros[0]
    straight, swapped = (chart.preimage(0, 1e-4) for chart in zero.charts)
    assert not all(map(math.isfinite, straight)) and swapped == (1e-4, 0)


@all_losses
def test_a_chart_reaches_as_far_as_it_says_and_no_further(K):
    rng = random.Random(1)
    for chart in charts(K):
        for axis, interval in enumerate(chart.reach):
            if interval is None:
                continue
            along = (u, v)[1 - axis]
            left = chart.unit * chart.jacobian_unit * chart.coordinates[1 - axis] / along
            left = function(sympy.cancel(left.subs((u, v)[axis], 0)), along)
            for end, sign in zip(interval, (-1, 1), strict=True):
                assert sign * end > 0
                within = [sign * rng.uniform(0, float(min(abs(end), 1e3))) for _ in range(20)]
                with mpmath.workdps(200):
                    assert all(left(mpmath.mpf(t)) * left(mpmath.mpf(sign) / 10**9) > 0 for t in within)
                    if abs(end) != oo:  # a root follows
                        values = [left(mpmath.mpf(end.p) / end.q * (1 + mpmath.mpf(t) / 10**6)) for t in range(-5, 60)]
                        assert min(values) <= 0 <= max(values) or min(map(abs, values)) < max(map(abs, values)) / 10**3


@all_losses
def test_a_preimage_is_one(K):
    for chart in resolved(K).charts:
        if chart.at is None and chart.coordinates != (u, v):
            continue
        there = chart.preimage(*chart(0.3, -0.2))
        assert there == pytest.approx((0.3, -0.2), abs=1e-6)


@all_losses
def test_the_divisors_over_a_point_make_a_tree(K):
    for zero in resolved(K).zeros:
        meet = [d for c in zero.charts if all(c.divisors) for d in [c.divisors] if all(e.name[0] == "E" for e in d)]
        made = list(zero.tree or ())
        assert len(meet) == max(len(made) - 1, 0)
        assert {d.name for c in zero.charts for d in c.divisors if d and d.name[0] == "E"} == {
            blowup.divisor.name for blowup in made
        }
        for blowup in made:
            assert isinstance(blowup, Blowup) and blowup.charts and len(blowup.parents) <= 2


def test_the_tree_of_the_cusp():
    found = resolved("(y**2 - x**3)**2")
    assert str(found.zeros[0].tree).splitlines() == [
        "E1: k=2, h=1, λ=1/2",
        "  E2: k=3, h=2, λ=1/2",
        "    E2",
        "    E3: k=6, h=4, λ=5/12",
        "      E3∩C1",
        "      E3∩E1",
        "      E3∩E2",
        "  E1",
    ]
    assert [blowup.parents for blowup in found.zeros[0].tree] == [(), ("E1",), ("E2", "E1")]


def test_two_charts_for_a_sum_of_squares_and_the_unit_goes_into_the_radius():
    first, second = resolved("x**2 + y**2").charts
    assert (first.x, first.y, second.x, second.y) == (u, u * v, u * v, u)
    for chart in (first, second):
        assert (chart.k, chart.h, chart.unit, chart.reach) == ((1, 0), (1, 0), v**2 + 1, ((-oo, oo), None))
        absorbed = chart.absorbed()
        assert absorbed.coordinate == u * sympy.sqrt(1 + v**2) and absorbed.explicit
        assert absorbed.jacobian == sympy.Abs(sympy.Symbol("u'")) / (v**2 + 1)
    assert (first.sign, second.sign) == (1, -1)


@pytest.mark.parametrize("K", KNOWN)
def test_an_absorbed_unit_leaves_a_bare_monomial_and_keeps_areas(K):
    at = mpmath.mpf("0.01"), mpmath.mpf("0.02")
    for chart in charts(K):
        absorbed, q = chart.absorbed(), chart.coordinates[1]
        first = sympy.Symbol("u'") if absorbed.explicit else u
        one, two = function(absorbed.coordinate, u, v), function(q, u, v)
        K_, J, area = function(chart.K, u, v), function(chart.jacobian, u, v), function(absorbed.jacobian, first, v)
        with mpmath.workdps(40):
            assert abs(one(*at) ** (2 * chart.k[0]) * two(*at) ** (2 * chart.k[1]) / K_(*at) - 1) < 1e-20
            a, b, c, d = (mpmath.diff(f, at, n) for f in (one, two) for n in ((1, 0), (0, 1)))
            there = (one(*at), at[1]) if absorbed.explicit else at
            assert abs(area(*there) * abs(a * d - b * c) / abs(J(*at)) - 1) < 1e-9


def test_zeros_at_irrational_points_are_found_each():
    found = resolved("(x**2 - 2)**2 + (y**2 - 3)**2")
    at = sorted((round(float(a), 6), round(float(b), 6)) for a, b in (zero.at for zero in found.zeros))
    assert at == [(a * 1.414214, b * 1.732051) for a in (-1, 1) for b in (-1, 1)]
    assert all(zero.isolated and (zero.rlct, zero.multiplicity) == (1, 1) for zero in found.zeros)


def test_a_curve_of_zeros_of_order_2k_has_a_half_of_one_over_k():
    for k in (1, 2, 3):
        (curve,) = resolved(f"(y - x**2)**{2 * k} * (1 + x**2)").zeros
        assert (curve.rlct, curve.multiplicity, curve.at) == (Fraction(1, 2 * k), 1, None)
        (chart,) = curve.charts
        assert chart.coordinates == (u, v) and chart.k == (k, 0) and chart.h == (0, 0)


def test_a_circle_and_a_tangent_meet_in_a_point_of_its_own():
    found = resolved("x**2*(x**2 + y**2 - 2*x)**2")
    point = next(zero for zero in found.zeros if zero.at == (0, 0))
    assert not point.isolated and (point.rlct, point.multiplicity) == (Fraction(3, 8), 1)
    assert sorted(str(zero.equation) for zero in found.zeros if zero.at is None) == ["x", "x**2 - 2*x + y**2"]


def test_the_multiplicity_is_that_of_a_real_point():
    """Two divisors with the same λ that do not meet count once."""
    found = resolved("x**4*(x - 1)**4*y**2")
    assert found.rlct == Fraction(1, 4) and found.multiplicity == 1
    assert resolved("x**4*(x - y)**4").multiplicity == 2


def test_a_polynomial_and_an_expression_are_as_good_as_a_string():
    one = resolve(sympy.Poly((y**2 - x**3) ** 2, x, y))
    other = resolve((sympy.Symbol("y", real=True) ** 2 - sympy.Symbol("x", real=True) ** 3) ** 2)
    assert one.K == other.K == resolved("(y**2 - x**3)**2").K


@pytest.mark.parametrize(
    ("K", "said"),
    [
        ("0", "zero polynomial"),
        (0, "zero polynomial"),
        ("x - x", "zero polynomial"),
        ("x**2 + y**2 + 1", "no real zero"),
        ("(x*y - 1)**2 + x**2", "no real zero"),  # its infimum is 0
        ("3", "no real zero"),
    ],
)
def test_a_loss_without_zeros_to_resolve_is_refused(K, said):
    with pytest.raises(ValueError, match=said):
        resolve(K)


@pytest.mark.parametrize(
    "K",
    ["x*y", "-x**2", "-1", "x**3", "x**4 + y**4 - x**2", "(x**2 + y**2)**3 - 4*x**2*y**2", "x**6 + y**6 - 2",
     "y**2 - x**3", "(x - 100)*(x - 101)*(y**2 + 1)", "x**2*(y - 1000)", "x**4*y**2 + x**2*y**4 - 31/10*x**2*y**2 + 1"],
)  # fmt: skip
def test_a_loss_that_is_negative_is_refused_with_a_point_where_it_is(K):
    with pytest.raises(ValueError, match="K is negative at") as error:
        resolve(K)
    a, b = re.search(r"= \((.*), (.*)\);", str(error.value)).groups()
    assert sympy.sympify(K).subs({x: Rational(a), y: Rational(b)}) < 0


def test_motzkins_polynomial_is_not_negative():
    found = resolved("x**4*y**2 + x**2*y**4 - 3*x**2*y**2 + 1")
    assert sorted(zero.at for zero in found.zeros) == [(-1, -1), (-1, 1), (1, -1), (1, 1)]
    assert (found.rlct, found.multiplicity) == (1, 1)


def test_too_many_blow_ups_are_refused():
    with pytest.raises(ValueError, match=r"depth=2; .*\(0, 0\)"):
        resolve("(y**2 - x**3)**2", depth=2)
    assert resolve("(y**2 - x**3)**2", depth=3).rlct == Fraction(5, 12)
    assert resolve("x**2*y**2", depth=0).multiplicity == 2
    with pytest.raises(ValueError, match="depth=-1"):
        resolve("x**2", depth=-1)
