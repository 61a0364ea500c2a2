"""The largest cosines of every row, from half of the products: the cosine of a pair serves both of its rows.

The rows are shuffled, so that the first ``chunk`` of them are a fair sample. Of their cosines with a row, the j-th
largest is the row's threshold, with j so much above the expected ``k · chunk / n`` that the k largest cosines of the
row almost surely lie above. How many do does not depend on how the rows lie, only on the draw: near
``n · j / chunk``. Only what is above a threshold is kept and ranked. A row that keeps fewer than k is done again,
whole: so the result is exact, whatever the draw.
"""

from __future__ import annotations

from math import ceil, sqrt

import torch
from torch import Tensor

from ..runs import progress

PENDING = 2**20  # values above thresholds that are held before they are ranked


def worth_it(n: int, most: int, chunk: int) -> bool:
    """Whether pairs are faster than whole rows: with many chunks, of which one is a sample that says something."""
    return n >= 8 * chunk and 2 * _rank(n, most, chunk) <= chunk


def largest_of_pairs(unit: Tensor, most: int, absolute: bool, chunk: int) -> tuple[Tensor, Tensor]:
    """The ``most`` largest (absolute) cosines of each of ``unit (n, d_model)``, of norm 1, with the others.

    ``(n, most)``, largest first, and ``(m,)``, the rows that are to be done again. Memory: a shuffled copy of the rows,
    ``(chunk, n)`` cosines and their masks, ``(n, most)`` values, and ``PENDING`` more.
    """
    n, device = len(unit), unit.device
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0)).to(device)
    unit = unit[order]
    best, low = unit.new_full((n, most), -torch.inf), unit.new_full((n,), -torch.inf)
    cosines, above = unit.new_empty(chunk * n), torch.empty(chunk * n, dtype=torch.bool, device=device)
    rows, values, held = [], [], 0
    for start in progress(range(0, n, chunk), desc="cosines", delay=2):
        size, width = min(chunk, n - start), n - start
        block, mask = (whole[: size * width].view(size, width) for whole in (cosines, above))
        torch.mm(unit[start : start + size], unit[start:].T, out=block)
        if absolute:
            block.abs_()
        block[:, :size].fill_diagonal_(-torch.inf)
        if start == 0:
            rank = _rank(n, most, chunk)
            low = torch.cat([part.topk(rank, dim=0).values[-1] for part in block.split(4096, dim=1)])
        for own in (low[start : start + size, None], low[start:]):  # for the rows of the block, then for its columns
            torch.gt(block, own, out=mask)
            if own.ndim == 1:
                mask[:, :size] = False  # pairs within the chunk are in the block twice
            at = mask.view(-1).nonzero()[:, 0]
            values.append(block.view(-1)[at])
            rows.append((at % width if own.ndim == 1 else at // width).int() + start)
            held += len(at)
        if held > PENDING or start + size == n:
            _rank_in(best, torch.cat(rows), torch.cat(values))
            low = torch.maximum(low, best[:, -1])
            rows, values, held = [], [], 0
    out = torch.empty_like(best)
    out[order] = best
    return out, order[best[:, -1] == -torch.inf]


def _rank(n: int, most: int, chunk: int) -> int:
    expected = most * chunk / n
    return ceil(expected + 3 * sqrt(expected)) + 1


def _rank_in(best: Tensor, rows: Tensor, values: Tensor, piece: int = 4096) -> None:
    """Put ``values (m,)`` of ``rows (m,)`` among the largest of these, ``best (n, most)``."""
    n, most = best.shape
    counts = torch.bincount(rows, minlength=n)
    ends = counts.cumsum(0)
    order = rows.argsort()
    for i in range(0, n, piece):
        first, last = int(ends[i] - counts[i]), int(ends[min(i + piece, n) - 1])
        mine = order[first:last]
        row = rows[mine].long()
        place = torch.arange(first, last, device=best.device) - (ends - counts)[row]
        padded = best.new_full((min(piece, n - i), most + int(counts[i : i + piece].max())), -torch.inf)
        padded[:, :most] = best[i : i + piece]
        padded[row - i, most + place] = values[mine]
        best[i : i + piece] = padded.topk(most, dim=1).values
