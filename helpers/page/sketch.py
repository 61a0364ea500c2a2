"""The few parts that a drawing of a set-up needs: a sheet, boxes, words in a row, arrows and notes.

Coordinates are inches from the lower left corner, so that what is drawn is where and as large as it says.

>>> fig, ax = sheet(5.6, 2.0)
>>> left = box(ax, 0.2, 0.6, 1.2, 0.7, "encoder")
>>> right = box(ax, 3.2, 0.6, 1.2, 0.7, "decoder", colour="#0072b2")
>>> arrow(ax, left.right, right.left, "codes")
"""

from __future__ import annotations

from typing import NamedTuple

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from ..checks import finite
from .style import INK, PANEL

Point = tuple[float, float]


class Box(NamedTuple):
    """Where a box is, and the middles of its sides."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> Point:
        return self.x, self.y + self.height / 2

    @property
    def right(self) -> Point:
        return self.x + self.width, self.y + self.height / 2

    @property
    def top(self) -> Point:
        return self.x + self.width / 2, self.y + self.height

    @property
    def bottom(self) -> Point:
        return self.x + self.width / 2, self.y


def sheet(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure of ``width`` by ``height`` inches whose axes are measured in inches and not shown.

    >>> from helpers.page import sheet
    >>> fig, ax = sheet(5.6, 2.0)
    >>> fig.get_size_inches().tolist()
    [5.6, 2.0]
    """
    width, height = finite("width", width, above=0), finite("height", height, above=0)
    figure = plt.figure(figsize=(width, height))
    figure.set_layout_engine("none")
    ax = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    ax.set_axis_off()
    return figure, ax


def box(
    ax: Axes, x: float, y: float, width: float, height: float, text: str = "", *, colour: str = INK, fill: bool = True,
    size: float | None = None, weight: str = "normal",
) -> Box:  # fmt: skip
    """A box with rounded corners and its text; ``fill`` tints it with its colour. Returns where it is.

    >>> from helpers.page import box, sheet
    >>> _, ax = sheet(5.6, 2.0)
    >>> box(ax, 1.0, 0.5, 2.0, 1.0, "encoder").right
    (3.0, 1.0)
    """
    tint = [0.86 * p + 0.14 * c for p, c in zip(to_rgb(PANEL), to_rgb(colour), strict=True)] if fill else "none"
    shape = FancyBboxPatch(
        (x, y), width, height, boxstyle="round,pad=0,rounding_size=0.06", fc=tint, ec=colour, lw=1.4, zorder=2
    )
    ax.add_patch(shape)
    if text:
        ax.text(x + width / 2, y + height / 2, text, ha="center", va="center", size=size, weight=weight, zorder=3)
    return Box(x, y, width, height)


def row(
    ax: Axes, x: float, y: float, words: list[str], *, gap: float = 0.06, height: float = 0.34, **look
) -> list[Box]:
    """Words side by side, each in a box as wide as it needs; ``look`` goes to every :func:`box`. Returns the boxes.

    >>> from helpers.page import row, sheet
    >>> _, ax = sheet(5.6, 2.0)
    >>> [round(box.x, 2) for box in row(ax, 1.0, 0.5, ["a", "word"])]
    [1.0, 1.31]
    """
    boxes = []
    for word in words:
        wide = 0.16 + 0.088 * len(word)
        boxes.append(box(ax, x, y, wide, height, word, **look))
        x += wide + gap
    return boxes


def arrow(
    ax: Axes, start: Point, end: Point, text: str = "", *, colour: str = INK, bend: float = 0.0, dashed: bool = False,
    size: float | None = None, lift: float = 0.1,
) -> None:  # fmt: skip
    """An arrow, bent to its left by the share ``bend`` of its length, with a text ``lift`` inches above its middle."""
    style = f"arc3,rad={-bend}"
    line = FancyArrowPatch(
        start, end, arrowstyle="-|>", mutation_scale=13, connectionstyle=style, color=colour, lw=1.8, zorder=4,
        shrinkA=2, shrinkB=2, linestyle="--" if dashed else "-",
    )  # fmt: skip
    ax.add_patch(line)
    if text:
        (x0, y0), (x1, y1) = start, end
        x, y = (x0 + x1) / 2 - bend * (y1 - y0) / 2, (y0 + y1) / 2 + bend * (x1 - x0) / 2
        ax.text(x, y + lift, text, color=colour, ha="center", va="bottom", size=size, zorder=5)


def note(ax: Axes, x: float, y: float, text: str, *, colour: str = INK, size: float | None = None, **look) -> None:
    """A text whose left end is at ``(x, y)``."""
    ax.text(x, y, text, color=colour, size=size, **{"ha": "left", "va": "center", "zorder": 5, **look})
