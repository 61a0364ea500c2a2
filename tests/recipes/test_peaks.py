"""Chapter 7's recipe: what it runs, and that a table can be gone on from on another machine."""

import json

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from helpers.geometry import FollowedNeighbours
from helpers.runs import artifact, key_of, manifest
from recipes import peaks

TOY = {"structure": "hierarchical", "absolute": False, "seed": 0, "steps": 30}
GRIDS = {
    "toy_grid": [TOY | {"arm": "all", "strength": 0.03}, TOY | {"arm": "none", "strength": 0.0}],
    "weights_grid": [{"mean_max": 3.0, "max_max": 0.1, "sparsity": 0.4, "seed": 0, "steps": 30}],
    "alone_grid": [
        {"n": 96, "d": 8, "arm": "no max max", "absolute": False, "seed": 0, "steps": 40},
        {"n": 96, "d": 8, "arm": "no max max", "absolute": False, "seed": 0, "steps": 40, "every": 4},
    ],
    "model_grid": [{"ratio": 4, "arm": "all", "absolute": False, "strength": 0.1, "seed": 0, "steps": 1}],
}


def here(fn, grid, *, folder, deadline=None, **_):
    """A sweep in this process."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for point in grid:
        file = folder / f"{key_of(fn, point)}.json"
        if not file.exists() and deadline is None:
            file.write_text(json.dumps(fn(**point)))
        if file.exists():
            rows.append({**point, **json.loads(file.read_text())})
    return pd.DataFrame(rows)


@pytest.fixture
def small(monkeypatch, tmp_path):
    monkeypatch.setenv("OPEN_THREADS_ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.setenv("OPEN_THREADS_CACHE", str(tmp_path / "cache"))
    for name, grid in GRIDS.items():
        monkeypatch.setattr(peaks, name, lambda *_, grid=grid: grid)
    monkeypatch.setattr(peaks, "sweep", here)
    monkeypatch.setattr(peaks, "data", lambda *_: None)
    monkeypatch.setattr(peaks, "LATENTS", 96)
    peaks.main(["--studies", "toy", "weights", "alone"])
    return tmp_path


def shipped():
    return pd.read_csv(artifact("peaks.csv"), dtype={"run": str}), load_file(artifact("peaks.safetensors"))


def test_a_table_that_is_cut_short_is_a_table(small):
    table, stored = shipped()
    assert table.study.tolist() == ["toy", "toy", "alone", "alone", "weights"]
    made = manifest()["peaks.csv"]["made"]
    assert made["planned_runs"] == 6 and made["finished_runs"] == 5 and "earlier" not in made
    assert all(len(stored[f"{run}/index"]) == 96 for run in table.run)
    assert table.every.dropna().tolist() == [4] and table.mean_max.dropna().tolist() == [3.0]


def test_another_machine_goes_on_from_the_shipped_table(small, monkeypatch):
    (table, stored), made = shipped(), manifest()["peaks.csv"]["made"]
    monkeypatch.setenv("OPEN_THREADS_CACHE", str(small / "another"))
    for name, grid in GRIDS.items():  # a run more, before those that are there
        more = [grid[0] | {"steps": 20}] if name == "weights_grid" else []
        monkeypatch.setattr(peaks, name, lambda *_, grid=more + grid: grid)
    monkeypatch.setattr(peaks, "run_toy", lambda **_: pytest.fail("made again"))
    monkeypatch.setattr(peaks, "run_alone", lambda **_: pytest.fail("made again"))
    peaks.main(["--extend", "--studies", "toy", "weights", "alone"])
    again, held = shipped()
    pd.testing.assert_frame_equal(again[again.steps != 20].drop(columns="run").reset_index(drop=True),
                                  table.drop(columns="run"))  # fmt: skip
    for was, now in zip(table.run, again.run[again.steps != 20], strict=True):
        for part in ("index", "cosine", "fired"):
            assert (f"{was}/{part}" in stored) == (f"{now}/{part}" in held)
            if f"{was}/{part}" in stored:
                assert np.array_equal(stored[f"{was}/{part}"], held[f"{now}/{part}"])
    earlier = manifest()["peaks.csv"]["made"]["earlier"]
    kept = {key: made[key] for key in ("on", "at", "seconds", "bfloat16_in_hardware")}
    assert earlier == {"runs": 5, **kept}


def test_weights_are_those_of_the_terms():
    ends = [
        np.sort(peaks.run_weights(a, b, 0.4, 0, 60)["cosine"]) for a, b in ((0.001, 0.0), (30.0, 0.0), (0.001, 3.0))
    ]
    free, packed, cut = ends
    assert np.median(packed) < 0.8 * np.median(free) and np.median(cut) > 0.8 * np.median(free)
    assert cut[-1] < free[-1] - 0.1


def test_followed_and_exact_end_alike(monkeypatch):
    seen = []
    search = FollowedNeighbours._search
    monkeypatch.setattr(FollowedNeighbours, "_search", lambda *of: seen.append(1) or search(*of))
    ends = [np.median(peaks.run_alone(256, 16, "no max max", False, 0, 200, every)["cosine"]) for every in (1, 20)]
    assert abs(ends[0] - ends[1]) < 0.02 and len(seen) == 200 + 10


def test_the_full_plan_has_the_comments_size_and_an_epoch_at_sixteen_times():
    alone, model = pd.DataFrame(peaks.alone_grid(False)), pd.DataFrame(peaks.model_grid())
    assert alone[alone.n == 8192].absolute.tolist() == [False, True, False]
    wide = model[(model.ratio == 16) & (model.steps == 4000)]
    assert wide.groupby(["arm", "strength"]).seed.nunique().tolist() == [3, 3, 3, 3]
