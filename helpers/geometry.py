"""Directions: how close rows are to each other, and how close random ones would be.

``rows`` are ``(n, d)``; lengths never matter, only directions. Cosines are computed in chunks of query rows, so memory
is one chunk of ``(chunk, n)`` products. The laws are of *isotropic* random directions; for others see
:func:`covariance_directions`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import comb

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from .progress import progress


def kth_largest_cosine(
    rows: Tensor, ks: Sequence[int] = (1, 10, 100), absolute: bool = False, chunk: int = 512, show: bool = False
) -> Tensor:
    """For each row the k-th largest cosine with the *other* rows, for every k in ``ks``: ``(n, len(ks))``.

    Exact. Of each query only candidates are sorted: if the other rows fall into groups, the k-th largest of the groups'
    maxima is no larger than the k-th largest of all, so nothing below it matters. ``absolute`` ranks |cos| instead.

    Raises ``ValueError`` for rows that are not a finite floating ``(n, d)`` tensor, rows of length zero, and ks outside
    ``1 … n - 1``.
    """
    unit = _unit(rows)
    ks, n = list(ks), len(unit)
    if not ks or not all(isinstance(k, int) and 1 <= k < n for k in ks):
        raise ValueError(f"ks={tuple(ks)!r}; expected integers from 1 to n - 1 = {n - 1}")
    out = torch.empty(n, len(ks), dtype=unit.dtype)
    for start, products in _products(unit, absolute, chunk, show):
        largest = _largest(products, max(ks))
        out[start : start + len(products)] = largest[:, [k - 1 for k in ks]]
    return out


def nearest_neighbours(rows: Tensor, absolute: bool = False, chunk: int = 512) -> tuple[Tensor, Tensor]:
    """Index of each row's nearest other row by cosine, and that cosine: ``(n,)`` and ``(n,)``."""
    unit = _unit(rows)
    found = [products.max(1) for _, products in _products(unit, absolute, chunk, False)]
    return torch.cat([f.indices for f in found]), torch.cat([f.values for f in found])


def in_degree(neighbours: Tensor, n: int) -> Tensor:
    """How often each of ``n`` rows is somebody's nearest neighbour: ``(n,)``."""
    return torch.bincount(neighbours, minlength=n)


@dataclass(frozen=True)
class Hubness:
    """Whether few rows are the neighbours of many: skewness of the in-degrees, the largest, and a p-value."""

    skewness: float
    largest: int
    p_value: float


def hubness(neighbours: Tensor, generator: torch.Generator, draws: int = 999) -> Hubness:
    """Skewness of in-degrees (Radovanović et al. 2010), tested against neighbours drawn at random.

    ``neighbours (n,)`` as from :func:`nearest_neighbours`. Under the null every row's neighbour is any other row with
    equal probability. The p-value is one-sided: the share of ``draws`` at least as skewed, the observation counted in.
    """
    n = len(neighbours)
    if n < 3 or neighbours.ndim != 1 or neighbours.is_floating_point():
        raise ValueError(f"neighbours is {tuple(neighbours.shape)} of {neighbours.dtype}; expected (n ≥ 3,) integers")

    def skew(index: Tensor) -> float:
        return float(stats.skew(in_degree(index, n).numpy()))

    seen, own = skew(neighbours), torch.arange(n)
    null = []
    for _ in range(draws):
        other = torch.randint(n - 1, (n,), generator=generator)
        null.append(skew(other + (other >= own)))  # anybody but oneself
    p = (1 + sum(value >= seen for value in null)) / (1 + draws)
    return Hubness(seen, int(in_degree(neighbours, n).max()), p)


def covariance_directions(x: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """``n`` directions drawn from N(0, cov(x)), for activations ``x (samples, d)``: random, but not isotropic."""
    if x.ndim != 2 or len(x) < 2 or not x.isfinite().all():
        raise ValueError(f"x has shape {tuple(x.shape)}; expected at least two finite rows (samples, d)")
    centred = (x - x.mean(0)).double()
    values, vectors = torch.linalg.eigh(centred.T @ centred / (len(x) - 1))
    root = vectors * values.clamp_min(0).sqrt()
    return _unit((torch.randn(n, x.shape[1], generator=generator, dtype=torch.float64) @ root.T).to(x.dtype))


@dataclass(frozen=True)
class KthCosine:
    """Law of the k-th largest cosine of one random direction with ``n - 1`` others, all isotropic in ``d`` dimensions.

    (1 + cos)/2 is Beta((d-1)/2, (d-1)/2), and cos² is Beta(1/2, (d-1)/2). The upper tail probability of the k-th
    largest of N = n - 1 draws is Beta(k, N - k + 1). Everything is computed through upper tails, which keeps small
    probabilities exact. (Within a set of random rows the draws of different rows depend on each other; each row's own
    law is this one.)
    """

    n: int
    d: int
    k: int
    absolute: bool = False

    @cached_property
    def _tail(self):
        return stats.beta(self.k, self.n - self.k)

    @cached_property
    def _one(self):
        a = (self.d - 1) / 2
        return stats.beta(0.5, a) if self.absolute else stats.beta(a, a)

    def _inside(self, x):
        x = np.asarray(x, dtype=float)
        return np.square(np.clip(x, 0, 1)) if self.absolute else (1 + np.clip(x, -1, 1)) / 2

    def cdf(self, x):
        """P(k-th largest ≤ x)."""
        return self._tail.sf(self._one.sf(self._inside(x)))

    def sf(self, x):
        """P(k-th largest > x)."""
        return self._tail.cdf(self._one.sf(self._inside(x)))

    def ppf(self, q):
        """Quantiles."""
        y = self._one.isf(self._tail.isf(q))
        return np.sqrt(y) if self.absolute else 2 * y - 1

    def pdf(self, x):
        """Density in x."""
        x, y = np.asarray(x, dtype=float), self._inside(x)
        with np.errstate(divide="ignore", invalid="ignore"):
            jacobian = np.log(2 * np.abs(x)) if self.absolute else -np.log(2.0)
            log = self._tail.logpdf(self._one.sf(y)) + self._one.logpdf(y) + jacobian
        inside = (x > (0 if self.absolute else -1)) & (x < 1)
        return np.where(inside, np.exp(np.where(inside, log, -np.inf)), 0.0)

    @cached_property
    def _moments(self) -> tuple[float, float]:
        nodes, weights = np.polynomial.legendre.leggauss(600)
        low, high = self.ppf(1e-14), self.ppf(1 - 1e-14)
        x = (low + high) / 2 + (high - low) / 2 * nodes
        mass = weights * (high - low) / 2 * self.pdf(x)
        mass = mass / mass.sum()
        mean = float((mass * x).sum())
        return mean, float(np.sqrt((mass * (x - mean) ** 2).sum()))

    def mean(self) -> float:
        return self._moments[0]

    def std(self) -> float:
        return self._moments[1]

    def rvs(self, size, random_state: np.random.Generator):
        """Independent draws."""
        return self.ppf(random_state.random(size))


def random_kth_cosine(n: int, d: int, k: int, absolute: bool = False) -> KthCosine:
    """The law of the k-th largest cosine of one of ``n`` isotropic random rows in ``d`` dimensions with the others.

    Has ``mean()``, ``std()``, ``pdf(x)``, ``cdf(x)``, ``sf(x)``, ``ppf(q)`` and ``rvs(size, random_state)``.

    Raises ``ValueError`` unless n ≥ 2, d ≥ 2 and 1 ≤ k ≤ n - 1.
    """
    if n < 2 or d < 2 or not 1 <= k <= n - 1:
        raise ValueError(f"n={n!r}, d={d!r}, k={k!r}; expected n ≥ 2, d ≥ 2 and 1 ≤ k ≤ n - 1")
    return KthCosine(n, d, k, absolute)


def welch_bound(n: int, d: int, order: int = 1) -> float:
    """The |cos| that ``n`` directions in ``d`` dimensions cannot all stay below (Welch 1974); 0 if n ≤ d.

    ``max |cos|^(2·order) ≥ (n / C(d + order - 1, order) - 1) / (n - 1)``; order 1 gives √((n - d)/(d (n - 1))).
    """
    if n < 2 or d < 1 or order < 1:
        raise ValueError(f"n={n!r}, d={d!r}, order={order!r}; expected n ≥ 2, d ≥ 1, order ≥ 1")
    return max(0.0, (n / comb(d + order - 1, order) - 1) / (n - 1)) ** (1 / (2 * order))


def packing_bound(n: int, d: int) -> float:
    """The best of three lower bounds on the largest |cos| of ``n`` real directions in ``d`` dimensions.

    Welch's of any order; and, beyond ``d (d + 1) / 2`` directions, the orthoplex bound 1/√d and Levenshtein's
    √((3n - d² - 2d) / ((n - d)(d + 2))).
    """
    bounds = [welch_bound(n, d, order) for order in range(1, 9)]
    if n > d * (d + 1) / 2:
        bounds += [d**-0.5, max(0.0, (3 * n - d * d - 2 * d) / ((n - d) * (d + 2))) ** 0.5]
    return max(bounds)


def _unit(rows: Tensor) -> Tensor:
    if not isinstance(rows, Tensor) or rows.ndim != 2 or not rows.is_floating_point() or len(rows) < 2:
        seen = f"{tuple(rows.shape)} of {rows.dtype}" if isinstance(rows, Tensor) else type(rows).__name__
        raise ValueError(f"rows is {seen}; expected a floating tensor (n ≥ 2, d)")
    if not rows.isfinite().all():
        raise ValueError(f"rows holds {int((~rows.isfinite()).sum())} values that are NaN or infinite")
    rows = rows.detach() if rows.dtype == torch.float64 else rows.detach().float()
    scaled = rows / rows.abs().amax(1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)
    lengths = scaled.norm(dim=1, keepdim=True)
    if (lengths == 0).any():
        raise ValueError(f"rows has {int((lengths == 0).sum())} rows of length zero, which have no direction")
    return scaled / lengths


def _products(unit: Tensor, absolute: bool, chunk: int, show: bool) -> Iterator[tuple[int, Tensor]]:
    """Chunks of cosines ``(≤ chunk, n)``, the query's own set to -2; the buffer is used again for the next chunk."""
    if chunk < 1:
        raise ValueError(f"chunk={chunk!r}; expected a positive number of rows")
    buffer = unit.new_empty(min(chunk, len(unit)), len(unit))
    for start in progress(range(0, len(unit), chunk), desc="cosines", disable=not show):
        queries = unit[start : start + chunk]
        products = torch.mm(queries, unit.T, out=buffer[: len(queries)])
        if absolute:
            products.abs_()
        products[torch.arange(len(queries)), torch.arange(start, start + len(queries))] = -2.0
        yield start, products


def _largest(products: Tensor, k: int) -> Tensor:
    """The ``k`` largest of each row, in order: ``(rows, k)``."""
    rows, n = products.shape
    groups = 6 * k
    width = n // groups
    if width < 4:
        return products.topk(k, dim=1).values
    whole = products[:, : groups * width].unflatten(1, (groups, width))
    floor = whole.amax(2).topk(k, dim=1, sorted=False).values.amin(1, keepdim=True)
    where = (products >= floor).view(-1).nonzero()[:, 0]
    row = where // n
    counts = torch.bincount(row, minlength=rows)
    most = int(counts.max())
    if most > n // 8:  # many ties: sorting everything is cheaper than gathering
        return products.topk(k, dim=1).values
    starts = counts.cumsum(0) - counts
    candidates = products.new_full((rows, most), -2.0)
    candidates[row, torch.arange(len(where)) - starts[row]] = products.view(-1)[where]
    return candidates.topk(k, dim=1).values
