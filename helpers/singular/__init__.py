"""Singular points of a loss: resolve K ≥ 0 into charts where it is a monomial, and how its volume shrinks.

:func:`resolve` blows up a polynomial K(x, y) at all its real zeros and reads off the learning coefficient λ and its
multiplicity m exactly. :func:`volume_exponent` and :func:`local_learning_coefficient` estimate them for any K;
:func:`exact_coefficient` and :func:`resolved_coefficient` say what a perfect estimate would have been.
"""

from .coefficient import Coefficient, extrapolate, local_learning_coefficient
from .diagnostics import effective_size, split_r_hat
from .resolution import Resolution, Zero, resolve
from .resolved import Reference, resolved_coefficient
from .volume import VolumeExponent, volume_exponent
from .zeta import box_zeta, exact_coefficient, gaussian_zeta

__all__ = [
    "Coefficient", "Reference", "Resolution", "VolumeExponent", "Zero", "box_zeta", "effective_size",
    "exact_coefficient", "extrapolate", "gaussian_zeta", "local_learning_coefficient", "resolve",
    "resolved_coefficient", "split_r_hat", "volume_exponent",
]  # fmt: skip
