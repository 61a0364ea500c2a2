"""Run every notebook again, compare it with what is committed, and write down that it agreed: ``book/status.json``.

    python tools/status.py            # all notebooks, one after another
    python tools/status.py notebooks/06_three_features.ipynb

An entry a notebook, written at once when it has agreed: seconds on two threads with the kernel's start, the load of
the machine before, the day, what the cells were, and the versions it ran on. A notebook that differs keeps its old
entry and ends the command with status 1.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book" / "_ext"))

from checked import digest  # noqa: E402

STATUS = ROOT / "book" / "status.json"
PACKAGES = ("torch", "transformer-lens", "transformers", "numpy")
THREADS = 2


def known() -> dict[str, dict]:
    return json.loads(STATUS.read_text(encoding="utf-8")) if STATUS.exists() else {}


def write(entries: dict[str, dict]) -> None:
    temporary = STATUS.with_suffix(".tmp")
    temporary.write_text(json.dumps(dict(sorted(entries.items())), indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, STATUS)


def entry(path: Path, seconds: float, load: float) -> dict:
    """What is kept of a notebook that agreed."""
    versions = {name: version(name) for name in PACKAGES}
    return {
        "seconds": round(seconds),
        "load": round(load, 1),
        "checked": datetime.date.today().isoformat(),
        "cells": digest(path),
        "versions": {"Python": platform.python_version(), **versions},
    }


def agrees(path: Path) -> bool:
    command = [sys.executable, "-m", "pytest", "--nbval", "--quiet", "-p", "no:cacheprovider", str(path)]
    threads = {name: str(THREADS) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **threads}).returncode == 0


def main(arguments: list[str]) -> int:
    failed = []
    for path in [Path(a).resolve() for a in arguments] or sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        start, load = time.perf_counter(), os.getloadavg()[0]
        if agrees(path):
            made = entry(path, time.perf_counter() - start, load)
            write({**known(), path.stem: made})
            print(f"{path.name}: {made['seconds']} s")
        else:
            failed.append(path.name)
    present = {path.stem for path in (ROOT / "notebooks").glob("[0-9]*.ipynb")}
    write({name: made for name, made in known().items() if name in present})
    if failed:
        print("not as committed: " + ", ".join(failed))
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
