"""Rehearse a notebook service: a fresh environment, one notebook alone in an empty folder, run to the end.

The notebook's setup cell is stamped with the address of a clone of this repository on this disk. The environment starts
with what such a service has (torch, Jupyter); the setup cell must bring the rest and leave torch alone.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from pathlib import Path

from publish import stamp_notebook

ROOT = Path(__file__).resolve().parent.parent
GIVEN = ("torch", "numpy", "pandas", "matplotlib", "ipykernel", "ipywidgets", "nbclient")


def pinned(names: tuple[str, ...]) -> list[str]:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").split()
    return [line for line in lines if line.split("==")[0] in names]


def stamp(notebook: Path, address: str) -> None:
    notebook.write_text(stamp_notebook(notebook.read_text("utf-8"), address), "utf-8")


RUN = """
import nbformat, nbclient, sys
notebook = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(notebook, timeout=1800, kernel_name="python3").execute()
print("cells run:", sum(cell.cell_type == "code" for cell in notebook.cells))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebook", nargs="?", default="notebooks/01_gated_vs_expanded.ipynb")
    parser.add_argument("--python", default="python3")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as folder:
        empty, clone, venv = Path(folder, "empty"), Path(folder, "clone"), Path(folder, "venv")
        empty.mkdir()
        subprocess.run(["git", "clone", "--quiet", f"file://{ROOT}", str(clone)], check=True)
        alone = empty / Path(arguments.notebook).name
        alone.write_bytes((clone / arguments.notebook).read_bytes())
        stamp(alone, f"file://{clone}")
        subprocess.run([arguments.python, "-m", "venv", str(venv)], check=True)
        python = venv / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", *pinned(GIVEN)], check=True)

        def torch() -> str:
            show = [python, "-c", "import torch; print(torch.__version__, torch.__file__)"]
            return subprocess.run(show, check=True, capture_output=True, text=True).stdout

        before = torch()
        outside = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
        outside |= {"OPEN_THREADS_BARS": "0", "PATH": f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        subprocess.run([python, "-c", RUN, alone.name], cwd=empty, env=outside, check=True)
        if torch() != before:
            raise SystemExit(f"the setup cell changed torch: {before.strip()} became {torch().strip()}")
        print(f"{alone.name}: ran to the end, alone in an empty folder; torch untouched ({before.split()[0]})")


if __name__ == "__main__":
    main()
