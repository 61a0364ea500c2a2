"""What chance alone would give: the law of the k-th largest cosine of random rows, and the bound that none can beat.

For isotropic random rows a row's n-1 cosines are independent of each other, with

    (1 + cos) / 2 ~ Beta((d-1)/2, (d-1)/2)        and        cos² ~ Beta(1/2, (d-1)/2),

so their order statistics have a closed form.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy import special

from ..checks import reals, whole


@dataclass(frozen=True)
class KthCosine:
    """The law of one row's k-th largest (absolute) cosine among n isotropic random rows; frozen, scipy-like methods.

    With ``S(x) = P(cos > x)``, S at the k-th largest of n-1 draws is Beta(k, n-k). Everything goes through S, never
    through 1-S: at n = 10⁷ the S that matter are near 10⁻⁷. Moments are integrals over the quantile's normal score.
    """

    n: int
    d: int
    k: int
    absolute: bool = False

    def _tail(self, x: np.ndarray) -> np.ndarray:
        """``P(cos > x)`` of a single cosine."""
        a = (self.d - 1) / 2
        return special.betaincc(0.5, a, x * x) if self.absolute else special.betainc(a, a, (1 - x) / 2)

    def _at_tail(self, s: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`_tail`."""
        a = (self.d - 1) / 2
        return np.sqrt(special.betainccinv(0.5, a, s)) if self.absolute else 1 - 2 * special.betaincinv(a, a, s)

    def _mirror(self) -> KthCosine | None:
        """For k past the middle the law of -x, whose tail probabilities are small: signed cosines are symmetric."""
        return None if self.absolute or 2 * self.k <= self.n else KthCosine(self.n, self.d, self.n - self.k)

    def cdf(self, x) -> np.ndarray:
        x = reals("x", x)
        if mirror := self._mirror():
            return special.betainc(mirror.k, mirror.n - mirror.k, mirror._tail(np.clip(-x, -1.0, 1.0)))
        low = 0.0 if self.absolute else -1.0
        return special.betaincc(self.k, self.n - self.k, self._tail(np.clip(x, low, 1.0)))

    def pdf(self, x) -> np.ndarray:
        x = reals("x", x)
        if mirror := self._mirror():
            return mirror.pdf(-x)
        inside = (np.abs(x) <= 1) & (x >= 0 if self.absolute else True)
        at = np.where(inside, x, 0.0)
        if self.d == 2:  # a single cosine has no density at ±1
            at = np.clip(at, np.nextafter(-1, 0), np.nextafter(1, 0))
        s, a = self._tail(at), (self.d - 1) / 2
        with np.errstate(divide="ignore"):
            log = special.xlog1py(a - 1, -at * at) - special.betaln(0.5, a) + np.log(1 + self.absolute)
        log = log + special.xlogy(self.k - 1, s) + special.xlog1py(self.n - self.k - 1, -s)
        density = np.exp(log - special.betaln(self.k, self.n - self.k))
        return np.where(np.isnan(x), np.nan, np.where(inside, density, 0.0))[()]

    def ppf(self, q) -> np.ndarray:
        q = reals("q", q)
        if mirror := self._mirror():
            return -mirror._at_tail(special.betaincinv(mirror.k, mirror.n - mirror.k, q))
        return self._at_tail(special.betainccinv(self.k, self.n - self.k, q))

    def rvs(self, size=None, *, random_state: int | np.random.Generator) -> np.ndarray:
        if not isinstance(random_state, np.random.Generator):
            whole("random_state", random_state)
        for one in size if isinstance(size, tuple) else () if size is None else (size,):
            whole("size", one)
        return self._at_tail(np.random.default_rng(random_state).beta(self.k, self.n - self.k, size))

    def mean(self) -> float:
        x, weight = self._nodes()
        return float(x @ weight)

    def std(self) -> float:
        x, weight = self._nodes()
        return float(np.sqrt((x - x @ weight) ** 2 @ weight))

    def _nodes(self) -> tuple[np.ndarray, np.ndarray]:
        """Quantiles at evenly spaced normal scores z, and the normal weights: ``E f = Σ weight · f(ppf(Φ(z)))``."""
        if mirror := self._mirror():
            x, weight = mirror._nodes()
            return -x, weight
        z = np.linspace(-9, 9, 361)
        shape, p = (self.k, self.n - self.k), special.ndtr(-np.abs(z))
        s = np.where(z > 0, special.betaincinv(*shape, p), special.betainccinv(*shape, p))
        weight = np.exp(-z * z / 2)
        return self._at_tail(s), weight / weight.sum()


def random_kth_cosine(n: int, d: int, k: int, absolute: bool = False) -> KthCosine:
    """What :func:`kth_largest_cosine` gives for one of n isotropic random rows in d dimensions: a frozen law.

    It has ``mean(), std(), ppf(q), pdf(x), cdf(x), rvs(size, random_state=…)``. Each row of one dictionary follows it;
    rows share cosines, so a histogram over them has exactly this mean and, for large n, nearly this shape.

    Raises ValueError unless ``1 ≤ k < n`` and ``d ≥ 2`` (in one dimension cosines are ±1).

    >>> from helpers.geometry import random_kth_cosine
    >>> law = random_kth_cosine(2304, 576, k=1)
    >>> round(law.mean(), 3), round(law.std(), 3), round(float(law.ppf(0.999)), 3)
    (0.144, 0.014, 0.203)
    """
    n, d, k = whole("n", n, 2), whole("d", d, 2), whole("k", k, 1)
    if k >= n:
        raise ValueError(f"k={k!r}, n={n!r}; a row has n-1 cosines, so k must be below n")
    return KthCosine(n, d, k, bool(absolute))


def welch_bound(n: int, d: int) -> float:
    """The least max |cos| that n directions in d dimensions can have: ``√((n-d) / (d(n-1)))``, and 0 for n ≤ d.

    Welch 1974. The same number bounds their *root-mean-square* cosine. :func:`helpers.geometry.packing_bound` is at
    least as large.

    >>> from helpers.geometry import welch_bound
    >>> welch_bound(3, 2), welch_bound(2, 2)  # three lines in a plane, 60° apart
    (0.5, 0.0)
    """
    n, d = whole("n", n, 1), whole("d", d, 1)
    return sqrt((n - d) / (d * (n - 1))) if n > d else 0.0
