"""How to cite the book, as BibTeX, made from ``CITATION.cff``."""

from __future__ import annotations

from pathlib import Path

import yaml
from docutils import nodes
from docutils.parsers.rst import Directive

CITATION = Path(__file__).resolve().parents[2] / "CITATION.cff"


def bibtex(citation: dict, address: str = "") -> str:
    """An entry that BibTeX and biblatex read; people have family names, groups stand in braces."""
    people = [
        f"{person['family-names']}, {person['given-names']}" if "family-names" in person else f"{{{person['name']}}}"
        for person in citation["authors"]
    ]
    year, month = str(citation["date-released"]).split("-")[:2]
    fields = {
        "author": " and ".join(people),
        "title": f"{{{citation['title']}}}",
        "year": year,
        "month": str(int(month)),
        "note": f"Version {citation['version']}",
        "url": address,
    }
    key = citation["title"].split(":")[0].replace(" ", "").lower() + year
    lines = [f"  {name:6} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join([f"@misc{{{key},", *lines, "}"])


class CiteThis(Directive):
    """``{cite-this}``: the entry, with a button that copies it."""

    def run(self) -> list[nodes.Node]:
        config = self.state.document.settings.env.config
        self.state.document.settings.env.note_dependency(str(CITATION))
        text = bibtex(yaml.safe_load(CITATION.read_text(encoding="utf-8")), config.html_baseurl)
        return [nodes.container("", nodes.literal_block(text, text, language="bibtex"), classes=["copy"])]


def setup(app) -> dict:
    app.add_directive("cite-this", CiteThis)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
