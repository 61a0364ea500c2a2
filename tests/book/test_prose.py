"""Chapters that have an opening are told as the book tells; and every rule fails where it is broken."""

from pathlib import Path

import chapters
import nbformat
import prose
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers.evidence import MIME, number

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
MADE = number("ch99_share", 0.59, ".0%", interval=(0.55, 0.64), covers="95%, over seeds", null=0.5)
NULL = number("ch99_null", 0.02, ".0%", covers="exact")
THIRD = number("ch99_third", 3, ".0f", covers="exact")
OPENING = "**No.** The guesser finds [59%](#ch99_share) of cards, and by luck [2%](#ch99_null).\n\nA second paragraph."


def told(*texts: str, opening: str = OPENING, **changes):
    """A small chapter that keeps every rule, with ``texts`` added to its prose."""
    outputs = [new_output("display_data", data=made.bundle()) for made in (MADE, NULL, THIRD)]
    cells = [
        new_markdown_cell("# 9 · A made-up chapter"),
        new_markdown_cell(opening, metadata={"tags": ["opening"]}),
        new_code_cell("draw()", metadata={"tags": changes.get("answer", ["answer-figure"])}),
        new_code_cell("sketch()", metadata={"tags": ["drawing"]}),
        new_code_cell("publish()", outputs=outputs),
        new_markdown_cell(
            "## What is asked\n\nA deck at `n = 52`, as [Till 2024](#till2024true) has it, and [L0](#frontier)."
        ),
        new_markdown_cell("> **Theorem** (twins). Let $n=3$.\n\nSee [the theorem](#theorem-twins)."),
        *map(new_markdown_cell, texts),
    ]
    return new_notebook(cells=cells)


def test_a_chapter_that_keeps_the_rules_has_no_fault():
    fine = "<details><summary>Fine print</summary>\n\n17 pilots (3 to 4), [59%](#ch99_share) ± 2.\n\n</details>"
    faults = prose.faults(told(fine))
    assert faults == [
        "'17' is typed by hand",
        "'(3' is typed by hand",
        "'4),' is typed by hand",
        "'2.' is typed by hand",
    ]
    assert prose.faults(told("| claim | measured |\n|---|---|\n| found | [59%](#ch99_share) |")) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("It is [60%](#ch99_share).", "ch99_share is '59%', the text says '60%'"),
        ("We saw 17 of them.", "'17' is typed by hand"),
        ("We saw [17 of them](#theorem-twins).", "'17' is typed by hand"),
        ("See [Theorem 9.2](#theorem-twins).", "[Theorem 9.2](#theorem-twins) is [Theorem 9.1](#theorem-twins) now"),
        ("It is 0.4 nats.", "'0.4' is typed by hand"),
        ("See [there](#nowhere).", "#nowhere names nothing"),
        ("See [59%](#ch99_shares).", "#ch99_shares names nothing"),
        ("From [59%](#ch99_share) to [2%](#ch99_null) or [3](#ch99_third).", "3 numbers in one sentence"),
        ("It is [59%](#ch99_share) ([3](#ch99_third) to [2%](#ch99_null)).", "an interval in running text"),
        ("It is so ([2%](#ch99_null) to [59%](#ch99_share)).", "an interval in running text"),
        ("word " * 1801, "words outside folds; at most 1800"),
        ("It is {glue:text}`ch99_share`.", "shows only on the site"),
        ("```{note}\nHear.\n```", "shows only on the site"),
        (":::{note}\nHear.\n:::", "shows only on the site"),
    ],
)
def test_a_broken_rule_is_found(text, fault):
    assert any(fault in found for found in prose.faults(told(text)))


@pytest.mark.parametrize(
    ("opening", "fault"),
    [
        ("**Perhaps.** It may be.", "stance 'Perhaps'; expected one of Yes, No"),
        ("It may be.", "does not begin with a stance"),
        ("**Yes.** " + "word " * 26 + ".", "has 27 words; at most 25"),
        ("**Yes.** [59%](#ch99_share), [2%](#ch99_null), [3](#ch99_third).", "more than two numbers"),
    ],
)
def test_a_bad_opening_is_found(opening, fault):
    assert any(fault in found for found in prose.faults(told(opening=opening)))


def test_the_title_may_stand_in_the_cell_of_the_opening():
    assert prose.faults(told(opening=f"# 9 · A claim\n\n{OPENING}")) == []


def test_the_question_above_the_stance_is_the_front_pages():
    asked = next(thread.question for thread in chapters.threads() if thread.number == 9)
    assert prose.faults(told(opening=f"*{asked}*\n\n{OPENING}")) == []
    (fault,) = prose.faults(told(opening=f"*Is it so?*\n\n{OPENING}"))
    assert fault.startswith("the opening asks 'Is it so?'; book/threads.yml asks")


def test_site_and_helpers_mean_the_same_records():
    assert chapters.MIME == MIME  # written twice: a build of the site imports no torch


def test_a_chapter_without_its_figure_is_found():
    assert "0 cells tagged answer-figure; expected one" in prose.faults(told(answer=[]))


def test_values_are_written_into_the_text_and_twice_is_once():
    known = chapters.numbers(told())
    once = chapters.with_values("[?](#ch99_share), [x](#till2024true), [y](#ch98_other)", known)
    assert once == "[59%](#ch99_share), [x](#till2024true), [y](#ch98_other)" == chapters.with_values(once, known)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_chapter_keeps_the_rules(path):
    notebook = nbformat.read(path, as_version=4)
    if not chapters.converted(notebook):
        pytest.skip("not told in the new way yet")
    assert prose.faults(notebook) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_reads_in_a_plain_viewer(path):
    """What Colab or a code host makes of it: no role, no fence, no raw link."""
    from markdown_it import MarkdownIt

    notebook = nbformat.read(path, as_version=4)
    if not chapters.converted(notebook):
        pytest.skip("not told in the new way yet")
    shown = MarkdownIt("gfm-like", {"linkify": False}).render(prose.prose(notebook))
    import re

    text = re.sub(r"<[^>]*>", "", re.sub(r"<code>.*?</code>", "", shown, flags=re.DOTALL))
    text = re.sub(r"\$\$.*?\$\$|\$[^$\n]*\$", "", text, flags=re.DOTALL)  # a formula's braces are no role
    assert not re.search(r"\{[\w:]+\}|`{3}|:{3}|\]\(#|\]\(http", text)
