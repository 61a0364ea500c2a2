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


def reached(values: Tensor, k: int, dim: int) -> Tensor:
    """A number that at least ``k`` of ``values`` along ``dim`` reach, and few more; that dimension is left as 1.

    It is the k-th largest of the maxima of groups, since one in each of these groups reaches it. On a processor it is
    -inf instead of a negative number.
    """
    n, seen = values.shape[dim], keys(values)
    width = max(1, n // (8 * k))
    tops = seen.narrow(dim, 0, n // width * width).unflatten(dim, (width, -1)).amax(dim)
    if values.device.type != "cpu":
        return tops.topk(k, dim=dim, sorted=False).values.amin(dim, keepdim=True)
    least = torch.from_numpy(np.partition(tops.numpy(), -k, axis=dim)).narrow(dim, -k, 1).clone()
    return least.view(values.dtype).masked_fill(least < 0, -torch.inf)


def reaching(values: Tensor, least: Tensor, most: float = torch.inf) -> Tensor | None:
    """Where ``values`` are at least ``least``, which is broadcast: counted row by row, ascending.

    Nothing where there are more than ``most``. On a processor a ``least`` not above 0 counts as -inf.
    """
    if values.device.type == "cpu":
        seen = keys(least)
        seen = seen.masked_fill(~(least > 0), torch.iinfo(seen.dtype).min)
        mask = torch.from_numpy(keys(values).numpy() >= seen.numpy())
    else:
        mask = values >= least
    return places(mask) if most == torch.inf or int(mask.count_nonzero()) <= most else None


def places(mask: Tensor) -> Tensor:
    """Where a mask is true, counted along it row by row. On a processor NumPy finds them, in half of torch's time."""
    if mask.device.type != "cpu":
        return mask.flatten().nonzero()[:, 0]
    return torch.from_numpy(np.flatnonzero(mask.numpy()))
