"""The parent of every dictionary: the standard SAE, the loss as named terms, and the checks at its boundary."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from ..checks import all_finite, finite, real, whole
from ..ranks import places, positive
from .codes import Dense
from .penalties import penalty


def squared_error(x: Tensor, x_hat: Tensor) -> Tensor:
    """``‖x - x_hat‖²`` summed over ``d_model``, mean over the batch.

    >>> import torch
    >>> from helpers.sae import squared_error
    >>> squared_error(torch.ones(5, 3), torch.zeros(5, 3)).item()
    3.0
    """
    return (x - x_hat).pow(2).sum(-1).mean()


class SAE(nn.Module):
    """Standard: ``f = ReLU(pre)``, ``L = ‖x - x_hat(f)‖² + λ‖f‖₁``. Parent of the others.

    Hyperparameters are keyword arguments, kept in ``self.hyper``: ``sparsity`` (λ ≥ 0), and for every architecture
    ``orthogonality`` (coefficient ≥ 0 of one more term) with ``penalty`` (its form: an object or a name of
    :mod:`helpers.sae.penalties`).

    >>> import torch
    >>> from helpers.sae import SAE
    >>> sae, x = SAE(16, 64, generator=torch.Generator().manual_seed(0), sparsity=0.1), torch.ones(3, 16)
    >>> tuple(sae.encode(x).shape), tuple(sae(x).shape)
    ((3, 64), (3, 16))
    >>> list(sae.losses(x))
    ['reconstruction', 'sparsity']
    """

    defaults: dict = {"sparsity": 1.0}

    def __init__(self, d_model: int, d_sae: int, *, generator: torch.Generator, dtype=torch.float32, **hyper):
        super().__init__()
        self.hyper = _checked(type(self), d_model, d_sae, hyper)
        rows = torch.randn(d_sae, d_model, generator=generator, dtype=torch.float64)
        rows = (rows / rows.norm(dim=1, keepdim=True)).to(dtype)
        self.W_dec = nn.Parameter(rows)
        self.W_enc = nn.Parameter(rows.T.contiguous())
        self.b_enc = nn.Parameter(torch.zeros(d_sae, dtype=dtype))
        self.b_dec = nn.Parameter(torch.zeros(d_model, dtype=dtype))
        self.register_buffer("silent_for", torch.zeros(d_sae, dtype=torch.int64))  # inputs since each feature fired

    @property
    def d_model(self) -> int:
        return self.W_dec.shape[-1]

    @property
    def d_sae(self) -> int:
        return self.W_dec.shape[-2]

    def pre(self, x: Tensor) -> Tensor:
        """Pre-activations ``(…, d_sae)`` of ``x (…, d_model)``."""
        return (x - self.b_dec) @ self.W_enc + self.b_enc

    def support(self, pre: Tensor) -> Tensor:
        """Boolean mask, shaped like ``pre``, outside which codes and their gradients are zero."""
        return positive(pre)

    def active(self, pre: Tensor) -> Tensor:
        """Where :meth:`support` is true, ``(nnz,)``, counted along ``pre`` row by row."""
        return places(self.support(pre))

    def codes(self, z) -> Tensor:
        """Codes from a view ``z`` of the pre-activations (:mod:`helpers.sae.codes`)."""
        return relu(z.pre)

    def encode(self, x: Tensor) -> Tensor:
        """Codes ``(…, d_sae)`` of ``x (…, d_model)``, in the dictionary's dtype and place, wherever ``x`` is."""
        x = self._taken("x", x, "d_model", self.d_model)
        return self.codes(Dense(self, x.reshape(-1, self.d_model))).reshape(*x.shape[:-1], self.d_sae)

    def decode(self, codes: Tensor) -> Tensor:
        """Reconstructions ``(…, d_model)`` of ``codes (…, d_sae)``."""
        codes = self._taken("codes", codes, "d_sae", self.d_sae)
        return codes @ self.W_dec + self.b_dec

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct ``x``; same shape."""
        return self.decode(self.encode(x))

    def losses(self, x: Tensor, view=Dense, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Named terms of the training loss on ``x (batch, d_model)``; their sum is what is minimised.

        ``view`` is :class:`helpers.sae.codes.Dense` (the reference) or ``Active`` (the same, faster when codes are
        sparse). ``generator`` feeds the penalties that sample rows (:mod:`helpers.sae.penalties`).

        Raises ``ValueError`` when ``x`` has another shape or holds NaN or infinity.
        """
        x = self._taken("x", x, "d_model", self.d_model)
        if x.ndim != 2:
            raise ValueError(f"x has shape {tuple(x.shape)}; expected (batch, d_model={self.d_model})")
        if not len(x):
            raise ValueError(f"x is empty, of shape {tuple(x.shape)}; expected at least one row")
        z = view(self, x)
        f = self.codes(z)
        terms = self.terms(x, z, f)
        if self.training:
            self.observe(z, f.detach())
        if self.hyper["orthogonality"]:
            terms["orthogonality"] = self.hyper["orthogonality"] * self.hyper["penalty"](self.W_dec, generator)
        return terms

    def terms(self, x: Tensor, z, f: Tensor) -> dict[str, Tensor]:
        """The architecture's own terms, given a view ``z`` of its pre-activations and the codes ``f``."""
        return {
            "reconstruction": squared_error(x, z.decode(f, self.W_dec) + self.b_dec),
            "sparsity": self.hyper["sparsity"] * z.total(f),
        }

    @torch.no_grad()
    def observe(self, z, f: Tensor) -> None:
        """Keep count, in training, of how long each feature has been silent."""
        self.silent_for += z.batch
        self.silent_for[z.fired(f)] = 0

    @torch.no_grad()
    def project(self) -> None:
        """Put the parameters back where they may be: unit decoder rows. Called after every optimiser step."""
        if self.W_dec.requires_grad:
            self.W_dec /= self.W_dec.norm(dim=1, keepdim=True).clamp_min(1e-12)

    @torch.no_grad()
    def rescale(self, scale: float) -> None:
        """Fold an input scaling in: after training on ``scale * x``, make the dictionary take and return ``x`` itself.

        Every architecture here is homogeneous: dividing all biases and thresholds by ``scale`` divides its codes and
        its output by ``scale``.
        """
        scale = finite("scale", scale, above=0)
        for parameter in self.biases():
            parameter /= scale

    def biases(self) -> list[Tensor]:
        """The parameters in units of activations."""
        return [self.b_enc, self.b_dec]

    def extra_repr(self) -> str:
        hyper = {key: value for key, value in self.hyper.items() if key not in ("orthogonality", "penalty")}
        if self.hyper["orthogonality"]:
            hyper |= {"orthogonality": self.hyper["orthogonality"], "penalty": self.hyper["penalty"]}
        sizes = {"d_model": self.d_model, "d_sae": self.d_sae}
        return ", ".join(f"{key}={value}" for key, value in {**sizes, **hyper}.items())

    def _taken(self, name: str, x, last: str, width: int) -> Tensor:
        """``x (…, width)`` as the dictionary computes with it: real, finite, of its dtype, on its device."""
        x = real(name, x)
        if x.ndim < 1 or x.shape[-1] != width:
            raise ValueError(f"{name} has shape {tuple(x.shape)}; expected (…, {last}={width})")
        return all_finite(name, x.to(self.W_dec))


def _checked(cls: type[SAE], d_model: int, d_sae: int, hyper: dict) -> dict:
    whole("d_model", d_model, 1), whole("d_sae", d_sae, 1)
    known = {**cls.defaults, "orthogonality": 0.0, "penalty": "chunk_max"}
    for key, value in hyper.items():
        if key not in known:
            raise TypeError(f"{cls.__name__} has no hyperparameter {key!r}; it has {', '.join(known)}")
        if isinstance(cls.defaults.get(key), int):
            hyper[key] = whole(key, value)
        elif key != "penalty":
            finite(key, value, least=0)
    known.update(hyper)
    known["penalty"] = penalty(known["penalty"])
    if "k" in known:
        whole("k", known["k"], 1, d_sae)
    if "bandwidth" in known:  # at 0, θ gets no gradient
        finite("bandwidth", known["bandwidth"], above=0)
    return known
