"""The answers of the chapters on the pages that list them, and on the card that a shared link shows.

    ```{threads} cards           picture, question, stance and sentence of each thread, for the front page
    ```{threads} table           the same without pictures, for the page of verdicts

All of it is read from the notebooks' openings when the site is built. A chapter that has none yet is quoted by its glued
verdict, and one that is not written stands at the end as a question.
"""

from __future__ import annotations

import os
import re
from html import escape
from io import BytesIO
from pathlib import Path

import chapters
from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from PIL import Image
from sphinx.util.docutils import SphinxDirective

CARD = (1200, 630)  # what sites that show shared links ask for
MARGIN = 30


def answer(thread: chapters.Thread) -> str:
    """Stance and sentence of a written chapter, in Markdown."""
    if found := chapters.opening(thread.notebook()):
        return f"**{found.stance}.** {found.sentence}"
    return f"{{glue:text}}`../notebooks/{thread.name}.ipynb::ch{thread.number:02d}_verdict:s`"


class Threads(SphinxDirective):
    required_arguments = 1
    option_spec = {}

    def run(self) -> list[nodes.Node]:
        root = Path(self.env.srcdir)
        form = directives.choice(self.arguments[0], ("cards", "table"))
        self.env.note_dependency(str(root / "book" / "threads.yml"))
        threads = chapters.threads(root)
        lines = (cards if form == "cards" else table)(threads, self.env.app.told_pictures)
        parent = nodes.Element()
        self.state.nested_parse(StringList(lines, self.env.docname), self.content_offset, parent)
        return parent.children


def cards(threads: list[chapters.Thread], pictures: dict[str, tuple[str, str]]) -> list[str]:
    lines = ["::::{grid} 1", ":gutter: 3", ":class-container: threads", ""]
    for thread in threads:
        if thread.path.exists():
            lines += [f":::{{grid-item-card}} {thread.number} · {thread.title}", f":link: /notebooks/{thread.name}"]
            lines += [":link-type: doc", ":class-card: answered"]
            if found := pictures.get(thread.name):
                lines += [f":img-top: {found[0]}", f":img-alt: {found[1]}"]
            lines += ["", thread.question, "", answer(thread), ":::", ""]
    lines += ["::::", ""]
    if waiting := [thread for thread in threads if not thread.path.exists()]:
        lines += ["The other threads have no chapter yet. Their questions are open here.", ""]
        lines += ["::::{grid} 1 1 2 2", ":gutter: 3", ":class-container: threads open", ""]
        for thread in waiting:
            lines += [f":::{{grid-item-card}} {thread.number} · {thread.title}", thread.question, "", "open", ":::", ""]
        lines += ["::::"]
    return lines


def table(threads: list[chapters.Thread], pictures: dict) -> list[str]:
    lines = [":::{list-table}", ":header-rows: 1", ":widths: 42 58", ":class: verdicts", ""]
    lines += ["* - Thread", "  - Answer"]
    for thread in threads:
        name = f"[{thread.title}](/notebooks/{thread.name}.ipynb)" if thread.path.exists() else thread.title
        lines += [f"* - {thread.number} · {name}", "", f"    {thread.question}", ""]
        lines += [f"  - {answer(thread) if thread.path.exists() else 'open'}"]
    return [*lines, ":::"]


def store_pictures(app) -> None:
    """Write each answer's picture where pages can include it, and remember it with its description."""
    app.told_pictures, app.told_openings = {}, {}
    folder = Path(app.doctreedir).parent / "answers"
    folder.mkdir(parents=True, exist_ok=True)
    for path in chapters.notebooks(Path(app.srcdir)):
        notebook = chapters.read(path)
        if (found := chapters.opening(notebook)) and (picture := chapters.answer_picture(notebook)):
            (folder / f"{path.stem}.png").write_bytes(picture[0])
            place = "/" + Path(os.path.relpath(folder / f"{path.stem}.png", app.srcdir)).as_posix()
            app.told_pictures[path.stem] = (place, re.sub(r"\s+", " ", picture[1]))
            app.told_openings[f"notebooks/{path.stem}"] = (found, picture)


def describe(app, pagename, templatename, context, doctree) -> None:
    """What a shared link to the chapter shows: its sentence, and its picture on a card."""
    if pagename not in app.told_openings:
        return
    found, (_, alt) = app.told_openings[pagename]
    said = f"{found.stance}. {chapters.plain(found.sentence)}"
    card = {"og:image": card_name(pagename), "og:image:alt": alt, "og:description": said}
    context["meta"] = (context.get("meta") or {}) | card
    context["metatags"] += f'<meta name="description" content="{escape(said)}" />\n'
    context["metatags"] += '<meta name="twitter:card" content="summary_large_image" />\n'
    context["metatags"] += "".join(
        f'<meta property="og:image:{side}" content="{n}" />\n' for side, n in zip(("width", "height"), CARD, strict=True)
    )


def card_name(pagename: str) -> str:
    return f"_images/card-{Path(pagename).stem}.png"


def write_cards(app, exception) -> None:
    if exception or app.builder.name != "html":
        return
    for pagename, (_, (png, _)) in app.told_openings.items():
        target = Path(app.outdir) / card_name(pagename)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(card(png))


def card(png: bytes) -> bytes:
    """The picture on white, as large as it fits."""
    with Image.open(BytesIO(png)) as opened:
        picture = opened.convert("RGBA")
    room = [side - 2 * MARGIN for side in CARD]
    scale = min(room[0] / picture.width, room[1] / picture.height)
    picture = picture.resize([round(side * scale) for side in picture.size], Image.Resampling.LANCZOS)
    canvas, out = Image.new("RGB", CARD, "white"), BytesIO()
    canvas.paste(picture, tuple((a - b) // 2 for a, b in zip(CARD, picture.size, strict=True)), picture)
    canvas.quantize(128, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def setup(app) -> dict:
    app.add_directive("threads", Threads)
    app.connect("builder-inited", store_pictures)
    app.connect("html-page-context", describe, priority=400)  # before the tags for shared links are made
    app.connect("build-finished", write_cards)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
