"""Sites of the embedded model replaced by what something makes of them: one at a time, or many at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from helpers.sae import load

from .every_layer import KINDS, K, model, place

CHUNK = 4  # sequences
SEQUENCES = {"eval": 24, "human": 12}
NULLS = 8  # sequences of `eval` on which what is no dictionary is tried
SETS = {"residual": KINDS[:1], "attention + MLP": KINDS[1:], "all": KINDS}
DEPTHS = (1, 2, 4, 7, 11, 15, 20, 25, 30)
SOME = (2, 7, 12, 17, 22, 27)  # layers whose sites are tried alone with what is neither dictionary nor zero
ARMS = ("dictionary", "zero", "mean", "plane", "random")
FIGURES = ("nats", "kl", "agreement")


@dataclass(frozen=True)
class Run:
    """One replacement: the sites of some ``kinds`` in layers ``first`` to ``last``, by what ``arm`` makes of them."""

    kinds: tuple[str, ...]
    first: int
    last: int
    arm: str = "dictionary"
    forced: bool = False  # given what the untouched model has at the site

    @property
    def name(self) -> str:
        return f"{'+'.join(self.kinds)}/{self.first}-{self.last}/{self.arm}" + "/forced" * self.forced


def runs(layers: int) -> list[Run]:
    """Every replacement that is tried, once."""
    return list(dict.fromkeys(_runs(layers)))


def _runs(layers: int) -> Iterator[Run]:
    """Single sites, then from the bottom up and from the top down."""
    for arm in ARMS:
        alone = [i for i in range(layers) if arm in ("dictionary", "zero") or i in SOME]
        yield from (Run((kind,), i, i, arm) for kind in KINDS for i in alone)
        for kinds in SETS.values():
            depths = sorted({min(n, layers) for n in (DEPTHS if arm == "dictionary" else (1, 4, 11, 30))})
            yield from (Run(kinds, 0, n - 1, arm) for n in depths)
            if arm == "dictionary":
                yield from (Run(kinds, layers - n, layers - 1, arm) for n in depths if n < layers)
                yield from (Run(kinds, 0, n - 1, arm, forced=True) for n in depths)


@cache
def parts(where: Path) -> dict:
    """What can stand in for a site, in its own units: its dictionary lies at ``where``, and the rest beside it."""
    facts = json.loads(where.with_name(f"{where.name}.json").read_text())
    plane = load_file(where.with_name(f"{where.name}.plane.safetensors"))
    rows = torch.randn(4 * plane["mean"].numel(), plane["mean"].numel(), generator=torch.Generator().manual_seed(0))
    return facts | plane | {"sae": load(where).eval(), "random": F.normalize(rows, dim=1)}


def replacement(p: dict, arm: str, x: Tensor) -> Tensor:
    """What ``arm`` makes of activations ``x (n, d_model)`` at a site whose :func:`parts` are ``p``."""
    if arm == "dictionary":
        return p["sae"](x)
    if arm == "zero":
        return torch.zeros_like(x)
    if arm == "mean":
        return p["mean"].expand_as(x)
    rest = x - p["mean"]
    if arm == "plane":
        return p["mean"] + rest @ p["directions"].T @ p["directions"]
    if arm == "random":
        return p["mean"] + nearest_in_span(rest, p["random"])
    raise ValueError(f"arm={arm!r}; expected one of {', '.join(ARMS)}")


def nearest_in_span(x: Tensor, rows: Tensor, k: int = K) -> Tensor:
    """The best combination, for each of ``x (n, d_model)``, of the ``k`` unit ``rows`` of largest absolute cosine."""
    chosen = rows[(x @ rows.T).abs().topk(k, dim=1).indices]  # (n, k, d_model)
    code = torch.linalg.solve(chosen @ chosen.mT, (chosen @ x.unsqueeze(-1)))
    return (chosen.mT @ code).squeeze(-1)


class Chunk:
    """A few sequences: the untouched run is made once and kept, replacements start at the first layer they change."""

    def __init__(self, tokens: Tensor, where: Callable[[str], Path] | None = None):
        self.tokens, self.whole, self.where = tokens, model(), where or place
        self.layers, self.clean = len(self.whole.model.layers), {}
        self.position = torch.arange(tokens.shape[1])[None]
        x = self.whole.model.embed_tokens(tokens)
        self.rotary = self.whole.model.rotary_emb(x, self.position)
        self.logits = self.predict(self.climb(x, 0, self.clean.setdefault)).log_softmax(-1)
        self.p, self.likeliest = self.logits.exp(), self.logits.argmax(-1)
        self.entropy = -torch.linalg.vecdot(self.p, self.logits).double()

    def climb(self, x: Tensor, first: int, seen: Callable[[tuple[int, str], Tensor], Tensor]) -> Tensor:
        """The last residual stream, from the one before layer ``first``; sites go through ``seen``."""
        for i in range(first, self.layers):
            block = self.whole.model.layers[i]
            x = seen((i, KINDS[0]), x)
            out, _ = block.self_attn(
                hidden_states=block.input_layernorm(x), position_embeddings=self.rotary, attention_mask=None
            )
            x = x + seen((i, KINDS[1]), out)
            x = x + seen((i, KINDS[2]), block.mlp(block.post_attention_layernorm(x)))
        return x

    def predict(self, x: Tensor) -> Tensor:
        """Logits ``(n_seq, ctx - 1, d_vocab)`` of every next token, float32."""
        return self.whole.lm_head(self.whole.model.norm(x[:, :-1])).float()

    def parts(self, layer: int, kind: str) -> dict:
        return parts(self.where(f"blocks.{layer}.{kind}"))

    def kept(self, layer: int, kind: str) -> Tensor:
        """Positions ``(n_seq, ctx)`` that are left as they are."""
        mask = self.clean[layer, kind].float().norm(dim=-1) > self.parts(layer, kind)["cutoff"]
        mask[:, 0] = True
        return mask

    def replaced(self, run: Run) -> Tensor:
        """Log-probabilities with the sites of ``run`` replaced."""

        def seen(at: tuple[int, str], x: Tensor) -> Tensor:
            layer, kind = at
            if kind not in run.kinds or not run.first <= layer <= run.last:
                return x
            mask = self.kept(layer, kind)
            given = self.clean[at] if run.forced else x
            out = x.clone()
            out[~mask] = replacement(self.parts(layer, kind), run.arm, given[~mask].float()).to(x.dtype)
            return out

        return self.predict(self.climb(self.clean[run.first, KINDS[0]], run.first, seen)).log_softmax(-1)

    def quality(self, layer: int, kind: str) -> Tensor:
        """``(4, n_seq)``: sums over places of active latents, squared error, squared distance from the training data's
        mean, and the places."""
        x, rest = self.clean[layer, kind].float(), ~self.kept(layer, kind)
        p = self.parts(layer, kind)
        codes = p["sae"].encode(x)
        error, spread = x - p["sae"].decode(codes), x - p["mean"]
        values = [(codes > 0).sum(-1), error.pow(2).sum(-1), spread.pow(2).sum(-1), torch.ones_like(rest)]
        return torch.stack([(v.double() * rest).sum(1) for v in values])

    def figures(self, log_p: Tensor) -> Tensor:
        """``(3, n_seq)``: cross-entropy in nats, KL from the untouched predictions, share of equal likeliest tokens."""
        nats = -log_p.gather(2, self.tokens[:, 1:, None]).squeeze(2).double().mean(1)
        kl = (-self.entropy - torch.linalg.vecdot(self.p, log_p)).mean(1)
        return torch.stack([nats, kl, (log_p.argmax(-1) == self.likeliest).double().mean(1)])
