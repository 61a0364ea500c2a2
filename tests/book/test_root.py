"""The site's root, what a search engine and a feed reader see, and the page for addresses that do not exist."""

import datetime
import re
from pathlib import Path
from urllib.parse import urljoin
from xml.etree import ElementTree

import changes
import chapters
import citing
import root
import small_book
import yaml
from pybtex.database import parse_string

ROOT = Path(__file__).resolve().parents[2]
ATOM = {"a": changes.ATOM}
SITE = "https://you.github.io/book/"


def pages(site: Path) -> list[Path]:
    return [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]


def said(text: str, pattern: str) -> list[str]:
    return re.findall(pattern, text)


def test_the_root_is_the_front_page_and_its_old_address_leads_there(small, visit):
    text = (small / "index.html").read_text()
    assert "thread-card" in text and "http-equiv" not in text.split("</head>")[0].lower()
    tab = visit("book/index.html#cite-this")
    tab.wait_for_url(lambda url: url.endswith("html/index.html#cite-this"))
    assert tab.locator(".thread-card").count() == 3


def test_without_scripts_the_old_address_leads_there_too(small):
    old = (small / "book" / "index.html").read_text()
    assert '<noscript><meta http-equiv="refresh" content="0; url=../index.html"></noscript>' in old


def test_no_page_links_to_the_old_address(small):
    for page in pages(small):
        assert not re.search(r'(?:href|action)="[^"]*book/index\.html', page.read_text()), page.name


def test_the_search_leads_to_the_root_and_not_to_the_old_address(visit):
    tab = visit("search.html")
    tab.goto(f"{tab.url}?q=small")
    tab.locator("#search-results li a").first.wait_for()
    found = [one.get_attribute("href").split("?")[0] for one in tab.locator("#search-results li a").all()]
    assert any(address.split("#")[0].endswith("index.html") for address in found)
    assert not any("book/index.html" in address for address in found), found


def test_every_page_has_a_language_one_title_and_a_description_of_its_own(small):
    seen = {}
    for page in pages(small):
        head = page.read_text().split("</head>")[0]
        assert said(head, r'<html lang="([^"]+)"') == ["en"], page.name
        (title,) = said(head, r"<title>(.*?)</title>")
        half = [part.strip() for part in re.split("&#8212;| - ", title)]
        assert len(set(half)) == len(half), f"{page.name}: {title}"
        (description,) = said(head, r'<meta name="description" content="([^"]+)"')
        assert 10 <= len(description) <= 300 and not re.search(r"[\\`$]|\{\w+\}", description), description
        assert description not in seen, f"{page} and {seen[description]}"
        seen[description] = page
        if said(head, 'property="og:title"'):
            assert said(head, 'property="og:description"') and said(head, 'property="og:image"'), page.name


def test_an_address_is_named_only_where_one_is_known(small, published):
    for page in pages(small):
        name = page.relative_to(small).as_posix()
        addresses = [a for a in said(page.read_text(), r'rel="canonical" href="([^"]+)"') if "://" in a]
        assert not addresses, name
        listed = said((published / name).read_text(), r'rel="canonical" href="([^"]+)"')
        if name in ("404.html", "genindex.html", "search.html", "prf-prf.html"):
            assert not listed and 'name="robots" content="noindex"' in (published / name).read_text()
        else:
            assert listed == [SITE if name.endswith("/index.html") or name == "index.html" else urljoin(SITE, name)]


def test_only_notebooks_are_opened_elsewhere_from_the_branch_where_they_are_ready(small, published):
    for page in pages(published):
        name = page.relative_to(published).as_posix()
        opened = set(said(page.read_text(), r'href="(https://colab[^"]+)"'))
        notebook = f"https://colab.research.google.com/github/you/book/blob/colab/{name.removesuffix('.html')}.ipynb"
        assert opened == ({notebook} if name.startswith("notebooks/") else set()), name
        assert "colab.research" not in (small / name).read_text(), "no address, no button"


def test_the_sitemap_lists_what_the_canonical_addresses_are(small, published):
    assert not (small / "sitemap.xml").exists()
    tree = ElementTree.parse(published / "sitemap.xml")
    listed = [node.text for node in tree.iter("{http://www.sitemaps.org/schemas/sitemap/0.9}loc")]
    named = {a for page in pages(published) for a in said(page.read_text(), r'rel="canonical" href="([^"]+)"')}
    assert sorted(listed) == sorted(named) and SITE in listed and len(listed) == len(set(listed))


def test_folders_that_start_with_an_underscore_are_served(small):
    assert (small / ".nojekyll").exists()


def test_the_page_for_a_missing_address_works_at_any_depth(browser, published):
    context = browser.new_context()
    tab, failed = context.new_page(), []

    def serve(route):
        path = published / route.request.url.removeprefix(SITE).split("?")[0].split("#")[0]
        known = path.is_file()
        status, path = (200, path) if known else (404, published / "404.html")
        failed.extend([] if known or "deep" in route.request.url else [route.request.url])
        route.fulfill(status=status, path=path)

    tab.route("**/*", serve)
    tab.goto(f"{SITE}a/deep/place/", wait_until="networkidle")
    assert tab.locator("article h1").inner_text() == "There is no page here"
    assert tab.evaluate("getComputedStyle(document.querySelector('.bd-article')).fontFamily").startswith(
        '"Source Serif'
    )
    tab.locator("article a", has_text="All chapters").click()
    tab.wait_for_url(f"{SITE}index.html")
    assert not failed
    context.close()


def test_the_feed_is_valid_atom(small, published):
    for site, base in ((small, ""), (published, SITE)):
        listed = yaml.safe_load(small_book.CHANGES)
        feed = ElementTree.parse(site / "changes.xml").getroot()
        assert feed.tag == f"{{{changes.ATOM}}}feed"
        for parent in (feed, *feed.findall("a:entry", ATOM)):
            for name in ("id", "title", "updated"):
                (node,) = parent.findall(f"a:{name}", ATOM)
                assert node.text
            assert parent.find("a:id", ATOM).text.startswith("urn:uuid:")
            datetime.datetime.strptime(parent.find("a:updated", ATOM).text, "%Y-%m-%dT%H:%M:%SZ")
        assert feed.find("a:author/a:name", ATOM).text
        ids = [node.text for node in feed.iter(f"{{{changes.ATOM}}}id")]
        assert len(ids) == len(set(ids)) == len(listed) + 1
        for entry in feed.findall("a:entry", ATOM):
            target = entry.find("a:link[@rel='alternate']", ATOM).get("href")
            assert target.startswith(base) and (site / target.removeprefix(base)).is_file()
        newest = max(node.text for node in feed.findall("a:entry/a:updated", ATOM))
        assert feed.find("a:updated", ATOM).text == newest
    assert (feed.find("a:link[@rel='self']", ATOM).get("href")) == f"{SITE}changes.xml"


def test_an_entry_of_the_feed_is_called_the_same_at_every_address(small, published):
    def ids(site):
        return [node.text for node in ElementTree.parse(site / "changes.xml").iter(f"{{{changes.ATOM}}}id")]

    assert ids(small) == ids(published)


def test_changes_stand_newest_first_with_real_pages():
    listed = changes.entries(ROOT)
    days = [entry["date"] for entry in listed]
    assert len(days) > 3 and days == sorted(days, reverse=True)
    assert all(isinstance(day, datetime.date) and day <= datetime.date.today() for day in days)
    for entry in listed:
        assert set(entry) == {"date", "title", "page", "text"}
        assert any((ROOT / f"{entry['page']}{suffix}").exists() for suffix in (".md", ".ipynb")), entry["page"]
    names = [(entry["date"], entry["title"]) for entry in listed]
    assert len(names) == len(set(names))


def test_the_citation_on_the_front_page_is_bibtex_of_the_citation_file(published):
    text = re.sub(r"<[^>]+>", "", re.search(r"@misc.*?</pre>", (published / "index.html").read_text(), re.S)[0])
    (entry,) = parse_string(text.replace("&#39;", "'"), "bibtex").entries.values()
    source = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert entry.fields["title"] == f"{{{source['title']}}}"
    assert [str(person) for person in entry.persons["author"]] == [f"{{{one['name']}}}" for one in source["authors"]]
    assert entry.fields["year"] == str(source["date-released"])[:4] and source["version"] in entry.fields["note"]
    assert entry.fields["url"] == SITE


def test_people_and_groups_are_cited_as_such():
    made = {"title": "A: b", "version": "1", "date-released": "2030-02-03"}
    people = [{"family-names": "Noether", "given-names": "Emmy"}, {"name": "A group"}]
    (entry,) = parse_string(citing.bibtex({**made, "authors": people}), "bibtex").entries.values()
    first, second = entry.persons["author"]
    assert first.last_names == ["Noether"] and str(second) == "{A group}" and "url" not in entry.fields


def test_the_citation_can_be_copied(visit):
    tab = visit("index.html")
    assert tab.locator(".copy button.copybtn").count() == 1


def test_a_long_first_paragraph_is_described_by_whole_sentences():
    from docutils import nodes

    section = nodes.section("", nodes.paragraph(text="One sentence of words. " * 20))
    words = root.first_words(section)
    assert words.endswith("words.") and len(words) <= root.LONGEST
    assert root.first_words(nodes.section("", nodes.container("", nodes.paragraph(text="In a card.")))) == ""


def test_the_chapters_are_described_by_their_answer(small):
    text = (small / "notebooks" / "04_values.html").read_text()
    told = chapters.chapter(small.parents[1] / "notebooks" / "04_values.ipynb")
    assert f'name="description" content="{told.stance}. Old values' in text
