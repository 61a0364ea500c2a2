"""Hold the reduced computations against the shipped ones: `python -m recipes compare`. Exits 1 if they disagree.

* Sweep: two levels of the central arms at one site, a seed of its own, a quarter of the tokens four times over. The
  share's 95% interval must overlap that of the shipped runs of these levels, and each run must come within 10% of the
  shipped seeds' mean L0 and mean FVU.
* Second model: one run on half of the text. L0 and FVU must lie within 10%, the nats lost within the shipped run's 95%
  interval over sequences. Not among the small versions that `--all --reduced` makes: it asks for the network.
* Toys: the same settings on fewer seeds. Each arm's mean FVU must lie within the shipped seeds' range, widened by 10%.
* Way out: one seed of three arms. L0 must lie within the shipped seeds' range, widened by 15%.
* Superposition: an eighth of the draws. No error rate may be further from the shipped one than five standard errors.
* Readings: a quarter of the text, the gated dictionaries. Each arm's mean AUC must lie within 0.01 of the shipped one,
  and its interference over chance within 5%. Basis pursuit: half of the dictionaries. Chances of an error within 0.2.
* Penalties on the toys: the same settings on two of the seeds, and on one of the twelve. Each recovery must lie within
  0.03 of the shipped one.
* Three features: the same runs of fewer seeds. Nine in ten must read the same directions.
* Several pairs: two of the seeds again. Each run's loss must lie within 5% of the shipped one in nine of ten.
* Rescaling: a sixth of the words, so other heads may be found. In both models A2 must lose the word at s = 100, as in
  the shipped table, and the word's own keys and values must bring everything back.
* Peaks: one seed of the toy again. Each arm's lowest peak must lie within 0.02 of where it was, and its highest within
  0.03, if the max max makes it sharp.
* Coverage: the first layer's three dictionaries from one more seed. What each loses alone must lie where the shipped
  seeds expect a new one with 95% (Student's t).
* Reviewer: two of the seeds again. Each run's delivered work at the end must lie within 0.1 of the shipped one, and
  where praise pays best, its recall too, but for screening.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pandas as pd
from safetensors.numpy import load_file
from scipy.stats import t

from helpers.evidence import bootstrap_share, interval, paired_difference
from helpers.geometry import peaks
from helpers.runs import artifact

from .command import options
from .harvest import SITES

HEAPS = ("none", "no max max")  # arms whose upper features make a broad heap, with no peak to hold on to


def table(name: str) -> pd.DataFrame:
    return pd.read_csv(artifact(name))


def pair(name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The shipped table and the reduced one."""
    return table(name), table(f"reduced/{name}")


def sweep() -> bool:
    (shipped, reduced), site = pair("gated_sweep.csv"), SITES[0]
    shipped = shipped[(shipped.site == site) & shipped.level.isin(reduced.level)]
    shares = []
    for rows, name in (
        (shipped, "gated_sweep_losses.safetensors"),
        (reduced, "reduced/gated_sweep_losses.safetensors"),
    ):
        losses = {key: value.astype(float) for key, value in load_file(artifact(name)).items()}
        value, draws = bootstrap_share(rows, losses, site, split=0)
        shares.append((value, *interval(draws)))
    (a, a0, a1), (b, b0, b1) = shares
    keys = ["architecture", "level"]
    off = (reduced.groupby(keys)[["l0", "fvu"]].mean() / shipped.groupby(keys)[["l0", "fvu"]].mean() - 1).dropna().abs()
    print(f"sweep, {site}: share closed {a:.2f} [{a0:.2f}, {a1:.2f}] shipped, {b:.2f} [{b0:.2f}, {b1:.2f}] reduced; "
          f"L0 within {off.l0.max():.1%}, FVU within {off.fvu.max():.1%}")  # fmt: skip
    return a0 <= b1 and b0 <= a1 and off.to_numpy().max() <= 0.1


def second() -> bool:
    if not (artifact("gated_second.csv").parent / "reduced" / "gated_second.csv").exists():
        print("second model: not made (python -m recipes gated_second --reduced)")
        return True
    keys, (shipped, reduced) = ["architecture", "seed", "level"], pair("gated_second.csv")
    both = reduced.merge(shipped, on=keys, suffixes=("", "_shipped"))
    losses, agree = load_file(artifact("gated_second_losses.safetensors")), []
    for r in both.itertuples():
        clean, spliced = losses[f"{r.architecture}/{r.seed}/{r.level}"][:2]
        value, low, high = paired_difference(spliced, clean)
        off = max(abs(r.l0 / r.l0_shipped - 1), abs(r.fvu / r.fvu_shipped - 1))
        now = r.ce_spliced - r.ce_clean
        print(f"second model, {r.architecture}: {value:.3f} [{low:.3f}, {high:.3f}] nats shipped, {now:.3f} reduced; "
              f"L0 and FVU within {off:.1%}")  # fmt: skip
        agree.append(low <= now <= high and off <= 0.1)
    return len(agree) > 0 and all(agree)


def toys() -> bool:
    keys = ["toy", "architecture", "level"]
    shipped, reduced = pair("toys.csv")
    whole, part = shipped.groupby(keys).fvu.agg(["min", "max"]), reduced.groupby(keys).fvu.mean()
    inside = [0.9 * whole.loc[k, "min"] <= v <= 1.1 * whole.loc[k, "max"] for k, v in part.items()]
    print(f"toys: {sum(inside)} of {len(inside)} means inside the shipped range")
    return all(inside)


def escape() -> bool:
    shipped, reduced = pair("escape.csv")
    keys = ["toy", "architecture", "sparsity"]
    seeds = shipped[shipped.toy == "crowded"].groupby(keys).l0.agg(["min", "max"])
    found = reduced[reduced.toy == "crowded"].set_index(keys).l0
    low, high = seeds["min"].loc[found.index], seeds["max"].loc[found.index]
    off = int(((found < low / 1.15) | (found > high * 1.15)).sum())
    print(f"way out: {off} of {len(found)} runs have an L0 beyond the shipped seeds' range, widened by 15%")
    return off == 0


def penalties() -> bool:
    near, run = [], ["toy", "architecture", "seed", "penalty"]
    for name, keys in (("orthogonality_toy.csv", [*run, "orthogonality"]), ("orthogonality_seeds.csv", run)):
        shipped, reduced = pair(name)
        both = reduced.merge(shipped, on=keys)
        near += ((both.recovery_x - both.recovery_y).abs() <= 0.03).tolist()
    print(f"penalties: {sum(near)} of {len(near)} toys within 0.03 of the shipped recovery")
    return len(near) > 0 and all(near)


def superposition() -> bool:
    shipped, reduced = pair("superposition_noise.csv")
    both = reduced.merge(shipped, on=["study", "amplitude", "n", "m", "l"], suffixes=("", "_shipped"))
    # A rate of zero has no standard error of its own: one event more or less is the least that can be told apart.
    least = 1 / (both.trials * both.m)
    error = (both.per_feature_se**2 + both.per_feature_se_shipped**2).pow(0.5).clip(lower=least)
    z = ((both.per_feature - both.per_feature_shipped) / error).abs()
    print(f"superposition: {(z <= 5).sum()} of {len(z)} error rates within five standard errors")
    return len(z) > 0 and bool((z <= 5).all())


def readings() -> bool:
    keys = ["architecture", "site", "arm"]
    shipped, reduced = pair("superposition_rows.csv")
    reduced = reduced[~reduced.arm.str.contains("shaped|own")]  # nulls of fewer tokens, so with other features in them
    both = reduced.merge(shipped, on=keys, suffixes=("", "_shipped"))
    near = ((both.auc - both.auc_shipped).abs() <= 0.01) & ((both.ratio / both.ratio_shipped - 1).abs() <= 0.05)
    print(f"readings: {near.sum()} of {len(near)} arms tell active from silent as in the shipped table")
    return len(near) == len(reduced) and bool(near.all())


def pursuit() -> bool:
    keys = ["n", "m", "signed", "noise", "l"]
    shipped, reduced = (rows.groupby(keys)["any"].mean() for rows in pair("superposition_pursuit.csv"))
    off = (reduced - shipped).dropna().abs()
    print(f"basis pursuit: {(off <= 0.2).sum()} of {len(off)} chances of an error within 0.2")
    return len(off) > 0 and bool((off <= 0.2).all())


def three_features() -> bool:
    agree = []
    for name in ("three_features", "three_features_repaired"):
        shipped, reduced = pair(f"{name}.csv")
        both = reduced.merge(shipped, on=["study", "architecture", "ratio", "sparsity", "seed"])
        same = (both.reads_x == both.reads_y).mean()
        print(f"{name.replace('_', ' ')}: {same:.0%} of {len(both)} runs read the same directions")
        agree.append(same >= 0.9)
    return all(agree)


def several_pairs() -> bool:
    shipped, reduced = pair("several_pairs.csv")
    both = reduced.merge(shipped, on=["n", "training", "ratio", "sparsity", "seed"])
    near = ((both.loss_x / both.loss_y - 1).abs() <= 0.05).mean()
    print(f"several pairs: {near:.0%} of {len(both)} runs within 5% of the shipped loss")
    return near >= 0.9


def rescaling() -> bool:
    agree = []
    for name, rows in zip(("shipped", "reduced"), pair("rescaling_tests.csv"), strict=True):
        means = rows.groupby(["model", "condition", "scale"])[["own", "a2"]].mean()
        for model in rows.model.unique():
            near, far = means.loc[(model, "plain", 1.0)], means.loc[(model, "plain", 100.0)]
            back = means.own[model, "all keys and values of s = 1", 100.0]
            agree.append(far.a2 < near.a2 and abs(back - near.own) < 0.01)
            print(f"rescaling, {name}, {model}: A2's attention {near.a2:.2f} to {far.a2:.2f}")
    return all(agree)


def singularities() -> bool:
    agree = []
    for part, keys in (("curves", ["curve", "t"]), ("samplers", ["loss", "sampler"])):
        shipped, reduced = pair(f"singular_{part}.csv")
        both = reduced.merge(shipped, on=keys, suffixes=("", "_shipped"))
        slack = (both.high - both.low) + (both.high_shipped - both.low_shipped)  # twice the half widths
        near = (both.value - both.value_shipped).abs() <= slack
        print(f"singular {part}: {near.sum()} of {len(both)} estimates within the intervals' widths")
        agree.append(len(both) > 0 and bool(near.all()))
    return all(agree)


def peaks_of(place: str) -> dict[tuple, list[float]]:
    """Where the nearest-neighbour cosines of each run of the toy peak."""
    rows = pd.read_csv(artifact(f"{place}peaks.csv"), dtype={"run": str})
    stored = load_file(artifact(f"{place}peaks.safetensors"))
    keys = ["structure", "arm", "absolute", "strength", "seed"]
    return {
        tuple(row[key] for key in keys): [p.at for p in peaks(abs(stored[f"{row.run}/cosine"]))]
        for _, row in rows[rows.study == "toy"].iterrows()
    }


def nearest() -> bool:
    was, now = peaks_of(""), peaks_of("reduced/")
    same = [abs(now[k][0] - was[k][0]) < 0.02 and (k[1] in HEAPS or abs(now[k][-1] - was[k][-1]) < 0.03) for k in now]
    print(f"peaks: {sum(same)} of {len(same)} runs have the shipped peaks")
    return len(same) > 0 and all(same)


def reviewer() -> bool:
    keys = ["arm", "seed", "market", "hidden"]
    shipped, reduced = (rows[rows.step == rows.step.max()] for rows in pair("reviewer_lm.csv"))
    both = reduced.merge(shipped, on=keys, suffixes=("", "_shipped"))
    held = (both.market == "praise") & (both.arm != "screening")  # where recall is of few attempts it wanders
    near = (both.delivered - both.delivered_shipped).abs() <= 0.1
    near &= ~held | ((both.recall - both.recall_shipped).abs() <= 0.1)
    print(f"reviewer: {near.sum()} of {len(near)} runs within 0.1 of the shipped recall and delivered work")
    return held.any() and bool(near.all())


def coverage() -> bool:
    shipped, reduced = pair("coverage_seeds.csv")
    agree = []
    for row in reduced.itertuples():
        seeds = shipped.nats[shipped.site == row.site]
        low, high = t.interval(0.95, len(seeds) - 1, seeds.mean(), seeds.std() * (1 + 1 / len(seeds)) ** 0.5)
        print(f"coverage, {row.site} alone: {low:.4f} to {high:.4f} nats by the shipped seeds, {row.nats:.4f} reduced")
        agree.append(low <= row.nats <= high)
    return len(agree) == 3 and all(agree)


CHECKS = (
    sweep, second, toys, escape, penalties, superposition, readings, pursuit, three_features, several_pairs, rescaling,
    nearest, reviewer, singularities, coverage,
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    options("compare", __doc__).parse_args(argv)
    agree = [check() for check in CHECKS]
    print("all agree with what is shipped" if all(agree) else "DISAGREE: see the lines above")
    return int(not all(agree))


if __name__ == "__main__":
    sys.exit(main())
