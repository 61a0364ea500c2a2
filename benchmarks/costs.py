"""What more costs: how seconds a token grow with layers, with a dictionary's width, and with the features described.

    python -m benchmarks.costs

Measured here, alone, in a few minutes; the slopes of logarithms say what a hundred times more would take. Writes
``costs.json`` beside this file, from which the page *What more costs* is made.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from benchmarks import report
from helpers.dashboard import collect
from helpers.lm import activations, load_lm, load_tokens
from helpers.runs import atomic
from helpers.sae import build, train

LAYERS, WIDTHS, D_MODELS, DESCRIBED = (
    (4, 8, 16, 29),
    (2304, 4608, 9216, 18432),
    (288, 576, 1152, 2304),
    (2304, 4608, 9216),
)
BATCH, K, STEPS, TURNS = 2048, 40, 3, 3
LARGER = {  # public models of two billion weights: layers, d_model, weights of a layer in millions
    "Gemma 2 2B": {"layers": 26, "d_model": 2304, "layer": 77.9},
}


def seconds(work: Callable[[], None], turns: int = TURNS) -> float:
    """The median of some turns, after one that does not count."""
    work()
    taken = []
    for _ in range(turns):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return median(taken)


def slope(points: dict[int, float]) -> float:
    """Of log seconds over log size, by least squares.

    >>> round(slope({1: 3.0, 10: 30.0, 100: 300.0}), 6)
    1.0
    """
    x, y = ([math.log(value) for value in values] for values in (points.keys(), points.values()))
    mx, my = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / sum((a - mx) ** 2 for a in x)


def harvesting(rows: int) -> dict[int, float]:
    """Seconds a token up to each of some layers."""
    lm, tokens = load_lm(dtype=torch.float32), load_tokens("train")[:rows]

    def run(layer: int) -> Callable[[], None]:
        return lambda: [None for _ in activations(lm, tokens, f"blocks.{layer}.hook_resid_pre", 16)]

    return {layer: seconds(run(layer)) / tokens.numel() for layer in LAYERS}


def training(d_model: int, d_sae: int) -> float:
    """Seconds a token of a TopK dictionary whose codes are sparse from the start."""
    generator = torch.Generator().manual_seed(0)
    sae = build("topk", d_model, d_sae, generator=generator, k=K)
    x = torch.randn(BATCH, d_model, generator=generator)
    return seconds(lambda: train(sae, lambda _: x, steps=STEPS, lr=1e-4, progress=False)) / (STEPS * BATCH)


def describing(d_sae: int, rows: int) -> float:
    """Seconds a token for all features of one site, the model's own run left out."""
    generator = torch.Generator().manual_seed(0)
    sae = build("topk", 576, d_sae, generator=generator, k=K)
    tokens = load_tokens("train")[:rows]
    x = [(range(rows), {"site": torch.randn(*tokens.shape, 576, generator=generator)})]
    return seconds(lambda: collect(None, tokens, {"site": sae}, activations=x), 1) / tokens.numel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=64, help="sequences that are run and described (default 64)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder for the results")
    options = parser.parse_args()
    results = report.stamp() | {"threads": torch.get_num_threads(), "k": K, "batch": BATCH, "larger": LARGER}
    results["layers"] = harvesting(options.rows)
    results["width"] = {d_sae: training(576, d_sae) for d_sae in WIDTHS}
    results["d_model"] = {d_model: training(d_model, 4608) for d_model in D_MODELS}
    results["features"] = {d_sae: describing(d_sae, options.rows) for d_sae in DESCRIBED}
    results["slopes"] = {name: slope(results[name]) for name in ("layers", "width", "d_model", "features")}
    with atomic(options.out / "costs.json") as path:
        path.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results["slopes"]))


if __name__ == "__main__":
    from benchmarks import costs

    costs.main()
