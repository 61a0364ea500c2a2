"""A frontier is read off at an L0 between its runs, and nowhere else."""

import itertools

import numpy as np
import pandas as pd
import pytest

from helpers.evidence import at_l0, bootstrap_share

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
