"""Training ends at the same weights whatever happens on the way, says what is wrong, and finds what is there."""

import multiprocessing
import random
import time
from functools import partial

import pytest
import torch
from safetensors import safe_open
from samples import inputs, seeded

from helpers.sae import SparseFeatures, build, feature_recovery, revive, shuffled, train

D_MODEL, D_SAE = 16, 512


def batch(step):
    return inputs(64, D_MODEL, torch.float32, step)


def until(last, step):
    """Batches that never come from some step on, so that whoever waits for the kill is still there."""
    time.sleep(0.002 if step < last else 600)
    return batch(step)


def new(name="batchtopk", **hyper):
    hyper = hyper or {"k": 8, "dead_after": 2000, "orthogonality": 0.1}  # chunk_max: samples from the run's generator
    return build(name, D_MODEL, D_SAE, generator=seeded(), **hyper)


OPTIONS = {"steps": 200, "lr": 1e-3, "revive_at": (110, 160), "checkpoint_every": 7, "progress": False}


def run(folder, batches=batch):
    """One whole training run, as a recipe would do it; also the body of the processes that get killed."""
    torch.set_num_threads(1)
    sae = new()
    log = train(sae, batches, checkpoint=folder / "run.safetensors", **OPTIONS)
    return sae, log


def done(path):
    try:
        with safe_open(path, "pt") as file:
            return int(file.metadata()["done"])
    except OSError:
        return 0


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_run_killed_three_times_ends_at_the_same_weights(tmp_path, one_thread):
    spawner = multiprocessing.get_context("forkserver")
    spawner.set_forkserver_preload(["helpers.sae.training"])
    moments = random.Random(time.time_ns())
    path, reached = tmp_path / "killed" / "run.safetensors", []
    for step in (40, 100, 160):
        child = spawner.Process(target=run, args=(tmp_path / "killed", partial(until, step + 30)))
        child.start()
        while child.is_alive() and done(path) < step:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.03))
        child.kill()
        child.join()
        reached.append((child.exitcode, done(path)))
    assert {code for code, _ in reached} == {-9}, reached
    assert 0 < reached[0][1] < reached[1][1] < reached[2][1] < OPTIONS["steps"]
    (killed, log), (whole, whole_log) = run(tmp_path / "killed"), run(tmp_path / "whole")
    for key, value in whole.state_dict().items():
        assert torch.equal(killed.state_dict()[key], value), f"{key} differs; killed at {reached}"
    assert log.equals(whole_log)


def test_a_finished_run_is_only_read_again(tmp_path, one_thread):
    sae, log = run(tmp_path)
    again, log_again = run(tmp_path, lambda step: pytest.fail("trained again"))
    assert torch.equal(sae.W_dec, again.W_dec) and log.equals(log_again)
    assert [p.name for p in tmp_path.iterdir()] == ["run.safetensors"]


@pytest.mark.parametrize(
    ("sae", "changes", "message"),
    [
        (lambda: new("gated", sparsity=1.0), {}, "architecture is 'batchtopk', this run's is 'gated'"),
        (lambda: new("batchtopk", k=9), {}, "hyper is .*'k': 8.*'k': 9"),
        (new, {"lr": 2e-3}, "lr is 0.001, this run's is 0.002"),
        (new, {"seed": 1}, "seed is 0, this run's is 1"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, sae, changes, message):
    path = tmp_path / "run.safetensors"
    options = OPTIONS | {"steps": 8, "checkpoint": path}
    train(new(), batch, **options)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=message):
        train(sae(), batch, **options | changes)
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", [lambda b: b[:-50], lambda b: b[:5], lambda b: b"", lambda b: b"\xff" * len(b)])
def test_a_damaged_checkpoint_is_named_and_left_alone(tmp_path, damage):
    path = tmp_path / "run.safetensors"
    options = OPTIONS | {"steps": 8, "checkpoint": path}
    train(new(), batch, **options)
    path.write_bytes(damage(path.read_bytes()))
    before = path.read_bytes()
    with pytest.raises(OSError, match="run.safetensors.*corrupt.*Delete it"):
        train(new(), batch, **options)
    assert path.read_bytes() == before


# Batches


def test_an_iterable_and_a_function_of_the_step_agree(tmp_path):
    weights = []
    for batches in (batch, [batch(step) for step in range(12)], (batch(step) for step in range(12))):
        sae = new()
        train(sae, batches, steps=12, lr=1e-3, progress=False)
        weights.append(sae.W_enc)
    assert torch.equal(weights[0], weights[1]) and torch.equal(weights[0], weights[2])


def test_a_resumed_run_skips_what_an_iterable_has_given(tmp_path):
    def stop_at_8(step):
        if step == 8:
            raise KeyboardInterrupt
        return batch(step)

    options = OPTIONS | {"steps": 12}
    with pytest.raises(KeyboardInterrupt):
        train(new(), stop_at_8, checkpoint=tmp_path / "run.safetensors", **options)
    sae, whole = new(), new()
    train(sae, (batch(step) for step in range(12)), checkpoint=tmp_path / "run.safetensors", **options)
    train(whole, batch, **options)
    assert torch.equal(sae.W_enc, whole.W_enc)


def test_batches_that_hang_on_a_graph_train_the_dictionary_alone():
    weight = torch.ones(8, requires_grad=True)
    one, other = (build("topk", 8, 16, generator=seeded(), k=2) for _ in range(2))
    x = torch.randn(32, 8, generator=seeded(1))
    train(one, lambda step: x * weight, steps=5, lr=1e-2, progress=False)
    train(other, lambda step: x, steps=5, lr=1e-2, progress=False)
    assert weight.grad is None and torch.equal(one.W_dec, other.W_dec)


def test_running_out_of_batches_is_said():
    with pytest.raises(ValueError, match="ran out after 3 of steps=5"):
        train(new(), [batch(0)] * 3, steps=5, lr=1e-3, progress=False)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.full((64, D_MODEL), torch.nan), "NaN"),
        (torch.zeros(64, 3), r"\(64, 3\)"),
        (torch.zeros(0, D_MODEL), "empty"),
    ],
)
def test_a_bad_batch_is_named_and_the_last_checkpoint_stays(tmp_path, x, message):
    path = tmp_path / "run.safetensors"
    with pytest.raises(ValueError, match=message):
        train(new(), [batch(0)] * 7 + [x], checkpoint=path, **OPTIONS | {"steps": 8})
    assert done(path) == 7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps=0"), ({"lr": -1e-3}, "lr=-0.001"), ({"warmup": 2}, "warmup=2"),
        ({"decay": -1}, "decay=-1"), ({"steps": 2.5}, "steps=2.5"), ({"lr": float("nan")}, "lr=nan"),
        ({"betas": (1.0, 0.9)}, "betas="),
        ({"betas": None}, "betas=None"), ({"seed": -1}, "seed=-1"), ({"seed": None}, "seed=None"),
        ({"log_every": 0}, "log_every=0"), ({"checkpoint_every": 0}, "checkpoint_every=0"),
        ({"revive_at": 3}, "revive_at=3; expected several"), ({"revive_at": (2.5,)}, "revive_at=2.5"),
        ({"sparsity_warmup": float("nan")}, "sparsity_warmup=nan"),
    ],
)  # fmt: skip
def test_bad_options_are_named_before_a_file_is_touched(tmp_path, changes, message):
    options = {"steps": 3, "lr": 1e-3, "checkpoint": tmp_path / "run.safetensors"} | changes
    with pytest.raises(ValueError, match=message):
        train(new(), batch, progress=False, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("batches", [None, 5, "abc"])
def test_what_gives_no_batches_is_named(batches):
    with pytest.raises(ValueError, match="batches=.*or a function of the step"):
        train(new(), batches, steps=3, lr=1e-3, progress=False)


def test_a_run_that_leaves_all_bounds_says_so_and_keeps_what_was_finite(tmp_path):
    path = tmp_path / "run.safetensors"
    options = OPTIONS | {"steps": 40, "lr": 1e30, "warmup": 0.9, "log_every": 1, "checkpoint": path}
    with pytest.raises(ValueError, match=r"not finite at step \d+ \(reconstruction .*smaller lr than 1e\+30"):
        train(new(), batch, **options)
    assert not path.exists() or done(path) < 40


# The buffer


def test_shuffled_gives_every_row_once_and_holds_few():
    capacity, size, pulled = 128, 16, 0

    def stream():
        nonlocal pulled
        for start in range(0, 1000, 40):
            pulled += 40
            yield torch.arange(start, start + 40.0)[:, None]

    rows, given = [], 0
    for x in shuffled(stream(), size, capacity, seeded()):
        assert x.shape == (size, 1)
        assert pulled - given <= capacity + 40
        given += size
        rows.append(x[:, 0].clone())
    rows = torch.cat(rows).long()
    assert len(rows) == 1000 // size * size == len(rows.unique())
    first = rows[:64]
    assert first.max() > 100 and (first.diff() != 1).float().mean() > 0.9
    again = torch.cat(list(shuffled(torch.arange(1000.0)[:, None].split(40), size, capacity, seeded())))[:, 0].long()
    assert torch.equal(again, rows)


def test_shuffled_holds_few_rows_of_one_huge_piece():
    sizes = []
    for x in shuffled([torch.zeros(10_000, 1)], 16, 128, seeded()):
        sizes.append(x.untyped_storage().nbytes() // 4)
    assert max(sizes) <= 2 * 128 and len(sizes) == 10_000 // 16


@pytest.mark.parametrize(("size", "capacity"), [(0, 10), (6, 10)])
def test_shuffled_refuses_a_buffer_too_small(size, capacity):
    with pytest.raises(ValueError, match=f"batch={size}"):
        next(shuffled([torch.zeros(5, 1)], size, capacity, seeded()))


# Revival


@pytest.mark.parametrize("name", ["standard", "gated", "jumprelu", "topk"])
def test_revival_changes_dead_features_only_and_forgets_their_moments(name):
    sae = build(name, D_MODEL, 64, generator=seeded())
    trainable = dict(sae.named_parameters())
    optimiser = torch.optim.Adam(trainable.values(), lr=1e-2)
    for step in range(3):
        sum(sae.losses(batch(step)).values()).backward()
        optimiser.step()
        sae.project()
    sae.silent_for.zero_()
    sae.silent_for[:5] = 1000
    before = {k: p.detach().clone() for k, p in trainable.items()}
    moments = {k: optimiser.state[p]["exp_avg_sq"].clone() for k, p in trainable.items()}
    assert revive(sae, batch(9), 1000, optimiser, trainable, seeded()) == 5
    assert not sae.silent_for.any()
    for key, parameter in trainable.items():
        by_feature = (lambda t, key=key: t.T if key == "W_enc" else t) if key != "b_dec" else None
        if by_feature is None:
            assert torch.equal(parameter, before[key])
            continue
        moment = by_feature(optimiser.state[parameter]["exp_avg_sq"])
        assert torch.equal(by_feature(parameter)[5:], by_feature(before[key])[5:]), key
        assert torch.equal(moment[5:], by_feature(moments[key])[5:]) and not moment[:5].any(), key
    assert (sae.W_dec[:5] != before["W_dec"][:5]).all()
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(64))
    norms = sae.W_enc.norm(dim=0)
    torch.testing.assert_close(norms[:5], 0.2 * norms[5:].mean().expand(5))
    assert revive(sae, batch(9), 1000, optimiser, trainable, seeded()) == 0


# What it finds


def test_training_lowers_the_loss_and_recovers_the_features():
    toy = SparseFeatures(48, 24, p=0.04, generator=seeded())
    sae = build("topk", 24, 96, generator=seeded(1), k=3)
    start = feature_recovery(sae.W_dec, toy.features)
    log = train(sae, lambda step: toy.sample(256, seeded(step))[0], steps=600, lr=5e-3, log_every=100, progress=False)
    assert log["reconstruction"].iloc[-1] < 0.2 * log["reconstruction"].iloc[0]
    assert start < 0.7 < 0.9 < feature_recovery(sae.W_dec, toy.features)
    assert list(log["step"]) == [0, 100, 200, 300, 400, 500, 599]
    assert not sae.training


def test_clipping_bounds_the_gradient_that_the_optimiser_sees():
    seen = {}
    for clip in (None, 1e-3):
        sae = new("standard", sparsity=0.1)
        norms = seen[clip] = []
        project = sae.project

        def watch(sae=sae, norms=norms, project=project):
            norms.append(torch.stack([p.grad.norm() for p in sae.parameters()]).norm().item())
            project()

        sae.project = watch
        train(sae, batch, steps=5, lr=1e-3, clip=clip, progress=False)
    assert min(seen[None]) > 1e-2 and max(seen[1e-3]) < 1.001e-3


def test_a_clip_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="clip=0"):
        train(new("standard", sparsity=0.1), batch, steps=5, lr=1e-3, clip=0)
