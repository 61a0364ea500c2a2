"""The kernels for graphics cards, in Triton's interpreter: :mod:`test_kernels` runs this file where there is one.

What they are compared with is the product with a matrix of codes, and training with all codes held.
"""

import pytest
import torch
from samples import inputs, seeded, shaken
from test_codes import CASES, EVERY, both

from helpers.sae import Active, Dense, Mixed, SparseFeatures, build, codes, entries, fastest, kernels, train

KINDS = {  # of rows → of weights and sums, and the largest error for a row of entries of size 1
    torch.float64: (torch.float64, 1e-13),
    torch.float32: (torch.float32, 1e-5),
    torch.bfloat16: (torch.float32, 1e-5),  # rows are rounded already: sums are not
}
# batch, features, d_model; share of codes that are on
SIZES = {
    "few": (7, 19, 40, 0.15),
    "many": (6, 14, 16, 0.6),
    "all": (5, 9, 8, 1.0),
    "wide": (4, 6, 300, 0.4),
    "a power of two": (8, 16, 64, 0.2),
    "one column": (7, 12, 1, 0.3),
    "one row": (1, 40, 24, 0.3),
    "none on": (5, 7, 12, 0.0),
    "no row": (0, 7, 12, 0.5),
    "no feature": (5, 0, 12, 0.5),
    "no column": (5, 7, 0, 0.5),
}


def drawn(size, kind):
    """A matrix of codes with empty rows and features and one feature in every row, its support, and rows of each."""
    batch, features, d, share = size
    weights, _ = KINDS[kind]
    f = torch.randn(batch, features, generator=seeded(), dtype=torch.float64).to(weights)
    on = torch.rand(batch, features, generator=seeded(1)) < share
    if 0 < share < 1:
        on[:, features // 2 :][:, :1] = True
        on[batch // 2 :][:1] = False
        on[:, features // 3 :][:, :1] = False
    f = f * on
    where = entries.Support(on.flatten().nonzero()[:, 0], batch, features)
    rows = [torch.randn(n, d, generator=seeded(n), dtype=torch.float64).to(kind) for n in (batch, features)]
    return f, f[on], where, *rows


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_kernels_equal_dense_products_and_are_equal_twice(size, kind):
    f, values, where, of_row, of_feature = drawn(size, kind)
    weights, error = KINDS[kind]
    assert where.kernels is kernels and where.rows.dtype == torch.int32
    exact = f.double(), of_row.double(), of_feature.double()
    wanted = {
        "per_row": (exact[0] @ exact[2], lambda: where.per_row(values, of_feature)),
        "per_feature": (exact[0].T @ exact[1], lambda: where.per_feature(values, of_row)),
        "total": (exact[0].sum(0), lambda: where.total(values)),
        "dots": ((exact[1] @ exact[2].T).flatten()[where.flat], lambda: where.dots(of_row, of_feature)),
    }
    for name, (right, found) in wanted.items():
        once, again = found(), found()
        assert once.shape == right.shape and once.dtype == weights, name
        torch.testing.assert_close(once.double(), right, rtol=error, atol=error * 10, msg=lambda m, n=name: f"{n}: {m}")
        assert torch.equal(once, again), name


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_kernels_equal_what_is_written_in_torch(kind):
    f, values, where, of_row, of_feature = drawn(SIZES["few"], kind)
    order, starts, at = where.by_feature
    args = {
        "bag": (at, starts, of_row, values[order]),
        "totals": (starts, values[order]),
        "dots": (of_row, where.rows, of_feature, where.cols),
    }
    for name, given in args.items():
        ours, plain = getattr(kernels, name)(*given), getattr(entries, name)(*given)
        assert ours.dtype == plain.dtype
        torch.testing.assert_close(ours, plain, rtol=KINDS[kind][1], atol=10 * KINDS[kind][1])


def test_rows_of_weight_zero_are_not_read_and_nan_is_not_hidden():
    rows = torch.tensor([[1.0, 2.0], [torch.nan, torch.nan]])
    at, starts = torch.tensor([0, 1]).int(), torch.tensor([0, 2]).int()
    assert kernels.bag(at, starts, rows, torch.tensor([2.0, 0.0])).tolist() == [[2.0, 4.0]]
    assert kernels.bag(at, starts, rows, torch.tensor([2.0, 1.0])).isnan().all()
    assert kernels.bag(at[:1], starts.clamp(max=1), rows, torch.tensor([torch.nan])).isnan().all()


@EVERY
@pytest.mark.parametrize("case", ["random", "no code at all"])
def test_active_equals_dense(name, case):
    (terms, grads, sae), (terms_active, grads_active, sae_active) = both(name, CASES[case])
    for key in terms:
        torch.testing.assert_close(terms_active[key], terms[key], rtol=1e-10, atol=1e-10)
    for key in grads:
        torch.testing.assert_close(grads_active[key], grads[key], rtol=1e-10, atol=1e-10)
    assert torch.equal(sae.silent_for, sae_active.silent_for)


@pytest.mark.parametrize("name", ["topk", "batchtopk"])
def test_training_through_kernels_follows_dense_training(name, tmp_path):
    """Row by row of the log: within what bfloat16 rows may do, and far nearer than another start comes."""
    hyper = {"k": 3, "k_aux": 3, "dead_after": 24}
    source = SparseFeatures(48, 16)

    def trained(view, seed=0, **options):
        sae, generator = build(name, 16, 24, generator=seeded(seed), **hyper), seeded(5)
        x = [source.sample(12, generator)[0] for _ in range(6)]
        log = train(sae, x, steps=6, lr=1e-2, view=view, log_every=1, progress=False, **options)
        return log.reconstruction, sae.state_dict()

    path = tmp_path / "run.safetensors"
    (dense, _), (other, _) = trained(Dense), trained(Dense, seed=1)
    (active, weights), (_, again) = trained(Active), trained(Active, checkpoint=path, checkpoint_every=100)
    assert (active - dense).abs().max() < 0.25 * (other - dense).abs().max()
    assert all(torch.equal(weights[key], again[key]) for key in weights)


def test_the_fastest_view_goes_by_density():
    x = inputs(8, 16, torch.float32)
    z = fastest(build("topk", 16, 1024, generator=seeded(), k=4).train(), x)
    assert isinstance(z, Active) and z.where.kernels is kernels and len(z.where.flat) == 32
    many = build("topk", 16, 1024, generator=seeded(), k=200).train()
    half = shaken("standard", 16, 1024, dtype=torch.float32)
    for sae in (many, half):
        z = fastest(sae, x)
        assert type(z) is (Mixed if codes.bf16_is_fast() else Dense)
        assert all(g.any() for g in torch.autograd.grad(z.pre.relu().sum(), [sae.W_enc, sae.b_enc, sae.b_dec]))
