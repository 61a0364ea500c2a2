"""Gated and its relatives: a gate decides whether a feature is read, a magnitude path how much.

Source: Rajamanoharan et al. 2024, arXiv:2404.16014.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from .dictionary import SAE, squared_error


class Rescaled(SAE):
    """What gated and its relatives share: the gate decides *whether*, a magnitude path *how much*.

    π = pre;  f̃ = 1[π > 0] ⊙ ReLU(magnitude(π));
    ``L = ‖x - x_hat(f̃)‖² + λ‖ReLU(π)‖₁ + ‖x - x_hat_frozen(ReLU(π))‖²``, where the frozen decoder gets no gradient.
    The magnitude path's rows are ``exp(r_mag)`` times the gate's. Children say what its bias is, and so what ``gap``
    is: the code just above the gate's threshold, the height of the jump.
    """

    def __init__(self, d_model: int, d_sae: int, **options):
        super().__init__(d_model, d_sae, **options)
        self.r_mag = nn.Parameter(torch.zeros_like(self.b_enc))

    def magnitude(self, z) -> Tensor:
        raise NotImplementedError

    def codes(self, z) -> Tensor:
        return (z.pre > 0) * relu(self.magnitude(z))

    def terms(self, x: Tensor, z, f: Tensor) -> dict[str, Tensor]:
        gate = relu(z.pre)
        frozen = z.decode(gate, self.W_dec.detach()) + self.b_dec.detach()
        return {
            "reconstruction": squared_error(x, z.decode(f, self.W_dec) + self.b_dec),
            "sparsity": self.hyper["sparsity"] * z.total(gate),
            "auxiliary": squared_error(x, frozen),
        }


class Expanded(Rescaled):
    """Expanded: magnitude = t ⊙ π with ``t = exp(r_mag)``, so f̃ = t ⊙ ReLU(π). Gated with the gap fixed at zero."""

    def magnitude(self, z) -> Tensor:
        return z.at(self.r_mag).exp() * z.pre

    @property
    def gap(self) -> Tensor:
        return torch.zeros_like(self.r_mag)


class Gated(Rescaled):
    """Gated: magnitude = exp(r_mag) ⊙ (π - b_gate) + b_mag. The magnitude path has its own bias."""

    def __init__(self, d_model: int, d_sae: int, **options):
        super().__init__(d_model, d_sae, **options)
        self.b_mag = nn.Parameter(torch.zeros_like(self.b_enc))

    @property
    def b_gate(self) -> Tensor:
        """The gate's bias: another name of ``b_enc``."""
        return self.b_enc

    @property
    def gap(self) -> Tensor:
        return self.b_mag - self.r_mag.exp() * self.b_gate

    def magnitude(self, z) -> Tensor:
        return z.at(self.r_mag).exp() * (z.pre - z.at(self.b_gate)) + z.at(self.b_mag)

    def biases(self) -> list[Tensor]:
        return [*super().biases(), self.b_mag]


class GatedSharedBias(Rescaled):
    """Gated with one bias for both paths and the jump as a parameter: magnitude = exp(r_mag) ⊙ π + gap.

    It can represent what :class:`Gated` can (b_mag = exp(r_mag) ⊙ b_gate + gap); what differs is that reconstruction
    also moves the gate's bias, as it does in :class:`Expanded`.
    """

    def __init__(self, d_model: int, d_sae: int, **options):
        super().__init__(d_model, d_sae, **options)
        self.gap = nn.Parameter(torch.zeros_like(self.b_enc))

    def magnitude(self, z) -> Tensor:
        return z.at(self.r_mag).exp() * z.pre + z.at(self.gap)

    def biases(self) -> list[Tensor]:
        return [*super().biases(), self.gap]


class RescaleShift(GatedSharedBias):
    """Rescale & shift: a trained standard dictionary, frozen; only a scale and a shift of its active codes are fitted.

    f̃ = 1[pre > 0] ⊙ ReLU(exp(r_mag) ⊙ pre + gap); ``L = ‖x - x_hat(f̃)‖²``. Make one with :meth:`of`.
    """

    def __init__(self, d_model: int, d_sae: int, **options):
        super().__init__(d_model, d_sae, **options)
        for parameter in (self.W_enc, self.W_dec, self.b_enc, self.b_dec):
            parameter.requires_grad_(False)

    @classmethod
    def of(cls, sae: SAE) -> RescaleShift:
        """Start from a trained standard dictionary, whose tensors are copied."""
        if type(sae) is not SAE:
            raise TypeError(f"sae is {type(sae).__name__}; rescale & shift is fitted on a standard dictionary")
        new = cls(sae.d_model, sae.d_sae, generator=torch.Generator(), dtype=sae.W_dec.dtype, **sae.hyper)
        new.load_state_dict({**new.state_dict(), **sae.state_dict()})
        return new

    def terms(self, x: Tensor, z, f: Tensor) -> dict[str, Tensor]:
        return {"reconstruction": squared_error(x, z.decode(f, self.W_dec) + self.b_dec)}
