"""The largest pre-activations: of each row, as a mask or as positions, and the size of the k-th of many.

>>> pre = torch.tensor([[3.0, 1.0, 2.0], [-1.0, 5.0, -2.0]])
>>> largest(pre, 2).tolist()
[[True, False, True], [True, True, False]]
>>> positions(pre, 2).tolist()
[0, 2, 4]
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..ranks import kth, places, reached, reaching


def largest(pre: Tensor, k: int) -> Tensor:
    """Mask of the ``k`` largest entries of each row; ties broken by position, so exactly ``k`` a row."""
    return torch.zeros_like(pre, dtype=torch.bool).scatter_(-1, pre.topk(k, dim=-1, sorted=False).indices, True)


def positions(pre: Tensor, k: int) -> Tensor:
    """Where the ``k`` largest entries of each row of ``pre (batch, n)`` are, as far as they are positive.

    They are counted along ``pre`` row by row, ascending; of equal entries the first ones. Whole rows are not ranked,
    which takes as long as the product that made them: only what reaches :func:`helpers.ranks.reached` is looked at, a
    few more than ``k`` a row.
    """
    if not len(pre):
        return torch.empty(0, dtype=torch.int64, device=pre.device)
    kind = torch.finfo(pre.dtype)
    at = reaching(pre, reached(pre, k, dim=1).clamp_min(kind.smallest_normal * kind.eps))  # the smallest number above 0
    rows, values = at // pre.shape[1], pre.flatten().index_select(0, at)
    counts = torch.bincount(rows, minlength=len(pre))
    place = torch.arange(len(at), device=at.device) - (counts.cumsum(0) - counts).index_select(0, rows)
    table = pre.new_zeros(len(pre), max(k, int(counts.max())))
    table[rows, place] = values
    least = kth(table, k, dim=1)[:, 0].index_select(0, rows)
    kept, equal = values >= least, values == least
    surplus = torch.bincount(rows[kept], minlength=len(pre)) - k
    if (surplus > 0).any():  # ties, frequent in bfloat16: of the equal ones of a row, the last go
        tied = equal.nonzero()[:, 0]
        row = rows[tied]
        many = torch.bincount(row, minlength=len(pre))
        left = many.cumsum(0)[row] - torch.arange(len(tied), device=at.device)  # equal ones from this one on
        kept[tied[left <= surplus[row]]] = False
    return at[kept]


def kth_largest(values: Tensor, k: int) -> Tensor:
    """The ``k``-th largest of ``values (n,)``. On a graphics card ``kthvalue`` has one block work; sorting has all."""
    if values.device.type == "cuda":
        return values.sort(descending=True).values[k - 1]
    return values.kthvalue(len(values) - k + 1).values


def above(values: Tensor, least: float) -> Tensor:
    """Where ``values (n,)`` exceed ``least``, which is 0 or more: positions, ascending.

    On a processor numbers in bfloat16 are compared by their bits, which from 0 on are in the order of the numbers: a
    twentieth of the time.

    >>> above(torch.tensor([0.5, -1.0, 2.0, 0.25], dtype=torch.bfloat16), 0.3).tolist()
    [0, 2]
    """
    if values.device.type != "cpu" or values.dtype != torch.bfloat16:
        return places(values > least)
    nearest = torch.tensor(least, dtype=torch.bfloat16)
    cut = int(nearest.view(torch.int16)) - (float(nearest) > least)
    return torch.from_numpy(np.flatnonzero(values.view(torch.int16).numpy() > cut))
