"""The largest cosines on a graphics card, exact: a product in bfloat16 says which can be among them, float32 decides.

Unit rows u, v are rounded to bfloat16, to û, v̂, with what is lost known in full: e(u) = ‖û - u‖. Then

    |⟨û, v̂⟩ - ⟨u, v⟩| = |⟨û - u, v⟩ + ⟨û, v̂ - v⟩| ≤ e(u)·‖v‖ + ‖û‖·e(v)          (Cauchy and Schwarz),

about 2⁻⁷ at worst and .4 of that as a rule, whatever the entries are (those too small for bfloat16 are lost, and
counted). The product adds in float32, off by at most d·2⁻²²·‖û‖‖v̂‖ = γ, in any order and rounded or cut. So with
E = e(u)·max‖v‖ + ‖û‖·max e(v) + γ each cosine of row u is within E of the sum p that the product rounds to bfloat16.

Rounding keeps order. If k rounded cosines reach t, their sums reach t - 2⁻⁸|t|, the k-th largest cosine reaches
t - 2⁻⁸|t| - E, and one that is at least as large has a sum of t - 2⁻⁸|t| - 2E or more, and a rounded one that is not
below this bound, rounded. All that reach it are computed again, in float32; of random rows about twice k. For t the
k-th largest of the maxima of groups of columns is taken, which k cosines reach since k groups do.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..runs import progress

MANY = 8192  # rows, below which float32 alone takes no time worth saving
CROWDED = 0.05  # beyond this share of candidates (rows that nearly coincide) the product in float32 is faster


def pays(rows: Tensor) -> bool:
    """Whether to screen: many rows of at most float32, on a card that multiplies in bfloat16."""
    small = torch.promote_types(rows.dtype, torch.float32) == torch.float32
    return rows.is_cuda and small and len(rows) >= MANY and torch.cuda.is_bf16_supported(including_emulation=False)


def largest_cosines(
    unit: Tensor, k: int, absolute: bool = False, chunk: int = 1024, queries: Tensor | None = None
) -> Iterator[Tensor]:
    """For each ``chunk`` of queries, the ``k`` largest of its (absolute) cosines with the other rows, descending.

    ``unit (n, d)`` are rows of norm 1 in float32, n > k; ``queries (m,)`` are row numbers, all if ``None``. Yields
    ``(chunk, k)``. Memory is a copy of ``unit`` in bfloat16 and a few arrays ``(chunk, n)``.
    """
    n, d = unit.shape
    low = unit.bfloat16()
    lost, norms = unit.new_empty(n), unit.new_empty(n)
    for at in torch.arange(n, device=unit.device).split(4096):
        rounded = low[at].float()
        lost[at] = torch.linalg.vector_norm(rounded - unit[at], dim=1)
        norms[at] = torch.linalg.vector_norm(rounded, dim=1)
    longest = torch.linalg.vector_norm(unit, dim=1).max()
    error = (lost * longest + norms * lost.max() + d * 2.0**-22 * norms * norms.max()) * 1.001  # rounding of the bound
    width = max(1, n // (8 * k))
    queries = torch.arange(n, device=unit.device) if queries is None else queries.long()
    for own in progress(queries.split(chunk), desc="cosines", delay=2):
        rough = low[own] @ low.T
        rough = rough.abs_() if absolute else rough
        rough.scatter_(1, own[:, None], -torch.inf)
        tops = rough[:, : n // width * width].unflatten(1, (width, -1)).amax(1)
        reached = tops.topk(k, dim=1, sorted=False).values.amin(1).float()
        bound = reached - 2.0**-8 * reached.abs() - 2 * error[own]
        can = rough >= bound.bfloat16()[:, None]
        if int(can.count_nonzero()) > CROWDED * can.numel():
            yield _decided_densely(unit, own, k, absolute)
        else:
            yield _decided(unit, own, can, k, absolute)


def _decided(unit: Tensor, own: Tensor, can: Tensor, k: int, absolute: bool) -> Tensor:
    """The ``k`` largest in float32 among the candidates of a mask ``(queries, n)``: ``(queries, k)``."""
    counts = can.sum(1)
    starts = counts.cumsum(0) - counts
    rows, cols = can.nonzero(as_tuple=True)
    mine = unit[own]
    cosines = torch.ops.aten._embedding_bag_per_sample_weights_backward(mine, unit, cols, starts, rows, 0)
    table = unit.new_full((len(own), int(counts.max())), -torch.inf)
    table[rows, torch.arange(len(rows), device=rows.device) - starts[rows]] = cosines.abs() if absolute else cosines
    return table.topk(k, dim=1).values


def _decided_densely(unit: Tensor, own: Tensor, k: int, absolute: bool) -> Tensor:
    """The same from whole rows of cosines."""
    cosines = unit[own] @ unit.T
    cosines = cosines.abs_() if absolute else cosines
    return cosines.scatter_(1, own[:, None], -torch.inf).topk(k, dim=1).values
