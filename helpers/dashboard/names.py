"""Names for features, and whether a feature has earned one.

A feature's *name* is the n-grams that tell its places from others. A small classifier of contexts says how well they
do: ridge regression of ±1 on hashed n-grams (the token, the pairs and triples that end in it, the tokens before it at
their distances and as a bag), in closed form, for many features at a time. It is judged on sequences that it has not
seen, by the area under the ROC curve. Half of the places that it must tell apart share the current token; where none
do, they are taken from the nearest co-active feature. An n-gram that only one place has tells none of the others
anything, so a feature's few hundred shared ones are all that is computed with.

Scores of this kind do not by themselves tell trained models from random ones [arXiv:2501.17727], so each is placed
among features of a *null*, dictionaries of a model with shuffled weights, that are as frequent and whose tokens are as
various: *nameable* is what lies above 95 of 100 of these.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve
from scipy.spatial import cKDTree
from scipy.stats import rankdata

from ..checks import finite, one_of, whole
from ..runs import progress
from .collected import Collected, Site
from .contexts import mixed
from .words import Words

BAG, FOLDS, MATCHED, LEVEL = 8, 3, 100, 0.95
LEAST_SHARE = 0.1  # of a feature's activation that an n-gram in its label covers
FIXED = ((0,), (1,), (2,), (1, 0), (2, 1), (2, 1, 0))  # n-grams by how far back their tokens are
WEIGHTS = np.array([1.0] * len(FIXED) + [0.5] * BAG, dtype=np.float32)  # a token somewhere before counts half


class Names(NamedTuple):
    """One site's names, NaN where a feature has too few contexts for a score."""

    labels: list[str]
    auroc: np.ndarray  # (d_sae,), on sequences held out
    percentile: np.ndarray  # (d_sae,), among matched features of the null; NaN without one
    entropy: np.ndarray  # (d_sae,), of the current token over a feature's contexts, nats
    density: np.ndarray  # (d_sae,), over all sets

    @classmethod
    def of(cls, site: Site) -> Names:
        """Those that were kept in a site."""
        if site.labels is None or site.scores is None:
            raise ValueError("the site has no names; expected one that name_features has named")
        auroc, percentile, entropy = site.scores.T
        return cls(site.labels, auroc, percentile, entropy, site.count.sum(0) / max(1, site.positions.sum()))


def name_features(
    found: Collected, hook: str, words, *, null: Names | None = None, least: int = 12,
    ridge: float = 4.0,
) -> Names:  # fmt: skip
    """Label and score every feature of a site from its sampled contexts and the watched places; kept in the site too.

    ``words`` says what tokens are (a tokenizer, or see :class:`Words`); ``null`` are the names of a null dictionary.
    Features with fewer than ``least`` contexts get a label and no score. Everything follows the collection's seed.
    """
    site, words = found[one_of("hook", hook, found.sites)], Words.of(words)
    whole("least", least, 2 * FOLDS), finite("ridge", ridge, above=0)
    if site.sample is None or site.watched is None:
        raise ValueError(f"{hook!r} has no sample; expected what collect gave, not its small form")
    places, d = _Places(found, hook), site.d_sae
    auroc, entropy, labels = np.full(d, np.nan), np.full(d, np.nan), [""] * d
    enough = [f for f in range(d) if len(places.sampled(f)) >= least]
    for f in progress(enough, desc=f"names: {hook}", delay=2):
        yes, no = places.balanced(f)
        shares = np.unique(places.now[yes], return_counts=True)[1] / len(yes)
        entropy[f], labels[f] = -(shares * np.log(shares)).sum(), _label(places, yes, no, words)
        place, y = np.concatenate([yes, no]), np.repeat([1.0, -1.0], [len(yes), len(no)]).astype(np.float32)
        auroc[f] = _held_out(places.grams[place], y, places.fold[place], ridge)
    for f in np.setdiff1d(np.flatnonzero(site.count.sum(0)), enough):
        labels[f] = _label(places, places.sampled(f), places.sampled(f)[:0], words)
    density = site.count.sum(0) / max(1, site.positions.sum())
    names = Names(labels, auroc, np.full(d, np.nan), entropy, density)
    if null is not None:
        names = names._replace(percentile=null_percentile(names, null))
    site.labels, site.scores = labels, np.stack([auroc, names.percentile, entropy], axis=1).astype(np.float32)
    return names


def null_percentile(names: Names, null: Names) -> np.ndarray:
    """Percentile of each score among the ``MATCHED`` null features nearest in log density and token entropy.

    It is ``1 - (1 + how many of them score at least as much) / (1 + how many there are)``: of features that are like
    the null's, at most 5 in 100 reach 95%, whatever the law of the scores. NaN where there is no score. How like they
    are says :func:`null_gap`.
    """
    known, there, near, _ = _matched(names, null)
    above = (null.auroc[known][near] >= names.auroc[there][:, None]).sum(1)
    out = np.full(len(names.auroc), np.nan)
    out[there] = 1 - (1 + above) / (1 + near.shape[1])
    return out


def null_gap(names: Names, null: Names) -> np.ndarray:
    """How far each feature lies from the mean of the null features it is held against, ``(d_sae,)``.

    In the null's standard deviations, the larger of log density and token entropy; NaN where there is no score. Far
    off, beyond a half say, the null has no features like this one, and the percentile compares unlike with unlike.
    """
    _, there, _, gaps = _matched(names, null)
    out = np.full(len(names.auroc), np.nan)
    out[there] = np.abs(gaps).max(1)
    return out


def _matched(names: Names, null: Names) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Which of the null and of ours have a score; for each of ours, places among the null's of those nearest; its gaps
    to their mean, ``(ours, 2)``, in standard deviations."""
    known, there = np.isfinite(null.auroc), np.isfinite(names.auroc)
    many = min(MATCHED, int(known.sum()))
    if many < 1 / (1 - LEVEL):
        raise ValueError(f"null has {many} scored features; expected at least {1 / (1 - LEVEL):.0f}")
    plane, mine = (np.stack([np.log(n.density[i]), n.entropy[i]], axis=1) for n, i in ((null, known), (names, there)))
    spread = plane.std(0).clip(1e-9)
    _, near = cKDTree(plane / spread).query(mine / spread, k=many)
    return known, there, near, (plane[near].mean(1) - mine) / spread


def nameable(percentile: np.ndarray) -> np.ndarray:
    """Which features beat the null: bool, False where there is no score.

    >>> nameable(np.array([0.97, 0.5, np.nan])).tolist()
    [True, False, False]
    """
    return np.nan_to_num(percentile, nan=0) >= LEVEL


class _Places:
    """A site's known places, each a number: first the watched ones, then those of the features' samples."""

    def __init__(self, found: Collected, hook: str):
        self.site, self.me, self.seed = found[hook], list(found.sites).index(hook), found.seed
        w, sample = self.site.watched, self.site.sample
        f, s, slot = (sample.row.swapaxes(0, 1) >= 0).nonzero()
        self.n, self.first = len(w.row), len(w.row) + np.searchsorted(f, np.arange(self.site.d_sae + 1))
        set_ = np.concatenate([w.set, s])
        row, position = (
            np.concatenate([mine, theirs[s, f, slot]]).astype(np.int64)
            for mine, theirs in ((w.row, sample.row), (w.position, sample.position))
        )
        self.value = np.concatenate([np.zeros(self.n), sample.value[s, f, slot]])
        back = np.arange(BAG + 1)
        self.before = np.empty((len(row), BAG + 1), dtype=np.int64)  # the token, and those before it; -1 where none is
        for i, rows in enumerate(found.tokens.values()):
            mine = set_ == i
            padded = np.pad(rows.astype(np.int64), ((0, 0), (BAG, 0)), constant_values=-1)
            self.before[mine] = padded[row[mine, None], position[mine, None] + BAG - back]
        self.now = self.before[:, 0]
        self.fold = (mixed(row * len(found.tokens) + set_ + self.seed) % np.uint64(FOLDS)).astype(np.int64)
        self.grams = self._grams()
        self.by_token = np.lexsort((mixed(np.arange(self.n)), self.now[: self.n]))
        self.sorted = self.now[self.by_token]
        self.active = np.repeat(np.arange(self.n, dtype=np.int64), np.diff(w.start)) * self.site.d_sae + w.feature
        self.by_feature = np.lexsort((self.active, w.feature))
        self.starts = np.searchsorted(w.feature[self.by_feature], np.arange(self.site.d_sae + 1))

    def _grams(self) -> np.ndarray:
        """Hashes of the n-grams of each place, ``(places, kinds)``; 0 where one reaches over the row's start."""
        columns = []
        for kind, back in enumerate((*FIXED, *((i,) for i in range(1, BAG + 1)))):
            gram = np.full(len(self.now), min(kind, len(FIXED)) + 1, dtype=np.uint64)
            for b in back:
                gram = mixed(gram ^ mixed(self.before[:, b]))
            columns.append(np.where(self.before[:, list(back)].min(1) < 0, 0, gram))
        return np.stack(columns, axis=1)

    def sampled(self, f: int) -> np.ndarray:
        return np.arange(self.first[f], self.first[f + 1])

    def balanced(self, f: int) -> tuple[np.ndarray, np.ndarray]:
        """Sampled places of ``f``, and as many watched ones at which it is silent, half of them hard."""
        yes = self.sampled(f)
        low, high = (np.searchsorted(self.sorted, self.now[yes], side) for side in ("left", "right"))
        chance = mixed(np.arange(4 * len(yes)) + 1_000_003 * (f + self.seed)).astype(np.int64) & (2**62 - 1)
        low, high = np.tile(low, 4), np.tile(high, 4)
        there = high > low
        same = self.by_token[(low + chance % np.maximum(high - low, 1))[there]]
        links = self.site.together
        near = links.feature[f][(links.site[f] == self.me) & (links.feature[f] >= 0)][:1]
        beside = [self.active[self.by_feature[self.starts[g] : self.starts[g + 1]]] // self.site.d_sae for g in near]
        hard = np.concatenate([self._silent(f, same), *(self._silent(f, g) for g in beside)])
        hard = list(dict.fromkeys(hard.tolist()))[: len(yes) // 2]
        rest = self._silent(f, chance % max(self.n, 1)).tolist() if self.n else []
        return yes, np.array(list(dict.fromkeys([*hard, *rest]))[: len(yes)], dtype=np.int64)

    def _silent(self, f: int, place: np.ndarray) -> np.ndarray:
        """Those of watched places where ``f`` is not active, in a random order."""
        key = place * self.site.d_sae + f
        at = np.minimum(np.searchsorted(self.active, key), max(len(self.active) - 1, 0))
        place = place[self.active[at] != key] if len(self.active) else place
        return place[np.argsort(mixed(place + f), kind="stable")]


def _held_out(grams: np.ndarray, y: np.ndarray, fold: np.ndarray, ridge: float) -> float:
    """The area under the ROC curve on each fold by the classifier of the others, averaged over pairs; NaN without any.

    Ridge regression through its kernel: ``score = K α``, ``(K + ridge) α = y`` on the other folds, ``K = X Xᵀ``.
    """
    _, index, count = np.unique(grams, return_inverse=True, return_counts=True)
    there = grams != 0
    weight = np.broadcast_to(WEIGHTS, grams.shape)
    column = np.where(count > 1, np.cumsum(count > 1) - 1, -1)[index].reshape(grams.shape)
    shared = there & (column >= 0)
    X = np.zeros((len(y), int((count > 1).sum())), dtype=np.float32)
    np.add.at(X, (shared.nonzero()[0], column[shared]), weight[shared])
    K = X @ X.T
    K[np.diag_indices_from(K)] += ridge + (weight**2 * (there & ~shared)).sum(1)
    right = pairs = 0.0
    for k in range(FOLDS):
        train, test = fold != k, fold == k
        n, m = int((y[test] > 0).sum()), int((y[test] < 0).sum())
        if not n * m or not train.any():
            continue
        score = K[np.ix_(test, train)] @ solve(K[np.ix_(train, train)], y[train], assume_a="pos")
        right += rankdata(score)[y[test] > 0].sum() - n * (n + 1) / 2
        pairs += n * m
    return right / pairs if pairs else float("nan")


def _label(places: _Places, yes: np.ndarray, no: np.ndarray, words: Words) -> str:
    """Up to three n-grams in words: each the one with most of the feature's activation that no earlier one covers, less
    its share of silent places."""
    mine, counts = places.grams[yes], Counter(g for row in places.grams[no] for g in set(row.tolist()))
    weight = places.value[yes] / places.value[yes].sum()
    left, parts = np.ones(len(yes), dtype=bool), []
    while len(parts) < 3 and left.any():
        grams, index, inverse, many = np.unique(mine[left], True, True, True)
        inside = np.bincount(inverse.ravel(), np.repeat(weight[left], mine.shape[1]))
        gain = inside - np.array([counts[g] for g in grams.tolist()]) / max(1, len(no))
        gain *= WEIGHTS[index % mine.shape[1]]
        gain[(grams == 0) | (many < min(2, len(yes)))] = -np.inf
        best = int(gain.argmax())
        if gain[best] < LEAST_SHARE:
            break
        at, kind = divmod(int(index[best]), mine.shape[1])
        parts.append(_said(places.before[yes[left][at]], kind, words))
        left &= ~(mine == grams[best]).any(1)
    return " · ".join(dict.fromkeys(parts))


def _said(before: np.ndarray, kind: int, words: Words) -> str:
    """An n-gram in words."""
    back = FIXED[kind] if kind < len(FIXED) else (kind - len(FIXED) + 1,)
    text = f"“{''.join(words.shown([int(before[b]) for b in back])).strip() or ' '}”"
    if kind >= len(FIXED):
        return f"some way after {text}"
    return ("", "after ", "two after ")[back[-1]] + text
