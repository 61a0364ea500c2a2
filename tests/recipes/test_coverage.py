"""Replacing sites, and what predicts without the model, against other ways to compute the same."""

import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from helpers.lm import load_lm, model_folder
from helpers.runs import artifact
from helpers.sae import build, fvu, l0, save
from recipes import again, compare, coverage, coverage_tables, every_layer, replacing
from recipes.every_layer import KINDS
from recipes.grams import Grams, KneserNey
from recipes.replacing import Chunk, Run
from recipes.routes import both, by_hooks

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
    for module in (replacing, coverage, coverage_tables):
        monkeypatch.setattr(module, "place", lambda site: tmp_path / site)
    for module in (replacing, coverage):
        monkeypatch.setattr(module, "model", lambda: small)
    replacing.parts.cache_clear()
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
    replacing.parts.cache_clear()


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
                out[:, 1:] = replacing.replacement(chunk.parts(i, kind), run.arm, given[:, 1:].flatten(0, 1)).view(
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


@pytest.mark.parametrize("arm", replacing.ARMS)
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
    got = replacing.nearest_in_span(x, rows, k=4)
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
    names = [run.name for run in replacing.runs(30)]
    assert len(set(names)) == len(names) > 300
    assert sum("/forced" in name for name in names) == 3 * len(replacing.DEPTHS)


def test_kneser_ney_is_what_the_counts_say():
    tokens = (torch.rand(30, 12, generator=torch.Generator().manual_seed(5)) ** 4 * 15).long()
    grams, rows = KneserNey(tokens, 16), tokens.tolist()  # the last two tokens are never seen
    triples = Counter(tuple(row[i : i + 3]) for row in rows for i in range(10))
    pairs = Counter((v, w) for _, v, w in triples)
    before = Counter(w for _, w in pairs)

    def discount(counts):
        ones, twos = (sum(c == n for c in counts.values()) for n in (1, 2))
        return ones / (ones + 2 * twos) if ones else 0.5

    def smoothed(counts, history, lower):
        mine = {key[-1]: c for key, c in counts.items() if key[:-1] == history}
        d, total = discount(counts), sum(mine.values())
        return lower if not mine else np.array(
            [(max(mine.get(w, 0) - d, 0) + d * len(mine) * lower[w]) / total for w in range(16)]
        )  # fmt: skip

    one = smoothed({(w,): c for w, c in before.items()}, (), np.full(16, 1 / 16))
    test = torch.tensor([[0, 1, 2, 15], [2, 2, 9, 0]])
    got = grams.log_p(test).exp()
    for s, row in enumerate(test.tolist()):
        for i in range(3):
            want = smoothed(pairs, (row[i],), one)
            want = smoothed(triples, tuple(row[i - 1 : i + 1]), want) if i else want
            np.testing.assert_allclose(got[s, i], want, rtol=1e-5)
    torch.testing.assert_close(got.sum(-1), torch.ones(2, 3))
    assert (got > 0).all()


def test_a_memory_helps_where_sequences_repeat_themselves():
    generator = torch.Generator().manual_seed(6)
    few = torch.stack([torch.randperm(40, generator=generator)[:5] for _ in range(60)])
    tokens = few.gather(1, torch.randint(0, 5, (60, 30), generator=generator))  # five tokens a sequence, in any order
    plain, memory = KneserNey(tokens[:50], 40), KneserNey(tokens[:50], 40, held=tokens[50:])
    apart = KneserNey(torch.randint(0, 40, (50, 30), generator=generator), 40,
                      held=torch.randint(0, 40, (20, 30), generator=generator))  # fmt: skip
    assert memory.memory > 0.4 > 0.2 > apart.memory
    two = torch.tensor([[7, 7, 3, 7]])
    want = (1 - memory.memory) * plain.p(two)
    want[0, 0, 7] += memory.memory
    want[0, 1, 7] += memory.memory
    want[0, 2, [7, 3]] += memory.memory * np.array([2 / 3, 1 / 3])
    np.testing.assert_allclose(memory.p(two), want)


def test_rows_are_means_with_what_is_kept_beyond_the_baseline():
    generator = torch.Generator().manual_seed(0)
    clean = torch.stack([torch.rand(6, generator=generator) + 2, torch.zeros(6), torch.ones(6)]).double()
    shift = lambda nats, kl, agree: clean + torch.tensor([[nats], [kl], [agree]])  # noqa: E731
    name = Run(KINDS[1:], 0, 0).name
    figures = {"clean": clean, "bigram": shift(2.0, 1, -0.8), "memory": shift(1.0, 1, -0.5),
               name: shift(0.5, 0.2, -0.25), f"{name}/forced": shift(0.25, 0.1, -0.1)}  # fmt: skip
    figures |= {Run((kind,), 0, 0).name: shift(nats, 0, 0) for kind, nats in zip(KINDS[1:], (0.1, 0.6), strict=True)}
    table = pd.DataFrame(coverage_tables.rows("eval", figures, 1)).set_index("run")
    row = table.loc[name]
    for column, want in {
        "nats": 0.5, "kl": 0.2, "agreement": 0.75, "kept": 0.75, "kept_memory": 0.5, "chosen": 0.6875,
        "chosen_memory": 0.5, "times": 2.0,
    }.items():  # fmt: skip
        assert [row[column], row[f"{column}_low"], row[f"{column}_high"]] == pytest.approx([want] * 3), column
    assert table.kept["bigram"] == pytest.approx(0) and table.kept["clean"] == pytest.approx(1)
    (added,) = coverage_tables.sums("eval", figures, 1)
    assert added["nats"] == pytest.approx(0.7) and added["set"] == "attention + MLP" and added["arm"] == "sum"


def test_intervals_draw_sequences_and_not_places():
    values = torch.tensor([0.0, 0.0, 1.0, 1.0])
    row = coverage_tables.with_interval("x", lambda a, b: a / b, values, torch.ones(4))
    assert row["x"] == 0.5 and row["x_low"] == 0 and row["x_high"] == 1


def test_quality_is_what_the_metrics_say(world):
    site = world.parts(1, KINDS[1])
    x = world.clean[1, KINDS[1]][:, 1:].flatten(0, 1)
    site["mean"] = x.mean(0)  # the shares are then of the variance about the same mean
    active, error, spread, places = world.quality(1, KINDS[1]).sum(1).tolist()
    assert places == 16
    assert active / places == pytest.approx(l0(site["sae"].encode(x)))
    assert error / spread == pytest.approx(fvu(x, site["sae"](x)), rel=1e-5)


@pytest.mark.parametrize("forced", [False, True])
def test_hooks_on_the_whole_model_find_the_same(world, small, tmp_path, forced):
    small.save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(model_folder("smollm2-135m")).save_pretrained(tmp_path / "model")
    lm, where = load_lm(tmp_path / "model", device="cpu"), lambda site: tmp_path / site
    tried = [Run(kinds, 0, 2, forced=forced) for kinds in replacing.SETS.values()]
    table = both(lm, world.tokens, tried, where)
    assert np.ptp(table.layers) > 0.01
    np.testing.assert_allclose(table.hooks, table.layers, atol=1e-4)
    norms = world.clean[1, KINDS[2]].norm(dim=-1)[:, 1:]
    world.parts(1, KINDS[2])["cutoff"] = float(norms.median())  # half of the places are now left as they are
    run = Run(KINDS[2:], 1, 1, forced=forced)
    want = world.figures(world.replaced(run))[0]
    torch.testing.assert_close(by_hooks(lm, world.tokens, run, where), want, atol=1e-4, rtol=0)


@pytest.fixture
def recipe(world, small, tmp_path, monkeypatch):
    """The whole recipe on a small scale."""
    monkeypatch.setenv("OPEN_THREADS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OPEN_THREADS_ARTIFACTS", str(tmp_path / "artifacts"))
    generator = torch.Generator().manual_seed(4)
    texts = {split: torch.randint(0, V, (40, 9), generator=generator) for split in ("eval", "human", "train")}
    for module in (again, coverage):
        monkeypatch.setattr(module, "load_tokens", texts.get)
        monkeypatch.setattr(module, "SEQUENCES", {"eval": 8, "human": 4})
    monkeypatch.setattr(coverage, "finished", lambda layer: layer < 3)
    monkeypatch.setattr(coverage, "NULLS", 4)
    monkeypatch.setattr(coverage, "HELD", 4)
    monkeypatch.setattr(replacing, "DEPTHS", (1, 3))
    monkeypatch.setattr(replacing, "K", 5)
    monkeypatch.setattr(coverage, "SEEDS", (0, 2, 3))
    monkeypatch.setattr(every_layer, "model", lambda: small)
    monkeypatch.setattr(every_layer, "BATCH", 16), monkeypatch.setattr(every_layer, "K", 3)
    monkeypatch.setattr(coverage, "load_lm", lambda name: None)
    monkeypatch.setattr(
        coverage, "both", lambda lm, tokens, tried, where: pd.DataFrame({"run": [r.name for r in tried]})
    )
    coverage.grams.cache_clear()
    for path in tmp_path.glob("*.json"):
        path.write_text(json.dumps({"cutoff": 1e9, "dead": 0.25, "tokens": 96}))
    yield tmp_path
    coverage.grams.cache_clear()


def test_the_recipe_ends_in_its_tables(recipe):
    coverage.main(["--until", "0"])
    assert not (recipe / "artifacts").exists()
    coverage.main([])
    table, sites = pd.read_csv(artifact("coverage.csv")), pd.read_csv(artifact("every_layer.csv"))
    assert len(sites) == 2 * 9 and (sites.l0 <= 3).all() and (sites.dead == 0.25).all()
    tried = table[table.text == "eval"].set_index("run").sequences
    assert tried["hook_resid_pre/0-0/dictionary"] == 8 and tried["hook_resid_pre/0-0/zero"] == 4
    human = table[table.text == "human"]
    assert set(human.arm.dropna()) == {"dictionary", "sum"}
    assert {"clean", "bigram", "trigram", "kneser-ney", "memory"} <= set(human.run)
    assert (table.nats_low <= table.nats).all() and (table.nats <= table.nats_high).all()
    assert (table.arm == "sum").sum() == 2 * 3 * 2 and table.times.notna().sum() == 2 * 3 * 2
    figures = load_file(artifact("coverage_sequences.safetensors"))
    one = table[(table.text == "eval") & (table.run == "bigram")].iloc[0]
    assert one.ce == pytest.approx(figures["eval/bigram"][0].mean().item(), abs=1e-4)
    assert len(pd.read_csv(artifact("coverage_routes.csv"))) == 6
    seeds = pd.read_csv(artifact("coverage_seeds.csv"))
    assert len(seeds) == 9 and seeds.nats.nunique() == 9


def test_the_small_version_trains_three_sites_anew_and_is_held_against_the_seeds(recipe, capsys, monkeypatch):
    coverage.main(["--reduced"])
    table = pd.read_csv(artifact("reduced/coverage_seeds.csv"))
    assert table.site.tolist() == [f"blocks.0.{kind}" for kind in KINDS] and set(table.seed) == {1}
    assert sorted(path.stem for path in (recipe / "cache/coverage-again-1/1").glob("*.json")) == [
        f"blocks.0.{kind}" for kind in sorted(KINDS)
    ]
    spread = np.array([-0.02, -0.01, 0.0, 0.01, 0.02])
    shipped = pd.concat([table.assign(seed=i, nats=table.nats + off) for i, off in enumerate(spread)])
    shipped.to_csv(recipe / "artifacts/coverage_seeds.csv", index=False)
    monkeypatch.setattr(compare, "table", lambda name: pd.read_csv(recipe / "artifacts" / name))
    assert compare.coverage()
    far = shipped.assign(nats=shipped.nats + 0.06 * (shipped.site == "blocks.0.hook_mlp_out"))
    far.to_csv(recipe / "artifacts/coverage_seeds.csv", index=False)  # three standard deviations of a new seed
    assert not compare.coverage()
