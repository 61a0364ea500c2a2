"""A drawing's parts are where they say, as large as they say."""

import matplotlib.pyplot as plt
import pytest

from helpers.page import arrow, box, note, row, sheet


@pytest.fixture
def drawing():
    figure, ax = sheet(4.0, 2.0)
    yield figure, ax
    plt.close(figure)


def test_a_sheet_is_measured_in_inches(drawing):
    figure, ax = drawing
    assert tuple(figure.get_size_inches()) == (4.0, 2.0)
    inch = ax.transData.transform((1, 1)) - ax.transData.transform((0, 0))
    assert inch == pytest.approx([figure.dpi, figure.dpi])


def test_a_box_knows_the_middles_of_its_sides(drawing):
    one = box(drawing[1], 1.0, 0.5, 2.0, 1.0, "a box")
    assert (one.left, one.right, one.top, one.bottom) == ((1.0, 1.0), (3.0, 1.0), (2.0, 1.5), (2.0, 0.5))


def test_words_in_a_row_do_not_overlap_and_longer_ones_are_wider(drawing):
    boxes = row(drawing[1], 0.1, 0.1, ["a", "typical", "definition"])
    assert all(a.right[0] < b.left[0] for a, b in zip(boxes, boxes[1:], strict=False))
    assert boxes[0].width < boxes[1].width < boxes[2].width


def test_every_word_fits_its_box(drawing):
    figure, ax = drawing
    boxes = row(ax, 0.1, 0.1, ["mmm", "definition", "WIDE"])
    renderer = figure.canvas.get_renderer()
    for text, place in zip(ax.texts, boxes, strict=True):
        assert text.get_window_extent(renderer).width / figure.dpi < place.width


def test_a_bent_arrow_carries_its_text_on_the_outside_of_the_bend(drawing):
    _, ax = drawing
    arrow(ax, (0.5, 0.5), (3.5, 0.5), "over", bend=0.4)
    note(ax, 0.5, 1.9, "a note")
    over, remark = ax.texts
    assert over.get_position()[1] > 1.0 and remark.get_ha() == "left"


def test_a_sheet_without_size_is_refused():
    with pytest.raises(ValueError, match="width=0; expected a finite number above 0"):
        sheet(0, 1)
