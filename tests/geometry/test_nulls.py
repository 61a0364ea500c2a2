"""Whitening undoes a covariance, and noise made from it has it."""

import pytest
import torch
from samples import seeded

from helpers.geometry import (
    GaussianLike,
    covariance_directions,
    effective_dimension,
    kth_largest_cosine,
    mixture_directions,
    moment_directions,
    random_kth_cosine,
    whitened,
)

SCALES = torch.tensor([8.0, 3.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.1])


def activations(m=20_000):
    turn = torch.linalg.qr(torch.randn(10, 10, generator=seeded(1))).Q
    return torch.randn(m, 10, generator=seeded(2)) * SCALES @ turn + 5.0


def test_effective_dimension_is_the_participation_ratio():
    expected = SCALES.pow(2).sum() ** 2 / SCALES.pow(4).sum()
    assert effective_dimension(activations()) == pytest.approx(float(expected), rel=0.05)
    assert effective_dimension(torch.randn(50_000, 6, generator=seeded())) == pytest.approx(6, rel=0.01)


def test_whitened_activations_vary_alike():
    x = activations()
    torch.testing.assert_close(torch.cov(whitened(x, x).T), torch.eye(10), atol=2e-3, rtol=0)


def test_directions_from_the_covariance_are_isotropic_once_whitened():
    x = activations()
    rows = covariance_directions(x, 2000, seeded(3))
    law = random_kth_cosine(2000, 10, 10)
    before, after = (kth_largest_cosine(r, (10,)).mean().item() for r in (rows, whitened(rows, x)))
    assert after == pytest.approx(law.mean(), abs=4 * law.std() / 2000**0.5 + 2e-3)
    assert before > law.mean() + 0.05


def test_noise_has_the_two_moments():
    x = activations()
    y = GaussianLike(x).sample(40_000, seeded(4))
    torch.testing.assert_close(y.mean(0), x.mean(0), atol=0.15, rtol=0)
    torch.testing.assert_close(torch.cov(y.T), torch.cov(x.T), atol=1.0, rtol=0)
    assert torch.equal(y[:5], GaussianLike(x).sample(40_000, seeded(4))[:5])


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.ones(5, 8), r"shape \(5, 8\).*more rows than columns"),
        (torch.full((9, 2), torch.nan), "NaN"),
        (torch.randn(9, 3) * torch.tensor([1.0, 1.0, 0.0]), "does not vary in 1 of 3"),
        (torch.ones(9, 3, dtype=torch.int64), "int64"),
    ],
)
def test_activations_without_a_covariance_are_refused(x, message):
    with pytest.raises(ValueError, match=message):
        effective_dimension(x)


def clustered(m=6000):
    """Twelve equal clusters, their means five times as far out as points lie around them; and those means."""
    means = 5 * torch.linalg.qr(torch.randn(12, 12, generator=seeded(5))).Q
    return means[torch.arange(m) % 12] + torch.randn(m, 12, generator=seeded(6)), means


def test_directions_from_the_moment_keep_what_rows_share_and_no_pair():
    half = torch.randn(1500, 10, generator=seeded(7)) * SCALES.sqrt() + torch.tensor([2.0] + 9 * [0.0])
    rows = torch.cat([half, half])  # every row has a twin, and all share a direction
    unit = torch.nn.functional.normalize(rows, dim=1)
    moment = torch.cat([unit, -unit])  # whose covariance is the second moment of the rows
    for draw, alike in ((moment_directions, True), (covariance_directions, False)):
        drawn = draw(unit, 40_000, seeded(8))
        white = torch.nn.functional.normalize(whitened(drawn, moment), dim=1)
        assert ((white.T @ white / len(white) - torch.eye(10) / 10).abs().max() < 0.01) == alike, draw
    nearest = [kth_largest_cosine(r, (1,)).mean().item() for r in (rows, moment_directions(rows, 3000, seeded(8)))]
    assert nearest[0] == pytest.approx(1, abs=1e-6) and nearest[1] < 0.99


def test_a_mixture_of_one_cluster_is_the_covariance_and_one_of_all_points_is_the_data():
    x = activations(4000)
    one, cov = (
        f.pow(2).mean(0) for f in (mixture_directions(x, 4000, 1, seeded(1)), covariance_directions(x, 4000, seeded(2)))
    )
    assert (one - cov).abs().max() < 0.02
    few = x[:50]
    seen = mixture_directions(few, 200, 50, seeded(3))
    points = torch.nn.functional.normalize(few - few.mean(0), dim=1)
    assert (seen @ points.T).max(1).values.min() > 1 - 1e-5


def test_a_mixture_finds_clusters_that_the_covariance_cannot_see():
    x, means = clustered()
    rows = mixture_directions(x, 3000, 12, seeded(9))
    toward = (rows @ torch.nn.functional.normalize(means - means.mean(0), dim=1).T).max(1).values
    blind = covariance_directions(x, 3000, seeded(9))
    other = (blind @ torch.nn.functional.normalize(means - means.mean(0), dim=1).T).max(1).values
    assert toward.mean() > 0.75 > 0.65 > other.mean()
    assert torch.equal(rows, mixture_directions(x, 3000, 12, seeded(9)))


def test_more_clusters_than_points_are_refused():
    with pytest.raises(ValueError, match=r"clusters=9; x has 8 rows"):
        mixture_directions(torch.randn(8, 3, generator=seeded()), 4, 9, seeded())
