"""What is put back or read anew at the word changes what it names; two identities hold on every shape of model."""

import pandas as pd
import pytest
import torch
from samples import seeded

from helpers.definitions import (
    FAR,
    TEMPLATES,
    affinity,
    definition_run,
    embeddings,
    find_heads,
    kinship,
    kv_hooks,
    mlp_hook,
    onward,
    onward_run,
    pattern_hook,
    place,
    put,
    put_for,
    read,
    replace,
    scale_writes,
    z_hook,
)
from helpers.evidence import paired_difference
from helpers.lm import model_folder
from helpers.runs import artifact
from recipes import paths_more, paths_tests, rescaling_paths
from recipes.rescaling_tests import model

LATE = ("GPTJForCausalLM",)  # its patterns are shown after the heads have read


@pytest.fixture(scope="module")
def ask(lm, prompts):
    return onward(lm, prompts)


@pytest.fixture(scope="module")
def one(lm, ask):
    return onward_run(lm, ask, 1.0, record=dict.fromkeys(kv_hooks(lm), 0))


@pytest.fixture(scope="module")
def far(lm, ask):
    return onward_run(lm, ask, FAR, record=dict.fromkeys(kv_hooks(lm), 0))


def close(a, b, atol=1e-4):
    torch.testing.assert_close(a, b, atol=atol, rtol=0)


def test_running_from_the_word_on_gives_what_the_whole_prompt_gives(lm, prompts, ask):
    end = prompts.tokens.shape[1] - 1
    for s in (1.0, FAR, 1.0):  # a run must not change what the next begins with
        whole = definition_run(lm, prompts, s, record={pattern_hook(1): end, z_hook(1): prompts.slot})
        short = onward_run(lm, ask, s, record={pattern_hook(1): end - prompts.slot, z_hook(1): 0})
        close(short.logp, whole.logp)
        close(short.seen[pattern_hook(1)], whole.seen[pattern_hook(1)])
        close(short.seen[z_hook(1)], whole.seen[z_hook(1)])


def test_keys_and_values_put_back_are_all_that_later_positions_see(lm, prompts, ask, one, far):
    close(onward_run(lm, ask, FAR, put(lm, "kv", 0, one.seen)).logp, one.logp)
    close(onward_run(lm, ask, 1.0, put(lm, "kv", 0, far.seen)).logp, far.logp)
    for part in "kv":
        short = onward_run(lm, ask, FAR, put(lm, part, 0, one.seen, [1, 2])).logp
        edits = [replace(lm, name, prompts.slot, one.seen[name]) for name in kv_hooks(lm, part, [1, 2])]
        close(short, definition_run(lm, prompts, FAR, interventions=edits).logp)
        assert (short - far.logp).abs().max() > 1e-3 < (short - one.logp).abs().max()


def test_a_value_can_be_put_back_for_some_readers_alone(lm, prompts, ask, one, far):
    """In the last layer only the last position's reading counts."""
    last, end = lm.cfg.n_layers - 1, ask.prompts.tokens.shape[1] - 1
    value = one.seen[f"blocks.{last}.attn.v.hook_out"]
    if lm.cfg.architecture in LATE:
        with pytest.raises(NotImplementedError, match="shown only after"):
            onward_run(lm, ask, FAR, [put_for(lm, last, [end], 0, value, prompts.slot)])
        return
    everyone = onward_run(lm, ask, FAR, put(lm, "v", 0, one.seen, [last])).logp
    close(onward_run(lm, ask, FAR, [put_for(lm, last, [end], 0, value, prompts.slot)]).logp, everyone)
    close(onward_run(lm, ask, FAR, [put_for(lm, last, range(1, end), 0, value, prompts.slot)]).logp, far.logp)
    assert (everyone - far.logp).abs().max() > 1e-3


def test_writes_times_s_and_norms_that_see_no_excess_bring_all_of_it_back(lm, ask, one, far):
    layers, excess = range(lm.cfg.n_layers), -(FAR - 1) * embeddings(lm, ask.prompts)
    mended = [e for l in layers for r in ("attention", "mlp") for e in read(lm, r, l, 0, excess)]
    close(onward_run(lm, ask, FAR, mended).logp, one.logp, 2e-3)
    some = [e for l in layers for e in read(lm, "attention", l, 0, excess)]
    separate_norms = "blocks.0.ln2.hook_in" in lm.hook_dict
    assert ((onward_run(lm, ask, FAR, some).logp - one.logp).abs().max() > 1e-2) == separate_norms
    if lm.cfg.positional_embedding_type != "standard":  # learned positions are added to the embedding, not times s
        whole, part = (
            (onward_run(lm, ask, FAR, edits).logp - one.logp).abs().max()
            for edits in (scale_writes(lm, 0, FAR), scale_writes(lm, 0, FAR, [0], mlp=False))
        )
        assert whole < 5e-3 and part > 3 * whole


def test_a_part_reads_another_stream_and_nothing_else_does(lm, ask):
    names = [f"blocks.1.attn.{x}.hook_out" for x in "qkv"] + [mlp_hook(lm, 0), "blocks.1.hook_in"]
    record, change = dict.fromkeys(names, 0), torch.randn(1, lm.cfg.d_model, generator=seeded())
    plain = onward_run(lm, ask, 1.0, record=record).seen
    for reader, touched in (("keys", "k"), ("values", "v"), ("attention", "qkv")):
        seen = onward_run(lm, ask, 1.0, read(lm, reader, 1, 0, change), record).seen
        differ = {n for n in names if (seen[n] - plain[n]).abs().max() > 1e-4}
        assert differ == {f"blocks.1.attn.{x}.hook_out" for x in touched}


def test_one_answer_for_all_recovers_one_word_and_the_own_answers_all():
    own = torch.randn(6, 40, generator=seeded()).log_softmax(-1)
    assert place(own, own).tolist() == [1] * 6
    same = own[2:3].expand(6, -1)
    assert (place(own, same) == 1).sum() == 1 and place(own, same)[2] == 1
    assert place(own, own.roll(1, 0)).min() > 1
    close(affinity(own, own).diagonal(), torch.ones(6))


def test_kinship_leaves_out_what_is_said_of_all_words():
    draws = torch.randn(2, 5, 30, generator=seeded(1))
    a, b = draws.log_softmax(-1)
    close(kinship(a, a).diagonal(), torch.ones(5))
    assert kinship(a, b).abs().mean() < 0.5 and kinship(a, a[[1, 0, 2, 3, 4]]).diagonal()[:2].max() < 0.5
    assert kinship(a[:1].expand(5, -1), b).abs().max() < 1e-2, "one answer for all is akin to none"


def test_bad_parts_readers_and_prompts_are_named(lm, prompts, one):
    with pytest.raises(ValueError, match="parts='q'; expected one of k, v"):
        put(lm, "q", 0, one.seen)
    with pytest.raises(ValueError, match="layer=7; expected a whole number from 0 to 2"):
        put(lm, "k", 0, one.seen, [7])
    with pytest.raises(ValueError, match="reader='eye'; expected one of keys, values, attention, mlp"):
        read(lm, "eye", 0, 0, torch.zeros(1, lm.cfg.d_model))
    with pytest.raises(ValueError, match="differ before the word"):
        onward(lm, prompts._replace(tokens=prompts.tokens.flip(1), slot=6))
    with pytest.raises(ValueError, match=r"a has shape \(5,\)"):
        affinity(torch.zeros(5), torch.zeros(2, 5))


def test_the_grids_points_run_on_this_shape(folder, monkeypatch):
    monkeypatch.setattr(paths_tests, "STEP", 1)
    monkeypatch.setattr(paths_tests, "FACTORS", (2.0, 3.0))
    name, words = str(folder), ["table", "dog", "idea", "river"]
    found = find_heads(model(name), [(TEMPLATES[0], words)])
    heads = found[found.role != ""].to_dict("records")
    for stage in paths_tests.PARTS:
        rows = rescaling_paths.work(stage, name, False, k=0, words=words, heads=heads)["result"]
        own = {(r["condition"], r["setting"], r["scale"]): r["measures"]["own"] for r in rows}
        assert len(own) == len(rows), "no run twice"
        if stage == "paths":
            assert own["keys and values of s = 1", None, FAR] == pytest.approx(own["plain", None, 1.0], abs=2e-3)
            assert own["keys and values of s = 100", None, 1.0] == pytest.approx(own["plain", None, FAR], abs=2e-3)
    candidates = rescaling_paths.work("neutrals", name, False, k=0, words=words, heads=heads)["result"]
    assert rescaling_paths.best_neutrals(pd.DataFrame(candidates))[0] in paths_more.NEUTRALS[0]
    tagged = rescaling_paths.work("tag", name, False, k=0, words=words, heads=heads, neutral=TEMPLATES[0].neutral)
    assert len(tagged["result"]["runs"]) == 4
    assert len(tagged["result"]["cues"]) == (found.role == "A1").sum()
    rows = rescaling_paths.work("streams", name, False, k=0, words=words, heads=heads)["result"]
    ordinary = [r for r in rows if r["scale"] == 1.0]
    assert all(r["cos_values"] == pytest.approx(1, abs=1e-3) for r in ordinary)
    akin = pd.DataFrame(rescaling_paths.work("kin", name, False, words=words, heads=heads)["result"])
    assert len(akin) == 6 * 3 * len(words) and set(akin.pair) == {"0-1", "0-2", "1-2"}
    model.cache_clear()


# What was shipped


def test_the_shipped_grid_saw_test_words_only_and_its_checks_come_out():
    words = pd.read_csv(artifact("definition_words.csv"), keep_default_na=False).set_index("word").split
    table = pd.read_csv(artifact("rescaling_paths.csv"))
    columns = [c for c in table if c not in rescaling_paths.KEYS]
    assert set(words[columns]) == {"test"}
    own = table[table.measure == "own"].set_index(["model", "template", "condition", "scale"])[columns]
    for name, k in {(r.model, r.template) for r in table.itertuples()}:
        plain = own.loc[(name, k, "plain", 1.0)].to_numpy(float).ravel()
        for check in ("keys and values of s = 1", "all writes × s", "all norms mended"):
            back = own.loc[(name, k, check, FAR)].to_numpy(float).ravel()
            assert abs(back - plain).max() < 0.02, (name, k, check)
        values, keys = (own.loc[(name, k, f"{x} of s = 1", FAR)].to_numpy(float).ravel() for x in ("values", "keys"))
        assert values.mean() > 0 > keys.mean() and paired_difference(values, keys)[1] > 0, (name, k)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["smollm2-135m", "gemma3-270m"])
def test_plain_transformers_finds_the_same_with_none_of_this_code(name):
    """The values carry it: forward hooks on the model's own modules, against the shipped table (first template)."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    table = pd.read_csv(artifact("rescaling_paths.csv"))
    rows = table[(table.model == name) & (table.template == 0) & (table.measure == "own") & (table.part == "paths")]
    words = [c for c in table if c not in rescaling_paths.KEYS]
    lm = AutoModelForCausalLM.from_pretrained(model_folder(name), dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(model_folder(name))
    tokens = torch.tensor([tokenizer(f"A typical definition of '{w}' would be '").input_ids for w in words])
    where = int((tokens != tokens[0]).any(0).nonzero())

    def answers(scale, part=None, values=None):
        seen, hooks = {}, []

        def moved(module, args, out):
            out = out.clone()
            out[:, where] *= scale
            return out

        hooks.append(lm.model.embed_tokens.register_forward_hook(moved))
        for l, layer in enumerate(lm.model.layers):
            for x in ("k", "v"):

                def patch(module, args, out, key=(x, l)):
                    seen[key] = out[:, where].clone()
                    if key[0] == part:
                        out = out.clone()
                        out[:, where] = values[key]
                        return out

                hooks.append(getattr(layer.self_attn, f"{x}_proj").register_forward_hook(patch))
        with torch.no_grad():
            logp = lm(tokens).logits[:, -1].log_softmax(-1)
        for hook in hooks:
            hook.remove()
        return logp, seen

    q, at_one = answers(1.0)

    def told(logp):
        return float((q.exp() * (logp - logp.exp().mean(0).log())).sum(1).mean())

    for condition, scale, logp in (
        ("plain", 1.0, q),
        ("plain", 100.0, answers(100.0)[0]),
        ("values of s = 1", 100.0, answers(100.0, "v", at_one)[0]),
        ("keys of s = 1", 100.0, answers(100.0, "k", at_one)[0]),
    ):
        kept = rows[(rows.condition == condition) & (rows.scale == scale)][words].iloc[0].astype(float).mean()
        assert told(logp) == pytest.approx(kept, abs=0.01), condition
