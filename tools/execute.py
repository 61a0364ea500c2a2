"""Run notebooks from top to bottom and write them back, without what changes from run to run.

    python tools/execute.py            # all notebooks
    python tools/execute.py notebooks/01_gated_vs_expanded.ipynb

Afterwards the numbers that cells published are written into the prose that quotes them, and the README's table anew.
"""

from __future__ import annotations

import base64
import os
import sys
import time
from pathlib import Path

import folds
import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from helpers.page import shrunk, slim  # noqa: E402

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


COLOURS = 48  # of a picture: enough for lines, text and ten shades


def strip(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Remove widget state, timings and the machine's Python version; number ids; fold code; make pictures small."""
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:03d}"
        for key in ("execution", "collapsed", "ExecuteTime", "scrolled"):
            cell.metadata.pop(key, None)
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                small = shrunk(base64.b64decode(output.data["image/png"]), COLOURS)
                output.data["image/png"] = base64.b64encode(small).decode()
            if "image/svg+xml" in output.get("data", {}):
                output.data["image/svg+xml"] = slim(output.data["image/svg+xml"])
    return folds.fold(notebook)


def execute(path: Path, timeout: int = 600) -> None:
    """Execute ``path`` in its own folder with this interpreter and replace the file."""
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": path.parent}}
    NotebookClient(
        notebook, timeout=timeout, kernel_name="python3", store_widget_state=False, resources=place
    ).execute()
    temporary = path.with_suffix(".tmp")
    nbformat.write(strip(notebook), temporary)
    os.replace(temporary, path)


def main(arguments: list[str]) -> None:
    os.environ["OPEN_THREADS_BARS"] = "0"
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    for path in [Path(a).resolve() for a in arguments] or sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        start = time.perf_counter()
        print(f"{path.name} … ", end="", flush=True)
        execute(path)
        print(f"{time.perf_counter() - start:.0f} s")
    import prose
    import readme

    prose.write_values()
    readme.refresh()


if __name__ == "__main__":
    main(sys.argv[1:])
