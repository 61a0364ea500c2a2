"""Cosines that bfloat16 screens and float32 decides are those of whole rows in double precision, sorted."""

import pytest
import torch

from helpers.geometry import kth_largest_cosine, screening, unit_rows


def normal(n=700, d=48, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def near_duplicates():
    """Forty rows, fifteen times each with a little noise: cosines above .999 that bfloat16 cannot tell apart."""
    return normal(40).repeat(15, 1) + 0.02 * normal(600, seed=1)


def one_long_row():
    rows = normal()
    rows[3] *= 1e30
    return rows


def hardly_anything():
    """One entry of size 1 in each row, in one of two places; the rest too small for bfloat16 or just not."""
    rows = normal() * torch.tensor([1e-39, 1e-20, 1e-3, 3e-3]).repeat(12)
    rows[torch.arange(700), torch.arange(700) % 2] = 1.0
    return rows


ROWS = {
    "normal": normal,
    "alike": lambda: normal().abs() + 1,
    "near duplicates": near_duplicates,
    "duplicates": lambda: normal(30).repeat(20, 1),
    "in pairs of opposites": lambda: torch.cat([normal(300), -normal(300)]),
    "one long row": one_long_row,
    "hardly anything": hardly_anything,
    "of two values": lambda: normal().sign(),
    "few": lambda: normal(12),
    "axes": lambda: torch.eye(40),
}


def whole_rows(unit, k, absolute):
    cosines = unit.double() @ unit.double().T
    cosines = (cosines.abs() if absolute else cosines).fill_diagonal_(-torch.inf)
    return cosines.topk(k, dim=1).values


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("rows", ROWS)
def test_largest_cosines_are_those_of_whole_rows(rows, absolute):
    unit = unit_rows(ROWS[rows]())
    for k in (1, 10):
        wanted = whole_rows(unit, k, absolute)
        found = torch.cat(list(screening.largest_cosines(unit, k, absolute, chunk=256)))
        assert found.shape == wanted.shape
        assert (found - wanted).abs().max() < 1e-6
        some = torch.tensor([5, 0, 11])
        again = torch.cat(list(screening.largest_cosines(unit, k, absolute, chunk=2, queries=some)))
        assert (again - wanted[some]).abs().max() < 1e-6


@pytest.mark.parametrize("absolute", [False, True])
def test_the_public_function_gives_the_same_where_it_screens(absolute, monkeypatch):
    rows, some = near_duplicates(), torch.tensor([7, 3], dtype=torch.int32)
    plain = [kth_largest_cosine(rows, (1, 10), absolute), kth_largest_cosine(rows, (3,), absolute, queries=some)]
    seen = []
    monkeypatch.setattr(screening, "pays", lambda rows: seen.append(len(rows)) or True)
    for wanted, more in zip(plain, ({"ks": (1, 10)}, {"ks": (3,), "queries": some}), strict=True):
        found = kth_largest_cosine(rows, absolute=absolute, **more)
        assert found.shape == wanted.shape and (found - wanted).abs().max() < 1e-6
    assert seen == [600, 600]


def test_only_a_card_screens():
    assert not screening.pays(normal(screening.MANY, 2))


def test_bfloat16_alone_would_be_wrong():
    """So the cases above do put the decision to the test."""
    unit = unit_rows(near_duplicates())
    low = unit.bfloat16()
    rough = (low @ low.T).fill_diagonal_(-torch.inf).topk(10, dim=1).indices
    decided = (unit.double() @ unit.double().T).gather(1, rough).sort(dim=1, descending=True).values
    assert (decided - whole_rows(unit, 10, False)).abs().max() > 1e-5


def test_few_rows_are_decided_in_float32_and_crowds_as_a_whole(monkeypatch):
    taken = {"_decided": [], "_decided_densely": []}
    for name, calls in taken.items():
        plain = getattr(screening, name)
        monkeypatch.setattr(screening, name, lambda *a, f=plain, c=calls: c.append(a) or f(*a))
    unit = unit_rows(normal(4000, 64))
    list(screening.largest_cosines(unit, 10, chunk=500))
    assert len(taken["_decided"]) == 8 and not taken["_decided_densely"]
    candidates = torch.cat([mask.sum(1) for _, _, mask, *_ in taken["_decided"]])
    assert candidates.min() >= 10 and candidates.float().mean() < 25
    list(screening.largest_cosines(unit_rows(1 + 1e-3 * normal(600)), 10))
    assert taken["_decided_densely"]


@pytest.mark.parametrize("rows", ["normal", "near duplicates", "hardly anything"])
def test_no_rounded_product_is_farther_off_than_is_claimed(rows):
    """The bound of the module, and that it is no wide one: some product comes within a factor of twenty."""
    unit = unit_rows(ROWS[rows]())
    low = unit.bfloat16()
    lost = (low.float() - unit).norm(dim=1)
    bound = lost[:, None] * unit.norm(dim=1) + low.float().norm(dim=1)[:, None] * lost
    off = (low.double() @ low.double().T - unit.double() @ unit.double().T).abs()
    assert (off <= bound + 1e-9).all() and (off / bound).max() > 0.05
    assert bound.max() < 2**-7
