"""Hold the reduced computations against the shipped ones: `python -m recipes.compare`. Exits 1 if they disagree.

* Sweep: an eighth of the tokens thrice, three levels, one seed. The share's 95% interval must overlap the shipped one.
* Toys: the same settings on fewer seeds. Each arm's mean FVU must lie within the shipped seeds' range, widened by 10%.
* Three features: the same runs of fewer seeds. Nine in ten must read the same directions.
* Peaks: one seed of the toy again. Each arm's lowest peak must lie within 0.02 of where it was, and its highest within
  0.03, if the max max makes it sharp.
* Reviewer: two of the seeds again. Each arm's recall at the end must lie within 0.1 of the shipped one.
"""

from __future__ import annotations

import sys

import pandas as pd
from safetensors.numpy import load_file

from helpers.frontier import bootstrap_share, interval
from helpers.peaks import peaks
from helpers.store import artifact

from .harvest import SITES

HEAPS = ("none", "no max max")  # arms whose upper features make a broad heap, with no peak to hold on to


def shares(name: str) -> dict[str, tuple[float, float, float]]:
    table = pd.read_csv(artifact(f"{name}.csv"))
    losses = {k: v.astype(float) for k, v in load_file(artifact(f"{name}_losses.safetensors")).items()}
    out = {}
    for site in SITES:
        value, draws = bootstrap_share(table, losses, site, split=0)
        out[site] = (value, *interval(draws))
    return out


def peaks_of(name: str) -> dict[tuple, list[float]]:
    """Where the nearest-neighbour cosines of each run of the toy peak."""
    table, stored = pd.read_csv(artifact(f"{name}.csv"), dtype={"run": str}), load_file(artifact(f"{name}.safetensors"))
    keys = ["structure", "arm", "absolute", "strength", "seed"]
    return {
        tuple(row[key] for key in keys): [p.at for p in peaks(abs(stored[f"{row.run}/cosine"]))]
        for _, row in table[table.study == "toy"].iterrows()
    }


def main() -> int:
    failures = 0
    shipped, reduced = shares("gated_sweep"), shares("gated_sweep_reduced")
    for site in SITES:
        (a, a0, a1), (b, b0, b1) = shipped[site], reduced[site]
        agrees = a0 <= b1 and b0 <= a1
        failures += not agrees
        print(f"{site}: share closed {a:.2f} [{a0:.2f}, {a1:.2f}] shipped, {b:.2f} [{b0:.2f}, {b1:.2f}] reduced: "
              f"{'agree' if agrees else 'DISAGREE'}")  # fmt: skip
    keys = ["toy", "architecture", "level"]
    whole = pd.read_csv(artifact("toys.csv")).groupby(keys).fvu.agg(["min", "max"])
    part = pd.read_csv(artifact("toys_reduced.csv")).groupby(keys).fvu.mean()
    inside = [0.9 * whole.loc[k, "min"] <= v <= 1.1 * whole.loc[k, "max"] for k, v in part.items()]
    failures += len(inside) - sum(inside)
    print(f"toys: {sum(inside)} of {len(inside)} means inside the shipped range")
    keys = ["study", "architecture", "ratio", "sparsity", "seed"]
    both = pd.read_csv(artifact("three_features_reduced.csv")).merge(
        pd.read_csv(artifact("three_features.csv")), on=keys
    )
    same = (both.reads_x == both.reads_y).mean()
    failures += same < 0.9
    print(f"three features: {same:.0%} of {len(both)} runs read the same directions")
    was, now = peaks_of("peaks"), peaks_of("peaks_reduced")
    same = [
        abs(now[k][0] - was[k][0]) < 0.02 and (k[1] in HEAPS or abs(now[k][-1] - was[k][-1]) < 0.03)
        for k in now
    ]  # fmt: skip
    failures += len(same) - sum(same)
    print(f"peaks: {sum(same)} of {len(same)} runs have the shipped peaks")
    ends = {}
    for name in ("reviewer_lm", "reviewer_lm_reduced"):
        table = pd.read_csv(artifact(f"{name}.csv"))
        ends[name] = table[table.step == table.step.max()].set_index(["arm", "seed"]).recall
    off = (ends["reviewer_lm_reduced"] - ends["reviewer_lm"]).dropna().abs()
    failures += int((off > 0.1).sum())
    print(f"reviewer: {(off <= 0.1).sum()} of {len(off)} runs within 0.1 of the shipped recall")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
