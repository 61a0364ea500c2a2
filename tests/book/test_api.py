"""The page of helpers lists every public name, from the sources as they are, and its links lead somewhere."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from bs4 import BeautifulSoup
from test_site import CHAPTER_BYTES, ROOT, Visit

sys.path.insert(0, str(ROOT / "book" / "_ext"))
import api  # noqa: E402

FACES = (
    "lm", "sae", "geometry", "superposition", "composition", "definitions", "reviewer", "singular", "dashboard",
    "evidence", "page", "runs",
)  # fmt: skip
LIGHT = "import sys; import api; api.faces(); assert not {'torch', 'numpy', 'helpers'} & set(sys.modules)"


@pytest.fixture(scope="module")
def page(site):
    return BeautifulSoup((site / "book" / "api.html").read_text(encoding="utf-8"), "html.parser")


def public(name: str) -> list[str]:
    """What a face offers: its ``__all__``, or what a module without one defines without an underscore."""
    module = importlib.import_module(f"helpers.{name}")
    if hasattr(module, "__all__"):
        return module.__all__
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    found = [n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    found += [t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets]
    return [name for name in found if name[0] != "_" and not isinstance(getattr(module, name), ModuleType)]


@pytest.mark.parametrize("name", [*FACES, "checks"])
def test_every_public_name_is_on_the_page_with_where_it_is_from(page, name):
    assert page.find(id=f"helpers.{name}").name == "section"
    for public_name in public(name):
        term = page.find(id=f"helpers.{name}.{public_name}")
        assert term.name == "dt" and public_name in term.get_text()
        (where,) = term.find_next_sibling("dd").find_all(class_="api-where", recursive=False)
        file, line = re.fullmatch(r"(helpers/\S+\.py), line (\d+)", where.get_text()).groups()
        assert public_name in (ROOT / file).read_text(encoding="utf-8").splitlines()[int(line) - 1]


def test_faces_come_in_a_newcomers_order_and_none_is_missing(page):
    seen = [section["id"] for section in page.find_all("section", id=re.compile(r"^helpers\."))]
    assert seen[: len(FACES) + 1] == [f"helpers.{name}" for name in (*FACES, "checks")]
    here = [p for p in (ROOT / "helpers").glob("[a-z]*") if p.suffix == ".py" or (p / "__init__.py").exists()]
    assert {f"helpers.{p.stem}" for p in here} == set(seen)


def test_an_entry_has_signature_docstring_and_example(page):
    term = page.find(id="helpers.lm.load_lm")
    assert term.get_text().strip().startswith("load_lm(name: str | Path = 'smollm2-135m', device: str | None")
    said = term.find_next_sibling("dd").get_text()
    assert "Parameters" in said and "FileNotFoundError" in said and ">>> lm = load_lm()" in said and "(30, 576" in said


def test_links_lead_to_places_on_the_page_and_no_role_is_left(page):
    ids = {element["id"] for element in page.find_all(id=True)}
    links = [link["href"] for link in page.select("article a[href^='#']")]
    assert len(links) > 200 and {link[1:] for link in links if len(link) > 1} <= ids
    said = page.find("article").get_text()
    assert not re.search(r":(func|class|meth|mod):|``|\.\. rubric|\\\|", said) and api.MARK not in said
    assert not page.select(".problematic, .system-message")


def test_no_name_of_the_page_is_a_place_twice(page):
    ids = [element["id"] for element in page.find("article").find_all(id=True)]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("doc", "expected"),
    [
        ("Of :func:`build` and |x|.", f"Of ``{api.MARK}build`` and \\|x\\|."),
        ("A ``|x|`` stays.", "A ``|x|`` stays."),
        ("Law\n\n    a = |b|\n\nend", "Law\n\n::\n\n    a = |b|\n\nend"),
        (
            "Parameters\n----------\na, b\n    Two.\n\nThen.",
            ".. rubric:: Parameters\n\n``a``, ``b``\n    Two.\n\nThen.",
        ),
        ("Say\n\n>>> x | y\n3\n\n|z|", "Say\n\n>>> x | y\n3\n\n\\|z\\|"),
    ],
)
def test_docstrings_become_restructured_text(doc, expected):
    assert api.restructured(doc) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(a, b: int = 1, *, c='x', **d) -> int: ...", (["a", "b: int = 1", "*", "c='x'", "**d"], "int")),
        ("def f(*a, b): ...", (["*a", "b"], "")),
        ("class C(P): ...", (["P"], "")),
        ("class C:\n    def __init__(self, a): ...", (["a"], "")),
        ("class C(NamedTuple):\n    a: int\n    b: int = 2", (["a: int", "b: int = 2"], "")),
    ],
)
def test_signatures_are_those_of_the_source(source, expected):
    assert api.arguments(ast.parse(source).body[0]) == expected


def test_the_page_is_made_without_importing_what_it_lists():
    done = subprocess.run([sys.executable, "-c", LIGHT], cwd=ROOT / "book" / "_ext", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_page_weighs_little(browser, address, capsys):
    with Visit(browser, f"{address}/book/api.html") as visit:
        total = sum(visit.weight().values())
    with capsys.disabled():
        print(f"\nbook/api.html: {total / 1000:.0f} kB compressed")
    assert total <= CHAPTER_BYTES
