"""devinterp's SGLD on the losses of chapter 9: what it estimates, and how fast. Runs in the peers' environment.

A chain is a module of its own with one parameter, as devinterp's sampler runs them one after the other; the estimate is
its `compute_llc`: n β times the mean loss over *all* steps less the loss at the start, burn-in included.
"""

from __future__ import annotations

import json
import sys
import time

import torch
from devinterp.optim import SGMCMC


def product(w: torch.Tensor, sizes: list[int], powers: list[int]) -> torch.Tensor:
    """∏ |aᵢ|^2kᵢ for vectors aᵢ of ``sizes`` entries."""
    return torch.stack([(part**2).sum() ** k for part, k in zip(w.split(sizes), powers, strict=True)]).prod()


def chain(loss: dict, seed: int, steps: int) -> float:
    torch.manual_seed(seed)
    w = torch.nn.Parameter(torch.zeros(sum(loss["sizes"]), dtype=torch.float64))
    sampler = SGMCMC.sgld(
        [w], lr=loss["step"], nbeta=loss["t"], localization=loss["localiser"], bounding_box_size=loss["radius"]
    )
    total = 0.0
    for _ in range(steps):
        sampler.zero_grad()
        value = product(w, loss["sizes"], loss["powers"])
        value.backward()
        total += value.item()
        sampler.step()
    return loss["t"] * total / steps


def main() -> None:
    torch.set_num_threads(1)
    asked = json.load(sys.stdin)
    out = {}
    for loss in asked["losses"]:
        begun = time.perf_counter()
        values = [chain(loss, seed, asked["steps"]) for seed in range(asked["chains"])]
        spent = time.perf_counter() - begun
        out[loss["name"]] = {"chains": values, "steps_per_second": asked["steps"] * asked["chains"] / spent}
    json.dump(out, sys.stdout)


if __name__ == "__main__":
    main()
