"""Chapter 7's runs: dictionaries under "mean cosine + mean max cosine + max max cosine", and with each term left out.

    python -m recipes peaks [--reduced] [--studies toy alone model] [--until MINUTES] [--scheduler tcp://…]

Studies: `toy` (known features, 1024 latents in 64 dimensions: sixteen times, as asked); `alone` (the regulariser with
no data, up to half the size of the question); `model` (an MLP output of the model, at 4 and at 16 times its width).
Writes `artifacts/peaks.csv`, a row a run, and `artifacts/peaks.safetensors`: for each run every row's nearest neighbour
(`…/index`), the cosine with it (`…/cosine`) and whether the latent fires (`…/fired`, bits). Runs are kept in the cache
one by one, so the recipe can be stopped and started at will; `--until` writes what is done then.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from torch import Tensor

from helpers.geometry import descend, kth_largest_cosine, nearest_neighbours
from helpers.lm import load_tokens
from helpers.runs import cache_dir, save_artifact, sweep
from helpers.sae import SAE, NeighbourCosine, SparseFeatures, build, evaluate, train

from .command import options
from .gated_sweep import BATCH, LR, data

SITE = "blocks.6.hook_mlp_out"
ARMS = {  # weights of the penalty's terms: mean, mean max, max max
    "all": {},
    "no mean": {"mean": 0.0},
    "no mean max": {"mean_max": 0.0},
    "no max max": {"max_max": 0.0},
    "none": None,
}
STRENGTH = {"toy": 0.03, "model": 0.03}
STRENGTHS = (0.003, 0.01, 0.1, 0.3, 1.0)
SPARSITY = {"toy": 0.4, "model": 0.16}
LATENTS, DIMENSIONS, FEATURES = 1024, 64, 256
ALONE = ((512, 32), (1024, 64), (2048, 128), (4096, 256))
SEEDS = 5
FIELDS = ("structure", "ratio", "n", "d", "arm", "absolute", "strength", "seed", "steps")
VERSION = 2  # raise it when a change makes kept runs incomparable


def toy(seed: int, structure: str) -> SparseFeatures:
    p = 0.02 if structure == "hierarchical" else 0.01
    directions = torch.Generator().manual_seed(1000 + seed)
    return SparseFeatures(FEATURES, DIMENSIONS, p=p, structure=structure, noise=0.02, generator=directions)


def hyper(where: str, arm: str, absolute: bool, strength: float) -> dict:
    given = {"sparsity": SPARSITY[where]}
    if ARMS[arm] is not None:
        given |= {"orthogonality": strength, "penalty": NeighbourCosine(**ARMS[arm], absolute=absolute)}
    return given


def run_toy(structure: str, arm: str, absolute: bool, strength: float, seed: int, steps: int) -> dict:
    """Train one standard dictionary on known features; measures, and its neighbours as lists."""
    begun, source = time.process_time(), toy(seed, structure)
    generator = torch.Generator().manual_seed(seed)
    sae = build("standard", DIMENSIONS, LATENTS, generator=generator, **hyper("toy", arm, absolute, strength))

    def batches(step: int) -> Tensor:
        return source.sample(128, torch.Generator().manual_seed(10_000_000 * (seed + 1) + step))[0]

    train(sae, batches, steps=steps, lr=3e-3, sparsity_warmup=0.5, clip=1.0, seed=seed, progress=False)
    x = source.sample(20_000, torch.Generator().manual_seed(77))[0]
    return judge(sae, x, absolute) | {"seconds": round(time.process_time() - begun)}


def run_model(ratio: int, arm: str, absolute: bool, strength: float, seed: int, steps: int) -> dict:
    """The same on activations of the model, with ``ratio`` times as many latents as dimensions."""
    begun, acts = time.process_time(), data(SITE, len(load_tokens("train")))
    d, generator = acts.mean.numel(), torch.Generator().manual_seed(seed)
    sae = build("standard", d, ratio * d, generator=generator, **hyper("model", arm, absolute, strength))
    sae.b_dec.data.copy_(acts.mean)
    checkpoint = folder() / f"{ratio}-{arm}-{absolute}-{strength}-{seed}-{steps}.safetensors"
    train(
        sae, acts.batches(BATCH, seed), steps=steps, lr=LR, sparsity_warmup=0.5, clip=1.0, seed=seed,
        checkpoint=checkpoint, checkpoint_every=250, progress=False,
    )  # fmt: skip
    x = acts.rows(torch.arange(0, len(acts), len(acts) // 20_000))
    result = judge(sae, x, absolute) | {"seconds": round(time.process_time() - begun)}
    checkpoint.unlink()
    return result


def run_alone(n: int, d: int, arm: str, absolute: bool, seed: int, steps: int) -> dict:
    """Only the regulariser, from random rows: what it would do if nothing held it."""
    begun = time.process_time()
    penalty = NeighbourCosine(**ARMS[arm], absolute=absolute, queries=n)
    rows = descend(penalty, n, d, steps, generator=torch.Generator().manual_seed(seed))
    return neighbours(rows, absolute) | {"seconds": round(time.process_time() - begun)}


@torch.no_grad()
def judge(sae: SAE, x: Tensor, absolute: bool) -> dict:
    """Sparsity and fidelity on ``x (n, d_model)``, which latents fire on it, and the neighbours of all."""
    fired, parts = torch.zeros(sae.d_sae, dtype=torch.bool), x.split(2048)
    figures = evaluate(sae, parts)
    for part in parts:
        fired |= (sae.encode(part) > 0).any(0)
    near = neighbours(sae.W_dec.detach(), absolute)
    return {k: figures[k] for k in ("l0", "fvu", "dead_fraction")} | near | {"fired": fired.int().tolist()}


def neighbours(rows: Tensor, absolute: bool) -> dict:
    """Each row's nearest neighbour by (absolute) cosine, and the mean of the largest |cos| whatever was penalised."""
    near = nearest_neighbours(rows, absolute)
    return {
        "n": len(rows), "d": rows.shape[1], "mean_largest_abs": kth_largest_cosine(rows, (1,), True).mean().item(),
        "neighbour": near.index.tolist(), "cosine": [round(c, 4) for c in near.cosine.tolist()],
    }  # fmt: skip


def toy_grid(reduced: bool) -> list[dict]:
    """Hierarchical features: every arm, its strength, |cos|. Independent features: the arms that matter."""

    def point(arm, seed, structure="hierarchical", absolute=False, strength=STRENGTH["toy"]):
        strength = strength if ARMS[arm] is not None else 0.0
        return {
            "structure": structure, "arm": arm, "absolute": absolute, "strength": strength, "seed": seed, "steps": 1500
        }  # fmt: skip

    main = [point(arm, seed) for seed in range(1 if reduced else SEEDS) for arm in ARMS]
    if reduced:
        return main
    swept = [point(arm, 0, strength=w) for w in STRENGTHS for arm in ("all", "no max max")]
    absolute = [point(arm, seed, absolute=True) for seed in range(3) for arm in ARMS if arm != "none"]
    return main + swept + absolute + [point(arm, s, "independent") for s in range(3) for arm in ("all", "none")]


def alone_grid(reduced: bool) -> list[dict]:
    """Small sizes first; the whole penalty and, since it packs better, the penalty without max max.

    One of the smallest runs is made again, five times as long: is the peak where it stays, or where the steps end?
    """

    def point(n, d, arm, absolute=False, steps=600):
        return {"n": n, "d": d, "arm": arm, "absolute": absolute, "seed": 0, "steps": steps}

    arms = [(arm, absolute) for absolute in (False, True) for arm in ("no max max", "all")]
    sizes = ALONE[:2] if reduced else ALONE
    grid = [point(n, d, *arm) for n, d in sizes for arm in (arms if n < 4096 else arms[:1])]
    return [*grid, point(*ALONE[0], "no max max", steps=3000)]


def model_grid() -> list[dict]:
    """An epoch at four times the width, half of one at sixteen; strengths and parts on shorter runs.

    The most needed first, so that a table that is cut short still answers something.
    """

    def point(ratio, arm, steps, strength=STRENGTH["model"], seed=0, absolute=False):
        strength = strength if ARMS[arm] is not None else 0.0
        return {
            "ratio": ratio, "arm": arm, "absolute": absolute, "strength": strength, "seed": seed, "steps": steps
        }  # fmt: skip

    short = [point(4, arm, 1000) for arm in ("all", "no max max", "none", "no mean max", "no mean")]
    short += [point(4, arm, 1000, 0.1) for arm in ("all", "no max max")] + [point(4, "all", 1000, 0.3)]
    long = [point(4, "all", 4000), point(4, "no max max", 4000), point(4, "all", 4000, 0.1)]
    again = [point(4, "none", 4000)] + [point(4, arm, 4000, seed=s) for s in (1, 2) for arm in ("all", "no max max")]
    return short + long + [point(16, "all", 500, 0.1), point(16, "all", 2000, 0.1)] + again + [point(16, "none", 2000)]


def folder():
    return cache_dir() / f"peaks-{VERSION}"


def main(argv: Sequence[str] | None = None) -> None:
    parser = options(
        "peaks", __doc__, "until", "processes", "scheduler", reduced="one seed of the toy, small sizes alone, no model"
    )
    parser.add_argument("--studies", nargs="+", default=["toy", "alone", "model"], choices=["toy", "alone", "model"])
    args = parser.parse_args(argv)
    deadline = None if args.until is None else time.time() + 60 * args.until
    grids = {"toy": (run_toy, toy_grid(args.reduced)), "alone": (run_alone, alone_grid(args.reduced))}
    if not args.reduced:
        grids["model"] = (run_model, model_grid())
    if "model" in args.studies and "model" in grids:
        data(SITE, len(load_tokens("train")))  # harvest before the workers start
    many = {"folder": folder(), "processes": args.processes, "scheduler": args.scheduler}
    tables = [
        # what is not asked for now still enters the table, if it is there
        sweep(fn, grid, deadline=deadline if s in args.studies else 0, **many)
        .assign(study=s)
        for s, (fn, grid) in grids.items()
    ]  # fmt: skip
    table = pd.concat([t for t in tables if len(t)], ignore_index=True)
    name = "reduced/" * args.reduced + "peaks"
    made = {
        "recipe": "python -m recipes.peaks" + " --reduced" * args.reduced, "seconds": int(table.seconds.sum()),
        "planned_runs": sum(len(grid) for _, grid in grids.values()), "finished_runs": len(table),
    }  # fmt: skip
    table.insert(0, "run", [f"{i:03d}" for i in range(len(table))])
    tensors = {}
    for row in table.itertuples():
        tensors[f"{row.run}/index"] = torch.tensor(row.neighbour, dtype=torch.int16)
        tensors[f"{row.run}/cosine"] = torch.tensor(row.cosine, dtype=torch.float16)
        if isinstance(getattr(row, "fired", None), list):
            tensors[f"{row.run}/fired"] = torch.from_numpy(np.packbits(np.array(row.fired, dtype=np.uint8)))
    table = table.drop(columns=["neighbour", "cosine", "fired"], errors="ignore")
    keys = ["run", "study", *(key for key in FIELDS if key in table)]
    table = table[keys + [c for c in table if c not in keys]].round(6)
    save_artifact(f"{name}.csv", lambda path: table.to_csv(path, index=False), **made)
    save_artifact(f"{name}.safetensors", lambda path: save_file(tensors, path), **made)


if __name__ == "__main__":
    from recipes import peaks  # under its own name, so that worker processes can import what they are sent

    peaks.main()
