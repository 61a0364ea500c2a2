"""Every number can be questioned: ``[59%](#ch01_share_resid)`` becomes a number with its interval, coverage and null.

The same link names a source by its key in ``references.bib`` and a term by its name in the glossary. (Figures, boxes and
headings are found by MyST itself.) The page carries what there is to say beside the link: as a description for
screen readers, in brackets where it is printed or scripts are off, and ``told.js`` shows it in a popover.
What links to nothing is a warning, and so is a number whose text is not what its cell computed.
"""

from __future__ import annotations

import json
import re
from html import escape
from pathlib import Path

import chapters
from docutils import nodes
from sphinx import addnodes
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging

logger = logging.getLogger(__name__)

HIDDEN = {"remove-cell", "remove-input", "remove_input"}


class told(nodes.Inline, nodes.TextElement):
    """A link with something to say: ``uri``, ``note`` (lines of text), ``way`` (what is at its end)."""


def load_numbers(app) -> None:
    """Key → (page, record) of every number of the book, before any page is read."""
    app.told_numbers = {}
    for path in chapters.notebooks(Path(app.srcdir)):
        for key, record in chapters.numbers(chapters.read(path)).items():
            if key in app.told_numbers:
                raise ValueError(f"{key} is published in {path.stem} and in {app.told_numbers[key][0]}")
            app.told_numbers[key] = (f"notebooks/{path.stem}", record)


def prepare_notebook(app, docname: str, source: list[str]) -> None:
    """Take the lines that numbers print off the page, and let the answer's picture follow its sentence."""
    if not Path(app.env.doc2path(docname)).suffix == ".ipynb":
        return
    notebook = chapters.joined(json.loads(source[0]))
    for cell in notebook["cells"]:
        if records := chapters.published(cell):
            cell["outputs"] = [o for o in cell["outputs"] if chapters.MIME not in o.get("data", {})]
            cell["metadata"]["told"] = [record["key"] for record in records]
            if HIDDEN & set(chapters.tags(cell)):
                logger.warning("%s: a cell that publishes a number is not shown; use hide-input", records[0]["key"])
    cells = notebook["cells"]
    places = {tag: i for i, cell in enumerate(cells) for tag in chapters.tags(cell)}
    if "opening" in places and places["opening"] < (answer := places.get("answer-figure", -1)):
        between = cells[places["opening"] + 1 : answer]
        if all(cell["cell_type"] == "code" for cell in between):
            cells.insert(places["opening"] + 1, cells.pop(answer))
    source[0] = json.dumps(notebook)


def mark_cells(app, doctree) -> None:
    """Give a cell's place on the page the keys of its numbers as ids."""
    for cell in doctree.findall(nodes.container):
        cell["ids"] += cell.get("cell_metadata", {}).get("told", [])


def collect_terms(app, doctree) -> None:
    """Slug → (term, first paragraph) of each entry of a glossary on this page."""
    terms = app.env.__dict__.setdefault("told_terms", {})
    for item in doctree.findall(nodes.definition_list_item):
        if isinstance(item.parent.parent, addnodes.glossary):
            text = item[-1].deepcopy()
            for cited in [node for node in text.findall(addnodes.pending_xref) if node.get("refdomain") == "cite"]:
                cited.parent.remove(cited)
            for term in item.findall(nodes.term):
                terms[chapters.slug(term.astext())] = (term.astext(), re.sub(r"\s+", " ", text[0].astext()))


class Links(SphinxPostTransform):
    """Resolve links to numbers, sources and terms; leave the others to MyST, which comes next."""

    default_priority = 8

    def run(self, **kwargs) -> None:
        self.sources = {citation.key: citation for citation in self.env.get_domain("cite").citations}
        for link in list(self.document.findall(addnodes.pending_xref)):
            if link["reftype"] != "myst" or link.get("refdomain") == "doc":
                continue
            for find in (self.number, self.source, self.term):
                if found := find(link, link["reftarget"]):
                    made = told("", "", *link[0].children, **found)
                    link.replace_self(made)
                    break
        for n, node in enumerate(self.document.findall(told), 1):
            node["note_id"] = f"told-{n}"

    def uri(self, docname: str, place: str) -> str:
        if docname == self.env.docname:
            return f"#{place}"
        return f"{self.app.builder.get_relative_uri(self.env.docname, docname)}#{place}"

    def number(self, link, key: str) -> dict | None:
        if key not in self.app.told_numbers:
            return None
        docname, record = self.app.told_numbers[key]
        if link.astext() != record["value"]:
            said = (key, link.astext(), record["value"])
            logger.warning("#%s is told as %r, its cell says %r: run tools/prose.py", *said, location=link)
        spread = f"{record['level']} interval over {record['covers']}" if "interval" in record else "Interval"
        note = [(spread, record.get("interval") or f"none ({record['covers']})")]
        if "null" in record:
            note.append(("If there were nothing", record["null"]))
        here = "" if docname == self.env.docname else f" in chapter {int(docname.split('/')[1][:2])}"
        way = f"The cell that computed it{here}"
        kept = {"brackets": record["interval"]} if "interval" in record else {}
        return {"uri": self.uri(docname, key), "note": note, "way": way, "classes": ["told-number"], **kept}

    def source(self, link, key: str) -> dict | None:
        if not (citation := self.sources.get(key)):
            return None
        text = re.sub(r"\s+", " ", citation.formatted_entry.text.render_as("text"))
        uri = self.uri(citation.bibliography_key.docname, citation.citation_id)
        return {"uri": uri, "note": [("", text)], "way": "In the references", "classes": ["told-source"]}

    def term(self, link, slug: str) -> dict | None:
        if not (entry := getattr(self.env, "told_terms", {}).get(slug)):
            return None
        docname, place = self.env.get_domain("std").objects["term", entry[0]]
        uri = self.uri(docname, place)
        return {"uri": uri, "note": [(entry[0], entry[1])], "way": "In the glossary", "classes": ["told-term"]}


def visit_told(self, node) -> None:
    classes = " ".join(["told", *node["classes"]])
    about = f'aria-describedby="{node["note_id"]}" data-way="{escape(node["way"])}"'
    self.body.append(f'<a class="{classes}" href="{escape(node["uri"])}" {about}>')


def depart_told(self, node) -> None:
    lines = [f"<span>{escape(name)}{': ' if name else ''}<b>{escape(text)}</b></span>" for name, text in node["note"]]
    shown = f'<span class="told-brackets"> ({escape(node["brackets"])})</span>' if "brackets" in node else ""
    self.body.append(f'</a>{shown}<span class="told-note" id="{node["note_id"]}">{" ".join(lines)}</span>')


def as_it_is(self, node) -> None:
    """Other formats show the text."""


def setup(app) -> dict:
    others = {name: (as_it_is, as_it_is) for name in ("latex", "text", "man", "texinfo")}
    app.add_node(told, html=(visit_told, depart_told), **others)
    app.add_post_transform(Links)
    app.connect("builder-inited", load_numbers)
    app.connect("source-read", prepare_notebook)
    app.connect("doctree-read", mark_cells)
    app.connect("doctree-read", collect_terms)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}
