"""Chapter 6's runs again with two repairs, and the best encoders of fixed dictionaries.

    python -m recipes three_features_repaired [--reduced] [--scheduler tcp://…]

Writes `artifacts/three_features_repaired.csv`, a row a run, with the seeds, batches and measures of
`recipes.three_features`: `revived` (its grid, with dead latents brought back), `both` (that, and without the gradient
along decoder rows), `penalty_both` (its penalties, with both), `penalty_revived` and `penalty_tangent` (the largest
penalty, with either alone). And `artifacts/three_features_encoders.csv`, where amplitudes vary (:func:`edge`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from helpers.composition import COMPOSED, SEPARATE, amplitudes, best_encoder, expected_loss
from helpers.runs import cache_dir, save_artifact, sweep

from .command import options
from .tables import ship, unpacked
from .three_features import KEYS, SEEDS, WIDTHS, points_of, run

STUDIES = {
    "both": ("standard", "gated", "jumprelu", "expanded"),
    "revived": ("standard", "gated", "jumprelu", "expanded"),
    "penalty_both": ("standard",),
    "penalty_revived": ("standard",),
    "penalty_tangent": ("standard",),
}
EDGES = (0.25, 0.5)  # values of λ


def edge(sparsity: float, width: float) -> dict:
    """p12 / p3 at which {f1, f2, f1+f2} and {f1, f2, f3} are equally good, with the best codes and with encoders' ones.

    Losses are over the inputs in the plane of f1 and f2, in units of p12; the separate dictionary's best codes are
    ReLUs of one feature each, so that they need no search.
    """
    begun = time.process_time()
    x, p = amplitudes(1.0, width)
    plane = x[:, 2] == 0
    rare = x[~plane, 2]
    read = p[~plane] @ np.maximum(rare - sparsity / 2, 0) ** 2 / p[~plane].sum()
    x, p = x[plane], p[plane] * 3 / p[plane].sum()
    separate, codes = (float(expected_loss(x, p, D, sparsity)) for D in (SEPARATE, COMPOSED))
    found = best_encoder(x, p, COMPOSED, sparsity, restarts=40, steps=3000)[0]
    return {
        "read": float(read), "separate": separate, "composed_codes": codes, "composed_encoder": found,
        "edge_codes": float(read / (separate - codes)), "edge_encoder": float(read / (separate - found)),
        "seconds": round(time.process_time() - begun, 1),
    }  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    parser = options("three_features_repaired", __doc__, "scheduler", reduced="three seeds of the grid, standard")
    args = parser.parse_args(argv)
    few = {"both": ("standard",), "revived": ("standard",)}
    seeds, studies = (3, few) if args.reduced else (SEEDS, STUDIES)
    done = sweep(run, points_of(studies, seeds), folder=cache_dir() / "runs", scheduler=args.scheduler)
    table = unpacked(done, *KEYS)
    made = ship("three_features_repaired", table, seeds=seeds, seconds=done.seconds.sum(), reduced=args.reduced)
    if args.reduced:
        return
    points = [{"sparsity": s, "width": w} for s in EDGES for w in WIDTHS]
    edges = sweep(edge, points, folder=cache_dir() / "runs", scheduler=args.scheduler)
    made |= {"seed": 0, "seconds": round(edges.pop("seconds").sum())}
    save_artifact("three_features_encoders.csv", lambda path: edges.round(4).to_csv(path, index=False), **made)


if __name__ == "__main__":
    from recipes import three_features_repaired  # under its own name, for worker processes

    three_features_repaired.main()
