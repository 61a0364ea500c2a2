"""Where codes live: at every feature, or only at the active ones.

An architecture (:mod:`helpers.sae.architectures`) writes its losses once, in terms of a small view of the
pre-activations ``pre = (x - b_dec) @ W_enc + b_enc`` of a dictionary ``sae`` (:mod:`helpers.sae.dictionary`):

* :class:`Dense` holds all of them, ``(batch, d_sae)``: the readable reference, differentiable to any order.
* :class:`Active` holds the few that can be non-zero, ``(nnz,)``. Since about 99% of a trained dictionary's codes are
  zero, only the encoder's forward product is dense (in bfloat16 where the processor has it); decoding and all
  gradients touch active entries alone, in float32.

The two give the same terms and the same gradients up to the rounding of that one product; a test holds them to it.
"""

from __future__ import annotations

from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MAX_DENSITY = 0.12  # beyond this share of non-zero codes the dense products are faster (measured on AVX-512 machines)


def bf16_is_fast(device: torch.device | str = "cpu") -> bool:
    """Whether matrix products in bfloat16 have hardware behind them on ``device``."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.device(device).type == "cpu" and (
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )


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

    def again(self, mask: Tensor) -> tuple[Dense, Tensor]:
        """A view of the same pre-activations at another support, and the values there (zero elsewhere)."""
        return self, self.pre.relu() * mask


class Mixed(Dense):
    """:class:`Dense` with its matrix products in bfloat16: for graphics cards, and while codes are still many."""

    def __init__(self, sae: nn.Module, x: Tensor):
        super().__init__(sae, x, ((x - sae.b_dec).bfloat16() @ sae.W_enc.bfloat16()).to(x.dtype) + sae.b_enc)

    def decode(self, values: Tensor, W_dec: Tensor) -> Tensor:
        return (values.bfloat16() @ W_dec.bfloat16()).to(values.dtype)


class Support:
    """Where the entries of one batch's codes are. Apart from :class:`Active`, so that graph and view form no cycle."""

    def __init__(self, flat: Tensor, batch: int, d_sae: int):
        self.flat, self.batch, self.d_sae = flat, batch, d_sae
        self.rows = flat // d_sae
        self.cols = flat - self.rows * d_sae

    @cached_property
    def row_starts(self) -> Tensor:
        return _starts(self.rows, self.batch)

    @cached_property
    def by_feature(self) -> tuple[Tensor, Tensor]:
        """The order that groups entries by feature, and where each feature's group starts."""
        small = self.cols.to(torch.int16) if self.d_sae < 2**15 else self.cols
        return torch.argsort(small, stable=True), _starts(self.cols, self.d_sae)

    def per_feature(self, values: Tensor, rows: Tensor) -> Tensor:
        """``out[j] = sum of values[e] * rows[self.rows[e]]`` over the entries e of feature j: ``(d_sae, d_model)``."""
        order, starts = self.by_feature
        return _bag(self.rows[order], starts, rows, values[order])


class Active:
    """Codes at the support of one batch only. ``pre`` is ``(nnz,)``; ``where`` says of which rows and features."""

    def __init__(self, sae: nn.Module, x: Tensor, full: Tensor | None = None, flat: Tensor | None = None):
        self.sae, self.x = sae, x
        self.batch, self.d_sae = x.shape[0], sae.W_dec.shape[0]
        centred = (x - sae.b_dec).detach()
        if full is None:
            kind = torch.bfloat16 if x.dtype == torch.float32 and bf16_is_fast(x.device) else x.dtype
            with torch.no_grad():
                full = torch.addmm(sae.b_enc.to(kind), centred.to(kind), sae.W_enc.to(kind))
        self.full = full
        if flat is None:
            flat = sae.active(full)
        self.where = Support(flat, self.batch, self.d_sae)
        self.pre = _Encode.apply(centred, sae.W_enc, sae.b_enc, sae.b_dec, full, self.where)

    @property
    def density(self) -> float:
        return len(self.where.flat) / (self.batch * self.d_sae)

    def kept(self, sae: nn.Module) -> float:
        return 1.0

    def at(self, parameter: Tensor) -> Tensor:
        return parameter.index_select(0, self.where.cols)

    def total(self, values: Tensor) -> Tensor:
        return values.sum() / self.batch

    def decode(self, values: Tensor, W_dec: Tensor) -> Tensor:
        return _Decode.apply(values, W_dec, self.where)

    def only(self, values: Tensor, features: Tensor) -> Tensor:
        return values * features[self.where.cols]

    def fired(self, values: Tensor) -> Tensor:
        out = torch.zeros(self.d_sae, dtype=torch.bool, device=values.device)
        out[self.where.cols[values > 0]] = True
        return out

    def again(self, mask: Tensor) -> tuple[Active, Tensor]:
        other = Active(self.sae, self.x, self.full, mask.view(-1).nonzero()[:, 0])
        return other, other.pre.relu()


def fastest(sae: nn.Module, x: Tensor) -> Dense | Active:
    """The view that training uses: :class:`Active` once codes are sparse, before that (and on a GPU) a dense one."""
    dense = Mixed if x.dtype == torch.float32 and bf16_is_fast(x.device) else Dense
    if x.device.type != "cpu" or sae.d_sae < 512:
        return (dense if sae.d_sae >= 512 else Dense)(sae, x)
    z = Active(sae, x)
    return z if z.density <= MAX_DENSITY else dense(sae, x)


class _Encode(torch.autograd.Function):
    """Pre-activations at the support; their gradient reaches the weights through the support alone."""

    @staticmethod
    def forward(ctx, centred, W_enc, b_enc, b_dec, full, where):
        ctx.where = where
        ctx.save_for_backward(centred, W_enc)
        return full.view(-1)[where.flat].to(centred.dtype)

    @staticmethod
    def backward(ctx, grad):
        (centred, W_enc), where = ctx.saved_tensors, ctx.where
        d_b_enc = torch.zeros(where.d_sae, dtype=grad.dtype, device=grad.device).index_add_(0, where.cols, grad)
        return None, where.per_feature(grad, centred).T.contiguous(), d_b_enc, -(W_enc @ d_b_enc), None, None


class _Decode(torch.autograd.Function):
    """``x_hat[b] = sum of values[e] * W_dec[cols[e]]`` over the entries e of row b."""

    @staticmethod
    def forward(ctx, values, W_dec, where):
        ctx.where = where
        ctx.save_for_backward(values, W_dec)
        return _bag(where.cols, where.row_starts, W_dec, values)

    @staticmethod
    def backward(ctx, grad):
        values, W_dec = ctx.saved_tensors
        where, grad = ctx.where, grad.contiguous()
        d_values = d_W = None
        if ctx.needs_input_grad[0]:
            d_values = torch.ops.aten._embedding_bag_per_sample_weights_backward(
                grad, W_dec, where.cols, where.row_starts, where.rows, 0
            )
        if ctx.needs_input_grad[1]:
            d_W = where.per_feature(values, grad)
        return d_values, d_W, None


def _bag(indices: Tensor, starts: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    return F.embedding_bag(indices, rows.detach(), starts, mode="sum", per_sample_weights=weights.detach())


def _starts(groups: Tensor, n: int) -> Tensor:
    counts = torch.bincount(groups, minlength=n)
    return counts.cumsum(0) - counts
