"""Ask a language model to define a word whose embedding was moved, and read off what it makes of it.

The embedding ``e`` at the word's position becomes ``c + s (e - c)``: with the centre ``c`` at the origin it is scaled
by ``s``, with ``c`` the centroid of all embeddings it moves along the ray from there. Everything else is as in an
ordinary run. What the model still knows of the word is read from its next-token distribution ``p_w`` after the prompt:

    information      I = mean_w KL(p_w || p̄),               p̄ = mean_w p_w                (nats; at most log n)
    transferred      C = mean_w Σ_y q_w(y) log(p_w(y) / p̄(y)),   q_w the word's distribution at s = 1

``C`` counts only what points to the word's own definition; at s = 1 it equals ``I``, and it is 0 if the model says the
same of all words. The question is mwatkins' ("Mapping the semantic void", LessWrong, 2023-24) and Jacob Drori's.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import finite, whole
from .interventions import Intervention, hook_name


@dataclass(frozen=True)
class Template:
    """A prompt with one slot ``{}`` that asks for a definition, the word in it that says so, and the same prompt
    without the request: as many tokens, another cue, nothing to define."""

    text: str
    cue: str
    neutral: str

    def __post_init__(self):
        for name in ("text", "neutral"):
            if getattr(self, name).count("{}") != 1:
                raise ValueError(f"{name}={getattr(self, name)!r}; expected exactly one slot {{}}")
        if self.cue not in self.text.split("{}")[0]:
            raise ValueError(f"cue={self.cue!r} is not in {self.text!r} before the slot")


TEMPLATES = (
    Template("A typical definition of '{}' would be '", " definition", "A typical picture of '{}' would be '"),
    Template("The dictionary defines the word '{}' as '", " defines", "The teacher wrote the word '{}' as '"),
    Template("A typical definition of {} is", " definition", "A typical picture of {} is"),
)
"""The first is the post's, the third a variant of it in the third part of the post, the second ours."""


class Prompts(NamedTuple):
    """Prompts of equal length, one a word."""

    tokens: Tensor  # (n, ctx), int64
    slot: int  # position of the word
    cue: int  # position of the token that asks for a definition (of its neutral stand-in)
    words: tuple[str, ...]


def encode(lm, template: Template, words: str | Sequence[str], *, neutral: bool = False, bos: bool = False) -> Prompts:
    """Tokenise ``template`` with each word. Raises ``ValueError`` if a word is not one token there.

    ``neutral`` takes the prompt without the request. ``bos`` puts the tokenizer's first token in front (Gemma needs it;
    the post used none).
    """
    words = (words,) if isinstance(words, str) else tuple(words)
    if not words or not all(isinstance(w, str) and w for w in words):
        raise ValueError(f"words={words!r}; expected at least one non-empty str")
    text = template.neutral if neutral else template.text
    start = lm.tokenizer.bos_token_id
    if bos and start is None:
        raise ValueError("bos=True, but this model's tokenizer has no first token; expected bos=False")

    def ids(piece: str) -> list[int]:
        return lm.tokenizer(piece, add_special_tokens=False).input_ids

    before, after = text.split("{}")
    space = " " * before.endswith(" ")
    head, tail = ids(before.removesuffix(" ")), ids(after)
    rows = []
    for word in words:
        token = ids(space + word)
        if len(token) != 1 or ids(text.format(word)) != head + token + tail:
            raise ValueError(f"word={word!r} is {len(token)} tokens in {text!r}; expected one token of its own")
        rows.append([start] * bos + head + token + tail)
    asks, stands_in = (ids(t.split("{}")[0].removesuffix(" ")) for t in (template.text, template.neutral))
    if len(asks) != len(stands_in):
        raise ValueError(
            f"neutral={template.neutral!r} has {len(stands_in)} tokens before its slot; expected {len(asks)}"
        )
    cue = ids(template.cue)
    if len(cue) != 1 or cue[0] not in asks:
        raise ValueError(f"cue={template.cue!r} is not one token of {template.text!r}")
    return Prompts(torch.tensor(rows), bos + len(head), bos + asks.index(cue[0]), words)


class Run(NamedTuple):
    """What :func:`definition_run` gives back."""

    logp: Tensor | None  # (n, d_vocab) log-probabilities of the next token; None if the run stopped early
    seen: dict[str, Tensor]  # what was asked for in `record`


def definition_run(
    lm, token: str | Sequence[str] | Prompts, scale: float, *, template: Template = TEMPLATES[0],
    centre: Tensor | None = None, embedding: Tensor | None = None, interventions: Iterable[Intervention] = (),
    record: Mapping[str, int | None] | None = None, bos: bool = False, batch_size: int = 64, until: int | None = None,
) -> Run:  # fmt: skip
    """One forward pass per word with its embedding moved to ``centre + scale (e - centre)``.

    Parameters
    ----------
    token
        A word, several, or ``Prompts`` from :func:`encode` (then ``template`` and ``bos`` are not used).
    centre
        ``(d_model,)``; the origin by default.
    embedding
        ``(n, d_model)`` to use instead of the words' own.
    record
        Hook name → position to keep there (None: all). Of patterns, the position is that of the query.
    until
        Stop before this layer; there are no log-probabilities then.

    No more than ``batch_size`` prompts are in flight, and logits are computed at the last position only. Raises
    ``ValueError`` for a scale that is negative or not finite, a hook the model lacks, or a bad word.
    """
    prompts = token if isinstance(token, Prompts) else encode(lm, template, token, bos=bos)
    record = {hook_name(lm, name): position for name, position in (record or {}).items()}
    move = _mover(lm, prompts, scale, centre, embedding)
    ctx, parts = prompts.tokens.shape[1], []
    for rows in _batches(len(prompts.tokens), batch_size):
        seen: dict[str, Tensor] = {}
        hooks = [move(rows, ctx), *[h for make in interventions for h in make(rows, ctx)]]
        hooks += [(name, _keep(name, seen, position)) for name, position in record.items()]
        hooks.append(("unembed.hook_in", _last))
        with torch.no_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="A forward hook edited hook_scale")  # that is the point
            out = lm.run_with_hooks(
                prompts.tokens[rows].to(lm.cfg.device),
                fwd_hooks=hooks,
                return_type="logits" if until is None else None,
                stop_at_layer=until,
            )
        parts.append((None if until is not None else out[:, -1].float().log_softmax(-1), seen))
    logp = None if until is not None else torch.cat([logp for logp, _ in parts])
    return Run(logp, {name: torch.cat([seen[name] for _, seen in parts]) for name in record})


def write(
    lm, token: str | Sequence[str] | Prompts, scale: float, *, length: int = 12, template: Template = TEMPLATES[0],
    centre: Tensor | None = None, interventions: Iterable[Intervention] = (), bos: bool = False, batch_size: int = 64,
    generator: torch.Generator | None = None,
) -> list[str]:  # fmt: skip
    """The ``length`` tokens that follow: the likeliest each time, or sampled if a ``generator`` is given.

    Interventions act on the prompt; what they did to its keys and values stays with the continuation.
    """
    prompts = token if isinstance(token, Prompts) else encode(lm, template, token, bos=bos)
    move = _mover(lm, prompts, scale, centre, None)
    ctx, texts = prompts.tokens.shape[1], []
    for rows in _batches(len(prompts.tokens), batch_size):
        hooks = [move(rows, ctx), *[h for make in interventions for h in make(rows, ctx)]]
        hooks.append(("unembed.hook_in", _last))
        tokens, past, said = prompts.tokens[rows].to(lm.cfg.device), None, []
        with torch.no_grad(), lm.hooks(fwd_hooks=hooks), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="A forward hook edited hook_scale")
            for _ in range(length):
                out = lm.original_model(input_ids=tokens, past_key_values=past, use_cache=True)
                past, logits = out.past_key_values, out.logits[:, -1].float()
                if generator is None:
                    tokens = logits.argmax(-1, keepdim=True)
                else:
                    tokens = torch.multinomial(logits.softmax(-1).cpu(), 1, generator=generator).to(tokens.device)
                said.append(tokens)
        texts += [lm.tokenizer.decode(row) for row in torch.cat(said, 1).tolist()]
    return texts


def embeddings(lm, prompts: Prompts) -> Tensor:
    """The words' embeddings as the model uses them, ``(n, d_model)``."""
    return lm.original_model.get_input_embeddings()(prompts.tokens[:, prompts.slot].to(lm.cfg.device)).detach()


def centroid(lm, chunk: int = 16384) -> Tensor:
    """Mean embedding of the whole vocabulary, ``(d_model,)``."""
    table = lm.original_model.get_input_embeddings()
    ids = torch.arange(lm.cfg.d_vocab, device=lm.cfg.device)
    with torch.no_grad():
        return torch.stack([table(part).double().sum(0) for part in ids.split(chunk)]).sum(0).float() / lm.cfg.d_vocab


def information(logp: Tensor) -> Tensor:
    """KL(p_w || p̄) of each word, nats: ``(n, d_vocab)`` log-probabilities to ``(n,)``. Their mean is I."""
    return _expected(logp, logp - _mean(logp))


def transferred(own: Tensor, logp: Tensor) -> Tensor:
    """Σ_y q_w(y) log(p_w(y) / p̄(y)) of each word, nats, with ``own`` the log of q. Their mean is C."""
    if own.shape != logp.shape:
        raise ValueError(f"own has shape {tuple(own.shape)}, logp {tuple(logp.shape)}; expected the same")
    return _expected(own, logp - _mean(logp))


def divergence(a: Tensor, b: Tensor) -> Tensor:
    """Jensen-Shannon divergence of each row of two sets of log-probabilities, nats (at most log 2)."""
    middle = torch.logaddexp(a, b) - math.log(2)
    return (_expected(a, a - middle) + _expected(b, b - middle)) / 2


def _expected(logp: Tensor, value: Tensor) -> Tensor:
    """Mean of ``value`` under ``logp``; what has no probability does not count, whatever its value."""
    p = logp.exp()
    return (p * value).where(p > 0, 0).sum(-1)


def _mean(logp: Tensor) -> Tensor:
    return torch.logsumexp(logp, 0, keepdim=True) - math.log(len(logp))


def _mover(lm, prompts: Prompts, scale, centre, embedding) -> Callable[[slice, int], tuple[str, Callable]]:
    scale = finite("scale", scale, least=0)
    e = embeddings(lm, prompts) if embedding is None else embedding
    if e.shape != (len(prompts.tokens), lm.cfg.d_model):
        raise ValueError(f"embedding has shape {tuple(e.shape)}; expected {(len(prompts.tokens), lm.cfg.d_model)}")
    centre = torch.zeros_like(e[0]) if centre is None else centre
    if centre.shape != e[0].shape:
        raise ValueError(f"centre has shape {tuple(centre.shape)}; expected {tuple(e[0].shape)}")
    # at s = 1 the embedding itself, to the last bit
    moved = e if scale == 1 else centre + scale * (e - centre)
    for name, value in (("embedding", e), ("centre", centre), (f"the embedding moved by scale={scale!r}", moved)):
        if not value.isfinite().all():
            raise ValueError(f"{name} holds NaN or infinity; expected finite numbers")

    def move(rows: slice, ctx: int) -> tuple[str, Callable]:
        def put(value: Tensor, hook):
            if value.shape[1] != ctx:
                return None
            value = value.clone()
            value[:, prompts.slot] = moved[rows].to(value.dtype)
            return value

        return hook_name(lm, "embed.hook_out"), put

    return move


def _last(value: Tensor, hook) -> Tensor:
    """The last position alone; contiguous, or each prompt would read the whole unembedding by itself."""
    return value[:, -1:].contiguous()


def _keep(name: str, seen: dict[str, Tensor], position: int | None) -> Callable:
    axis = 2 if name.endswith(("hook_pattern", "hook_attn_scores")) else 1

    def keep(value: Tensor, hook):
        seen[name] = (value if position is None else value.select(axis, position)).detach().clone()

    return keep


def _batches(n: int, size: int) -> Iterable[slice]:
    whole("batch_size", size, 1)
    return (slice(i, min(i + size, n)) for i in range(0, n, size))
