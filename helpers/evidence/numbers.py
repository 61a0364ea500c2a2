"""A number that prose may quote, with what a reader may ask of it.

A cell publishes it under a key, and a sentence of any chapter links to that key:

    number("ch04_words_back", 11, "{:.0f} of 16", interval=(9, 13), covers="words", null="1 of 16, by chance")

    The old values bring back [11 of 16](#ch04_words_back) words.

Value, interval and null are rounded by one format, so they agree. The cell's output holds the rounded texts and nothing
else, so that it is the same wherever the notebook is run again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

MIME = "application/vnd.open-threads.number+json"
KEY = re.compile(r"ch\d\d_[A-Za-z0-9_.]*[A-Za-z0-9]")
MARKUP = re.compile(r"[\[\]|`*_$\\\n]|<(?=[A-Za-z/!])")  # would be read as Markdown in the sentence that quotes it
MINUS = re.compile(r"(?<![\w.])-(?=[\d.])")
SIGNED_ZERO = re.compile(r"(?<![\w.])[−+](?=0(?:\.0*)?(?![\d.]))")


@dataclass(frozen=True)
class Number:
    """A published number. ``str()`` is what prose shows; ``value`` is what was given, for asserts."""

    key: str
    value: float | str
    text: str
    interval: tuple[str, str] | None
    covers: str
    null: str | None
    level: str

    def __str__(self) -> str:
        return self.text

    def record(self) -> dict:
        """What the output carries for the site: texts only."""
        shown = {"key": self.key, "value": self.text, "covers": self.covers}
        if self.interval:
            shown |= {"interval": f"{self.interval[0]} to {self.interval[1]}", "level": self.level}
        if self.null is not None:
            shown["null"] = self.null
        return shown

    def sentence(self) -> str:
        """The same for people, as every other viewer shows it."""
        shown = self.record()
        spread = f"{self.level} interval {shown['interval']}, over {self.covers}" if self.interval else self.covers
        null = f"; if there were nothing: {self.null}" if self.null is not None else ""
        return f"{self.key} = {self.text} ({spread}{null})"

    def _ipython_display_(self) -> None:
        """Nothing: ``number`` has shown it, also where it is the last line of a cell."""


def number(
    key: str,
    value: float | str,
    form: str = "{}",
    *,
    covers: str,
    interval: Sequence[float] | Sequence[str] | None = None,
    null: float | str | None = None,
    level: float = 0.95,
) -> Number:
    """Publish ``value`` under ``key`` from this cell, and return it.

    Parameters
    ----------
    key
        ``chNN_name``, one for the whole book.
    value, form
        A number and the format that rounds it (``"{:.0%}"``, ``"{:+.2f} nats"``); or a text that is ready.
    covers
        What the interval ranges over (``"words"``, ``"5 seeds"``). Without an interval: why there is none (``"exact"``,
        ``"one seed"``).
    interval
        Its two ends, at ``level``; numbers, or texts if ``value`` is one.
    null
        What one would see if there were nothing: a number in the same format, or a text.
    """
    if not isinstance(key, str) or not KEY.fullmatch(key):
        raise ValueError(f"key={key!r}; expected chNN_name, such as 'ch04_words_back'")
    if not isinstance(covers, str) or not covers.strip():
        raise ValueError(f"covers={covers!r}; expected what the interval ranges over, or why there is none")
    if not isinstance(level, Real) or not 0 < level < 1:
        raise ValueError(f"level={level!r}; expected a share between 0 and 1")
    if isinstance(value, str) and form != "{}":
        raise ValueError(f"form={form!r} with value={value!r}; a text is taken as it is")
    made = Number(
        key=key,
        value=value,
        text=_text(value, form, "value"),
        interval=None if interval is None else _ends(value, interval, form),
        covers=covers.strip(),
        null=None if null is None else _text(null, "{}" if isinstance(null, str) else form, "null"),
        level=f"{100 * level:.4g}%",
    )
    _show(made)
    return made


def _text(value, form: str, name: str) -> str:
    if isinstance(value, str):
        text = value.strip()
    elif isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value):
        try:
            text = form.format(value)
        except (ValueError, IndexError, KeyError, AttributeError) as error:
            raise ValueError(f"form={form!r}; expected a format for {name}={value!r}, such as '{{:.2f}}'") from error
    else:
        raise ValueError(f"{name}={value!r}; expected a finite number or a text")
    text = SIGNED_ZERO.sub("", MINUS.sub("−", text))
    if not text or MARKUP.search(text):
        raise ValueError(f"{name} reads {text!r}; expected plain text without the signs of Markdown or HTML")
    return text


def _ends(value, interval, form: str) -> tuple[str, str]:
    kind = str if isinstance(value, str) else Real
    if isinstance(interval, str) or len(interval) != 2 or not all(isinstance(end, kind) for end in interval):
        raise ValueError(
            f"interval={interval!r}; expected two {'texts' if kind is str else 'numbers'}, as value is one"
        )
    if kind is Real and not interval[0] <= interval[1]:
        raise ValueError(f"interval={interval!r}; expected the lower end first")
    low, high = (_text(end, form, "interval") for end in interval)
    unit = re.search(r" \D.*$", high)  # "9 of 16 to 13 of 16" is said as "9 to 13 of 16"
    return (low.removesuffix(unit[0]) if unit else low), high


def _show(made: Number) -> None:
    """Display it where there is a notebook; elsewhere it is only returned."""
    try:
        from IPython import get_ipython
    except ImportError:
        return
    if get_ipython() is not None:
        from IPython.display import display

        display({MIME: made.record(), "text/plain": made.sentence()}, raw=True)
