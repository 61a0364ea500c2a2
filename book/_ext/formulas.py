"""Formulas as MathML, made when the book is built: no script, no waiting, and every screen reader knows them.

LaTeX becomes MathML with latex2mathml; :func:`mended` puts right what a browser's MathML needs said differently. After
the build the math font is cut to the characters that the pages use.
"""

from __future__ import annotations

import html
import re
import unicodedata
from functools import lru_cache
from pathlib import Path
from xml.etree import ElementTree

from docutils import nodes
from fontTools import subset
from latex2mathml.converter import convert
from sphinx.locale import _

FONT = Path(__file__).resolve().parents[1] / "_fonts" / "stix-two-math.woff2"
NAMESPACE = "http://www.w3.org/1998/Math/MathML"
MACROS = {r"\relu": r"\operatorname{ReLU}", r"\E": r"\mathbb{E}"}
FUNCTIONS = {"log", "ln", "exp", "cos", "sin", "tan", "max", "min", "sup", "inf", "det", "dim", "lim", "arg"}
BELOW = {"max", "min", "sup", "inf", "lim", *"∑∏⋃⋂"}
UNDER = {"msub": "munder", "msup": "mover", "msubsup": "munderover"}
ACCENTS = set("~^¯˙¨→ˇ´`") | {"\u0302", "\u0303", "\u0304"}
RELATIONS = {"~": "∼", "⟂": "⟂", ":": ":"}  # and the space on both sides that latex2mathml does not give them
SHAPES = {"script": "SCRIPT", "double-struck": "DOUBLE-STRUCK", "fraktur": "FRAKTUR", "bold": "BOLD"}
SHAPES |= {"bold-italic": "BOLD ITALIC", "italic": "ITALIC"}


@lru_cache(maxsize=4096)
def mathml(latex: str, display: bool) -> str:
    """``latex`` as a ``<math>`` element. Raises ``ValueError`` with the formula if it cannot be read."""
    source = latex.strip()
    for name, meaning in MACROS.items():
        source = re.sub(re.escape(name) + r"(?![a-zA-Z])", lambda _, meaning=meaning: meaning, source)
    source = re.sub(r"\\(begin|end)\{(aligned|split|align\*?)\}", r"\\\1{ALIGNED}", source)
    if r"\\" in source and "\\begin" not in source:
        source = rf"\begin{{ALIGNED}}{source}\end{{ALIGNED}}"
    source = source.replace(r"\begin{ALIGNED}", r"\begin{array}{rl}").replace(r"\end{ALIGNED}", r"\end{array}")
    try:
        root = ElementTree.fromstring(convert(source, display="block" if display else "inline"))
    except Exception as error:
        raise ValueError(f"formula {latex!r} cannot be read: {error}") from error
    mended(root, display)
    last = list(root.iter())[-1]
    if not display and (last.text or "") in "=<>≤≥≈":  # what it is equal to stands in the text, after a space
        last.set("rspace", "0")
    if display:
        root.set("tabindex", "0")  # a wide formula scrolls in a narrow column; keys must reach it
    ElementTree.register_namespace("", NAMESPACE)
    return ElementTree.tostring(root, encoding="unicode")


def mended(parent: ElementTree.Element, display: bool) -> None:
    """Put right, in place, what latex2mathml leaves to a renderer that guesses."""
    merge_letters(parent)
    children = list(parent)
    for before, child, after in zip([None, *children], children, [*children[1:], None], strict=False):
        lower_primes(child)
        name, text = child.tag.split("}")[-1], child.text or ""
        if text in RELATIONS:
            child.tag, child.text = f"{{{NAMESPACE}}}mo", RELATIONS[text]
            child.attrib |= {"lspace": "0.22em", "rspace": "0.22em"}
        if text in {"∞", "…"}:
            child.tag = f"{{{NAMESPACE}}}mi"
        if text == "|":  # \mid is another sign
            child.attrib |= {"lspace": "0", "rspace": "0"}
        if text == "−" and before is not None and before.tag.endswith("}mo") and before.text not in set(")]}|‖′"):
            child.set("form", "prefix")
        if name == "mo" and text == "‖" and child.get("fence") != "true":
            child.set("stretchy", "false")
        if (name == "mi" and text in FUNCTIONS) or (name == "mo" and len(text) > 1 and text.isalpha()):
            child.tag = child.tag.replace("}mi", "}mo")
            open_ = after is not None and (after.text or " ") in "([{|‖"
            first = before is None or before.text == "/"
            left, right = ("0" if close else "0.17em" for close in (first, open_))
            child.attrib |= {"lspace": left, "rspace": right, "movablelimits": "false"}
        if display and name in UNDER and (child[0].text or "") in BELOW:
            child.tag = child.tag.replace(name, UNDER[name])
        if name == "mover" and (child[1].text or "") in ACCENTS:
            child.set("accent", "true")
            child[1].set("stretchy", "false")
        if name == "msqrt":  # over a low letter the sign would hang below the line
            child.insert(0, ElementTree.Element(f"{{{NAMESPACE}}}mspace", {"height": "0.8em", "depth": "0.2em"}))
        shape = child.get("mathvariant")
        if shape in SHAPES and text:
            child.text = "".join(shaped(letter, SHAPES[shape]) for letter in text)
            del child.attrib["mathvariant"]
        mended(child, display)


def lower_primes(element: ElementTree.Element) -> None:
    """Put a prime beside its letter: the sign itself stands high, and as an exponent it would stand too high."""
    name = element.tag.split("}")[-1]
    if name not in {"msup", "msubsup"}:
        return
    above = element[-1]
    first = above[0] if above.tag.endswith("}mrow") and len(above) else above
    if not first.text or set(first.text) - set("′″"):
        return
    letter = ElementTree.Element(f"{{{NAMESPACE}}}mrow")
    prime = ElementTree.SubElement(letter, f"{{{NAMESPACE}}}mo", {"lspace": "0", "rspace": "0"})
    prime.text = first.text
    letter.insert(0, element[0])
    element[0] = letter
    if first is not above:
        above.remove(first)
    elif name == "msubsup":
        element.remove(above)
        element.tag = element.tag.replace("msubsup", "msub")
    else:
        element.clear()
        element.tag = letter.tag
        element.extend(letter)


def merge_letters(parent: ElementTree.Element) -> None:
    """Upright letters one by one (``\\mathrm{tr}``) as one word."""
    for child in list(parent)[:0:-1]:
        before = parent[list(parent).index(child) - 1]
        pair = (before, child)
        if all(e.tag.endswith("}mi") and e.get("mathvariant") == "normal" for e in pair):
            before.text = (before.text or "") + (child.text or "")
            parent.remove(child)


def shaped(letter: str, shape: str) -> str:
    """The mathematical letter of that shape: browsers no longer know the attribute that asked for it."""
    kind = "CAPITAL" if letter.isupper() else "SMALL"
    name = unicodedata.name(letter, "").split()[-1]
    for pattern in (f"MATHEMATICAL {shape} {kind} {name}", f"{shape} {kind} {name}"):
        try:
            return unicodedata.lookup(pattern)
        except KeyError:
            continue
    return letter


def keep_punctuation(app, doctree, docname) -> None:
    """Keep what closes a clause on the line of the formula before it, and an opening bracket on that of the one after:
    browsers may break a line on both sides of a formula."""
    for node in list(doctree.findall(nodes.math)):
        parent, where = node.parent, node.parent.index(node)
        before, after = (parent[i] if 0 <= i < len(parent) else None for i in (where - 1, where + 1))
        head = re.search(r"[(\[“‘]*$", before)[0] if isinstance(before, nodes.Text) else ""
        tail = re.match(r"[.,;:!?)\]”’]*", after)[0] if isinstance(after, nodes.Text) else ""
        if not head and not tail:
            continue
        kept = nodes.inline("", "", nodes.Text(head), node.deepcopy(), nodes.Text(tail), classes=["kept"])
        if tail:
            parent.replace(after, nodes.Text(after[len(tail) :]))
        parent.replace(node, kept)
        if head:
            parent.replace(before, nodes.Text(before[: -len(head)]))


def visit_math(self, node: nodes.math) -> None:
    self.body.append(f'<span class="math">{mathml(node.astext(), False)}</span>')
    raise nodes.SkipNode


def visit_displaymath(self, node: nodes.math_block) -> None:
    self.body.append(self.starttag(node, "div", CLASS="math"))
    if node["number"]:
        number = html.escape(str(node["number"]))
        self.body.append(f'<span class="eqno">({number})')
        self.add_permalink_ref(node, _("Link to this equation"))
        self.body.append("</span>")
    self.body.append(mathml(node.astext(), True) + "</div>\n")
    raise nodes.SkipNode


def cut_font(app, exception) -> None:
    """Ship the math font with the characters seen in formulas, upright, italic, and in all sizes of what stretches."""
    if exception or app.builder.name != "html":
        return
    pages = "".join(p.read_text(encoding="utf-8") for p in Path(app.outdir).rglob("*.html"))
    seen = set(html.unescape("".join(re.findall(r"<math.*?</math>", pages, flags=re.DOTALL))))
    seen |= {shaped(letter, "ITALIC") for letter in seen if letter.isalpha()} | set("ℎ0123456789()[]{}|‖+−=√")
    options = subset.Options(flavor="woff2", layout_features=["ssty", "dtls", "kern"], name_IDs=[])
    font = subset.load_font(str(FONT), options)
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=[ord(letter) for letter in seen])
    cutter.subset(font)
    narrow_radicals(font)
    target = Path(app.outdir) / "_static" / "fonts" / "math.woff2"
    target.parent.mkdir(parents=True, exist_ok=True)
    subset.save_font(font, str(target), options)
    font.close()


def narrow_radicals(font) -> None:
    """Make tall radical signs as narrow as the plain one: Chromium leaves room behind √2 for the widest of them."""
    variants, plain = font["MATH"].table.MathVariants, font.getBestCmap().get(0x221A)
    if plain not in variants.VertGlyphCoverage.glyphs:
        return
    tall = variants.VertGlyphConstruction[variants.VertGlyphCoverage.glyphs.index(plain)]
    names = {record.VariantGlyph for record in tall.MathGlyphVariantRecord}
    names |= {part.glyph for part in tall.GlyphAssembly.PartRecords} if tall.GlyphAssembly else set()
    width = font["hmtx"][plain][0]
    for name in names - {plain}:
        advance, bearing = font["hmtx"][name]
        glyph, factor = font["glyf"][name], width / advance
        if glyph.numberOfContours > 0:
            glyph.coordinates.scale((factor, 1))
            glyph.recalcBounds(font["glyf"])
        font["hmtx"][name] = (width, round(bearing * factor))


def setup(app):
    app.connect("doctree-resolved", keep_punctuation)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_displaymath, None))
    app.connect("build-finished", cut_font)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
