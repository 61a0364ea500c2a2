"""Active told from silent: the measures against brute force and against others' code, the exact laws against draws."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import optimize, stats
from sklearn.metrics import roc_auc_score

from helpers.runs import artifact
from helpers.superposition import (
    best_errors,
    chance_power,
    directions,
    exact_auc,
    one_shot,
    post_bound,
    pursuit_bound,
    reading_bound,
    separation,
    suffered,
)
from recipes.readings import measure
from recipes.superposition import pursue, signals


def some_readings(tokens=300, features=6, ties=False):
    rng = np.random.default_rng(0)
    on = rng.random((tokens, features)) < 0.2
    y = rng.standard_normal((tokens, features)) + on
    return (np.round(y, 1) if ties else y), on


@pytest.mark.parametrize("ties", [False, True])
def test_separation_is_what_sklearn_and_trying_every_threshold_give(ties):
    y, on = some_readings(ties=ties)
    seen = separation(y, on)
    for i in range(y.shape[1]):
        a, b = y[on[:, i], i], y[~on[:, i], i]
        tried = [(a < t).sum() + (b >= t).sum() for t in [*np.unique(y[:, i]), np.inf]]
        assert seen.active[i] == len(a)
        assert seen.auc[i] == pytest.approx(roc_auc_score(on[:, i], y[:, i]))
        assert seen.errors[i] == pytest.approx(min(tried) / len(a))
        assert seen.d_prime[i] == pytest.approx((a.mean() - b.mean()) / np.sqrt((a.var() + b.var()) / 2))


def test_a_feature_that_is_never_or_always_active_has_no_measure():
    y, on = some_readings()
    on[:, 0], on[:, 1] = False, True
    seen = separation(y, on)
    assert np.isnan(seen.auc[:2]).all() and np.isfinite(seen.auc[2:]).all()
    assert seen.active[:2].tolist() == [0, len(y)]


@pytest.mark.parametrize(
    "y, on, message",
    [
        (np.zeros(3), np.zeros(3, bool), r"readings \(3,\)"),
        (np.zeros((3, 2)), np.zeros((2, 3), bool), r"on \(2, 3\)"),
        (np.zeros((3, 2)), np.zeros((3, 2)), "float64"),
        (np.full((3, 2), np.nan), np.zeros((3, 2), bool), "NaN"),
    ],
)
def test_what_is_no_table_of_readings_is_named(y, on, message):
    with pytest.raises(ValueError, match=message):
        separation(y, on)


@pytest.mark.parametrize("n, m, l", [(64, 512, 4), (64, 512, 16), (128, 256, 100)])
def test_exact_errors_and_auc_are_those_of_drawn_directions(n, m, l):
    silent, active = [], []
    for seed in range(40):
        D = directions(n, 0, m, seed)
        x, f = signals(D, l, 20, seed)
        y = x @ D.T
        silent.append(y[f == 0]), active.append(y[f == 1])
    a, b = np.concatenate(active), np.concatenate(silent)
    on = np.concatenate([np.ones(len(a), bool), np.zeros(len(b), bool)])
    seen = separation(np.concatenate([a, b])[:, None], on[:, None])
    assert seen.errors[0] == pytest.approx(best_errors(n, m, l), abs=0.012)
    assert seen.auc[0] == pytest.approx(exact_auc(n, l), abs=0.004)


def test_auc_is_nearly_normal_and_says_little_at_the_comments_bound():
    l = np.array([8, 64, 512])
    np.testing.assert_allclose(exact_auc(512, l), stats.norm.cdf(np.sqrt(512 / (2 * l - 1))), atol=2e-3)
    assert 0.75 < exact_auc(512, 512) < 0.77
    assert best_errors(512, 8192, 512) * 512 / 8192 == pytest.approx(0.0623, abs=1e-4)  # always silent: 0.0625


def test_below_the_reading_bound_errors_vanish_and_above_it_no_threshold_helps():
    def errors(n, share):
        m = n**2
        l = optimize.brentq(lambda l: 2 * l * np.log(m / l) - share * n, 1e-6, m / np.e)
        return float(best_errors(n, m, round(l)))

    below, above = ([errors(n, share) for n in (1024, 16384)] for share in (0.4, 3.0))
    assert 0.03 > below[0] > 2 * below[1]
    assert 0.99 < above[0] < above[1] <= 1


def test_the_reading_bound_solves_its_equation_and_lies_between_the_two_others():
    l = float(reading_bound(512, 8192))
    assert l == pytest.approx(512 / (2 * np.log(8192 / l)))
    assert post_bound(512, 8192) < l < 512
    with pytest.raises(ValueError, match="n=900"):
        reading_bound(900, 1000)


def test_the_pursuit_line_has_the_known_places_and_limits():
    assert pursuit_bound(128, 1024, signed=False) == pytest.approx(33.7, abs=0.05)
    assert pursuit_bound(128, 1024, signed=True) == pytest.approx(26.1, abs=0.05)
    assert pursuit_bound(998, 1000, signed=True) > 0.9 * 998  # nearly as many dimensions as features
    assert pursuit_bound(500, 1000, signed=False) > pursuit_bound(500, 1000, signed=True)
    with pytest.raises(ValueError, match="n=1000"):
        pursuit_bound(1000, 1000)


@pytest.mark.parametrize("signed", [False, True])
def test_pursuit_finds_what_a_linear_program_finds(signed):
    n, m, seed = 24, 96, 3
    D = directions(n, 0, m, seed).astype(float)
    for l in (3, 7, 14):
        x, f = signals(D, l, 5, seed)
        A = np.hstack([D.T, -D.T]) if signed else D.T
        exact = []
        for row, truth in zip(x, f, strict=True):
            z = optimize.linprog(np.ones(A.shape[1]), A_eq=A, b_eq=row, bounds=(0, None)).x
            exact.append(np.abs((z[:m] - z[m:] if signed else z) - truth).max() > 1e-3)
        assert pursue(n, m, l, signed, 0.0, seed, 5)["inexact"] == np.mean(exact)


def test_pursuit_succeeds_below_its_line_and_fails_above():
    for signed in (False, True):
        line = float(pursuit_bound(64, 256, signed=signed))
        assert pursue(64, 256, round(0.7 * line), signed, 0.0, 1, 15)["any"] <= 0.2
        assert pursue(64, 256, round(1.4 * line), signed, 0.0, 1, 15)["any"] >= 0.8


def random_rows(n=64, m=256, seed=0):
    return torch.from_numpy(directions(n, 0, m, seed))


def test_interference_is_the_sum_over_pairs():
    generator = torch.Generator().manual_seed(0)
    codes = torch.relu(torch.randn(4, 9, generator=generator))
    rows = torch.randn(9, 5, generator=generator)
    by_hand = torch.tensor(
        [[sum(f[j] * (rows[j] @ rows[i]) for j in range(9) if j != i) for i in range(9)] for f in codes]
    )
    torch.testing.assert_close(suffered(codes, rows), by_hand)
    with pytest.raises(ValueError, match=r"codes \(4, 9\)"):
        suffered(codes, rows[:8])


def test_along_random_directions_interference_has_the_power_of_chance():
    codes = torch.relu(torch.randn(2000, 256, generator=torch.Generator().manual_seed(0)) - 1.5)
    power = [float(suffered(codes, random_rows(seed=s)).pow(2).mean()) for s in range(8)]
    assert np.mean(power) == pytest.approx(float(chance_power(codes, 64).mean()), rel=0.03)


def test_codes_that_a_threshold_picks_are_lifted_with_no_training_at_all():
    x = torch.randn(3000, 64, generator=torch.Generator().manual_seed(0))
    rows = random_rows()
    codes = one_shot(x, rows, l0=6)
    assert float((codes > 0).sum(1).float().mean()) == pytest.approx(6, abs=0.01)
    on, size = codes > 0, codes[codes > 0].mean()
    own, fresh = (suffered(codes, W) / size for W in (rows, random_rows(seed=1)))
    assert own[on].mean() > 0.15 > 0.02 > abs(fresh[on].mean())
    assert abs(own[~on].mean()) < 0.02
    with pytest.raises(ValueError, match="l0=256"):
        one_shot(x, rows, l0=256)


def test_the_recipes_streaming_measures_are_those_of_the_whole():
    x = torch.randn(600, 32, generator=torch.Generator().manual_seed(1))
    rows = random_rows(32, 300)
    codes = one_shot(x, rows, l0=9)
    found, features = measure(codes, rows, torch.arange(600) // 60)
    s, on = suffered(codes, rows).double(), codes > 0
    size = codes[on].mean()
    assert found["l0"] == pytest.approx(9, abs=0.01)
    assert found["ratio"] == pytest.approx(
        float((s[on] ** 2).sum() / chance_power(codes, 32)[on].sum()) ** 0.5, rel=1e-4
    )
    assert found["active_mean"] == pytest.approx(float(s[on].mean() / size), rel=1e-4)
    assert found["silent_mean"] == pytest.approx(float(s[~on].mean() / size), abs=1e-5)
    assert found["left"] == pytest.approx(float((((s - s.mean(0)) ** 2)[on]).sum() / (s[on] ** 2).sum()), rel=1e-4)
    whole = separation((s + codes).numpy(), on.numpy())
    wanted = (on.sum(0) >= 20).numpy() & (on.float().mean(0) < 0.2).numpy()
    assert found["features"] == wanted.sum() > 50
    assert found["auc"] == pytest.approx(whole.auc[wanted].mean(), abs=1e-4)
    assert features["errors"][int(np.flatnonzero(wanted)[0])] == pytest.approx(whole.errors[wanted][0], abs=1e-4)


def test_what_the_shipped_table_says_of_the_withdrawn_verdicts():
    table = pd.read_csv(artifact("superposition_rows.csv")).set_index(["site", "architecture", "arm"])
    arms = {arm: table.xs(arm, level="arm") for arm in table.index.get_level_values("arm").unique()}
    assert len(arms["rows"]) == 6
    assert (arms["rows"].errors < arms["random"].errors).all() and (arms["rows"].auc > arms["random"].auc).all()
    assert (arms["random"].ratio - 1).abs().max() < 0.05
    assert (arms["rows"].left > 0.9).all()  # what no bias takes away
    assert (arms["white"].ratio > 1.3).all() and (arms["white"].ratio_low > 1).all()  # the null is not one
    assert (arms["shuffled"].errors > arms["shuffled, random"].errors).all()
