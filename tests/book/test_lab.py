"""A chapter as a tinkerer opens it: in a real JupyterLab, nothing run, its Markdown reads as text; code is folded."""

import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import chapters
import folds
import nbformat
import pytest

TOLD = [t for t in chapters.threads() if t.path.exists() and chapters.converted(nbformat.read(t.path, as_version=4))]
RAW = re.compile(r"\]\(#|\{[\w:-]+\}`|^\s*(?:```|:::)|</?(?:details|summary)|\$\\", re.MULTILINE)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a JupyterLab in a folder with copies of the chapters; it shows all cells, in sight or not."""
    home = tmp_path_factory.mktemp("lab")
    settings = home / "settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)
    (settings / "tracker.jupyterlab-settings").write_text(json.dumps({"windowingMode": "none"}), encoding="utf-8")
    (home / "work").mkdir()
    for thread in TOLD:
        shutil.copy(thread.path, home / "work")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.port={port}",
            "--ServerApp.port_retries=0", "--IdentityProvider.token=", f"--ServerApp.root_dir={home / 'work'}",
            f"--LabApp.user_settings_dir={home / 'settings'}", f"--LabApp.workspaces_dir={home / 'spaces'}",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/api", timeout=5).read()
                break
            except OSError:
                assert server.poll() is None, "JupyterLab stopped"
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()  # it ends the kernels that it started for the chapters, which can take a while
        try:
            server.wait(120)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@pytest.mark.parametrize("thread", TOLD, ids=lambda thread: thread.notebook)
def test_a_chapter_reads_well_in_jupyterlab(lab, browser, thread):
    notebook = nbformat.read(thread.path, as_version=4)
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{lab}/lab/tree/{thread.path.name}?reset", timeout=120_000)
    cells = page.locator(".jp-Notebook .jp-MarkdownCell .jp-RenderedMarkdown")
    wanted = sum(cell.cell_type == "markdown" for cell in notebook.cells)
    page.wait_for_function(  # drawn and in sight: on a busy machine the notebook lies hidden for a while
        """wanted => {
            const cells = [...document.querySelectorAll(".jp-Notebook .jp-MarkdownCell .jp-RenderedMarkdown")];
            return cells.length >= wanted && cells.every(cell => cell.innerText.trim());
        }""",
        arg=wanted,
        timeout=120_000,
    )
    page.wait_for_timeout(1000)  # formulas are set last
    texts = cells.all_inner_texts()
    assert len(texts) == wanted
    for text in texts:
        assert not RAW.search(text), RAW.search(text)[0] + " in: " + text[:200]
    told = " ".join(" ".join(texts).split())
    assert re.sub(r"[`*]", "", chapters.chapter(thread.path).plain) in told
    drawn = page.locator(".jp-Notebook .jp-OutputArea-output img, .jp-Notebook .jp-OutputArea-output svg")
    assert drawn.count() >= (1 if chapters.chapter(thread.path).open else 3)
    shut = page.locator(".jp-Notebook .jp-CodeCell").evaluate_all(
        """cells => cells.map(cell => {
            const editor = cell.querySelector(".jp-InputArea-editor");
            return !editor?.getClientRects().length && !!cell.querySelector(".jp-InputPlaceholder");
        })"""
    )
    assert shut == [folds.folded(cell) for cell in notebook.cells if cell.cell_type == "code"]
    page.close()
