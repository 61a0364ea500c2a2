"""Holding only the active codes gives the same terms and the same gradients as holding all of them."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from samples import gradients, inputs, seeded, shaken

from helpers.sae import ARCHITECTURES, Active, Dense, Mixed, build, codes, entries, fastest

EVERY = pytest.mark.parametrize("name", ARCHITECTURES)
CASES = {
    "random": lambda sae: inputs(),
    "duplicates": lambda sae: inputs(6).repeat(4, 1),
    "one row": lambda sae: inputs(1),
    "no code at all": lambda sae: inputs() + 0 * sae.b_enc.data.fill_(-1e3).sum(),
}


def both(name, x_of, dtype=torch.float64, views=(Dense, Active), **options):
    """Terms and gradients of the training loss in each view, from the same dictionary and batch."""
    out = []
    for view in views:
        sae = shaken(name, orthogonality=0.1, dtype=dtype, **options).train()
        terms = sae.losses(x_of(sae), view, seeded())
        out.append((terms, gradients(sae, sum(terms.values())), sae))
    return out


@EVERY
@pytest.mark.parametrize("case", CASES)
def test_active_equals_dense(name, case):
    (terms, grads, sae), (terms_active, grads_active, sae_active) = both(name, CASES[case])
    assert terms.keys() == terms_active.keys()
    assert ("auxiliary" in terms) == (name not in ("standard", "rescale_shift", "jumprelu"))
    for key in terms:
        torch.testing.assert_close(terms_active[key], terms[key], rtol=1e-10, atol=1e-10)
    for key in grads:
        torch.testing.assert_close(grads_active[key], grads[key], rtol=1e-10, atol=1e-10)
    assert torch.equal(sae.silent_for, sae_active.silent_for)
    assert case == "no code at all" or all(g.any() for g in grads.values())


@pytest.mark.parametrize("view", [Dense, Active])
@pytest.mark.parametrize("name", ["standard", "expanded", "rescale_shift", "topk"])
def test_gradients_are_slopes(name, view):
    """Along a random direction in all parameters at once, against a central difference."""
    sae, x = shaken(name).eval(), inputs()
    sae.silent_for.zero_()  # no AuxK, whose target is detached
    grads = gradients(sae, sum(sae.losses(x, view).values()))
    assert name == "rescale_shift" or grads["W_enc"].any()
    frozen = {"W_dec", "b_dec"} if name == "expanded" else set()  # detached in the auxiliary term
    along = {
        k: torch.randn(g.shape, generator=seeded(i), dtype=g.dtype)
        for i, (k, g) in enumerate(grads.items())
        if k not in frozen
    }
    values = []
    for step in (1e-6, -1e-6):
        with torch.no_grad():
            for k, direction in along.items():
                sae.get_parameter(k).add_(step * direction)
            values.append(float(sum(sae.losses(x, view).values())))
            for k, direction in along.items():
                sae.get_parameter(k).sub_(step * direction)
    slope = sum(float((grads[k] * direction).sum()) for k, direction in along.items())
    assert (values[0] - values[1]) / 2e-6 == pytest.approx(slope, rel=1e-5, abs=1e-4)


@EVERY
@pytest.mark.parametrize("view", [Active, Mixed])
def test_low_precision_products_stay_close(name, view):
    (terms, grads, _), (terms_view, grads_view, _) = both(
        name, lambda sae: inputs(512, 32, torch.float32), torch.float32, (Dense, view), d_model=32, d_sae=256
    )
    for key in terms:
        torch.testing.assert_close(terms_view[key], terms[key], rtol=0.03, atol=1e-3)
    for key in grads:
        assert torch.cosine_similarity(grads_view[key].flatten(), grads[key].flatten(), dim=0) > 0.97, key


def test_the_fastest_view_is_active_once_codes_are_sparse():
    sae, x = build("standard", 16, 1024, generator=seeded(), sparsity=1.0), inputs(64, 16, torch.float32)
    assert not isinstance(fastest(sae, x), Active)
    with torch.no_grad():
        sae.b_enc -= 2.0
    z = fastest(sae, x)
    assert isinstance(z, Active) and 0 < z.density <= codes.MAX_DENSITY
    assert type(fastest(build("standard", 16, 64, generator=seeded()), x)) is Dense


GUISES = {
    "not contiguous": lambda p: p.data.T.contiguous().T,
    "every other": lambda p: torch.stack([p.data, p.data], -1)[..., 0],
}


@EVERY
@pytest.mark.parametrize("guise", GUISES)
def test_gradients_do_not_hang_on_how_weights_lie(name, guise):
    one, other = (shaken(name).train() for _ in range(2))
    for key in ("W_enc", "W_dec"):
        parameter = other.get_parameter(key)
        parameter.data = GUISES[guise](parameter)
    grads, grads_other = (gradients(sae, sum(sae.losses(inputs(), Active).values())) for sae in (one, other))
    for key in grads:
        torch.testing.assert_close(grads_other[key], grads[key], rtol=1e-10, atol=1e-10)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_the_backward_takes_any_weights(name, dtype, value):
    """Zeros, and what a run that went astray leaves: gradients come, and whoever reads them decides."""
    for key in ("W_enc", "b_enc", "W_dec", "b_dec"):
        sae = shaken(name, dtype=dtype).train()
        sae.get_parameter(key).data[:3] = value
        sum(sae.losses(inputs(dtype=dtype), Active, seeded()).values()).backward()
        found = {key: p.grad for key, p in sae.named_parameters() if p.requires_grad}
        assert all(grad.shape == sae.get_parameter(key).shape for key, grad in found.items()) and len(found) >= 2
        assert value or all(grad.isfinite().all() for grad in found.values())


@EVERY
def test_frozen_weights_get_no_gradient_and_the_others_theirs(name):
    whole = gradients(sae := shaken(name).train(), sum(sae.losses(inputs(), Active).values()))
    for free in whole:
        sae = shaken(name).train()
        for key, parameter in sae.named_parameters():
            parameter.requires_grad_(key == free)
        sum(sae.losses(inputs(), Active).values()).backward()
        torch.testing.assert_close(sae.get_parameter(free).grad, whole[free], rtol=1e-10, atol=1e-10)
        assert [key for key, parameter in sae.named_parameters() if parameter.grad is not None] == [free]


def test_several_threads_get_what_one_gets():
    x = inputs(64, 32, torch.float32)
    one = gradients(sae := shaken("topk", 32, 256, torch.float32).train(), sum(sae.losses(x, Active).values()))

    def again(_):
        sae = shaken("topk", 32, 256, torch.float32).train()
        return gradients(sae, sum(sae.losses(x, Active).values()))

    with ThreadPoolExecutor(4) as pool:
        for other in pool.map(again, range(8)):
            assert all(torch.equal(other[key], one[key]) for key in one)


def test_the_gradient_of_the_batch_comes_from_a_dense_view_or_is_refused():
    sae, x = build("standard", 16, 1024, generator=seeded(), sparsity=1.0), inputs(64, 16, torch.float32)
    with torch.no_grad():
        sae.b_enc -= 2.0
    assert isinstance(fastest(sae, x), Active)
    wanted = x.clone().requires_grad_()
    with pytest.raises(ValueError, match=r"x requires grad.*x\.detach\(\), or view=Dense"):
        sae.losses(wanted, Active)
    (dense,) = torch.autograd.grad(sum(sae.losses(wanted, Dense).values()), wanted)
    (fast,) = torch.autograd.grad(sum(sae.losses(wanted, fastest).values()), wanted)
    assert torch.cosine_similarity(fast.flatten(), dense.flatten(), dim=0) > 0.99
    with torch.no_grad():
        assert isinstance(fastest(sae, wanted), Active)


def test_a_backward_that_fails_says_where_and_what_to_do(monkeypatch):
    def losses():
        sae = shaken("standard").train()
        return sae, sum(sae.losses(inputs(), Active).values())

    said = r"the backward of \d+ active codes of \(24, 32\) failed: {}.*take a smaller batch; view=Dense"
    sae, loss = losses()
    sae.project()
    with pytest.raises(RuntimeError, match=said.format("one of the variables.*Change no weights")):
        loss.backward()
    sae, loss = losses()
    with pytest.raises(RuntimeError, match=said.format("create_graph=True")):
        torch.autograd.grad(loss, sae.W_dec, create_graph=True)

    def full(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    sae, loss = losses()
    monkeypatch.setattr(entries.Support, "per_feature", full)
    with pytest.raises(RuntimeError, match=said.format("DefaultCPUAllocator")):
        loss.backward()


def test_sparse_views_leave_no_big_array_behind():
    """Views and the graph of their losses refer to each other; what is large must go with the batch all the same."""
    import gc
    import weakref

    sae, x = shaken("topk", dtype=torch.float32), inputs(dtype=torch.float32)
    held = []

    def view(sae, x):
        z = Active(sae, x)
        held.append(weakref.ref(z.full))
        return z

    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            sum(sae.losses(x, view).values()).backward()
        assert sum(ref() is not None for ref in held) == 0
    finally:
        gc.enable()
