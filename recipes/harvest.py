"""Activations of the training tokens at the chapter's sites, kept in the cache as bfloat16, a file per shard."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from transformers import AutoTokenizer

from helpers.lm import activations, load_lm, load_tokens, model_folder
from helpers.ranks import bf16_is_fast
from helpers.runs import atomic, cache_dir, progress, spread

MODEL, SECOND = "smollm2-135m", "gemma3-270m"
SITES = ("blocks.15.hook_resid_pre", "blocks.6.hook_mlp_out")
ROWS = 256  # sequences per file
OUTLIER = 4.0  # medians: rows with a larger norm are left out of dictionaries, and left alone when splicing. Hardly a
# row lies near this line (of two million within a tenth of it 7 and 82), so rounding moves none of weight across it.
KIND = torch.bfloat16 if bf16_is_fast() else torch.float32
"""How recipes run the model: what is shipped was made in bfloat16, which takes seventy times as long where the
processor has no hardware for it."""


@cache
def _lm(shuffled: bool, model: str):
    return shuffle_blocks(load_lm(model, dtype=KIND)) if shuffled else load_lm(model, dtype=KIND)


@cache
def tokens_of(split: str, model: str = MODEL) -> Tensor:
    """Tokens ``(n_seq, 128)`` of one split for a model. For another than the embedded one: the same texts, one after
    another in its own tokens, cut into lengths of 127, each behind its first token."""
    tokens = load_tokens(split)
    if model == MODEL:
        return tokens
    ours, theirs = (AutoTokenizer.from_pretrained(model_folder(name)) for name in (MODEL, model))
    texts = ours.batch_decode(tokens, skip_special_tokens=True)
    ids = theirs(texts, add_special_tokens=False).input_ids
    stream = torch.tensor([i for text in ids for i in text])
    length = tokens.shape[1] - 1
    rows = stream[: len(stream) // length * length].view(-1, length)
    return torch.cat([torch.full((len(rows), 1), theirs.bos_token_id), rows], dim=1)


@torch.no_grad()
def shuffle_blocks(lm, seed: int = 0):
    """The same model with the entries of every matrix in its blocks in random order: what is left is no computation.

    Embeddings and norms stay, so tokens still look different from each other (a null in the manner of
    arXiv:2501.17727).
    """
    shuffle(lm.blocks, seed)
    return lm


@torch.no_grad()
def shuffle(blocks: torch.nn.Module, seed: int = 0) -> None:
    """Put the entries of every matrix in ``blocks`` in random order."""
    generator = torch.Generator().manual_seed(seed)
    for weight in blocks.parameters():
        if weight.ndim > 1:
            order = torch.randperm(weight.numel(), generator=generator)
            weight.copy_(weight.flatten()[order].reshape(weight.shape))


def harvest(
    tokens: Tensor, sites: tuple[str, ...] = SITES, shuffled: bool = False, model: str = MODEL
) -> dict[str, Path]:
    """Files of int16-viewed bfloat16 ``(n, d_model)`` for one shard of tokens; made if missing.

    Position 0 is left out: it is a special token that carries the attention sink. The norms of all rows are kept beside
    them. Files are named by a hash of their tokens, so different tokens never share one. ``shuffled`` harvests from
    :func:`shuffle_blocks`.
    """
    paths = places(tokens, sites, shuffled, model)
    lock = cache_dir() / "activations" / f"{next(iter(paths.values())).stem}.lock"
    lock.parent.mkdir(exist_ok=True)
    with FileLock(str(lock)):
        if not all(path.exists() for path in paths.values()):
            keep(run(sites, shuffled, model, tokens), paths)
    return paths


def harvest_apart(
    shards: Sequence[Tensor], sites: tuple[str, ...], scheduler: str, shuffled: bool = False, model: str = MODEL
) -> None:
    """:func:`harvest` of many shards by the workers of a Dask cluster, who need no common disk: what they find comes
    here."""
    missing = [part for part in shards if not all(p.exists() for p in places(part, sites, shuffled, model).values())]
    found = spread(_numbered, enumerate(missing), scheduler, (sites, shuffled, model))
    for i, parts in progress(found, total=len(missing), desc="harvesting"):
        keep(parts, places(missing[i], sites, shuffled, model))


def _numbered(sites, shuffled: bool, model: str, i: int, tokens: Tensor) -> tuple[int, dict]:
    return i, run(sites, shuffled, model, tokens)


def places(tokens: Tensor, sites: tuple[str, ...], shuffled: bool, model: str) -> dict[str, Path]:
    """Where the activations of one shard of tokens lie, or will."""
    kind = np.uint16 if model == MODEL else np.uint32
    name = hashlib.sha256(tokens.numpy().astype(kind).tobytes()).hexdigest()[:16] + "-shuffled" * shuffled
    name += f"-{Path(model).name}" * (model != MODEL)
    return {site: cache_dir() / "activations" / site / f"{name}.npy" for site in sites}


def run(sites: tuple[str, ...], shuffled: bool, model: str, tokens: Tensor) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By site the activations of one shard, bfloat16 as int16, and their norms before rounding."""
    parts = activations(_lm(shuffled, model), tokens, sites, batch_size=32, skip_first=1)
    parts = [{site: x.cpu() for site, x in part.items()} for part in parts]
    return {
        site: (
            torch.cat([part[site] for part in parts]).bfloat16().view(torch.int16).numpy(),
            torch.cat([part[site].float().norm(dim=1) for part in parts]).numpy(),
        )
        for site in sites
    }


def keep(parts: dict[str, tuple[np.ndarray, np.ndarray]], paths: dict[str, Path]) -> None:
    for site, (whole, norms) in parts.items():
        _save(_norms(paths[site]), norms)
        _save(paths[site], whole)


def _norms(path: Path) -> Path:
    return path.with_suffix(".norms.npy")


def _save(path: Path, array: np.ndarray) -> None:
    with atomic(path) as scratch, open(scratch, "wb") as file:
        np.save(file, array)


class Activations:
    """All activations of one site, memory-mapped; ``batches(...)`` gives :func:`helpers.sae.train` its function.

    Rows whose norm exceeds ``cutoff`` (``OUTLIER`` medians: attention sinks and their like) are left out. ``x`` is
    scaled to a total variance of one; ``scale`` and ``mean`` (after scaling) say how. At a larger scale biases, which
    Adam moves by the learning rate at most, take thousands of steps to arrive.
    """

    def __init__(self, tokens: Tensor, site: str, shuffled: bool = False, model: str = MODEL):
        parts = progress(tokens.split(ROWS), desc=f"harvesting {site}")
        sites = SITES if model == MODEL else (site,)
        paths = [harvest(part, sites, shuffled, model)[site] for part in parts]
        shards = [np.load(path, mmap_mode="r", allow_pickle=False) for path in paths]
        self.use(shards, np.concatenate([np.load(_norms(path), allow_pickle=False) for path in paths]))

    def use(self, shards: list[np.ndarray], norms: np.ndarray) -> None:
        """Take ``shards``, each ``(n, d_model)`` of bfloat16 seen as int16; rows with a NaN norm are left out, too."""
        self.shards = shards
        self.cutoff = float(OUTLIER * np.nanmedian(norms))
        self.left_out = float((norms[~np.isnan(norms)] > self.cutoff).mean())
        self.kept = torch.from_numpy(np.flatnonzero(norms <= self.cutoff))
        self.starts = np.concatenate([[0], np.cumsum([len(s) for s in self.shards])])
        sample = self.rows(torch.arange(0, len(self), max(1, len(self) // 20_000)), scale=1.0)
        self.scale = float(1 / sample.double().var(0).sum().sqrt())
        self.mean = sample.mean(0) * self.scale

    def __len__(self) -> int:
        return len(self.kept)

    def rows(self, index: Tensor, scale: float | None = None) -> Tensor:
        """Float32 rows by index, scaled."""
        index = self.kept[index].numpy()
        shard = np.searchsorted(self.starts, index, side="right") - 1
        out = np.empty((len(index), self.shards[0].shape[1]), dtype=np.int16)
        for s in np.unique(shard):
            where = shard == s
            out[where] = self.shards[s][index[where] - self.starts[s]]
        return torch.from_numpy(out).view(torch.bfloat16).float() * (self.scale if scale is None else scale)

    def batches(self, batch: int, seed: int):
        """A function from the step to ``(batch, d_model)`` rows: a seeded shuffle of everything, epoch after epoch."""
        per_epoch = len(self) // batch

        @cache
        def order(epoch: int) -> Tensor:
            return torch.randperm(len(self), generator=torch.Generator().manual_seed(1_000_003 * seed + epoch))

        def at(step: int) -> Tensor:
            epoch, i = divmod(step, per_epoch)
            return self.rows(order(epoch)[i * batch : (i + 1) * batch])

        return at
