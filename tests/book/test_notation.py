"""The whole notation on a book of two chapters: what it becomes, what it must refuse, and what writes the values in."""

import re
import shutil
import subprocess
import sys

import chapters
import nbformat
import pytest
import small_book
from PIL import Image

PLAIN = {"rules": {"region": {"enabled": False}}}  # the theme's own buttons lie outside landmarks


def test_figures_and_boxes_are_numbered_by_chapter_as_their_links_say(visit, four):
    page = visit()
    names = chapters.labels(four, 4)
    assert names == {
        "fig-ch04-answer": "Figure 4.1",
        "fig-ch04-values": "Figure 4.2",
        "theorem-half-of-it": "Theorem 4.2",
        "exercise-by-hand": "Exercise 4.1",
        "lemma-inside": "Lemma 4.1",
    }
    for place, name in names.items():
        assert page.locator(f"#{place}").text_content().strip().startswith(name)
    assert page.locator(".told-title").all_text_contents() == [
        "Theorem 4.1", "Theorem 4.2 (half of it)", "Proof", "Proof (another way)", "Proof", "Exercise 4.1 (by hand)",
        "Lemma 4.1 (inside)", "Verdict",
    ]  # fmt: skip
    assert visit("notebooks/05_older.html").locator("#thm-old").inner_text().startswith("Theorem 5.1")


def test_the_answers_picture_follows_its_sentence_at_once(visit):
    page = visit()
    assert page.locator("p.opening + .cell.tag_answer-figure img").count() == 1
    assert page.locator("p.opening").count() == 1


def test_a_cell_that_publishes_numbers_prints_none_on_the_page_and_carries_their_keys(visit):
    cell = visit().locator(".numbers-cell")
    assert cell.count() == 1 and cell.locator(".cell_output").count() == 0
    for key in ("ch04_keys", "ch04_words"):
        assert cell.locator(f"#{key}").count() == 1


def test_a_number_on_another_page_leads_to_its_cell_and_opens_the_code(visit):
    page = visit("index.html")
    page.locator("article > section > p .told a", has_text="11 of 16").press("Enter")
    page.wait_for_url("**/notebooks/04_values.html#ch04_back")
    assert page.locator("#ch04_back pre").is_visible()
    older = visit("notebooks/05_older.html")
    older.locator(".told.number a").press("Enter")
    older.wait_for_url("**/04_values.html#ch04_back")


def test_on_the_same_page_too(visit):
    page = visit()
    assert not page.locator("#ch04_back pre").is_visible()
    page.locator("table .told a").press("Enter")
    assert page.locator("#ch04_back pre").is_visible()


def test_what_the_keyboard_reaches_out_of_sight_is_shown_in_sight(visit):
    page = visit(viewport={"width": 900, "height": 300})
    reached = 0
    for _ in range(90):
        page.keyboard.press("Tab")
        page.wait_for_timeout(20)
        if page.evaluate("document.activeElement.matches('.told > a')"):
            page.wait_for_timeout(120)
            box = page.locator(".told.open > .told-more").bounding_box()
            assert 0 <= box["x"] and box["x"] + box["width"] <= 900 and 0 <= box["y"] <= 300
            reached += 1
    assert reached >= 8


def test_the_pointer_may_go_onto_the_popover_and_leave_it(visit):
    page = visit()
    told = page.locator("table .told")
    told.locator("a").hover()
    told.locator(".told-more").hover()
    page.wait_for_timeout(400)
    assert told.locator(".told-more").is_visible()
    page.mouse.move(2, 2)
    told.locator(".told-more").wait_for(state="hidden", timeout=2000)


def test_what_was_typed_by_strangers_stays_text(visit):
    more = visit().locator(".told-more", has_text="5 seeds").first
    assert "95%, over 5 seeds <b> & 'texts'" in more.text_content() and more.locator("b").count() == 0


def test_a_number_in_a_heading_is_text_in_the_contents(visit):
    page = visit()
    entry = page.locator(".bd-sidebar-secondary a[href='#what-is-asked-of-110-words']")
    assert entry.text_content().strip() == "What is asked of 110 words"
    assert page.locator(".bd-sidebar-secondary .told").count() == 0


def test_a_fold_holds_what_stands_in_it(visit):
    fold = visit().locator("article details:not(.hide)")
    assert fold.count() == 1 and fold.locator("summary").inner_text() == "Solution & more"
    assert fold.locator("li .told").count() == fold.locator("table").count() == fold.locator("pre").count() == 1
    assert fold.locator("#lemma-inside").count() == 1 and fold.locator("math, .math").count() >= 1
    assert fold.locator("xpath=following-sibling::blockquote").count() == 1


def test_the_older_notation_works_beside_it(visit):
    text = visit("notebooks/05_older.html").locator("article").inner_text()
    assert "It quotes 12%, cites" in text and "Till" in text and "It is as it was, 12% of it." in text


def test_the_front_page_and_the_verdicts_fall_back(visit):
    for name, place in (("index.html", ".thread-list"), ("book/verdicts.html", ".verdict-table")):
        text = visit(name).locator(place).inner_text()
        assert "Old values bring back 11 of 16" in text and "It is as it was, 12% of it." in text and "open" in text
    assert "And this?" in visit("index.html").locator(".thread-list").inner_text()
    assert visit("index.html").locator(".thread-list img").count() == 1


def test_a_shared_link_shows_sentence_and_picture(small):
    page = (small / "notebooks" / "04_values.html").read_text(encoding="utf-8")
    assert 'property="og:description" content="No. Old values bring back 11 of 16 words' in page
    place = re.search(r'property="og:image" content="([^"]*04_values\.png)"', page)[1]
    with Image.open(small / "notebooks" / place) as card:
        assert card.size == (1200, 630)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "name", ["notebooks/04_values.html", "notebooks/05_older.html", "index.html", "book/verdicts.html"]
)
def test_every_page_fits_a_phone_and_reads_in_light_and_dark(visit, name, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = visit(name, viewport={"width": 375, "height": 700}, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('article details').forEach(fold => (fold.open = true))")
    page.locator("article .told.number a").first.focus()
    page.wait_for_timeout(100)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    found = Axe().run(page, options=PLAIN)
    assert found.violations_count == 0, found.generate_report()


def test_on_paper_intervals_stand_in_brackets_and_folds_are_open(visit):
    page = visit()
    page.emulate_media(media="print")
    assert page.locator("table .told-more .interval").first.is_visible()
    assert page.locator("#lemma-inside").is_visible()


def test_a_plain_viewer_shows_no_role_no_fence_and_no_raw_link(four):
    from markdown_it import MarkdownIt

    prose = "\n\n".join(cell.source for cell in four.cells if cell.cell_type == "markdown")
    shown = MarkdownIt("commonmark").enable("table").render(prose)
    assert 'href="#ch04_back">11 of 16</a>' in shown and "<details><summary>" in shown
    text = re.sub(r"<[^>]*>", "", re.sub(r"<code.*?</code>", "", shown, flags=re.DOTALL))
    assert not re.search(r"\{[\w:-]+\}|`{3}|:{3}|\]\(", text)


def seeded(notebook, old: str, new: str):
    """A copy with the first ``old`` of its Markdown changed."""
    changed = nbformat.from_dict(notebook)
    cell = next(cell for cell in changed.cells if cell.cell_type == "markdown" and old in cell.source)
    cell.source = cell.source.replace(old, new, 1)
    return changed


FAULTS = {  # what is written → what the build says of it
    "It is [111](#ch04_words).": "ch04_words is '110', the text says '111'",
    "It is [110](#ch04_word).": "'ch04_word'",
    "It is [shrinking](#shrinking).": "'shrinking'",
    "<details><summary>A</summary>\n\n## Inside\n\nText.\n\n</details>": "no heading inside",
    "<details><summary>A</summary>\n\nText.": "is not closed",
    "<details><summary>A</summary>\nText.\n\n</details>": "stands on a line alone",
    "> **Theorem** (half of $x$). Text.": "the name is plain text",
}


@pytest.fixture(scope="module")
def said(tmp_path_factory, four):
    """For each fault what the build says of the page it is on."""
    folder = small_book.write(tmp_path_factory.mktemp("faults"), four)
    toc = folder / "_toc.yml"
    for i, text in enumerate(FAULTS, 10):
        page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(f"# A page\n\n{text}")])
        nbformat.write(page, folder / "notebooks" / f"{i}_fault.ipynb")
        toc.write_text(f"{toc.read_text()}  - file: notebooks/{i}_fault\n")
    hidden = nbformat.from_dict(four)
    next(cell for cell in hidden.cells if "number(" in cell.source).metadata["tags"] = ["remove-cell"]
    nbformat.write(hidden, folder / "notebooks" / "04_values.ipynb")
    status, lines = small_book.build(folder, strict=False)
    return lines


@pytest.mark.parametrize("fault", FAULTS)
def test_the_build_warns_of(said, fault):
    page = f"{list(FAULTS).index(fault) + 10}_fault"
    assert any(FAULTS[fault] in line for line in said.splitlines() if page in line), said


def test_the_build_warns_of_a_number_whose_cell_is_not_on_the_page(said):
    assert "ch04_back: its cell is not on the page" in said


def test_a_key_names_one_number(four):
    twice = nbformat.from_dict(four)
    twice.cells.append(next(cell for cell in twice.cells if "number(" in cell.source))
    with pytest.raises(ValueError, match="'ch04_back' is published twice"):
        chapters.numbers(twice)


def test_values_and_labels_are_written_into_all_prose_and_twice_is_once(tmp_path, four):
    stale = seeded(four, "[110](#ch04_words) in all", "[?](#ch04_words) in all, not `[x](#ch04_words)`,")
    stale = seeded(stale, "[Figure 4.2]", "[Figure 9]")
    stale.cells[3].metadata["mystnb"]["figure"]["caption"] = "Of [some](#ch04_words)."
    folder = small_book.write(tmp_path, stale)
    (folder / "tools").mkdir()
    shutil.copy2(small_book.ROOT / "tools" / "prose.py", folder / "tools")
    notebook, readme = folder / "notebooks" / "04_values.ipynb", folder / "README.md"
    states = []
    for _ in range(2):
        subprocess.run([sys.executable, folder / "tools" / "prose.py"], check=True, cwd=folder)
        states.append(notebook.read_bytes() + readme.read_bytes())
    assert states[0] == states[1] and "It is [110](#ch04_words)." in readme.read_text()
    cells = nbformat.read(notebook, as_version=4).cells
    prose = "".join(cell.source for cell in cells)
    assert "[110](#ch04_words) in all, not `[x](#ch04_words)`," in prose and "[Figure 4.2](#fig-ch04-values)" in prose
    assert cells[3].metadata["mystnb"]["figure"]["caption"] == "Of [110](#ch04_words)."
