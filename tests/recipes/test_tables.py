"""A sweep of points that are many runs each becomes one table, a row a run."""

import pandas as pd

from helpers.runs import artifact, manifest
from recipes.tables import ship, unpacked

DONE = pd.DataFrame(
    [
        {"study": "a", "seeds": 2, "rows": [{"seed": 0, "l0": 1.0}, {"seed": 1, "l0": 2.0}], "seconds": 1.0},
        {"study": "b", "seeds": 2, "rows": [{"seed": 0, "l0": 3.0, "k": 5}], "seconds": 2.0},
    ]
)


def test_every_row_carries_its_points_fields_and_keys_come_first():
    table = unpacked(DONE, "study", "k", "seed", "ratio")
    assert list(table) == ["study", "k", "seed", "l0"]
    assert table.study.tolist() == ["a", "a", "b"] and table.l0.tolist() == [1.0, 2.0, 3.0]
    assert table.k.isna().tolist() == [True, True, False] and table.index.tolist() == [0, 1, 2]


def test_a_shipped_table_is_rounded_and_says_how_it_was_made(monkeypatch, tmp_path):
    monkeypatch.setenv("OPEN_THREADS_ARTIFACTS", str(tmp_path))
    table = unpacked(DONE, "study").assign(l0=lambda t: t.l0 + 1 / 3)
    made = ship("toys", table, seeds=2, seconds=2.6, reduced=False, digits=2)
    assert made == {"recipe": "python -m recipes.toys", "seed": [0, 1], "seconds": 3}
    assert pd.read_csv(artifact("toys.csv")).l0.tolist() == [1.33, 2.33, 3.33]
    assert manifest()["toys.csv"]["made"]["seconds"] == 3
