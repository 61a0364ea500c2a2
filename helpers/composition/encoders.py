"""Encoders: the weights and biases whose ReLU codes are the best ones, where there are such."""

from __future__ import annotations

import numpy as np
import torch

from ..checks import one_of


def encoder(kind: str, sparsity: float) -> tuple[np.ndarray, np.ndarray]:
    """``W_enc (3, 3)`` and ``b_enc (3,)`` whose ReLU codes are the optimal ones on the four inputs, and zero on zero.

    ``kind``: ``"separate"`` for f1, f2, f3; ``"composed"`` for f1, f2, f1+f2.
    """
    one_of("kind", kind, ("separate", "composed"))
    if kind == "separate":
        return np.eye(3), np.full(3, -sparsity / 2)
    s = np.sqrt(2) - sparsity / 2
    columns = np.array([[1.0, -1, 0], [-1, 1, 0], [s, s, 0]])
    return columns.T, np.array([-sparsity / 2, -sparsity / 2, -s])


def best_encoder(
    x: np.ndarray, p: np.ndarray, D: np.ndarray, sparsity: float, *, restarts: int = 60, steps: int = 1500,
    seed: int = 0,
) -> tuple[float, np.ndarray, np.ndarray]:  # fmt: skip
    """The least expected loss of ReLU codes of ``x (n, d)`` for a fixed ``D (m, d)``; with ``W_enc`` and ``b_enc``.

    Only the encoder moves, by Adam on the exact expected loss, from the encoders of :func:`encoder` where ``D`` has
    their size and from random ones, all at once. What it finds is an upper bound, as good as its starts.

    >>> from helpers.composition import COMPOSED, best_encoder, expected_loss, patterns
    >>> x, p = patterns(ratio=8.0)
    >>> loss, W_enc, b_enc = best_encoder(x, p, COMPOSED, sparsity=0.5, restarts=2, steps=300)
    >>> bool(abs(loss - expected_loss(x, p, COMPOSED, 0.5)) < 1e-3)
    True
    """
    m, d = D.shape
    generator = torch.Generator().manual_seed(seed)
    W = torch.randn(restarts, d, m, generator=generator, dtype=torch.float64)
    b = 0.5 * torch.randn(restarts, 1, m, generator=generator, dtype=torch.float64)
    if (m, d) == (3, 3):
        for i, kind in enumerate(("separate", "composed")[:restarts]):
            weights, bias = encoder(kind, sparsity)
            W[i], b[i, 0] = torch.as_tensor(weights), torch.as_tensor(bias)
    inputs, masses, rows = (torch.as_tensor(a, dtype=torch.float64) for a in (x, p, D))
    W.requires_grad_(), b.requires_grad_()
    adam = torch.optim.Adam([W, b], lr=0.02)

    def expected() -> torch.Tensor:
        codes = torch.relu(inputs @ W + b)
        return ((inputs - codes @ rows).pow(2).sum(-1) + sparsity * codes.sum(-1)) @ masses

    for step in range(steps):
        adam.param_groups[0]["lr"] = 0.02 * (1 - step / steps)
        adam.zero_grad()
        expected().sum().backward()
        adam.step()
    with torch.no_grad():
        losses = expected()
    at = int(losses.argmin())
    return float(losses[at]), W[at].detach().numpy(), b[at, 0].detach().numpy()
