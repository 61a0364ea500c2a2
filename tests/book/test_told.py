"""What the site makes of links, quotes and openings, on a small book of one made-up chapter, in a real browser."""

import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers.evidence import number

ROOT = Path(__file__).resolve().parents[2]
DOT = (
    "<svg xmlns='http://www.w3.org/2000/svg' width='400pt' height='200pt' viewBox='0 0 400 200'>"
    "<circle cx='9' cy='9' r='5'/></svg>"
).replace("'", '"')
MADE = [
    number("ch01_share", 0.59, ".0%", interval=(0.55, 0.64), covers="95%, over <seeds> & texts", null=0.5),
    number("ch01_exact", 16.1, ".1f", covers="exact"),
]
TEXT = """# 1 · A made-up chapter

Before.
"""
REST = """## What is seen

Expanded closes [59%](#ch01_share) of it, from [16.1](#ch01_exact) on, as [Till 2024](#till2024true)
says of [shrinkage](#shrinkage). Inline $x^2$.

> **Theorem** (twins). Two of them: $a=b$.
>
> $$a=b$$

> **Exercise** (one). Do it. See [the theorem](#theorem-twins).

<details><summary>Fine print: a table and code</summary>

| a | b |
|---|---|
| [59%](#ch01_share) | 2 |

$$\\\\sum_j c_j$$

```python
x = 1
```

</details>

> **Verdict.** So it is.
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The chapter's page, built strictly."""
    home = tmp_path_factory.mktemp("book")
    shutil.copytree(ROOT / "book", home / "book", ignore=shutil.ignore_patterns("__pycache__", "_answers"))
    shutil.copy(ROOT / "_config.yml", home)
    (home / "notebooks").mkdir()
    (home / "book" / "threads.yml").write_text(
        "- {number: 1, notebook: 01_made_up, title: Made up, question: 'Is it so?'}\n"
        "- {number: 2, notebook: 02_none, title: None yet, question: 'Is it not?'}\n"
    )
    (home / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nchapters:\n"
        + "".join(f"  - file: {name}\n" for name in ("notebooks/01_made_up", "book/glossary", "book/references"))
    )
    for name in ("verdicts", "how_to_read", "notation", "api"):
        (home / "book" / f"{name}.md").unlink(missing_ok=True)
    (home / "book" / "index.md").write_text("# Front\n\n```{threads}\n```\n")
    picture = {"mystnb": {"image": {"alt": "A dot, drawn to be seen"}}, "tags": ["answer-figure", "hide-input"]}
    outputs = [new_output("display_data", data=made.bundle()) for made in MADE]
    cells = [
        new_markdown_cell(TEXT),
        new_markdown_cell(
            "**No.** It closes [59%](#ch01_share) of it.\n\nMore.", metadata={"tags": ["opening"]}
        ),
        new_code_cell(
            "draw()", metadata=picture, execution_count=1,
            outputs=[new_output("display_data", data={"image/svg+xml": DOT, "text/plain": "figure"})],
        ),
        new_code_cell("publish()", metadata={"tags": ["hide-cell"]}, execution_count=2, outputs=outputs),
        new_markdown_cell(REST),
    ]  # fmt: skip
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})
    nbformat.write(notebook, home / "notebooks" / "01_made_up.ipynb")
    command = [Path(sys.executable).with_name("jupyter-book"), "build", home, "-n", "-W", "--keep-going"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=home)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return home / "_build" / "html" / "notebooks" / "01_made_up.html"


@pytest.fixture
def visit(browser, page):
    contexts = []

    def open_(path=page, **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        opened = context.new_page()
        opened.goto(path.as_uri(), wait_until="networkidle")
        return opened

    yield open_
    for context in contexts:
        context.close()


def share(tab):
    return tab.locator(".told.number", has_text="59%").nth(1)  # the first is the opening's


def more(tab):
    return share(tab).locator(".told-more")


def test_hover_shows_what_stands_behind_a_number_and_leaving_hides_it(visit):
    tab = visit()
    assert not more(tab).is_visible()
    share(tab).locator("a").hover()
    assert more(tab).is_visible()
    words = more(tab).inner_text().split("\n")
    assert words == ["55% to 64%", "95%, over <seeds> & texts", "If there were nothing: 50%", "How it was computed"]
    tab.mouse.move(5, 5)
    more(tab).wait_for(state="hidden", timeout=2000)


def test_the_keyboard_reaches_it_and_escape_closes_it(visit):
    tab = visit()
    share(tab).locator("a").focus()
    assert more(tab).is_visible()
    tab.keyboard.press("Escape")
    assert not more(tab).is_visible()
    tab.keyboard.press("Tab")
    assert tab.locator(".told.open").count() == 1  # the next number


def test_enter_goes_to_the_cell_that_computed_it(visit):
    tab = visit()
    share(tab).locator("a").focus()
    tab.keyboard.press("Enter")
    assert tab.url.endswith("#ch01_share") and tab.locator("#ch01_share").count() == 1


def test_the_first_tap_shows_and_the_second_goes(visit):
    tab = visit(viewport={"width": 375, "height": 700}, has_touch=True, is_mobile=True)
    share(tab).locator("a").tap()
    assert more(tab).is_visible() and "#ch01_share" not in tab.url
    box = more(tab).bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 375
    share(tab).locator("a").tap()
    assert tab.url.endswith("#ch01_share")


def test_nothing_moves_when_it_opens(visit):
    tab = visit()
    before = tab.locator("article").bounding_box()
    share(tab).locator("a").hover()
    assert tab.locator("article").bounding_box() == before


def test_on_paper_the_interval_stands_in_brackets(visit):
    tab = visit()
    tab.emulate_media(media="print")
    assert share(tab).inner_text().split() == ["59%55%", "to", "64%"]
    before = share(tab).locator(".interval").evaluate("e => getComputedStyle(e, '::before').content")
    assert before == '" ("' and more(tab).evaluate("e => getComputedStyle(e).position") == "static"
    assert tab.locator(".told.number", has_text="16.1").inner_text() == "16.1"


def test_without_scripts_too(visit):
    tab = visit(java_script_enabled=False)
    assert share(tab).locator(".interval").is_visible() and not share(tab).locator(".way").is_visible()


def test_a_screen_reader_gets_it_as_a_description(visit):
    link = share(visit()).locator("a")
    described = link.get_attribute("aria-describedby")
    assert link.page.locator(f"#{described}").get_attribute("role") == "tooltip"
    assert "55% to 64%" in link.page.locator(f"#{described}").text_content()


def test_sources_and_terms_say_what_they_are_and_lead_there(visit):
    tab = visit()
    for kind, said, there in (
        ("source", "Do sparse autoencoders find", "references.html#"),
        ("term", "", "#term-shrinkage"),
    ):
        one = tab.locator(f".told.{kind}").first
        one.locator("a").focus()
        assert said.lower() in one.locator(".told-more").inner_text().lower()
        one.locator("a").press("Enter")
        assert there in tab.url
        tab.go_back()


def test_quotes_with_a_name_are_boxes_numbered_by_chapter(visit):
    tab = visit()
    titles = tab.locator(".told-title").all_inner_texts()
    assert titles == ["Theorem 1.1 (twins)", "Exercise 1.1 (one)", "VERDICT"]
    assert tab.locator("#theorem-twins math").count() == 2
    tab.get_by_role("link", name="the theorem").click()
    assert tab.url.endswith("#theorem-twins")


def test_folds_hold_tables_formulas_and_code(visit):
    fold = visit().locator("details", has_text="Fine print")
    assert not fold.locator("table").is_visible()
    fold.locator("summary").click()
    assert fold.locator("table .told").count() == 1 and fold.locator("math").is_visible()
    assert fold.locator("pre").is_visible()


def test_a_chapter_opens_with_its_stance(visit):
    opening = visit().locator("p.opening")
    assert opening.locator(".stance").inner_text() == "No." and opening.locator(".told").count() == 1


def test_the_front_page_takes_picture_stance_and_sentence(visit, page):
    tab = visit(page.parents[1] / "book" / "index.html")
    card = tab.locator(".thread-card").first
    assert card.locator("img").evaluate("e => e.naturalWidth") > 0
    assert card.locator("img").get_attribute("alt") == "A dot, drawn to be seen"
    assert card.locator(".stance").inner_text() == "No." and "Is it so?" in card.inner_text()
    assert tab.locator(".thread-card").nth(1).locator(".thread-verdict").inner_text() == "open"
    card.locator(".told a").press("Enter")
    assert tab.url.endswith("01_made_up.html#ch01_share")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_it_fits_and_can_be_read(visit, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    tab = visit(viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    share(tab).locator("a").focus()
    found = Axe().run(tab, options={"rules": {"region": {"enabled": False}}})
    assert found.violations_count == 0, found.generate_report()


def test_a_link_that_names_nothing_stops_the_build(page):
    home = page.parents[3]
    path = home / "notebooks" / "01_made_up.ipynb"
    whole = path.read_text()
    try:
        path.write_text(whole.replace("(#ch01_exact)", "(#ch01_exactly)"))
        command = [Path(sys.executable).with_name("jupyter-book"), "build", home, "-n", "-W", "--keep-going"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=home)
        assert done.returncode != 0 and "ch01_exactly" in done.stdout + done.stderr
    finally:
        path.write_text(whole)
