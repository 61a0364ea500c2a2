"""Nearest rows, unit rows and hubs: what sorting everything finds, and refusals that name what was seen."""

import numpy as np
import pytest
import torch
from samples import seeded
from test_cosines import AWKWARD, brute_force, random

from helpers.geometry import hubness, kth_largest_cosine, nearest_neighbours, unit_rows


@pytest.mark.parametrize("name", ["random", "duplicates", "antipodes", "lengths from 1e-30 to 1e30", "two rows"])
@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("k", [None, 1, 3])
def test_nearest_rows_are_those_that_sorting_everything_finds_with_their_sign(name, absolute, k):
    rows = AWKWARD[name]
    if (k or 1) >= len(rows):
        with pytest.raises(ValueError, match="k=3; expected a whole number from 1 to 1"):
            nearest_neighbours(rows, absolute, k=k)
        return
    found = nearest_neighbours(rows, absolute, chunk=7, k=k)
    assert found.index.shape == found.cosine.shape == ((len(rows),) if k is None else (len(rows), k))
    index, cosine = (part if k is not None else part[:, None] for part in found)
    unit = rows.double() / rows.double().norm(dim=1, keepdim=True)
    own = torch.einsum("nd,nkd->nk", unit, unit[index])
    torch.testing.assert_close(cosine.double(), own, rtol=0, atol=3e-6)
    assert (index != torch.arange(len(rows))[:, None]).all()
    right = brute_force(rows, range(1, index.shape[1] + 1), absolute)
    torch.testing.assert_close(own.abs() if absolute else own, right, rtol=0, atol=3e-6)


def test_as_many_neighbours_as_there_are_others_and_no_more():
    rows = random(5, 3)
    assert nearest_neighbours(rows, k=4).index.sort().values.tolist() == [
        [j for j in range(5) if j != i] for i in range(5)
    ]
    for k in (0, 5):
        with pytest.raises(ValueError, match=f"k={k}; expected a whole number from 1 to 4"):
            nearest_neighbours(rows, k=k)
    assert nearest_neighbours(rows[:2]).index.tolist() == [1, 0]
    assert kth_largest_cosine(rows, (4,)).shape == (5, 1)
    with pytest.raises(ValueError, match="rows has 5 rows, so 4 cosines each; k=5 needs at least 6 rows"):
        kth_largest_cosine(rows, (1, 5, 2))
    with pytest.raises(ValueError, match="rows has 0 rows, so 0 cosines each; k=1 needs at least 2 rows"):
        kth_largest_cosine(rows[:0], (1,))


def test_where_all_others_point_away_the_nearest_is_the_least_far():
    corners = torch.tensor([[1.0, 0.0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)]])  # of a triangle around the origin
    torch.testing.assert_close(kth_largest_cosine(corners, (1, 2)), torch.full((3, 2), -0.5))
    torch.testing.assert_close(nearest_neighbours(corners).cosine, torch.full((3,), -0.5))
    torch.testing.assert_close(nearest_neighbours(corners, absolute=True, k=2).cosine, torch.full((3, 2), -0.5))


def test_what_is_asked_for_where_nothing_is_said():
    rows = random(120, 4)
    whole = kth_largest_cosine(rows, (1, 10, 100), absolute=False)
    for chunk in (1, 120, 10_000):
        torch.testing.assert_close(kth_largest_cosine(rows, chunk=chunk), whole)
        assert torch.equal(nearest_neighbours(rows, chunk=chunk).index, nearest_neighbours(rows).index)
    for chunk in (0, -1, 2.5):
        with pytest.raises(ValueError, match=f"chunk={chunk}; expected a whole number of at least 1"):
            nearest_neighbours(rows, chunk=chunk)
    assert nearest_neighbours(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.6, 0.8]])).index.tolist() == [2, 2, 0]


def test_unit_rows_are_what_doubles_give_however_many():
    rows = random(4100, 3) * 10.0 ** torch.linspace(-30, 30, 4100)[:, None]
    exact = rows.double() / rows.double().norm(dim=1, keepdim=True)
    torch.testing.assert_close(unit_rows(rows).double(), exact, rtol=0, atol=2e-7)
    assert unit_rows(-rows[:2])[0].tolist() == (-unit_rows(rows[:2])[0]).tolist()
    given = rows.clone()
    unit_rows(given)
    assert torch.equal(given, rows), "what is given is left alone"
    bad = torch.ones(4, 2)
    bad[1:3] = 0
    with pytest.raises(ValueError, match=r"W_dec: row 1 is all zeros \(2 such rows\)"):
        unit_rows(bad, "W_dec")
    bad[2:] = torch.inf
    with pytest.raises(ValueError, match=r"rows: row 2 holds NaN or infinity \(2 such rows\)"):
        unit_rows(bad)


def test_a_cosine_is_at_most_one():
    rows = random(60, 3).repeat(2, 1)
    assert kth_largest_cosine(rows, (1,)).max() <= 1 and nearest_neighbours(rows).cosine.max() <= 1
    assert nearest_neighbours(torch.cat([rows, -rows]), absolute=True).cosine.abs().max() <= 1
    for row in random(60, 3):
        line = torch.stack([row, -row])
        assert nearest_neighbours(line).cosine.min() >= -1 and kth_largest_cosine(line, (1,)).min() >= -1


# Hubs


def test_neighbours_drawn_at_random_are_no_hubs_and_p_values_are_level():
    n, p = 200, []
    for seed in range(60):
        index = torch.randint(n - 1, (n,), generator=seeded(seed))
        index = index + (index >= torch.arange(n))
        p.append(hubness(index, n, seeded(1000 + seed), draws=99).p_skewness)
    assert 0.35 < np.mean(p) < 0.65 and np.mean(np.array(p) <= 0.05) < 0.15


def test_a_hub_is_found():
    n = 200
    index = torch.randint(n - 1, (n,), generator=seeded(3))
    index = index + (index >= torch.arange(n))
    index[10:60] = 5
    found = hubness(index, n, seeded(4), draws=199)
    assert (
        found.p_skewness == found.p_largest == 1 / 200 and found.hub == 5 and found.largest >= 50 and found.skewness > 5
    )


def test_several_neighbours_a_row_need_to_say_whose_they_are():
    n = 40
    sources = torch.arange(n).repeat_interleave(3)
    index = (sources + 1 + torch.arange(3).repeat(n)) % n
    seen = hubness(index, n, seeded(), draws=99, sources=sources)
    assert seen.largest == 3 and seen.p_largest == 1, "each has three: nothing is more level"
    one = hubness(index[::3], n, seeded(), draws=99)
    assert one == hubness(index[::3], n, seeded(), draws=99, sources=torch.arange(n))
    with pytest.raises(ValueError, match="index has 120 entries for n=40 rows; expected at most one a row, or sources"):
        hubness(index, n, seeded(), draws=9)
    with pytest.raises(ValueError, match="sources=.*expected integer row numbers below n=40"):
        hubness(index, n, seeded(), draws=9, sources=torch.ones(3))
    for bad in (sources[:5], sources - 1, sources + 1):
        with pytest.raises(ValueError, match=r"sources has shape \(\d+,\); expected row numbers below n=40"):
            hubness(index, n, seeded(), draws=9, sources=bad)
