"""Formulas come out as MathML that says what the LaTeX says, and one that cannot be read stops the build."""

import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
from docutils import nodes
from docutils.utils import new_document

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import formulas  # noqa: E402

M = "{http://www.w3.org/1998/Math/MathML}"


def tree(latex, display=False):
    return ElementTree.fromstring(formulas.mathml(latex, display))


def words(element):
    return "".join(element.itertext())


def test_macros_of_the_book_are_known():
    assert words(tree(r"\relu(x)")) == "ReLU(x)"
    assert words(tree(r"\E x")) == "𝔼x" and words(tree(r"\Eta")) != "𝔼ta"


def test_upright_letters_make_one_word():
    assert [e.text for e in tree(r"\mathrm{tr}\,\Sigma").iter(f"{M}mi")] == ["tr", "Σ"]


def test_a_function_keeps_its_distance_but_not_from_a_bracket():
    apart, low, close = (next(tree(s).iter(f"{M}mo")) for s in (r"\log q", r"\log L_0", r"\log(q)"))
    assert apart.get("rspace") == low.get("rspace") == "0.17em" and close.get("rspace") == "0"
    over = [e for e in tree(r"n/\log n").iter(f"{M}mo") if e.text == "log"]
    assert [e.get("lspace") for e in over] == ["0"]


def test_limits_stand_below_in_a_display_and_beside_in_a_line():
    for latex in (r"\min_{c} f", r"\sum_{j} c_j"):
        assert tree(latex, True).find(f".//{M}munder") is not None
        assert tree(latex, False).find(f".//{M}munder") is None


def test_norms_do_not_grow_around_what_follows():
    bars = [e for e in tree(r"\lVert x\rVert^2").iter(f"{M}mo") if e.text == "‖"]
    assert len(bars) == 2 and all(e.get("stretchy") == "false" for e in bars)


def test_an_exponent_with_an_index_of_its_own_stays():
    (power,) = tree("u_1^{h_1}").iter(f"{M}msubsup")
    assert [words(part) for part in power] == ["u", "1", "h1"]
    assert words(tree("|u_1^{h_1}\\cdots u_d^{h_d}|")) == "|u1h1⋯udhd|"
    assert [words(part) for part in next(tree("u'^2").iter(f"{M}msup"))] == ["u′", "2"]


def test_a_root_of_a_low_letter_has_the_height_of_a_tall_one():
    (root,) = tree(r"\sqrt n").iter(f"{M}msqrt")
    assert [part.tag for part in root] == [f"{M}mspace", f"{M}mi"] and root[0].get("height") == "0.8em"


def test_no_formula_of_the_book_has_an_empty_part():
    """A script, a letter or a sign without anything in it is something lost."""
    empty = []
    for latex, display in every_formula():
        for parent in tree(latex, display).iter():
            scripted = parent.tag.removeprefix(M) in {
                "msub",
                "msup",
                "msubsup",
                "munder",
                "mover",
                "munderover",
                "mfrac",
            }
            lost = [part for part in parent if part.tag in {f"{M}mi", f"{M}mo", f"{M}mn"} and not part.text]
            lost += [part for part in parent if scripted and part.tag == f"{M}mrow" and not len(part) and not part.text]
            if lost:
                empty.append(latex)
    assert not empty


def test_letters_of_other_shapes_are_characters():
    assert words(tree(r"\mathcal{L}")) == "ℒ" and words(tree(r"\boldsymbol\lambda")) == "𝝀"


@pytest.mark.parametrize("kind", ["aligned", "split", "align*"])
def test_lines_are_aligned(kind):
    rows = tree(rf"\begin{{{kind}}} a &= b \\ c &= d \end{{{kind}}}", True).findall(f".//{M}mtr")
    assert [words(row) for row in rows] == ["a=b", "c=d"]


def test_a_formula_that_cannot_be_read_is_named():
    with pytest.raises(ValueError, match="formula .* cannot be read"):
        formulas.mathml(r"\left(x", False)


def every_formula():
    """All formulas of the book: the LaTeX, and whether it stands on a line of its own."""
    texts = [p.read_text(encoding="utf-8") for p in (ROOT / "book").glob("*.md")]
    for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"):
        texts += [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown"]
    found = [m for text in texts for m in re.finditer(r"\$\$(.+?)\$\$|(?<![\\$])\$([^$\n]+)\$", text, re.DOTALL)]
    assert len(found) > 500
    return [(match[1] or match[2], bool(match[1])) for match in found]


def test_no_formula_of_the_book_keeps_a_command():
    for latex, display in every_formula():
        seen = words(tree(latex, display))
        assert "\\" not in seen and "&" not in seen, latex


@pytest.mark.parametrize(("latex", "seen"), [(r"g'(u)", "g′(u)"), (r"u'^2", "u′2"), (r"h_i'(C)", "h′i(C)")])
def test_a_prime_is_no_exponent(latex, seen):
    made = tree(latex)
    assert words(made) == seen
    assert not [e for e in made.iter(f"{M}msup") if words(e[1]).startswith("′")]


def test_a_sign_before_a_letter_keeps_close_and_between_two_it_does_not():
    forms = [e.get("form") for e in tree(r"-a=-b-c(-d)").iter(f"{M}mo") if e.text == "−"]
    assert forms == [None, "prefix", None, "prefix"]  # the first of a row is one by itself


def test_a_relation_keeps_its_distance():
    for latex, sign in ((r"x\sim y", "∼"), ("g: M", ":")):
        assert [e.get("lspace") for e in tree(latex).iter(f"{M}mo") if e.text == sign] == ["0.22em"]


def test_what_ends_a_clause_stays_at_its_formula():
    n, m = nodes.math("", "n"), nodes.math("", "m")
    paragraph = nodes.paragraph("", "", nodes.Text("with ("), n, nodes.Text("), and "), m)
    document = new_document("")
    document += paragraph
    formulas.keep_punctuation(None, document, "")
    kept = paragraph[1]
    assert [kept["classes"], kept.astext(), paragraph.astext()] == [["kept"], "(n),", "with (n), and m"]
    assert paragraph[-1].tagname == "math"


def test_a_relation_at_the_end_of_a_formula_takes_no_room_behind():
    assert tree("l=").findall(f".//{M}mo")[-1].get("rspace") == "0"
    assert tree("l=", display=True).findall(f".//{M}mo")[-1].get("rspace") is None
    assert tree("l=1").findall(f".//{M}mo")[-1].get("rspace") is None
