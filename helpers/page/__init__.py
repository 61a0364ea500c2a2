"""What a reader sees: one look for every figure (:func:`use`), drawings of set-ups, one figure that moves.

:class:`Explorer` is the figure that moves; :func:`sheet`, :func:`box`, :func:`row`, :func:`arrow` and :func:`note` are
the parts of a drawing.
"""

from .explore import Explorer
from .pictures import shrunk, slim
from .sketch import arrow, box, note, row, sheet
from .style import INK, LABELS, MARKERS, PALETTE, PANEL, SIZES, large, log_axis, use

__all__ = [
    "INK", "LABELS", "MARKERS", "PALETTE", "PANEL", "SIZES", "Explorer", "arrow", "box", "large", "log_axis", "note",
    "row", "sheet", "shrunk", "slim", "use",
]  # fmt: skip
