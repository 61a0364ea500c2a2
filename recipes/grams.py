"""What predicts without understanding: the next token from the one or two before it, counted on the training tokens.

Witten and Bell's interpolation (1991): with c(h, w) the count of token w behind history h, c(h) their sum and T(h) how
many different tokens came there,

    p(w | h) = (c(h, w) + T(h) · p(w | h')) / (c(h) + T(h)),

where h' is h without its first token. Without any history it is p(w) = (c(w) + 1) / (n + V).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class Grams:
    """Counts of pairs and triples in ``tokens (n_seq, ctx)``, each sequence for itself."""

    def __init__(self, tokens: Tensor, d_vocab: int):
        rows, self.d_vocab = tokens.numpy().astype(np.int64), d_vocab
        self.first = (np.bincount(rows.ravel(), minlength=d_vocab) + 1.0) / (rows.size + d_vocab)
        self.counted = []
        for order in (1, 2):
            history = self.histories(rows, order)
            self.counted.append(np.unique(history * d_vocab + rows[:, order:].ravel(), return_counts=True))

    def histories(self, rows: np.ndarray, order: int) -> np.ndarray:
        """The ``order`` tokens before each place from ``order`` on, as one number."""
        n = rows.shape[1] - order
        parts = [rows[:, i : i + n] for i in range(order)]
        return (parts[0] if order == 1 else parts[0] * self.d_vocab + parts[1]).ravel()

    def log_p(self, tokens: Tensor, order: int) -> Tensor:
        """Log-probabilities ``(n_seq, ctx - 1, d_vocab)`` of what comes behind each token but the last."""
        rows = tokens.numpy().astype(np.int64)
        n_seq, ctx = rows.shape
        p = np.broadcast_to(self.first, (n_seq, ctx - 1, self.d_vocab)).copy()
        for o in range(1, order + 1):
            keys, counts = self.counted[o - 1]
            for place, h in enumerate(self.histories(rows, o)):
                i, j = np.searchsorted(keys, [h * self.d_vocab, (h + 1) * self.d_vocab])
                if i == j:
                    continue
                row = p[place // (ctx - o), place % (ctx - o) + o - 1]
                row *= j - i
                row[keys[i:j] % self.d_vocab] += counts[i:j]
                row /= counts[i:j].sum() + j - i
        return torch.from_numpy(np.log(p)).float()
