"""One figure that a reader can move, with three lives behind one ``_repr_mimebundle_``.

* in a live notebook, a panel of widgets that calls ``draw``;
* on a static page, an HTML ``<figure>`` that carries one picture per grid point and needs no network;
* elsewhere, the first picture.

In a live notebook controls stop at the grid's values, as on the page. Only with ``between=True``, which promises that
``draw`` and ``alt`` compute for any value, do sliders run free. What goes wrong there is said in the panel.

**What is compared when a notebook is re-executed.** Coordinates and pixels differ between machines in the last digits.
So every picture in the HTML stands in one ``data:image/…`` string, and ``tests/nbval_sanitize.cfg`` takes exactly those
strings out of the comparison, as nbval does with every other picture. Even which frames turned out equal is told inside
that string. All else is compared to the letter and holds nothing measured: controls, values, number and order of
frames, alt texts, caption. Round what you put in an alt text.

The first frame, its alt text and the caption need no script; the controls are hidden until the script can serve them.
"""

from __future__ import annotations

import base64
import functools
import gzip
import html
import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.resources import files
from numbers import Integral, Real
from urllib.parse import unquote

import ipywidgets as widgets
from matplotlib.figure import Figure

from .pictures import Picture, render

MAX_FRAMES = 400
MAX_BYTES = 250_000
STYLE, SCRIPT = ((files(__package__) / f"explorer.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))


class Explorer:
    """A figure drawn by ``draw(**values) -> Figure`` and the controls that choose ``values``.

    Parameters
    ----------
    draw
        Called with one value per control; returns a matplotlib figure of a size that does not depend on them.
    controls
        Name → values on the static page. Increasing numbers make a slider, strings and pairs of numbers a menu.
    alt
        What a reader who cannot see the picture should know: a function ``alt(**values) -> str``, or one string,
        to which the controls' values are appended.
    caption
        What to move and what to look for.
    labels
        Display texts for control names and for the values of menus; by default the names with spaces.
    start
        Control → the value it shows first: the ordinary case. By default the first of its values.
    between
        Whether ``draw`` and ``alt`` compute for any value between the given ones (whole numbers if all are), so that
        the sliders of a live notebook may run free.

    >>> from matplotlib.figure import Figure
    >>> from helpers.page import Explorer
    >>> def draw(power):
    ...     figure = Figure(figsize=(3, 2))
    ...     figure.add_subplot().plot([0, 1, 2], [0, 1, 2**power])
    ...     return figure
    >>> Explorer(draw, {"power": [1, 2, 3]}, alt="x to a power", caption="Move the power, and see 2 rise.")
    Explorer(power: 3)
    """

    def __init__(
        self,
        draw: Callable[..., Figure],
        controls: Mapping[str, Sequence],
        *,
        alt: str | Callable[..., str],
        caption: str,
        labels: Mapping[str, str] | None = None,
        start: Mapping | None = None,
        between: bool = False,
    ):
        self.controls = _check(draw, controls, alt, caption)
        self.start = {name: values[0] for name, values in self.controls.items()} | _started(start, self.controls)
        self.draw, self.alt, self.caption, self.between = draw, alt, caption, between
        self.labels = dict(labels or {})
        grid = [dict(zip(self.controls, point, strict=True)) for point in itertools.product(*self.controls.values())]
        self.first = grid.index(self.start)
        self.alts = [self._alt(values) for values in grid]
        self.frames = self._frames(grid)
        self.html = self._html()
        _check_size(len(gzip.compress(self.html.encode(), mtime=0)), len(grid), len(grid))

    def __repr__(self) -> str:
        return "Explorer(" + ", ".join(f"{name}: {len(values)}" for name, values in self.controls.items()) + ")"

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        """All lives at once; whoever displays it picks one. ipywidgets before 8 has no live one to offer here."""
        view = "application/vnd.jupyter.widget-view+json"
        live = getattr(self.panel(), "_repr_mimebundle_", dict)()
        still = render(self.draw, self.start, "png").text
        lives = {"text/html": self.html, "image/png": still, "text/plain": repr(self)}
        return {view: live[view], **lives} if view in live else lives

    def panel(self) -> widgets.VBox:
        """The live figure: controls, picture, its alt text, caption."""
        controls = {name: self._widget(name) for name in self.controls}
        picture = widgets.Image(**_shown(self.frames[self.first]), layout={"width": "100%", "max_width": "46em"})
        spoken = widgets.HTML(_paragraph(self.alts[self.first]))

        def update(_change):
            values = {name: control.value for name, control in controls.items()}
            try:
                frame, text = render(self.draw, values), self._alt(values)
            except Exception as error:  # never a sentence of another point under this point's picture
                at = ", ".join(f"{self._label(k)} {self._text(v)}" for k, v in values.items())
                spoken.value = _paragraph(f"Not drawn at {at}: {type(error).__name__}: {error}")
                picture.layout.visibility = "hidden"
                return
            for name, value in _shown(frame).items():
                setattr(picture, name, value)
            spoken.value, picture.layout.visibility = _paragraph(text), "visible"

        for control in controls.values():
            control.observe(update, names="value")
        return widgets.VBox([*controls.values(), picture, spoken, widgets.HTML(_paragraph(self.caption))])

    def _label(self, name: str) -> str:
        return self.labels.get(name) or name.replace("_", " ").capitalize()

    def _text(self, value) -> str:
        if isinstance(value, str):
            return self.labels.get(value, value)
        plain = f"{value:,.0f}" if value == round(value) or abs(value) >= 10_000 else f"{value:.4g}"
        return plain.replace("-", "−")

    def _alt(self, values: dict) -> str:
        if callable(self.alt):
            text = self.alt(**values)
            if not isinstance(text, str) or not text.strip():
                raise TypeError(f"alt(**{values}) returned {text!r}; expected a non-empty str")
            return text
        return f"{self.alt} ({', '.join(f'{self._label(k)}: {self._text(v)}' for k, v in values.items())})"

    def _frames(self, grid: list[dict]) -> list[Picture]:
        """One picture per grid point, all of the kind that suits the first; stops early where they cannot fit."""
        frames, kind, size = [], render(self.draw, self.start).kind, 0
        for values in grid:
            frame = render(self.draw, values, kind)
            if frame not in frames:
                size += len(frame.text) if kind == "png" else len(gzip.compress(frame.text.encode(), mtime=0)) // 2
            frames.append(frame)
            _check_size(size, len(frames), len(grid))
        return frames

    def _menu(self, name: str) -> bool:
        values = self.controls[name]
        return isinstance(values[0], str) or len(values) < 3

    def _widget(self, name: str) -> widgets.Widget:
        values, options = self.controls[name], [(self._text(v), v) for v in self.controls[name]]
        known = {"description": self._label(name), "value": self.start[name]}
        known["style"] = {"description_width": "initial"}
        if self._menu(name):
            return widgets.Dropdown(options=options, **known)
        if not self.between:
            return widgets.SelectionSlider(options=options, continuous_update=False, **known)
        known |= {"min": values[0], "max": values[-1], "continuous_update": False}
        if all(isinstance(v, Integral) for v in values):
            return widgets.IntSlider(**known)
        return widgets.FloatSlider(step=(values[-1] - values[0]) / 200, readout_format=".4g", **known)

    def _html(self) -> str:
        first = self.frames[self.first]
        # The picture string: a frame each, "^" for the one that is shown already, "=k" for one that repeats frame k.
        pictures = [
            "^" if i == self.first else f"={self.frames.index(frame)}" if frame in self.frames[:i] else frame.text
            for i, frame in enumerate(self.frames)
        ]
        data = json.dumps({"alts": self.alts, "pictures": first.head + "|".join(pictures)}, ensure_ascii=False)
        alt = html.escape(self.alts[self.first])
        return (
            f'<figure class="explorer"><style>{STYLE}</style>\n'
            f'<img class="explorer-picture dark-light" width="{first.width}" height="{first.height}" alt="{alt}"'
            f' src="{first.head}{first.text}">\n'
            f'<div class="explorer-controls" hidden>\n{"".join(map(self._control, self.controls))}</div>\n'
            f"<figcaption>{html.escape(self.caption)}</figcaption>\n"
            f'<script type="application/json">{_inline(data)}</script>\n<script>{SCRIPT}</script></figure>'
        )

    def _control(self, name: str) -> str:
        """One labelled native control: a range over indexes for numbers, a menu for strings and pairs."""
        label, texts = html.escape(self._label(name)), [html.escape(self._text(v)) for v in self.controls[name]]
        at = self.controls[name].index(self.start[name])
        if self._menu(name):
            chosen = [" selected" if i == at else "" for i in range(len(texts))]
            options = "".join(f"<option{mark}>{text}</option>" for mark, text in zip(chosen, texts, strict=True))
            control, output = f'<select autocomplete="off">{options}</select>', ""
        else:
            control = (
                f'<input type="range" min="0" max="{len(texts) - 1}" step="1" value="{at}" autocomplete="off"'
                f' aria-valuetext="{texts[at]}" data-texts="{" ".join(texts)}">'
            )
            output = f'<output aria-live="off">{texts[at]}</output>'
        return f"<div><label><span>{label}</span>{control}</label>{output}</div>\n"


def _shown(frame: Picture) -> dict:
    """What a live picture widget takes."""
    value = base64.b64decode(frame.text) if frame.kind == "png" else unquote(frame.text).encode()
    return {"format": frame.kind, "value": value}


def _started(start, controls: dict[str, list]) -> dict:
    for name, value in (start or {}).items():
        if name not in controls or value not in controls[name]:
            known = f"one of {controls[name]!r}" if name in controls else f"a control ({', '.join(controls)})"
            raise ValueError(f"start[{name!r}]={value!r}; expected {known}")
    return dict(start or {})


def _check(draw, controls, alt, caption) -> dict[str, list]:
    """Refuse what cannot become a figure, before anything is drawn; return the controls as lists."""
    if not callable(draw):
        raise TypeError(f"draw is {type(draw).__name__}; expected a function of the controls returning a Figure")
    if not isinstance(controls, Mapping) or not controls:
        raise ValueError(f"controls={controls!r}; expected at least one name with a list of values")
    lists = {}
    for name, values in controls.items():
        if not isinstance(name, str) or isinstance(values, str) or not isinstance(values, Iterable):
            raise TypeError(f"controls[{name!r}]={values!r}; expected a str name and a list of numbers or strings")
        seen = lists[name] = list(values)
        strings = all(isinstance(v, str) for v in seen)
        if not seen:
            raise ValueError(f"controls[{name!r}] is empty; expected at least one number or string")
        if not strings and not all(isinstance(v, Real) and not isinstance(v, bool) and math.isfinite(v) for v in seen):
            raise TypeError(f"controls[{name!r}]={seen!r}; expected all finite numbers or all strings")
        if len(set(seen)) < len(seen) or not strings and seen != sorted(seen):
            raise ValueError(f"controls[{name!r}]={seen!r}; expected distinct strings or increasing numbers")
    if not callable(alt) and not (isinstance(alt, str) and alt.strip()):
        raise TypeError(f"alt={alt!r}; expected a non-empty str or a function of the controls returning one")
    if not isinstance(caption, str) or not caption.strip():
        raise TypeError(f"caption={caption!r}; expected a non-empty str")
    count = math.prod(map(len, lists.values()))
    if count > MAX_FRAMES:
        sizes = " × ".join(f"{name} {len(values)}" for name, values in lists.items())
        raise ValueError(f"controls make {count} frames ({sizes}); expected at most {MAX_FRAMES}: give fewer values")
    return lists


def _check_size(size: int, drawn: int, frames: int) -> None:
    if size > MAX_BYTES:
        raise ValueError(
            f"{drawn} of {frames} frames take {size // 1000} kB compressed; expected at most {MAX_BYTES // 1000} kB: "
            "give controls fewer values, or draw a smaller figure with fewer points and colours"
        )


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def _inline(data: str) -> str:
    """JSON that cannot end or open a script element."""
    return functools.reduce(lambda s, c: s.replace(c, f"\\u{ord(c):04x}"), "<>&\u2028\u2029", data)
