"""Singular points of a loss: resolve K ≥ 0 into charts where it is a monomial, and read off how its volume shrinks.

:func:`resolve` blows up a polynomial K(x, y) at all its real zeros.
"""

from .resolution import Resolution, Zero, resolve

__all__ = ["Resolution", "Zero", "resolve"]
