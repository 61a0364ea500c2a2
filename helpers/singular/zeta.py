"""The exact law behind an estimate: what a perfect sampler measures at a finite inverse temperature.

For a random ``w`` the zeta function ``ζ(z) = E[K(w)^-z]`` has its first pole at z = λ, of order m. Its Mellin inverse
is the partition function (Watanabe 2009),

    Z(t) = E[exp(-t K)] = 1/(2πi) ∫ Γ(z) t^-z ζ(z) dz    along Re z = c, 0 < c < λ,

so that ``λ(t) = t E_t[K] = -t Z'(t)/Z(t)`` is one integral over another. It tends to λ, but slowly where m > 1:
``λ(t) = λ - (m - 1)/log t + …``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import gamma, gammaln, loggamma

from ..checks import finite, wholes

NODES = 200_001
FAR = 60.0  # Γ(c + iy) has fallen below 1e-38 there


def exact_coefficient(zeta: Callable[[np.ndarray], np.ndarray], rlct: float, t: float) -> float:
    """``λ(t) = t E_t[K]`` under the density proportional to ``exp(-t K)`` times the one that ``zeta`` averages over.

    ``zeta`` maps complex ``z (k,)`` to ``E[K^-z] (k,)``; ``rlct`` is its first pole. The result has no unit.
    Raises ``ValueError`` for an ``rlct`` or ``t`` that is not positive, and for an ``rlct`` above the first pole:
    up to there the zeta function is positive and its logarithm convex (Hölder).

    >>> f"{exact_coefficient(box_zeta([1, 1]), 0.5, 1000):.3f}"  # x²y² in the unit box, where λ = 0.5
    '0.387'
    """
    rlct, t = finite("rlct", rlct, above=0), finite("t", t, above=0)
    at = rlct - min(rlct / 2, 1 / max(np.log(t), 1.0))
    with np.errstate(all="ignore"):
        before = np.log(np.asarray(zeta(np.linspace(0, 0.999 * rlct, 200) + 0j)).real)
        if not (np.isfinite(before).all() and (np.diff(before, 2) > -1e-6).all()):
            raise ValueError(f"rlct={rlct:g} lies above the first pole of zeta; expected that pole")
    # nodes crowd near the pole, whose distance is about 1/log t
    y = np.sinh(np.linspace(-1, 1, NODES) * np.arcsinh(FAR * 100)) / 100
    z = at + 1j * y
    part = np.exp(loggamma(z) - 1j * y * np.log(t)) * zeta(z)
    return float(np.trapezoid((part * z).real, y) / np.trapezoid(part.real, y))


def box_zeta(k: Sequence[int], h: Sequence[int] | None = None) -> Callable[[np.ndarray], np.ndarray]:
    """The zeta function of ``K = ∏ u_i^(2 k_i)`` under a density proportional to ``∏ |u_i|^h_i`` in the unit box.

    ``k`` and ``h`` (zeros if left out) are whole numbers, one a variable. Its poles are ``(h_i + 1)/(2 k_i)``.

    >>> round(float(box_zeta([1, 2])(np.array(0.1))), 6)  # 1/(1 - 0.2) · 1/(1 - 0.4)
    2.083333
    """
    k = wholes("k", k)
    h = np.zeros_like(k) if h is None else wholes("h", h)
    if k.ndim != 1 or k.shape != h.shape or not k.any():
        raise ValueError(f"k={k!r} and h={h!r}; expected one exponent a variable, some k above 0")
    return lambda z: np.prod([(b + 1) / (b + 1 - 2 * a * z) for a, b in zip(k, h, strict=True)], axis=0)


def gaussian_zeta(sizes: Sequence[int], localiser: float = 1.0) -> Callable[[np.ndarray], np.ndarray]:
    """The zeta function of ``K = ∏ |a_i|²`` for vectors ``a_i`` of ``sizes`` entries, each N(0, 1/localiser).

    A deep linear network whose inner layers are one unit wide and that has nothing to learn is of this kind: with
    widths ``(n_0, 1, …, 1, n_L)`` the squared norm of its product is ``|a_1|² w_2² … |a_L|²``.

    >>> f"{float(gaussian_zeta([3])(np.array(1.0))):.3f}"  # E[1/χ²] with three degrees of freedom
    '1.000'
    """
    n, localiser = wholes("sizes", sizes, 1), finite("localiser", localiser, above=0)
    whole = float(gammaln(n / 2).sum())
    return lambda z: np.prod([gamma(i / 2 - z) * (localiser / 2) ** z for i in n], axis=0) * np.exp(-whole)
