"""Whitening undoes a covariance, and noise made from it has it."""

import pytest
import torch
from samples import seeded

from helpers.geometry import (
    GaussianLike,
    covariance_directions,
    effective_dimension,
    kth_largest_cosine,
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
