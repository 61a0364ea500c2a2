"""Singular points of a loss: resolve K ≥ 0 into charts where it is a monomial, and how its volume shrinks.

:func:`resolve` blows up a polynomial K(x, y) at all its real zeros: exact charts, divisors, λ and multiplicity m.
:func:`monomial_rlct`, :func:`sum_rlct`, :func:`deep_linear_rlct` are closed forms in more variables.
:func:`newton_polygon`, :func:`adapted_rlct`, :func:`quasi_homogeneous_rlct` are other routes to λ and m in the plane,
and ``KNOWN`` has losses for which they are known, some of them by a name in ``CURVES``.
:func:`volume_exponent` and :func:`local_learning_coefficient` estimate λ and m for any K;
:func:`exact_coefficient` and :func:`resolved_coefficient` say what a perfect estimate would have been.
"""

from .blowups import Blowup, Divisor
from .charts import Absorbed, Chart
from .closed import deep_linear_rlct, monomial_rlct, sum_rlct
from .coefficient import Coefficient, extrapolate, local_learning_coefficient
from .diagnostics import effective_size, split_r_hat
from .known import CURVES, KNOWN
from .newton import NewtonPolygon, adapted_rlct, newton_polygon, quasi_homogeneous_rlct
from .resolution import Resolution, Zero, resolve
from .resolved import Reference, resolved_coefficient
from .volume import VolumeExponent, volume_exponent
from .zeta import box_zeta, exact_coefficient, gaussian_zeta

__all__ = [
    "CURVES", "KNOWN", "Absorbed", "Blowup", "Chart", "Coefficient", "Divisor", "NewtonPolygon", "Reference",
    "Resolution", "VolumeExponent", "Zero", "adapted_rlct", "box_zeta", "deep_linear_rlct", "effective_size",
    "exact_coefficient", "extrapolate", "gaussian_zeta", "local_learning_coefficient", "monomial_rlct",
    "newton_polygon",
    "quasi_homogeneous_rlct", "resolve", "resolved_coefficient", "split_r_hat", "sum_rlct", "volume_exponent",
]  # fmt: skip
