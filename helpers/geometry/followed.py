"""Nearest rows while rows move: sought among all now and then, and among the few that were nearest in between.

A search among n rows of d dimensions costs 2n²d; looking at k candidates a row costs 2nkd. So a descent on nearest
neighbours at 8192 rows, where every step would take 69 GFLOP, is within reach of one core.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..checks import matrix, whole
from .cosines import _cosines


class FollowedNeighbours:
    """Call it with ``rows (n, d)`` at every step of a descent: the index of each row's nearest other row ``(n,)``.

    Exact at the first call and at every ``every``-th after it. In between it is the nearest of the ``candidates``
    rows that were nearest at the last exact call. Rows that come from elsewhere in between are missed until then; with
    ``every=1`` none is.

    >>> import torch
    >>> from helpers.geometry import FollowedNeighbours
    >>> follow = FollowedNeighbours(candidates=2, every=2)
    >>> follow(torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 2.0]])).tolist()
    [1, 2, 1]
    """

    def __init__(self, candidates: int = 16, every: int = 20, absolute: bool = False, chunk: int = 512):
        self.candidates, self.every = whole("candidates", candidates, 1), whole("every", every, 1)
        self.absolute, self.chunk = absolute, whole("chunk", chunk, 1)
        self.calls, self.near = 0, None

    @torch.no_grad()
    def __call__(self, rows: Tensor) -> Tensor:
        if len(rows := matrix("rows", rows)) < 2:
            raise ValueError(f"rows has shape {tuple(rows.shape)}; a nearest other row needs two")
        fresh = self.calls % self.every == 0
        self.calls += 1
        if fresh:
            self.near, nearest = self._search(rows)
            return nearest
        if len(rows) != len(self.near):
            raise ValueError(f"rows has {len(rows)} rows; expected the {len(self.near)} that are followed")
        cosines = self._among(torch.nn.functional.normalize(rows, dim=1))
        best = (cosines.abs_() if self.absolute else cosines).argmax(1, keepdim=True)
        return self.near.gather(1, best)[:, 0]

    def _search(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The candidates of each row ``(n, k)``, and the nearest of them ``(n,)``."""
        k, near, nearest = min(self.candidates, len(rows) - 1), [], []
        for _, cosines in _cosines(rows, self.chunk, self.absolute):
            best = cosines.topk(k, dim=1)
            near.append(best.indices)
            nearest.append(best.indices[:, 0])
        return torch.cat(near), torch.cat(nearest)

    def _among(self, unit: Tensor) -> Tensor:
        """Cosines with the candidates ``(n, k)``, read row by row: what a sum of rows would have for gradient."""
        n, k = self.near.shape
        starts = torch.arange(0, n * k, k, device=unit.device)
        bags = torch.arange(n, device=unit.device).repeat_interleave(k)
        flat = self.near.flatten()
        return torch.ops.aten._embedding_bag_per_sample_weights_backward(unit, unit, flat, starts, bags, 0).view(n, k)
