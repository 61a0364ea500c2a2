"""Are nearest neighbours shared? The in-degree of rows, and a test whether few rows serve many."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..checks import drawing, whole


def in_degree(index: Tensor, n: int) -> Tensor:
    """How many rows have each of the n rows for their nearest neighbour: ``(n,)`` counts that sum to ``len(index)``.

    >>> import torch
    >>> from helpers.geometry import in_degree
    >>> in_degree(torch.tensor([1, 2, 1]), 3).tolist()
    [0, 2, 1]
    """
    if not isinstance(index, Tensor):
        raise ValueError(f"index is a {type(index).__name__}; expected a torch.Tensor of row numbers (m,), m ≥ 1")
    odd = index.is_floating_point() or index.is_complex() or index.dtype == torch.bool
    if index.ndim != 1 or odd or not len(index):
        raise ValueError(f"index has shape {tuple(index.shape)}, {index.dtype}; expected row numbers (m,), m ≥ 1")
    n = whole("n", n, 1)
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

    >>> import torch
    >>> from helpers.geometry import hubness
    >>> star = torch.tensor([1] + [0] * 19)  # all have row 0 for their nearest neighbour
    >>> seen = hubness(star, 20, torch.Generator().manual_seed(0), draws=99)
    >>> seen.hub, seen.largest, seen.p_largest
    (0, 19, 0.01)
    """
    n, draws, generator = whole("n", n, 2), whole("draws", draws, 1), drawing(generator)
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
