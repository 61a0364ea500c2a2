"""Three features, three latents: when is it cheaper, under L1, to read the pair than the rare feature?

Inputs are sums of three orthonormal features: f1 alone, f2 alone, f1 and f2 together, f3 alone. A dictionary is three
unit rows ``D (3, 3)``; its loss on an input is the least one over codes c ≥ 0 of

    ‖x - c D‖² + λ Σ c .

Three routes to the best dictionary, independent of each other: formulas for named dictionaries (:func:`threshold`), the
angles of rows in the plane of f1 and f2 (:func:`planar`), and a blind search over all unit rows (:func:`search`).
"""

from __future__ import annotations

from itertools import combinations, product

import numpy as np

from .checks import finite, one_of, share

NEAR = np.cos(np.pi / 8)  # halfway between a feature and the diagonal
DIAGONAL = np.array([1.0, 1.0, 0.0]) / np.sqrt(2)
NAMED = {"f1": np.eye(3)[0], "f2": np.eye(3)[1], "f3": np.eye(3)[2], "f1+f2": DIAGONAL}
SEPARATE = np.eye(3)
COMPOSED = np.stack([NAMED["f1"], NAMED["f2"], DIAGONAL])


def patterns(ratio: float, alone: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Inputs ``x (4, 3)`` and their probabilities ``p (4,)``: f1, f2, f1 and f2, f3.

    ``ratio`` is p12 / p3, ``alone`` is p1 / p12 = p2 / p12.

    >>> from helpers.composition import patterns
    >>> x, p = patterns(ratio=2.0)
    >>> x.tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    >>> p.round(3).tolist()
    [0.286, 0.286, 0.286, 0.143]
    """
    ratio, alone = finite("ratio", ratio, above=0), finite("alone", alone, above=0)
    x = np.array([[1.0, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1]])
    p = np.array([alone, alone, 1.0, 1 / ratio])
    return x, p / p.sum()


def amplitudes(ratio: float, width: float, alone: float = 1.0, n: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """As :func:`patterns`, with each active feature's amplitude uniform on ``[1 - width, 1 + width]`` by itself.

    Gauss–Legendre: ``n`` points for one feature, ``n²`` for two.
    """
    share("width", width)
    nodes, weights = np.polynomial.legendre.leggauss(n if width else 1)
    nodes, weights = 1 + width * nodes, weights / weights.sum()
    rows, masses = [], []
    for pattern, mass in zip(*patterns(ratio, alone), strict=True):
        on = np.flatnonzero(pattern)
        for picks in product(range(len(nodes)), repeat=len(on)):
            row = np.zeros(3)
            row[on] = nodes[list(picks)]
            rows.append(row)
            masses.append(mass * np.prod(weights[list(picks)]))
    return np.array(rows), np.array(masses)


def optimal_codes(x: np.ndarray, D: np.ndarray, sparsity) -> tuple[np.ndarray, np.ndarray]:
    """Codes ``(…, n, m)`` that minimise the loss of ``x (n, d)`` under dictionaries ``D (…, m, d)``, and the losses.

    Exact: every set of active latents is tried. ``sparsity`` broadcasts over the leading axes of ``D``.

    >>> import numpy as np
    >>> from helpers.composition import SEPARATE, optimal_codes
    >>> codes, loss = optimal_codes(np.array([[1.0, 1.0, 0.0]]), SEPARATE, sparsity=0.2)
    >>> codes.round(3).tolist(), loss.round(3).tolist()
    ([[0.9, 0.9, 0.0]], [0.38])
    """
    D = np.asarray(D, dtype=float)
    lam = np.broadcast_to(np.asarray(sparsity, dtype=float), D.shape[:-2])[..., None]
    m, energy = D.shape[-2], (x**2).sum(1)
    loss = np.broadcast_to(energy, (*D.shape[:-2], len(x))).copy()
    codes = np.zeros((*loss.shape, m))
    for size in range(1, m + 1):
        for active in map(list, combinations(range(m), size)):
            rows = D[..., active, :]
            gram = rows @ rows.swapaxes(-1, -2)
            flat = np.abs(np.linalg.det(gram)) < 1e-9  # parallel rows: a smaller set does as well
            gram = gram + flat[..., None, None] * np.eye(size)
            reach = rows @ x.T - lam[..., None] / 2
            c = np.linalg.solve(gram, reach)  # (…, size, n)
            value = energy - (c * reach).sum(-2)
            better = (c >= 0).all(-2) & ~flat[..., None] & (value < loss)
            loss = np.where(better, value, loss)
            new = np.zeros_like(codes)
            new[..., active] = c.swapaxes(-1, -2)
            codes = np.where(better[..., None], new, codes)
    return codes, loss


def expected_loss(x, p, D, sparsity) -> np.ndarray:
    """Mean over inputs of the least loss of each dictionary ``D (…, m, d)``.

    >>> import numpy as np
    >>> from helpers.composition import COMPOSED, SEPARATE, expected_loss, patterns
    >>> x, p = patterns(ratio=2.0)
    >>> expected_loss(x, p, np.stack([SEPARATE, COMPOSED]), sparsity=0.2).round(3).tolist()
    [0.244, 0.329]
    """
    return optimal_codes(x, D, sparsity)[1] @ p


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
    feature that is not read costs a second reconstruction too; ``"l0"`` for λ‖c‖₀, where λ < 1.

    >>> from helpers.composition import threshold
    >>> round(float(threshold(0.2)), 2), round(float(threshold(0.2, "l0")), 2)
    (7.56, 4.0)
    """
    lam = np.asarray(sparsity, dtype=float)
    if not ((lam > 0) & (lam < 2)).all():
        raise ValueError(f"sparsity={sparsity!r}; expected between 0 and 2, beyond which no feature is read")
    one_of("kind", kind, ("l1", "rescaled", "l0"))
    if kind == "l1":
        return (1 - lam / 2) ** 2 / saving(lam)
    if kind == "rescaled":
        return ((1 - lam / 2) ** 2 + 1) / saving(lam)
    return np.maximum(1 - lam, 0) / lam


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


def in_plane(*degrees: float) -> np.ndarray:
    """Unit rows in the plane of f1 and f2, by their angles from f1.

    >>> from helpers.composition import in_plane
    >>> in_plane(0, 90).round(6).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    a = np.radians(np.asarray(degrees, dtype=float))
    return np.stack([np.cos(a), np.sin(a), np.zeros_like(a)], axis=-1)


def planar(k: int, x: np.ndarray, p: np.ndarray, sparsity: float, zooms: int = 9) -> tuple[float, np.ndarray]:
    """The least loss on inputs in the plane of ``k`` rows in it, and their angles: a grid, then ever finer ones."""
    plane = x[:, 2] == 0
    x, p = x[plane], p[plane]
    grid = np.arange(-15.0, 106.0, 2.5 if k == 2 else 7.5)
    found = np.array(list(combinations(grid, k)))
    step = grid[1] - grid[0]
    moves = np.array(list(product((-1.0, -0.5, 0.0, 0.5, 1.0), repeat=k)))
    for zoom in range(zooms + 1):
        loss = expected_loss(x, p, np.moveaxis(in_plane(*np.moveaxis(found, -1, 0)), 0, -2), sparsity)
        best = found[np.argsort(loss, kind="stable")[: 8 if zoom < 2 else 1]]
        if zoom < zooms:
            found = (best[:, None] + step * moves).reshape(-1, k)
            step /= 2
    return float(loss.min()), np.sort(best[0])


def best(ratio: float, sparsity: float, alone: float = 1.0, width: float = 0.0) -> dict:
    """The best dictionary with f3 and two rows in the plane, the best with three rows in the plane, and the winner.

    ``boundary`` is the p12 / p3 at which the two are equally good.

    >>> from helpers.composition import best
    >>> best(ratio=20.0, sparsity=0.2)["winner"], best(ratio=2.0, sparsity=0.2)["winner"]
    ('give', 'keep')
    """
    x, p = amplitudes(ratio, width, alone)
    rare = x[:, 2] != 0
    amplitude = x[rare, 2]
    read = (p[rare] * np.maximum(amplitude - sparsity / 2, 0) ** 2).sum()  # what reading f3 saves
    lost = (p[rare] * amplitude**2).sum()
    two, angles = planar(2, x, p, sparsity)
    three, triple = planar(3, x, p, sparsity)
    keep = {"loss": two + lost - read, "D": np.vstack([in_plane(*angles), NAMED["f3"]]), "angles": angles}
    give = {"loss": three + lost, "D": in_plane(*triple), "angles": triple}
    boundary = ratio * read / (two - three) if two > three else np.inf
    return {"keep": keep, "give": give, "winner": "keep" if keep["loss"] <= give["loss"] else "give",
            "boundary": float(boundary)}  # fmt: skip


def search(x, p, sparsity, restarts: int = 200, steps: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Blind: the best of ``restarts`` random dictionaries after alternating exact steps. Losses ``(cells,)`` and rows.

    ``p (cells, n)`` and ``sparsity (cells,)`` are many problems at once. Given codes, each row is set to its best
    direction; given rows, codes are exact. No step can raise the loss.
    """
    rng, (cells, _) = np.random.default_rng(seed), p.shape
    D = rng.normal(size=(cells, restarts, 3, 3))
    D /= np.linalg.norm(D, axis=-1, keepdims=True)
    for step in range(steps):
        codes, loss = optimal_codes(x, D, sparsity[:, None])
        if step == steps // 4:  # go on with the better half
            order = np.argsort((loss * p[:, None]).sum(-1), axis=1)[:, : restarts // 2]
            D, codes = (np.take_along_axis(a, order[..., None, None], axis=1) for a in (D, codes))
        weighted = codes * p[:, None, :, None]
        for j in range(3):
            rest = x - np.einsum("crnm,crmd->crnd", codes, D) + codes[..., j, None] * D[..., None, j, :]
            row = np.einsum("crn,crnd->crd", weighted[..., j], rest)
            size = np.linalg.norm(row, axis=-1, keepdims=True)
            D[..., j, :] = np.where(size > 1e-12, row / np.maximum(size, 1e-12), D[..., j, :])
    loss = (optimal_codes(x, D, sparsity[:, None])[1] * p[:, None]).sum(-1)
    at = loss.argmin(1)
    return loss[np.arange(cells), at], D[np.arange(cells), at]


def label(D: np.ndarray, fires: np.ndarray | None = None) -> str:
    """What the rows of ``D (m, 3)`` read: for each, the named direction within 22.5°, else ``other``; sorted.

    ``fires (m,)`` says which latents fire on some input; the others are ``dead``.

    >>> from helpers.composition import COMPOSED, label
    >>> label(COMPOSED)
    'f1 f1+f2 f2'
    """
    names = []
    for j, row in enumerate(D / np.linalg.norm(D, axis=1, keepdims=True)):
        name, cosine = max(((n, float(row @ v)) for n, v in NAMED.items()), key=lambda pair: pair[1])
        alive = fires is None or bool(fires[j])
        names.append((name if cosine >= NEAR else "other") if alive else "dead")
    return " ".join(sorted(names))


def kind(reads: str) -> str:
    """Which of the dictionaries that can be best has this :func:`label`, else ``other``.

    ``separate`` f1, f2, f3; ``composed`` f1, f2, f1+f2; ``merged`` f3, f1+f2 and one of f1 and f2.

    >>> from helpers.composition import kind
    >>> kind("f1 f1+f2 f2")
    'composed'
    """
    return {
        "f1 f2 f3": "separate",
        "f1 f1+f2 f2": "composed",
        "f1 f1+f2 f3": "merged",
        "f1+f2 f2 f3": "merged",
    }.get(reads, "other")


def composes(reads: str) -> bool:
    """Whether some latent reads f1+f2.

    >>> from helpers.composition import composes
    >>> composes("f1 f1+f2 f2"), composes("f1 f2 f3")
    (True, False)
    """
    return "f1+f2" in reads.split()
