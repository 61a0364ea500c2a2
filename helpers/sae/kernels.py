"""The sums of :mod:`helpers.sae.entries` on a graphics card, in Triton.

Imported only where there is a card, or in Triton's interpreter (``TRITON_INTERPRET=1``), which runs them on a processor
for the tests. Rows may be in bfloat16; sums are in float32 (float64 for float64 weights). Nothing is added through
atomics and no block size is looked for at run time, so the order of additions is fixed: equal input, equal bits.

What a training step must do at least, on an H200 (790 TFLOP/s in bfloat16 and 4.3 TB/s, both measured), for d_model
2304, d_sae 36864, a batch of 4096 and 40 codes an input, so 164k entries and 85M weights in each matrix:

    the encoder's product   696 GFLOP                                                    .88 ms
    Adam                    both matrices: 4 read, 3 written, float32, 4.8 GB           1.11 ms
    unit decoder rows       norms, then the rows, float32, 1.0 GB                        .24 ms
    weights to bfloat16     both, 1.0 GB                                                 .24 ms
    gradients               both written, the encoder's turned, 1.4 GB                   .32 ms
    decode and back         a bfloat16 row an entry, twice, 1.5 GB                       .35 ms
    choosing codes          pre-activations written once, read three times, 1.2 GB       .28 ms

together 3.4 ms, 1.2M tokens a second. What rows the gradients add up (the batch, in bfloat16: 19 MB) stay in the
cache. Dense gradients and decoding would add four products, 3.5 ms, and copies in both precisions.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

ENTRIES, WIDTH = 8, 256  # a tile: so many rows, so many columns of them
WARPS = 4


@triton.jit
def _bag(out, indices, starts, rows, weights, d, ENTRIES: tl.constexpr, WIDTH: tl.constexpr, KIND: tl.constexpr):
    """One group and ``WIDTH`` columns a program. Rows of weight zero are not read."""
    group = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    first, last = tl.load(starts + group), tl.load(starts + group + 1)
    total = tl.zeros([ENTRIES, WIDTH], KIND)
    for begin in range(first, last, ENTRIES):
        entry = begin + tl.arange(0, ENTRIES)
        weight = tl.load(weights + entry, mask=entry < last, other=0.0)
        row = tl.load(indices + entry, mask=entry < last, other=0).to(tl.int64)
        some = (weight != 0)[:, None] & (at < d)[None, :]
        tile = tl.load(rows + row[:, None] * d + at[None, :], mask=some, other=0.0)
        total += weight.to(KIND)[:, None] * tile.to(KIND)
    tl.store(out + group * d + at, tl.sum(total, 0), mask=at < d)


@triton.jit
def _totals(out, starts, weights, ENTRIES: tl.constexpr, KIND: tl.constexpr):
    """One group a program."""
    group = tl.program_id(0).to(tl.int64)
    first, last = tl.load(starts + group), tl.load(starts + group + 1)
    total = tl.zeros([ENTRIES], KIND)
    for begin in range(first, last, ENTRIES):
        entry = begin + tl.arange(0, ENTRIES)
        total += tl.load(weights + entry, mask=entry < last, other=0.0).to(KIND)
    tl.store(out + group, tl.sum(total, 0))


@triton.jit(do_not_specialize=["n"])
def _dots(out, left, i, right, j, n, d, ENTRIES: tl.constexpr, WIDTH: tl.constexpr, KIND: tl.constexpr):
    """``ENTRIES`` entries a program."""
    entry = tl.program_id(0).to(tl.int64) * ENTRIES + tl.arange(0, ENTRIES)
    a = tl.load(i + entry, mask=entry < n, other=0).to(tl.int64)
    b = tl.load(j + entry, mask=entry < n, other=0).to(tl.int64)
    total = tl.zeros([ENTRIES, WIDTH], KIND)
    for begin in range(0, d, WIDTH):
        at = begin + tl.arange(0, WIDTH)
        some = (entry < n)[:, None] & (at < d)[None, :]
        x = tl.load(left + a[:, None] * d + at[None, :], mask=some, other=0.0)
        y = tl.load(right + b[:, None] * d + at[None, :], mask=some, other=0.0)
        total += x.to(KIND) * y.to(KIND)
    tl.store(out + entry, tl.sum(total, 1), mask=entry < n)


def bag(indices: Tensor, starts: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """:func:`helpers.sae.entries.bag`: ``(groups, d)`` in the dtype of ``weights``."""
    groups, d = len(starts) - 1, rows.shape[1]
    out = weights.new_empty(groups, d)
    if out.numel():
        width, indices, starts, rows, weights = _width(d), *_plain(indices, starts, rows, weights)
        with torch.cuda.device_of(rows):
            _bag[groups, triton.cdiv(d, width)](
                out, indices, starts, rows, weights, d, ENTRIES, width, _kind(weights), num_warps=WARPS
            )
    return out


def totals(starts: Tensor, weights: Tensor) -> Tensor:
    """:func:`helpers.sae.entries.totals`: ``(groups,)``."""
    out = weights.new_empty(len(starts) - 1)
    if len(out):
        with torch.cuda.device_of(weights):
            _totals[(len(out),)](out, *_plain(starts, weights), 32, _kind(weights), num_warps=1)
    return out


def dots(left: Tensor, i: Tensor, right: Tensor, j: Tensor) -> Tensor:
    """:func:`helpers.sae.entries.dots`: ``(n,)``, in float32 or float64."""
    n, d = len(i), left.shape[1]
    kind = torch.float64 if left.dtype == torch.float64 else torch.float32
    out = left.new_zeros(n, dtype=kind)
    if n and d:
        left, i, right, j = _plain(left, i, right, j)
        with torch.cuda.device_of(left):
            _dots[(triton.cdiv(n, ENTRIES),)](
                out, left, i, right, j, n, d, ENTRIES, _width(d), _kind(out), num_warps=WARPS
            )
    return out


def _width(d: int) -> int:
    return min(WIDTH, triton.next_power_of_2(d))


def _kind(tensor: Tensor) -> tl.dtype:
    return tl.float64 if tensor.dtype == torch.float64 else tl.float32


def _plain(*tensors: Tensor) -> list[Tensor]:
    return [tensor.detach().contiguous() for tensor in tensors]
