"""Write the computed parts of the README: answers from the chapters' openings, benchmarks from their report.

Each part lies between ``<!-- name -->`` and ``<!-- /name -->``. The README's picture is a sheet of the
chapters' answers.

    python tools/readme.py            # write
    python tools/readme.py --check    # exit 1 if the README says something else
"""

from __future__ import annotations

import re
import sys
from html import escape
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book" / "_ext"))

sys.path.insert(0, str(ROOT))

import chapters  # noqa: E402

from benchmarks import headlines  # noqa: E402

SHEET = ROOT / "book" / "_static" / "answers.svg"
SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
ACROSS, WIDE, GAP, HEAD = 3, 412, 24, 34  # pictures in a row; lengths in pixels
LOOK = 'font-family="DejaVu Sans, Verdana, sans-serif" font-size="15" font-weight="bold" fill="#222"'


def verdicts() -> str:
    """A line a thread: stance and sentence, or the verdict in the old form, or *open*."""
    rows = ["| | Thread | Answer |", "|---|---|---|"]
    for thread in chapters.threads():
        if not thread.path.exists():
            rows.append(f"| {thread.number} | {thread.title} | open |")
            continue
        told = chapters.chapter(thread.path)
        answer = f"**{told.stance}.** {told.plain}" if told.stance else told.verdict or "open"
        rows.append(f"| {thread.number} | [{thread.title}](notebooks/{thread.notebook}.ipynb) | {answer} |")
    return "\n".join(rows)


def bench() -> str:
    """Six lines of what was measured; the page *Speed* has all."""
    return headlines.short(headlines.headlines(headlines.logs()))


PARTS = {"verdicts": verdicts, "bench": bench}


def sheet() -> bytes:
    """The answers' pictures, three in a row, each under its thread's title and stance: one SVG.

    Pictures are set into it as they are. What their elements are called, and called by, is made different in each.
    """
    ElementTree.register_namespace("", SVG)  # formulas have another for themselves
    ElementTree.register_namespace("xlink", XLINK)
    told = [(thread, chapters.chapter(thread.path)) for thread in chapters.threads() if thread.path.exists()]
    shown = [(thread, one) for thread, one in told if not one.open and one.answer and one.answer[0] == "svg"]
    parts, top = [], GAP
    for first in range(0, len(shown), ACROSS):
        lowest = 0.0
        for i, (thread, answer) in enumerate(shown[first : first + ACROSS]):
            mark, x = f"a{thread.number}-", GAP + i * (WIDE + GAP)
            root = ElementTree.fromstring(answer.answer[1])
            wide, high = (float(side) for side in root.get("viewBox").split()[2:])
            for node in root.iter():
                for key, value in list(node.attrib.items()):
                    if key == "id":
                        node.set(key, mark + value)
                    elif "#" in value:
                        node.set(key, re.sub(r"(^|url\()#(?=[A-Za-z])", rf"\1#{mark}", value))
            high *= WIDE / wide
            for key, value in {"x": x, "y": top + HEAD, "width": WIDE, "height": high}.items():
                root.set(key, f"{value:g}")
            for child in root.findall(f"{{{SVG}}}metadata"):
                root.remove(child)
            said = escape(f"{thread.number} · {thread.title}: {answer.stance}")
            parts.append(f'<text x="{x}" y="{top + 0.6 * HEAD:g}" {LOOK}>{said}</text>')
            parts.append(ElementTree.tostring(root, encoding="unicode"))
            lowest = max(lowest, HEAD + high)
        top = round(top + lowest + GAP, 2)
    size = f'width="{GAP + ACROSS * (WIDE + GAP)}" height="{top:g}"'
    ground = '<rect width="100%" height="100%" fill="#fbfaf7"/>'
    return "\n".join([f'<svg xmlns="{SVG}" {size}>', ground, *parts, "</svg>", ""]).encode()


def rendered(text: str) -> str:
    """``text`` with every marked part computed anew."""
    for name, part in PARTS.items():
        pattern = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if len(pattern.findall(text)) != 1:
            raise ValueError(f"README.md: expected one pair of markers '{name}', found {len(pattern.findall(text))}")
        text = pattern.sub(lambda match, part=part: f"{match[1]}{part()}\n{match[2]}", text)
    return text


def refresh(check: bool = False) -> bool:
    """Write the README and its picture if they are out of date; return whether they were. With ``check`` only look."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    new = {ROOT / "README.md": rendered(text).encode(), SHEET: sheet()}
    stale = {path: data for path, data in new.items() if not path.exists() or path.read_bytes() != data}
    if not check:
        for path, data in stale.items():
            path.write_bytes(data)
    return bool(stale)


if __name__ == "__main__":
    stale = refresh(check="--check" in sys.argv)
    if "--check" in sys.argv and stale:
        sys.exit("README.md is out of date: run `python tools/readme.py`")
