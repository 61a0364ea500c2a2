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

from ..ranks import places
from . import entries


def largest(pre: Tensor, k: int) -> Tensor:
    """Mask of the ``k`` largest entries of each row; ties broken by position, so exactly ``k`` a row."""
    return torch.zeros_like(pre, dtype=torch.bool).scatter_(-1, pre.topk(k, dim=-1, sorted=False).indices, True)


def largest_at(pre: Tensor, k: int) -> Tensor:
    """Where the ``k`` largest entries of each row are, as far as they are positive, by the device's faster way."""
    if entries.kernels(pre.device):
        return positions(pre, k)
    return places(largest(pre, k) & (pre > 0))


def positions(pre: Tensor, k: int) -> Tensor:
    """Where the ``k`` largest entries of each row of ``pre (batch, n)`` are, as far as they are positive.

    They are counted along ``pre`` row by row, ascending; of equal entries the first ones. Whole rows are not ranked,
    which on a graphics card takes longer than the product that made them: the k-th largest of the maxima of groups of
    columns is at most the k-th largest entry, so only what reaches it is looked at, a few more than ``k`` a row.
    """
    n = pre.shape[1]
    width = max(1, n // (8 * k))
    tops = pre[:, : n // width * width].unflatten(1, (width, -1)).amax(1)
    least = tops.topk(k, dim=1, sorted=False).values.amin(1, keepdim=True)
    kind = torch.finfo(pre.dtype)
    least = least.clamp_min(kind.smallest_normal * kind.eps)  # the smallest number above 0
    at = (pre >= least).flatten().nonzero()[:, 0]
    rows = at // n
    order = pre.flatten()[at].sort(descending=True, stable=True).indices
    order = order[rows[order].sort(stable=True).indices]  # by row, and in it by size, and of one size by position
    begins = torch.searchsorted(rows, torch.arange(len(pre), device=pre.device))
    kept = torch.zeros_like(at, dtype=torch.bool)
    kept[order] = torch.arange(len(at), device=pre.device) - begins[rows] < k
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
