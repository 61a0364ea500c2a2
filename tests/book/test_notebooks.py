"""Hygiene of the notebooks as they are committed. That the outputs are true is nbval's business."""

import ast
import base64
import html
import html.parser
import io
import re
from itertools import combinations
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import chapters
import nbformat
import pytest
import setup_cell
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
SCREEN = 40
PHONE, SMALLEST = 375, 8  # pixels: how wide a picture is on a phone, and how small its text may be there
TABLE = re.compile(r'<table\b[^>]*\bclass="[^"]*\bdataframe\b')
LEAKS = {
    "an object's address": re.compile(r"\bat 0x[0-9a-f]{6,}"),
    "a path of this machine": re.compile(r"(?<![\w/.])/(home|root|tmp|work|usr|var|opt|Users|content)/\w|[A-Z]:\\\\"),
    "a uuid": re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"),
    "a time of day": re.compile(r"\b\d{1,2}:\d{2}:\d{2}\b"),
    "a date": re.compile(r"\b20\d\d-\d\d-\d\d\b"),
    "a running time": re.compile(r"\b(\d+(\.\d+)?\s?(ms|µs|s|sec|seconds|minutes)\b|it/s|Wall time)"),
}

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


class Images(html.parser.HTMLParser):
    """The text alternatives of the pictures in a piece of HTML."""

    def __init__(self, text: str):
        super().__init__()
        self.alts: list[str | None] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.alts.append(dict(attrs).get("alt"))


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def outputs(path):
    """(cell number, output) for each output, in order."""
    return [(number, output) for number, cell in enumerate(code_cells(path), 1) for output in cell.outputs]


def texts(output):
    """What an output shows as text, without pictures."""
    if output.output_type == "stream":
        return [output.text]
    shown = [v for k, v in output.get("data", {}).items() if k.startswith("text/")]
    return [re.sub(r"data:[\w/+;]+base64,[^\"']*", "", "".join(text)) for text in shown]


def test_every_cell_was_run_once_from_top_to_bottom(path):
    cells = [cell for cell in code_cells(path) if cell.source.strip()]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))


def test_no_cell_is_empty(path):
    assert [i for i, cell in enumerate(nbformat.read(path, as_version=4).cells) if not cell.source.strip()] == []


def test_no_error_and_nothing_on_stderr(path):
    for number, output in outputs(path):
        assert output.output_type != "error", f"cell {number}: {output.ename}"
        assert output.get("name") != "stderr", f"cell {number}: {output.text[:200]}"


def test_every_picture_has_a_text_alternative(path):
    for number, cell in enumerate(code_cells(path), 1):
        for output in cell.outputs:
            data = output.get("data", {})
            if "text/html" in data:
                for alt in Images("".join(data["text/html"])).alts:
                    assert alt and alt.strip(), f"cell {number}: a picture in HTML has no alt text"
            elif any(kind.startswith("image/") for kind in data):
                alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
                assert len(alt) > 10, f"cell {number}: set the cell's metadata mystnb.image.alt, found {alt!r}"


def test_every_table_has_a_caption_without_numbers(path):
    for number, cell in enumerate(code_cells(path), 1):
        if any(TABLE.search("".join(output.get("data", {}).get("text/html", ""))) for output in cell.outputs):
            caption = cell.metadata.get("table", {}).get("caption", "")
            assert len(caption) > 10, f"cell {number}: set the cell's metadata table.caption, found {caption!r}"
            assert not re.search(r"\d", caption), f"cell {number}: a number in {caption!r}"


def test_pictures_are_stored_with_a_palette(path):
    for number, output in outputs(path):
        if "image/png" in output.get("data", {}):
            picture = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))
            assert picture.mode == "P", f"cell {number}: run the notebook with `make run`, which makes pictures small"


def test_pictures_are_lines_or_twice_the_pixels_they_are_shown_at(path):
    for number, output in outputs(path):
        data = output.get("data", {})
        if "image/png" in data and "text/html" not in data:
            width = Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).width
            shown = output.metadata["image/png"]["width"]
            assert "image/svg+xml" in data and width >= 2 * shown, f"cell {number}: {width} pixels for {shown}"


class Words(NamedTuple):
    """A text of a drawing, in the drawing's own pixels."""

    text: str
    left: float
    right: float
    y: float
    size: float


def drawings(path):
    """(cell number, SVG) for every picture that is stored as lines; of a figure that moves the first frame."""
    for number, output in outputs(path):
        data = output.get("data", {})
        first = re.search(r'src="data:image/svg\+xml[^,]*,([^"]*)"', "".join(data.get("text/html", "")))
        if svg := unquote(html.unescape(first[1])) if first else "".join(data.get("image/svg+xml", "")):
            yield number, svg


def width(svg: str) -> float:
    return float(re.search(r'viewBox="0 0 ([\d.]+) ', svg)[1])


def words(svg: str):
    """Every text that lies level and is of one piece, and how far it reaches."""
    for about, text in re.findall(r"<text\b([^>]*)>([^<]*)</text>", svg):
        place = {name: float(value) for name, value in re.findall(r'\s([xy])="(-?[\d.]+)"', about)}
        turned = re.search(r"rotate\((-?[\d.]+)", about)
        if not text.strip() or not place or (turned and float(turned[1])):
            continue
        size = float(re.search(r"([\d.]+)px", about)[1])
        font = FontProperties(family="DejaVu Sans", weight="bold" if "bold" in about or " 700 " in about else "normal")
        long = TextPath((0, 0), html.unescape(text).strip(), size=size, prop=font).get_extents().width
        anchor = re.search(r"text-anchor:\s*(\w+)", about)
        left = place["x"] - {"start": 0, "middle": long / 2, "end": long}[anchor[1] if anchor else "start"]
        yield Words(html.unescape(text), left, left + long, place["y"], size)


def test_text_in_pictures_can_be_read_on_a_phone(path):
    """Of formulas the letters; what stands above or below them may be smaller."""
    for number, svg in drawings(path):
        for text in re.findall(r"<text\b.*?</text>", svg, flags=re.DOTALL):
            sizes = [float(size) for size in re.findall(r"font(?:-size)?:[^;\"]*?([\d.]+)px", text)]
            shown = max(sizes) * PHONE / width(svg)
            assert shown >= SMALLEST, f"cell {number}: {shown:.1f} pixels: {re.sub('<[^>]*>', '', text)!r}"


def test_words_in_pictures_keep_apart_and_are_whole(path):
    for number, svg in drawings(path):
        found = list(words(svg))
        for one in found:
            assert one.left > -0.5 and one.right < width(svg) + 0.5, f"cell {number}: {one.text!r} is cut off"
        for a, b in combinations(found, 2):
            size = min(a.size, b.size)
            gap = max(a.left, b.left) - min(a.right, b.right)
            level = abs(a.y - b.y) < 0.75 * size
            assert not level or gap > 0.3 * size, f"cell {number}: {a.text!r} and {b.text!r} are {gap:.1f} pixels apart"


def test_tables_have_signs_as_they_are_written_and_no_code(path):
    for number, output in outputs(path):
        table = "".join(output.get("data", {}).get("text/html", ""))
        if TABLE.search(table):
            for cell in re.findall(r"<t[dh]>(.*?)</t[dh]>", table):
                assert not re.search(r"(?:^|[(, ])-\d|\*\*|\bsqrt\b|\d\.\d{5}", cell), f"cell {number}: {cell!r}"


def test_a_tinkerer_is_told_what_to_change_and_what_broke(path):
    cells = [cell.source for cell in code_cells(path)]
    assert any(re.search(r"#.*your turn", source) for source in cells), "mark a number: `# …: your turn`"
    begin = next(number for number, source in enumerate(cells) if re.search(r"^use\(\)$", source, re.MULTILINE))
    assert not any(re.search(r"^\s*assert ", source, re.MULTILINE) for source in cells[:begin])  # use() explains them


def test_code_is_folded_wherever_the_site_folds_it_but_for_what_a_reader_changes(path):
    for number, cell in enumerate(code_cells(path), 1):
        fold = "hide-input" in cell.metadata.get("tags", []) and not re.search(r"#.*your turn", cell.source)
        seen = cell.metadata.get("cellView"), cell.metadata.get("jupyter", {}).get("source_hidden")
        assert seen == (("form", True) if fold else (None, None)), f"cell {number}: run `python tools/folds.py`"


def test_no_volatile_metadata_is_kept(path):
    notebook = nbformat.read(path, as_version=4)
    assert "widgets" not in notebook.metadata, "widget state"
    assert "version" not in notebook.metadata.get("language_info", {}), "this machine's Python version"
    for number, cell in enumerate(notebook.cells, 1):
        assert "execution" not in cell.metadata, f"cell {number}: times of execution"


@pytest.mark.parametrize("leak", LEAKS)
def test_no_output_names_this_run_or_machine(path, leak):
    for number, output in outputs(path):
        for text in texts(output):
            found = LEAKS[leak].search(text)
            assert not found, f"cell {number}: {leak}: {text[max(0, found.start() - 40) : found.end() + 40]!r}"


def test_no_function_is_longer_than_a_screen(path):
    for number, cell in enumerate(code_cells(path), 1):
        source = re.sub(r"^\s*[%!].*$", "pass", cell.source, flags=re.MULTILINE)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                length = node.end_lineno - node.lineno + 1
                assert length <= SCREEN, f"cell {number}: {node.name} has {length} lines; a screen has {SCREEN}"


def test_the_first_cell_is_the_shared_setup_without_an_address(path):
    assert code_cells(path)[0].source.strip() == setup_cell.SOURCE.strip()


def typed_digits(markdown: str) -> list[str]:
    """Digits that are not inside a role, a link's target, code or mathematics."""
    spared = (
        r"\{[\w:]+\}`[^`]*`",
        r"`[^`]*`",
        r"\$\$.*?\$\$",
        r"\$[^$]*\$",
        r"\]\([^)]*\)",
        r"<[^>]*>",
        r"(?m:^:[^\n]*$)",
    )
    for pattern in spared:
        markdown = re.sub(pattern, "", markdown, flags=re.DOTALL)
    return re.findall(r"\S*\d\S*", markdown.replace("L0", "").replace("L1", ""))


def verdict_boxes(path) -> list[str]:
    boxes = []
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            pattern = r"(?P<fence>`{3,}|:{3,})\{admonition\}[^\n]*\n(?P<body>:class: verdict.*?)\n(?P=fence)"
            boxes += [match["body"] for match in re.finditer(pattern, cell.source, re.DOTALL)]
    return boxes


def test_the_verdict_quotes_its_numbers_and_types_none(path):
    if chapters.converted(nbformat.read(path, as_version=4)):
        pytest.skip("told in the new way: tests/book/test_prose.py")
    boxes = verdict_boxes(path)
    assert len(boxes) == 1, f"expected one admonition with the class verdict, found {len(boxes)}"
    assert "{glue:" in boxes[0], "the verdict quotes no computed value"
    assert typed_digits(boxes[0]) == []


def test_the_answer_is_there_for_the_other_pages(path):
    told = chapters.chapter(path)
    if not told.stance:
        assert told.verdict.endswith("."), f"expected a sentence, found {told.verdict!r}"
