"""The runs of `recipes.rescaling_paths`: what each point does with the words of one template, or of all."""

from __future__ import annotations

import contextlib
import functools

import numpy as np
import torch
from torch import Tensor

from helpers.definitions import (
    FAR,
    Template,
    at,
    attention_to,
    definition_run,
    encode,
    information,
    kv_hooks,
    mlp_hook,
    onward,
    onward_run,
    patch_pattern,
    pattern_hook,
    place,
    put,
    put_for,
    read,
    replace,
    scale_head,
    scale_writes,
    transferred,
    write_hook,
)

from .rescaling_tests import Bench

SCALES = (0.0, 0.1, 1.0, 10.0, 100.0, 1000.0)
STEP = 3  # between the depths of cumulative patches
EARLY = (1, 2, 3, 4, 6, 9, 12, 18, 24)
FACTORS = (2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0)
CONTROLLED = (3.0, 10.0, 100.0)


class Ask(Bench):
    """A Bench that runs from the word on, where the word is at position 0; ``where`` is its place in the prompt."""

    def __init__(self, name, bos, k, words, heads, template: Template | None = None, neutral: bool = False):
        super().__init__(name, bos, k, words, heads)
        if template is not None:
            self.template = template
            self.p = encode(self.lm, template, words, bos=bos, neutral=neutral)
        self.ask, self.where, self.full_end = onward(self.lm, self.p), self.slot, self.end
        self.slot, self.end = 0, self.end - self.where
        self.rows: list[dict] = []

    def run(self, scale, edits=(), record=None):
        return onward_run(self.lm, self.ask, scale, edits, record)

    @functools.cached_property
    def one(self):
        return self.base(1.0)

    @functools.cached_property
    def far(self):
        return self.base(FAR)

    def base(self, scale):
        """A plain run with what patches need of it."""
        record = dict.fromkeys(kv_hooks(self.lm), 0) | {pattern_hook(l): self.end for l in self.layers}
        record |= {f"blocks.{l}.attn.v.hook_in": 0 for l in self.layers} | {
            write_hook(self.lm, l): 0 for l in self.layers
        }
        return self.run(scale, record=record | {mlp_hook(self.lm, l): 0 for l in self.layers})

    def do(self, condition, scale, edits=(), setting=None, run=None):
        """Make a run and note its measures."""
        run = self.run(scale, edits, self.watch_on) if run is None else run
        self.rows.append({"condition": condition, "setting": setting, "scale": scale, "measures": self.measures(run)})

    @property
    def watch_on(self):
        return {pattern_hook(l): self.end for l, _ in self.a2}

    def measures(self, run) -> dict[str, list]:
        own = self.one.logp
        said, expected = (torch.logsumexp(x, 0) - np.log(len(x)) for x in (run.logp, own))
        out = {
            "own": (c := transferred(own, run.logp)),
            "fixed": c + (own.exp() * (said - expected)).sum(1),
            "information": information(run.logp),
            "place": place(own, run.logp),
            "first": (run.logp.argmax(1) == own.argmax(1)).int(),
        }
        if run.seen:
            out["attention"] = attention_to(run.seen, self.a2, self.where)
        return {k: [round(x, 3) for x in v.tolist()] for k, v in out.items()}

    def patched(self, scale, source, edits=()):
        """A run of the whole prompt in which all heads attend from the last position as in ``source``."""
        heads = range(self.lm.cfg.n_heads)
        patterns = [patch_pattern(self.lm, l, heads, self.full_end, source.seen[pattern_hook(l)]) for l in self.layers]
        return definition_run(self.lm, self.p, scale, interventions=[*edits, *patterns])  # patterns see edited values


def paths(name, bos, k, words, heads) -> list[dict]:
    """Keys and values, both ways; who reads the values."""
    b = Ask(name, bos, k, words, heads)
    lm, n = b.lm, b.lm.cfg.n_layers
    runs = {s: {1.0: b.one, FAR: b.far}.get(s) or b.base(s) for s in SCALES}
    for s, run in runs.items():
        b.do("plain", s, run=run)
    for s in (10.0, FAR, 1000.0):
        for part, called in (("k", "keys"), ("v", "values")):
            b.do(f"{called} of s = 1", s, put(lm, part, 0, b.one.seen))
            b.do(f"{called} of s = {s:g}", 1.0, put(lm, part, 0, runs[s].seen))
    b.do("keys and values of s = 1", FAR, put(lm, "kv", 0, b.one.seen))
    b.do("keys and values of s = 100", 1.0, put(lm, "kv", 0, b.far.seen))
    for s, source, other in ((FAR, b.one, "1"), (1.0, b.far, "100")):
        v = [source.seen[x] for x in kv_hooks(lm, "v")]
        who = {"by the last position": [b.end], "in between": range(1, b.end)}
        for reader, queries in who.items():
            edits = [put_for(lm, l, list(queries), 0, v[l], b.where) for l in range(n)]
            with contextlib.suppress(NotImplementedError):  # this model shows its patterns too late for that
                b.do(f"values of s = {other}, read {reader}", s, edits)
    return b.rows


def patterns(name, bos, k, words, heads) -> list[dict]:
    """All heads attend from the last position as at the other scale; alone, and with the word's values too."""
    b = Ask(name, bos, k, words, heads)
    for s, source, other in ((FAR, b.one, "1"), (1.0, b.far, "100")):
        values = [replace(b.lm, x, b.where, source.seen[x]) for x in kv_hooks(b.lm, "v")]
        b.do(f"patterns of s = {other}", s, run=b.patched(s, source))
        b.do(f"patterns and values of s = {other}", s, run=b.patched(s, source, values))
    return b.rows


def layers(name, bos, k, words, heads) -> list[dict]:
    """Keys and values by layer: one at a time, in the layers before a depth, and from it on."""
    b = Ask(name, bos, k, words, heads)
    n = b.lm.cfg.n_layers
    for called, parts, scale, seen in (
        ("values of s = 1", "v", FAR, b.one.seen),
        ("keys of s = 100", "k", 1.0, b.far.seen),
        ("keys and values of s = 1", "kv", FAR, b.one.seen),
    ):
        if parts != "kv":
            for l in b.layers:
                b.do(f"{called}, one layer", scale, put(b.lm, parts, 0, seen, [l]), l)
        for depth in range(STEP, n, STEP):
            b.do(f"{called}, layers before", scale, put(b.lm, parts, 0, seen, range(depth)), depth)
            b.do(f"{called}, layers from", scale, put(b.lm, parts, 0, seen, range(depth, n)), depth)
    return b.rows


def writes(name, bos, k, words, heads) -> list[dict]:
    """At s = 100: which writes must keep their share, and which norms must not see the excess embedding."""
    b = Ask(name, bos, k, words, heads)
    lm, n, s = b.lm, b.lm.cfg.n_layers, FAR
    depths = [d for d in EARLY if d < n]
    b.do("all writes × s", s, scale_writes(lm, 0, s))
    b.do("attention writes × s", s, scale_writes(lm, 0, s, mlp=False))
    b.do("MLP writes × s", s, scale_writes(lm, 0, s, attention=False))
    for d in depths:
        b.do("writes × s, layers before", s, scale_writes(lm, 0, s, range(d)), d)
    excess = -(s - 1) * b.e

    def mend(*readers, over=b.layers):
        return [edit for reader in readers for l in over for edit in read(lm, reader, l, 0, excess)]

    for called, readers in {
        "all norms": ("attention", "mlp"),
        "norms of attention": ("attention",),
        "norms of MLPs": ("mlp",),
        "norms of values": ("values",),
        "norms of keys": ("keys",),
        "norms of keys and values": ("keys", "values"),
        "norms of MLPs and values": ("mlp", "values"),
        "norms of MLPs, keys and values": ("mlp", "keys", "values"),
    }.items():
        b.do(f"{called} mended", s, mend(*readers))
    for d in depths:
        b.do("all norms mended, layers before", s, mend("attention", "mlp", over=range(d)), d)
        b.do("all norms mended, layers from", s, mend("attention", "mlp", over=range(d, n)), d)
        b.do("norms of MLPs mended before, of values everywhere", s, mend("mlp", over=range(d)) + mend("values"), d)

    def value_inputs(new):
        names = [f"blocks.{l}.attn.v.hook_in" for l in b.layers]
        return [at(lm, x, 0, lambda old, rows, x=x: new(old, b.one.seen[x])) for x in names]

    def length(x: Tensor) -> Tensor:
        return x.norm(dim=-1, keepdim=True)

    b.do("value inputs: direction of s = 1", s, value_inputs(lambda old, one: one / length(one) * length(old)))
    b.do("value inputs: length of s = 1", s, value_inputs(lambda old, one: old / length(old) * length(one)))
    for d in dict.fromkeys((3, n)):
        names = [x for l in range(d) for x in (write_hook(lm, l), mlp_hook(lm, l))]
        b.do("writes of s = 1, layers before", s, [replace(lm, x, 0, b.one.seen[x]) for x in names], d)
    return b.rows


def doses(name, bos, k, words, heads) -> list[dict]:
    """At s = 100: what A1 writes, times a factor; and the same length in other directions or at the next position."""
    b = Ask(name, bos, k, words, heads)
    others, noise = b.others(b.a1, 0), b.noise(b.e, 1)
    for f in FACTORS:
        b.do("A1", FAR, [scale_head(b.lm, l, h, 0, f) for l, h in b.a1], f)
        if f in CONTROLLED:
            pairs = zip(b.a1, others, strict=True)
            b.do("control: other heads", FAR, [scale_head(b.lm, l, h, 0, f, o) for (l, h), (_, o) in pairs], f)
            b.do("control: noise", FAR, [scale_head(b.lm, l, h, 0, f, noise) for l, h in b.a1], f)
            b.do("control: elsewhere", FAR, [scale_head(b.lm, l, h, 1, f) for l, h in b.a1], f)
    return b.rows


PARTS = {"paths": paths, "patterns": patterns, "layers": layers, "writes": writes, "doses": doses}
