"""How much of the model the dictionaries of :mod:`recipes.every_layer` cover, a site at a time and all together.

    python -m recipes coverage [--until MINUTES] [--reduced]

Sites are replaced by what a dictionary makes of them, and the predictions of the next token are held against those of
the untouched model: nats lost, KL divergence, agreement on the likeliest token. *Online*, each dictionary sees what the
replaced sites before it have made; *teacher-forced*, it is given what the untouched model has there. The same with
nothing, the mean, 40 principal directions and 40 of 2304 random directions in the dictionaries' places (of single
sites in six layers; nothing in all), and for the whole model a bigram and a trigram counted on the dictionaries'
training tokens.

Left as they are: the first position, and outliers by the rule of the training data, judged on the untouched run. The
table goes to `artifacts/coverage.csv`, a row for each set of sites, arm and text; each sequence's figures to
`artifacts/coverage_sequences.safetensors`; what each dictionary is by itself, on the untouched model's activations, to
`artifacts/every_layer.csv`. Done four sequences at a time, each kept in the cache; processes started together share the
work. Reduced, the first layer's three dictionaries are trained again from another seed and each is put in alone.

Written before any joint run:

* Each site alone: of the residual sites the median recovers over 90% of the cross-entropy, of the MLPs under 90%.
* All 90 online predict worse than the bigram.
* The 60 attention and MLP outputs online lose more than the sum of what each loses alone, and more than twice as much
  as teacher-forced.
* The rule. Of what the model knows beyond a bigram, ``(CE bigram - CE) / (CE bigram - CE clean)``, the 60 sites online
  keep a share on the `eval` text. Its 95% interval over sequences above .5: nearly the whole model is covered. Below
  .5: it is not. Below what 40 principal directions keep: dictionaries add nothing that a plane does not have.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from helpers.evidence import paired_difference
from helpers.lm import load_tokens
from helpers.runs import atomic, cache_dir, progress, save_artifact
from helpers.sae import load

from .command import options
from .every_layer import KINDS, K, finished, model, place
from .grams import Grams
from .sharing import Unit, working

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


grams = cache(lambda: Grams(load_tokens("train"), model().config.vocab_size))


@torch.inference_mode()
def measure(split: str, start: int, layers: int) -> None:
    """All figures ``(3, CHUNK)`` of one chunk by name of the run, and ``quality/…`` of each site; to the cache."""
    chunk = Chunk(load_tokens(split)[start : start + CHUNK])
    out = {"clean": chunk.figures(chunk.logits)}
    for order, name in ((1, "bigram"), (2, "trigram")):
        out[name] = chunk.figures(grams().log_p(chunk.tokens, order))
    for site in (f"{layer}.{kind}" for layer in range(layers) for kind in KINDS):
        layer, kind = site.split(".")
        out[f"quality/{site}"] = chunk.quality(int(layer), kind)
    nulls = split == "eval" and start < NULLS
    for run in progress([r for r in runs(layers) if nulls or r.arm == "dictionary"], desc=f"{split} {start}"):
        out[run.name] = chunk.figures(chunk.replaced(run))
    path = chunk_path(split, start, layers)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as scratch:
        save_file(out, scratch)


def chunk_path(split: str, start: int, layers: int) -> Path:
    return cache_dir() / f"coverage-1/{layers}/{split}-{start}.safetensors"


def to_do(layers: int) -> list[Unit]:
    jobs = [(split, start) for split, n in SEQUENCES.items() for start in range(0, n, CHUNK)]
    units = [(chunk_path(*job, layers), partial(measure, *job, layers)) for job in jobs]
    return [unit for unit in units if not unit[0].exists()]


def sites(split: str, by_name: dict[str, Tensor], layers: int) -> Iterator[dict]:
    """A row for each dictionary: what it is on one text."""
    for layer in range(layers):
        for kind in KINDS:
            site = f"blocks.{layer}.{kind}"
            active, error, spread, places = by_name[f"quality/{layer}.{kind}"].sum(1).tolist()
            facts = parts(place(site))
            yield {
                "site": site, "text": split, "l0": active / places, "fvu": error / spread, "places": int(places),
                "dead": facts["dead"], "tokens": facts["tokens"], "latents": facts["sae"].d_sae,
            }  # fmt: skip


def rows(split: str, by_name: dict[str, Tensor], layers: int) -> Iterator[dict]:
    """A row for each run: means over sequences, with 95% intervals, of what is lost beside the untouched model."""
    clean = by_name["clean"]
    known = {run.name: run for run in runs(layers)}
    for name, figures in by_name.items():
        if name.startswith("quality/"):
            continue
        run = known.get(name)
        row = {"text": split, "run": name, "sequences": figures.shape[1], "ce": figures[0].mean().item()}
        if run:
            label = next((label for label, kinds in SETS.items() if kinds == run.kinds), run.kinds[0])
            row |= {"set": label, "first": run.first, "last": run.last, "arm": run.arm, "forced": run.forced}
        base = [clean[0, : figures.shape[1]], torch.zeros(figures.shape[1]), torch.zeros(figures.shape[1])]
        for figure, values, without in zip(FIGURES, figures, base, strict=True):
            mean, low, high = paired_difference(values.numpy(), without.numpy())
            row |= {figure: mean, f"{figure}_low": low, f"{figure}_high": high}
        yield row


def main(argv: Sequence[str] | None = None) -> None:
    reduced = "the first layer's three sites alone, from another seed"
    args = options("coverage", __doc__, "until", reduced=reduced).parse_args(argv)
    if args.reduced:
        from .again import again

        table = again().round(5)
        save_artifact("reduced/coverage.csv", lambda path: table.to_csv(path, index=False), recipe="coverage --reduced")
        return
    until = None if args.until is None else time.time() + 60 * args.until
    layers = [*map(finished, range(len(model().model.layers))), False].index(False)
    if not layers:
        raise FileNotFoundError("no layer's dictionaries are in the cache; run python -m recipes every_layer first")
    for left in working(lambda: to_do(layers), cache_dir() / "coverage-1" / "locks", until):
        print(f"{len(left)} chunks to do", flush=True)
    if to_do(layers):
        return
    table, qualities, tensors = [], [], {}
    for split, n in SEQUENCES.items():
        chunks = [load_file(chunk_path(split, start, layers)) for start in range(0, n, CHUNK)]
        names = dict.fromkeys(name for chunk in chunks for name in chunk)
        together = {name: torch.cat([c[name] for c in chunks if name in c], dim=1) for name in names}
        table += rows(split, together, layers)
        qualities += sites(split, together, layers)
        figures = {name: values for name, values in together.items() if not name.startswith("quality/")}
        tensors |= {f"{split}/{name}": values.float() for name, values in figures.items()}
    made = {"recipe": "python -m recipes coverage", "layers": layers}
    quality = pd.DataFrame(qualities).round(5)
    save_artifact("every_layer.csv", lambda path: quality.to_csv(path, index=False), **made)
    save_artifact("coverage.csv", lambda path: pd.DataFrame(table).round(5).to_csv(path, index=False), **made)
    save_artifact("coverage_sequences.safetensors", lambda path: save_file(tensors, path), **made)


if __name__ == "__main__":
    from recipes import coverage

    coverage.main()
