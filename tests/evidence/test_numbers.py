"""A number carries its interval, what that covers and its null, in one form; and says what is wrong with it."""

import pytest

from helpers.evidence import MIME, number


def test_value_ends_and_null_are_written_in_one_form():
    made = number("ch01_share", -0.049, "+.0%", interval=(-0.1, 0.021), covers="95%, over words", null=0.0)
    assert tuple(made[1:]) == ("−5%", "−10% to +2%", "95%, over words", "0%") and str(made) == "−5%"


def test_words_are_said_once():
    made = number("ch04_words", 11.0, "{:.0f} of 16", interval=(9, 13), covers="95%, over words", null=1)
    assert (made.text, made.interval, made.null) == ("11 of 16", "9 to 13 of 16", "1 of 16")


def test_a_number_without_an_interval_says_why():
    made = number("ch06_threshold", 16.09, ".1f", covers="exact")
    assert made.note == "exact" and made.interval == made.null == ""


def test_a_text_that_is_ready_stays_as_it_is():
    assert number("ch03_l", "about ln m", covers="exact", null="none").note == "exact; if there were nothing: none"


def test_the_bundle_is_the_same_every_time_and_reads_as_text():
    bundle = number("ch01_a", 0.5, covers="exact")._repr_mimebundle_()
    assert bundle[MIME] == {"key": "ch01_a", "text": "0.50", "interval": "", "covers": "exact", "null": ""}
    assert bundle["text/plain"] == "ch01_a = 0.50 (exact)"


def test_in_a_notebook_it_is_shown():
    from IPython.testing.globalipapp import start_ipython
    from IPython.utils.capture import capture_output

    shell = start_ipython()
    with capture_output() as seen:
        shell.run_cell("from helpers.evidence import number\nnumber('ch01_a', 0.5, covers='exact');")
    assert "ch01_a = 0.50 (exact)" in seen.stdout or any(MIME in output.data for output in seen.outputs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": "share"}, "key='share'; expected chNN_name"),
        ({"key": "ch01_Share"}, "key='ch01_Share'"),
        ({"covers": " "}, "covers=' '"),
        ({"interval": (2, 1)}, r"interval=\(2, 1\); expected two ends in order"),
        ({"interval": (float("nan"), 1)}, "interval="),
    ],
)
def test_what_is_no_number_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        number(**{"key": "ch01_a", "value": 1.0, "covers": "exact"} | change)
