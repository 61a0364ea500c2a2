"""Penalties on the cosines between decoder rows, for the loss term ``orthogonality`` of any architecture.

Each is an object with its settings; called with ``W_dec (d_sae, d_model)`` and, where it samples rows, a generator, it
gives a scalar that is 0 for orthogonal rows. They act on the decoder because encoder rows can be orthogonal while
decoder rows are not. Source: OrtSAE, arXiv:2509.22033.

>>> rows = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
>>> round(float(MaxCosine()(rows)), 2)
0.36
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from ..checks import finite, one_of, whole
from ..ranks import bf16_is_fast


def _unit(W_dec: Tensor) -> Tensor:
    if len(W_dec) < 2:
        raise ValueError(f"W_dec has {len(W_dec)} rows; a cosine needs two")
    return nn.functional.normalize(W_dec, dim=1)


def _with(rows: Tensor, some: Tensor, nearest: Tensor) -> Tensor:
    """Cosines of rows ``some`` with their ``nearest``. A row may be nearest to many: indexing would add up its gradient
    in an order that depends on threads, ``index_select`` adds in the order of the rows."""
    return (rows.index_select(0, some) * rows.index_select(0, nearest)).sum(1)


@dataclass(frozen=True)
class MeanSquareCosine:
    """Mean over pairs i ≠ j of cos²(row i, row j), through the d_model × d_model Gram matrix."""

    def __call__(self, W_dec: Tensor, generator: torch.Generator | None = None) -> Tensor:
        rows = _unit(W_dec)
        n = len(rows)
        return ((rows.T @ rows).pow(2).sum() - n) / (n * (n - 1))


@dataclass(frozen=True)
class MaxCosine:
    """Mean over rows of the largest cosine with another row, squared; a negative one counts as 0.

    Only the cosine with the nearest row has a gradient, so only that one is differentiated. Which row is nearest is
    decided in bfloat16 where the processor is fast at it and rows are many, as codes are.
    """

    def __call__(self, W_dec: Tensor, generator: torch.Generator | None = None) -> Tensor:
        rows = _unit(W_dec)
        with torch.no_grad():
            rough = rows.dtype == torch.float32 and len(rows) >= 512 and bf16_is_fast(rows.device)
            seen = rows.bfloat16() if rough else rows
            nearest = (seen @ seen.T).fill_diagonal_(-2.0).argmax(1)  # below -1, or a row may be its own
        return (rows * rows.index_select(0, nearest)).sum(1).clamp_min(0).pow(2).mean()


@dataclass(frozen=True)
class ChunkMaxCosine:
    """:class:`MaxCosine` within ``chunks`` random chunks of rows, averaged (OrtSAE); without a generator, in order."""

    chunks: int = 8

    def __post_init__(self):
        whole("chunks", self.chunks, 1)

    def __call__(self, W_dec: Tensor, generator: torch.Generator | None = None) -> Tensor:
        n = len(W_dec)
        order = torch.arange(n) if generator is None else torch.randperm(n, generator=generator)
        order = order.to(W_dec.device)
        parts = [p for p in order.chunk(min(self.chunks, n // 2 or 1)) if len(p) > 1] or [order]
        return torch.stack([MaxCosine()(W_dec.index_select(0, p)) for p in parts]).mean()


@dataclass(frozen=True)
class NeighbourCosine:
    """``mean · mean_ij c_ij + mean_max · mean_i max_j c_ij + max_max · max_ij c_ij``, c the cosine of rows i ≠ j.

    The regulariser of chapter 7, each term with a weight of its own; 0 leaves a term out. With ``absolute``, c is the
    cosine's absolute value. Rows i are ``queries`` random ones (all, if there are no more; without a generator evenly
    spaced ones), rows j all; for the mean of absolute values an eighth of them. Which pair is largest is found without
    gradients, in bfloat16 where the processor is fast at it; gradients then flow through that pair. So the max max
    moves one pair a step.
    """

    mean: float = 1.0
    mean_max: float = 1.0
    max_max: float = 1.0
    absolute: bool = False
    queries: int = 1024

    def __post_init__(self):
        for name in ("mean", "mean_max", "max_max"):
            finite(name, getattr(self, name), least=0)
        whole("queries", self.queries, 1)
        if not self.mean + self.mean_max + self.max_max:
            raise ValueError("mean=0, mean_max=0, max_max=0; expected at least one term with a weight above 0")

    def __call__(
        self, W_dec: Tensor, generator: torch.Generator | None = None, nearest: Tensor | None = None
    ) -> Tensor:
        """With ``nearest (d_sae,)``, which row is nearest to each is known, and the mean and max of max go over all."""
        rows = _unit(W_dec)
        n, size = len(rows), torch.abs if self.absolute else torch.Tensor.clone
        if n <= self.queries:
            some = few = torch.arange(n)
        else:
            even = torch.arange(self.queries) * n // self.queries
            some = even if generator is None else torch.randperm(n, generator=generator)[: self.queries]
            few = some[::8]
        some, few = some.to(rows.device), few.to(rows.device)
        total = W_dec.new_zeros(())
        if self.mean_max or self.max_max:
            if nearest is None:
                with torch.no_grad():
                    rough = rows.dtype == torch.float32 and bf16_is_fast(rows.device)
                    coarse = rows.bfloat16() if rough else rows
                    found = size((coarse.index_select(0, some) @ coarse.T).to(rows.dtype))
                    found[torch.arange(len(some), device=rows.device), some] = -2.0
                top = size(_with(rows, some, found.argmax(1)))
            else:
                top = size((rows * rows.index_select(0, nearest)).sum(1))
            total = total + self.mean_max * top.mean() + self.max_max * top.max()
        if self.mean and self.absolute:
            cosines = (rows.index_select(0, few) @ rows.T).abs()
            total = total + self.mean * (cosines.sum() - len(few)) / (len(few) * (n - 1))
        elif self.mean:
            total = total + self.mean * (rows.sum(0).pow(2).sum() - n) / (n * (n - 1))
        return total


PENALTIES = {
    "mean_square": MeanSquareCosine,
    "max": MaxCosine,
    "chunk_max": ChunkMaxCosine,
    "neighbour": NeighbourCosine,
}


def penalty(form):
    """A penalty: as it is, by its name in ``PENALTIES``, or from what :func:`describe` gave.

    >>> penalty("max")
    MaxCosine()
    >>> penalty({"form": "neighbour", "max_max": 0.0})
    NeighbourCosine(mean=1.0, mean_max=1.0, max_max=0.0, absolute=False, queries=1024)
    """
    if isinstance(form, tuple(PENALTIES.values())):
        return form
    settings = dict(form) if isinstance(form, dict) else {"form": form}
    name = one_of("penalty", settings.pop("form", None), PENALTIES)
    try:
        return PENALTIES[name](**settings)
    except TypeError as error:
        raise ValueError(f"penalty={form!r}: {error}") from error


def describe(form) -> dict:
    """A penalty as JSON: its name, and the settings that are not the default ones.

    >>> from helpers.sae import describe, penalty
    >>> describe(penalty("max"))
    {'form': 'max'}
    """
    form = penalty(form)
    name = next(name for name, kind in PENALTIES.items() if kind is type(form))
    usual = asdict(PENALTIES[name]())
    return {"form": name, **{k: v for k, v in asdict(form).items() if v != usual[k]}}
