"""What a reader sees: one look for every figure (:func:`use`), and one figure that moves (:class:`Explorer`)."""

from .explore import Explorer
from .pictures import shrunk, slim
from .style import INK, LABELS, MARKERS, PALETTE, PANEL, SIZES, large, log_axis, use

__all__ = [
    "INK",
    "LABELS",
    "MARKERS",
    "PALETTE",
    "PANEL",
    "SIZES",
    "Explorer",
    "large",
    "log_axis",
    "shrunk",
    "slim",
    "use",
]
