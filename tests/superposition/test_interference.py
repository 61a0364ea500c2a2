"""The laws of interference against exact results, against each other and against Monte Carlo; the streaming itself."""

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, special, stats

from helpers import superposition as law
from helpers.geometry import welch_bound
from helpers.runs import artifact
from helpers.superposition import (
    active_sets,
    any_error,
    directions,
    false_alarm,
    miss,
    monte_carlo,
    per_feature_error,
    pieces,
    readout,
    tally,
)

SIGMAS = 4  # seeds are fixed, so a test that passes keeps passing


@pytest.mark.parametrize("n", [2, 3, 16, 768])
def test_the_overlap_law_is_the_beta_law_and_its_tail_agrees(n):
    frozen, c = law.overlap_law(n), np.array([-0.9, -0.2, 0.0, 0.1, 0.7])
    assert frozen.std() == pytest.approx(n**-0.5) and frozen.mean() == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(law.overlap_sf(n, c), frozen.sf(c), rtol=1e-9, atol=1e-300)
    square = stats.beta(0.5, (n - 1) / 2)
    np.testing.assert_allclose(2 * law.overlap_sf(n, 0.3), square.sf(0.09), rtol=1e-9)


def test_overlaps_of_drawn_directions_follow_the_law():
    rows = directions(16, 0, 4000, seed=3).astype(float)
    overlaps = np.einsum("ij,ij->i", rows[:2000], rows[2000:])
    assert stats.kstest(overlaps, law.overlap_law(16).cdf).pvalue > 0.01


@pytest.mark.parametrize("n, l", [(2, 5), (3, 2), (16, 7), (512, 100)])
def test_the_length_rule_has_the_moments_that_can_be_counted_by_hand(n, l):
    nodes, weights = law.squared_length(n, l)
    assert weights.sum() == pytest.approx(1) and weights @ nodes == pytest.approx(l)
    away = nodes - l
    assert weights @ away**2 == pytest.approx(2 * l * (l - 1) / n)
    assert weights @ away**3 == pytest.approx(8 * l * (l - 1) * (l - 2) / n**2, rel=1e-8, abs=1e-10)


def by_characteristic_function(n, l, y):
    """P(sum of l overlaps > y) by Gil-Pelaez: a sum of l independent overlaps has the characteristic function Λ^l."""

    def integrand(t):
        return np.sin(y * t) / t * special.hyp0f1(n / 2, -t * t / 4) ** l

    return 0.5 - integrate.quad(integrand, 0, 12 * np.sqrt(n / l), limit=1000)[0] / np.pi


@pytest.mark.parametrize("n, l, y", [(16, 4, 0.5), (32, 16, 0.5), (64, 4, 0.5), (64, 64, 0.9), (100, 10, 0.25)])
def test_two_exact_routes_to_the_noise_law_agree(n, l, y):
    assert law.Interference(n, l).sf(y) == pytest.approx(by_characteristic_function(n, l, y), rel=1e-6)


def test_three_dimensions_and_two_features_can_be_done_on_paper():
    # In three dimensions an overlap is uniform on [-1, 1], so two of them make a triangle on [-2, 2].
    noise = law.Interference(3, 2)
    y = np.array([-1.5, 0.0, 0.5, 1.0, 1.9])
    triangle = stats.triang(0.5, loc=-2, scale=4)
    np.testing.assert_allclose(noise.sf(y), triangle.sf(y), atol=2e-4)
    assert false_alarm(3, 1) == pytest.approx(0.25) and miss(3, 2) == pytest.approx(0.25)


def test_the_noise_law_is_consistent_with_itself():
    noise = law.Interference(64, 9, "uniform")
    y = np.linspace(-2.4, 2.4, 4801)  # more than six standard deviations
    density = noise.pdf(y)
    assert np.trapezoid(density, y) == pytest.approx(1, abs=1e-6)
    assert np.trapezoid(density[y >= 0.5], y[y >= 0.5]) == pytest.approx(noise.sf(0.5), rel=1e-3)
    assert np.sqrt(np.trapezoid(density * y * y, y)) == pytest.approx(noise.std(), rel=1e-4)
    assert noise.std() == pytest.approx(np.sqrt(9 * 13 / 12 / 64))  # E[a²] = 13/12 for a uniform on [½, 1½]
    np.testing.assert_allclose(noise.cdf(noise.ppf([0.01, 0.5, 0.9])), [0.01, 0.5, 0.9], atol=1e-9)


QUOTED = [  # n, m, l, error of one readout, any error: as reported when the dispute was set out
    (512, 8192, 7, 9.2e-6, 0.07),
    (512, 8192, 14, 1.25e-3, 1.00),
    (512, 8192, 64, 0.078, 1.00),
    (512, 8192, 512, 0.309, 1.00),
    (768, 24576, 9, 1.8e-6, 0.04),
    (768, 24576, 14, 1.0e-4, 0.89),
]


@pytest.mark.parametrize("n, m, l, one, some", QUOTED)
def test_theory_gives_the_quoted_figures(n, m, l, one, some):
    # They are simulations printed with one to three digits, so they carry Monte Carlo error besides the rounding.
    error = any_error(n, m, l)
    assert per_feature_error(n, m, l) == pytest.approx(one, rel=0.08)
    assert error.lower - 0.012 <= some <= error.upper + 0.012


def test_theory_gives_the_shipped_figures_within_their_errors():
    table = pd.read_csv(artifact("superposition_noise.csv"))
    table = table[table.study.isin(["quoted", "further"])]
    assert {(n, m, l) for n, m, l, *_ in QUOTED} < set(zip(table.n, table.m, table.l, strict=True))
    assert (table.study == "further").sum() == 5
    for row in table.itertuples():
        one, some = per_feature_error(row.n, row.m, row.l), any_error(row.n, row.m, row.l)
        assert abs(row.per_feature - one) < SIGMAS * row.per_feature_se
        slack = SIGMAS * np.sqrt(max(some.false_alarm * (1 - some.false_alarm), 1e-3) / row.trials)
        assert abs(row.any_alarm - some.false_alarm) < slack


FURTHER = [  # n, m, l, trials, seeds, amplitude
    (16, 64, 2, 32, 200, "unit"),
    (64, 512, 2, 32, 80, "unit"),
    (128, 1024, 3, 32, 60, "uniform"),
    (512, 8192, 7, 64, 24, "unit"),
    (768, 4096, 12, 64, 16, "unit"),
    (1024, 2000, 300, 16, 10, "unit"),
]


@pytest.mark.parametrize("n, m, l, trials, seeds, amplitude", FURTHER)
def test_theory_agrees_with_monte_carlo_within_its_standard_errors(n, m, l, trials, seeds, amplitude):
    seen = monte_carlo(n, m, [l], trials=trials, seeds=range(seeds), amplitude=amplitude).iloc[0]
    error = any_error(n, m, l, amplitude=amplitude)
    assert seen.per_feature_se > 0
    assert abs(seen.per_feature - per_feature_error(n, m, l, amplitude=amplitude)) < SIGMAS * seen.per_feature_se
    slack = SIGMAS * np.sqrt(0.25 / seen.trials)
    assert abs(seen.any_alarm - error.false_alarm) < slack
    assert error.lower - slack < seen["any"] < error.upper + slack


def test_brute_force_without_the_streaming_code_agrees_too():
    rng, n, m, l = np.random.default_rng(5), 64, 256, 3
    wrong = []
    for _ in range(1500):
        D = rng.standard_normal((m, n))
        D /= np.linalg.norm(D, axis=1, keepdims=True)
        on = D @ D[:l].sum(0) > 0.5
        wrong.append([(~on[:l]).any() or on[l:].any(), ((~on[:l]).sum() + on[l:].sum()) / m])
    mean, se = np.mean(wrong, axis=0), np.std(wrong, axis=0) / np.sqrt(len(wrong))
    error = any_error(n, m, l)
    assert error.lower - SIGMAS * se[0] < mean[0] < error.upper + SIGMAS * se[0]
    assert abs(mean[1] - per_feature_error(n, m, l)) < SIGMAS * se[1]


def test_the_gaussian_approximation_is_the_limit_of_many_dimensions():
    l = np.array([2**-6, 2**-6]) * [64, 4096]
    near, far = (false_alarm(n, int(k)) / law.gaussian_error(n, int(k)) - 1 for n, k in zip((64, 4096), l, strict=True))
    assert abs(far) < 0.01 < abs(near) / 2


def test_the_posts_bound_is_where_an_error_somewhere_becomes_likely():
    for n, m in ((512, 8192), (4096, 10**5), (16384, 10**6)):
        at = int(law.post_bound(n, m))
        predicted = 1 / np.sqrt(4 * np.pi * np.log(m))
        assert 0.5 * predicted < any_error(n, m, at).upper < 1.5 * predicted
        assert any_error(n, m, 2 * at).lower > 0.95
        assert per_feature_error(n, m, 2 * at) < 0.01


def test_the_comments_bound_is_where_one_feature_has_signal_to_noise_one():
    assert law.Interference(512, 512).std() == pytest.approx(1)
    assert law.comment_bound(512) == 512
    assert per_feature_error(512, 8192, 512) == pytest.approx(stats.norm.sf(0.5), abs=1e-3)


def test_solved_numbers_are_the_last_that_meet_the_target():
    n, m = np.array([512, 768]), np.array([8192, 24576])
    l = law.active_for(n, m, 0.5).astype(int)
    assert (any_error(n, m, l).upper <= 0.5).all() and (any_error(n, m, l + 1).upper > 0.5).all()
    k = int(law.features_for(768, 14, 0.5))
    assert any_error(768, k, 14).upper <= 0.5 < any_error(768, k + 1, 14).upper
    assert law.features_for(16384, 1, 0.5) == np.inf and law.active_for(4, 1000, 0.01) == 0
    half = int(law.half_wrong(768, 24576))
    alarms = (24576 - np.array([half, half + 1])) * false_alarm(768, np.array([half, half + 1]))
    assert alarms[0] <= half and alarms[1] > half + 1


def test_bounds_on_the_largest_overlap_are_in_order():
    D = directions(32, 0, 300, seed=1).astype(float)
    G = np.abs(D @ D.T - np.eye(300))
    pairs = G[np.triu_indices(300, 1)]
    assert welch_bound(300, 32) < np.sqrt((pairs**2).mean()) < G.max()
    largest = []
    for s in range(60):
        D = directions(32, 0, 300, seed=s).astype(float)
        largest.append(np.abs(np.triu(D @ D.T, 1)).max())
    below = np.mean(np.array(largest) < law.largest_overlap(32, 300))
    assert abs(below - 0.5) < SIGMAS * np.sqrt(0.25 / 60)
    assert law.coherence_bound(768, 24576) < law.post_bound(768, 24576)


def test_values_broadcast_and_scalars_stay_scalars():
    grid = any_error(512, np.array([[100], [1000]]), np.array([1, 2, 3])).false_alarm
    assert grid.shape == (2, 3) and grid[1, 2] == any_error(512, 1000, 3).false_alarm
    assert np.ndim(per_feature_error(64, 128, 2)) == 0


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: law.overlap_law(1), "n=1"),
        (lambda: per_feature_error(64, 8, 9), "l=9 is above m=8"),
        (lambda: any_error(64, 128, 2, threshold=1.0), "threshold=1.0"),
        (lambda: any_error(64.5, 128, 2), "n=64.5"),
        (lambda: law.squared_length(8, 2, "odd"), "amplitude='odd'"),
        (lambda: law.active_for(8, 16, target=0), "target=0"),
        (lambda: law.Interference(8, 0).pdf(0.1), "l=0"),
        (lambda: directions(8, 5, 4, 0), "stop=4"),
        (lambda: tally(8, 16, [17], 4, 0), "l=17 is above m=16"),
        (lambda: tally(8, 16, [2], 4, 0, start=8, stop=8), "start=8, stop=8"),
        (lambda: monte_carlo(8, 16, [2], trials=4, seeds=[1, 1]), r"seeds=\[1, 1\]"),
        (lambda: monte_carlo(8, 16, [], trials=4, seeds=[1]), "l is empty"),
        (lambda: monte_carlo(8, 16, [2], trials=0, seeds=[1]), "trials=0"),
    ],
)
def test_bad_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_regenerated_directions_equal_stored_ones():
    stored = directions(24, 0, 1000, seed=7)
    np.testing.assert_allclose(np.linalg.norm(stored, axis=1), 1, atol=1e-6)
    for start, stop in ((0, 1), (255, 257), (300, 1000), (999, 1000)):
        assert np.array_equal(directions(24, start, stop, seed=7), stored[start:stop])
    assert not np.array_equal(directions(24, 0, 8, seed=8), stored[:8])
    assert not np.array_equal(directions(24, 256, 264, seed=7), stored[:8])


def test_streaming_counts_what_stored_directions_give(monkeypatch):
    n, m, l, trials = 32, 1500, [1, 5, 40], 6
    whole = tally(n, m, l, trials, seed=2, amplitude="exponential")
    D = directions(n, 0, m, seed=2).astype(float)
    for i, k in enumerate(l):
        sets, sizes = active_sets(m, k, trials, 2, "exponential")
        f = np.zeros((trials, m))
        np.put_along_axis(f, sets, sizes, axis=1)
        on = f @ D @ D.T > 0.5
        assert whole["false_alarms"][i] == (on & (f == 0)).sum(1).tolist()
        assert whole["misses"][i] == (~on & (f > 0)).sum(1).tolist()
    monkeypatch.setattr(readout, "CHUNK_BYTES", 1)  # a block at a time
    assert tally(n, m, l, trials, seed=2, amplitude="exponential") == whole
    parts = [tally(n, m, l, trials, 2, 0.5, "exponential", a, b) for a, b in ((0, 700), (700, 1500))]
    for name in whole:
        assert np.array_equal(sum(np.array(part[name]) for part in parts), whole[name])


def test_pieces_cover_every_seed_and_row_once():
    grid = pieces(16, 600, [1, 3], trials=8, seeds=[4, 7], parts=3)
    for seed in (4, 7):
        ranges = sorted((point["start"], point["stop"]) for point in grid if point["seed"] == seed)
        assert ranges[0][0] == 0 and ranges[-1][1] == 600 and len(ranges) == 3
        assert all(a[1] == b[0] for a, b in zip(ranges, ranges[1:], strict=False))
    assert len(grid) == 6


def test_a_stopped_run_goes_on_where_it_was(tmp_path):
    settings = dict(n=16, m=600, l=[1, 3], trials=8)
    direct = monte_carlo(**settings, seeds=range(3))
    # Two processes, and only the first dictionary: as if the run had been stopped there.
    monte_carlo(**settings, seeds=range(1), parts=2, folder=tmp_path, processes=2)
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")}
    assert len(kept) == 2
    whole = monte_carlo(**settings, seeds=range(3), parts=2, folder=tmp_path, processes=1)
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in kept} == kept
    assert len(list(tmp_path.glob("*.json"))) == 6
    pd.testing.assert_frame_equal(whole, direct)
