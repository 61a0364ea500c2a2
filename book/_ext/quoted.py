"""Mark the inline text that the style must know: sentences quoted from a cell, and settings written as code.

A setting is code in a notebook, so that no number is typed in prose: `512`, `n=512`. It reads as the text around it.
"""

from __future__ import annotations

import re

from docutils import nodes

LONGEST_NUMBER = 40  # characters, as in "TopK −4 points (−4 to −3)"
SETTING = re.compile(r"(?:\w ?= ?)?[−½¼\d][−½¼\d.,%×]*(?: to \d[\d.,%]*)?")


def mark_sentences(app, doctree, docname) -> None:
    for node in doctree.findall(nodes.inline):
        if "pasted-text" in node["classes"] and len(node.astext()) > LONGEST_NUMBER:
            node["classes"].append("pasted-sentence")


def mark_settings(app, doctree, docname) -> None:
    if docname.startswith("book/api"):
        return
    for node in doctree.findall(nodes.literal):
        if SETTING.fullmatch(node.astext()):
            node["classes"].append("setting")
            node.children = [nodes.Text(re.sub(r" ?= ?", "\xa0=\xa0", node.astext()))]


def setup(app) -> dict:
    app.connect("doctree-resolved", mark_sentences)
    app.connect("doctree-resolved", mark_settings)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
