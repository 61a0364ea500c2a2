"""Architectures: how pre-activations become codes, and what is penalised. One class each, children of :class:`SAE`.

Sources: gated [Rajamanoharan et al. 2024, arXiv:2404.16014], JumpReLU [arXiv:2407.14435], TopK [Gao et al. 2024,
arXiv:2406.04093], BatchTopK [Bussmann et al. 2024, arXiv:2412.06410], Matryoshka [Bussmann et al. 2025,
arXiv:2503.17547].
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


class JumpReLU(SAE):
    """JumpReLU: ``f = pre ⊙ 1[pre > θ]``, ``L = ‖x - x_hat(f)‖² + λ‖f‖₀``, θ trained through a rectangle kernel.

    θ itself is the parameter (``threshold``), not its logarithm: under Adam ``exp(log θ)`` barely moves.
    """

    defaults = {"sparsity": 1.0, "bandwidth": 0.2}

    def __init__(self, d_model: int, d_sae: int, **options):
        super().__init__(d_model, d_sae, **options)
        self.threshold = nn.Parameter(torch.full_like(self.b_enc, self.hyper["bandwidth"] / 2))

    def support(self, pre: Tensor) -> Tensor:
        return pre > (self.threshold - self.hyper["bandwidth"] / 2).to(pre.dtype)

    def codes(self, z) -> Tensor:
        return _Jump.apply(z.pre, z.at(self.threshold), self.hyper["bandwidth"])

    def terms(self, x: Tensor, z, f: Tensor) -> dict[str, Tensor]:
        count = _Step.apply(z.pre, z.at(self.threshold), self.hyper["bandwidth"])
        return {
            "reconstruction": squared_error(x, z.decode(f, self.W_dec) + self.b_dec),
            "sparsity": self.hyper["sparsity"] * z.total(count),
        }

    @torch.no_grad()
    def project(self) -> None:
        super().project()
        self.threshold.clamp_min_(0)

    def rescale(self, scale: float) -> None:
        super().rescale(scale)
        self.hyper["bandwidth"] /= scale

    def biases(self) -> list[Tensor]:
        return [*super().biases(), self.threshold]


class _Jump(torch.autograd.Function):
    """z·1[z > θ]; pseudo-derivative -(θ/ε)·K((z - θ)/ε) for θ, K the unit rectangle (arXiv:2407.14435, eq. 11)."""

    @staticmethod
    def forward(ctx, z, threshold, bandwidth):
        ctx.save_for_backward(z, threshold)
        ctx.bandwidth = bandwidth
        return z * (z > threshold)

    @staticmethod
    def backward(ctx, grad):
        z, threshold = ctx.saved_tensors
        window = (z - threshold).abs() < ctx.bandwidth / 2
        d_threshold = -(threshold / ctx.bandwidth) * window * grad
        return grad * (z > threshold), d_threshold.sum_to_size(threshold.shape), None


class _Step(torch.autograd.Function):
    """1[z > θ]; pseudo-derivative -(1/ε)·K((z - θ)/ε) for θ, none for z (arXiv:2407.14435, eq. 12)."""

    @staticmethod
    def forward(ctx, z, threshold, bandwidth):
        ctx.save_for_backward(z, threshold)
        ctx.bandwidth = bandwidth
        return (z > threshold).to(z.dtype)

    @staticmethod
    def backward(ctx, grad):
        z, threshold = ctx.saved_tensors
        window = (z - threshold).abs() < ctx.bandwidth / 2
        return None, (-(grad / ctx.bandwidth) * window).sum_to_size(threshold.shape), None


class TopK(SAE):
    """TopK: the ``k`` largest pre-activations of each input, after ReLU; ``L = ‖x - x_hat‖² + AuxK``.

    AuxK: the ``k_aux`` largest among features silent for ``dead_after`` inputs reconstruct the (detached) error,
    weighted by ``auxiliary``.
    """

    defaults = {"k": 32, "auxiliary": 1 / 32, "k_aux": 64, "dead_after": 200_000}

    def support(self, pre: Tensor) -> Tensor:
        return _largest(pre, self.hyper["k"]) & (pre > 0)

    def codes(self, z) -> Tensor:
        return relu(z.pre) * z.kept(self)

    def reconstruction(self, x: Tensor, z, f: Tensor) -> tuple[Tensor, Tensor]:
        """The term, and the error that AuxK explains."""
        x_hat = z.decode(f, self.W_dec) + self.b_dec
        return squared_error(x, x_hat), (x - x_hat).detach()

    def terms(self, x: Tensor, z, f: Tensor) -> dict[str, Tensor]:
        term, error = self.reconstruction(x, z, f)
        terms = {"reconstruction": term}
        dead = self.silent_for >= self.hyper["dead_after"]
        if self.hyper["auxiliary"] and dead.any():
            mask = _largest(z.full.masked_fill(~dead, -torch.inf), min(self.hyper["k_aux"], int(dead.sum())))
            other, values = z.again(mask & dead)
            terms["auxiliary"] = self.hyper["auxiliary"] * squared_error(error, other.decode(values, self.W_dec))
        return terms


class BatchTopK(TopK):
    """BatchTopK: the ``k · batch`` largest pre-activations of the whole batch in training, a fixed threshold after.

    ``threshold`` is a running mean of the smallest code that training kept.
    """

    def __init__(self, d_model: int, d_sae: int, **options):
        super().__init__(d_model, d_sae, **options)
        self.register_buffer("threshold", torch.zeros((), dtype=self.b_enc.dtype))

    def support(self, pre: Tensor) -> Tensor:
        if not self.training:
            return (pre > self.threshold.to(pre.dtype)) & (pre > 0)
        keep = min(self.hyper["k"] * len(pre), pre.numel())
        positive = pre[pre > max(0.0, 0.7 * float(self.threshold))]
        if len(positive) <= keep:
            positive = pre[pre > 0]
        if len(positive) <= keep:
            return pre > 0
        smallest = positive.kthvalue(len(positive) - keep + 1).values
        mask = pre >= smallest
        surplus = int(mask.count_nonzero()) - keep
        if surplus:  # ties, frequent in bfloat16
            mask.view(-1)[(pre == smallest).view(-1).nonzero()[:surplus, 0]] = False
        return mask

    @torch.no_grad()
    def observe(self, z, f: Tensor) -> None:
        super().observe(z, f)
        if (f > 0).any():
            smallest = f[f > 0].min()
            self.threshold.copy_(smallest if self.threshold == 0 else self.threshold.lerp(smallest, 0.01))

    def biases(self) -> list[Tensor]:
        return [*super().biases(), self.threshold]


class Matryoshka(BatchTopK):
    """Matryoshka: BatchTopK whose first M/8, M/4, M/2 and M features must reconstruct alone; mean over prefixes."""

    def reconstruction(self, x: Tensor, z, f: Tensor) -> tuple[Tensor, Tensor]:
        index, terms = torch.arange(self.d_sae, device=x.device), []
        for part in (8, 4, 2, 1):
            x_hat = z.decode(z.only(f, index < self.d_sae // part), self.W_dec) + self.b_dec
            terms.append(squared_error(x, x_hat))
        return torch.stack(terms).mean(), (x - x_hat).detach()


def _largest(pre: Tensor, k: int) -> Tensor:
    """Mask of the ``k`` largest entries of each row; ties broken by position, so exactly ``k`` a row."""
    return torch.zeros_like(pre, dtype=torch.bool).scatter_(-1, pre.topk(k, dim=-1, sorted=False).indices, True)


ARCHITECTURES: dict[str, type[SAE]] = {
    "standard": SAE,
    "expanded": Expanded,
    "gated": Gated,
    "gated_shared_bias": GatedSharedBias,
    "rescale_shift": RescaleShift,
    "jumprelu": JumpReLU,
    "topk": TopK,
    "batchtopk": BatchTopK,
    "matryoshka": Matryoshka,
}


def build(name: str, d_model: int, d_sae: int, *, generator: torch.Generator, **hyper) -> SAE:
    """A fresh dictionary of the architecture ``name``; ``hyper`` are its hyperparameters (see the class).

    Raises ``ValueError`` for an unknown architecture, sizes below 1, or a hyperparameter out of range, ``TypeError``
    for a hyperparameter the architecture does not have.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"name={name!r} is no architecture; expected one of {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name](d_model, d_sae, generator=generator, **hyper)


def architecture(sae: SAE) -> str:
    """The name under which :func:`build` makes dictionaries like this one."""
    return next(name for name, cls in ARCHITECTURES.items() if cls is type(sae))
