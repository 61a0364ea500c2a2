"""A number carries its interval, what that covers and its null, in one form; and says what is wrong with it."""

import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from helpers.evidence import MIME, number


def test_value_ends_and_null_are_written_in_one_form():
    made = number("ch01_share", -0.049, "+.0%", interval=(-0.1, 0.021), covers="95%, over words", null=0.0)
    assert (made.text, made.interval, made.covers, made.null) == ("−5%", "−10% to +2%", "95%, over words", "0%")
    assert str(made) == "−5%"


def test_words_are_said_once():
    made = number("ch04_words", 11.0, "{:.0f} of 16", interval=(9, 13), covers="95%, over words", null=1)
    assert (made.text, made.interval, made.null) == ("11 of 16", "9 to 13 of 16", "1 of 16")


def test_a_number_without_an_interval_says_why():
    made = number("ch06_threshold", 16.09, ".1f", covers="exact")
    assert made.note == "exact" and made.interval == made.null == ""


def test_a_text_that_is_ready_stays_as_it_is():
    assert number("ch03_l", "about ln m", covers="exact", null="none").note == "exact; if there were nothing: none"


def test_the_bundle_is_the_same_every_time_and_reads_as_text():
    bundle = number("ch01_a", 0.5, covers="exact").bundle()
    assert bundle[MIME] == {"key": "ch01_a", "text": "0.50", "interval": "", "covers": "exact", "null": ""}
    assert bundle["text/plain"] == "ch01_a = 0.50 (exact)"


def test_ends_that_are_texts_stay_as_they_are():
    assert number("ch03_l", "about 10", interval=("9", "13"), covers="95%, over seeds").interval == "9 to 13"


def test_in_a_notebook_each_is_shown_once_and_as_a_line(tmp_path):
    """Also the last of a cell, which a notebook would show again; and nbval compares what was shown."""
    cell = new_code_cell(
        "from helpers.evidence import number\n"
        "number('ch01_a', 0.5, covers='exact')\n"
        "number('ch01_b', -0.25, interval=(-0.5, 0.1), covers='95%, over seeds', null=0.0)"
    )
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = new_notebook(cells=[cell], metadata={"kernelspec": kernel})
    NotebookClient(notebook, timeout=60).execute()
    lines = ["ch01_a = 0.50 (exact)", "ch01_b = −0.25 (−0.50 to 0.10; 95%, over seeds; if there were nothing: 0.00)"]
    assert [output.data["text/plain"] for output in cell.outputs] == lines
    assert [output.data[MIME]["key"] for output in cell.outputs] == ["ch01_a", "ch01_b"]
    path = tmp_path / "small.ipynb"
    for change, status in (("95%, over seeds", 0), ("95%, over texts", 1)):
        cell.outputs[1].data[MIME]["covers"] = change
        nbformat.write(notebook, path)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--nbval",
            "--nbval-current-env",
            "-p",
            "no:cacheprovider",
            path,
        ]
        assert subprocess.run(command, capture_output=True, cwd=tmp_path).returncode == status


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": "share"}, "key='share'; expected chNN_name"),
        ({"key": "ch01_Share"}, "key='ch01_Share'"),
        ({"covers": " "}, "covers=' '"),
        ({"interval": (2, 1)}, r"interval=\(2, 1\); expected two ends in order"),
        ({"interval": (float("nan"), 1)}, "interval="),
        ({"interval": (0, float("inf"))}, "interval=inf; expected a finite number"),
        ({"value": float("nan")}, "value=nan; expected a finite number"),
        ({"null": float("nan")}, "null=nan"),
        ({"value": "a [b]"}, r"value reads 'a \[b\]'; expected plain text"),
        ({"value": "<b>1</b>"}, "without signs of Markdown or HTML"),
        ({"value": " "}, "value reads ' '"),
    ],
)
def test_what_is_no_number_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        number(**{"key": "ch01_a", "value": 1.0, "covers": "exact"} | change)
