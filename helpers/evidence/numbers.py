"""Numbers that prose quotes: a value, its interval, what that covers, and what it would be if there were nothing.

A cell publishes them, and the text holds each as a link that names it: ``[59%](#ch01_share)``. So a notebook reads as
it stands in every viewer, and on the site the number can be questioned. ``make run`` writes the texts into the prose.
"""

from __future__ import annotations

import contextlib
import math
import re
from dataclasses import asdict, dataclass

import numpy as np

from .intervals import plain

MIME = "application/vnd.open-threads.number+json"
KEY = re.compile(r"ch\d\d_[a-z0-9_]+")
MARKUP = re.compile(r"[\[\]|`*_$\\\n]|<(?=[A-Za-z/!])")  # Markdown or HTML in the sentence that quotes the number


@dataclass(frozen=True)
class Number:
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

    def bundle(self) -> dict:
        """What the cell's output holds: a record for the site, and a line for every other viewer."""
        return {MIME: asdict(self), "text/plain": f"{self.key} = {self.text} ({self.note})"}

    def _ipython_display_(self) -> None:
        """Nothing: :func:`number` has shown it, also where it stands last in a cell."""


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

    Raises ``ValueError`` for a key of another form, a missing ``covers``, what is not finite, ends that are not in
    order, and a text that would be read as Markdown or HTML.

    >>> number("ch01_share", 0.59, ".0%", interval=(0.55, 0.64), covers="95%, over seeds and texts", null=0.0).note
    '55% to 64%; 95%, over seeds and texts; if there were nothing: 0%'
    """
    if not isinstance(key, str) or not KEY.fullmatch(key):
        raise ValueError(f"key={key!r}; expected chNN_name in small letters, digits and underscores")
    if not isinstance(covers, str) or not covers.strip():
        raise ValueError(f"covers={covers!r}; expected what the interval covers, or why there is none")
    if not isinstance(form, str):
        raise ValueError(f"form={form!r}; expected a format, or a text with one in braces")
    ends = ""
    if interval is not None:
        low, high = interval if np.shape(interval) == (2,) else (None, None)
        texts = isinstance(low, str) and isinstance(high, str)
        if not texts and not (_is_number(low) and _is_number(high) and low <= high):
            raise ValueError(f"interval={interval!r}; expected two ends in order")
        ends = f"{written(low, _inner(form), 'interval')} to {written(high, form, 'interval')}"
    made = Number(key, written(value, form), ends, covers, "" if null is None else written(null, form, "null"))
    with contextlib.suppress(ImportError):
        from IPython import get_ipython
        from IPython.display import display

        if get_ipython() is not None:
            display(made.bundle(), raw=True)
    return made


def written(value, form: str, name: str = "value") -> str:
    """``value`` in a form; a text as it is."""
    if isinstance(value, str):
        text = value
    elif not _is_number(value) or not math.isfinite(value):
        raise ValueError(f"{name}={value!r}; expected a finite number or a text")
    elif "{" not in form:
        text = plain(value, form)
    else:
        before, _, rest = form.partition("{")
        spec, _, after = rest.partition("}")
        text = before + plain(value, spec.lstrip(":")) + after
    if not text.strip() or MARKUP.search(text):
        raise ValueError(f"{name} reads {text!r}; expected plain text without signs of Markdown or HTML")
    return text


def _is_number(value) -> bool:
    """Whether it is one real number, of whatever library."""
    return np.shape(value) == () and not isinstance(value, complex | np.complexfloating | str | None)


def _inner(form: str) -> str:
    """The form without the words behind it: "9 to 13 of 16", not "9 of 16 to 13 of 16"."""
    return form.partition("}")[0] + "}" if "{" in form else form
