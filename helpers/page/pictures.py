"""Figures as small files: vector where the drawing is light, a PNG with a palette where it is not."""

from __future__ import annotations

import base64
import gzip
import io
import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import quote

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

DPI = 200  # twice the pixels of a page
COLOURS = 32


class Picture(NamedTuple):
    """One frame: its kind (``svg+xml`` or ``png``), the text that stands in a data address, and its size in pixels."""

    kind: str
    text: str
    width: int
    height: int

    @property
    def head(self) -> str:
        """What comes before ``text`` in the address."""
        return f"data:image/{self.kind};" + ("base64," if self.kind == "png" else "charset=utf-8,")


def render(draw: Callable[..., Figure], values: dict, kind: str | None = None) -> Picture:
    """``draw(**values)`` as a picture of a ``kind``; without one, of the smaller. The figure is closed afterwards."""
    figure = draw(**values)
    if not isinstance(figure, Figure):
        raise TypeError(f"draw(**{values}) returned {type(figure).__name__}; expected a matplotlib Figure")
    try:
        width, height = (round(96 * inches) for inches in figure.get_size_inches())
        vector = vector_text(figure) if kind != "png" else ""
        pixels = base64.b64encode(png(figure)).decode() if kind != "svg+xml" else ""
    finally:
        plt.close(figure)
    if kind is None:
        kind = "png" if len(pixels) < len(gzip.compress(vector.encode(), mtime=0)) else "svg+xml"
    return Picture(kind, pixels if kind == "png" else vector, width, height)


def png(figure: Figure, dpi: int = DPI, colours: int = COLOURS) -> bytes:
    """A figure as a PNG with a palette."""
    raw = io.BytesIO()
    figure.savefig(raw, format="png", dpi=dpi, bbox_inches=None)
    return shrunk(raw.getvalue(), colours)


def shrunk(png: bytes, colours: int) -> bytes:
    """The same picture on white with a palette of so many colours: a third of the size, and alike to the eye."""
    image, small = Image.open(io.BytesIO(png)).convert("RGBA"), io.BytesIO()
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    palette = image.quantize(colours, method=Image.Quantize.MEDIANCUT, kmeans=2, dither=Image.Dither.NONE)
    palette.save(small, format="PNG", optimize=True)
    return small.getvalue()


def vector_text(figure: Figure) -> str:
    """A figure as SVG, in the form in which it can stand in an address inside HTML or JSON, without ``|``."""
    raw = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "open-threads", "svg.fonttype": "none"}):
        figure.savefig(raw, format="svg", bbox_inches=None, metadata={"Date": None, "Creator": None})
    return quote(slim(raw.getvalue()), safe=" !$'()*+,-./:;=?@[]^_`{}~")


def slim(svg: str) -> str:
    """SVG without its header and comments, and with coordinates to a fiftieth of a pixel.

    >>> from helpers.page import slim
    >>> slim('<?xml version="1.0"?><path d="M 1.23456 0"/>')
    '<path d="M 1.23 0"/>'
    """
    svg = re.sub(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"(-?\d+\.\d\d)\d+", r"\1", svg).replace("'DejaVu Sans'", "'DejaVu Sans', sans-serif")
    return re.sub(r"\s*\n\s*", " ", svg).strip()
