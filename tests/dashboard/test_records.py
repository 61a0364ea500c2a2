"""What the pages say of three features is what a plain computation says, from the model's own activations on."""

import base64
import gzip
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from samples import seeded
from transformers import AutoModelForCausalLM

from helpers.dashboard import Words, collect, write_browser
from helpers.sae import build

HOOK, OTHER = "blocks.1.hook_resid_pre", "blocks.0.hook_mlp_out"
N, CTX, TOP, BEFORE, AFTER = 30, 20, 5, 10, 3
CLOSE = {"rel": 6e-3}  # cards have three digits


def rounded(x: np.ndarray) -> np.ndarray:
    """To 11 significant bits, as everything is that gets compared."""
    part, power = np.frexp(x.astype(np.float64))
    return np.ldexp(np.floor(part * 2**11 + 0.5) / 2**11, power)


@pytest.fixture(scope="module")
def sets():
    return {name: torch.randint(1000, 1050, (N, CTX), generator=seeded(i)) for i, name in enumerate(("model", "human"))}


@pytest.fixture(scope="module")
def plain(model_place, saelens, sets):
    """Transformers' activations, and codes ``(2, N, CTX, d_sae)`` by the equations; decoders; the unembedding."""
    model = AutoModelForCausalLM.from_pretrained(model_place)
    mine, theirs = load_file(saelens / "sae_weights.safetensors"), dictionary()
    kept = []
    model.transformer.h[0].mlp.register_forward_hook(lambda module, given, out: kept.append(out))
    codes = {HOOK: [], OTHER: []}
    with torch.no_grad():
        for tokens in sets.values():
            x = model(tokens, output_hidden_states=True).hidden_states[1]
            own = (kept.pop() - theirs.b_dec) @ theirs.W_enc + theirs.b_enc
            for hook, pre, k in ((HOOK, x @ mine["W_enc"] + mine["b_enc"], 6), (OTHER, own, 5)):
                best = pre.topk(k, dim=-1)
                dense = torch.zeros_like(pre).scatter(-1, best.indices, best.values.relu())
                dense[:, 0] = 0  # the first place is left out
                codes[hook].append(rounded(dense.numpy()))
    codes = {hook: np.stack(both) for hook, both in codes.items()}
    decoders = {HOOK: mine["W_dec"].numpy(), OTHER: theirs.W_dec.detach().numpy()}
    return codes, decoders, model


def dictionary():
    return build("topk", 32, 80, generator=seeded(8), k=5)


@pytest.fixture(scope="module")
def found(lm, saelens, sets):
    return collect(lm, sets, {HOOK: saelens, OTHER: dictionary()}, top=TOP, batch_size=7)


@pytest.fixture(scope="module")
def cards(found, lm, tmp_path_factory):
    folder = write_browser(tmp_path_factory.mktemp("records") / "pages", found, lm.tokenizer)
    shards = sorted((folder / "data" / "0").glob("[0-9]*.js"), key=lambda path: int(path.stem))
    packed = [path.read_text().split('"')[3] for path in shards]
    return [card for text in packed for card in json.loads(gzip.decompress(base64.b64decode(text)))]


@pytest.fixture(scope="module", params=["commonest", "middling", "rarest"])
def feature(request, plain):
    """Three features: the one that fires most, one in the middle, and the rarest with something in common."""
    counts = (plain[0][HOOK] > 0).sum((0, 1, 2))
    order = [f for f in np.argsort(-counts, kind="stable") if counts[f] >= 12]
    return int(order[{"commonest": 0, "middling": len(order) // 2, "rarest": -1}[request.param]])


def test_counts_densities_and_histograms(cards, plain, feature, found):
    edges = [2.0 ** (-20 + i // 4) * (1 + i % 4 / 4) for i in range(129)]
    for s, part in enumerate(cards[feature]["sets"]):
        c = plain[0][HOOK][s, :, :, feature]
        assert part["count"] == (c > 0).sum()
        share, low, high = part["density"]
        assert share == pytest.approx((c > 0).sum() / (N * (CTX - 1)), **CLOSE) and low < share < high
        counts = np.histogram(c[c > 0], edges)[0]
        first, *shown = part["bins"]
        assert shown == counts[first : first + len(shown)].tolist() and sum(shown) == part["count"]
    assert cards[feature]["largest"] == pytest.approx(plain[0][HOOK][..., feature].max(), **CLOSE)


def test_the_strongest_contexts(cards, plain, feature, sets, lm):
    words = Words(lm.tokenizer)
    for s, (tokens, part) in enumerate(zip(sets.values(), cards[feature]["sets"], strict=True)):
        c = plain[0][HOOK][s, :, :, feature]
        best = []  # the best place of each sequence, no text twice
        for row in np.argsort(-c.max(1), kind="stable"):
            at, value = int(c[row].argmax()), c[row].max()
            text = tokens[row, max(0, at - BEFORE) : at + 1].tolist()
            if value > 0 and text not in [t for _, t, *_ in best]:
                best.append((value, text, int(row), at))
        assert [line[0] for line in part["top"]] == pytest.approx([b[0] for b in best[:TOP]], **CLOSE)
        for (_, place, texts, heat), (_, _, row, at) in zip(part["top"], best, strict=False):
            low, high = max(0, at - BEFORE), min(CTX, at + AFTER + 1)
            assert texts.split("\n") == words.shown(tokens[row, low:high].tolist()) and place == at - low
            shades = np.frombuffer(bytes.fromhex(heat), np.uint8).astype(float)
            true = 255 * c[row, low:high] / plain[0][HOOK][..., feature].max()
            assert np.abs(shades - true).max() <= 1 and ((shades > 0) == (true > 0)).all()


def test_the_quantile_groups(cards, plain, feature, found):
    sample = found[HOOK].sample
    for s, part in enumerate(cards[feature]["sets"]):
        c = plain[0][HOOK][s, :, :, feature]
        there = sample.row[s, feature] >= 0
        rows, values = sample.row[s, feature][there], c[sample.row[s, feature], sample.position[s, feature]][there]
        assert len(rows) == len(set(rows)) == (c.max(1) > 0).sum(), "one place of each sequence that has one"
        assert (values > 0).all()
        quarters = [q for q in np.array_split(np.sort(values)[::-1], 4) if len(q)]
        assert len(quarters) == len(part["quarters"])
        for quarter, context in zip(quarters, part["quarters"], strict=True):
            assert quarter.min() * (1 - 1e-2) <= context[0] <= quarter.max() * (1 + 1e-2)
        assert len(part["random"]) == min(2, max(0, len(values) - len(quarters)))


def test_the_logits_it_raises_and_lowers(cards, plain, feature, lm):
    _, decoders, model = plain
    row = torch.from_numpy(decoders[HOOK][feature])
    with torch.no_grad():
        logits = model.lm_head(model.transformer.ln_f.weight * (row - row.mean()))
    logits, words = (logits - logits.mean()).numpy(), Words(lm.tokenizer)
    for key, order in (("up", np.argsort(-logits)), ("down", np.argsort(logits))):
        texts, values = zip(*cards[feature][key], strict=True)
        assert values == pytest.approx(logits[order[:10]], abs=0.006)
        assert texts[0] == words.shown([int(order[0])])[0]


def test_the_neighbours_by_direction_and_by_firing(cards, plain, feature):
    codes, decoders, _ = plain
    on = np.concatenate([(c > 0).reshape(2 * N * CTX, -1) for c in codes.values()], axis=1)
    rows = np.concatenate([w / np.linalg.norm(w, axis=1, keepdims=True) for w in decoders.values()])
    start = [0, codes[HOOK].shape[-1]]
    both = (on & on[:, [feature]]).sum(0)
    jaccard = np.where(both >= 3, both / np.maximum((on | on[:, [feature]]).sum(0), 1), 0)
    cosine = np.where(on.any(0), rows @ rows[feature], -2)
    jaccard[feature], cosine[feature] = 0, -2
    for key, measure in (("similar", cosine), ("together", jaccard)):
        links = cards[feature][key]
        expected = np.sort(measure)[::-1][: len(links)]
        assert [v for *_, v in links] == pytest.approx(expected, **CLOSE)
        assert [measure[start[s] + f] for s, f, _ in links] == pytest.approx(expected, **CLOSE)
        assert (
            len({(s, f) for s, f, _ in links})
            == len(links)
            == min(6, (measure > (0 if key == "together" else -2)).sum())
        )


def test_neither_the_batch_nor_the_other_dictionaries_change_a_feature(lm, saelens, sets, found):
    for hooks, size in (({HOOK: saelens, OTHER: dictionary()}, 1), ({HOOK: saelens}, 30)):
        site = collect(lm, sets, hooks, top=TOP, batch_size=size)[HOOK]
        assert (site.count == found[HOOK].count).all() and np.array_equal(site.density, found[HOOK].density)
        for kind in ("top", "sample"):
            one, two = getattr(site, kind), getattr(found[HOOK], kind)
            assert (one.row == two.row).all() and (one.position == two.position).all()
            assert np.allclose(one.value, two.value, rtol=2**-10)  # a last bit may round the other way
            assert np.abs(one.window.astype(int) - two.window).max() <= 1
