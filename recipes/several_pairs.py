"""Chapter 6 beyond three features: several pairs, each with a rare feature of its own, as many latents as features.

    python -m recipes several_pairs [--reduced] [--scheduler tcp://…]

Writes `artifacts/several_pairs.csv`, a row a run: standard dictionaries of 3n latents on n blocks of the chapter's
inputs (`helpers.composition.blocks`), one block shown at a time. `sums`, `rare`, `members` and `dead` count what rows
read (`helpers.composition.readers`), `loss` is the run's own, `best` the least of one block with three latents. With
equal blocks no other division of latents among them does better, as a test holds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache
from itertools import product

import numpy as np
import torch

from helpers.composition import best, blocks, readers
from helpers.runs import cache_dir, sweep
from helpers.sae import build, encode_together, stack, train_together

from .command import options
from .tables import ship, unpacked
from .three_features import LR, REVIVE_AT, STEPS

BLOCKS = (1, 2, 4)
RATIOS, SPARSITY = (1, 2, 4, 8, 16, 32), (0.5,)
SEEDS, BATCH = 20, 16
HOW = {
    "plain": {},
    "revived": {"revive_at": REVIVE_AT},
    "both": {"revive_at": REVIVE_AT, "tangent": True},
}


def batches(rows: list[dict], n: int):
    """A function from the step to inputs ``(runs, 16n, 3n)``. Runs of one seed see the same uniform numbers."""
    x = torch.tensor(blocks(n, 1.0)[0], dtype=torch.float32)
    edges = torch.tensor(np.stack([blocks(n, row["ratio"])[1].cumsum() for row in rows]), dtype=torch.float32)
    seeds = sorted({row["seed"] for row in rows})
    at = torch.tensor([seeds.index(row["seed"]) for row in rows])

    def batch(step: int) -> torch.Tensor:
        generators = [torch.Generator().manual_seed(100_000 * (1 + s) + step) for s in seeds]
        drawn = torch.stack([torch.rand(BATCH * n, generator=generator) for generator in generators])[at]
        return x[torch.searchsorted(edges, drawn, right=True).clamp_max(len(x) - 1)]

    return batch


def run(n: int, training: str, seeds: int, steps: int) -> dict:
    """All runs of one number of blocks and one way of training, as ``rows``."""
    begun = time.process_time()
    rows = [{"ratio": r, "sparsity": s, "seed": i} for r, s, i in product(RATIOS, SPARSITY, range(seeds))]
    saes = []
    for row in rows:
        generator = torch.Generator().manual_seed(row["seed"])
        saes.append(build("standard", 3 * n, 3 * n, generator=generator, sparsity=row["sparsity"]))
        saes[-1].b_dec.requires_grad_(False)
    many = train_together(stack(saes), batches(rows, n), steps=steps, lr=LR, **HOW[training])
    x = torch.tensor(blocks(n, 1.0)[0], dtype=torch.float32)
    with torch.no_grad():
        codes = encode_together(many, x)
        errors = (x - codes @ many.W_dec).pow(2).sum(-1).double().numpy()
    table, least = [], cache(best)
    for i, row in enumerate(rows):
        found = least(row["ratio"], row["sparsity"])
        p, size = blocks(n, row["ratio"])[1], codes[i].sum(1).double().numpy()
        read = readers(many.W_dec[i].detach().numpy(), (codes[i] > 0).any(0).numpy())
        loss = float(p @ (errors[i] + row["sparsity"] * size))
        table.append(row | read | {"loss": loss, "best": found[found["winner"]]["loss"], "winner": found["winner"]})
    return {"rows": table, "seconds": round(time.process_time() - begun, 1)}


def main(argv: Sequence[str] | None = None) -> None:
    parser = options("several_pairs", __doc__, "scheduler", reduced="two seeds of one and two blocks")
    args = parser.parse_args(argv)
    numbers, seeds = ((1, 2), 2) if args.reduced else (BLOCKS, SEEDS)
    points = [{"n": n, "training": how, "seeds": seeds, "steps": STEPS} for n in reversed(numbers) for how in HOW]
    done = sweep(run, points, folder=cache_dir() / "runs", scheduler=args.scheduler)
    keys = ("n", "training", "ratio", "sparsity", "seed")
    table = unpacked(done, *keys).sort_values(list(keys))
    ship("several_pairs", table, seeds=seeds, seconds=done.seconds.sum(), reduced=args.reduced)


if __name__ == "__main__":
    from recipes import several_pairs  # under its own name, so that worker processes can import what they are sent

    several_pairs.main()
