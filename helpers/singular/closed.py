"""λ and m where a formula gives them, in any number of variables: monomials, sums of them, deep linear networks."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations
from math import ceil

from ..checks import whole, wholes


def monomial_rlct(k: Sequence[int], h: Sequence[int] | None = None) -> tuple[Fraction, int]:
    """(λ, m) of K = ∏ xⱼ^{2kⱼ} under the density ``∏ |xⱼ|^{hⱼ}`` near 0: the least (hⱼ + 1) / 2kⱼ, and how often.

    Raises ValueError unless k and h are whole numbers, as many of each, and some k is not 0.

    >>> from helpers.singular import monomial_rlct
    >>> monomial_rlct([1, 1]), monomial_rlct([1, 2]), monomial_rlct([1, 1, 3], [0, 0, 2])
    ((Fraction(1, 2), 2), (Fraction(1, 4), 1), (Fraction(1, 2), 3))
    """
    k = wholes("k", k)
    h = wholes("h", [0] * k.size if h is None else h)
    if k.ndim != 1 or h.shape != k.shape or not k.any():
        raise ValueError(f"k={k.tolist()}, h={h.tolist()}; expected two lists of the same length, and some k above 0")
    values = [Fraction(int(b) + 1, 2 * int(a)) for a, b in zip(k, h, strict=True) if a]
    return min(values), values.count(min(values))


def sum_rlct(*parts: tuple[Fraction, int]) -> tuple[Fraction, int]:
    """(λ, m) of K₁(x) + K₂(y) + … ≥ 0, each term in variables of its own: λ's add, and so do the m - 1.

    >>> from helpers.singular import monomial_rlct, sum_rlct
    >>> sum_rlct(monomial_rlct([1]), monomial_rlct([1]))  # x² + y²
    (Fraction(1, 1), 1)
    >>> sum_rlct(monomial_rlct([1, 1]), monomial_rlct([1, 1]))  # (x₁x₂)² + (y₁y₂)²
    (Fraction(1, 1), 3)
    """
    if not parts:
        raise ValueError("parts=(); expected at least one pair (λ, m)")
    return sum(_pair(part)[0] for part in parts), 1 + sum(_pair(part)[1] - 1 for part in parts)


def _pair(part) -> tuple[Fraction, int]:
    """(λ, m), checked; floats are refused, because λ is exact."""
    if isinstance(part, Sequence) and len(part) == 2 and isinstance(part[0], Fraction | int) and part[0] > 0:
        return Fraction(part[0]), whole("m", part[1], 1)
    raise ValueError(f"parts has {part!r}; expected pairs (λ, m) of a positive Fraction and a whole number")


def deep_linear_rlct(widths: Sequence[int], rank: int) -> tuple[Fraction, int]:
    """(λ, m) of the squared error of a product W_L ⋯ W₁ of matrices of ``widths`` n₀, …, n_L, if the truth has rank r.

    With Mᵢ = nᵢ - r; the ℓ + 1 layers with the smallest Mᵢ, which add up to S, for that ℓ for which none of these is
    above S / ℓ and none of the others below; and a = S - (⌈S / ℓ⌉ - 1) ℓ:

        λ = (r (n₀ + n_L) - r²) / 2 + a (ℓ - a) / 4ℓ - (ℓ - 1) S² / 4ℓ + ½ Σ_{i<j} MᵢMⱼ,    m = a (ℓ - a) + 1

    (Aoyagi 2024, https://doi.org/10.1016/j.neunet.2024.106132). Raises ValueError for fewer than two widths, widths
    below 1, or a rank that no such product has.

    >>> from helpers.singular import deep_linear_rlct
    >>> deep_linear_rlct([5, 3, 5], rank=0), deep_linear_rlct([1, 1, 1, 1], rank=0)
    ((Fraction(13, 2), 2), (Fraction(1, 2), 3))
    """
    n = wholes("widths", widths, 1)
    if n.ndim != 1 or len(n) < 2:
        raise ValueError(f"widths={widths!r}; expected a list of at least two whole numbers")
    n = [int(a) for a in n]
    r = whole("rank", rank, 0, min(n))
    M = sorted(a - r for a in n)
    l = next(l for l in range(1, len(M)) if _is_critical(M[: l + 1], M[l + 1 :]))
    S = sum(M[: l + 1])
    a = S - (ceil(Fraction(S, l)) - 1) * l
    pairs = sum(one * two for one, two in combinations(M[: l + 1], 2))
    value = Fraction(r * (n[0] + n[-1]) - r**2, 2) + Fraction(a * (l - a) - (l - 1) * S**2, 4 * l) + Fraction(pairs, 2)
    return value, a * (l - a) + 1


def _is_critical(chosen: list[int], others: list[int]) -> bool:
    """Whether Σ is the set of layers that count; at a tie both sets give the same λ and m."""
    l, S = len(chosen) - 1, sum(chosen)
    return l * chosen[-1] <= S and all(l * other >= S for other in others)
