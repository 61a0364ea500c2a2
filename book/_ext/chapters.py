"""What a chapter's notebook says of itself: its opening, its answer's picture, the numbers that its cells publish.

Three cells are marked by tags: ``opening``, Markdown that begins with a stance in bold and one sentence;
``answer-figure`` and ``drawing``, code that draws. Front page, table of verdicts, README and social cards take from
them.
"""

from __future__ import annotations

import ast
import base64
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

import nbformat
import yaml

ROOT = Path(__file__).resolve().parents[2]
MIME = "application/vnd.open-threads.number+json"
HIDDEN = {"remove-cell", "remove-input", "remove_input"}  # tags of cells that have no place on the page
STANCES = ("Yes", "No", "Both", "It depends", "Cannot tell", "Open")
NUMBERED = ("Theorem", "Lemma", "Corollary", "Exercise")
BOXES = (*NUMBERED, "Proof", "Verdict", "Prediction", "Rule", "Definition")
OPENING = re.compile(
    r"(?:# [^\n]*\n+)?(?:\*(?P<question>[^*\n]+)\*\n+)?\*\*(?P<stance>[^*]+?)\.\*\*\s+(?P<sentence>.+?)(?:\n\n|\Z)",
    re.DOTALL,
)
NUMBER = re.compile(r"\[(?P<text>[^\]]*)\]\(#(?P<key>ch\d\d_[a-z0-9_]+)\)")
LABEL = re.compile(r"\[(?P<kind>[A-Z][a-z]+) [\d.?]+\]\(#(?P<id>[^()\s]+)\)")
BOX = re.compile(r"^ {0,3}> ?\*\*(?P<kind>[A-Z][a-z]+)\.?\*\*\.?(?: \((?P<name>[^()]*)\))?", re.MULTILINE)
FENCE, TICKS = r"^(?P<fence>`{3,}|~{3,}).*?^(?P=fence)`*\s*?$", r"(?P<ticks>`+)[^`].*?(?<!`)(?P=ticks)(?!`)"
CODE = re.compile(f"{FENCE}|{TICKS}", re.MULTILINE | re.DOTALL)


class Thread(NamedTuple):
    """A line of ``threads.yml``."""

    number: int
    notebook: str
    title: str
    question: str
    held_against: str = ""
    second_model: str = "none"
    seeds: int = 0
    seeds_in: str = "text"

    @property
    def path(self) -> Path:
        return ROOT / "notebooks" / f"{self.notebook}.ipynb"


class Chapter(NamedTuple):
    """What a notebook says of itself; empty where it does not yet."""

    stance: str
    sentence: str  # Markdown, numbers as links
    answer: tuple[str, bytes] | None  # "svg" or "png", and the picture
    card: bytes | None  # the same as a PNG
    alt: str
    numbers: dict[str, dict]  # key -> text, interval, covers, null, cell
    verdict: str  # in the old form, where it has one

    @property
    def open(self) -> bool:
        """Whether it is begun and has no answer yet."""
        return self.stance.strip(" .").lower() == "open"

    @property
    def plain(self) -> str:
        """The sentence without links."""
        return NUMBER.sub(lambda match: match["text"], self.sentence)


def threads() -> list[Thread]:
    return [Thread(**line) for line in yaml.safe_load((ROOT / "book" / "threads.yml").read_text(encoding="utf-8"))]


def chapter(path: Path) -> Chapter:
    """Read a notebook, once for every state of its file."""
    return _chapter(path, path.stat().st_mtime_ns)


@cache
def _chapter(path: Path, _state: int) -> Chapter:
    notebook = nbformat.read(path, as_version=4)
    opening = OPENING.match(next((c.source for c in notebook.cells if "opening" in tags(c)), ""))
    drawn = next((c for c in notebook.cells if "answer-figure" in tags(c)), None)
    data = [output.get("data", {}) for output in drawn.outputs] if drawn else []
    svg = next((d["image/svg+xml"].encode() for d in data if "image/svg+xml" in d), None)
    png = next((base64.b64decode(d["image/png"]) for d in data if "image/png" in d), None)
    return Chapter(
        opening["stance"] if opening else "",
        " ".join(opening["sentence"].split()) if opening else "",
        ("svg", svg) if svg else ("png", png) if png else None,
        png,
        drawn.metadata.get("mystnb", {}).get("image", {}).get("alt", "") if drawn else "",
        numbers(notebook),
        glued(notebook).get(f"ch{path.stem[:2]}_verdict", ""),
    )


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def converted(notebook) -> bool:
    """Whether a notebook is told in the new way."""
    return any("opening" in tags(cell) for cell in notebook.cells)


def numbers(notebook) -> dict[str, dict]:
    """The numbers that a notebook's cells published, each with the index of its cell."""
    found = {}
    for index, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            made = output.get("data", {}).get(MIME)
            if made is not None:
                if made["key"] in found:
                    raise ValueError(f"number {made['key']!r} is published twice: a key names one number")
                found[made["key"]] = {**made, "cell": index}
    return found


def glued(notebook) -> dict[str, str]:
    """Values published in the old way, as text."""
    values = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            key = output.get("metadata", {}).get("scrapbook", {}).get("name")
            for mime, data in output.get("data", {}).items() if key else ():
                if mime.removeprefix("application/papermill.record/") == "text/plain":
                    values[key] = unquoted(data)
    return values


def unquoted(text: str) -> str:
    """``'a string'`` as IPython shows it, without its quotes."""
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text
    return value if isinstance(value, str) else text


def all_numbers() -> dict[str, dict]:
    """Of all chapters, each with the name of its page."""
    found = {}
    for thread in threads():
        if thread.path.exists():
            for key, made in chapter(thread.path).numbers.items():
                if key in found:
                    raise ValueError(f"number {key!r} is published by {found[key]['page']} and by {thread.notebook}")
                found[key] = {**made, "page": f"notebooks/{thread.notebook}"}
    return found


def boxes(text: str) -> list[tuple[str, str]]:
    """(kind, name or nothing) of each quote that becomes a box."""
    return [(m["kind"], m["name"] or "") for m in BOX.finditer(CODE.sub("", text)) if m["kind"] in BOXES]


def labels(notebook, number: int) -> dict[str, str]:
    """Id → "Figure 4.2", "Theorem 4.1", … as the site numbers them: by chapter, each kind by itself."""
    found, count = {}, Counter()

    def label(kind: str, name: str | None) -> None:
        count[kind] += 1
        if name:
            found[name] = f"{kind} {number}.{count[kind]}"

    for cell in as_read(notebook.cells):
        figure = cell.metadata.get("mystnb", {}).get("figure", {})
        if figure.get("caption") and not HIDDEN & set(tags(cell)):
            for output in cell.get("outputs", []):
                if "data" in output and MIME not in output["data"]:
                    label("Figure", figure.get("name"))
        for kind, name in boxes(cell.source) if cell.cell_type == "markdown" else []:
            if kind in NUMBERED:
                label(kind, name and slug(f"{kind} {name}"))
    return found


def as_read(cells: list) -> list:
    """The cells in the order of the page, where the answer's picture follows its sentence at once."""
    at = {tag: i for i, cell in enumerate(cells) for tag in tags(cell) if tag in ("opening", "answer-figure")}
    cells, (start, answer) = list(cells), (at.get("opening", 0), at.get("answer-figure", 0))
    if 0 < start < answer and all(cell.cell_type == "code" for cell in cells[start + 1 : answer]):
        cells.insert(start + 1, cells.pop(answer))
    return cells


def all_labels() -> dict[str, str]:
    found = {}
    for thread in threads():
        if thread.path.exists():
            found |= labels(nbformat.read(thread.path, as_version=4), thread.number)
    return found


def with_values(text: str, known: dict[str, dict], names: dict[str, str] | None = None) -> str:
    """``text`` with the present value in every link to a number that is known, and the present number in "Figure 4.2".

    Code is left as it is.
    """
    names = names or {}

    def value(match: re.Match) -> str:
        return f"[{known[match['key']]['text']}](#{match['key']})" if match["key"] in known else match[0]

    def label(match: re.Match) -> str:
        name = names.get(match["id"], "")
        return f"[{name}](#{match['id']})" if name.split(" ")[0] == match["kind"] else match[0]

    out, last = [], 0
    for code in CODE.finditer(text):
        out += [LABEL.sub(label, NUMBER.sub(value, text[last : code.start()])), code[0]]
        last = code.end()
    return "".join(out) + LABEL.sub(label, NUMBER.sub(value, text[last:]))
