"""Chapter 6: the formulas against brute force."""

import numpy as np
import pytest
import torch
from scipy.optimize import brentq, minimize

from helpers import composition as C
from helpers.sae import build
from recipes import three_features as recipe

SPARSITIES = (0.1, 0.5, 1.0)


def plain_codes(x, D, sparsity):
    """Non-negative least squares with an L1 term, by projected gradient: no cleverness."""
    c = np.zeros((len(x), len(D)))
    for _ in range(600):
        c = np.maximum(c - 0.2 * (2 * (c @ D - x) @ D.T + sparsity), 0)
    return c


def plain_loss(x, p, D, sparsity):
    c = plain_codes(x, D, sparsity)
    return p @ (((x - c @ D) ** 2).sum(1) + sparsity * c.sum(1))


@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_optimal_codes_are_no_worse_than_projected_gradient_and_equal_to_it(sparsity):
    D = np.random.default_rng(0).normal(size=(3, 3))
    D /= np.linalg.norm(D, axis=1, keepdims=True)
    x, p = C.amplitudes(2.0, 0.7, n=3)
    codes, loss = C.optimal_codes(x, D, sparsity)
    assert (codes >= 0).all()
    np.testing.assert_allclose(((x - codes @ D) ** 2).sum(1) + sparsity * codes.sum(1), loss, atol=1e-12)
    np.testing.assert_allclose(loss @ p, plain_loss(x, p, D, sparsity), atol=1e-6)


@pytest.mark.parametrize(("sparsity", "known"), [(0.1, 16.1), (0.5, 2.44), (1.0, 0.74)])
def test_the_threshold_is_where_brute_force_finds_the_two_dictionaries_equal(sparsity, known):
    def difference(log_ratio):
        x, p = C.patterns(np.exp(log_ratio))
        return plain_loss(x, p, C.COMPOSED, sparsity) - plain_loss(x, p, C.SEPARATE, sparsity)

    ratio = np.exp(brentq(difference, np.log(0.1), np.log(100), xtol=1e-5))
    assert C.threshold(sparsity) == pytest.approx(ratio, rel=1e-3)
    assert C.threshold(sparsity) == pytest.approx(known, abs=0.05 if known > 10 else 0.006)


@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_the_threshold_of_the_rescaled_arms_counts_the_second_reconstruction(sparsity):
    sae = build("gated", 3, 3, generator=torch.Generator().manual_seed(0), sparsity=sparsity, dtype=torch.float64)
    at = {}
    for kind, D, size in (("composed", C.COMPOSED, [1, 1, 2**0.5]), ("separate", C.SEPARATE, [1, 1, 1])):
        W, b = C.encoder(kind, sparsity)
        with torch.no_grad():
            for parameter, value in ((sae.W_dec, D), (sae.W_enc, W), (sae.b_enc, b)):
                parameter.copy_(torch.as_tensor(value))
            sae.r_mag.copy_(torch.tensor(size).log() - torch.log(torch.tensor(size) - sparsity / 2))
            sae.b_mag.copy_(sae.r_mag.exp() * sae.b_enc)
            at[kind] = [sum(sae.losses(row[None]).values()).item() for row in torch.as_tensor(C.patterns(1.0)[0])]
    gain, cost = at["separate"][2] - at["composed"][2], at["composed"][3] - at["separate"][3]
    assert cost / gain == pytest.approx(C.threshold(sparsity, "rescaled"), rel=1e-5)


@pytest.mark.parametrize("kind", ["composed", "separate"])
@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_the_encoder_gives_the_optimal_codes_on_all_inputs(kind, sparsity):
    W, b = C.encoder(kind, sparsity)
    x = np.vstack([C.patterns(1.0)[0], np.zeros(3)])
    D = C.COMPOSED if kind == "composed" else C.SEPARATE
    np.testing.assert_allclose(np.maximum(x @ W + b, 0), C.optimal_codes(x, D, sparsity)[0], atol=1e-12)


def test_the_answer_given_in_the_thread_separates_the_three_patterns():
    W, b = np.array([[-1, 1], [1, 1], [1, -1]]), np.array([0, -1, 0])
    on = np.maximum(np.array([[0, 1], [1, 1], [1, 0]]) @ W.T + b, 0)
    np.testing.assert_array_equal(on, np.eye(3))


def test_rows_of_the_composed_encoder_can_be_orthogonal_while_its_decoder_rows_are_not():
    lam, s = 0.5, 2**0.5 - 0.25
    W = np.array([[1, -1, -(2**0.5)], [-1, 1, -(2**0.5)], [s, s, 0]]).T
    b = C.encoder("composed", lam)[1]
    x = np.vstack([C.patterns(1.0)[0], np.zeros(3)])
    np.testing.assert_allclose(np.maximum(x @ W + b, 0), C.optimal_codes(x, C.COMPOSED, lam)[0], atol=1e-12)
    assert np.abs(W.T @ W - np.diag(np.diag(W.T @ W))).max() < 1e-12
    assert np.abs(C.COMPOSED @ C.COMPOSED.T - np.eye(3)).max() > 0.7


@pytest.mark.parametrize("alone", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_tilting_the_separate_rows_lowers_the_loss_at_the_stated_rate(sparsity, alone):
    x, p = C.patterns(4.0, alone)
    small = 1e-4
    before, after = (
        C.expected_loss(x, p, np.vstack([C.in_plane(a, 90 - a), C.NAMED["f3"]]), sparsity)
        for a in (0, np.degrees(small))
    )
    assert (after - before) / small == pytest.approx(-sparsity * (2 - sparsity) * p[2], rel=1e-2)


def test_three_routes_to_the_best_dictionary_agree():
    cells = [(8.0, 0.1), (32.0, 0.1), (2.0, 0.5), (8.0, 0.5), (1.0, 1.0)]
    x = C.patterns(1.0)[0]
    p, sparsity = np.stack([C.patterns(r)[1] for r, _ in cells]), np.array([s for _, s in cells])
    blind, rows = C.search(x, p, sparsity, restarts=40, steps=150)
    for i, (ratio, lam) in enumerate(cells):
        found = C.best(ratio, lam)
        best = found[found["winner"]]
        assert blind[i] == pytest.approx(best["loss"], abs=1e-6)
        assert C.kind(C.label(rows[i])) == C.kind(C.label(best["D"]))
        assert best["loss"] == pytest.approx(plain_loss(x, p[i], best["D"], lam), abs=1e-6)


def test_no_start_of_a_general_optimiser_beats_the_best_dictionary():
    x, p = C.patterns(8.0)

    def loss(v):
        D = v.reshape(3, 3)
        return float(C.expected_loss(x, p, D / np.linalg.norm(D, axis=1, keepdims=True), 0.5))

    rng = np.random.default_rng(1)
    reached = min(minimize(loss, rng.normal(size=9), method="L-BFGS-B").fun for _ in range(4))
    found = C.best(8.0, 0.5)
    assert reached >= found[found["winner"]]["loss"] - 1e-7


def test_the_boundary_nears_the_threshold_as_features_mostly_come_alone():
    assert C.best(8.0, 0.5, alone=200.0)["boundary"] == pytest.approx(C.threshold(0.5), rel=0.01)
    assert C.best(8.0, 0.5)["boundary"] > 1.2 * C.threshold(0.5)


@pytest.mark.parametrize("kind", ["rescaled", "l0"])
def test_the_blind_search_finds_nothing_better_than_angles_for_other_losses_either(kind):
    cells = [(4.0, 0.25), (32.0, 0.25), (4.0, 0.5)]
    x = C.patterns(1.0)[0]
    p, sparsity = np.stack([C.patterns(r)[1] for r, _ in cells]), np.array([s for _, s in cells])
    blind, _ = C.search(x, p, sparsity, restarts=60, steps=80, kind=kind)
    for i, (ratio, lam) in enumerate(cells):
        found = C.best(ratio, lam, kind=kind)
        assert blind[i] > found[found["winner"]]["loss"] - 1e-6
        if kind == "rescaled":  # the other has many places where the search comes to rest
            assert blind[i] == pytest.approx(found[found["winner"]]["loss"], abs=1e-4)


@pytest.mark.parametrize("lam", SPARSITIES)
def test_a_gated_dictionary_never_has_less_than_the_rescaled_loss_of_its_decoder(lam):
    sae = build("gated", 3, 3, generator=torch.Generator().manual_seed(2), sparsity=lam, dtype=torch.float64)
    x = C.patterns(1.0)[0]
    least = C.optimal_codes(x, sae.W_dec.detach().numpy(), lam, "rescaled")[1]
    for row, at_least in zip(torch.as_tensor(x), least, strict=True):
        assert sum(sae.losses(row[None]).values()).item() >= at_least - 1e-9


@pytest.mark.parametrize(("kind", "lam", "boundary"), [("l1", 0.1, 17.4), ("l1", 0.5, 3.30), ("l1", 1.0, 1.35)])
def test_the_best_dictionary_switches_later_than_the_two_named_ones(kind, lam, boundary):
    switches = C.best(8.0, lam, kind=kind)["boundary"]
    assert switches == pytest.approx(boundary, rel=0.005) and switches > 1.05 * C.threshold(lam, kind)


def test_with_wide_amplitudes_no_encoder_found_reaches_the_best_codes():
    x, p = C.amplitudes(1.0, 0.5, n=3)
    x, p = x[x[:, 2] == 0], p[x[:, 2] == 0]
    found, W, b = C.best_encoder(x, p, C.COMPOSED, 0.5, restarts=8, steps=300)
    codes = np.maximum(x @ W + b, 0)
    mine = ((x - codes @ C.COMPOSED) ** 2).sum(1) + 0.5 * codes.sum(1)
    assert found == pytest.approx(p @ mine)
    assert found > 1.02 * C.expected_loss(x, p, C.COMPOSED, 0.5)
    W, b = C.encoder("composed", 0.5)
    codes = np.maximum(x @ W + b, 0)
    assert found < p @ (((x - codes @ C.COMPOSED) ** 2).sum(1) + 0.5 * codes.sum(1))


def test_labels_say_what_rows_read():
    assert C.label(C.in_plane(5, 50, 89)) == "f1 f1+f2 f2"
    assert C.label(np.array([[0, 0, 1.0], [-1, 0, 0], [1, 1, 0]]), np.array([True, True, False])) == "dead f3 other"
    assert C.kind("f1+f2 f2 f3") == "merged" and C.kind("dead f1 f3") == "other"


def test_bad_input_is_refused_by_name():
    with pytest.raises(ValueError, match="sparsity"):
        C.threshold(2.5)
    with pytest.raises(ValueError, match="ratio"):
        C.patterns(0)


def test_the_tangent_study_repeats_the_grid_and_the_starts_and_changes_no_other_study():
    for arm in ("standard", "gated"):
        known = recipe.conditions("grid", arm, 3) + recipe.conditions("started", arm, 3)
        assert recipe.conditions("tangent", arm, 3) == known


def test_the_recipe_draws_each_pattern_as_often_as_asked_and_the_same_for_every_condition():
    rows = [{"ratio": 4, "seed": 3}, {"ratio": 4, "seed": 3, "width": 0.5}, {"ratio": 4, "seed": 3, "empty": 0.5}]
    batch = recipe.batches(rows, 400)
    x = torch.stack([batch(t) for t in range(400)], 1).reshape(3, -1, 3)
    p = C.patterns(4)[1]
    both, rare = ((x[..., :2] > 0).all(-1), x[..., 2] > 0)
    np.testing.assert_allclose(both.double().mean(1), [p[2], p[2], p[2] / 2], atol=0.02)
    np.testing.assert_allclose(rare.double().mean(1), [p[3], p[3], p[3] / 2], atol=0.01)
    torch.testing.assert_close(x[0] > 0, x[1] > 0)
    assert x[1].max() > 1.4 and 0.5 <= x[1][x[1] > 0].min() < 0.6
