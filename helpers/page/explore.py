"""One figure that a reader can move, with three lives behind one ``_repr_mimebundle_``.

* in a live notebook, a panel of widgets that calls ``draw`` for any value, off the grid too;
* on a static page, an HTML ``<figure>`` that carries one picture per grid point and needs no network;
* elsewhere, the first picture.

**What is compared when a notebook is re-executed.** Pixels differ between machines: a rounding in the last bit of
a tick position, another processor's vector instructions or another FreeType move an anti-aliased edge. Rounding
coordinates only makes that rare. So every picture in the HTML stands in one ``data:image/…`` string, and
``tests/nbval_sanitize.cfg`` takes exactly those strings out of the comparison, as nbval does with every other
picture. Even which frames turned out equal is told inside that string. All else is compared to the letter and holds
nothing measured: controls, values, number and order of frames, alt texts, caption. Round what you put in an alt text.

The first frame, its alt text and the caption need no script; the controls are hidden until the script can serve them.
"""

from __future__ import annotations

import base64
import functools
import gzip
import html
import io
import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real

import ipywidgets as widgets
import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

DPI = 100
COLOURS = 32
MAX_FRAMES = 400
MAX_BYTES = 250_000
PREFIX = "data:image/png;base64,"


class Explorer:
    """A figure drawn by ``draw(**values) -> Figure`` and the controls that choose ``values``.

    Parameters
    ----------
    draw
        Called with one value per control; returns a matplotlib figure of a size that does not depend on them.
    controls
        Name → values on the static page, the first one shown first. Increasing numbers make a slider (in a live
        notebook it goes through the values in between: whole numbers if all are), strings make a menu.
    alt
        What a reader who cannot see the picture should know: a function ``alt(**values) -> str``, or one string,
        to which the controls' values are appended.
    caption
        What to move and what to look for.
    labels
        Display texts for control names and for the values of menus; by default the names with spaces.
    """

    def __init__(
        self,
        draw: Callable[..., Figure],
        controls: Mapping[str, Sequence],
        *,
        alt: str | Callable[..., str],
        caption: str,
        labels: Mapping[str, str] | None = None,
    ):
        self.controls = _check(draw, controls, alt, caption)
        self.draw, self.alt, self.caption = draw, alt, caption
        self.labels = dict(labels or {})
        grid = [dict(zip(self.controls, point, strict=True)) for point in itertools.product(*self.controls.values())]
        self.alts = [self._alt(values) for values in grid]
        self.frames = self._frames(grid)
        self.html = self._html()
        _check_size(len(gzip.compress(self.html.encode(), mtime=0)), len(grid), len(grid))

    def __repr__(self) -> str:
        return "Explorer(" + ", ".join(f"{name}: {len(values)}" for name, values in self.controls.items()) + ")"

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        """All lives at once; whoever displays it picks one."""
        view = "application/vnd.jupyter.widget-view+json"
        return {
            view: self.panel()._repr_mimebundle_()[view],
            "text/html": self.html,
            "image/png": base64.b64encode(self.frames[0]).decode(),
            "text/plain": repr(self),
        }

    def panel(self) -> widgets.VBox:
        """The live figure: controls, picture, its alt text, caption."""
        controls = {name: self._widget(name) for name in self.controls}
        picture = widgets.Image(value=self.frames[0], format="png", layout={"max_width": "100%"})
        spoken = widgets.HTML(_paragraph(self.alts[0]))

        def update(_change):
            values = {name: control.value for name, control in controls.items()}
            picture.value = render(self.draw, values)
            spoken.value = _paragraph(self._alt(values))

        for control in controls.values():
            control.observe(update, names="value")
        return widgets.VBox([*controls.values(), picture, spoken, widgets.HTML(_paragraph(self.caption))])

    def _label(self, name: str) -> str:
        return self.labels.get(name) or name.replace("_", " ").capitalize()

    def _text(self, value) -> str:
        return self.labels.get(value, value) if isinstance(value, str) else f"{value:.4g}"

    def _alt(self, values: dict) -> str:
        if callable(self.alt):
            text = self.alt(**values)
            if not isinstance(text, str) or not text.strip():
                raise TypeError(f"alt(**{values}) returned {text!r}; expected a non-empty str")
            return text
        return f"{self.alt} ({', '.join(f'{self._label(k)}: {self._text(v)}' for k, v in values.items())})"

    def _frames(self, grid: list[dict]) -> list[bytes]:
        """One PNG per grid point; stops early where they cannot fit any more."""
        frames, size = [], 0
        for values in grid:
            frame = render(self.draw, values)
            size += 0 if frame in frames else len(frame)
            frames.append(frame)
            _check_size(size, len(frames), len(grid))
        return frames

    def _widget(self, name: str) -> widgets.Widget:
        values = self.controls[name]
        known = {"description": self._label(name), "style": {"description_width": "initial"}}
        if isinstance(values[0], str):
            return widgets.Dropdown(options=[(self._text(v), v) for v in values], value=values[0], **known)
        known |= {"min": values[0], "max": values[-1], "value": values[0], "continuous_update": False}
        if all(isinstance(v, Integral) for v in values):
            return widgets.IntSlider(**known)
        step = (values[-1] - values[0]) / 200 or 1
        return widgets.FloatSlider(step=step, readout_format=".4g", **known)

    def _html(self) -> str:
        width, height = Image.open(io.BytesIO(self.frames[0])).size
        # The picture string: frames 1, 2, …, each as base64 or, where it repeats frame k, as "=k".
        pictures = [
            f"={self.frames.index(frame)}" if frame in self.frames[:i] else base64.b64encode(frame).decode()
            for i, frame in enumerate(self.frames)
        ]
        data = json.dumps({"alts": self.alts, "pictures": PREFIX + " ".join(pictures[1:])}, ensure_ascii=False)
        return (
            f'<figure class="explorer"><style>{STYLE}</style>\n'
            f'<img class="dark-light" width="{width}" height="{height}" alt="{html.escape(self.alts[0])}"'
            f' src="{PREFIX}{pictures[0]}">\n'
            f'<div class="explorer-controls" hidden>\n{"".join(map(self._control, self.controls))}</div>\n'
            f"<figcaption>{html.escape(self.caption)}</figcaption>\n"
            f'<script type="application/json">{_inline(data)}</script>\n<script>{SCRIPT}</script></figure>'
        )

    def _control(self, name: str) -> str:
        """One labelled native control: a range over indexes for numbers, a menu for strings."""
        label, texts = html.escape(self._label(name)), [html.escape(self._text(v)) for v in self.controls[name]]
        if isinstance(self.controls[name][0], str):
            options = "".join(f"<option>{text}</option>" for text in texts)
            control, output = f'<select autocomplete="off">{options}</select>', ""
        else:
            control = (
                f'<input type="range" min="0" max="{len(texts) - 1}" step="1" value="0" autocomplete="off"'
                f' aria-valuetext="{texts[0]}" data-texts="{" ".join(texts)}">'
            )
            output = f'<output aria-live="off">{texts[0]}</output>'
        return f"<div><label><span>{label}</span>{control}</label>{output}</div>\n"


def render(draw: Callable[..., Figure], values: dict) -> bytes:
    """``draw(**values)`` as a small PNG with a palette. The figure is closed afterwards."""
    figure = draw(**values)
    if not isinstance(figure, Figure):
        raise TypeError(f"draw(**{values}) returned {type(figure).__name__}; expected a matplotlib Figure")
    raw = io.BytesIO()
    try:
        figure.savefig(raw, format="png", dpi=DPI, bbox_inches=None)
    finally:
        plt.close(figure)
    return shrunk(raw.getvalue(), COLOURS)


def shrunk(png: bytes, colours: int) -> bytes:
    """The same picture on white with a palette of so many colours: a third of the size, and alike to the eye."""
    image, small = Image.open(io.BytesIO(png)).convert("RGBA"), io.BytesIO()
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    palette = image.quantize(colours, method=Image.Quantize.MEDIANCUT, kmeans=2, dither=Image.Dither.NONE)
    palette.save(small, format="PNG", optimize=True)
    return small.getvalue()


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


STYLE = """
.explorer{--ink:#222;--back:#f3f1ec;--line:#767676;--hue:#0b6aa2;box-sizing:border-box;max-width:100%;
margin:1em 0;padding:.75em;border:1px solid var(--line);border-radius:.4em;color:var(--ink);background:var(--back);
color-scheme:light}
html[data-theme=dark] .explorer{--ink:#e6e6e6;--back:#1d232b;--line:#8b949e;--hue:#6cb6ee;color-scheme:dark}
@media(prefers-color-scheme:dark){html:not([data-theme]) .explorer{--ink:#e6e6e6;--back:#1d232b;--line:#8b949e;
--hue:#6cb6ee;color-scheme:dark}}
html[data-theme] .bd-content .text_html:has(>.explorer){background:none!important;padding:0!important}
.explorer img{display:block;max-width:100%;height:auto;margin:0 auto;padding:0!important;background:#fff;
border-radius:.25em}
.explorer-controls:not([hidden]){display:grid;grid-template-columns:minmax(0,1fr);
gap:.5em;margin:.75em 0 0}
.explorer-controls>div,.explorer label{display:flex;flex-wrap:wrap;align-items:center;gap:.25em .75em;margin:0}
.explorer label{flex:1 1 12em;min-width:0}
.explorer label span{min-width:6em}
.explorer input,.explorer select{flex:1 1 8em;min-width:0;max-width:100%;font:inherit;accent-color:var(--hue);
min-height:1.75em}
.explorer select{color:var(--ink);background:var(--back);border:1px solid var(--line);border-radius:.25em}
.explorer :focus-visible{outline:2px solid var(--hue);outline-offset:2px}
.explorer output{min-width:4em;text-align:right;font-variant-numeric:tabular-nums}
.explorer figcaption{margin:.75em 0 0;color:var(--ink);text-align:start}
"""

SCRIPT = """
(() => {
  const figure = document.currentScript && document.currentScript.closest("figure");
  if (!figure) return;
  const data = JSON.parse(figure.querySelector("script[type='application/json']").textContent);
  const picture = figure.querySelector("img");
  const controls = [...figure.querySelectorAll("input, select")];
  const comma = data.pictures.indexOf(",") + 1;
  const frames = [picture.src];
  if (data.alts.length > 1)
    for (const item of data.pictures.slice(comma).split(" "))
      frames.push(item[0] === "=" ? frames[+item.slice(1)] : data.pictures.slice(0, comma) + item);
  const update = () => {
    let frame = 0;
    for (const control of controls) {
      if (control.options) {
        frame = frame * control.options.length + control.selectedIndex;
        continue;
      }
      const texts = control.dataset.texts.split(" ");
      const text = texts[+control.value];
      frame = frame * texts.length + +control.value;
      control.setAttribute("aria-valuetext", text);
      control.closest("div").querySelector("output").value = text;
    }
    picture.src = frames[frame];
    picture.alt = data.alts[frame];
  };
  for (const control of controls) control.addEventListener("input", update);
  figure.querySelector(".explorer-controls").hidden = false;
  update();
})();
"""
