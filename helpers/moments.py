"""What the mean and covariance of activations say by themselves.

Activations fill some directions far more than others. With ``Σ = cov(x)``: how many directions they fill
(:func:`effective_dimension`), rows as they would be if all were filled alike (:func:`whitened`), and noise that has
these two moments and nothing else (:class:`GaussianLike`). All take activations ``x (m, d_model)``, m > d_model, and
raise ValueError for anything but finite floating numbers that vary in every direction.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .geometry import whole_number


def _spectrum(x: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (ascending) and eigenvectors (columns) of cov(x), in float64."""
    if x.ndim != 2 or not x.is_floating_point() or not x.shape[1] or len(x) <= x.shape[1]:
        raise ValueError(f"x has shape {tuple(x.shape)}, {x.dtype}; expected floating (m, d_model) with m > d_model")
    if not x.isfinite().all():
        raise ValueError("x holds NaN or infinity; expected finite activations")
    values, vectors = torch.linalg.eigh(torch.atleast_2d(torch.cov(x.double().T)))
    if values[0] <= 1e-12 * values[-1]:
        raise ValueError(f"x does not vary in {int((values <= 1e-12 * values[-1]).sum())} of {len(values)} directions")
    return values, vectors


@torch.no_grad()
def effective_dimension(x: Tensor) -> float:
    """``(tr Σ)² / tr Σ²``: d_model if all directions vary alike, 1 if only one varies."""
    values, _ = _spectrum(x)
    return (values.sum() ** 2 / values.pow(2).sum()).item()


@torch.no_grad()
def whitened(rows: Tensor, x: Tensor) -> Tensor:
    """``rows Σ^(-1/2)``, ``(n, d_model)``: the same rows in coordinates in which the activations vary alike.

    Directions drawn from N(0, Σ) become isotropic: what is left of their cosines is more than the covariance's doing.
    """
    values, vectors = _spectrum(x)
    if rows.ndim != 2 or not rows.is_floating_point() or rows.shape[1] != len(values):
        raise ValueError(
            f"rows has shape {tuple(rows.shape)}, {rows.dtype}; expected floating (n, d_model={len(values)})"
        )
    if not rows.isfinite().all():
        raise ValueError("rows holds NaN or infinity; expected finite rows")
    return (rows.double() @ (vectors / values.sqrt()) @ vectors.T).to(rows.dtype)


class GaussianLike:
    """Normal noise with the mean and covariance of ``x``: ``sample(n, generator) -> (n, d_model)`` in x's precision."""

    @torch.no_grad()
    def __init__(self, x: Tensor):
        values, vectors = _spectrum(x)
        self.mean = x.double().mean(0).to(x.dtype)
        self.root = ((vectors * values.sqrt()) @ vectors.T).to(x.dtype)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        n = whole_number("n", n, 1)
        draws = torch.randn(n, len(self.root), generator=generator, dtype=self.root.dtype)
        return self.mean + draws @ self.root
