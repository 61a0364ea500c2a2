"""Dictionaries for every layer, on a model of two: killed, shared among processes, and the same in the end."""

import multiprocessing
import os
import time

import pytest
import torch
from filelock import FileLock
from samples import seeded
from transformers import LlamaConfig, LlamaForCausalLM

from helpers.sae import load
from recipes import every_layer
from recipes.sharing import one_unit

LAYERS, D = 2, 16


@pytest.fixture
def world(tmp_path, monkeypatch):
    """The recipe over 80 rows of 24 tokens."""
    monkeypatch.setenv("OPEN_THREADS_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=60, hidden_size=D, intermediate_size=24, num_hidden_layers=LAYERS, num_attention_heads=4,
        num_key_value_heads=2, attn_implementation="sdpa",
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    tokens = torch.randint(0, 60, (80, 24), generator=seeded(2))
    for name, value in {"load_tokens": lambda split: tokens, "ROWS": 32, "K": 5, "BATCH": 64}.items():
        monkeypatch.setattr(every_layer, name, value)
    monkeypatch.setattr(every_layer, "model", lambda shuffled=False: model)
    return model, tokens


def weights(where):
    every_layer_sites = [site for layer in range(LAYERS) for site in every_layer.sites(layer)]
    return {site: load(where / site).state_dict() for site in every_layer_sites}


def run():
    torch.set_num_threads(1)
    every_layer.main(["--layers", str(LAYERS)])


def test_a_layer_is_what_the_model_makes_of_it(world):
    model, tokens = world
    x = model.model.embed_tokens(tokens)
    seen = model.model(tokens, output_hidden_states=True).hidden_states
    made = every_layer.one_layer(model, 0, x)
    torch.testing.assert_close(made["next"], seen[1])
    torch.testing.assert_close(x + made["hook_attn_out"] + made["hook_mlp_out"], seen[1])


def test_two_processes_killed_and_begun_again_end_where_one_does(world, tmp_path, monkeypatch):
    run()
    alone = weights(every_layer.folder() / "dictionaries")
    assert not list((every_layer.folder() / "activations").rglob("*.npy")), "activations are left that nothing needs"
    monkeypatch.setenv("OPEN_THREADS_CACHE", str(tmp_path / "shared"))
    fork = multiprocessing.get_context("fork")
    first = fork.Process(target=run)
    first.start()
    end = time.monotonic() + 60
    while not every_layer.risen(0).exists() and time.monotonic() < end:
        time.sleep(0.01)
    first.kill()
    first.join()
    both = [fork.Process(target=run) for _ in range(2)]
    [one.start() for one in both]
    [one.join(120) for one in both]
    assert [one.exitcode for one in both] == [0, 0]
    together = weights(every_layer.folder() / "dictionaries")
    for site, state in alone.items():
        for name, value in state.items():
            assert torch.equal(value, together[site][name]), (site, name)


def test_what_another_process_does_is_left_to_it(world):
    locks = every_layer.folder() / "locks"
    locks.mkdir(parents=True)
    with FileLock(str(locks / f"{every_layer.risen(0).name}.lock")):
        assert not one_unit(
            every_layer.to_do(LAYERS), locks
        )  # nothing else can be done before the first layer is there
    assert one_unit(every_layer.to_do(LAYERS), locks) and every_layer.risen(0).exists()
    assert os.listdir(every_layer.folder() / "activations")
    layers = [work.args[0] for done, work in every_layer.to_do(LAYERS)]
    assert layers == [*every_layer.sites(0), 1]


def test_it_stops_when_the_time_is_up(world):
    every_layer.main(["--layers", str(LAYERS), "--until", "0"])
    assert not every_layer.risen(0).exists()
