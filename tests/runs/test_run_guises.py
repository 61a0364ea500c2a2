"""Sweeps, jobs and files in whatever guise their arguments come: what plain Python gives, or an error by name."""

import hashlib
import json
import math
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from distributed import Client, LocalCluster
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_properties import answer

from helpers.runs import artifact, key_of, locked, manifest, save_artifact, sha256, spread, store, sweep

few = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.floats(), st.text(max_size=3), st.just((1, 2)),
    st.sampled_from([np.int64(1), np.float16(0.5), torch.tensor(1.0), np.ones(2), {1}, b"a", 1j, 2**70]),
)  # fmt: skip
POINTS = st.dictionaries(st.sampled_from(["a", "b", 1, None, "ä b"]), VALUES, max_size=3)
TENSORS = st.sampled_from(
    [
        torch.zeros(0), torch.ones(0, 3), torch.tensor(2.0), torch.tensor([[1, 2], [3, 4]]).T,
        torch.arange(6.0)[::2], torch.tensor([math.nan, 1]), torch.ones(2, dtype=torch.float16),
        torch.ones(2, dtype=torch.float64), torch.ones(2, dtype=torch.bfloat16), torch.ones(3, requires_grad=True),
        torch.ones(3, requires_grad=True)[1:], np.arange(4)[::-1], np.float16(2), 3, math.nan, "a",
    ]
)  # fmt: skip


def plain_json(value) -> bool:
    try:
        return json.dumps(value) is not None
    except (TypeError, ValueError):
        return False


@pytest.fixture(scope="module")
def here():
    """The address of a scheduler in this process, which costs nothing to ask."""
    options = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
    with LocalCluster(**options) as local, Client(local) as client:
        yield client.scheduler.address


def echo(**point):
    return {"seen": len(point), "nan": math.nan}


def give(result=None, **_):
    return RESULTS[result]


RESULTS = {
    "none": None, "list": [1], "number": 1.0, "late": "late", "tensor": {"x": torch.ones(2)}, "set": {"x": {1}},
    "array": {"x": np.ones(2)}, "key": {(1, 2): 3},
}  # fmt: skip


@few
@given(grid=st.lists(POINTS, max_size=3))
def test_a_sweep_has_a_row_a_point_or_names_what_is_no_point(here, tmp_path_factory, grid):
    folder = tmp_path_factory.mktemp("sweep") / "points"
    right = grid and all(all(isinstance(name, str) for name in point) and plain_json(point) for point in grid)
    right = right and len({json.dumps(point, sort_keys=True) for point in grid}) == len(grid)
    table = answer(["grid", "point"], sweep, echo, grid, scheduler=here, folder=folder)
    assert (table is not None) == bool(right)
    assert folder.exists() == bool(right)  # nothing is touched before the grid is known to be one
    if table is not None:
        assert len(table) == len(grid) and table.seen.tolist() == [len(point) for point in grid]
        assert table.nan.isna().all()
        pd.testing.assert_frame_equal(table, sweep(echo, grid, scheduler=here, folder=folder))


@pytest.mark.parametrize("result", RESULTS)
def test_a_result_that_is_no_dict_of_measures_is_named_and_nothing_is_kept(here, tmp_path, result):
    with pytest.raises(ValueError, match=r"fn=give returned .*; expected (a dict of measures|JSON values)"):
        sweep(give, [{"result": result}], scheduler=here, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"grid": None}, "grid=None"), ({"grid": {"a": 1}}, "grid="), ({"grid": "ab"}, "grid='ab'"),
        ({"grid": [1]}, "point=1"), ({"grid": []}, "grid is empty"), ({"fn": None}, "fn=None"),
        ({"processes": 0}, "processes=0"), ({"processes": -1}, "processes=-1"), ({"processes": 1.5}, "processes=1.5"),
        ({"processes": "a"}, "processes='a'"), ({"processes": math.nan}, "processes=nan"),
        ({"deadline": math.nan}, "deadline=nan"), ({"deadline": "soon"}, "deadline='soon'"),
        ({"scheduler": 8786}, "scheduler=8786"),
    ],
)  # fmt: skip
def test_what_no_sweep_can_be_run_with_is_named(tmp_path, more, named):
    arguments = {"fn": echo, "grid": [{"a": 1}], "folder": tmp_path / "points"} | more
    with pytest.raises(ValueError, match=named):
        sweep(arguments.pop("fn"), arguments.pop("grid"), **arguments)
    assert not (tmp_path / "points").exists()


def both(*values):
    return values


def same(a, b) -> bool:
    """Whether two values are of one kind and hold the same."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        alike = a.dtype == b.dtype and a.shape == b.shape
        return alike and torch.equal(a.detach().double().nan_to_num(7), b.detach().double().nan_to_num(7))
    return np.array_equal(a, b, equal_nan=not isinstance(a, str))


@few
@given(jobs=st.lists(st.lists(TENSORS, max_size=2).map(tuple), max_size=3), shared=st.lists(TENSORS, max_size=2))
def test_jobs_give_what_calls_give(here, jobs, shared):
    numbered = [(i, *job) for i, job in enumerate(jobs)]
    found = list(spread(both, iter(numbered), here, tuple(shared)))
    assert len(found) == len(jobs)
    for result in found:
        (number,) = (v for v in result[len(shared) : len(shared) + 1])
        want = (*shared, number, *jobs[number])
        assert len(result) == len(want) and all(map(same, result, want))


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"fn": None}, "fn=None"), ({"scheduler": None}, "scheduler=None"), ({"scheduler": ""}, "scheduler=''"),
        ({"jobs": None}, "jobs=None"), ({"jobs": 3}, "jobs=3"), ({"jobs": [1]}, "jobs hold 1"),
        ({"jobs": [torch.ones(2)]}, "jobs hold tensor"), ({"shared": [1]}, r"shared=\[1\]"),
    ],
)  # fmt: skip
def test_what_is_no_job_is_named(here, more, named):
    arguments = {"fn": both, "jobs": [(1,)], "scheduler": here, "shared": ()} | more
    with pytest.raises(ValueError, match=named):
        list(spread(**arguments))


# Files


NAMES = st.one_of(
    st.text(max_size=8),
    st.lists(
        st.sampled_from(["a", "b.csv", "ä ö", "..", ".", "", "manifest.json", "reduced", "a\0", "~"]), max_size=4
    ).map("/".join),
)
WRITES = {
    "empty": lambda path: path.touch(),
    "bytes": lambda path: path.write_bytes(bytes(range(256))),
    "folder": lambda path: (path.mkdir(), (path / "one").write_text("1"), (path / "two").write_text("2")),
}


@few
@given(name=NAMES, kind=st.sampled_from(sorted(WRITES)))
def test_an_artifact_comes_back_or_its_name_is_refused_and_the_others_stay(tmp_path_factory, name, kind):
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPEN_THREADS_ARTIFACTS", str(home / "artifacts"))
        save_artifact("kept.txt", lambda path: path.write_text("kept"), recipe="by hand", seed=0)
        parts = name.split("/")
        wrong = {"", ".", "..", "manifest.json", ".manifest.lock"} & {*parts[-1:], *({".", "..", ""} & {*parts})}
        right = not wrong and "\0" not in name and name not in ("reduced", "kept.txt")
        if name == "kept.txt":
            return
        made = answer(["name="], save_artifact, name, WRITES[kind], recipe="by hand", seed=0)
        assert (made is not None) == right
        assert artifact("kept.txt").read_text() == "kept" and sorted(p.name for p in home.iterdir()) == ["artifacts"]
        if made is not None:
            assert artifact(name) == made == home / "artifacts" / name
            whole = manifest(home / "artifacts" / "reduced") if name.startswith("reduced/") else manifest()
            files = sorted(p for p in made.rglob("*")) if made.is_dir() else [made]
            assert whole[name]["bytes"] == sum(p.stat().st_size for p in files)
            assert list(whole[name]["sha256"].values()) == [hashlib.sha256(p.read_bytes()).hexdigest() for p in files]


@pytest.mark.parametrize("made", [np.int64(3), torch.tensor(1), {1}, Path("a"), b"a"], ids=repr)
def test_what_cannot_be_recorded_is_named_before_the_file_is_touched(tmp_path, monkeypatch, made):
    monkeypatch.setenv("OPEN_THREADS_ARTIFACTS", str(tmp_path))
    save_artifact("a", lambda path: path.write_text("old"), recipe="by hand")
    with pytest.raises(ValueError, match=r"made=\{'recipe': 'by hand', 'seed': .*expected JSON values"):
        save_artifact("a", lambda path: path.write_text("new"), recipe="by hand", seed=made)
    assert artifact("a").read_text() == "old"


@pytest.mark.parametrize("write", [None, "text", b"bytes", 3])
def test_what_cannot_write_is_named(tmp_path, monkeypatch, write):
    monkeypatch.setenv("OPEN_THREADS_ARTIFACTS", str(tmp_path / "artifacts"))
    with pytest.raises(ValueError, match="write=.*expected a function"):
        save_artifact("a", write)
    assert not (tmp_path / "artifacts").exists()


@pytest.mark.parametrize("name", [None, 1, b"a", Path("a"), float("nan")])
def test_a_name_that_is_no_text_is_named(name):
    for function in (artifact, lambda name: save_artifact(name, Path.touch)):
        with pytest.raises(ValueError, match="name="):
            function(name)


@few
@given(content=st.binary(max_size=300))
def test_a_hash_is_that_of_the_bytes(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("hash") / "file"
    path.write_bytes(content)
    assert sha256(path) == sha256(str(path)) == hashlib.sha256(content).hexdigest()
    for missing in (path.with_name("none"), path.parent):
        with pytest.raises(OSError, match=str(missing)):
            sha256(missing)


def test_one_at_a_time_holds_the_lock_and_a_failure_lets_it_go(tmp_path):
    lock, count = tmp_path / "a.lock", tmp_path / "count"
    count.write_text("0")

    def add():
        for _ in range(20):
            with locked(lock):
                seen = int(count.read_text())
                count.write_text(f"{seen + 1}")

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count.read_text() == "80"
    with pytest.raises(KeyError), locked(str(lock)):
        raise KeyError
    with locked(lock):
        assert lock.exists()


def test_a_lock_in_a_folder_that_is_none_is_an_error_with_its_name(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "a.lock", tmp_path):
        with pytest.raises(OSError, match=str(path.name)), locked(path):
            pass


def test_where_nothing_can_be_written_no_lock_is_needed(tmp_path, monkeypatch):
    def refuse(self):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(store.FileLock, "acquire", refuse)
    with locked(tmp_path / "a.lock"):
        reached = True
    assert reached and not (tmp_path / "a.lock").exists()


def test_points_are_named_by_what_they_hold():
    assert key_of(echo, {"a": math.nan}) == key_of(echo, {"a": math.nan}) != key_of(echo, {"a": None})
    assert key_of(echo, {"a": 1}) != key_of(echo, {"a": 1.0}) != key_of(echo, {"a": "1.0"})
    for point in ({1: 2}, {"a": {1}}, {"a": np.int64(1)}, {"a": torch.ones(2)}, None, [("a", 1)]):
        with pytest.raises(ValueError, match="point="):
            key_of(echo, point)
