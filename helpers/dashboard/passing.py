"""One pass over tokens, or over a part of them: the states of all sites, and the places that are watched.

What a pass keeps does not hang on what came in which batch or part, so passes over parts, put together in any order,
are the pass over all.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from .collected import Site
from .contexts import priority, window_keys
from .sites import State

ENTRIES = 2**24  # dense codes held at a time
UNIT = 1e-3  # rows that are as near to unit norm are taken to have it


def lengths(W_dec: Tensor) -> Tensor:
    """What a code is multiplied by to be an activation, ``(d_sae,)``: its row's norm, and 1 where that is 1 or nothing.

    >>> lengths(torch.tensor([[3.0, 4.0], [0.6, 0.8001], [0.0, 0.0]])).tolist()
    [5.0, 1.0, 1.0]
    """
    norm = W_dec.detach().float().norm(dim=1)
    return torch.where(((norm - 1).abs() <= UNIT) | (norm == 0), torch.ones_like(norm), norm)


class Pass:
    """``shapes``: of each set of tokens by name, ``(n_rows, ctx)``. All else as :func:`helpers.dashboard.collect`."""

    def __init__(
        self, dictionaries: Mapping, shapes: dict[str, tuple[int, int]], *, scales: Mapping[str, float],
        skip_first: int, cutoffs: Mapping[str, float], top: int, sample: int, window: tuple[int, int], watched: int,
        sentences: int, seed: int,
    ):  # fmt: skip
        self.dictionaries, self.shapes, self.scales, self.cutoffs = dictionaries, shapes, scales, cutoffs
        self.skip_first, self.before, self.seed = skip_first, window[0], seed
        self.share = watched / sum(n * (ctx - skip_first) for n, ctx in shapes.values())
        self.states = {
            hook: State(len(sae.W_dec), list(shapes.values()), window, top, sample)
            for hook, sae in dictionaries.items()
        }
        self.order = {
            s: np.argsort(priority(seed, f"{name}, sentences", np.arange(n), 1)[:, 0])[:sentences]
            for s, (name, (n, _)) in enumerate(shapes.items())
        }
        self.places: list[np.ndarray] = []

    def take(self, name: str, index: np.ndarray, tokens: Tensor, x: Mapping[str, Tensor]) -> None:
        """Rows ``index (n,)`` of the set ``name``: ``tokens (n, ctx)``, and by hook ``x (n, ctx, d_model)``."""
        s, ctx, part = list(self.shapes).index(name), self.shapes[name][1], tokens.cpu().numpy()
        chance, keys = priority(self.seed, name, index, ctx), window_keys(part, self.before)
        watch = chance < self.share
        watch[:, : self.skip_first] = False
        row, position = watch.nonzero()
        self.places.append(np.stack([np.full(len(row), s), index[row], position]))
        chosen = np.isin(index, self.order[s])
        for hook, sae in self.dictionaries.items():
            kept = torch.ones(part.shape, dtype=torch.bool)
            kept[:, : self.skip_first] = False
            values = _shaped(x, hook, (*part.shape, sae.W_dec.shape[1]))
            if hook in self.cutoffs:
                kept &= values.norm(dim=-1).cpu() <= self.cutoffs[hook]
            norm, length = sae.W_dec.detach().float().norm(dim=1), lengths(sae.W_dec)
            step = max(1, ENTRIES // (ctx * len(sae.W_dec)))
            for i in range(0, len(index), step):
                at = slice(i, i + step)
                codes = _codes(sae, values[at], self.scales.get(hook, 1.0), kept[at], hook, length)
                here = (index[at], codes, kept[at], chance[at], keys[at], watch[at], chosen[at])
                self.states[hook].take(s, norm / length, *here)

    def merge(self, other: Pass) -> None:
        """Put in what a pass over other rows found."""
        self.places += other.places
        for hook, state in self.states.items():
            state.merge(other.states[hook])

    def sites(self) -> dict[str, Site]:
        """What was found of every site, once every row was taken."""
        seen = np.concatenate(self.places, axis=1)
        seen = seen[:, np.lexsort(seen[::-1])].astype(np.int32)
        return {hook: state.site(tuple(seen), self.order) for hook, state in self.states.items()}


def _codes(sae, x: Tensor, scale: float, kept: Tensor, hook: str, length: Tensor) -> Tensor:
    """Codes ``(n, ctx, d_sae)`` times ``length (d_sae,)``, in float32, rounded, and zero where not kept."""
    x = x.to(sae.W_dec) * scale
    codes = sae.encode(x.flatten(0, 1)).float().reshape(*kept.shape, -1)
    if codes.shape[-1] == len(length) and bool((length != 1).any()):
        codes = codes * length.to(codes.device)
    if codes.shape[-1] != len(length) or not codes.sum().isfinite():
        raise ValueError(
            f"the dictionary of {hook!r} gives codes of shape {tuple(codes.shape)} or NaN or infinite ones"
        )
    codes = ((codes.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)
    return codes.relu_().masked_fill_(~kept[..., None].to(codes.device), 0)


def _shaped(x: Mapping[str, Tensor], hook: str, shape: tuple[int, ...]) -> Tensor:
    if hook not in x:
        raise ValueError(f"activations hold {', '.join(x)}; expected {hook!r} too")
    if tuple(x[hook].shape) != shape:
        raise ValueError(f"activations at {hook!r} have shape {tuple(x[hook].shape)}; expected {shape}")
    return x[hook]
