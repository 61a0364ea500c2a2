"""The active codes of one batch as a list of entries, and the sums over them that decoding and its gradients need.

An entry is one active code: its input (a row of the batch) and its feature (a column). Entries are counted along the
batch row by row; grouped by row they decode, grouped by feature they give the weights' gradients. Three sums do it:

* :func:`bag`     ``out[g] = Σ weights[e]·rows[indices[e]]`` over the entries e of group g;
* :func:`totals`  ``out[g] = Σ weights[e]`` likewise;
* :func:`dots`    ``out[e] = ⟨left[i[e]], right[j[e]]⟩`` for every entry.

Here they are written with plain torch, to be read and to be compared with. On a processor :class:`Support` goes through
torch's ``embedding_bag``; on a graphics card through :mod:`helpers.sae.kernels`, which is equal twice bit for bit where
``index_add_`` is not.
"""

from __future__ import annotations

import os
from functools import cache, cached_property
from importlib import import_module
from importlib.util import find_spec
from shutil import which
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 1024  # inputs: with their rows of 576 numbers about as much as a processor's second cache holds


def bag(indices: Tensor, starts: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """``(groups, d)`` from ``rows (n, d)``; group g holds the entries ``starts[g]`` to ``starts[g + 1]``."""
    out = weights.new_zeros(len(starts) - 1, rows.shape[1])
    return out.index_add_(0, _groups(starts), weights[:, None] * rows[indices])


def totals(starts: Tensor, weights: Tensor) -> Tensor:
    """``(groups,)``; groups as in :func:`bag`."""
    return weights.new_zeros(len(starts) - 1).index_add_(0, _groups(starts), weights)


def dots(left: Tensor, i: Tensor, right: Tensor, j: Tensor) -> Tensor:
    """``(entries,)`` from rows of ``left`` and ``right``, at least in float32."""
    kind = torch.promote_types(left.dtype, torch.float32)
    return (left[i].to(kind) * right[j].to(kind)).sum(1)


def _groups(starts: Tensor) -> Tensor:
    return torch.arange(len(starts) - 1, device=starts.device).repeat_interleave(starts.diff())


def kernels(device: torch.device) -> ModuleType | None:
    """:mod:`helpers.sae.kernels` where they run: on a graphics card with Triton, and in Triton's interpreter."""
    interpreted = device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"
    return _kernels() if device.type == "cuda" or interpreted else None


@cache
def _kernels() -> ModuleType | None:
    """Nothing without Triton, or without the compiler of C through which it starts a kernel."""
    compiler = os.environ.get("CC") or which("gcc") or which("clang") or os.environ.get("TRITON_INTERPRET") == "1"
    return import_module("helpers.sae.kernels") if find_spec("triton") and compiler else None


class Support:
    """Where the entries of one batch's codes are: ``flat (nnz,)`` counts along ``(batch, d_sae)`` and ascends.

    Apart from :class:`helpers.sae.codes.Active`, so that graph and view form no cycle.
    """

    def __init__(self, flat: Tensor, batch: int, d_sae: int):
        self.flat, self.batch, self.d_sae = flat, batch, d_sae
        self.kernels = kernels(flat.device)
        self.rows = flat // d_sae
        self.cols = flat - self.rows * d_sae
        if self.kernels:
            self.rows, self.cols = self.rows.int(), self.cols.int()

    @cached_property
    def row_starts(self) -> Tensor:
        return self._starts(self.rows, self.batch)

    @cached_property
    def by_feature(self) -> tuple[Tensor, Tensor, Tensor]:
        """The order that groups entries by feature, where each feature's group starts, and the rows in that order."""
        small = self.cols.to(torch.int16) if self.d_sae < 2**15 else self.cols
        cols, order = torch.sort(small, stable=True)
        return order, self._starts(cols, self.d_sae), self.rows.index_select(0, order)

    @cached_property
    def by_block(self) -> tuple[Tensor, Tensor, Tensor]:
        """The order of blocks of inputs, and in each of features, with the rows and columns in it.

        So a block stays in the cache while every feature's row is read once: entries in their own order take twice as
        long, for each reads another row from farther away.
        """
        order, _, rows = self.by_feature
        order = order.index_select(0, (rows // BLOCK).to(torch.int16).sort(stable=True).indices)
        return order, self.rows.index_select(0, order), self.cols.index_select(0, order)

    def per_row(self, values: Tensor, rows: Tensor) -> Tensor:
        """``out[b] = Σ values[e]·rows[cols[e]]`` over the entries e of input b: ``(batch, d_model)``."""
        return self._bag(self.cols, self.row_starts, rows, values)

    def per_feature(self, values: Tensor, rows: Tensor) -> Tensor:
        """``out[j] = Σ values[e]·rows[self.rows[e]]`` over the entries e of feature j: ``(d_sae, d_model)``."""
        order, starts, at = self.by_feature
        return self._bag(at, starts, rows, values.index_select(0, order))

    def total(self, values: Tensor) -> Tensor:
        """``out[j] = Σ values[e]`` over the entries e of feature j: ``(d_sae,)``."""
        if self.kernels:
            order, starts, _ = self.by_feature
            return self.kernels.totals(starts, values.index_select(0, order))
        return values.new_zeros(self.d_sae).index_add_(0, self.cols, values)

    def dots(self, by_row: Tensor, by_feature: Tensor) -> Tensor:
        """``out[e] = ⟨by_row[rows[e]], by_feature[cols[e]]⟩``: ``(nnz,)``."""
        if self.kernels:
            return self.kernels.dots(by_row, self.rows, by_feature, self.cols)
        if by_row.device.type != "cpu":
            return dots(by_row, self.rows, by_feature, self.cols)
        order, rows, cols = self.by_block
        found = torch.ops.aten._embedding_bag_per_sample_weights_backward(
            by_row, by_feature, cols, cols.new_empty(0), rows, 0
        )
        return torch.empty_like(found).index_copy_(0, order, found)

    def _bag(self, indices: Tensor, starts: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
        rows, weights = rows.detach(), weights.detach()
        if self.kernels:
            return self.kernels.bag(indices, starts, rows, weights)
        if rows.device.type != "cpu":
            return bag(indices, starts, rows, weights)
        return F.embedding_bag(indices, rows, starts[:-1], mode="sum", per_sample_weights=weights)

    def _starts(self, groups: Tensor, n: int) -> Tensor:
        """Where each of ``n`` groups starts in the ascending ``groups``, and at the end their number: ``(n + 1,)``."""
        every = torch.arange(n + 1, dtype=groups.dtype, device=groups.device)
        return torch.searchsorted(groups, every, out_int32=self.kernels is not None)
