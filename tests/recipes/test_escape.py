"""The arms of the way out: what each keeps reconstruction from moving, and that fixed gaps stay fixed."""

import pytest
import torch

from helpers.sae import Dense, stack, train_together, unstack
from recipes import escape


def reconstruction_gradients(arm):
    sae = escape.first("crowded", arm, seed=0, sparsity=0.8)
    with torch.no_grad():
        sae.b_enc += 0.1
    x = escape.source("crowded", 0).sample(64, torch.Generator().manual_seed(1))[0]
    z = Dense(sae, x)
    sae.terms(x, z, sae.codes(z))["reconstruction"].backward()
    return {name: 0.0 if p.grad is None else p.grad.abs().max().item() for name, p in sae.named_parameters()}


@pytest.mark.parametrize(
    ("arm", "moved", "still"),
    [
        ("expanded", ("W_enc", "b_enc", "r_mag"), ()),
        ("bias blocked", ("W_enc", "r_mag"), ("b_enc",)),
        ("gate blocked", ("r_mag",), ("W_enc", "b_enc")),
        ("gated_shared_bias", ("W_enc", "b_enc", "r_mag", "gap"), ()),
        ("gated", ("W_enc", "r_mag", "b_mag"), ("b_enc",)),
        ("gap 0.2", ("W_enc", "b_enc", "r_mag"), ("gap",)),
        ("jump only", ("W_enc", "b_enc", "gap"), ("r_mag",)),
    ],
)
def test_reconstruction_moves_what_the_arm_says_and_nothing_else(arm, moved, still):
    found = reconstruction_gradients(arm)
    assert all(found[name] > 1e-4 for name in moved) and all(found[name] < 1e-7 for name in still), found


@pytest.mark.parametrize("arm", ["bias blocked", "gate blocked"])
def test_a_blocked_arm_is_expanded_in_all_but_its_gradient(arm):
    x = escape.source("crowded", 0).sample(64, torch.Generator().manual_seed(1))[0]
    ours, plain = (escape.first("crowded", a, seed=3, sparsity=0.8).losses(x) for a in (arm, "expanded"))
    assert {k: v.item() for k, v in ours.items()} == pytest.approx({k: v.item() for k, v in plain.items()})


def test_fixed_gaps_stay_fixed_and_other_weights_do_not():
    saes = [escape.first("crowded", "gap 0.4", seed, 0.8) for seed in (0, 1)]
    before = saes[0].W_enc.clone()
    x = torch.stack([escape.source("crowded", s).sample(64, torch.Generator().manual_seed(2))[0] for s in (0, 1)])
    one = unstack(train_together(stack(saes), lambda step: x, steps=5, lr=1e-3), 0, saes[0])
    assert (one.gap == 0.4).all() and (one.W_enc - before).abs().max() > 1e-4


def test_judge_counts_firings_whose_feature_is_off():
    sae, data = escape.first("apart", "standard", 0, 0.1), escape.source("apart", 0)
    with torch.no_grad():
        sae.b_enc -= 0.01  # else rounding fires
    found = escape.judge(sae, data)
    assert found["false_firings"] < 0.05 and found["l0"] == pytest.approx(found["true_l0"], rel=0.02)
    with torch.no_grad():
        sae.b_enc += 1.0  # now all fire, whatever is on
    found = escape.judge(sae, data)
    assert found["l0"] == 32 and found["false_firings"] == pytest.approx(32 - found["true_l0"], rel=1e-6)
