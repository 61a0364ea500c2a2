"""How directions lie: cosines between a dictionary's rows, what chance alone would give, and whether there are hubs.

The object is always ``rows (n, d_model)``, of any non-zero norms; a row's *k-th largest cosine* is the k-th largest of
its n-1 cosines with the others. For isotropic random rows those n-1 cosines are independent of each other, with

    (1 + cos) / 2 ~ Beta((d-1)/2, (d-1)/2)        and        cos² ~ Beta(1/2, (d-1)/2),

so :func:`random_kth_cosine` has their order statistics in closed form. Activations are not isotropic:
:func:`covariance_directions` and :func:`data_directions` draw directions from where activations lie.
Lower bounds on what any rows can reach, and rows that come near them, are in :mod:`helpers.packing`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isqrt, sqrt
from typing import NamedTuple

import numpy as np
import torch
from scipy import special
from torch import Tensor

from .progress import progress


def unit_rows(rows: Tensor, name: str = "rows") -> Tensor:
    """``rows (n, d_model)`` scaled to norm 1, in their own precision (at least float32).

    Raises ValueError for anything but a matrix of finite floating numbers, and for a row of zeros: it has no direction.
    """
    _matrix(rows, name)
    unit = rows.detach().to(torch.promote_types(rows.dtype, torch.float32))
    largest = torch.linalg.vector_norm(unit, float("inf"), dim=1, keepdim=True)  # first, so that no square overflows
    for bad, what in ((~largest.isfinite(), "holds NaN or infinity"), (largest == 0, "is all zeros")):
        if bad.any():
            raise ValueError(f"{name}: row {int(bad[:, 0].nonzero()[0])} {what} ({int(bad.sum())} such rows)")
    unit = unit / largest
    for part in unit.split(4096):  # a norm in double precision takes a copy of its rows
        part.div_(torch.linalg.vector_norm(part, dim=1, keepdim=True, dtype=torch.float64).to(unit.dtype))
    return unit


def _matrix(rows: Tensor, name: str) -> None:
    if not isinstance(rows, Tensor):
        raise ValueError(f"{name} is a {type(rows).__name__}; expected a floating torch.Tensor (n, d_model)")
    if rows.ndim != 2 or not rows.shape[1] or not rows.is_floating_point():
        raise ValueError(f"{name} has shape {tuple(rows.shape)}, {rows.dtype}; expected floating (n, d_model)")


def whole_number(name: str, value, least: int) -> int:
    """``value`` as an int; raises ValueError, naming it, unless it is a whole number of at least ``least``."""
    try:
        if int(value) == value and value >= least:
            return int(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"{name}={value!r}; expected an integer of at least {least}")


def _cosines(
    rows: Tensor, chunk: int, absolute: bool, width: int = 0, queries: Tensor | None = None
) -> Iterator[tuple[int, Tensor]]:
    """For each ``chunk`` of queries, the first, and its (absolute) cosines with all rows: ``(chunk, width or n)``.

    A row's entry for itself, and any column past n, is -inf. The buffer is the same every time.
    """
    chunk = whole_number("chunk", chunk, 1)
    unit = unit_rows(rows)
    n = len(unit)
    queries = torch.arange(n, device=unit.device) if queries is None else queries
    buffer = unit.new_full((min(chunk, len(queries)), max(width, n)), -torch.inf)
    for start in progress(range(0, len(queries), chunk), desc="cosines", delay=2):
        own = queries[start : start + chunk]
        part = unit[own]
        block = buffer[: len(part)]
        torch.mm(part, unit.T, out=block[:, :n])
        if absolute:
            block[:, :n].abs_()
        block[torch.arange(len(own), device=own.device), own] = -torch.inf
        yield start, block


@torch.no_grad()
def kth_largest_cosine(
    rows: Tensor,
    ks: Sequence[int] = (1, 10, 100),
    absolute: bool = False,
    chunk: int = 256,
    queries: Tensor | None = None,
) -> Tensor:
    """For each row and each k, the k-th largest of its (absolute) cosines with the other rows: ``(n, len(ks))``.

    With ``queries (m,)``, row numbers, for these rows only: ``(m, len(ks))``.

    Exact, and streamed: memory is a normalised copy of ``rows`` and ``(chunk, n)`` cosines. Columns are dealt into
    blocks; the K blocks with the largest maxima hold the K largest values, since each has one that is at least as large
    as all that is left out. So one pass takes maxima, and only ``K · size of a block`` values a row are ranked.

    Raises ValueError for what :func:`unit_rows` refuses, for ks that are not positive integers, and if n ≤ max(ks).
    """
    _matrix(rows, "rows")
    if not isinstance(ks, Sequence) or not ks:
        raise ValueError(f"ks={ks!r}; expected a sequence of positive integers")
    ks = [whole_number("ks", k, 1) for k in ks]
    n, most = len(rows), max(ks)
    if n <= most:
        raise ValueError(f"rows has {n} rows, so {max(n - 1, 0)} cosines each; k={most} needs at least {most + 1} rows")
    if queries is not None:
        whole = isinstance(queries, Tensor) and queries.dtype in (torch.int64, torch.int32)
        if not whole or queries.ndim != 1 or not len(queries) or queries.min() < 0 or queries.max() >= n:
            seen = (
                f"has shape {tuple(queries.shape)}, {queries.dtype}" if hasattr(queries, "dtype") else f"is {queries!r}"
            )
            raise ValueError(f"queries {seen}; expected row numbers (m,), m ≥ 1, from 0 to {n - 1}")
    size = max(isqrt(max(n, 1) // most), 1)  # balances ranking n/size maxima against ranking most·size values
    blocks = -(-n // size)
    picked = torch.tensor([k - 1 for k in ks], device=rows.device)
    out = []
    for _, cosines in _cosines(rows, chunk, absolute, size * blocks, queries):
        if size > 1:
            dealt = cosines.view(len(cosines), size, blocks)
            best = dealt.amax(1).topk(most, dim=1, sorted=False).indices
            cosines = dealt.gather(2, best[:, None].expand(-1, size, -1)).flatten(1)
        out.append(cosines.topk(most, dim=1).values.index_select(1, picked))
    return torch.cat(out).clamp_(-1, 1)


@dataclass(frozen=True)
class KthCosine:
    """The law of one row's k-th largest (absolute) cosine among n isotropic random rows; frozen, scipy-like methods.

    With ``S(x) = P(cos > x)``, S at the k-th largest of n-1 draws is Beta(k, n-k). Everything goes through S, never
    through 1-S: at n = 10⁷ the S that matter are near 10⁻⁷. Moments are integrals over the quantile's normal score.
    """

    n: int
    d: int
    k: int
    absolute: bool = False

    def _tail(self, x: np.ndarray) -> np.ndarray:
        """``P(cos > x)`` of a single cosine."""
        a = (self.d - 1) / 2
        return special.betaincc(0.5, a, x * x) if self.absolute else special.betainc(a, a, (1 - x) / 2)

    def _at_tail(self, s: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`_tail`."""
        a = (self.d - 1) / 2
        return np.sqrt(special.betainccinv(0.5, a, s)) if self.absolute else 1 - 2 * special.betaincinv(a, a, s)

    def _mirror(self) -> KthCosine | None:
        """For k past the middle the law of -x, whose tail probabilities are small: signed cosines are symmetric."""
        return None if self.absolute or 2 * self.k <= self.n else KthCosine(self.n, self.d, self.n - self.k)

    def cdf(self, x) -> np.ndarray:
        if mirror := self._mirror():
            return special.betainc(mirror.k, mirror.n - mirror.k, mirror._tail(np.clip(-np.asarray(x), -1.0, 1.0)))
        low = 0.0 if self.absolute else -1.0
        return special.betaincc(self.k, self.n - self.k, self._tail(np.clip(x, low, 1.0)))

    def pdf(self, x) -> np.ndarray:
        x = np.asarray(x, dtype=float)
        if mirror := self._mirror():
            return mirror.pdf(-x)
        inside = (np.abs(x) <= 1) & (x >= 0 if self.absolute else True)
        at = np.where(inside, x, 0.0)
        if self.d == 2:  # a single cosine has no density at ±1
            at = np.clip(at, np.nextafter(-1, 0), np.nextafter(1, 0))
        s, a = self._tail(at), (self.d - 1) / 2
        with np.errstate(divide="ignore"):
            log = special.xlog1py(a - 1, -at * at) - special.betaln(0.5, a) + np.log(1 + self.absolute)
        log = log + special.xlogy(self.k - 1, s) + special.xlog1py(self.n - self.k - 1, -s)
        density = np.exp(log - special.betaln(self.k, self.n - self.k))
        return np.where(np.isnan(x), np.nan, np.where(inside, density, 0.0))[()]

    def ppf(self, q) -> np.ndarray:
        if mirror := self._mirror():
            return -mirror._at_tail(special.betaincinv(mirror.k, mirror.n - mirror.k, q))
        return self._at_tail(special.betainccinv(self.k, self.n - self.k, q))

    def rvs(self, size=None, *, random_state: int | np.random.Generator) -> np.ndarray:
        return self._at_tail(np.random.default_rng(random_state).beta(self.k, self.n - self.k, size))

    def mean(self) -> float:
        x, weight = self._nodes()
        return float(x @ weight)

    def std(self) -> float:
        x, weight = self._nodes()
        return float(np.sqrt((x - x @ weight) ** 2 @ weight))

    def _nodes(self) -> tuple[np.ndarray, np.ndarray]:
        """Quantiles at evenly spaced normal scores z, and the normal weights: ``E f = Σ weight · f(ppf(Φ(z)))``."""
        if mirror := self._mirror():
            x, weight = mirror._nodes()
            return -x, weight
        z = np.linspace(-9, 9, 361)
        shape, p = (self.k, self.n - self.k), special.ndtr(-np.abs(z))
        s = np.where(z > 0, special.betaincinv(*shape, p), special.betainccinv(*shape, p))
        weight = np.exp(-z * z / 2)
        return self._at_tail(s), weight / weight.sum()


def random_kth_cosine(n: int, d: int, k: int, absolute: bool = False) -> KthCosine:
    """What :func:`kth_largest_cosine` gives for one of n isotropic random rows in d dimensions: a frozen law.

    It has ``mean(), std(), ppf(q), pdf(x), cdf(x), rvs(size, random_state=…)``. Each row of one dictionary follows it;
    rows share cosines, so a histogram over them has exactly this mean and, for large n, nearly this shape.

    Raises ValueError unless ``1 ≤ k < n`` and ``d ≥ 2`` (in one dimension cosines are ±1).
    """
    n, d, k = whole_number("n", n, 2), whole_number("d", d, 2), whole_number("k", k, 1)
    if k >= n:
        raise ValueError(f"k={k!r}, n={n!r}; a row has n-1 cosines, so k must be below n")
    return KthCosine(n, d, k, bool(absolute))


@torch.no_grad()
def covariance_directions(x: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """n unit directions drawn from N(0, cov(x)), for activations ``x (m, d_model)``: ``(n, d_model)`` in x's precision.

    The null for "as aligned as directions must be, given where activations vary". The mean of x plays no part.
    """
    centred = _centred(x, n)
    values, vectors = torch.linalg.eigh(centred.T @ centred / (len(centred) - 1))
    values = values.clamp_min(0).sqrt().to(generator.device)
    draws = torch.randn(n, len(values), generator=generator, dtype=torch.float64, device=generator.device) * values
    rows = unit_rows(draws.to(x.device) @ vectors.T, "directions")  # before rounding, which may overflow
    return rows.to(torch.promote_types(x.dtype, torch.float32))


@torch.no_grad()
def data_directions(x: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """n different rows of ``x (m, d_model)``, drawn at random, as unit directions seen from the mean of x.

    The null for "as aligned as the data points themselves": unlike Gaussian directions it keeps clusters and repeats.
    """
    centred = _centred(x, n)
    if n > len(x):
        raise ValueError(f"n={n!r}; x has {len(x)} rows to draw from")
    picked = torch.randperm(len(x), generator=generator, device=generator.device)[:n].to(x.device)
    return unit_rows(centred[picked], "x minus its mean").to(torch.promote_types(x.dtype, torch.float32))


def _centred(x: Tensor, n: int) -> Tensor:
    _matrix(x, "x")
    if len(x) < 2:
        raise ValueError(f"x has shape {tuple(x.shape)}, {x.dtype}; expected floating (m, d_model) of two rows or more")
    if not x.isfinite().all():
        raise ValueError("x holds NaN or infinity; expected finite activations")
    whole_number("n", n, 1)
    centred = x.double() - x.double().mean(0)
    largest = centred.abs().max()
    if largest <= 1e-12 * x.abs().max():
        raise ValueError("x has no variance: all rows are equal, so it points nowhere")
    return centred / 2.0 ** largest.log2().floor()  # exact; only directions matter, and no square overflows


class Neighbours(NamedTuple):
    """Each row's nearest other row: ``index (n,)``, and the ``cosine (n,)`` with it, signed."""

    index: Tensor
    cosine: Tensor


@torch.no_grad()
def nearest_neighbours(rows: Tensor, absolute: bool = False, chunk: int = 256) -> Neighbours:
    """For each row the other row with the largest (absolute) cosine; among equals, one that rounding puts first."""
    _matrix(rows, "rows")
    if len(rows) < 2:
        raise ValueError(f"rows has {len(rows)} rows; a neighbour needs at least 2")
    index, cosine = [], []
    for start, cosines in _cosines(rows, chunk, absolute):
        best, where = cosines.max(1)
        if absolute:
            best *= (unit_rows(rows[start : start + len(best)]) * unit_rows(rows[where])).sum(1).sign()
        index.append(where)
        cosine.append(best)
    return Neighbours(torch.cat(index), torch.cat(cosine).clamp_(-1, 1))


def in_degree(index: Tensor, n: int) -> Tensor:
    """How many rows have each of the n rows for their nearest neighbour: ``(n,)`` counts that sum to ``len(index)``."""
    if not isinstance(index, Tensor):
        raise ValueError(f"index is a {type(index).__name__}; expected a torch.Tensor of row numbers (m,), m ≥ 1")
    if index.ndim != 1 or index.is_floating_point() or index.dtype == torch.bool or not len(index):
        raise ValueError(f"index has shape {tuple(index.shape)}, {index.dtype}; expected row numbers (m,), m ≥ 1")
    n = whole_number("n", n, 1)
    if index.min() < 0 or index.max() >= n:
        raise ValueError(f"index runs from {int(index.min())} to {int(index.max())}; expected 0 to n-1 with n={n!r}")
    return torch.bincount(index, minlength=n)


class Hubness(NamedTuple):
    """How unevenly neighbours are shared, and how often chance does as much."""

    skewness: float  # third standardised moment of the in-degree
    p_skewness: float
    hub: int  # the row that is nearest to most
    largest: int  # its in-degree
    p_largest: float
    chance: tuple[float, float]  # mean skewness and mean largest in-degree under the null


@torch.no_grad()
def hubness(
    index: Tensor, n: int, generator: torch.Generator, draws: int = 999, sources: Tensor | None = None
) -> Hubness:
    """Do many rows share few neighbours? A Monte Carlo test on the in-degree of ``index (m,)`` among n rows.

    Null: each row's neighbour is drawn evenly from the n-1 others, independently. It needs no model of the rows, so it
    also serves a subset: ``sources (m,)`` says which rows ``index`` belongs to (default: the first m). A sampled
    isotropic dictionary would be the other choice, at n² d a draw; from 64 dimensions up its in-degrees cannot be told
    from this null's, and below they are *less* skewed (only so many rows fit around one), so the test errs on the safe
    side. Rows in clusters may be skewed with no single hub: ``largest`` tells the two apart.

    Skewness of the in-degree as the measure of hubs: Radovanović et al., JMLR 11 (2010) 2487–2531. One-sided
    ``p = (1 + #{null ≥ seen}) / (1 + draws)``.
    """
    n, draws = whole_number("n", n, 2), whole_number("draws", draws, 1)
    seen = in_degree(index, n).cpu()
    if sources is not None and (not isinstance(sources, Tensor) or sources.dtype not in (torch.int64, torch.int32)):
        raise ValueError(f"sources={sources!r}; expected integer row numbers below n={n!r}, one per index")
    if sources is None and len(index) > n:
        raise ValueError(f"index has {len(index)} entries for n={n!r} rows; expected at most one a row, or sources")
    sources = torch.arange(len(index)) if sources is None else sources.cpu()
    if sources.shape != index.shape or sources.min() < 0 or sources.max() >= n:
        raise ValueError(f"sources has shape {tuple(sources.shape)}; expected row numbers below n={n!r}, one per index")
    null = np.empty((draws, 2))
    for i in range(draws):
        other = torch.randint(n - 1, sources.shape, generator=generator, device=generator.device).cpu()
        degree = torch.bincount(other + (other >= sources), minlength=n)
        null[i] = _skewness(degree), degree.max()
    skewness, largest = _skewness(seen), int(seen.max())
    p = (1 + (null >= np.array([skewness - 1e-9, largest])).sum(0)) / (1 + draws)
    means = null.mean(0)
    return Hubness(skewness, float(p[0]), int(seen.argmax()), largest, float(p[1]), (float(means[0]), float(means[1])))


def _skewness(degree: Tensor) -> float:
    centred = degree.double() - degree.double().mean()
    spread = centred.pow(2).mean()
    return float(centred.pow(3).mean() / spread**1.5) if spread > 0 else 0.0


def welch_bound(n: int, d: int) -> float:
    """The least max |cos| that n directions in d dimensions can have: ``√((n-d) / (d(n-1)))``, and 0 for n ≤ d.

    Welch 1974. The same number bounds their *root-mean-square* cosine. :func:`helpers.packing.packing_bound` is at
    least as large.
    """
    n, d = whole_number("n", n, 1), whole_number("d", d, 1)
    return sqrt((n - d) / (d * (n - 1))) if n > d else 0.0
