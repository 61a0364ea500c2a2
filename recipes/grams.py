"""What predicts without understanding: the next token from the one or two before it, counted on the training tokens.

With c(h, w) the count of token w behind history h, c(h) their sum, T(h) how many different tokens came there, and h'
the history without its first token:

* Witten and Bell's interpolation (1991): p(w | h) = (c(h, w) + T(h) · p(w | h')) / (c(h) + T(h)). Without any history
  it is p(w) = (c(w) + 1) / (n + V).
* Kneser and Ney's (1995), the best of the classical ones: p(w | h) = (c(h, w) - D + D · T(h) · p(w | h')) / c(h), the
  first term only where c(h, w) > 0. Below the longest history a count is how many different tokens stood before. A
  level's discount is D = n1 / (n1 + 2 n2), with n1 and n2 the numbers of its counts that are 1 and 2.
* With a memory (Kuhn and De Mori, 1990): (1 - λ) · p(w | h) + λ · (the share of w in the sequence so far).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

HELD, SHARES = 64, np.arange(0.0, 0.5, 0.02)  # sequences left out of the counts, to choose λ among these


class Grams:
    """Counts of pairs and triples in ``tokens (n_seq, ctx)``, each sequence for itself."""

    def __init__(self, tokens: Tensor, d_vocab: int):
        rows, self.d_vocab = tokens.numpy().astype(np.int64), d_vocab
        self.first = (np.bincount(rows.ravel(), minlength=d_vocab) + 1.0) / (rows.size + d_vocab)
        self.levels = []  # keys h·V + w in order, their counts
        for order in (1, 2):
            history = self.histories(rows, order)
            self.levels.append(np.unique(history * d_vocab + rows[:, order:].ravel(), return_counts=True))

    def histories(self, rows: np.ndarray, order: int) -> np.ndarray:
        """The ``order`` tokens before each place from ``order`` on, as one number."""
        n = rows.shape[1] - order
        parts = [rows[:, i : i + n] for i in range(order)]
        return (parts[0] if order == 1 else parts[0] * self.d_vocab + parts[1]).ravel()

    def weights(self, level: int, counts: np.ndarray) -> tuple[np.ndarray, float]:
        """What the tokens that came behind a history get, and what is left for the shorter history's prediction."""
        total = counts.sum() + len(counts)
        return counts / total, len(counts) / total

    def log_p(self, tokens: Tensor, order: int = 2) -> Tensor:
        """Log-probabilities ``(n_seq, ctx - 1, d_vocab)`` of what comes behind each token but the last."""
        return torch.from_numpy(np.log(self.p(tokens, order))).float()

    def p(self, tokens: Tensor, order: int = 2) -> np.ndarray:
        rows = tokens.numpy().astype(np.int64)
        n_seq, ctx = rows.shape
        p = np.broadcast_to(self.first, (n_seq, ctx - 1, self.d_vocab)).copy()
        for o in range(1, order + 1):
            keys, counts = self.levels[o - 1]
            for place, h in enumerate(self.histories(rows, o)):
                i, j = np.searchsorted(keys, [h * self.d_vocab, (h + 1) * self.d_vocab])
                if i == j:
                    continue
                row = p[place // (ctx - o), place % (ctx - o) + o - 1]
                seen, rest = self.weights(o, counts[i:j])
                row *= rest
                row[keys[i:j] % self.d_vocab] += seen
        return p


class KneserNey(Grams):
    """The same pairs and triples, smoothed by how many different tokens stood before; with a memory if ``held`` says on
    which sequences ``(n_seq, ctx)`` its share is to be chosen."""

    def __init__(self, tokens: Tensor, d_vocab: int, held: Tensor | None = None):
        super().__init__(tokens, d_vocab)
        triples = self.levels[1]
        pairs = np.unique(triples[0] % d_vocab**2, return_counts=True)
        before = np.bincount(pairs[0] % d_vocab, minlength=d_vocab)
        self.levels = [pairs, triples]
        self.discounts = [discount(counts) for counts in (before[before > 0], pairs[1], triples[1])]
        seen = before > 0
        self.first = (before - self.discounts[0] * seen + self.discounts[0] * seen.sum() / d_vocab) / before.sum()
        self.memory = 0.0 if held is None else self.best_share(held)

    def weights(self, level: int, counts: np.ndarray) -> tuple[np.ndarray, float]:
        d, total = self.discounts[level], counts.sum()
        return (counts - d) / total, d * len(counts) / total

    def p(self, tokens: Tensor, order: int = 2) -> np.ndarray:
        p = super().p(tokens, order)
        if getattr(self, "memory", 0.0):
            p *= 1 - self.memory
            for row, seen in zip(p, so_far(tokens, self.d_vocab), strict=True):
                for t, share in enumerate(seen):
                    row[t] += self.memory * share
        return p

    def best_share(self, held: Tensor) -> float:
        """The share of the memory that predicts ``held`` best."""
        mine, theirs = [], []
        for part in held.split(4):
            after = part[:, 1:, None].numpy()
            mine.append(np.take_along_axis(self.p(part), after, 2).ravel())
            there = np.stack([np.stack(list(seen)) for seen in so_far(part, self.d_vocab)])
            theirs.append(np.take_along_axis(there, after, 2).ravel())
        mine, theirs = np.concatenate(mine), np.concatenate(theirs)
        return float(max(SHARES, key=lambda share: np.log((1 - share) * mine + share * theirs).sum()))


def discount(counts: np.ndarray) -> float:
    """D of a level, between 0 and 1; a half where no count is small enough to tell."""
    ones, twos = ((counts == n).sum() for n in (1, 2))
    return float(ones / (ones + 2 * twos)) if ones else 0.5


def so_far(tokens: Tensor, d_vocab: int) -> Iterator[Iterator[np.ndarray]]:
    """For each sequence, at each place but the last, the shares ``(d_vocab,)`` of all tokens up to it."""

    def shares(row: np.ndarray) -> Iterator[np.ndarray]:
        count = np.zeros(d_vocab)
        for t, token in enumerate(row[:-1], 1):
            count[token] += 1
            yield count / t

    return (shares(row) for row in tokens.numpy())
