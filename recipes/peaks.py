"""Chapter 7: dictionaries trained under "mean cosine + mean max cosine + max max cosine", and each term left out.

    python -m recipes.peaks [--reduced] [--until MINUTES]

On a toy at the ratio of the question (1024 latents for 64 dimensions, sixteen times) and on an MLP output of the model
at the same ratio. Writes `artifacts/peaks.csv`, a row a run, and `artifacts/peaks.safetensors`: for each run every
row's nearest neighbour (`…/index`) and the cosine with it (`…/cosine`), so that the chapter can test them itself.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import normalize

from helpers.corpus import load_tokens
from helpers.geometry import nearest_neighbours
from helpers.metrics import dead_fraction, fvu, l0
from helpers.penalties import PENALTIES
from helpers.sae import build
from helpers.store import save_artifact
from helpers.sweep import sweep
from helpers.toy import SparseFeatures
from helpers.training import train

from .gated_sweep import BATCH, LR, data, folder

SITE = "blocks.6.hook_mlp_out"
RATIO = 16
QUERIES = 1024  # rows a step whose cosines with all rows are looked at
PARTS = {"all": "amx", "no mean": "mx", "no mean max": "ax", "no max max": "am", "max max alone": "x", "none": ""}
SPARSITY = {"toy": 0.3, "model": 0.16}


def regulariser(parts: str, absolute: bool):
    """The sum of the named parts as a penalty on ``W_dec (n, d_model)``: a mean cosine, m mean max, x max max.

    Means and maxima are over ``QUERIES`` random rows against all. Maxima are found without gradients; these then flow
    through the pairs found.
    """

    def penalty(W_dec: Tensor, generator: torch.Generator) -> Tensor:
        n = len(W_dec)
        some = torch.randperm(n, generator=generator)[:QUERIES]
        rows, total = normalize(W_dec, dim=1), W_dec.new_zeros(())
        if "m" in parts or "x" in parts:
            with torch.no_grad():
                found = (rows[some].bfloat16() @ rows.T.bfloat16()).float()
                found = found.abs_() if absolute else found
                found[torch.arange(len(some)), some] = -2.0
                nearest = found.argmax(1)
            top = (rows[some] * rows[nearest]).sum(1)
            top = top.abs() if absolute else top
            total = total + top.mean() * ("m" in parts) + top.max() * ("x" in parts)
        if "a" in parts and absolute:
            few = some[: QUERIES // 8]
            total = total + ((rows[few] @ rows.T).abs().sum() - len(few)) / (len(few) * (n - 1))
        elif "a" in parts:
            total = total + (rows.sum(0).pow(2).sum() - n) / (n * (n - 1))
        return total

    return penalty


PENALTIES |= {
    f"{name}{', |cos|' * absolute}": regulariser(parts, absolute)
    for name, parts in PARTS.items()
    for absolute in (False, True)
    if parts
}


def run(where: str, parts: str, absolute: bool, strength: float, seed: int, steps: int) -> dict:
    """Train one standard dictionary with the regulariser; its neighbours come back as lists."""
    begun = time.process_time()
    hyper = {"sparsity": SPARSITY[where]}
    if PARTS[parts]:
        hyper |= {"orthogonality": strength, "penalty": f"{parts}{', |cos|' * absolute}"}
    generator = torch.Generator().manual_seed(seed)
    if where == "toy":
        toy = SparseFeatures(512, 64, p=0.01, noise=0.02, generator=torch.Generator().manual_seed(1000 + seed))
        sae = build("standard", 64, RATIO * 64, generator=generator, **hyper)
        x = toy.sample(20_000, torch.Generator().manual_seed(77))[0]

        def batches(step):
            return toy.sample(256, torch.Generator().manual_seed(10_000_000 * (seed + 1) + step))[0]
    else:
        acts = data(SITE, len(load_tokens("train")))
        sae = build("standard", acts.mean.numel(), RATIO * acts.mean.numel(), generator=generator, **hyper)
        sae.b_dec.data.copy_(acts.mean)
        x, batches = acts.rows(torch.arange(0, len(acts), len(acts) // 20_000)), acts.batches(BATCH, seed)
    checkpoint = folder("peaks") / f"{where}-{parts}-{absolute}-{strength}-{seed}-{steps}.safetensors"
    train(
        sae, batches, steps=steps, lr=LR if where == "model" else 3e-3, sparsity_warmup=0.5, clip=1.0, seed=seed,
        checkpoint=checkpoint, checkpoint_every=250, progress=False,
    )  # fmt: skip
    checkpoint.unlink()
    with torch.no_grad():
        codes = torch.cat([sae.eval().encode(part) for part in x.split(4096)])
        near = nearest_neighbours(sae.W_dec.detach(), absolute=absolute)
        return {
            "n": sae.d_sae, "d": sae.d_model, "l0": l0(codes), "fvu": fvu(x, sae.decode(codes)),
            "dead_fraction": dead_fraction(codes), "seconds": round(time.process_time() - begun),
            "index": near.index.tolist(), "cosine": [round(c, 4) for c in near.cosine.tolist()],
            "fired": (codes > 0).any(0).int().tolist(),
        }  # fmt: skip


def grid(reduced: bool) -> list[dict]:
    """The toy: every part, signed and absolute, three strengths, five seeds; the model: every part, both seeds."""
    toy = [
        {"where": "toy", "parts": parts, "absolute": absolute, "strength": strength, "seed": seed, "steps": 2000}
        for seed in range(1 if reduced else 5)
        for parts in PARTS
        for absolute in (False, True)
        for strength in ((0.3, 1.0, 3.0) if PARTS[parts] else (0.0,))
    ]
    model = [
        {"where": "model", "parts": parts, "absolute": absolute, "strength": bool(PARTS[parts]) * 1.0, "seed": seed,
         "steps": 1500}
        for seed in range(2)
        for parts in PARTS
        for absolute in (False, True)
        if seed == 0 or parts in ("all", "none")
    ]  # fmt: skip
    return toy if reduced else toy + model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reduced", action="store_true", help="the toy alone, one seed")
    parser.add_argument("--until", type=float, default=None, help="stop taking new runs after so many minutes")
    args = parser.parse_args()
    begun, points = time.time(), grid(args.reduced)
    deadline = None if args.until is None else begun + 60 * args.until
    table = sweep(run, points, folder=folder("peaks"), deadline=deadline)
    made = {
        "recipe": "python -m recipes.peaks", "seed": sorted({p["seed"] for p in points}), "planned_runs": len(points),
        "seconds": round(time.time() - begun),
    }  # fmt: skip
    name = "peaks_reduced" if args.reduced else "peaks"
    tensors = {}
    for r in table.itertuples():
        key = f"{r.where}/{r.parts}/{r.absolute}/{r.strength}/{r.seed}"
        tensors[f"{key}/index"] = torch.tensor(r.index_ if hasattr(r, "index_") else r.index, dtype=torch.int16)
        tensors[f"{key}/cosine"] = torch.tensor(r.cosine, dtype=torch.float16)
        tensors[f"{key}/fired"] = torch.from_numpy(np.packbits(r.fired))
    table = table.drop(columns=["index", "cosine", "fired"])
    save_artifact(f"{name}.csv", lambda path: table.round(6).to_csv(path, index=False), **made)
    save_artifact(f"{name}.safetensors", lambda path: save_file(tensors, path), **made)


if __name__ == "__main__":
    from recipes import peaks  # under its own name, so that worker processes can import what they are sent

    peaks.main()
