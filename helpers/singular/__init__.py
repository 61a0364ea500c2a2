"""Singular points of a loss: resolve K ≥ 0 into charts where it is a monomial, and read off how its volume shrinks.

:func:`resolve` blows up a polynomial K(x, y) at all its real zeros: exact charts, divisors, λ and multiplicity.
:func:`monomial_rlct`, :func:`sum_rlct`, :func:`deep_linear_rlct` are closed forms in more variables.
:func:`newton_polygon`, :func:`adapted_rlct`, :func:`quasi_homogeneous_rlct` are other routes to λ and m in the plane,
and ``KNOWN`` has losses for which they are known.
"""

from .blowups import Blowup, Divisor
from .charts import Absorbed, Chart
from .closed import deep_linear_rlct, monomial_rlct, sum_rlct
from .known import KNOWN
from .newton import NewtonPolygon, adapted_rlct, newton_polygon, quasi_homogeneous_rlct
from .resolution import Resolution, Zero, resolve

__all__ = [
    "Absorbed", "Blowup", "Chart", "Divisor", "KNOWN", "NewtonPolygon", "Resolution", "Zero", "adapted_rlct",
    "deep_linear_rlct", "monomial_rlct", "newton_polygon", "quasi_homogeneous_rlct", "resolve", "sum_rlct",
]  # fmt: skip
