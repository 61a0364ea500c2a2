"""Measures against closed forms, and the streaming ones against the ones that see everything."""

import pytest
import torch
from samples import inputs, seeded, shaken

from helpers.sae import ARCHITECTURES, SAE, metrics


def test_a_shrunk_copy_has_closed_forms():
    x = inputs(500)
    x = x - x.mean(0)
    for c in (0.5, 1.0, 1.25):
        assert metrics.fvu(x, c * x) == pytest.approx((1 - c) ** 2)
        assert metrics.reconstruction_bias(x, c * x) == pytest.approx(c)


def test_the_mean_explains_nothing_and_noise_its_share():
    x, noise = inputs(40_000), inputs(40_000, seed=2)
    assert metrics.fvu(x + 7, (x + 7).mean(0).expand_as(x)) == pytest.approx(1)
    assert metrics.fvu(x, x + 0.5 * noise) == pytest.approx(0.25, rel=0.02)


def test_reconstruction_bias_is_the_least_squares_factor():
    x = inputs(300) + 1
    x_hat = 0.7 * x + 0.3 * inputs(300, seed=2)
    gamma = metrics.reconstruction_bias(x, x_hat)
    errors = [float((x - x_hat / s).pow(2).sum()) for s in (gamma * 0.999, gamma, gamma * 1.001)]
    assert errors[1] < errors[0] and errors[1] < errors[2]


def test_counts():
    codes = torch.tensor([[0.0, 1.0, 2.0, 0.0], [0.0, 0.0, 3.0, 0.0]])
    assert metrics.l0(codes) == 1.5
    assert metrics.dead_fraction(codes) == 0.5


def test_a_negative_code_is_a_code_and_leading_axes_are_inputs():
    codes = torch.tensor([[[0.0, -1.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, -3.0, 0.0]]] * 2)  # (2, 3, 4)
    assert metrics.l0(codes) == pytest.approx(1)
    assert metrics.dead_fraction(codes) == 0.5
    assert metrics.l0(codes[0]) == pytest.approx(1) and metrics.dead_fraction(codes[0]) == 0.5


def test_an_ablation_that_helps_is_still_a_yardstick():
    assert metrics.loss_recovered(clean=3.0, spliced=2.5, ablated=2.0) == 0.5
    assert metrics.loss_recovered(clean=3.0, spliced=2.0, ablated=2.0) == 0


def test_loss_recovered_runs_from_ablation_to_clean():
    assert [metrics.loss_recovered(2.0, ce, 10.0) for ce in (10.0, 2.0, 4.0, 12.0)] == [0, 1, 0.75, -0.25]
    with pytest.raises(ValueError, match="ablated=2.0"):
        metrics.loss_recovered(2.0, 3.0, 2.0)


def test_feature_recovery_ignores_order_norm_and_extra_rows_but_not_sign():
    features = inputs(10, 8)
    rows = torch.cat([3 * features.flip(0), inputs(5, 8, seed=3)])
    assert metrics.feature_recovery(rows, features) == pytest.approx(1)
    assert metrics.feature_recovery(torch.eye(4)[:1], torch.eye(4)) == pytest.approx(0.25)
    assert metrics.feature_recovery(-torch.eye(4)[:1], torch.eye(4)[:1]) == pytest.approx(-1)


class Projections(SAE):
    """A dictionary whose codes may be negative."""

    def codes(self, z):
        return z.pre * (z.pre.abs() > 1)


def test_streaming_counts_negative_codes_and_features_that_never_speak():
    sae = Projections(8, 32, generator=seeded(), dtype=torch.float64)
    with torch.no_grad():
        sae.b_enc[:8] = -2  # negative on nearly every input
        sae.W_enc[:, 8:20] = 0  # and these never speak
    x = inputs(300)
    codes = sae.encode(x)
    seen = metrics.evaluate(sae, x.split(50))
    assert seen["l0"] == metrics.l0(codes) > (codes > 0).sum(1).double().mean() + 5
    assert seen["dead_fraction"] == metrics.dead_fraction(codes) == 12 / 32
    assert (codes[:, :8] <= 0).all(0).any()
    one = metrics.evaluate(sae, [x[:1], x[1:2]])
    assert one["dead_fraction"] == (codes[:2] == 0).all(0).double().mean() > 12 / 32


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_streaming_agrees_with_seeing_everything(name):
    sae, x = shaken(name).eval(), inputs(500) + 3
    with torch.no_grad():
        sae.b_dec += 3
        codes, x_hat = sae.encode(x), sae(x)
    mean = x.mean(0)
    expected = {
        "l0": metrics.l0(codes),
        "fvu": metrics.fvu(x, x_hat),
        "gamma": metrics.reconstruction_bias(x, x_hat),
        "gamma_centred": metrics.reconstruction_bias(x - mean, x_hat - mean),
        "dead_fraction": metrics.dead_fraction(codes),
    }
    assert metrics.evaluate(sae, x.split(64)) == pytest.approx(expected, rel=1e-9)
    assert metrics.evaluate(sae, iter([x])) == pytest.approx(expected, rel=1e-9)
    assert 0 < expected["l0"] < 32 and expected["gamma"] != pytest.approx(expected["gamma_centred"], rel=1e-3)


def test_a_small_spread_around_a_large_mean_survives_streaming_in_float32():
    sae = shaken("standard", dtype=torch.float32).eval()
    with torch.no_grad():
        sae.b_dec += 1000
        x = inputs(500, dtype=torch.float32) + 1000
        expected = metrics.fvu(x, sae(x))
    assert metrics.evaluate(sae, x.split(100))["fvu"] == pytest.approx(expected, rel=1e-5)


def test_bad_input_is_named():
    x = inputs(5)
    with pytest.raises(ValueError, match=r"x has shape \(5, 8\), x_hat \(4, 8\)"):
        metrics.fvu(x, x[:4])
    with pytest.raises(ValueError, match="no variance"):
        metrics.fvu(torch.ones(5, 8), x)
    with pytest.raises(ValueError, match="no variance"):
        metrics.evaluate(shaken("standard"), [torch.ones(5, 8, dtype=torch.float64)])
    for alike in (0.0, 12345.678):  # whose sums leave a rounding error behind
        with pytest.raises(ValueError, match="no variance"):
            metrics.evaluate(shaken("standard"), [torch.full((7, 8), alike, dtype=torch.float64)] * 3)
    with pytest.raises(ValueError, match="batches is empty"):
        metrics.evaluate(shaken("standard"), [])
    with pytest.raises(ValueError, match=r"x has shape \(4, 8\), x_hat \(5, 8\)"):
        metrics.fvu(x[:4], x)
    for a, b in ((7, 8), (8, 7)):
        with pytest.raises(ValueError, match=rf"\(3, {a}\), features \(2, {b}\)"):
            metrics.feature_recovery(torch.ones(3, a), torch.ones(2, b))
    for shape in ((5,), (2, 5, 8), (0, 8), (5, 0)):
        for function in (metrics.fvu, metrics.reconstruction_bias, metrics.feature_recovery):
            with pytest.raises(ValueError, match=r"has shape .*; expected \(n, d\)"):
                function(torch.ones(shape), torch.ones(shape))
    for shape in ((5,), (0, 8), (2, 5, 0)):
        for function in (metrics.l0, metrics.dead_fraction):
            with pytest.raises(ValueError, match=r"codes has shape .*; expected \(…, d\)"):
                function(torch.ones(shape))
