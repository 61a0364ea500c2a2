"""Boxes and folds from plain Markdown: quotes that begin with a bold word, and ``<details>``.

    > **Theorem** (twins). If two rows are equal, …          a box with the id theorem-twins, "Theorem 4.1"

    <details><summary>Fine print: pilots</summary>           a fold; blank lines around the Markdown in it

    …

    </details>

Every other viewer shows the same text as a quote and as a fold. Theorems, lemmas, corollaries and exercises are numbered
by chapter, each kind by itself; so are figures, and what the older notation makes. A name in brackets gives an id.
"""

from __future__ import annotations

import html
import re
from collections import Counter

from chapters import KINDS, NUMBERED, box_id
from docutils import nodes
from docutils.transforms import Transform
from sphinx.util import logging

logger = logging.getLogger(__name__)

NAME = re.compile(r"^ ?\(([^()]*)\)")
OPEN = re.compile(r"\s*<details(?: open)?>\s*<summary>(.*?)</summary>\s*", re.DOTALL)
CLOSE = re.compile(r"\s*</details>\s*")


class box(nodes.General, nodes.Element):
    """A theorem, proof, exercise, verdict, prediction or rule."""


class fold(nodes.General, nodes.Element):
    """Text under a line that says what is in it."""


def chapter(docname: str) -> str:
    """ "4" for a page of chapter 4, "" elsewhere."""
    found = re.match(r"notebooks/(\d+)_", docname)
    return str(int(found[1])) if found else ""


class Boxes(Transform):
    default_priority = 500  # before links to ids are looked up

    def apply(self, **kwargs) -> None:
        counts = Counter()
        for quote in list(self.document.findall(nodes.block_quote)):
            first = quote[0] if len(quote) else None
            if isinstance(first, nodes.paragraph) and isinstance(first[0], nodes.strong):
                kind = first[0].astext().rstrip(".")
                if kind in KINDS:
                    self.make(quote, first, kind, counts)
        for parent in {id(raw.parent): raw.parent for raw in self.document.findall(nodes.raw)}.values():
            gather_folds(parent)

    def make(self, quote, first, kind: str, counts: Counter) -> None:
        made = box("", *quote.children, classes=["box", f"box-{kind.lower()}"])
        made.source, made.line = first.source, first.line
        head = first[0]
        if kind in NUMBERED:
            counts[kind] += 1
            place = chapter(self.document.settings.env.docname)
            text = f"{kind} {place}.{counts[kind]}" if place else f"{kind} {counts[kind]}"
            head.replace_self(head := nodes.strong(text, text))
        head["classes"].append("box-kind")
        after = first[1] if len(first) > 1 and isinstance(first[1], nodes.Text) else nodes.Text("")
        if found := NAME.match(after):
            rest = nodes.Text(after[found.end() :])
            name = nodes.inline(found[1], f"({found[1]})", classes=["box-name"])
            first.replace(after, [nodes.Text(" "), name, rest])
            made["names"] = [box_id(kind, found[1])]
            self.document.note_explicit_target(made)
        elif after.lstrip().startswith("("):
            logger.warning("the name of %s must be plain text in one pair of brackets", kind, location=made)
        quote.replace_self(made)


def gather_folds(parent) -> None:
    """Put what stands between ``<details>…`` and ``</details>`` among the children of ``parent`` into folds."""
    stack = [(None, [])]
    for child in parent.children:
        raw = child.astext() if isinstance(child, nodes.raw) and "html" in child.get("format", "") else ""
        if found := OPEN.fullmatch(raw):
            stack.append((child, []))
            child["summary"] = html.unescape(re.sub(r"<[^>]+>", "", found[1])).strip()
        elif CLOSE.fullmatch(raw) and len(stack) > 1:
            start, inside = stack.pop()
            stack[-1][1].append(fold("", *inside, summary=start["summary"]))
        else:
            if "<details" in raw or "</details" in raw:
                logger.warning("<details> and <summary> on one line, a blank line after, no heading inside", location=child)
            stack[-1][1].append(child)
    if len(stack) > 1:
        logger.warning("<details> is not closed beside where it opens (a heading inside?)", location=stack[-1][0])
    elif stack[0][1] != parent.children:
        parent.children = []
        parent.extend(stack[0][1])


def number_by_chapter(app, env) -> list:
    """Figures, theorems and exercises of the older notation: from one through the book to one through the chapter."""
    for docname, kinds in env.toc_fignumbers.items():
        if place := chapter(docname):
            for ids in kinds.values():
                for n, (name, _) in enumerate(sorted(ids.items(), key=lambda item: item[1]), 1):
                    ids[name] = (int(place), n)
    return []


def visit_box(self, node) -> None:
    self.body.append(self.starttag(node, "div"))


def depart_box(self, node) -> None:
    self.body.append("</div>\n")


def visit_fold(self, node) -> None:
    self.body.append(f'<details class="fold">\n<summary>{html.escape(node["summary"])}</summary>\n')


def depart_fold(self, node) -> None:
    self.body.append("</details>\n")


def as_it_is(self, node) -> None:
    """Other formats show the content."""


def setup(app) -> dict:
    others = {name: (as_it_is, as_it_is) for name in ("latex", "text", "man", "texinfo")}
    app.add_node(box, html=(visit_box, depart_box), **others)
    app.add_node(fold, html=(visit_fold, depart_fold), **others)
    app.add_transform(Boxes)
    app.connect("env-get-updated", number_by_chapter, priority=900)  # after Sphinx has numbered
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
