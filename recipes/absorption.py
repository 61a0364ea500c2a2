"""First-letter absorption: does the latent that stands for "starts with s" stay silent where it should fire?

The task, and *absorption*, are from Chanin et al. (arXiv:2409.14507); the two scores follow SAEBench's, in our own
short form. A linear probe finds the first letter of a word in the residual stream. The *main* latents of a letter are
those that tell it best. A word is *fully absorbed* if the probe sees the letter, the main latents are silent, and one
other latent carries the letter instead; the *absorption fraction* is how much of the letter's part in the
reconstruction comes from other latents than the main ones.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from torch import Tensor
from torch.nn.functional import normalize

from helpers.lm import activations, load_lm

FRAME = " The word"  # before every word, so that it is neither first nor without company
JUMP = 0.03  # a latent joins the main ones if it adds so much to F1
MOST = 5  # main latents of a letter
N_WORDS = 12_000
CARRIES, ALONG = 0.4, 0.025  # of the probe's reading, and the least cosine with the probe, for an absorbing latent


@dataclass(frozen=True)
class Words:
    """Single-token words: activations ``x (n, d_model)`` at the word, ``letter (n,)``, and which are for training."""

    x: Tensor
    letter: Tensor
    train: Tensor
    probe: Tensor  # (26, d_model), unit rows
    sees: Tensor  # (n,) whether the probe names the right letter
    f1: float  # of the probe, on held-out words


@cache
def words(site: str, seed: int = 0) -> Words:
    """Words of one token with a leading space, read by the model; a probe trained on half of them."""
    lm = load_lm(dtype=torch.bfloat16)
    tokenizer = lm.tokenizer
    pieces = {i: tokenizer.decode([i]) for i in range(lm.cfg.d_vocab)}
    known = [
        (i, string.ascii_lowercase.index(t[1].lower()))
        for i, t in pieces.items()
        if len(t) > 3 and t[0] == " " and t[1:].isascii() and t[1:].isalpha() and t[2:].islower()
    ]
    order = torch.randperm(len(known), generator=torch.Generator().manual_seed(seed))[:N_WORDS].tolist()
    ids, letter = torch.tensor([known[i] for i in order]).T
    frame = torch.tensor([tokenizer.bos_token_id, *tokenizer(FRAME, add_special_tokens=False).input_ids])
    tokens = torch.cat([frame.expand(len(ids), -1), ids[:, None]], dim=1)
    x = torch.cat(
        [part.reshape(-1, tokens.shape[1], lm.cfg.d_model)[:, -1] for part in activations(lm, tokens, site, 256)]
    )
    x = x.float()
    train = torch.rand(len(ids), generator=torch.Generator().manual_seed(seed)) < 0.5
    centred = (x - x[train].mean(0)) / x[train].std()
    probe = LogisticRegression(C=1.0, max_iter=300).fit(centred[train].numpy(), letter[train].numpy())
    said = torch.from_numpy(probe.predict(centred.numpy()))
    f1 = f1_score(letter[~train].numpy(), said[~train].numpy(), average="macro")
    rows = normalize(torch.from_numpy(probe.coef_).float(), dim=1)
    return Words(x, letter, train, rows, said == letter, float(f1))


def main_latents(codes: np.ndarray, is_letter: np.ndarray) -> list[int]:
    """The latents that tell a letter: ranked by difference of means, taken while each adds ``JUMP`` to F1."""
    spread = codes.std(0) + 1e-9
    ranked = np.argsort((codes[~is_letter].mean(0) - codes[is_letter].mean(0)) / spread)[:MOST]
    best = 0.0
    for n in range(1, MOST + 1):
        some = codes[:, ranked[:n]] / spread[ranked[:n]]
        model = LogisticRegression(class_weight="balanced", max_iter=200).fit(some, is_letter)
        score = f1_score(is_letter, model.predict(some))
        if n > 1 and score < best + JUMP:
            return ranked[: n - 1].tolist()
        best = score
    return ranked.tolist()


@torch.no_grad()
def absorption(sae, scale: float, site: str, least: int = 40) -> dict[str, float]:
    """``absorbed``, ``absorption_fraction``, ``main_latents`` and ``main_f1``: means over letters with enough words.

    ``sae`` takes activations times ``scale``. Main latents are chosen on the training words, absorption is counted on
    the others, where the probe is right.
    """
    w = words(site)
    codes = torch.cat([sae.encode(part) for part in (w.x * scale).split(2048)])
    along = normalize(sae.W_dec, dim=1) @ w.probe.T  # (d_sae, 26)
    centre = (w.x * scale)[w.train].mean(0)
    out: dict[str, list[float]] = {"absorbed": [], "absorption_fraction": [], "main_latents": [], "main_f1": []}
    for letter in range(26):
        here = w.letter == letter
        held = here & ~w.train & w.sees
        if held.sum() < least:
            continue
        main = main_latents(codes[w.train].numpy(), here[w.train].numpy())
        parts = codes[held] * along[:, letter] * sae.W_dec.norm(dim=1)  # each latent's part along the probe
        reading = ((w.x[held] * scale - centre) @ w.probe[letter]).clamp_min(1e-9)
        silent = (codes[held][:, main] == 0).all(1)
        others = parts.clone()
        others[:, main] = 0.0
        others[:, along[:, letter] < ALONG] = 0.0
        out["absorbed"].append((silent & (others.max(1).values >= CARRIES * reading)).double().mean().item())
        positive = parts.clamp_min(0)
        share = 1 - positive[:, main].sum(1) / positive.sum(1).clamp_min(1e-9)
        out["absorption_fraction"].append(share.double().mean().item())
        out["main_latents"].append(float(len(main)))
        fired = (codes[~w.train][:, main] > 0).any(1)
        out["main_f1"].append(f1_score(here[~w.train].numpy(), fired.numpy()))
    return {key: float(np.mean(values)) for key, values in out.items()} | {
        "probe_f1": w.f1,
        "letters": len(out["absorbed"]),
    }
