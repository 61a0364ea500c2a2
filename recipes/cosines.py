"""Chapters 2 and 7: cosines between the rows of every dictionary of the sweep, and of the nulls beside them.

    python -m recipes.cosines [--finished]

Dictionaries come from `recipes.gated_sweep`; missing ones are trained, unless `--finished` says to take what is there.
Writes `artifacts/cosines.csv` (a row per dictionary, k, signed or absolute), `artifacts/cosines.safetensors` (the
histograms) and `artifacts/coactivation.csv` (how often pairs of features fire together, by their cosine).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from torch import Tensor

from helpers.geometry import (
    covariance_directions,
    data_directions,
    hubness,
    kth_largest_cosine,
    nearest_neighbours,
    unit_rows,
)
from helpers.progress import progress
from helpers.sae import SAE, build
from helpers.store import save_artifact

from .gated_sweep import D_SAE, LEVELS, K, data, fit, hyper, weights
from .harvest import SITES, Activations

KS = (1, 10, 100)
EDGES = torch.linspace(-0.2, 1.0, 121)  # of the histograms
BINS = torch.linspace(-1.0, 1.0, 41)  # cosines of pairs, for co-activation
ARMS = (
    "standard", "expanded", "gated", "gated_shared_bias", "jumprelu", "topk", "batchtopk", "matryoshka", "random",
)  # fmt: skip
SEEDS = range(3)
MIDDLE = 2  # the sparsity level at which every architecture gets all seeds


def sample(acts: Activations, n: int = 65_536) -> Tensor:
    return acts.rows(torch.arange(0, len(acts), max(1, len(acts) // n)))


def dictionaries(finished: bool, sequences: int) -> Iterator[tuple[dict, SAE]]:
    """Every dictionary with its point: all levels that the sweep has, and every seed at the middle one."""
    for site in SITES:
        for arm in ARMS:
            for level in sorted(LEVELS):
                for seed in SEEDS:
                    point = {"architecture": arm, "site": site, "seed": seed, "level": level, "sequences": sequences}
                    point |= hyper(arm, level)
                    if weights(point).exists() or (level == MIDDLE and not finished):
                        yield point, fit(**point)
        for seed in SEEDS:
            point = {"architecture": "topk", "site": site, "seed": seed, "level": MIDDLE, "sequences": sequences}
            point |= {"k": K[MIDDLE], "shuffled": True}
            if weights(point).exists() or not finished:
                yield point | {"architecture": "shuffled model"}, fit(**point)


def nulls(site: str, sequences: int) -> Iterator[tuple[dict, Tensor]]:
    """Directions that no training made."""
    x = sample(data(site, sequences))
    for seed in SEEDS:
        generator = torch.Generator().manual_seed(seed)
        point = {"site": site, "seed": seed, "level": -1}
        yield point | {"architecture": "covariance"}, covariance_directions(x, D_SAE, generator)
        yield point | {"architecture": "activations"}, data_directions(x, D_SAE, generator)
        yield point | {"architecture": "untrained"}, build("standard", x.shape[1], D_SAE, generator=generator).W_dec


def describe(rows: Tensor, point: dict) -> tuple[list[dict], Tensor]:
    """A row per (absolute, k), and the histograms ``(2, len(KS), len(EDGES) - 1)``."""
    out, counts = [], []
    for absolute in (False, True):
        cosines = kth_largest_cosine(rows, KS, absolute=absolute)
        near = nearest_neighbours(rows, absolute=absolute)
        hubs = hubness(near.index, len(rows), torch.Generator().manual_seed(0))
        for k, values in zip(KS, cosines.T.contiguous(), strict=True):
            counts.append(torch.histogram(values.clamp(EDGES[0], EDGES[-1]), EDGES).hist)
            quantiles = np.quantile(values.numpy(), (0.05, 0.25, 0.5, 0.75, 0.95))
            out.append(
                {key: point.get(key) for key in ("architecture", "site", "seed", "level")}
                | {"n": len(rows), "d": rows.shape[1], "absolute": absolute, "k": k}
                | {"mean": values.mean().item(), "sd": values.std().item()}
                | dict(zip(("q05", "q25", "q50", "q75", "q95"), quantiles.tolist(), strict=True))
                | {"skewness": hubs.skewness, "largest_hub": hubs.largest, "p_skewness": hubs.p_skewness}
            )
    return out, torch.stack(counts).reshape(2, len(KS), -1).int()


@torch.no_grad()
def coactivation(sae: SAE, rows: Tensor, on: Tensor, point: dict) -> list[dict]:
    """For pairs of features by cosine: how often both fire, and how often they would if they fired independently."""
    on = on.float()
    both, rate = torch.zeros(len(rows), len(rows)), on.mean(0)
    for part in on.split(8192):
        both += part.T @ part
    i, j = torch.triu_indices(len(rows), len(rows), 1)
    unit = unit_rows(rows)
    cosines = (unit @ unit.T)[i, j]
    seen, expected = both[i, j].double(), len(on) * rate[i].double() * rate[j].double()
    bin_ = torch.bucketize(cosines, BINS[1:-1])
    sums = torch.zeros(3, len(BINS) - 1, dtype=torch.float64)
    for row, values in enumerate((torch.ones_like(seen), seen, expected)):
        sums[row].scatter_add_(0, bin_, values)
    return [
        {key: point[key] for key in ("architecture", "site", "seed", "level")}
        | {"low": BINS[b].item(), "pairs": int(pairs), "together": int(seen), "expected": expected}
        for b, (pairs, seen, expected) in enumerate(sums.T.tolist())
        if pairs
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--finished", action="store_true", help="train nothing; take the dictionaries that are there")
    args = parser.parse_args()
    begun, sequences = time.time(), 16_384
    table, together, histograms = [], [], {}

    def add(rows: Tensor, point: dict) -> None:
        described, counts = describe(rows, point)
        table.extend(described)
        histograms["/".join(str(point[key]) for key in ("architecture", "site", "seed", "level"))] = counts

    for point, sae in progress(list(dictionaries(args.finished, sequences)), desc="dictionaries"):
        x = sample(data(point["site"], sequences, bool(point.get("shuffled"))))
        on = torch.cat([sae.eval().encode(part) > 0 for part in x.split(4096)])
        alive = on.any(0)
        rows = sae.W_dec.detach()[alive]
        add(rows, point)
        if point["level"] == MIDDLE:
            together += coactivation(sae, rows, on[:, alive], point)
    for site in SITES:
        for point, rows in nulls(site, sequences):
            add(rows.detach(), point)
    made = {"recipe": "python -m recipes.cosines", "seed": list(SEEDS), "seconds": round(time.time() - begun)}
    for name, rows in (("cosines.csv", table), ("coactivation.csv", together)):
        save_artifact(name, lambda path, rows=rows: pd.DataFrame(rows).round(6).to_csv(path, index=False), **made)
    save_artifact(
        "cosines.safetensors",
        lambda path: save_file(histograms, path),
        what="counts per (signed, absolute) x k=1, 10, 100 x 120 bins of cosine from -0.2 to 1; alive rows only",
        **made,
    )


if __name__ == "__main__":
    main()
