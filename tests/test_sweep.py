"""A sweep gives one row a point, once, wherever it runs and however often it is stopped."""

import json
import os
import signal
import time
from pathlib import Path

import pandas as pd
import pytest

from helpers.sweep import key_of, sweep


def measure(x, log, name="a"):
    with open(log, "a") as file:
        file.write(f"{x}\n")
    return {"square": x * x}


def fail_at_2(x, log, name="a"):
    if x == 2:
        raise ArithmeticError("two is too many")
    return measure(x, log)


def die_once(x, log, name="a"):
    """The first call takes its worker down, as a lost machine would."""
    marker = Path(log).with_suffix(".died")
    if x == 1 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return measure(x, log)


@pytest.fixture
def grid(tmp_path):
    return [{"x": x, "log": str(tmp_path / "log.txt"), "name": f"n{x}"} for x in range(4)]


def calls(grid):
    path = Path(grid[0]["log"])
    return sorted(map(int, path.read_text().split())) if path.exists() else []


EXPECTED = [0, 1, 4, 9]


def test_a_row_a_point_in_the_order_of_the_grid(grid, tmp_path):
    table = sweep(measure, grid, folder=tmp_path / "runs", processes=1)
    assert list(table.columns) == ["x", "log", "name", "square"]
    assert list(table["square"]) == EXPECTED and list(table["name"]) == ["n0", "n1", "n2", "n3"]


def test_two_processes_do_every_point_once(grid, tmp_path):
    assert list(sweep(measure, grid, folder=tmp_path / "runs", processes=2)["square"]) == EXPECTED
    assert calls(grid) == [0, 1, 2, 3]


def test_finished_points_are_not_run_again(grid, tmp_path):
    first = sweep(measure, grid[:2], folder=tmp_path / "runs", processes=1)
    whole = sweep(measure, grid, folder=tmp_path / "runs", processes=1)
    again = sweep(measure, grid, folder=tmp_path / "runs", processes=1)
    assert calls(grid) == [0, 1, 2, 3]
    pd.testing.assert_frame_equal(whole, again)
    pd.testing.assert_frame_equal(whole.head(2), first)


def test_a_failing_point_says_so_and_keeps_the_finished_ones(grid, tmp_path):
    with pytest.raises(ArithmeticError, match="two is too many"):
        sweep(fail_at_2, grid, folder=tmp_path / "runs", processes=1)
    kept = [json.loads(path.read_text()) for path in (tmp_path / "runs").glob("*.json")]
    assert {"square": 0} in kept and {"square": 1} in kept


def test_after_the_deadline_nothing_new_begins(grid, tmp_path):
    sweep(measure, grid[:1], folder=tmp_path / "runs", processes=1)
    table = sweep(measure, grid, folder=tmp_path / "runs", processes=1, deadline=time.time() - 1)
    assert list(table["x"]) == [0] and calls(grid) == [0]


def test_points_are_told_apart_by_function_and_fields_not_by_their_order():
    assert key_of(measure, {"a": 1, "b": 2}) == key_of(measure, {"b": 2, "a": 1})
    assert len({key_of(measure, {"a": 1}), key_of(measure, {"a": 2}), key_of(fail_at_2, {"a": 1})}) == 3


def test_bad_grids_are_named(grid, tmp_path):
    with pytest.raises(ValueError, match="grid is empty"):
        sweep(measure, [], folder=tmp_path / "runs")
    with pytest.raises(ValueError, match="same point twice"):
        sweep(measure, [grid[0], grid[0]], folder=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_dask_cluster_gives_the_same_table_even_if_a_worker_dies(grid, tmp_path):
    from distributed import LocalCluster

    local = sweep(measure, grid, folder=tmp_path / "local", processes=1)
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**options) as cluster:
        assert cluster.scheduler_address.startswith("tcp://")
        remote = sweep(die_once, grid, folder=tmp_path / "remote", scheduler=cluster.scheduler_address)
    pd.testing.assert_frame_equal(remote, local)
    assert Path(grid[0]["log"]).with_suffix(".died").exists()
