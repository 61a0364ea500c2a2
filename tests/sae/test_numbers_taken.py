"""What counts as activations, codes and rows: anything real is converted, anything else is refused by name."""

import numpy as np
import pytest
import torch
from samples import HYPER

from helpers.geometry import effective_dimension, nearest_neighbours, peaks, whitened
from helpers.sae import (
    SparseFeatures,
    build,
    dead_fraction,
    feature_recovery,
    fvu,
    l0,
    reconstruction_bias,
    train,
)

X = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
REAL = {
    "float64": X.double(),
    "float16": X.half(),
    "bfloat16": X.bfloat16(),
    "integers": X.mul(4).int(),
    "an array": X.numpy(),
    "lists": X.tolist(),
    "not contiguous": X.T.contiguous().T,
    "requires a gradient": X.clone().requires_grad_(),
}
NOT = {"bool": X > 0, "complex": X.to(torch.complex64), "words": [["a"] * 8], "nothing": None, "ragged": [[1.0], []]}


def sae(architecture="gated", dtype=torch.float32):
    return build(architecture, 8, 32, generator=torch.Generator().manual_seed(0), dtype=dtype, **HYPER[architecture])


@pytest.mark.parametrize("architecture", [name for name in HYPER if name != "rescale_shift"])
@pytest.mark.parametrize("kind", REAL)
def test_real_numbers_are_taken_in_the_dictionarys_own_dtype(architecture, kind):
    taken = sae(architecture)
    x = REAL[kind] if isinstance(REAL[kind], torch.Tensor) else torch.tensor(np.asarray(REAL[kind]))
    codes = taken.encode(REAL[kind])
    assert codes.dtype == torch.float32
    torch.testing.assert_close(codes, taken.encode(x.float()))
    torch.testing.assert_close(taken.decode(codes.double()), taken.decode(codes))
    assert taken.losses(REAL[kind])["reconstruction"].dtype == torch.float32


@pytest.mark.parametrize("kind", NOT)
@pytest.mark.parametrize("method", ["encode", "losses", "decode"])
def test_others_are_refused_by_name(method, kind):
    with pytest.raises(ValueError, match=r"^(x|codes) "):
        getattr(sae(), method)(NOT[kind])


@pytest.mark.parametrize("kind", REAL)
def test_metrics_take_real_numbers(kind):
    x, plain = (
        REAL[kind],
        torch.tensor(np.asarray(REAL[kind].detach().float() if hasattr(REAL[kind], "detach") else REAL[kind])),
    )
    assert fvu(x, x) == 0 and reconstruction_bias(x, x) == pytest.approx(1)
    assert l0(x) == l0(plain) and dead_fraction(x) == dead_fraction(plain)
    assert feature_recovery(x, x) == pytest.approx(1)


@pytest.mark.parametrize("bad", [*NOT.values(), X * float("nan"), X / 0, X[0], X[:0], X[:, :0]])
@pytest.mark.parametrize("metric", [l0, dead_fraction, lambda x: fvu(x, X), lambda x: reconstruction_bias(X, x)])
def test_metrics_refuse_the_rest(metric, bad):
    with pytest.raises(ValueError, match=r"^(x|x_hat|codes) "):
        metric(bad)


@pytest.mark.parametrize("bad", [X[0], X[None], X[:0]])
def test_recovery_wants_two_matrices(bad):
    with pytest.raises(ValueError, match="W_dec has shape"):
        feature_recovery(bad, X)
    with pytest.raises(ValueError, match="features has shape"):
        feature_recovery(X, bad)


def test_peaks_take_any_tensor():
    values = torch.rand(200, generator=torch.Generator().manual_seed(0))
    want = peaks(values.numpy())
    assert peaks(values.clone().requires_grad_()) == want
    assert len(peaks(values.bfloat16())) == len(want)
    with pytest.raises(ValueError, match="values"):
        peaks(values > 0.5)


def test_geometry_takes_arrays():
    x = np.random.default_rng(0).normal(size=(50, 4))
    assert effective_dimension(x) == pytest.approx(effective_dimension(torch.tensor(x)))
    assert whitened(x[:3], x).shape == (3, 4)
    assert nearest_neighbours(x).index.tolist() == nearest_neighbours(torch.tensor(x)).index.tolist()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_trained_in_float32(dtype, tmp_path):
    source = SparseFeatures(8, 8)

    def batch(step):
        return source.sample(64, torch.Generator().manual_seed(step))[0]

    half, whole = sae("jumprelu", dtype), sae("jumprelu", dtype).float()
    start = half.threshold.detach().clone()
    for one in (half, whole):
        train(one, batch, steps=100, lr=7e-5, progress=False, checkpoint=tmp_path / f"{one.W_dec.dtype}.safetensors")
    assert half.W_dec.dtype == dtype and (half.threshold != start).any()
    for name, parameter in whole.named_parameters():
        torch.testing.assert_close(dict(half.named_parameters())[name], parameter.to(dtype), rtol=0, atol=0)


def test_its_name_tells_sizes_and_settings():
    assert repr(sae("topk")).startswith("TopK(d_model=8, d_sae=32, k=4")
