"""What a card says of one feature, as plain lists and texts: the same for a notebook and for the pages."""

from __future__ import annotations

import numpy as np

from .collected import BINS, Collected, bin_edges
from .words import Words

GROUPS, OF_GROUP, RANDOM = 4, 1, 2  # quantile groups, contexts shown of each, and contexts at random
EDGE = 3  # tokens beyond a context's ends that may complete a character


def record(found: Collected, hook: str, feature: int, words: Words) -> dict:
    """Everything on the card of a feature; numbers rounded to what is shown."""
    site = found[hook]
    out = {
        "id": int(feature),
        "label": named(found, hook, feature, words),
        "largest": digits(site.largest[feature]),
        "sets": [_set(found, hook, s, feature, words) for s in range(len(found.tokens))],
    }
    if site.scores is not None:
        out["score"] = [digits(x) for x in site.scores[feature, :2]]
    if site.losses is not None:
        out["loss"] = [digits(x) for x in site.losses[feature]]
    if site.logits is not None:
        texts, values = [words.shown([i])[0] for i in site.logits.token[feature]], site.logits.value[feature]
        pairs = [[text, round(float(value), 2)] for text, value in zip(texts, values, strict=True)]
        out["up"], out["down"] = pairs[: len(pairs) // 2], pairs[len(pairs) // 2 :]
    for kind in ("similar", "together"):
        if (links := getattr(site, kind)) is not None:
            rows = zip(links.site[feature].tolist(), links.feature[feature].tolist(), links.value[feature], strict=True)
            out[kind] = [[s, f, digits(v)] for s, f, v in rows if s >= 0]
    return out


def named(found: Collected, hook: str, feature: int, words: Words) -> str:
    """A feature's label, or, where it has none, the tokens at which it is strongest."""
    labels = found[hook].labels
    return (labels and labels[feature]) or " ".join(f"“{t}”" for t in peak_tokens(found, hook, feature, words, 3))


def peak_tokens(found: Collected, hook: str, feature: int, words: Words, most: int = 4) -> list[str]:
    """The tokens at which a feature is strongest, each once, for search."""
    site, texts = found[hook], {}
    for kind in (site.top, site.sample):
        for s, rows in enumerate(found.tokens.values()):
            there = kind.row[s, feature] >= 0
            ids = rows[kind.row[s, feature][there], kind.position[s, feature][there]]
            texts |= dict.fromkeys(text.strip() for text in words.shown(ids[:most].tolist()))
    return [text for text in texts if text][:most]


def _set(found: Collected, hook: str, s: int, feature: int, words: Words) -> dict:
    site = found[hook]
    histogram = site.histogram[s, feature]
    bins = np.flatnonzero(histogram)
    first, last = (bins[0], bins[-1]) if len(bins) else (0, -1)
    top = [_context(found, site.top, s, feature, i, words) for i in np.flatnonzero(site.top.row[s, feature] >= 0)]
    drawn = np.flatnonzero(site.sample.row[s, feature] >= 0)
    value = site.sample.value[s, feature]
    groups = [np.sort(group) for group in np.array_split(drawn[np.argsort(-value[drawn], kind="stable")], GROUPS)]
    rest = np.setdiff1d(drawn, [i for g in groups for i in g[:OF_GROUP]])
    return {
        "count": int(site.count[s, feature]),
        "density": [digits(x) for x in site.density[s, feature]],
        "bins": [int(first), *histogram[first : last + 1].tolist()],
        "top": top,
        "groups": [
            [digits(value[g].min()), digits(value[g].max())]
            + [_context(found, site.sample, s, feature, i, words) for i in g[:OF_GROUP]]
            for g in groups
            if len(g)
        ],
        "random": [_context(found, site.sample, s, feature, i, words) for i in rest[:RANDOM]],
    }


def _context(found: Collected, kind, s: int, feature: int, i: int, words: Words) -> list:
    """``[value, which piece is the place, pieces joined by line ends, two hex digits a piece]``."""
    position, value = int(kind.position[s, feature, i]), digits(kind.value[s, feature, i])
    tokens = list(found.tokens.values())[s][kind.row[s, feature, i]]
    before, after = found.window
    low, high = max(0, position - before), min(len(tokens), position + after + 1)
    outer = max(0, low - EDGE)
    texts = words.shown(tokens[outer : min(len(tokens), high + EDGE)].tolist())[low - outer :]
    texts = texts[: high - low]
    heat = kind.window[s, feature, i, low - (position - before) :][: high - low].tobytes()
    if "" not in texts:
        return [value, position - low, "\n".join(texts), heat.hex()]
    pieces, place = [], 0
    for at in range(high - low):
        if texts[at] or not pieces:
            pieces.append([texts[at] or "…", heat[at]])
        pieces[-1][1] = max(pieces[-1][1], heat[at])
        if low + at == position:
            place = len(pieces) - 1
    return [value, place, "\n".join(t for t, _ in pieces), bytes(a for _, a in pieces).hex()]


def digits(value) -> float | None:
    """Three significant digits, None where there is no number."""
    return float(f"{value:.3g}") if np.isfinite(value) else None


def bin_range(first: int, count: int) -> tuple[float, float]:
    """The activations that ``count`` bins from ``first`` on cover."""
    edges = bin_edges()
    return float(edges[min(first, BINS)]), float(edges[min(first + count, BINS)])
