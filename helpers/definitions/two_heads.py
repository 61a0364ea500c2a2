"""Two heads behind a definition: a rule that finds them, and a rule that says what a test of them showed.

The explanation under test: heads A1 write an "I am the word to define" tag at the word's position, attending back to
the cue ("definition"); heads A2 at the last position find the tag and fetch what the word means; a huge embedding makes
the tag a vanishing share of the normalised stream, and A2 finds nothing.

**Finding.** Fixed before any test, and generous: of all heads those most favourable to the explanation, up to `SIZE` of
each. Every step uses discovery words only.

* A2: heads whose attention from the last position to the word falls between s = 1 and s = `FAR`, ranked by how much
  transferred information (:mod:`helpers.definitions.rescaling`) is lost at s = 1 if their pattern alone is the one of s
  = `FAR`.
* A1: heads in layers before the last A2, attending from the word to the cue with `CUE` or more, ranked by how much the
  attention of A2 to the word falls at s = 1 if their output at the word is the one of the neutral prompt.

Ranking every head exactly would take a run for each. A first-order estimate (gradient times change of z) gives a short
list, which is then ranked exactly.

**Deciding.** An effect is the share of the way from one run to another, 0 nothing, 1 all, with a 95% bootstrap interval
over words. It *holds* if the interval lies above `HOLDS`, *fails* if it lies below `FAILS` or does not exceed the
strongest control, and is *in part* otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..evidence import interval
from .interventions import patch_pattern, set_head, z_hook
from .rescaling import Prompts, Template, _last, definition_run, encode, transferred

FAR = 100.0
CUE = 0.1
SIZE = 5
SHORT = 10
HOLDS, FAILS = 0.5, 0.1

Heads = list[tuple[int, int]]  # (layer, head)


def pattern_hook(layer: int) -> str:
    """Where the heads of a layer have their patterns, after the softmax: ``(batch, n_heads, ctx, ctx)``.

    >>> from helpers.definitions import pattern_hook
    >>> pattern_hook(3)
    'blocks.3.attn.hook_pattern'
    """
    return f"blocks.{layer}.attn.hook_pattern"


def gradients(
    lm, prompts: Prompts, metric: Callable[[Tensor, dict], Tensor], hooks: Sequence[str], until: int | None = None
) -> dict[str, Tensor]:
    """Derivative of ``metric(logits at the last position, values at hooks)`` with respect to what is at each hook."""
    held: dict[str, Tensor] = {}

    def tap(value: Tensor, hook) -> Tensor:
        held[hook.name] = value
        value.retain_grad()
        return value

    taps = [
        ("embed.hook_out", lambda value, hook: value.detach().clone().requires_grad_()),
        *[(hook, tap) for hook in hooks],
        ("unembed.hook_in", _last),
    ]
    with torch.enable_grad():
        out = lm.run_with_hooks(
            prompts.tokens.to(lm.cfg.device), fwd_hooks=taps, return_type="logits", stop_at_layer=until
        )
        metric(out[:, -1], held).backward()
    return {hook: held[hook].grad for hook in hooks}


def find_heads(lm, cases: Sequence[tuple[Template, Sequence[str]]], *, bos: bool = False) -> pd.DataFrame:
    """Every head, with what the two rules saw of it and what they chose. ``cases``: templates, each with its words.

    Columns: ``layer``, ``head``; mean attention from the last position to the word at s = 1 and s = FAR
    (``to_word``, ``to_word_far``) and from the word to the cue (``to_cue``); ``estimate_a2``, ``exact_a2`` (nats) and
    ``estimate_a1``, ``exact_a1`` (probability); ``role``, which is ``A2``, ``A1`` or empty; ``rank`` within the role.
    """
    cases = [_Case(lm, words, template, bos) for template, words in cases]
    table = pd.DataFrame([{"layer": l, "head": h} for l in range(lm.cfg.n_layers) for h in range(lm.cfg.n_heads)])

    def mean(of) -> np.ndarray:
        return torch.stack([of(case) for case in cases]).mean(0).flatten().cpu().numpy()

    table["to_word"] = mean(lambda c: c.attention(c.one, -1, c.slot))
    table["to_word_far"] = mean(lambda c: c.attention(c.far, -1, c.slot))
    table["to_cue"] = mean(lambda c: c.attention(c.one, c.slot, c.cue))
    table["estimate_a2"] = mean(lambda c: c.estimate_a2())
    falls = table.to_word > table.to_word_far
    table["exact_a2"] = np.nan
    for i in table[falls].nlargest(SHORT, "estimate_a2").index:
        layer, head = int(table.layer[i]), int(table["head"][i])
        table.loc[i, "exact_a2"] = float(np.mean([c.loss(layer, head) for c in cases]))
    a2 = _chosen(table, "exact_a2", "estimate_a2")
    last = max(layer for layer, _ in a2)
    table["estimate_a1"] = mean(lambda c: c.estimate_a1(a2, last))
    taken = [(l, h) in a2 for l, h in zip(table.layer, table["head"], strict=True)]
    may = (table.layer < last) & ~np.array(taken)
    fits = may & (table.to_cue >= CUE)
    table["exact_a1"] = np.nan
    for i in table[fits].nlargest(SHORT, "estimate_a1").index:
        layer, head = int(table.layer[i]), int(table["head"][i])
        table.loc[i, "exact_a1"] = float(np.mean([c.fall(layer, head, a2, last) for c in cases]))
    table["role"], table["rank"] = "", 0
    for role, heads in (("A2", a2), ("A1", _chosen(table[may], "exact_a1", "to_cue"))):
        for rank, (layer, head) in enumerate(heads, 1):
            table.loc[(table.layer == layer) & (table["head"] == head), ["role", "rank"]] = role, rank
    return table


def chosen(table: pd.DataFrame, role: str) -> Heads:
    """The heads of a role in a table of :func:`find_heads`, best first."""
    rows = table[table.role == role].sort_values("rank")
    return [(int(l), int(h)) for l, h in zip(rows.layer, rows["head"], strict=True)]


def _chosen(table: pd.DataFrame, column: str, otherwise: str) -> Heads:
    rows = table[table[column] > 0].nlargest(SIZE, column)
    if rows.empty:  # then the one that comes nearest
        rows = table.nlargest(1, column) if table[column].notna().any() else table.nlargest(1, otherwise)
    return [(int(l), int(h)) for l, h in zip(rows.layer, rows["head"], strict=True)]


def attention_to(seen: Mapping[str, Tensor], heads: Heads, slot: int) -> Tensor:
    """Mean over ``heads`` of the attention to ``slot``, ``(n,)``, from patterns recorded at one query."""
    return torch.stack([seen[pattern_hook(layer)][:, head, slot] for layer, head in heads]).mean(0)


class _Case:
    """One template's runs: at s = 1, at s = FAR, and the neutral prompt."""

    def __init__(self, lm, words, template, bos):
        self.lm, self.layers = lm, range(lm.cfg.n_layers)
        self.prompts = encode(lm, template, words, bos=bos)
        self.slot, self.cue = self.prompts.slot, self.prompts.cue
        patterns = {pattern_hook(l): None for l in self.layers}
        values = {f"blocks.{l}.attn.v.hook_out": None for l in self.layers}
        everywhere = {z_hook(l): None for l in self.layers}
        run = definition_run(lm, self.prompts, 1.0, record=patterns | values | everywhere)
        self.own, self.one = run.logp, run.seen
        self.far = definition_run(lm, self.prompts, FAR, record=patterns).seen
        neutral = encode(lm, template, words, neutral=True, bos=bos)
        self.neutral = definition_run(lm, neutral, 1.0, record={z_hook(l): self.slot for l in self.layers}).seen

    def attention(self, run: dict[str, Tensor], query: int, key: int) -> Tensor:
        """Mean over words, ``(n_layers, n_heads)``."""
        return torch.stack([run[pattern_hook(l)][:, :, query, key].mean(0) for l in self.layers])

    def estimate_a2(self) -> Tensor:
        """First-order loss of each head's contribution to the logits that tell the word from the others."""
        own = self.own.exp()
        tells = own - own.mean(0)
        grads = gradients(
            self.lm, self.prompts, lambda logits, _: (tells * logits).sum(), list(map(z_hook, self.layers))
        )
        losses = []
        for l in self.layers:
            v = self.one[f"blocks.{l}.attn.v.hook_out"]
            v = v.repeat_interleave(self.lm.cfg.n_heads // v.shape[2], dim=2)
            z = torch.einsum("nhk,nkhd->nhd", self.far[pattern_hook(l)][:, :, -1], v)
            losses.append((grads[z_hook(l)][:, -1] * (self.one[z_hook(l)][:, -1] - z)).sum(-1).mean(0))
        return torch.stack(losses)

    def estimate_a1(self, a2: Heads, last: int) -> Tensor:
        """First-order fall of the log of A2's attention to the word."""
        layers = self.layers[:last]
        watch = [*map(z_hook, layers), *{pattern_hook(l) for l, _ in a2}]

        def metric(logits: Tensor, held: dict) -> Tensor:
            return torch.stack([held[pattern_hook(l)][:, h, -1, self.slot].log().sum() for l, h in a2]).mean()

        grads = gradients(self.lm, self.prompts, metric, watch)
        falls = torch.zeros(len(self.layers), self.lm.cfg.n_heads)
        for l in layers:
            change = self.one[z_hook(l)][:, self.slot] - self.neutral[z_hook(l)]
            falls[l] = (grads[z_hook(l)][:, self.slot] * change).sum(-1).mean(0)
        return falls

    def loss(self, layer: int, head: int) -> float:
        """Transferred information lost at s = 1 with this head's pattern of s = FAR, nats."""
        query = self.prompts.tokens.shape[1] - 1
        edit = patch_pattern(self.lm, layer, [head], query, self.far[pattern_hook(layer)][:, :, query])
        patched = definition_run(self.lm, self.prompts, 1.0, interventions=[edit])
        return float((transferred(self.own, self.own) - transferred(self.own, patched.logp)).mean())

    def fall(self, layer: int, head: int, a2: Heads, last: int) -> float:
        """Fall of A2's mean attention to the word with this head's output there from the neutral prompt (s = 1)."""
        edit = set_head(self.lm, layer, head, self.slot, self.neutral[z_hook(layer)][:, head])
        query = self.prompts.tokens.shape[1] - 1
        record = {pattern_hook(l): query for l, _ in a2}
        until = last + 1 if last + 1 < self.lm.cfg.n_layers else None
        run = definition_run(self.lm, self.prompts, 1.0, interventions=[edit], record=record, until=until)
        before = {name: self.one[name][:, :, query] for name in record}
        return float((attention_to(before, a2, self.slot) - attention_to(run.seen, a2, self.slot)).mean())


class Effect(NamedTuple):
    """A share of the way, its 95% interval, the strongest control's share, and whether it exceeds that."""

    value: float
    low: float
    high: float
    control: float = float("nan")
    exceeds: bool = True


def effect(after, before, full, controls: Mapping[str, Sequence[float]] | None = None, n: int = 2000) -> Effect:
    """(after - before) / (full - before), of means over words, with a bootstrap over words.

    All are ``(n_words,)``; ``controls`` are other runs' ``after``. The effect exceeds the strongest of them if the 95%
    interval of their difference, words resampled together, lies above zero. Raises ``ValueError`` if ``full`` and
    ``before`` cannot be told apart: then there is no way to have gone a share of.
    """
    after, before, full = (np.asarray(x, dtype=float) for x in (after, before, full))
    others = {k: np.asarray(v, dtype=float) for k, v in (controls or {}).items()}
    for name, x in {"before": before, "full": full, **others}.items():
        if x.shape != after.shape or x.ndim != 1 or len(x) < 2:
            raise ValueError(f"{name} has shape {x.shape}, after {after.shape}; expected equal 1-D arrays, two or more")
    if bad := [k for k, v in others.items() if not np.isfinite(v).all()]:
        raise ValueError(f"controls {bad} hold NaN or infinity; expected finite numbers")
    picks = np.random.default_rng(0).integers(0, len(after), (n, len(after)))
    way = (full - before)[picks].mean(1)
    low, high = interval(way)
    if low <= 0 <= high:
        raise ValueError(f"full - before is {low:.3g} to {high:.3g}; expected an interval without zero")
    shares = (after - before)[picks].mean(1) / way
    value = (after - before).mean() / (full - before).mean()
    low, high = interval(shares)
    if not others:
        return Effect(float(value), low, high)
    control = {k: (v - before).mean() / (full - before).mean() for k, v in others.items()}
    strongest = max(control, key=control.get)
    ahead = shares - (others[strongest] - before)[picks].mean(1) / way
    return Effect(float(value), low, high, float(control[strongest]), interval(ahead)[0] > 0)


def decide(effect: Effect) -> str:
    """``"holds"``, ``"in part"`` or ``"fails"`` by the rule at the top of this module; ``"cannot tell"`` of a NaN."""
    if not np.isfinite(effect.value):
        return "cannot tell"
    if effect.high < FAILS or not effect.exceeds:
        return "fails"
    return "holds" if effect.low > HOLDS else "in part"
