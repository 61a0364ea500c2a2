"""Write the computed parts of the README: answers from the chapters' openings, benchmarks from their report.

Each part lies between ``<!-- name -->`` and ``<!-- /name -->``. The README's picture is the output of the cell that
is tagged ``readme-picture``.

    python tools/readme.py            # write
    python tools/readme.py --check    # exit 1 if the README says something else
"""

from __future__ import annotations

import base64
import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book" / "_ext"))

sys.path.insert(0, str(ROOT))

import chapters  # noqa: E402

from benchmarks import headlines  # noqa: E402


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


def picture() -> bytes | None:
    """The PNG of the one cell tagged ``readme-picture``, if there is one."""
    found = [
        base64.b64decode(output.data["image/png"])
        for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
        for cell in nbformat.read(path, as_version=4).cells
        if "readme-picture" in cell.metadata.get("tags", ())
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    if len(found) > 1:
        raise ValueError(f"expected one picture from cells tagged 'readme-picture', found {len(found)}")
    return found[0] if found else None


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
    new = {ROOT / "README.md": rendered(text).encode()}
    if drawn := picture():
        new[ROOT / "book" / "_static" / "frontier.png"] = drawn
    stale = {path: data for path, data in new.items() if not path.exists() or path.read_bytes() != data}
    if not check:
        for path, data in stale.items():
            path.write_bytes(data)
    return bool(stale)


if __name__ == "__main__":
    stale = refresh(check="--check" in sys.argv)
    if "--check" in sys.argv and stale:
        sys.exit("README.md is out of date: run `python tools/readme.py`")
