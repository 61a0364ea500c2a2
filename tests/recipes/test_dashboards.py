"""The data of the feature browser, all the way on a model of two layers."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from samples import seeded
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from helpers.dashboard import Collected, Names, Words, write_browser
from helpers.lm import activations, load_lm, model_folder
from helpers.runs import artifact, manifest
from helpers.sae import build, save
from recipes import dashboards, every_layer
from recipes.harvest import shuffle

SITES = ("blocks.0.hook_attn_out", "blocks.1.hook_resid_pre", "blocks.1.hook_mlp_out")
POOLED = SITES[:2]
D, M = 16, 64


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A tiny Llama with the embedded model's words, as a folder."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(model_folder("smollm2-135m"))
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=D, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, attn_implementation="sdpa",
    )  # fmt: skip
    place = tmp_path_factory.mktemp("llama")
    LlamaForCausalLM(config).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


@pytest.fixture
def world(small, tmp_path, monkeypatch):
    """The recipe over a few rows of few tokens, with random dictionaries in place of trained ones."""
    monkeypatch.setenv("OPEN_THREADS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OPEN_THREADS_ARTIFACTS", str(tmp_path / "artifacts"))
    texts = {split: torch.randint(0, 60, (60, 24), generator=seeded(i)) for i, split in enumerate(("eval", "human"))}
    texts["train"] = torch.randint(0, 60, (80, 24), generator=seeded(2))
    models = {False: LlamaForCausalLM.from_pretrained(small, attn_implementation="sdpa").eval()}
    models[True] = LlamaForCausalLM.from_pretrained(small, attn_implementation="sdpa").eval()
    shuffle(models[True].model.layers)
    lm = load_lm(small, device="cpu")
    monkeypatch.setattr(dashboards, "load_tokens", texts.get)
    monkeypatch.setattr(dashboards, "language_model", lambda: lm)
    monkeypatch.setattr(every_layer, "model", lambda shuffled=False: models[shuffled])
    for name, value in {
        "SITES": SITES,
        "TWINS": SITES,
        "POOLED": POOLED,
        "MEASURED": 5,
        "ROWS": 32,
        "SENTENCES": 2,
    }.items():
        monkeypatch.setattr(dashboards, name, value)
    monkeypatch.setattr(every_layer, "K", 5), monkeypatch.setattr(every_layer, "BATCH", 64)
    for i, site in enumerate(SITES):
        save(build("topk", D, M, generator=seeded(i), k=5), every_layer.place(site))
        every_layer.place(site).with_name(f"{site}.json").write_text(json.dumps({"cutoff": 1e9, "scale": 0.1}))
    caches = (dashboards.tokens, dashboards.words, dashboards.null)
    [one.cache_clear() for one in caches]
    yield lm, texts
    [one.cache_clear() for one in caches]


def test_a_climb_meets_what_the_model_has(world):
    lm, texts = world
    seen = dashboards.climb(every_layer.model(), texts["eval"][:4], SITES)
    for site in SITES:
        torch.testing.assert_close(seen[site].flatten(0, 1), torch.cat(list(activations(lm, texts["eval"][:4], site))))


def test_it_goes_on_where_it_was_and_ends_in_pages(world, tmp_path, monkeypatch):
    lm, texts = world
    dashboards.main(["--until", "0"])
    assert manifest() == {}
    gathered, real = [], dashboards.gather

    def killed(site, shuffled=False):
        if not dashboards.collected(site, shuffled).exists():
            gathered.append((site, shuffled))
            if len(gathered) == 3:
                raise KeyboardInterrupt
        real(site, shuffled)

    monkeypatch.setattr(dashboards, "gather", killed)
    with pytest.raises(KeyboardInterrupt):
        dashboards.main([])
    assert manifest() == {} and len(list((dashboards.folder() / "twins").glob("*.json"))) == len(SITES)
    assert not any((dashboards.folder() / "activations").iterdir()), "a twin's activations go once it is trained"
    dashboards.main([])
    first = [(SITES[0], True), (SITES[1], True), (SITES[0], False)]
    assert gathered == [*first, (SITES[0], False), (SITES[1], False)], "a layer's sites together, the killed one again"

    table = pd.read_csv(artifact("dashboards.csv"))
    assert table.site.tolist() == [*SITES, *SITES] and table.weights.tolist() == ["trained"] * 3 + ["shuffled"] * 3
    for share in ("nameable", "own"):
        assert (table[f"{share}_low"] <= table[share]).all() and (table[share] <= table[f"{share}_high"]).all()
    assert (table.scored > 0).all()
    assert (table.scored[3:] <= M // 2).all() and table.measured[:3].eq(5).all()
    made = manifest()["dashboards"]["made"]
    assert made["tokens"] == {"model": "tokens/eval.npy", "human": "tokens/human.npy"}
    sets = {name: texts[split].numpy() for name, split in dashboards.TOKENS.items()}
    found = Collected.load(artifact("dashboards"), sets)
    assert list(found.sites) == list(SITES) and {*np.unique(found[SITES[0]].similar.site)} >= {0, 1, 2}
    for site, mine in zip(SITES, table.own, strict=False):
        rank = found[site].scores[:, 1]
        assert (rank >= 0.95).sum() / np.isfinite(rank).sum() == pytest.approx(mine, abs=1e-3), "cards: their own null"
    assert found[SITES[1]].sample is None and found[SITES[1]].logits is not None
    words = Words.load(artifact("dashboards") / "words.xz")
    assert words.bytes == Words(lm.tokenizer).bytes
    assert (write_browser(tmp_path / "pages", found, words) / "data" / "2" / "0.js").exists()


def test_a_dictionary_that_is_not_there_is_asked_for_by_name(world):
    with pytest.raises(
        FileNotFoundError, match="dictionary of blocks.0.hook_attn_out .* run python -m recipes every_la"
    ):
        dashboards.gather("blocks.0.hook_attn_out", shuffled=True)


def test_half_of_a_twin_is_judged_by_the_other_half():
    rng = np.random.default_rng(0)

    def some(n, better=0.0):
        nothing = np.full(n, np.nan)
        return Names([""] * n, rng.normal(0.6 + better, 0.1, n), nothing, rng.uniform(0, 3, n), rng.lognormal(-5, 1, n))

    shares = []
    for _ in range(5):
        names = some(4000)
        percentile = dashboards.held_out(names, dashboards.every_other(names, 0))
        assert np.isnan(percentile[::2]).all() and np.isfinite(percentile[1::2]).all()
        shares.append((percentile[1::2] >= 0.95).mean())
    assert 0.04 < np.mean(shares) < 0.06, "5 in 100 by right; 10,000 judged"
    better = some(4000, better=0.2)
    assert (dashboards.held_out(better, some(4000))[1::2] >= 0.95).mean() > 0.3


def test_a_single_token_feature_has_nine_contexts_of_ten_at_one_token(world):
    sets = [np.arange(40).reshape(4, 10) % 7]
    site = type("Site", (), {"d_sae": 3})()
    row, position = np.full((1, 3, 12), -1), np.zeros((1, 3, 12), dtype=int)
    row[0, :2, :10] = 0
    position[0, 0, :10] = [0, 7, 0, 7, 0, 7, 0, 7, 0, 1]  # token 0 nine times
    position[0, 1, :10] = [0, 7, 0, 7, 0, 7, 0, 7, 2, 1]
    site.sample = type("Sample", (), {"row": row, "position": position})()
    assert dashboards.of_one_token(site, sets).tolist() == [True, False, False]
