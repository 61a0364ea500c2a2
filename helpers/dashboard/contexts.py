"""The few contexts a feature keeps while any number of tokens goes by.

A table holds, per feature, the k best of all that was offered, where no two may show the same tokens up to their place.
Best is the largest activation (*top*), or the smallest hash of the place (*sample*): as good as drawn at random, and
the same whatever came in which batch. Each sequence offers its best place only. So a table that was cut to k holds what
a table of everything would begin with: an entry that is dropped can come back only by a better one of the same tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

GOLDEN, MIX = np.uint64(0x9E3779B97F4A7C15), (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def mixed(x: np.ndarray) -> np.ndarray:
    """A hash of whole numbers as uint64, each bit of it as good as a coin (Steele, Lea and Flood 2014, splitmix64).

    >>> mixed(np.arange(2)).tolist()
    [16294208416658607535, 10451216379200822465]
    """
    with np.errstate(over="ignore"):
        x = np.asarray(x).astype(np.uint64) + GOLDEN
        x = (x ^ (x >> np.uint64(30))) * MIX[0]
        x = (x ^ (x >> np.uint64(27))) * MIX[1]
    return x ^ (x >> np.uint64(31))


def priority(seed: int, name: str, rows: np.ndarray, ctx: int) -> np.ndarray:
    """A number from 0 to 1 for every place ``(len(rows), ctx)``, from the seed, the token set's name and the place."""
    base = int.from_bytes(name.encode(), "little") % (2**61 - 1) + 1_000_003 * seed
    salt = mixed(np.array(base % 2**64, dtype=np.uint64))
    place = np.asarray(rows)[:, None].astype(np.uint64) * np.uint64(ctx) + np.arange(ctx, dtype=np.uint64)
    return (mixed(place ^ salt) >> np.uint64(11)) / 2.0**53


def window_keys(tokens: np.ndarray, before: int) -> np.ndarray:
    """A hash of each token of ``tokens (rows, ctx)`` and the ``before`` ones shown before it.

    Tokens after a place do not change what is active there, so they make no context a new one.
    """
    padded = np.pad(tokens.astype(np.int64), ((0, 0), (before, 0)), constant_values=-1)
    keys = np.zeros(tokens.shape, dtype=np.uint64)
    for offset in range(before + 1):
        keys = mixed(keys ^ mixed(padded[:, offset : offset + tokens.shape[1]]))
    return keys


class Entries(NamedTuple):
    """The active codes of some rows: whose, where (``row`` and ``position`` among these rows), and how large."""

    row: np.ndarray
    position: np.ndarray
    feature: np.ndarray
    value: np.ndarray

    def at(self, index: np.ndarray) -> Entries:
        return Entries(*(part[index] for part in self))


class Table:
    """Per feature the ``k`` entries of highest rank, no two of one key, with what ``read`` says of them."""

    def __init__(self, d_sae: int, k: int, width: int):
        self.k = k
        self.rank = np.full((d_sae, k), -np.inf)
        self.place = np.full((d_sae, k), -1, dtype=np.int64)
        self.key = np.zeros((d_sae, k), dtype=np.uint64)
        self.value = np.zeros((d_sae, k), dtype=np.float32)
        self.window = np.zeros((d_sae, k, width), dtype=np.float16)  # in units of the value

    def offer(
        self,
        seen: Entries,
        rank: np.ndarray,
        place: np.ndarray,
        key: np.ndarray,
        read: Callable[[Entries], np.ndarray],
    ) -> None:
        """Take in what is good enough of ``seen``; ``read`` gives the activations around entries ``(n, width)``."""
        kept = np.flatnonzero(rank >= self.rank[seen.feature, -1])
        order = kept[np.lexsort((place[kept], -rank[kept], seen.row[kept], seen.feature[kept]))]
        pair = np.stack([seen.feature[order], seen.row[order]])
        order = order[np.diff(pair, prepend=-1).any(0)]  # the best of each sequence
        if not len(order):
            return
        features, local = np.unique(seen.feature[order], return_inverse=True)
        n, old = len(features), np.flatnonzero(self.place[features].ravel() >= 0)
        of = np.concatenate([old // self.k, local])
        all_ = [
            np.concatenate([mine[features].ravel()[old], new[order]])
            for mine, new in ((self.rank, rank), (self.place, place), (self.key, key), (self.value, seen.value))
        ]
        by, nth = _best(of, *all_[:3], self.k)
        at = features[of[by]], nth
        new = by >= len(old)
        windows = np.empty((len(by), self.window.shape[-1]), dtype=np.float16)
        windows[~new] = self.window[features].reshape(n * self.k, -1)[old[by[~new]]]
        fresh = seen.at(order[by[new] - len(old)])
        windows[new] = np.minimum(read(fresh) / fresh.value[:, None], 6e4)
        self.rank[features] = -np.inf
        self.place[features] = -1
        for mine, values in zip((self.rank, self.place, self.key, self.value), all_, strict=True):
            mine[at] = values[by]
        self.window[at] = windows

    def merge(self, other: Table) -> None:
        """Keep the best of this table and of another, of other sequences."""
        of = np.tile(np.repeat(np.arange(len(self.rank)), self.k), 2)
        both = [
            np.concatenate([getattr(table, name).reshape(len(of) // 2, -1) for table in (self, other)])
            for name in ("rank", "place", "key", "value", "window")
        ]
        there = np.flatnonzero(both[1][:, 0] >= 0)
        by, nth = _best(of[there], *(part[there, 0] for part in both[:3]), self.k)
        by, self.rank[:], self.place[:] = there[by], -np.inf, -1
        for mine, values in zip((self.rank, self.place, self.key, self.value), both, strict=False):
            mine[of[by], nth] = values[by, 0]
        self.window[of[by], nth] = both[4][by]


def _best(of: np.ndarray, rank: np.ndarray, place: np.ndarray, key: np.ndarray, k: int) -> tuple[np.ndarray, ...]:
    """Of the entries of each feature ``of`` the ``k`` of highest rank with different keys, and their places in it."""
    by = np.lexsort((place, -rank, of))
    with np.errstate(over="ignore"):
        _, first = np.unique((key ^ mixed(of))[by], return_index=True)
    by = by[np.sort(first)]
    nth = np.arange(len(by)) - np.searchsorted(of[by], of[by])
    return by[nth < k], nth[nth < k]
