"""The coverage by a second route: hooks on the whole model in float32, in place of layers run one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from helpers.lm import cross_entropy
from helpers.runs import progress

from .replacing import Chunk, Run, parts, replacement


@torch.inference_mode()
def by_hooks(lm, tokens: Tensor, run: Run, where: Callable[[str], Path]) -> Tensor:
    """Mean cross-entropy of each of ``tokens (n_seq, ctx)`` in nats, ``(n_seq,)``, with the sites of ``run`` replaced.

    The places that stay as they are, and what forced dictionaries are given, come from an untouched run of ``lm``.
    """
    sites = [f"blocks.{layer}.{kind}" for layer in range(run.first, run.last + 1) for kind in run.kinds]
    clean: dict[str, Tensor] = {}

    def keep(value: Tensor, hook, site: str) -> None:
        clean[site] = value.clone()

    def swap(value: Tensor, hook, site: str) -> Tensor:
        p = parts(where(site))
        rest = clean[site].norm(dim=-1) <= p["cutoff"]
        rest[:, 0] = False
        out = value.clone()
        out[rest] = replacement(p, run.arm, (clean[site] if run.forced else value)[rest].float()).to(value)
        return out

    for look in (keep, swap):
        hooks = [(site, partial(look, site=site)) for site in sites]
        logits = lm.run_with_hooks(tokens, fwd_hooks=hooks, return_type="logits")
    return cross_entropy(logits, tokens) / (tokens.shape[1] - 1)


def both(lm, tokens: Tensor, tried: Iterable[Run], where: Callable[[str], Path]) -> pd.DataFrame:
    """Mean cross-entropy by layers and by hooks, a row for each run."""
    chunk = Chunk(tokens, where)
    rows = []
    for run in progress(list(tried), desc="second route"):
        layers, hooks = chunk.figures(chunk.replaced(run))[0], by_hooks(lm, tokens, run, where)
        rows.append({"run": run.name, "layers": layers.mean().item(), "hooks": hooks.mean().item()})
    return pd.DataFrame(rows)
