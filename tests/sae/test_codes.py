"""Holding only the active codes gives the same terms and the same gradients as holding all of them."""

import pytest
import torch
from samples import gradients, inputs, seeded, shaken

from helpers.sae import ARCHITECTURES, Active, Dense, Mixed, build, codes, fastest

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
