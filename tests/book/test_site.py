"""The built site, in headless Chromium with every other host blocked.

Skipped with a reason where there is no browser, except where ``CI`` is set: there it fails.
"""

import contextlib
import gzip
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from chapters import chapter
from playwright.sync_api import TimeoutError as TooLong

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
CHAPTER_BYTES = 600_000

# What the theme itself does; everything else that axe finds is ours to mend.
THEME_BASELINE = {
    "region": "the theme's buttons and its search dialog lie outside landmarks",
    "empty-table-header": "pandas leaves the corner above the index empty",
}

# Bootstrap fades a button's colours in from black: on a slow machine that begins only when somebody looks.
END_FADES = """document.getAnimations()
    .filter(one => one.effect.getComputedTiming().endTime < Infinity).forEach(one => one.finish())"""

# How far what is seen has moved while the page arrived, in the browser's own measure; .1 is called good.
SHIFTS = """window.shifts = []; new PerformanceObserver(list => list.getEntries().forEach(one => shifts.push(
    [one.value, one.sources.map(s => `${s.node?.nodeName}.${s.node?.className ?? ''}`).join(' ')])))
    .observe({type: 'layout-shift', buffered: true})"""
SHIFT = 0.05

# The numbers whose interval is printed, and that interval.
PRINTED = """[...document.querySelectorAll('article .told.number')]
    .filter(e => e.querySelector('.interval')?.checkVisibility())
    .map(e => [e.querySelector('a').innerText, e.querySelector('.interval').innerText.trim()])"""

# What can be scrolled sideways and holds nothing that takes the focus.
UNREACHED = """[...document.querySelectorAll('.bd-article *')].filter(e => e.scrollWidth > e.clientWidth + 1
    && ['auto', 'scroll'].includes(getComputedStyle(e).overflowX)
    && !e.matches('[tabindex]') && !e.querySelector('[tabindex], a[href], button, input, summary'))
    .map(e => `${e.nodeName}.${e.className}`)"""

pytestmark = pytest.mark.browser


class Visit:
    """A page opened in the browser, with everything it asked for."""

    def __init__(self, browser, url, width=1280, scheme="light"):
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.home = urlsplit(url).netloc
        self.elsewhere, self.failed, self.errors, self.bodies = [], [], [], {}
        self.page.add_init_script(SHIFTS)
        self.page.route("**/*", self._gate)
        self.page.on("requestfailed", lambda request: self.failed.append(request.url))
        self.page.on("response", self._response)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        self.page.goto(url, wait_until="networkidle")
        self.page.evaluate("document.fonts.ready")
        self.page.wait_for_load_state("networkidle")
        self.page.evaluate(END_FADES)

    def _gate(self, route):
        parts = urlsplit(route.request.url)
        if parts.scheme in ("http", "https") and parts.netloc != self.home:
            self.elsewhere.append(route.request.url)
            route.abort()
        else:
            route.continue_()

    def _response(self, response):
        if response.status >= 400:
            self.failed.append(f"{response.status} {response.url}")
        elif response.url.startswith("http"):
            self.bodies[response.url.split("?")[0]] = response

    def shifts(self) -> list:
        """What moved and how far, if all together it is too far."""
        found = self.page.evaluate("shifts")
        return found if sum(value for value, _ in found) > SHIFT else []

    def weight(self) -> dict[str, int]:
        """Bytes per file, as a server that compresses text would send them."""
        sizes = {}
        for url, response in list(self.bodies.items()):
            if 300 <= response.status < 400:
                continue
            body = response.body()
            packed = url.endswith((".png", ".woff", ".woff2", ".jpg"))
            sizes[urlsplit(url).path] = len(body) if packed else len(gzip.compress(body, 6))
        return sizes

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()


def pages(folder="**", site=SITE):
    return sorted(str(path.relative_to(site)) for path in site.glob(f"{folder}/*.html") if "_static" not in path.parts)


def chapters():
    return sorted(f"notebooks/{path.stem}.html" for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))


def answered():
    """Chapters that are more than begun: these have an explorer."""
    return [name for name in chapters() if not chapter(ROOT / name.replace(".html", ".ipynb")).open]


def reading_pages():
    others = [path.stem for path in sorted((ROOT / "book").glob("*.md")) if path.stem != "index"]
    return ["index.html", *(f"book/{name}.html" for name in others), *chapters()]


def test_no_page_asks_another_host_and_no_request_fails(browser, address, site):
    assert set(reading_pages()) <= set(pages())
    for name in pages():
        with Visit(browser, f"{address}/{name}") as visit:
            assert not visit.elsewhere, f"{name}: {visit.elsewhere}"
            assert not visit.failed, f"{name}: {visit.failed}"
            assert not visit.errors, f"{name}: {visit.errors}"


def test_the_root_is_the_front_page_with_the_first_verdict(browser, address):
    with Visit(browser, f"{address}/") as visit:
        answers = visit.page.locator(".thread-card :is(.opening, .thread-verdict)").all_inner_texts()
        assert len(answers) >= 7 and any(c.isdigit() for c in answers[0]), answers


def test_on_paper_no_interval_says_its_number_thrice(browser, address):
    with Visit(browser, f"{address}/") as visit:
        visit.page.emulate_media(media="print")
        seen = visit.page.evaluate(PRINTED)
        assert seen and not [one for one in seen if one[1] == f"{one[0]} to {one[0]}"]


def test_formulas_are_typeset(browser, address):
    with Visit(browser, f"{address}/book/notation.html") as visit:
        assert visit.page.locator("math").count() > 20
        assert visit.page.locator("math merror").count() == 0
        assert "\\(" not in visit.page.locator("article").inner_text()


@pytest.mark.parametrize("name", reading_pages())
def test_nothing_is_wider_than_a_phone(browser, address, name):
    with Visit(browser, f"{address}/{name}", width=375) as visit:
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 375
        with contextlib.suppress(TooLong):  # what scrolls is found by a script, a frame after the last change
            visit.page.wait_for_function(f"({UNREACHED}).length === 0", timeout=10_000)
        assert not visit.page.evaluate(UNREACHED), "scrolls, and no key reaches it"


@pytest.mark.parametrize("name", ["index.html", "book/next.html", *chapters()[3:5]])
def test_what_is_read_stays_where_it_is(browser, address, name):
    """In the best of a few visits: a file that comes late is the machine's doing, where text then goes the page's."""
    seen = []
    for _ in range(5):
        with Visit(browser, f"{address}/{name}", width=375) as visit:
            seen.append(visit.shifts())
        if not seen[-1]:
            return
    raise AssertionError(seen)


def test_every_picture_has_its_size_before_it_arrives(site):
    for name in pages():
        for picture in re.findall(r"<img\b[^>]*>", (site / name).read_text(encoding="utf-8")):
            assert re.search(r'\bwidth="\d+"', picture) and re.search(r'\bheight="\d+"', picture), (name, picture[:200])


def test_a_fold_of_code_says_to_the_ear_what_it_says_to_the_eye(browser, address, site):
    assert not [name for name in pages() if "<summary aria-label" in (site / name).read_text(encoding="utf-8")]
    with Visit(browser, f"{address}/{chapters()[0]}") as visit:
        assert visit.page.get_by_text("Show the code").first.is_visible()


def test_descriptions_hold_no_marks_and_differ(site):
    found = {}
    for name in pages():
        text = (site / name).read_text(encoding="utf-8").split("</head>")[0]
        said = re.findall(r'<meta (?:name="|property="og:)description" content="([^"]*)"', text)
        assert said and not any(re.search(r"[\\`$]|\]\(", one) for one in said), (name, said)
        assert found.setdefault(said[0], name) == name, said[0]


@pytest.mark.parametrize("name", reading_pages())
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_beyond_the_theme(browser, address, name, scheme):
    from axe_playwright_python.sync_playwright import Axe

    with Visit(browser, f"{address}/{name}", scheme=scheme) as visit:
        assert visit.page.evaluate("document.documentElement.dataset.theme") == scheme
        found = Axe().run(visit.page).response["violations"]
        ours = [
            f"{v['id']}: {node['target']} {node['any'][0]['message'] if node['any'] else v['help']}"
            for v in found
            if v["id"] not in THEME_BASELINE
            for node in v["nodes"]
        ]
        assert not ours, "\n".join(ours)


@pytest.mark.parametrize("name", chapters())
def test_a_chapter_weighs_little(browser, address, name, capsys):
    with Visit(browser, f"{address}/{name}") as visit:
        sizes = visit.weight()
    total = sum(sizes.values())
    heaviest = sorted(sizes.items(), key=lambda item: -item[1])[:6]
    with capsys.disabled():
        print(
            f"\n{name}: {total / 1000:.0f} kB compressed, in {len(sizes)} files; "
            + ", ".join(f"{Path(path).name} {size / 1000:.0f}" for path, size in heaviest)
        )
    assert total <= CHAPTER_BYTES


def figures(visit):
    count = visit.page.locator("figure.explorer").count()
    assert count, "no explorer on this page"
    return [visit.page.locator("figure.explorer").nth(i) for i in range(count)]


@pytest.mark.parametrize("name", answered())
def test_an_explorer_moves_by_keyboard_and_its_alt_text_follows(browser, address, name):
    with Visit(browser, f"{address}/{name}") as visit:
        for figure in figures(visit):
            slider, picture = figure.locator("input[type=range]").first, figure.locator("img")
            assert slider.evaluate("e => e.labels.length && e.labels[0].innerText.trim().length") > 0
            alt, source, value = (picture.get_attribute(k) for k in ("alt", "src", "alt"))
            told = slider.get_attribute("aria-valuetext")
            slider.focus()
            visit.page.keyboard.press("ArrowRight")
            assert picture.get_attribute("alt") != alt
            assert picture.get_attribute("src") != source
            assert slider.get_attribute("aria-valuetext") != told
            visit.page.keyboard.press("ArrowLeft")
            assert picture.get_attribute("alt") == value


@pytest.mark.parametrize("name", answered())
def test_an_explorer_moves_by_mouse(browser, address, name):
    with Visit(browser, f"{address}/{name}") as visit:
        for figure in figures(visit):
            slider, picture = figure.locator("input[type=range]").first, figure.locator("img")
            slider.scroll_into_view_if_needed()
            box, alt = slider.bounding_box(), picture.get_attribute("alt")
            visit.page.mouse.click(box["x"] + box["width"] - 8, box["y"] + box["height"] / 2)
            assert picture.get_attribute("alt") != alt


@pytest.mark.parametrize("name", chapters())
def test_an_explorer_reads_without_scripts(browser, address, name):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/{name}")
    for i in range(page.locator("figure.explorer").count()):
        picture = page.locator("figure.explorer").nth(i).locator("img")
        assert picture.is_visible() and picture.get_attribute("alt")
        assert not page.locator("figure.explorer").nth(i).locator("input").first.is_visible()
    context.close()
