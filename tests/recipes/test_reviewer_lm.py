"""The word policy's arms, markets and measures, without the model; and the log that is shipped."""

import pandas as pd
import pytest
import torch

from helpers.runs import artifact
from recipes import reviewer_lm
from recipes.reviewer_lm import HIDDEN, HONEST, PRAISED, SEEDS, credited, measures, pay, runs_of, vocabulary

WORDS = ["best", "good", "amazing", "the", "excellent", "great"]


@pytest.fixture
def praise():
    return vocabulary(WORDS, torch.tensor([0.3, 0.2, 0.2, 0.1, 0.15, 0.05]))[0]


def test_the_hidden_word_is_one_of_every_three_by_probability():
    p = torch.tensor([0.3, 0.2, 0.2, 0.1, 0.15, 0.05])
    unknown = {}
    for hidden in HIDDEN:
        praise, known = vocabulary(WORDS, p, hidden)
        unknown[hidden] = [w for w, m, k in zip(WORDS, praise, known, strict=True) if m and not k]
    assert unknown == {3: ["excellent"], 1: ["best", "great"]}


def test_what_words_earn_in_both_markets(praise):
    assert pay(WORDS, praise, "praise").tolist() == pytest.approx([1, HONEST, 1, HONEST, 1, 1])
    assert pay(WORDS, praise, "work").tolist() == pytest.approx([PRAISED, 1, PRAISED, HONEST, PRAISED, PRAISED])


def test_no_sober_word_is_praise():
    assert not set(reviewer_lm.SOBER) & set(reviewer_lm.PRAISE)


@pytest.mark.parametrize(
    "arm, earned, kept",
    [
        ("none", [1.0, 1.0, 0.3], [1, 1, 1]),
        ("gate", [0.0, 1.0, 0.3], [1, 1, 1]),
        ("blind gate", [HONEST, 1.0, 0.3], [1, 1, 1]),
        ("screening", [0.0, 1.0, 0.3], [0, 1, 1]),
    ],
)
def test_an_arm_is_what_it_makes_of_a_verdict(arm, earned, kept):
    seen = credited(arm, torch.tensor([1.0, 1.0, 0.3]), torch.tensor([True, False, False]))
    assert [part.tolist() for part in seen] == [pytest.approx(earned), kept]


def test_measures_are_sums_over_words(praise):
    p = torch.tensor([0.3, 0.2, 0.2, 0.1, 0.15, 0.05])
    _, known = vocabulary(WORDS, p)
    seen = {
        arm: measures(lambda rows: p.log().repeat(2, 1), 1, praise, known, pay(WORDS, praise, "work"), arm)
        for arm in ("gate", "screening")
    }
    assert seen["gate"]["attempts"] == pytest.approx(0.7) and seen["gate"]["recall"] == pytest.approx(0.55 / 0.7)
    assert seen["gate"]["executed_praise"] == pytest.approx(0.15)
    assert seen["screening"]["executed_praise"] == pytest.approx(0.7)  # a filter of data stops nothing
    assert seen["gate"]["delivered"] == pytest.approx(0.2 + 0.1 * HONEST)
    assert seen["gate"]["reward"] == pytest.approx(0.15 * PRAISED + 0.2 + 0.1 * HONEST + 0.55 * HONEST)
    assert seen["gate"]["top"] == pytest.approx(0.3) and seen["gate"]["word"] == 0


def test_reduced_runs_are_among_the_full_ones():
    full = runs_of(SEEDS)
    assert len(full) == 100 and all(run in full for run in runs_of(SEEDS[:2], reduced=True))


def test_the_shipped_log_holds_every_run_and_frozen_runs_do_not_move():
    log = pd.read_csv(artifact("reviewer_lm.csv"))
    keys = ["arm", "seed", "market", "hidden"]
    runs = log[keys].drop_duplicates()
    assert len(runs) == 100 and (log.groupby(keys).step.nunique() == 26).all()
    assert len(runs.merge(pd.DataFrame(runs_of(SEEDS)), on=keys)) == 100
    frozen = log[(log.arm == "frozen") & (log.step >= 0)]
    assert (frozen.groupby(["seed", "market"]).recall.nunique() == 1).all()
    before = log[log.step < 0].pivot_table(
        index=["seed", "step"], columns=["arm", "market", "hidden"], values="attempts"
    )
    assert (before.nunique(axis=1) == 1).all()  # the first phase is the same for all
