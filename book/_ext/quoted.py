"""Mark what is quoted from a cell and is more than a number, so that whole sentences need not stand in bold."""

from __future__ import annotations

from docutils import nodes

LONGEST_NUMBER = 40  # characters, as in "TopK −4 points (−4 to −3)"


def mark_sentences(app, doctree, docname) -> None:
    for node in doctree.findall(nodes.inline):
        if "pasted-text" in node["classes"] and len(node.astext()) > LONGEST_NUMBER:
            node["classes"].append("pasted-sentence")


def setup(app) -> dict:
    app.connect("doctree-resolved", mark_sentences)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
