"""Chapter 1's toys: every arm on four kinds of data whose features are known, five seeds, a grid of sparsity.

    python -m recipes toys [--reduced] [--scheduler tcp://…]

Writes `artifacts/toys.csv`, one row a run. On the bimodal toy the directions are given and only biases, scales, gaps
and thresholds are trained: it asks what the nonlinearity can do, and features that are on half of the time are too
dense for their directions to be found by sparsity.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from helpers.runs import cache_dir, save_artifact, sweep
from helpers.sae import (
    RescaleShift,
    SparseFeatures,
    build,
    dead_fraction,
    feature_recovery,
    fvu,
    l0,
    reconstruction_bias,
    train,
)

from .command import options

TOYS = ("independent", "correlated", "hierarchical", "bimodal")
ARMS = ("standard", "expanded", "gated", "gated_shared_bias", "rescale_shift", "jumprelu")
SEEDS = range(5)
SPARSITY = {  # of the L1 arms; JumpReLU pays per active feature, on another scale
    "sparse": (0.2, 0.4, 0.8, 1.6),
    "bimodal": (0.5, 1.0, 1.5, 2.0),
}
STEPS, BATCH, LR = 1200, 256, 3e-3


def source(toy: str, seed: int) -> SparseFeatures:
    """The toy's data source; the seed draws the directions."""
    generator = torch.Generator().manual_seed(1000 + seed)
    if toy == "bimodal":
        return SparseFeatures.bimodal(32, generator)
    p = {"independent": 0.05, "correlated": 0.05, "hierarchical": 0.08}[toy]
    return SparseFeatures(64, 32, p=p, structure=toy, noise=0.02, generator=generator)


def hyper(toy: str, architecture: str, level: int) -> dict:
    """Hyperparameters of one level, from dense (0) to sparse (3)."""
    value = SPARSITY["bimodal" if toy == "bimodal" else "sparse"][level]
    return {"sparsity": value / 4, "bandwidth": 0.1} if architecture == "jumprelu" else {"sparsity": value}


def fit(toy: str, architecture: str, seed: int, level: int, steps: int = STEPS):
    """A dictionary of one arm trained on one toy. Seeds give directions, weights and batches; arms share all three."""
    data = source(toy, seed)
    if architecture == "rescale_shift":
        sae, steps = RescaleShift.of(fit(toy, "standard", seed, level, steps)[0]), steps // 2
    else:
        generator = torch.Generator().manual_seed(seed)
        sae = build(architecture, 32, len(data.features), generator=generator, **hyper(toy, architecture, level))
        if toy == "bimodal":
            for weights, truth in ((sae.W_dec, data.features), (sae.W_enc, data.features.T)):
                weights.requires_grad_(False).copy_(truth)

    def batches(step):
        return data.sample(BATCH, torch.Generator().manual_seed(10_000_000 * (seed + 1) + step))[0]

    train(sae, batches, steps=steps, lr=LR, betas=(0.0, 0.999), progress=False)
    return sae, data


def run(toy: str, architecture: str, seed: int, level: int, steps: int = STEPS) -> dict:
    """One row: the measures on 20,000 fresh samples."""
    begun = time.process_time()
    sae, data = fit(toy, architecture, seed, level, steps)
    x, codes = data.sample(20_000, torch.Generator().manual_seed(77))
    found = sae.encode(x)
    x_hat = sae.decode(found)
    match = torch.nn.functional.normalize(sae.W_dec, dim=1) @ data.features.T
    best = match.max(0).indices  # the latent that stands for each true feature
    fired, on = found[:, best] > 0, codes > 0
    return {
        **hyper(toy, "standard" if architecture == "rescale_shift" else architecture, level),
        "l0": l0(found), "fvu": fvu(x, x_hat), "gamma": reconstruction_bias(x, x_hat),
        "dead_fraction": dead_fraction(found), "recovery": feature_recovery(sae.W_dec, data.features),
        "true_l0": l0(codes), "errors": (fired != on).double().mean().item(),
        "seconds": round(time.process_time() - begun, 1),
    }  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    parser = options("toys", __doc__, "scheduler", reduced="two seeds, the three central arms, two levels")
    args = parser.parse_args(argv)
    seeds, arms, levels = (SEEDS, ARMS, range(4)) if not args.reduced else (range(2), ARMS[:3], (1, 2))
    grid = [
        {"toy": toy, "architecture": arm, "seed": seed, "level": level}
        for seed in seeds
        for toy in TOYS
        for level in levels
        for arm in arms
    ]
    begun = time.time()
    table = sweep(run, grid, folder=cache_dir() / "runs", scheduler=args.scheduler)
    name = "reduced/" * args.reduced + "toys.csv"
    save_artifact(
        name,
        lambda path: table.round(6).to_csv(path, index=False),
        recipe="python -m recipes.toys",
        seed=list(seeds),
        seconds=round(time.time() - begun),
    )


if __name__ == "__main__":
    from recipes import toys  # under its own name, so that worker processes can import what they are sent

    toys.main()
