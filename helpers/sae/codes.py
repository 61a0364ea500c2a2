"""Where codes live: at every feature, or only at the active ones.

An architecture (:mod:`helpers.sae.architectures`) writes its losses once, in terms of a small view of the
pre-activations ``pre = (x - b_dec) @ W_enc + b_enc`` of a dictionary ``sae`` (:mod:`helpers.sae.dictionary`):

* :class:`Dense` holds all of them, ``(batch, d_sae)``: the readable reference, differentiable to any order.
* :class:`Active` holds the few that can be non-zero, ``(nnz,)``. Since about 99% of a trained dictionary's codes are
  zero, only the encoder's forward product is dense (in bfloat16 where the processor has it); decoding and all
  gradients touch active entries alone (:mod:`helpers.sae.entries`), in float32. On a graphics card these read rows in
  bfloat16, as its dense products do, and add in float32.

The two give the same terms and the same gradients up to the rounding of that one product (on a card: of rows too); a
test holds them to it.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..ranks import bf16_is_fast
from . import entries
from .largest import largest, positions

MAX_DENSITY = 0.12  # beyond this share of non-zero codes the dense products are faster (measured on AVX-512 machines)
MAX_DENSITY_CARD = 0.01  # on a graphics card, reckoned: four products and copies, or four rows an entry at 3 TB/s
FEW = 512  # features, below which nothing but Dense is worth its while


class Encoded(NamedTuple):
    """A batch as it went into and came out of the encoder, without gradients."""

    centred: Tensor  # x - b_dec
    low: Tensor  # the same in the product's dtype
    full: Tensor  # pre-activations (batch, d_sae) in the product's dtype


def encoded(sae: nn.Module, x: Tensor) -> Encoded:
    """The encoder's one dense product, in bfloat16 where ``x`` is float32 and the hardware is there."""
    kind = torch.bfloat16 if x.dtype == torch.float32 and bf16_is_fast(x.device) else x.dtype
    with torch.no_grad():
        centred = x.detach() - sae.b_dec
        low = centred.to(kind)
        return Encoded(centred, low, torch.addmm(sae.b_enc.to(kind), low, sae.W_enc.to(kind)))


class Dense:
    """Codes at every feature. ``pre`` is ``(batch, d_sae)``."""

    def __init__(self, sae: nn.Module, x: Tensor, pre: Tensor | None = None):
        self.batch, self.d_sae = x.shape[0], sae.W_dec.shape[0]
        self.pre = sae.pre(x) if pre is None else pre
        self.full = self.pre.detach()

    def kept(self, sae: nn.Module) -> Tensor:
        """1 where the architecture lets a code through, 0 elsewhere."""
        return sae.support(self.full).to(self.pre.dtype)

    def at(self, parameter: Tensor) -> Tensor:
        """A per-feature parameter ``(d_sae,)``, lined up with ``pre``."""
        return parameter

    def total(self, values: Tensor) -> Tensor:
        """Sum over features, mean over the batch."""
        return values.sum(-1).mean()

    def decode(self, values: Tensor, W_dec: Tensor) -> Tensor:
        """``(batch, d_model)`` reconstructions, without bias."""
        return values @ W_dec

    def only(self, values: Tensor, features: Tensor) -> Tensor:
        """``values`` set to zero outside a boolean mask of features ``(d_sae,)``."""
        return values * features

    def fired(self, values: Tensor) -> Tensor:
        """Which features have a positive code somewhere in the batch: ``(d_sae,)`` bool."""
        return (values > 0).any(0)

    def strongest(self, k: int, among: Tensor) -> tuple[Dense, Tensor]:
        """The ``k`` largest pre-activations of each input among the features of a boolean mask ``(d_sae,)``.

        A view of them, and the values there after ReLU (zero elsewhere).
        """
        return self, self.pre.relu() * _strongest(self.full, k, among)


class Mixed(Dense):
    """:class:`Dense` with its matrix products in bfloat16: for graphics cards, and while codes are still many.

    What is ``known`` of the batch is not computed again; in the backward ``b_dec`` then costs a product with a vector
    where autograd would take one with a matrix.
    """

    def __init__(self, sae: nn.Module, x: Tensor, known: Encoded | None = None):
        if known is None:
            pre = ((x - sae.b_dec).bfloat16() @ sae.W_enc.bfloat16()).to(x.dtype) + sae.b_enc
        else:
            pre = _Product.apply(known.low, sae.W_enc, sae.b_enc, sae.b_dec, known.full)
        super().__init__(sae, x, pre)

    def decode(self, values: Tensor, W_dec: Tensor) -> Tensor:
        return (values.bfloat16() @ W_dec.bfloat16()).to(values.dtype)


class Active:
    """Codes at the support of one batch only. ``pre`` is ``(nnz,)``; ``where`` says of which rows and features."""

    def __init__(self, sae: nn.Module, x: Tensor, known: Encoded | None = None, flat: Tensor | None = None):
        if _wanted(x):
            raise ValueError("x requires grad, which ends at the active codes; expected x.detach(), or view=Dense")
        self.sae, self.x, self.known = sae, x, known or encoded(sae, x)
        self.batch, self.d_sae, self.full = x.shape[0], sae.W_dec.shape[0], self.known.full
        self.where = entries.Support(sae.active(self.full) if flat is None else flat, self.batch, self.d_sae)
        self.rows = self.known.low if self.where.kernels else self.known.centred
        self.copies: dict[int, Tensor] = {}
        self.pre = _Encode.apply(self.rows, sae.W_enc, sae.b_enc, sae.b_dec, self.full, self.where)

    @property
    def density(self) -> float:
        return len(self.where.flat) / (self.batch * self.d_sae)

    def kept(self, sae: nn.Module) -> float:
        return 1.0

    def at(self, parameter: Tensor) -> Tensor:
        if self.where.kernels:
            return _At.apply(parameter, self.where)
        return parameter.index_select(0, self.where.cols)

    def total(self, values: Tensor) -> Tensor:
        return values.sum() / self.batch

    def decode(self, values: Tensor, W_dec: Tensor) -> Tensor:
        key = W_dec.data_ptr()
        if key not in self.copies:  # once, though gated decodes twice and Matryoshka four times
            self.copies[key] = W_dec.detach().to(self.rows.dtype)
        return _Decode.apply(values, W_dec, self.copies[key], self.where)

    def only(self, values: Tensor, features: Tensor) -> Tensor:
        return values * features[self.where.cols]

    def fired(self, values: Tensor) -> Tensor:
        if self.where.kernels:
            return self.where.total((values > 0).to(values.dtype)) > 0
        out = torch.zeros(self.d_sae, dtype=torch.bool, device=values.device)
        out[self.where.cols[values > 0]] = True
        return out

    def strongest(self, k: int, among: Tensor) -> tuple[Active, Tensor]:
        some = among.nonzero()[:, 0]
        at = positions(self.full.index_select(1, some), min(k, len(some)))
        flat = at // len(some) * self.d_sae + some[at % len(some)]
        other = Active(self.sae, self.x, self.known, flat)
        other.copies = self.copies
        return other, other.pre.relu()


def densest(device: str, d_sae: int, kernels: bool) -> float:
    """The share of non-zero codes up to which :class:`Active` is the faster view; 0 where it never is.

    ``device`` is a device's type; ``kernels`` says whether :mod:`helpers.sae.kernels` run there.

    >>> densest("cpu", 4608, False), densest("cuda", 4608, True), densest("cuda", 4608, False)
    (0.12, 0.01, 0.0)
    """
    if d_sae < FEW:
        return 0.0
    if device == "cuda":
        return MAX_DENSITY_CARD if kernels else 0.0
    return MAX_DENSITY if device == "cpu" else 0.0


def fastest(sae: nn.Module, x: Tensor) -> Dense | Active:
    """The view that training uses: :class:`Active` once codes are sparse, before that a dense one.

    Always a dense one where ``x`` wants a gradient. On a graphics card also where ``k`` asks for so many, or where a
    batch has more pre-activations than torch counts there (2³¹).
    """
    run = entries.kernels(x.device) is not None
    most = densest(x.device.type, sae.d_sae, run)
    low = x.dtype == torch.float32 and bf16_is_fast(x.device) and sae.d_sae >= FEW
    many = run and (sae.hyper.get("k", 0) > most * sae.d_sae or len(x) * sae.d_sae >= 2**31)
    if not most or many or _wanted(x):
        return (Mixed if low else Dense)(sae, x)
    known = encoded(sae, x)
    flat = sae.active(known.full)
    if len(flat) <= most * known.full.numel():
        return Active(sae, x, known, flat)
    return Mixed(sae, x, known if run else None) if low else Dense(sae, x)


def _wanted(x: Tensor) -> bool:
    """Whether somebody asks for the gradient of the batch itself."""
    return x.requires_grad and torch.is_grad_enabled()


def _strongest(full: Tensor, k: int, among: Tensor) -> Tensor:
    """Mask ``(batch, d_sae)`` of the ``k`` largest of each row among the features of a mask ``(d_sae,)``."""
    return largest(full.masked_fill(~among, -torch.inf), min(k, int(among.sum()))) & among


def _told(backward):
    """A backward of active codes whose failure says where it was, and what to do."""

    @functools.wraps(backward)
    def run(ctx, grad):
        where = ctx.where
        try:
            if torch.is_grad_enabled():
                raise RuntimeError("create_graph=True, and these gradients are differentiable once only")
            return backward(ctx, grad)
        except RuntimeError as error:
            seen = f"{len(where.flat)} active codes of ({where.batch}, {where.d_sae})"
            raise RuntimeError(
                f"the backward of {seen} failed: {error}. Change no weights between losses and backward; where memory "
                "ran out take a smaller batch; view=Dense gives the same gradients, to any order."
            ) from error

    return run


class _Product(torch.autograd.Function):
    """Pre-activations that are known already, as the product they are."""

    @staticmethod
    def forward(ctx, low, W_enc, b_enc, b_dec, full):
        ctx.save_for_backward(low, W_enc)
        return full.to(W_enc.dtype)

    @staticmethod
    def backward(ctx, grad):
        low, W_enc = ctx.saved_tensors
        d_b_enc = grad.sum(0)
        return None, (low.T @ grad.to(low.dtype)).to(grad.dtype), d_b_enc, -(W_enc @ d_b_enc), None


class _Encode(torch.autograd.Function):
    """Pre-activations at the support; their gradient reaches the weights through the support alone."""

    @staticmethod
    def forward(ctx, rows, W_enc, b_enc, b_dec, full, where):
        ctx.where = where
        ctx.save_for_backward(rows, W_enc)
        return full.view(-1).index_select(0, where.flat).to(W_enc.dtype)

    @staticmethod
    @_told
    def backward(ctx, grad):
        (rows, W_enc), where = ctx.saved_tensors, ctx.where
        d_b_enc = where.total(grad)
        return None, where.per_feature(grad, rows).T.contiguous(), d_b_enc, -(W_enc @ d_b_enc), None, None


class _Decode(torch.autograd.Function):
    """``x_hat[b] = sum of values[e] * rows[cols[e]]`` over the entries e of row b; ``rows`` is ``W_dec`` as read."""

    @staticmethod
    def forward(ctx, values, W_dec, rows, where):
        ctx.where = where
        ctx.save_for_backward(values, rows)
        return where.per_row(values, rows)

    @staticmethod
    @_told
    def backward(ctx, grad):
        values, rows = ctx.saved_tensors
        where, grad = ctx.where, grad.to(rows.dtype).contiguous()
        d_values = where.dots(grad, rows) if ctx.needs_input_grad[0] else None
        d_W = where.per_feature(values, grad) if ctx.needs_input_grad[1] else None
        return d_values, d_W, None, None


class _At(torch.autograd.Function):
    """A parameter ``(d_sae,)`` at the entries' features; its gradient is added up in the entries' order."""

    @staticmethod
    def forward(ctx, parameter, where):
        ctx.where = where
        return parameter.index_select(0, where.cols)

    @staticmethod
    @_told
    def backward(ctx, grad):
        return ctx.where.total(grad), None
