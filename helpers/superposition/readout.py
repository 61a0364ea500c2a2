"""Streaming Monte Carlo of the threshold readout: any number of random directions in bounded memory.

Directions are never stored. Row ``i`` of the dictionary with a given seed belongs to block ``i // BLOCK``, and a block
is drawn by Philox with key ``(seed, n)`` and counter ``(0, 0, block, 0)``: any block can be made again at any time, in
any order, on any machine, and is the same. One pass over the blocks serves all trials and all ``l`` at once:

    X (n, trials) = sums of active directions       Y = D_block @ X        count Y > θ, correct for the active ones

:mod:`helpers.superposition.interference` says what to expect. This module uses none of it, so that the two can be
compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..checks import one_of, share, whole
from ..runs import sweep

BLOCK = 256
CHUNK_BYTES = 64 * 2**20
AMPLITUDES = ("unit", "uniform", "exponential")


def directions(n: int, start: int, stop: int, seed: int) -> np.ndarray:
    """Rows ``start … stop-1`` of the endless list of random unit directions: ``(stop - start, n)`` float32.

    >>> from helpers.superposition import directions
    >>> all_rows, some = directions(8, 0, 1000, seed=0), directions(8, 300, 310, seed=0)
    >>> some.shape, bool((all_rows[300:310] == some).all())
    ((10, 8), True)
    """
    whole("n", n, 2), whole("start", start, 0), whole("stop", stop, start), whole("seed", seed, 0, 2**63 - 1)
    first, last = start // BLOCK, -(-stop // BLOCK)
    rows = np.empty(((last - first) * BLOCK, n), dtype=np.float32)
    for block in range(first, last):
        bits = np.random.Philox(key=np.array([seed, n], np.uint64), counter=np.array([0, 0, block, 0], np.uint64))
        part = rows[(block - first) * BLOCK : (block - first + 1) * BLOCK]
        np.random.Generator(bits).standard_normal(out=part, dtype=np.float32)
    rows = rows[start - first * BLOCK : stop - first * BLOCK]
    rows /= np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    return rows


def active_sets(m: int, l: int, trials: int, seed: int, amplitude: str = "unit") -> tuple[np.ndarray, np.ndarray]:
    """Which features are active, ``(trials, l)`` indices without repetition, and their amplitudes, same shape.

    They are drawn among the first ``min(m, max(4096, 4 l))`` features only. Random directions are exchangeable, so this
    loses nothing and spares a pass over the rest.

    >>> from helpers.superposition import active_sets
    >>> sets, amplitudes = active_sets(m=100, l=3, trials=5, seed=0)
    >>> sets.shape, amplitudes[0].tolist()
    ((5, 3), [1.0, 1.0, 1.0])
    """
    whole("m", m, 1), whole("l", l, 0, m), whole("trials", trials, 1), whole("seed", seed, 0, 2**63 - 1)
    one_of("amplitude", amplitude, AMPLITUDES)
    rng = np.random.Generator(np.random.Philox(key=[seed, l], counter=[0, 0, 0, 1]))
    pool = min(m, max(4096, 4 * l))
    sets = np.stack([rng.choice(pool, l, replace=False) for _ in range(trials)])
    if amplitude == "uniform":
        return sets, rng.uniform(0.5, 1.5, sets.shape)
    return sets, rng.exponential(1.0, sets.shape) if amplitude == "exponential" else np.ones(sets.shape)


def tally(
    n: int, m: int, l: Sequence[int], trials: int, seed: int, threshold: float = 0.5, amplitude: str = "unit",
    start: int = 0, stop: int | None = None,
) -> dict:  # fmt: skip
    """Count errors among features ``start … stop-1`` of one dictionary, for every ``l`` and trial.

    Returns ``{"false_alarms": …, "misses": …}``, each ``(len(l), trials)`` nested lists of counts. Counts over disjoint
    ranges add up to those of the whole. Memory: ``n · len(l) · trials`` floats and about ``2 · CHUNK_BYTES``.
    """
    _check(n, m, l, trials, threshold, amplitude)
    l = [int(k) for k in l]
    start, stop = whole("start", start), m if stop is None else whole("stop", stop)
    if not 0 <= start < stop <= m:
        raise ValueError(f"start={start!r}, stop={stop!r}; expected 0 ≤ start < stop ≤ m={m}")
    drawn = [active_sets(m, k, trials, seed, amplitude) for k in l]
    columns = np.concatenate([(i * trials + np.arange(trials))[:, None].repeat(k, 1).ravel() for i, k in enumerate(l)])
    rows = np.concatenate([sets.ravel() for sets, _ in drawn])
    sizes = np.concatenate([a.ravel() for _, a in drawn]).astype(np.float32)
    order = np.argsort(rows, kind="stable")
    rows, columns, sizes = rows[order], columns[order], sizes[order]
    width = len(l) * trials
    step = max(1, CHUNK_BYTES // (4 * BLOCK * (n + width))) * BLOCK

    x = np.zeros((width, n), dtype=np.float32)
    used = int(rows[-1]) + 1
    for low in range(0, used, step):
        a, b = np.searchsorted(rows, (low, low + step))
        part = directions(n, low, min(low + step, used), seed)
        mix = np.zeros((width, len(part)), dtype=np.float32)
        mix[columns[a:b], rows[a:b] - low] = sizes[a:b]
        x += mix @ part

    above, hits, misses = np.zeros((3, width), dtype=np.int64)
    for low in range(start - start % BLOCK, stop, step):
        begin, end = max(low, start), min(low + step, stop)
        y = directions(n, begin, end, seed) @ x.T > threshold
        above += y.sum(0)
        a, b = np.searchsorted(rows, (begin, end))
        read = y[rows[a:b] - begin, columns[a:b]]
        hits += np.bincount(columns[a:b], read, width).astype(np.int64)
        misses += np.bincount(columns[a:b], ~read, width).astype(np.int64)
    shape = (len(l), trials)
    return {"false_alarms": (above - hits).reshape(shape).tolist(), "misses": misses.reshape(shape).tolist()}


def pieces(
    n: int, m: int, l: Sequence[int], *, trials: int, seeds: Sequence[int], threshold: float = 0.5,
    amplitude: str = "unit", parts: int = 1,
) -> list[dict]:  # fmt: skip
    """The calls of :func:`tally` that one :func:`monte_carlo` is made of: one per seed and range of rows.

    For many simulations at once, sweep the pieces of all of them, then let :func:`monte_carlo` find them done.

    >>> from helpers.superposition import pieces
    >>> len(pieces(64, 4096, [2, 4], trials=8, seeds=range(3), parts=2))
    6
    """
    _check(n, m, l, trials, threshold, amplitude)
    l, seeds, parts = [int(k) for k in l], _seeds(seeds), whole("parts", parts, 1)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds={seeds!r}; expected at least one, all different")
    edges = np.linspace(0, m, parts + 1).astype(int).tolist()
    settings = {"n": n, "m": m, "l": l, "trials": trials, "threshold": threshold, "amplitude": amplitude}
    return [
        {**settings, "seed": seed, "start": a, "stop": b}
        for seed in seeds
        for a, b in zip(edges, edges[1:], strict=False)
        if a < b
    ]


def monte_carlo(
    n: int, m: int, l: Sequence[int], *, trials: int, seeds: Sequence[int], threshold: float = 0.5,
    amplitude: str = "unit", parts: int = 1, folder: str | Path | None = None, scheduler: str | None = None,
    processes: int | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Error rates of threshold readout, one row per ``l``, over ``len(seeds)`` dictionaries of ``trials`` trials each.

    Columns: ``n, m, l, trials`` (in all), ``per_feature`` (expected fraction of wrong readouts), ``any`` (fraction of
    trials with an error), ``any_alarm`` (with a false alarm), and their standard errors ``…_se`` with dictionaries as
    the independent units (0 if there is one dictionary only: its trials share directions).

    With a ``folder``, the :func:`pieces` go through :func:`helpers.runs.sweep`: in parallel, kept as they finish, and
    not done again when the call is repeated after a stop.
    """
    grid = pieces(n, m, l, trials=trials, seeds=seeds, threshold=threshold, amplitude=amplitude, parts=parts)
    if folder is None:
        counted = pd.DataFrame([{**point, **tally(**point)} for point in grid])
    else:
        counted = sweep(tally, grid, folder=folder, scheduler=scheduler, processes=processes)
    l, seeds = grid[0]["l"], counted["seed"].unique()
    alarms, misses = (
        np.stack([np.sum(part[name].tolist(), axis=0) for _, part in counted.groupby("seed")])
        for name in ("false_alarms", "misses")
    )  # (seeds, len(l), trials)
    figures = {
        "per_feature": ((alarms + misses) / m).mean(2),
        "any": (alarms + misses > 0).mean(2),
        "any_alarm": (alarms > 0).mean(2),
    }
    table = pd.DataFrame({"n": n, "m": m, "l": l, "trials": trials * len(seeds)})
    for name, values in figures.items():  # (seeds, len(l))
        table[name] = values.mean(0)
        table[f"{name}_se"] = values.std(0, ddof=1) / np.sqrt(len(seeds)) if len(seeds) > 1 else 0.0
    return table


def _item(value):
    """A number as Python has it, also out of an array or a tensor."""
    return value.item() if getattr(value, "shape", None) == () else value


def _seeds(seeds) -> list[int]:
    if isinstance(seeds, str) or np.ndim(seeds := list(seeds) if isinstance(seeds, Iterable) else seeds) != 1:
        raise ValueError(f"seeds={seeds!r}; expected a list of different whole numbers")
    return [whole("seeds", _item(seed)) for seed in seeds]


def _check(n, m, l, trials, threshold, amplitude) -> None:
    whole("n", n, 2), whole("m", m, 1), whole("trials", trials, 1)
    if np.ndim(l) != 1:
        raise ValueError(f"l={l!r}; expected a list of numbers of active features")
    if not len(l):
        raise ValueError("l is empty; expected at least one number of active features")
    for k in l:
        whole("l", _item(k), 1)
        if k > m:
            raise ValueError(f"l={k!r} is above m={m!r}; expected at most as many active features as features")
    share("threshold", threshold, strictly=True), one_of("amplitude", amplitude, AMPLITUDES)
