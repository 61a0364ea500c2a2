"""Chapter 2's experiment: what a penalty on the decoder's cosines buys, and what it costs.

    python -m recipes.orthogonality [--reduced] [--until MINUTES] [--toy]

On a hierarchical toy whose features are known (`artifacts/orthogonality_toy.csv`), and on the model's residual stream
(`artifacts/orthogonality.csv`): three forms of the penalty, three strengths, two architectures, paired by seed with
the same run without it.
"""

from __future__ import annotations

import argparse
import time

import pandas as pd
import torch

from helpers.corpus import load_tokens
from helpers.geometry import kth_largest_cosine
from helpers.metrics import dead_fraction, feature_recovery, fvu, l0
from helpers.sae import build
from helpers.store import save_artifact
from helpers.sweep import sweep
from helpers.toy import SparseFeatures
from helpers.training import train

from . import gated_sweep
from .absorption import absorption
from .cosines import KS, MIDDLE, sample
from .gated_sweep import data, folder, hyper

SITE = "blocks.15.hook_resid_pre"
# Strengths that span "hardly felt" to "rules the decoder"; mean_square is a mean over pairs, so it needs more.
STRENGTHS = {"chunk_max": (0.25, 2.0, 16.0), "max": (0.25, 2.0, 16.0), "mean_square": (4.0, 32.0, 256.0)}
ARMS = ("gated", "topk")
TOY_ARMS = ("standard", "gated", "topk")
TOY_SPARSITY = {"standard": {"sparsity": 0.6}, "gated": {"sparsity": 0.6}, "topk": {"k": 3}}  # about the true L0
PENALTY_FREE = {"orthogonality": 0.0, "penalty": "chunk_max"}


def settings() -> list[dict]:
    """No penalty, then every form at every strength."""
    return [PENALTY_FREE] + [
        {"orthogonality": value, "penalty": form} for form, values in STRENGTHS.items() for value in values
    ]


def run(architecture: str, seed: int, sequences: int, orthogonality: float, penalty: str) -> dict:
    """One dictionary of the model: the sweep's measures, its k-th cosines, and first-letter absorption."""
    point = {"architecture": architecture, "site": SITE, "seed": seed, "level": MIDDLE, "sequences": sequences}
    point |= hyper(architecture, MIDDLE)
    if orthogonality:
        point |= {"orthogonality": orthogonality, "penalty": penalty}
    row = gated_sweep.run(**point)
    row.pop("by_sequence")
    sae, acts = gated_sweep.fit(**point).eval(), data(SITE, sequences)
    on = torch.cat([sae.encode(part) > 0 for part in sample(acts).split(4096)])
    rows = sae.W_dec.detach()[on.any(0)]
    for absolute in (False, True):
        values = kth_largest_cosine(rows, KS, absolute=absolute).mean(0).tolist()
        row |= {f"{'abs_' * absolute}cosine_{k}": value for k, value in zip(KS, values, strict=True)}
    return row | absorption(sae, acts.scale, SITE)


def toy_run(architecture: str, seed: int, orthogonality: float, penalty: str, steps: int = 1500) -> dict:
    """One dictionary of the toy: 32 orthonormal features in trees of four, 64 latents.

    ``absorbed`` is how much more often the latent of a root is silent when a child is on than when none is.
    ``composed`` is the share of living latents of which a second true feature has at least a tenth of the square.
    """
    toy = SparseFeatures(
        32, 48, p=0.15, structure="hierarchical", noise=0.02, generator=torch.Generator().manual_seed(1000 + seed)
    )
    options = TOY_SPARSITY[architecture] | {"orthogonality": orthogonality, "penalty": penalty}
    sae = build(architecture, 48, 64, generator=torch.Generator().manual_seed(seed), **options)

    def batches(step):
        return toy.sample(256, torch.Generator().manual_seed(10_000_000 * (seed + 1) + step))[0]

    train(sae, batches, steps=steps, lr=3e-3, seed=seed, progress=False)
    x, truth = toy.sample(20_000, torch.Generator().manual_seed(77))
    found = sae.eval().encode(x)
    alive = (found > 0).any(0)
    cosines = torch.nn.functional.normalize(sae.W_dec.detach(), dim=1) @ toy.features.T  # (d_sae, n_features)
    roots = torch.arange(0, 32, 4)
    silent = found[:, cosines[:, roots].argmax(0)] == 0
    on = (truth > 0).reshape(len(truth), 8, 4)
    alone, with_child = on[..., 0] & ~on[..., 1:].any(-1), on[..., 1:].any(-1)
    second = cosines[alive].pow(2).topk(2, dim=1).values[:, 1]
    return {
        "l0": l0(found), "true_l0": l0(truth), "fvu": fvu(x, sae.decode(found)), "dead_fraction": dead_fraction(found),
        "recovery": feature_recovery(sae.W_dec.detach(), toy.features),
        "absorbed": (silent[with_child].double().mean() - silent[alone].double().mean()).item(),
        "composed": (second >= 0.1).double().mean().item(),
        "cosine_1": kth_largest_cosine(sae.W_dec.detach()[alive], (1,)).mean().item(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reduced", action="store_true", help="the toy alone, two seeds")
    parser.add_argument("--toy", action="store_true", help="the toy alone")
    parser.add_argument("--until", type=float, default=None, help="stop taking new runs after so many minutes")
    args = parser.parse_args()
    begun, end = time.time(), "_reduced" if args.reduced else ""
    grid = [
        {"architecture": arm, "seed": seed, **setting}
        for seed in range(2 if args.reduced else 5)
        for arm in TOY_ARMS
        for setting in settings()
    ]
    table = sweep(toy_run, grid, folder=folder("orthogonality"))
    made = {"recipe": "python -m recipes.orthogonality", "seed": sorted({p["seed"] for p in grid})}
    save_table(f"orthogonality_toy{end}.csv", table, made, begun)
    if args.toy or args.reduced:
        return
    sequences, begun = len(load_tokens("train")), time.time()
    grid = [
        {"architecture": arm, "seed": seed, "sequences": sequences, **setting}
        for seed in range(3)
        for arm in ARMS
        for setting in settings()
    ]
    deadline = None if args.until is None else begun + 60 * args.until
    table = sweep(run, grid, folder=folder("orthogonality"), deadline=deadline)
    save_table("orthogonality.csv", table, made | {"planned_runs": len(grid)}, begun)


def save_table(name: str, table: pd.DataFrame, made: dict, begun: float) -> None:
    made = made | {"seconds": round(time.time() - begun)}
    save_artifact(name, lambda path: table.round(6).to_csv(path, index=False), **made)


if __name__ == "__main__":
    from recipes import orthogonality  # under its own name, so that worker processes can import what they are sent

    orthogonality.main()
