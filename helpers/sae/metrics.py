"""Judging a dictionary: how sparse, how faithful, how biased, how much of it is alive.

``x`` and ``x_hat`` are ``(n, d_model)``, codes ``(n, d_sae)``. :func:`evaluate` streams over batches in bounded memory.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ..checks import all_finite, finite, real
from .dictionary import SAE


def l0(codes: Tensor) -> float:
    """Mean number of non-zero codes per input.

    >>> import torch
    >>> from helpers.sae import l0
    >>> l0(torch.tensor([[0.0, 2.0, 1.0], [0.0, 0.0, 3.0]]))
    1.5
    """
    return (_codes(codes) != 0).sum(-1).double().mean().item()


def fvu(x: Tensor, x_hat: Tensor) -> float:
    """Fraction of variance unexplained: ``E‖x - x_hat‖² / E‖x - mean(x)‖²``.

    >>> import torch
    >>> from helpers.sae import fvu
    >>> x = torch.tensor([[1.0], [-1.0]])
    >>> fvu(x, x), fvu(x, x / 2), fvu(x, torch.zeros_like(x))
    (0.0, 0.25, 1.0)
    """
    x, x_hat = _same(x, x_hat)
    spread = (x - x.mean(0)).pow(2).sum()
    if spread == 0:
        raise ValueError("x has no variance: all rows are equal, so the fraction unexplained is undefined")
    return ((x - x_hat).pow(2).sum() / spread).item()


def reconstruction_bias(x: Tensor, x_hat: Tensor) -> float:
    """γ = ``E‖x_hat‖² / E[x_hat · x]``: the factor to divide ``x_hat`` by for the least squared error.

    1 is unbiased, below 1 means shrinkage (arXiv:2404.16014, in the form that solves its own definition).

    >>> import torch
    >>> from helpers.sae import reconstruction_bias
    >>> x = torch.tensor([[1.0], [-1.0]])
    >>> round(reconstruction_bias(x, 0.8 * x), 6)
    0.8
    """
    x, x_hat = _same(x, x_hat)
    return (x_hat.pow(2).sum() / (x_hat * x).sum()).item()


def dead_fraction(codes: Tensor) -> float:
    """Share of features that are zero on every given input.

    >>> import torch
    >>> from helpers.sae import dead_fraction
    >>> dead_fraction(torch.tensor([[0.0, 2.0, 1.0, 0.0], [0.0, 0.0, 3.0, 0.0]]))
    0.5
    """
    codes = _codes(codes)
    return (~(codes != 0).reshape(-1, codes.shape[-1]).any(0)).double().mean().item()


def loss_recovered(clean: float, spliced: float, ablated: float) -> float:
    """Share of the cross-entropy that ablation costs which the reconstruction keeps: 1 is perfect, 0 is ablation.

    ``(ablated - spliced) / (ablated - clean)``, all in nats per token.

    >>> from helpers.sae import loss_recovered
    >>> loss_recovered(clean=3.0, spliced=3.5, ablated=7.0)
    0.875
    """
    clean, spliced, ablated = finite("clean", clean), finite("spliced", spliced), finite("ablated", ablated)
    if ablated == clean:
        raise ValueError(f"ablated={ablated!r} equals clean: this site costs nothing, so the share is undefined")
    return (ablated - spliced) / (ablated - clean)


def feature_recovery(W_dec: Tensor, features: Tensor) -> float:
    """Mean over true features ``(n, d_model)`` of the largest cosine with a decoder row ``(d_sae, d_model)``.

    >>> import torch
    >>> from helpers.sae import feature_recovery
    >>> round(feature_recovery(torch.tensor([[1.0, 0.0], [0.6, 0.8]]), torch.eye(2)), 6)  # cosines of 1 and 0.8
    0.9
    """
    W_dec, features = (_rows(name, rows, 2) for name, rows in (("W_dec", W_dec), ("features", features)))
    if W_dec.shape[-1] != features.shape[-1]:
        raise ValueError(f"W_dec has shape {tuple(W_dec.shape)}, features {tuple(features.shape)}: d_model differs")
    unit = torch.nn.functional.normalize
    return (unit(features.to(W_dec), dim=1) @ unit(W_dec, dim=1).T).max(1).values.mean().item()


@torch.no_grad()
def evaluate(sae: SAE, batches: Iterable[Tensor]) -> dict[str, float]:
    """``l0``, ``fvu``, ``gamma``, ``gamma_centred`` and ``dead_fraction`` over a stream of ``(n, d_model)`` batches.

    ``gamma_centred`` is γ after subtracting the mean activation from both sides: a large common mean hides shrinkage.

    >>> import torch
    >>> from helpers.sae import SparseFeatures, build, evaluate
    >>> source, generator = SparseFeatures(8, 16), torch.Generator().manual_seed(0)
    >>> sae = build("topk", 16, 32, generator=generator, k=2)
    >>> seen = evaluate(sae, (source.sample(64, generator)[0] for _ in range(3)))
    >>> list(seen), seen["l0"] <= 2
    (['l0', 'fvu', 'gamma', 'gamma_centred', 'dead_fraction'], True)
    """
    n, alive = 0, torch.zeros(sae.d_sae, dtype=torch.bool)
    sums = {key: 0.0 for key in ("on", "error", "xx", "hh", "hx")}
    mean, mean_hat = torch.zeros(2, sae.d_model, dtype=torch.float64)
    sae.eval()
    for x in batches:
        codes = sae.encode(x)
        x_hat, x = sae.decode(codes).double().cpu(), x.double().cpu()
        n += len(x)
        alive |= (codes != 0).any(0).cpu()
        sums["on"] += (codes != 0).sum().item()
        for key, value in {"error": (x - x_hat).pow(2), "xx": x * x, "hh": x_hat * x_hat, "hx": x_hat * x}.items():
            sums[key] += value.sum().item()
        mean, mean_hat = mean + x.sum(0), mean_hat + x_hat.sum(0)
    if not n:
        raise ValueError("batches is empty; expected at least one (n, d_model) tensor")
    mean, mean_hat = mean / n, mean_hat / n
    mu2, cross = n * (mean @ mean).item(), n * (mean @ mean_hat).item()
    spread, along = sums["xx"] - mu2, sums["hx"] - cross
    if spread <= 1e-12 * sums["xx"]:
        raise ValueError("batches have no variance: all rows are equal, so the fraction unexplained is undefined")
    return {
        "l0": sums["on"] / n,
        "fvu": sums["error"] / spread,
        "gamma": sums["hh"] / sums["hx"] if sums["hx"] else float("nan"),
        "gamma_centred": (sums["hh"] - 2 * cross + mu2) / along if along else float("nan"),
        "dead_fraction": (~alive).double().mean().item(),
    }


def _rows(name: str, x, ndim: int | None = None) -> Tensor:
    """``x`` in float64: finite, of ``ndim`` dimensions (or any from two on), none of size zero."""
    x = real(name, x).detach()
    if x.ndim < 2 or (ndim and x.ndim != ndim) or not x.numel():
        lead = "n" if ndim else "…"
        raise ValueError(f"{name} has shape {tuple(x.shape)}; expected ({lead}, d) with at least one row and column")
    return all_finite(name, x.double())


def _codes(codes) -> Tensor:
    return _rows("codes", codes)


def _same(x, x_hat) -> tuple[Tensor, Tensor]:
    x, x_hat = _rows("x", x, 2), _rows("x_hat", x_hat, 2)
    if x.shape != x_hat.shape:
        raise ValueError(f"x has shape {tuple(x.shape)}, x_hat {tuple(x_hat.shape)}; expected equal (n, d_model)")
    return x, x_hat.to(x)
