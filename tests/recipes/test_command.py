"""The command line of the recipes, and its list of them held to the files."""

import ast
import json
import re
import subprocess
import sys
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from recipes import command
from recipes.registry import RECIPES

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = json.loads((ROOT / "artifacts" / "manifest.json").read_text())
LIGHT = "import sys; from recipes.command import main; main(sys.argv[1:]); assert 'torch' not in sys.modules"


def maker(artifact: str) -> list[str]:
    return [r.name for r in RECIPES.values() if any(fnmatch(artifact, made) for made in r.makes)]


# The list and the files


def test_every_module_with_a_main_is_listed_and_no_other():
    trees = {path.stem: ast.parse(path.read_text()) for path in (ROOT / "recipes").glob("[a-z]*.py")}
    mains = {
        name for name, t in trees.items() if any(isinstance(n, ast.FunctionDef) and n.name == "main" for n in t.body)
    }
    assert mains - {"command"} == set(RECIPES)


@pytest.mark.parametrize("artifact", MANIFEST)
def test_an_artifact_is_made_by_the_recipe_that_its_manifest_names(artifact):
    named = re.match(r"python -m recipes[. ](\w+)", MANIFEST[artifact]["made"]["recipe"])[1]
    assert maker(artifact) == [named]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_what_a_recipe_makes_is_shipped(recipe):
    for made in recipe.makes:
        assert any(fnmatch(artifact, made) for artifact in MANIFEST) == recipe.shipped, made


def test_minutes_are_those_on_record():
    recorded = {name: {} for name in RECIPES}
    for artifact, entry in MANIFEST.items():
        (name,) = maker(artifact)
        recorded[name][entry["made"].get("seconds", 0)] = entry["made"].get("seconds", 0)
    for table in ("gated_sweep", "gated_second", "toys"):  # whose manifest does not say: a column does
        recorded[table][table] = pd.read_csv(ROOT / "artifacts" / f"{table}.csv").seconds.sum()
    for name, seconds in recorded.items():
        if (total := sum(seconds.values()) / 60) > 1 and name != "cosines":
            assert 0.5 <= RECIPES[name].minutes / total <= 2.5, (name, total)  # some seconds are of two cores


# Options


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_a_recipe_has_the_options_it_is_said_to_have(recipe, capsys):
    with pytest.raises(SystemExit) as end:
        command.run(recipe.name, ["--help"])
    said = capsys.readouterr().out
    flags = set(re.findall(r"^  (?:-h, )?(--[a-z]+)", said, re.M)) - {"--help"}
    assert end.value.code == 0
    assert said.startswith(f"usage: python -m recipes {recipe.name} ")
    assert flags == set(recipe.options)
    assert ("--reduced" in flags) == (recipe.reduced_minutes is not None and recipe.name != "compare")
    assert re.sub(r"\s", "", recipe.says) in re.sub(r"\s", "", said)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_each_sweep_of_a_recipe_takes_the_scheduler(recipe):
    tree = ast.parse((ROOT / "recipes" / f"{recipe.name}.py").read_text())
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module == "helpers.runs"]
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "sweep"]
    sweeps = calls if any(alias.name == "sweep" for n in imports for alias in n.names) else []
    for call in sweeps:
        assert {"scheduler", None} & {k.arg for k in call.keywords}, f"line {call.lineno}"
    assert bool(sweeps) == ("--scheduler" in recipe.options)


@pytest.mark.parametrize("name", [r.name for r in RECIPES.values() if "--scheduler" in r.options])
def test_the_address_reaches_the_sweep(name, monkeypatch):
    class Reached(Exception):
        pass

    def sweep(*_, scheduler=None, **__):
        raise Reached(scheduler)

    module = import_module(f"recipes.{name}")
    monkeypatch.setattr(module, "sweep", sweep)
    for slow in ("data", "check"):  # harvesting, and a look at the model
        if hasattr(module, slow):
            monkeypatch.setattr(module, slow, lambda *_, **__: 0)
    with pytest.raises(Reached, match="tcp://there"):
        module.main(["--scheduler", "tcp://there"])


# Asked for


def test_nothing_asked_is_help_and_computes_nothing(capsys, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("something was run"))
    monkeypatch.setattr(command, "run", lambda *_: pytest.fail("something was run"))
    assert command.main([]) == 0
    said = capsys.readouterr().out
    assert "--list" in said and "--all" in said and all(name in said for name in RECIPES)


def test_the_list_names_recipes_artifacts_and_costs(capsys):
    assert command.main(["--list"]) == 0
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["recipe", "chapter", "core-minutes", "reduced", "needs", "makes"]
    assert {row.split()[0] for row in rows if not row.startswith(" ")} == set(RECIPES)
    assert {made for r in RECIPES.values() for made in r.makes} <= {row.split()[-1] for row in rows}
    assert max(map(len, rows)) <= 130


@pytest.mark.parametrize("argument", ["--list", "--help"])
def test_list_and_help_import_no_torch(argument):
    done = subprocess.run([sys.executable, "-c", LIGHT, argument], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["toyz"], "NAME='toyz' is no recipe; did you mean toys?"),
        (["sweep"], "did you mean gated_sweep?"),
        (["absorption"], "NAME='absorption' is no recipe"),
        (["xyzzy"], "expected one of sample_corpus, human_text"),
        (["--reduced"], "--reduced alone computes nothing; expected --all or a recipe's name with it"),
        (["--all", "toys"], "unexpected toys; a recipe's name comes first, its options behind it"),
        (["--list", "--all"], "not allowed with"),
    ],
)
def test_what_is_not_understood_is_said_and_exits_with_2(arguments, said, capsys):
    with pytest.raises(SystemExit) as end:
        command.main(arguments)
    assert end.value.code == 2
    assert said in capsys.readouterr().err


def test_one_recipe_runs_with_its_own_options(monkeypatch):
    seen = []
    monkeypatch.setattr(
        command.importlib, "import_module", lambda name: SimpleNamespace(main=lambda a: seen.append((name, a)))
    )
    assert command.main(["toys", "--reduced"]) == 0
    assert seen == [("recipes.toys", ["--reduced"])]


def test_a_recipe_that_fails_gives_its_exit_code(monkeypatch):
    monkeypatch.setattr(command.importlib, "import_module", lambda _: SimpleNamespace(main=lambda _: 1))
    assert command.main(["compare"]) == 1


def test_all_runs_each_in_order_and_stops_where_one_fails(monkeypatch, capsys):
    ran = []

    def run(words):
        ran.append(words[2:])
        return SimpleNamespace(returncode=3 * (words[2] == "recipes.rescaling"))

    monkeypatch.setattr(subprocess, "run", run)
    assert command.main(["--all", "--reduced"]) == 3
    assert ran == [
        ["recipes.toys", "--reduced"],
        ["recipes.escape", "--reduced"],
        ["recipes.gated_sweep", "--reduced"],
        ["recipes.orthogonality", "--reduced"],
        ["recipes.superposition", "--reduced"],
        ["recipes.readings", "--reduced"],
        ["recipes.rescaling", "--reduced", "--model", "smollm2-135m"],
    ]
    assert "recipes.rescaling --reduced --model smollm2-135m failed with exit code 3" in capsys.readouterr().err


def test_all_is_what_make_artifacts_runs():
    assert [step[0].removeprefix("recipes.") for step in command.steps(reduced=False)] == [
        "sample_corpus", "human_text", "toys", "escape", "gated_sweep", "cosines", "orthogonality", "superposition",
        "readings", "rescaling", "rescaling_paths", "reviewer_lm", "three_features", "three_features_repaired",
        "several_pairs", "peaks", "singularities",
    ]  # fmt: skip
    assert all(len(step) == 1 for step in command.steps(reduced=False))
    assert command.steps(reduced=True)[-1] == ["recipes.compare"]
    assert ["recipes.toys", "--scheduler", "tcp://there"] in command.steps(reduced=False, scheduler="tcp://there")
    assert ["recipes.human_text"] in command.steps(reduced=False, scheduler="tcp://there")
    assert "$(PY) -m recipes --all $(if $(REDUCED),--reduced)" in (ROOT / "Makefile").read_text()
