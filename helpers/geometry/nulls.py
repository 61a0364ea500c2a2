"""Directions from where activations lie: better nulls than isotropic ones.

Activations fill some directions far more than others. With ``Σ = cov(x)``: how many directions they fill
(:func:`effective_dimension`), rows as they would be if all were filled alike (:func:`whitened`), noise that has mean
and covariance of ``x`` and nothing else (:class:`GaussianLike`), and directions drawn from the covariance
(:func:`covariance_directions`), from a mixture that keeps clusters as well (:func:`mixture_directions`), or among the
data points themselves (:func:`data_directions`). All take activations ``x (m, d_model)``. Only
:func:`moment_directions` looks at the dictionary itself: it keeps where rows lie on the whole, and no pair.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..checks import all_finite, drawing, matrix, whole
from .cosines import unit_rows


@torch.no_grad()
def covariance_directions(x: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """n unit directions drawn from N(0, cov(x)), for activations ``x (m, d_model)``: ``(n, d_model)`` in x's precision.

    The null for "as aligned as directions must be, given where activations vary". The mean of x plays no part.

    >>> import torch
    >>> from helpers.geometry import covariance_directions
    >>> generator = torch.Generator().manual_seed(0)
    >>> x = torch.randn(1000, 2, generator=generator) * torch.tensor([100.0, 1.0])  # nearly all along one axis
    >>> rows = covariance_directions(x, 50, generator)
    >>> tuple(rows.shape), bool(rows[:, 0].abs().median() > 0.99)
    ((50, 2), True)
    """
    centred = _centred(x := matrix("x", x), n, generator)
    values, vectors = torch.linalg.eigh(centred.T @ centred / (len(centred) - 1))
    values = values.clamp_min(0).sqrt().to(generator.device)
    draws = torch.randn(n, len(values), generator=generator, dtype=torch.float64, device=generator.device) * values
    rows = unit_rows(draws.to(x.device) @ vectors.T, "directions")  # before rounding, which may overflow
    return rows.to(torch.promote_types(x.dtype, torch.float32))


@torch.no_grad()
def moment_directions(rows: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """n unit directions from N(0, M), M the mean of ``u uᵀ`` over the unit ``rows (m, d_model)``: ``(n, d_model)``.

    The null for "as aligned as rows must be that fill the space as these do": it keeps the dictionary's own second
    moment, shared directions included, and knows nothing of which row lies next to which.

    >>> import torch
    >>> from helpers.geometry import moment_directions
    >>> rows = torch.tensor([[3.0, 0.0], [1.0, 0.001]])  # all along one axis, so what is drawn is too
    >>> moment_directions(rows, 4, torch.Generator().manual_seed(0))[:, 0].abs().min() > 0.99
    tensor(True)
    """
    unit = unit_rows(rows)
    return covariance_directions(torch.cat([unit, -unit]), n, generator)  # mean zero, the same second moment


@torch.no_grad()
def mixture_directions(x: Tensor, n: int, clusters: int, generator: torch.Generator) -> Tensor:
    """n unit directions, seen from the mean of x, from ``clusters`` normals with one covariance: ``(n, d_model)``.

    k-means finds the clusters of ``x (m, d_model)``; each keeps its mean and its share of x, and all have the
    covariance that is left within them. So the covariance of the whole is that of x for any number: one cluster is
    :func:`covariance_directions`, and as many as points is :func:`data_directions`, repeats allowed.

    >>> import torch
    >>> from helpers.geometry import mixture_directions
    >>> x = torch.tensor([[9.0, 0.1], [9.0, -0.1], [-9.0, 0.1], [-9.0, -0.1]])
    >>> mixture_directions(x, 4, 2, torch.Generator().manual_seed(0))[:, 0].abs().min() > 0.99
    tensor(True)
    """
    centred = _centred(x := matrix("x", x), n, generator)
    if whole("clusters", clusters, 1) > len(x):
        raise ValueError(f"clusters={clusters!r}; x has {len(x)} rows")
    label = _clusters(centred, clusters, generator)
    size = torch.bincount(label, minlength=clusters).clamp_min(1)
    means = torch.zeros(clusters, x.shape[1], dtype=centred.dtype, device=x.device).index_add_(0, label, centred)
    means /= size[:, None]
    within = centred - means[label]
    values, vectors = torch.linalg.eigh(within.T @ within / len(within))
    picked = label[torch.randint(len(x), (n,), generator=generator, device=generator.device).to(x.device)]
    draws = torch.randn(n, len(values), generator=generator, dtype=torch.float64, device=generator.device)
    rows = means[picked] + (draws.to(x.device) * values.clamp_min(0).sqrt()) @ vectors.T
    return unit_rows(rows, "directions").to(torch.promote_types(x.dtype, torch.float32))


def _clusters(x: Tensor, clusters: int, generator: torch.Generator, rounds: int = 20) -> Tensor:
    """Labels ``(m,)`` by Lloyd's k-means from random points; in float64, so that rounding moves no point."""
    centres = x[torch.randperm(len(x), generator=generator, device=generator.device)[:clusters].to(x.device)]
    for _ in range(rounds if clusters > 1 else 1):
        label = (centres @ x.T * 2 - centres.pow(2).sum(1, keepdim=True)).argmax(0)
        size = torch.bincount(label, minlength=clusters)
        sums = torch.zeros_like(centres).index_add_(0, label, x)
        centres = torch.where(size[:, None] > 0, sums / size.clamp_min(1)[:, None], centres)  # an empty one stays
    return label


@torch.no_grad()
def data_directions(x: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """n different rows of ``x (m, d_model)``, drawn at random, as unit directions seen from the mean of x.

    The null for "as aligned as the data points themselves": unlike Gaussian directions it keeps clusters and repeats.

    >>> import torch
    >>> from helpers.geometry import data_directions
    >>> rows = data_directions(torch.tensor([[5.0, 1.0], [1.0, 1.0]]), 2, torch.Generator().manual_seed(0))
    >>> sorted(rows.tolist())
    [[-1.0, 0.0], [1.0, 0.0]]
    """
    centred = _centred(x := matrix("x", x), n, generator)
    if n > len(x):
        raise ValueError(f"n={n!r}; x has {len(x)} rows to draw from")
    picked = torch.randperm(len(x), generator=generator, device=generator.device)[:n].to(x.device)
    return unit_rows(centred[picked], "x minus its mean").to(torch.promote_types(x.dtype, torch.float32))


def _centred(x: Tensor, n: int, generator) -> Tensor:
    if len(x) < 2:
        raise ValueError(f"x has shape {tuple(x.shape)}, {x.dtype}; expected floating (m, d_model) of two rows or more")
    all_finite("x", x), whole("n", n, 1), drawing(generator)
    centred = x.double() - x.double().mean(0)
    largest = centred.abs().max()
    if largest <= 1e-12 * x.abs().max():
        raise ValueError("x has no variance: all rows are equal, so it points nowhere")
    return centred / 2.0 ** largest.log2().floor()  # exact; only directions matter, and no square overflows


def _spectrum(x: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (ascending) and eigenvectors (columns) of cov(x), in float64."""
    x = matrix("x", x)
    if len(x) <= x.shape[1]:
        raise ValueError(
            f"x has shape {tuple(x.shape)}; expected more rows than columns, for a covariance of full rank"
        )
    all_finite("x", x)
    values, vectors = torch.linalg.eigh(torch.atleast_2d(torch.cov(x.double().T)))
    if values[0] <= 1e-12 * values[-1]:
        raise ValueError(f"x does not vary in {int((values <= 1e-12 * values[-1]).sum())} of {len(values)} directions")
    return values, vectors


@torch.no_grad()
def effective_dimension(x: Tensor) -> float:
    """``(tr Σ)² / tr Σ²``: d_model if all directions vary alike, 1 if only one varies.

    >>> import torch
    >>> from helpers.geometry import effective_dimension
    >>> corners = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    >>> round(effective_dimension(corners), 6), round(effective_dimension(corners * torch.tensor([1.0, 0.001])), 3)
    (2.0, 1.0)
    """
    values, _ = _spectrum(x)
    return (values.sum() ** 2 / values.pow(2).sum()).item()


@torch.no_grad()
def whitened(rows: Tensor, x: Tensor) -> Tensor:
    """``rows Σ^(-1/2)``, ``(n, d_model)``: the same rows in coordinates in which the activations vary alike.

    Directions drawn from N(0, Σ) become isotropic: what is left of their cosines is more than the covariance's doing.

    >>> import torch
    >>> from helpers.geometry import whitened
    >>> x = torch.tensor([[3.0, 1.0], [3.0, -1.0], [-3.0, 1.0], [-3.0, -1.0]])
    >>> rows = whitened(torch.tensor([[3.0, 1.0]]), x)
    >>> round((rows[0, 0] / rows[0, 1]).item(), 6)
    1.0
    """
    values, vectors = _spectrum(x)
    rows = all_finite("rows", matrix("rows", rows, d=len(values)))
    return (rows.double() @ (vectors / values.sqrt()) @ vectors.T).to(rows.dtype)


class GaussianLike:
    """Normal noise with the mean and covariance of ``x``: ``sample(n, generator) -> (n, d_model)`` in x's precision.

    >>> import torch
    >>> from helpers.geometry import GaussianLike
    >>> generator = torch.Generator().manual_seed(0)
    >>> noise = GaussianLike(torch.randn(1000, 3, generator=generator) + 5)
    >>> tuple(noise.sample(10, generator).shape), [round(m) for m in noise.mean.tolist()]
    ((10, 3), [5, 5, 5])
    """

    @torch.no_grad()
    def __init__(self, x: Tensor):
        x = matrix("x", x)
        values, vectors = _spectrum(x)
        self.mean = x.double().mean(0).to(x.dtype)
        self.root = ((vectors * values.sqrt()) @ vectors.T).to(x.dtype)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        n, generator = whole("n", n, 1), drawing(generator)
        draws = torch.randn(n, len(self.root), generator=generator, dtype=self.root.dtype)
        return self.mean + draws @ self.root
