"""Trained dictionaries by name, each with the activations it was trained for: ours, and a public one.

    source = load_source("smollm2-135m-standard")    # or -expanded, -gated: shipped, residual stream, layer 15
    source = load_source("gpt2-small-res-jb")        # Joseph Bloom's, residual stream before layer 10: needs a network
    source.sae.W_dec, source.activations(64)

The public one is read from ``saelens/<name>`` in the cache if that folder is there, else from huggingface.co.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import one_of, whole
from ..lm import activations, load_lm, load_tokens
from ..runs import artifact, cache_dir, manifest
from .dictionary import SAE
from .formats import load, load_saelens

OURS = {f"smollm2-135m-{arm}": arm for arm in ("standard", "expanded", "gated")}
SITE = "blocks.15.hook_resid_pre"
PUBLIC = {"gpt2-small-res-jb": ("jbloom/GPT2-Small-SAEs-Reformatted", "blocks.10.hook_resid_pre", "gpt2")}
PAGES = {"gpt2-small-res-jb": "https://www.neuronpedia.org/gpt2-small/10-res-jb/{feature}"}
FILES = ("cfg.json", "sae_weights.safetensors")
OUTLIER = 4.0  # medians, for models whose cutoff is not on record


class Source(NamedTuple):
    """``activations(n_seq)`` gives ``(n, d_model)`` of so many texts, without first positions and outliers.

    ``page`` is the address at which others show its features, with ``{feature}`` in it, if there is one.
    """

    sae: SAE
    activations: Callable[[int], Tensor]
    title: str
    page: str | None = None


def load_source(name: str) -> Source:
    """The dictionary ``name`` and its activations.

    Raises ValueError for an unknown name, and OSError, saying what to do, if a public one cannot be fetched.
    """
    if name in OURS:
        key = f"dictionaries/{OURS[name]}-{SITE}"
        cutoff = manifest()[key]["made"]["cutoff"]
        title = f"SmolLM2-135M, residual stream before layer 15, {OURS[name]}"
        return Source(load(artifact(key)), lambda n: _kept(_rows("smollm2-135m", SITE, n), cutoff), title)
    repository, hook, lm = PUBLIC[one_of("name", name, [*OURS, *PUBLIC])]
    sae = load_saelens(_folder(name, repository, hook))

    def centred(n: int) -> Tensor:  # as TransformerLens centres what is written to the stream it was trained on
        x = _rows(lm, hook, n)
        x = x - x.mean(1, keepdim=True)
        return _kept(x, OUTLIER * x.norm(dim=1).median().item())

    return Source(sae, centred, f"{name}, {hook}", PAGES.get(name))


def _folder(name: str, repository: str, inner: str) -> Path:
    by_hand = cache_dir() / "saelens" / name
    if by_hand.exists():
        return by_hand
    try:
        from huggingface_hub import hf_hub_download

        paths = [Path(hf_hub_download(repository, f"{inner}/{file}")) for file in FILES]
    except Exception as error:
        raise OSError(
            f"name={name!r} could not be fetched from huggingface.co/{repository} ({type(error).__name__}). With a "
            f"network, try again; without one, put {' and '.join(FILES)} of its folder {inner} into {by_hand}, or take "
            f"a dictionary that is shipped: {', '.join(OURS)}."
        ) from error
    return paths[0].parent


def _rows(name: str, hook: str, n_seq: int) -> Tensor:
    """Float32 activations of the first ``n_seq`` evaluation texts, or, in another tokenizer, human ones."""
    n_seq = whole("n_seq", n_seq, 1)
    lm = load_lm(name)
    tokens = load_tokens("eval")[:n_seq] if name == "smollm2-135m" else _retokenised(lm, n_seq)
    return torch.cat([part.float() for part in activations(lm, tokens, hook, batch_size=16, skip_first=1)])


def _retokenised(lm, n_seq: int) -> Tensor:
    human = load_tokens("human")[: 2 * n_seq, 1:]
    text = load_lm("smollm2-135m").tokenizer.decode(human.flatten().tolist())
    ids = torch.tensor(lm.tokenizer(text).input_ids)
    ids = ids[: len(ids) // 127 * 127].reshape(-1, 127)[:n_seq]
    begin = torch.full((len(ids), 1), lm.tokenizer.eos_token_id)
    return torch.cat([begin, ids], dim=1)


def _kept(x: Tensor, cutoff: float) -> Tensor:
    return x[x.norm(dim=1) <= cutoff]
