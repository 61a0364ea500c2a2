"""The book as one file: every chapter, figure and reference is in it, and links lead to pages."""

import os
import re
import subprocess
import sys

import pdf
import pytest

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def printed(tmp_path_factory, small, browser):
    if os.environ.get("CI"):
        import pypdf
    else:
        pypdf = pytest.importorskip("pypdf", reason="pypdf reads the file: it is in requirements.txt")
    path = tmp_path_factory.mktemp("pdf") / "book.pdf"
    result = subprocess.run([sys.executable, pdf.__file__, small, path], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert not path.with_suffix(".html").exists()
    return pypdf.PdfReader(path)


def texts(reader):
    return [" ".join(page.extract_text().split()) for page in reader.pages]


def bookmarks(reader, entries=None):
    """(title, page) of the outermost headings."""
    found = [one for one in (entries or reader.outline) if not isinstance(one, list)]
    return [(one.title, reader.get_destination_page_number(one)) for one in found]


def annotations(reader):
    for number, page in enumerate(reader.pages):
        for one in page.get("/Annots", []):
            yield number, one.get_object()


def test_the_order_is_that_of_the_contents(small):
    assert pdf.order(small) == [
        "index.html",
        "notebooks/04_values.html",
        "notebooks/05_older.html",
        "book/verdicts.html",
        "book/glossary.html",
        "book/references.html",
        "book/status.html",
        "book/changes.html",
    ]


def test_every_page_of_the_book_is_in_it_with_a_bookmark_where_it_begins(printed):
    titles = [title for title, _ in bookmarks(printed)]
    assert titles == [
        "Small",
        "4 · Old values bring the word back",
        "5 · An older chapter",
        "Verdicts",
        "Glossary",
        "References",
        "Status",
        "Changes",
    ]
    pages = texts(printed)
    for title, page in bookmarks(printed):
        assert title in pages[page][:80]
    assert len({page for _, page in bookmarks(printed)}) == len(titles)


def test_figures_formulas_folds_and_references_are_in_it(printed):
    text = " ".join(texts(printed))
    for words in (
        "Two ways.",
        "What comes back.",
        "Till",
        "a list, with 110",
        "A box in a fold",
        "11 of 16 (9 to 13 of",
    ):
        assert words in text, words
    drawn = [len(re.findall(rb"/X\d+ Do\b", page.get_contents().get_data())) for page in printed.pages]
    assert sum(drawn) == 3  # the answer on the front page and in its chapter, the drawing


def test_no_code_that_is_folded_and_nothing_of_the_screen_is_in_it(printed):
    text = " ".join(texts(printed))
    for words in ("Show the code", "Hide the code", "How it was computed", "Skip to main", "plt.show", "Previous"):
        assert words not in text, words


def test_every_link_inside_leads_to_a_page_of_it(printed):
    places, inside = printed.named_destinations, 0
    for _, link in annotations(printed):
        action = link.get("/A", {})
        if "/URI" in action:
            assert action["/URI"].startswith(("https://", "http://")), action["/URI"]
            continue
        name = link.get("/Dest") or action.get("/D")
        assert name in places, name
        assert printed.get_destination_page_number(places[name]) is not None
        inside += 1
    assert inside > 20


def test_a_number_on_the_front_page_leads_to_its_chapter(printed):
    pages = dict(bookmarks(printed))
    start, end = pages["4 · Old values bring the word back"], pages["5 · An older chapter"]
    leads = [
        printed.get_destination_page_number(printed.named_destinations[link["/Dest"]])
        for number, link in annotations(printed)
        if number == 0 and str(link.get("/Dest")).endswith("ch04_back")
    ]
    assert leads and all(start <= page < end for page in leads)


def test_pages_are_numbered(printed):
    for number, text in enumerate(texts(printed), 1):
        assert text.endswith(f" {number}"), text[-40:]


def test_a_heading_of_two_lines_keeps_its_words_apart_in_the_bookmarks(tmp_path, browser):
    pypdf = pytest.importorskip("pypdf", reason="pypdf reads the file: it is in requirements.txt")
    site, path = tmp_path / "site", tmp_path / "book.pdf"
    site.mkdir()
    title = "With many features, reading a direction stops paying long before the bound that was given for it"
    page = f"<title>T</title><article class='bd-article'><section><h1>{title}</h1></section></article>"
    (site / "index.html").write_text(page, encoding="utf-8")
    result = subprocess.run([sys.executable, pdf.__file__, site, path], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert bookmarks(pypdf.PdfReader(path)) == [(title, 0)]


def test_a_missing_site_is_said(tmp_path):
    with pytest.raises(SystemExit, match="expected a built site"):
        pdf.write(tmp_path, tmp_path / "book.pdf")
