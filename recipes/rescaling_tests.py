"""The tests of chapter 4's explanation: every intervention on the words of one template, for `recipes.rescaling`."""

from __future__ import annotations

import functools
import time

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from helpers.definitions import (
    FAR,
    TEMPLATES,
    Prompts,
    add,
    at,
    attention_to,
    chosen,
    definition_run,
    divergence,
    embeddings,
    encode,
    freeze_norm,
    head_writes,
    information,
    key_input,
    mlp_hook,
    multiply,
    patch_pattern,
    pattern_hook,
    replace,
    scale_head,
    set_head,
    transferred,
    write_hook,
    z_hook,
)
from helpers.lm import load_lm
from helpers.runs import artifact

OTHER = (10.0, 1000.0)  # scales besides FAR at which the main tests are repeated
DRAWS = 3  # of other heads, as controls
DEPTHS = (1, 2, 3, 4, 6, 8, 12, 16, 20, 24)


@functools.cache
def model(name: str):
    return load_lm(name)


def words_of(lm, split: str, bos: bool, reduced: bool) -> list[tuple[int, list[str]]]:
    """Templates by number, each with every third word of the split that is one token there."""
    table = pd.read_csv(artifact("definition_words.csv"), keep_default_na=False)
    words = list(table.word[table.split == split]) if split != "all" else list(table.word)
    words = words[:: 6 if reduced else 1]
    out = []
    for k, template in enumerate(TEMPLATES):
        fits = []
        for word in words[k :: len(TEMPLATES)]:
            try:
                encode(lm, template, word, bos=bos)
            except ValueError:
                continue  # several tokens in this model
            fits.append(word)
        out.append((k, fits))
    return out


class Bench:
    """One model, one template, some words: the runs that tests start from, and the measures of a run."""

    def __init__(self, name: str, bos: bool, k: int, words: list[str], heads: list[dict]):
        self.lm, table = model(name), pd.DataFrame(heads)
        self.a1, self.a2 = chosen(table, "A1"), chosen(table, "A2")
        self.layers, self.bos, self.template = range(self.lm.cfg.n_layers), bos, TEMPLATES[k]
        self.p = encode(self.lm, self.template, words, bos=bos)
        self.slot, self.end = self.p.slot, self.p.tokens.shape[1] - 1
        self.e = embeddings(self.lm, self.p)
        self.watch = {pattern_hook(l): self.end for l, _ in self.a2}
        self.own: Tensor | None = None

    def run(self, scale: float, edits=(), record=None, prompts: Prompts | None = None, **more):
        return definition_run(self.lm, prompts or self.p, scale, interventions=edits, record=record, **more)

    def measured(self, condition: str, scale: float, edits=(), run=None) -> list[dict]:
        """A row a word: transferred information, divergence from the word at s = 1, attention of A2."""
        run = self.run(scale, edits, self.watch) if run is None else run
        own, apart = transferred(self.own, run.logp), divergence(run.logp, self.own)
        known = information(run.logp)
        seen = {h: (v if v.ndim == 3 else v[:, :, self.end]) for h, v in run.seen.items() if h in self.watch}
        all_, first = attention_to(seen, self.a2, self.slot), attention_to(seen, self.a2[:1], self.slot)
        columns = {
            "word": self.p.words,
            "own": own,
            "information": known,
            "apart": apart,
            "a2": all_,
            "a2_first": first,
        }
        return [
            {"condition": condition, "scale": scale}
            | {k: (v if isinstance(v, str) else round(float(v), 5)) for k, v in zip(columns, row, strict=True)}
            for row in zip(*columns.values(), strict=True)
        ]

    def others(self, heads, draw: int):
        """For each head another of its layer that is neither A1 nor A2 (if the layer has one), by a seeded draw."""
        rng, out = np.random.default_rng(draw), []
        for layer, head in heads:
            taken = {*self.a1, *self.a2, *out}
            free = [h for h in range(self.lm.cfg.n_heads) if (layer, h) not in taken]
            free = free or [h for h in range(self.lm.cfg.n_heads) if h != head]
            out.append((layer, int(rng.choice(free))))
        return out

    def noise(self, like: Tensor, seed: int = 0) -> Tensor:
        """Gaussian directions, each of the length of the row of ``like``."""
        draw = torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))
        draw = draw.to(like)
        return draw / draw.norm(dim=-1, keepdim=True) * like.norm(dim=-1, keepdim=True)

    def patterns(self, heads, query: int, source: dict[str, Tensor]):
        """Edits that give ``heads`` the patterns they have in ``source``."""
        layers = sorted({l for l, _ in heads})
        return [
            patch_pattern(self.lm, l, [h for m, h in heads if m == l], query, source[pattern_hook(l)][:, :, query])
            for l in layers
        ]


def test(name: str, bos: bool, k: int, words: list[str], heads: list[dict]) -> dict:
    """Every intervention on the words of one template."""
    begun, b = time.process_time(), Bench(name, bos, k, words, heads)
    lm, slot, end, layers = b.lm, b.slot, b.end, b.layers
    patterns = {pattern_hook(l): None for l in layers}
    zs = {z_hook(l): None for l in layers}
    kv = {f"blocks.{l}.attn.{x}.hook_out": slot for l in layers for x in "kv"}
    norms = [n for l in layers for n in (f"blocks.{l}.ln1", f"blocks.{l}.ln2") if f"{n}.hook_scale" in lm.hook_dict]
    scales = {f"{n}.hook_scale": None for n in norms}
    one = b.run(1.0, record=patterns | zs | kv | scales)
    b.own = one.logp
    far = b.run(FAR, record=patterns | zs | {f"{n}.hook_scale": slot for n in norms})
    neutral = b.run(1.0, record=zs, prompts=encode(lm, b.template, words, neutral=True, bos=bos))
    rows = b.measured("plain", 1.0, run=one) + b.measured("plain", FAR, run=far)

    def do(condition, scale, *edits):
        rows.extend(b.measured(condition, scale, edits))

    def resample(group, position=slot):
        return [set_head(lm, l, h, position, neutral.seen[z_hook(l)][:, position, h]) for l, h in group]

    # at s = 1: take the tag away (all but "A1 averaged": a tag is common to all words, so the average keeps it)
    do("A1 resampled", 1.0, *resample(b.a1))
    do("first A1 resampled", 1.0, *resample(b.a1[:1]))
    zero = torch.zeros(1, lm.cfg.d_head, device=lm.cfg.device)
    do("A1 zeroed", 1.0, *[set_head(lm, l, h, slot, zero) for l, h in b.a1])
    mean = {(l, h): one.seen[z_hook(l)][:, slot, h].mean(0, keepdim=True) for l, h in b.a1}
    do("A1 averaged", 1.0, *[set_head(lm, l, h, slot, mean[l, h]) for l, h in b.a1])
    change = {(l, h): (neutral.seen[z_hook(l)] - one.seen[z_hook(l)])[:, slot, h] for l, h in b.a1}
    noisy = {(l, h): one.seen[z_hook(l)][:, slot, h] + b.noise(change[l, h]) for l, h in b.a1}
    do("control: noise at A1", 1.0, *[set_head(lm, l, h, slot, noisy[l, h]) for l, h in b.a1])
    do("control: A1 elsewhere", 1.0, *resample(b.a1, slot + 1))
    for draw in range(DRAWS):
        do(f"control: other heads for A1, {draw}", 1.0, *resample(b.others(b.a1, draw)))
    do("all attention at the word resampled", 1.0,
       *[replace(lm, z_hook(l), slot, neutral.seen[z_hook(l)][:, slot]) for l in layers])  # fmt: skip
    do("A1 resampled for the keys of A2", 1.0, *path(b, neutral, one))
    # at s = 1: take A2's finding away
    do("A2 attends as at s = 100", 1.0, *b.patterns(b.a2, end, far.seen))
    do("first A2 attends as at s = 100", 1.0, *b.patterns(b.a2[:1], end, far.seen))
    do("control: A2 elsewhere", 1.0, *b.patterns(b.a2, slot, far.seen))
    for draw in range(DRAWS):
        do(f"control: other heads for A2, {draw}", 1.0, *b.patterns(b.others(b.a2, draw), end, far.seen))
    # at s = 100: keep the tag's share
    for s in (FAR, *OTHER):
        if s != FAR:
            do("plain", s)
        do("A1 times s", s, *[scale_head(lm, l, h, slot, s) for l, h in b.a1])
        do("A2 attends as at s = 1", s, *b.patterns(b.a2, end, one.seen))
        do("all keys of s = 1", s, *[replace(lm, n, slot, one.seen[n]) for n in kv if ".k." in n])
        do("all values of s = 1", s, *[replace(lm, n, slot, one.seen[n]) for n in kv if ".v." in n])
    s = FAR
    do("first A1 times s", s, *[scale_head(lm, l, h, slot, s) for l, h in b.a1[:1]])
    do("control: A1 times s elsewhere", s, *[scale_head(lm, l, h, slot + 1, s) for l, h in b.a1])
    noise = b.noise(b.e, 1)
    do("control: noise times s", s, *[scale_head(lm, l, h, slot, s, noise) for l, h in b.a1])
    for draw in range(DRAWS):
        pairs = zip(b.a1, b.others(b.a1, draw), strict=True)
        do(f"control: other heads times s, {draw}", s, *[scale_head(lm, l, h, slot, s, o) for (l, h), (_, o) in pairs])
    do("all attention times s", s, *[multiply(lm, write_hook(lm, l), slot, s) for l in layers])
    do(
        "everything times s",
        s,
        *[multiply(lm, n, slot, s) for l in layers for n in (write_hook(lm, l), mlp_hook(lm, l))],
    )
    tags = tag(b, bos, k, {l for l, _ in b.a2})
    first = min(tags)
    do("tag vector times s", s, add(lm, f"blocks.{first}.hook_in", slot, (s - 1) * tags[first]))
    # at s = 100: undo the norm
    frozen = [freeze_norm(lm, n, slot, one.seen[f"{n}.hook_scale"][:, slot]) for n in norms]
    do("norms frozen", s, *frozen)
    before_a2 = [f"blocks.{l}.ln1" for l in sorted({l for l, _ in b.a2})]
    do("norms before A2 frozen", s,
       *[freeze_norm(lm, n, slot, one.seen[f"{n}.hook_scale"][:, slot]) for n in before_a2])  # fmt: skip
    after = [freeze_norm(lm, n, slot + 1, one.seen[f"{n}.hook_scale"][:, slot + 1]) for n in norms]
    do("control: norms frozen elsewhere", s, *after)
    excess = (s - 1) * b.e
    do("excess embedding out of A2's keys", s, *[key_input(lm, l, slot, -excess) for l in sorted({l for l, _ in b.a2})])
    for l in [d for d in DEPTHS if d < len(layers)]:
        do(f"excess embedding out before layer {l}", s,
           at(lm, f"blocks.{l}.hook_in", slot, lambda old, rows: old - excess[rows]))  # fmt: skip
    # at s = 100: patterns, keys, values
    do("first A2 attends as at s = 1", s, *b.patterns(b.a2[:1], end, one.seen))
    every = [(l, h) for l in layers for h in range(lm.cfg.n_heads)]
    do("all heads attend as at s = 1", s, *b.patterns(every, end, one.seen))
    for draw in range(DRAWS):
        do(f"control: other heads attend as at s = 1, {draw}", s, *b.patterns(b.others(b.a2, draw), end, one.seen))
    do("all keys and values of s = 1", s, *[replace(lm, n, slot, one.seen[n]) for n in kv])
    for x, word in (("k", "keys"), ("v", "values")):
        of_a2 = [f"blocks.{l}.attn.{x}.hook_out" for l in sorted({l for l, _ in b.a2})]
        do(f"{word} of A2 of s = 1", s, *[replace(lm, n, slot, one.seen[n]) for n in of_a2])
    return {"rows": rows, "seconds": round(time.process_time() - begun, 1)}


def path(b: Bench, neutral, one) -> list:
    """A1 into the keys of A2 alone, at s = 1: what A1 wrote is replaced by what it writes in the neutral prompt.

    Only the direct path: everything between stays. In a first pass A2's layers compute keys from the changed stream;
    the patterns that A2 has there are then given to A2 and to no other head.
    """
    writes = {}
    post = [n for l, _ in b.a1 if (n := f"blocks.{l}.ln1_post.hook_scale") in b.lm.hook_dict]
    held = b.run(1.0, record=dict.fromkeys(post, b.slot)).seen
    for l, h in b.a1:
        both = [head_writes(b.lm, l, run.seen[z_hook(l)][:, b.slot], held.get(f"blocks.{l}.ln1_post.hook_scale"))
                for run in (one, neutral)]  # fmt: skip
        writes[l, h] = (both[1] - both[0])[:, h]
    edits, record = [], {}
    for layer in sorted({l for l, _ in b.a2}):
        upstream = [w for (l, _), w in writes.items() if l < layer]
        if upstream:
            edits.append(key_input(b.lm, layer, b.slot, torch.stack(upstream).sum(0)))
            record[pattern_hook(layer)] = None
    first = b.run(1.0, edits, record)
    return b.patterns([(l, h) for l, h in b.a2 if pattern_hook(l) in record], b.end, first.seen)


def tag(b: Bench, bos: bool, k: int, layers) -> dict[int, Tensor]:
    """What the request adds to the stream at the word, ``(1, d_model)`` before each layer: the discovery words' mean
    difference between the prompt and the neutral prompt, at s = 1."""
    words = dict(words_of(b.lm, "discovery", bos, False))[k]
    record = {f"blocks.{l}.hook_in": b.slot for l in layers}
    with_, without = (
        b.run(1.0, record=record, prompts=encode(b.lm, b.template, words, bos=bos, neutral=n)).seen for n in (0, 1)
    )
    return {l: (with_[n] - without[n]).mean(0, keepdim=True) for l, n in zip(layers, record, strict=True)}
