"""Edits of one forward pass: small functions that change one named thing and can be composed.

An *intervention* is made for a batch of prompts of equal length and is called with the rows that are being run:
``intervention(rows, ctx) -> [(hook name, hook function), …]``. :func:`helpers.definitions.definition_run` takes any
number of them, in order. Every edit acts at one position (and, where it says so, one head), on the first pass over the
whole prompt only, so that a continuation written with cached keys and values is left alone.

The hooks used exist under the same names in all TransformerLens models with RMSNorm or LayerNorm, rotary or learned
positions, sequential or parallel blocks: ``ln1.hook_scale``, ``attn.{q,k,v}.hook_in/out``, ``attn.o.hook_in`` (the
heads' outputs z, ``(batch, ctx, n_heads, d_head)``), ``attn.hook_out``. Attention patterns are edited through z,
because some bridges compute attention in the model's own code and only show the pattern.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..checks import finite, whole

Hooks = list[tuple[str, Callable]]
Intervention = Callable[[slice, int], Hooks]


def hook_name(lm, name: str) -> str:
    """``name`` if this model has that hook; ``ValueError`` with the nearest names if not."""
    if name not in lm.hook_dict:
        near = difflib.get_close_matches(str(name), lm.hook_dict, n=3)
        raise ValueError(f"hook={name!r} is not in this model; nearest: {', '.join(near) or 'none'}")
    return name


def check_head(lm, layer: int, head: int = 0) -> None:
    """Raise ``ValueError`` unless the model has that layer and head."""
    whole("layer", layer, 0, lm.cfg.n_layers - 1), whole("head", head, 0, lm.cfg.n_heads - 1)


def at(lm, hook: str, position: int, new: Callable[[Tensor, slice], Tensor], head: int | None = None) -> Intervention:
    """Set ``hook`` at ``position`` to ``new(old, rows)``, ``old (rows, …)``; all other entries stay as they are.

    With ``head``, only that entry of the axis after the position. Raises ``ValueError`` for an unknown hook, and at run
    time for a position outside the prompt or a result of another shape or not finite.
    """
    hook_name(lm, hook)

    def intervene(rows: slice, ctx: int) -> Hooks:
        whole("position", position, 0, ctx - 1)

        def edit(value: Tensor, hook):
            if value.shape[1] != ctx:  # a later token of a continuation
                return None
            where = (slice(None), position) if head is None else (slice(None), position, head)
            old = value[where]
            changed = new(old, rows)
            if changed.shape != old.shape:
                raise ValueError(
                    f"{hook.name}: the new value has shape {tuple(changed.shape)}; expected {tuple(old.shape)}"
                )
            if not changed.isfinite().all():
                raise ValueError(f"{hook.name}: the new value is NaN or infinite; expected finite numbers")
            value = value.clone()
            value[where] = changed.to(value.dtype)
            return value

        return [(hook, edit)]

    return intervene


def replace(lm, hook: str, position: int, value: Tensor, head: int | None = None) -> Intervention:
    """Put ``value (n, …)``, one row per prompt, or ``(1, …)`` for all, in place of what ``hook`` has there."""
    return at(lm, hook, position, lambda old, rows: rows_of(value, rows).expand_as(old), head)


def multiply(lm, hook: str, position: int, factor: float, head: int | None = None) -> Intervention:
    """Multiply by ``factor``. Zero ablates."""
    factor = finite("factor", factor)
    return at(lm, hook, position, lambda old, rows: factor * old, head)


def add(lm, hook: str, position: int, vector: Tensor) -> Intervention:
    """Add ``vector (n, …)`` or ``(1, …)``."""
    return at(lm, hook, position, lambda old, rows: old + rows_of(vector, rows))


def freeze_norm(lm, norm: str, position: int, scale: Tensor) -> Intervention:
    """Let the norm ``"blocks.3.ln1"`` divide by ``scale (n, 1)``, as recorded at ``….hook_scale`` of another run."""
    return replace(lm, f"{norm}.hook_scale", position, scale)


def set_head(lm, layer: int, head: int, position: int, value: Tensor) -> Intervention:
    """Replace one head's output z by ``value (n, d_head)``: zeros, a mean, or what it was in another run."""
    check_head(lm, layer, head)
    return replace(lm, z_hook(layer), position, value, head)


def z_hook(layer: int) -> str:
    """Where the heads' outputs z are, before ``W_O``: ``(batch, ctx, n_heads, d_head)``.

    >>> from helpers.definitions import z_hook
    >>> z_hook(3)
    'blocks.3.attn.o.hook_in'
    """
    return f"blocks.{layer}.attn.o.hook_in"


def write_hook(lm, layer: int) -> str:
    """Where attention's output is what will be added to the stream (after a post-norm, if the model has one)."""
    post = f"blocks.{layer}.ln1_post.hook_out"
    return post if post in lm.hook_dict else f"blocks.{layer}.attn.hook_out"


def head_writes(lm, layer: int, z: Tensor, post_scale: Tensor | None = None) -> Tensor:
    """What each head adds to the stream, ``(n, n_heads, d_model)``, from ``z (n, n_heads, d_head)``.

    ``z_h W_O``, without the bias of ``W_O``. If attention's output goes through an RMSNorm of its own (Gemma), that
    norm's recorded scale ``(n, 1)`` is held fixed, so that the heads' writes sum to the norm's output.
    """
    one = torch.eye(lm.cfg.n_heads, device=z.device, dtype=z.dtype)
    apart = (z[:, None] * one[None, :, :, None]).flatten(2)  # (n, n_heads, n_heads · d_head): head h alone
    o = lm.blocks[layer].attn.o.original_component
    out = o(apart) - o(torch.zeros_like(apart[:1, :1]))
    if f"blocks.{layer}.ln1_post.hook_scale" in lm.hook_dict:
        norm = lm.blocks[layer].ln1_post
        weight = 1 + norm.weight if norm.uses_weight_offset else norm.weight
        out = out * weight / post_scale[:, None]
    return out


def scale_head(
    lm, layer: int, head: int, position: int, factor: float, along: int | Tensor | None = None
) -> Intervention:
    """Add ``factor - 1`` times what one head writes, so that its write at ``position`` is ``factor`` times as large.

    For controls, ``along`` gives the added vector another direction at the same length: another head of the layer (the
    direction of what *that* head writes here), or vectors ``(n, d_model)``.
    """
    check_head(lm, layer, head)
    if isinstance(along, int):
        check_head(lm, layer, along)
    factor = finite("factor", factor)
    held: dict[str, Tensor] = {}
    scale_name = f"blocks.{layer}.ln1_post.hook_scale"

    def intervene(rows: slice, ctx: int) -> Hooks:
        def keep(value: Tensor, hook):
            if value.shape[1] == ctx:
                held[hook.name] = value[:, position]

        def vector(old: Tensor, rows: slice) -> Tensor:
            writes = head_writes(lm, layer, held[z_hook(layer)], held.get(scale_name))
            extra = (factor - 1) * writes[:, head]
            if along is not None:
                other = writes[:, along] if isinstance(along, int) else rows_of(along, rows)
                extra = other / other.norm(dim=-1, keepdim=True) * extra.norm(dim=-1, keepdim=True)
            return old + extra

        watch = [z_hook(layer)] + [scale_name] * (scale_name in lm.hook_dict)
        return [(name, keep) for name in watch] + at(lm, write_hook(lm, layer), position, vector)(rows, ctx)

    return intervene


def patch_pattern(lm, layer: int, heads: Sequence[int], query: int, pattern: Tensor) -> Intervention:
    """Let ``heads`` attend from ``query`` with ``pattern (n, n_heads, ctx)`` and this run's own values.

    z_h = Σ_k pattern_h(k) v_h(k), with ``v`` shared by groups of heads where the model groups them.
    """
    for head in heads:
        check_head(lm, layer, head)
    if pattern.ndim != 3 or pattern.shape[1] != lm.cfg.n_heads:
        raise ValueError(f"pattern has shape {tuple(pattern.shape)}; expected (n, {lm.cfg.n_heads}, ctx)")
    held: dict[str, Tensor] = {}
    heads = list(heads)

    def intervene(rows: slice, ctx: int) -> Hooks:
        def keep(value: Tensor, hook):
            if value.shape[1] == ctx:
                held["v"] = value

        def attend(old: Tensor, rows: slice) -> Tensor:
            v = held["v"].repeat_interleave(lm.cfg.n_heads // held["v"].shape[2], dim=2)
            z = torch.einsum("nhk,nkhd->nhd", rows_of(pattern, rows).to(v.dtype).expand(len(v), -1, -1), v)
            new = old.clone()
            new[:, heads] = z[:, heads]
            return new

        return [(f"blocks.{layer}.attn.v.hook_out", keep)] + at(lm, z_hook(layer), query, attend)(rows, ctx)

    return intervene


def key_input(lm, layer: int, position: int, change: Tensor) -> Intervention:
    """Let all heads of ``layer`` compute their keys at ``position`` from ``x + change``, ``change (n, d_model)``.

    ``x`` is the stream before the layer; its norm is taken anew. Queries, values and the stream itself are untouched.
    """
    return _input(lm, "k", layer, position, change)


def value_input(lm, layer: int, position: int, change: Tensor) -> Intervention:
    """As :func:`key_input`, for the values."""
    return _input(lm, "v", layer, position, change)


def _input(lm, part: str, layer: int, position: int, change: Tensor) -> Intervention:
    check_head(lm, layer)
    held: dict[str, Tensor] = {}

    def intervene(rows: slice, ctx: int) -> Hooks:
        def keep(value: Tensor, hook):
            if value.shape[1] == ctx:
                held["x"] = value[:, position]

        def renormed(old: Tensor, rows: slice) -> Tensor:
            return lm.blocks[layer].ln1.original_component(held["x"] + rows_of(change, rows))

        edit = at(lm, f"blocks.{layer}.attn.{part}.hook_in", position, renormed)
        return [(f"blocks.{layer}.ln1.hook_in", keep)] + edit(rows, ctx)

    return intervene


def rows_of(value: Tensor, rows: slice) -> Tensor:
    """The ``rows`` of ``value``, or its only row. Raises ``ValueError`` if it has too few."""
    if len(value) == 1:
        return value
    if rows.stop is not None and rows.stop > len(value):
        raise ValueError(f"value has {len(value)} rows; expected 1, or one per prompt ({rows.stop} or more)")
    return value[rows]
