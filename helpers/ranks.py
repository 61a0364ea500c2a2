"""The largest of many numbers without ranking them all: which can be among them, and where these are.

Read as integers, the bits of floats are in the order of the floats from 0 on; those of negative floats are negative. A
processor compares integers many at a time, where torch turns every number in bfloat16 into another one first: a
twentieth of the time. So on a processor the bits are compared, by NumPy; on a graphics card the numbers themselves.

>>> pre = torch.tensor([[3.0, 1.0, 2.0, -4.0], [-1.0, 5.0, -2.0, 7.0]])
>>> least = reached(pre, k=2, dim=1)
>>> least.tolist(), reaching(pre, least).tolist()
([[2.0], [5.0]], [0, 2, 5, 7])
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

BITS = {torch.bfloat16: torch.int16, torch.float16: torch.int16, torch.float32: torch.int32, torch.float64: torch.int64}
PART = 2**20  # numbers compared at a time


def bf16_is_fast(device: torch.device | str = "cpu") -> bool:
    """Whether matrix products in bfloat16 have hardware behind them on ``device``."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.device(device).type == "cpu" and (
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )


def keys(values: Tensor) -> Tensor:
    """What is compared in place of ``values``: a view of them, in their order from 0 on, below 0 where they are."""
    return values.view(BITS[values.dtype]) if values.device.type == "cpu" else values


def kth(values: Tensor, k: int, dim: int) -> Tensor:
    """The ``k``-th largest along ``dim``, which stays as 1. On a processor it is -inf instead of a negative number."""
    if values.device.type != "cpu":
        return values.topk(k, dim=dim, sorted=False).values.amin(dim, keepdim=True)
    least = torch.from_numpy(np.partition(keys(values).numpy(), -k, axis=dim)).narrow(dim, -k, 1).clone()
    return least.view(values.dtype).masked_fill(least < 0, -torch.inf)


def reached(values: Tensor, k: int, dim: int) -> Tensor:
    """A number that at least ``k`` of ``values`` along ``dim`` reach, and few more, as :func:`kth` gives it.

    It is the k-th largest of the maxima of groups, since one in each of these groups reaches it.
    """
    n = values.shape[dim]
    width = max(1, n // (8 * k))
    tops = keys(values).narrow(dim, 0, n // width * width).unflatten(dim, (width, -1)).amax(dim)
    return kth(tops.view(values.dtype), k, dim)


def reaching(values: Tensor, least: Tensor, most: float = torch.inf) -> Tensor | None:
    """Where ``values (m, n)`` are at least ``least``, which is ``(m, 1)`` or ``(1, n)``: counted row by row, ascending.

    Nothing where there are more than ``most``. On a processor a ``least`` not above 0 counts as -inf, and no mask of
    all is made.
    """
    if values.device.type != "cpu":
        mask = values >= least
        return places(mask) if most == torch.inf or int(mask.count_nonzero()) <= most else None
    bits, cut = keys(values).numpy(), keys(least).masked_fill(~(least > 0), torch.iinfo(BITS[least.dtype]).min)
    (m, n), cut, found, many = bits.shape, cut.expand_as(values).numpy(), [], 0
    for i in range(0, m, step := max(1, PART // max(n, 1))):
        found.append(np.flatnonzero(bits[i : i + step] >= cut[i : i + step]) + i * n)
        many += len(found[-1])
        if many > most:
            return None
    return torch.from_numpy(np.concatenate(found) if found else np.empty(0, np.int64))


def positive(values: Tensor) -> Tensor:
    """Where numbers are above 0: a mask."""
    if values.device.type != "cpu":
        return values > 0
    return torch.from_numpy(keys(values.detach()).numpy() > 0)


def places(mask: Tensor) -> Tensor:
    """Where a mask is true, counted along it row by row. On a processor NumPy finds them, in half of torch's time."""
    if mask.device.type != "cpu":
        return mask.flatten().nonzero()[:, 0]
    return torch.from_numpy(np.flatnonzero(mask.numpy()))
