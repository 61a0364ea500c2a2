"""What was collected, as plain arrays: a :class:`Site` per hook, and the tokens that its references point into.

Shapes: S token sets, d_sae features, k entries, width tokens in a context. A reference into tokens is (set, row,
position); an activation in a context is one byte, 255 for the feature's largest anywhere.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..checks import one_of
from ..runs import atomic
from .files import pack, unpack

BINS, LOWEST, PER_OCTAVE = 128, 2.0**-20, 4  # of histograms: the same for all, so that none depends on what came first
QUARTERS, RANDOM = 4, 2  # random contexts on a card: one of each quarter of activations, and more of any size
STEPS = 20  # of a context's shades, in the small form


class Contexts(NamedTuple):
    """Places where features were active, the best first; where there is none, ``row`` is -1."""

    row: np.ndarray  # (S, d_sae, k) int32
    position: np.ndarray  # (S, d_sae, k) int16
    value: np.ndarray  # (S, d_sae, k) float32
    window: np.ndarray  # (S, d_sae, k, width) uint8


class Links(NamedTuple):
    """Other features, the nearest first; where there is none, ``site`` is -1."""

    site: np.ndarray  # (d_sae, k) int16, in the order of the collected sites
    feature: np.ndarray  # (d_sae, k) int32
    value: np.ndarray  # (d_sae, k) float32


class Effects(NamedTuple):
    """Tokens whose logits a direction raises most (the first half) and lowers most (the second, lowest first)."""

    token: np.ndarray  # (d_sae, 20) int32
    value: np.ndarray  # (d_sae, 20) float32


class Whole(NamedTuple):
    """Sequences kept whole: the strongest features of each token; where there are fewer, ``feature`` is -1."""

    set: np.ndarray  # (n,) int16
    row: np.ndarray  # (n,) int32
    feature: np.ndarray  # (n, ctx, k) int32
    value: np.ndarray  # (n, ctx, k) float32


class Watched(NamedTuple):
    """All features active at a sample of places: ``feature[start[i]:start[i + 1]]`` at the i-th."""

    set: np.ndarray  # (n,) int16
    row: np.ndarray  # (n,) int32
    position: np.ndarray  # (n,) int16
    start: np.ndarray  # (n + 1,) int64
    feature: np.ndarray  # (nnz,) int32


@dataclass
class Site:
    """One hook's features. ``density`` is the share of places, ``positions (S,)``, at which a feature is active."""

    positions: np.ndarray  # (S,) int64
    count: np.ndarray  # (S, d_sae) int64
    density: np.ndarray  # (S, d_sae, 3): share, and the ends of its 95% interval
    largest: np.ndarray  # (d_sae,) float32, over all sets
    histogram: np.ndarray  # (S, d_sae, BINS) int64, in bins that begin at `bin_edges`
    top: Contexts
    shown: Contexts  # of the sample, what cards show: QUARTERS (row -1 where one is empty), then RANDOM
    sentences: Whole
    sample: Contexts | None = None  # what names and losses are measured at; not in the small form
    watched: Watched | None = None  # likewise
    similar: Links | None = None  # by the cosine of decoder rows, all sites of one width
    together: Links | None = None  # by the share of places with either feature that have both, all sites
    logits: Effects | None = None
    labels: list[str] | None = None
    scores: np.ndarray | None = None  # (d_sae, 3): held-out AUROC, percentile among null features, token entropy
    losses: np.ndarray | None = (
        None  # (d_sae, 3): nats on the next token without it, and the interval; NaN: not measured
    )

    @property
    def d_sae(self) -> int:
        return len(self.largest)

    def small(self) -> Site:
        """What pages need: numbers to 11 significant bits, shades in steps of 5%, and no sample."""
        parts = {name: _rounded(getattr(self, name)) for name in ("density", "largest", "scores", "losses")}
        for name in ("top", "shown", "similar", "together", "logits", "sentences"):
            if (part := getattr(self, name)) is not None:
                parts[name] = part._replace(value=_rounded(part.value))
        for name in ("top", "shown"):
            steps = np.ceil(getattr(self, name).window * (STEPS / 255) - 1e-9)
            parts[name] = parts[name]._replace(window=np.rint(steps * (255 / STEPS)).astype(np.uint8))
        return replace(self, sample=None, watched=None, **parts)


NESTED = {
    "top": Contexts, "shown": Contexts, "sample": Contexts, "similar": Links, "together": Links, "logits": Effects,
    "watched": Watched, "sentences": Whole,
}  # fmt: skip


@dataclass
class Collected:
    """What :func:`collect` found: ``collected[hook]`` is a :class:`Site`, ``tokens`` the sets by name.

    Cards of a hook in ``pages`` link to what others have published of its features, at an address with ``{feature}`` in
    it: ``found.pages[hook] = load_source("gpt2-small-res-jb").page``.
    """

    tokens: dict[str, np.ndarray]  # (n_rows, ctx) int32 each
    sites: dict[str, Site]
    window: tuple[int, int]
    seed: int = 0
    pages: dict[str, str] = field(default_factory=dict)  # hook → address

    def __repr__(self) -> str:
        features, tokens = sum(s.d_sae for s in self.sites.values()), sum(t.size for t in self.tokens.values())
        sites, sets = (
            f"{len(x)} {word}{'s' * (len(x) != 1)}" for x, word in ((self.sites, "site"), (self.tokens, "set"))
        )
        return f"Collected({sites}, {features:,} features, {tokens:,} tokens in {sets})"

    def __getitem__(self, hook: str) -> Site:
        return self.sites[one_of("hook", hook, self.sites)]

    def small(self) -> Collected:
        """As much as pages need, for shipping; names and losses can't be measured from it."""
        return replace(self, sites={hook: site.small() for hook, site in self.sites.items()})

    def save(self, folder: str | Path) -> Path:
        """Write all but the tokens into ``folder``, atomically: a file a site, and ``collected.json``."""
        with atomic(Path(folder)) as path:
            path.mkdir()
            for i, site in enumerate(self.sites.values()):
                (path / f"{i}.xz").write_bytes(pack(dict(_flat(site)), {"labels": site.labels}))
            about = {"window": self.window, "seed": self.seed, "sets": list(self.tokens), "sites": list(self.sites)}
            about["pages"] = self.pages
            (path / "collected.json").write_text(json.dumps(about, indent=1))
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path, tokens) -> Collected:
        """What :meth:`save` wrote, with the same ``tokens`` (name → ``(n_rows, ctx)``), which it does not hold."""
        path = Path(folder)
        if not (path / "collected.json").exists():
            raise FileNotFoundError(f"folder={str(folder)!r} has no collected.json; expected one that save wrote")
        about = json.loads((path / "collected.json").read_text())
        if sorted(tokens) != sorted(about["sets"]):
            raise ValueError(f"tokens holds the sets {list(tokens)}; expected {about['sets']}")
        sites = {}
        for i, hook in enumerate(about["sites"]):
            arrays, more = unpack((path / f"{i}.xz").read_bytes())
            sites[hook] = _nested(arrays)
            sites[hook].labels = more["labels"]
        kept = {name: np.asarray(tokens[name], dtype=np.int32) for name in about["sets"]}
        return cls(kept, sites, tuple(about["window"]), about["seed"], about["pages"])


def bin_edges() -> np.ndarray:
    """Where the bins of histograms begin, and where the last ends: four to each doubling, ``(BINS + 1,)``.

    >>> bin_edges()[80:85].tolist()
    [1.0, 1.25, 1.5, 1.75, 2.0]
    """
    octave, part = np.divmod(np.arange(BINS + 1), PER_OCTAVE)
    return LOWEST * 2.0**octave * (1 + part / PER_OCTAVE)


def _rounded(x: np.ndarray | None) -> np.ndarray | None:
    """Float32 whose last 13 bits are zero, as near as can be; None and NaN stay."""
    if x is None:
        return None
    bits = np.array(x, dtype=np.float32)
    there = np.isfinite(bits)
    return np.where(there, ((bits.view(np.int32) + 0x1000) & ~0x1FFF).view(np.float32), bits)


def _flat(site: Site):
    for name in (one.name for one in fields(Site)):
        value = getattr(site, name)
        if name in NESTED and value is not None:
            yield from ((f"{name}.{k}", v) for k, v in value._asdict().items())
        elif isinstance(value, np.ndarray):
            yield name, value


def _nested(flat: dict[str, np.ndarray]) -> Site:
    parts: dict[str, dict] = {}
    for key, value in flat.items():
        name, _, inner = key.partition(".")
        parts.setdefault(name, {})[inner] = value
    return Site(**{name: NESTED[name](**v) if name in NESTED else v[""] for name, v in parts.items()})
