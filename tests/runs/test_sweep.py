"""A sweep gives one row a point, once, wherever it runs and however often it is stopped."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
from cluster import cluster, wait_for

from helpers.runs import default_folder, key_of, sweep


def measure(x, log, name="a"):
    with open(log, "a") as file:
        file.write(f"{x}\n")
    return {"square": x * x}


def fail_at_2(x, log, name="a"):
    if x == 2:
        raise ArithmeticError("two is too many")
    return measure(x, log)


def take_time(x, log, name="a"):
    """Says that it begins, and in which process; long enough to be killed halfway."""
    with open(log, "a") as file:
        file.write(f"{x} {os.getpid()}\n")
    time.sleep(0.5)
    return {"square": x * x}


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


def say_and_sleep(x, log, name="a"):
    with open(log, "a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(600)


def test_workers_end_when_the_sweep_is_killed(grid, tmp_path):
    log = Path(grid[0]["log"])
    code = f"import test_sweep as t; t.sweep(t.say_and_sleep, {grid!r}, folder={str(tmp_path / 'runs')!r}, processes=2)"
    root = Path(__file__).resolve().parent
    found = [str(place) for place in (root, root.parent, root.parents[1])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(found)}
    sweeping = subprocess.Popen([sys.executable, "-c", code], env=env)
    try:
        wait_for(lambda: log.exists() and len(log.read_text().split()) == 2, sweeping)
    finally:
        sweeping.kill()
        sweeping.wait()
    workers = [int(pid) for pid in log.read_text().split()]
    wait_for(lambda: not any(map(alive, workers)), seconds=20)


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def test_without_a_folder_points_are_kept_in_the_cache(grid, tmp_path, monkeypatch):
    monkeypatch.setenv("OPEN_THREADS_CACHE", str(tmp_path / "cache"))
    whole, again = sweep(measure, grid, processes=1), sweep(measure, grid, processes=1)
    pd.testing.assert_frame_equal(whole, again)
    assert calls(grid) == [0, 1, 2, 3] and len(list(default_folder(measure).glob("*.json"))) == 4
    assert (tmp_path / "cache") in default_folder(measure).parents
    assert default_folder(measure) != default_folder(fail_at_2)


def test_a_worker_killed_halfway_costs_its_task_and_nothing_else(tmp_path):
    log = tmp_path / "log.txt"
    log.touch()
    grid = [{"x": x, "log": str(log)} for x in range(10)]
    local = sweep(measure, [{**point, "log": str(tmp_path / "local.txt")} for point in grid], folder=tmp_path / "local")

    def begun():
        return [
            tuple(map(int, line.split())) for line in log.read_text().splitlines() if line.endswith(tuple("0123456789"))
        ]

    with cluster(tmp_path, workers=2) as (address, (stays, goes)):
        from distributed import Client

        assert address.startswith("tcp://127.0.0.1:")
        with Client(address) as client:
            client.wait_for_workers(2, timeout=50)
        lost = []

        def kill():
            wait_for(lambda: goes.pid in [pid for _, pid in begun()], goes)
            goes.send_signal(signal.SIGKILL)  # while it is in its first task
            goes.wait()
            lost.extend(x for x, pid in begun() if pid == goes.pid)

        killer = threading.Thread(target=kill)
        killer.start()
        remote = sweep(take_time, grid, scheduler=address, folder=tmp_path / "remote")
        killer.join()
        assert goes.returncode == -signal.SIGKILL and stays.poll() is None

    pd.testing.assert_frame_equal(remote.drop(columns="log"), local.drop(columns="log"))
    assert list(remote["x"]) == list(range(10))  # complete, in order, nothing twice
    assert len(list((tmp_path / "remote").glob("*.json"))) == 10
    elsewhere = [x for x, pid in begun() if pid == stays.pid]
    assert lost and set(lost) <= set(elsewhere), "what the killed worker was doing was done again by the other"
    assert sorted(elsewhere) == list(range(10))
