"""What others rely on is in the faces, and shown by an example. The examples run under `make test`, as doctests."""

import ast
import doctest
import importlib
import inspect
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FACES = sorted(path.parent.name for path in (ROOT / "helpers").glob("*/__init__.py"))
FIXED = {
    "lm": ("load_lm", "activations", "spliced_loss", "load_tokens"),
    "sae": ("ARCHITECTURES", "build", "SAE", "save", "load", "load_saelens", "train", "SparseFeatures", "l0", "fvu"),
    "geometry": ("kth_largest_cosine", "random_kth_cosine", "nearest_neighbours", "in_degree", "welch_bound"),
    "dashboard": ("collect", "feature_card", "write_browser"),
    "page": ("Explorer", "use"),
    "runs": ("artifact", "save_artifact", "sweep"),
    "reviewer": ("ReviewedPlans",),
    "singular": ("resolve", "volume_exponent", "local_learning_coefficient"),
}


def face(name: str):
    return importlib.import_module(f"helpers.{name}")


def shown(face_name: str, name: str) -> str:
    """Where the example of a name is: its docstring, or, for a value, that of the module which defines it."""
    thing = getattr(face(face_name), name)
    if inspect.isclass(thing) or inspect.isfunction(thing):
        return thing.__doc__ or ""
    for path in (ROOT / "helpers" / face_name).glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assigned = [n for n in tree.body if isinstance(n, ast.Assign | ast.AnnAssign)]
        targets = [t for n in assigned for t in (n.targets if isinstance(n, ast.Assign) else [n.target])]
        if any(getattr(target, "id", None) == name for target in targets):
            return ast.get_docstring(tree) or ""
    return ""


@pytest.mark.parametrize(("face_name", "name"), [(f, name) for f, names in FIXED.items() for name in names])
def test_a_name_that_others_rely_on_is_in_its_face_and_has_an_example(face_name, name):
    assert name in face(face_name).__all__
    examples = doctest.DocTestParser().get_examples(shown(face_name, name))
    assert any(example.want for example in examples), "no example with an output"
    assert any(name in example.source for example in examples)
    assert f"from helpers.{face_name} import" in "".join(example.source for example in examples)


@pytest.mark.parametrize("name", FACES)
def test_a_face_lists_what_it_imports_and_nothing_else(name):
    tree = ast.parse((ROOT / "helpers" / name / "__init__.py").read_text(encoding="utf-8"))
    imported = {alias.asname or alias.name for n in tree.body if isinstance(n, ast.ImportFrom) for alias in n.names}
    assert set(face(name).__all__) == imported
    assert len(face(name).__all__) == len(imported)
    assert not any(public.startswith("_") for public in imported)


@pytest.mark.parametrize("name", FACES)
def test_what_a_face_offers_says_what_it_is(name):
    for public in face(name).__all__:
        thing = getattr(face(name), public)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert thing.__doc__ and thing.__module__.startswith(f"helpers.{name}."), public


def test_examples_run_where_the_tests_do():
    assert "--doctest-modules helpers" in (ROOT / "Makefile").read_text()
