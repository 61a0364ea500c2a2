"""First-letter absorption: does the latent that stands for "starts with s" stay silent where it should fire?

The task, and *absorption*, are from Chanin et al. (arXiv:2409.14507). The two scores are those of SAEBench
(arXiv:2503.09532), whose thresholds are used, with three differences: b_dec is taken off the reading; main latents are
found in a shorter way (:func:`main_latents`), at most five; and words stand behind a fixed frame in place of spelling
examples.

A linear probe finds the first letter of a word in the residual stream; its *reading* is ``(x - b_dec) · probe``. The
*main* latents of a letter are those that tell it best. On words where the probe names the right letter:

* a word is *absorbed* if all main latents are silent, and the latent with the largest part along the probe points
  along it (cosine ≥ 0.025) and supplies at least 0.4 of the reading;
* the *absorption fraction* is what up to three other latents (cosine ≥ 0.1) supply of the reading, relative to that and
  the main latents' part; 0 if the main ones supply all of it, or the others less than 0.4.
"""

from __future__ import annotations

import string
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from torch import Tensor
from torch.nn.functional import normalize

from helpers.lm import activations, load_lm, load_tokens
from helpers.runs import atomic, cache_dir

from .harvest import KIND

FRAME = " The word"  # before every word, so that it is neither first nor without company
JUMP = 0.03  # a latent joins the main ones if it adds so much to F1
MOST = 5  # main latents of a letter
N_WORDS, LEAST = 8000, 40  # words in all, and held-out ones that a letter needs to be counted
SHARE, ALONG, NEAR, OTHERS = 0.4, 0.025, 0.1, 3


class Words(NamedTuple):
    """Single-token words: activations at the word, its letter, which are for training, and a probe trained on those."""

    x: Tensor  # (n, d_model)
    letter: Tensor  # (n,), 0 to 25
    train: Tensor  # (n,) bool
    probe: Tensor  # (26, d_model), unit rows
    sees: Tensor  # (n,) bool: whether the probe names the right letter


@cache
def words(site: str, seed: int = 0) -> Words:
    """Words of one token with a leading space, as the model reads them; kept in the cache."""
    path = cache_dir() / "first_letter" / f"{site}-{seed}-{N_WORDS}.safetensors"
    if not path.exists():
        with atomic(path) as scratch:
            save_file({k: v.contiguous() for k, v in _read(site, seed)._asdict().items()}, scratch)
    return Words(**load_file(path))


def drawn(tokenizer, vocabulary: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """The words: token ids, letters (0 to 25), and which are for training. No model is asked."""
    pieces = {i: tokenizer.decode([i]) for i in range(vocabulary)}
    known = [
        (i, string.ascii_lowercase.index(t[1].lower()))
        for i, t in pieces.items()
        if len(t) > 3 and t[0] == " " and t[1:].isascii() and t[1:].isalpha() and t[2:].islower()
    ]
    generator = torch.Generator().manual_seed(seed)
    ids, letter = torch.tensor([known[i] for i in torch.randperm(len(known), generator=generator)[:N_WORDS]]).T
    return ids, letter, torch.rand(len(ids), generator=generator) < 0.5


def _read(site: str, seed: int) -> Words:
    lm = load_lm(dtype=KIND)
    ids, letter, train = drawn(lm.tokenizer, lm.cfg.d_vocab, seed)
    begin = load_tokens("human")[0, :1]  # <|endoftext|>, as before every text of that split
    frame = torch.cat([begin, torch.tensor(lm.tokenizer(FRAME, add_special_tokens=False).input_ids)])
    tokens = torch.cat([frame.expand(len(ids), -1), ids[:, None]], dim=1)
    parts = activations(lm, tokens, site, 256)
    x = torch.cat([part.reshape(-1, tokens.shape[1], lm.cfg.d_model)[:, -1] for part in parts]).float().cpu()
    return with_probe(x, letter, train)


def with_probe(x: Tensor, letter: Tensor, train: Tensor) -> Words:
    """Fit the probe: multinomial logistic regression on the training words."""
    centred = ((x - x[train].mean(0)) / x[train].std()).numpy()
    model = LogisticRegression(C=1.0, max_iter=300).fit(centred[train], letter[train].numpy())
    probe = torch.zeros(26, x.shape[1])
    probe[model.classes_] = normalize(torch.from_numpy(model.coef_).float(), dim=1)
    return Words(x, letter, train, probe, torch.from_numpy(model.predict(centred)) == letter)


def main_latents(codes: np.ndarray, is_letter: np.ndarray) -> list[int]:
    """The latents that tell a letter: ranked by standardised difference of means, taken while each adds JUMP to F1."""
    spread = codes.std(0) + 1e-9
    ranked = np.argsort((codes[~is_letter].mean(0) - codes[is_letter].mean(0)) / spread, kind="stable")[:MOST]
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
def letters(codes: Tensor, W_dec: Tensor, b_dec: Tensor, w: Words, scale: float = 1.0) -> list[dict]:
    """A row per letter: ``words`` counted, ``absorbed`` and ``fraction`` (means over them), ``main`` latents, and
    the ``recall`` and ``f1`` of "some main latent fires" on held-out words.

    ``codes (n, d_sae)`` are those of ``scale * w.x``. Main latents are chosen on the training words.
    """
    along = normalize(W_dec, dim=1) @ w.probe.T  # (d_sae, 26)
    x, size, out = w.x * scale - b_dec, W_dec.norm(dim=1), []
    training, held_out = codes[w.train].numpy(), codes[~w.train]
    for letter in w.letter.unique().tolist():
        here = (w.letter == letter).numpy()
        held = torch.from_numpy(here) & ~w.train & w.sees
        if held.sum() < LEAST:
            continue
        main = main_latents(training, here[w.train.numpy()])
        cosine, mine = along[:, letter], codes[held]
        part = mine * cosine * size  # what each latent supplies of the reading
        reading = x[held] @ w.probe[letter]
        top, which = part.max(1)
        silent = (mine[:, main] == 0).all(1)
        absorbed = silent & (reading > 0) & (cosine[which] >= ALONG) & (top >= SHARE * reading)
        main_part = part[:, main].sum(1)
        part[:, main] = 0.0
        part[:, cosine < NEAR] = 0.0
        others = part.clamp_min(0).topk(OTHERS, dim=1).values.sum(1)
        supplied = torch.minimum(others, reading - main_part)
        fraction = torch.where(main_part <= 0, 1.0, supplied / (supplied + main_part))
        none = (reading <= 0) | (main_part >= reading) | (others < SHARE * reading)
        fires, is_letter = (held_out[:, main] > 0).any(1).numpy(), here[~w.train.numpy()]
        out.append({
            "letter": string.ascii_lowercase[letter], "words": int(held.sum()),
            "absorbed": absorbed.double().mean().item(),
            "fraction": fraction.masked_fill(none, 0.0).double().mean().item(),
            "main": len(main), "recall": float(fires[is_letter].mean()), "f1": float(f1_score(is_letter, fires)),
        })  # fmt: skip
    return out


@torch.no_grad()
def absorption(sae, scale: float, site: str) -> list[dict]:
    """:func:`letters` of a dictionary that takes activations times ``scale``."""
    w = words(site)
    codes = torch.cat([sae.encode(part) for part in (w.x * scale).split(2048)])
    return letters(codes, sae.W_dec, sae.b_dec, w, scale)
