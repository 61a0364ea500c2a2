"""Tables that cells make have a caption, as pictures have one: from the cell's metadata.

    {"table": {"caption": "Each dictionary at its best point, and what shrinks in it."}}

Plain text, without numbers of its own. A cell that names a caption and shows no table is a warning.
"""

from __future__ import annotations

import html
import re

from docutils import nodes
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

logger = logging.getLogger(__name__)

TABLE = re.compile(r'<table\b[^>]*\bclass="[^"]*\bdataframe\b[^>]*>')


def captioned(table: str, caption: str) -> str:
    """The HTML of pandas' table with a caption; other HTML as it is.

    >>> captioned('<table border="1" class="dataframe"><thead>', "a < b")
    '<table border="1" class="dataframe"><caption>a &lt; b</caption><thead>'
    """
    return TABLE.sub(lambda match: f"{match[0]}<caption>{html.escape(caption)}</caption>", table, count=1)


class Captions(SphinxTransform):
    """While all forms of an output are still there; which one is shown is chosen later."""

    default_priority = 312

    def apply(self, **kwargs) -> None:
        for cell in self.document.findall(nodes.container):
            caption = (cell.get("cell_metadata") or {}).get("table", {}).get("caption", "")
            if not caption:
                continue
            shown = [raw for raw in cell.findall(nodes.raw) if TABLE.search(raw.astext())]
            for raw in shown[:1]:
                raw.children = [nodes.Text(captioned(raw.astext(), caption))]
            if not shown:
                logger.warning("table.caption=%r: the cell shows no table", caption, location=cell)


def setup(app) -> dict:
    app.add_transform(Captions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
