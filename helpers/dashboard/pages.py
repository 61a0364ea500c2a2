"""Features as static pages: one page, one style sheet, one script, and data that comes as plain scripts.

A page opened from disk may not fetch files, but it may run scripts that lie beside it. So each piece of data, 48
features or one site's search index, is a script that hands a gzipped text over. The page asks for a piece when it needs
it, and says so if it does not come. It makes no request to another host, and its policy forbids any.
"""

from __future__ import annotations

import base64
import gc
import gzip
import json
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from ..checks import whole
from ..runs import atomic, progress
from .cards import STYLE
from .collected import BINS, Collected, bin_edges
from .collecting import collect
from .names import name_features
from .records import Reader, digits
from .words import Words

SHARD = 48  # features a piece: at most 80 kB
MARK = '<meta name="generator" content="open-threads feature browser">'
LEVEL = 4  # of compression: 6 would take twice as long to save 6%
BEGINNING = 48  # tokens of a sentence that its link shows


def write_browser(
    folder: str | Path, collected: Collected | None = None, words=None, *, lm=None, tokens=None,
    dictionaries: Mapping[str, object] | None = None, title: str = "Features", fonts: str | None = None,
    home: str | None = None, processes: int = 1, **options,
) -> Path:  # fmt: skip
    """Write a feature browser into ``folder``; open its ``index.html`` from disk or serve it from anywhere.

    Either of what was ``collected`` (with names and losses, if measured), and ``words``, the tokenizer; or in one call
    from a model, tokens and dictionaries, which are collected (``options`` go to :func:`collect`) and named first:
    ``write_browser("pages", lm=lm, tokens=tokens, dictionaries={hook: folder_or_sae})``.

    Parameters
    ----------
    folder
        Written as a whole, once all is ready. It may be there already if it is a browser's.
    words
        A tokenizer, or a sequence of ``bytes`` or ``str``, one for each id; by default that of ``lm``.
    title
        What stands on top.
    fonts
        Address, as seen from ``folder``, of a folder with the book's fonts; without it the reader's own are used.
    home
        Address, as seen from ``folder``, of a page that the browser leads back to.
    processes
        How many put the cards together; more than one are forks of this process, which not every system has.

    Raises ``ValueError`` for a folder that holds something else, and for what :func:`collect` refuses.

    >>> import tempfile
    >>> import torch
    >>> from helpers.dashboard import collect, write_browser
    >>> from helpers.sae import build
    >>> sae = build("topk", 8, 32, generator=torch.Generator().manual_seed(0), k=4)
    >>> tokens = torch.randint(0, 3, (6, 10), generator=torch.Generator().manual_seed(1))
    >>> x = torch.randn(6, 10, 8, generator=torch.Generator().manual_seed(2))
    >>> found = collect(None, tokens, {"site": sae}, activations=[(range(6), {"site": x})])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = write_browser(f"{folder}/pages", found, ["<b>", " to", " be"])
    ...     sorted(str(file.relative_to(made)) for file in made.rglob("*.js"))
    ['browser.js', 'data/0/0.js', 'data/0/index.js', 'data/about.js', ...]
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not _is_browser(folder))):
        raise ValueError(f"folder={str(folder)!r} holds something else than a feature browser; expected a new folder")
    for name, place in (("fonts", fonts), ("home", home)):
        if place is not None and not isinstance(place, str):
            raise ValueError(f"{name}={place!r}; expected an address as seen from the folder, or None")
    if words is None and lm is None:
        raise ValueError("words=None and lm=None; expected a tokenizer, or a model that has one")
    words = Words.of(lm.tokenizer if words is None else words)
    if collected is None:
        if lm is None or tokens is None or dictionaries is None:
            raise ValueError("expected what was collected, or lm, tokens and dictionaries to collect from")
        collected = collect(lm, tokens, dictionaries, **options)
        for hook in collected.sites:
            name_features(collected, hook, words)
    elif options:
        raise TypeError(f"options {', '.join(options)} are for collecting; expected none with what was collected")
    whole("processes", processes, 1)
    most = max(int(rows.max()) for rows in collected.tokens.values())
    if most >= len(words.bytes):
        raise ValueError(f"tokens hold id {most}; expected below {len(words.bytes)}, for which there are words")
    with atomic(folder) as path:
        path.mkdir()
        _page(path, title, fonts, home)
        _data(path / "data", collected, words, title, processes)
    return folder


def _is_browser(folder: Path) -> bool:
    return (folder / "index.html").exists() and MARK in (folder / "index.html").read_text(encoding="utf-8")


def _page(path: Path, title: str, fonts: str | None, home: str | None) -> None:
    here = files(__package__)
    page, style, script = ((here / f"browser.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    back = f'<a href="{escape(home)}">Back</a> ' if home else ""
    page = page.replace("{{mark}}", MARK).replace("{{home}}", back).replace("{{title}}", escape(title))
    face = '@font-face{{font-family:"{}";font-weight:{};font-display:swap;src:url("{}/{}.woff2")}}\n'
    faces = [("Source Serif 4", "400", "serif-400-normal"), ("Source Serif 4", "600 700", "serif-600-normal")]
    faces += [("Source Sans 3", "400", "sans-400-normal"), ("Source Sans 3", "600 700", "sans-600-normal")]
    own = "".join(face.format(family, weight, fonts, file) for family, weight, file in faces) if fonts else ""
    (path / "index.html").write_text(page, encoding="utf-8")
    (path / "browser.css").write_text(own + STYLE + style, encoding="utf-8")
    (path / "browser.js").write_text(script, encoding="utf-8")


def _data(path: Path, found: Collected, words: Words, title: str, processes: int) -> None:
    reader, n = Reader(found, words), len(found.sites)
    fork = get_context("fork") if processes > 1 else None
    others = [
        fork.Process(target=_sites, args=(reader, path, range(k, n, processes))) for k in range(1, min(processes, n))
    ]
    for other in others:
        other.start()
    _sites(reader, path, range(0, n, processes))
    first = next(iter(found.sites.values())).sentences
    begins = []
    for i in range(len(first.row)):
        pieces = _sentence(reader, i)
        _write(path, f"sentences/{i}", pieces)
        begins.append([int(first.set[i]), int(first.row[i]), "".join(pieces["pieces"][:BEGINNING])])
    about = {"title": title, "sets": list(found.tokens), "shard": SHARD, "sentences": begins}
    about["sites"] = [
        {
            "hook": hook,
            "features": site.d_sae,
            "live": int((site.largest > 0).sum()),
            "positions": site.positions.tolist(),
            "page": found.pages.get(hook),
        }
        for hook, site in found.sites.items()
    ]
    about["edges"] = digits(bin_edges()[: BINS + 1])
    (path / "about.js").write_text(f'features.take("about", {json.dumps(about)});\n')
    for other in others:
        other.join()
        if other.exitcode:
            raise RuntimeError(f"a process that wrote pages ended with exit code {other.exitcode}")


def _sites(reader: Reader, path: Path, numbers: range) -> None:
    """The pages of some sites. Their many small lists hold no cycles, and to look for some would double the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        for i, (hook, site) in enumerate(reader.found.sites.items()):
            if i in numbers:
                _write(path, f"{i}/index", _index(reader, hook))
                for start in progress(range(0, site.d_sae, SHARD), desc=f"pages: {hook}", delay=2):
                    features = range(start, min(start + SHARD, site.d_sae))
                    _write(path, f"{i}/{start // SHARD}", reader.records(hook, features))
    finally:
        if collecting:
            gc.enable()


def _write(folder: Path, key: str, value) -> None:
    path = folder / f"{key}.js"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    packed = base64.b64encode(gzip.compress(text, LEVEL, mtime=0)).decode()
    path.write_text(f'features.take("{key}", "{packed}");\n')


def _index(reader: Reader, hook: str) -> dict:
    """What search and sorting need of a site: a column each; numbers are None where nothing was measured."""
    site = reader.found[hook]
    nothing = np.full((site.d_sae, 3), np.nan)
    scores, losses = (nothing if x is None else x for x in (site.scores, site.losses))
    rate = site.count.sum(0) / max(1, site.positions.sum())
    columns = {"rate": rate, "score": scores[:, 0], "percentile": scores[:, 1], "loss": losses[:, 0]}
    return {
        "label": [reader.named(hook, f) for f in range(site.d_sae)],
        "tokens": ["\n".join(reader.peaks(hook, f)) for f in range(site.d_sae)],
        **{name: digits(column) for name, column in columns.items() if np.isfinite(column).any()},
    }


def _sentence(reader: Reader, n: int) -> dict:
    """A sentence's pieces; by site and piece, features and activations in per cent of their largest, in turn."""
    found = reader.found
    first = next(iter(found.sites.values())).sentences
    texts = reader.line(int(first.set[n]), int(first.row[n])).pieces
    begins = [i for i, text in enumerate(texts) if text or not i]
    sites = []
    for site in found.sites.values():
        feature, value = site.sentences.feature[n, : len(texts)], site.sentences.value[n, : len(texts)]
        share = np.rint(100 * value / np.maximum(site.largest, 1e-30)[feature]).astype(int)
        pieces = []
        for low, high in zip(begins, [*begins[1:], len(texts)], strict=True):
            strong: dict[int, int] = {}
            for f, a in zip(feature[low:high].ravel().tolist(), share[low:high].ravel().tolist(), strict=True):
                if f >= 0:
                    strong[f] = max(a, strong.get(f, 1))
            pieces.append([x for pair in sorted(strong.items(), key=lambda fa: -fa[1]) for x in pair])
        sites.append(pieces)
    return {"pieces": [texts[i] or "…" for i in begins], "sites": sites}
