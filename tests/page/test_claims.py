"""A claim that a changed number breaks says which it was, and is an error all the same."""

import nbclient
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

# a function as it would stand in a file of helpers
INSIDE = "exec(compile('def fault():\\n    assert 0', claims.__file__, 'exec'), vars(claims))"


@pytest.fixture(scope="module")
def said():
    """What each of a few failing cells says, from one kernel."""
    cells = {
        "begin": "from helpers.page import use\nuse()\nx = {'arm': 2}",
        "bare": "for one in (0, 1):\n    assert x['arm'] < 1 + one, one",
        "long": "assert all(\n    value < 1\n    for value in x.values()\n)",
        "inside": "def f():\n    assert False\nf()",
        "other": "1 / 0",
        "fault": f"from helpers.page import claims\n{INSIDE}\nclaims.fault()",
    }
    book = new_notebook(cells=[new_code_cell(source) for source in cells.values()])
    nbclient.NotebookClient(book, kernel_name="python3", allow_errors=True, timeout=120).execute()
    errors = [[o for o in cell.outputs if o.output_type == "error"] for cell in book.cells]
    return dict(zip(cells, errors, strict=True))


def test_which_it_was_and_what_was_seen(said):
    (bare,), (long,), (inside,) = said["bare"], said["long"], said["inside"]
    assert bare.ename == "AssertionError" and "this does not hold: x['arm'] < 1 + one, one (0)." in bare.evalue
    assert (
        "If you changed one" in bare.evalue and "all(" in long.evalue and "this does not hold: False." in inside.evalue
    )
    assert any("If you changed one" in line for line in bare.traceback)


def test_other_errors_stay_what_they_are(said):
    assert said["begin"] == [] and said["other"][0].evalue == "division by zero"
    assert said["fault"][0].ename == "AssertionError" and said["fault"][0].evalue == ""


def test_it_still_stops_a_run():
    book = new_notebook(cells=[new_code_cell("from helpers.page import use\nuse()"), new_code_cell("assert 1 > 2")])
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="this does not hold: 1 > 2"):
        nbclient.NotebookClient(book, kernel_name="python3", timeout=120).execute()
    assert nbformat.validate(book) is None
