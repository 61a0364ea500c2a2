"""The volume law: how much room there is below a small loss.

Near its zeros a real-analytic ``K ≥ 0`` leaves ``V(ε) = vol{K ≤ ε} ~ c ε^λ (log 1/ε)^(m-1)`` (Watanabe 2009). The
logarithm shows only over many decades, so the volume is followed down by splitting: of points spread evenly over
``{K ≤ ε}`` the best third survives at a smaller ε, is copied, and spread evenly again by slices
(subset simulation, Au & Beck 2001). The product of the surviving shares is the volume. Many runs side by side say
how sure that is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..checks import finite, whole
from ..evidence import interval
from ..runs import progress
from .slices import move

SWEEPS = 2
SURVIVING = 1 / 3
SHIFTS = np.linspace(-0.5, 0.7, 25)  # of log 1/ε, in units of its least value: what m > 1 leaves undetermined


class VolumeExponent(NamedTuple):
    """λ and m read off a volume, each with its 95% interval over runs; and the volume itself."""

    rlct: float
    rlct_interval: tuple[float, float]
    multiplicity: float  # as fitted, not rounded
    multiplicity_interval: tuple[float, float]
    epsilon: np.ndarray  # (levels,), from large to small
    volume: np.ndarray  # (runs, levels), as shares of the box


def volume_exponent(
    K: Callable[[Tensor], Tensor],
    center: Sequence[float],
    radius: float = 1.0,
    *,
    least: float = 1e-26,
    runs: int = 16,
    points: int = 500,
    seed: int = 0,
) -> VolumeExponent:
    """λ and m of ``K`` at its zeros in the box of half-width ``radius`` around ``center``, from ``V(ε)``.

    ``K`` maps points ``(n, d)``, float64, to values ``(n,)`` that are nowhere negative and have a zero in the box.
    The volume is followed down to ``least``, which has to stay above the rounding of ``K``. Raises ``ValueError`` for
    arguments out of range, for a ``K`` that is negative or not a number somewhere, that never comes near zero, or
    that vanishes on a part of the box.

    >>> found = volume_exponent(lambda w: w[:, 0] ** 2 + w[:, 1] ** 2, [0, 0], runs=8, points=200)
    >>> 0.95 < found.rlct < 1.05, found.multiplicity_interval[0] < 1 < found.multiplicity_interval[1]
    (True, True)
    """
    radius, least = finite("radius", radius, above=0), finite("least", least, above=0)
    runs, points = whole("runs", runs, 4), whole("points", points, 50)
    center = torch.as_tensor(center, dtype=torch.float64)
    generator = torch.Generator().manual_seed(whole("seed", seed))
    low, high = center - radius, center + radius
    shape = (runs * points, len(center))
    w = low + 2 * radius * torch.rand(shape, generator=generator, dtype=torch.float64)
    values = _checked(K, w)
    epsilon, shares = [float(values.max())], []
    bar = progress(desc="volume", unit="level")
    while epsilon[-1] > least:
        below = float(values.quantile(SURVIVING))
        if below <= 0:
            raise ValueError(f"K vanishes on a part of the box around {center.tolist()}; expected zeros of no volume")
        if below > 0.999 * epsilon[-1]:
            raise ValueError(f"K comes no lower than {below:.3g} in the box around {center.tolist()}; expected a zero")
        alive = (values <= below).reshape(runs, points)
        if not alive.any(1).all():
            raise ValueError(f"points={points} died out at ε={below:.3g}; expected more of them")
        shares.append(alive.double().mean(1).numpy())
        chosen = torch.multinomial(alive.double(), points, replacement=True, generator=generator)
        w = w.reshape(runs, points, -1)[torch.arange(runs)[:, None], chosen].reshape(shape)
        w = _spread(K, w, below, low, high, runs, generator)
        values = _checked(K, w)
        epsilon.append(below)
        bar.update()
    bar.close()
    epsilon, shares = np.array(epsilon), np.array(shares).T
    return _read(epsilon, shares, seed)


def _spread(K, w, below, low, high, runs, generator):
    # every axis, and a difference of two points of another run: long sets are walked along their own length
    level = torch.full((len(w),), -below, dtype=w.dtype)

    def uniform(_, rows):
        return torch.rand(len(rows), generator=generator, dtype=w.dtype)

    for _ in range(SWEEPS):
        for axis in range(w.shape[1]):
            along = torch.zeros_like(w)
            along[:, axis] = 1
            w, _ = move(lambda x: -K(x), w, level, along, low, high, uniform)
        others = w.reshape(runs, -1, w.shape[1]).roll(1, 0)
        n = others.shape[1]
        first, second = (torch.randint(n, (runs, n), generator=generator) for _ in range(2))
        rows = torch.arange(runs)[:, None]
        along = (others[rows, first] - others[rows, second]).reshape(w.shape)
        along[(along == 0).all(1)] = 1.0
        w, _ = move(lambda x: -K(x), w, level, along, low, high, uniform)
    return w


def _checked(K, w):
    values = K(w)
    if values.shape != w.shape[:1]:
        raise ValueError(f"K gave shape {tuple(values.shape)} for {tuple(w.shape)} points; expected ({len(w)},)")
    if not torch.isfinite(values).all():
        raise ValueError(f"K is not finite at {w[~torch.isfinite(values)][0].tolist()}")
    if (values < 0).any():
        raise ValueError(f"K is negative at {w[values.argmin()].tolist()}: {float(values.min()):.3g}")
    return values


def _read(epsilon, shares, seed) -> VolumeExponent:
    # a level's share: -log p = λ ΔT - (m-1) Δlog(T + c), with T = log 1/ε; above a quarter of the range it holds
    T = np.log(1 / epsilon)
    kept = T[:-1] >= T[0] + 0.25 * (T[-1] - T[0])
    T0, T1 = T[:-1][kept], T[1:][kept]
    draws = np.random.default_rng(seed).integers(len(shares), size=(400, len(shares)))
    pooled = np.stack([shares[:, kept].mean(0), *shares[draws][:, :, kept].mean(1)])  # (1 + draws, levels)
    fall = -np.log(pooled)
    fits, misfits = [], []
    for shift in SHIFTS * T0[0]:
        design = np.stack([T1 - T0, -np.log((T1 + shift) / (T0 + shift))], axis=1)
        solution = np.linalg.lstsq(design, fall.T, rcond=None)[0].T
        fits.append(solution), misfits.append(((fall - solution @ design.T) ** 2).sum(1))
    best = np.argmin(misfits, axis=0)
    rlct, extra = np.array(fits)[best, np.arange(len(fall))].T
    return VolumeExponent(
        float(rlct[0]), interval(rlct[1:]), 1 + float(extra[0]), interval(1 + extra[1:]), epsilon[1:], shares.cumprod(1)
    )  # fmt: skip
