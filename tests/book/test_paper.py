"""The book on paper: ink on white from dark mode too, nothing split, folds open, no tools of the screen."""

import pytest

LUMINANCE = """colour => {
    const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number);
    return a ? (.2126 * r + .7152 * g + .0722 * b) / 255 : null;
}"""
SEEN = "e.checkVisibility({visibilityProperty: true}) && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())"
PAGES = ["index.html", "notebooks/04_values.html", "notebooks/05_older.html", "book/verdicts.html", "book/status.html"]


@pytest.fixture
def paper(visit):
    def open_(name="notebooks/04_values.html", **options):
        tab = visit(name, **options)
        tab.emulate_media(media="print", color_scheme=options.get("color_scheme"))
        return tab

    return open_


@pytest.mark.parametrize("name", PAGES)
def test_from_dark_mode_it_is_dark_text_on_white(paper, name):
    tab = paper(name, color_scheme="dark")
    assert tab.evaluate("document.documentElement.dataset.theme") == "dark"
    colours = tab.evaluate(
        f"""() => {{ const luminance = {LUMINANCE};
        return [...document.querySelectorAll('body *')].filter(e => {SEEN}).map(e => {{
            const style = getComputedStyle(e);
            return [e.nodeName + '.' + e.className, luminance(style.color), luminance(style.backgroundColor)];
        }}) }}"""
    )
    assert len(colours) > 10
    assert not [one for one in colours if one[1] > 0.45], "grey text"
    assert not [one for one in colours if one[2] is not None and one[2] < 0.9], "dark ground"
    sheet = f"({LUMINANCE})(getComputedStyle(document.body).backgroundColor)"
    assert tab.evaluate(sheet) > 0.99
    turned = "[...document.querySelectorAll('.bd-content img')].map(e => getComputedStyle(e).filter)"
    assert set(tab.evaluate(turned)) <= {"none"}


@pytest.mark.parametrize("name", PAGES)
def test_only_the_article_is_printed(paper, name):
    tab = paper(name)
    outside = tab.evaluate(
        f"""[...document.querySelectorAll('body *')].filter(e => !e.closest('.bd-article') && {SEEN})
        .map(e => e.nodeName + '.' + e.className)"""
    )
    assert not outside
    inside = tab.locator(".bd-article").locator("button.copybtn, .headerlink, .explorer-controls")
    assert not any(one.is_visible() for one in inside.all())
    assert tab.locator("h1:visible").count() == 1


def test_figures_cards_boxes_and_rows_are_not_split(paper):
    tab = paper()
    for place in ("figure", ".told-box", "table tr", "math[display=block]"):
        broken = "e => getComputedStyle(e).breakInside"
        assert tab.locator(place).first.evaluate(broken) == "avoid", place
    assert paper("index.html").locator(".thread-card").first.evaluate(broken) == "avoid"
    assert tab.locator("h2").first.evaluate("e => getComputedStyle(e).breakAfter") == "avoid"


def test_what_is_folded_is_open_and_folded_code_is_left_out(paper):
    tab = paper()
    fold = tab.locator("details:not(.hide)")
    height = fold.locator("table").bounding_box()["height"]
    assert height > 10 and "1 + 1" not in tab.locator("article").inner_text()
    assert not any(code.is_visible() for code in tab.locator("details.hide").all())
    assert tab.locator("figure img").count() == tab.locator("figure img:visible").count() == 2


def test_where_the_style_cannot_open_folds_the_page_does_and_closes_them_after(visit):
    tab = visit()
    is_open = "[...document.querySelectorAll('article details:not(.hide)')].map(fold => fold.open)"
    assert tab.evaluate(is_open) == [False]
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.evaluate(is_open) == [True]
    assert tab.evaluate("[...document.querySelectorAll('details.hide')].some(fold => fold.open)") is False
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert tab.evaluate(is_open) == [False]


def test_of_what_stands_behind_a_number_only_the_interval_is_printed(paper):
    tab = paper()
    text = tab.locator("article").inner_text()
    assert "9 to 13 of 16" in text
    for junk in ("How it was computed", "95%, over words", "In the glossary", "In the references", "If there were"):
        assert junk not in text
    assert "−0.10 to 0.05 nats." in text  # no space before the stop
    interval = tab.locator(".told-more > .interval").first
    marks = [interval.evaluate(f"e => getComputedStyle(e, '::{side}').content") for side in ("before", "after")]
    assert marks == ['" ("', '")"']  # the brackets are the style's


def test_the_table_of_verdicts_fits_the_sheet(paper):
    tab = paper("book/verdicts.html", viewport={"width": 640, "height": 900})  # of A4 between its margins
    assert tab.evaluate("document.documentElement.scrollWidth") <= 640
    assert tab.locator("th").last.evaluate("e => e.getBoundingClientRect().right") <= 640
    after = "e => getComputedStyle(e, '::after').content"
    assert not [one for one in tab.locator("th button").all() if one.evaluate(after) != "none"]
