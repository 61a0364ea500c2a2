"""Cosines between the rows of a dictionary, exact and streamed.

The object is always ``rows (n, d_model)``, of any non-zero norms; a row's *k-th largest cosine* is the k-th largest of
its n-1 cosines with the others. Memory is bounded by a chunk of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import matrix, whole
from ..runs import progress
from . import screening
from .units import Units, unit_rows


def _cosines(rows: Tensor, chunk: int, absolute: bool, queries: Tensor | None = None) -> Iterator[tuple[int, Tensor]]:
    """For each ``chunk`` of queries, the first, and its (absolute) cosines with all rows: ``(chunk, n)``.

    A row's entry for itself is -inf. The buffer is the same every time.
    """
    chunk = whole("chunk", chunk, 1)
    unit = unit_rows(rows)
    n = len(unit)
    queries = torch.arange(n, device=unit.device) if queries is None else queries
    buffer = unit.new_empty((min(chunk, len(queries)), n))
    for start in progress(range(0, len(queries), chunk), desc="cosines", delay=2):
        own = queries[start : start + chunk]
        part = unit[own]
        block = buffer[: len(part)]
        torch.mm(part, unit.T, out=block)
        if absolute:
            block.abs_()
        block[torch.arange(len(own), device=own.device), own] = -torch.inf
        yield start, block


@torch.no_grad()
def kth_largest_cosine(
    rows: Tensor,
    ks: Sequence[int] = (1, 10, 100),
    absolute: bool = False,
    chunk: int = 512,
    queries: Tensor | None = None,
) -> Tensor:
    """For each row and each k, the k-th largest of its (absolute) cosines with the other rows: ``(n, len(ks))``.

    With ``queries (m,)``, row numbers, for these rows only: ``(m, len(ks))``.

    Exact, and streamed: memory is a copy of ``rows`` or two, and a few arrays ``(chunk, n)``. Whole rows of cosines are
    ranked; of many rows a rough product says which cosines are looked at (:mod:`helpers.geometry.screening`), on a
    graphics card for 2048 queries or more at a time.

    Raises ValueError for what :func:`unit_rows` refuses, for ks that are not positive integers, and if n ≤ max(ks).

    >>> import torch
    >>> from helpers.geometry import kth_largest_cosine
    >>> rows = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 2.0]])
    >>> [[round(c, 2) for c in row] for row in kth_largest_cosine(rows, ks=(1, 2)).tolist()]
    [[0.6, 0.0], [0.8, 0.6], [0.8, 0.0]]
    """
    rows = matrix("rows", rows)
    if not isinstance(ks, Sequence) or not ks:
        raise ValueError(f"ks={ks!r}; expected a sequence of positive integers")
    ks = [whole("ks", k, 1) for k in ks]
    n, most = len(rows), max(ks)
    if n <= most:
        raise ValueError(f"rows has {n} rows, so {max(n - 1, 0)} cosines each; k={most} needs at least {most + 1} rows")
    if queries is not None:
        numbers = isinstance(queries, Tensor) and queries.dtype in (torch.int64, torch.int32)
        if not numbers or queries.ndim != 1 or not len(queries) or queries.min() < 0 or queries.max() >= n:
            seen = (
                f"has shape {tuple(queries.shape)}, {queries.dtype}" if hasattr(queries, "dtype") else f"is {queries!r}"
            )
            raise ValueError(f"queries {seen}; expected row numbers (m,), m ≥ 1, from 0 to {n - 1}")
    picked = torch.tensor([k - 1 for k in ks], device=rows.device)
    chunk = whole("chunk", chunk, 1)
    if screening.pays(rows, most):
        chunk = max(chunk, 2048) if rows.is_cuda else chunk
        found = screening.largest_cosines(Units(rows), most, absolute, chunk, queries)
    else:
        found = (cosines.topk(most, dim=1).values for _, cosines in _cosines(rows, chunk, absolute, queries))
    return torch.cat([best[:, picked] for best in found]).clamp_(-1, 1)


class Neighbours(NamedTuple):
    """Each row's nearest other row: ``index (n,)``, and the ``cosine (n,)`` with it, signed; or its nearest k rows."""

    index: Tensor
    cosine: Tensor


@torch.no_grad()
def nearest_neighbours(rows: Tensor, absolute: bool = False, chunk: int = 256, k: int | None = None) -> Neighbours:
    """For each row the other row with the largest (absolute) cosine; among equals, one that rounding puts first.

    With ``k``, the k nearest, nearest first: ``(n, k)``.

    >>> import torch
    >>> from helpers.geometry import nearest_neighbours
    >>> near = nearest_neighbours(torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 2.0]]))
    >>> near.index.tolist(), [round(c, 2) for c in near.cosine.tolist()]
    ([1, 2, 1], [0.6, 0.8, 0.8])
    """
    rows = matrix("rows", rows)
    if len(rows) < 2:
        raise ValueError(f"rows has {len(rows)} rows; a neighbour needs at least 2")
    many = 1 if k is None else whole("k", k, 1, len(rows) - 1)
    index, cosine = [], []
    for start, cosines in _cosines(rows, chunk, absolute):
        best, where = cosines.topk(many, dim=1)
        if absolute:
            own = unit_rows(rows[start : start + len(best)])
            best *= (own[:, None] * unit_rows(rows[where.flatten()]).unflatten(0, where.shape)).sum(2).sign()
        index.append(where)
        cosine.append(best)
    found = Neighbours(torch.cat(index), torch.cat(cosine).clamp_(-1, 1))
    return found if k is not None else Neighbours(*(part[:, 0] for part in found))
