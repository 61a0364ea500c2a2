"""What a feature lies near: other features, by direction and by when they are active, and the tokens it speaks for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from ..geometry import nearest_neighbours
from ..runs import progress
from .collected import Collected, Effects, Links

LINKS = 6  # neighbours kept per feature and kind
LEAST = 3  # places in common below which two features are not called co-active
LOGITS = 10  # tokens raised most, and as many lowered most


def link_sites(found: Collected, decoders: Mapping[str, Tensor]) -> None:
    """Find each feature's neighbours among those of all sites; ``decoders`` are their rows ``(d_sae, d_model)``.

    :func:`collect` does it for the sites it was given. Sites that were collected one by one, over the same tokens and
    with the same seed, are linked so once they are together.
    """
    similar(found, decoders, LINKS)
    coactive(found, LINKS)


def similar(found: Collected, decoders: Mapping[str, Tensor], k: int) -> None:
    """The k nearest features by the cosine of decoder rows, over all sites of one width; exact, a chunk at a time.

    Features that were never active have none and are nobody's: their rows are where training left them.
    """
    hooks = list(found.sites)
    for hook in hooks:
        d = found.sites[hook].d_sae
        found.sites[hook].similar = _no_links(d, k)
    for width in {rows.shape[1] for rows in decoders.values()}:
        same = [h for h in hooks if decoders[h].shape[1] == width]
        live = [
            np.flatnonzero((found.sites[h].largest > 0) & (decoders[h].norm(dim=1) > 0).cpu().numpy()) for h in same
        ]
        rows = torch.cat([decoders[h][torch.from_numpy(i)] for h, i in zip(same, live, strict=True)])
        many = min(k, len(rows) - 1)
        if many < 1:
            continue
        near = nearest_neighbours(rows, k=many)
        index, cosine = near.index.cpu().numpy(), near.cosine.cpu().numpy()
        site = np.repeat([hooks.index(h) for h in same], [len(i) for i in live])
        feature, start = np.concatenate(live), 0
        for hook, i in zip(same, live, strict=True):
            mine = index[start : start + len(i)]
            for part, values in zip(
                found.sites[hook].similar, (site[mine], feature[mine], cosine[start : start + len(i)]), strict=True
            ):
                part[i, :many] = values
            start += len(i)


def coactive(found: Collected, k: int, chunk: int = 256) -> None:
    """The k features most often active together with each, over all sites, at the watched places.

    The measure is the share of places with either that have both (Jaccard's), counted with sparse products of ``chunk``
    features with all: exact at these places.
    """
    sites = list(found.sites.values())
    parts = [
        csr_array(
            (np.ones(len(s.watched.feature), np.int32), s.watched.feature, s.watched.start),
            (len(s.watched.row), s.d_sae),
        )
        for s in sites
    ]
    starts = np.cumsum([0, *(s.d_sae for s in sites)])
    totals = np.concatenate([p.sum(0) for p in parts])
    columns = [p.tocsc() for p in parts]
    for me, site in enumerate(sites):
        site.together = _no_links(site.d_sae, k)
        for at in progress(range(0, site.d_sae, chunk), desc="co-activation", delay=2):
            mine = columns[me][:, at : at + chunk].T.tocsr()
            values, where = [], []
            for start, other in zip(starts, parts, strict=False):
                both = (mine @ other).tocoo()
                kept = (both.data >= LEAST) & (both.row + at + starts[me] != both.col + start)
                row, col, both = both.row[kept], both.col[kept] + start, both.data[kept]
                either = totals[row + at + starts[me]] + totals[col] - both
                values.append(both / either)
                where.append(np.stack([row, col]))
            value, (row, col) = np.concatenate(values), np.concatenate(where, axis=1)
            by = np.lexsort((col, -value, row))
            nth = np.arange(len(by)) - np.searchsorted(row[by], np.arange(mine.shape[0]))[row[by]]
            by, nth = by[nth < k], nth[nth < k]
            to = np.searchsorted(starts, col[by], side="right") - 1
            for part, entry in zip(site.together, (to, col[by] - starts[to], value[by]), strict=True):
                part[row[by] + at, nth] = entry


@torch.no_grad()
def logit_effects(lm, rows: Tensor, chunk: int = 256) -> Effects:
    """What directions ``rows (n, d_model)`` add to the logits directly, past all later layers.

    A direction r goes through the final norm as ``r ⊙ γ`` (less its mean, where the norm takes that off), then through
    the unembedding; the mean over the vocabulary, which no prediction depends on, is taken off. The norm's denominator
    is left out: it differs from token to token and is the same for all logits of one. γ is read off the norm's outputs.
    """
    d, device = rows.shape[1], lm.W_U.device
    x = torch.randn(d, generator=torch.Generator().manual_seed(0)).to(device)
    x = (x - x.mean()) / x.std(correction=0)

    def norm(v: Tensor) -> Tensor:
        return lm.ln_final(v.to(lm.W_U.dtype)[None, None])[0, 0].float()

    gain = (norm(x) - norm(-x)) / (2 * x)
    shifted = norm(x + 1)
    centres = bool((shifted - norm(x)).abs().max() < 1e-2 * (norm(x).abs().max()))
    U = lm.W_U.float()
    tokens, values = [], []
    for part in rows.to(device).split(chunk):
        logits = ((part - part.mean(1, keepdim=True) if centres else part) * gain) @ U
        logits -= logits.mean(1, keepdim=True)
        up, down = logits.topk(LOGITS, dim=1), logits.topk(LOGITS, dim=1, largest=False)
        tokens.append(torch.cat([up.indices, down.indices], 1).int().cpu().numpy())
        values.append(torch.cat([up.values, down.values], 1).cpu().numpy())
    return Effects(np.concatenate(tokens), np.concatenate(values))


def _no_links(d: int, k: int) -> Links:
    return Links(np.full((d, k), -1, np.int16), np.full((d, k), -1, np.int32), np.zeros((d, k), np.float32))
