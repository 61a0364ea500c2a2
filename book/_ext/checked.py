"""The page that says when each chapter was last run again and agreed: a table of ``book/status.json``.

``make status`` writes that file. Nothing here is typed, and no build changes it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import chapters
import nbformat
from docutils import nodes
from docutils.parsers.rst import Directive
from front import link, plain_table

STATUS = Path("book") / "status.json"
COLUMNS = ("Chapter", "Run again and agreed", "Run time", "Versions")
VERSIONS = 3  # the column

BUSY = 1  # processes that waited or ran before


def digest(path: Path) -> str:
    """Of what a notebook's cells say, without what they printed."""
    sources = [(cell.cell_type, cell.source) for cell in nbformat.read(path, as_version=4).cells]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()[:16]


class Status(Directive):
    """``{status}``: a row a chapter, with the day, the run time on two cores and the versions.

    Versions that all of them share are said once, below.
    """

    def run(self) -> list[nodes.Node]:
        env = self.state.document.settings.env
        path = Path(env.srcdir) / STATUS
        env.note_dependency(str(path))
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        rows = [self.row(thread, known.get(thread.notebook)) for thread in chapters.threads() if thread.path.exists()]
        shared = {row[VERSIONS][0].astext() for row in rows} - {"–"}
        if len(shared) != 1:
            return [plain_table(COLUMNS, rows, ["status-table"])]
        table = plain_table(COLUMNS[:VERSIONS], [row[:VERSIONS] for row in rows], ["status-table"])
        return [table, nodes.paragraph(text=f"All on {shared.pop()}.")]

    @staticmethod
    def row(thread, made: dict | None) -> list[list[nodes.Node]]:
        name = link(f"notebooks/{thread.notebook}", nodes.Text(f"{thread.number} · {thread.title}"))
        if not made:
            return [[name], [nodes.Text("not yet")], [nodes.Text("–")], [nodes.Text("–")]]
        changed = "" if made["cells"] == digest(thread.path) else "; changed since"
        versions = ", ".join(f"{package} {version}" for package, version in made["versions"].items())
        busy = ", beside other work" if made["load"] > BUSY else ""
        said = (made["checked"] + changed, f"{made['seconds']} s{busy}", versions)
        return [[name], *([nodes.Text(text)] for text in said)]


def setup(app) -> dict:
    app.add_directive("status", Status)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
