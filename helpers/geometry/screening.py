"""The largest cosines, exact: a product in bfloat16 says which can be among them, float32 decides.

Unit rows u, v are rounded to bfloat16, to û, v̂, with what is lost known in full: e(u) = ‖û - u‖. Then

    |⟨û, v̂⟩ - ⟨u, v⟩| = |⟨û - u, v⟩ + ⟨û, v̂ - v⟩| ≤ e(u)·‖v‖ + ‖û‖·e(v)          (Cauchy and Schwarz),

about 2⁻⁷ at worst and .4 of that as a rule, whatever the entries are (those too small for bfloat16 are lost, and
counted). The product adds in float32, off by at most d·2⁻²²·‖û‖‖v̂‖ = γ, in any order and rounded or cut; so does what
decides. With E = e(u)·max‖v‖ + ‖û‖·max e(v) + 2γ each cosine of row u, as decided, is within E of the sum p that the
product rounds to bfloat16.

Rounding keeps order. If k rounded cosines reach t, their sums reach t - 2⁻⁸|t|, the k-th largest cosine reaches
t - 2⁻⁸|t| - E, and one that is at least as large has a sum of t - 2⁻⁸|t| - 2E or more, and a rounded one that is not
below this bound, rounded. All that reach it are computed again, in float32; of random rows about twice k. For t see
:func:`helpers.ranks.reached`. Since all that can matter are computed, each by itself, the result has the same bits
whatever the product: on a processor without bfloat16, where a float32 product screens, and in any number of threads.

Rows that nearly coincide leave too many candidates. Then the float32 product screens, with nothing lost but γ; where
even that leaves too many (rows that are equal), its cosines are ranked as they are.

What this costs at the least, for 24,576 rows of 768 on two cores, in times of the float32 product: the product in
bfloat16 .2, reading the candidates' rows (5 million of 3 kB, 15 GB) .2, all that chooses and ranks .1.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..ranks import bf16_is_fast, reached, reaching
from ..runs import progress
from .units import PART, Units

MANY = 8192  # rows, below which whole rows take no time worth saving
CROWDED = 0.05  # beyond this share of candidates the product in float32 is faster


def pays(rows: Tensor, k: int) -> bool:
    """Whether to screen: many rows, few of which are looked for; on a card where it multiplies in bfloat16."""
    hardware = rows.device.type == "cpu" or (rows.is_cuda and rows.dtype != torch.float64 and bf16_is_fast(rows.device))
    return hardware and len(rows) >= MANY and 2.5 * k <= CROWDED * len(rows)


def largest_cosines(
    units: Units, k: int, absolute: bool = False, chunk: int = 512, queries: Tensor | None = None
) -> Iterator[Tensor]:
    """For each ``chunk`` of queries, the ``k`` largest of its (absolute) cosines with the other rows, descending.

    ``queries (m,)`` are row numbers, all if ``None``; n > k. Yields ``(chunk, k)``. Memory is a copy of the rows in
    bfloat16 and a few arrays ``(chunk, n)``; where rows nearly coincide, a copy in float32 too.
    """
    n, device = len(units), units.rows.device
    kinds, rounded = [torch.bfloat16] * bf16_is_fast(device) + [units.kind], {}
    queries = torch.arange(n, device=device) if queries is None else queries.long()
    m = len(queries)
    for own in progress(queries.split(chunk), desc="cosines", delay=2):
        for kind in kinds:
            if kind not in rounded:
                rounded[kind] = *_rounded(units, kind), units.rows.new_empty(n * min(chunk, m), dtype=kind)
            low, error, buffer = rounded[kind]
            rough = buffer[: n * len(own)].view(n, -1)  # so candidates come by columns: each row of them is read once
            torch.mm(low, low[own].T, out=rough)
            rough = rough.abs_() if absolute else rough
            rough[own, torch.arange(len(own), device=device)] = -torch.inf
            at = _candidates(rough, error[own], k)
            if at is not None:
                yield _decided(units, own, at, k, absolute)
                break
        else:
            yield rough.T.contiguous().topk(k, dim=1).values


def _rounded(units: Units, kind: torch.dtype) -> tuple[Tensor, Tensor]:
    """The unit rows ``(n, d)`` in ``kind``, and how far the products of each are off, E ``(n,)``."""
    n, d = units.rows.shape
    low = units.rows.new_empty(n, d, dtype=kind)
    lost, norms, longest = (low.new_empty(n, dtype=units.kind) for _ in range(3))
    for at in (slice(i, i + PART) for i in range(0, n, PART)):
        unit = units[at]
        low[at] = unit
        back = low[at].to(units.kind)
        torch.linalg.vector_norm(back - unit, dim=1, out=lost[at])
        torch.linalg.vector_norm(back, dim=1, out=norms[at])
        torch.linalg.vector_norm(unit, dim=1, out=longest[at])
    sums = 2 * d * (2.0**-51 if kind == torch.float64 else 2.0**-22) * norms * norms.max()
    return low, (lost * longest.max() + norms * lost.max() + sums) * 1.001  # rounding of the bound


def _candidates(rough: Tensor, error: Tensor, k: int) -> Tensor | None:
    """Where the ``k`` largest of each column can be in rounded cosines ``(n, m)``, ascending; nothing if in a crowd."""
    reach = reached(rough, k, dim=0).to(error.dtype)
    bound = reach - torch.finfo(rough.dtype).eps / 2 * reach.abs() - 2 * error
    return reaching(rough, bound.to(rough.dtype), CROWDED * rough.numel())


def _decided(units: Units, own: Tensor, at: Tensor, k: int, absolute: bool) -> Tensor:
    """The ``k`` largest in float32 among the candidates ``at`` of ``(n, queries)``: ``(queries, k)``."""
    m = len(own)
    rows = at // m
    mine = (at - rows * m).to(torch.int16 if m < 2**15 else torch.int64)  # the smaller, the faster sorted
    cosines = units.dots(own, mine.long(), rows)
    cosines = cosines.abs_() if absolute else cosines
    cosines[rows == own[mine.long()]] = -torch.inf  # where all are candidates, the row itself is one
    mine, order = mine.sort(stable=True)
    mine, counts = mine.long(), torch.bincount(mine, minlength=m)
    place = torch.arange(len(mine), device=mine.device) - (counts.cumsum(0) - counts)[mine]
    table = cosines.new_full((m, int(counts.max())), -torch.inf)
    table[mine, place] = cosines[order]
    return table.topk(k, dim=1).values
