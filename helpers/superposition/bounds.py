"""How many features may be active at once: the two bounds of the dispute, what coherence proves, and exact inverses.

Arguments broadcast and are those of :mod:`helpers.superposition.interference`.
"""

from __future__ import annotations

import numpy as np
from scipy import optimize, special, stats

from ..checks import reals, wholes
from .interference import _each, _strict_shares, any_error, false_alarm, miss


def post_bound(n, m) -> np.ndarray:
    """``n / (8 ln m)``: up to about here *all m* readouts at threshold ½ are right at once.

    From √(2 ln m)·√(l/n) < ½: the largest of m normal noises reaches about √(2 ln m) standard deviations. At the bound
    itself P(any error) ≈ 1/√(4π ln m), which falls, slowly, as m grows.

    >>> from helpers.superposition import post_bound
    >>> round(float(post_bound(1024, 100_000)), 1)
    11.1
    """
    wholes("n", n, 2), wholes("m", m, 2)
    return np.asarray(n) / (8 * np.log(m))


def comment_bound(n) -> np.ndarray:
    """``n``: up to here the readout of *one given* feature has a signal-to-noise ratio of at least 1, √(l/n) ≤ 1.

    >>> from helpers.superposition import comment_bound
    >>> float(comment_bound(1024))
    1024.0
    """
    wholes("n", n, 2)
    return np.asarray(n, dtype=float)


def reading_bound(n, m) -> np.ndarray:
    """The ``l`` with ``l = n / (2 ln(m/l))``: beyond about here no threshold is of use, before it few errors are left.

    Errors are counted per active feature, at the best threshold. With ``m/l`` and ``l`` large the change from almost
    none to as many as *always silent* makes is sharp.

    >>> from helpers.superposition import reading_bound
    >>> round(float(reading_bound(1024, 100_000)), 1)
    70.6
    """
    wholes("n", n, 2), wholes("m", m, 2)

    def solve(n, m):
        if n > 0.7 * m:
            raise ValueError(f"n={n!r}, m={m!r}; expected at least n / 0.7 features")
        return optimize.brentq(lambda l: 2 * l * np.log(m / l) - n, 1e-9, m / np.e)

    return _each(solve, n, m)


def pursuit_bound(n, m, signed: bool = True) -> np.ndarray:
    """Active features up to which basis pursuit finds them exactly, for large sizes: Donoho and Tanner's line.

    The ``l`` at which the descent cone of the L1 norm has statistical dimension ``n`` (Amelunxen et al. 2014):

        n = min over τ of  l (1+τ²) + (m-l) k [(1+τ²) Φ(-τ) - τ φ(τ)]         k = 2 with signs, 1 if codes are ≥ 0

    Exactly in the limit; half of the trials succeed near it.

    >>> from helpers.superposition import pursuit_bound
    >>> [round(float(pursuit_bound(128, 1024, signed=signed)), 1) for signed in (True, False)]
    [26.1, 33.7]
    """
    wholes("n", n, 2), wholes("m", m, 2)
    k = 2 if signed else 1

    def dimension(l, m):
        def at(t):
            return l * (1 + t * t) + (m - l) * k * ((1 + t * t) * stats.norm.sf(t) - t * stats.norm.pdf(t))

        return optimize.minimize_scalar(at, bounds=(0, 40), method="bounded", options={"xatol": 1e-9}).fun

    def solve(n, m):
        if n >= m:
            raise ValueError(f"n={n!r}, m={m!r}; expected more features than dimensions")
        return optimize.brentq(lambda l: dimension(l, m) - n, 1e-9, n)

    return _each(solve, n, m)


def largest_overlap(n, m) -> np.ndarray:
    """Median of the largest |overlap| among ``m`` random directions; approximate: pairs taken as independent.

    >>> from helpers.superposition import largest_overlap
    >>> round(float(largest_overlap(1024, 100_000)), 3)
    0.199
    """
    wholes("n", n, 2), wholes("m", m, 2)
    pairs = np.asarray(m, dtype=float) * (np.asarray(m) - 1.0) / 2
    return np.sqrt(special.betainccinv(0.5, (np.asarray(n) - 1) / 2, -np.expm1(np.log(0.5) / pairs)))


def coherence_bound(n, m, threshold=0.5) -> np.ndarray:
    """Largest ``l`` that :func:`largest_overlap` alone proves safe for *every* choice of active features.

    Sufficient, not necessary: l·μ ≤ θ for the inactive and (l-1)·μ ≤ 1-θ for the active ones.

    >>> from helpers.superposition import coherence_bound
    >>> round(float(coherence_bound(1024, 100_000)), 1)
    2.5
    """
    mu, threshold = largest_overlap(n, m), reals("threshold", threshold)
    return np.minimum(threshold / mu, 1 + (1 - threshold) / mu)


def active_for(n, m, target=0.5, threshold=0.5) -> np.ndarray:
    """Largest number of active features with ``any_error(n, m, l).upper ≤ target``; 0 if one is too many.

    >>> from helpers.superposition import active_for
    >>> int(active_for(256, 4096, target=0.5))
    5
    """
    _strict_shares("target", target), _strict_shares("threshold", threshold), wholes("m", m, 1)
    return _each(lambda n, m, p, t: _last(lambda l: any_error(n, m, l, t).upper <= p, m), n, m, target, threshold)


def features_for(n, l, target=0.5, threshold=0.5) -> np.ndarray:
    """Largest number of features ``m ≥ l`` with ``any_error(n, m, l).upper ≤ target``, 0 if none.

    Infinite where the chance of a single false alarm is below 1e-300.

    >>> from helpers.superposition import any_error, features_for
    >>> m = int(features_for(256, 4, target=0.5))
    >>> bool(any_error(256, m, 4).upper <= 0.5 < any_error(256, m + 1, 4).upper)
    True
    """
    _strict_shares("target", target), wholes("l", l, 1)

    def solve(n, l, p, t):
        if false_alarm(n, l, t) < 1e-300:
            return np.inf
        return l - 1 + _last(lambda k: any_error(n, l - 1 + k, l, t).upper <= p) if l * miss(n, l, t) <= p else 0

    return _each(solve, n, l, target, threshold)


def half_wrong(n, m, threshold=0.5) -> np.ndarray:
    """Largest number of active features with no more false alarms, on average, than active features.

    >>> from helpers.superposition import half_wrong
    >>> int(half_wrong(64, 512))
    2
    """
    wholes("m", m, 1)
    return _each(lambda n, m, t: _last(lambda l: (m - l) * false_alarm(n, l, t) <= l, m), n, m, threshold)


def _last(holds, limit=np.inf) -> int:
    """Largest k ≥ 1 up to ``limit`` with ``holds(k)``, for a condition that holds up to some k; 0 if it never does."""
    low, high = 0, 1
    while high <= limit and holds(high):
        low, high = high, high * 2
    high = min(high, limit + 1)
    while high - low > max(1, low >> 40):
        middle = int(low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
