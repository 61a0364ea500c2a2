"""Looks on which no word of a page depends: long lines of code, pictures on a dark page, captions of tables."""

import pytest
from captions import captioned, tidied
from matplotlib.figure import Figure
from quoted import SETTING

from helpers.page import Explorer

WIDER = """[...document.querySelectorAll('.bd-article div.highlight pre')].filter(e => e.clientWidth)
    .map(e => [e.scrollWidth - e.clientWidth, Math.max(...e.innerText.split("\\n").map(line => line.length))])"""
FILTER = "e => getComputedStyle(e).filter"
TURNED = "invert(0.93) hue-rotate(180deg)"


def drawn(power):
    figure = Figure(figsize=(3, 2))
    figure.add_subplot().plot([0, 1, 2], [0, 1, 2**power])
    return figure


@pytest.mark.parametrize("width", [1280, 375])
def test_a_long_line_of_code_goes_on_in_the_next(visit, width):
    tab = visit(viewport={"width": width, "height": 700})
    blocks = tab.evaluate(WIDER)
    assert blocks and all(over <= 0 for over, _ in blocks), blocks
    assert max(longest for _, longest in blocks) > 150, "the case bites"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_dark_page_every_picture_is_turned_over_once(visit, scheme):
    """Figures by the book's style, explorers by their own: a picture that both take would be as it was."""
    tab = visit(color_scheme=scheme)
    want = TURNED if scheme == "dark" else "none"
    pictures = tab.locator(".bd-content a.enlarge img")
    assert pictures.count() == 2 and {one.evaluate(FILTER) for one in pictures.all()} == {want}
    figure = Explorer(drawn, {"power": [1, 2, 3]}, alt="A line", caption="Move it.").html
    tab.evaluate("html => document.querySelector('.bd-article section').insertAdjacentHTML('beforeend', html)", figure)
    moved = tab.locator("figure.explorer img")
    chain = "e => { const all = []; for (; e; e = e.parentElement) all.push(getComputedStyle(e).filter); return all }"
    for one in (moved, pictures.first):
        assert [seen for seen in one.evaluate(chain) if seen != "none"] == ([TURNED] if scheme == "dark" else [])
    front = visit("index.html", color_scheme=scheme)
    assert front.locator(".thread-card img").first.evaluate(FILTER) == want
    assert front.locator("img.logo__image:visible").first.evaluate(FILTER) == "none"
    tab.emulate_media(media="print")
    assert {one.evaluate(FILTER) for one in (moved, *pictures.all())} == {"none"}


def test_a_table_has_the_caption_of_its_cell(visit):
    table = visit().get_by_role("table", name="What comes back <of it>.")
    assert table.count() == 1 and "dataframe" in table.get_attribute("class")
    caption = table.locator("caption")
    assert caption.inner_text() == "What comes back <of it>."
    assert caption.bounding_box()["y"] < table.locator("tbody").bounding_box()["y"]


def test_only_pandas_tables_are_captioned_and_only_the_first():
    table = '<style scoped>a</style><table border="1" class="dataframe wide"><tr></tr></table>'
    named = captioned(table * 2, "a < b & c")
    assert named.count("<caption>") == 1 and 'wide"><caption>a &lt; b &amp; c</caption><tr>' in named
    assert captioned('<table class="other"></table>', "a") == '<table class="other"></table>'


HEADS = "<thead><tr><th></th><th>below</th></tr><tr><th>penalty</th><th></th></tr></thead>"


def test_names_of_rows_and_columns_stand_in_one_line_unless_both_say_something():
    assert tidied(HEADS) == "<thead><tr><th>penalty</th><th>below</th></tr></thead>"
    for kept in (HEADS.replace("<th></th><th>b", "<th>a</th><th>b"), HEADS.replace("<th>b", '<th colspan="2">b')):
        assert tidied(kept) == kept


def test_intervals_and_settings_in_a_table_are_not_broken_and_nothing_is_a_dash():
    table = "<th>k = 100</th><td>2.0 (1.8 to 2.3), R̂ 1.00</td><td>45 (43, 41)</td><td>NaN</td><td>a (b to c)</td>"
    whole = {"k = 100": "k\xa0=\xa0100", "1.8 to 2.3": "1.8\xa0to\xa02.3", "43, 41": "43,\xa041", "NaN": "–"}
    wide = table
    for before, after in whole.items():
        wide = wide.replace(before, after)
    assert tidied(table) == wide


@pytest.mark.parametrize(
    ("code", "setting"), [("512", True), ("n=512", True), ("½", True), ("2%", True), ("n_512", False), ("x", False)]
)
def test_a_number_that_is_set_reads_as_the_text_does(code, setting):
    assert bool(SETTING.fullmatch(code)) is setting


def test_on_a_phone_a_picture_has_the_whole_width(visit):
    tab = visit(viewport={"width": 375, "height": 700})
    figure = Explorer(drawn, {"power": [1, 2, 3]}, alt="A line", caption="Move it.").html
    cell = "html => document.querySelector('.bd-article .cell_output').insertAdjacentHTML('beforeend', html)"
    tab.evaluate(cell, figure)
    widths = [one.bounding_box()["width"] for one in tab.locator(".bd-article .cell_output img").all()]
    assert len(widths) > 2 and all(width >= 374 for width in widths), widths


def test_two_screens_hold_all_nine_threads(browser, address):
    """At 1280 pixels: question, stance and sentence of each."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(address, wait_until="networkidle")
    ends = [one.evaluate("e => e.getBoundingClientRect().bottom") for one in page.locator(".thread-words").all()]
    context.close()
    assert len(ends) >= 9 and ends[8] <= 1800
