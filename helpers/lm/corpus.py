"""Token sets: what the model writes itself (``train``, ``eval``) and what people wrote (``human``).

All are ``(n_seq, 128)``. ``train`` and ``eval`` were sampled from the embedded model (``recipes/sample_corpus.py``):
half continue ``<|endoftext|>``, half the opening of a chat. ``human`` is public-domain English
(``recipes/human_text.py``), each sequence behind one ``<|endoftext|>``. Position 0 of every sequence is therefore a
special token.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..runs import artifact

SPLITS = ("train", "eval", "human")


def load_tokens(split: str) -> Tensor:
    """Tokens ``(n_seq, 128)``, int64, of one split. Raises ``ValueError`` for an unknown one.

    >>> from helpers.lm import load_tokens
    >>> tokens = load_tokens("eval")
    >>> tokens.shape[1], tokens.dtype
    (128, torch.int64)
    """
    if split not in SPLITS:
        raise ValueError(f"split={split!r}; expected one of {', '.join(SPLITS)}")
    path = artifact(f"tokens/{split}.npy")
    return torch.from_numpy(np.load(path, allow_pickle=False).astype(np.int64))
