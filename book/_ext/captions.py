"""Tables that cells make have a caption, as pictures have one: from the cell's metadata.

    {"table": {"caption": "Each dictionary at its best point, and what shrinks in it."}}

Plain text, without numbers of its own. A cell that names a caption and shows no table is a warning. What pandas writes
is tidied: names of rows stand in the same line as names of columns, and an interval is not broken.
"""

from __future__ import annotations

import html
import re

from docutils import nodes
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

logger = logging.getLogger(__name__)

TABLE = re.compile(r'<table\b[^>]*\bclass="[^"]*\bdataframe\b[^>]*>')

HEAD = re.compile(r"(<thead>)(.*?)(</thead>)", re.DOTALL)
ROW = re.compile(r"<tr[^>]*>.*?</tr>", re.DOTALL)
CELL = re.compile(r"(<th[^>]*>)(.*?)</th>", re.DOTALL)
SHORT = re.compile(r"\([−-]?[\d.]+%?(?: to |, )[^()<]{1,14}\)|(?<=<th>)\w = [\d.]+(?=</th>)")


def captioned(table: str, caption: str) -> str:
    """The HTML of pandas' table with a caption; other HTML as it is.

    >>> captioned('<table border="1" class="dataframe"><thead>', "a < b")
    '<table border="1" class="dataframe"><caption>a &lt; b</caption><thead>'
    """
    return TABLE.sub(lambda match: f"{match[0]}<caption>{html.escape(caption)}</caption>", table, count=1)


def tidied(table: str) -> str:
    """The HTML of pandas' table with one line of heads where two have nothing in common, and intervals kept whole.

    >>> tidied('<thead><tr><th></th><th>L0</th></tr><tr><th>arm</th><th></th></tr></thead><td>2 (1 to 3)</td>')
    '<thead><tr><th>arm</th><th>L0</th></tr></thead><td>2 (1\xa0to\xa03)</td>'
    """
    table = HEAD.sub(lambda match: match[1] + one_line(match[2]) + match[3], table)
    return SHORT.sub(lambda match: match[0].replace(" ", "\xa0"), table.replace("<td>NaN</td>", "<td>–</td>"))


def one_line(rows: str) -> str:
    """Two rows of heads as one, if each is empty where the other is not."""
    lines = ROW.findall(rows)
    if len(lines) != 2 or "span=" in rows:
        return rows
    above, below = (CELL.findall(line) for line in lines)
    if len(above) != len(below) or any(a[1] and b[1] for a, b in zip(above, below, strict=True)):
        return rows
    heads = "".join(a[0] + (a[1] or b[1]) + "</th>" for a, b in zip(above, below, strict=True))
    return re.sub(r"(<tr[^>]*>).*", lambda match: f"{match[1]}{heads}</tr>", rows, count=1, flags=re.DOTALL)


class Captions(SphinxTransform):
    """While all forms of an output are still there; which one is shown is chosen later."""

    default_priority = 312

    def apply(self, **kwargs) -> None:
        for raw in self.document.findall(nodes.raw):
            if TABLE.search(raw.astext()):
                raw.children = [nodes.Text(tidied(raw.astext()))]
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
