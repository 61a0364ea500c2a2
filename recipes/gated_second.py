"""Chapter 1's three central arms on a second model: Gemma-3-270M, one site, five sparsity levels, three seeds.

    python -m recipes gated_second [--reduced] [--until MINUTES] [--scheduler tcp://…]

As :mod:`recipes.gated_sweep` in everything but the model: the same texts in Gemma's own tokens, four times as many
latents as dimensions, two million activations (a million, shown twice). Its table, `artifacts/gated_second.csv`, has
the same columns. Losses by sequence, with the divergence from the untouched model's predictions, go to
`artifacts/gated_second_losses.safetensors`. Of the planned runs the shipped table holds those of the manifest's
`finished_runs`, whole levels of the first seed; the recipe goes on from the cache.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import torch
from safetensors.torch import save_file

from helpers.runs import save_artifact, sweep
from helpers.sae import fvu

from . import gated_sweep
from .command import options
from .gated_sweep import CENTRAL, LEVELS, data, fit, folder, judge
from .harvest import ROWS, SECOND

SITE, SEQUENCES = "blocks.6.hook_resid_pre", 31 * ROWS
SPARSITY = {
    "standard": (0.3, 0.22, 0.16, 0.12, 0.09),
    "expanded": (0.7, 0.52, 0.38, 0.27, 0.19),
    "gated": (0.36, 0.26, 0.18, 0.125, 0.085),
}
LOSSES = "per run: evaluation text (clean, spliced, zero-ablated, KL) x sequence, nats a token; /human without KL"


def grid(sequences: int, seeds: Sequence[int] = (0, 1, 2), levels: Sequence[int] = LEVELS, **more) -> Iterator[dict]:
    """The runs, whole seeds first and levels far apart first."""
    for seed in seeds:
        for level in levels:
            for name in CENTRAL:
                point = {"architecture": name, "site": SITE, "seed": seed, "level": level, "sequences": sequences}
                yield point | {"sparsity": SPARSITY[name][level], "model": SECOND} | more


def run(**point) -> dict:
    """A row of :func:`recipes.gated_sweep.run`; for arms with two paths also the median stretch of the latents that
    fire on twenty rows or more, and what is unexplained by the penalised codes alone."""
    row = gated_sweep.run(**point)
    sae, acts = fit(**point), data(SITE, point["sequences"], model=SECOND)
    if hasattr(sae, "r_mag"):
        x = judge(SITE, SECOND).rows("eval", acts.cutoff) * acts.scale
        with torch.no_grad():
            gate = sae.pre(x).relu()
            live = (gate > 0).sum(0) >= 20
            row |= {"stretch": sae.r_mag.exp()[live].median().item(), "gate_fvu": float(fvu(x, sae.decode(gate)))}
    return row


def main(argv: Sequence[str] | None = None) -> None:
    parser = options("gated_second", __doc__, "until", "scheduler", reduced="one run on half of the tokens")
    args = parser.parse_args(argv)
    begun = time.time()
    points = list(grid(SEQUENCES, epochs=2))
    if args.reduced:  # the middle expanded run, as many steps on half of the text
        points = [p for p in grid(SEQUENCES // 2, (0,), (2,), epochs=4) if p["architecture"] == "expanded"]
    data(SITE, points[0]["sequences"], model=SECOND)  # harvest before the workers start
    table = sweep(
        run,
        points,
        folder=folder("runs"),
        scheduler=args.scheduler,
        deadline=None if args.until is None else begun + 60 * args.until,
    )
    name = "reduced/" * args.reduced + "gated_second"
    tensors = {}
    for r in table.itertuples():
        key = f"{r.architecture}/{r.seed}/{r.level}"
        tensors[key] = torch.tensor([*r.by_sequence["eval"], r.by_sequence["kl"]])
        tensors[f"{key}/human"] = torch.tensor(r.by_sequence["human"])
    made = {"recipe": "python -m recipes.gated_second", "planned_runs": len(points), "finished_runs": len(table)}
    table = table.drop(columns="by_sequence")
    save_artifact(f"{name}.csv", lambda path: table.round(6).to_csv(path, index=False), **made)
    save_artifact(f"{name}_losses.safetensors", lambda path: save_file(tensors, path), **made, what=LOSSES)


if __name__ == "__main__":
    from recipes import gated_second  # under its own name, so that worker processes can import what they are sent

    gated_second.main()
