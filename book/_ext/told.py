"""What links, quotes and openings become on the site, so that one file reads well everywhere.

* ``[59%](#ch01_share)``: a number that can be questioned. Hover, focus or tap shows its interval, what that covers, its
  null and the way to its cell; without scripts and on paper the interval stands in brackets.
* ``[Till 2024](#till2024true)``: a source of ``references.bib``; ``[shrinkage](#shrinkage)``: a term of the glossary.
* ``> **Theorem** (twins). …``: a box, numbered by chapter, that ``#theorem-twins`` refers to.
* A paragraph that begins with a stance in bold opens a chapter.

A link that names nothing is left to MyST, which warns, so that a strict build fails.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from pathlib import Path

import chapters
from docutils import nodes
from pybtex.database import parse_file
from sphinx.transforms import SphinxTransform

BOXES = ("Theorem", "Lemma", "Corollary", "Proof", "Exercise", "Verdict", "Prediction", "Rule", "Definition")
NUMBERED = ("Theorem", "Lemma", "Corollary", "Exercise")


class told(nodes.Inline, nodes.TextElement):  # noqa: N801 (docutils' way)
    """A number, source or term; ``kind`` and ``key`` say which."""


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def glossary(root: Path) -> dict[str, tuple[str, str]]:
    """Slug of each term → where it is on the glossary's page, and what it means, as plain text."""
    text = (root / "book" / "glossary.md").read_text(encoding="utf-8")
    body = text[text.index("{glossary}") :].split("\n", 1)[1]
    terms = re.findall(r"^(\S[^\n]*)\n((?:[ \t]+\S[^\n]*\n?)+)", body, flags=re.MULTILINE)
    return {slug(term): ("term-" + re.sub(r"[^\w]+", "-", term), plain_text(meaning)) for term, meaning in terms}


def plain_text(markdown: str) -> str:
    text = re.sub(r"\{\w+\}`([^`]*)`|[*`$]", lambda m: "" if m[1] else "", " ".join(markdown.split()))
    return re.sub(r"\s+([.,;])", r"\1", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text))


def sources(root: Path) -> dict[str, str]:
    """Key of each source → authors, title and year."""
    found = {}
    for key, entry in parse_file(root / "book" / "references.bib").entries.items():
        people = [" ".join(p.last_names) for p in entry.persons.get("author", [])]
        who = people[0] + " et al." if len(people) > 3 else ", ".join(people)
        title = re.sub(r"[{}\\]", "", entry.fields.get("title", ""))
        found[key] = re.sub(r"[{}\\'\"]", "", who) + f": {title} ({entry.fields.get('year', 'no year')})"
    return found


def begins_bold(paragraph: nodes.paragraph) -> nodes.strong | None:
    """The bold words that a paragraph begins with; empty text that the parser leaves before them is dropped."""
    while paragraph.children and not paragraph.children[0].astext():
        del paragraph[0]
    first = paragraph.children[0] if paragraph.children else None
    return first if isinstance(first, nodes.strong) else None


class Tell(SphinxTransform):
    """Before references are resolved: links to numbers, sources and terms; quotes; the opening."""

    default_priority = 300

    def apply(self, **kwargs) -> None:
        app, document = self.app, self.document
        for link in list(document.findall(nodes.reference)):
            if link.get("id_link"):
                self.link(app.told_index, link)
        self.boxes(document)
        for paragraph in document.findall(nodes.paragraph):
            first = begins_bold(paragraph)
            if first is not None and first.astext().rstrip(".") in chapters.STANCES:
                paragraph["classes"].append("opening")
                first["classes"].append("stance")
        self.cells(document)

    @staticmethod
    def link(index: dict, link: nodes.Element) -> None:
        key = link["refuri"][1:]
        for kind in ("number", "source", "term"):
            if key in index[kind]:
                link.replace_self(told("", "", *link.children, kind=kind, key=key))

    def boxes(self, document: nodes.document) -> None:
        chapter = re.match(r"notebooks/0?(\d+)_", self.env.docname)
        count = Counter()
        for quote in list(document.findall(nodes.block_quote)):
            head = quote.children[0] if quote.children else None
            strong = begins_bold(head) if isinstance(head, nodes.paragraph) else None
            if strong is None or strong.astext().rstrip(".") not in BOXES:
                continue
            kind = strong.astext().rstrip(".")
            after = head.children[1] if len(head.children) > 1 else nodes.Text("")
            name = re.match(r"\s*\(([^)]*)\)\.?\s*", after.astext()) if isinstance(after, nodes.Text) else None
            if name and isinstance(after, nodes.Text):
                head.replace(after, nodes.Text(after.astext()[name.end() :]))
            elif isinstance(after, nodes.Text):
                head.replace(after, nodes.Text(re.sub(r"^\.?\s+", "", after.astext())))
            number = ""
            if kind in NUMBERED and chapter:
                count[kind] += 1
                number = f" {chapter[1]}.{count[kind]}"
            label = slug(f"{kind} {name[1]}") if name else slug(f"{kind} {count[kind] or 1}")
            box = nodes.container(classes=["told-box", kind.lower()], names=[label])
            document.note_explicit_target(box)
            title = nodes.paragraph(classes=["told-title"])
            title += nodes.strong(text=f"{kind}{number}")
            if name:
                title += nodes.Text(f" ({name[1]})")
            head.remove(strong)
            box += [title, *([head] if head.astext().strip() else []), *quote.children[1:]]
            quote.replace_self(box)

    def cells(self, document: nodes.document) -> None:
        """A place to point at in every cell that published numbers."""
        for cell in document.findall(nodes.container):
            keys = self.app.told_index["cells"].get((self.env.docname, cell.get("cell_index")), [])
            if keys and cell.get("nb_element") == "cell_code":
                cell["ids"].append(f"cell-{cell['cell_index']}")
                cell["classes"].append("numbers-cell")


def resolve(app, doctree, docname) -> None:
    """Write what a number, source or term shows, now that it is known where everything is."""
    index, here = app.told_index, docname
    cited = {c.key: c for c in app.env.get_domain("cite").citations}
    for i, node in enumerate(list(doctree.findall(told))):
        kind, key = node["kind"], node["key"]
        said, words = node.astext(), []
        if kind == "number":
            made = index["number"][key]
            target = uri(app, here, made["page"], f"cell-{made['cell']}")
            words = [("interval", made["interval"]), ("covers", made["covers"])]
            words += [("null", f"If there were nothing: {made['null']}")] if made["null"] else []
            way = "How it was computed"
        elif kind == "source":
            citation = cited.get(key)
            target = uri(app, here, "book/references", citation.citation_id if citation else "")
            words, way = [("covers", index["source"][key])], "In the references"
        else:
            place, meaning = index["term"][key]
            target, words, way = uri(app, here, "book/glossary", place), [("covers", meaning)], "In the glossary"
        more = "".join(f'<span class="{name}">{html.escape(text)}</span> ' for name, text in words if text)
        link = f'<a href="{html.escape(target)}" aria-describedby="told-{i}">{html.escape(said)}</a>'
        more = f'{more}<span class="way">{way}</span>'
        note = f'<span class="told-more" id="told-{i}" role="tooltip">{more}</span>'
        raw = f'<span class="told {kind}">{link}{note}</span>'
        node.replace_self(nodes.raw("", raw, format="html") if app.builder.format == "html" else nodes.Text(said))


def uri(app, here: str, page: str, anchor: str) -> str:
    there = app.builder.get_relative_uri(here, page) if page != here else ""
    return f"{there}#{anchor}" if anchor else there


def read_index(app) -> None:
    root = Path(app.srcdir)
    known = chapters.all_numbers()
    terms = glossary(root)
    cells: dict[tuple, list] = {}
    for key, made in known.items():
        cells.setdefault((made["page"], made["cell"]), []).append(key)
    app.told_index = {"number": known, "source": sources(root), "term": terms, "cells": cells}


def setup(app) -> dict:
    app.add_node(told)
    app.connect("builder-inited", read_index)
    app.add_transform(Tell)
    app.connect("doctree-resolved", resolve)
    app.add_js_file("told.js", loading_method="defer")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
