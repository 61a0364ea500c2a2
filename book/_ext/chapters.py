"""What a chapter publishes: its numbers, its opening, the labels of its figures and boxes; and the links to them.

Plain reading of notebooks, without Sphinx, shared by the site, the README and the tests. A chapter that has a cell
tagged ``opening`` speaks the notation of CONTRIBUTING.md; the others speak the older one of roles and fences.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

MIME = "application/vnd.open-threads.number+json"
STANCES = ("Yes", "No", "Both", "It depends", "Cannot tell")
NUMBERED = ("Theorem", "Lemma", "Corollary", "Exercise")
KINDS = (*NUMBERED, "Proof", "Verdict", "Prediction", "Rule")
LINK = re.compile(r"(?<!!)\[(?P<text>[^\[\]]*)\]\(#(?P<id>[^()\s]+)\)")
FENCE, TICKS = r"^(?P<fence>`{3,}|~{3,}).*?^(?P=fence)`*\s*?$", r"(?P<ticks>`+)[^`].*?(?<!`)(?P=ticks)(?!`)"
CODE = re.compile(f"{FENCE}|{TICKS}", re.MULTILINE | re.DOTALL)
BOX = re.compile(r"^ {0,3}> ?\*\*(?P<kind>[A-Z]\w+)\.?\*\*(?: ?\((?P<name>[^()]*)\))?", re.M)
ANSWER = re.compile(r"^\*\*(?P<stance>[^*]+?)\.?\*\*\.?\s+(?P<sentence>.+?)\s*$", re.S)


@dataclass(frozen=True)
class Opening:
    """How a chapter begins: its claim as a title, a stance of one word or two, one sentence (Markdown)."""

    title: str
    stance: str
    sentence: str


@dataclass(frozen=True)
class Thread:
    """A question of the book, and the chapter that answers it if there is one."""

    number: int
    title: str
    question: str
    name: str
    path: Path

    def notebook(self) -> dict | None:
        return read(self.path) if self.path.exists() else None


def threads(root: Path) -> list[Thread]:
    """The book's questions in their order, from ``book/threads.yml``."""
    rows = yaml.safe_load((root / "book" / "threads.yml").read_text(encoding="utf-8"))
    return [
        Thread(i, row["title"], row["question"], row["notebook"], root / "notebooks" / f"{row['notebook']}.ipynb")
        for i, row in enumerate(rows, 1)
    ]


def notebooks(root: Path) -> list[Path]:
    return sorted((root / "notebooks").glob("[0-9]*.ipynb"))


def read(path: Path) -> dict:
    return joined(json.loads(path.read_text(encoding="utf-8")))


def joined(notebook: dict) -> dict:
    """The notebook with each source as one string, as nbformat gives it too."""
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"])
    return notebook


def tags(cell: Mapping) -> list[str]:
    return cell["metadata"].get("tags", [])


def tagged(notebook: Mapping, tag: str) -> list[dict]:
    return [cell for cell in notebook["cells"] if tag in tags(cell)]


def published(cell: Mapping) -> list[dict]:
    """The records that a cell's outputs hold, as ``helpers.evidence.number`` made them."""
    return [output["data"][MIME] for output in cell.get("outputs", ()) if MIME in output.get("data", {})]


def numbers(notebook: Mapping) -> dict[str, dict]:
    """Key → record of every number that the notebook publishes."""
    found = {}
    for cell in notebook["cells"]:
        for record in published(cell):
            if record["key"] in found:
                raise ValueError(f"{record['key']} is published twice; a key names one number")
            found[record["key"]] = record
    return found


def opening(notebook: Mapping) -> Opening | None:
    """The opening of a chapter, or None where it has none yet."""
    cells = tagged(notebook, "opening")
    if not cells:
        return None
    if len(cells) > 1:
        raise ValueError(f"expected one cell tagged 'opening', found {len(cells)}")
    title, *paragraphs = re.split(r"\n\s*\n", cells[0]["source"].strip())
    answers = [match for paragraph in paragraphs if (match := ANSWER.match(paragraph))]
    if not title.startswith("# ") or not answers:
        raise ValueError(f"opening: expected '# title' and a paragraph '**Stance.** Sentence.', found {title[:60]!r} …")
    sentence = re.sub(r"\s+", " ", answers[0]["sentence"])
    return Opening(re.sub(r"^# (\d+ · )?", "", title), answers[0]["stance"], sentence)


def answer_picture(notebook: Mapping) -> tuple[bytes, str] | None:
    """The PNG of the cell tagged ``answer-figure``, and what it says to those who cannot see it."""
    for cell in tagged(notebook, "answer-figure"):
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", {}):
                alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
                return base64.b64decode("".join(output["data"]["image/png"])), alt
    return None


def plain(markdown: str) -> str:
    """Markdown of one line as text: links to their texts, no stars, dollars or ticks."""
    return re.sub(r"[*`$]", "", re.sub(r"\[([^\[\]]*)\]\([^()]*\)", r"\1", markdown))


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def box_id(kind: str, name: str) -> str:
    return f"{kind.lower()}-{slug(name)}"


def labels(notebook: Mapping, chapter: int) -> dict[str, str]:
    """Id → "Figure 4.2", "Theorem 4.1", … as the site numbers them, each kind by itself."""
    found, counts = {}, dict.fromkeys(("Figure", *NUMBERED), 0)
    for cell in notebook["cells"]:
        figure = cell["metadata"].get("mystnb", {}).get("figure", {})
        if figure.get("caption") and cell.get("outputs"):
            counts["Figure"] += 1
            found[figure.get("name")] = f"Figure {chapter}.{counts['Figure']}"
        for match in BOX.finditer(CODE.sub("", cell["source"])) if cell["cell_type"] == "markdown" else ():
            if match["kind"] in NUMBERED:
                counts[match["kind"]] += 1
                label = f"{match['kind']} {chapter}.{counts[match['kind']]}"
                found[box_id(match["kind"], match["name"]) if match["name"] else None] = label
    found.pop(None, None)
    return found


def outside_code(markdown: str, change: Callable[[str], str]) -> str:
    """``markdown`` with ``change`` made to all that is not code."""
    out, last = [], 0
    for match in CODE.finditer(markdown):
        out += [change(markdown[last : match.start()]), match[0]]
        last = match.end()
    return "".join(out) + change(markdown[last:])


def links(markdown: str) -> Iterator[tuple[str, str]]:
    """(text, id) of every link to something in the book, code left aside."""
    yield from ((match["text"], match["id"]) for match in LINK.finditer(CODE.sub("", markdown)))


def written(markdown: str, values: Mapping[str, str], names: Mapping[str, str]) -> str:
    """``markdown`` with each number's link saying its value, and each "Figure 4.2" the number it has now."""

    def renew(match: re.Match) -> str:
        text, target = match["text"], match["id"]
        if target in values:
            text = values[target]
        elif target in names and re.fullmatch(r"(\w+) [\d.?]+", text) and names[target].split()[0] == text.split()[0]:
            text = names[target]
        return f"[{text}](#{target})"

    return outside_code(markdown, lambda part: LINK.sub(renew, part))


def index(root: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Key → value of every number of the book, and id → label of everything that has a number in its name."""
    values, names = {}, {}
    for path in notebooks(root):
        notebook = read(path)
        values |= {key: record["value"] for key, record in numbers(notebook).items()}
        names |= labels(notebook, int(path.name[:2]))
    return values, names
