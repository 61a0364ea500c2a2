"""Estimates of learning coefficients and volumes, held against exact values."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import t as student
from sympy import lambdify

from helpers.singular import (
    Coefficient,
    box_zeta,
    effective_size,
    exact_coefficient,
    extrapolate,
    gaussian_zeta,
    local_learning_coefficient,
    resolve,
    resolved_coefficient,
    split_r_hat,
    volume_exponent,
)


def monomial(*k):
    return lambda w: torch.prod(w ** (2 * torch.tensor(k)), 1)


def wide_inside(w):  # the product of a 2 × 1 and a 1 × 3 matrix
    return (w[:, :2] ** 2).sum(1) * (w[:, 2:] ** 2).sum(1)


# name: K, variables, what surrounds it, its exact law
KNOWN = {
    "xy": (monomial(1, 1), 2, {}, (box_zeta([1, 1]), 1 / 2)),
    "x²y²": (monomial(2, 2), 2, {}, (box_zeta([2, 2]), 1 / 4)),
    "xy³": (monomial(1, 3), 2, {}, (box_zeta([1, 3]), 1 / 6)),
    "network 1-1-1-1": (monomial(1, 1, 1), 3, {"localiser": 1.0, "radius": 8.0}, (gaussian_zeta([1, 1, 1]), 1 / 2)),
    "network 2-1-3": (wide_inside, 5, {"localiser": 1.0, "radius": 8.0}, (gaussian_zeta([2, 3]), 1.0)),
}


@pytest.mark.parametrize("t", [1e2, 1e4, 1e6])
@pytest.mark.parametrize("powers, rlct, density", [
    ((1, 1), 0.5, lambda s: s / 4 * np.exp(-s / 2)),
    ((1, 2), 0.25, lambda s: 0.5 * (np.exp(-s / 4) - np.exp(-s / 2)) / 2),
])  # fmt: skip
def test_the_exact_law_is_the_integral_over_the_losses_own_density(t, powers, rlct, density):
    # the density of -log K for uniform variables, by hand; no zeta function
    def moment(power):
        at = {"limit": 500, "points": [np.log(t)]}
        return quad(lambda s: density(s) * (t * np.exp(-s)) ** power * np.exp(-t * np.exp(-s)), 0, 300, **at)[0]

    assert exact_coefficient(box_zeta(powers), rlct, t) == pytest.approx(moment(1) / moment(0), rel=1e-6)


def test_the_exact_law_of_a_parabola_in_a_wide_gaussian_is_known_in_closed_form():
    # K = |a|², a ~ N(0, 1) in n dimensions: the posterior is N(0, 1/(1 + 2t))
    for n, t in ((1, 10.0), (3, 1e4)):
        assert exact_coefficient(gaussian_zeta([n]), n / 2, t) == pytest.approx(n * t / (1 + 2 * t), rel=1e-8)


def test_the_logarithm_is_still_missing_at_a_million():
    assert exact_coefficient(box_zeta([1, 1]), 0.5, 1e6) == pytest.approx(0.4366, abs=1e-4)
    assert exact_coefficient(box_zeta([1, 3]), 1 / 6, 1e6) == pytest.approx(1 / 6, abs=2e-3)


@pytest.mark.parametrize("name", KNOWN)
def test_intervals_cover_the_exact_value_in_nine_runs_of_ten(name):
    K, d, around, (zeta, rlct) = KNOWN[name]
    exact, runs, each = exact_coefficient(zeta, rlct, 1000), 100, 8
    # chains don't depend on what runs beside them, so all runs go as one
    found = local_learning_coefficient(K, [0.0] * d, 1000, chains=runs * each, draws=50, **around)
    means = found.chains.reshape(runs, each)
    half = student.ppf(0.975, each - 1) * means.std(1, ddof=1) / np.sqrt(each)
    assert (np.abs(means.mean(1) - exact) <= half).mean() >= 0.9
    assert found.r_hat < 1.02 and found.effective > runs * each


def test_a_chain_does_not_depend_on_its_neighbours():
    for sampler in ("slice", "sgld"):
        few, many = (
            local_learning_coefficient(monomial(1, 1), [0.0, 0.0], 100, chains=n, draws=10, sampler=sampler)
            for n in (2, 5)
        )
        assert np.array_equal(few.chains, many.chains[:2])


def test_sgld_agrees_where_nothing_is_singular_and_its_step_biases_it():
    def parabola(w):
        return (w**2).sum(1)

    # the stationary variance of x ← (1 - ηt) x + √η ξ is 1 / (t (2 - ηt)), so the estimate is 1 / (1 - ηt/2)
    for step, expected in ((0.05, 1 / 0.975), (0.8, 1 / 0.6)):
        found = local_learning_coefficient(parabola, [0.0, 0.0], 1000, sampler="sgld", step=step / 1000, draws=1500)
        assert found.interval[0] < expected < found.interval[1]
        assert found.interval[1] - found.interval[0] < 0.2


def test_batches_are_drawn_by_the_callers_function():
    calls = []

    def noisy(w, generator):
        calls.append(1)
        return (w**2).sum(1) * (1 + 0.1 * torch.randn((), generator=generator, dtype=w.dtype))

    found = local_learning_coefficient(
        lambda w: (w**2).sum(1), [0.0, 0.0], 1000, sampler="sgld", gradient_of=noisy, draws=500, burn_in=100, thin=2
    )
    assert len(calls) == 1200 and found.interval[0] < 1.05 and found.interval[1] > 0.95


def perfect(t, zeta, rlct):
    value = exact_coefficient(zeta, rlct, t)
    return Coefficient(value, (value, value), t, 1.0, 1.0, np.full(8, value), 0)


@pytest.mark.parametrize("name", ["xy", "x²y²", "network 1-1-1-1"])
def test_two_temperatures_take_most_of_the_logarithm_away(name):
    zeta, rlct = KNOWN[name][3]
    a, b = (perfect(t, zeta, rlct) for t in (1e3, 1e6))
    assert abs(extrapolate(a, b)[0] - rlct) < 0.5 * abs(b.value - rlct)
    with pytest.raises(ValueError, match=r"low\.t=1e\+06 and high\.t=1000"):
        extrapolate(b, a)


def test_an_extrapolated_interval_is_wider_than_its_parts():
    a, b = (local_learning_coefficient(monomial(1, 1), [0, 0], t, chains=8, draws=50) for t in (1e2, 1e4))
    value, (low, high) = extrapolate(a, b)
    assert low < value < high and high - low > b.interval[1] - b.interval[0]


@pytest.mark.parametrize("K", [
    "(y**2 - x**3)**2", "(x**3 + x*y**3)**2", "(y - x**2)**2 + x**6", "(x**4 + x**2*y**2 + y**5)**2",
    "x**2 + y**2", "((y**2 - x**3)**2 + x**5*y)**2",
])  # fmt: skip
def test_charts_and_slices_agree(K):
    resolution = resolve(K)
    zero = next(z for z in resolution.zeros if z.at is not None)
    charts = resolved_coefficient(resolution, zero, 1000)
    loss = lambdify(["x", "y"], K)

    slices = local_learning_coefficient(lambda w: loss(*w.T), [0, 0], 1000, chains=32, draws=250)
    half = np.hypot(*((r.interval[1] - r.interval[0]) / 2 for r in (charts, slices)))
    assert abs(charts.value - slices.value) < 1.5 * half
    assert charts.effective > 5000 and half < 0.06 * charts.value


def test_charts_reach_the_exact_value():
    for text, k, rlct in (("x**2*y**2", [1, 1], 1 / 2), ("x**2*y**6", [1, 3], 1 / 6), ("x**4*y**4", [2, 2], 1 / 4)):
        resolution = resolve(text)
        for t in (1e2, 1e4, 1e8):
            found = resolved_coefficient(resolution, resolution.zeros[0], t, draws=400_000)
            assert found.value == pytest.approx(exact_coefficient(box_zeta(k), rlct, t), rel=0.02)


@pytest.mark.parametrize("K, center, radius, rlct", [
    ("(x - 1)**2 + y**2", (1, 0), 1.0, 1), ("((y - 1)**2 - (x - 1)**3)**2", (1, 1), 1.0, 5 / 12),
    ("(x**2 - 2)**2 + y**2", (2**0.5, 0), 0.5, 1),
])  # fmt: skip
def test_volumes_in_charts_do_not_mind_where_the_zero_is(K, center, radius, rlct):
    found = volume_exponent(K, center, radius)
    low, high = found.multiplicity_interval
    assert found.rlct == pytest.approx(rlct, abs=0.005) and low < 1 < high < 2


@pytest.mark.parametrize("arguments, message", [
    ({"K": "x**2*y**2/10**40"}, "K reaches .*e-41 in the box"),
    ({"K": "x**2 + y**2", "center": (1, 0)}, "is no special zero of K"),
    ({"K": lambda w: (w**2).sum(1), "least": 0.1, "points": 100}, "expected a smaller least"),
])  # fmt: skip
def test_volumes_out_of_reach_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        volume_exponent(**arguments)


def test_a_curve_of_zeros_is_no_point():
    resolution = resolve("x**2*y**2")
    with pytest.raises(ValueError, match="is a curve; expected a point"):
        resolved_coefficient(resolution, resolution.zeros[1], 1000)


@pytest.mark.parametrize("K, rlct, m", [(monomial(1, 1), 1 / 2, 2), (monomial(1, 3), 1 / 6, 1)])
def test_the_volume_tells_one_divisor_from_two(K, rlct, m):
    found = volume_exponent(K, [0, 0])
    low, high = found.multiplicity_interval
    assert low < m < high and not low < 3 - m < high
    assert found.rlct_interval[0] - 0.01 < rlct < found.rlct_interval[1] + 0.01


def test_the_volume_of_a_disc():
    found = volume_exponent(lambda w: (w**2).sum(1), [1.0, -1.0], radius=2.0, runs=8)
    inside = found.epsilon < 4
    expected = np.pi * found.epsilon[inside] / 16  # as a share of the box
    assert np.abs(np.log(found.volume.mean(0)[inside] / expected)).max() < 0.25


@pytest.mark.parametrize("change, message", [
    ({"K": lambda w: w[:, 0]}, "K is negative at"),
    ({"K": lambda w: w[:, 0] ** 2 + 1}, "K comes no lower than 1"),
    ({"K": lambda w: torch.relu(w[:, 0])}, "K vanishes on a part of the box"),
    ({"K": lambda w: w / 0}, r"K gave shape \(800, 2\)"),
    ({"K": lambda w: w[:, 0] / 0}, "K is not finite at"),
    ({"radius": 0}, "radius=0; expected a finite number above 0"),
    ({"runs": 1}, "runs=1; expected a whole number of at least 4"),
    ({"least": -1}, "least=-1; expected a finite number above 0"),
])  # fmt: skip
def test_volume_names_what_is_wrong(change, message):
    arguments = {"K": monomial(1, 1), "center": [0, 0], "runs": 8, "points": 100} | change
    with pytest.raises(ValueError, match=message):
        volume_exponent(**arguments)


@pytest.mark.parametrize("change, message", [
    ({"t": 0}, "t=0; expected a finite number above 0"),
    ({"sampler": "hmc"}, "sampler='hmc'; expected one of slice, sgld"),
    ({"chains": 1}, "chains=1"),
    ({"draws": 3}, "draws=3"),
    ({"localiser": -1}, "localiser=-1"),
    ({"K": lambda w: w[:, 0] / 0}, "K is not finite at"),
    ({"K": lambda w: w.sum()}, r"K gave shape \(\) for \(1, 2\) points"),
    ({"sampler": "sgld", "step": 1e300, "t": 1e10, "K": lambda w: w[:, 0] + 1}, "step=1e\\+300: a step of SGLD led"),
])  # fmt: skip
def test_the_estimator_names_what_is_wrong(change, message):
    arguments = {"K": monomial(1, 1), "center": [0, 0], "t": 100, "draws": 10} | change
    with pytest.raises(ValueError, match=message):
        local_learning_coefficient(**arguments)


def test_diagnostics_of_chains_whose_answer_is_known():
    rng = np.random.default_rng(0)
    draws = np.zeros((8, 20_000))
    for i in range(1, draws.shape[1]):
        draws[:, i] = 0.9 * draws[:, i - 1] + rng.normal(size=8)
    # an autoregression with 0.9 is worth 1 - 0.9 over 1 + 0.9 of its draws
    assert effective_size(draws) == pytest.approx(draws.size / 19, rel=0.1)
    assert split_r_hat(draws) < 1.01 < 1.1 < split_r_hat(draws + 3 * np.arange(8)[:, None])
    drifting = draws + np.linspace(0, 20, draws.shape[1])
    assert split_r_hat(drifting) > 1.1
    assert np.isnan(split_r_hat(np.zeros((4, 10)))) and np.isnan(effective_size(np.zeros((4, 10))))
    with pytest.raises(ValueError, match=r"values has shape \(4, 3\)"):
        split_r_hat(np.zeros((4, 3)))


@pytest.mark.parametrize("k, h", [([], None), ([0, 0], None), ([1, 1], [0]), ([-1, 1], None), ([0.5], None)])
def test_exponents_that_are_none_are_refused(k, h):
    with pytest.raises(ValueError, match="k="):
        box_zeta(k, h)


@pytest.mark.parametrize("zeta, above", [
    (box_zeta([1, 1]), 0.6), (box_zeta([1, 3]), 0.5), (gaussian_zeta([2, 3]), 2.0), (gaussian_zeta([1, 1, 1]), 0.9),
])  # fmt: skip
@pytest.mark.parametrize("t", [2, 1e6])
def test_a_threshold_above_the_first_pole_is_refused(zeta, above, t):
    with pytest.raises(ValueError, match="above the first pole"):
        exact_coefficient(zeta, above, t)


def parabola(w):
    return (w**2).sum(1)


def test_a_centre_that_is_no_minimum_is_told():
    with pytest.warns(UserWarning, match="is no minimum"):
        local_learning_coefficient(parabola, [0.5, 0.5], 1000, draws=20)


@pytest.mark.filterwarnings("error")
def test_a_minimum_is_not():
    local_learning_coefficient(parabola, [0.0, 0.0], 1000, draws=20)


@pytest.mark.parametrize("center", ["a", None, [[1, 2], [3]], [], [float("nan")], [float("inf"), 0.0]])
def test_what_is_no_point_is_named(center):
    with pytest.raises(ValueError, match="center="):
        local_learning_coefficient(parabola, center, 10, draws=4)


def test_a_step_across_the_box_is_refused():
    # t times the slope at the wall is 2000: a step of 0.5 moves five hundred half-widths, and reflection would hide it
    with pytest.raises(ValueError, match="step=0.5"):
        local_learning_coefficient(parabola, [0.0, 0.0], 1000, sampler="sgld", step=0.5, draws=20)


def test_what_is_no_resolution_or_no_loss_is_named():
    with pytest.raises(ValueError, match="resolution="):
        resolved_coefficient("x**2", None, 10)
    with pytest.raises(ValueError, match=r"K gave torch\.int64"):
        volume_exponent(lambda w: (w[:, 0] > 0).long(), [[0, 1]])
    with pytest.raises(ValueError, match="K gave float"):
        local_learning_coefficient(lambda w: 0.0, [0.0], 10, draws=4)
