"""The tables of :mod:`recipes.coverage`, from each sequence's figures: means with 95% intervals over sequences.

Of what the model knows beyond a baseline, a bigram say, a run keeps (x - baseline) / (clean - baseline): `kept` with x
the mean log-probability of the next token, `chosen` with x the share of places at which it picks the model's likeliest
token.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from helpers.evidence import interval

from .every_layer import KINDS, place
from .replacing import ARMS, FIGURES, SETS, Run, parts, runs

DRAWS = 4000


def with_interval(name: str, measure, *columns: Tensor) -> dict:
    """``measure`` of the columns' means over sequences, and its interval from sequences drawn anew."""
    values = np.stack([np.asarray(column, dtype=float) for column in columns])
    n = values.shape[1]
    picks = np.random.default_rng(0).integers(0, n, (DRAWS, n))
    low, high = interval(measure(*values[:, picks].mean(-1)))
    return {name: float(measure(*values.mean(-1))), f"{name}_low": low, f"{name}_high": high}


def left(run, clean, baseline):
    """What ``run`` keeps of the way from ``baseline`` to ``clean``."""
    return (run - baseline) / (clean - baseline)


def rows(split: str, by_name: dict[str, Tensor], layers: int) -> Iterator[dict]:
    """A row for each run: what is lost beside the untouched model, and what is kept beyond n-grams."""
    known = {run.name: run for run in runs(layers)}
    for name, figures in by_name.items():
        n, run = figures.shape[1], known.get(name)
        clean = by_name["clean"][:, :n]
        row = {"text": split, "run": name, "sequences": n, "ce": figures[0].mean().item()}
        if run:
            row |= {"set": label(run), "first": run.first, "last": run.last, "arm": run.arm, "forced": run.forced}
        for figure, values, base in zip(FIGURES, figures, (clean[0], 0 * clean[0], 0 * clean[0]), strict=True):
            row |= with_interval(figure, np.subtract, values, base)
        for end, baseline in (("", "bigram"), ("_memory", "memory")):
            base = by_name[baseline][:, :n]
            row |= with_interval(f"kept{end}", left, -figures[0], -clean[0], -base[0])
            row |= with_interval(f"chosen{end}", left, figures[2], clean[2], base[2])
        forced = f"{name}/forced"
        if forced in by_name:  # how many times as much is lost
            row |= with_interval("times", np.divide, figures[0] - clean[0], by_name[forced][0] - clean[0])
        yield row


def label(run: Run) -> str:
    return next((label for label, kinds in SETS.items() if kinds == run.kinds), run.kinds[0])


def sums(split: str, by_name: dict[str, Tensor], layers: int) -> Iterator[dict]:
    """A row for each joint run from the bottom: the sum of the nats that its sites lose one by one."""
    clean = by_name["clean"][0]
    for run in runs(layers):
        if (
            run.name in by_name
            and run.first == 0
            and run.arm == ARMS[0]
            and not run.forced
            and run.kinds in SETS.values()
        ):
            alone = [by_name[Run((kind,), i, i).name][0] - clean for kind in run.kinds for i in range(run.last + 1)]
            row = {"text": split, "run": f"{run.name}/sum", "sequences": len(clean), "set": label(run), "first": 0}
            row |= {"last": run.last, "arm": "sum", "forced": False}
            yield row | with_interval("nats", np.subtract, sum(alone), 0 * clean)


def qualities(split: str, by_name: dict[str, Tensor], layers: int) -> Iterator[dict]:
    """A row for each dictionary: what it is on one text."""
    for layer in range(layers):
        for kind in KINDS:
            site = f"blocks.{layer}.{kind}"
            active, error, spread, places = by_name[f"quality/{layer}.{kind}"].sum(1).tolist()
            facts = parts(place(site))
            yield {
                "site": site, "text": split, "l0": active / places, "fvu": error / spread, "places": int(places),
                "dead": facts["dead"], "tokens": facts["tokens"], "latents": facts["sae"].d_sae,
            }  # fmt: skip
