"""What the logs of the benchmarks say in a line each, beside what was aimed at: for the page *Speed* and the README.

Only the standard library: the book is built with it.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
LOGS = ("results", "geometry", "whole", "dashboard", "singular", "superposition", "gpu")
PEERS = ("SAELens", "dictionary_learning", "sparsify")


class Headline(NamedTuple):
    """``ratio`` against the peer, in the direction in which more is better; ``spread`` of it between the turns."""

    what: str
    peer: str
    ratio: float | None
    aim: float
    spread: tuple[float, float] | None
    log: str
    measured: str

    @property
    def reached(self) -> bool | None:
        return None if self.ratio is None else self.ratio >= self.aim


def logs(folder: Path = HERE) -> dict[str, dict]:
    found = {name: folder / f"{name}.json" for name in LOGS}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in found.items() if path.exists()}


def headlines(known: dict[str, dict]) -> list[Headline]:
    """A line for each number aimed at; those without a log have no ratio."""
    parts = {
        "results": _training, "geometry": _cosines, "whole": _whole, "dashboard": _dashboards, "singular": _singular,
        "gpu": _gpu,
    }  # fmt: skip
    return [line for name, part in parts.items() for line in part(known.get(name))]


def _training(log: dict | None) -> list[Headline]:
    what = "training: {}"
    if not log:
        return [Headline(what.format("topk"), "the fastest of three", None, 3, None, "results", "")]
    races = {kind: entry["contenders"] for kind, entry in log["training"].items()}
    return [_line(what.format(kind), *_fastest(race), 3, "results", log) for kind, race in races.items()]


def _cosines(log: dict | None) -> list[Headline]:
    what, peer = "the largest cosines of 24,576 rows, exact", "the product alone in float32"
    if not log:
        return [Headline(what, peer, None, 1 / 0.75, None, "geometry", "")]
    return [_line(what, peer, log["seconds"]["gemm"] / log["seconds"]["here"], [], 1 / 0.75, "geometry", log)]


def _whole(log: dict | None) -> list[Headline]:
    what = "a dictionary from nothing: harvest and training"
    if not log:
        return [Headline(what, "SAELens", None, 3, None, "whole", "")]
    rest = {name: [turn["rest"] for turn in turns] for name, turns in log["seconds"].items()}
    peer = min((name for name in rest if not name.startswith("here")), key=lambda name: median(rest[name]))
    turns = [theirs / mine for mine, theirs in zip(rest["here"], rest[peer], strict=True)]
    return [_line(what, peer, median(rest[peer]) / median(rest["here"]), turns, 3, "whole", log)]


def _dashboards(log: dict | None) -> list[Headline]:
    what, peer = "features described, features × tokens a second", "SAEDashboard"
    if not log or peer not in log["race"]:
        return [Headline(what, peer, None, 10, None, "dashboard", "")]
    mine, theirs = ([turn["seconds"] for turn in log["race"][name]] for name in ("here", peer))
    turns = [b / a for a, b in zip(mine, theirs, strict=True)]
    return [_line(what, peer, median(theirs) / median(mine), turns, 10, "dashboard", log)]


def _singular(log: dict | None) -> list[Headline]:
    what, peer = "singularities of all curves with known λ resolved", "Singular"
    if not log or "singular" not in log["seconds"]:
        return [Headline(what, peer, None, 1, None, "singular", "")]
    mine, theirs = (sum(log["seconds"][name].values()) for name in ("here", "singular"))
    return [_line(what, peer, theirs / mine, [], 1, "singular", log)]


def _gpu(log: dict | None) -> list[Headline]:
    aims = {"topk": 2.5, "batchtopk": 2.5, "standard": 1.3, "gated": 1.3, "jumprelu": 1.3}
    races, out = (log or {}).get("race", {}), []
    for kind, aim in aims.items():
        what = f"training on one GPU: {kind}"
        race = {name: entry for name, entry in races.get(kind, {}).items() if "error" not in entry}
        if "here" in race and len(race) > 1:
            out.append(_line(what, *_fastest(race), aim, "gpu", log))
        else:
            out.append(Headline(what, "the fastest of three", None, aim, None, "gpu", ""))
    what, peer, aim = "the largest cosines of 65,536 rows on one GPU, exact", "the product alone in float32", 1 / 0.3
    taken = (log or {}).get("cosines", {}).get("seconds")
    if taken:
        return [*out, _line(what, peer, taken["product"] / taken["here"], [], aim, "gpu", log)]
    return [*out, Headline(what, peer, None, aim, None, "gpu", "")]


def _fastest(race: dict[str, dict]) -> tuple[str, float, list[float]]:
    """The fastest peer, how many times as fast we were, and the same by turns."""
    peer = max((n for n in race if n.split()[0] in PEERS), key=lambda n: race[n]["tokens_per_second"])
    mine, theirs = race["here"], race[peer]
    turns = [b / a for a, b in zip(mine["seconds_per_step"], theirs["seconds_per_step"], strict=True)]
    return peer, mine["tokens_per_second"] / theirs["tokens_per_second"], turns


def _line(what: str, peer: str, ratio: float, turns: list[float], aim: float, name: str, log: dict) -> Headline:
    spread = (min(turns), max(turns)) if len(turns) > 1 else None
    return Headline(what, peer, ratio, aim, spread, name, f"{log['date']}, {log['machine']}")


def table(lines: list[Headline]) -> str:
    """Markdown: what, against whom, the ratio with its spread, what was aimed at."""
    rows = ["| what | against | times as fast | between turns | aimed at |", "|---|---|---|---|---|"]
    for line in lines:
        ratio = "not measured here" if line.ratio is None else f"**{line.ratio:.1f}**"
        spread = f"{line.spread[0]:.1f} to {line.spread[1]:.1f}" if line.spread else ""
        rows.append(f"| {line.what} | {line.peer} | {ratio} | {spread} | {line.aim:.1f} |")
    return "\n".join(rows)


def short(lines: list[Headline]) -> str:
    """Six lines for the README: of the kinds trained the slowest and the fastest."""
    trained = sorted((x for x in lines if x.log == "results" and x.ratio), key=lambda x: x.ratio)
    others = [x for x in lines if x.log not in ("results", "gpu")]
    return table([*trained[:1], *trained[-1:], *others][:6])
