"""Measures of rows, readings and curves, in whatever guise they come: what plain numpy gives, or an error by name."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from samples import seeded
from test_properties import answer, matrices, plain, quick, sound

from helpers import evidence, geometry, superposition

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
LOOSE = {torch.float16: 2e-2, torch.bfloat16: 1e-1, torch.float32: 1e-4, torch.float64: 1e-9}


def directed(x) -> bool:
    """Whether every row has a direction."""
    return x.is_floating_point() and x.shape[1] > 0 and sound(x) and bool((plain(x) != 0).any(1).all())


@st.composite
def curves(draw):
    """An arm's runs in some guise, now and then with a run that no frontier survives."""
    n = draw(st.integers(0, 5))
    l0 = np.sort(np.random.default_rng(draw(st.integers(0, 99))).uniform(1, 50, n))
    y = np.log1p(l0) * draw(st.sampled_from([0.1, 1.0]))
    if n and draw(st.integers(0, 4)) == 0:
        l0[draw(st.integers(0, n - 1))] = draw(st.sampled_from([np.nan, np.inf, 0.0, -1.0]))
    kind = draw(st.sampled_from(["array", "list", "tensor", "grad", "half", "reversed"]))
    if kind == "half":
        l0 = l0.astype(np.float16)
    if kind == "reversed":
        l0, y = l0[::-1], y[::-1]
    if kind in ("tensor", "grad"):
        return tuple(torch.tensor(z, requires_grad=kind == "grad") for z in (l0, y))
    return (l0.tolist(), y.tolist()) if kind == "list" else (l0, y)


@quick
@given(curves(), curves())
def test_a_gain_is_the_mean_of_interpolated_differences(one, two):
    both = {"gated": one, "standard": two}
    x, y, u, v = (np.asarray(z.detach() if isinstance(z, torch.Tensor) else z, dtype=float) for z in (*one, *two))
    seen = answer(["curves"], evidence.mean_gain, both, "gated")
    right = x.size and u.size and all(np.isfinite(z).all() and (z > 0).all() for z in (x, u))
    low, high = (max(x.min(), u.min()), min(x.max(), u.max())) if right else (1, 0)
    assert (seen is None) == (not low < high)
    if seen is not None:
        at = np.linspace(np.log(low), np.log(high), 33)
        a, b = (np.interp(at, np.log(np.sort(p)), q[np.argsort(p)]) for p, q in ((x, y), (u, v)))
        if len({*x}) == len(x) and len({*u}) == len(u):  # runs at one L0 are averaged
            assert seen == pytest.approx((a - b).mean(), abs=1e-9)


@quick
@given(matrices(), st.integers(0, 99))
def test_separation_is_the_chance_of_being_above(readings, seed):
    on = np.random.default_rng(seed).random(tuple(readings.shape)) < 0.5
    seen = answer(["readings"], superposition.separation, readings, on)
    assert (seen is None) == (readings.numel() > 0 and not sound(readings))
    if seen is None:
        return
    assert [len(part) for part in seen] == [readings.shape[1]] * 4
    for y, mine, auc, wrong in zip(plain(readings).T, on.T, seen.auc, seen.errors, strict=True):
        hits, rest = y[mine], y[~mine]
        if not len(hits) or not len(rest):
            assert np.isnan(auc)
            continue
        above = (hits[:, None] > rest).mean() + (hits[:, None] == rest).mean() / 2
        least = min([len(hits), *((hits < t).sum() + (rest >= t).sum() for t in hits)])
        assert auc == pytest.approx(above) and wrong == pytest.approx(least / len(hits))


@quick
@given(matrices(), matrices(kinds=FLOATS))
def test_interference_is_what_others_add(codes, rows):
    seen = answer(["codes", "rows"], superposition.suffered, codes, rows)
    fits = codes.shape[1] == len(rows) and codes.shape[1] > 0 and rows.shape[1] > 0
    assert (seen is None) == (not fits)
    if seen is not None and len(codes) and sound(codes) and sound(rows):
        f, d = plain(codes), plain(rows)
        scale = 1 + np.abs(f).max() * np.abs(d).max() ** 2 * f.shape[1] * d.shape[1]
        if scale < 1e4:
            gram = d @ d.T
            want = f @ (gram - np.diag(np.diag(gram)))
            assert np.abs(plain(seen) - want).max() <= LOOSE[rows.dtype] * scale


@quick
@given(matrices(kinds=FLOATS), st.integers(1, 4))
def test_neighbours_are_the_rows_of_largest_cosine(rows, k):
    seen = answer(["rows", "k"], geometry.nearest_neighbours, rows, k=k)
    assert (seen is None) == (not directed(rows) or len(rows) <= k)
    if seen is None:
        return
    unit = plain(geometry.unit_rows(rows))
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -2)
    assert np.abs(plain(seen.cosine) - -np.sort(-cosines, axis=1)[:, :k].clip(-1, 1)).max() <= 1e-5
    assert np.abs(np.take_along_axis(cosines, seen.index.numpy(), 1) - plain(seen.cosine)).max() <= 1e-5
    followed = geometry.FollowedNeighbours(every=1)(rows)
    assert np.abs(cosines[np.arange(len(rows)), followed.numpy()] - cosines.max(1)).max() <= 1e-5
    degree = geometry.in_degree(seen.index[:, 0], len(rows))
    assert degree.sum() == len(rows) and degree.shape == (len(rows),)


@quick
@given(matrices(kinds=FLOATS), st.integers(0, 5))
def test_nulls_are_unit_rows_or_say_what_x_lacks(x, n):
    for draw in (geometry.covariance_directions, geometry.data_directions, geometry.moment_directions):
        seen = answer(["x", "n=", "rows", "directions"], draw, x, n, seeded())
        if seen is not None:
            assert seen.shape == (n, x.shape[1]) and seen.dtype == torch.promote_types(x.dtype, torch.float32)
            torch.testing.assert_close(seen.norm(dim=1).double(), torch.ones(n).double(), atol=1e-5, rtol=0)


@quick
@given(matrices())
def test_a_density_holds_all_values(values):
    seen = answer(["values"], geometry.density, values, 0.1)
    assert (seen is None) == (not sound(values) or np.abs(plain(values)).max() > 1e12)
    if seen is not None:
        x, f = seen
        assert (
            f.sum() * (x[1] - x[0]) == pytest.approx(1) and x[0] <= plain(values).min() <= plain(values).max() <= x[-1]
        )
        assert all(0.05 <= peak.share <= 1 for peak in geometry.peaks(values, 0.1))


@quick
@given(st.integers(2, 60), st.integers(2, 9), st.data())
def test_a_law_of_cosines_inverts_and_sums_to_one(n, d, data):
    law = geometry.random_kth_cosine(n, d, data.draw(st.integers(1, n - 1)), data.draw(st.booleans()))
    q = np.array([0.01, 0.3, 0.5, 0.9])
    x = law.ppf(q)
    assert law.cdf(x) == pytest.approx(q, abs=1e-6) and (np.diff(x) >= 0).all() and abs(law.mean()) <= 1
    for guise in (x.tolist(), torch.tensor(x), torch.tensor(x, requires_grad=True), x[::-1][::-1], x[None]):
        assert np.array_equal(np.ravel(law.cdf(guise)), law.cdf(x))
