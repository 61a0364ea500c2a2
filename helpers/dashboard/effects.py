"""What a feature is worth to the model's predictions: the loss on the next token without it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F

from ..checks import one_of, whole
from ..evidence import interval
from ..runs import progress
from .collected import Collected
from .collecting import read_dictionary


@torch.no_grad()
def loss_effects(
    lm, found: Collected, hook: str, dictionary, *, features: Iterable[int] | None = None, scale: float = 1.0,
    contexts: int = 8, batch_size: int = 16,
) -> np.ndarray:  # fmt: skip
    """Nats that each feature saves on the token after it fires: ``(d_sae, 3)``, mean and 95% interval.

    Kept in the site, too.

    Up to ``contexts`` of a feature's random contexts are run twice, up to the token after the place: as they are, and
    with the feature's own part, ``code · W_dec[feature] / scale``, taken off the activations wherever it is active.
    (What the dictionary does not explain stays.) The interval is a bootstrap over contexts, of which no two are of one
    sequence. Cost: ``contexts`` short runs a feature, and one for each sequence met. NaN where a feature has fewer than
    two contexts, or is not among ``features``.
    """
    site, sae, whole_run = found[one_of("hook", hook, found.sites)], read_dictionary(dictionary), {}
    whole("contexts", contexts, 2), whole("batch_size", batch_size, 1)
    if site.sample is None:
        raise ValueError(f"{hook!r} has no sample; expected what collect gave, not its small form")
    chosen = range(site.d_sae) if features is None else [whole("features", f, 0, site.d_sae - 1) for f in features]
    jobs, names = [], list(found.tokens)
    for f in chosen:
        for s, name in enumerate(names):
            last = found.tokens[name].shape[1] - 1
            places = zip(site.sample.row[s, f], site.sample.position[s, f], strict=True)
            jobs += [(f, s, int(r), int(p)) for r, p in places if r >= 0 and p < last][: -(-contexts // len(names))]
    jobs.sort(key=lambda job: job[3])  # runs of one length together
    rise = np.full(len(jobs), np.nan)
    for start in progress(range(0, len(jobs), batch_size), desc="loss effects", delay=2):
        part = jobs[start : start + batch_size]
        length = max(p for *_, p in part) + 2
        tokens = torch.from_numpy(np.stack([found.tokens[names[s]][r, :length] for _, s, r, _ in part])).long()
        tokens = tokens.to(lm.cfg.device)
        index = torch.tensor([f for f, *_ in part])
        at = torch.tensor([p for *_, p in part])

        def without(x, hook, index=index):
            flat = x.flatten(2)
            codes = sae.encode((flat.to(sae.W_dec) * scale).flatten(0, 1)).unflatten(0, flat.shape[:2])
            mine = codes.gather(2, index.to(codes.device)[:, None, None].expand(-1, flat.shape[1], 1))
            return (flat - (mine * sae.W_dec[index][:, None] / scale).to(flat.dtype)).reshape(x.shape)

        new = [job for job in part if job[1:] not in whole_run]
        if new:
            for job, loss in zip(part, _losses(lm, tokens, at, []), strict=True):
                whole_run[job[1:]] = loss
        changed = _losses(lm, tokens, at, [(hook, without)])
        rise[start : start + len(part)] = [c - whole_run[job[1:]] for c, job in zip(changed, part, strict=True)]
    out = np.full((site.d_sae, 3), np.nan) if site.losses is None else site.losses
    of, rng = np.array([job[0] for job in jobs], dtype=int), np.random.default_rng(found.seed)
    for f in np.unique(of):
        mine = rise[of == f]
        if len(mine) > 1:
            out[f] = mine.mean(), *interval(mine[rng.integers(0, len(mine), (1000, len(mine)))].mean(1))
    site.losses = out
    return out


def _losses(lm, tokens, at, hooks) -> list[float]:
    """Nats on the token after place ``at`` of each row; no other place is unembedded."""
    rows = torch.arange(len(tokens))
    only = ("unembed.hook_in", lambda x, hook: x[rows, at][:, None])
    logits = lm.run_with_hooks(tokens, fwd_hooks=[*hooks, only], return_type="logits")
    return F.cross_entropy(logits[:, 0].float(), tokens[rows, at + 1], reduction="none").tolist()
