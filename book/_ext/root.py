"""The front page at the site's root, and what a site needs beside its pages.

The root document is written as ``index.html``, and every link is made for that place; its older address,
``book/index.html``, leads there. A page for addresses that do not exist has its links from the server's root, as it is
shown at any depth. With an address (``html_baseurl``, which publishing stamps in) every page names its own, and
``sitemap.xml`` lists them.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urljoin, urlsplit
from xml.sax.saxutils import escape

from docutils import nodes
from sphinx.builders.html import StandaloneHTMLBuilder

MISSING = "404"
SAYS = {
    MISSING: "There is no page at this address. The front page of the book lists all chapters.",
    "genindex": "Terms, theorems and exercises of the book, each with the pages where it stands.",
    "search": "Search the chapters, the glossary and the helpers of the book for a word.",
}
LONGEST = 200  # characters of a description
RELATIVE = re.compile(r'\b(href|src|action|data-content_root)="(?!https?:|mailto:|data:|/|#)([^"]*)"')
MOVED = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}: this page has moved</title>
<meta name="description" content="The front page of {title} has moved.">
<link rel="canonical" href="{target}">
<meta name="robots" content="noindex">
<script>location.replace("{there}" + location.search + location.hash)</script>
<noscript><meta http-equiv="refresh" content="0; url={there}"></noscript>
</head>
<body><p><a href="{there}">{title}</a> has moved one folder up.</p></body>
</html>
"""
NOT_FOUND = """<section><h1>There is no page here</h1>
<p>The address may be mistyped, or the page has another name now.</p>
<p><a href="{front}">All chapters</a> are on the front page; <a href="{search}">the search</a> finds words in them.</p>
</section>"""


class RootedBuilder(StandaloneHTMLBuilder):
    """Sphinx's own, with the root document as ``index.html`` of the site, wherever its source lies."""

    def _placed(self, name: str) -> str:
        return "index" if name == self.config.root_doc else name

    def get_target_uri(self, docname: str, typ: str | None = None) -> str:
        return super().get_target_uri(self._placed(docname), typ)

    def get_outfilename(self, pagename: str) -> str:
        return super().get_outfilename(self._placed(pagename))

    def load_indexer(self, docnames) -> None:
        self._rename_in_index("index", self.config.root_doc)
        super().load_indexer(docnames)

    def dump_search_index(self) -> None:
        super().dump_search_index()
        self._rename_in_index(self.config.root_doc, "index")

    def _rename_in_index(self, name: str, new: str) -> None:
        """The search makes addresses of the documents' names."""
        path = Path(self.outdir) / self.searchindex_filename
        if path.exists():
            text = path.read_text(encoding="utf-8")
            names = re.search(r'"docnames": \[.*?\]', text)
            if names:
                renamed = names[0].replace(f'"{name}"', f'"{new}"')
                path.write_text(text.replace(names[0], renamed), encoding="utf-8")


def first_words(document) -> str:
    """The first paragraph of a page, in whole sentences where it is long: what a search engine shows of it."""
    for paragraph in document.findall(nodes.paragraph):
        plain = isinstance(paragraph.parent, nodes.section) or "lead" in paragraph.parent.get("classes", ())
        if plain and (said := " ".join(paragraph.astext().split())):
            kept = said[: LONGEST + 1]
            return said if len(said) <= LONGEST else kept[: kept.rfind(". ") + 1] or kept[: kept.rfind(" ")] + " …"
    return ""


def describe(app, document) -> None:
    """What a shared link says of a page, unless something else has said it."""
    about = app.env.metadata[app.env.docname]
    if "og:description" not in about and (said := first_words(document)):
        about["og:description"] = said


def head(app, pagename, templatename, context, doctree) -> None:
    """Title, description and address of a page."""
    listed = pagename in app.env.found_docs
    if pagename == app.config.root_doc:
        context["docstitle"] = ""  # the title would be said twice
    said = SAYS.get(pagename) or (context.get("meta") or {}).get("og:description")
    said = said or f"{context.get('title', pagename)}, a page of {app.config.html_title}."
    tags = f'<meta name="description" content="{escape(said, {chr(34): "&quot;"})}" />\n'
    tags += "" if listed else '<meta name="robots" content="noindex" />\n'
    context["metatags"] = context.get("metatags", "") + tags
    if base := app.config.html_baseurl:
        context["pageurl"] = urljoin(base, address(app, pagename)) if listed else None


def address(app, pagename: str) -> str:
    """Of a page, from the site's root; of the front page the root itself."""
    return "" if pagename == app.config.root_doc else app.builder.get_target_uri(pagename)


def not_found(app):
    """The page that a server shows for an address that does not exist."""
    uri = app.builder.get_relative_uri
    links = {"front": uri(MISSING, app.config.root_doc), "search": uri(MISSING, "search")}
    yield MISSING, {"title": "There is no page here", "body": NOT_FOUND.format(**links)}, "page.html"


def finish(app, exception) -> None:
    """What is made of the written pages."""
    if exception or app.builder.name != "html":
        return
    out, base = Path(app.outdir), app.config.html_baseurl
    (out / ".nojekyll").touch()  # or a server of branches hides what begins with an underscore
    page = out / f"{MISSING}.html"
    start = urlsplit(base).path.rstrip("/") + "/"
    text = page.read_text(encoding="utf-8")
    page.write_text(RELATIVE.sub(lambda m: f'{m[1]}="{start}{re.sub(r"^[.]/", "", m[2])}"', text), encoding="utf-8")
    old = out / f"{app.config.root_doc}.html"
    if old != out / "index.html":
        there = "../" * app.config.root_doc.count("/") + "index.html"
        title = escape(app.config.html_title or app.config.project)
        old.parent.mkdir(exist_ok=True)
        old.write_text(MOVED.format(title=title, there=there, target=base or there), encoding="utf-8")
    if base:
        pages = sorted(address(app, name) for name in app.env.found_docs)
        lines = "".join(f"<url><loc>{escape(urljoin(base, page))}</loc></url>\n" for page in pages)
        space = "http://www.sitemaps.org/schemas/sitemap/0.9"
        text = f'<?xml version="1.0" encoding="utf-8"?>\n<urlset xmlns="{space}">\n{lines}</urlset>\n'
        (out / "sitemap.xml").write_text(text, encoding="utf-8")


def setup(app) -> dict:
    app.add_builder(RootedBuilder, override=True)
    app.connect("doctree-read", describe, priority=600)  # after what a chapter says of itself
    app.connect("html-collect-pages", not_found)
    app.connect("html-page-context", head, priority=400)  # before the tags for shared links
    app.connect("build-finished", finish, priority=950)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
