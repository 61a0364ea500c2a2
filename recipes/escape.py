"""Chapter 1's way out of the penalty: what an expanded dictionary does at strong sparsity, and what a jump changes.

    python -m recipes escape [--reduced] [--scheduler tcp://…]

Writes `artifacts/escape.csv`, a row a run. All runs of one arm and toy are a single computation
(`helpers.sae.train_together`); a seed gives directions, first weights and batches, which arms and sparsities share.

Toys: `crowded`, 64 features in 32 dimensions with a little noise (three on at a time, as in `toys`), asked at
sparsities up to silence; `apart`, 32 orthonormal features without noise, training begun at the truth, where the best
loss is known. Arms besides those of the chapter: `gap …`, a jump of fixed height; `bias blocked`, expanded whose
reconstruction does not move the gate's bias; `gate blocked`, nor anything else of the gate; `jump only`, a learned jump
without a stretch.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from helpers.runs import cache_dir, sweep
from helpers.sae import (
    Expanded,
    SparseFeatures,
    build,
    feature_recovery,
    fvu,
    l0,
    reconstruction_bias,
    stack,
    train_together,
    unstack,
)

from .command import options
from .tables import ship, unpacked

GAPS = (0.05, 0.1, 0.2, 0.4, 0.8)
CENTRAL = ("standard", "expanded", "gated", "gated_shared_bias")
ARMS = (*CENTRAL, *(f"gap {g}" for g in GAPS), "bias blocked", "gate blocked", "jump only")
SPARSITY = {"crowded": (0.4, 0.8, 1.2, 1.6, 2.2, 3.0, 4.0), "apart": (0.4, 0.8, 1.2, 1.6, 1.9, 2.125, 2.4, 3.0)}
SEEDS, STEPS, BATCH, LR, DIMENSIONS = 5, 3000, 256, 3e-3, 32


class BiasBlocked(Expanded):
    """Expanded, but reconstruction sends no gradient to the gate's bias."""

    def magnitude(self, z) -> Tensor:
        b = z.at(self.b_enc)
        return z.at(self.r_mag).exp() * (z.pre - b + b.detach())


class GateBlocked(Expanded):
    """Expanded, but reconstruction sends no gradient to the gate at all."""

    def magnitude(self, z) -> Tensor:
        return z.at(self.r_mag).exp() * z.pre.detach()


def source(toy: str, seed: int) -> SparseFeatures:
    crowded, generator = toy == "crowded", torch.Generator().manual_seed(1000 + seed)
    return SparseFeatures(64 if crowded else 32, DIMENSIONS, p=0.05, noise=0.02 * crowded, generator=generator)


def first(toy: str, arm: str, seed: int, sparsity: float):
    """The dictionary that one run starts from."""
    generator, data = torch.Generator().manual_seed(seed), source(toy, seed)
    hyper = {"generator": generator, "sparsity": sparsity}
    if arm in ("bias blocked", "gate blocked"):
        sae = {"bias blocked": BiasBlocked, "gate blocked": GateBlocked}[arm](DIMENSIONS, len(data.features), **hyper)
    else:
        jumps = arm.startswith("gap ") or arm == "jump only"
        sae = build("gated_shared_bias" if jumps else arm, DIMENSIONS, len(data.features), **hyper)
    if arm.startswith("gap "):
        sae.gap.requires_grad_(False).fill_(float(arm.split()[1]))
    if arm == "jump only":
        sae.r_mag.requires_grad_(False)
    if toy == "apart":
        with torch.no_grad():
            sae.W_dec.copy_(data.features)
            sae.W_enc.copy_(data.features.T)
        sae.b_dec.requires_grad_(False)
    return sae


def run(toy: str, architecture: str, sparsities: list[float], seeds: int, steps: int) -> dict:
    """All runs of one arm on one toy, as ``rows``."""
    begun = time.process_time()
    points = [{"sparsity": s, "seed": seed} for s in sparsities for seed in range(seeds)]
    data = [source(toy, seed) for seed in range(seeds)]
    saes = [first(toy, architecture, p["seed"], p["sparsity"]) for p in points]

    def batches(step: int) -> Tensor:
        drawn = [
            d.sample(BATCH, torch.Generator().manual_seed(10_000_000 * (seed + 1) + step))[0]
            for seed, d in enumerate(data)
        ]
        return torch.stack(drawn).repeat(len(sparsities), 1, 1)

    many = train_together(stack(saes), batches, steps=steps, lr=LR)
    rows = [p | judge(unstack(many, i, saes[0]), data[p["seed"]]) for i, p in enumerate(points)]
    return {"rows": rows, "seconds": round(time.process_time() - begun, 1)}


@torch.no_grad()
def judge(sae, data: SparseFeatures) -> dict:
    """Measures on 20,000 fresh samples. ``stretch`` and ``gap`` are medians over latents that fire; ``gate_…`` is the
    gate's own code ReLU(π): its mean sum, and the FVU of what it reconstructs alone."""
    x, codes = data.sample(20_000, torch.Generator().manual_seed(77))
    found, gate = sae.encode(x), sae.pre(x).relu()
    x_hat, live = sae.decode(found), (found > 0).any(0)
    match = torch.nn.functional.normalize(sae.W_dec, dim=1) @ data.features.T
    on, false = codes > 0, (found > 0) & (codes[:, match.argmax(1)] == 0)
    stretch = sae.r_mag.exp() if hasattr(sae, "r_mag") else torch.ones(sae.d_sae)
    gap = getattr(sae, "gap", torch.zeros(sae.d_sae))
    terms = sae.losses(x)
    return {
        "l0": l0(found), "true_l0": on.sum(1).double().mean().item(), "fvu": fvu(x, x_hat),
        "gamma": reconstruction_bias(x, x_hat), "recovery": feature_recovery(sae.W_dec, data.features),
        "false_firings": false.double().sum(1).mean().item(), "live": int(live.sum()),
        "stretch": stretch[live].median().item() if live.any() else float("nan"),
        "gap": gap[live].median().item() if live.any() else float("nan"),
        "gate_sum": gate.sum(1).mean().item(), "gate_fvu": fvu(x, sae.decode(gate)),
        "loss": sum(term.item() for term in terms.values()), "silence": x.var(0, correction=0).sum().item(),
    }  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    parser = options("escape", __doc__, "scheduler", "processes", reduced="one seed, three arms, two sparsities")
    args = parser.parse_args(argv)
    seeds, arms = (1, CENTRAL[:3]) if args.reduced else (SEEDS, ARMS)
    points = [
        {
            "toy": toy, "architecture": arm, "seeds": seeds, "steps": STEPS,
            "sparsities": list(SPARSITY[toy][1::3] if args.reduced else SPARSITY[toy]),
        }
        for toy, some in (("crowded", arms), ("apart", CENTRAL[:3]))
        for arm in some
    ]  # fmt: skip
    done = sweep(run, points, folder=cache_dir() / "runs", scheduler=args.scheduler, processes=args.processes)
    table = unpacked(done, "toy", "architecture", "sparsity", "seed")
    ship("escape", table, seeds=seeds, seconds=done.seconds.sum(), reduced=args.reduced, digits=5)


if __name__ == "__main__":
    from recipes import escape  # under its own name, so that worker processes can import what they are sent

    escape.main()
