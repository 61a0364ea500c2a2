"""What is collected equals a slow and plain computation, whatever came in which batch or beside which features."""

import copy
import warnings

import numpy as np
import pytest
import torch
from cluster import loses_a_worker
from samples import seeded
from transformers import AutoModelForCausalLM

from helpers.dashboard import Collected, Words, collect, collecting, link_sites, loss_effects, name_features
from helpers.dashboard.collected import QUARTERS, RANDOM, bin_edges
from helpers.dashboard.contexts import priority
from helpers.dashboard.neighbours import LINKS
from helpers.dashboard.records import Reader
from helpers.lm import activations, spliced_loss
from helpers.sae import build, load_saelens

HOOK, OTHER = "blocks.1.hook_resid_pre", "blocks.0.hook_mlp_out"
N, CTX, D, M, SEED = 40, 12, 16, 48, 3
OPTIONS = {"top": 5, "sample": 7, "window": (3, 2), "seed": SEED, "sentences": 3}


def made(name: str, seed: int, d: int = D, m: int = M):
    return build(name, d, m, generator=seeded(seed), **({"k": 5} if name == "topk" else {}))


@pytest.fixture(scope="module")
def world():
    """Two sets of tokens from a small vocabulary, with repeated rows, and activations at two sites of two widths."""
    tokens = {name: torch.randint(0, 6, (N, CTX), generator=seeded(i)) for i, name in enumerate(("model", "human"))}
    tokens["model"][N // 2 :] = tokens["model"][: N // 2]
    x = {
        name: {
            "a": torch.randn(N, CTX, D, generator=seeded(10 + i)),
            "b": torch.randn(N, CTX, 8, generator=seeded(20 + i)),
        }
        for i, name in enumerate(tokens)
    }
    for site in ("a", "b"):
        x["model"][site][N // 2 :] = x["model"][site][: N // 2]
    return tokens, x, {"a": made("topk", 0), "b": made("standard", 1, 8, 20)}


def batches(x: dict, size: int, order=None):
    order = torch.arange(N) if order is None else order
    return {name: [(i, {h: v[i] for h, v in sites.items()}) for i in order.split(size)] for name, sites in x.items()}


def gathered(world, size=7, order=None, dictionaries=None, **options) -> Collected:
    tokens, x, known = world
    return collect(None, tokens, dictionaries or known, activations=batches(x, size, order), **{**OPTIONS, **options})


def arrays(site):
    from helpers.dashboard.collected import _flat

    return dict(_flat(site))


def rounded(codes: torch.Tensor) -> np.ndarray:
    return ((codes.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32).numpy()


def test_tables_are_those_of_a_slow_and_plain_computation(world):
    tokens, x, dictionaries = world
    found = gathered(world)
    for hook, sae in dictionaries.items():
        site = found[hook]
        with torch.no_grad():
            codes = {n: rounded(sae.encode(x[n][hook].flatten(0, 1)).reshape(N, CTX, -1).contiguous()) for n in tokens}
        largest = np.max([c[:, 1:].max((0, 1)) for c in codes.values()], axis=0)
        assert (site.largest == largest).all()
        for s, name in enumerate(tokens):
            chance = priority(SEED, name, np.arange(N), CTX)
            c = codes[name].copy()
            c[:, 0] = 0
            assert (site.count[s] == (c > 0).sum((0, 1))).all() and site.positions[s] == N * (CTX - 1)
            for f in range(0, c.shape[2], 5):
                counts, _ = np.histogram(c[..., f][c[..., f] > 0], bin_edges())
                assert (site.histogram[s, f] == counts).all()
                for kind, k, rank in ((site.top, 5, c[..., f]), (site.sample, 7, -chance)):
                    best, taken = [], set()
                    rows = [[p for p in range(CTX) if c[r, p, f] > 0] for r in range(N)]
                    offers = [(r, min(ps, key=lambda p: (-rank[r, p], p))) for r, ps in enumerate(rows) if ps]
                    for r, p in sorted(offers, key=lambda rp: (-rank[rp], rp)):
                        key = tuple(tokens[name][r, max(0, p - 3) : p + 1].tolist()), p < 3 and p
                        if key not in taken and len(best) < k:
                            taken.add(key)
                            best.append((r, p))
                    there = kind.row[s, f] >= 0
                    assert list(zip(kind.row[s, f][there], kind.position[s, f][there], strict=True)) == best
                    for i, (r, p) in enumerate(best):
                        assert kind.value[s, f, i] == c[r, p, f]
                        for j, at in enumerate(range(p - 3, p + 3)):
                            true = 255 * c[r, at, f] / largest[f] if 0 <= at < CTX else 0
                            assert abs(kind.window[s, f, i, j] - true) <= 1 and (kind.window[s, f, i, j] > 0) == (
                                true > 0
                            )


def test_neighbours_are_those_of_a_slow_and_plain_computation(world):
    tokens, x, dictionaries = world
    found = gathered(world, watched=10**6)
    with torch.no_grad():
        on = [
            torch.cat([dictionaries[h].encode(x[n][h][:, 1:].flatten(0, 1)) > 0 for n in tokens]) for h in dictionaries
        ]
    start, all_ = [0, M], torch.cat(on, 1).numpy().astype(int)
    both = all_.T @ all_
    either = all_.sum(0)[:, None] + all_.sum(0) - both
    share = np.where(both >= 3, both / np.maximum(either, 1), 0)
    np.fill_diagonal(share, 0)
    for me, hook in enumerate(found.sites):
        links = found[hook].together
        for f in range(found[hook].d_sae):
            there = links.site[f] >= 0
            mine = share[start[me] + f]
            assert np.allclose(links.value[f][there], np.sort(mine)[::-1][: there.sum()])
            at = np.array(start)[links.site[f][there]] + links.feature[f][there]
            assert np.allclose(mine[at], links.value[f][there]) and len(set(at)) == len(at)
        unit = dictionaries[hook].W_dec.detach()
        cosines = unit @ unit.T - 2 * torch.eye(len(unit))
        cosines[:, torch.from_numpy(found[hook].largest == 0)] = -2
        live = found[hook].largest > 0
        expected = cosines.topk(LINKS, dim=1).values.numpy()
        assert np.allclose(found[hook].similar.value[live], expected[live], atol=1e-5)
        assert (found[hook].similar.site == me)[live].all()


def test_nothing_depends_on_the_batch(world):
    base = gathered(world, 7)
    for size, order in ((1, None), (40, None), (9, torch.randperm(N, generator=seeded(4)))):
        again = gathered(world, size, order)
        for hook in base.sites:
            one, two = arrays(base[hook]), arrays(again[hook])
            assert one.keys() == two.keys()
            for key in one:
                assert np.array_equal(one[key], two[key]) or np.allclose(one[key], two[key], rtol=1e-6), (hook, key)


def test_nothing_depends_on_the_features_beside(world):
    tokens, x, dictionaries = world
    whole, part = dictionaries["b"], made("standard", 1, 8, 20)
    chosen = torch.tensor([2, 3, 11, 19])
    for key in ("W_enc", "W_dec", "b_enc"):
        value = getattr(whole, key).detach()
        setattr(part, key, torch.nn.Parameter(value[..., chosen] if key != "W_dec" else value[chosen]))
    base, some = gathered(world)["b"], gathered(world, dictionaries={"b": part})["b"]
    for key in ("count", "density", "histogram"):
        assert np.array_equal(getattr(base, key)[:, chosen], getattr(some, key))
    for kind in ("top", "sample"):
        for one, two in zip(getattr(base, kind), getattr(some, kind), strict=True):
            assert np.array_equal(one[:, chosen], two)


def test_no_two_contexts_show_the_same(world):
    tokens, found = world[0]["model"].numpy(), gathered(world)
    for kind in (found["a"].top, found["a"].sample):
        for f in range(M):
            places = [(r, p) for r, p in zip(kind.row[0, f], kind.position[0, f], strict=True) if r >= 0]
            shown = [(min(p, 3), tuple(tokens[r, max(0, p - 3) : p + 1])) for r, p in places]
            assert len(set(shown)) == len(shown) and len({r for r, _ in places}) == len(places)


def test_what_is_kept_does_not_grow_with_the_tokens(world):
    tokens, x, dictionaries = world
    few = collect(
        None, {n: t[:10] for n, t in tokens.items()}, dictionaries, watched=50, **OPTIONS,
        activations={n: [(range(10), {h: v[:10] for h, v in s.items()})] for n, s in x.items()},
    )  # fmt: skip
    for hook in dictionaries:
        one, two = (arrays(found[hook]) for found in (few, gathered(world, watched=50)))
        sizes = [sum(v.nbytes for k, v in a.items() if "watched" not in k) for a in (one, two)]
        assert sizes[0] == sizes[1] and len(two["watched.row"]) < 100


def test_a_density_interval_knows_that_places_of_one_sequence_are_alike():
    n, ctx = 60, 30
    tokens = torch.randint(0, 1000, (n, ctx), generator=seeded())
    sae = made("standard", 0, 2, 2)
    with torch.no_grad():
        sae.W_enc.copy_(torch.eye(2)), sae.W_dec.copy_(torch.eye(2))
    x = torch.zeros(n, ctx, 2)
    x[: n // 4, :, 0] = 1  # one feature fills whole sequences
    x[..., 1] = (torch.rand(n, ctx, generator=seeded(1)) < 0.25).float()
    density = collect(None, tokens, {"a": sae}, activations=[(range(n), {"a": x})], skip_first=0)["a"].density[0]
    width = density[:, 2] - density[:, 1]
    assert density[0, 0] == 0.25 and abs(density[1, 0] - 0.25) < 0.03
    assert width[0] > 4 * width[1] and 0.15 < density[0, 1] < 0.25 < density[0, 2] < 0.38


def test_scales_and_cutoffs_are_applied(world):
    tokens, x, dictionaries = world
    doubled = {n: {"a": v["a"] / 4, "b": v["b"]} for n, v in x.items()}
    base, scaled = gathered(world), gathered((tokens, doubled, dictionaries), scales={"a": 4.0})
    assert np.array_equal(base["a"].count, scaled["a"].count)
    cut = gathered(world, cutoffs={"b": 2.5})
    kept = [(v["b"][:, 1:].norm(dim=-1) <= 2.5).sum().item() for v in x.values()]
    assert cut["b"].positions.tolist() == kept and kept[0] < N * (CTX - 1)


def stretched(sae, by: torch.Tensor):
    """The same dictionary by another gauge: rows ``by`` times as long, codes as much smaller."""
    other = copy.deepcopy(sae)
    with torch.no_grad():
        other.W_dec *= by[:, None]
        other.W_enc /= by
        other.b_enc /= by
    return other


def test_an_activation_is_a_code_times_the_norm_of_its_row(world):
    """Whether a dictionary's rows have unit norm is a convention: what cards show and rank must not hang on it."""
    tokens, x, dictionaries = world
    by = torch.linspace(0.2, 5.0, 20)
    by[0] = 1.0005  # as near to one as half precision leaves it
    sae = stretched(dictionaries["b"], by)
    length = sae.W_dec.detach().norm(dim=1)
    length[0] = 1.0
    base, site = gathered(world)["b"], gathered(world, dictionaries={"b": sae})["b"]
    assert np.array_equal(base.count, site.count)
    assert np.allclose(base.largest, site.largest, rtol=1e-3)
    assert np.allclose(base.top.value, site.top.value, rtol=1e-3)
    for s, name in enumerate(tokens):
        with torch.no_grad():
            codes = sae.encode(x[name]["b"].flatten(0, 1)).reshape(N, CTX, -1)
        want = rounded((codes * length).contiguous())
        want[:, 0] = 0
        assert np.array_equal(site.top.value[s, :, 0], want.max((0, 1)))
        for f in range(20):
            counts, _ = np.histogram(want[..., f][want[..., f] > 0], bin_edges())
            assert (site.histogram[s, f] == counts).all()
        for i in np.flatnonzero(site.sentences.set == s):
            strongest = -np.sort(-want[site.sentences.row[i]], axis=-1)[:, : site.sentences.value.shape[-1]]
            assert np.allclose(site.sentences.value[i], strongest, rtol=1e-3)
    with torch.no_grad():
        sae.W_dec[1] = 0.0  # adds nothing, and still fires where it fires
    none = gathered(world, dictionaries={"b": sae})["b"]
    assert np.array_equal(none.count, base.count) and none.largest[1] > 0


def test_it_is_saved_and_comes_back(world, tmp_path):
    found = gathered(world)
    found["a"].labels = ["<b>"] * M
    again = Collected.load(found.save(tmp_path / "here"), dict(reversed(found.tokens.items())))
    assert list(again.tokens) == list(found.tokens), "the order is that of what was collected"
    for hook in found.sites:
        for key, value in arrays(found[hook]).items():
            assert np.array_equal(value, arrays(again[hook])[key], equal_nan=True)
    assert again["a"].labels == ["<b>"] * M and again.window == found.window
    with pytest.raises(FileNotFoundError, match="no collected.json"):
        Collected.load(tmp_path, found.tokens)
    with pytest.raises(ValueError, match="expected .'model', 'human'"):
        Collected.load(tmp_path / "here", {"model": found.tokens["model"]})


def test_the_small_form_shows_the_same(world, tmp_path):
    """Cards from the small form, saved and read, say what cards from all that was collected say; shades to 5%."""
    words = [f" w{i}" for i in range(6)]
    found = gathered(world)
    for hook in found.sites:
        name_features(found, hook, words)
    again = Collected.load(found.small().save(tmp_path / "small"), found.tokens)
    sizes = [
        sum(p.stat().st_size for p in folder.iterdir()) for folder in (tmp_path / "small", found.save(tmp_path / "a"))
    ]
    assert sizes[0] < 0.7 * sizes[1]
    one, two = (Reader(f, Words(words)) for f in (found, again))
    for hook, site in found.sites.items():
        for whole, small in zip(*(r.records(hook, range(site.d_sae)) for r in (one, two)), strict=True):
            for key in whole.keys() - {"sets"}:
                assert same(whole[key], small[key]), key
            for a, b in zip(whole["sets"], small["sets"], strict=True):
                assert a["bins"] == b["bins"] and a["count"] == b["count"] and same(a["density"], b["density"])
                for kind in ("top", "quarters", "random"):
                    for (v, place, text, heat), other in zip(a[kind], b[kind], strict=True):
                        assert same(v, other[0]) and [place, text] == other[1:3]
                        steps = np.frombuffer(bytes.fromhex(heat + other[3]), np.uint8).reshape(2, -1).astype(int)
                        assert (abs(steps[0] - steps[1]) <= 13).all() and ((steps[0] > 0) == (steps[1] > 0)).all()
    with pytest.raises(ValueError, match="'a' has no sample; expected what collect gave"):
        name_features(again, "a", words)


def same(a, b) -> bool:
    """Equal texts and whole numbers; others up to one in the third digit."""
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or (isinstance(a, float) and abs(a - b) <= 1.1e-2 * abs(a))


def test_quarters_on_a_card_are_quarters_of_the_sample(world):
    site = gathered(world, sample=16)["a"]
    for s in range(2):
        for f in range(M):
            drawn = np.flatnonzero(site.sample.row[s, f] >= 0)
            groups = np.array_split(drawn[np.argsort(-site.sample.value[s, f, drawn], kind="stable")], QUARTERS)
            chosen = [group.min() if len(group) else -1 for group in groups]
            rest = [i for i in drawn if i not in chosen][:RANDOM]
            chosen += rest + [-1] * (RANDOM - len(rest))
            rows = [site.sample.row[s, f, i] if i >= 0 else -1 for i in chosen]
            assert site.shown.row[s, f].tolist() == rows


def test_sites_collected_one_by_one_are_linked_as_if_together(world):
    tokens, x, dictionaries = world
    whole = gathered(world, watched=10**6)
    parts = [gathered(world, watched=10**6, dictionaries={hook: sae}) for hook, sae in dictionaries.items()]
    found = Collected(whole.tokens, {hook: part[hook] for hook, part in zip(dictionaries, parts, strict=True)}, (3, 2))
    link_sites(found, {hook: sae.W_dec.detach() for hook, sae in dictionaries.items()})
    for hook in dictionaries:
        for kind in ("similar", "together"):
            for a, b in zip(getattr(whole[hook], kind), getattr(found[hook], kind), strict=True):
                assert np.allclose(a, b)


# A model


def test_a_model_is_streamed_and_its_folder_read(lm, saelens):
    tokens = torch.randint(0, 5000, (12, 16), generator=seeded())
    found = collect(lm, tokens, {HOOK: saelens, OTHER: load_saelens(saelens)}, batch_size=5)
    x = torch.cat(list(activations(lm, tokens, HOOK))).unflatten(0, (12, 16))[:, 1:]
    assert np.array_equal(found[HOOK].count[0], (load_saelens(saelens).encode(x) > 0).sum((0, 1)).numpy())
    live = found[HOOK].largest > 0
    assert {*np.unique(found[HOOK].similar.site[live])} == {0, 1} and (found[HOOK].similar.site[-1] == -1).all()


def test_logit_effects_are_a_direction_through_norm_and_unembedding(lm, model_place, saelens):
    tokens = torch.randint(0, 5000, (4, 8), generator=seeded())
    effects = collect(lm, tokens, {HOOK: saelens})[HOOK].logits
    plain = AutoModelForCausalLM.from_pretrained(model_place)
    row = load_saelens(saelens).W_dec[7].detach()
    with torch.no_grad():
        logits = plain.lm_head(plain.transformer.ln_f.weight * (row - row.mean()))
        logits -= logits.mean()
    expected = logits[torch.from_numpy(effects.token[7]).long()].numpy()
    assert np.allclose(expected, effects.value[7], atol=1e-4)
    assert np.allclose(expected[:10], logits.topk(10).values) and np.allclose(expected[10], logits.min())


def test_rows_that_begin_with_two_bos_are_told(lm, saelens):
    tokens, bos = torch.randint(100, 5000, (5, 8), generator=seeded()), lm.tokenizer.bos_token_id
    tokens[:, 0] = bos
    tokens[3, 5] = bos  # a turn of a chat: not at the start
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*BOS")
        collect(lm, tokens, {HOOK: saelens})
    tokens[[1, 4], 1] = bos
    with pytest.warns(UserWarning, match=f"2 of 5 rows begin .* BOS, id {bos}, twice .the first is row 1"):
        collect(lm, {"chats": tokens}, {HOOK: saelens})
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*BOS")
        collect(lm, tokens, {HOOK: saelens}, skip_first=2)


def test_a_card_is_that_of_the_dictionary_with_unit_rows(lm, saelens):
    tokens, sae = torch.randint(0, 5000, (12, 16), generator=seeded()), load_saelens(saelens)
    sites = [collect(lm, tokens, {HOOK: one})[HOOK] for one in (sae, stretched(sae, torch.full((96,), 4.0)))]
    for part in ("count", "density", "top.row", "similar.feature", "logits.token"):
        one, two = (arrays(site)[part] for site in sites)
        assert np.array_equal(one, two, equal_nan=True), part
    for part in ("largest", "top.value", "sentences.value", "logits.value"):
        one, two = (arrays(site)[part] for site in sites)
        assert np.allclose(one, two, rtol=1e-3), part


def test_a_loss_effect_is_that_of_taking_the_feature_off(lm, saelens):
    tokens, sae = torch.randint(0, 5000, (12, 16), generator=seeded()), load_saelens(saelens)
    found = collect(lm, tokens, {HOOK: saelens})
    sample, f = found[HOOK].sample, int(found[HOOK].count[0].argmax())
    effects = loss_effects(lm, found, HOOK, saelens, features=[f, 95], contexts=3).copy()
    places = [(r, p) for r, p in zip(sample.row[0, f], sample.position[0, f], strict=True) if r >= 0 and p < 15]

    def without(x):
        return x - sae.encode(x)[..., f : f + 1] * sae.W_dec[f]

    rises = []
    for r, p in places[:3]:
        now, before = tokens[r : r + 1, : p + 2], tokens[r : r + 1, : p + 1]  # the last prediction: sum less sum
        ablated, clean = (
            spliced_loss(lm, now, HOOK, g) * (p + 1) - spliced_loss(lm, before, HOOK, g) * p
            for g in (without, lambda x: x)
        )
        rises.append(ablated - clean)
    assert effects[f, 0] == pytest.approx(np.mean(rises), abs=1e-4) and effects[f, 1] <= effects[f, 0] <= effects[f, 2]
    assert abs(effects[f, 0]) > 1e-3 and np.isnan(np.delete(effects, f, axis=0)).all()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tokens": torch.zeros(0, 8, dtype=torch.int64)}, "non-empty integer tensor"),
        ({"tokens": torch.zeros(2, 8)}, r"tokens\['text'\] is \(2, 8\) of torch.float32"),
        ({"tokens": torch.zeros(2, 0, dtype=torch.int64)}, "non-empty integer tensor"),
        ({"tokens": torch.full((2, 8), 60_000)}, "holds ids 60000 to 60000; expected 0 to 49151"),
        ({"tokens": torch.full((2, 8), -1)}, "holds ids -1 to -1; expected 0 to 49151"),
        ({"tokens": {}}, "0 token sets"),
        ({"hook": "blocks.1.hook_resid"}, "did you mean blocks.1.hook_resid_"),
        ({"width": 16}, "has d_model=16; expected 32"),
        ({"cutoffs": {"blocks.9": 1.0}}, "cutoffs names 'blocks.9'"),
        ({"scales": {HOOK: 0.0}}, r"scales\['blocks.1.hook_resid_pre'\]=0.0"),
        ({"skip_first": 8}, "skip_first=8"),
        ({"top": 0}, "top=0"),
    ],
)
def test_what_cannot_be_collected_is_refused_by_name(lm, change, says):
    given = {"tokens": torch.zeros(2, 8, dtype=torch.int64), "hook": HOOK, "width": 32, **change}
    sae = made("topk", 0, given.pop("width"))
    with pytest.raises(ValueError, match=says):
        collect(lm, given.pop("tokens"), {given.pop("hook"): sae}, **given)


@pytest.mark.parametrize(
    ("rows", "shape", "says"),
    [
        ([0, 1], (2, 4, D), "lack row 2"),
        ([0, 1, 1], (3, 4, D), "hold row 1 twice"),
        ([0, 1, 2], (3, 4, 5), "have shape"),
    ],
)
def test_activations_that_do_not_fit_are_refused_by_name(rows, shape, says):
    tokens = torch.zeros(3, 4, dtype=torch.int64)
    with pytest.raises(ValueError, match=says):
        collect(None, tokens, {"a": made("topk", 0)}, activations=[(rows, {"a": torch.zeros(shape)})])


def test_a_cluster_that_loses_a_worker_collects_the_same_to_the_last_bit(model_place, tmp_path, monkeypatch):
    monkeypatch.setattr(collecting, "PART", 8)
    tokens = {name: torch.randint(0, 60, (N, CTX), generator=seeded(i)) for i, name in enumerate(("model", "human"))}
    dictionaries = {HOOK: made("topk", 0, 32), OTHER: made("standard", 1, 32)}
    here = collect(str(model_place), tokens, dictionaries, **OPTIONS)
    with loses_a_worker(tmp_path) as address:
        there = collect(model_place, tokens, dictionaries, scheduler=address, **OPTIONS)
    for hook in dictionaries:
        mine, theirs = arrays(here[hook]), arrays(there[hook])
        assert mine.keys() == theirs.keys()
        for name, values in mine.items():
            assert np.array_equal(values, theirs[name], equal_nan=values.dtype.kind == "f"), name


def test_a_cluster_is_told_of_a_model_by_name(lm, world):
    tokens, x, dictionaries = world
    with pytest.raises(ValueError, match="lm is a .*; with scheduler='tcp://there' expected a model's name or path"):
        collect(lm, tokens, {HOOK: made("topk", 0, 32)}, scheduler="tcp://there")
    with pytest.raises(ValueError, match="and no activations"):
        collect("name", tokens, dictionaries, activations=batches(x, 7), scheduler="tcp://there")
