"""What changed for a reader, from ``book/changes.yml``: a page, and a feed (Atom, RFC 4287) that readers subscribe to.

Entries are known by date and title, so that no build and no address changes what they are called.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from urllib.parse import urljoin
from xml.etree import ElementTree

import yaml
from docutils import nodes
from docutils.parsers.rst import Directive
from front import link

CHANGES = Path("book") / "changes.yml"
FEED = "changes.xml"
ATOM = "http://www.w3.org/2005/Atom"


def entries(root: Path) -> list[dict]:
    path = root / CHANGES
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else []


class Changes(Directive):
    """``{changes}``: all entries, each with its day and its page."""

    def run(self) -> list[nodes.Node]:
        env = self.state.document.settings.env
        env.note_dependency(str(Path(env.srcdir) / CHANGES))
        up = "../" * env.docname.count("/")
        feed = f'<p>As a <a href="{up}{FEED}" type="application/atom+xml">feed</a> (Atom).</p>'
        listed = nodes.definition_list(classes=["changes"])
        for entry in entries(Path(env.srcdir)):
            known = entry["page"] in env.found_docs
            title = nodes.Text(entry["title"])
            term = nodes.term("", "", nodes.inline(text=f"{entry['date']} ", classes=["day"]))
            term += link(entry["page"], title) if known else title
            text = nodes.definition("", nodes.paragraph(text=entry["text"]))
            listed += nodes.definition_list_item("", term, text)
        return [listed, nodes.raw("", feed, format="html")]


def atom(listed: list[dict], title: str, author: str, base: str, uri) -> bytes:
    """The feed; ``uri`` makes a page's address, absolute where ``base`` is known."""
    ElementTree.register_namespace("", ATOM)
    feed = ElementTree.Element(f"{{{ATOM}}}feed")

    def add(parent, name: str, text: str = "", **attributes: str):
        made = ElementTree.SubElement(parent, f"{{{ATOM}}}{name}", attributes)
        made.text = text or None
        return made

    def name(*parts: str) -> str:
        return uuid.uuid5(uuid.NAMESPACE_URL, " ".join(["open-threads", *parts])).urn

    add(feed, "id", name())
    add(feed, "title", f"{title}: changes")
    add(feed, "updated", f"{max(str(entry['date']) for entry in listed)}T00:00:00Z")
    add(add(feed, "author"), "name", author)
    add(feed, "link", rel="alternate", href=base or "index.html")
    if base:
        add(feed, "link", rel="self", href=urljoin(base, FEED))
    for entry in listed:
        made = add(feed, "entry")
        add(made, "id", name(str(entry["date"]), entry["title"]))
        add(made, "title", entry["title"])
        add(made, "updated", f"{entry['date']}T00:00:00Z")
        add(made, "link", rel="alternate", href=urljoin(base, uri(entry["page"])))
        add(made, "summary", entry["text"])
    ElementTree.indent(feed)
    return ElementTree.tostring(feed, encoding="utf-8", xml_declaration=True) + b"\n"


def write_feed(app, exception) -> None:
    if exception or app.builder.name != "html":
        return
    if listed := [entry for entry in entries(Path(app.srcdir)) if entry["page"] in app.env.found_docs]:
        config = app.config
        feed = atom(listed, config.html_title, config.author, config.html_baseurl, app.builder.get_target_uri)
        (Path(app.outdir) / FEED).write_bytes(feed)


def name_feed(app, pagename, templatename, context, doctree) -> None:
    """Browsers and feed readers find it from every page."""
    if entries(Path(app.srcdir)):
        tag = (
            f'<link rel="alternate" type="application/atom+xml" title="Changes" href="{context["pathto"](FEED, 1)}" />'
        )
        context["metatags"] = context.get("metatags", "") + tag + "\n"


def setup(app) -> dict:
    app.add_directive("changes", Changes)
    app.connect("html-page-context", name_feed)
    app.connect("build-finished", write_feed)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
