"""Begin a new thread: a chapter's skeleton that runs, its line in the book's lists, and a test of its toy.

    python tools/thread.py "Three riffles" ["Are three riffles enough to hide a card?"]

The chapter is marked *open* until its stance says otherwise. It computes something small from end to end, so the book
builds and all tests pass with it; replace what it computes, keep the order. A title that is there already, or holds
what a heading may not, is refused before anything is written.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "book" / "_ext"), str(ROOT / "tools")]

import chapters  # noqa: E402
import folds  # noqa: E402
import setup_cell  # noqa: E402

QUESTION = "What exactly is asked, in one sentence that ends in a question mark?"
TEST = '''"""The toy of chapter @N@, where the answer is known: the notebook's own cells, on other seeds."""

from pathlib import Path

import nbformat
import numpy as np
import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "@STEM@.ipynb"


@pytest.fixture(scope="module")
def world():
    """What the cell of the measure and the one tagged ``toy`` define."""
    cells = [c.source for c in nbformat.read(NOTEBOOK, as_version=4).cells if c.cell_type == "code"]
    found: dict = {}
    for source in cells:
        if "def half" in source or "def toy" in source:
            exec(source, found)
    return found


@pytest.mark.parametrize("directions", [4, 10, 20])
def test_half_of_the_variance_lies_in_half_of_the_directions(world, directions):
    assert world["half"](world["toy"](directions=directions, seed=directions)) == directions // 2


def test_shuffled_columns_need_more(world):
    x = world["toy"](seed=5)
    assert world["half"](world["shuffled"](x)) > 2 * world["half"](x)
    np.testing.assert_allclose(world["shuffled"](x).var(0), x.var(0))
'''


def cells(text: str) -> list:
    """The cells of a skeleton: each begins with ``%% kind tag tag {metadata}``."""
    made = []
    for part in re.split(r"^%% ", text, flags=re.MULTILINE)[1:]:
        head, source = part.split("\n", 1)
        words, _, rest = head.partition(" {")
        kind, *tags = words.split()
        metadata = json.loads("{" + rest) if rest else {}
        if tags:
            metadata["tags"] = tags
        new = nbformat.v4.new_code_cell if kind == "code" else nbformat.v4.new_markdown_cell
        made.append(new(source.rstrip("\n"), metadata=metadata))
    return made


def checked(title: str) -> str:
    title = " ".join(title.split())
    if not re.search(r"\w", title) or re.search(r"[\[\]<>`*_{}|\\\"]", title):
        raise ValueError(f"TITLE={title!r}; expected plain words, without marks of Markdown or HTML")
    if any(chapters.slug(title) == chapters.slug(thread.title) for thread in chapters.threads()):
        raise ValueError(f"TITLE={title!r} is there already; expected another")
    return title


def begin(title: str, question: str = QUESTION) -> Path:
    """Write the skeleton, its lines and its test; return the notebook's path."""
    title, threads = checked(title), chapters.threads()
    n = max(thread.number for thread in threads) + 1
    stem = f"{n:02d}_{chapters.slug(title).replace('-', '_')}"
    names = {"N": str(n), "NN": f"{n:02d}", "TITLE": title, "QUESTION": question, "STEM": stem}
    names["SETUP"] = setup_cell.SOURCE.rstrip()

    def filled(text: str) -> str:
        return re.sub(r"@([A-Z]+)@", lambda match: names[match[1]], text)

    notebook = nbformat.v4.new_notebook(cells=cells(filled((ROOT / "tools" / "thread.txt").read_text("utf-8"))))
    path = ROOT / "notebooks" / f"{stem}.ipynb"
    nbformat.write(folds.fold(notebook), path)
    line = {"number": n, "notebook": stem, "title": title, "question": question}
    line |= {"held_against": "shuffled columns", "second_model": "none", "seeds": 0, "seeds_in": "text"}
    with open(ROOT / "book" / "threads.yml", "a", encoding="utf-8") as file:
        file.write(f"- {json.dumps(line, ensure_ascii=False)}\n")
    contents = ROOT / "_toc.yml"
    lines = contents.read_text(encoding="utf-8").splitlines(keepends=True)
    last = max(i for i, entry in enumerate(lines) if "file: notebooks/" in entry)
    lines.insert(last + 1, re.sub(r"notebooks/\S+", f"notebooks/{stem}", lines[last]))
    contents.write_text("".join(lines), encoding="utf-8")
    test = ROOT / "tests" / "threads" / f"test_ch{stem}.py"
    test.parent.mkdir(exist_ok=True)
    test.write_text(filled(TEST), encoding="utf-8")
    return path


def main(arguments: list[str]) -> int:
    if not 1 <= len(arguments) <= 2:
        print('usage: make thread TITLE="Three riffles" [QUESTION="Are three riffles enough?"]', file=sys.stderr)
        return 2
    try:
        path = begin(*arguments)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    import execute

    execute.main([str(path)])
    print(f"begun: {path.relative_to(ROOT)}; see CONTRIBUTING.md, “Answer a comment”")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
