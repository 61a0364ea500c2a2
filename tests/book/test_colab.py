"""A notebook service keeps its own Python, torch and widgets: the bounds take them, and the setup cell leaves them."""

import importlib.metadata
import importlib.util
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import rehearse
import setup_cell
from nbformat import reads
from nbformat.v4 import new_code_cell, new_notebook, writes
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
# Google Colab in August 2026
COLAB = {"torch": "2.11.0+cu130", "numpy": "2.1.3", "pandas": "2.2.3", "ipywidgets": "7.7.1"}
PYTHON = {"python_version": "3.13", "python_full_version": "3.13.5", "extra": ""}


def needs(name: str) -> list[Requirement]:
    """What an installed package asks for there."""
    lines = importlib.metadata.requires(name) or []
    return [r for r in map(Requirement, lines) if r.marker is None or r.marker.evaluate(PYTHON)]


def reached() -> list[tuple[str, Requirement]]:
    """Who asks for what, from the project's own dependencies on; of what is not installed nothing is known."""
    asked = [(PROJECT["name"], Requirement(line)) for line in PROJECT["dependencies"]]
    seen, todo = set(), [requirement.name for _, requirement in asked]
    while todo:
        name = todo.pop().lower().replace("_", "-")
        if name in seen or name in COLAB:
            continue
        seen.add(name)
        try:
            more = needs(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        asked += [(name, requirement) for requirement in more]
        todo += [requirement.name for requirement in more]
    assert len(seen) > 30
    return asked


def test_its_python_is_taken():
    assert PYTHON["python_full_version"] in SpecifierSet(PROJECT["requires-python"])


@pytest.mark.parametrize("name", COLAB)
def test_its_own_versions_are_taken_by_all_that_ask_for_them(name):
    asking = [(who, r) for who, r in reached() if r.name.lower() == name]
    refuse = [f"{who}: {r}" for who, r in asking if COLAB[name] not in r.specifier]
    assert asking and not refuse


def run(tmp_path, monkeypatch, torch):
    """What the setup cell does alone in an empty folder, beside a torch whose package has the version ``torch``."""
    done, find, version = [], importlib.util.find_spec, importlib.metadata.version

    def note(command, check):
        assert check
        done.append(command)
        if command[0] == "git":
            (Path(command[-1]) / "helpers" / "lm").mkdir(parents=True)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "run", note)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "helpers" else find(name))
    monkeypatch.setattr(importlib.metadata, "version", lambda name: torch if name == "torch" else version(name))
    monkeypatch.setattr("torch.__version__", COLAB["torch"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    exec(setup_cell.stamped(setup_cell.SOURCE, "https://github.com/you/book"), {})
    return done


@pytest.mark.parametrize("package", ["2.11.0", "2.11.0+cu130"])
def test_its_torch_is_pinned_to_what_its_package_says(tmp_path, monkeypatch, package):
    clone, install = run(tmp_path, monkeypatch, package)
    assert clone[:2] == ["git", "clone"] and clone[-2] == "https://github.com/you/book"
    pinned = Path(install[install.index("--constraint") + 1]).read_text()
    assert pinned == f"torch=={package}\n" and COLAB["torch"] in Requirement(pinned.strip()).specifier
    assert "--upgrade" not in install and install[-2:] == ["--editable", str(tmp_path / "open-threads")]


def test_the_rehearsal_stamps_the_cell_as_publishing_does(tmp_path):
    book = new_notebook(cells=[new_code_cell(setup_cell.SOURCE)])
    (tmp_path / "alone.ipynb").write_text(writes(book), "utf-8")
    rehearse.stamp(tmp_path / "alone.ipynb", "file:///clone")
    cell = reads((tmp_path / "alone.ipynb").read_text("utf-8"), as_version=4).cells[0]
    assert cell.source == setup_cell.stamped(setup_cell.SOURCE, "file:///clone")
    assert {line.split("==")[0] for line in rehearse.pinned(rehearse.GIVEN)} == set(rehearse.GIVEN)
