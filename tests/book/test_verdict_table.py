"""The table of verdicts: what it says is in the sources, and it sorts by mouse and keyboard."""

import re

import chapters
import front
import pandas as pd
import pytest

from recipes.registry import RECIPES

WRITTEN = [thread for thread in chapters.threads() if thread.path.exists()]
COUNTS, FIRST = {1: "one"}, "smollm2-135m"


def recipes(thread):
    return [recipe for recipe in RECIPES.values() if str(thread.number) in recipe.chapter.split(", ")]


def tables(thread) -> dict[str, pd.DataFrame]:
    paths = [chapters.ROOT / "artifacts" / name for recipe in recipes(thread) for name in recipe.makes]
    return {path.stem: pd.read_csv(path, low_memory=False) for path in paths if path.suffix == ".csv" and path.exists()}


def prose(thread) -> str:
    notebook = chapters.nbformat.read(thread.path, as_version=4)
    return " ".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


@pytest.mark.parametrize("thread", WRITTEN, ids=lambda thread: thread.notebook)
class TestFacts:
    def test_what_it_was_held_against_is_spoken_of_in_the_chapter(self, thread):
        text = prose(thread).lower()
        assert thread.held_against
        for word in re.findall(r"[a-z]{4,}", thread.held_against.lower()):
            assert word in text, word

    def test_a_second_model_is_named_where_its_tables_hold_one(self, thread):
        held = {model for table in tables(thread).values() if "model" in table for model in table["model"]} - {FIRST}
        assert (thread.second_model != "none") == bool(held)
        if held:
            assert any(re.sub(r"\W", "", thread.second_model.lower()) == re.sub(r"\W", "", name) for name in held)
            assert thread.second_model in prose(thread)

    def test_seeds_are_counted_in_a_table_or_said_in_the_chapter(self, thread):
        if thread.seeds_in == "text":
            assert thread.seeds == 0 or f"{COUNTS[thread.seeds]} trained seed" in prose(thread)
        else:
            assert tables(thread)[thread.seeds_in]["seed"].nunique() == thread.seeds

    def test_minutes_are_those_of_the_registry(self, thread):
        minutes = sum(recipe.minutes for recipe in recipes(thread) if recipe.shipped)
        assert front.core_minutes(thread.number) == pytest.approx(minutes)
        assert minutes > 0 or not recipes(thread)


@pytest.fixture
def table(visit):
    def open_(**options):
        return visit("book/verdicts.html", **options).locator("table.sortable")

    return open_


def column(table, name):
    return table.locator(f"td.col-{name}").all_inner_texts()


def test_a_row_says_all_of_a_thread(table):
    first = table().locator("tbody tr").first
    assert first.locator("td").all_inner_texts()[:2] == ["4 · Values", "No"]
    assert [first.locator(f".col-{name}").inner_text() for name in ("compared-with", "seeds")] == ["chance", "12"]
    assert float(first.locator(".col-core-minutes").inner_text()) > 0
    assert first.locator(".told.number").count() == 2 and first.locator("a").first.get_attribute("href")


def test_a_head_sorts_by_keyboard_and_says_how(table):
    tab = table()
    before = column(tab, "thread")
    head = tab.locator("th", has_text="Core minutes")
    assert head.get_attribute("aria-sort") is None
    head.locator("button").focus()
    tab.page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    minutes = [float(text) for text in column(tab, "core-minutes") if text != "–"]
    assert minutes == sorted(minutes) and column(tab, "core-minutes")[-1] == "–"
    tab.page.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "descending"
    minutes = [float(text) for text in column(tab, "core-minutes") if text != "–"]
    assert minutes == sorted(minutes, reverse=True) and column(tab, "core-minutes")[-1] == "–"
    tab.locator("th button", has_text="Thread").click()
    assert column(tab, "thread") == before and head.get_attribute("aria-sort") is None
    assert tab.locator("th[aria-sort]").count() == 1


def test_without_scripts_it_is_a_plain_table(table):
    tab = table(java_script_enabled=False)
    assert tab.locator("button").count() == 0 and tab.locator("tbody tr").count() == 3
    assert tab.locator("th").first.is_visible()


@pytest.mark.parametrize("width", [375, 800, 1150])
def test_where_it_does_not_fit_each_fact_says_what_it_is(table, width):
    tab = table(viewport={"width": width, "height": 700})
    before = tab.locator(".col-seeds p").first.evaluate("e => getComputedStyle(e, '::before').content")
    assert before == '"seeds: "'
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate("e => e.parentElement.scrollWidth <= e.parentElement.clientWidth")
    assert tab.locator("th button").last.is_visible()
