"""What the other pages take from a chapter's opening: front page, verdicts, and the card that a shared link shows."""

from __future__ import annotations

import ast
import re
from html import escape
from io import BytesIO
from pathlib import Path

import chapters
from docutils import nodes
from docutils.parsers.rst import Directive, directives
from PIL import Image

SORT = Path(__file__).with_name("sort.js")
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
            page = f"notebooks/{thread.notebook}"
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


COLUMNS = ("Thread", "Answer", "Sentence", "Compared with", "Second model", "Seeds", "Core minutes")


class VerdictTable(Directive):
    """One row a thread: stance, sentence, what it was held against, on what it rests, what it costs to run again.

    A table as it stands; where scripts run, ``sort.js`` makes buttons of the heads of columns.
    """

    def run(self) -> list[nodes.Node]:
        rows = [self.row(thread) for thread in chapters.threads()]
        table = plain_table(COLUMNS, rows, ["sortable", "verdict-table"])
        return [table, nodes.raw("", f"<script>\n{SORT.read_text(encoding='utf-8')}</script>", format="html")]

    def row(self, thread) -> list[list[nodes.Node]]:
        told = chapters.chapter(thread.path) if thread.path.exists() else None
        name = nodes.Text(f"{thread.number} · {thread.title}")
        if not told:
            return [[name], [nodes.Text("open")], *[[nodes.Text("–")]] * 5]
        said = self.state.inline_text(told.sentence, self.lineno)[0] if told.stance else [nodes.Text(told.verdict)]
        minutes = f"{core_minutes(thread.number):.0f}"
        facts = (thread.held_against or "–", thread.second_model, str(thread.seeds or "–"), minutes)
        return [
            [link(f"notebooks/{thread.notebook}", name)],
            [nodes.strong(text=told.stance) if told.stance else nodes.Text("–")],
            said,
            *[[nodes.Text(fact)] for fact in facts],
        ]


def core_minutes(number: int) -> float:
    """Minutes of one core that a chapter's shipped tables take to make again, as the recipes' registry says."""
    path = chapters.ROOT / "recipes" / "registry.py"
    total = 0.0
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Recipe":
            chapter, minutes = call.args[1].value, call.args[3].value
            shipped = all(word.arg != "shipped" or word.value.value for word in call.keywords)
            total += minutes if shipped and str(number) in chapter.split(", ") else 0
    return total


def plain_table(heads: tuple[str, ...], rows: list[list[list[nodes.Node]]], classes: list[str]) -> nodes.table:
    """A table whose cells know their column, so that a narrow screen can name it."""
    group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in heads), cols=len(heads))
    head = nodes.row("", *(nodes.entry("", nodes.paragraph(text=name)) for name in heads))
    body = nodes.tbody()
    for cells in rows:
        entries = [
            nodes.entry("", nodes.paragraph("", "", *content), classes=[f"col-{chapters.slug(name)}"])
            for name, content in zip(heads, cells, strict=True)
        ]
        body += nodes.row("", *entries)
    group += [nodes.thead("", head), body]
    return nodes.table("", group, classes=classes)


def link(page: str, content: nodes.Node) -> nodes.reference:
    """A link to a page around anything: references of Sphinx's own keep the words only."""
    made = nodes.reference("", "", refuri="", internal=True, page=page)
    made += content
    return made


def place_links(app, doctree, docname) -> None:
    """Write the addresses of linked pages, now that it is known where this page lies."""
    for made in doctree.findall(nodes.reference):
        if "page" in made:
            made["refuri"] = app.builder.get_relative_uri(docname, made["page"])


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
            app.env.metadata[app.env.docname]["og:description"] = re.sub(r"[`$]", "", f"{told.stance}. {told.plain}")


def show_card(app, pagename, templatename, context, doctree) -> None:
    """The picture that a shared link shows: the chapter's answer; of another page the first chapter's."""
    drawn = {
        t.notebook: told for t in chapters.threads() if t.path.exists() and (told := chapters.chapter(t.path)).card
    }
    name = pagename.removeprefix("notebooks/")
    name = name if name in drawn else next(iter(drawn), None)
    if name is None:
        return
    path = Path(app.outdir) / "_static" / "cards" / f"{name}.png"
    if path.stem == pagename.removeprefix("notebooks/") or not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(card(drawn[name].card))
    site = app.config.ogp_site_url or context["content_root"]
    about = {"image": f"{site.rstrip('/')}/_static/cards/{path.name}", "image:alt": drawn[name].alt}
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
    app.add_directive("verdict-table", VerdictTable)
    app.connect("builder-inited", write_answers)
    app.connect("doctree-read", describe_page)
    app.connect("doctree-resolved", place_links)
    app.connect("html-page-context", show_card)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
