"""The positions of the largest entries are those of a sort, however few groups, whatever ties."""

import pytest
import torch
from samples import seeded

from helpers.sae import largest

KINDS = [torch.float32, torch.float64, torch.bfloat16]
ROWS = {
    "normal": lambda x: x,
    "all positive": lambda x: x.abs() + 1,
    "all negative": lambda x: -x.abs() - 1,
    "hardly any positive": lambda x: x - 2.5,
    "ties": lambda x: x.round(),
    "one value": lambda x: torch.ones_like(x),
    "nothing": lambda x: torch.zeros_like(x),
    "one row of ties": lambda x: x.index_fill(0, torch.tensor([0]), 0.5),
    "the smallest numbers": lambda x: x * 3e-40,
    "infinite": lambda x: x.masked_fill(x > 2, torch.inf).masked_fill(x < -2, -torch.inf),
    "sorted": lambda x: x.sort(1).values,
}


def by_sorting(pre, k):
    """Of every row the ``k`` largest, of equal ones the first, if positive; counted row by row, ascending."""
    order = pre.double().sort(dim=1, descending=True, stable=True).indices[:, :k]
    kept = torch.zeros(pre.shape, dtype=torch.bool).scatter_(1, order, True) & (pre > 0)
    return kept.flatten().nonzero()[:, 0]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("rows", ROWS)
def test_positions_are_those_of_a_sort(rows, kind):
    seen = 0
    for batch, n, k in [(5, 700, 4), (3, 701, 3), (4, 97, 12), (6, 8, 8), (1, 1, 1), (2, 3000, 1), (0, 40, 3)]:
        pre = torch.randn(max(batch, 1), n, generator=seeded(n), dtype=torch.float64)
        pre = ROWS[rows](pre)[:batch].to(kind)
        wanted = by_sorting(pre, k)
        assert torch.equal(largest.positions(pre, k), wanted), (batch, n, k)
        seen += len(wanted)
    assert (seen == 0) == (rows in ("all negative", "nothing"))


def test_the_mask_holds_the_same_where_there_are_no_ties():
    pre = torch.randn(9, 300, generator=seeded())
    mask = largest.largest(pre, 5)
    assert mask.sum(1).tolist() == [5] * 9
    assert torch.equal(largest.positions(pre, 5), (mask & (pre > 0)).flatten().nonzero()[:, 0])


@pytest.mark.parametrize("k", [1, 2, 40, 100])
def test_the_kth_largest_is_that_of_a_sort(k):
    values = torch.randn(100, generator=seeded()).round(decimals=1)
    assert largest.kth_largest(values, k) == sorted(values.tolist(), reverse=True)[k - 1]
