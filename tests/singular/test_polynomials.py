"""What K may be, and that nothing in a string is ever evaluated."""

import time
from fractions import Fraction

import pytest
import sympy

from helpers.singular import resolve
from helpers.singular.reading import R, X, Y, polynomial

x, y = sympy.symbols("x y")


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("(y - x**2)**2 + 1/3*x**6", (Y - X**2) ** 2 + X**6 / 3),
        (" -x + +y*2/4 - -3", -X + Y / 2 + 3),
        ("x**0", R.one),
        (x**2 / 3 - y, X**2 / 3 - Y),
        (sympy.Poly(x**2 + 1, x), X**2 + 1),
        (sympy.Symbol("x", positive=True), X),
        (2, R(2)),
        (Fraction(1, 2), R.one / 2),
    ],
)
def test_polynomials_are_read(given, read):
    assert polynomial(given) == read


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("x**2 + 0.5*y**2", "float 0.5"),
        ("1e3*x", "float 1e3"),
        ("2j*x", "float 2j"),
        (1.5 * x**2, "float 1.5"),
        ("x**2 + z**2", "variable 'z'"),
        (sympy.Symbol("z") ** 2, "variable 'z'"),
        ("x^2", r"'x\^2'"),
        ("sin(x)", r"'sin\(x\)'"),
        (sympy.sin(x), r"sin\(x\)"),
        ("__import__('os').system('true')", "no polynomial"),
        ("x.real", "no polynomial"),
        ("[x]", "no polynomial"),
        ("x if y else x", "no polynomial"),
        ("True", "no polynomial"),
        ("'x'", "no polynomial"),
        ("x**y", "exponent"),
        ("x**-2", "exponent"),
        ("x**2.0", "exponent"),
        ("x**(1 + 1)", "exponent"),
        ("x**True", "exponent"),
        ("1/x", "divides by x"),
        ("x/0", "divides by 0"),
        ("x/(y - y)", "divides by 0"),
        (x / y, "no polynomial"),
        (sympy.sqrt(2) * x**2, r"sqrt\(2\)"),
        (sympy.pi * x, "pi"),
        (sympy.I * x, "coefficient I"),
        ("", "cannot be read"),
        ("x +", "cannot be read"),
        ("x; y", "cannot be read"),
        ("(" * 3000, "cannot be read"),
        ("x\x00", "cannot be read"),
        ("x" * 20_000, "20000 characters"),
        ("x**101", "degree at most 100"),
        ("(x**10)**11", "degree at most 100"),
        ("x**60*y**60", "degree at most 100"),
        (x**101, "degree 101"),
        (None, "NoneType"),
        (True, "bool"),
        (1.5, "float"),
        ([x], "list"),
        (sympy.Eq(x, y), "K="),
    ],
)
def test_what_is_no_polynomial_is_refused_and_the_term_named(given, named):
    with pytest.raises(ValueError, match=named) as error:
        resolve(given)
    assert "K" in str(error.value)


@pytest.mark.parametrize("bomb", ["((((9**99)**99)**99)**99)**99", "10**99999999", "+".join(["(x+y)**100"] * 50)])
def test_a_string_cannot_keep_the_reader_busy(bomb):
    begun = time.process_time()
    try:
        polynomial(bomb)
    except ValueError as error:
        assert "shorter coefficients" in str(error)
    assert time.process_time() - begun < 5
