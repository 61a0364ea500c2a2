"""Prompts of different lengths: a mask says which tokens are there, and pads without one are refused."""

from __future__ import annotations

import torch
from torch import Tensor


def read_mask(lm, tokens: Tensor, mask) -> Tensor | None:
    """``mask`` as ``(n_seq, ctx)`` bool, if pads lie behind the tokens, where no token sees them."""
    if mask is None:
        words = getattr(lm, "tokenizer", None)
        pad, *others = (getattr(words, f"{kind}_token_id", None) for kind in ("pad", "bos", "eos", "unk"))
        if pad is not None and pad not in others and bool((tokens == pad).any()):
            raise ValueError(f"tokens holds the pad id {pad} and mask=None; expected a mask, false at pads")
        return None
    seen = torch.as_tensor(mask)
    if seen.shape != tokens.shape or not ((seen == 0) | (seen == 1)).all():
        raise ValueError(f"mask has shape {tuple(seen.shape)}, {seen.dtype}; expected {tuple(tokens.shape)} of 0 and 1")
    seen = seen.bool()
    if (seen[:, 1:] & ~seen[:, :-1]).any() or not seen[:, 0].all():
        raise ValueError("mask has pads before tokens, which would move their positions; expected them behind")
    return seen
