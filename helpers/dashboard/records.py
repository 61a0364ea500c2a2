"""What a card says of one feature, as plain lists and texts: the same for a notebook and for the pages."""

from __future__ import annotations

from itertools import accumulate
from typing import NamedTuple

import numpy as np

from .collected import BINS, QUARTERS, Collected, Contexts, bin_edges
from .words import Words

PEAKS = 4  # tokens by which search finds a feature
POWERS = np.array([float(f"1e{n}") for n in range(64)])  # exactly the numbers that are so written


class Line(NamedTuple):
    """A row of tokens as it shows."""

    pieces: list[str]  # ``""`` where a token belongs to the one before
    text: str  # all pieces, joined by line ends
    start: list[int]  # where each piece begins in the text, and where one more would
    plain: bool  # whether each token is a piece


class Reader:
    """What was ``found``, in ``words``: each row of tokens is put together once, for all cards that quote it."""

    def __init__(self, found: Collected, words: Words):
        self.found, self.words = found, words
        self.tokens, self.lines = list(found.tokens.values()), [{} for _ in found.tokens]
        self.known: dict[tuple[str, int], list[str]] = {}

    def line(self, s: int, row: int) -> Line:
        """A row of a token set."""
        if row not in self.lines[s]:
            pieces = self.words.shown(self.tokens[s][row].tolist())
            start = list(accumulate((len(piece) + 1 for piece in pieces), initial=0))
            self.lines[s][row] = Line(pieces, "\n".join(pieces), start, "" not in pieces)
        return self.lines[s][row]

    def records(self, hook: str, features: range) -> list[dict]:
        """Everything on the cards of ``features``, consecutive ones; numbers rounded to what is shown."""
        site, at = self.found[hook], slice(features.start, features.stop)
        columns = {
            "id": list(features),
            "label": [self.named(hook, f) for f in features],
            "largest": digits(site.largest[at]),
        }
        sets = [self._sets(hook, s, at) for s in range(len(self.tokens))]
        columns["sets"] = [list(parts) for parts in zip(*sets, strict=True)]
        if site.scores is not None:
            columns["score"] = digits(site.scores[at, :2])
        if site.losses is not None:
            columns["loss"] = digits(site.losses[at])
        if site.logits is not None:
            texts = [[self.words.one(i) for i in ids] for ids in site.logits.token[at].tolist()]
            values = np.round(site.logits.value[at].astype(float), 2).tolist()
            pairs = [[[t, v] for t, v in zip(ts, vs, strict=True)] for ts, vs in zip(texts, values, strict=True)]
            columns["up"], columns["down"] = ([p[part] for p in pairs] for part in (slice(10), slice(10, None)))
        for kind in ("similar", "together"):
            if (links := getattr(site, kind)) is not None:
                parts = (links.site[at].tolist(), links.feature[at].tolist(), digits(links.value[at]))
                columns[kind] = [
                    [list(link) for link in zip(*three, strict=True) if link[0] >= 0]
                    for three in zip(*parts, strict=True)
                ]
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    def named(self, hook: str, feature: int) -> str:
        """A feature's label, or, where it has none, the tokens at which it is strongest."""
        labels = self.found[hook].labels
        return (labels and labels[feature]) or " ".join(f"“{text}”" for text in self.peaks(hook, feature, 3))

    def peaks(self, hook: str, feature: int, most: int = PEAKS) -> list[str]:
        """The tokens at which a feature is strongest, each once, for search."""
        if (hook, feature) in self.known:
            return self.known[hook, feature][:most]
        texts: dict[str, None] = {}
        for kind in (self.found[hook].top, self.found[hook].shown):
            for s in range(len(self.tokens)):
                places = zip(
                    kind.row[s, feature, :PEAKS].tolist(), kind.position[s, feature, :PEAKS].tolist(), strict=True
                )
                for row, position in places:
                    if row >= 0:
                        pieces = self.line(s, row).pieces
                        while position and not pieces[position]:
                            position -= 1
                        texts[pieces[position].strip()] = None
        self.known[hook, feature] = [text for text in texts if text]
        return self.known[hook, feature][:most]

    def _sets(self, hook: str, s: int, at: slice) -> list[dict]:
        """What one token set says of each feature."""
        site = self.found[hook]
        rows = zip(
            site.count[s, at].tolist(),
            digits(site.density[s, at]),
            (_bins(h) for h in site.histogram[s, at]),
            self._contexts(site.top, s, at),
            self._contexts(site.shown, s, at),
            strict=True,
        )
        keys = ("count", "density", "bins", "top", "quarters", "random")
        out = []
        for count, density, bins, top, shown in rows:
            parts = (top, shown[:QUARTERS], shown[QUARTERS:])
            values = (count, density, bins, *([c for c in part if c] for part in parts))
            out.append(dict(zip(keys, values, strict=True)))
        return out

    def _contexts(self, kind: Contexts, s: int, at: slice) -> list[list[list | None]]:
        """By feature and entry ``[value, which piece is the place, pieces joined by line ends, their bytes in hex]``.

        None where there is no entry.
        """
        k, width = kind.window.shape[2:]
        heat = kind.window[s, at].tobytes().hex()
        rows, positions, values = kind.row[s, at].tolist(), kind.position[s, at].tolist(), digits(kind.value[s, at])
        out, start = [], 0
        for of_feature in zip(rows, positions, values, strict=True):
            out.append(made := [])
            for row, position, value in zip(*of_feature, strict=True):
                mine = heat[start : start + 2 * width]
                made.append(self._context(s, row, position, value, mine) if row >= 0 else None)
                start += 2 * width
        return out

    def _context(self, s: int, row: int, position: int, value: float, heat: str) -> list:
        before, after = self.found.window
        line = self.line(s, row)
        low, high = max(0, position - before), min(len(line.pieces), position + after + 1)
        skipped = low - position + before
        heat = heat[2 * skipped : 2 * (skipped + high - low)]
        if line.plain:
            return [value, position - low, line.text[line.start[low] : line.start[high] - 1], heat]
        pieces, place = [], 0
        for at, (text, a) in enumerate(zip(line.pieces[low:high], bytes.fromhex(heat), strict=True), low):
            if text or not pieces:
                pieces.append([text or "…", a])
            pieces[-1][1] = max(pieces[-1][1], a)
            if at == position:
                place = len(pieces) - 1
        return [value, place, "\n".join(t for t, _ in pieces), bytes(a for _, a in pieces).hex()]


def _bins(histogram: np.ndarray) -> list[int]:
    """The first bin that is not empty, and the counts from there to the last such."""
    bins = np.flatnonzero(histogram)
    return [int(bins[0]), *histogram[bins[0] : bins[-1] + 1].tolist()] if len(bins) else [0]


def digits(values):
    """Three significant digits of each value, in lists of lists; None where there is no number.

    >>> digits([0.012345, -98765.0, 0.0, float("nan")])
    [0.0123, -98800.0, 0.0, None]
    """
    x = np.asarray(values, dtype=float)
    there = np.isfinite(x)
    safe = np.where(there & (x != 0), x, 1.0)
    power = np.clip(np.floor(np.log10(np.abs(safe))).astype(int) - 2, -60, 60)
    up, down = POWERS[np.maximum(-power, 0)], POWERS[np.maximum(power, 0)]
    out = np.where(there & (x != 0), np.rint(safe * up / down) / up * down, 0.0)
    return (out if there.all() else np.where(there, out, None)).tolist()


def bin_range(first: int, count: int) -> tuple[float, float]:
    """The activations that ``count`` bins from ``first`` on cover."""
    edges = bin_edges()
    return float(edges[min(first, BINS)]), float(edges[min(first + count, BINS)])
