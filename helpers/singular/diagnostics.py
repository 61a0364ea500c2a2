"""Whether chains have met, and how many independent draws theirs are worth (Vehtari et al. 2021, without ranks)."""

from __future__ import annotations

import numpy as np


def split_r_hat(values: np.ndarray) -> float:
    """Split R̂ of ``values (chains, draws)``: the spread between half chains against that within; 1 when they agree.

    Raises ``ValueError`` for fewer than two chains or four draws. Chains that do not move give NaN.

    >>> draws = np.random.default_rng(0).normal(size=(4, 1000))
    >>> split_r_hat(draws) < 1.01 < split_r_hat(draws + np.arange(4)[:, None])
    True
    """
    within, pooled, _ = _variances(_halves(values))
    return float(np.sqrt(pooled / within)) if within > 0 else float("nan")


def effective_size(values: np.ndarray) -> float:
    """Independent draws that the draws ``values (chains, draws)`` are worth, for their mean.

    Autocorrelations are pooled over half chains and summed in pairs for as long as the pairs are positive.
    Raises ``ValueError`` as :func:`split_r_hat`.

    >>> draws = np.random.default_rng(0).normal(size=(4, 1000))
    >>> 3000 < effective_size(draws) < 5000
    True
    """
    halves = _halves(values)
    within, pooled, covariance = _variances(halves)
    if not within > 0:
        return float("nan")
    rho = 1 - (within - covariance) / pooled
    rho[0] = 1.0
    pairs = rho[: len(rho) // 2 * 2].reshape(-1, 2).sum(1)
    ends = np.flatnonzero(pairs < 0)
    pairs = np.minimum.accumulate(pairs[: ends[0] if len(ends) else None])
    return float(halves.size / max(2 * pairs.sum() - 1, 1 / np.log10(halves.size)))


def _halves(values):
    values = np.asarray(values, dtype=float)
    if values.ndim != 2 or values.shape[0] < 2 or values.shape[1] < 4:
        raise ValueError(f"values has shape {values.shape}; expected at least (2 chains, 4 draws)")
    half = values.shape[1] // 2
    return np.concatenate([values[:, :half], values[:, -half:]])


def _variances(halves):
    n = halves.shape[1]
    centred = halves - halves.mean(1, keepdims=True)
    power = np.abs(np.fft.rfft(centred, 2 * n)) ** 2
    covariance = (np.fft.irfft(power)[:, :n] / n).mean(0)  # biased, as usual, so that it stays summable
    within = covariance[0] * n / (n - 1)
    pooled = covariance[0] + halves.mean(1).var(ddof=1)
    return within, pooled, covariance * n / (n - 1)
