"""Dictionaries do what their papers' equations say, in float64; and refuse what they cannot do."""

import json

import pytest
import torch
from samples import HYPER, gradients, inputs, seeded, shaken
from torch.nn.functional import relu

from helpers.sae import ARCHITECTURES, PENALTIES, Dense, RescaleShift, architecture, build, load, penalty, save, train

EVERY = pytest.mark.parametrize("name", ARCHITECTURES)
TOL = {"rtol": 1e-10, "atol": 1e-12}


def squared(error):
    return error.pow(2).sum(1).mean()


# The equations, written out


def test_standard_is_relu_and_l1():
    sae, x = shaken("standard"), inputs()
    f = relu((x - sae.b_dec) @ sae.W_enc + sae.b_enc)
    terms = sae.losses(x)
    assert torch.equal(sae.encode(x), f)
    torch.testing.assert_close(terms["reconstruction"], squared(x - f @ sae.W_dec - sae.b_dec), **TOL)
    torch.testing.assert_close(terms["sparsity"], 0.7 * f.abs().sum(1).mean(), **TOL)


def test_gated_is_the_papers():
    sae, x = shaken("gated"), inputs()
    W_gate, r = sae.W_enc, sae.r_mag
    W_mag = W_gate * r.exp()
    pi = (x - sae.b_dec) @ W_gate + sae.b_gate
    f = (pi > 0) * relu((x - sae.b_dec) @ W_mag + sae.b_mag)
    terms = sae.losses(x)
    torch.testing.assert_close(sae.encode(x), f, **TOL)
    torch.testing.assert_close(terms["reconstruction"], squared(x - f @ sae.W_dec - sae.b_dec), **TOL)
    torch.testing.assert_close(terms["sparsity"], 0.7 * relu(pi).sum(1).mean(), **TOL)
    torch.testing.assert_close(terms["auxiliary"], squared(x - relu(pi) @ sae.W_dec - sae.b_dec), **TOL)


def test_expanded_is_a_learned_rescaling_without_a_gate():
    sae, x = shaken("expanded"), inputs()
    f = relu((x - sae.b_dec) @ sae.W_enc + sae.b_enc)
    t = sae.r_mag.exp()
    terms = sae.losses(x)
    torch.testing.assert_close(terms["reconstruction"], squared(x - (t * f) @ sae.W_dec - sae.b_dec), **TOL)
    torch.testing.assert_close(terms["sparsity"], 0.7 * f.sum(1).mean(), **TOL)
    torch.testing.assert_close(terms["auxiliary"], squared(x - f @ sae.W_dec - sae.b_dec), **TOL)


@pytest.mark.parametrize("name", ["gated", "expanded", "gated_shared_bias"])
def test_the_auxiliary_term_trains_the_encoder_and_not_the_decoder(name):
    sae, x = shaken(name), inputs()
    grads = gradients(sae, sae.losses(x)["auxiliary"])
    assert grads["W_enc"].norm() > 0.1 and grads["b_enc"].norm() > 0.1
    assert not grads["W_dec"].any() and not grads["r_mag"].any()
    # b_dec is reached where it centres the encoder's input, and nowhere else.
    torch.testing.assert_close(grads["b_dec"], -sae.W_enc @ grads["b_enc"], **TOL)


def test_the_step_sends_no_gradient_to_the_gates_bias():
    sae, x = shaken("gated"), inputs()
    assert gradients(sae, sae.losses(x)["reconstruction"])["b_enc"].abs().max() < 1e-12


# Expanded is gated with the gap fixed at zero


def test_gated_forward_with_no_gap_is_expanded():
    gated, expanded, x = shaken("gated"), shaken("expanded"), inputs()
    with torch.no_grad():
        gated.b_mag.copy_(gated.r_mag.exp() * gated.b_gate)
    expanded.load_state_dict({k: v for k, v in gated.state_dict().items() if k != "b_mag"})
    assert gated.gap.abs().max() < 1e-15
    torch.testing.assert_close(gated(x), expanded(x), **TOL)
    torch.testing.assert_close(gated.encode(x), expanded.encode(x), **TOL)


def test_gated_with_the_gap_pinned_at_zero_trains_like_expanded():
    data = torch.randn(64, 8, generator=seeded(5), dtype=torch.float64)

    def batch(step):
        codes = torch.rand(128, 64, generator=seeded(step), dtype=torch.float64)
        return (codes * (codes > 0.9)) @ data

    weights = {}
    for name in ("gated_shared_bias", "expanded"):
        sae = build(name, 8, 48, generator=seeded(), dtype=torch.float64, sparsity=0.1)
        start = sae.W_enc.detach().clone()
        if name == "gated_shared_bias":
            sae.gap.requires_grad_(False)
        train(sae, batch, steps=300, lr=3e-3, progress=False)
        assert (sae.W_enc - start).abs().max() > 0.1
        weights[name] = sae.state_dict()
    for key, value in weights["expanded"].items():
        assert (weights["gated_shared_bias"][key] - value).abs().max() <= 1e-6, key


def test_gated_and_its_shared_bias_form_have_the_same_forward():
    shared, gated, x = shaken("gated_shared_bias"), shaken("gated"), inputs()
    state = shared.state_dict()
    gap = state.pop("gap")
    gated.load_state_dict({**state, "b_mag": state["r_mag"].exp() * state["b_enc"] + gap})
    torch.testing.assert_close(gated(x), shared(x), **TOL)
    torch.testing.assert_close(gated.gap, shared.gap, **TOL)


def test_rescale_and_shift_trains_its_scale_and_shift_alone():
    parent, x = shaken("standard"), inputs()
    sae = RescaleShift.of(parent)
    torch.testing.assert_close(sae(x), parent(x), **TOL)
    frozen = {k: v.clone() for k, v in parent.state_dict().items() if k != "silent_for"}
    train(sae, lambda step: x, steps=20, lr=1e-2, progress=False)
    assert all(torch.equal(sae.state_dict()[k], v) for k, v in frozen.items())
    assert sae.r_mag.abs().max() > 0.01 and sae.gap.abs().max() > 0.01
    with pytest.raises(TypeError, match="Gated"):
        RescaleShift.of(shaken("gated"))


# JumpReLU


def test_jumprelu_passes_what_is_above_the_threshold_and_counts_it():
    sae, x = shaken("jumprelu"), inputs()
    z = (x - sae.b_dec) @ sae.W_enc + sae.b_enc
    on = z > sae.threshold
    terms = sae.losses(x)
    assert torch.equal(sae.encode(x), z * on)
    torch.testing.assert_close(terms["reconstruction"], squared(x - (z * on) @ sae.W_dec - sae.b_dec), **TOL)
    torch.testing.assert_close(terms["sparsity"], 0.3 * on.sum(1).double().mean(), **TOL)


def test_jumprelu_thresholds_get_the_papers_pseudo_gradients():
    sae, x, width = shaken("jumprelu"), inputs(), HYPER["jumprelu"]["bandwidth"]
    theta = sae.threshold.detach()
    z = sae.pre(x).detach()
    window = ((z - theta).abs() < width / 2).double()
    assert window.sum() > 20 and (window * (z <= theta)).sum() > 5
    terms = sae.losses(x)
    pull = -2 * (x - sae(x)).detach() @ sae.W_dec.detach().T / len(x)  # dL/df
    jump = gradients(sae, terms["reconstruction"])["threshold"]
    torch.testing.assert_close(jump, (-(theta / width) * window * pull).sum(0), **TOL)
    step = gradients(sae, terms["sparsity"])
    torch.testing.assert_close(step["threshold"], (-(0.3 / width) * window / len(x)).sum(0), **TOL)
    assert not step["W_enc"].any() and not step["b_enc"].any()


def test_jumprelu_thresholds_move_in_float32_under_adam():
    sae = build("jumprelu", 16, 64, generator=seeded(), sparsity=1.0)
    start = sae.threshold.detach().clone()
    train(sae, lambda step: inputs(256, 16, torch.float32, step), steps=60, lr=1e-3, progress=False)
    assert (sae.threshold - start).abs().median() > 10 * 1e-3
    assert sae.threshold.min() >= 0


# TopK and its relatives


def test_topk_keeps_exactly_k_the_largest():
    sae, x = shaken("topk"), inputs()
    with torch.no_grad():
        sae.b_enc += 5.0  # all positive
    codes, pre = sae.encode(x), sae.pre(x)
    assert ((codes > 0).sum(1) == 4).all()
    assert torch.equal(codes.topk(4).values, pre.topk(4).values)


def test_topk_with_equal_preactivations_still_keeps_k():
    sae = shaken("topk")
    with torch.no_grad():
        sae.W_enc.zero_()
        sae.b_enc.fill_(1.0)
    assert ((sae.encode(inputs()) > 0).sum(1) == 4).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("threshold", [0.0, 0.8, 100.0])
def test_batchtopk_keeps_exactly_k_a_row_on_average(dtype, threshold):
    sae, x = shaken("batchtopk").train(), inputs(200)
    sae.threshold.fill_(threshold)
    pre = sae.pre(x).detach().to(dtype)
    mask = sae.support(pre)
    assert mask.sum() == 4 * len(x)
    assert pre[mask].min() >= pre[~mask].max()
    counts = mask.sum(1)
    assert counts.min() < 4 < counts.max()


def test_batchtopk_judges_each_input_alone_after_training():
    sae, x = shaken("batchtopk").eval(), inputs()
    codes = sae.encode(x)
    torch.testing.assert_close(torch.cat([sae.encode(row[None]) for row in x]), codes, **TOL)
    assert codes[codes > 0].min() > sae.threshold


def test_batchtopk_threshold_follows_the_smallest_code_kept():
    sae, x = shaken("batchtopk").train(), inputs()
    codes = sae.codes(Dense(sae, x)).detach()
    sae.losses(x)
    assert sae.threshold == pytest.approx(0.99 * 0.8 + 0.01 * codes[codes > 0].min().item())


def test_dead_features_explain_the_detached_error():
    sae, x = shaken("topk", auxiliary=0.25), inputs()
    dead = sae.silent_for >= 100
    assert 3 < dead.sum() < 32
    pre = sae.pre(x)
    error = (x - sae(x)).detach()
    top = torch.where(dead, pre, -torch.inf).topk(3, dim=1)
    guess = (relu(top.values)[..., None] * sae.W_dec[top.indices]).sum(1)
    term = sae.losses(x)["auxiliary"]
    torch.testing.assert_close(term, 0.25 * squared(error - guess), **TOL)
    assert not gradients(sae, term)["W_dec"][~dead].any()
    sae.silent_for.zero_()
    assert "auxiliary" not in sae.eval().losses(x)


def test_matryoshka_reconstructs_from_every_prefix():
    sae, x = shaken("matryoshka"), inputs()
    f = sae.train().codes(Dense(sae, x))
    parts = [squared(x - f[:, :m] @ sae.W_dec[:m] - sae.b_dec) for m in (4, 8, 16, 32)]
    torch.testing.assert_close(sae.losses(x)["reconstruction"], sum(parts) / 4, **TOL)


# Orthogonality


def brute_force(rows, kind):
    rows = rows / rows.norm(dim=1, keepdim=True)
    n = len(rows)
    cosines = [[float(rows[i] @ rows[j]) for j in range(n) if j != i] for i in range(n)]
    if kind == "mean_square":
        return sum(c * c for row in cosines for c in row) / (n * (n - 1))
    return sum(max(0.0, max(row)) ** 2 for row in cosines) / n


@pytest.mark.parametrize("kind", ["mean_square", "max", "chunk_max"])  # the others: tests/test_peaks.py
def test_penalties_equal_brute_force(kind):
    rows = 3 * inputs(24, 6)
    if kind == "chunk_max":
        expected = sum(brute_force(part, "max") for part in rows.chunk(8)) / 8
    else:
        expected = brute_force(rows, kind)
    assert float(penalty(kind)(rows)) == pytest.approx(expected, rel=1e-12)
    assert float(penalty(kind)(torch.eye(8, dtype=torch.float64))) == pytest.approx(0, abs=1e-15)


def test_the_nearest_row_is_another_even_if_that_points_the_other_way():
    for seed in range(20):
        row = torch.randn(1, 16, generator=seeded(seed))
        assert penalty("max")(torch.cat([row, -row])) == 0


def test_a_penalty_on_the_nearest_row_has_the_gradient_of_the_whole_product():
    rows = torch.nn.Parameter(inputs(24, 6))
    unit = torch.nn.functional.normalize(rows, dim=1)
    whole = (unit @ unit.T).fill_diagonal_(-1.0).max(1).values.clamp_min(0).pow(2).mean()
    expected, found = (torch.autograd.grad(value, rows)[0] for value in (whole, penalty("max")(rows)))
    torch.testing.assert_close(found, expected, **TOL)


def test_many_rows_find_their_nearest_one_whatever_the_precision():
    rows = torch.randn(600, 8, generator=seeded())
    assert float(penalty("max")(rows)) == pytest.approx(float(penalty("max")(rows.double())), rel=1e-3)


def test_chunks_are_drawn_by_the_generator():
    rows = inputs(24, 6)
    draw = [float(penalty("chunk_max")(rows, seeded(seed))) for seed in (0, 0, 1)]
    assert draw[0] == draw[1] != draw[2]


@EVERY
@pytest.mark.parametrize("form", PENALTIES)
def test_any_architecture_takes_an_orthogonality_term_on_its_decoder(name, form):
    sae, x = shaken(name, orthogonality=0.3, penalty=form), inputs()
    assert "orthogonality" not in shaken(name).losses(x)
    term = sae.losses(x)["orthogonality"]
    torch.testing.assert_close(term, 0.3 * penalty(form)(sae.W_dec), **TOL)
    if sae.W_dec.requires_grad:
        reached = {k for k, g in gradients(sae, term).items() if g.any()}
        assert reached == {"W_dec"}


# Conventions


@EVERY
def test_losses_are_means_over_the_batch(name):
    x = inputs()
    once, twice = shaken(name).losses(x), shaken(name).losses(torch.cat([x, x]))
    assert once.keys() == twice.keys() and once["reconstruction"] > 0
    for key in once:
        torch.testing.assert_close(once[key], twice[key], **TOL)


@EVERY
def test_decoder_rows_are_unit_after_projection_and_training(name):
    sae = shaken(name, dtype=torch.float32)
    if sae.W_dec.requires_grad:
        with torch.no_grad():
            sae.W_dec *= 3
        sae.project()
    train(sae, lambda step: inputs(dtype=torch.float32, seed=step), steps=3, lr=1e-2, progress=False)
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(32))


@EVERY
def test_rescale_folds_an_input_scaling_in(name):
    scaled, folded, x = shaken(name).eval(), shaken(name).eval(), inputs()
    folded.rescale(0.05)
    torch.testing.assert_close(folded(x / 0.05), scaled(x) / 0.05, **TOL)
    torch.testing.assert_close(folded.encode(x / 0.05), scaled.encode(x) / 0.05, **TOL)
    assert (scaled.encode(x) > 0).any()


@EVERY
def test_the_generator_alone_decides_the_start(name):
    torch.manual_seed(0)
    states = [build(name, 8, 32, generator=seeded(seed), **HYPER[name]).state_dict() for seed in (3, 3, 4)]
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert not torch.equal(states[0]["W_dec"], states[2]["W_dec"])
    assert torch.initial_seed() == 0 and torch.rand(()) == torch.rand((), generator=seeded(0))


@EVERY
def test_leading_dimensions_are_kept(name):
    sae, x = shaken(name).eval(), inputs().reshape(4, 6, 8)
    assert sae.encode(x).shape == (4, 6, 32) and sae(x).shape == x.shape
    torch.testing.assert_close(sae(x).reshape(-1, 8), sae(inputs()), **TOL)


# Bad input


@pytest.mark.parametrize(
    ("name", "hyper", "message"),
    [
        ("standrad", {}, "standrad.*expected one of standard"),
        ("standard", {"sparsity": -1}, "sparsity=-1"),
        ("standard", {"sparsity": float("nan")}, "sparsity=nan"),
        ("gated", {"sparsity": "2"}, "sparsity='2'"),
        ("gated", {"orthogonality": -0.1}, "orthogonality=-0.1"),
        ("gated", {"penalty": "cosine"}, "penalty='cosine'.*mean_square"),
        ("standard", {"k": 3}, "SAE has no hyperparameter 'k'"),
        ("topk", {"k": 0}, "k=0"),
        ("topk", {"k": 33}, "k=33; expected a whole number from 1 to 32"),
        ("topk", {"k": 2.5}, "k=2.5; expected a whole number"),
        ("jumprelu", {"bandwidth": 0}, "bandwidth=0"),
    ],
)
def test_bad_hyperparameters_are_named(name, hyper, message):
    with pytest.raises((ValueError, TypeError), match=message):
        build(name, 8, 32, generator=seeded(), **hyper)


@pytest.mark.parametrize(("sizes", "message"), [((0, 32), "d_model=0"), ((8, 3.5), "d_sae=3.5")])
def test_bad_sizes_are_named(sizes, message):
    with pytest.raises(ValueError, match=message):
        build("standard", *sizes, generator=seeded())


@EVERY
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(5, 9), r"\(5, 9\).*d_model=8"),
        (torch.zeros(2, 5, 8), r"\(2, 5, 8\).*\(batch, d_model=8\)"),
        (torch.zeros(0, 8), r"empty.*\(0, 8\)"),
        (torch.full((5, 8), torch.nan), "40 values that are NaN"),
        (torch.tensor([[torch.inf, -torch.inf] + [0.0] * 6]), "2 values that are NaN or infinite"),
    ],
)
def test_bad_activations_are_named_and_change_nothing(name, x, message):
    sae = shaken(name, dtype=torch.float32).train()
    before = {k: v.clone() for k, v in sae.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        sae.losses(x)
    assert all(torch.equal(before[k], v) for k, v in sae.state_dict().items())


def test_bad_codes_and_scales_are_named():
    sae = shaken("gated")
    with pytest.raises(ValueError, match=r"codes has shape \(5, 8\).*d_sae=32"):
        sae.decode(torch.zeros(5, 8))
    with pytest.raises(ValueError, match="scale=0"):
        sae.rescale(0)


# Files


@EVERY
def test_what_is_saved_loads_as_it_was(name, tmp_path):
    sae, x = shaken(name, dtype=torch.float32).eval(), inputs(dtype=torch.float32)
    loaded = load(save(sae, tmp_path / "sae"))
    assert architecture(loaded) == name and loaded.hyper == sae.hyper and not loaded.training
    assert torch.equal(loaded(x), sae(x))
    half = load(save(sae, tmp_path / "sae", dtype=torch.float16))
    assert half.W_dec.dtype == torch.float32
    assert (half.W_dec - sae.W_dec).abs().max() < 1e-3
    assert [p.name for p in tmp_path.iterdir()] == ["sae"]


def edit_config(folder, **changes):
    path = folder / "sae.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda f: (f / "sae.json").unlink(), FileNotFoundError, "sae.json"),
        (lambda f: (f / "weights.safetensors").unlink(), FileNotFoundError, "weights.safetensors"),
        (lambda f: (f / "sae.json").write_text("{"), ValueError, "sae.json is not JSON"),
        (lambda f: (f / "sae.json").write_text("[]"), ValueError, "sae.json holds a list"),
        (lambda f: edit_config(f, architecture="gatd"), ValueError, "sae.json.*gatd"),
        (lambda f: edit_config(f, hyper={"k": 3}), ValueError, "sae.json.*'k'"),
        (lambda f: edit_config(f, architecture="standard"), ValueError, "not those of a standard"),
        (lambda f: edit_config(f, d_sae=31), ValueError, "W_dec"),
        (lambda f: truncate(f / "weights.safetensors"), OSError, "weights.safetensors is corrupt or truncated"),
    ],
)
def test_damaged_files_are_named(damage, error, message, tmp_path):
    folder = save(shaken("gated"), tmp_path / "sae")
    damage(folder)
    with pytest.raises(error, match=message):
        load(folder)
