"""Write into the prose what the cells computed: every ``[old](#key)`` gets the value that its cell published.

Prose is the Markdown of all notebooks, the pages in ``book/`` and the README. "Figure 4.2" and "Theorem 4.1" in links
are written too. Running it twice changes nothing.

    python tools/prose.py            # write
    python tools/prose.py --check    # exit 1 if some text says something else
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import chapters  # noqa: E402


def refresh(root: Path = ROOT, check: bool = False) -> list[Path]:
    """Bring all prose up to date and return the files that were not. With ``check`` only look."""
    values, names = chapters.index(root)
    stale = []
    for path in [*sorted((root / "book").glob("*.md")), root / "README.md"]:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        new = chapters.written(text, values, names)
        if new != text:
            stale.append(path)
            if not check:
                _replace(path, new)
    for path in chapters.notebooks(root):
        notebook = nbformat.read(path, as_version=4)
        changed = False
        for cell in notebook.cells:
            new = chapters.written(cell.source, values, names) if cell.cell_type == "markdown" else cell.source
            changed |= new != cell.source
            cell.source = new
        if changed:
            stale.append(path)
            if not check:
                _replace(path, nbformat.writes(notebook) + "\n")
    return stale


def _replace(path: Path, text: str) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


if __name__ == "__main__":
    stale = refresh(check="--check" in sys.argv)
    if "--check" in sys.argv and stale:
        sys.exit(f"run `python tools/prose.py`: {', '.join(path.name for path in stale)} differ from the cells")
