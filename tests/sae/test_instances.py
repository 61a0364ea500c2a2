"""Many dictionaries at once are each of them alone."""

import numpy as np
import pytest
import torch

from helpers import composition as C
from helpers.sae import (
    Dense,
    build,
    encode_together,
    losses_together,
    stack,
    tangential,
    train,
    train_together,
    unstack,
)
from helpers.sae.instances import largest_of_batch
from recipes import three_features as recipe


def hyper(arm, i):
    return {"k": 1, "auxiliary": 0} if arm in recipe.K_ARMS else {"sparsity": (0.1, 0.5, 1.0, 0.3)[i]}


def several(arm, **extra):
    def make(i):
        generator = torch.Generator().manual_seed(i)
        return build(arm, 3, 3, generator=generator, dtype=torch.float64, **hyper(arm, i), **extra)

    return [make(i) for i in range(4)]


def inputs(step):
    x = torch.as_tensor(C.patterns(1.0)[0])
    return x[torch.randint(0, 4, (4, 16), generator=torch.Generator().manual_seed(step))]


@pytest.mark.parametrize("extra", [{}, {"orthogonality": 0.3, "penalty": "mean_square"}], ids=["plain", "penalty"])
@pytest.mark.parametrize("arm", recipe.ARMS)
def test_losses_and_gradients_of_many_are_those_of_each(arm, extra):
    saes, many, x = several(arm, **extra), stack(several(arm, **extra)), inputs(0)
    together = losses_together(many, x)
    (torch.stack(list(together.values())).sum() * len(saes)).backward()
    each = [sae.losses(x[i]) for i, sae in enumerate(saes)]
    for name, term in together.items():
        assert term.item() == pytest.approx(np.mean([terms[name].item() for terms in each]), abs=1e-12)
    assert set(together) == set(each[0])
    for i, sae in enumerate(saes):
        sum(each[i].values()).backward()
        for name, parameter in sae.named_parameters():
            torch.testing.assert_close(getattr(many, name).grad[i].reshape(parameter.shape), parameter.grad)


@pytest.mark.parametrize("arm", recipe.ARMS)
def test_training_many_together_is_training_each_alone(arm):
    saes, many = several(arm), stack(several(arm))
    train_together(many, inputs, steps=20, lr=3e-3)
    for i, sae in enumerate(saes):
        train(sae, lambda step, i=i: inputs(step)[i], steps=20, lr=3e-3, view=Dense, progress=False)
        for name, tensor in unstack(many, i, sae).state_dict().items():
            torch.testing.assert_close(tensor, sae.state_dict()[name], rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(
            encode_together(many, inputs(99))[i], sae.encode(inputs(99)[i]), rtol=1e-7, atol=1e-9
        )


@pytest.mark.parametrize("arm", recipe.ARMS)
def test_reviving_many_together_is_reviving_each_alone(arm):
    def born(dead):  # with latents that see nothing
        saes = several(arm)
        for i, sae in enumerate(saes):
            with torch.no_grad():
                sae.b_enc[: dead[i]] = -9.0
        return saes

    saes, many = born((0, 1, 2, 3)), stack(born((0, 1, 2, 3)))
    settings = {"steps": 120, "lr": 3e-3, "revive_at": (104, 110), "seed": 7}
    train_together(many, inputs, **settings)
    for i, sae in enumerate(saes):
        train(sae, lambda step, i=i: inputs(step)[i], view=Dense, progress=False, **settings)
        for name, tensor in unstack(many, i, sae).state_dict().items():
            torch.testing.assert_close(tensor, sae.state_dict()[name], rtol=1e-7, atol=1e-9)
    if arm != "matryoshka":  # whose first latents alone must reconstruct
        assert many.silent_for[1].max() < 1000 < many.silent_for[3].min()  # revived; none left to learn a size from


def test_a_penalty_on_the_encoder_moves_the_encoder_alone():
    many = stack(several("standard", orthogonality=1.0, penalty="mean_square"))
    losses_together(many, inputs(0), on="encoder")["orthogonality"].backward()
    assert many.W_enc.grad.abs().max() > 0 and many.W_dec.grad is None


@pytest.mark.parametrize("arm", ["standard", "gated"])
def test_the_tangential_gradient_is_the_gradient_less_its_part_along_each_row(arm):
    plain, tangent = stack(several(arm)), stack(several(arm))
    rows = plain.W_dec.detach().clone()
    train_together(plain, inputs, steps=1, lr=3e-3)
    train_together(tangent, inputs, steps=1, lr=3e-3, tangent=True)  # one step, so its gradient is still there
    along = lambda gradient: (gradient * rows).sum(-1)  # noqa: E731
    assert along(plain.W_dec.grad).abs().max() > 1e-3 and along(tangent.W_dec.grad).abs().max() < 1e-12
    part = along(plain.W_dec.grad)[..., None] * rows
    torch.testing.assert_close(tangent.W_dec.grad + part, plain.W_dec.grad)
    torch.testing.assert_close(tangential(plain.W_dec.grad, rows), tangent.W_dec.grad)
    for name, parameter in plain.named_parameters():
        if name != "W_dec" and parameter.grad is not None:
            assert torch.equal(getattr(tangent, name).grad, parameter.grad)


def test_without_the_option_training_is_as_it_was():
    off, default, on = (stack(several("standard")) for _ in range(3))
    train_together(off, inputs, steps=20, lr=3e-3, tangent=False)
    train_together(default, inputs, steps=20, lr=3e-3)
    train_together(on, inputs, steps=20, lr=3e-3, tangent=True)
    assert all(torch.equal(a, b) for a, b in zip(off.parameters(), default.parameters(), strict=True))
    assert not torch.allclose(on.W_dec, off.W_dec, atol=1e-4)


def test_of_equal_codes_the_batch_keeps_the_later_as_one_dictionary_does():
    pre = torch.tensor([[[1.0, 1.0], [1.0, -1.0]], [[0.5, 2.0], [-1.0, -2.0]]])
    expected = torch.tensor([[[False, True], [True, False]], [[True, True], [False, False]]])
    torch.testing.assert_close(largest_of_batch(pre, 1), expected)


def test_bad_input_is_refused_by_name():
    with pytest.raises(ValueError, match="auxiliary"):
        stack([build("topk", 3, 3, generator=torch.Generator(), k=1)])
    with pytest.raises(ValueError, match=r"saes\[1\]"):
        stack([several("standard")[0], several("gated")[0]])
    with pytest.raises(ValueError, match="expected .instances=4"):
        losses_together(stack(several("standard")), inputs(0)[:2])
    many = stack(several("standard"))
    for x, message in (
        (inputs(0) * torch.nan, "NaN"), (None, "x is a NoneType"), (inputs(0)[:, :0], r"x has shape \(4, 0, "),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            losses_together(many, x)
    with pytest.raises(ValueError, match=r"x has shape \(2, 9\)"):
        encode_together(many, torch.zeros(2, 9))
    for options, message in (({"steps": 2.5, "lr": 0.1}, "steps=2.5"), ({"steps": 2, "lr": torch.nan}, "lr=nan")):
        with pytest.raises(ValueError, match=message):
            train_together(many, inputs, **options)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_in_which_thresholds_would_not_move_is_refused(dtype):
    with pytest.raises(ValueError, match=f"saes hold {dtype}; expected float32 or float64"):
        stack([build("jumprelu", 4, 8, generator=torch.Generator(), dtype=dtype)])


def test_inputs_are_taken_in_the_dictionaries_own_dtype():
    many = stack(several("standard"))
    x = inputs(0)
    torch.testing.assert_close(
        losses_together(many.eval(), x.double())["reconstruction"], losses_together(many, x)["reconstruction"]
    )
    torch.testing.assert_close(encode_together(many, x.double()), encode_together(many, x))
