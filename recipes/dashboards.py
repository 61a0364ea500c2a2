"""The feature browser's data: every feature of 18 sites of the embedded model, described, named and judged.

    python -m recipes dashboards [--until MINUTES]

The dictionaries are those of :mod:`recipes.every_layer`, in the cache. Each of the 18 has a *twin*, trained in the same
way on the model with shuffled weights. Half of a twin's features are a null of names, the other half shows that it
holds its level. Each site is collected over the model's own held-out text and over human text, named, and a sample of
its features is taken off the model. Done a shard of activations or a layer's sites at a time, each kept in the cache
(disk: 45 GB until the twins are trained, then 0.4); processes started together share the work.

Written before any site but test runs on random dictionaries:

* The test is sound: of the twins' other half, 5% are nameable, within the interval.
* Between a tenth and a half of the live features of each site are nameable. More are in the residual stream than at the
  MLP outputs, and more late than early: shuffled weights make features of tokens, too, but none of contexts.
* The rule. *Most features can be named*, if the 95% interval of the share over the 18 sites (layers drawn anew) lies
  above a half; *some can*, if it lies above 5%; else *none beyond the null*. A site whose own interval holds 5% has
  none.

This null pools the twins of two layers, and in its time there were no others. It kept 5% over all six and not at each:
from 1% to 13%. Against the twin of their own site alone, those six had from 19% to 59%. So every site was to have its
own twin. Written before the other twelve were trained:

* Each twin's other half has 5% nameable by its own null, and 16 of the 18 intervals hold 5%.
* The mean share over the 18 sites lies between 35% and 60%; layer 2 has fewer than any layer above.
* The rule is the same, with the null of a feature's own site.

`artifacts/dashboards` holds what the pages need: references into the shipped tokens, no text. In
`artifacts/dashboards.csv` there is a row for each site and each twin; shares are of the features that have a score,
with Wilson's 95% interval: `nameable` against the pooled null, `own` against the null of the same site, which is the
one that cards show. `like` is the same of the `matched` features only, those that the null has like ones to; it came
after the look, since deep nulls have no features of as few tokens as ours. Where `weights` is shuffled, shares are of
the half that is not the null.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from helpers.dashboard import (
    Collected,
    Names,
    Site,
    Words,
    collect,
    link_sites,
    loss_effects,
    name_features,
    nameable,
    null_gap,
    null_percentile,
)
from helpers.evidence import wilson
from helpers.lm import load_lm, load_tokens
from helpers.runs import cache_dir, progress, save_artifact
from helpers.sae import load

from . import every_layer
from .command import options
from .every_layer import KINDS, climb, climb_to_files
from .harvest import KIND, MODEL, ROWS
from .sharing import Unit, working

LAYERS = (2, 7, 12, 17, 22, 27)
SITES = tuple(f"blocks.{layer}.{kind}" for layer in LAYERS for kind in KINDS)
TWINS = SITES
POOLED = tuple(f"blocks.{layer}.{kind}" for layer in (2, 7) for kind in KINDS)  # the first twins: one null for all
TOKENS = {"model": "eval", "human": "human"}  # token sets as cards name them, and their splits
WATCHED, SENTENCES, WINDOW = 2**13, 8, (10, 3)
MEASURED = 32  # features a site whose loss is measured: drawn from those that fire
ONE_TOKEN = 0.9  # of a feature's contexts: a single-token feature
LIKE = 0.5  # standard deviations to the features it is held against: what is farther has none that are like it


def folder() -> Path:
    return cache_dir() / "dashboards-1"


def dictionary(site: str, shuffled: bool = False) -> Path:
    return folder() / "twins" / site if shuffled else every_layer.place(site)


def collected(site: str, shuffled: bool = False) -> Path:
    """Where the sites of one layer lie together."""
    return folder() / ("shuffled" if shuffled else "trained") / site.split(".")[1]


def beside(site: str, shuffled: bool = False) -> list[str]:
    """The sites that are collected with ``site``: those of its layer."""
    return [other for other in (TWINS if shuffled else SITES) if collected(other) == collected(site)]


def shards(site: str) -> list[Path]:
    """Files of a twin's activations, as :func:`recipes.every_layer.shards`."""
    return [folder() / "activations" / site / f"{i:04d}.npy" for i in range(-(-len(load_tokens("train")) // ROWS))]


def harvest(i: int) -> None:
    """One shard of the activations of all twins that are not trained yet; the last twin's is written last."""
    paths = {site: shards(site)[i] for site in TWINS if not dictionary(site, True).exists()}
    climb_to_files(every_layer.model(shuffled=True), load_tokens("train").split(ROWS)[i], paths)


def fit(site: str) -> None:
    """Train a twin by the procedure of all dictionaries."""
    every_layer.fitted(dictionary(site, True), shards(site))
    shutil.rmtree(shards(site)[0].parent, ignore_errors=True)


@cache
def language_model():
    return load_lm(MODEL, dtype=KIND)


@cache
def tokens() -> dict[str, Tensor]:
    return {name: load_tokens(split) for name, split in TOKENS.items()}


def described(site: str, shuffled: bool = False) -> Site:
    """A site as :func:`gather` left it."""
    return Collected.load(collected(site, shuffled), tokens())[site]


def gather(site: str, shuffled: bool = False) -> None:
    """Collect a layer's sites, name their features, and, unless they are twins, measure what some are worth."""
    sites, lm, whole = beside(site, shuffled), language_model(), every_layer.model(shuffled)
    for one in sites:
        if not dictionary(one, shuffled).exists():
            raise FileNotFoundError(
                f"the dictionary of {one} is not in the cache; run python -m recipes every_layer first"
            )
    saes = {one: load(dictionary(one, shuffled)) for one in sites}  # rescaled: they take what is there
    cutoffs = {
        one: json.loads(dictionary(one, shuffled).with_name(f"{one}.json").read_text())["cutoff"] for one in sites
    }

    def activations(rows: Tensor) -> Iterator[tuple[np.ndarray, dict[str, Tensor]]]:
        for index in torch.arange(len(rows)).split(16):
            yield index.numpy(), climb(whole, rows[index], sites)

    found = collect(
        None if shuffled else lm, tokens(), saes, cutoffs=cutoffs, watched=WATCHED, sentences=SENTENCES, window=WINDOW,
        activations={name: activations(rows) for name, rows in tokens().items()},
    )  # fmt: skip
    for one, sae in saes.items():
        name_features(found, one, words(), null=None if shuffled else null())
        if not shuffled:
            live = np.flatnonzero(found[one].largest > 0)
            some = np.random.default_rng(0).permutation(live)[:MEASURED]
            loss_effects(lm, found, one, sae, features=some.tolist())
    found.save(collected(site, shuffled))


@cache
def words() -> Words:
    return Words(language_model().tokenizer)


def every_other(names: Names, start: int) -> Names:
    return Names(names.labels[start::2], *(column[start::2] for column in names[1:]))


@cache
def null() -> Names:
    """Every other feature of the pooled twins: one null for all sites."""
    parts = [own_null(site) for site in POOLED]
    columns = [np.concatenate(column) for column in zip(*(part[1:] for part in parts), strict=True)]
    return Names([label for part in parts for label in part.labels], *columns)


def own_null(site: str) -> Names:
    """Every other feature of a site's twin."""
    return every_other(Names.of(described(site, True)), 0)


def held_out(names: Names, reference: Names) -> np.ndarray:
    """Percentiles of a twin's other half among the null, ``(d_sae,)``; NaN for the half that is in it."""
    percentile = np.full(len(names.auroc), np.nan)
    percentile[1::2] = null_percentile(every_other(names, 1), reference)
    return percentile


def row(name: str, weights: str, site: Site, ranks: dict[str, np.ndarray], single: np.ndarray) -> dict:
    """What the table says of a site, from its features that have a percentile. ``ranks``: these, by the null;
    ``single``: those of one token."""
    scored = np.isfinite(ranks["own"])
    n = int(scored.sum())
    _, layer, kind = name.split(".")
    out = {
        "site": name, "layer": int(layer), "kind": kind, "weights": weights, "features": site.d_sae,
        "live": int((site.largest > 0).sum()), "scored": n,
    }  # fmt: skip
    for column, percentile in ranks.items():
        many = max(1, int(np.isfinite(percentile).sum()))
        share = float(nameable(percentile).sum()) / many
        low, high = wilson(share, many)
        out |= {column: share, f"{column}_low": float(low), f"{column}_high": float(high)}
    out["matched"] = int(np.isfinite(ranks["like"]).sum())
    out |= {"single_token": float(single[scored].mean()), "auroc": float(np.median(site.scores[scored, 0]))}
    if site.losses is not None:
        loss = site.losses[np.isfinite(site.losses[:, 0])]
        out |= {"measured": len(loss), "loss": float(np.median(loss[:, 0])), "saves": float((loss[:, 1] > 0).mean())}
    return out


def of_one_token(site: Site, sets: Sequence[np.ndarray]) -> np.ndarray:
    """Which features have nearly all of their sampled contexts at one token, ``(d_sae,)``."""
    sample, out = site.sample, np.zeros(site.d_sae, dtype=bool)
    ids = np.concatenate(
        [np.where(sample.row[s] >= 0, rows[sample.row[s], sample.position[s]], -1) for s, rows in enumerate(sets)], 1
    )
    for f, mine in enumerate(ids):
        if (mine >= 0).any():
            many = np.unique(mine[mine >= 0], return_counts=True)[1]
            out[f] = many.max() >= ONE_TOKEN * many.sum()
    return out


def ship() -> None:
    """The artifacts, once all is there."""
    sets = {name: rows.numpy() for name, rows in tokens().items()}
    made = {"recipe": "python -m recipes dashboards", "seed": 0}
    rows = []
    sites = {name: described(name) for name in SITES}
    for name, site in sites.items():
        names, own = Names.of(site), own_null(name)
        ranks = {"nameable": null_percentile(names, null()), "own": null_percentile(names, own)}
        ranks["like"] = np.where(null_gap(names, own) <= LIKE, ranks["own"], np.nan)
        rows.append(row(name, "trained", site, ranks, of_one_token(site, list(sets.values()))))
        site.scores[:, 1] = ranks["own"]
    for name in TWINS:
        site, own = described(name, True), own_null(name)
        ranks = {"nameable": held_out(Names.of(site), null()), "own": held_out(Names.of(site), own)}
        ranks["like"] = np.where(null_gap(Names.of(site), own) <= LIKE, ranks["own"], np.nan)
        rows.append(row(name, "shuffled", site, ranks, of_one_token(site, list(sets.values()))))
    table = pd.DataFrame(rows).round(4)
    save_artifact("dashboards.csv", lambda path: table.to_csv(path, index=False), **made)
    found = Collected(sets, sites, WINDOW)
    link_sites(found, {name: load(dictionary(name)).W_dec.detach().float() for name in SITES})
    files = {name: f"tokens/{split}.npy" for name, split in TOKENS.items()}
    save_artifact("dashboards", lambda path: pack(found, path), **made, tokens=files)


def pack(found: Collected, path: Path) -> None:
    """What pages need, in as little room as they let it."""
    found.small().save(path)
    words().save(path / "words.xz")


def to_do() -> list[Unit]:
    """What can be done now: the twins first, then what is held against them."""
    left = [site for site in TWINS if not dictionary(site, True).exists()]
    if left:
        missing = [(path, partial(harvest, i)) for i, path in enumerate(shards(left[-1])) if not path.exists()]
        if missing and not dictionary(left[-1], True).exists():  # another process may just have trained it
            return missing
    fits = [(dictionary(site, True), partial(fit, site)) for site in left]
    first = [site for site in TWINS if all(other not in left for other in beside(site, True))]
    units = fits + gathering(first, True)
    return units or gathering(SITES, False)


def gathering(sites: Iterable[str], shuffled: bool) -> list[Unit]:
    """What of these is to be collected, a unit for each layer."""
    return [
        (collected(site, shuffled), partial(gather, site, shuffled))
        for site in sites
        if site == beside(site, shuffled)[0] and not collected(site, shuffled).exists()
    ]


def main(argv: Sequence[str] | None = None) -> None:
    args = options("dashboards", __doc__, "until").parse_args(argv)
    until = None if args.until is None else time.time() + 60 * args.until
    total = len(TWINS) + len(SITES)
    with progress(total=total, desc="sites") as bar:
        for _ in working(to_do, folder() / "locks", until):
            there = [collected(site, True).exists() for site in TWINS] + [collected(site).exists() for site in SITES]
            bar.update(sum(there) - bar.n)
    if not to_do():
        ship()


if __name__ == "__main__":
    from recipes import dashboards

    dashboards.main()
