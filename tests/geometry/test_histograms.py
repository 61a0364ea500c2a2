"""Peaks are found by a rule that random rows do not trip; a penalty alone packs rows."""

import numpy as np
import pytest
import torch
from samples import seeded

from helpers.geometry import density, descend, kth_largest_cosine, nearest_neighbours, packing_bound, peaks
from helpers.sae import NeighbourCosine


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


def test_alone_it_packs_rows_between_chance_and_the_bound():
    for absolute in (False, True):
        rows = descend(NeighbourCosine(mean=0, max_max=0, absolute=absolute), 256, 16, 300, generator=seeded())
        largest = nearest_neighbours(rows, absolute).cosine.abs()
        before = kth_largest_cosine(random(256, 16), (1,), absolute).mean()
        assert packing_bound(256, 16, absolute) < largest.max() < 0.7 * before
