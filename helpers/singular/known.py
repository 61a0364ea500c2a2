"""Losses whose λ and m are known without :func:`helpers.singular.resolve`: what it is held against.

For K = f² with a curve f on which real and complex thresholds agree, λ is half the log canonical threshold of the
curve: those of the simple singularities, which their weights give, and those that quartics and quintics have (Cheltsov,
https://arxiv.org/abs/1409.6186). The rest by hand.

>>> from helpers.singular import KNOWN
>>> KNOWN["(y**2 - x**3)**2"], len(KNOWN)
((Fraction(5, 12), 1), 29)
"""

from fractions import Fraction

# name: K, its λ and m
NAMED = {
    "node": ("(x*y)**2", "1/2", 2),
    "A2 cusp": ("(y**2 - x**3)**2", "5/12", 1),
    "A3": ("(y**2 - x**4)**2", "3/8", 1),
    "A4": ("(y**2 - x**5)**2", "7/20", 1),
    "A5": ("(y**2 - x**6)**2", "1/3", 1),
    "D4": ("(x**2*y - y**3)**2", "1/3", 1),
    "D5": ("(x**2*y - y**4)**2", "5/16", 1),
    "D6": ("(x**2*y - y**5)**2", "3/10", 1),
    "E6": ("(x**3 + y**4)**2", "7/24", 1),
    "E7": ("(x**3 + x*y**3)**2", "5/18", 1),
    "E8": ("(x**3 + y**5)**2", "4/15", 1),
    "isolated": ("(x**2 + y**2)**2", "1/2", 1),  # over the complex numbers m is 2
    "irrational node": ("(x**2 - 2*y**2)**2", "1/2", 2),
    "four lines": ("(x*y*(x**2 - y**2))**2", "1/4", 1),
    "five lines": ("(x**5 + y**5)**2", "1/5", 1),
    "x⁴ + xy⁴": ("(x**4 + x*y**4)**2", "7/32", 1),
    "x⁴ + y⁵": ("(x**4 + y**5)**2", "9/40", 1),
    "x³y + xy⁴": ("(x**3*y + x*y**4)**2", "5/22", 1),
    "x³y + y⁵": ("(x**3*y + y**5)**2", "7/30", 1),
    "x⁴ + x²y² + y⁵": ("(x**4 + x**2*y**2 + y**5)**2", "1/4", 2),
    "two pairs": ("((y**2 - x**3)**2 + x**5*y)**2", "5/24", 1),
    "x² + y²": ("x**2 + y**2", "1", 1),
    "x² + y⁴": ("x**2 + y**4", "3/4", 1),
    "x²y² + x⁶ + y⁶": ("x**2*y**2 + x**6 + y**6", "1/2", 2),
    "(y − x²)² + x⁶": ("(y - x**2)**2 + x**6", "2/3", 1),  # the Newton polygon says 3/4
}
FURTHER = {
    "x**2*y**2": ("1/2", 2),
    "x**4*y**2": ("1/4", 1),
    "x**4*y**4": ("1/4", 2),
    "(x**3 - 2*y**3)**2 + y**8": ("1/3", 1),  # its second centre is irrational
}
CURVES: dict[str, str] = {name: K for name, (K, *_) in NAMED.items()}
KNOWN: dict[str, tuple[Fraction, int]] = {
    K: (Fraction(rlct), m) for K, rlct, m in (*NAMED.values(), *((K, *known) for K, known in FURTHER.items()))
}
