"""Boxes and folds from plain Markdown: quotes that begin with a bold word, and ``<details>``.

    > **Theorem** (twins). If two rows are equal, …          a box with the id theorem-twins, "Theorem 4.1"

    <details><summary>Fine print: pilots</summary>           a fold; blank lines around the Markdown in it

    …

    </details>

Every other viewer shows the same text as a quote and as a fold. Theorems, lemmas, corollaries and exercises are
numbered by chapter, each kind by itself; so are figures, and what the older notation makes. A name in brackets gives
an id. What is meant as a fold or a name and cannot be read so is a warning.
"""

from __future__ import annotations

import html
import re
from collections import Counter

from chapters import BOXES, NUMBERED, slug
from docutils import nodes
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

logger = logging.getLogger(__name__)

NAME = re.compile(r"\s*\.?\s*(?:\(([^()]*)\)\.?\s*)?(.*)", re.DOTALL)
OPEN = re.compile(r"\s*<details(?: open)?>\s*<summary>(.*?)</summary>\s*", re.DOTALL)
CLOSE = re.compile(r"\s*</details>\s*")


class box(nodes.General, nodes.Element):  # noqa: N801 (docutils' way)
    """A theorem, proof, exercise, verdict, prediction or rule."""


class fold(nodes.General, nodes.Element):  # noqa: N801
    """Text under a line that says what is in it."""


def chapter(docname: str) -> list[str]:
    """``["4"]`` for the page of chapter 4, nothing for other pages."""
    found = re.match(r"notebooks/0*(\d+)_", docname)
    return [found[1]] if found else []


def begins_bold(paragraph: nodes.paragraph) -> nodes.strong | None:
    """The bold words that a paragraph begins with; empty text that the parser leaves before them is dropped."""
    while paragraph.children and not paragraph.children[0].astext():
        del paragraph[0]
    first = paragraph.children[0] if paragraph.children else None
    return first if isinstance(first, nodes.strong) else None


class Boxes(SphinxTransform):
    """Before references are resolved, as links may name a box."""

    default_priority = 310

    def apply(self, **kwargs) -> None:
        count = Counter()
        for quote in list(self.document.findall(nodes.block_quote)):
            head = quote[0] if len(quote) else None
            bold = begins_bold(head) if isinstance(head, nodes.paragraph) else None
            kind = bold.astext().rstrip(".") if bold is not None else ""
            if kind in BOXES:
                self.make(quote, head, bold, kind, count)
        for parent in {id(raw.parent): raw.parent for raw in self.document.findall(nodes.raw)}.values():
            gather_folds(parent)

    def make(self, quote, head, bold, kind: str, count: Counter) -> None:
        """Replace the quote by a box: a title, and what stands after the bold word and the name in brackets."""
        made = box(classes=["told-box", kind.lower()])
        made.source, made.line = head.source or self.document["source"], head.line
        title = nodes.strong(text=kind)
        if kind in NUMBERED:
            count[kind] += 1
            title = nodes.strong(text=f"{kind} {'.'.join([*chapter(self.env.docname), str(count[kind])])}")
        after = head[1] if len(head) > 1 and isinstance(head[1], nodes.Text) else nodes.Text("")
        name, rest = NAME.fullmatch(after).groups()
        if name:
            made["names"] = [slug(f"{kind} {name}")]
            self.document.note_explicit_target(made)
        elif rest.startswith("("):
            logger.warning("%s: the name is plain text in one pair of brackets", kind, location=made)
        if after.parent is head:
            head.replace(after, nodes.Text(rest))
        head.remove(bold)
        made += nodes.paragraph("", "", title, nodes.Text(f" ({name})" if name else ""), classes=["told-title"])
        made += [*([head] if head.astext().strip() else []), *quote.children[1:]]
        quote.replace_self(made)


class Claims(SphinxTransform):
    """A table whose first head is *claim* can be read as cards: its other cells name their column, for CSS to show."""

    default_priority = 311

    def apply(self, **kwargs) -> None:
        for table in self.document.findall(nodes.table):
            heads = [entry.astext().strip() for entry in next(table.findall(nodes.thead)).findall(nodes.entry)]
            if heads[:1] != ["claim"]:
                continue
            table["classes"].append("claims")
            for body in table.findall(nodes.tbody):
                for row in body.children:
                    for name, entry in list(zip(heads, row.children, strict=True))[1:]:
                        if entry.children and isinstance(entry[0], nodes.paragraph):
                            entry[0].insert(0, nodes.inline(text=f"{name}: ", classes=["col-name"]))


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
                logger.warning(
                    "<details><summary>…</summary> stands on a line alone, no heading inside", location=child
                )
            stack[-1][1].append(child)
    if len(stack) > 1:
        logger.warning("<details> is not closed beside where it opens (a heading inside?)", location=stack[-1][0])
    elif stack[0][1] != parent.children:
        parent.children = []
        parent.extend(stack[0][1])


def number_by_chapter(app, env) -> list:
    """Figures, theorems and exercises of the older notation: from one through the book to one through the chapter."""
    for docname, kinds in env.toc_fignumbers.items():
        for place in chapter(docname):
            for ids in kinds.values():
                for n, (name, _) in enumerate(sorted(ids.items(), key=lambda item: item[1]), 1):
                    ids[name] = (int(place), n)
    return []


def visit_box(self, node) -> None:
    self.body.append(self.starttag(node, "div"))


def depart_box(self, node) -> None:
    self.body.append("</div>\n")


def visit_fold(self, node) -> None:
    self.body.append(f"<details>\n<summary>{html.escape(node['summary'])}</summary>\n")


def depart_fold(self, node) -> None:
    self.body.append("</details>\n")


def as_it_is(self, node) -> None:
    """Other formats show the content."""


def setup(app) -> dict:
    others = {name: (as_it_is, as_it_is) for name in ("latex", "text", "man", "texinfo")}
    app.add_node(box, html=(visit_box, depart_box), **others)
    app.add_node(fold, html=(visit_fold, depart_fold), **others)
    app.add_transform(Boxes)
    app.add_transform(Claims)
    app.connect("env-get-updated", number_by_chapter, priority=900)  # after Sphinx has numbered
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
