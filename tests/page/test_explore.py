"""One figure, three lives: what each holds, what stays the same everywhere, and how a browser shows it."""

import base64
import gzip
import html.parser
import io
import json
import re
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from helpers.page import Explorer, explore

WIDGET = "application/vnd.jupyter.widget-view+json"
HOSTILE = '</script><script>document.title="broken"</script><b a="\'&'
SCALES = [0.5, 1.0, 2.0]
ARMS = ["gated", "rescale_shift"]


def draw(scale, arm="gated"):
    figure, axes = plt.subplots(figsize=(4, 2))
    axes.plot([0, 1], [0, scale], color="C0" if arm == "gated" else "C1")
    axes.set_ylim(0, 3)
    return figure


def alt(scale, arm="gated"):
    return f"A line from 0 to {scale:g}, {arm}."


def explorer(draw=draw, controls=None, alt=alt, caption="Move the scale.", **options):
    return Explorer(draw, controls or {"scale": SCALES, "arm": ARMS}, alt=alt, caption=caption, **options)


class Page(html.parser.HTMLParser):
    """Tags, text and the JSON of one figure, as a browser would split them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.scripts = [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.cdata_elem == "script":
            self.scripts.append(data)
        else:
            self.text += data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def data(self):
        return json.loads(self.scripts[0])


def sanitized(text):
    """``text`` as nbval compares it."""
    from nbval.plugin import get_sanitize_patterns

    patterns = get_sanitize_patterns((Path(__file__).parents[1] / "nbval_sanitize.cfg").read_text())
    assert patterns
    for regex, replace in patterns:
        text = re.sub(regex, replace, text)
    return text


# What it holds


def test_bundle_holds_every_life():
    bundle = explorer()._repr_mimebundle_()
    assert set(bundle) == {WIDGET, "text/html", "image/png", "text/plain"}
    assert bundle[WIDGET]["model_id"]
    assert bundle["text/plain"] == "Explorer(scale: 3, arm: 2)"
    assert Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))).size == (800, 400)


def test_where_widgets_have_no_bundle_of_their_own_the_page_is_shown(monkeypatch):
    one = explorer()
    monkeypatch.setattr(one, "panel", object)  # as ipywidgets 7 has it
    assert set(one._repr_mimebundle_()) == {"text/html", "image/png", "text/plain"}


def test_ipython_shows_the_bundle():
    from IPython.core.formatters import DisplayFormatter

    data, _ = DisplayFormatter().format(explorer())
    assert {WIDGET, "text/html", "image/png", "text/plain"} <= set(data)


def test_html_and_text_are_the_same_twice():
    first, second = explorer(), explorer()
    assert first._repr_mimebundle_()["text/html"] == second._repr_mimebundle_()["text/html"] == first.html
    assert first._repr_mimebundle_()["text/plain"] == second._repr_mimebundle_()["text/plain"]


def test_html_refers_to_nothing_outside_itself():
    page = Page(explorer().html)
    for _, attrs in page.tags:
        assert "id" not in attrs and "href" not in attrs
        assert attrs.get("src", "data:image/").startswith("data:image/")
    without_pictures = sanitized(explorer().html)
    assert not re.search(r"https?:|//|url\(|@import|import\(|fetch|type=.module", without_pictures)


def test_every_control_is_labelled_and_hidden_until_the_script_runs():
    page = Page(explorer(labels={"arm": "Which arm", "rescale_shift": "Rescale & shift"}).html)
    (slider,), (menu,) = page.all("input"), page.all("select")
    assert (slider["type"], slider["max"], slider["aria-valuetext"]) == ("range", "2", "0.5")
    assert menu is not None and len(page.all("label")) == 2 and len(page.all("option")) == 2
    assert "hidden" in next(a for a in page.all("div") if a.get("class") == "explorer-controls")
    assert all(text in page.text for text in ("Scale", "Which arm", "Rescale & shift", "Move the scale."))


def test_two_stops_are_a_menu_and_three_a_slider():
    """A slider of two stops looks broken: it jumps from one end to the other."""
    for stops, tag, kind in (([1], "select", "Dropdown"), ([1, 2], "select", "Dropdown"), ([1, 2, 3], "input", "Int")):
        one = explorer(draw=draw, controls={"scale": stops}, alt=alt, between=True)
        page = Page(one.html)
        assert [name for name in ("input", "select") if page.all(name)] == [tag]
        assert len(page.all("option")) == (len(stops) if tag == "select" else 0)
        assert type(one.panel().children[0]).__name__.startswith(kind)
    sharp = Page(explorer(controls={"scale": [1, 2]}, start={"scale": 2}).html)
    assert [("selected" in option) for option in sharp.all("option")] == [False, True]


def test_every_frame_has_its_own_alt_text():
    page = Page(explorer().html)
    assert page.data["alts"] == [alt(scale, arm) for scale in SCALES for arm in ARMS]
    assert page.all("img")[0]["alt"] == alt(SCALES[0], ARMS[0])


def test_a_constant_alt_text_is_completed_by_the_values():
    alts = Page(explorer(alt="A line", labels={"rescale_shift": "Rescale & shift"}).html).data["alts"]
    assert alts[1] == "A line (Scale: 0.5, Arm: Rescale & shift)"
    assert len(set(alts)) == len(alts)


def test_equal_frames_are_stored_once():
    one = explorer(draw=lambda scale, arm: draw(1, arm), alt="A line")
    assert Page(one.html).data["pictures"].split(",", 1)[1].split("|")[2:] == ["=0", "=1", "=0", "=1"]


def test_script_is_small_and_a_typical_figure_fits():
    assert len(explore.SCRIPT) < 2048
    with matplotlib.rc_context():
        one = explorer(controls={"scale": np.linspace(0.1, 2.9, 20)}, draw=lambda scale: draw(scale))
    assert len(gzip.compress(one.html.encode())) < explore.MAX_BYTES


def test_draw_leaves_no_open_figures():
    before = plt.get_fignums()
    explorer()._repr_mimebundle_()
    assert plt.get_fignums() == before


def test_strings_from_strangers_stay_text():
    plain = Page(explorer(labels={"arm": "Arm"}).html)
    page = Page(
        explorer(
            controls={"scale": [1.0, 2.0, 3.0], "arm": [HOSTILE, "gated"]},
            alt=lambda scale, arm: HOSTILE,
            caption=HOSTILE,
            labels={"scale": HOSTILE},
        ).html
    )
    assert [t for t, _ in page.tags] == [t for t, _ in plain.tags]
    assert page.data["alts"] == [HOSTILE] * 6
    assert page.all("img")[0]["alt"] == HOSTILE
    assert page.text.count(HOSTILE) == 3


def test_strings_from_strangers_stay_text_in_the_widget():
    *_, spoken, caption = explorer(alt=lambda **values: HOSTILE, caption=HOSTILE).panel().children
    for widget in (spoken, caption):
        assert [t for t, _ in Page(widget.value).tags] == ["p"]
        assert Page(widget.value).text == HOSTILE


# What is compared between machines


def test_pictures_are_exempt_from_comparison():
    other = explorer(draw=lambda scale, arm: draw(scale + 0.1, arm))
    equal_frames = explorer(draw=lambda scale, arm: draw(1, arm))
    assert other.html != explorer().html
    assert sanitized(other.html) == sanitized(explorer().html) == sanitized(equal_frames.html)
    assert len(sanitized(explorer().html)) < 7_000


@pytest.mark.parametrize(
    "change",
    [
        {"alt": lambda scale, arm: alt(scale + (scale == 2.0), arm)},
        {"caption": "Move it."},
        {"controls": {"scale": [0.5, 1.0, 2.1], "arm": ARMS}, "alt": "A line"},
        {"labels": {"gated": "Gated"}},
    ],
)
def test_words_and_values_are_compared(change):
    base = explorer(**{"alt": change["alt"]} if change.get("alt") == "A line" else {})
    assert sanitized(explorer(**change).html) != sanitized(base.html)


# The live panel


def test_between_says_that_a_slider_may_leave_the_grid():
    scale, _, picture, spoken, _ = explorer(between=True).panel().children
    before = picture.value
    scale.value = 1.37
    assert picture.value != before
    assert picture.value == explore._shown(explore.render(draw, {"scale": 1.37, "arm": "gated"}))["value"]
    assert Page(spoken.value).text == alt(1.37)


def test_without_it_a_slider_stops_where_the_page_does():
    scale = explorer().panel().children[0]
    assert [value for _, value in scale.options] == SCALES
    with pytest.raises(Exception, match="Invalid selection"):
        scale.value = 1.37


def test_a_panel_that_cannot_draw_says_so_and_hides_the_other_points_picture():
    def table(scale, arm):
        return {value: f"{value:g}, measured" for value in SCALES}[scale]

    scale, _, picture, spoken, _ = explorer(alt=table, between=True).panel().children
    scale.value = 1.37
    assert "Not drawn at Scale 1.37, Arm gated: KeyError: 1.37" in Page(spoken.value).text
    assert picture.layout.visibility == "hidden"
    scale.value = 2.0
    assert Page(spoken.value).text == "2, measured" and picture.layout.visibility == "visible"


def test_it_begins_where_it_is_told():
    page = Page(explorer(start={"scale": 2.0, "arm": "rescale_shift"}).html)
    (slider,) = page.all("input")
    assert (slider["value"], slider["aria-valuetext"]) == ("2", "2")
    assert [("selected" in option) for option in page.all("option")] == [False, True]
    assert page.all("img")[0]["alt"] == alt(2.0, "rescale_shift")
    assert page.data["pictures"].split(",", 1)[1].split("|")[-1] == "^"
    scale, arm, _, spoken, _ = explorer(start={"scale": 2.0}).panel().children
    assert (scale.value, arm.value, Page(spoken.value).text) == (2.0, "gated", alt(2.0))


def test_numbers_are_shown_as_people_write_them():
    assert [explorer()._text(v) for v in (65536, 2048.0, 0.5, -1.0, 1e-5, 12345.6)] == [
        "65,536", "2,048", "0.5", "−1", "1e−05", "12,346"
    ]  # fmt: skip


def test_whole_numbers_stay_whole_and_menus_keep_values():
    seen = []

    def note(k, arm):
        seen.append((k, arm))
        return draw(k)

    panel = explorer(draw=note, controls={"k": [1, 4, 9], "arm": ARMS}, alt="A line", between=True).panel()
    panel.children[0].value = 3
    panel.children[1].value = "rescale_shift"
    assert seen[-2:] == [(3, "gated"), (3, "rescale_shift")]
    assert isinstance(seen[-1][0], int)


# Bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"draw": "line"}, "draw is str; expected a function"),
        ({"draw": lambda **v: plt.gca()}, "expected a matplotlib Figure"),
        ({"controls": []}, None),
        ({"controls": {"scale": []}}, r"controls\['scale'\] is empty"),
        ({"controls": {"scale": "abc"}}, r"controls\['scale'\]='abc'"),
        ({"controls": {"scale": [1, "a"]}}, "all finite numbers or all strings"),
        ({"controls": {"scale": [1, float("nan")]}}, "all finite numbers"),
        ({"controls": {"scale": [True]}}, "all finite numbers"),
        ({"controls": {"scale": [2, 1]}}, "increasing"),
        ({"controls": {"arm": ["a", "a"]}}, "distinct"),
        ({"controls": {"scale": range(401)}}, r"401 frames \(scale 401\); expected at most 400: give fewer"),
        ({"alt": ""}, "alt=''"),
        ({"alt": lambda **v: None}, "returned None; expected a non-empty str"),
        ({"caption": None}, "caption=None"),
        ({"start": {"scale": 3.0}}, r"start\['scale'\]=3.0; expected one of"),
        ({"start": {"size": 1}}, r"start\['size'\]=1; expected a control \(scale\)"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"draw": draw, "controls": {"scale": SCALES}, "alt": alt, "caption": "Move."} | change
    with pytest.raises((TypeError, ValueError), match=message or "expected at least one name"):
        Explorer(arguments.pop("draw"), arguments.pop("controls"), **arguments)
    plt.close("all")


def test_too_heavy_a_figure_says_what_to_reduce_and_stops_early(monkeypatch):
    monkeypatch.setattr(explore, "MAX_BYTES", 30_000)
    drawn = []

    def noise(seed):
        drawn.append(seed)
        figure = plt.figure(figsize=(1, 1))
        figure.figimage(np.random.default_rng(seed).random((100, 100, 3)))
        return figure

    with pytest.raises(ValueError, match="of 100 frames take .* kB compressed.*fewer values"):
        Explorer(noise, {"seed": range(100)}, alt="Noise", caption="Noise")
    assert len(drawn) < 10


# In a browser


@pytest.fixture
def page(browser):
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("console", lambda message: page.problems.append(message.text) if message.type == "error" else None)
    yield page
    context.close()
    assert page.problems == []


def document(*figures):
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Figure</title>'
    body = f"<main><h1>Figure</h1>{''.join(figures)}</main>"
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>'


def slider(page):
    return page.get_by_role("slider", name="Scale", exact=True)


def menu(page):
    return page.get_by_role("combobox", name="Arm", exact=True)


def test_keyboard_moves_picture_and_words(page):
    page.set_content(document(explorer().html))
    picture, scale = page.locator("img"), slider(page)
    src = picture.get_attribute("src")
    page.keyboard.press("Tab")
    assert scale.evaluate("e => e === document.activeElement")
    page.keyboard.press("ArrowRight")
    assert picture.get_attribute("alt") == alt(1.0)
    assert picture.get_attribute("src") not in (src, None)
    assert scale.get_attribute("aria-valuetext") == page.locator("output").inner_text() == "1"
    page.keyboard.press("End")
    assert picture.get_attribute("alt") == alt(2.0)
    menu(page).select_option("rescale_shift")
    assert picture.get_attribute("alt") == alt(2.0, "rescale_shift")
    page.keyboard.press("Tab")
    menu(page).select_option("gated")
    scale.press("Home")
    assert picture.get_attribute("src") == src
    assert picture.evaluate("e => e.complete && e.naturalWidth") == 384


def test_mouse_moves_the_slider(page):
    page.set_content(document(explorer().html))
    box = slider(page).bounding_box()
    slider(page).click(position={"x": box["width"] - 3, "y": box["height"] / 2})
    assert page.locator("img").get_attribute("alt") == alt(2.0)


def test_two_figures_on_a_page_move_apart(page):
    page.set_content(document(explorer().html, explorer().html))
    slider(page).nth(1).press("End")
    alts = [page.locator("img").nth(i).get_attribute("alt") for i in (0, 1)]
    assert alts == [alt(0.5), alt(2.0)]


def test_every_frame_is_a_picture_even_a_repeated_one(page):
    one = explorer(draw=lambda scale, arm: draw(1, arm), alt="A line")
    page.set_content(document(one.html))
    shown = [page.locator("img").get_attribute("src")]
    for _ in SCALES[1:]:
        slider(page).press("ArrowRight")
        shown.append(page.locator("img").get_attribute("src"))
        assert page.locator("img").evaluate("e => e.decode().then(() => e.naturalWidth)") == 384
    assert len(set(shown)) == 1


def test_first_frame_reads_without_scripts(browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.set_content(document(explorer().html))
    assert page.locator("img").is_visible() and page.locator("figcaption").is_visible()
    assert not slider(page).is_visible()
    context.close()


def test_hostile_strings_do_nothing(page):
    one = explorer(controls={"scale": [1.0, 1.5, 2.0], "arm": [HOSTILE]}, alt=lambda **v: HOSTILE, caption=HOSTILE)
    page.set_content(document(one.html))
    slider(page).press("End")
    assert page.title() == "Figure"
    assert page.locator("figcaption").inner_text() == page.locator("img").get_attribute("alt") == HOSTILE


def test_no_horizontal_scroll_on_a_phone(page):
    page.set_viewport_size({"width": 375, "height": 700})
    long = "a rather long name for a control that has to wrap somewhere " * 2
    page.set_content(document(explorer(labels={"scale": long, "rescale_shift": long}).html))
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("by", ["system", "page"])
def test_accessible_in_light_and_dark(page, theme, by):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page.emulate_media(color_scheme=theme if by == "system" else {"light": "dark", "dark": "light"}[theme])
    page.set_content(document(explorer().html))
    if by == "page":
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
    back = page.locator("figure").evaluate("e => getComputedStyle(e).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", back))) < 80) == (theme == "dark")
    found = axe.Axe().run(page).response["violations"]
    assert [violation["id"] for violation in found] == []
