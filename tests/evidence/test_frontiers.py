"""A frontier is read off at an L0 between its runs, and nowhere else."""

import numpy as np
import pytest

from helpers.evidence import at_l0

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
