"""The best dictionaries: exact codes, formulas, the angles of rows in a plane, and a blind search.

Three routes to the best dictionary, independent of each other: formulas for named dictionaries (:func:`threshold`), the
angles of rows in the plane of f1 and f2 (:func:`planar`), and a search over all unit rows (:func:`search`).
"""

from __future__ import annotations

from itertools import combinations, product

import numpy as np

from ..checks import one_of
from .features import NAMED, amplitudes

KINDS = ("l1", "rescaled", "l0")


def optimal_codes(x: np.ndarray, D: np.ndarray, sparsity, kind: str = "l1") -> tuple[np.ndarray, np.ndarray]:
    """Codes ``(…, n, m)`` that minimise the loss of ``x (n, d)`` under dictionaries ``D (…, m, d)``, and the losses.

    Exact: every set of active latents is tried. ``sparsity`` broadcasts over the leading axes of ``D``. ``kind`` is the
    loss of an arm: ``"l1"`` ‖x - cD‖² + λΣc; ``"l0"`` ‖x - cD‖² + λ for each active latent; ``"rescaled"`` the l1 loss
    of the gates, which are the codes returned, and a second squared error of codes of their own on the same latents.

    >>> import numpy as np
    >>> from helpers.composition import SEPARATE, optimal_codes
    >>> codes, loss = optimal_codes(np.array([[1.0, 1.0, 0.0]]), SEPARATE, sparsity=0.2)
    >>> codes.round(3).tolist(), loss.round(3).tolist()
    ([[0.9, 0.9, 0.0]], [0.38])
    """
    parts, loss = _codes(x, D, sparsity, kind)
    return parts[0], loss


def _codes(x, D, sparsity, kind: str) -> tuple[list[np.ndarray], np.ndarray]:
    """The codes of each of the loss's reconstructions (two if rescaled: gates, then magnitudes), and the loss."""
    D, one = np.asarray(D, dtype=float), one_of("kind", kind, KINDS)
    lam = np.broadcast_to(np.asarray(sparsity, dtype=float), D.shape[:-2])[..., None]
    m, energy = D.shape[-2], (x**2).sum(1)
    shrinks = {"l1": (1,), "rescaled": (1, 0), "l0": (0,)}[one]  # which reconstructions pay for the size of codes
    loss = np.broadcast_to(len(shrinks) * energy, (*D.shape[:-2], len(x))).copy()
    codes = [np.zeros((*loss.shape, m)) for _ in shrinks]
    for size in range(1, m + 1):
        for active in map(list, combinations(range(m), size)):
            rows = D[..., active, :]
            gram = rows @ rows.swapaxes(-1, -2)
            flat = np.abs(np.linalg.det(gram)) < 1e-9  # parallel rows: a smaller set does as well
            gram = gram + flat[..., None, None] * np.eye(size)
            value, better, new = size * lam * (one == "l0"), ~flat[..., None], []
            for shrink in shrinks:
                reach = rows @ x.T - shrink * lam[..., None] / 2
                c = np.linalg.solve(gram, reach)  # (…, size, n)
                value = value + energy - (c * reach).sum(-2)
                better = better & (c >= 0).all(-2)
                new.append(c)
            better = better & (value < loss)
            loss = np.where(better, value, loss)
            for i, c in enumerate(new):
                full = np.zeros_like(codes[i])
                full[..., active] = c.swapaxes(-1, -2)
                codes[i] = np.where(better[..., None], full, codes[i])
    return codes, loss


def expected_loss(x, p, D, sparsity, kind: str = "l1") -> np.ndarray:
    """Mean over inputs of the least loss of each dictionary ``D (…, m, d)``; ``kind`` as in :func:`optimal_codes`.

    >>> import numpy as np
    >>> from helpers.composition import COMPOSED, SEPARATE, expected_loss, patterns
    >>> x, p = patterns(ratio=2.0)
    >>> expected_loss(x, p, np.stack([SEPARATE, COMPOSED]), sparsity=0.2).round(3).tolist()
    [0.244, 0.329]
    """
    return optimal_codes(x, D, sparsity, kind)[1] @ p


def saving(sparsity):
    """What the latent f1+f2 saves on an input with both features.

    >>> from helpers.composition import saving
    >>> round(float(saving(0.2)), 3)
    0.107
    """
    return (2 - np.sqrt(2)) * sparsity - sparsity**2 / 4


def threshold(sparsity, kind: str = "l1"):
    """p12 / p3 above which {f1, f2, f1+f2} has the lower loss than {f1, f2, f3}.

    ``kind``: ``"l1"`` for squared error and λ‖c‖₁; ``"rescaled"`` for the loss of the gated and expanded arms, where a
    feature that is not read costs a second reconstruction too; ``"l0"`` for λ‖c‖₀, where λ < 1. It is the threshold of
    these two dictionaries; that of the best ones is :func:`best`'s ``boundary``.

    >>> from helpers.composition import threshold
    >>> round(float(threshold(0.2)), 2), round(float(threshold(0.2, "l0")), 2)
    (7.56, 4.0)
    """
    lam = np.asarray(sparsity, dtype=float)
    if not ((lam > 0) & (lam < 2)).all():
        raise ValueError(f"sparsity={sparsity!r}; expected between 0 and 2, beyond which no feature is read")
    one_of("kind", kind, KINDS)
    if kind == "l1":
        return (1 - lam / 2) ** 2 / saving(lam)
    if kind == "rescaled":
        return ((1 - lam / 2) ** 2 + 1) / saving(lam)
    return np.maximum(1 - lam, 0) / lam


def in_plane(*degrees: float) -> np.ndarray:
    """Unit rows in the plane of f1 and f2, by their angles from f1.

    >>> from helpers.composition import in_plane
    >>> in_plane(0, 90).round(6).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    a = np.radians(np.asarray(degrees, dtype=float))
    return np.stack([np.cos(a), np.sin(a), np.zeros_like(a)], axis=-1)


def planar(
    k: int, x: np.ndarray, p: np.ndarray, sparsity: float, zooms: int = 9, kind: str = "l1"
) -> tuple[float, np.ndarray]:
    """The least loss on inputs in the plane of ``k`` rows in it, and their angles: a grid, then ever finer ones."""
    plane = x[:, 2] == 0
    x, p = x[plane], p[plane]
    grid = np.arange(-15.0, 106.0, 7.5 if k > 2 else 2.5)
    found = np.array(list(combinations(grid, k)))
    step = grid[1] - grid[0]
    moves = np.array(list(product((-1.0, -0.5, 0.0, 0.5, 1.0), repeat=k)))
    for zoom in range(zooms + 1):
        rows = np.moveaxis(in_plane(*np.moveaxis(found, -1, 0)), 0, -2)
        loss = expected_loss(x, p, rows, sparsity, kind)
        best = found[np.argsort(loss, kind="stable")[: 8 if zoom < 2 else 1]]
        if zoom < zooms:
            found = (best[:, None] + step * moves).reshape(-1, k)
            step /= 2
    return float(loss.min()), np.sort(best[0])


def best(ratio: float, sparsity: float, alone: float = 1.0, width: float = 0.0, kind: str = "l1") -> dict:
    """The best dictionary with f3 and two rows in the plane, the best with three rows in the plane, and the winner.

    ``boundary`` is the p12 / p3 at which the two are equally good; ``kind`` the loss, as in :func:`optimal_codes`.

    >>> from helpers.composition import best
    >>> best(ratio=20.0, sparsity=0.2)["winner"], best(ratio=2.0, sparsity=0.2)["winner"]
    ('give', 'keep')
    """
    x, p = amplitudes(ratio, width, alone)
    rare = x[:, 2] != 0
    lost = p[rare] @ optimal_codes(x[rare], np.zeros((0, 3)), sparsity, kind)[1]
    read = lost - p[rare] @ optimal_codes(x[rare], NAMED["f3"][None], sparsity, kind)[1]  # what reading f3 saves
    two, angles = planar(2, x, p, sparsity, kind=kind)
    three, triple = planar(3, x, p, sparsity, kind=kind)
    keep = {"loss": two + lost - read, "D": np.vstack([in_plane(*angles), NAMED["f3"]]), "angles": angles}
    give = {"loss": three + lost, "D": in_plane(*triple), "angles": triple}
    boundary = ratio * read / (two - three) if two > three else np.inf
    return {"keep": keep, "give": give, "winner": "keep" if keep["loss"] <= give["loss"] else "give",
            "boundary": float(boundary)}  # fmt: skip


def search(
    x, p, sparsity, restarts: int = 200, steps: int = 400, seed: int = 0, kind: str = "l1", m: int = 3
) -> tuple[np.ndarray, np.ndarray]:
    """Blind: the best of ``restarts`` random dictionaries after alternating exact steps. Losses ``(cells,)`` and rows.

    ``p (cells, n)`` and ``sparsity (cells,)`` are many problems at once, ``m`` the number of rows. Given codes, each
    row is set to its best direction; given rows, codes are exact. No step can raise the loss.
    """
    rng, (cells, _) = np.random.default_rng(seed), p.shape
    D = rng.normal(size=(cells, restarts, m, x.shape[1]))
    D /= np.linalg.norm(D, axis=-1, keepdims=True)
    for step in range(steps):
        parts, loss = _codes(x, D, sparsity[:, None], kind)
        if step == steps // 4:  # go on with the better half
            order = np.argsort((loss * p[:, None]).sum(-1), axis=1)[:, : restarts // 2]
            D, *parts = (np.take_along_axis(a, order[..., None, None], axis=1) for a in (D, *parts))
        for j in range(m):
            row = 0.0
            for codes in parts:
                rest = x - np.einsum("crnm,crmd->crnd", codes, D) + codes[..., j, None] * D[..., None, j, :]
                row = row + np.einsum("crn,crnd->crd", codes[..., j] * p[:, None], rest)
            size = np.linalg.norm(row, axis=-1, keepdims=True)
            D[..., j, :] = np.where(size > 1e-12, row / np.maximum(size, 1e-12), D[..., j, :])
    loss = (_codes(x, D, sparsity[:, None], kind)[1] * p[:, None]).sum(-1)
    at = loss.argmin(1)
    return loss[np.arange(cells), at], D[np.arange(cells), at]
