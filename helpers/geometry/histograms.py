"""Peaks of a histogram by a rule: how many a sample has, where, and what share of it belongs to each.

The density is a Gaussian kernel estimate ``f`` of fixed bandwidth h. At every point ``c = 2√π h n f`` is the number of
values that an estimate there rests on, with ``var(c) ≈ c``; so ``√c`` has the same standard deviation, ½, everywhere. A
peak is a maximum of √c that rises by at least ``rise`` above the valleys that part it from anything higher, and holds
at least ``share`` of the values between its valleys. The default rise is five standard deviations.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from .. import checks
from ..checks import finite, real

PER_BANDWIDTH = 10  # points of the grid
MOST = 2**24  # points of a grid at the most


class Peak(NamedTuple):
    """A peak: where it is, the valleys at its sides, and the share of values between these."""

    at: float
    left: float
    right: float
    share: float


def density(values: np.ndarray, bandwidth: float = 0.01) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian kernel estimate of a sample: points ``x`` and density ``f(x)``, both ``(grid,)``, past both ends.

    Raises ValueError for an empty sample, for NaN or infinity, and for a bandwidth that is not positive or too fine.

    >>> import numpy as np
    >>> from helpers.geometry import density
    >>> x, f = density(np.linspace(0, 1, 101))
    >>> round(float(f.sum() * (x[1] - x[0])), 6), round(float(f.max()), 1)
    (1.0, 1.0)
    """
    values = _flat(values)
    if not values.size or not np.isfinite(values).all():
        odd = np.count_nonzero(~np.isfinite(values))
        raise ValueError(f"values has {values.size} entries, {odd} not finite; expected one or more, all finite")
    bandwidth = finite("bandwidth", bandwidth, above=0)
    step = bandwidth / PER_BANDWIDTH
    if not (np.ptp(values) / step < MOST and np.abs(values).max() / step < 2.0**50):  # as fine as a float tells
        ends = f"{values.min():g} to {values.max():g}"
        raise ValueError(
            f"bandwidth={bandwidth!r} is too fine for values from {ends}; expected fewer than {MOST} points"
        )
    low = np.floor(values.min() / step) * step - 5 * bandwidth
    count = np.bincount(np.rint((values - low) / step).astype(int))
    count = np.pad(count, (0, 5 * PER_BANDWIDTH)).astype(float)
    smooth = gaussian_filter1d(count, PER_BANDWIDTH, mode="constant", truncate=5.0)
    return low + step * np.arange(len(count)), smooth / (step * values.size)


def peaks(values: np.ndarray, bandwidth: float = 0.01, rise: float = 2.5, share: float = 0.05) -> list[Peak]:
    """The peaks of a sample from left to right, by the rule above. There may be none, if each holds too little.

    Raises ValueError for what :func:`density` refuses, a negative rise, and a share that is none.

    >>> import numpy as np
    >>> from helpers.geometry import peaks
    >>> rng = np.random.default_rng(0)
    >>> both = peaks(np.concatenate([rng.normal(0.2, 0.02, 1000), rng.normal(0.6, 0.02, 3000)]))
    >>> [(round(peak.at, 1), peak.share) for peak in both]
    [(0.2, 0.25), (0.6, 0.75)]
    """
    rise, share = finite("rise", rise, least=0), checks.share("share", share)
    values = np.sort(_flat(values))
    x, f = density(values, bandwidth)
    root = np.sqrt(2 * np.sqrt(np.pi) * bandwidth * values.size * f)
    tops = list(find_peaks(root, prominence=rise)[0])
    while tops:
        valleys = [a + int(root[a : b + 1].argmin()) for a, b in zip(tops, tops[1:], strict=False)]
        edges = [values[0], *x[valleys], np.nextafter(values[-1], np.inf)]
        shares = np.diff(np.searchsorted(values, edges)) / values.size
        if (least := int(shares.argmin())) >= 0 and shares[least] < share:
            tops.pop(least)
            continue
        sides = zip(x[tops], edges, edges[1:], shares, strict=False)
        return [Peak(*map(float, side)) for side in sides]
    return []


def _flat(values) -> np.ndarray:
    return real("values", values).detach().double().cpu().numpy().ravel()
