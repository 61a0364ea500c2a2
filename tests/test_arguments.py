"""What people hand in by accident: the public functions give a right answer or name the argument, never another error.

Each function is called as it should be but for one argument, which takes every value of its kind's list.
"""

import numpy as np
import pytest
import torch
from samples import seeded

from helpers import evidence, geometry, sae, superposition

X = torch.randn(12, 5, generator=seeded())
ROWS = torch.randn(5, 3, generator=seeded(1))
MATRICES = {
    "no rows": X[:0], "no columns": X[:, :0], "one row": X[:1], "one column": X[:, :1], "vector": X[0],
    "stack": X[None], "NaN": X * float("nan"), "infinite": X / 0, "zeros": X * 0, "whole": (X * 4).int(),
    "half": X.half(), "bfloat16": X.bfloat16(), "double": X.double(), "strided": X.T.contiguous().T,
    "grad": X.clone().requires_grad_(), "bool": X > 0, "complex": X + 0j, "none": None, "word": "a",
    "lists": X.tolist(), "array": X.numpy(), "alike": torch.ones(12, 5),
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
    (superposition.suffered, {"codes": X.relu(), "rows": ROWS}, "codes rows"),
    (superposition.chance_power, {"codes": X.relu(), "d_model": 3}, "codes d_model"),
    (superposition.one_shot, {"x": X, "rows": X[:7], "l0": 2.0}, "x rows l0"),
    (evidence.interval, {"draws": SAMPLE, "level": 0.95}, "draws level"),
    (evidence.paired_difference, {"a": SAMPLE, "b": SAMPLE}, "a b"),
    (evidence.wilson, {"share": 0.3, "n": 10, "level": 0.95}, "share n level"),
    (evidence.plain, {"value": 0.3, "form": ".2f"}, "value form"),
    (evidence.with_interval, {"value": 0.3, "low": 0.1, "high": 0.5}, "value low high"),
    (evidence.at_l0, {"l0": np.array([3.0, 9.0]), "y": np.array([1.0, 2.0]), "where": 5.0}, "l0 y where"),
    (sae.fvu, {"x": X, "x_hat": X * 0.9}, "x x_hat"),
    (sae.loss_recovered, {"clean": 1.0, "spliced": 2.0, "ablated": 5.0}, "clean spliced ablated"),
]
LISTS = {"rows": MATRICES, "x": MATRICES, "x_hat": MATRICES, "codes": MATRICES, "index": INDICES, "amplitude": NAMES,
         "form": NAMES} | dict.fromkeys(("values", "draws", "a", "b", "y", "readings"), SAMPLES)  # fmt: skip
CALLS = [(function, good, name) for function, good, names in CASES for name in names.split()]


def kinds(function, name):
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


def test_precisions_give_what_float64_gives():
    codes, rows = X.relu(), ROWS
    exact = superposition.suffered(codes.double(), rows.double())
    for kind, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.1)):
        seen = superposition.suffered(codes.to(kind), rows)
        assert seen.dtype == rows.dtype
        torch.testing.assert_close(seen.double(), exact, atol=tolerance, rtol=tolerance)
    assert evidence.interval([1, 2, 3]) == evidence.interval(torch.tensor([1.0, 2.0, 3.0]))
    assert superposition.false_alarm(64, []).shape == (0,)
