"""The volume law: how much room there is below a small loss.

Near its zeros a real-analytic ``K ≥ 0`` leaves ``V(ε) = vol{K ≤ ε} ~ c ε^λ (log 1/ε)^(m-1)`` (Watanabe 2009). The
logarithm shows only over many decades. A polynomial's volume is drawn in the charts of its resolution, as far down as
numbers go. Any other volume is followed down by splitting: of points spread evenly over ``{K ≤ ε}`` the best third
survives at a smaller ε, is copied, and spread evenly again by slices
(subset simulation, Au & Beck 2001). The
product of the surviving shares is the volume. Many runs side by side say how sure that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from ..checks import finite, whole
from ..evidence import interval
from ..runs import progress
from .resolution import Resolution, resolve
from .resolved import weighted_draws
from .slices import losses, move

SWEEPS = 2
SURVIVING = 1 / 3
DRAWN_TO = 200.0  # log 1/ε of volumes drawn in charts
SHIFTS = np.linspace(-8.0, 40.0, 49)  # of log 1/ε: the constant inside the logarithm
BEGIN = 0.3  # of the range of log 1/ε: what is above still feels other divisors


class VolumeExponent(NamedTuple):
    """λ and m read off a volume, each with its 95% interval over runs; and the volume itself."""

    rlct: float
    rlct_interval: tuple[float, float]
    multiplicity: float  # as fitted, not rounded
    multiplicity_interval: tuple[float, float]
    epsilon: np.ndarray  # (levels,), from large to small
    volume: np.ndarray  # (runs, levels), as shares of the box


def volume_exponent(
    K,
    center: Sequence[float] = (0.0, 0.0),
    radius: float = 1.0,
    *,
    least: float = 1e-26,
    runs: int = 16,
    points: int = 500,
    draws: int = 400_000,
    seed: int = 0,
) -> VolumeExponent:
    """λ and m of ``K`` at its zeros in the box of half-width ``radius`` around ``center``, from ``V(ε)``.

    ``K`` is a polynomial in x and y as :func:`resolve` takes it, or its resolution: then ``center`` is one of its
    zeros, no worse one may lie in the box, and the volume comes from ``draws`` points in charts, down to ε = 1e-85.
    Or ``K`` is a function that maps points ``(n, d)``, float64, to values ``(n,)``, nowhere negative and zero somewhere
    in the box: then ``runs`` of ``points`` each follow the volume down to ``least``, which has to stay above the
    rounding of ``K``. By then a divisor whose (h + 1)/2k lies little above λ may still be felt, and be taken for a
    logarithm.

    Raises ``ValueError`` for arguments out of range, for a ``K`` that is negative or not a number somewhere, that never
    comes near zero, that is of another order than one in the box, or that vanishes on a part of the box.

    >>> from helpers.singular import volume_exponent
    >>> found = volume_exponent("(y**2 - x**3)**2")
    >>> found.rlct_interval[0] - 0.001 < 5 / 12 < found.rlct_interval[1] + 0.001, round(found.multiplicity)
    (True, 1)
    """
    radius, seed = finite("radius", radius, above=0), whole("seed", seed)
    if not callable(K):
        return _in_charts(K, center, radius, draws, seed)
    least, runs, points = finite("least", least, above=0), whole("runs", runs, 4), whole("points", points, 50)
    center = torch.as_tensor(center, dtype=torch.float64)
    epsilon, shares = _split(K, center, radius, least, runs, points, seed)
    picks = np.random.default_rng(seed).integers(runs, size=(400, runs))
    # shares of runs are pooled level by level: their products would soon hang on the luckiest run
    falls = -np.log(np.stack([shares.mean(0), *shares[picks].mean(1)]))
    return _read(np.log(1 / epsilon), falls, epsilon[1:], shares.cumprod(1))


def _in_charts(K, center, radius, draws, seed) -> VolumeExponent:
    resolution = K if isinstance(K, Resolution) else resolve(K)
    points = [zero for zero in resolution.zeros if zero.at is not None]
    near = [zero for zero in points if np.allclose([float(a) for a in zero.at], center, atol=1e-9)]
    if not near:
        raise ValueError(
            f"center={tuple(center)} is no special zero of K; its points are {[zero.at for zero in points]}"
        )
    area, values = weighted_draws(resolution, near[0], DRAWN_TO, radius=radius, draws=draws, seed=seed)
    highest = values[area > 0].max()
    if not 1e-6 < highest < 1e6:
        raise ValueError(
            f"K reaches {highest:.3g} in the box of radius={radius:g}; expected values of order one: scale K"
        )
    T = np.arange(0.0, DRAWN_TO, 4.0)
    volume = np.stack([np.where(values <= np.exp(-at), area, 0.0).sum(1) for at in T], 1) / (4 * radius**2)
    picks = np.random.default_rng(seed).integers(len(volume), size=(400, len(volume)))
    pooled = np.stack([volume.mean(0), *volume[picks].mean(1)])
    return _read(T, -np.diff(np.log(pooled), axis=1), np.exp(-T), volume)


def _split(K, center, radius, least, runs, points, seed):
    generator = torch.Generator().manual_seed(seed)
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
    return np.array(epsilon), np.array(shares).T


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
    values = losses(K, w)
    if (values < 0).any():
        raise ValueError(f"K is negative at {w[values.argmin()].tolist()}: {float(values.min()):.3g}")
    return values


def _read(T, falls, epsilon, volume) -> VolumeExponent:
    # falls (1 + draws, levels) of log V between the T = log 1/ε: each is λ ΔT - (m-1) Δlog(T + c)
    kept = T[:-1] >= max(T[0] + BEGIN * (T[-1] - T[0]), 0.0)
    if kept.sum() < 6:
        raise ValueError(
            f"the volume was followed over {len(T)} levels, down to ε={np.exp(-T[-1]):.3g}; expected a smaller least"
        )
    T0, T1, falls = T[:-1][kept], T[1:][kept], falls[:, kept]
    fits, misfits = [], []
    for shift in SHIFTS[SHIFTS + T0[0] > 1]:
        design = np.stack([T1 - T0, -np.log((T1 + shift) / (T0 + shift))], axis=1)
        solution = np.linalg.lstsq(design, falls.T, rcond=None)[0].T
        fits.append(solution), misfits.append(((falls - solution @ design.T) ** 2).sum(1))
    best = np.argmin(misfits, axis=0)
    rlct, extra = np.array(fits)[best, np.arange(len(falls))].T
    return VolumeExponent(
        float(rlct[0]), interval(rlct[1:]), 1 + float(extra[0]), interval(1 + extra[1:]), epsilon, volume
    )
