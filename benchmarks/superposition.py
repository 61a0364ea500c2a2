"""Streaming Monte Carlo of threshold readout: speed against plain numpy, peak memory, two processes against one.

    python -m benchmarks.superposition [--rounds N]

Prints one table and writes ``superposition.json`` and ``superposition.md`` beside this file. The two contenders step in
turns on the same sizes, so that a slow minute of the machine is everybody's; the unit is directions × trials per
second, median over rounds. Memory is that of a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks import report
from benchmarks.peak import peak
from helpers.runs import atomic, hardware

N, M, L, TRIALS = 768, 24576, 9, 256
LARGE = {"n": 1024, "m": 10**6, "l": [12], "trials": 32, "seed": 0}


def plain(n: int, m: int, l: int, trials: int, seed: int) -> tuple[int, int]:
    """What one writes first: keep all directions, read one trial after the other. Trials with an error, errors."""
    rng = np.random.default_rng(seed)
    D = rng.standard_normal((m, n))
    D /= np.linalg.norm(D, axis=1, keepdims=True)
    some = errors = 0
    for _ in range(trials):
        active = rng.choice(m, l, replace=False)
        truth = np.zeros(m, dtype=bool)
        truth[active] = True
        wrong = ((D @ D[active].sum(0) > 0.5) != truth).sum()
        some, errors = some + (wrong > 0), errors + wrong
    return int(some), int(errors)


def here(n: int, m: int, l: int, trials: int, seed: int) -> tuple[int, int]:
    from helpers.superposition import tally

    counts = tally(n, m, [l], trials, seed)
    wrong = np.array(counts["false_alarms"]) + np.array(counts["misses"])
    return int((wrong > 0).sum()), int(wrong.sum())


def race(rounds: int, trials: int) -> tuple[dict[str, float], dict[str, float]]:
    """Directions × trials per second of both, and the share of trials with an error, in alternating turns."""
    seconds, found = {plain: [], here: []}, {plain: 0, here: 0}
    for f in seconds:
        f(N, 1024, L, 8, 0)
    for turn in range(rounds):
        for f in (plain, here) if turn % 2 else (here, plain):
            begun = time.perf_counter()
            found[f] += f(N, M, L, trials, turn)[0]
            seconds[f].append(time.perf_counter() - begun)
    rate = {f.__name__: M * trials / median(s) for f, s in seconds.items()}
    return rate, {f.__name__: found[f] / (trials * rounds) for f in found}


def alone(code: str) -> dict:
    """Run ``code`` in a fresh process; it prints one JSON object."""
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=os.environ)
    return json.loads(out.stdout)


def memory() -> float:
    """Peak resident memory (MB) of a process that tallies a million directions."""
    code = f"import benchmarks.superposition as b; b.tallied({LARGE!r})"
    return alone(code)["mb"]


def tallied(point: dict) -> None:
    from helpers.superposition import tally

    tally(**point)
    print(json.dumps({"mb": peak()}))


def parallel(processes: int) -> float:
    """Seconds for sixteen dictionaries, cold cache, with so many processes (their start included)."""
    from helpers.superposition import monte_carlo

    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        monte_carlo(N, M, [L], trials=TRIALS, seeds=range(16), folder=folder, processes=processes)
        return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder for the results")
    options = parser.parse_args()
    os.environ["OPEN_THREADS_BARS"] = "0"
    results = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": hardware(),
        "load_at_start": round(os.getloadavg()[0], 2),
        "sizes": {"n": N, "m": M, "l": L, "large": LARGE},
    }
    results["speed"] = {}
    for trials in (32, TRIALS):
        rate, share = race(options.rounds, trials)
        results["speed"][str(trials)] = {"rate": rate, "share_with_an_error": share}
    results["memory"] = {"peak": memory(), "stored": LARGE["n"] * LARGE["m"] * 4 / 2**20}
    results["seconds"] = {"1": parallel(1), "2": parallel(2)}
    with atomic(options.out / "superposition.json") as path:
        path.write_text(json.dumps(results, indent=1) + "\n")
    with atomic(options.out / "superposition.md") as path:
        path.write_text(report.superposition(results))
    print(report.superposition(results))


if __name__ == "__main__":
    from benchmarks import superposition

    superposition.main()
