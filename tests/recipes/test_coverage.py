"""Replacing sites, and what predicts without the model, against other ways to compute the same."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from helpers.runs import artifact
from helpers.sae import build, fvu, l0, save
from recipes import again, coverage, every_layer
from recipes.coverage import Chunk, Run
from recipes.every_layer import KINDS
from recipes.grams import Grams

D, V = 16, 50


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=V, hidden_size=D, intermediate_size=24, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, attn_implementation="sdpa",
    )  # fmt: skip
    return LlamaForCausalLM(config).eval().requires_grad_(False)


@pytest.fixture
def world(small, tmp_path, monkeypatch):
    """Three layers with random dictionaries that keep nearly nothing, and a cutoff that nothing reaches."""
    monkeypatch.setattr(coverage, "model", lambda: small)
    monkeypatch.setattr(coverage, "place", lambda site: tmp_path / site)
    coverage.parts.cache_clear()
    for i in range(3):
        for n, kind in enumerate(KINDS):
            site, generator = f"blocks.{i}.{kind}", torch.Generator().manual_seed(3 * i + n)
            save(build("topk", D, 64, generator=generator, k=3), tmp_path / site)
            (tmp_path / f"{site}.json").write_text(json.dumps({"cutoff": 1e9}))
            plane = torch.linalg.qr(torch.randn(D, 4, generator=generator)).Q.T.contiguous()
            mean = torch.randn(D, generator=generator)
            save_file({"mean": mean, "directions": plane}, tmp_path / f"{site}.plane.safetensors")
    tokens = torch.randint(0, V, (2, 9), generator=torch.Generator().manual_seed(1))
    yield Chunk(tokens, lambda site: tmp_path / site)
    coverage.parts.cache_clear()


def hooked(small, chunk, run, clean=None):
    """The same replacement by hooks on the model's own forward pass."""
    handles = []
    for i, block in enumerate(small.model.layers):
        for kind in run.kinds:
            if not run.first <= i <= run.last:
                continue

            def swap(x, i=i, kind=kind):
                out = x.clone()
                given = clean[i, kind] if run.forced else x
                out[:, 1:] = coverage.replacement(chunk.parts(i, kind), run.arm, given[:, 1:].flatten(0, 1)).view(
                    2, -1, D
                )
                return out

            if kind == KINDS[0]:
                handles.append(
                    block.register_forward_pre_hook(
                        lambda _, args, kwargs, swap=swap: ((swap(args[0]), *args[1:]), kwargs), with_kwargs=True
                    )
                )
            elif kind == KINDS[1]:
                handles.append(
                    block.self_attn.register_forward_hook(lambda _, __, out, swap=swap: (swap(out[0]), *out[1:]))
                )
            else:
                handles.append(block.mlp.register_forward_hook(lambda _, __, out, swap=swap: swap(out)))
    out = small(chunk.tokens).logits[:, :-1].log_softmax(-1)
    for handle in handles:
        handle.remove()
    return out


def test_untouched_is_the_models_own_run(world, small):
    torch.testing.assert_close(world.logits, small(world.tokens).logits[:, :-1].log_softmax(-1))
    figures = world.figures(world.logits)
    assert figures[1].abs().max() < 1e-6 and (figures[2] == 1).all()


@pytest.mark.parametrize("arm", coverage.ARMS)
@pytest.mark.parametrize("kinds", [*((kind,) for kind in KINDS), KINDS[1:], KINDS])
def test_a_replacement_is_what_hooks_make_of_it(world, small, arm, kinds):
    for run in (Run(kinds, 1, 1, arm), Run(kinds, 0, 2, arm)):
        torch.testing.assert_close(world.replaced(run), hooked(small, world, run), rtol=1e-4, atol=1e-5)


def test_forced_takes_the_untouched_activations(world, small):
    forced, online = (Run(KINDS[1:], 0, 2, forced=f) for f in (True, False))
    want = hooked(small, world, forced, world.clean)
    torch.testing.assert_close(world.replaced(forced), want, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(want, world.replaced(online), atol=1e-3)


def test_outliers_by_the_untouched_run_stay(world):
    site = world.parts(1, KINDS[2])
    norms = world.clean[1, KINDS[2]].norm(dim=-1)
    site["cutoff"] = float(norms[:, 1:].max()) * 0.999
    assert int(world.kept(1, KINDS[2]).sum()) == 3  # two first positions, and the largest


def test_span_is_least_squares():
    generator = torch.Generator().manual_seed(0)
    x, rows = torch.randn(5, D, generator=generator), torch.randn(40, D, generator=generator)
    rows = rows / rows.norm(dim=1, keepdim=True)
    got = coverage.nearest_in_span(x, rows, k=4)
    for i in range(5):
        chosen = rows[(rows @ x[i]).abs().topk(4).indices]
        want = chosen.T @ np.linalg.lstsq(chosen.T.numpy(), x[i].numpy(), rcond=None)[0]
        torch.testing.assert_close(got[i], want, rtol=1e-4, atol=1e-4)


def test_grams_are_witten_bell():
    tokens = torch.randint(0, 6, (20, 12), generator=torch.Generator().manual_seed(2))
    grams, rows = Grams(tokens, 6), tokens.tolist()
    p1 = (np.bincount(tokens.flatten(), minlength=6) + 1) / (240 + 6)

    def behind(history, lower):
        n = len(history)
        came = [row[i + n] for row in rows for i in range(12 - n) if tuple(row[i : i + n]) == history]
        count = np.bincount(came, minlength=6)
        kinds = (count > 0).sum()
        return (count + kinds * lower) / (count.sum() + kinds) if came else lower

    test = torch.tensor([[0, 1, 2, 3], [5, 5, 5, 0]])
    two, three = (grams.log_p(test, order).exp() for order in (1, 2))
    for s, row in enumerate(test.tolist()):
        for i in range(3):
            p2 = behind((row[i],), p1)
            np.testing.assert_allclose(two[s, i], p2, rtol=1e-5)
            np.testing.assert_allclose(three[s, i], behind(tuple(row[i - 1 : i + 1]), p2) if i else p2, rtol=1e-5)
    torch.testing.assert_close(three.sum(-1), torch.ones(2, 3))


def test_runs_are_named_apart():
    names = [run.name for run in coverage.runs(30)]
    assert len(set(names)) == len(names) > 300
    assert sum("/forced" in name for name in names) == 3 * len(coverage.DEPTHS)


def test_rows_pair_with_the_untouched_run():
    clean = torch.tensor([[1.0, 2.0], [0, 0], [1, 1]]).double()
    worse = clean + torch.tensor([[0.5], [0.2], [-0.25]])
    table = list(coverage.rows("eval", {"clean": clean, "attention": worse}, 1))
    assert table[1]["nats"] == pytest.approx(0.5) and table[1]["nats_low"] == pytest.approx(0.5)
    assert table[1]["kl"] == pytest.approx(0.2) and table[1]["agreement"] == pytest.approx(0.75)


def test_quality_is_what_the_metrics_say(world):
    site = world.parts(1, KINDS[1])
    x = world.clean[1, KINDS[1]][:, 1:].flatten(0, 1)
    site["mean"] = x.mean(0)  # the shares are then of the variance about the same mean
    active, error, spread, places = world.quality(1, KINDS[1]).sum(1).tolist()
    assert places == 16
    assert active / places == pytest.approx(l0(site["sae"].encode(x)))
    assert error / spread == pytest.approx(fvu(x, site["sae"](x)), rel=1e-5)


def test_the_recipe_ends_in_three_tables(world, small, tmp_path, monkeypatch):
    monkeypatch.setenv("OPEN_THREADS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OPEN_THREADS_ARTIFACTS", str(tmp_path / "artifacts"))
    texts = {split: torch.randint(0, V, (40, 9)) for split in ("eval", "human", "train")}
    for name, value in {
        "load_tokens": texts.get, "finished": lambda layer: layer < 3, "SEQUENCES": {"eval": 8, "human": 4},
        "NULLS": 4, "DEPTHS": (1, 3), "K": 5,
    }.items():  # fmt: skip
        monkeypatch.setattr(coverage, name, value)
    coverage.grams.cache_clear()
    for path in tmp_path.glob("*.json"):
        path.write_text(json.dumps({"cutoff": 1e9, "dead": 0.25, "tokens": 96}))
    coverage.main(["--until", "0"])
    assert not (tmp_path / "artifacts").exists()
    coverage.main([])
    table, sites = pd.read_csv(artifact("coverage.csv")), pd.read_csv(artifact("every_layer.csv"))
    assert len(sites) == 2 * 9 and (sites.l0 <= 3).all() and (sites.dead == 0.25).all()
    tried = table[table.text == "eval"].set_index("run").sequences
    assert tried["hook_resid_pre/0-0/dictionary"] == 8 and tried["hook_resid_pre/0-0/zero"] == 4
    human = table[table.text == "human"]
    assert set(human.arm.dropna()) == {"dictionary"} and {"clean", "bigram", "trigram"} <= set(human.run)
    assert (table.nats_low <= table.nats).all() and (table.nats <= table.nats_high).all()
    figures = load_file(artifact("coverage_sequences.safetensors"))
    one = table[(table.text == "eval") & (table.run == "bigram")].iloc[0]
    assert one.ce == pytest.approx(figures["eval/bigram"][0].mean().item(), abs=1e-4)
    coverage.grams.cache_clear()


def test_the_small_version_trains_three_sites_anew(small, tmp_path, monkeypatch):
    monkeypatch.setenv("OPEN_THREADS_CACHE", str(tmp_path))
    texts = {
        split: torch.randint(0, V, (16, 9), generator=torch.Generator().manual_seed(4)) for split in ("eval", "train")
    }
    for module in (again, coverage):
        monkeypatch.setattr(module, "load_tokens", texts.get)
        monkeypatch.setattr(module, "SEQUENCES", {"eval": 4})
    monkeypatch.setattr(coverage, "model", lambda: small)
    monkeypatch.setattr(every_layer, "model", lambda: small)
    for name, value in {"BATCH": 16, "K": 3}.items():
        monkeypatch.setattr(every_layer, name, value)
    table = again.again()
    assert table.run.tolist() == [f"{kind}/0-0/dictionary" for kind in KINDS] + ["clean"]
    assert (table.nats[:3] != 0).all() and table.nats[3] == 0
    assert sorted(path.name for path in (tmp_path / "coverage-again-1").glob("*.json")) == [
        f"blocks.0.{kind}.json" for kind in sorted(KINDS)
    ]
