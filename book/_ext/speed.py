"""The page of benchmarks: bars of ratios, and every table, from the logs that lie beside the benchmarks.

``{speed}`` draws a bar for each number aimed at; the mark is the aim. ``{measured}`` shows the reports whole,
``{costs}`` what follows for larger jobs. Nothing is timed by a build.
"""

from __future__ import annotations

import json
import re
import sys
from html import escape
from math import log2
from pathlib import Path

import chapters
from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from front import plain_table

sys.path.append(str(chapters.ROOT))

from benchmarks import headlines  # noqa: E402

MOST = 32  # times as fast: the end of the scale


def place(ratio: float) -> float:
    """Where a ratio stands on the scale from ¼ to ``MOST``, in percent; the scale is logarithmic."""
    return 100 * min(max((log2(ratio) + 2) / (log2(MOST) + 2), 0), 1)


def bar(line: headlines.Headline) -> str:
    name = f'<th scope="row">{escape(line.what)}<small>against {escape(line.peer)}</small></th>'
    aim = f"<small>aimed at {line.aim:.1f}</small>"
    if line.ratio is None:
        return f'<tr class="unmeasured">{name}<td></td><td>not measured here{aim}</td></tr>'
    start, end = sorted((place(1), place(line.ratio)))
    spread = ""
    if line.spread:
        low, high = map(place, line.spread)
        spread = f'<i class="spread" style="left:{low:.1f}%;width:{high - low:.1f}%"></i>'
    drawn = (
        f'<span class="bar {"reached" if line.reached else "short"}" aria-hidden="true">'
        f'<i style="left:{start:.1f}%;width:{end - start:.1f}%"></i>{spread}'
        f'<b style="left:{place(line.aim):.1f}%"></b><u style="left:{place(1):.1f}%"></u></span>'
    )
    return f"<tr>{name}<td>{drawn}</td><td>{line.ratio:.1f} times{aim}</td></tr>"


class Speed(Directive):
    """``{speed}``: the bars."""

    def run(self) -> list[nodes.Node]:
        env, folder = self.state.document.settings.env, headlines.HERE
        for path in (*(folder / f"{name}.json" for name in headlines.LOGS), Path(headlines.__file__), Path(__file__)):
            if path.exists():
                env.note_dependency(str(path))
        rows = "\n".join(bar(line) for line in headlines.headlines(headlines.logs()))
        heads = "".join(f'<th scope="col">{name}</th>' for name in ("What", "Times as fast", "In words"))
        table = f'<table class="speed-bars"><thead><tr>{heads}</tr></thead><tbody>\n{rows}\n</tbody></table>'
        return [nodes.raw("", table, format="html")]


class Measured(Directive):
    """``{measured}``: what ``make bench`` wrote, whole."""

    def run(self) -> list[nodes.Node]:
        env, box = self.state.document.settings.env, nodes.container(classes=["measured"])
        for name in headlines.LOGS:
            path = Path(chapters.ROOT) / "benchmarks" / f"{name}.md"
            if path.exists():
                env.note_dependency(str(path))
                lines = plain(path.read_text(encoding="utf-8")).splitlines()
                self.state.nested_parse(StringList([*lines, ""], str(path)), self.content_offset, box)
        return [box]


def plain(text: str) -> str:
    """A report with its powers of ten as one reads them, and nothing broken that is short."""
    text = re.sub(r"\b0e\+00\b", "0", text)
    text = re.sub(r"\b1e([+-]\d+)\b", lambda m: f"$10^{{{int(m[1])}}}$", text)
    text = re.sub(r"\b(\d(?:\.\d+)?)e([+-]\d+)\b", lambda m: rf"${m[1]}\cdot10^{{{int(m[2])}}}$", text)
    return re.sub(r"(?<=\d)–(?=\d)", "\u2060–\u2060", text).replace(" †", "\xa0†")


class Costs(Directive):
    """``{costs}``: what a hundred times more of each takes, and what two larger jobs would."""

    def run(self) -> list[nodes.Node]:
        path = Path(chapters.ROOT) / "benchmarks" / "costs.json"
        if not path.exists():
            how = nodes.literal(text="python -m benchmarks.costs")
            return [nodes.paragraph("", "", nodes.Text("Not measured yet: "), how, nodes.Text("."))]
        self.state.document.settings.env.note_dependency(str(path))
        known = json.loads(path.read_text(encoding="utf-8"))
        where = nodes.paragraph(text=f"Measured {known['date']} on {known['machine']}.")
        rows = [[[nodes.Text(cell)] for cell in row] for row in costs(known)]
        jobs = [[[nodes.Text(cell)] for cell in row] for row in larger(known)]
        return [
            plain_table(("A hundred times", "times the time", "measured from", "a token"), rows, ["costs-table"]),
            plain_table(("A job", "the model's run", "training", "together"), jobs, ["costs-table"]),
            where,
        ]


WHAT = {
    "layers": "the layers below the site", "width": "the latents of a dictionary", "d_model": "the width of the model",
    "features": "the features described",
}  # fmt: skip


def costs(known: dict) -> list[list[str]]:
    rows = [["the tokens", "100", "each token is seen once", ""]]
    for name, what in WHAT.items():
        sizes = [int(size) for size in known[name]]
        first, last = (known[name][str(size)] for size in (sizes[0], sizes[-1]))
        span = f"{sizes[0]:,} to {sizes[-1]:,}"
        rows.append([what, f"{100 ** known['slopes'][name]:,.0f}", span, f"{first * 1e6:,.0f} to {last * 1e6:,.0f} µs"])
    return rows


def larger(known: dict) -> list[list[str]]:
    """Core-days of a dictionary in the middle of the embedded model, and of a public model of two billion weights."""
    rows = []
    layer = sum(s / int(n) for n, s in known["layers"].items()) / len(known["layers"])  # seconds a token and layer
    step, weights = known["width"]["4608"], 3.5  # of the embedded model: million weights a layer
    jobs = {"the book's model, layer 15, 4,608 latents, 2 million tokens": (15 * layer, step, 2e6)}
    for name, model in known["larger"].items():
        per = layer * model["layer"] / weights * model["layers"] / 2
        for d_sae, tokens in ((16_384, 4e9), (65_536, 4e9)):
            growth = (d_sae / 4608) ** known["slopes"]["width"] * (model["d_model"] / 576) ** known["slopes"]["d_model"]
            jobs[f"{name}, middle layer, {d_sae:,} latents, 4 billion tokens"] = (per, step * growth, tokens)
    for job, (run, training, tokens) in jobs.items():
        rows.append([job, *(duration(tokens * seconds) for seconds in (run, training, run + training))])
    return rows


def duration(seconds: float) -> str:
    for name, size in (("years", 365 * 86400), ("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= size:
            count = f"{seconds / size:,.1f}".removesuffix(".0") if seconds < 10 * size else f"{seconds / size:,.0f}"
            return f"{count} {name.removesuffix('s') if count == '1' else name}"
    return f"{seconds:,.0f} seconds"


def setup(app) -> dict:
    app.add_directive("speed", Speed)
    app.add_directive("measured", Measured)
    app.add_directive("costs", Costs)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
