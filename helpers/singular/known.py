"""Losses whose λ and m are known without :func:`helpers.singular.resolve`: what it is held against.

For K = f² with a curve f on which real and complex thresholds agree, λ is half the log canonical threshold of the
curve: those of the simple singularities, which their weights give, and those that quartics and quintics have (Cheltsov,
https://arxiv.org/abs/1409.6186). The rest by hand.

>>> from helpers.singular import KNOWN
>>> KNOWN["(y**2 - x**3)**2"], len(KNOWN)
((Fraction(5, 12), 1), 29)
"""

from fractions import Fraction

SQUARES = {
    "x*y": ("1/2", 2),
    "x**2 + y**2": ("1/2", 1),  # over the complex numbers m is 2
    "x**2 - 2*y**2": ("1/2", 2),
    "y**2 - x**3": ("5/12", 1),  # A2 to A5
    "y**2 - x**4": ("3/8", 1),
    "y**2 - x**5": ("7/20", 1),
    "y**2 - x**6": ("1/3", 1),
    "x**2*y - y**3": ("1/3", 1),  # D4 to D6
    "x**2*y + y**4": ("5/16", 1),
    "x**2*y + y**5": ("3/10", 1),
    "x**3 + y**4": ("7/24", 1),  # E6 to E8
    "x**3 + x*y**3": ("5/18", 1),
    "x**3 + y**5": ("4/15", 1),
    "x**5 + y**5": ("1/5", 1),  # quartics and quintics
    "x**4 + x*y**4": ("7/32", 1),
    "x**4 + y**5": ("9/40", 1),
    "x**3*y + x*y**4": ("5/22", 1),
    "x**3*y + y**5": ("7/30", 1),
    "x*y*(x**2 - y**2)": ("1/4", 1),
    "x**4 + x**2*y**2 + y**5": ("1/4", 2),
    "(y**2 - x**3)**2 + x**5*y": ("5/24", 1),
}
DIRECT = {
    "x**2 + y**2": ("1", 1),
    "x**2 + y**4": ("3/4", 1),
    "x**2*y**2 + x**6 + y**6": ("1/2", 2),
    "(y - x**2)**2 + x**6": ("2/3", 1),  # the Newton polygon says 3/4
    "x**2*y**2": ("1/2", 2),
    "x**4*y**2": ("1/4", 1),
    "x**4*y**4": ("1/4", 2),
    "(x**3 - 2*y**3)**2 + y**8": ("1/3", 1),  # its second centre is irrational
}
KNOWN: dict[str, tuple[Fraction, int]] = {
    K: (Fraction(rlct), m) for K, (rlct, m) in ({f"({f})**2": known for f, known in SQUARES.items()} | DIRECT).items()
}
