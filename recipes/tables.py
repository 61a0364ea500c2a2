"""Sweeps of which every point is many runs: their rows as one table, and the table as an artifact."""

from __future__ import annotations

import pandas as pd

from helpers.runs import save_artifact


def unpacked(done: pd.DataFrame, *keys: str) -> pd.DataFrame:
    """One row a run: the ``rows`` of every point of a sweep, with the point's own fields named in ``keys``.

    Columns in ``keys`` come first, in that order; those that neither a point nor its rows have are left out.
    """
    own = [key for key in keys if key in done]
    parts = [
        pd.DataFrame(point["rows"]).assign(**{key: point[key] for key in own}) for point in done.to_dict("records")
    ]
    table = pd.concat(parts, ignore_index=True)
    first = [key for key in keys if key in table]
    return table[first + [column for column in table if column not in first]]


def ship(name: str, table: pd.DataFrame, *, seeds: int, seconds: float, reduced: bool, digits: int = 4) -> dict:
    """Save ``table`` as the artifact of the recipe ``name``; returns what the manifest says of how it was made."""
    made = {
        "recipe": f"python -m recipes.{name}" + " --reduced" * reduced,
        "seed": list(range(seeds)),
        "seconds": round(seconds),
    }
    path = "reduced/" * reduced + f"{name}.csv"
    save_artifact(path, lambda scratch: table.round(digits).to_csv(scratch, index=False), **made)
    return made
