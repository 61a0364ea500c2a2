"""Penalties on the cosines between decoder rows, for the loss term ``orthogonality`` of any architecture.

Each takes ``W_dec (d_sae, d_model)`` and, where it samples, a generator; each is 0 for orthogonal rows. They act on the
decoder because encoder rows can be orthogonal while decoder rows are not. Source: OrtSAE, arXiv:2509.22033.
:func:`neighbour_penalty` makes the regulariser of chapter 7, whole or in parts.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor, nn

from .codes import bf16_is_fast
from .geometry import whole_number


def _unit(W_dec: Tensor) -> Tensor:
    if len(W_dec) < 2:
        raise ValueError(f"W_dec has {len(W_dec)} rows; a cosine needs two")
    return nn.functional.normalize(W_dec, dim=1)


def mean_square_cosine(W_dec: Tensor, generator=None) -> Tensor:
    """Mean over pairs i ≠ j of cos²(row i, row j), through the d_model × d_model Gram matrix."""
    rows = _unit(W_dec)
    n = len(rows)
    return ((rows.T @ rows).pow(2).sum() - n) / (n * (n - 1))


def max_cosine(W_dec: Tensor, generator=None) -> Tensor:
    """Mean over rows of the largest cosine with another row, squared; a negative one counts as 0.

    Only the cosine with the nearest row has a gradient, so only that one is differentiated. Which row is nearest is
    decided in bfloat16 where the processor is fast at it and rows are many, as codes are.
    """
    rows = _unit(W_dec)
    with torch.no_grad():
        rough = rows.dtype == torch.float32 and len(rows) >= 512 and bf16_is_fast(rows.device)
        seen = rows.bfloat16() if rough else rows
        nearest = (seen @ seen.T).fill_diagonal_(-2.0).argmax(1)  # below -1, or a row may be its own
    return (rows * rows[nearest]).sum(1).clamp_min(0).pow(2).mean()


def chunk_max_cosine(W_dec: Tensor, generator=None, chunks: int = 8) -> Tensor:
    """:func:`max_cosine` within ``chunks`` random chunks of rows, averaged (OrtSAE); without a generator, in order."""
    n = len(W_dec)
    order = torch.arange(n) if generator is None else torch.randperm(n, generator=generator)
    parts = [p for p in order.chunk(min(chunks, n // 2 or 1)) if len(p) > 1] or [order]
    return torch.stack([max_cosine(W_dec[p]) for p in parts]).mean()


TERMS = ("mean", "mean max", "max max")


def neighbour_penalty(terms: tuple[str, ...] = TERMS, absolute: bool = False, queries: int = 1024) -> Callable:
    """The sum of some of: the *mean* of all cosines, the mean over rows of the largest (*mean max*), the *max max*.

    ``c_ij`` is the cosine of rows i ≠ j, or its absolute value: ``mean_ij c_ij + mean_i max_j c_ij + max_ij c_ij``.
    Rows i are ``queries`` random ones (all, if there are no more; without a generator evenly spaced ones), rows j all;
    for the mean of absolute values an eighth of them. Which pair is largest is found without gradients (and from
    float32 rows in bfloat16), which then flow through that pair. So the max max moves one pair a step.

    Raises ValueError for a term that is none of ``TERMS``, or none at all, and for queries < 1.
    """
    if not terms or not set(terms) <= set(TERMS):
        raise ValueError(f"terms={terms!r}; expected some of {TERMS}")
    queries = whole_number("queries", queries, 1)

    def penalty(W_dec: Tensor, generator: torch.Generator | None = None) -> Tensor:
        n = len(W_dec)
        rows = _unit(W_dec)
        if n <= queries:
            some = few = torch.arange(n)
        else:
            even = torch.arange(queries) * n // queries
            some = even if generator is None else torch.randperm(n, generator=generator)[:queries]
            few = some[::8]
        size = torch.abs if absolute else torch.Tensor.clone
        total = W_dec.new_zeros(())
        if "mean max" in terms or "max max" in terms:
            with torch.no_grad():
                coarse = rows.bfloat16() if rows.dtype == torch.float32 else rows
                found = size((coarse[some] @ coarse.T).to(rows.dtype))
                found[torch.arange(len(some)), some] = -2.0
                nearest = found.argmax(1)
            top = size((rows[some] * rows[nearest]).sum(1))
            total = total + top.mean() * ("mean max" in terms) + top.max() * ("max max" in terms)
        if "mean" in terms and absolute:
            total = total + ((rows[few] @ rows.T).abs().sum() - len(few)) / (len(few) * (n - 1))
        elif "mean" in terms:
            total = total + (rows.sum(0).pow(2).sum() - n) / (n * (n - 1))
        return total

    return penalty


def neighbour_name(terms: tuple[str, ...], absolute: bool = False) -> str:
    """The name in ``PENALTIES`` of :func:`neighbour_penalty` with these arguments: ``"mean + max max, |cos|"``."""
    return " + ".join(t for t in TERMS if t in terms) + ", |cos|" * absolute


PENALTIES = {"mean_square": mean_square_cosine, "max": max_cosine, "chunk_max": chunk_max_cosine}
PENALTIES |= {
    neighbour_name(terms, absolute): neighbour_penalty(terms, absolute)
    for size in (1, 2, 3)
    for terms in combinations(TERMS, size)
    for absolute in (False, True)
}
