"""A frontier is read off at an L0 between its runs, and nowhere else."""

import itertools
import re

import numpy as np
import pandas as pd
import pytest

from helpers.evidence import at_l0, bootstrap_share, curves_of, mean_gain, overlap, share_closed

L0 = np.array([32.0, 8.0, 16.0])


def test_interpolation_is_linear_in_log_l0():
    y = np.stack([3 * np.log(L0) + 1, -np.log(L0)])
    np.testing.assert_allclose(at_l0(L0, y, 11.3), [3 * np.log(11.3) + 1, -np.log(11.3)])
    assert at_l0(L0, np.array([5.0, 1.0, 2.0]), 8.0) == 1


def test_one_l0_is_compared_with_itself_only():
    assert at_l0(np.array([24.0, 24.1]), np.array([0.9, 0.8]), 24.0) == pytest.approx(0.85)
    with pytest.raises(ValueError, match=r"where=30.0.*24.0 to 24.1"):
        at_l0(np.array([24.0, 24.1]), np.array([0.9, 0.8]), 30.0)


def test_runs_at_one_l0_count_as_their_mean():
    assert at_l0(np.array([8.0, 16, 16]), np.array([1.0, 2, 4]), 16.0) == 3
    assert at_l0(np.array([8.0, 8, 16]), np.array([1.0, 2, 3]), 8.0) == 1.5


@pytest.mark.parametrize(
    ("l0", "y", "message"),
    [
        ([0.0, 8.0], [1.0, 2.0], r"l0=\[0.0, 8.0\]"),
        ([-8.0, 8.0], [1.0, 2.0], r"l0=\[-8.0, 8.0\]"),
        ([8.0, 16.0], [1.0, 2.0, 3.0], r"l0 has shape \(2,\), y \(3,\)"),
        ([], [], r"l0 has shape \(0,\)"),
    ],
)
def test_an_l0_that_has_no_logarithm_or_no_value_is_refused(l0, y, message):
    with pytest.raises(ValueError, match=message):
        at_l0(np.array(l0), np.array(y), 8.0)


def test_nothing_is_extrapolated():
    with pytest.raises(ValueError, match=r"where=40.0.*8.0 to 32.0"):
        at_l0(L0, L0, 40.0)


def test_a_share_of_a_gain_is_arm_over_best_and_may_lie_outside():
    l0 = np.array([4.0, 9.0, 30.0])
    up = {name: (l0, np.log(l0) + more) for name, more in (("standard", 0.0), ("a", 0.1), ("gated", 0.4), ("c", -0.2))}
    assert [share_closed(up, arm, "gated") for arm in up] == pytest.approx([0, 0.25, 1, -0.5])
    assert share_closed(up, "standard", "gated", base="a") == pytest.approx(-1 / 3)
    assert mean_gain(up, "gated", "c") == pytest.approx(0.6) and mean_gain(up, "gated") == pytest.approx(0.4)
    many = {name: (l0, np.stack([y, 2 * y, y + 1])) for name, (l0, y) in up.items()}
    assert mean_gain(many, "a") == pytest.approx([0.1, 0.2, 0.1])
    blocks = {name: (x, np.stack([y, y + 2, 3 * y, 4 * y])[:, None].repeat(2, 1)) for name, (x, y) in up.items()}
    assert mean_gain(blocks, "a") == pytest.approx(np.array([[0.1, 0.1], [0.1, 0.1], [0.3, 0.3], [0.4, 0.4]]))
    for names in ({"arm": "zz"}, {"arm": "a", "base": "zz"}):
        with pytest.raises(ValueError, match="='zz'; expected one of standard, a, gated, c"):
            mean_gain(up, **names)
    with pytest.raises(ValueError, match="best='zz'"):
        share_closed(up, "a", "zz")


def test_arms_are_compared_where_all_of_them_are_and_evenly_in_log_l0():
    curves = {"a": (np.array([1.0, 10.0]), np.zeros(2)), "b": (np.array([20.0, 2.0]), np.zeros(2))}
    at = overlap(curves)
    assert at.shape == (33,) and np.exp(at[[0, -1]]) == pytest.approx([2, 10])
    assert np.diff(at) == pytest.approx(np.full(32, np.log(5) / 32))
    for other in ([10.0, 12.1], [30.06, 40.04]):  # from one point on there is nothing to compare
        wanted = f"curves share no range of L0: {{'a': (1.0, 10.0), 'c': {tuple(round(l0, 1) for l0 in other)}}}"
        with pytest.raises(ValueError, match=re.escape(wanted)):
            overlap({"a": curves["a"], "c": (np.array(other), np.zeros(2))})


def test_fewer_than_one_active_feature_is_a_sparsity_like_any_other():
    l0 = np.array([0.2, 0.9])
    assert at_l0(l0, np.log(l0), 0.5) == pytest.approx(np.log(0.5))
    curves = {"standard": (l0, np.log(l0)), "a": (l0, np.log(l0) + 0.3)}
    assert mean_gain(curves, "a") == pytest.approx(0.3) and np.exp(overlap(curves)[[0, -1]]) == pytest.approx(l0)


def test_runs_of_one_l0_are_averaged_and_nothing_else_is():
    assert at_l0(np.full(3, 8.0), np.array([[1.0, 2, 6], [0, 0, 3]]), 8.0).tolist() == [3, 1]


TWO = np.array([4.0, 8.0])


@pytest.mark.parametrize(
    "curve",
    [
        (), (TWO,), (TWO, TWO, TWO), (4.0, 1.0), (np.array(4.0), np.array([1.0])),
        (np.stack([TWO, TWO]), np.ones((2, 2))),
        (TWO, np.ones(1)), (TWO, np.ones(3)), (TWO, np.ones((2, 3))), (TWO[:0], TWO[:0]), (-TWO, TWO), (0 * TWO, TWO),
        "ab", 7, {4.0: 1.0, 8.0: 2.0},
        (np.nan * TWO, TWO), (np.inf * TWO, TWO), (np.array([4.0, np.nan]), TWO), (np.array([-4.0, 8.0]), TWO),
    ],
)  # fmt: skip
def test_what_is_no_curve_is_named(curve):
    for function in (overlap, lambda curves: mean_gain(curves, "bad", "good")):
        with pytest.raises(ValueError, match=r"curves\['bad'\]"):
            function({"good": (TWO, TWO), "bad": curve})
    if isinstance(curve, tuple) and len(curve) == 2:
        with pytest.raises(ValueError, match="l0"):
            at_l0(*curve, 4.0)


@pytest.mark.parametrize("curves", [None, {}, [(TWO, TWO)], (), "ab"])
def test_what_holds_no_curves_is_named(curves):
    with pytest.raises(ValueError, match="curves=.*; expected arms by name, each a pair"):
        overlap(curves)


def test_curves_of_a_table_are_its_runs_by_arm_in_order():
    table = pd.DataFrame({"architecture": list("babab"), "l0": [9.0, 5, 3, 4, 6], "fvu": [0.1, 0.2, 0.3, 0.4, 0.5]})
    found = curves_of(table, ["a", "b"], "fvu")
    assert {k: (x.tolist(), y.tolist()) for k, (x, y) in found.items()} == {
        "a": ([4, 5], [0.4, 0.2]), "b": ([3, 6, 9], [0.3, 0.5, 0.1]),
    }  # fmt: skip
    with pytest.raises(ValueError, match="arm 'a' has 1 runs here; a frontier needs two or more"):
        curves_of(table[1:3], ["a"], "fvu")
    with pytest.raises(ValueError, match="table lacks 'fvu'; expected the columns architecture, l0 and y='fvu'"):
        curves_of(table.drop(columns="fvu"), ["a"], "fvu")


@pytest.fixture
def swept():
    """Two seeds, three arms, three levels: expanded closes exactly half of gated's gain, on both texts."""
    rows, losses, rng = [], {}, np.random.default_rng(0)
    for seed, (arm, better) in itertools.product((0, 1), (("standard", 0.0), ("expanded", 0.1), ("gated", 0.2))):
        for level, l0 in enumerate((8.0, 16.0, 32.0)):
            rows.append({"architecture": arm, "site": "s", "seed": seed, "level": level, "l0": l0, "l0_human": 2 * l0})
            spliced = 5 - np.log(l0) / 4 - better + np.zeros(12)
            clean, zero = np.full(12, 3.0), np.full(12, 9.0)
            losses[f"{arm}/s/{seed}/{level}"] = np.stack([np.stack([clean, spliced, zero])] * 2)
            losses[f"{arm}/s/{seed}/{level}"] += rng.normal(0, 0.3, 12)  # texts differ, arms alike
    return pd.DataFrame(rows), losses


def test_a_share_is_what_was_put_in(swept):
    for split in (0, 1):
        value, draws = bootstrap_share(*swept, "s", split=split, n=50)
        assert value == pytest.approx(0.5) and np.allclose(draws, 0.5)


def test_a_share_on_human_text_reads_sparsity_off_human_text(swept):
    table, losses = swept
    denser = table.assign(l0_human=table.l0_human * np.where(table.architecture == "expanded", 1.3, 1.0))
    same, other = (bootstrap_share(denser, losses, "s", split=split, n=1)[0] for split in (0, 1))
    assert same == pytest.approx(0.5) and other < 0.4


def test_an_arm_with_one_level_has_no_frontier(swept):
    table, losses = swept
    with pytest.raises(ValueError, match="'gated' has 1 runs"):
        bootstrap_share(table[(table.architecture != "gated") | (table.level == 0)], losses, "s", split=0)
