"""Rows as directions: checked, and scaled to norm 1 a part at a time, so that no copy of all is needed."""

from __future__ import annotations

import torch
from torch import Tensor

from ..checks import matrix

PART = 512  # rows at a time: a norm in double precision takes a copy of them
ORDINARY = 2.0**40  # norms up to this, or one over it: products of such rows neither overflow nor vanish


class Units:
    """``rows (n, d)`` by their directions: ``units[at]`` are those rows scaled to norm 1, in at least float32.

    Raises ValueError for anything but a matrix of finite floating numbers, and for a row of zeros: it has no direction.
    """

    def __init__(self, rows: Tensor, name: str = "rows"):
        self.rows = rows = matrix(name, rows).detach()
        self.kind = torch.promote_types(rows.dtype, torch.float32)
        self.largest, self.norms = (rows.new_empty(len(rows), 1, dtype=self.kind) for _ in range(2))
        parts = list(zip(*(x.split(PART) for x in (rows, self.largest, self.norms)), strict=True))
        for part, largest, _ in parts:  # first, so that no square overflows
            torch.linalg.vector_norm(part.to(self.kind), float("inf"), dim=1, keepdim=True, out=largest)
        for bad, what in ((~self.largest.isfinite(), "holds NaN or infinity"), (self.largest == 0, "is all zeros")):
            if bad.any():
                raise ValueError(f"{name}: row {int(bad[:, 0].nonzero()[0])} {what} ({int(bad.sum())} such rows)")
        for part, largest, norms in parts:
            norms.copy_(
                torch.linalg.vector_norm(part.to(self.kind) / largest, dim=1, keepdim=True, dtype=torch.float64)
            )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at) -> Tensor:
        """A copy, ``(m, d)``."""
        return self.rows[at].to(self.kind).div(self.largest[at]).div_(self.norms[at])

    def dots(self, own: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """The cosine of row ``own[i[e]]`` with row ``j[e]`` for every entry e, each by itself: in any company the same
        bits."""
        table, scale = self._table
        none = i.new_empty(0)  # which entries belong together is said by i
        dots = torch.ops.aten._embedding_bag_per_sample_weights_backward(self[own], table, j, none, i, 0)
        return dots if scale is None else dots.mul_(scale[j])

    @property
    def _table(self) -> tuple[Tensor, Tensor | None]:
        """Rows and what takes them to norm 1: the rows as they are, if they are plain, else a copy."""
        if not hasattr(self, "_made"):
            sizes = self.largest[:, 0] * self.norms[:, 0]
            plain = self.rows.dtype == self.kind and self.rows.is_contiguous()
            if plain and 1 / ORDINARY <= sizes.min() and sizes.max() <= ORDINARY:
                self._made = self.rows, sizes.reciprocal_()
            else:
                self._made = self[:], None
        return self._made


def unit_rows(rows: Tensor, name: str = "rows") -> Tensor:
    """``rows (n, d_model)`` scaled to norm 1, in their own precision (at least float32).

    Raises ValueError for anything but a matrix of finite floating numbers, and for a row of zeros: it has no direction.

    >>> import torch
    >>> from helpers.geometry import unit_rows
    >>> unit_rows(torch.tensor([[3.0, 4.0]], dtype=torch.float64)).tolist()
    [[0.6, 0.8]]
    """
    return Units(rows, name)[:]
