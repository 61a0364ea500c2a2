"""What folds a cell's code in JupyterLab and Colab: which cells, and that nothing else of the file changes."""

import copy

import folds
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook


def cell(source="x = 1", *tags, **metadata):
    return new_code_cell(source, metadata={"tags": list(tags), **metadata})


@pytest.mark.parametrize(
    ("one", "shut"),
    [
        (cell("x = 1", "hide-input"), True),
        (cell("x = 1", "answer-figure", "hide-input"), True),
        (cell("x = 1"), False),
        (cell("x = 1  # another: your turn", "hide-input"), False),
        (cell('x = "your turn"', "hide-input"), True),
        (new_markdown_cell("text", metadata={"tags": ["hide-input"]}), False),
    ],
)
def test_what_is_folded(one, shut):
    (seen,) = folds.fold(new_notebook(cells=[copy.deepcopy(one)])).cells
    assert folds.folded(one) == shut
    assert (seen.metadata.get("cellView"), seen.metadata.get("jupyter")) == (
        ("form", {"source_hidden": True}) if shut else (None, None)
    )


def test_a_cell_that_is_tagged_no_more_is_unfolded_and_keeps_the_rest():
    one = cell(jupyter={"source_hidden": True, "outputs_hidden": True}, cellView="form", mystnb={"image": {}})
    (seen,) = folds.fold(new_notebook(cells=[one])).cells
    assert seen.metadata == {"tags": [], "jupyter": {"outputs_hidden": True}, "mystnb": {"image": {}}}


def test_only_what_changes_is_written_and_only_once(tmp_path, capsys):
    path = tmp_path / "01_a.ipynb"
    nbformat.write(new_notebook(cells=[cell("x = 1", "hide-input"), cell()]), path)
    before = nbformat.read(path, as_version=4)
    folds.main([str(path)])
    once, stamp = path.read_bytes(), path.stat().st_mtime_ns
    folds.main([str(path)])
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (once, stamp)
    assert capsys.readouterr().out.count("up to date") == 1 and list(tmp_path.iterdir()) == [path]
    after = nbformat.read(path, as_version=4)
    for one in after.cells:
        for key in ("jupyter", "cellView"):
            one.metadata.pop(key, None)
    assert after == before
