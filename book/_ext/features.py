"""The feature browser of the book: ``features/``, from the artifact ``dashboards``, while Sphinx writes the chapters.

Cards are put together by a process of their own, which begins when Sphinx does. They stay as they are where nothing
that they are made from has changed, and there are none where there is no such artifact. They are no page of Sphinx's:
a chapter links to them as HTML, ``<a href="../features/index.html">``. As a program, without a book:

    python book/_ext/features.py TARGET
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

NAME = "dashboards"
FONTS = "../_static/fonts"  # as seen from the pages
HOME = "../index.html"
TITLE = "Features of SmolLM2-135M"


def key(artifacts: Path) -> str | None:
    """A hash of all that pages are made from: data, tokens and code; None where there are no data."""
    path = artifacts / "manifest.json"
    entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if NAME not in entries:
        return None
    made = {name: entries[name]["sha256"] for name in (NAME, *entries[NAME]["made"]["tokens"].values())}
    code = Path(importlib.util.find_spec("helpers.dashboard").origin).parent
    files = [Path(__file__), *(p for p in code.iterdir() if p.suffix in (".py", ".css", ".js", ".html"))]
    seen = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    return hashlib.sha256(json.dumps([made, seen], sort_keys=True).encode()).hexdigest()


def begin(app) -> None:
    """Start to write the pages, if they are not there as they should be."""
    app.features = None
    if app.builder.name != "html" or (wanted := key(Path(app.srcdir) / "artifacts")) is None:
        return
    target, record = Path(app.outdir) / "features", Path(app.doctreedir) / "features.key"
    if (target / "index.html").exists() and record.exists() and record.read_text() == wanted:
        return
    environment = {
        **os.environ,
        "OPEN_THREADS_ARTIFACTS": str(Path(app.srcdir) / "artifacts"),
        "OPEN_THREADS_BARS": "0",
    }
    command = [sys.executable, str(Path(__file__).resolve()), str(target)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    app.features = process, record, wanted


def end(app, exception) -> None:
    """Wait for the pages; the book is not built without them."""
    if not app.features:
        return
    process, record, wanted = app.features
    if exception:
        process.kill()
    said, _ = process.communicate()
    if exception:
        return
    if process.returncode:
        from sphinx.errors import ExtensionError

        raise ExtensionError(f"the feature browser could not be written:\n{said}")
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(wanted)


def write(target: Path) -> Path:
    """Write the browser of the artifact into ``target``; no model is needed."""
    import numpy as np

    from helpers.dashboard import Collected, Words, write_browser
    from helpers.runs import artifact, manifest

    folder, files = artifact(NAME), manifest()[NAME]["made"]["tokens"]
    tokens = {name: np.load(artifact(file), allow_pickle=False) for name, file in files.items()}
    found = Collected.load(folder, tokens)
    processes = min(2, os.cpu_count() or 1) if hasattr(os, "fork") else 1
    words = Words.load(folder / "words.xz")
    return write_browser(target, found, words, title=TITLE, fonts=FONTS, home=HOME, processes=processes)


def setup(app) -> dict:
    app.connect("builder-inited", begin)
    app.connect("build-finished", end, priority=100)  # before those who look at all pages
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    write(Path(sys.argv[1]))
