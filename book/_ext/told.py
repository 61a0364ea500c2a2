"""What links and openings become on the site, so that one file reads well everywhere.

* ``[59%](#ch01_share)``: a number that can be questioned. Hover, focus or tap shows its interval, what that covers, its
  null and the way to its cell; without scripts and on paper the interval stands in brackets.
* ``[Till 2024](#till2024true)``: a source of ``references.bib``; ``[shrinkage](#shrinkage)``: a term of the glossary.
* A paragraph that begins with a stance in bold opens a chapter.

A link that names nothing is left to MyST, which warns, so that a strict build fails.
"""

from __future__ import annotations

import html
import re
from pathlib import Path

import chapters
import nbformat
from boxes import begins_bold
from chapters import slug
from docutils import nodes
from pybtex.database import parse_file
from pybtex.richtext import Text
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

logger = logging.getLogger(__name__)


class told(nodes.Inline, nodes.TextElement):  # noqa: N801 (docutils' way)
    """A number, source or term; ``kind`` and ``key`` say which."""


def glossary(root: Path) -> dict[str, tuple[str, str]]:
    """Slug of each term → the term and what it means, as plain text."""
    text = (root / "book" / "glossary.md").read_text(encoding="utf-8")
    body = text[text.index("{glossary}") :].split("\n", 1)[1]
    terms = re.findall(r"^(\S[^\n]*)\n((?:[ \t]+\S[^\n]*\n?)+)", body, flags=re.MULTILINE)
    return {slug(term): (term, plain_text(meaning)) for term, meaning in terms}


def plain_text(markdown: str) -> str:
    text = re.sub(r"\{\w+\}`([^`]*)`|[*`$]", lambda m: "" if m[1] else "", " ".join(markdown.split()))
    return re.sub(r"\s+([.,;])", r"\1", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text))


def sources(root: Path) -> dict[str, str]:
    """Key of each source → authors, title and year."""

    def text(latex: str) -> str:
        return Text.from_latex(latex).render_as("text")

    found = {}
    for key, entry in parse_file(root / "book" / "references.bib").entries.items():
        people = [text(" ".join(p.prelast_names + p.last_names)) for p in entry.persons.get("author", [])]
        who = people[0] + " et al." if len(people) > 3 else ", ".join(people)
        found[key] = f"{who}: {text(entry.fields.get('title', ''))} ({entry.fields.get('year', 'no year')})"
    return found


def prepare(app, docname: str, source: list[str]) -> None:
    """Take the lines that numbers print off the page, and let the answer's picture follow its sentence at once."""
    if Path(app.env.doc2path(docname)).suffix != ".ipynb":
        return
    notebook = nbformat.v4.reads(source[0])
    for cell in notebook.cells:
        records = [output.data[chapters.MIME] for output in cell.get("outputs", []) if is_number(output)]
        if records:
            cell.outputs = [output for output in cell.outputs if not is_number(output)]
            cell.metadata["told"] = [record["key"] for record in records]
            if chapters.HIDDEN & set(chapters.tags(cell)):
                logger.warning(
                    "%s: its cell is not on the page; tag it hide-input", records[0]["key"], location=docname
                )
    notebook.cells = chapters.as_read(notebook.cells)
    source[0] = nbformat.v4.writes(notebook)


def is_number(output) -> bool:
    return chapters.MIME in output.get("data", {})


class Tell(SphinxTransform):
    """Before references are resolved: links to numbers, sources and terms; the opening."""

    default_priority = 300

    def apply(self, **kwargs) -> None:
        app, document = self.app, self.document
        for link in list(document.findall(nodes.reference)):
            if link.get("id_link"):
                self.link(app.told_index, link)
        for paragraph in document.findall(nodes.paragraph):
            first = begins_bold(paragraph) if isinstance(paragraph.parent.parent, nodes.document) else None
            if first is not None and first.astext().rstrip(".") in chapters.STANCES:
                paragraph["classes"].append("opening")
                first["classes"].append("stance")
                before = paragraph.parent.children[max(0, paragraph.parent.index(paragraph) - 1)]
                if isinstance(before, nodes.paragraph) and isinstance(before.next_node(), nodes.emphasis):
                    before["classes"].append("asked")
                break
        for cell in document.findall(nodes.container):  # a place to point at in every cell that published numbers
            if keys := cell.get("cell_metadata", {}).get("told"):
                cell["ids"] += keys
                cell["classes"].append("numbers-cell")

    @staticmethod
    def link(index: dict, link: nodes.Element) -> None:
        key = link["refuri"][1:]
        for kind in ("number", "source", "term"):
            if key in index[kind]:
                link.replace_self(told("", "", *link.children, kind=kind, key=key))


def resolve(app, doctree, docname) -> None:
    """Write what a number, source or term shows, now that it is known where everything is."""
    index, here = app.told_index, docname
    cited = {c.key: c for c in app.env.get_domain("cite").citations}
    terms = {slug(name): at for (kind, name), at in app.env.get_domain("std").objects.items() if kind == "term"}
    for place, node in enumerate(list(doctree.findall(told))):
        kind, key = node["kind"], node["key"]
        said, words = node.astext(), []
        if kind == "number":
            made = index["number"][key]
            target = uri(app, here, made["page"], key)
            if said != made["text"]:
                logger.warning("%s is %r, the text says %r: make run", key, made["text"], said, location=node.parent)
            words = [("interval", made["interval"]), ("covers", made["covers"])]
            words += [("null", f"If there were nothing: {made['null']}")] if made["null"] else []
            way = "How it was computed"
        elif kind == "source":
            citation = cited.get(key)
            target = uri(app, here, "book/references", citation.citation_id if citation else "")
            words, way = [("covers", index["source"][key])], "In the references"
        else:
            words, way = [("covers", index["term"][key][1])], "In the glossary"
            target = uri(app, here, *terms[key])
        spoken = [*((name, text) for name, text in words if text), ("way", way)]
        if kind == "number" and made["interval"] == f"{said} to {said}":  # too narrow for these digits: not on paper
            spoken[0] = ("interval narrow", made["interval"])
        spans = [f'<span class="{name}"> {html.escape(text)}</span>' for name, text in spoken]
        more = "".join(spans).replace("> ", ">", 1)  # spaces within, or one would stand alone on paper
        link = f'<a href="{html.escape(target)}" aria-describedby="told-{place}">{html.escape(said)}</a>'
        note = f'<span class="told-more" id="told-{place}" role="tooltip">{more}</span>'
        raw = f'<span class="told {kind}">{link}{note}</span>'
        node.replace_self(nodes.raw("", raw, format="html") if app.builder.format == "html" else nodes.Text(said))


def uri(app, here: str, page: str, anchor: str) -> str:
    there = app.builder.get_relative_uri(here, page) if page != here else ""
    return f"{there}#{anchor}" if anchor else there


def read_index(app) -> None:
    root = Path(app.srcdir)
    known = chapters.all_numbers()
    app.told_index = {"number": known, "source": sources(root), "term": glossary(root)}


def as_text(self, node) -> None:
    """In the contents beside the page, a number of a heading is its text."""


def setup(app) -> dict:
    app.add_node(told, html=(as_text, as_text))
    app.connect("builder-inited", read_index)
    app.connect("source-read", prepare)
    app.add_transform(Tell)
    app.connect("doctree-resolved", resolve)
    app.add_js_file("told.js", loading_method="defer")
    return {"version": "2", "parallel_read_safe": True, "parallel_write_safe": True}
