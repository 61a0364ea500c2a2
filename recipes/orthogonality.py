"""Chapter 2's second experiment: what a penalty on the decoder's cosines buys, and what it costs.

    python -m recipes orthogonality [--reduced] [--toy | --seeds | --model | --probe] [--until MINUTES]

Two toys whose features are known (`artifacts/orthogonality_toy.csv`): in one features are orthogonal and come in
hierarchies, in the other they come alone and lie close to each other. On the same toys twelve seeds at the weight of
the published penalty, each beside a dictionary without penalty that has only as many rows as stay alive under it
(`orthogonality_seeds.csv`). Then the model's residual stream: three forms of the penalty, two strengths each, two
architectures, paired by seed with the same runs without it (`orthogonality.csv`, a row a dictionary;
`orthogonality_letters.csv`, a row a letter, and `orthogonality_probe.csv` for its probe;
`orthogonality_losses.safetensors`, as the sweep's). Runs are the sweep's own, kept in its folder of the cache.
"""

from __future__ import annotations

import string
import time
from collections.abc import Sequence

import pandas as pd
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import normalize

from helpers.geometry import kth_largest_cosine
from helpers.lm import load_lm, load_tokens
from helpers.runs import artifact, save_artifact, sweep
from helpers.sae import SparseFeatures, build, feature_recovery, fvu, l0, train

from . import gated_sweep
from .absorption import absorption, drawn
from .command import options
from .cosines import KS, MIDDLE, sample
from .gated_sweep import LEVELS, LOSSES, data, fit, folder, hyper
from .tables import unpacked

SITE = "blocks.15.hook_resid_pre"
# Hardly felt and strongly felt, from short runs: an eighth of the tokens, TopK, seed 9.
STRENGTHS = {"chunk_max": (0.1, 1.0), "max": (0.1, 1.0), "mean_square": (10.0, 100.0)}
ARMS, SEEDS = ("topk", "gated"), range(3)
TOYS = {
    "hierarchy": {"structure": "hierarchical", "p": 0.15},
    "close": {"structure": "independent", "p": 0.08, "overlap": 0.5},
}
TOY_SPARSITY = {"gated": {"sparsity": 0.6}, "topk": {"k": 3}, "standard": {"sparsity": 0.4}}  # about the true L0
TOY_STRENGTHS = (0.3, 3.0)
TOY_SEEDS, TOY_WIDTH = range(5), 64
# OrtSAE's weight (its section 4.1), in units of the data's total variance, which is one on the model.
GAMMA = 0.25
FORMS, MANY_ARMS, MANY_SEEDS = ("max", "chunk_max"), ("topk", "standard"), range(12)


def settings(strengths: dict[str, tuple[float, ...]]) -> list[dict]:
    """No penalty, then every form at every strength, the strongest first."""
    found = [(value, form) for form, values in strengths.items() for value in values]
    return [{}] + [{"orthogonality": value, "penalty": form} for value, form in sorted(found, reverse=True)]


def grid(sequences: int) -> list[dict]:
    """Points of :func:`recipes.gated_sweep.run`, the large weights first; gated without penalty at every level."""
    out, small = [], {(min(values), form) for form, values in STRENGTHS.items()}
    for seed in SEEDS:
        for arm in ARMS:
            for level in sorted(LEVELS, key=lambda level: level != MIDDLE):
                for setting in settings(STRENGTHS) if level == MIDDLE else [{}]:
                    point = {"architecture": arm, "site": SITE, "seed": seed, "level": level, "sequences": sequences}
                    if level == MIDDLE or arm != "topk":  # whose L0 no penalty changes
                        out.append(point | hyper(arm, level) | setting)
    return sorted(out, key=lambda point: (point.get("orthogonality"), point.get("penalty")) in small)


def judge(**point) -> dict:
    """Cosines and first-letter absorption of one dictionary, which is trained by then."""
    sae, acts = fit(**point).eval(), data(point["site"], point["sequences"])
    on = torch.cat([sae.encode(part) > 0 for part in sample(acts).split(4096)])
    rows = sae.W_dec.detach()[on.any(0)]
    out = {"alive": len(rows)}
    for absolute in (False, True):
        values = kth_largest_cosine(rows, KS, absolute=absolute).mean(0).tolist()
        out |= {f"{'abs_' * absolute}cosine_{k}": value for k, value in zip(KS, values, strict=True)}
    return out | {"letters": absorption(sae, acts.scale, point["site"])}


def describe(W_dec: Tensor, found: Tensor, truth: Tensor, features: Tensor) -> dict:
    """How a toy's dictionary stands to its features, which are in trees of four (or groups: then the first is no root).

    ``found (n, d_sae)`` and ``truth (n, n_features)`` are codes of the same inputs. ``absorbed``: how much more often
    the latent of a root is silent when a child is on than when none is. Of the living latents, ``absorbing`` read a
    child together with its root, and ``composed`` any other two features; to read a feature is to have at least a
    tenth of one's square along it. ``recovery`` is the mean over features of the best latent's cosine.
    """
    alive = (found > 0).any(0)
    rows = normalize(W_dec, dim=1)
    along = rows @ torch.linalg.pinv(features)  # (d_sae, n_features): coefficients of each row in features
    cosines = rows @ features.T
    roots = torch.arange(0, len(features), 4)
    silent = found[:, cosines[:, roots].argmax(0)] == 0  # (n, trees)
    on = (truth > 0).reshape(len(truth), -1, 4)
    with_child, alone = on[..., 1:].any(-1), on[..., 0] & ~on[..., 1:].any(-1)
    reads = (along[alive].pow(2) >= 0.1) & (along[alive] > 0)
    trees = reads.reshape(len(reads), -1, 4)
    absorbing = (trees.any(-1).sum(1) == 1) & trees[..., 0].any(1) & trees[..., 1:].any((1, 2))
    return {
        "absorbed": (silent[with_child].double().mean() - silent[alone].double().mean()).item(),
        "absorbing": absorbing.double().mean().item(),
        "composed": ((reads.sum(1) > 1) & ~absorbing).double().mean().item(),
        "recovery": feature_recovery(W_dec, features),
        "cosine_1": kth_largest_cosine(W_dec[alive], (1,)).mean().item(),
        "alive": alive.double().mean().item(),
    }


def toy_source(toy: str, seed: int) -> SparseFeatures:
    return SparseFeatures(32, 48, **TOYS[toy], noise=0.02, generator=torch.Generator().manual_seed(1000 + seed))


def toy_run(toy: str, architecture: str, seed: int, steps: int = 1500, d_sae: int = TOY_WIDTH, **options) -> dict:
    """One dictionary of a toy: 32 features in 48 dimensions."""
    source, options = toy_source(toy, seed), TOY_SPARSITY[architecture] | options
    sae = build(architecture, 48, d_sae, generator=torch.Generator().manual_seed(seed), **options)

    def batches(step):
        return source.sample(256, torch.Generator().manual_seed(10_000_000 * (seed + 1) + step))[0]

    train(sae, batches, steps=steps, lr=3e-3, seed=seed, progress=False)
    x, truth = source.sample(20_000, torch.Generator().manual_seed(77))
    with torch.no_grad():
        found = sae.eval().encode(x)
        x_hat = sae.decode(found)
    return {"l0": l0(found), "true_l0": l0(truth), "fvu": fvu(x, x_hat)} | describe(
        sae.W_dec.detach(), found, truth, source.features
    )


def matched(toy: str, architecture: str, seed: int, steps: int = 1500) -> dict:
    """A seed without a penalty, with each form of it, and for each without it at the width that was alive with it."""
    begun, (x, _) = time.process_time(), toy_source(toy, seed).sample(20_000, torch.Generator().manual_seed(78))
    weight = GAMMA * x.var(0).sum().item()

    def row(name: str, d_sae: int = TOY_WIDTH, **setting) -> dict:
        seen = toy_run(toy, architecture, seed, steps, d_sae, **setting)
        return {"penalty": name, "d_sae": d_sae, "orthogonality": setting.get("orthogonality", 0.0)} | seen

    penalised = [row(form, orthogonality=weight, penalty=form) for form in FORMS]
    alive = [(seen["penalty"], round(seen["alive"] * TOY_WIDTH)) for seen in penalised]
    rows = [row("none"), *penalised, *(row(f"width of {form}", d_sae) for form, d_sae in alive)]
    return {"rows": rows, "seconds": round(time.process_time() - begun)}


def write(name: str, rows, made: dict) -> None:
    save_artifact(name, lambda path: pd.DataFrame(rows).round(6).to_csv(path, index=False), **made)


def toys(reduced: bool, until: float | None, **where) -> None:
    begun, seeds = time.time(), range(2) if reduced else TOY_SEEDS
    deadline = None if until is None else begun + 60 * until
    points = [
        {"toy": toy, "architecture": arm, "seed": seed, **setting}
        for seed in seeds
        for toy in TOYS
        for arm in ARMS
        for setting in settings(dict.fromkeys(STRENGTHS, TOY_STRENGTHS))
    ]
    table = sweep(toy_run, points, **where, deadline=deadline)
    made = {"recipe": "python -m recipes.orthogonality --toy", "seed": list(seeds)}
    made["seconds"] = round(time.time() - begun)
    write("reduced/" * reduced + "orthogonality_toy.csv", table, made)


def many(reduced: bool, until: float | None, **where) -> None:
    seeds, deadline = range(1) if reduced else MANY_SEEDS, None if until is None else time.time() + 60 * until
    points = [{"toy": toy, "architecture": arm, "seed": seed} for arm in MANY_ARMS for seed in seeds for toy in TOYS]
    done = sweep(matched, points, **where, deadline=deadline)
    made = {"recipe": "python -m recipes.orthogonality --seeds", "seed": list(seeds)}
    made |= {"seconds": int(done.seconds.sum()), "planned": len(points), "finished": len(done)}
    write("reduced/" * reduced + "orthogonality_seeds.csv", unpacked(done, "toy", "architecture", "seed"), made)


def name(point: dict) -> dict:
    """What tells a run of the table from the others."""
    keys = {key: point[key] for key in ("architecture", "seed", "level")}
    return keys | {"orthogonality": point.get("orthogonality", 0.0), "penalty": point.get("penalty", "none")}


def model(until: float | None, **where) -> None:
    points = grid(len(load_tokens("train")))
    deadline = None if until is None else time.time() + 60 * until
    runs = records(sweep(gated_sweep.run, points, folder=folder("runs"), **where, deadline=deadline))
    trained = [tuple(name(row).values()) for row in runs]
    done = [point for point in points if tuple(name(point).values()) in trained]
    judged = records(sweep(judge, done, folder=folder("orthogonality"), **where))
    table, letters, losses = [], [], {}
    for key, run, seen in zip(trained, runs, judged, strict=True):
        row = name(run) | run | seen
        by_sequence, by_letter = row.pop("by_sequence"), row.pop("letters")
        losses["/".join(map(str, key))] = torch.tensor([by_sequence[split] for split in ("eval", "human")])
        letters += [name(row) | letter for letter in by_letter]
        table.append(row)
    made = {"recipe": "python -m recipes.orthogonality", "seed": list(SEEDS)}
    made |= {"seconds": sum(run["seconds"] for run in runs), "planned": len(points), "finished": len(table)}
    write("orthogonality.csv", table, made)
    write("orthogonality_letters.csv", letters, made)
    save_artifact("orthogonality_losses.safetensors", lambda path: save_file(losses, path), **made, what=LOSSES)


def probe() -> None:
    """How many held-out words of a letter there were, and how many of them the probe named: those that were counted."""
    lm, counted = load_lm(), pd.read_csv(artifact("orthogonality_letters.csv")).groupby("letter").words.unique()
    _, letter, train = drawn(lm.tokenizer, lm.cfg.d_vocab)
    held_out = torch.bincount(letter[~train], minlength=26).tolist()
    rows = [
        {"letter": name, "held_out": held_out[string.ascii_lowercase.index(name)], "named": int(*words)}
        for name, words in counted.items()
    ]
    write("orthogonality_probe.csv", rows, {"recipe": "python -m recipes.orthogonality --probe", "seed": 0})


def records(table: pd.DataFrame) -> list[dict]:
    """Rows as dicts, without the columns a row has no value for."""
    return [{k: v for k, v in row.items() if v is not None and v == v} for row in table.to_dict("records")]


def main(argv: Sequence[str] | None = None) -> None:
    shared = ("until", "scheduler", "processes")
    parser = options("orthogonality", __doc__, *shared, reduced="the toys alone, with one seed or two")
    parser.add_argument("--toy", action="store_true", help="the toys at all weights alone")
    parser.add_argument("--seeds", action="store_true", help="twelve seeds of the toys at the published weight alone")
    parser.add_argument("--model", action="store_true", help="the model alone")
    parser.add_argument("--probe", action="store_true", help="the probe's counts alone, from the letters' table")
    args = parser.parse_args(argv)
    where = {"scheduler": args.scheduler, "processes": args.processes}
    everything = not (args.toy or args.seeds or args.model or args.probe)
    if args.toy or everything:
        toys(args.reduced, args.until, **where)
    if args.seeds or everything:
        many(args.reduced, args.until, **where)
    if args.model or (everything and not args.reduced):
        model(args.until, **where)
    if args.probe or args.model or (everything and not args.reduced):
        probe()


if __name__ == "__main__":
    from recipes import orthogonality  # under its own name, so that worker processes can import what they are sent

    orthogonality.main()
