"""Fold the code of cells tagged ``hide-input`` wherever a notebook is opened, as the site does.

    python tools/folds.py              # all notebooks; needs no kernel, outputs stay
    python tools/folds.py notebooks/01_gated_vs_expanded.ipynb

JupyterLab reads ``jupyter.source_hidden``, Colab reads ``cellView``. Colab folds a form without a ``#@title`` too and
offers to show its code, so no source is touched. A cell that a reader is meant to change, with “your turn” in a
comment, stays open there. ``make run`` does the same; after a merge this alone is enough.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
YOURS = re.compile(r"#.*your turn")


def folded(cell: nbformat.NotebookNode) -> bool:
    """Whether a reader has no need to see the code of ``cell``."""
    tagged = "hide-input" in cell.metadata.get("tags", [])
    return cell.cell_type == "code" and tagged and not YOURS.search(cell.source)


def fold(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Give the metadata to the cells that are folded, and take them from all others."""
    for cell in notebook.cells:
        metadata = cell.metadata
        if folded(cell):
            metadata.setdefault("jupyter", nbformat.NotebookNode())["source_hidden"] = True
            metadata["cellView"] = "form"
            continue
        metadata.pop("cellView", None)
        metadata.get("jupyter", {}).pop("source_hidden", None)
        if not metadata.get("jupyter", True):
            del metadata["jupyter"]
    return notebook


def main(arguments: list[str]) -> None:
    for path in [Path(a).resolve() for a in arguments] or sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        temporary = path.with_suffix(".tmp")
        nbformat.write(fold(nbformat.read(path, as_version=4)), temporary)
        if temporary.read_bytes() == path.read_bytes():
            temporary.unlink()
            continue
        os.replace(temporary, path)
        print(f"{path.name}: folds brought up to date")


if __name__ == "__main__":
    main(sys.argv[1:])
