"""Cosines that bfloat16 screens and float32 decides are those of whole rows in double precision, sorted."""

import resource

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import seeded

from helpers.geometry import kth_largest_cosine, screening, unit_rows
from helpers.geometry.units import Units


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
        found = torch.cat(list(screening.largest_cosines(Units(unit), k, absolute, chunk=256)))
        assert found.shape == wanted.shape
        assert (found - wanted).abs().max() < 1e-6
        some = torch.tensor([5, 0, 11])
        again = torch.cat(list(screening.largest_cosines(Units(unit), k, absolute, chunk=2, queries=some)))
        assert (again - wanted[some]).abs().max() < 1e-6


@pytest.mark.parametrize("absolute", [False, True])
def test_the_public_function_gives_the_same_where_it_screens(absolute, monkeypatch):
    rows, some = near_duplicates(), torch.tensor([7, 3], dtype=torch.int32)
    plain = [kth_largest_cosine(rows, (1, 10), absolute), kth_largest_cosine(rows, (3,), absolute, queries=some)]
    seen = []
    monkeypatch.setattr(screening, "pays", lambda rows, k: seen.append(len(rows)) or True)
    for wanted, more in zip(plain, ({"ks": (1, 10)}, {"ks": (3,), "queries": some}), strict=True):
        found = kth_largest_cosine(rows, absolute=absolute, **more)
        assert found.shape == wanted.shape and (found - wanted).abs().max() < 1e-6
    assert seen == [600, 600]


def test_many_rows_are_screened_where_few_are_looked_for():
    assert screening.pays(normal(screening.MANY, 2), 100)
    assert not screening.pays(normal(screening.MANY, 2), 1000) and not screening.pays(normal(screening.MANY - 1, 2), 1)


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("rows", ["normal", "alike", "near duplicates", "one long row"])
def test_bits_depend_on_neither_product_nor_chunk_nor_threads(rows, threads, monkeypatch):
    rows, seen = ROWS[rows](), []
    for bf16, number, chunk in [(True, 1, 256), (True, 2, 256), (True, 2, 100), (False, 2, 256), (False, 1, 7)]:
        threads(number)
        monkeypatch.setattr(screening, "bf16_is_fast", lambda device, there=bf16: there)
        seen.append(torch.cat(list(screening.largest_cosines(Units(rows), 10, chunk=chunk))))
    assert all(torch.equal(seen[0], other) for other in seen[1:])


def awkward(n, d, seed, kinds):
    """Every row of a kind of its own: near another, equal to it, opposite, long, too small for bfloat16, of few values,
    an axis."""
    rows, draw = normal(n, d, seed).double(), seeded(seed)
    for i, kind in enumerate(kinds):
        other = rows[int(torch.randint(n, (), generator=draw))]
        rows[i] = {
            "near": other + 1e-4 * rows[i], "equal": other, "opposite": -other, "long": rows[i] * 1e30,
            "subnormal": rows[i] * 1e-39, "signs": rows[i].sign(), "axis": torch.eye(d, dtype=rows.dtype)[i % d],
            "random": rows[i],
        }[kind]  # fmt: skip
    return rows


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.integers(2, 40), st.integers(1, 24), st.integers(0, 999), st.data(), st.booleans(), st.booleans(),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)  # fmt: skip
def test_whatever_the_rows_they_are_those_of_the_sort(n, d, seed, data, absolute, bf16, dtype):
    kinds = ["near", "equal", "opposite", "long", "subnormal", "signs", "axis", "random"]
    rows = awkward(n, d, seed, data.draw(st.lists(st.sampled_from(kinds), min_size=n, max_size=n))).to(dtype)
    rows[(rows == 0).all(1), 0] = 1.0
    k, chunk = data.draw(st.integers(1, n - 1)), data.draw(st.integers(1, n))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(screening, "bf16_is_fast", lambda device: bf16)
        patch.setattr(screening, "CROWDED", data.draw(st.sampled_from([0.0, 0.3, 1.0])))
        found = torch.cat(list(screening.largest_cosines(Units(rows), k, absolute, chunk)))
    wanted = whole_rows(unit_rows(rows.double()), k, absolute)
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() < (1e-14 if dtype == torch.float64 else 1e-6)


def test_a_row_of_zeros_is_refused_before_anything_is_multiplied():
    rows = normal(screening.MANY, 4)
    rows[5000] = 0
    with pytest.raises(ValueError, match="rows: row 5000 is all zeros"):
        kth_largest_cosine(rows, (1,))


def test_rows_that_are_equal_take_no_more_memory():
    rows = torch.ones(screening.MANY, 8) * torch.rand(screening.MANY, 1, generator=seeded())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = kth_largest_cosine(rows, (1, 10), chunk=128, queries=torch.arange(256))
    assert (found - 1).abs().max() < 1e-6
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 2**10


def test_bfloat16_alone_would_be_wrong():
    """So the cases above do put the decision to the test."""
    unit = unit_rows(near_duplicates())
    low = unit.bfloat16()
    rough = (low @ low.T).fill_diagonal_(-torch.inf).topk(10, dim=1).indices
    decided = (unit.double() @ unit.double().T).gather(1, rough).sort(dim=1, descending=True).values
    assert (decided - whole_rows(unit, 10, False)).abs().max() > 1e-5


def test_few_are_decided_one_by_one_and_crowds_as_a_whole(monkeypatch):
    plain, counts = screening._candidates, []

    def counted(rough, error, k):
        at = plain(rough, error, k)
        counts.append((rough.dtype, None if at is None else len(at) / rough.shape[1]))
        return at

    monkeypatch.setattr(screening, "_candidates", counted)
    monkeypatch.setattr(screening, "bf16_is_fast", lambda device: True)
    list(screening.largest_cosines(Units(normal(4000, 64)), 10, chunk=500))
    assert len(counts) == 8 and all(10 <= count < 25 for _, count in counts), counts
    counts.clear()
    list(screening.largest_cosines(Units(1 + 1e-3 * normal(600)), 10))
    assert [count is None for _, count in counts] == [True] * 4, "in a crowd, float32 does not tell them apart either"
    counts.clear()
    list(screening.largest_cosines(Units(1 + 0.05 * normal(4000)), 10, chunk=4000))
    assert [kind for kind, _ in counts] == [torch.bfloat16, torch.float32], counts
    assert counts[0][1] is None and counts[1][1] < 25, "float32 does tell them apart"


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
