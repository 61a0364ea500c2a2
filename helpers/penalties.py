"""Penalties on the cosines between decoder rows, for the loss term ``orthogonality`` of any architecture.

Each takes ``W_dec (d_sae, d_model)`` and, where it samples, a generator; each is 0 for orthogonal rows. They act on the
decoder because encoder rows can be orthogonal while decoder rows are not. Source: OrtSAE, arXiv:2509.22033.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .codes import bf16_is_fast


def mean_square_cosine(W_dec: Tensor, generator=None) -> Tensor:
    """Mean over pairs i ≠ j of cos²(row i, row j), through the d_model × d_model Gram matrix."""
    rows = nn.functional.normalize(W_dec, dim=1)
    n = len(rows)
    return ((rows.T @ rows).pow(2).sum() - n) / (n * (n - 1))


def max_cosine(W_dec: Tensor, generator=None) -> Tensor:
    """Mean over rows of the largest cosine with another row, squared; a negative one counts as 0.

    Only the cosine with the nearest row has a gradient, so only that one is differentiated. Which row is nearest is
    decided in bfloat16 where the processor is fast at it and rows are many, as codes are.
    """
    rows = nn.functional.normalize(W_dec, dim=1)
    with torch.no_grad():
        rough = rows.dtype == torch.float32 and len(rows) >= 512 and bf16_is_fast(rows.device)
        seen = rows.bfloat16() if rough else rows
        nearest = (seen @ seen.T).fill_diagonal_(-1.0).argmax(1)
    return (rows * rows[nearest]).sum(1).clamp_min(0).pow(2).mean()


def chunk_max_cosine(W_dec: Tensor, generator=None, chunks: int = 8) -> Tensor:
    """:func:`max_cosine` within ``chunks`` random chunks of rows, averaged (OrtSAE); without a generator, in order."""
    n = len(W_dec)
    order = torch.arange(n) if generator is None else torch.randperm(n, generator=generator)
    parts = [p for p in order.chunk(min(chunks, n // 2 or 1)) if len(p) > 1]
    return torch.stack([max_cosine(W_dec[p]) for p in parts]).mean()


PENALTIES = {"mean_square": mean_square_cosine, "max": max_cosine, "chunk_max": chunk_max_cosine}
