"""Chapter 3's Monte Carlo: random directions of every size, other readouts, and patterns that are not independent.

    python -m recipes superposition [--reduced] [--tables noise …] [--processes N] [--scheduler tcp://…]

Writes four small tables, `artifacts/superposition_{noise,readouts,pursuit,patterns}.csv`. Nothing is drawn without a
seed, and pieces are kept in the cache as they finish.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from functools import cache

import numpy as np
import pandas as pd
import torch

from helpers.runs import cache_dir, key_of, save_artifact, sweep
from helpers.superposition import directions, monte_carlo, pieces, tally

from .command import options

MILLION = 10**6
N, M = 128, 1024  # sizes of the comparison of readouts
FEW = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16)
READOUTS = {  # and where each is tried
    "linear": FEW, "threshold": FEW, "optimised": FEW, "autoencoder": FEW, "omp": (4, 6, 8, 12, 14, 16, 18, 20, 24),
}  # fmt: skip
PURSUITS = [  # n, m, signed, noise, trials a dictionary, and which l
    *((64, 512, signed, 0.0, 25, (8, 10, 12, 13, 14, 16, 18, 20)) for signed in (False, True)),
    *((64, 256, signed, 0.0, 25, (14, 16, 18, 20, 22, 24, 26, 28)) for signed in (False, True)),
    (128, 1024, False, 0.0, 12, (24, 28, 30, 32, 34, 36, 38, 40, 48)),
    (128, 1024, True, 0.0, 12, (16, 20, 22, 24, 26, 28, 30, 36)),
    (128, 1024, False, 0.1, 12, (12, 16, 18, 20, 22, 24)),
    (128, 1024, True, 0.1, 12, (8, 12, 14, 16, 18, 20)),
    (256, 2048, False, 0.0, 4, (60, 67, 74)),
    (256, 2048, True, 0.0, 4, (46, 52, 58)),
]
PATTERNS = ("uniform", "coin", "groups", "bursts")
TABLES = ("patterns", "pursuit", "readouts", "noise")


def studies(reduced: bool) -> list[dict]:
    """Points of the noise table: what is drawn, and how often. The seeds are 0, 1, 2, …"""
    less = 8 if reduced else 1
    rows = [  # the figures quoted when the dispute was set out, then five points of our own
        {"study": "quoted", "n": 512, "m": 8192, "l": [7, 14, 64, 512], "trials": 64, "seeds": 256},
        {"study": "quoted", "n": 768, "m": 24576, "l": [9, 14], "trials": 64, "seeds": 96},
    ]
    for n, m, l, seeds in ((64, 4096, 1, 256), (128, 512, 4, 256), (384, 6144, 6, 128), (1024, 2000, 300, 48)):
        rows.append({"study": "further", "n": n, "m": m, "l": [l], "trials": 64, "seeds": seeds})
    rows.append({"study": "further", "n": 2048, "m": 32768, "l": [28], "trials": 64, "seeds": 24})
    for n, seeds in ((16, 256), (64, 256), (256, 128), (1024, 48), (4096, 8), (16384, 2)):
        m = min(16 * n, 65536)
        l = around(n, m, (0.5, 0.75, 1, 1.25, 1.5, 2)) + [n // 4]
        rows.append({"study": "sizes", "n": n, "m": m, "l": sorted({*l}), "trials": 32, "seeds": seeds})
    for n, seeds, trials in ((16, 16, 32), (256, 8, 32), (1024, 2, 48), (16384, 1, 16)):
        l = around(n, MILLION, (0.75, 1, 1.25))
        if not reduced or n < 1024:
            rows.append({"study": "million", "n": n, "m": MILLION, "l": l, "trials": trials, "seeds": seeds})
    for m in (1024, 4096, 16384, 65536):
        l = [2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20, 32, 64]
        rows.append({"study": "phase", "n": 512, "m": m, "l": l, "trials": 32, "seeds": 24})
    for n in (4, 8, 16, 32, 64, 128, 256):
        rows.append({"study": "small", "n": n, "m": 256, "l": [max(1, n // 8)], "trials": 512, "seeds": 64})
    for amplitude in ("unit", "uniform", "exponential"):
        l = [2, 3, 4, 5, 7, 10, 14, 20, 28, 40, 64]
        row = {"study": "amplitudes", "n": 512, "m": 8192, "l": l, "trials": 32, "seeds": 16}
        rows.append(row | {"amplitude": amplitude})
    return [row | {"seeds": max(min(2, row["seeds"]), row["seeds"] // less)} for row in rows]


def around(n: int, m: int, shares: tuple[float, ...]) -> list[int]:
    """Numbers of active features at these multiples of the post's bound."""
    return sorted({max(1, round(k * n / (8 * np.log(m)))) for k in shares})


def noise(reduced: bool, **many) -> pd.DataFrame:
    """The noise table. All pieces are one sweep, the smallest first, so that no process waits for another study."""
    calls = []
    for row in studies(reduced):
        parts = -(-row["n"] * row["m"] // 2**31)  # a piece is half a minute or so
        call = {k: v for k, v in row.items() if k not in ("study", "seeds")}
        calls.append((row, call | {"seeds": range(row["seeds"]), "parts": parts}))
    grid = {key_of(tally, point): point for _, call in calls for point in pieces(**call)}
    sweep(tally, sorted(grid.values(), key=lambda p: p["n"] * (p["stop"] - p["start"])), **many)
    tables = [
        monte_carlo(**call, **many).assign(
            study=row["study"], amplitude=call.get("amplitude", "unit"), seeds=row["seeds"]
        )
        for row, call in calls
    ]
    whole = pd.concat(tables, ignore_index=True)
    return whole[["study", "amplitude", *(c for c in whole if c not in ("study", "amplitude"))]]


def signals(D: np.ndarray, l: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """``count`` sums of ``l`` rows of ``D``: ``x (count, n)`` and the codes ``f (count, m)``, zeros and ones."""
    rng = np.random.Generator(np.random.Philox(key=[seed, l], counter=[0, 0, 0, 2]))
    f = np.zeros((count, len(D)), dtype=np.float32)
    np.put_along_axis(f, np.stack([rng.choice(len(D), l, replace=False) for _ in range(count)]), 1, axis=1)
    return f @ D, f


@cache
def optimised(seed: int, n: int = N, m: int = M, steps: int = 600) -> np.ndarray:
    """Directions moved apart: Adam on the log of the mean eighth power of their overlaps, from random ones."""
    D = torch.from_numpy(directions(n, 0, m, seed)).requires_grad_()
    adam = torch.optim.Adam([D], lr=1e-2)
    for step in range(steps):
        adam.param_groups[0]["lr"] = 1e-2 * (1 - step / steps)
        unit = torch.nn.functional.normalize(D, dim=1)
        overlap = (unit @ unit.T).fill_diagonal_(0)
        loss = overlap.pow(8).mean().log()
        adam.zero_grad()
        loss.backward()
        adam.step()
    return torch.nn.functional.normalize(D.detach(), dim=1).numpy()


def autoencoder(l: int, seed: int, steps: int, n: int = N, m: int = M) -> tuple[np.ndarray, np.ndarray]:
    """``W (m, n)`` and ``b (m,)`` of f̂ = ReLU(W Wᵀ f + b), trained to return sums of ``l`` ones out of ``m``."""
    generator = torch.Generator().manual_seed(seed)
    W = torch.from_numpy(directions(n, 0, m, seed)).requires_grad_()
    b = torch.zeros(m, requires_grad=True)
    adam = torch.optim.Adam([W, b], lr=3e-3)
    for step in range(steps):
        adam.param_groups[0]["lr"] = 3e-3 * (1 - step / steps)
        picks = torch.rand(256, m, generator=generator).topk(l, dim=1).indices
        f = torch.zeros(256, m).scatter_(1, picks, 1.0)
        loss = (torch.relu(f @ W @ W.T + b) - f).pow(2).sum(1).mean() / l
        adam.zero_grad()
        loss.backward()
        adam.step()
    return W.detach().numpy(), b.detach().numpy()


def read(readout: str, l: int, seed: int, count: int, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``f (count, m)`` true, the readout's values for it, and which features it says are on (bool)."""
    from sklearn.linear_model import orthogonal_mp

    bias = 0.0
    if readout == "autoencoder":
        D, bias = autoencoder(l, seed, steps)
    else:
        D = optimised(seed) if readout == "optimised" else directions(N, 0, M, seed)
    x, f = signals(D, l, count, seed)
    if readout == "autoencoder":
        values = np.maximum(x @ D.T + bias, 0)
    elif readout == "omp":
        with warnings.catch_warnings():  # it says when it gives up, which shows as an error below
            warnings.simplefilter("ignore", RuntimeWarning)
            values = orthogonal_mp(D.T, x.T, n_nonzero_coefs=l).reshape(M, count).T
    else:
        values = x @ D.T
    if readout == "linear":  # no threshold: the l largest, which supposes that l is known
        on = np.zeros_like(f, dtype=bool)
        np.put_along_axis(on, np.argpartition(-values, l - 1, axis=1)[:, :l], True, axis=1)
    else:
        on = values > 0.5
    return f, values if readout != "threshold" and readout != "optimised" else on.astype(float), on


def compare(readout: str, l: int, seed: int, count: int, steps: int) -> dict:
    """One row of the readout table."""
    begun = time.process_time()
    f, values, on = read(readout, l, seed, count, steps)
    wrong = on != (f > 0)
    return {
        "any": float(wrong.any(1).mean()), "per_feature": float(wrong.mean()),
        "squared_error": float(((values - f) ** 2).sum() / f.sum()),
        "seconds": round(time.process_time() - begun, 1),
    }  # fmt: skip


def pursue(n: int, m: int, l: int, signed: bool, noise: float, seed: int, count: int) -> dict:
    """How often basis pursuit gets some reading wrong; ``signed`` if it may also use a direction backwards.

    Without noise the end of the lasso path, which has the least L1 norm among exact solutions. With ``noise`` (its
    standard deviation along each direction) the path is read at the usual penalty ``noise · √(2 ln m)``, and what it
    found there is fitted once more without a penalty.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import lars_path

    begun = time.process_time()
    D = directions(n, 0, m, seed).astype(float)
    x, f = signals(D, l, count, seed)
    x = x + noise * np.random.Generator(np.random.Philox(key=[seed, l], counter=[0, 0, 0, 4])).standard_normal(x.shape)
    least = noise * np.sqrt(2 * np.log(m)) / n  # lars_path counts its penalty per row of the matrix
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        paths = [lars_path(D.T, row, method="lasso", positive=not signed, alpha_min=least) for row in x]
    values = np.stack([coefficients[:, -1] for _, _, coefficients in paths])
    if noise:
        for row, code in zip(x, values, strict=True):
            found = np.abs(code) > 1e-9
            code[found] = np.linalg.lstsq(D[found].T, row, rcond=None)[0]
    wrong = (values > 0.5) != (f > 0)
    return {
        "any": float(wrong.any(1).mean()), "per_active": float(wrong.sum() / f.sum()),
        "inexact": float((np.abs(values - f).max(1) > 1e-3).mean()),
        "seconds": round(time.process_time() - begun, 1),
    }  # fmt: skip


def pattern(kind: str, m: int, l: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """``(count, m)`` ones and zeros with ``l`` ones on average.

    ``uniform``: exactly l, any of them. ``coin``: each feature by itself. ``groups``: l/8 of the m/8 fixed groups of
    eight, whole. ``bursts``: each by itself, but at a rate that is ½ or 3 times the usual for all (P = 0.8, 0.2).
    """
    if kind in ("coin", "bursts"):
        rate = np.where(rng.random((count, 1)) < 0.8, 0.5, 3.0) if kind == "bursts" else 1.0
        return (rng.random((count, m)) < rate * l / m).astype(np.float32)
    size = 8 if kind == "groups" else 1
    f = np.zeros((count, m // size), dtype=np.float32)
    np.put_along_axis(f, np.argsort(rng.random(f.shape), axis=1)[:, : l // size], 1, axis=1)
    return f.repeat(size, axis=1)


def correlated(kind: str, seed: int, count: int, n: int = 512, m: int = 2048, l: int = 16) -> dict:
    """Noise of active features under one activation pattern: its size, and how much of it is the same every time."""
    rng = np.random.Generator(np.random.Philox(key=[seed, PATTERNS.index(kind)], counter=[0, 0, 0, 3]))
    D, f = directions(n, 0, m, seed), pattern(kind, m, l, count, rng)
    y = (f @ D) @ D.T
    on, suffered = f > 0, y - f
    times = on.sum(0)
    mean = (suffered * on).sum(0) / np.maximum(times, 1)
    power = float((suffered**2 * on).sum() / on.sum())
    busy = times > 1
    within = ((suffered - mean) ** 2 * on)[:, busy].sum() / (times[busy] - 1).sum()
    return {
        "active": float(f.sum(1).mean()), "active_sq": float((f.sum(1) ** 2).mean()), "power": power,
        "constant": float(1 - within / power), "false_alarm": float(((y > 0.5) & ~on).sum() / (~on).sum()),
        "miss": float(((y < 0.5) & on).sum() / on.sum()),
    }  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    parser = options("superposition", __doc__, "processes", "scheduler", reduced="an eighth of the draws, fewer sizes")
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=TABLES, help="which tables to make")
    args = parser.parse_args(argv)
    many = {"folder": cache_dir() / "runs", "processes": args.processes, "scheduler": args.scheduler}
    seeds, count, steps, every = (2, 50, 100, 4) if args.reduced else (4, 150, 800, 1)

    def patterns() -> tuple[pd.DataFrame, int]:
        grid = [{"kind": k, "seed": s, "count": 2000} for k in PATTERNS for s in range(3 * seeds)]
        return sweep(correlated, grid, **many), 3 * seeds

    def readouts() -> tuple[pd.DataFrame, int]:
        settings = {"count": count, "steps": steps}
        grid = [
            {"readout": r, "l": l, "seed": s, **settings}
            for r, tried in READOUTS.items()
            for l in tried[::every]
            for s in range(seeds)
        ]
        return sweep(compare, grid, **many), seeds

    def pursuit() -> tuple[pd.DataFrame, int]:
        grid = [
            {"n": n, "m": m, "l": l, "signed": signed, "noise": sigma, "seed": s, "count": trials}
            for n, m, signed, sigma, trials, tried in PURSUITS
            for l in tried[::every]
            for s in range(seeds)
            if not (args.reduced and n > 128)
        ]
        return sweep(pursue, grid, **many), seeds

    def all_noise() -> tuple[pd.DataFrame, int]:
        return noise(args.reduced, **many), max(row["seeds"] for row in studies(args.reduced))

    makers = {"patterns": patterns, "pursuit": pursuit, "readouts": readouts, "noise": all_noise}
    for name in args.tables:
        begun = time.time()
        table, n_seeds = makers[name]()
        seconds = table.seconds.sum() if "seconds" in table else time.time() - begun
        save_artifact(
            f"{'reduced/' * args.reduced}superposition_{name}.csv",
            lambda path, table=table: table.to_csv(path, index=False, float_format="%.6g"),
            recipe="python -m recipes.superposition", seed=f"0 to {n_seeds - 1}", seconds=round(seconds),
        )  # fmt: skip


if __name__ == "__main__":
    from recipes import superposition  # under its own name, so that worker processes can import what they are sent

    superposition.main()
