"""Inputs made of two features that often come together and a rare one, and what a dictionary's rows read of them."""

from __future__ import annotations

from itertools import product

import numpy as np

from ..checks import finite, share, whole

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


def blocks(n: int, ratio: float, alone: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Several pairs: ``n`` copies of :func:`patterns` in dimensions of their own, of which an input shows one.

    ``x (4n, 3n)`` and ``p (4n,)``. Features of block ``i`` are the coordinates 3i, 3i + 1 (the pair) and 3i + 2.

    >>> from helpers.composition import blocks
    >>> x, p = blocks(2, ratio=2.0)
    >>> x[6].tolist(), round(float(p.sum()), 6)
    ([0.0, 0.0, 0.0, 1.0, 1.0, 0.0], 1.0)
    """
    n = whole("n", n, 1)
    x, p = patterns(ratio, alone)
    return np.kron(np.eye(n), x), np.tile(p / n, n)


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


def readers(D: np.ndarray, fires: np.ndarray) -> dict[str, int]:
    """How many pairs, rare features and members of pairs are read by a firing row of ``D (3n, 3n)`` of :func:`blocks`.

    ``sums`` of ``n`` pairs, ``rare`` of ``n`` features, ``members`` of ``2n``; ``dead`` rows. A row reads a direction
    within 22.5°, as in :func:`label`.

    >>> import numpy as np
    >>> from helpers.composition import readers
    >>> readers(np.eye(6), np.ones(6, dtype=bool))
    {'sums': 0, 'rare': 2, 'members': 4, 'dead': 0}
    """
    rows = (D / np.linalg.norm(D, axis=1, keepdims=True))[np.asarray(fires, dtype=bool)]
    first, second, third = (np.eye(D.shape[1])[i::3] for i in range(3))
    read = lambda wanted: int((rows @ wanted.T >= NEAR).any(0).sum()) if len(rows) else 0  # noqa: E731
    found = {"sums": (first + second) / np.sqrt(2), "rare": third, "members": np.vstack([first, second])}
    return {name: read(wanted) for name, wanted in found.items()} | {"dead": int((~np.asarray(fires, bool)).sum())}


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
