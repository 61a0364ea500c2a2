"""What the features of a dictionary do to each other on tokens: interference suffered, and what chance would give.

A token's codes ``f`` add up to ``x̂ = Σ f_j d_j`` along rows of unit length. Reading feature ``i`` along its row gives

    y_i = d_i · x̂ = f_i + s_i                s_i = Σ_{j≠i} f_j d_j·d_i

``s_i`` is the interference; over random directions it has mean 0 and variance ``Σ_{j≠i} f_j² / d_model``. Whether that
harms is another question: on active features ``s_i`` may be gain (:mod:`~helpers.superposition.reading`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..checks import finite, matrix, real, whole


def suffered(codes: Tensor, rows: Tensor) -> Tensor:
    """Interference ``(tokens, d_sae)`` of ``codes (tokens, d_sae)`` along ``rows (d_sae, d_model)``.

    >>> import torch
    >>> from helpers.superposition import suffered
    >>> suffered(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.6, 0.8]]))
    tensor([[1.2000, 0.6000]])
    """
    codes, rows = _matched(codes, rows)
    return (codes @ rows) @ rows.T - codes * rows.pow(2).sum(1)


def chance_power(codes: Tensor, d_model: int) -> Tensor:
    """Variance ``(tokens, d_sae)`` of the interference if the directions were random: ``Σ_{j≠i} f_j² / d_model``.

    >>> import torch
    >>> from helpers.superposition import chance_power
    >>> chance_power(torch.tensor([[1.0, 2.0, 0.0]]), d_model=4).tolist()
    [[1.0, 0.25, 1.25]]
    """
    square, d_model = matrix("codes", codes, "d_sae").pow(2), whole("d_model", d_model, 1)
    return (square.sum(1, keepdim=True) - square) / d_model


def one_shot(x: Tensor, rows: Tensor, l0: float) -> Tensor:
    """Codes ``ReLU(x rowsᵀ - θ)`` with one θ for all, such that ``l0`` of them are above zero on an average token.

    The simplest encoder there is: no training, no competition. Whatever interference such codes suffer comes from the
    choice alone, since a row is chosen where ``x`` already lies along it.

    >>> import torch
    >>> from helpers.superposition import directions, one_shot
    >>> x = torch.randn(500, 16, generator=torch.Generator().manual_seed(0))
    >>> codes = one_shot(x, torch.from_numpy(directions(16, 0, 64, seed=0)), l0=4)
    >>> round(float((codes > 0).sum(1).float().mean()), 2)
    4.0
    """
    rows = matrix("rows", rows, "n")
    x = matrix("x", real("x", x).to(rows.dtype), "n")
    if not len(x) or x.shape[1] != rows.shape[1]:
        raise ValueError(f"x {tuple(x.shape)}, rows {tuple(rows.shape)}; expected (tokens, n) and (d_sae, n)")
    finite("l0", l0, above=0)
    if l0 >= len(rows):
        raise ValueError(f"l0={l0!r}; expected below the number of rows, {len(rows)}")
    readings = x @ rows.T
    keep = max(1, round(l0 * len(x)))
    threshold = readings.flatten().kthvalue(readings.numel() - keep).values
    return torch.relu(readings - threshold)


def _matched(codes: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Both, in the precision of the rows."""
    rows = matrix("rows", rows)
    codes = matrix("codes", real("codes", codes).to(rows.dtype), "d_sae")
    if codes.shape[1] != len(rows):
        seen = f"codes {tuple(codes.shape)}, rows {tuple(rows.shape)}"
        raise ValueError(f"{seen}; expected (tokens, d_sae) and (d_sae, d_model)")
    return codes, rows
