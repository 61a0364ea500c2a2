"""What people hand in by accident: the public functions give a right answer or name the argument, never another error.

Each function is called as it should be but for one argument, which takes every value of its kind's list.
"""

import numpy as np
import pandas as pd
import pytest
import torch
from samples import seeded

from helpers import evidence, geometry, runs, sae, superposition

X = torch.randn(12, 5, generator=seeded())
ROWS = torch.randn(5, 3, generator=seeded(1))
MATRICES = {
    "no rows": X[:0], "no columns": X[:, :0], "one row": X[:1], "one column": X[:, :1], "vector": X[0],
    "stack": X[None], "NaN": X * float("nan"), "infinite": X / 0, "zeros": X * 0, "whole": (X * 4).int(),
    "half": X.half(), "bfloat16": X.bfloat16(), "double": X.double(), "strided": X.T.contiguous().T,
    "grad": X.clone().requires_grad_(), "bool": X > 0, "complex": X + 0j, "none": None, "word": "a",
    "lists": X.tolist(), "array": X.numpy(), "backwards": X.numpy()[::-1], "alike": torch.ones(12, 5),
}  # fmt: skip
NUMBERS = {
    "NaN": float("nan"), "infinite": float("inf"), "negative": -1, "zero": 0, "one": 1, "fraction": 2.5, "word": "a",
    "none": None, "true": True, "complex": 1j, "array": np.array([3, 4]), "empty": np.array([]),
    "tensor": torch.tensor(4),
}  # fmt: skip
SAMPLES = {
    "empty": np.array([]), "single": np.array([1.0]), "NaN": np.array([1, float("nan"), 2.0]),
    "infinite": np.array([1, np.inf]), "square": np.ones((2, 3)), "none": None, "word": "a", "list": [1.0, 2.0, 3.0],
    "tensor": torch.rand(5, generator=seeded()), "whole": np.arange(6), "half": np.arange(6, dtype=np.float16),
    "bool": np.array([True, False]), "alike": np.ones(8), "complex": np.ones(4) + 0j,
}  # fmt: skip
INDICES = {
    "fractions": torch.rand(3, generator=seeded()), "negative": torch.tensor([-1, 0]), "beyond": torch.tensor([9, 0]),
    "none": None, "square": torch.zeros(2, 2, dtype=torch.long), "bool": torch.tensor([True]), "word": "a",
}  # fmt: skip
NAMES = {"unknown": "zz", "none": None, "one": 1}
WHOLES = {
    "empty": [], "fractions": [1.5, 2.5], "NaN": [float("nan")], "negative": [-1], "zero": [0], "none": None,
    "word": "a", "array": np.array([2, 4]), "tensor": torch.tensor([2, 4]), "square": [[1, 2]], "bool": [True],
    "whole": [2.0, 4.0], "complex": [1j],
}  # fmt: skip
L0 = np.array([1.0, 5.0, 20.0])
CURVES = {arm: (L0 * by, np.array([0.1, 0.2, 0.4]) * by) for arm, by in (("standard", 1), ("a", 1.2), ("b", 1.5))}
ODD_CURVES = {
    "none": None, "nothing": {}, "no curve": {**CURVES, "a": None}, "one of three": {**CURVES, "a": (L0,)},
    "no runs": {**CURVES, "a": (L0[:0], L0[:0])}, "one run": {arm: (x[:1], y[:1]) for arm, (x, y) in CURVES.items()},
    "NaN": {**CURVES, "a": (L0 * np.nan, L0)}, "zero": {**CURVES, "a": (L0 * 0, L0)},
    "below": {**CURVES, "a": (-L0, L0)}, "lengths": {**CURVES, "a": (L0, np.ones(2))},
    "words": {**CURVES, "a": ("ab", L0)},
    "complex": {**CURVES, "a": (L0 + 0j, L0)}, "elsewhere": {**CURVES, "a": (L0 + 100, L0)},
    "lists": {arm: (x.tolist(), y.tolist()) for arm, (x, y) in CURVES.items()},
    "grad": {arm: tuple(torch.tensor(z, requires_grad=True) for z in curve) for arm, curve in CURVES.items()},
    "half": {arm: tuple(z.astype(np.float16) for z in curve) for arm, curve in CURVES.items()},
    "whole": {arm: (x.astype(int), y) for arm, (x, y) in CURVES.items()},
}  # fmt: skip
TABLE = pd.DataFrame({"architecture": list("aabb"), "l0": [1.0, 2, 3, 4], "fvu": [0.1, 0.2, 0.3, 0.4]})
TABLES = {
    "none": None,
    "dict": {},
    "without arms": TABLE.drop(columns="architecture"),
    "bare": TABLE.drop(columns="l0"),
}
TEXTS = {"none": None, "empty": "", "one": 1, "open": "{", "no format": ".2q", "bytes": b"a"}
PAIRS = {
    "one": (1,), "three": (1, 2, 3), "NaN": (float("nan"), 1), "swapped": (2, 1), "mixed": ("a", 1), "number": 3,
    "infinite": (0, np.inf), "array": np.array([0, 1.0]), "tensor": torch.tensor([0.5, 1]), "nones": (None, None),
}  # fmt: skip
POINTS = {
    "none": None, "array": {"a": np.ones(2)}, "tensor": {"a": torch.ones(2)}, "set": {"a": {1}},
    "mixed": {1: 1, "a": 2}, "numpy": {"a": np.int64(3)},
}  # fmt: skip
PENALTIES = {
    "none": None, "word": "a", "a matrix": lambda x, g: x, "a number": lambda x, g: 1.0,
    "no gradient": lambda x, g: x.detach().sum(), "NaN": lambda x, g: x.sum() * float("nan"),
}  # fmt: skip
LAW, MIRRORED, NOISE = (
    geometry.random_kth_cosine(20, 5, 1),
    geometry.random_kth_cosine(20, 5, 18),
    superposition.Interference(64, 4),
)


def a_sample(n, generator):
    return geometry.GaussianLike(X).sample(n, generator)


def followed(rows, candidates, every, chunk):
    follow = geometry.FollowedNeighbours(candidates, every, chunk=chunk)
    return follow(rows), follow(rows)


def a_number(value, key, form, interval, covers, null):
    return evidence.number(key, value, form, interval=interval, covers=covers, null=null)


TOLD = {"value": 0.5, "key": "ch01_a", "form": ".2f", "interval": (0, 1), "covers": "exact", "null": 0.0}
COUNTED = {"n": 8, "m": 16, "l": [2], "trials": 2, "threshold": 0.5, "amplitude": "unit"}
SAMPLE, RNG = np.linspace(0, 1, 50), np.random.default_rng(0)
READINGS, ON = RNG.random((20, 3)), RNG.random((20, 3)) > 0.5

CASES = [  # a function, a good call, and the arguments that are replaced
    (geometry.unit_rows, {"rows": X}, "rows"),
    (geometry.kth_largest_cosine, {"rows": X, "ks": (1,), "chunk": 4}, "rows chunk"),
    (geometry.nearest_neighbours, {"rows": X, "chunk": 4, "k": 2}, "rows chunk k"),
    (geometry.density, {"values": SAMPLE, "bandwidth": 0.05}, "values bandwidth"),
    (geometry.peaks, {"values": SAMPLE, "bandwidth": 0.05, "rise": 2.5, "share": 0.05}, "values bandwidth rise share"),
    (geometry.in_degree, {"index": torch.tensor([0, 1, 1]), "n": 4}, "index n"),
    (geometry.random_kth_cosine, {"n": 20, "d": 5, "k": 1}, "n d k"),
    (geometry.welch_bound, {"n": 20, "d": 5}, "n d"),
    (geometry.packing_bound, {"n": 20, "d": 5}, "n d"),
    (geometry.covariance_directions, {"x": X, "n": 4, "generator": seeded()}, "x n"),
    (geometry.moment_directions, {"rows": X, "n": 4, "generator": seeded()}, "rows n"),
    (geometry.mixture_directions, {"x": X, "n": 4, "clusters": 2, "generator": seeded()}, "x n clusters"),
    (geometry.data_directions, {"x": X, "n": 4, "generator": seeded()}, "x n"),
    (geometry.effective_dimension, {"x": X}, "x"),
    (geometry.whitened, {"rows": X, "x": X}, "rows x"),
    (geometry.GaussianLike, {"x": X}, "x"),
    (a_sample, {"n": 3, "generator": seeded()}, "n generator"),
    (geometry.covariance_directions, {"x": X, "n": 4, "generator": seeded()}, "generator"),
    (geometry.kth_largest_cosine, {"rows": X, "ks": (1,), "queries": torch.tensor([0, 1])}, "ks queries"),
    (followed, {"rows": X, "candidates": 2, "every": 2, "chunk": 4}, "rows candidates every chunk"),
    (
        geometry.hubness,
        {"index": torch.tensor([0, 1, 1]), "n": 4, "generator": seeded(), "draws": 9},
        "index n generator draws",
    ),
    (
        geometry.pack,
        {"n": 4, "d": 3, "steps": 2, "generator": seeded(), "sharpness": (1.0, 3.0), "lr": 0.05, "chunk": 4},
        "n d steps generator sharpness lr chunk",
    ),
    (
        geometry.descend,
        {"penalty": lambda x, g: (x @ x.T).pow(2).sum(), "n": 4, "d": 3, "steps": 2, "generator": seeded(), "lr": 0.05},
        "penalty n d steps generator lr",
    ),
    (LAW.cdf, {"x": 0.1}, "x"),
    (LAW.pdf, {"x": 0.1}, "x"),
    (LAW.ppf, {"q": 0.1}, "q"),
    (MIRRORED.cdf, {"x": 0.1}, "x"),
    (MIRRORED.pdf, {"x": 0.1}, "x"),
    (MIRRORED.ppf, {"q": 0.1}, "q"),
    (LAW.rvs, {"size": 3, "random_state": 0}, "size random_state"),
    (runs.rise, {"step": 1, "steps": 10, "share": 0.1}, "step steps share"),
    (runs.rise_and_fall, {"step": 1, "steps": 10, "up": 0.1, "down": 0.1}, "step steps up down"),
    (runs.key_of, {"fn": seeded, "point": {"a": 1}}, "fn point"),
    (superposition.post_bound, {"n": 64, "m": 256}, "n m"),
    (superposition.comment_bound, {"n": 64}, "n"),
    (superposition.reading_bound, {"n": 64, "m": 256}, "n m"),
    (superposition.pursuit_bound, {"n": 64, "m": 256}, "n m"),
    (superposition.largest_overlap, {"n": 64, "m": 256}, "n m"),
    (superposition.coherence_bound, {"n": 64, "m": 256, "threshold": 0.5}, "n m threshold"),
    (superposition.active_for, {"n": 64, "m": 256, "target": 0.5, "threshold": 0.5}, "n m target threshold"),
    (superposition.half_wrong, {"n": 64, "m": 256}, "n m"),
    (superposition.overlap_law, {"n": 64}, "n"),
    (superposition.overlap_sf, {"n": 64, "c": 0.1}, "n"),
    (superposition.squared_length, {"n": 64, "l": 3, "amplitude": "unit"}, "n l amplitude"),
    (superposition.false_alarm, {"n": 64, "l": 3, "threshold": 0.5}, "n l threshold"),
    (superposition.miss, {"n": 64, "l": 3, "threshold": 0.5}, "n l threshold"),
    (superposition.per_feature_error, {"n": 64, "m": 128, "l": 3, "threshold": 0.5}, "n m l threshold"),
    (superposition.any_error, {"n": 64, "m": 128, "l": 3, "threshold": 0.5}, "n m l threshold"),
    (superposition.gaussian_error, {"n": 64, "l": 3, "threshold": 0.5}, "n l threshold"),
    (superposition.gaussian_any_error, {"n": 64, "m": 128, "l": 3, "threshold": 0.5}, "n m l threshold"),
    (superposition.best_errors, {"n": 64, "m": 128, "l": 3}, "n m l"),
    (superposition.exact_auc, {"n": 64, "l": 3}, "n l"),
    (superposition.separation, {"readings": READINGS, "on": ON}, "readings"),
    (superposition.directions, {"n": 8, "start": 0, "stop": 4, "seed": 0}, "n stop seed"),
    (superposition.active_sets, {"m": 8, "l": 2, "trials": 3, "seed": 0}, "m l trials seed"),
    (superposition.active_sets, {"m": 8, "l": 2, "trials": 3, "seed": 0, "amplitude": "unit"}, "amplitude"),
    (superposition.directions, {"n": 8, "start": 0, "stop": 4, "seed": 0}, "start"),
    (superposition.features_for, {"n": 64, "l": 3, "target": 0.5, "threshold": 0.5}, "n l target threshold"),
    (superposition.overlap_sf, {"n": 64, "c": 0.1}, "c"),
    (superposition.Interference, {"n": 64, "l": 3, "amplitude": "unit"}, "n l amplitude"),
    (NOISE.sf, {"y": 0.1}, "y"),
    (NOISE.cdf, {"y": 0.1}, "y"),
    (NOISE.pdf, {"y": 0.1}, "y"),
    (NOISE.ppf, {"q": 0.1}, "q"),
    (superposition.separation, {"readings": READINGS, "on": ON}, "on"),
    (
        superposition.tally,
        {**COUNTED, "seed": 0, "start": 0, "stop": 16},
        "n m l trials seed threshold amplitude start stop",
    ),
    (superposition.pieces, {**COUNTED, "seeds": [0], "parts": 1}, "n m l trials threshold amplitude seeds parts"),
    (superposition.monte_carlo, {**COUNTED, "seeds": [0], "parts": 1}, "l seeds parts"),
    (superposition.suffered, {"codes": X.relu(), "rows": ROWS}, "codes rows"),
    (superposition.chance_power, {"codes": X.relu(), "d_model": 3}, "codes d_model"),
    (superposition.one_shot, {"x": X, "rows": X[:7], "l0": 2.0}, "x rows l0"),
    (evidence.interval, {"draws": SAMPLE, "level": 0.95}, "draws level"),
    (evidence.paired_difference, {"a": SAMPLE, "b": SAMPLE, "n": 9, "seed": 0}, "a b n seed"),
    (evidence.overlap, {"curves": CURVES}, "curves"),
    (evidence.mean_gain, {"curves": CURVES, "arm": "a", "base": "standard"}, "curves arm base"),
    (evidence.share_closed, {"curves": CURVES, "arm": "a", "best": "b"}, "curves arm best"),
    (evidence.curves_of, {"table": TABLE, "arms": ("a", "b"), "y": "fvu"}, "table y"),
    (a_number, TOLD, "key value form interval covers null"),
    (evidence.wilson, {"share": 0.3, "n": 10, "level": 0.95}, "share n level"),
    (evidence.plain, {"value": 0.3, "form": ".2f"}, "value form"),
    (evidence.with_interval, {"value": 0.3, "low": 0.1, "high": 0.5}, "value low high"),
    (evidence.at_l0, {"l0": np.array([3.0, 9.0]), "y": np.array([1.0, 2.0]), "where": 5.0}, "l0 y where"),
    (sae.fvu, {"x": X, "x_hat": X * 0.9}, "x x_hat"),
    (sae.loss_recovered, {"clean": 1.0, "spliced": 2.0, "ablated": 5.0}, "clean spliced ablated"),
]
GENERATORS = {"none": None, "one": 1, "numpy": RNG}
OTHERS = {
    "ks": WHOLES, "seeds": WHOLES, "curves": ODD_CURVES, "table": TABLES, "interval": PAIRS, "sharpness": PAIRS,
    "point": POINTS, "penalty": PENALTIES, "queries": INDICES, "generator": GENERATORS, "fn": NAMES | {"one": 1},
    "key": TEXTS, "covers": TEXTS, "on": SAMPLES,
} | dict.fromkeys(("arm", "base", "best"), NAMES)  # fmt: skip
LISTS = OTHERS | {"rows": MATRICES, "x": MATRICES, "x_hat": MATRICES, "codes": MATRICES, "index": INDICES,
         "amplitude": NAMES, "form": TEXTS | NAMES}  # fmt: skip
LISTS |= dict.fromkeys(("values", "draws", "a", "b", "y", "readings"), SAMPLES)
CALLS = [(function, good, name) for function, good, names in CASES for name in names.split()]


def kinds(function, name):
    if function in (superposition.tally, superposition.pieces, superposition.monte_carlo) and name == "l":
        return WHOLES
    if (function, name) == (evidence.curves_of, "y"):
        return NAMES
    if function in (
        LAW.cdf,
        LAW.pdf,
        LAW.ppf,
        MIRRORED.cdf,
        MIRRORED.pdf,
        MIRRORED.ppf,
        NOISE.sf,
        NOISE.cdf,
        NOISE.pdf,
    ):
        return SAMPLES | NUMBERS
    return SAMPLES if (function, name) == (evidence.at_l0, "l0") else LISTS.get(name, NUMBERS)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("function", "good", "name"), CALLS, ids=[f"{f.__name__}-{name}" for f, _, name in CALLS])
def test_an_answer_or_the_arguments_name(function, good, name):
    function(**good)
    for kind, value in kinds(function, name).items():
        try:
            function(**{**good, name: value})
        except ValueError as error:
            assert name in str(error), f"{kind}: {error}"
        except Exception as error:
            raise AssertionError(f"{name} = {kind}: {type(error).__name__}: {error}") from error


def refused(name, function, *args, **more):
    with pytest.raises(ValueError, match=name):
        function(*args, **more)


def test_nothing_else_is_done_in_silence():
    """What once gave an answer to another question, or another answer each time."""
    refused("amplitude", superposition.active_sets, 8, 2, 3, 0, "units")
    refused("l=1.5", superposition.pieces, 8, 16, [1.5], trials=2, seeds=[0])
    refused("seeds=0.5", superposition.pieces, 8, 16, [1], trials=2, seeds=[0.5])
    refused("parts=0", superposition.pieces, 8, 16, [1], trials=2, seeds=[0], parts=0)
    refused("seed=None", evidence.paired_difference, SAMPLE, SAMPLE[::-1], seed=None)
    refused("random_state=None", LAW.rvs, 3, random_state=None)
    refused("readings", superposition.separation, READINGS + 0j, ON)
    refused("curves", evidence.mean_gain, {**CURVES, "a": (L0 * [0, 1, 1], L0)}, "a")
    refused("penalty gave", geometry.descend, lambda x, g: x.sum() * float("nan"), 4, 3, 2, generator=seeded())
    refused("l=0", superposition.features_for, 64, 0)
    assert runs.rise_and_fall(12, 10, 0.1, 0.1) == 0


def test_guises_give_what_plain_arrays_give():
    want = evidence.mean_gain(CURVES, "a")
    for kind, tolerance in (("lists", 0), ("grad", 0), ("half", 1e-3)):
        assert evidence.mean_gain(ODD_CURVES[kind], "a") == pytest.approx(want, abs=tolerance)
    plain = superposition.separation(READINGS, ON)
    readings = torch.tensor(READINGS)
    for other in (readings, readings.requires_grad_(), np.asfortranarray(READINGS), READINGS.tolist()):
        assert all(
            np.array_equal(one, two) for one, two in zip(plain, superposition.separation(other, ON), strict=True)
        )
    assert superposition.separation(readings.bfloat16(), ON).auc == pytest.approx(plain.auc, abs=0.05)
    assert torch.equal(geometry.unit_rows(X.numpy()[::-1]), geometry.unit_rows(X.flip(0)))
    counted = superposition.tally(**COUNTED, seed=0)
    assert superposition.tally(**{**COUNTED, "l": torch.tensor([2])}, seed=0) == counted


def test_precisions_give_what_float64_gives():
    codes, rows = X.relu(), ROWS
    exact = superposition.suffered(codes.double(), rows.double())
    for kind, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.1)):
        seen = superposition.suffered(codes.to(kind), rows)
        assert seen.dtype == rows.dtype
        torch.testing.assert_close(seen.double(), exact, atol=tolerance, rtol=tolerance)
    assert evidence.interval([1, 2, 3]) == evidence.interval(torch.tensor([1.0, 2.0, 3.0]))
    assert superposition.false_alarm(64, []).shape == (0,)
