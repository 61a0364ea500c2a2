"""What the other pages take from a chapter's opening: front page, verdicts, and the card that a shared link shows."""

from __future__ import annotations

from html import escape
from io import BytesIO
from pathlib import Path

import chapters
from docutils import nodes
from docutils.parsers.rst import Directive, directives
from PIL import Image

ANSWERS = "_answers"  # beside the pages, made anew by every build
CARD = (1200, 630)  # what sites ask for that show shared links
MARGIN = 30


class Threads(Directive):
    """All threads: picture, title, question, stance and sentence; with ``:words:`` no pictures.

    A chapter that has no opening yet shows its verdict in the old form, a thread without a chapter the word *open*.
    """

    option_spec = {"words": directives.flag}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        cards = nodes.container(classes=["thread-list"])
        for thread in chapters.threads():
            told = chapters.chapter(thread.path) if thread.path.exists() else None
            picture = bool(told and told.answer and "words" not in self.options)
            card = nodes.container(classes=["thread-card"] + ([] if picture else ["plain"]))
            page = f"../notebooks/{thread.notebook}"
            if picture:
                frame = nodes.container(classes=["thread-picture"])
                image = nodes.image(uri=f"{ANSWERS}/{thread.notebook}.{told.answer[0]}", alt=told.alt)
                frame += paragraph(link(page, image))
                card += frame
            words = nodes.container(classes=["thread-words"])
            name = f"{thread.number} · {thread.title}"
            words += paragraph(link(page, nodes.Text(name)) if told else nodes.Text(name), "thread-title")
            words += paragraph(nodes.Text(thread.question), "thread-question")
            if told and told.stance:
                answer = nodes.paragraph(classes=["opening"])
                answer += [nodes.strong(text=f"{told.stance}.", classes=["stance"]), nodes.Text(" ")]
                answer += self.state.inline_text(told.sentence, self.lineno)[0]
                words += answer
            else:
                words += paragraph(nodes.Text(told.verdict if told else "open"), "thread-verdict")
            card += words
            cards += card
        return [cards]


def link(page: str, content: nodes.Node) -> nodes.reference:
    """A link to a page around anything: references of Sphinx's own keep the words only."""
    made = nodes.reference("", "", refuri=f"{page}.html", internal=True)
    made += content
    return made


def paragraph(content: nodes.Node, *classes: str) -> nodes.paragraph:
    made = nodes.paragraph(classes=list(classes))
    made += content
    return made


def write_answers(app) -> None:
    """The answers' pictures, where Sphinx finds them."""
    folder = Path(app.srcdir) / "book" / ANSWERS
    folder.mkdir(exist_ok=True)
    for thread in chapters.threads():
        told = chapters.chapter(thread.path) if thread.path.exists() else None
        if told and told.answer:
            path = folder / f"{thread.notebook}.{told.answer[0]}"
            if not path.exists() or path.read_bytes() != told.answer[1]:
                path.write_bytes(told.answer[1])


def describe_page(app, doctree) -> None:
    """What a shared link says of a chapter: stance and sentence."""
    name = app.env.docname.removeprefix("notebooks/")
    for thread in chapters.threads():
        if thread.notebook == name and (told := chapters.chapter(thread.path)).stance:
            app.env.metadata[app.env.docname]["og:description"] = f"{told.stance}. {told.plain}"


def show_card(app, pagename, templatename, context, doctree) -> None:
    """The picture that a shared link shows: the chapter's answer."""
    for thread in chapters.threads():
        if pagename == f"notebooks/{thread.notebook}" and (told := chapters.chapter(thread.path)).card:
            path = Path(app.outdir) / "_static" / "cards" / f"{thread.notebook}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(card(told.card))
            site = app.config.ogp_site_url or context["pathto"]("", resource=True)
            about = {"image": f"{site.rstrip('/')}/_static/cards/{path.name}", "image:alt": told.alt}
            about |= {"image:width": CARD[0], "image:height": CARD[1]}
            tags = [f'<meta property="og:{name}" content="{escape(str(said))}">' for name, said in about.items()]
            tags.append('<meta name="twitter:card" content="summary_large_image">')
            context["metatags"] = context.get("metatags", "") + "\n".join(tags) + "\n"


def card(png: bytes) -> bytes:
    """The picture on white, in the shape that shared links have: otherwise its ends are cut off."""
    with Image.open(BytesIO(png)) as opened:
        picture = opened.convert("RGBA")
    scale = min((side - 2 * MARGIN) / length for side, length in zip(CARD, picture.size, strict=True))
    picture = picture.resize([round(length * scale) for length in picture.size], Image.Resampling.LANCZOS)
    canvas, out = Image.new("RGB", CARD, "white"), BytesIO()
    canvas.paste(picture, [(a - b) // 2 for a, b in zip(CARD, picture.size, strict=True)], picture)
    canvas.quantize(128, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def setup(app) -> dict:
    app.add_directive("threads", Threads)
    app.connect("builder-inited", write_answers)
    app.connect("doctree-read", describe_page)
    app.connect("html-page-context", show_card)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
