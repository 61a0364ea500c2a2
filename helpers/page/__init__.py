"""What a reader sees: one look for every figure (:func:`use`), and one figure that moves (:class:`Explorer`)."""

from .explore import Explorer
from .pictures import shrunk
from .style import INK, LABELS, MARKERS, PALETTE, PANEL, SIZES, log_axis, use

__all__ = ["INK", "LABELS", "MARKERS", "PALETTE", "PANEL", "SIZES", "Explorer", "log_axis", "shrunk", "use"]
