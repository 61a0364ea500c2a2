"""Edits of a run change what they name and nothing else, on every shape of model; the finding and deciding rules are
what they say."""

import numpy as np
import pandas as pd
import pytest
import torch
from samples import seeded

from helpers.definitions import (
    TEMPLATES,
    Effect,
    Template,
    add,
    at,
    centroid,
    chosen,
    decide,
    definition_run,
    divergence,
    effect,
    embeddings,
    encode,
    find_heads,
    freeze_norm,
    gradients,
    head_writes,
    information,
    key_input,
    multiply,
    patch_pattern,
    pattern_hook,
    replace,
    scale_head,
    set_head,
    transferred,
    write,
    write_hook,
    z_hook,
)
from helpers.runs import artifact
from recipes import rescaling, rescaling_tests

WORDS = ("table", "dog", "idea", "river", "truth")


def everything(lm, prompts, scale=1.0, *edits):
    layers = range(lm.cfg.n_layers)
    names = [pattern_hook(l) for l in layers] + [z_hook(l) for l in layers] + [write_hook(lm, l) for l in layers]
    names += [f"blocks.{l}.hook_{x}" for l in layers for x in ("in", "out")]
    names += [f"blocks.{l}.attn.{x}.hook_out" for l in layers for x in "qkv"]
    names += [f"blocks.{l}.ln1.hook_scale" for l in layers] + ["embed.hook_out"]
    return definition_run(lm, prompts, scale, interventions=edits, record=dict.fromkeys(names))


@pytest.fixture(scope="module")
def plain(lm, prompts):
    return everything(lm, prompts)


def neutral_edits(lm, prompts, seen):
    """Every intervention, set so that it should change nothing."""
    slot, end = prompts.slot, prompts.tokens.shape[1] - 1
    zero = torch.zeros(1, lm.cfg.d_model)
    return {
        "replace": replace(lm, "blocks.1.attn.k.hook_out", slot, seen["blocks.1.attn.k.hook_out"][:, slot]),
        "multiply": multiply(lm, write_hook(lm, 1), slot, 1.0),
        "add": add(lm, "blocks.1.hook_in", slot, zero),
        "freeze_norm": freeze_norm(lm, "blocks.1.ln1", slot, seen["blocks.1.ln1.hook_scale"][:, slot]),
        "set_head": set_head(lm, 1, 2, slot, seen[z_hook(1)][:, slot, 2]),
        "scale_head": scale_head(lm, 1, 2, slot, 1.0),
        "scale_head along another": scale_head(lm, 1, 2, slot, 1.0, 3),
        "patch_pattern": patch_pattern(lm, 1, range(4), end, seen[pattern_hook(1)][:, :, end]),
        "key_input": key_input(lm, 1, slot, zero),
    }


def test_at_its_neutral_setting_every_intervention_leaves_the_plain_models_logits(lm, prompts, plain):
    with torch.no_grad():
        reference = lm(prompts.tokens, return_type="logits")[:, -1].log_softmax(-1)
    torch.testing.assert_close(plain.logp, reference, atol=1e-5, rtol=0)
    for name, edit in neutral_edits(lm, prompts, plain.seen).items():
        edited = definition_run(lm, prompts, 1.0, interventions=[edit])
        torch.testing.assert_close(edited.logp, reference, atol=1e-5, rtol=0, msg=lambda m, name=name: f"{name}: {m}")


def changed(before, after):
    """(hook, position) pairs where a run differs, position 0 being that of the query in a pattern."""
    out = set()
    for name in before:
        axis = 2 if name.endswith("hook_pattern") else 1
        gap = (before[name] - after[name]).abs().movedim(axis, 0).flatten(1).amax(1)
        out |= {(name, p) for p in torch.nonzero(gap > 1e-5 * before[name].abs().max()).flatten().tolist()}
    return out


def test_each_intervention_changes_only_what_it_names_in_its_own_layer(lm, prompts, plain):
    slot, end = prompts.slot, prompts.tokens.shape[1] - 1
    far = everything(lm, prompts, 100.0).seen
    noise = torch.randn(len(WORDS), lm.cfg.d_model, generator=seeded())
    z, out, write_ = z_hook(1), "blocks.1.hook_out", write_hook(lm, 1)
    q, k, v = (f"blocks.1.attn.{x}.hook_out" for x in "qkv")
    pattern, scale = pattern_hook(1), "blocks.1.ln1.hook_scale"
    after = {(n, p) for p in range(slot, end + 1) for n in (pattern, z, write_, out)}  # what a changed key may reach
    cases = {
        "set_head": (set_head(lm, 1, 2, slot, far[z][:, slot, 2] + 1), {(n, slot) for n in (z, write_, out)}),
        "scale_head": (scale_head(lm, 1, 2, slot, 3.0), {(write_, slot), (out, slot)}),
        "freeze_norm": (freeze_norm(lm, "blocks.1.ln1", slot, 2 * plain.seen[scale][:, slot]),
                        {(n, slot) for n in (scale, q, k, v)} | after),
        "patch_pattern": (patch_pattern(lm, 1, [2], end, far[pattern][:, :, end]),
                          {(n, end) for n in (z, write_, out)}),
        "key_input": (key_input(lm, 1, slot, noise), {(k, slot)} | after),
    }  # fmt: skip
    for name, (edit, allowed) in cases.items():
        seen = everything(lm, prompts, 1.0, edit).seen
        here = {(n, p) for n, p in changed(plain.seen, seen) if not n.startswith("blocks.2")}
        assert here and here <= allowed, (name, here - allowed)
    head = changed(
        {"z": plain.seen[z][:, slot]},
        {"z": everything(lm, prompts, 1.0, cases["set_head"][0]).seen[z][:, slot]},
    )
    assert head == {("z", 2)}, "only the head named"


def test_rescaling_touches_the_words_position_alone(lm, prompts, plain):
    far = everything(lm, prompts, 100.0)
    e = embeddings(lm, prompts)
    torch.testing.assert_close(far.seen["embed.hook_out"][:, prompts.slot], 100 * e)
    assert {p for _, p in changed(plain.seen, far.seen)} >= {prompts.slot}
    assert min(p for _, p in changed(plain.seen, far.seen)) == prompts.slot
    middle = centroid(lm)
    there = definition_run(lm, prompts, 0.0, centre=middle, record={"embed.hook_out": prompts.slot})
    torch.testing.assert_close(there.seen["embed.hook_out"], middle.expand(len(WORDS), -1))


def test_heads_writes_sum_to_what_attention_adds(lm, prompts):
    slot, post = prompts.slot, "blocks.1.ln1_post.hook_scale"
    record = {z_hook(1): slot, write_hook(lm, 1): slot} | ({post: slot} if post in lm.hook_dict else {})
    seen = definition_run(lm, prompts, 1.0, record=record).seen
    bias = getattr(lm.blocks[1].attn.o.original_component, "bias", None)
    whole = head_writes(lm, 1, seen[z_hook(1)], seen.get(post)).sum(1) + (0 if bias is None else bias)
    torch.testing.assert_close(whole, seen[write_hook(lm, 1)], atol=1e-4, rtol=1e-4)


def test_scaling_a_head_multiplies_its_write_and_controls_add_the_same_length(lm, prompts, plain):
    slot, hook = prompts.slot, write_hook(lm, 1)
    before = plain.seen[hook][:, slot]
    own, other, noise = (
        everything(lm, prompts, 1.0, scale_head(lm, 1, 2, slot, 4.0, along)).seen[hook][:, slot] - before
        for along in (None, 3, torch.ones(len(WORDS), lm.cfg.d_model))
    )
    for control in (other, noise):
        torch.testing.assert_close(control.norm(dim=1), own.norm(dim=1), atol=1e-4, rtol=1e-4)
        assert torch.cosine_similarity(control, own).abs().max() < 0.99
    seen = definition_run(lm, prompts, 1.0, record={z_hook(1): slot}).seen
    if hook.endswith("attn.hook_out"):  # without a norm behind attention, the same as scaling z
        scaled = definition_run(
            lm, prompts, 1.0, interventions=[set_head(lm, 1, 2, slot, 4 * seen[z_hook(1)][:, 2])], record={hook: slot}
        )
        torch.testing.assert_close(scaled.seen[hook], before + own, atol=1e-4, rtol=1e-4)


def test_all_keys_and_values_of_another_run_bring_it_back(lm, prompts, plain):
    names = [f"blocks.{l}.attn.{x}.hook_out" for l in range(lm.cfg.n_layers) for x in "kv"]
    edits = [replace(lm, n, prompts.slot, plain.seen[n][:, prompts.slot]) for n in names]
    back = definition_run(lm, prompts, 100.0, interventions=edits)
    torch.testing.assert_close(back.logp, plain.logp, atol=1e-4, rtol=0)


def test_batches_do_not_matter_and_early_stops_agree(lm, prompts, plain):
    small = definition_run(lm, prompts, 100.0, batch_size=2)
    torch.testing.assert_close(small.logp, definition_run(lm, prompts, 100.0).logp, atol=1e-5, rtol=0)
    stopped = definition_run(lm, prompts, 1.0, record={z_hook(0): None}, until=2)
    assert stopped.logp is None
    torch.testing.assert_close(stopped.seen[z_hook(0)], plain.seen[z_hook(0)])


def test_the_estimate_is_the_derivative(lm, prompts):
    """A small step along one head's output changes a metric by gradient times step."""
    slot, hook = prompts.slot, z_hook(1)
    grads = gradients(lm, prompts, lambda logits, _: logits[:, 5].sum(), [hook])[hook][:, slot, 2]
    seen = definition_run(lm, prompts, 1.0, record={hook: slot}).seen[hook][:, 2]
    step = 1e-2 * torch.randn(seen.shape, generator=seeded())

    def metric(sign):
        held = []
        edit = set_head(lm, 1, 2, slot, seen + sign * step)
        hooks = edit(slice(None), prompts.tokens.shape[1])
        with torch.no_grad():
            held = lm.run_with_hooks(prompts.tokens, fwd_hooks=hooks, return_type="logits")[:, -1, 5].sum()
        return held

    assert float((metric(1) - metric(-1)) / 2) == pytest.approx(float((grads * step).sum()), rel=0.02, abs=1e-4)


def test_writing_continues_the_prompt_and_samples_with_its_own_generator(lm, prompts, plain):
    said = write(lm, prompts, 1.0, length=3)
    first = [lm.tokenizer.decode(i) for i in plain.logp.argmax(-1)]
    assert all(text.startswith(token) for text, token in zip(said, first, strict=True))
    token = torch.tensor([lm.tokenizer(said[0], add_special_tokens=False).input_ids])
    assert token.shape[1] >= 1
    state = torch.get_rng_state()
    a, b = (write(lm, prompts, 1.0, length=4, generator=seeded(3)) for _ in range(2))
    assert a == b and torch.equal(state, torch.get_rng_state())


def test_the_reduced_grid_runs_on_this_shape_by_changing_one_name(folder, monkeypatch):
    """All stages of the recipe, in this process."""
    name = str(folder)
    monkeypatch.setattr(rescaling_tests, "DRAWS", 1)
    found = rescaling.work("discover", name, False, reduced=True)["heads"]
    heads = [h for h in found if h["role"]]
    assert {h["role"] for h in heads} == {"A1", "A2"}
    k, words = rescaling_tests.words_of(rescaling_tests.model(name), "test", False, True)[0]
    tested = pd.DataFrame(rescaling.work("test", name, False, k=k, words=words, heads=heads)["rows"])
    whole = tested.groupby(["condition", "scale"]).own.mean()
    assert whole["all keys and values of s = 1", 100.0] == pytest.approx(whole["plain", 1.0], abs=1e-3)
    assert np.isfinite(tested.select_dtypes("number")).all().all()
    curve = pd.DataFrame(rescaling.work("curve", name, False, k=k, words=words, heads=heads)["rows"])
    assert set(curve.centre) == {"origin", "centroid", "random"} and len(curve) % len(words) == 0
    assert set(rescaling.work("texts", name, False, words=words[:2])["greedy"]) == {str(s) for s in rescaling.WRITTEN}
    rescaling_tests.model.cache_clear()


# Measures and rules


def test_information_is_zero_where_all_words_get_the_same_and_log_n_where_they_share_nothing():
    same = torch.full((4, 10), 0.1).log()
    apart = torch.zeros(4, 4).fill_diagonal_(1.0).log()  # log 0 = -inf counts for nothing
    assert information(same).abs().max() < 1e-6 and transferred(apart[:, :4], same[:, :4]).abs().max() < 1e-6
    torch.testing.assert_close(information(apart), torch.full((4,), np.log(4.0), dtype=torch.float32))
    torch.testing.assert_close(transferred(apart, apart), information(apart))
    assert divergence(same, same).abs().max() < 1e-6
    torch.testing.assert_close(divergence(apart, apart.roll(1, 0)), torch.full((4,), np.log(2.0), dtype=torch.float32))


def test_what_points_to_another_word_transfers_less_than_nothing():
    own = torch.tensor([[0.9, 0.1], [0.1, 0.9]]).log()
    assert transferred(own, own.flip(0)).max() < 0 < transferred(own, own).min()


def test_an_effect_is_a_share_of_the_way_with_an_interval_that_covers_it():
    rng, covered = np.random.default_rng(0), 0
    for _ in range(200):
        before = rng.normal(1, 0.3, 40)
        full = before + rng.normal(2, 0.5, 40)
        after = before + 0.6 * rng.normal(2, 0.5, 40)
        found = effect(after, before, full, n=300)
        covered += found.low <= 0.6 <= found.high
    assert 0.88 <= covered / 200 <= 0.99
    assert effect(full, before, full).value == pytest.approx(1) and effect(before, before, full).value == 0


def test_the_rule_decides_as_written():
    base = np.zeros(20)
    full = np.ones(20)
    spread = np.linspace(-0.05, 0.05, 20)

    def of(share, control):
        return decide(effect(share + spread, base, full, {"a": control + spread[::-1]}))

    assert of(0.8, 0.1) == "holds" and of(0.3, 0.1) == "in part" and of(0.02, 0.0) == "fails"
    assert of(0.8, 0.9) == "fails", "a control does as much"
    assert decide(Effect(0.5, 0.45, 0.55)) == "in part"
    with pytest.raises(ValueError, match="interval without zero"):
        effect(base, base, spread)
    with pytest.raises(ValueError, match=r"controls \['b'\] hold NaN"):
        effect(full, base, full, {"a": base, "b": np.where(spread > 0, np.nan, 0)})


def test_discovery_and_test_words_are_disjoint_and_every_stratum_is_halved():
    words = pd.read_csv(artifact("definition_words.csv"), keep_default_na=False)
    assert len(words) >= 100 and words.word.is_unique
    assert set(words.split) == {"discovery", "test"}
    assert not set(words.word[words.split == "discovery"]) & set(words.word[words.split == "test"])
    assert words.groupby(["frequency", "kind", "split"]).size().nunique() == 1


def test_the_tests_saw_test_words_only():
    words = pd.read_csv(artifact("definition_words.csv"), keep_default_na=False).set_index("word").split
    tested = pd.read_csv(artifact("rescaling_tests.csv"), keep_default_na=False)
    assert set(words[tested.word.unique()]) == {"test"}


# Bad input


@pytest.mark.parametrize("scale", [-1.0, float("nan"), float("inf"), "2", True])
def test_a_scale_that_is_negative_or_not_finite_is_refused(lm, prompts, scale):
    with pytest.raises(ValueError, match="scale=.*expected a finite number"):
        definition_run(lm, prompts, scale)


def test_an_embedding_that_is_not_finite_or_not_one_per_prompt_is_refused(lm, prompts, plain):
    word = torch.zeros(len(prompts.words), lm.cfg.d_model)
    with pytest.raises(ValueError, match="embedding holds NaN"):
        definition_run(lm, prompts, 1.0, embedding=word * float("nan"))
    with pytest.raises(ValueError, match="scale=1e\\+308 holds NaN or infinity"):
        definition_run(lm, prompts, 1e308)
    short = replace(lm, "blocks.1.hook_in", prompts.slot, word[:2])
    with pytest.raises(ValueError, match="value has 2 rows; expected 1, or one per prompt"):
        definition_run(lm, prompts, 1.0, interventions=[short])


def test_bad_words_and_templates_are_named(lm):
    with pytest.raises(ValueError, match="word='antidisestablishment' is . tokens"):
        definition_run(lm, ["table", "antidisestablishment"], 1.0)
    with pytest.raises(ValueError, match="expected exactly one slot"):
        Template("A definition of it", " definition", "A picture of {}")
    with pytest.raises(ValueError, match="cue=' meaning' is not in"):
        Template("A definition of {}", " meaning", "A picture of {}")
    with pytest.raises(ValueError, match="neutral=.* tokens before its slot; expected"):
        encode(lm, Template("A definition of {}", " definition", "A {}"), "table")


def test_heads_layers_and_hooks_that_do_not_exist_are_named(lm, prompts):
    with pytest.raises(ValueError, match="layer=3; expected a whole number from 0 to 2"):
        set_head(lm, 3, 0, 1, torch.zeros(1, 8))
    with pytest.raises(ValueError, match="head=4; expected a whole number from 0 to 3"):
        scale_head(lm, 0, 4, 1, 2.0)
    with pytest.raises(ValueError, match="hook='blocks.0.hook_nowhere' is not in this model"):
        definition_run(lm, prompts, 1.0, record={"blocks.0.hook_nowhere": None})
    with pytest.raises(ValueError, match="position=99; expected a whole number from 0 to 9"):
        definition_run(lm, prompts, 1.0, interventions=[multiply(lm, "blocks.0.hook_in", 99, 1.0)])
    with pytest.raises(ValueError, match="factor=inf"):
        multiply(lm, "blocks.0.hook_in", 1, float("inf"))
    with pytest.raises(ValueError, match="the new value has shape"):
        edit = at(lm, "blocks.0.hook_in", 1, lambda old, rows: old[:, :3])
        definition_run(lm, prompts, 1.0, interventions=[edit])
    with pytest.raises(ValueError, match="pattern has shape"):
        patch_pattern(lm, 0, [0], 1, torch.zeros(5, 3))


def test_found_heads_are_listed_best_first(lm):
    cases = [(TEMPLATES[0], WORDS), (TEMPLATES[2], WORDS[:3])]
    table = find_heads(lm, cases)
    assert len(table) == lm.cfg.n_layers * lm.cfg.n_heads
    a2 = chosen(table, "A2")
    exact = [float(table[(table.layer == l) & (table["head"] == h)].exact_a2.iloc[0]) for l, h in a2]
    assert exact == sorted(exact, reverse=True)
    assert all(l < max(layer for layer, _ in a2) for l, _ in chosen(table, "A1") if table.exact_a1.notna().any())
