"""Numbers that prose quotes: a value, its interval, what that covers, and what it would be if there were nothing.

A cell publishes them, and the text holds each as a link that names it: ``[59%](#ch01_share)``. So a notebook reads as
it stands in every viewer, and on the site the number can be questioned. ``make run`` writes the texts into the prose.
"""

from __future__ import annotations

import contextlib
import re
from typing import NamedTuple

from .intervals import plain

MIME = "application/vnd.open-threads.number+json"
KEY = re.compile(r"ch\d\d_[a-z0-9_]+")


class Number(NamedTuple):
    """What :func:`number` published; as text it is what prose shows."""

    key: str
    text: str
    interval: str  # "55% to 64%", or nothing
    covers: str  # what the interval covers, or why there is none
    null: str  # the same measure if there were nothing to find, or nothing

    def __str__(self) -> str:
        return self.text

    @property
    def note(self) -> str:
        """All that stands behind the number, in a line."""
        null = f"if there were nothing: {self.null}" if self.null else ""
        return "; ".join(filter(None, (self.interval, self.covers, null)))

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        return {MIME: self._asdict(), "text/plain": f"{self.key} = {self.text} ({self.note})"}


def number(
    key: str, value, form: str = ".2f", *, interval: tuple[float, float] | None = None, covers: str, null=None
) -> Number:
    """Publish a number of a chapter from a cell, and return it.

    Parameters
    ----------
    key
        ``chNN_name``, in small letters: what links name.
    value
        A number, or a text that is ready.
    form
        How value, ends of the interval and null are written: a format (``".0%"``), or a text with one in braces
        (``"{:.0f} of 54"``).
    interval
        Its two ends, in the unit of ``value``.
    covers
        What the interval covers ("95%, over 54 words"), or why there is none ("exact", "one seed").
    null
        What the measure gives where there is nothing to find: a number, or a text.

    Raises ``ValueError`` for a key of another form, a missing ``covers``, and ends that are not in order.

    >>> number("ch01_share", 0.59, ".0%", interval=(0.55, 0.64), covers="95%, over seeds and texts", null=0.0).note
    '55% to 64%; 95%, over seeds and texts; if there were nothing: 0%'
    """
    if not isinstance(key, str) or not KEY.fullmatch(key):
        raise ValueError(f"key={key!r}; expected chNN_name in small letters, digits and underscores")
    if not isinstance(covers, str) or not covers.strip():
        raise ValueError(f"covers={covers!r}; expected what the interval covers, or why there is none")
    ends = ""
    if interval is not None:
        low, high = interval
        if not low <= high:
            raise ValueError(f"interval={interval!r}; expected two ends in order")
        ends = f"{written(low, _inner(form))} to {written(high, form)}"
    made = Number(key, written(value, form), ends, covers, "" if null is None else written(null, form))
    with contextlib.suppress(ImportError):
        from IPython import get_ipython
        from IPython.display import display

        if get_ipython() is not None:
            display(made)
    return made


def written(value, form: str) -> str:
    """``value`` in a form; a text as it is."""
    if isinstance(value, str):
        return value
    if "{" not in form:
        return plain(value, form)
    before, _, rest = form.partition("{")
    spec, _, after = rest.partition("}")
    return before + plain(value, spec.lstrip(":")) + after


def _inner(form: str) -> str:
    """The form without the words behind it: "9 to 13 of 16", not "9 of 16 to 13 of 16"."""
    return form.partition("}")[0] + "}" if "{" in form else form
