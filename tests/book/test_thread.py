"""A new chapter by one command, in a copy of the project: it runs, reads well, and is marked open."""

import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path):
    """The tracked files that a chapter has to do with, without the long chapters' notebooks being run."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in tracked:
        if not name.startswith(("artifacts/dictionaries", "benchmarks")) and (ROOT / name).exists():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def begin(project, *arguments, run=False):
    code = (
        "import thread; "
        + ("thread.main" if run else "thread.begin")
        + f"(*{[list(arguments)] if run else arguments!r})"
    )
    call = [sys.executable, "-c", f"import sys; sys.path.insert(0, 'tools'); {code}"]
    return subprocess.run(call, cwd=project, capture_output=True, text=True)


def test_it_is_in_the_lists_behind_the_others(project):
    made = begin(project, "Four cuts of a deck", "Are three riffles enough?")
    assert made.returncode == 0, made.stderr
    threads = yaml.safe_load((project / "book" / "threads.yml").read_text("utf-8"))
    last = threads[-1]
    assert last["number"] == len(threads) and last["notebook"] == f"{len(threads):02d}_four_cuts_of_a_deck"
    assert last["question"] == "Are three riffles enough?"
    contents = yaml.safe_load((project / "_toc.yml").read_text("utf-8"))
    files = [chapter["file"] for part in contents["parts"] for chapter in part["chapters"]]
    chapters = [name for name in files if name.startswith("notebooks/")]
    assert chapters[-1] == f"notebooks/{last['notebook']}"
    notebook = nbformat.read(project / f"{chapters[-1]}.ipynb", as_version=4)
    nbformat.validate(notebook)
    prose = " ".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert last["held_against"] in prose  # as the table of verdicts has it
    assert "Are three riffles enough?" in notebook.cells[1].source and "**Open.**" in notebook.cells[1].source
    hidden = [cell for cell in notebook.cells if "hide-input" in cell.metadata.get("tags", [])]
    assert len(hidden) > 5 and all(cell.metadata.cellView == "form" for cell in hidden)


@pytest.mark.parametrize(
    "title", ["", " ", "a [link](x)", "<b>bold</b>", "Feature orthogonality", "feature  Orthogonality"]
)
def test_a_title_that_will_not_do_is_named_and_nothing_is_written(project, title):
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    made = begin(project, title, run=True)
    assert "TITLE=" in made.stderr and "Traceback" not in made.stderr
    after = {path: path.read_bytes() for path in project.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert after == before


def test_it_runs_and_reads_as_a_chapter_must(project):
    made = begin(project, "Four cuts of a deck", "Are three riffles enough?", run=True)
    assert made.returncode == 0, made.stderr[-2000:]
    path = next(project.glob("notebooks/*_four_cuts_of_a_deck.ipynb"))
    number = path.stem[:2]
    assert f"](#ch{number}_toy)" in path.read_text("utf-8") and "[?](#" not in path.read_text("utf-8")
    assert f"| {int(number)} | [Four cuts of a deck](notebooks/{path.name}) | **Open.**" in (
        project / "README.md"
    ).read_text("utf-8")
    call = [sys.executable, "tools/prose.py", "--check"]
    told = subprocess.run(call, cwd=project, capture_output=True, text=True)
    assert path.name not in told.stdout, told.stdout
    call = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/threads",
        "tests/book/test_notebooks.py",
    ]
    checks = subprocess.run([*call, "-k", "four_cuts_of_a_deck"], cwd=project, capture_output=True, text=True)
    assert checks.returncode == 0, checks.stdout[-2000:]
