"""Toys have the statistics they promise."""

import pytest
import torch
from samples import seeded

from helpers.sae import STRUCTURES, SparseFeatures

N = 40_000


def near(values, expected, n=N, sds=5.0):
    """Within five standard errors of a proportion."""
    return bool(((values - expected).abs() < sds * (expected * (1 - expected) / n) ** 0.5).all())


@pytest.mark.parametrize("structure", STRUCTURES)
def test_marginal_rates(structure):
    on = SparseFeatures(12, 12, p=0.1, structure=structure).on(N, seeded()).double().mean(0)
    if structure == "hierarchical":
        roots, children = on.reshape(3, 4)[:, 0], on.reshape(3, 4)[:, 1:]
        assert near(roots, 0.1) and near(children, 0.05)
    else:
        assert near(on, 0.1)


def test_children_are_on_only_under_their_root():
    on = SparseFeatures(12, 12, p=0.1, structure="hierarchical").on(N, seeded()).reshape(N, 3, 4)
    roots, children = on[..., :1], on[..., 1:]
    assert not (children & ~roots).any()
    assert (children.any(-1) & roots[..., 0]).any()


def test_correlated_features_come_on_together_within_a_group_only():
    on = SparseFeatures(8, 8, p=0.1, structure="correlated").on(N, seeded()).double()
    phi = torch.corrcoef(on.T)
    same = torch.block_diag(torch.ones(4, 4), torch.ones(4, 4)).bool()
    # A Gaussian copula with correlation 0.8 gives P(both) = .0562 at p = .1, so φ = .514.
    within = phi[same & ~torch.eye(8).bool()]
    assert (within - 0.514).abs().max() < 0.03
    assert phi[~same].abs().max() < 0.03


def test_the_bimodal_toy_is_the_papers():
    toy = SparseFeatures.bimodal(6)
    x, codes = toy.sample(N, seeded())
    projections, on = x @ toy.features.T, codes > 0
    assert near(on.double().mean(0), 0.5)
    off_values, on_values = projections[~on].double(), projections[on].double()
    assert off_values.mean() == pytest.approx(0, abs=0.015) and off_values.var() == pytest.approx(1, abs=0.02)
    assert on_values.mean() == pytest.approx(2, abs=0.01) and on_values.var() == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(("n", "d"), [(8, 8), (8, 20), (40, 10)])
def test_features_are_unit_and_orthonormal_where_they_fit(n, d):
    features = SparseFeatures(n, d).features
    torch.testing.assert_close(features.norm(dim=1), torch.ones(n))
    if n <= d:
        torch.testing.assert_close(features @ features.T, torch.eye(n), atol=1e-5, rtol=0)


def test_x_is_codes_times_features_plus_noise():
    clean, noisy = (SparseFeatures(40, 10, p=0.2, noise=noise) for noise in (0.0, 0.3))
    x, codes = clean.sample(2000, seeded())
    torch.testing.assert_close(x, codes @ clean.features)
    x, codes = noisy.sample(2000, seeded())
    assert (x - codes @ noisy.features).std().item() == pytest.approx(0.3, rel=0.05)
    on = codes[codes > 0]
    assert on.mean().item() == pytest.approx(1, abs=0.02) and on.std().item() == pytest.approx(0.25, abs=0.02)


def test_the_generator_alone_decides():
    toys = [SparseFeatures(8, 4, generator=seeded(s)) for s in (0, 0, 1)]
    assert torch.equal(toys[0].features, toys[1].features) and not torch.equal(toys[0].features, toys[2].features)
    samples = [toys[0].sample(50, seeded(s))[0] for s in (0, 0, 1)]
    assert torch.equal(samples[0], samples[1]) and not torch.equal(samples[0], samples[2])


def test_overlapping_features_are_close_within_their_group_only():
    features = SparseFeatures(8, 12, overlap=0.5, generator=seeded()).features
    groups = torch.arange(8) // 4
    expected = 0.5 * (groups[:, None] == groups) + 0.5 * torch.eye(8)
    torch.testing.assert_close(features @ features.T, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_features": 0}, "n_features=0"),
        ({"d_model": -1}, "d_model=-1"),
        ({"p": 0}, "p=0"),
        ({"p": 1.5}, "p=1.5"),
        ({"structure": "tree"}, "structure='tree'.*hierarchical"),
        ({"structure": "correlated", "n_features": 10}, "n_features=10.*groups of four"),
        ({"overlap": 0.5, "n_features": 10}, "overlap=0.5.*groups of four"),
        ({"overlap": 1.0}, "overlap=1.0"),
        ({"noise": -1}, "noise=-1"),
        ({"background": -1}, "background=-1"),
        ({"amplitude": (1.0, -0.5)}, r"amplitude=\(1.0, -0.5\)"),
    ],
)
def test_bad_input_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        SparseFeatures(**{"n_features": 8, "d_model": 8, **options})
