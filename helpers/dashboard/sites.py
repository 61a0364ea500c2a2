"""One site while tokens go by: counts, tables of contexts, codes at watched places and of whole sentences."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..evidence import wilson
from .collected import BINS, LOWEST, QUARTERS, RANDOM, Contexts, Site, Watched, Whole
from .contexts import Entries, Table

STRONG = 8  # features kept per token of a sentence


class State:
    """What is kept of one site; :meth:`take` what comes, then :meth:`site`."""

    def __init__(self, d_sae: int, sets: list[tuple[int, int]], window: tuple[int, int], top: int, sample: int):
        d, width = d_sae, window[0] + window[1] + 1
        self.sets, self.d_sae = sets, d
        self.offsets = torch.arange(-window[0], window[1] + 1)
        self.count, self.squares, self.cross = (np.zeros((len(sets), d)) for _ in range(3))
        self.kept, self.kept_squares = np.zeros(len(sets)), np.zeros(len(sets))
        self.histogram = np.zeros((len(sets), d, BINS), dtype=np.int64)
        self.top = [Table(d, top, width) for _ in sets]
        self.sample = [Table(d, sample, width) for _ in sets]
        self.watched: list[tuple[np.ndarray, ...]] = []
        self.whole: list[tuple] = []

    def take(
        self, s: int, norm: Tensor, rows: np.ndarray, codes: Tensor, kept: Tensor, chance, keys, watch, whole
    ) -> None:
        """Rows ``rows`` of set ``s``: ``codes (n, ctx, d_sae)``, zero where not ``kept (n, ctx)``; ``norm (d_sae,)``:
        what is left of the decoder's rows' norms.

        ``chance``, ``keys``: each place's priority and window; ``watch``: whether it is watched; ``whole``: which rows
        are sentences.
        """
        n, ctx = kept.shape
        where = codes.nonzero()
        value = codes[where[:, 0], where[:, 1], where[:, 2]]
        row, position, feature = where.cpu().numpy().T
        seen = Entries(row, position, feature, value.cpu().numpy())
        self._count(s, n, seen, kept.sum(1).cpu().numpy().astype(float))

        def read(entries: Entries) -> np.ndarray:
            at = torch.from_numpy(entries.position)[:, None] + self.offsets
            inside = (at >= 0) & (at < ctx)
            index = (
                torch.from_numpy(entries.row)[:, None],
                at.clamp(0, ctx - 1),
                torch.from_numpy(entries.feature)[:, None],
            )
            return (codes[tuple(i.to(codes.device) for i in index)].cpu() * inside).numpy()

        place, key = rows[row] * ctx + position, keys[row, position]
        self.top[s].offer(seen, seen.value.astype(float), place, key, read)
        self.sample[s].offer(seen, -chance[row, position], place, key, read)
        at = np.flatnonzero(watch[row, position])
        self.watched.append((np.full(len(at), s), rows[row[at]], position[at], feature[at]))
        for i in np.flatnonzero(whole):
            best = (codes[i] * norm.to(codes.device)).topk(min(STRONG, self.d_sae), dim=-1).indices
            strong = codes[i].gather(-1, best)
            self.whole.append((s, int(rows[i]), torch.where(strong > 0, best, -1).cpu().numpy(), strong.cpu().numpy()))

    def _count(self, s: int, n: int, seen: Entries, kept: np.ndarray) -> None:
        d = self.d_sae
        per_row = np.bincount(seen.row * d + seen.feature, minlength=n * d).reshape(n, d).astype(float)
        self.count[s] += per_row.sum(0)
        self.squares[s] += (per_row**2).sum(0)
        self.cross[s] += kept @ per_row
        self.kept[s] += kept.sum()
        self.kept_squares[s] += kept @ kept
        lowest = int(np.float32(LOWEST).view(np.int32) >> 21)
        bins = np.clip((seen.value.view(np.int32) >> 21) - lowest, 0, BINS - 1)
        self.histogram[s] += np.bincount(seen.feature * BINS + bins, minlength=d * BINS).reshape(d, BINS)

    def merge(self, other: State) -> None:
        """Put in what another state took of other rows. Counts are whole numbers, so sums are exact."""
        for name in ("count", "squares", "cross", "kept", "kept_squares", "histogram"):
            getattr(self, name).__iadd__(getattr(other, name))
        for mine, theirs in (*zip(self.top, other.top, strict=True), *zip(self.sample, other.sample, strict=True)):
            mine.merge(theirs)
        self.watched += other.watched
        self.whole += other.whole

    def density(self) -> np.ndarray:
        """``(S, d_sae, 3)``: shares of places with 95% intervals.

        Places of one sequence are alike, so they count as what they are worth together: from the spread between
        sequences, var = Σ (c - p n)² / (Σ n)², follows the number of independent draws with the same variance,
        p (1 - p) / var, and Wilson's interval takes that number. (A bootstrap over sequences says the same where a
        feature is frequent, and nothing where it was never seen.) At most all places, at least the sequences; a feature
        that was never active has these.
        """
        total = np.maximum(self.kept, 1)[:, None]
        p = self.count / total
        spread = (self.squares - 2 * p * self.cross + p**2 * self.kept_squares[:, None]) / total**2
        rows = np.array([n for n, _ in self.sets], dtype=float)[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            worth = np.where(self.count > 0, p * (1 - p) / spread, rows)
        worth = np.clip(np.nan_to_num(worth, nan=1, posinf=np.inf), np.minimum(rows, total), total)
        return np.stack([p, *wilson(p, worth)], axis=-1)

    def site(self, watched: tuple[np.ndarray, ...], order: dict[int, list[int]]) -> Site:
        """All of it, once every row was taken: ``watched`` places, sorted, and by set the rows that are sentences."""
        largest = np.max([t.value.max(1, initial=0) for t in self.top], axis=0)
        ctx = [c for _, c in self.sets]
        set_, row, position, feature = (np.concatenate(part) for part in zip(*self.watched, strict=True))
        stride = max(n for n, _ in self.sets), max(ctx)
        places, mine = (np.ravel_multi_index(x[:3], (len(ctx), *stride)) for x in (watched, (set_, row, position)))
        by = np.lexsort((feature, mine))
        start = np.append(np.searchsorted(mine[by], places), len(by))
        sample = _contexts(self.sample, ctx, largest)
        return Site(
            positions=self.kept.astype(np.int64),
            count=self.count.astype(np.int64),
            density=self.density(),
            largest=largest,
            histogram=self.histogram,
            top=_contexts(self.top, ctx, largest),
            shown=_shown(sample),
            sample=sample,
            watched=Watched(*watched, start, feature[by].astype(np.int32)),
            sentences=self._sentences(order),
        )

    def _sentences(self, order: dict[int, list[int]]) -> Whole:
        found = {(s, row): parts for s, row, *parts in self.whole}
        chosen = [(s, row) for s, rows in order.items() for row in rows]
        shape = (len(chosen), max(c for _, c in self.sets), min(STRONG, self.d_sae))
        feature, value = np.full(shape, -1, dtype=np.int32), np.zeros(shape, dtype=np.float32)
        for i, key in enumerate(chosen):
            feature[i, : len(found[key][0])], value[i, : len(found[key][0])] = found[key]
        return Whole(*np.array(chosen, dtype=np.int32).reshape(-1, 2).T, feature, value)


def _contexts(tables: list[Table], ctx: list[int], largest: np.ndarray) -> Contexts:
    rows, positions = zip(*(np.divmod(t.place, c) for t, c in zip(tables, ctx, strict=True)), strict=True)
    value = np.stack([np.where(t.place >= 0, t.value, 0) for t in tables])
    there = value[..., None] * np.stack([t.window for t in tables]) / np.maximum(largest, 1e-30)[:, None, None]
    window = np.where(there > 0, np.clip(np.rint(255 * there), 1, 255), 0).astype(np.uint8)
    return Contexts(np.stack(rows).astype(np.int32), np.stack(positions).astype(np.int16), value, window)


def _shown(sample: Contexts) -> Contexts:
    """Of each feature's random contexts the first of each quarter, by activation, and the first that are left over."""
    there, value = sample.row >= 0, sample.value
    k, n = there.shape[-1], there.sum(-1, keepdims=True)
    rank = np.argsort(np.argsort(np.where(there, -value, np.inf), axis=-1, kind="stable"), axis=-1)
    big = n % QUARTERS * (n // QUARTERS + 1)  # the first quarters are larger by one, where they cannot be equal
    quarter = np.where(
        rank < big, rank // (n // QUARTERS + 1), n % QUARTERS + (rank - big) // np.maximum(n // QUARTERS, 1)
    )
    slot = np.where(there, np.arange(k), k)
    chosen = [np.where(quarter == q, slot, k).min(-1) for q in range(QUARTERS)]
    for picked in chosen:
        slot = np.where(slot == picked[..., None], k, slot)
    chosen = np.stack([*chosen, *np.moveaxis(np.sort(slot, axis=-1)[..., :RANDOM], -1, 0)], axis=-1)
    none, at = chosen >= k, np.minimum(chosen, k - 1)
    row, position, value = (np.take_along_axis(part, at, axis=-1) for part in sample[:3])
    window = np.take_along_axis(sample.window, at[..., None], axis=-2)
    kinds = (row.dtype.type(-1), position.dtype.type(-1), value.dtype.type(0))
    row, position, value = (
        np.where(none, empty, part) for empty, part in zip(kinds, (row, position, value), strict=True)
    )
    return Contexts(row, position, value, np.where(none[..., None], np.uint8(0), window))
