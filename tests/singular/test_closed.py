"""Closed forms: against the resolution in two variables, each other, and a formula of another paper."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from helpers.singular import deep_linear_rlct, monomial_rlct, resolve, sum_rlct


@pytest.mark.parametrize(("a", "b"), product(range(4), repeat=2))
def test_monomials_are_what_the_resolution_says(a, b):
    if a or b:
        found = resolve(f"x**{2 * a} * y**{2 * b}")
        assert monomial_rlct([a, b]) == (found.rlct, found.multiplicity)


@pytest.mark.parametrize(("a", "b"), product(range(1, 4), repeat=2))
def test_sums_are_what_the_resolution_says(a, b):
    found = resolve(f"x**{2 * a} + y**{2 * b}")
    assert sum_rlct(monomial_rlct([a]), monomial_rlct([b])) == (found.rlct, found.multiplicity)


@pytest.mark.parametrize("chart", resolve("(y**2 - x**3)**2").charts)
def test_a_chart_is_a_monomial(chart):
    assert monomial_rlct(chart.k, chart.h) == (chart.rlct, chart.multiplicity)


@pytest.mark.parametrize(
    ("widths", "rank", "known"),
    [
        ((5, 3, 5), 0, ("13/2", 2)),
        ((5, 3, 5), 1, ("8", 1)),
        ((5, 4, 5), 0, ("8", 1)),
        ((1, 1, 1, 1), 0, ("1/2", 3)),
        ((2, 2, 2, 2), 0, ("3/2", 3)),
        ((3, 3, 3, 3), 1, ("4", 3)),
    ],
)
def test_deep_linear_networks(widths, rank, known):
    assert deep_linear_rlct(widths, rank) == (Fraction(known[0]), known[1])


def reduced_rank(M, H, N, r):
    """Aoyagi and Watanabe 2005: two matrices, M inputs, H hidden, N outputs."""
    if N + r <= M + H and M + r <= N + H and H + r <= M + N:
        odd = (M + H + N + r) % 2
        inner = -((H + r) ** 2) - M**2 - N**2 + 2 * (H + r) * (M + N) + 2 * M * N + odd
        return Fraction(inner, 8), 1 + odd
    if M + H < N + r:
        return Fraction(H * M - H * r + N * r, 2), 1
    if N + H < M + r:
        return Fraction(H * N - H * r + M * r, 2), 1
    return Fraction(M * N, 2), 1


def test_two_matrices_are_reduced_rank_regression_for_all_sizes_up_to_eight():
    for M, H, N in product(range(1, 9), repeat=3):
        for r in range(min(M, H, N) + 1):
            assert deep_linear_rlct((M, H, N), r) == reduced_rank(M, H, N, r), (M, H, N, r)


def test_one_matrix_is_regular_and_a_product_of_numbers_a_monomial():
    assert deep_linear_rlct((4, 3), 2) == (Fraction(4 * 3, 2), 1)
    for depth in range(2, 7):
        assert deep_linear_rlct([1] * (depth + 1), 0) == monomial_rlct([1] * depth)


def test_the_order_of_the_layers_does_not_matter_at_rank_zero():
    assert deep_linear_rlct((2, 5, 3, 4), 0) == deep_linear_rlct((5, 4, 3, 2), 0)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: monomial_rlct([0, 0]), "k=.*above 0"),
        (lambda: monomial_rlct([]), "k="),
        (lambda: monomial_rlct([1, 2], [0]), "same length"),
        (lambda: monomial_rlct([1.5]), "k="),
        (lambda: monomial_rlct([1], [-1]), "h="),
        (lambda: monomial_rlct(np.ones((2, 2), int)), "k="),
        (lambda: sum_rlct(), "parts"),
        (lambda: sum_rlct((0.5, 1)), "parts has"),
        (lambda: sum_rlct((Fraction(1, 2), 0)), "m=0"),
        (lambda: sum_rlct((Fraction(-1, 2), 1)), "parts has"),
        (lambda: sum_rlct(Fraction(1, 2)), "parts has"),
        (lambda: deep_linear_rlct([3], 0), "widths="),
        (lambda: deep_linear_rlct([3, 0], 0), "widths="),
        (lambda: deep_linear_rlct([3, 2, 3], 3), "rank=3"),
        (lambda: deep_linear_rlct([3, 2, 3], -1), "rank=-1"),
        (lambda: deep_linear_rlct([3, 2.5], 0), "widths="),
        (lambda: deep_linear_rlct([[3, 2]], 0), "widths="),
    ],
)
def test_nonsense_is_refused_by_name(call, named):
    with pytest.raises(ValueError, match=named):
        call()
