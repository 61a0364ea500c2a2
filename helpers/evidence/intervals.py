"""Bootstrap intervals, and differences between pairs."""

from __future__ import annotations

import numpy as np

from ..checks import whole


def interval(draws: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The central ``level`` interval of bootstrap draws."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_difference(a: np.ndarray, b: np.ndarray, seed: int = 0, n: int = 4000) -> tuple[float, float, float]:
    """Mean of ``a - b`` over pairs and its 95% bootstrap interval, resampling pairs."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.shape != b.shape or a.ndim != 1 or len(a) < 2:
        raise ValueError(f"a has shape {a.shape}, b {b.shape}; expected two equal 1-D arrays of at least two pairs")
    n = whole("n", n, 1)
    d = a - b
    picks = np.random.default_rng(seed).integers(0, len(d), (n, len(d)))
    return float(d.mean()), *interval(d[picks].mean(1))


def plain(value: float, form: str = ".2f") -> str:
    """A number as prose shows it: a true minus sign, and no sign on a zero.

    >>> plain(-0.031), plain(-0.001), plain(0.048, "+.0%")
    ('−0.03', '0.00', '+5%')
    """
    text = f"{value:{form}}"
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
    return f"{plain(value, form)}{unit} ({plain(low, form)} to {plain(high, form)})"
