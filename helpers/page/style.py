"""One look for every figure: the same arm has the same colour, marker and name in every chapter.

The colours were picked so that any two of them stay apart (CIELAB distance ≥ 15) for normal sight and for
full protanopia, deuteranopia and tritanopia (Machado, Oliveira and Fernandes 2009), the three central arms
by ≥ 30, and so that each has a contrast of at least 3:1 against the panel. Colour is never the only cue:
use ``MARKERS`` with it. Figures bring their own light panel, so they read on a dark page as on a light one.
"""

from __future__ import annotations

import contextlib

import matplotlib
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from .claims import explain_assertions

PANEL = "#fbfaf7"
INK = "#222222"

PALETTE = {
    "standard": "#0072b2",
    "expanded": "#d55e00",
    "gated": "#680056",
    "gated_shared_bias": "#1e9dab",
    "rescale_shift": "#b1825a",
    "jumprelu": "#1f5c36",
    "topk": "#8571ef",
    "batchtopk": "#292e9b",
    "matryoshka": "#654a0a",
    "null": "#767676",
    "random": "#767676",
    "data": INK,
}

MARKERS = {
    "standard": "o",
    "expanded": "s",
    "gated": "^",
    "gated_shared_bias": "v",
    "rescale_shift": "D",
    "jumprelu": "P",
    "topk": "X",
    "batchtopk": "*",
    "matryoshka": "h",
    "null": "|",
    "random": "_",
    "data": ".",
}

LABELS = {
    "standard": "Standard",
    "expanded": "Expanded",
    "gated": "Gated",
    "gated_shared_bias": "Gated, shared bias",
    "rescale_shift": "Rescale & shift",
    "jumprelu": "JumpReLU",
    "topk": "TopK",
    "batchtopk": "BatchTopK",
    "matryoshka": "Matryoshka",
    "null": "Null",
    "random": "Random",
    "data": "Data",
}

SIZES = {"wide": (4.3, 2.8), "tall": (4.3, 5.6), "answer": (5.6, 3.6)}
"""Figure sizes in inches: so narrow that on a phone, 375 pixels wide, text of ten points is shown with nine. A
chapter's answer is larger and drawn with :func:`large`, to the same effect."""


def large():
    """A context for a chapter's answer: text for a figure 5.6 inches wide, nine points on a phone. ``with large(): …``

    >>> import matplotlib
    >>> from helpers.page import large
    >>> with large():
    ...     matplotlib.rcParams["font.size"]
    13.0
    """
    return matplotlib.rc_context(
        {"font.size": 13.0, "axes.titlesize": 14.0, "lines.linewidth": 2.4, "lines.markersize": 7}
    )


def use() -> None:
    """Set matplotlib's look, starting from its own defaults, so that no user's settings leak into a figure.

    In a notebook, figures are shown as lines (SVG), with a PNG beside for viewers that take no other, and an assertion
    that fails says which it was (:mod:`~helpers.page.claims`).

    >>> import matplotlib
    >>> from helpers.page import use
    >>> use()
    >>> matplotlib.rcParams["axes.grid"], matplotlib.rcParams["font.size"]
    (True, 10.0)
    """
    with contextlib.suppress(ImportError):  # outside a notebook there is nothing to show in
        from IPython import get_ipython

        if get_ipython() is not None:
            from matplotlib_inline.backend_inline import set_matplotlib_formats

            set_matplotlib_formats("svg", "retina")
            explain_assertions(get_ipython())
    matplotlib.rcdefaults()
    matplotlib.rcParams.update(
        {
            "figure.figsize": SIZES["wide"],
            "figure.dpi": 100,
            "figure.constrained_layout.use": True,
            "figure.facecolor": PANEL,
            "axes.facecolor": PANEL,
            "savefig.facecolor": PANEL,
            "svg.hashsalt": "open-threads",
            "font.family": "DejaVu Sans",
            "svg.fonttype": "none",
            "font.size": 10,
            "axes.titlesize": 11,
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": INK,
            "axes.labelcolor": INK,
            "text.color": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#e4e1da",
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            "lines.markersize": 5,
            "axes.prop_cycle": matplotlib.cycler(color=list(dict.fromkeys(PALETTE.values()))),
        }
    )


def log_axis(axis) -> None:
    """Make one axis logarithmic, with plain numbers at 1, 2 and 5 times each power of ten.

    >>> from matplotlib.figure import Figure
    >>> from helpers.page import log_axis
    >>> ax = Figure().add_subplot()
    >>> log_axis(ax.xaxis)
    >>> ax.get_xscale()
    'log'
    """
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())
