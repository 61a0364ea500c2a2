"""More of `recipes.rescaling_paths`: neutral prompts, streams, what answers to one word have in common, texts."""

from __future__ import annotations

import dataclasses
import functools

import torch
from torch import Tensor

from helpers.definitions import (
    FAR,
    TEMPLATES,
    affinity,
    attention_to,
    head_writes,
    kinship,
    kv_hooks,
    mlp_hook,
    pattern_hook,
    put,
    replace,
    set_head,
    transferred,
    write,
    write_hook,
    z_hook,
)

from .paths_tests import SCALES, Ask
from .rescaling_tests import model

NEUTRALS = (
    [f"A typical {w} of '{{}}' would be '" for w in ("picture", "owner", "price", "enemy", "user", "rival", "friend")],
    [
        f"The {w} '{{}}' as '"
        for w in (
            "teacher wrote the word", "teacher painted the word", "farmer bought the horse", "sailor named the boat",
            "farmer sold the house", "police released the man", "company listed the stock", "people elected the man",
        )
    ],
    [f"A typical {w} of {{}} is" for w in ("picture", "owner", "price", "enemy", "user", "rival", "friend")],
)  # fmt: skip
"""Candidates for the prompt without the request. The first of each is that of `TEMPLATES`."""


def neutrals(name, bos, k, words, heads) -> list[dict]:
    """A2's attention in each candidate's prompt, and how far that is on the way from s = 1 to s = 100."""
    b, rows = Ask(name, bos, k, words, heads), []
    one, far = (attention_to(r.seen, b.a2, b.where).mean().item() for r in (b.one, b.far))
    for text in NEUTRALS[k]:
        try:
            other = Ask(name, bos, k, words, heads, dataclasses.replace(b.template, neutral=text), neutral=True)
        except ValueError:  # another number of tokens in this model
            continue
        run = other.run(1.0, record=other.watch_on)
        seen = attention_to(run.seen, b.a2, b.where).mean().item()
        row = {
            "model": name,
            "template": k,
            "neutral": text,
            "attention": seen,
            "attention_1": one,
            "attention_100": far,
        }
        row["own"] = transferred(b.one.logp, run.logp).mean().item()
        rows.append({x: round(v, 4) if isinstance(v, float) else v for x, v in row.items()})
        rows[-1]["share"] = round((seen - one) / (far - one), 4)
    return rows


def tag(name, bos, k, words, heads, neutral: str) -> dict:
    """At s = 1: more and more of what the request does at the word is taken from the prompt without it."""
    b, template = Ask(name, bos, k, words, heads), dataclasses.replace(TEMPLATES[k], neutral=neutral)
    other, lm = Ask(name, bos, k, words, heads, template, neutral=True), b.lm
    cue = {pattern_hook(l): 0 for l, _ in b.a1}
    # a pattern is recorded at one query: the word's for the cue, the last for A2
    cues = [run.run(1.0, record=cue).seen for run in (b, other)]
    record = {z_hook(l): 0 for l in b.layers} | dict.fromkeys(kv_hooks(lm), 0)
    away = other.run(1.0, record=record)
    last = other.run(1.0, record=other.watch_on)
    called = "ours" if neutral == TEMPLATES[k].neutral else "best"
    b.do(f"A1 of the neutral prompt ({called})", 1.0,
         [set_head(lm, l, h, 0, away.seen[z_hook(l)][:, h]) for l, h in b.a1])  # fmt: skip
    b.do(f"all attention at the word of the neutral prompt ({called})", 1.0,
         [replace(lm, z_hook(l), 0, away.seen[z_hook(l)]) for l in b.layers])  # fmt: skip
    b.do(f"keys of the neutral prompt ({called})", 1.0, put(lm, "k", 0, away.seen))
    b.do(f"whole neutral prompt ({called})", 1.0, run=last)
    rows = []
    for l, h in b.a1:
        to = [seen[pattern_hook(l)][:, h, b.p.cue] for seen in cues]
        rows.append({"model": name, "template": k, "neutral": neutral, "layer": l, "head": h}
                    | {x: round(v.mean().item(), 4) for x, v in zip(("request", "stand_in"), to, strict=True)}
                    | {"difference_se": round(((to[0] - to[1]).std() / len(words) ** 0.5).item(), 5)})  # fmt: skip
    return {"runs": b.rows, "cues": rows}


def streams(name, bos, k, words, heads) -> list[dict]:
    """Lengths and directions at the word's position by layer: means over words."""
    b, rows, first = Ask(name, bos, k, words, heads), [], None
    lm = b.lm
    for s in (1.0, *[x for x in SCALES if x != 1.0]):
        record = {x: 0 for l in b.layers for x in (
            f"blocks.{l}.hook_in", write_hook(lm, l), mlp_hook(lm, l), f"blocks.{l}.attn.v.hook_in",
            f"blocks.{l}.mlp.hook_in", z_hook(l), *kv_hooks(lm, "kv", [l]))}  # fmt: skip
        post = {f"blocks.{l}.ln1_post.hook_scale": 0 for l in b.layers}
        seen = b.run(s, record=record | {x: p for x, p in post.items() if x in lm.hook_dict}).seen
        first = first or seen
        for l in b.layers:
            x = seen[f"blocks.{l}.hook_in"]
            parts = head_writes(lm, l, seen[z_hook(l)], seen.get(f"blocks.{l}.ln1_post.hook_scale"))
            a1 = [h for m, h in b.a1 if m == l]
            named = {
                "attention": write_hook(lm, l), "mlp": mlp_hook(lm, l),
                "value_input": f"blocks.{l}.attn.v.hook_in", "mlp_input": f"blocks.{l}.mlp.hook_in",
                "values": f"blocks.{l}.attn.v.hook_out", "keys": f"blocks.{l}.attn.k.hook_out",
            }  # fmt: skip
            row = {"model": name, "template": k, "scale": s, "layer": l, "stream": x.norm(dim=-1)}
            row["share"] = (x - s * b.e).norm(dim=-1) / x.norm(dim=-1)
            row["a1"] = parts[:, a1].sum(1).norm(dim=-1) if a1 else None
            for part in ("attention", "mlp", "value_input"):
                row[f"length_{part}"] = seen[named[part]].norm(dim=-1)
            for part, hook in named.items():
                now, then = seen[hook].flatten(1), first[hook].flatten(1)
                row[f"cos_{part}"] = torch.cosine_similarity(now, then)
                if part == "values":  # what tells words apart
                    row["cos_values_centred"] = torch.cosine_similarity(now - now.mean(0), then - then.mean(0))
            rows.append({c: round(v.mean().item(), 4) if isinstance(v, Tensor) else v for c, v in row.items()})
    return rows


BROKEN = (
    ("plain", 1.0, None, None), ("plain", FAR, None, None),
    ("keys of s = 100", 1.0, "k", "far"), ("values of s = 100", 1.0, "v", "far"),
    ("keys of s = 1", FAR, "k", "one"), ("values of s = 1", FAR, "v", "one"),
)  # fmt: skip


@functools.cache
def classes(name: str) -> Tensor:
    """Tokens that differ only in case and a space before them are one class, ``(d_vocab,)``."""
    lm, seen = model(name), {}
    tokens = lm.tokenizer.convert_ids_to_tokens(range(len(lm.tokenizer)))
    ids = [seen.setdefault(str(t).lstrip("Ġ▁").lower(), len(seen)) for t in tokens]
    return torch.tensor(ids + list(range(len(seen), len(seen) + lm.cfg.d_vocab - len(ids))))


def merged(name: str, logp: Tensor) -> Tensor:
    """Log-probabilities of the classes of tokens."""
    ids = classes(name)[: logp.shape[1]]
    return torch.zeros(len(logp), int(ids.max()) + 1).index_add_(1, ids, logp.exp()).clamp_min(1e-30).log()


def kin(name, bos, words, heads) -> list[dict]:
    """Is what is said tied to the word? Answers to the same word in two templates, against different words'."""
    rows, asks = [], [Ask(name, bos, k, words, heads) for k in range(len(TEMPLATES))]
    for condition, scale, part, source in BROKEN:
        answers = []
        for b in asks:
            edits = put(b.lm, part, 0, getattr(b, source).seen) if part else ()
            answers.append(merged(name, b.run(scale, edits).logp))
        for i, j in ((0, 1), (0, 2), (1, 2)):
            like = kinship(answers[i], answers[j])
            raw = affinity(answers[i], answers[j])
            for w, word in enumerate(words):
                apart = torch.arange(len(words)) != w
                row = {"same": like[w, w], "different": like[w, apart].mean(),
                       "found": (like[w] > like[w, w]).sum() == 0, "affinity": raw[w, w],
                       "affinity_different": raw[w, apart].mean()}  # fmt: skip
                row = {c: round(float(v), 3) for c, v in row.items()}
                rows.append(
                    {"model": name, "condition": condition, "scale": scale, "pair": f"{i}-{j}", "word": word} | row
                )
    return rows


def said(name, bos, words, heads) -> list[dict]:
    """Twelve greedy tokens of every second word, with the first two templates."""
    rows, words = [], words[::2]
    for k in (0, 1):
        b = Ask(name, bos, k, words, heads)
        for condition, scale, part, source in [
            *BROKEN,
            *[("plain", s, None, None) for s in SCALES if s not in (1, FAR)],
        ]:
            seen = getattr(b, source).seen if part else {}
            edits = [replace(b.lm, x, b.where, seen[x]) for x in kv_hooks(b.lm, part)] if part else ()
            texts = write(b.lm, b.p, scale, interventions=edits)
            rows += [{"model": name, "template": k, "condition": condition, "scale": scale, "word": w,
                      "text": " ".join(t.split())} for w, t in zip(words, texts, strict=True)]  # fmt: skip
    return rows
