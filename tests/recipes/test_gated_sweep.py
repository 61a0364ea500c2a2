"""A sweep can be continued from the table that is shipped: every row is a finished run of today's grid."""

import json

import pandas as pd
import pytest
from safetensors.numpy import load_file

from helpers.lm import load_tokens
from helpers.runs import artifact, key_of
from recipes import gated_sweep


@pytest.fixture
def points(tmp_path, monkeypatch):
    monkeypatch.setenv("OPEN_THREADS_CACHE", str(tmp_path))
    points = list(gated_sweep.grid(len(load_tokens("train"))))
    gated_sweep.take_over(points)
    return points


def finished(point):
    path = gated_sweep.folder("runs") / f"{key_of(gated_sweep.run, point)}.json"
    return json.loads(path.read_text()) if path.exists() else None


def test_every_shipped_row_is_taken_over(points):
    table = pd.read_csv(artifact("gated_sweep.csv"))
    assert sum(finished(point) is not None for point in points) == len(table)


def test_what_is_taken_over_is_what_was_measured(points):
    table = pd.read_csv(artifact("gated_sweep.csv"))
    losses = load_file(artifact("gated_sweep_losses.safetensors"))
    names = ["architecture", "site", "seed", "level"]
    for _, row in table.iterrows():
        point = next(p for p in points if all(p[name] == row[name] for name in names))
        result = finished(point)
        assert {k: v for k, v in result.items() if k != "by_sequence"} == {
            k: v for k, v in row.dropna().items() if k not in point
        }
        whole = losses["/".join(str(row[name]) for name in names)]
        assert result["by_sequence"] == {"eval": whole[0].tolist(), "human": whole[1].tolist()}


def test_the_grid_holds_what_the_chapter_needs(points):
    grid = pd.DataFrame(points)
    runs = grid.groupby(["site", "architecture"]).agg(seeds=("seed", "nunique"), levels=("level", "nunique"))
    assert (runs.levels >= 5).all() and len(runs.index.unique("site")) >= 2
    assert (runs.loc[[(s, a) for s in gated_sweep.SITES for a in gated_sweep.CENTRAL]].seeds >= 3).all()
    assert (
        grid[grid.seed == 0].groupby(["site", "level"]).architecture.nunique() == len(runs.index.unique("architecture"))
    ).all()
