"""The local learning coefficient, estimated: how fast the loss rises around a solution, seen by sampling.

    λ̂ = t (E_t[K] - K(w*)),   E_t under a density proportional to exp(-t K(w) - γ/2 |w - w*|²) in a box around w*

with the inverse temperature ``t = n β``, usually ``n / log n`` (Watanabe 2013; Lau et al. 2023). Three errors add up:
a finite t (``λ(t)`` is not λ), steps of a finite size (SGLD), and chance. The first is what :func:`extrapolate` takes
away, the second the slice sampler does not have, the third is the interval.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import t as student
from torch import Tensor

from ..checks import finite, one_of, whole
from ..runs import progress
from .diagnostics import effective_size, split_r_hat
from .slices import TRIES, losses, move

SAMPLERS = ("slice", "sgld")


class Coefficient(NamedTuple):
    """What chains say of ``λ(t)``: the estimate, its 95% interval over chains, and whether to believe it."""

    value: float
    interval: tuple[float, float]
    t: float
    r_hat: float  # split; above 1.01 the chains have not yet met
    effective: float  # independent draws that the kept ones are worth
    chains: np.ndarray  # (chains,) each chain's own estimate
    evaluations: int  # of K or of its gradient, one a point


def local_learning_coefficient(
    K: Callable[[Tensor], Tensor],
    center: Sequence[float] | Tensor,
    t: float,
    *,
    sampler: str = "slice",
    chains: int = 16,
    draws: int = 500,
    burn_in: int | None = None,
    radius: float = 1.0,
    localiser: float = 0.0,
    step: float | None = None,
    thin: int = 1,
    gradient_of: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    seed: int = 0,
) -> Coefficient:
    """``t (E_t[K] - K(center))`` from chains that start at ``center (d,)`` and are seeded apart.

    ``K`` maps points ``(n, d)``, float64, to losses ``(n,)`` per sample; ``t`` is n β. The box has half-width
    ``radius``; ``localiser`` is γ. Each chain makes ``burn_in`` draws that are thrown away (as many as are kept, if
    left out), then ``draws``, with ``thin`` steps to each. ``sampler="slice"`` needs no tuning and no gradient: a draw
    goes along every axis and one random direction. ``"sgld"`` takes steps of size ``step`` (0.1/t if left out) down
    the gradient of ``K``, or of ``gradient_of(w, generator)`` where batches are drawn, with as much noise, reflected
    at the box. Same seed, same chain, however many run beside it (without batches). Warns where the chains found
    losses below that of ``center`` by more than 1/t: then the number is no learning coefficient. Raises ``ValueError``
    for arguments out of range, losses that are not finite, and a step of SGLD that leads across the whole box.

    >>> from helpers.singular import local_learning_coefficient
    >>> found = local_learning_coefficient(lambda w: (w**2).sum(1), [0.0, 0.0], t=1000, draws=200)
    >>> found.interval[0] < 1 < found.interval[1]
    True
    """
    one_of("sampler", sampler, SAMPLERS)
    t, radius, localiser = (
        finite("t", t, above=0),
        finite("radius", radius, above=0),
        finite("localiser", localiser, least=0),
    )
    chains, draws, thin = whole("chains", chains, 2), whole("draws", draws, 4), whole("thin", thin, 1)
    burn_in = draws if burn_in is None else whole("burn_in", burn_in)
    step = 0.1 / t if step is None else finite("step", step, above=0)
    center = _point("center", center)
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence(whole("seed", seed)).spawn(chains)]
    base = losses(K, center[None])[0]
    w, kept, used = center.repeat(chains, 1), [], 0
    options = {"t": t, "radius": radius, "localiser": localiser}
    batches = torch.Generator().manual_seed(seed)
    for i in progress(range(burn_in + draws), desc=sampler):
        for _ in range(thin):
            if sampler == "slice":
                w, count = _slice_sweep(K, w, center, streams, **options)
            else:
                w, count = _sgld_step(K, w, center, streams, step, gradient_of, batches, **options)
            used += count
        if i >= burn_in:
            kept.append(losses(K, w))
    values = (t * (torch.stack(kept, 1) - base)).numpy()  # (chains, draws)
    if (lowest := values.min()) < -1:
        warnings.warn(
            f"center={center.tolist()} is no minimum: t (K - K(center)) went down to {lowest:.3g}. Start from a lower "
            "point, or take a smaller radius or a larger localiser.", stacklevel=2,
        )  # fmt: skip
    means = values.mean(1)
    half = float(student.ppf(0.975, chains - 1) * means.std(ddof=1) / np.sqrt(chains))
    mean = float(means.mean())
    return Coefficient(
        mean, (mean - half, mean + half), t, split_r_hat(values), effective_size(values), means, used
    )  # fmt: skip


def extrapolate(low: Coefficient, high: Coefficient) -> tuple[float, tuple[float, float]]:
    """λ from two temperatures, with its 95% interval, by ``λ(t) = λ - (m - 1)/log t``: a line in ``1/log t``.

    The intercept is ``(b λ(t_b) - a λ(t_a))/(b - a)`` with ``a = log t_a``, so for ``t_b = t_a²`` twice the higher
    less the lower. Raises ``ValueError`` unless 1 < low.t < high.t.

    >>> def perfect(t):
    ...     return Coefficient(0.5 - 1 / np.log(t), (0.0, 1.0), t, 1.0, 1.0, np.zeros(4), 0)
    >>> f"{extrapolate(perfect(1e3), perfect(1e6))[0]:.3f}"
    '0.500'
    """
    if not 1 < low.t < high.t:
        raise ValueError(f"low.t={low.t:g} and high.t={high.t:g}; expected 1 < low.t < high.t")
    a, b = np.log(low.t), np.log(high.t)
    share_low, share_high = -a / (b - a), b / (b - a)
    value = share_high * high.value + share_low * low.value
    n = min(len(low.chains), len(high.chains))
    spread = np.hypot(share_high * np.std(high.chains, ddof=1) / np.sqrt(len(high.chains)),
                      share_low * np.std(low.chains, ddof=1) / np.sqrt(len(low.chains)))  # fmt: skip
    half = student.ppf(0.975, n - 1) * spread
    return float(value), (float(value - half), float(value + half))


def _point(name, value) -> Tensor:
    try:
        point = torch.as_tensor(value, dtype=torch.float64).detach().reshape(-1)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name}={value!r}; expected a point: a sequence of finite numbers") from None
    if not len(point) or not torch.isfinite(point).all():
        raise ValueError(f"{name}={value!r}; expected a point: a sequence of finite numbers, at least one")
    return point


def _slice_sweep(K, w, center, streams, t, radius, localiser):
    def log_density(x):
        return -t * K(x) - localiser / 2 * ((x - center) ** 2).sum(1)

    used = 0
    with torch.no_grad():
        for axis in range(w.shape[1] + 1):
            drawn = torch.from_numpy(np.stack([s.random(TRIES + 1) for s in streams]))
            along = torch.zeros_like(w)
            if axis < w.shape[1]:
                along[:, axis] = 1
            else:
                along = torch.from_numpy(np.stack([s.standard_normal(w.shape[1]) for s in streams]))
            level = log_density(w) + drawn[:, -1].log()
            w, count = move(log_density, w, level, along, center - radius, center + radius,
                            lambda attempt, rows, drawn=drawn: drawn[rows, attempt])  # fmt: skip
            used += count + len(w)
    return w, used


def _sgld_step(K, w, center, streams, step, gradient_of, batches, t, radius, localiser):
    leaf = w.detach().requires_grad_()
    loss = K(leaf) if gradient_of is None else gradient_of(leaf, batches)
    (slope,) = torch.autograd.grad(loss.sum(), leaf)
    noise = torch.from_numpy(np.stack([s.standard_normal(w.shape[1]) for s in streams]))
    move = step**0.5 * noise - step / 2 * (t * slope + localiser * (w - center))
    if not (move.abs() <= 2 * radius).all():  # not finite, too
        raise ValueError(f"step={step:g}: a step of SGLD led across the whole box; expected a smaller one")
    w = w + move
    # reflected: a triangle wave of period 4 r
    away = torch.remainder(w - center + radius, 4 * radius)
    return center + torch.where(away > 2 * radius, 4 * radius - away, away) - radius, len(w)
