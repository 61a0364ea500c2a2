"""Chapter 6's runs: dictionaries of three latents trained on three features, all conditions and seeds side by side.

    python -m recipes three_features [--reduced] [--scheduler tcp://…]

Writes `artifacts/three_features.csv`, a row a run. A study's runs of one architecture are a single computation
(`helpers.sae.instances`). A seed gives the first weights and the batches; conditions and architectures share both.

Studies: `grid` (all architectures); `started` (from the two dictionaries of the question, with their encoders);
`penalty` (orthogonality of decoder or encoder rows); `amplitude`; `bias` (a learned decoder bias, half of the inputs
empty); `tangent` (`grid` and `started` again, without the gradient along decoder rows). Dead latents stay dead here;
`recipes.three_features_repaired` has the studies that bring them back.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import product

import numpy as np
import torch

from helpers.composition import COMPOSED, SEPARATE, amplitudes, encoder, expected_loss, label
from helpers.runs import cache_dir, sweep
from helpers.sae import build, encode_together, stack, train_together

from .command import options
from .tables import ship, unpacked

L1_ARMS = ("standard", "expanded", "gated", "gated_shared_bias")
K_ARMS = ("topk", "batchtopk", "matryoshka")
ARMS = (*L1_ARMS, "jumprelu", *K_ARMS)
RATIOS = (1, 2, 4, 8, 16, 32, 64)
SPARSITY = (0.1, 0.25, 0.5, 0.75, 1.0)
WIDTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
STRENGTHS = (0.03, 0.1, 0.3, 1.0)
SEEDS, STEPS, BATCH, LR = 40, 3000, 32, 3e-3
REVIVE_AT = tuple(range(200, 2001, 100))  # the last of them well before the learning rate falls
PENALTY = "mean_square"
PATTERNS = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1]])  # nothing, f1, f2, both, f3


def conditions(study: str, arm: str, seeds: int) -> list[dict]:
    """What the runs of one study and architecture differ in; fields left out have the values of :func:`train`."""
    levels = [{"k": k} for k in (1, 2)] if arm in K_ARMS else [{"sparsity": s} for s in SPARSITY]
    grid = [{"ratio": r, **level, "seed": s} for level in levels for r in RATIOS for s in range(seeds)]
    started = [{**row, "start": start} for start in ("composed", "separate") for row in grid if row["seed"] < 2]
    if study == "started":
        return started
    if study == "tangent":
        return grid + started
    if study in PENALTIES:
        some = [c for c in grid if c["sparsity"] in (0.25, 0.5, 1.0) and c["ratio"] in (4, 16, 64) and c["seed"] < 20]
        strengths = STRENGTHS if study in ("penalty", "penalty_both") else STRENGTHS[-1:]
        return [{**c, "on": on, "strength": w} for on, w, c in product(("decoder", "encoder"), strengths, some)]
    if study == "amplitude":
        some = [c for c in grid if c["sparsity"] in (0.25, 0.5, 1.0) and c["seed"] < 20]
        starts = [c for c in some if c["seed"] < 2]
        return [{**c, "width": w} for w in WIDTHS[1:] for c in some] + [
            {**c, "width": w, "start": start} for w, start, c in product(WIDTHS[1:], ("composed", "separate"), starts)
        ]
    if study == "bias":
        return [{**c, "empty": 0.5} for c in grid if c["seed"] < 20]
    return grid


STUDIES = {
    "grid": ARMS,
    "started": ("standard", "gated"),
    "penalty": ("standard", "gated"),
    "amplitude": ("standard",),
    "bias": ("standard",),
    "tangent": ("standard", "gated"),
}

PENALTIES = ("penalty", "penalty_both", "penalty_revived", "penalty_tangent")
TANGENT = ("tangent", "both", "penalty_both", "penalty_tangent")
REVIVED = ("revived", "both", "penalty_both", "penalty_revived")


def first(arm: str, row: dict):
    """The dictionary that one run starts from."""
    hyper = {"k": row["k"], "auxiliary": 0} if arm in K_ARMS else {"sparsity": row["sparsity"]}
    if row.get("strength"):
        hyper |= {"orthogonality": row["strength"], "penalty": PENALTY}
    sae = build(arm, 3, 3, generator=torch.Generator().manual_seed(row["seed"]), **hyper)
    sae.b_dec.requires_grad_(bool(row.get("empty")))
    if row.get("start"):
        D = COMPOSED if row["start"] == "composed" else SEPARATE
        W, b = encoder(row["start"], row["sparsity"])
        with torch.no_grad():
            for parameter, value in ((sae.W_dec, D), (sae.W_enc, W), (sae.b_enc, b)):
                parameter.copy_(torch.as_tensor(value))
            if arm == "gated":  # the stretch that undoes the shrinkage, and no gap
                size = torch.tensor([1.0, 1.0, 2**0.5 if row["start"] == "composed" else 1.0])
                sae.r_mag.copy_(torch.log(size / (size - row["sparsity"] / 2)))
                sae.b_mag.copy_(sae.r_mag.exp() * sae.b_enc)
    return sae


def batches(rows: list[dict], steps: int):
    """A function from the step to inputs ``(runs, batch, 3)``. Runs of one seed see the same uniform numbers."""
    seeds = sorted({row["seed"] for row in rows})
    drawn = torch.stack([torch.rand(steps, BATCH, 3, generator=torch.Generator().manual_seed(500 + s)) for s in seeds])
    at = torch.tensor([seeds.index(row["seed"]) for row in rows])
    empty, width = (torch.tensor([row.get(key, 0.0) for row in rows])[:, None] for key in ("empty", "width"))
    weight = torch.tensor([[1.0, 1, 1, 1 / row["ratio"]] for row in rows])
    edges = empty + (1 - empty) * (weight / weight.sum(1, keepdim=True)).cumsum(1)

    def batch(step: int) -> torch.Tensor:
        which, first, second = drawn[at, step].unbind(-1)
        index = (which[..., None] >= torch.cat([empty, edges[:, :-1]], 1)[:, None]).sum(-1)
        size = torch.stack([first, second, first], -1) * 2 - 1
        return PATTERNS[index] * (1 + width[..., None] * size)

    return batch


def run(study: str, architecture: str, seeds: int, steps: int) -> dict:
    """All runs of one study and architecture, as ``rows``: what was asked and what :func:`judge` found."""
    begun, table, arm = time.process_time(), [], architecture
    rows = conditions(study, arm, seeds)
    keys = [(row.get("on", "decoder"), row.get("strength", 0.0), row.get("k", 0)) for row in rows]
    for key in sorted(set(keys)):
        part = [row for row, k in zip(rows, keys, strict=True) if k == key]
        many = stack([first(arm, row) for row in part])
        how = {"tangent": study in TANGENT, "revive_at": REVIVE_AT if study in REVIVED else ()}
        many = train_together(many, batches(part, steps), steps=steps, lr=LR, on=key[0], **how)
        table += [row | found for row, found in zip(part, judge(many, part), strict=True)]
    return {"rows": table, "seconds": round(time.process_time() - begun, 1)}


@torch.no_grad()
def judge(many, rows: list[dict]) -> list[dict]:
    """Measures of each run, from the exact probabilities of its inputs.

    ``loss`` is ``‖x - x_hat‖² + λ‖f‖₁`` with the run's own codes, ``loss_decoder`` the same with the best codes for its
    decoder (both for the L1 arms only); ``error`` is the squared error, ``l0`` the number of active latents.
    """
    fires = (encode_together(many, PATTERNS[1:]) > 0).any(1).numpy()
    found = []
    for width in sorted({row.get("width", 0.0) for row in rows}):
        where = [i for i, row in enumerate(rows) if row.get("width", 0.0) == width]
        x = np.vstack([np.zeros(3), amplitudes(1, width)[0]])
        codes = encode_together(many, torch.tensor(x, dtype=torch.float32))
        errors = (torch.tensor(x) - codes @ many.W_dec - many.b_dec).pow(2).sum(-1).numpy()
        gates = codes if not hasattr(many, "r_mag") else torch.relu(many.pre(torch.tensor(x, dtype=torch.float32)))
        for i in where:
            empty = rows[i].get("empty", 0.0)
            p = np.append(empty, (1 - empty) * amplitudes(rows[i]["ratio"], width)[1])
            D = many.W_dec[i].double().numpy()
            active = (codes[i] > 0).sum(1).numpy()
            row = {"i": i, "reads": label(D, fires[i]), "error": float(p @ errors[i]), "l0": float(p @ active)}
            if "sparsity" in rows[i] and many.hyper.get("bandwidth") is None:
                lam = rows[i]["sparsity"]
                row["loss"] = row["error"] + lam * float(p @ gates[i].sum(1).numpy())
                row["loss_decoder"] = float(expected_loss(x, p, D, lam))
            found.append(row)
    return [{k: v for k, v in row.items() if k != "i"} for row in sorted(found, key=lambda row: row["i"])]


def points_of(studies: dict, seeds: int) -> list[dict]:
    """The points of a sweep over :func:`run`, one for each study and each of its architectures."""
    known = {"seeds": seeds, "steps": STEPS}
    return [{"study": study, "architecture": arm, **known} for study, arms in studies.items() for arm in arms]


KEYS = ("study", "architecture", "ratio", "sparsity", "k", "seed")


def main(argv: Sequence[str] | None = None) -> None:
    parser = options("three_features", __doc__, "scheduler", reduced="three seeds of the grid, standard and gated")
    args = parser.parse_args(argv)
    seeds, studies = (3, {"grid": ("standard", "gated")}) if args.reduced else (SEEDS, STUDIES)
    done = sweep(run, points_of(studies, seeds), folder=cache_dir() / "runs", scheduler=args.scheduler)
    table = unpacked(done, *KEYS)
    ship("three_features", table, seeds=seeds, seconds=done.seconds.sum(), reduced=args.reduced)


if __name__ == "__main__":
    from recipes import three_features  # under its own name, so that worker processes can import what they are sent

    three_features.main()
