"""Nearest rows that are followed are the nearest, as long as none comes from elsewhere."""

import pytest
import torch
from samples import seeded
from torch.nn.functional import normalize

from helpers.geometry import FollowedNeighbours, descend, nearest_neighbours
from helpers.sae import NeighbourCosine


def random(n, d, seed=0):
    return normalize(torch.randn(n, d, generator=seeded(seed)), dim=1)


@pytest.mark.parametrize("absolute", [False, True])
def test_a_search_in_every_step_is_exact(absolute):
    follow = FollowedNeighbours(candidates=4, every=1, absolute=absolute, chunk=100)
    for seed in range(3):
        rows = random(300, 12, seed)
        assert torch.equal(follow(rows), nearest_neighbours(rows, absolute).index)


@pytest.mark.parametrize("absolute", [False, True])
def test_between_searches_it_is_the_nearest_of_those_that_were_near(absolute):
    follow = FollowedNeighbours(candidates=5, every=10, absolute=absolute)
    before, after = random(300, 12), normalize(random(300, 12) + 0.05 * random(300, 12, seed=1), dim=1)
    cosines = before @ before.T
    near = (cosines.abs() if absolute else cosines).fill_diagonal_(-2).topk(5).indices
    follow(before)
    among = (after[near] * after[:, None]).sum(2)
    expected = near.gather(1, (among.abs() if absolute else among).argmax(1, keepdim=True))[:, 0]
    found, exact = follow(after), nearest_neighbours(after, absolute).index
    assert torch.equal(found, expected)
    assert (found == exact).float().mean() > 0.95 and not torch.equal(found, nearest_neighbours(before, absolute).index)


def test_a_row_that_comes_from_elsewhere_is_found_at_the_next_search():
    follow, rows = FollowedNeighbours(candidates=1, every=3), random(200, 8)
    first = follow(rows)
    stranger = int((rows @ rows[0]).argmin())
    rows[stranger] = rows[0]
    assert follow(rows)[0] == follow(rows)[0] == first[0] and follow(rows)[0] == stranger


@pytest.mark.parametrize("absolute", [False, True])
def test_a_descent_ends_where_one_with_every_search_ends(absolute):
    form, ends = NeighbourCosine(max_max=0, absolute=absolute), {}
    for every in (1, 20, 200):
        follow = FollowedNeighbours(32, every, absolute)
        rows = descend(lambda W, g, f=follow: form(W, g, nearest=f(W)), 128, 8, 200, generator=seeded(), lr=0.012)
        ends[every] = nearest_neighbours(rows, absolute).cosine.abs()
    assert abs(ends[20].median() - ends[1].median()) < 0.01 and ends[20].max() < ends[1].max() + 0.03
    assert ends[200].max() > ends[1].max() + 0.1  # followed from the first step only, strangers meet


def test_other_rows_than_those_followed_are_refused():
    follow = FollowedNeighbours()
    follow(random(40, 8))
    with pytest.raises(ValueError, match="rows has 39 rows; expected the 40 that are followed"):
        follow(random(39, 8))
