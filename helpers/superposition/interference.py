"""How much features in superposition disturb each other: exact laws for random directions, and the bounds in use.

There are ``m`` features with unit directions ``d_1 … d_m`` in ``n`` dimensions, independent and uniform. A set ``A`` of
``l`` of them is active with amplitudes ``a_j`` (all 1 unless said otherwise), and feature ``i`` is read off linearly:

    x = Σ_{j∈A} a_j d_j                    y_i = d_i · x = a_i [i∈A] + interference

A threshold readout says *on* where ``y_i > θ``. An inactive feature above θ is a false alarm, an active one below
a miss.

**Exact.** The overlap ``c = d_i · d_j`` has ``c² ~ Beta(½, (n-1)/2)``. An inactive ``d_i`` does not know ``x``, so
given the length ``R = ‖x‖`` all inactive readouts are independent, each ``R`` times a fresh overlap:

    P(y_i > θ | R) = P(c > θ/R)            P(no false alarm) = E_R[ P(c ≤ θ/R)^(m-l) ]

``R²`` adds up like a random walk, ``R²_{k+l} = R²_k + R²_l + 2 R_k R_l c``. :func:`squared_length` carries that
through as a Gauss rule, which has the first ``2·NODES - 1`` moments of ``R²`` exactly; all else is a sum over its
nodes.

**Bounds.** Misses of different active features are not independent given ``R``. :func:`any_error` brackets them by the
union bound; with ``l ≪ m`` and θ = ½ the bracket is narrow. **Approximate** is what has ``gaussian`` in its name.

Arguments broadcast. ``n``, ``m`` and ``l`` are whole numbers, readouts are in units of a feature's mean amplitude;
anything else raises a ``ValueError`` that names the argument.

Sources: the dispute, [Linsefors 2024, "Some costs of superposition", with its comments]; linear against nonlinear
readout in the worst case [Garg, Kleinberg, Peng, arXiv:2602.11246]. The lower bound on the largest overlap is
:func:`helpers.geometry.welch_bound`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import optimize, special, stats
from scipy.linalg import eigh_tridiagonal

from ..checks import one_of, reals, whole, wholes

NODES = 32
AMPLITUDES = ("unit", "uniform")


class Rule(NamedTuple):
    """A discrete law: ``nodes (k,)`` with probabilities ``weights (k,)``."""

    nodes: np.ndarray
    weights: np.ndarray


class AnyError(NamedTuple):
    """Probability that at least one of ``m`` readouts is wrong, in parts."""

    false_alarm: np.ndarray  # exact: some inactive feature is above the threshold
    miss: np.ndarray  # exact: one given active feature is below it
    lower: np.ndarray  # bound: the larger of the two
    upper: np.ndarray  # bound: false_alarm + l · miss, at most 1


def overlap_law(n: int):
    """The exact law of ``d_i · d_j``: a frozen scipy law (``pdf``, ``cdf``, ``sf``, ``ppf``, ``mean``, ``std`` = 1/√n).

    ``(1 + c)/2 ~ Beta((n-1)/2, (n-1)/2)``, which is ``c² ~ Beta(½, (n-1)/2)`` with a fair sign.

    >>> from helpers.superposition import overlap_law
    >>> law = overlap_law(64)
    >>> float(law.mean()), round(float(law.std()), 6)
    (0.0, 0.125)
    """
    wholes("n", n, 2)
    return stats.beta((n - 1) / 2, (n - 1) / 2, loc=-1, scale=2)


def overlap_sf(n: int, c) -> np.ndarray:
    """``P(d_i · d_j > c)``, exact, with full relative accuracy in the upper tail.

    >>> from helpers.superposition import overlap_sf
    >>> round(float(overlap_sf(3, 0.5)), 6)  # in three dimensions an overlap is uniform
    0.25
    """
    n, c = wholes("n", n, 2), reals("c", c)
    tail = special.betaincc(0.5, (n - 1) / 2, np.clip(c, -1, 1) ** 2) / 2
    return np.where(c >= 0, tail, 1 - tail)


def squared_length(n: int, l: int, amplitude: str = "unit") -> Rule:
    """Law of ``R² = ‖Σ a_j d_j‖²`` over ``l`` active features, as a Gauss rule of at most ``NODES`` nodes.

    Mean ``l E[a²]``; for unit amplitudes variance ``2 l(l-1)/n``. The rule of ``l`` is made from those of its halves:
    ``E[(R²_k + R²_l + 2 R_k R_l c)^p]`` needs moments of ``R²_k``, ``R²_l`` up to ``p`` only, so they stay exact.

    >>> from helpers.superposition import squared_length
    >>> rule = squared_length(64, 8)
    >>> round(float(rule.weights @ rule.nodes), 6)
    8.0
    """
    one_of("amplitude", amplitude, AMPLITUDES)
    return _squared_length(whole("n", n, 2), whole("l", l, 0), amplitude)


@lru_cache(maxsize=4096)
def _squared_length(n: int, l: int, amplitude: str) -> Rule:
    if l == 0:
        return Rule(np.zeros(1), np.ones(1))
    if l == 1:
        a = _amplitude(amplitude)
        return _gauss(a.nodes**2, a.weights)
    one, two = (_squared_length(n, part, amplitude) for part in (l // 2, l - l // 2))
    c, w = special.roots_gegenbauer(NODES, (n - 2) / 2) if n > 2 else special.roots_chebyt(NODES)
    s, t = one.nodes[:, None, None], two.nodes[:, None]
    nodes = s + t + 2 * np.sqrt(s * t) * c
    weights = one.weights[:, None, None] * two.weights[:, None] * (w / w.sum())
    return _gauss(nodes.ravel(), weights.ravel())


@lru_cache
def _amplitude(amplitude: str) -> Rule:
    """Law of one amplitude: always 1, or uniform between ½ and 1½."""
    if amplitude == "unit":
        return Rule(np.ones(1), np.ones(1))
    a, w = special.roots_legendre(2 * NODES)
    return Rule(1 + a / 2, w / 2)


def _gauss(nodes: np.ndarray, weights: np.ndarray) -> Rule:
    """The ``NODES``-point Gauss rule of a discrete law (Lanczos with full reorthogonalisation): same moments."""
    mean = weights @ nodes
    spread = np.sqrt(weights @ (nodes - mean) ** 2)
    if spread <= 1e-12 * abs(mean):
        return Rule(np.array([mean]), np.ones(1))
    t, basis = (nodes - mean) / spread, np.empty((NODES, len(nodes)))
    basis[0] = np.sqrt(weights / weights.sum())
    diagonal, off = [], []
    for k in range(NODES):
        v = t * basis[k]
        diagonal.append(basis[k] @ v)
        for _ in range(2):
            v -= (basis[: k + 1] @ v) @ basis[: k + 1]
        norm = np.linalg.norm(v)
        if k == NODES - 1 or norm < 1e-10:
            break
        off.append(norm)
        basis[k + 1] = v / norm
    values, vectors = eigh_tridiagonal(np.array(diagonal), np.array(off))
    return Rule(np.maximum(mean + spread * values, 0), vectors[0] ** 2)


class Interference:
    """Exact law of the interference of ``l`` active features on one that is not among them: ``R`` times an overlap.

    Symmetric, ``std = √(l E[a²]/n)``. ``cdf``, ``sf``, ``pdf`` and ``ppf`` take arrays; shapes are kept.

    >>> from helpers.superposition import Interference
    >>> law = Interference(64, 4)
    >>> round(law.std(), 6), round(float(law.sf(0.0)), 6)
    (0.25, 0.5)
    """

    def __init__(self, n: int, l: int, amplitude: str = "unit"):
        self.n, self.l, self.rule = n, l, squared_length(n, l, amplitude)
        self.lengths = np.sqrt(self.rule.nodes)

    def sf(self, y) -> np.ndarray:
        return overlap_sf(self.n, self._scaled(y)) @ self.rule.weights

    def cdf(self, y) -> np.ndarray:
        return self.sf(-reals("y", y))

    def pdf(self, y) -> np.ndarray:
        if self.l == 0:
            raise ValueError("l=0: the interference of nothing is exactly 0 and has no density; expected l ≥ 1")
        return overlap_law(self.n).pdf(self._scaled(y)) @ (self.rule.weights / self.lengths)

    def ppf(self, q) -> np.ndarray:
        q, top = reals("q", q), self.lengths.max()
        if not ((q >= 0) & (q <= 1)).all():
            raise ValueError(f"q={q!r}; expected numbers from 0 to 1")
        return np.vectorize(lambda p: optimize.brentq(lambda y: self.cdf(y) - p, -top, top), otypes=[float])(q)

    def mean(self) -> float:
        return 0.0

    def std(self) -> float:
        return float(np.sqrt(self.rule.nodes @ self.rule.weights / self.n))

    def _scaled(self, y) -> np.ndarray:
        y = reals("y", y)[..., None]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.lengths > 0, y / self.lengths, np.sign(y) * np.inf)


def false_alarm(n, l, threshold=0.5, amplitude: str = "unit") -> np.ndarray:
    """Exact probability that one inactive feature is read as on.

    >>> from helpers.superposition import false_alarm
    >>> false_alarm(64, [2, 4]).round(3).tolist()
    [0.002, 0.023]
    """
    _strict_shares("threshold", threshold)
    return _each(lambda n, l, t: Interference(n, l, amplitude).sf(t), n, l, threshold)


def miss(n, l, threshold=0.5, amplitude: str = "unit") -> np.ndarray:
    """Exact probability that one active feature, disturbed by the ``l - 1`` others, is read as off.

    >>> from helpers.superposition import miss
    >>> miss(64, [2, 4]).round(3).tolist()
    [0.0, 0.01]
    """
    _strict_shares("threshold", threshold), wholes("l", l, 1)
    a = _amplitude(amplitude)
    return _each(lambda n, l, t: Interference(n, l - 1, amplitude).cdf(t - a.nodes) @ a.weights, n, l, threshold)


def per_feature_error(n, m, l, threshold=0.5, amplitude: str = "unit") -> np.ndarray:
    """Exact expected fraction of the ``m`` readouts that are wrong.

    >>> from helpers.superposition import per_feature_error
    >>> round(float(per_feature_error(64, 256, 4)), 4)
    0.0225
    """
    _fits(m, l)
    m, l = np.asarray(m, dtype=float), np.asarray(l)
    wrong = (m - l) * false_alarm(n, l, threshold, amplitude) + l * miss(n, l, threshold, amplitude)
    return wrong / m


def any_error(n, m, l, threshold=0.5, amplitude: str = "unit") -> AnyError:
    """Probability that any of the ``m`` readouts is wrong: exact for false alarms, a bracket for all errors.

    >>> from helpers.superposition import any_error
    >>> seen = any_error(64, 256, 2)
    >>> round(float(seen.lower), 3), round(float(seen.upper), 3)
    (0.393, 0.393)
    """
    _fits(m, l), _strict_shares("threshold", threshold)

    def alarm(n, m, l, t):
        law = Interference(n, l, amplitude)
        return -np.expm1((m - l) * np.log1p(-overlap_sf(n, law._scaled(t)))) @ law.rule.weights

    alarm, one = np.minimum(_each(alarm, n, m, l, threshold), 1.0), miss(n, l, threshold, amplitude)
    return AnyError(alarm, one, np.maximum(alarm, one), np.minimum(alarm + np.asarray(l) * one, 1.0))


def gaussian_error(n, l, threshold=0.5) -> np.ndarray:
    """Approximate ``false_alarm``: interference taken as normal with standard deviation √(l/n).

    >>> from helpers.superposition import gaussian_error
    >>> round(float(gaussian_error(64, 16)), 3)
    0.159
    """
    n, l = wholes("n", n, 1), wholes("l", l, 1)
    return stats.norm.sf(reals("threshold", threshold) * np.sqrt(n / l))


def gaussian_any_error(n, m, l, threshold=0.5) -> np.ndarray:
    """Approximate ``any_error``: normal interference, all ``m`` readouts independent.

    >>> from helpers.superposition import gaussian_any_error
    >>> round(float(gaussian_any_error(64, 256, 2)), 3)
    0.451
    """
    return -np.expm1(wholes("m", m, 1) * np.log1p(-gaussian_error(n, l, threshold)))


def _each(fn, n, *rest) -> np.ndarray:
    wholes("n", n, 2)
    arrays = np.broadcast_arrays(n, *rest)
    if not arrays[0].size:
        return np.empty(arrays[0].shape)
    out = np.array([float(fn(*(v.item() for v in point))) for point in np.nditer(arrays, flags=["refs_ok"])])
    return out.reshape(arrays[0].shape)[()]


def _fits(m, l) -> None:
    wholes("m", m, 1), wholes("l", l, 1)
    if np.any(np.asarray(l) > np.asarray(m)):
        raise ValueError(f"l={l!r} is above m={m!r}; expected at most as many active features as features")


def _strict_shares(name: str, values) -> None:
    seen = reals(name, values)
    if not np.all((seen > 0) & (seen < 1)):
        raise ValueError(f"{name}={values!r}; expected numbers strictly between 0 and 1")
