"""Whatever comes in, of any shape, precision, layout and content: the right answer, or an error that names it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import HYPER, seeded, shaken

from helpers import evidence, geometry, runs, sae, superposition

quick = settings(max_examples=40, deadline=None, derandomize=True)
KINDS = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int32, torch.uint8)
ODD = st.sampled_from([float("nan"), float("inf"), -float("inf"), 1e30, -1e30, 1e-40, 0.0])


@st.composite
def matrices(draw, columns=None, least=0, odd=True, kinds=KINDS):
    """``(n, d)`` in many guises; now and then with an entry that no average survives."""
    n = draw(st.integers(least, 6))
    d = draw(st.integers(least, 5)) if columns is None else columns
    x = torch.randn(n, d, generator=seeded(draw(st.integers(0, 99)))) * draw(st.sampled_from([1.0, 3.0, 1e-3]))
    if draw(st.booleans()):
        x = x.relu()
    if odd and x.numel() and draw(st.integers(0, 4)) == 0:
        x.view(-1)[draw(st.integers(0, x.numel() - 1))] = draw(ODD)
    kind = draw(st.sampled_from(kinds))
    if not kind.is_floating_point:
        x = x.nan_to_num(0, 9, 0).abs().clamp(0, 200)
    x = x.to(kind)
    look = draw(st.sampled_from(["plain", "transposed", "every other", "grad"]))
    if look == "transposed":
        x = x.T.contiguous().T
    elif look == "every other":
        x = torch.stack([x, x + 1], 1).flatten(0, 1)[::2]
    elif look == "grad" and kind.is_floating_point:
        x = x.clone().requires_grad_() * 1  # not a leaf
    return x


def answer(names, function, *args, **more):
    """What comes of a call, or None where it refuses one of ``names``, by name."""
    try:
        return function(*args, **more)
    except ValueError as error:
        assert any(name in str(error) for name in names), error
        return None


def plain(x) -> np.ndarray:
    return x.detach().double().numpy()


def sound(x) -> bool:
    return bool(x.numel()) and bool(torch.isfinite(x.detach().double()).all())


@quick
@given(matrices())
def test_metrics_of_codes(codes):
    on = plain(codes) != 0
    for function, want in ((sae.l0, lambda: on.sum(1).mean()), (sae.dead_fraction, lambda: (~on.any(0)).mean())):
        seen = answer(["codes"], function, codes)
        assert (seen is None) == (not sound(codes))
        if seen is not None:
            assert seen == pytest.approx(want())


@quick
@given(matrices(least=1), st.floats(0, 1), matrices())
def test_metrics_of_reconstructions(x, part, other):
    x_hat = (x.detach().double() * part).to(x.dtype) if x.dtype.is_floating_point else x
    a, b = plain(x), plain(x_hat)
    with np.errstate(all="ignore"):
        spread = ((a - a.mean(0)) ** 2).sum()
    seen = answer(["x"], sae.fvu, x, x_hat)
    assert (seen is None) == (not sound(x) or spread == 0)
    if seen is not None and np.isfinite(spread):
        assert seen == pytest.approx(((a - b) ** 2).sum() / spread, rel=1e-6)
    if other.shape != x.shape:
        assert answer(["x", "x_hat"], sae.fvu, x, other) is None


@quick
@given(matrices(least=1), matrices(least=1))
def test_feature_recovery_is_the_best_cosine(rows, features):
    seen = answer(["W_dec", "features"], sae.feature_recovery, rows, features)
    alike = sound(rows) and sound(features) and rows.shape[1] == features.shape[1]
    assert (seen is None) == (not alike)
    if seen is not None:
        a, b = (plain(x) for x in (rows, features))
        a, b = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (a, b))
        assert seen == pytest.approx((b @ a.T).max(1).mean(), abs=1e-6)


@pytest.mark.parametrize("name", HYPER)
@settings(max_examples=12, deadline=None, derandomize=True)
@given(x=matrices(columns=8))
def test_dictionaries_take_what_is_finite_and_fits(name, x):
    model = shaken(name, dtype=torch.float32).eval()
    codes = answer(["x"], model.encode, x)
    right = torch.isfinite(x.detach().float()).all()
    assert (codes is None) == (not right)
    if codes is None:
        return
    assert codes.shape == (len(x), 32) and codes.dtype == torch.float32 and (codes >= 0).all()
    torch.testing.assert_close(codes, model.encode(x.detach().float().contiguous()))
    torch.testing.assert_close(model(x), model.decode(codes))
    losses = answer(["x"], model.losses, x)
    assert (losses is None) == (not len(x))
    if losses is not None and x.detach().abs().double().amax() < 1e15:  # squares of more are beyond float32
        assert all(torch.isfinite(term) and term.dtype == torch.float32 for term in losses.values())
        assert losses["reconstruction"].item() == pytest.approx(
            sae.squared_error(x.detach().float(), model(x)).item(), rel=1e-4, abs=1e-5
        ) or name in ("matryoshka",)


@pytest.mark.parametrize("width", [0, 1, 7, 9])
@pytest.mark.parametrize("name", HYPER)
def test_another_width_is_named(name, width):
    model = shaken(name, dtype=torch.float32)
    for call in (model.encode, model.losses):
        with pytest.raises(ValueError, match="d_model=8"):
            call(torch.ones(3, width))
    with pytest.raises(ValueError, match="d_sae=32"):
        model.decode(torch.ones(3, width))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.integers(2, 60), st.integers(1, 6), st.integers(0, 999),
    st.sampled_from(["ties", "near", "giant", "tiny", "many"]),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16]), st.booleans(), st.integers(1, 70),
)  # fmt: skip
def test_kth_largest_cosines_are_those_of_sorted_rows(n, d, seed, kind, dtype, absolute, chunk):
    rows = torch.randn(n, d, generator=seeded(seed), dtype=torch.float64)
    if kind == "ties":
        rows = rows.sign()
    elif kind == "near":
        rows = rows[:1] + 1e-4 * rows
    elif kind == "giant":
        rows[0] *= 1e30
    elif kind == "tiny":
        rows *= 1e-39  # subnormal in bfloat16 and float32
    elif kind == "many":
        rows = rows[torch.arange(n) % max(1, n // 5)]
    rows = rows.to(dtype)
    if (rows == 0).all(1).any():
        assert answer(["rows"], geometry.kth_largest_cosine, rows, (1,)) is None
        return
    ks = sorted({1, max(1, n // 2), n - 1})
    found = geometry.kth_largest_cosine(rows, ks, absolute, chunk)
    exact = rows.double()
    exact = exact / exact.abs().amax(1, keepdim=True)
    exact = exact / exact.norm(dim=1, keepdim=True)
    cosines = exact @ exact.T
    cosines = cosines.abs() if absolute else cosines
    others = cosines[~torch.eye(n, dtype=torch.bool)].view(n, -1).sort(1, descending=True).values
    want = others[:, [k - 1 for k in ks]]
    torch.testing.assert_close(found.double(), want, rtol=0, atol=1e-14 if dtype == torch.float64 else 1e-6)


@quick
@given(matrices(least=2, odd=False, kinds=(torch.float16, torch.float32, torch.float64)))
def test_unit_rows_have_norm_one(rows):
    unit = answer(["rows"], geometry.unit_rows, rows)
    assert (unit is None) == bool((rows == 0).all(1).any())
    if unit is not None:
        torch.testing.assert_close(unit.norm(dim=1).double(), torch.ones(len(rows)).double(), rtol=0, atol=1e-6)


SAMPLES = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30)


@quick
@given(SAMPLES, st.floats(0.01, 0.99))
def test_an_interval_lies_within_the_draws_and_grows_with_its_level(draws, level):
    low, high = evidence.interval(np.array(draws), level)
    wide = evidence.interval(np.array(draws), (1 + level) / 2)
    assert min(draws) <= wide[0] <= low <= high <= wide[1] <= max(draws)


@quick
@given(SAMPLES, st.integers(0, 99))
def test_a_paired_difference_turns_round(a, seed):
    a = np.array(a)
    b = np.random.default_rng(seed).permutation(a)
    there, back = evidence.paired_difference(a, b), evidence.paired_difference(b, a)
    assert there == pytest.approx((-back[0], -back[2], -back[1]), abs=1e-6 * (1 + np.abs(a).max()))
    assert there[1] - 1e-6 <= there[0] <= there[2] + 1e-6 or len(set(a - b)) > 1


@quick
@given(st.integers(0, 40), st.integers(1, 40), st.floats(0.5, 0.999))
def test_wilson_holds_the_share_and_is_symmetric(hits, n, level):
    share = min(hits, n) / n
    low, high = evidence.wilson(share, n, level)
    other = evidence.wilson(1 - share, n, level)
    assert 0 <= low <= share <= high <= 1
    assert (1 - other[1], 1 - other[0]) == pytest.approx((low, high), abs=1e-9)


@quick
@given(st.integers(8, 400), st.integers(9, 5000), st.integers(1, 8), st.floats(0.05, 0.95))
def test_errors_are_probabilities_and_one_of_many_is_likelier(n, m, l, threshold):
    l = min(l, m - 1)
    each = superposition.per_feature_error(n, m, l, threshold)
    some = superposition.any_error(n, m, l, threshold)
    assert 0 <= some.lower <= some.upper <= 1 + 1e-9 and 0 <= each <= 1
    assert each <= some.upper + 1e-9, "no feature alone errs more often than one of all"
    assert superposition.false_alarm(n, l, threshold) >= superposition.false_alarm(2 * n, l, threshold) - 1e-9


@quick
@given(st.binary(max_size=200), st.binary(max_size=200))
def test_a_file_is_the_old_one_or_the_new_one(tmp_path_factory, old, new):
    path = tmp_path_factory.mktemp("atomic") / "file"
    for content, fails in ((old, False), (new, True), (new, False)):
        before = path.read_bytes() if path.exists() else None
        try:
            with runs.atomic(path) as scratch:
                scratch.write_bytes(content)
                if fails:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            assert path.read_bytes() == before
        else:
            assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


@quick
@given(
    st.dictionaries(st.text(max_size=5), st.one_of(st.integers(), st.floats(allow_nan=False), st.text(), st.booleans()))
)
def test_a_points_key_does_not_hang_on_order(point):
    backwards = dict(reversed(point.items()))
    assert runs.key_of(answer, point) == runs.key_of(answer, backwards)
    assert runs.key_of(answer, {**point, "one more": 1}) != runs.key_of(answer, point) != runs.key_of(plain, point)


@quick
@given(st.integers(1, 2000), st.floats(0, 1), st.floats(0, 1))
def test_schedules_stay_between_nothing_and_all(steps, warmup, decay):
    values = [runs.rise_and_fall(step, steps, warmup, decay) for step in range(0, steps, max(1, steps // 50))]
    assert all(0 <= value <= 1 for value in values)
    rises = [runs.rise(step, steps, warmup) for step in range(0, steps, max(1, steps // 50))]
    assert rises == sorted(rises) and all(0 <= value <= 1 for value in rises)
