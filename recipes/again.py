"""One layer's three dictionaries made again, from other seeds, each put in alone: what a seed changes.

:mod:`recipes.coverage` ships five seeds of them, and its small version makes one more, to be held against these.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from helpers.lm import load_tokens
from helpers.runs import cache_dir, progress

from . import every_layer
from .every_layer import KINDS, climb_to_files, fitted, sites
from .harvest import ROWS
from .replacing import CHUNK, SEQUENCES, Chunk, Run

LAYER, SEEDS, NEW = 0, (0, 2, 3, 4, 5), 1


def home() -> Path:
    return cache_dir() / "coverage-again-1"


def place(site: str, seed: int) -> Path:
    return home() / str(seed) / site


def activations() -> dict[str, list[Path]]:
    """The files of the training tokens' activations at the layer's sites, made if missing."""
    tokens = load_tokens("train").split(ROWS)
    paths = {
        site: [home() / "activations" / site / f"{i:04d}.npy" for i in range(len(tokens))] for site in sites(LAYER)
    }
    for i, part in enumerate(progress(tokens, desc="harvesting")):
        if not all(files[i].exists() for files in paths.values()):
            climb_to_files(every_layer.model(), part, {site: files[i] for site, files in paths.items()})
    return paths


def again(seeds: tuple[int, ...] = (NEW,)) -> pd.DataFrame:
    """What each dictionary of each seed loses alone: columns site, seed, and nats, the mean over the model's text."""
    for seed in progress([s for s in seeds if not all(place(site, s).exists() for site in sites(LAYER))], desc="seeds"):
        for site, files in activations().items():
            fitted(place(site, seed), files, seed)
    rows = []
    with torch.inference_mode():
        for seed in seeds:
            chunks = [
                Chunk(part, lambda site, seed=seed: place(site, seed))
                for part in load_tokens("eval")[: SEQUENCES["eval"]].split(CHUNK)
            ]
            for site, kind in zip(sites(LAYER), KINDS, strict=True):
                lost = [c.figures(c.replaced(Run((kind,), LAYER, LAYER)))[0] - c.figures(c.logits)[0] for c in chunks]
                rows.append({"site": site, "seed": seed, "nats": torch.cat(lost).mean().item()})
    return pd.DataFrame(rows)
