"""Cosines are exact on awkward rows, and the laws of random directions are those of random directions."""

import numpy as np
import pytest
import torch
from samples import seeded
from scipy import integrate, special

from helpers.geometry import (
    covariance_directions,
    in_degree,
    kth_largest_cosine,
    nearest_neighbours,
    packing_bound,
    random_kth_cosine,
    welch_bound,
)


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
    whole = kth_largest_cosine(rows, (1, 5))
    for asked in (some, some[:1], some.int(), torch.tensor([4, 5])):
        found = kth_largest_cosine(rows, (1, 5), chunk=3, queries=asked)
        torch.testing.assert_close(found, whole[asked.long()])
    for bad in (
        torch.tensor([300]),
        torch.tensor([301, 5]),
        torch.tensor([-1]),
        torch.tensor([]),
        some[None],
        some[0],
        some[:0],
    ):
        with pytest.raises(ValueError, match="queries has shape .*from 0 to 299"):
            kth_largest_cosine(rows, (1, 5), queries=bad)


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
        (torch.ones(4, 0), r"shape \(4, 0\)"),
        (np.ones((4, 4), dtype=bool), "real numbers"),
        ("abc", "real numbers"),
    ],
)
def test_rows_without_directions_are_refused(rows, message):
    for function in (nearest_neighbours, lambda rows: kth_largest_cosine(rows, (1,))):
        with pytest.raises(ValueError, match=message):
            function(rows)


@pytest.mark.parametrize(
    ("more", "seen"),
    [
        ({"chunk": 0}, "chunk=0"),
        ({"chunk": 2.5}, "chunk=2.5"),
        ({"queries": torch.tensor([True])}, "queries has shape"),
        ({"queries": [0]}, "queries is"),
        ({"queries": torch.tensor([5])}, "from 0 to 4"),
    ],
)
def test_other_nonsense_is_named(more, seen):
    with pytest.raises(ValueError, match=seen):
        kth_largest_cosine(random(5, 3), (1,), **more)


@pytest.mark.parametrize(
    ("ks", "message"),
    [
        ((), "ks"),
        ((0,), "ks"),
        ((5,), "at least 6 rows"),
        ((1.5,), "ks"),
        ((float("nan"),), "ks=nan"),
        ((None,), "ks=None"),
    ],
)
def test_ks_out_of_range_are_refused(ks, message):
    with pytest.raises(ValueError, match=message):
        kth_largest_cosine(random(5, 3), ks)


def test_directions_of_half_precision_activations_are_exact_to_single():
    x = (random(500, 4) * 2e4).clamp(-65000, 65000)
    for kind in (torch.float16, torch.bfloat16):
        rows = covariance_directions(x.to(kind), 2000, seeded())
        assert rows.dtype == torch.float32
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(2000))
        assert (rows - covariance_directions(x.to(kind).double(), 2000, seeded())).abs().max() < 1e-6


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


@pytest.mark.parametrize(("n", "d", "k"), [(10**7, 768, 1), (10**5, 10**5, 3), (500, 2, 100)])
def test_the_smallest_cosines_mirror_the_largest(n, d, k):
    low, high = random_kth_cosine(n, d, n - k), random_kth_cosine(n, d, k)
    q = np.array([1e-9, 0.01, 0.5, 0.99])
    np.testing.assert_allclose(low.ppf(q), -high._at_tail(special.betaincinv(k, n - k, q)), rtol=1e-12)
    np.testing.assert_allclose(low.cdf(low.ppf(q)), q, rtol=1e-9)
    assert low.mean() == -high.mean()
    assert low.std() == pytest.approx(high.std(), rel=1e-12)


def test_in_the_plane_the_density_is_finite_at_its_ends():
    at_ends = random_kth_cosine(20, 2, 2).pdf([-1.0, 1.0])
    assert at_ends[0] == pytest.approx(0, abs=1e-3)
    assert at_ends[1] == pytest.approx(34.65, rel=1e-3)
    assert np.isnan(random_kth_cosine(20, 5, 2).pdf(np.nan))


@pytest.mark.parametrize(
    ("n", "d", "k", "seen"),
    [
        (1, 5, 1, "n=1"), (10, 1, 1, "d=1"), (10, 5, 0, "k=0"), (10, 5, 10, "k=10"),
        (float("inf"), 5, 1, "n=inf"), (10, float("nan"), 1, "d=nan"), (10, 5, None, "k=None"), (10.5, 5, 1, "n=10.5"),
    ],
)  # fmt: skip
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
    assert packing_bound(7, 2) == pytest.approx(np.cos(np.pi / 7))  # seven lines in the plane, evenly spaced
    assert packing_bound(10**7, 2, absolute=False) == pytest.approx(np.cos(2 * np.pi / 10**7))
    for bound in (packing_bound, welch_bound):
        with pytest.raises(ValueError, match=r"n=2\.5"):
            bound(2.5, 3)
