"""What counts as K: a polynomial in x and y with rational coefficients, from a string, a sympy expression or a number.

A string is parsed into Python's syntax tree and rebuilt from the few kinds of nodes a polynomial needs. Nothing in it
is evaluated, and powers are bounded before they are taken.
"""

from __future__ import annotations

import ast
from numbers import Rational as RationalNumber

from sympy import QQ, Expr, Float, Poly, PolynomialError, Symbol, symbols
from sympy.polys.rings import PolyElement, ring

x, y = symbols("x y")
R, X, Y = ring("x,y", QQ)
DEGREE, BITS, LENGTH = 100, 10_000, 10_000
LIKE = "expected a polynomial in x and y over the rationals, such as (y**2 - x**3)**2"


def polynomial(K, name: str = "K") -> PolyElement:
    """``K`` as a polynomial over ℚ in x and y. Raises ValueError that names the argument and the offending term.

    >>> polynomial("(y - x**2)**2 + 1/3*x**6").as_expr()
    x**6/3 + x**4 - 2*x**2*y + y**2
    >>> polynomial("x**2 + z**2")
    Traceback (most recent call last):
    ValueError: K has the variable 'z'; expected a polynomial in x and y over the rationals, such as (y**2 - x**3)**2
    """
    if isinstance(K, str):
        return _parsed(K, name)
    if isinstance(K, RationalNumber) and not isinstance(K, bool):
        return R(QQ(K.numerator, K.denominator))
    if isinstance(K, Poly):
        K = K.as_expr()
    if not isinstance(K, Expr):
        raise ValueError(f"{name}={K!r}, a {type(K).__name__}; {LIKE}")
    if other := sorted({s.name for s in K.free_symbols} - {"x", "y"}):
        raise ValueError(f"{name} has the variable {other[0]!r}; {LIKE}")
    if floats := sorted(map(str, K.atoms(Float))):
        raise ValueError(f"{name} has the float {floats[0]}; {LIKE}")
    K = K.xreplace({s: Symbol(s.name) for s in K.free_symbols})
    try:
        poly = Poly(K, x, y)
    except PolynomialError as error:
        raise ValueError(f"{name}={K} is no polynomial; {LIKE}") from error
    for coefficient in poly.coeffs():
        if not coefficient.is_Rational:
            raise ValueError(f"{name} has the coefficient {coefficient}; {LIKE}")
    if poly.total_degree() > DEGREE:
        raise ValueError(f"{name} has degree {poly.total_degree()}; expected at most {DEGREE}")
    return R.from_dict({m: QQ(int(c.p), int(c.q)) for m, c in poly.terms() if c})


def _parsed(text: str, name: str) -> PolyElement:
    if len(text) > LENGTH:
        raise ValueError(f"{name} has {len(text)} characters; expected at most {LENGTH}")
    try:
        tree = ast.parse(text.strip(), mode="eval")
        return _built(tree.body, text.strip(), name)
    except (SyntaxError, RecursionError, MemoryError, UnicodeError) as error:
        raise ValueError(f"{name}={text[:60]!r} cannot be read; {LIKE}") from error


def _built(node: ast.AST, text: str, name: str) -> PolyElement:
    """The polynomial a syntax tree stands for; anything but + - * / ** of numbers and the two names is refused."""
    seen = ast.get_source_segment(text, node) or text
    match node:
        case ast.Constant(value=float() | complex()):
            raise ValueError(f"{name} has the float {seen}; {LIKE}")
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            return R(QQ(value))
        case ast.Name(id="x" | "y"):
            return X if node.id == "x" else Y
        case ast.Name():
            raise ValueError(f"{name} has the variable {node.id!r}; {LIKE}")
        case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
            value = _built(node.operand, text, name)
            return -value if isinstance(node.op, ast.USub) else value
        case ast.BinOp(op=ast.Pow()):
            return _power(_built(node.left, text, name), node.right, seen, name)
        case ast.BinOp(op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div()):
            left, right = _built(node.left, text, name), _built(node.right, text, name)
            return _combined(left, right, node.op, seen, name)
    raise ValueError(f"{name} has {seen!r}, which is no polynomial; {LIKE}")


def _combined(left: PolyElement, right: PolyElement, op: ast.AST, seen: str, name: str) -> PolyElement:
    match op:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            if _degree(left) + _degree(right) > DEGREE or _bits(left) + _bits(right) > BITS:
                raise ValueError(f"{name} has {seen!r}; expected degree at most {DEGREE} and shorter coefficients")
            return left * right
    if not right.is_ground or not right:
        raise ValueError(f"{name} divides by {right.as_expr()} in {seen!r}; {LIKE}")
    return left.quo_ground(right.coeff(1))


def _power(base: PolyElement, exponent: ast.AST, seen: str, name: str) -> PolyElement:
    if not (isinstance(exponent, ast.Constant) and type(exponent.value) is int):
        raise ValueError(f"{name} has {seen!r}; expected a whole number as exponent")
    n = exponent.value
    if n > DEGREE or n * _degree(base) > DEGREE or n * (_bits(base) + 1) > BITS:
        raise ValueError(f"{name} has {seen!r}; expected degree at most {DEGREE} and shorter coefficients")
    return base**n if base or n else R.one


def _degree(p: PolyElement) -> int:
    return max((sum(m) for m in p), default=0)


def _bits(p: PolyElement) -> int:
    """A bound of the length of coefficients."""
    return max((int(c.numerator).bit_length() + int(c.denominator).bit_length() for c in p.values()), default=0)
