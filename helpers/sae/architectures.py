"""Architectures by name, and those that differ in what they let through: JumpReLU, TopK and its relatives.

One class each, a child of :class:`SAE` that says how pre-activations become codes and what is penalised. Gated and its
relatives are in :mod:`helpers.sae.rescaled`.

Sources: JumpReLU [arXiv:2407.14435], TopK [Gao et al. 2024, arXiv:2406.04093], BatchTopK [Bussmann et al. 2024,
arXiv:2412.06410], Matryoshka [Bussmann et al. 2025, arXiv:2503.17547].

>>> import torch
>>> from helpers.sae import ARCHITECTURES, build
>>> list(ARCHITECTURES)
['standard', 'expanded', 'gated', 'gated_shared_bias', 'rescale_shift', 'jumprelu', 'topk', 'batchtopk', 'matryoshka']
>>> generator = torch.Generator().manual_seed(0)
>>> all(build(name, 16, 64, generator=generator)(torch.ones(3, 16)).shape == (3, 16) for name in ARCHITECTURES)
True
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from ..checks import one_of
from .dictionary import SAE, squared_error
from .largest import above, kth_largest, largest, positions
from .rescaled import Expanded, Gated, GatedSharedBias, RescaleShift


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
        return largest(pre, self.hyper["k"]) & (pre > 0)

    def active(self, pre: Tensor) -> Tensor:
        return positions(pre, self.hyper["k"])

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
            other, values = z.strongest(self.hyper["k_aux"], dead)
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
        mask = torch.zeros_like(pre, dtype=torch.bool)
        mask.view(-1)[self.active(pre)] = True
        return mask

    def active(self, pre: Tensor) -> Tensor:
        if not self.training:
            return SAE.active(self, pre)
        keep, flat = min(self.hyper["k"] * len(pre), pre.numel()), pre.reshape(-1)
        for least in (0.7 * float(self.threshold), 0.0):  # few lie above the first, mostly enough
            at = above(flat, max(0.0, least))
            if len(at) > keep:
                break
        else:
            return at
        values = flat[at]
        smallest = kth_largest(values, keep)
        kept = values >= smallest
        surplus = int(kept.count_nonzero()) - keep
        if surplus:  # ties, frequent in bfloat16
            kept[(values == smallest).nonzero()[:surplus, 0]] = False
        return at[kept]

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
"""Every architecture's class by its name, which :func:`build` takes."""


def build(name: str, d_model: int, d_sae: int, *, generator: torch.Generator, **hyper) -> SAE:
    """A fresh dictionary of the architecture ``name``; ``hyper`` are its hyperparameters (see the class).

    Raises ``ValueError`` for an unknown architecture, sizes below 1, or a hyperparameter out of range, ``TypeError``
    for a hyperparameter the architecture does not have.

    >>> import torch
    >>> from helpers.sae import build
    >>> sae = build("topk", 16, 64, generator=torch.Generator().manual_seed(0), k=4)
    >>> sae.encode(torch.ones(3, 16)).shape
    torch.Size([3, 64])
    """
    return ARCHITECTURES[one_of("name", name, ARCHITECTURES)](d_model, d_sae, generator=generator, **hyper)


def architecture(sae: SAE) -> str:
    """The name under which :func:`build` makes dictionaries like this one.

    >>> import torch
    >>> from helpers.sae import architecture, build
    >>> architecture(build("gated", 16, 64, generator=torch.Generator().manual_seed(0)))
    'gated'
    """
    return next(name for name, cls in ARCHITECTURES.items() if cls is type(sae))
