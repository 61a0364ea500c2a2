"""The small version of :mod:`recipes.coverage`: a layer's three dictionaries made again, each put in alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from helpers.lm import load_tokens
from helpers.runs import cache_dir, progress

from . import every_layer
from .coverage import CHUNK, SEQUENCES, Chunk, Run, rows
from .dashboards import climb
from .every_layer import KINDS, fitted, sites, write
from .harvest import ROWS


@torch.inference_mode()
def activations(home: Path, layer: int) -> dict[str, list[Path]]:
    """The files of the training tokens' activations at a layer's sites, made if missing."""
    tokens = load_tokens("train").split(ROWS)
    paths = {site: [home / "activations" / site / f"{i:04d}.npy" for i in range(len(tokens))] for site in sites(layer)}
    for i, part in enumerate(progress(tokens, desc="harvesting")):
        if not all(files[i].exists() for files in paths.values()):
            seen = [climb(every_layer.model(), some, list(paths)) for some in part.split(32)]
            for site, files in paths.items():
                write(files[i], torch.cat([x[site] for x in seen]))
    return paths


def again(layer: int = 0, seed: int = 1) -> pd.DataFrame:
    """The layer's dictionaries from another seed, each put in alone: a row each, as in the table."""
    home, tried = cache_dir() / "coverage-again-1", [Run((kind,), layer, layer) for kind in KINDS]
    for site, files in activations(home, layer).items():
        fitted(home / site, files, seed)
    with torch.inference_mode():
        chunks = [Chunk(part, home.joinpath) for part in load_tokens("eval")[: SEQUENCES["eval"]].split(CHUNK)]
        found = {run.name: torch.cat([c.figures(c.replaced(run)) for c in chunks], dim=1) for run in tried}
        found["clean"] = torch.cat([c.figures(c.logits) for c in chunks], dim=1)
    return pd.DataFrame(rows("eval", found, layer + 1))
