"""The house stands as it is drawn: arrows go down, modules are small, and others come in through the faces."""

import ast
import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = ("helpers", "recipes", "benchmarks")
LINES = 300
FACES = sorted(p.parent.name for p in (ROOT / "helpers").glob("*/__init__.py"))


def contract(root: Path) -> subprocess.CompletedProcess:
    """``lint-imports`` in the folder ``root``, on the code that lies there."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--config", "pyproject.toml"]
    env = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run(command, cwd=root, env=env, capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path):
    """The house without furniture: what the contract reads."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in ("helpers", "recipes", "benchmarks"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_arrows_go_down_only():
    seen = contract(ROOT)
    assert seen.returncode == 0, seen.stdout


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("helpers/runs/store.py", "from ..sae import build", "helpers.runs is not allowed to import helpers.sae"),
        (
            "helpers/geometry/laws.py",
            "from ..lm import load_lm",
            "helpers.geometry is not allowed to import helpers.lm",
        ),
        ("helpers/sae/toy.py", "from recipes import toys", "helpers is not allowed to import recipes"),
        ("helpers/attic.py", '"""A module without a floor."""', "helpers.attic"),
    ],
)
def test_an_arrow_that_goes_up_breaks_the_contract(copy, module, line, broken):
    path = copy / module
    path.write_text((path.read_text() if path.exists() else "") + line + "\n")
    seen = contract(copy)
    assert seen.returncode != 0 and broken in seen.stdout


def too_long(folder: Path) -> list[str]:
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in folder.rglob("*.py")}
    return [f"{path.relative_to(folder)} has {n} lines" for path, n in sizes.items() if n > LINES]


def test_no_module_is_longer_than_an_idea():
    assert too_long(ROOT / "helpers") == []


def test_a_module_that_is_longer_is_found(copy):
    (copy / "helpers" / "lm" / "long.py").write_text("x = 1\n" * (LINES + 1))
    assert too_long(copy / "helpers") == [f"lm/long.py has {LINES + 1} lines"]


def inner_imports(source: str) -> list[str]:
    """What a piece of code imports from behind a face."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        found += [name for name in names if name and name.startswith("helpers.") and name.count(".") > 1]
    return found


def users() -> list[Path]:
    return [
        path
        for folder in ("notebooks", "recipes", "benchmarks", "tools", "tests")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in (".py", ".ipynb") and ".ipynb_checkpoints" not in path.parts
    ]


def sources(path: Path) -> list[str]:
    """The code of a module, or of a notebook's cells."""
    if path.suffix == ".py":
        return [path.read_text(encoding="utf-8")]
    return [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", users(), ids=lambda path: str(path.relative_to(ROOT)))
def test_others_come_in_through_the_faces(path):
    inner = [name for source in sources(path) for name in inner_imports(source)]
    if path.is_relative_to(ROOT / "tests"):  # which may look behind the face they test
        inner = [name for name in inner if name.split(".")[1] not in path.parts]
    assert inner == [], f"import from the face: {inner}"


def test_every_face_says_its_idea_and_its_names_are_there():
    for name in FACES:
        face = __import__(f"helpers.{name}", fromlist=["__all__"])
        assert len(face.__doc__) > 60 and face.__all__, name
        assert all(hasattr(face, public) for public in face.__all__), name
        assert len(set(face.__all__)) == len(face.__all__), name


def missing(source: str) -> list[str]:
    """What a piece of code takes from the project by name and the project does not have."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and not node.level and node.module.split(".")[0] in OURS:
            module = importlib.import_module(node.module)
            found += [
                f"{node.module}.{alias.name}"
                for alias in node.names
                if not hasattr(module, alias.name) and not importlib.util.find_spec(f"{node.module}.{alias.name}")
            ]
    return found


@pytest.mark.parametrize("path", users(), ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_taken_from_the_project_is_there(path):
    """Also in what no test runs: benchmarks, and the workers in the peers' environment."""
    assert [name for source in sources(path) for name in missing(source)] == []


def test_a_name_that_is_not_there_is_found():
    code = "from helpers.sae import build, no_such_name\nfrom helpers import geometry\nfrom os import no_matter"
    assert missing(code) == ["helpers.sae.no_such_name"]
