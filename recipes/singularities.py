"""Chapter 9: curves resolved and sampled in their charts, volumes followed down, samplers held against exact laws.

    python -m recipes singularities [--reduced] [--scheduler tcp://…]

Writes three tables. `singular_curves.csv`, a row a polynomial and temperature: exact λ and m, and `λ(t)` from draws in
the charts. `singular_volumes.csv`, a row a polynomial, route and level: ε, the volume as a share of the box (mean of
runs), and what `volume_exponent` reads off it; by draws in charts for all, by splitting for some.
`singular_samplers.csv`, a row a loss and sampler: the estimate at t = 1000, its interval, and the exact λ(t) and λ.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from sympy import lambdify

from helpers.runs import cache_dir, save_artifact, sweep
from helpers.singular import (
    CURVES,
    box_zeta,
    exact_coefficient,
    gaussian_zeta,
    local_learning_coefficient,
    resolve,
    resolved_coefficient,
    volume_exponent,
)

from .command import options

VOLUMES = (
    "node", "irrational node", "x⁴ + x²y² + y⁵", "x²y² + x⁶ + y⁶",  # m = 2
    "x² + y²", "x² + y⁴", "A2 cusp", "(y − x²)² + x⁶",  # m = 1
)  # fmt: skip
TEMPERATURES = (1e3, 1e6, 1e12)
T = 1000.0  # of the samplers
# name: powers of a monomial in the unit box, or sizes of the vectors of a network one unit wide inside
MONOMIALS = {"x²y²": (1, 1), "x⁴y⁴": (2, 2), "x²y⁶": (1, 3)}
NETWORKS = {"network 1-1-1-1": (1, 1, 1), "network 2-1-3": (2, 3)}
STEPS = {"sgld 0.1": 0.1, "sgld 0.5": 0.5}  # in units of 1/t


def loss(name: str):
    """K as a function of points, how many variables it has, what surrounds them, its zeta function, and λ."""
    if name in MONOMIALS:
        k = MONOMIALS[name]
        return (lambda w: torch.prod(w ** (2 * torch.tensor(k)), 1)), len(k), {}, box_zeta(k), 1 / (2 * max(k))
    sizes = NETWORKS[name]

    def product(w):
        return torch.stack([(part**2).sum(1) for part in w.split(sizes, 1)]).prod(0)

    around = {"localiser": 1.0, "radius": 8.0}
    return product, sum(sizes), around, gaussian_zeta(sizes), min(sizes) / 2


def run(part: str, name: str, size: float) -> dict:
    """One polynomial's curve or volume, or one loss's samplers; ``size`` scales what is drawn."""
    torch.set_num_threads(1)
    begun, rows = time.process_time(), []
    if part == "curves":
        resolution = resolve(CURVES[name])
        zero = next(z for z in resolution.zeros if z.at is not None)
        for t in TEMPERATURES:
            found = resolved_coefficient(resolution, zero, t, draws=int(1_000_000 * size))
            rows.append({
                "curve": name, "K": CURVES[name], "rlct": str(zero.rlct), "multiplicity": zero.multiplicity,
                "charts": len(zero.charts), "t": t, "value": found.value, "low": found.interval[0],
                "high": found.interval[1],
            })  # fmt: skip
    elif part in ("charts", "splitting"):
        if part == "charts":
            found = volume_exponent(CURVES[name], draws=int(2_000_000 * size))
        else:
            K = lambdify(["x", "y"], CURVES[name])
            found = volume_exponent(lambda w: K(*w.T), [0.0, 0.0], points=int(1000 * size))
        ends = zip(("rlct_low", "rlct_high", "m_low", "m_high"), found.rlct_interval + found.multiplicity_interval,
                   strict=True)  # fmt: skip
        mean = {"curve": name, "route": part, "rlct": found.rlct, "m": found.multiplicity} | dict(ends)
        rows = [mean | {"epsilon": e, "volume": v} for e, v in zip(found.epsilon, found.volume.mean(0), strict=True)]
    else:
        K, d, around, zeta, rlct = loss(name)
        for sampler in ("slice", *STEPS):
            how = {"draws": int(400 * size)} if sampler == "slice" else {
                "sampler": "sgld", "step": STEPS[sampler] / T, "draws": int(5000 * size)}  # fmt: skip
            found = local_learning_coefficient(K, np.zeros(d), T, chains=32, **around, **how)
            rows.append({
                "loss": name, "sampler": sampler, "rlct": rlct, "exact": exact_coefficient(zeta, rlct, T),
                "value": found.value, "low": found.interval[0], "high": found.interval[1], "r_hat": found.r_hat,
                "effective": found.effective, "evaluations": found.evaluations,
            })  # fmt: skip
    return {"rows": rows, "seconds": round(time.process_time() - begun, 1)}


def main(argv: Sequence[str] | None = None) -> None:
    parser = options("singularities", __doc__, "scheduler", reduced="a fifth of the draws, two curves and losses each")
    args = parser.parse_args(argv)
    size, most = (0.2, 2) if args.reduced else (1.0, None)
    parts = {"curves": list(CURVES), "charts": list(CURVES), "splitting": list(VOLUMES)}
    parts |= {"samplers": [*MONOMIALS, *NETWORKS]}
    points = [{"part": part, "name": name, "size": size} for part, names in parts.items() for name in names[:most]]
    done = sweep(run, points, folder=cache_dir() / "runs", scheduler=args.scheduler)
    tables = {"curves": ["curves"], "volumes": ["charts", "splitting"], "samplers": ["samplers"]}
    for table, its in tables.items():
        mine = done[done.part.isin(its)]
        rows = pd.DataFrame([row for rows in mine["rows"] for row in rows])
        made = {"recipe": "python -m recipes.singularities" + " --reduced" * args.reduced, "seed": [0],
                "seconds": round(float(mine.seconds.sum()))}  # fmt: skip
        path = "reduced/" * args.reduced + f"singular_{table}.csv"
        save_artifact(path, partial(rows.to_csv, index=False, float_format="%.6g"), **made)


if __name__ == "__main__":
    from recipes import singularities  # under its own name, so that worker processes can import what they are sent

    singularities.main()
