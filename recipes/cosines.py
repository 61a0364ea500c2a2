"""Chapters 2 and 7: cosines between the rows of the sweep's dictionaries, and of the nulls beside them.

    python -m recipes cosines [--finished | --own] [--until MINUTES] [--scheduler tcp://…]

At the residual stream every architecture has three seeds at the middle level of sparsity; dictionaries that the sweep
lacks are trained (`--finished`: left out). Two nulls are dictionaries as well: one trained on Gaussian noise with the
mean and covariance of the activations, one on a model with shuffled weights (beside directions from the covariance of
*its* activations). Writes `artifacts/cosines.csv` (a row per dictionary, kind of cosine and k),
`artifacts/cosines.safetensors` (the histograms) and `artifacts/coactivation.csv` (how often pairs of features fire
together, by their cosine). Each finished dictionary is kept in the cache. `--own` looks at the shipped dictionaries
only, beside directions from the second moment of their own rows: `artifacts/cosines_own.csv`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from scipy.sparse import csr_array
from torch import Tensor

from helpers.geometry import (
    GaussianLike,
    covariance_directions,
    data_directions,
    hubness,
    kth_largest_cosine,
    moment_directions,
    nearest_neighbours,
    unit_rows,
    whitened,
)
from helpers.runs import artifact, save_artifact, sweep
from helpers.sae import SAE, build, load, save, train

from .command import options
from .gated_sweep import BATCH, CENTRAL, D_SAE, KEPT, LEVELS, LR, data, fit, folder, hyper, weights
from .harvest import SITES, Activations

KS = (1, 10, 100)
KINDS = ("signed", "absolute", "whitened")
EDGES = torch.linspace(-0.2, 1.0, 121)  # of the histograms
BINS = torch.linspace(-1.0, 1.0, 41)  # cosines of pairs, for co-activation
ARMS = ("standard", "expanded", "gated", "gated_shared_bias", "jumprelu", "topk", "batchtopk", "matryoshka")
DIRECTIONS = ("covariance", "activations", "untrained")
UNTRAINED = (*DIRECTIONS, "shuffled_covariance")  # nulls without a dictionary
SEEDS, MIDDLE = range(3), 2  # the sparsity level at which every architecture gets all seeds
SEQUENCES = 16_384
SHUFFLED = {"sequences": SEQUENCES // 4, "epochs": 4, "shuffled": True}  # a quarter of the text, four times: as long


@cache
def sample(acts: Activations, n: int = 65_536) -> Tensor:
    return acts.rows(torch.arange(0, len(acts), max(1, len(acts) // n)))


def grid() -> list[dict]:
    """Every dictionary and null, what the chapter needs most first."""
    resid, mlp = SITES

    def points(arms, site, seeds, levels=(MIDDLE,), **more):
        return [
            {"architecture": arm, "site": site, "seed": seed, "level": level, "sequences": SEQUENCES, **more}
            | ({} if arm in UNTRAINED else hyper("topk" if arm in ("gaussian", "shuffled") else arm, level))
            for seed in seeds
            for level in levels
            for arm in arms
        ]

    return [
        *(p for site in SITES for p in points(DIRECTIONS, site, SEEDS)),
        *points(CENTRAL, resid, SEEDS),
        *(p for seed in SEEDS for p in points([a for a in ARMS if a not in CENTRAL] + ["gaussian"], resid, [seed])),
        *points(["shuffled", "shuffled_covariance"], resid, SEEDS, **SHUFFLED),
        *points(CENTRAL, resid, [0], [level for level in sorted(LEVELS) if level != MIDDLE]),
        *points(CENTRAL, mlp, SEEDS),
        *points([a for a in ARMS if a not in CENTRAL], mlp, [0]),
    ]


def place(point: dict):
    """Folder of a point's dictionary in the cache, None if it is a null without one."""
    if point["architecture"] in UNTRAINED:
        return None
    if point["architecture"] == "gaussian":
        return folder("dictionaries") / f"gaussian-{point['site']}-{point['seed']}"
    return weights(trained(point))


def trained(point: dict) -> dict:
    return point | {"architecture": "topk"} if point["architecture"] == "shuffled" else point


def dictionary(point: dict) -> SAE:
    """The point's dictionary, trained if it is not in the cache."""
    return gaussian(point) if point["architecture"] == "gaussian" else fit(**trained(point))


def gaussian(point: dict) -> SAE:
    """TopK trained, as in the sweep, on noise that has nothing of the activations but mean and covariance."""
    path, seed = place(point), point["seed"]
    if path.exists():
        return load(path)
    acts = data(point["site"], point["sequences"])
    noise = GaussianLike(sample(acts))
    sae = build("topk", len(noise.mean), D_SAE, generator=torch.Generator().manual_seed(seed), k=point["k"])
    sae.b_dec.data.copy_(acts.mean)

    def batches(step):
        return noise.sample(BATCH, torch.Generator().manual_seed(10_000_000 * (seed + 1) + step))

    steps = len(acts) // BATCH
    train(sae, batches, steps=steps, lr=LR, sparsity_warmup=0.5, clip=1.0, seed=seed, progress=False)
    save(sae, path)
    return load(path)


def run(**point) -> dict:
    """Cosines of one dictionary's living rows, or of a null's directions: a row per kind and k, and histograms."""
    arm, seed = point["architecture"], point["seed"]
    x = sample(data(point["site"], point["sequences"], point.get("shuffled", False)))
    generator, together = torch.Generator().manual_seed(seed), []
    if arm.endswith("covariance"):
        rows = covariance_directions(x, D_SAE, generator)
    elif arm == "activations":
        rows = data_directions(x, D_SAE, generator)
    elif arm == "untrained":
        rows = build("standard", x.shape[1], D_SAE, generator=generator).W_dec.detach()
    else:
        sae = dictionary(point).eval()
        seen = GaussianLike(x).sample(len(x), generator) if arm == "gaussian" else x
        with torch.no_grad():
            on = torch.cat([sae.encode(part) > 0 for part in seen.split(4096)])
        alive = on.any(0)
        rows = sae.W_dec.detach()[alive]
        if point["level"] == MIDDLE:
            together = coactivation(rows, on[::4, alive])
    return describe(rows, x) | {"together": together}


def describe(rows: Tensor, x: Tensor) -> dict:
    """``rows``: a dict per kind and k. ``counts``: the histograms ``(len(KINDS), len(KS), len(EDGES) - 1)``."""
    out, counts = [], []
    for kind in KINDS:
        seen = whitened(rows, x) if kind == "whitened" else rows
        cosines = kth_largest_cosine(seen, KS, absolute=kind == "absolute")
        near = nearest_neighbours(seen, absolute=kind == "absolute")
        hubs = hubness(near.index, len(seen), torch.Generator().manual_seed(0), draws=199)
        for k, values in zip(KS, cosines.T.contiguous(), strict=True):
            counts.append(torch.histogram(values.clamp(EDGES[0], EDGES[-1]), EDGES).hist.int().tolist())
            quantiles = np.quantile(values.numpy(), (0.05, 0.25, 0.5, 0.75, 0.95))
            out.append(
                {"n": len(rows), "d": rows.shape[1], "kind": kind, "k": k}
                | {"mean": values.mean().item(), "sd": values.std().item()}
                | dict(zip(("q05", "q25", "q50", "q75", "q95"), quantiles.tolist(), strict=True))
                | {"skewness": hubs.skewness, "largest_hub": hubs.largest, "p_skewness": hubs.p_skewness}
            )
    return {"rows": out, "counts": counts}


@torch.no_grad()
def coactivation(rows: Tensor, on: Tensor) -> list[dict]:
    """For pairs of features by cosine: how often both fire, and how often they would if they fired independently."""
    rate, sparse = on.double().mean(0), csr_array(on.numpy().astype(np.int32))
    both = torch.from_numpy((sparse.T @ sparse).toarray())
    i, j = torch.triu_indices(len(rows), len(rows), 1)
    unit = unit_rows(rows)
    cosines = (unit @ unit.T)[i, j]
    seen, expected = both[i, j].double(), len(on) * rate[i] * rate[j]
    bin_ = torch.bucketize(cosines, BINS[1:-1])
    sums = torch.zeros(3, len(BINS) - 1, dtype=torch.float64)
    for row, values in enumerate((torch.ones_like(seen), seen, expected)):
        sums[row].scatter_add_(0, bin_, values)
    return [
        {"low": BINS[b].item(), "pairs": int(pairs), "together": int(seen), "expected": expected}
        for b, (pairs, seen, expected) in enumerate(sums.T.tolist())
        if pairs
    ]


def own() -> list[dict]:
    """A row per shipped dictionary, kind and k: the mean over all rows, and over draws from their second moment."""
    out = []
    for arm, site, _, _ in KEPT:
        rows = load(artifact(f"dictionaries/{arm}-{site}")).W_dec.detach()
        drawn = [moment_directions(rows, len(rows), torch.Generator().manual_seed(seed)) for seed in SEEDS]
        for kind in KINDS[:2]:
            seen, *nulls = (kth_largest_cosine(r, KS, absolute=kind == "absolute").mean(0) for r in (rows, *drawn))
            out += [
                {"architecture": arm, "site": site, "kind": kind, "k": k, "mean": seen[i].item()}
                | {f"moment_{seed}": null[i].item() for seed, null in zip(SEEDS, nulls, strict=True)}
                for i, k in enumerate(KS)
            ]
    return out


def write(name: str, rows: list[dict], made: dict) -> None:
    save_artifact(name, lambda path: pd.DataFrame(rows).round(6).to_csv(path, index=False), **made)


def main(argv: Sequence[str] | None = None) -> None:
    parser = options("cosines", __doc__, "until", "scheduler")
    parser.add_argument("--finished", action="store_true", help="train nothing; take the dictionaries that are there")
    parser.add_argument("--own", action="store_true", help="the shipped dictionaries and their second moments alone")
    args = parser.parse_args(argv)
    if not args.own:
        everything(args)
    write("cosines_own.csv", own(), {"recipe": "python -m recipes.cosines --own", "seed": list(SEEDS)})


def everything(args) -> None:
    points = grid()
    planned = len(points)
    if args.finished:
        points = [p for p in points if place(p) is None or place(p).exists()]
    deadline = None if args.until is None else time.time() + 60 * args.until
    done = sweep(run, points, folder=folder("cosines"), scheduler=args.scheduler, deadline=deadline)
    table, together, histograms = [], [], {}
    for row in done.to_dict("records"):
        name = {key: row[key] for key in ("architecture", "site", "seed", "level")}
        table += [name | part for part in row["rows"]]
        together += [name | part for part in row["together"]]
        if row["level"] == MIDDLE:
            counts = torch.tensor(row["counts"], dtype=torch.int16)
            histograms["/".join(map(str, name.values()))] = counts.reshape(len(KINDS), len(KS), -1)
    made = {"recipe": "python -m recipes.cosines", "seed": list(SEEDS)}
    made |= {"planned": planned, "finished": len(done)}
    write("cosines.csv", table, made)
    write("coactivation.csv", together, made)
    what = f"counts per ({', '.join(KINDS)}) x k={KS} x 120 bins of cosine from -0.2 to 1; living rows, middle level"
    save_artifact("cosines.safetensors", lambda path: save_file(histograms, path), what=what, **made)


if __name__ == "__main__":
    from recipes import cosines  # under its own name, so that worker processes can import what they are sent

    cosines.main()
