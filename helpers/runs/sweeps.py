"""Many runs at once: the same call on this machine's processes, or on a Dask cluster by address.

    table = sweep(run, grid)
    table = sweep(run, grid, scheduler="tcp://host:8786")

``run(**point)`` returns a dict of measures. Each finished point is one JSON file named by a hash of the point, written
atomically, so a sweep that was killed goes on where it stopped, and a lost worker costs its own task only. Results come
back to the caller, who writes the files: workers need no common disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context, parent_process
from pathlib import Path

import pandas as pd

from ..checks import finite, whole
from .bars import progress
from .store import atomic, cache_dir


def sweep(
    fn: Callable[..., dict],
    grid: Iterable[dict],
    *,
    scheduler: str | None = None,
    folder: str | Path | None = None,
    processes: int | None = None,
    deadline: float | None = None,
) -> pd.DataFrame:
    """Run ``fn(**point)`` for every point of ``grid`` not yet done; a row a point (its fields, then its measures).

    Parameters
    ----------
    fn
        A module-level function; its result must be JSON.
    grid
        Dicts of JSON values, all different.
    scheduler
        Address of a Dask scheduler (``"tcp://…"``); without one, ``processes`` local processes of one thread each
        (by default as many as cores).
    folder
        Where finished points are kept; by default :func:`default_folder`, in the cache.
    deadline
        A ``time.time()`` after which no new point is begun; the table then holds the finished ones only.

    >>> import tempfile
    >>> from helpers.runs import sweep
    >>> from helpers.superposition import tally
    >>> grid = [{"n": 64, "m": 256, "l": [4], "trials": 8, "seed": seed} for seed in range(2)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table = sweep(tally, grid, folder=folder, processes=1)
    >>> len(table), table.seed.tolist()
    (2, [0, 1])
    """
    if isinstance(grid, str | dict) or not isinstance(grid, Iterable):
        raise ValueError(f"grid={grid!r}; expected several points, each a dict")
    grid = list(grid)
    processes = os.cpu_count() if processes is None else whole("processes", processes, 1)
    deadline = None if deadline is None else finite("deadline", deadline)
    keys = [key_of(fn, point) for point in grid]
    if not grid:
        raise ValueError("grid is empty; expected at least one point")
    if len(set(keys)) < len(keys):
        raise ValueError("grid holds the same point twice; expected all different")
    folder = default_folder(fn) if folder is None else Path(folder)
    left = [(point, folder / f"{key}.json") for point, key in zip(grid, keys, strict=True)]
    left = [(point, path) for point, path in left if not path.exists()]
    jobs = [(fn, point, path, deadline) for point, path in left]
    run = spread(_task, jobs, scheduler) if scheduler else _locally(jobs, processes)
    for path, results in progress(run, total=len(left), desc=fn.__name__):
        for text in [_measures(fn, result) for result in results]:
            with atomic(path) as scratch:
                scratch.write_text(text)
    files = [(point, folder / f"{key}.json") for point, key in zip(grid, keys, strict=True)]
    return pd.DataFrame([{**point, **json.loads(file.read_text())} for point, file in files if file.exists()])


def _measures(fn: Callable, result) -> str:
    """What is kept of a finished point."""
    if not isinstance(result, dict):
        raise ValueError(f"fn={fn.__qualname__} returned {result!r}; expected a dict of measures")
    try:
        return json.dumps(result)
    except (TypeError, ValueError) as error:
        raise ValueError(f"fn={fn.__qualname__} returned {result!r}: {error}; expected JSON values") from error


def key_of(fn: Callable, point: dict) -> str:
    """Name of a point's file: a hash of the function's name and the point.

    >>> from helpers.runs import key_of, sweep
    >>> key_of(sweep, {"seed": 0}) == key_of(sweep, {"seed": 1})
    False
    """
    if not callable(fn) or not isinstance(point, dict) or not all(isinstance(name, str) for name in point):
        raise ValueError(f"fn={fn!r}, point={point!r}; expected a function, and a dict of its arguments")
    try:
        text = json.dumps([fn.__module__, fn.__qualname__, point], sort_keys=True)
    except (TypeError, ValueError) as error:
        raise ValueError(f"point={point!r}: {error}; expected JSON values, by names") from error
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def default_folder(fn: Callable) -> Path:
    """A folder in the cache for one function as it is written now, so that an edited one begins anew.

    What it calls is not looked at: where that matters, pass a folder whose name says the version.
    """
    text = f"{fn.__module__}.{fn.__qualname__}"
    with contextlib.suppress(OSError):  # no source, as for what is typed at a prompt
        text += inspect.getsource(fn)
    return cache_dir() / "sweeps" / f"{fn.__name__}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _locally(jobs, processes):
    with ProcessPoolExecutor(processes, get_context("spawn"), _end_with_parent) as pool:
        futures = [pool.submit(_alone, _task, *job) for job in jobs]
        try:
            yield from (future.result() for future in as_completed(futures))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _end_with_parent() -> None:
    """In a worker: end when the sweep is gone, even if it was killed, so that none computes for nobody."""

    def watch():
        parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def spread(fn: Callable, jobs: Iterable[tuple], scheduler: str, shared: tuple = ()) -> Iterator:
    """``fn(*shared, *job)`` of every job, as the workers of a Dask cluster get done; a lost worker costs its job only.

    What is ``shared`` goes to each worker once, again if it was lost. Jobs and results are pickled.
    """
    if not callable(fn) or not isinstance(scheduler, str) or not scheduler:
        raise ValueError(f"fn={fn!r}, scheduler={scheduler!r}; expected a function, and an address such as tcp://…")
    if not isinstance(jobs, Iterable) or not isinstance(shared, tuple):
        raise ValueError(f"jobs={jobs!r}, shared={shared!r}; expected several tuples of arguments, and one")
    return _spread(fn, jobs, scheduler, shared)


def _spread(fn, jobs, scheduler, shared):
    from distributed import Client
    from distributed import as_completed as completed

    with Client(scheduler) as client:
        there = [client.submit(_same, value, pure=False, retries=3) for value in shared]
        futures = [client.submit(_alone, fn, *there, *_job(job), pure=False, retries=3) for job in jobs]
        left = completed(futures, with_results=True)
        del futures  # a result that was given away can go
        for _, result in left:
            yield result


def _job(job) -> tuple:
    if not isinstance(job, tuple):
        raise ValueError(f"jobs hold {job!r}; expected tuples of arguments")
    return job


def _same(value):
    return value


def _alone(fn, *arguments):
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    with threadpool_limits(1):  # numpy's
        return fn(*arguments)


def _task(fn, point, path, deadline):
    """A point's file and its one result, or none after the deadline."""
    if deadline is not None and time.time() > deadline:
        return path, []
    return path, [fn(**point)]
