"""Tokens go by once; what is kept of each feature does not grow with their number.

Activations are rounded to 11 significant bits before anything is compared, since the last bits of a product depend on
how many rows it had. All that is chosen at random is chosen by a hash of (seed, set, row, position). So nothing depends
on what came in which batch, or on which features share a dictionary.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..checks import finite, whole
from ..lm import activations as stream
from ..lm import load_lm
from ..runs import progress, spread
from ..sae import load, load_saelens
from .collected import Collected
from .neighbours import link_sites, logit_effects
from .passing import Pass, lengths

PART = 64  # rows that a worker of a cluster takes at a time


@torch.no_grad()
def collect(
    lm,
    tokens: Tensor | Mapping[str, Tensor],
    dictionaries: Mapping[str, object],
    *,
    activations: Iterable | Mapping[str, Iterable] | None = None,
    scales: Mapping[str, float] | None = None,
    skip_first: int = 1,
    cutoffs: Mapping[str, float] | None = None,
    top: int = 5,
    sample: int = 64,
    window: tuple[int, int] = (10, 3),
    watched: int = 2**15,
    sentences: int = 12,
    batch_size: int = 16,
    seed: int = 0,
    scheduler: str | None = None,
) -> Collected:
    """What there is to say of every feature of ``dictionaries``, from one pass over ``tokens``.

    A feature's activation, shown and ranked, is its code times the norm of its decoder row: the length of what it adds
    to the reconstruction, so that a dictionary with rows three times as long and codes a third has the same cards.
    Rows within a thousandth of unit norm, and rows of zeros, leave codes as they are. Logit effects are of a row
    divided by the same number: of one more unit of activation.

    Parameters
    ----------
    lm
        The model (:func:`helpers.lm.load_lm`), or its name or path. May be None where ``activations`` are given; then
        logit effects are not.
    tokens
        ``(n_rows, ctx)``, or several sets by name, kept apart: ``{"model": …, "human": …}``.
    dictionaries
        Hook → a dictionary with ``encode``, ``decode`` and ``W_dec (d_sae, d_model)``, or the folder of one, ours or
        SAELens'.
    activations
        Precomputed, in place of a run of ``lm``: pairs of row numbers ``(n,)`` and hook → ``(n, ctx, d_model)``; for
        several sets one such iterable each. Every row once, in any order.
    scales
        Hook → the factor by which activations were multiplied before the dictionary was trained on them.
    skip_first, cutoffs
        What is left out: so many positions at the start of each row (in Llama-family models the first is an attention
        sink), and, by hook, those with activations of a larger norm (before scaling).
    top, sample
        Contexts kept per feature and set: the strongest, and active ones at random. The latter, sorted, also give the
        quantile groups.
    window
        Tokens of a context before and after its place. Two contexts with the same tokens up to their place are one.
    watched
        Places, over all sets, at which all active features are remembered, for co-activation and names.
    sentences
        Rows per set of which the strongest features of every token are kept.
    batch_size, seed
        Rows at a time, which changes nothing else; what is random follows the seed.
    scheduler
        Address of a Dask scheduler (``"tcp://…"``): its workers take the rows in parts of 64, each with a model of its
        own, and what they found is put together here. A worker that is lost costs its part only; the result is the
        same, bit for bit.

    Raises ``ValueError``, before anything is run, for an empty corpus, ids out of range, an unknown hook, or a
    dictionary of another width than its site; later, for activations of another shape, and for rows missing or twice.
    Warns of rows that begin with the model's BOS twice, as a chat template and a tokenizer give it together.

    >>> import torch
    >>> from helpers.dashboard import collect
    >>> from helpers.sae import build
    >>> sae = build("topk", 8, 32, generator=torch.Generator().manual_seed(0), k=4)
    >>> tokens = torch.randint(0, 50, (6, 10), generator=torch.Generator().manual_seed(1))
    >>> x = torch.randn(6, 10, 8, generator=torch.Generator().manual_seed(2))
    >>> seen = collect(None, tokens, {"site": sae}, activations=[(range(6), {"site": x})])
    >>> seen
    Collected(1 site, 32 features, 60 tokens in 1 set)
    >>> int(seen["site"].count.sum()) == 4 * 6 * 9, seen["site"].top.row.shape
    (True, (1, 32, 5))
    """
    sets = tokens if isinstance(tokens, Mapping) else {"text": tokens}
    dictionaries = {hook: read_dictionary(d) for hook, d in dictionaries.items()}
    if scheduler is not None and (activations is not None or not isinstance(lm, str | Path)):
        raise ValueError(
            f"lm is a {type(lm).__name__}; with scheduler={scheduler!r} expected a model's name or path, which each "
            "worker loads for itself, and no activations"
        )
    name, lm = lm, load_lm(lm) if isinstance(lm, str | Path) else lm
    _check(lm, sets, dictionaries, activations, {"scales": scales or {}, "cutoffs": cutoffs or {}})
    whole("top", top, 1), whole("sample", sample, 1), whole("watched", watched), whole("sentences", sentences)
    whole("window", window[0]), whole("window", window[1]), whole("batch_size", batch_size, 1), whole("seed", seed)
    for rows in sets.values():
        whole("skip_first", skip_first, 0, rows.shape[1] - 1)
    if skip_first < 2:
        _begin_once(lm, sets)
    shapes = {set_: tuple(rows.shape) for set_, rows in sets.items()}
    begin = partial(
        Pass, dictionaries, shapes, scales=scales or {}, skip_first=skip_first, cutoffs=cutoffs or {}, top=top,
        sample=sample, window=tuple(window), watched=watched, sentences=sentences, seed=seed,
    )  # fmt: skip
    done = begin()
    if scheduler is not None:
        jobs = [
            (set_, start, rows[start : start + PART].cpu())
            for set_, rows in sets.items()
            for start in range(0, len(rows), PART)
        ]
        for part in progress(
            spread(part_of, jobs, scheduler, (begin, str(name), batch_size)), total=len(jobs), desc="parts"
        ):
            done.merge(part)
    else:
        for set_, rows in sets.items():
            missing = set(range(len(rows)))
            given = activations[set_] if isinstance(activations, Mapping) else activations
            for index, x in progress(given or _run(lm, rows, list(dictionaries), batch_size), desc=set_, delay=2):
                index = _came(index, missing, set_)
                done.take(set_, index, rows[torch.from_numpy(index)], x)
            if missing:
                raise ValueError(f"activations of set {set_!r} lack row {min(missing)}; expected every row once")
    made = done.sites()
    found = Collected({k: v.cpu().numpy().astype(np.int32) for k, v in sets.items()}, made, tuple(window), seed)
    decoders = {hook: sae.W_dec.detach().float() for hook, sae in dictionaries.items()}
    link_sites(found, decoders)
    for hook, rows in decoders.items():
        if lm is not None and rows.shape[1] == lm.cfg.d_model:
            made[hook].logits = logit_effects(lm, rows / lengths(rows)[:, None])
    return found


@torch.no_grad()
def part_of(begin, name: str, batch_size: int, set_: str, start: int, rows: Tensor) -> Pass:
    """A worker's share: the rows of one set from ``start`` on, through the model of that name."""
    part = begin()
    for index, x in _run(_model(name), rows, list(part.dictionaries), batch_size):
        part.take(set_, start + index, rows[torch.from_numpy(index)], x)
    part.dictionaries = {}
    return part


@cache
def _model(name: str):
    return load_lm(name)


def read_dictionary(dictionary):
    """A dictionary as it is, or, of a folder, the one that lies there: ours or SAELens'."""
    if isinstance(dictionary, str | Path):
        return load(dictionary) if (Path(dictionary) / "sae.json").exists() else load_saelens(dictionary)
    for name in ("encode", "decode", "W_dec"):
        if not hasattr(dictionary, name):
            kind = type(dictionary).__name__
            raise ValueError(f"a dictionary is a {kind} without {name}; expected encode, decode and W_dec, or a folder")
    return dictionary


def _run(lm, rows: Tensor, hooks: list[str], batch_size: int) -> Iterator[tuple[np.ndarray, dict[str, Tensor]]]:
    ctx = rows.shape[1]
    for i, x in enumerate(stream(lm, rows, hooks, batch_size)):
        n = len(next(iter(x.values()))) // ctx
        yield np.arange(i * batch_size, i * batch_size + n), {h: v.unflatten(0, (n, ctx)) for h, v in x.items()}


def _came(index, missing: set[int], name: str) -> np.ndarray:
    index = np.asarray(index, dtype=np.int64)
    for row in index.tolist():
        if row not in missing:
            raise ValueError(f"activations of set {name!r} hold row {row} twice, or there is none; expected each once")
        missing.remove(row)
    return index


def _begin_once(lm, sets: Mapping[str, Tensor]) -> None:
    """Warn where a second BOS stands in the text: features of the first token would fire on it, as on a word."""
    bos = getattr(getattr(lm, "tokenizer", None), "bos_token_id", None)
    for name, rows in sets.items():
        twice = (rows[:, :2] == bos).all(1).nonzero()[:, 0].tolist() if bos is not None and rows.shape[1] > 1 else []
        if twice:
            warnings.warn(
                f"tokens[{name!r}]: {len(twice)} of {len(rows)} rows begin with the model's BOS, id {bos}, twice (the "
                f"first is row {twice[0]}); expected it once, or skip_first=2",
                stacklevel=3,
            )


def _check(lm, sets, dictionaries, activations, factors) -> None:
    if not sets or not dictionaries:
        raise ValueError(f"{len(sets)} token sets and {len(dictionaries)} dictionaries; expected at least one of each")
    if lm is None and activations is None:
        raise ValueError("lm=None and activations=None; expected a model, or activations in its place")
    if activations is not None and isinstance(activations, Mapping) != (len(sets) > 1 or "text" not in sets):
        raise ValueError(f"activations is a {type(activations).__name__}; expected one iterable for each set of tokens")
    for name, rows in sets.items():
        seen = f"{tuple(rows.shape)} of {rows.dtype}" if isinstance(rows, Tensor) else type(rows).__name__
        if not isinstance(rows, Tensor) or rows.ndim != 2 or rows.is_floating_point() or not rows.numel():
            raise ValueError(f"tokens[{name!r}] is {seen}; expected a non-empty integer tensor (n_rows, ctx)")
        most = lm.cfg.d_vocab if lm is not None else 2**31
        if rows.min() < 0 or rows.max() >= most:
            raise ValueError(f"tokens[{name!r}] holds ids {rows.min()} to {rows.max()}; expected 0 to {most - 1}")
    for hook, sae in dictionaries.items():
        if lm is not None and hook not in lm.hook_dict:
            near = ", ".join(difflib.get_close_matches(str(hook), lm.hook_dict, n=3)) or "one of lm.hook_dict"
            raise ValueError(f"hook={hook!r} is not in this model; did you mean {near}?")
        if lm is not None and activations is None:
            width = next(iter(stream(lm, next(iter(sets.values()))[:1, :2], hook))).shape[-1]
            if sae.W_dec.shape[1] != width:
                raise ValueError(f"the dictionary of {hook!r} has d_model={sae.W_dec.shape[1]}; expected {width}")
    for name, given in factors.items():
        for hook, value in given.items():
            if hook not in dictionaries:
                raise ValueError(f"{name} names {hook!r}; expected hooks among {', '.join(dictionaries)}")
            finite(f"{name}[{hook!r}]", value, above=0)
