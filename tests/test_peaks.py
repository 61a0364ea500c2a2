"""Peaks are found by a rule that random rows do not trip, and the regulariser of chapter 7 is what its name says."""

import numpy as np
import pytest
import torch
from samples import seeded

from helpers.geometry import kth_largest_cosine, nearest_neighbours
from helpers.packing import descend, packing_bound
from helpers.peaks import density, peaks
from helpers.penalties import PENALTIES, TERMS, neighbour_name, neighbour_penalty
from helpers.sae import build


def random(n, d, seed=0):
    return torch.randn(n, d, generator=seeded(seed))


def normal(n, mean, sd, seed=0):
    return np.random.default_rng(seed).normal(mean, sd, n)


def test_two_heaps_are_two_peaks_of_the_right_size():
    found = peaks(np.concatenate([normal(3000, 0.05, 0.005), normal(1000, 0.3, 0.02, seed=1)]))
    assert [round(p.at, 2) for p in found] == [0.05, 0.3]
    assert abs(found[0].share - 0.75) < 0.01 and found[0].right == found[1].left
    assert sum(p.share for p in found) == pytest.approx(1)


def test_a_needle_beside_a_broad_heap_hides_neither():
    found = peaks(np.concatenate([np.full(900, 0.18), normal(124, 0.4, 0.05)]))
    assert [round(p.at, 1) for p in found] == [0.2, 0.4]


def test_a_heap_too_small_or_too_flat_is_no_peak():
    assert len(peaks(np.concatenate([normal(1000, 0.2, 0.02), normal(40, 0.5, 0.005)]))) == 1
    assert len(peaks(np.concatenate([normal(500, 0.2, 0.03), normal(500, 0.24, 0.03)]))) == 1


def test_random_rows_have_one_peak():
    counts = [len(peaks(kth_largest_cosine(random(512, 32, s), (1,))[:, 0].numpy())) for s in range(40)]
    assert counts == [1] * 40


def test_the_density_is_one():
    x, f = density(normal(500, 0.2, 0.1))
    assert np.trapezoid(f, x) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("values", [[], [0.1, np.nan]])
def test_a_sample_that_is_none_is_refused(values):
    with pytest.raises(ValueError, match="values"):
        peaks(np.array(values))


def test_a_bandwidth_of_zero_is_refused():
    with pytest.raises(ValueError, match="bandwidth=0"):
        peaks(np.ones(3), bandwidth=0)


# The regulariser


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize(("n", "kind"), [(60, torch.float64), (60, torch.float32), (400, torch.float64)])
def test_the_terms_are_what_brute_force_gives(n, kind, absolute):
    rows = random(n, 7).to(kind)
    unit = torch.nn.functional.normalize(rows, dim=1)
    cosines = (unit @ unit.T).abs() if absolute else unit @ unit.T
    others = cosines[~torch.eye(n, dtype=torch.bool)].reshape(n, n - 1)
    expected = {"mean": others.mean(), "mean max": others.amax(1).mean(), "max max": others.max()}
    tolerance = 1e-12 if kind is torch.float64 else 4e-3  # the nearest is looked for in bfloat16
    for term, value in expected.items():
        seen = PENALTIES[neighbour_name((term,), absolute)](rows, seeded())
        torch.testing.assert_close(seen, value, atol=tolerance, rtol=0)
    whole = PENALTIES[neighbour_name(TERMS, absolute)](rows, seeded())
    torch.testing.assert_close(whole, sum(expected.values()), atol=3 * tolerance, rtol=0)


def test_a_subset_of_rows_estimates_the_same_mean():
    rows = random(400, 16)
    whole = neighbour_penalty(("mean max",))(rows, seeded())
    parts = [neighbour_penalty(("mean max",), queries=100)(rows, seeded(s)) for s in range(30)]
    assert abs(torch.stack(parts).mean() - whole) < 5e-3


@pytest.mark.parametrize("absolute", [False, True])
def test_every_row_can_be_drawn_and_without_a_generator_none_is(absolute):
    rows = random(400, 16).requires_grad_()
    penalty = neighbour_penalty(("mean",), absolute, queries=64)
    parts = torch.stack([penalty(rows, seeded(s)).detach() for s in range(200)])
    assert abs(parts.mean() - neighbour_penalty(("mean",), absolute)(rows, seeded())) < 1e-3
    before = torch.get_rng_state()
    assert penalty(rows) == penalty(rows)
    assert torch.equal(before, torch.get_rng_state())


def test_one_row_has_no_neighbour_to_be_kept_from():
    for penalty in PENALTIES.values():
        with pytest.raises(ValueError, match="W_dec has 1 rows"):
            penalty(random(1, 4), seeded())


def test_the_max_max_moves_one_pair():
    rows = random(50, 8).requires_grad_()
    neighbour_penalty(("max max",))(rows, seeded()).backward()
    assert int((rows.grad.norm(dim=1) > 0).sum()) == 2


def test_every_dictionary_can_be_trained_with_it():
    sae = build("standard", 8, 32, generator=seeded(), orthogonality=0.5, penalty=neighbour_name(TERMS, True))
    terms = sae.losses(random(16, 8), generator=seeded())
    assert terms["orthogonality"] > 0


@pytest.mark.parametrize("terms", [(), ("median",)])
def test_terms_that_do_not_exist_are_refused(terms):
    with pytest.raises(ValueError, match="terms"):
        neighbour_penalty(terms)


@pytest.mark.parametrize("queries", [0, -1, 2.5])
def test_a_number_of_queries_that_is_none_is_refused(queries):
    with pytest.raises(ValueError, match=f"queries={queries}"):
        neighbour_penalty(queries=queries)


def test_alone_it_packs_rows_between_chance_and_the_bound():
    for absolute in (False, True):
        rows = descend(PENALTIES[neighbour_name(("mean max",), absolute)], 256, 16, 300, generator=seeded())
        largest = nearest_neighbours(rows, absolute).cosine.abs()
        before = kth_largest_cosine(random(256, 16), (1,), absolute).mean()
        assert packing_bound(256, 16, absolute) < largest.max() < 0.7 * before
