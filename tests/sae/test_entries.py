"""The sums over entries, on a processor and as a graphics card takes them, with torch in the kernels' place."""

import pytest
import torch
from samples import gradients, inputs, seeded, shaken
from test_codes import CASES, EVERY, both

from helpers.sae import Active, Dense, Mixed, build, codes, entries, fastest


@pytest.fixture
def card(monkeypatch):
    """Everything goes the way of a graphics card, but for the kernels: what they are compared with stands for them."""
    monkeypatch.setattr(entries, "kernels", lambda device: entries)


@pytest.mark.parametrize("way", ["processor", "card"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 1.0])
def test_sums_are_products_with_a_matrix_of_codes(way, share, request):
    if way == "card":
        request.getfixturevalue("card")
    f = torch.randn(13, 21, generator=seeded(), dtype=torch.float64)
    on = torch.rand(13, 21, generator=seeded(1)) < share
    if 0 < share < 1:
        on[:, 4], on[5], on[:, 7] = True, False, False
    f = f * on
    of_row, of_feature = (torch.randn(n, 6, generator=seeded(n), dtype=torch.float64) for n in (13, 21))
    where = entries.Support(on.flatten().nonzero()[:, 0], 13, 21)
    values = f[on]
    torch.testing.assert_close(where.per_row(values, of_feature), f @ of_feature)
    torch.testing.assert_close(where.per_feature(values, of_row), f.T @ of_row)
    torch.testing.assert_close(where.total(values), f.sum(0))
    torch.testing.assert_close(where.dots(of_row, of_feature), (of_row @ of_feature.T)[on])


@EVERY
@pytest.mark.parametrize("case", CASES)
def test_the_way_of_a_card_equals_dense(name, case, card):
    (terms, grads, sae), (terms_active, grads_active, sae_active) = both(name, CASES[case])
    for key in terms:
        torch.testing.assert_close(terms_active[key], terms[key], rtol=1e-10, atol=1e-10)
    for key in grads:
        torch.testing.assert_close(grads_active[key], grads[key], rtol=1e-10, atol=1e-10)
    assert torch.equal(sae.silent_for, sae_active.silent_for)


@EVERY
def test_rows_in_bfloat16_stay_close(name, card, monkeypatch):
    monkeypatch.setattr(codes, "bf16_is_fast", lambda device="cpu": True)
    read = []
    for sum_of in ("bag", "dots"):
        plain = getattr(entries, sum_of)
        monkeypatch.setattr(entries, sum_of, lambda *a, f=plain: read.extend(t.dtype for t in a) or f(*a))
    (terms, grads, _), (terms_active, grads_active, _) = both(
        name, lambda sae: inputs(512, 32, torch.float32), torch.float32, d_model=32, d_sae=256
    )
    assert torch.bfloat16 in read
    for key in terms:
        torch.testing.assert_close(terms_active[key], terms[key], rtol=0.03, atol=1e-3)
    for key in grads:
        assert torch.cosine_similarity(grads_active[key].flatten(), grads[key].flatten(), dim=0) > 0.97, key


def test_a_product_known_already_has_the_gradient_of_the_product():
    sae, x = shaken("standard"), inputs()

    def known(sae, x):
        batch = codes.encoded(sae, x)
        return Dense(sae, x, codes._Product.apply(batch.low, sae.W_enc, sae.b_enc, sae.b_dec, batch.full))

    wanted, found = (gradients(sae, sum(sae.losses(x, view).values())) for view in (Dense, known))
    for key, grad in wanted.items():
        assert grad.any()
        torch.testing.assert_close(found[key], grad, rtol=1e-12, atol=1e-12)


def test_which_view_is_fastest():
    """By the kind of device, whether kernels run there, how many features there are, and the share of codes."""
    assert codes.densest("cpu", 4608, False) == codes.MAX_DENSITY
    assert codes.densest("cuda", 4608, True) == codes.MAX_DENSITY_CARD < codes.MAX_DENSITY
    for device in ("cpu", "cuda"):
        assert codes.densest(device, codes.FEW - 1, True) == 0
    for device in ("cuda", "mps", "xpu"):
        assert codes.densest(device, 4608, False) == 0


def test_on_a_card_few_codes_are_held_alone_and_many_densely(card, monkeypatch):
    monkeypatch.setattr(codes, "densest", lambda device, d_sae, kernels: kernels * codes.MAX_DENSITY_CARD)
    x = inputs(16, 16, torch.float32)
    z = fastest(build("topk", 16, 1024, generator=seeded(), k=4).train(), x)
    assert isinstance(z, Active) and z.where.cols.dtype == torch.int32 and z.density <= 4 / 1024
    dense = Mixed if codes.bf16_is_fast() else Dense
    asked = build("topk", 16, 1024, generator=seeded(), k=20).train()
    assert type(fastest(asked, x)) is dense
    half = shaken("standard", 16, 1024, dtype=torch.float32)
    z = fastest(half, x)
    assert type(z) is dense and (z.pre > 0).float().mean() > 0.3
    with torch.no_grad():
        half.b_enc -= 4.0
    assert isinstance(fastest(half, x), Active)


def test_kernels_run_on_a_card_that_has_triton(monkeypatch):
    cpu, card = torch.device("cpu"), torch.device("cuda")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(entries, "_kernels", lambda: entries)
    assert entries.kernels(card) is entries and entries.kernels(cpu) is None
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert entries.kernels(cpu) is entries and entries.kernels(torch.device("mps")) is None


@pytest.mark.parametrize(("triton", "compiler"), [(True, True), (True, False), (False, True)])
def test_kernels_need_triton_and_a_compiler(triton, compiler, monkeypatch):
    for name in ("CC", "TRITON_INTERPRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(entries, "find_spec", lambda name: name if triton else None)
    monkeypatch.setattr(entries, "which", lambda name: name if compiler else None)
    monkeypatch.setattr(entries, "import_module", lambda name: name)
    monkeypatch.setattr(entries, "_kernels", entries._kernels.__wrapped__)
    wanted = "helpers.sae.kernels" if triton and compiler else None
    assert entries.kernels(torch.device("cuda")) == wanted
