"""Cosines are exact on awkward rows, and the laws of random directions are those of random directions."""

import numpy as np
import pytest
import torch
from samples import seeded
from scipy import integrate

from helpers.geometry import (
    covariance_directions,
    hubness,
    in_degree,
    kth_largest_cosine,
    nearest_neighbours,
    random_kth_cosine,
    welch_bound,
)
from helpers.packing import packing_bound


def brute_force(rows, ks, absolute):
    unit = rows.double() / rows.double().norm(dim=1, keepdim=True)
    cosines = unit @ unit.T
    if absolute:
        cosines = cosines.abs()
    others = cosines[~torch.eye(len(rows), dtype=torch.bool)].reshape(len(rows), -1)
    return others.sort(dim=1, descending=True).values[:, [k - 1 for k in ks]]


def random(n, d, seed=0):
    return torch.randn(n, d, generator=seeded(seed))


AWKWARD = {
    "random": random(700, 12),
    "duplicates": random(60, 8).repeat(9, 1),
    "antipodes": torch.cat([random(300, 8), -random(300, 8)]),
    "all equal": torch.ones(400, 5),
    "lengths from 1e-30 to 1e30": random(300, 8) * 10.0 ** torch.linspace(-30, 30, 300)[:, None],
    "two rows": random(2, 3),
}


@pytest.mark.parametrize("name", AWKWARD)
@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("chunk", [7, 512])
def test_kth_largest_is_what_sorting_everything_gives(name, absolute, chunk):
    rows = AWKWARD[name]
    ks = [k for k in (1, 3, 10) if k < len(rows)]
    found = kth_largest_cosine(rows, ks, absolute, chunk)
    torch.testing.assert_close(found.double(), brute_force(rows, ks, absolute), rtol=0, atol=3e-6)


def test_some_rows_can_be_asked_for_alone():
    rows, some = random(300, 12), torch.tensor([7, 299, 0, 7])
    found = kth_largest_cosine(rows, (1, 5), chunk=3, queries=some)
    torch.testing.assert_close(found, kth_largest_cosine(rows, (1, 5))[some])


def test_kth_largest_in_double_precision_is_exact_to_it():
    rows = random(500, 9).double()
    torch.testing.assert_close(kth_largest_cosine(rows, (1, 5)), brute_force(rows, (1, 5), False), rtol=0, atol=1e-14)


def test_a_row_is_never_its_own_neighbour():
    rows = torch.cat([random(50, 6), random(50, 6)])  # each has one exact twin
    index, cosine = nearest_neighbours(rows, chunk=16)
    assert torch.equal(index, (torch.arange(100) + 50) % 100)
    torch.testing.assert_close(cosine, torch.ones(100))
    assert torch.equal(in_degree(index, 100), torch.ones(100, dtype=torch.int64))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (torch.ones(1, 4), "rows has 1 rows"),
        (torch.ones(4), r"shape \(4,\)"),
        (torch.ones(4, 4, dtype=torch.int64), "floating"),
        (torch.tensor([[1.0, 0], [0, 0], [0, 1]]), "row 1 is all zeros"),
        (torch.tensor([[1.0, 0], [float("nan"), 0]]), "row 1 holds NaN"),
    ],
)
def test_rows_without_directions_are_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        kth_largest_cosine(rows, (1,))


@pytest.mark.parametrize(("ks", "message"), [((), "ks"), ((0,), "ks"), ((5,), "at least 6 rows"), ((1.5,), "ks")])
def test_ks_out_of_range_are_refused(ks, message):
    with pytest.raises(ValueError, match=message):
        kth_largest_cosine(random(5, 3), ks)


# Laws


@pytest.mark.parametrize(
    ("n", "d", "k", "absolute"),
    [(24, 3, 1, False), (100, 16, 3, False), (300, 8, 100, False), (64, 64, 1, True), (500, 24, 10, True)],
)
def test_the_law_is_that_of_random_directions(n, d, k, absolute):
    trials, random_state = 4000, np.random.default_rng(0)
    first = np.zeros(d)
    first[0] = 1.0  # the query's direction does not matter
    values = np.empty(trials)
    for i in range(trials):
        others = random_state.standard_normal((n - 1, d))
        cosines = others @ first / np.linalg.norm(others, axis=1)
        values[i] = np.sort(np.abs(cosines) if absolute else cosines)[-k]
    law = random_kth_cosine(n, d, k, absolute)
    assert abs(values.mean() - law.mean()) < 3 * law.std() / trials**0.5
    assert abs(values.std() / law.std() - 1) < 3 / trials**0.5 * 1.5
    for q in (0.05, 0.5, 0.95):
        assert abs((values <= law.ppf(q)).mean() - q) < 3 * (q * (1 - q) / trials) ** 0.5


@pytest.mark.parametrize(
    ("n", "d", "k", "mean", "sd"),
    [
        (24576, 768, 1, 0.1461, 0.0103), (24576, 768, 10, 0.1210, 0.0032), (24576, 768, 100, 0.0954, 0.0012),
        (4608, 576, 1, 0.1516, None), (4608, 576, 10, 0.1192, None), (4608, 576, 100, 0.0842, None),
        (8192, 512, 1, 0.167, 0.0133),
    ],
)  # fmt: skip
def test_the_law_at_the_sizes_of_real_dictionaries(n, d, k, mean, sd):
    law = random_kth_cosine(n, d, k)
    assert abs(law.mean() - mean) < 1.5e-4
    assert sd is None or abs(law.std() - sd) < 1e-4


@pytest.mark.parametrize(
    ("n", "d", "k"), [(100, 2, 1), (100, 3, 99), (10**4, 576, 1), (10**7, 512, 1), (10**7, 64, 100)]
)
@pytest.mark.parametrize("absolute", [False, True])
def test_density_quantiles_and_tails_belong_together(n, d, k, absolute):
    law = random_kth_cosine(n, d, k, absolute)
    q = np.array([1e-6, 0.01, 0.3, 0.5, 0.9, 1 - 1e-6])
    np.testing.assert_allclose(law.cdf(law.ppf(q)), q, rtol=1e-6)
    for a, b in ((0.01, 0.5), (0.5, 0.9)):
        mass, _ = integrate.quad(law.pdf, law.ppf(a), law.ppf(b), limit=200)
        assert abs(mass - (b - a)) < 1e-6
    assert law.ppf(0.001) < law.mean() < law.ppf(0.999)


@pytest.mark.parametrize(
    ("n", "d", "k", "seen"), [(1, 5, 1, "n=1"), (10, 1, 1, "d=1"), (10, 5, 0, "k=0"), (10, 5, 10, "k=10")]
)
def test_a_law_that_does_not_exist_is_refused(n, d, k, seen):
    with pytest.raises(ValueError, match=seen):
        random_kth_cosine(n, d, k)


def test_directions_from_a_covariance_have_it():
    spread = torch.tensor([4.0, 2.0, 1.0, 0.0])
    x = random(20_000, 4) * spread + 7
    rows = covariance_directions(x, 20_000, seeded(1))
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(20_000))
    assert rows[:, 3].abs().max() < 0.01
    direct = random(20_000, 4, seed=2) * spread
    expected = (direct / direct.norm(dim=1, keepdim=True)).pow(2).mean(0)
    torch.testing.assert_close(rows.pow(2).mean(0), expected, rtol=0.05, atol=1e-3)


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


# Bounds


def test_welch_is_met_by_an_equiangular_frame():
    angles = torch.arange(3) * 2 * torch.pi / 3  # three lines at 60 degrees
    rows = torch.stack([angles.cos(), angles.sin()], 1)
    assert abs(kth_largest_cosine(rows, (1,), absolute=True).max().item() - welch_bound(3, 2)) < 1e-6
    assert welch_bound(5, 5) == 0


def test_bounds_hold_where_the_optimum_is_known():
    golden = (1 + 5**0.5) / 2  # the six diagonals of the icosahedron, at cosine 1/√5
    rows = torch.tensor(
        [[0, 1, golden], [0, -1, golden], [1, golden, 0], [-1, golden, 0], [golden, 0, 1], [-golden, 0, 1]]
    )
    best = kth_largest_cosine(rows, (1,), absolute=True).max().item()
    assert abs(best - packing_bound(6, 3)) < 1e-6
    plane = np.arange(7) * np.pi / 7  # seven lines in the plane: the best possible is cos(π/7)
    assert packing_bound(7, 2) <= np.cos(plane[1]) + 1e-12
    assert packing_bound(7, 2) > welch_bound(7, 2)
