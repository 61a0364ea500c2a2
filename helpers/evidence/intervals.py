"""Bootstrap intervals, and differences between pairs."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from .. import checks
from ..checks import reals, whole


def interval(draws: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The central ``level`` interval of bootstrap draws."""
    draws, level = reals("draws", draws), checks.share("level", level, strictly=True)
    if not draws.size:
        raise ValueError("draws is empty; expected one draw or more")
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_difference(a: np.ndarray, b: np.ndarray, seed: int = 0, n: int = 4000) -> tuple[float, float, float]:
    """Mean of ``a - b`` over pairs and its 95% bootstrap interval, resampling pairs."""
    a, b = reals("a", a), reals("b", b)
    if a.shape != b.shape or a.ndim != 1 or len(a) < 2:
        raise ValueError(f"a has shape {a.shape}, b {b.shape}; expected two equal 1-D arrays of at least two pairs")
    n, seed = whole("n", n, 1), whole("seed", seed)
    d = a - b
    picks = np.random.default_rng(seed).integers(0, len(d), (n, len(d)))
    return float(d.mean()), *interval(d[picks].mean(1))


def wilson(share, n, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's interval of a share seen in ``n`` independent draws; it holds its level at 0, at 1 and for small n.

    Both may be arrays. Where draws come in clusters, ``n`` is what they are worth together, and need not be whole.

    >>> [round(float(end), 3) for end in wilson(0.0, 100)]
    [0.0, 0.037]
    """
    share, n, level = reals("share", share), reals("n", n), checks.share("level", level, strictly=True)
    z2 = NormalDist().inv_cdf((1 + level) / 2) ** 2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    return np.clip(middle - half, 0, share), np.clip(middle + half, share, 1)


def plain(value: float, form: str = ".2f", name: str = "value") -> str:
    """A number as prose shows it: a true minus sign, and no sign on a zero.

    >>> plain(-0.031), plain(-0.001), plain(0.048, "+.0%")
    ('−0.03', '0.00', '+5%')
    """
    try:
        text = f"{value:{form}}"
    except (TypeError, ValueError):
        raise ValueError(f"{name}={value!r}, form={form!r}; expected a number and a format of numbers") from None
    if not any(digit in text for digit in "123456789"):
        text = text.lstrip("+-")
    return text.replace("-", "−")


def with_interval(value: float, low: float, high: float, form: str = ".2f", unit: str = "") -> str:
    """A value with its interval, all three in one form.

    >>> with_interval(0.59, 0.55, 0.64, ".0%")
    '59% (55% to 64%)'
    >>> with_interval(-4.8, -9.6, -0.6, "+.0f", " points")
    '−5 points (−10 to −1)'
    """
    return f"{plain(value, form)}{unit} ({plain(low, form, 'low')} to {plain(high, form, 'high')})"
