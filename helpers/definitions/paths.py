"""What later positions read at the word: its keys and values there, and the norms through which they come about.

Everything after the word sees it through its keys and values alone. So a run at one scale can be given those of a run
at another, part by part and layer by layer (:func:`put`). And what is written at the word's position reaches them, and
the MLPs there, through norms alone; each norm can be shown another stream than the one that is there (:func:`read`).

Positions before the word do not depend on it. :func:`onward` computes them once, and :func:`onward_run` then runs the
word and what follows: the same answers as :func:`~helpers.definitions.definition_run`, at a third to a half of the
cost. There the word is at position 0.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import one_of
from .interventions import (
    Hooks,
    Intervention,
    at,
    check_head,
    hook_name,
    key_input,
    multiply,
    replace,
    rows_of,
    value_input,
    write_hook,
    z_hook,
)
from .rescaling import Prompts, Run, _keep, _last, _mover

READERS = ("keys", "values", "attention", "mlp")


class Onward(NamedTuple):
    """Prompts from the word on, and the keys and values of what comes before."""

    prompts: Prompts  # slot 0; tokens (n, ctx - slot); the cue is counted from the start of the whole prompt
    before: object  # a cache of one row, positions 0 to slot - 1


def onward(lm, prompts: Prompts) -> Onward:
    """Compute what comes before the word once.

    Raises ``ValueError`` if the prompts differ there, or begin with the word.
    """
    slot = prompts.slot
    if slot < 1 or not (prompts.tokens[:, :slot] == prompts.tokens[:1, :slot]).all():
        raise ValueError(f"prompts with slot={slot} differ before the word, or begin with it; expected one beginning")
    with torch.no_grad():
        start = lm.original_model(input_ids=prompts.tokens[:1, :slot].to(lm.cfg.device), use_cache=True)
    return Onward(prompts._replace(tokens=prompts.tokens[:, slot:], slot=0), start.past_key_values)


def onward_run(
    lm, ask: Onward, scale: float, interventions: Iterable[Intervention] = (),
    record: Mapping[str, int | None] | None = None, embedding: Tensor | None = None,
) -> Run:  # fmt: skip
    """As ``definition_run``, from the word on: hooks see ``ctx - slot`` positions, the word's is 0.

    Of patterns, the keys are those of the whole prompt, the queries from the word on. All prompts run at once.
    """
    prompts, seen = ask.prompts, {}
    rows, ctx = slice(0, len(prompts.tokens)), prompts.tokens.shape[1]
    move = _mover(lm, prompts, scale, None, embedding)
    hooks = [move(rows, ctx), *[h for make in interventions for h in make(rows, ctx)]]
    hooks += [(hook_name(lm, name), _keep(name, seen, position)) for name, position in (record or {}).items()]
    hooks.append(("unembed.hook_in", _last))
    past = copy.deepcopy(ask.before)  # a run appends to it
    past.batch_repeat_interleave(len(prompts.tokens))
    with torch.no_grad(), lm.hooks(fwd_hooks=hooks), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="A forward hook edited hook_scale")
        tokens = prompts.tokens.to(lm.cfg.device)
        logits = lm.original_model(input_ids=tokens, past_key_values=past, use_cache=True).logits
    return Run(logits[:, -1].float().log_softmax(-1), seen)


def kv_hooks(lm, parts: str = "kv", layers: Iterable[int] | None = None) -> list[str]:
    """Where keys (``"k"``) and values (``"v"``) are, by layer; before rotation and any norm of their own."""
    for part in parts:
        one_of("parts", part, "kv")
    layers = range(lm.cfg.n_layers) if layers is None else list(layers)
    for layer in layers:
        check_head(lm, layer)
    return [f"blocks.{layer}.attn.{part}.hook_out" for layer in layers for part in parts]


def put(
    lm, parts: str, position: int, seen: Mapping[str, Tensor], layers: Iterable[int] | None = None
) -> list[Intervention]:
    """Give the word the keys (``"k"``), values (``"v"``) or both (``"kv"``) of another run, in ``layers`` (all).

    ``seen`` holds that run's ``(n, n_kv_heads, d_head)`` there, recorded at :func:`kv_hooks`. Raises ``KeyError`` for
    a layer that was not recorded.
    """
    return [replace(lm, name, position, seen[name]) for name in kv_hooks(lm, parts, layers)]


def put_for(
    lm, layer: int, queries: Sequence[int], position: int, values: Tensor, keys_before: int = 0
) -> Intervention:
    """Let ``queries`` alone read ``values (n, n_kv_heads, d_head)`` at ``position``; other queries read what is there.

    z_h changes by pattern_h(position) times the change of the value. ``keys_before`` is the number of keys before the
    run's first position (the word's own place in the prompt, in an onward run). Raises ``NotImplementedError`` at run
    time for a model that shows its patterns only after its heads have read.
    """
    check_head(lm, layer)
    held: dict[str, Tensor] = {}
    pattern, value_hook = f"blocks.{layer}.attn.hook_pattern", f"blocks.{layer}.attn.v.hook_out"

    def intervene(rows: slice, ctx: int) -> Hooks:
        def keep_value(value: Tensor, hook):
            if value.shape[1] == ctx:
                held["v"] = value[:, position]

        def keep_pattern(value: Tensor, hook):
            if value.shape[2] == ctx:
                held["pattern"] = value[..., keys_before + position]

        def reread(query: int):
            def change(old: Tensor, rows: slice) -> Tensor:
                if "pattern" not in held:
                    raise NotImplementedError(f"{pattern} is shown only after {z_hook(layer)}; expected before")
                gap = rows_of(values, rows) - held["v"]
                gap = gap.repeat_interleave(lm.cfg.n_heads // gap.shape[1], dim=1)
                return old + held["pattern"][:, :, query, None] * gap

            return at(lm, z_hook(layer), query, change)

        hooks = [(hook_name(lm, value_hook), keep_value), (hook_name(lm, pattern), keep_pattern)]
        return hooks + [h for query in queries for h in reread(query)(rows, ctx)]

    return intervene


def mlp_hook(lm, layer: int) -> str:
    """Where the MLP's output is what will be added to the stream (after a post-norm, if the model has one)."""
    post = f"blocks.{layer}.ln2_post.hook_out"
    return post if post in lm.hook_dict else f"blocks.{layer}.mlp.hook_out"


def scale_writes(
    lm, position: int, factor: float, layers: Iterable[int] | None = None, attention: bool = True, mlp: bool = True
) -> list[Intervention]:
    """Multiply what attention and MLPs of ``layers`` (all) add to the stream at ``position`` by ``factor``."""
    names = []
    for layer in range(lm.cfg.n_layers) if layers is None else layers:
        check_head(lm, layer)
        names += [write_hook(lm, layer)] * attention + [mlp_hook(lm, layer)] * mlp
    return [multiply(lm, name, position, factor) for name in names]


def read(lm, reader: str, layer: int, position: int, change: Tensor) -> list[Intervention]:
    """Let one reader of ``layer`` see ``x + change`` at ``position``, ``change (n, d_model)``; the stream stays.

    Readers: ``"attention"`` (queries, keys and values there), ``"keys"`` or ``"values"`` alone, ``"mlp"``. The reader's
    norm is taken anew. A model without a second norm has no ``"mlp"`` of its own: then nothing is changed for it.
    """
    check_head(lm, layer)
    one_of("reader", reader, READERS)
    if reader in ("attention", "mlp"):
        name = f"blocks.{layer}.ln{1 if reader == 'attention' else 2}.hook_in"
        if reader == "mlp" and name not in lm.hook_dict:
            return []
        return [at(lm, name, position, lambda old, rows: old + rows_of(change, rows))]
    own = key_input if reader == "keys" else value_input
    return [own(lm, layer, position, change)]


def affinity(a: Tensor, b: Tensor) -> Tensor:
    """Σ_y √(a_i(y) b_j(y)), ``(n, m)``, of log-probabilities ``(n, d_vocab)`` and ``(m, d_vocab)``: 1 if equal."""
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"a has shape {tuple(a.shape)}, b {tuple(b.shape)}; expected (n, d_vocab) and (m, d_vocab)")
    return (a / 2).exp() @ (b / 2).exp().T


def place(own: Tensor, logp: Tensor) -> Tensor:
    """The place of each word's own ordinary answer among all words' by affinity to what is said now, ``(n,)``, from 1.

    A word with place 1 is *recovered*: of all n definitions its answer is most like its own. If every word gets the
    same answer just one of n is, whatever it says.
    """
    like = affinity(logp, own)
    return (like > like.diagonal()[:, None]).sum(1) + 1


def kinship(a: Tensor, b: Tensor) -> Tensor:
    """How alike the answers of two prompts are, ``(n, n)``, word i in one and word j in the other, -1 to 1.

    Cosine of √p after taking away its mean over words, so that what a prompt makes the model say of all words does not
    count. ``a`` and ``b`` are log-probabilities ``(n, classes)``.
    """
    roots = [(x / 2).exp() for x in (a, b)]
    roots = [x - x.mean(0) for x in roots]
    # shorter than the clamp is rounding: the answers do not differ
    roots = [x / x.norm(dim=1, keepdim=True).clamp_min(1e-5) for x in roots]
    return roots[0] @ roots[1].T
