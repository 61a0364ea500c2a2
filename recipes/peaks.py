"""Chapter 7's runs: dictionaries under "mean cosine + mean max cosine + max max cosine", and with each term left out.

    python -m recipes peaks [--reduced] [--studies toy weights alone model] [--until MINUTES] [--extend]

Studies: `toy` (known features, 1024 latents in 64 dimensions: sixteen times, as asked); `weights` (the same, each term
with a weight of its own); `alone` (the regulariser with no data, up to the size of the question); `model` (an MLP
output of the model, at 4 and at 16 times its width).
Writes `artifacts/peaks.csv`, a row a run, and `artifacts/peaks.safetensors`: for each run every row's nearest neighbour
(`…/index`), the cosine with it (`…/cosine`) and whether the latent fires (`…/fired`, bits). Runs are kept in the cache
one by one, so the recipe can be stopped and started at will; `--until` writes what is done then, and `--extend` goes on
from the shipped table where the cache is gone. The longest runs come last: what the shipped table lacks is made by
`--extend` on a faster machine.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from helpers.geometry import FollowedNeighbours, descend, kth_largest_cosine, nearest_neighbours
from helpers.lm import load_tokens
from helpers.ranks import bf16_is_fast
from helpers.runs import artifact, atomic, cache_dir, key_of, manifest, save_artifact, sweep
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
COMMENT = (8192, 512)  # the dictionary of the question
STEP, EVERY = 0.034, 20  # of the longer runs alone: how far a row may move a step; steps between exact searches
SEEDS = 5
FIELDS = (
    "structure", "ratio", "n", "d", "arm", "absolute", "strength", "mean_max", "max_max", "sparsity", "seed", "steps",
    "every",
)  # fmt: skip
STUDIES = ("toy", "weights", "alone", "model")
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
    return toy_dictionary(structure, absolute, seed, steps, **hyper("toy", arm, absolute, strength))


def run_weights(mean_max: float, max_max: float, sparsity: float, seed: int, steps: int) -> dict:
    """The same on hierarchical features, each term of the penalty with a weight of its own; the mean has none."""
    form = NeighbourCosine(mean=0.0, mean_max=mean_max, max_max=max_max)
    return toy_dictionary("hierarchical", False, seed, steps, sparsity=sparsity, orthogonality=1.0, penalty=form)


def toy_dictionary(structure: str, absolute: bool, seed: int, steps: int, **options) -> dict:
    begun, source = time.process_time(), toy(seed, structure)
    sae = build("standard", DIMENSIONS, LATENTS, generator=torch.Generator().manual_seed(seed), **options)

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


def run_alone(n: int, d: int, arm: str, absolute: bool, seed: int, steps: int, every: int | None = None) -> dict:
    """Only the regulariser, from random rows: what it would do if nothing held it.

    With ``every``, nearest rows are sought among all in every so many steps and followed in between, and a step is as
    long beside a row at every size. What is measured at the end is exact either way.
    """
    begun, generator = time.process_time(), torch.Generator().manual_seed(seed)
    if every is None:
        rows = descend(NeighbourCosine(**ARMS[arm], absolute=absolute, queries=n), n, d, steps, generator=generator)
    else:
        form, follow = NeighbourCosine(**ARMS[arm], absolute=absolute), FollowedNeighbours(32, every, absolute)

        def penalty(rows: Tensor, generator: torch.Generator) -> Tensor:
            return form(rows, generator, nearest=follow(rows))

        rows = descend(penalty, n, d, steps, generator=generator, lr=STEP / d**0.5)
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


def weights_grid() -> list[dict]:
    """A stronger mean max beside a weaker max max; last, a very strong one with sparser codes."""
    pairs = [(0.1, 0.003), (0.1, 0.03), (0.3, 0.003), (0.3, 0.03), (1.0, 0.03)]
    triples = [(*pair, SPARSITY["toy"]) for pair in pairs] + [(30.0, 0.1, 4 * SPARSITY["toy"])]
    keys = ("mean_max", "max_max", "sparsity", "seed", "steps")
    return [dict(zip(keys, (*triple, seed, 1500), strict=True)) for seed in range(3) for triple in triples]


def alone_grid(reduced: bool) -> list[dict]:
    """Small sizes first; the whole penalty and, since it packs better, the penalty without max max.

    One of the smallest runs is made again, five times as long: is the peak where it stays, or where the steps end?
    Then the size of the question, longer and with nearest rows followed; the smallest also so, and with a search in
    every step, which must come to the same.
    """

    def point(n, d, arm, absolute=False, steps=600, **every):
        return {"n": n, "d": d, "arm": arm, "absolute": absolute, "seed": 0, "steps": steps} | every

    arms = [(arm, absolute) for absolute in (False, True) for arm in ("no max max", "all")]
    sizes = ALONE[:2] if reduced else ALONE
    grid = [point(n, d, *arm) for n, d in sizes for arm in (arms if n < 4096 else arms[:1])]
    grid.append(point(*ALONE[0], "no max max", steps=3000))
    exact = [point(*ALONE[0], "no max max", absolute, 1500, every=1) for absolute in (False, True)]
    sizes = ALONE[:1] if reduced else (ALONE[0], COMMENT)
    signs = [(*size, "no max max", absolute) for size in sizes for absolute in (False, True)]
    followed = [point(*sign, steps=1500, every=EVERY) for sign in signs]
    return grid + exact + followed + ([] if reduced else [point(*COMMENT, "all", steps=1500, every=EVERY)])


def model_grid() -> list[dict]:
    """An epoch at four times the width, half of one at sixteen; strengths and parts on shorter runs.

    The most needed first, so that a table that is cut short still answers something. Last, an epoch at sixteen times,
    with and without max max, in three seeds: an hour of one core each without bfloat16 in hardware.
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
    wide = [point(16, "all", 500, 0.1), point(16, "all", 2000, 0.1)]
    epoch = [point(16, arm, 4000, w, s) for s in range(3) for w in (0.1, 0.03) for arm in ("all", "no max max")]
    return short + long + wide + again + [point(16, "none", 2000)] + epoch


def take_over(study: str, fn: Callable[..., dict], grid: list[dict]) -> int:
    """Put the shipped table's runs of a study among the finished ones; how many the table has."""
    table = pd.read_csv(artifact("peaks.csv"), dtype={"run": str}).query("study == @study")
    stored, taken = load_file(artifact("peaks.safetensors")), 0
    for point in grid:
        at = pd.Series(True, index=table.index)
        for field in ({*FIELDS} & {*table}) - {"n", "d"} | {*point}:  # of a dictionary these two are found, not given
            known = table[field] if field in table else pd.Series(None, index=table.index)
            at &= known == point[field] if field in point else known.isna()
        if at.sum() != 1:
            continue
        row, taken = table[at].iloc[0], taken + 1
        path = folder() / f"{key_of(fn, point)}.json"
        if not path.exists():
            result = json.loads(row.drop(["run", "study", *point], errors="ignore").dropna().to_json())
            result["neighbour"] = stored[f"{row.run}/index"].tolist()
            result["cosine"] = stored[f"{row.run}/cosine"].tolist()
            if f"{row.run}/fired" in stored:
                result["fired"] = np.unpackbits(stored[f"{row.run}/fired"].numpy())[: int(row.n)].tolist()
            with atomic(path) as scratch:
                scratch.write_text(json.dumps(result))
    return taken


def folder():
    return cache_dir() / f"peaks-{VERSION}"


def main(argv: Sequence[str] | None = None) -> None:
    parser = options(
        "peaks", __doc__, "until", "processes", "scheduler", reduced="one seed of the toy, small sizes alone, no model"
    )
    parser.add_argument("--studies", nargs="+", default=STUDIES, choices=STUDIES)
    parser.add_argument("--extend", action="store_true", help="take over the runs that the shipped table already has")
    args = parser.parse_args(argv)
    deadline = None if args.until is None else time.time() + 60 * args.until
    grids = {"toy": (run_toy, toy_grid(args.reduced)), "alone": (run_alone, alone_grid(args.reduced))}
    if not args.reduced:
        grids |= {"weights": (run_weights, weights_grid()), "model": (run_model, model_grid())}
    if "model" in args.studies and "model" in grids:
        data(SITE, len(load_tokens("train")))  # harvest before the workers start
    made = {}
    if args.extend:
        earlier = {
            key: manifest()["peaks.csv"]["made"].get(key)
            for key in ("on", "at", "seconds", "note", "bfloat16_in_hardware", "earlier")
        }
        taken = sum(take_over(study, *of) for study, of in grids.items())
        made["earlier"] = {"runs": taken, **{key: value for key, value in earlier.items() if value is not None}}
    many = {"folder": folder(), "processes": args.processes, "scheduler": args.scheduler}
    tables = [
        # what is not asked for now still enters the table, if it is there
        sweep(fn, grid, deadline=deadline if s in args.studies else 0, **many)
        .assign(study=s)
        for s, (fn, grid) in grids.items()
    ]  # fmt: skip
    table = pd.concat([t for t in tables if len(t)], ignore_index=True)
    name = "reduced/" * args.reduced + "peaks"
    made |= {
        "recipe": "python -m recipes.peaks" + " --reduced" * args.reduced, "seconds": int(table.seconds.sum()),
        "planned_runs": sum(len(grid) for _, grid in grids.values()), "finished_runs": len(table),
        "bfloat16_in_hardware": bf16_is_fast(),
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
