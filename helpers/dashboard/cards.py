"""One feature for a notebook: a piece of HTML that needs no script, and says in words what it says in colour."""

from __future__ import annotations

import re
from html import escape
from importlib.resources import files
from itertools import groupby

from ..checks import one_of, whole
from ..evidence import plain
from .collected import Collected
from .names import LEVEL
from .records import Reader, bin_range
from .words import Words

STYLE = (files(__package__) / "card.css").read_text(encoding="utf-8")
BARS = 24


class Card:
    """A feature as a notebook shows it."""

    def __init__(self, html: str, text: str):
        self.html, self.text = html, text

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return self.html


def feature_card(found: Collected, hook: str, feature: int, words) -> Card:
    """The card of one feature: contexts of each token set, histogram, density, logit effects, neighbours, name, loss.

    ``words`` says what tokens are: a tokenizer, or a sequence of ``bytes`` or ``str``, one for each id. What was not
    measured is left out. A feature that was never active has a card that says so.

    Raises ``ValueError`` for an unknown hook or feature.

    >>> import torch
    >>> from helpers.dashboard import collect, feature_card
    >>> from helpers.sae import build
    >>> sae = build("topk", 8, 32, generator=torch.Generator().manual_seed(0), k=4)
    >>> tokens = torch.randint(0, 3, (6, 10), generator=torch.Generator().manual_seed(1))
    >>> x = torch.randn(6, 10, 8, generator=torch.Generator().manual_seed(2))
    >>> found = collect(None, tokens, {"site": sae}, activations=[(range(6), {"site": x})])
    >>> card = feature_card(found, "site", 3, ["<b>", " to", " be"])
    >>> card
    Feature 3 of site: active at 11 of 54 places
    >>> "&lt;b&gt;" in card.html
    True
    """
    site = found[one_of("hook", hook, found.sites)]
    f = whole("feature", feature, 0, site.d_sae - 1)
    (r,) = Reader(found, Words.of(words)).records(hook, range(f, f + 1))
    count, places = sum(s["count"] for s in r["sets"]), int(site.positions.sum())
    hooks = list(found.sites)
    parts = [
        f'<p class="where">{escape(hook)} · feature {r["id"]}{_public(found.pages.get(hook), f)}</p>',
        f'<h2 class="name">{escape(r["label"] or "Feature " + str(r["id"]))}</h2>',
        f'<dl class="facts">{"".join(_fact(*fact) for fact in facts(r, list(found.tokens)))}</dl>',
    ]
    if not count:
        parts.append(f'<p class="note">This feature was never active at the {places:,} places that were looked at.</p>')
    for name, part in zip(found.tokens, r["sets"], strict=True):
        if part["count"]:
            parts.append(f"<section><h3>{escape(title(name))}</h3>{_texts(part)}</section>")
    sides = [_histogram(r)] if count else []
    sides += [_list(head, [(_token(t), plain(v, "+.2f")) for t, v in r[key]]) for head, key in LOGITS if key in r]
    for head, key, form in NEAR:
        if r.get(key):
            sides.append(_list(head, [(f"{escape(short(hooks[s]))} · {f}", plain(v, form)) for s, f, v in r[key]]))
    parts.append(f'<div class="sides">{"".join(sides)}</div>')
    text = f"Feature {r['id']} of {hook}: active at {count:,} of {places:,} places"
    return Card(f'<div class="feature-card"><style>{STYLE}</style>{"".join(parts)}</div>', text)


def short(hook: str) -> str:
    """A site's name as the pages list it.

    >>> short("blocks.22.hook_resid_pre"), short("mine")
    ('22 resid_pre', 'mine')
    """
    return re.sub(r"^blocks\.(\d+)\.", r"\1 ", hook).replace("hook_", "", 1)


NAMEABLE = f"nameable from {LEVEL:.0%}"
LOGITS = (("Raises", "up"), ("Lowers", "down"))
NEAR = (("Nearest by direction", "similar", ".2f"), ("Active together", "together", ".0%"))


def title(name: str) -> str:
    """A token set as a heading: ``"human"`` is "Human text"."""
    return name[:1].upper() + name[1:] + ("" if "text" in name.lower() else " text")


def rate(share: float) -> str:
    """A density in words that can be pictured.

    >>> rate(0.004), rate(0.31), rate(0.0)
    ('1 in 250', '31%', '0')
    """
    return "0" if not share else f"{share:.0%}" if share > 0.1 else f"1 in {float(f'{1 / share:.3g}'):,.0f}"


def facts(r: dict, sets: list[str]) -> list[tuple[str, str, str]]:
    """What stands on top of a card: name, number, and what is to be known of it."""
    out = []
    for name, part in zip(sets, r["sets"], strict=True):
        share, low, high = part["density"]
        ends = f"95%: {rate(low)} to {rate(high)}" if low else f"95%: at most {rate(high)}"
        out.append((f"Active, {title(name).lower()}", rate(share), ends))
    score, percentile = r.get("score", [None, None])
    if score is not None:
        beats = "" if percentile is None else f", above {100 * percentile:.0f}% of matched null features; {NAMEABLE}"
        out.append(("Told by its words", plain(score), f"AUROC on held-out sequences{beats}"))
    if r.get("loss", [None])[0] is not None:
        mean, low, high = r["loss"]
        out.append(
            (
                "Without it",
                f"{plain(mean, '+.3f')} nats",
                f"on the next token; {plain(low, '+.3f')} to {plain(high, '+.3f')}",
            )
        )
    return out


def _public(page: str | None, feature: int) -> str:
    """A link to what others have published of a feature."""
    address = escape((page or "").replace("{feature}", str(feature)))
    return f' · <a href="{address}" rel="noreferrer">public page</a>' if address.startswith("https://") else ""


def _fact(name: str, number: str, note: str) -> str:
    return f"<div><dt>{escape(name)}</dt><dd><b>{escape(number)}</b><span>{escape(note)}</span></dd></div>"


def _texts(part: dict) -> str:
    heads = ("Strongest", "top"), ("One from each quarter", "quarters"), ("At random", "random")
    return "".join(
        f'<h4>{head}</h4><ol class="lines">{"".join(map(_line, part[key]))}</ol>' for head, key in heads if part[key]
    )


def _line(context: list) -> str:
    value, place, texts, heat = context
    pieces = [_piece(*x, i == place) for i, x in enumerate(zip(texts.split("\n"), bytes.fromhex(heat), strict=True))]
    left, right = "".join(pieces[:place]), "".join(pieces[place:])
    sides = f'<span class="left"><span>{left}</span></span><span class="right">{right}</span>'
    return f'<li>{sides}<span class="value">{value:.3g}</span></li>'


def _piece(text: str, a: int, peak: bool) -> str:
    """A token with its shade, and the shade in words; the space before a word is not shaded."""
    own = text[1:] if len(text) > 1 and text[0] == " " else text
    said = f'<span class="sr"> {a / 2.55:.0f}%</span>' if a else ""
    return f'{" " * (own != text)}<span class="t heat{level(a)}{" peak" * peak}">{escape(own)}{said}</span>'


def level(a: int) -> int:
    """The shade, 0 to 9, of an activation in a byte; 0 for none only."""
    return -(-a * 9 // 255)


def _token(text: str) -> str:
    return f'<span class="token">{escape(text)}</span>'


def _list(head: str, rows: list[tuple[str, str]]) -> str:
    lines = "".join(f"<li><span>{text}</span><span>{escape(value)}</span></li>" for text, value in rows)
    return f"<section><h3>{head}</h3><ul>{lines}</ul></section>"


def bars(r: dict) -> tuple[list[int], int, int]:
    """At most ``BARS`` bars of all sets together: counts, the first bin, and the bins of a bar."""
    all_ = [s["bins"] for s in r["sets"] if len(s["bins"]) > 1]
    first, last = min(b[0] for b in all_), max(b[0] + len(b) - 1 for b in all_)
    counts = [sum(b[1 + i - b[0]] for b in all_ if 0 <= i - b[0] < len(b) - 1) for i in range(first, last)]
    step = -(-len(counts) // BARS)
    return [sum(c for _, c in group) for _, group in groupby(enumerate(counts), lambda x: x[0] // step)], first, step


def _histogram(r: dict) -> str:
    counts, first, step = bars(r)
    low, high = bin_range(first, 0)[0], bin_range(first, step * len(counts))[1]
    rects = "".join(
        f'<rect x="{i}.08" width=".84" y="{40 - 40 * c / max(counts):.2f}" height="{40 * c / max(counts):.2f}"/>'
        for i, c in enumerate(counts)
    )
    say = f"Activations from {low:.2g} to {min(high, r['largest']):.2g}, in steps of equal ratio"
    picture = f'<svg viewBox="0 0 {len(counts)} 40" preserveAspectRatio="none" aria-hidden="true">{rects}</svg>'
    return f"<section><h3>Activations</h3><figure>{picture}<figcaption>{say}</figcaption></figure></section>"
