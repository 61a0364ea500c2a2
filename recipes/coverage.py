"""How much of the model the dictionaries of :mod:`recipes.every_layer` cover, a site at a time and all together.

    python -m recipes coverage [--until MINUTES] [--reduced]

Sites are replaced by what a dictionary makes of them, and the predictions of the next token are held against those of
the untouched model: nats lost, KL divergence, agreement on the likeliest token. *Online*, each dictionary sees what the
replaced sites before it have made; *teacher-forced*, it is given what the untouched model has there. The same with
nothing, the mean, 40 principal directions and 40 of 2304 random directions in the dictionaries' places (of single
sites in six layers; nothing in all). For the whole model, n-grams counted on the dictionaries' training tokens
(:mod:`recipes.grams`): a bigram and a trigram, and, added after the result and in no rule, a trigram with better
smoothing and one with a memory of the sequence too.

Left as they are: the first position, and outliers by the rule of the training data, judged on the untouched run. The
table goes to `artifacts/coverage.csv`, a row for each set of sites, arm and text, and for the sum of what each site
costs alone; each sequence's figures to `artifacts/coverage_sequences.safetensors`; what each dictionary is by itself,
on the untouched model's activations, to `artifacts/every_layer.csv`. Two checks: `artifacts/coverage_routes.csv` has
the joint runs by hooks on the whole model in float32 (:mod:`recipes.routes`), `artifacts/coverage_seeds.csv` the first
layer's three sites alone from five seeds (:mod:`recipes.again`). Done four sequences at a time, each kept in the cache;
processes started together share the work. Reduced, the first layer's three dictionaries are trained from one more seed.

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

import time
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from helpers.lm import load_lm, load_tokens
from helpers.runs import atomic, cache_dir, progress, save_artifact

from .again import NEW, SEEDS, again
from .command import options
from .coverage_tables import qualities, rows, sums
from .every_layer import KINDS, finished, model, place
from .grams import HELD, Grams, KneserNey
from .harvest import MODEL
from .replacing import CHUNK, NULLS, SEQUENCES, SETS, Chunk, Run, runs
from .routes import both
from .sharing import Unit, working


@cache
def grams() -> tuple[tuple[str, Grams, int], ...]:
    """What predicts without the model: names, counts of the dictionaries' training tokens, tokens of history."""
    tokens, d_vocab = load_tokens("train"), model().config.vocab_size
    plain, kneser = Grams(tokens, d_vocab), KneserNey(tokens, d_vocab)
    memory = KneserNey(tokens[:-HELD], d_vocab, held=tokens[-HELD:])
    return ("bigram", plain, 1), ("trigram", plain, 2), ("kneser-ney", kneser, 2), ("memory", memory, 2)


@torch.inference_mode()
def beside(split: str, start: int, layers: int) -> None:
    """Figures ``(3, CHUNK)`` of one chunk of what predicts without the model; to the cache."""
    chunk = Chunk(load_tokens(split)[start : start + CHUNK])
    store({name: chunk.figures(g.log_p(chunk.tokens, order)) for name, g, order in grams()},
          chunk_path(split, start, layers, "grams"))  # fmt: skip


@torch.inference_mode()
def measure(split: str, start: int, layers: int) -> None:
    """All figures ``(3, CHUNK)`` of one chunk by name of the run, and ``quality/…`` of each site; to the cache."""
    chunk = Chunk(load_tokens(split)[start : start + CHUNK])
    out = {"clean": chunk.figures(chunk.logits)}
    for site in (f"{layer}.{kind}" for layer in range(layers) for kind in KINDS):
        layer, kind = site.split(".")
        out[f"quality/{site}"] = chunk.quality(int(layer), kind)
    nulls = split == "eval" and start < NULLS
    for run in progress([r for r in runs(layers) if nulls or r.arm == "dictionary"], desc=f"{split} {start}"):
        out[run.name] = chunk.figures(chunk.replaced(run))
    store(out, chunk_path(split, start, layers))


def store(figures: dict[str, Tensor], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as scratch:
        save_file(figures, scratch)


def chunk_path(split: str, start: int, layers: int, part: str = "runs") -> Path:
    end = "" if part == "runs" else f"-{part}"
    return cache_dir() / f"coverage-1/{layers}/{split}-{start}{end}.safetensors"


def to_do(layers: int) -> list[Unit]:
    jobs = [(split, start) for split, n in SEQUENCES.items() for start in range(0, n, CHUNK)]
    units = [(chunk_path(*job, layers), partial(measure, *job, layers)) for job in jobs]
    units += [(chunk_path(*job, layers, "grams"), partial(beside, *job, layers)) for job in jobs]
    return [unit for unit in units if not unit[0].exists()]


def main(argv: Sequence[str] | None = None) -> None:
    reduced = "the first layer's three sites alone, from one more seed"
    args = options("coverage", __doc__, "until", reduced=reduced).parse_args(argv)
    if args.reduced:
        table = again((NEW,)).round(5)
        save_artifact(
            "reduced/coverage_seeds.csv", lambda path: table.to_csv(path, index=False), recipe="coverage --reduced"
        )
        return
    until = None if args.until is None else time.time() + 60 * args.until
    layers = [*map(finished, range(len(model().model.layers))), False].index(False)
    if not layers:
        raise FileNotFoundError("no layer's dictionaries are in the cache; run python -m recipes every_layer first")
    for left in working(lambda: to_do(layers), cache_dir() / "coverage-1" / "locks", until):
        print(f"{len(left)} chunks to do", flush=True)
    if to_do(layers):
        return
    table, sites, tensors = [], [], {}
    for split, n in SEQUENCES.items():
        chunks = [
            load_file(chunk_path(split, start, layers)) | load_file(chunk_path(split, start, layers, "grams"))
            for start in range(0, n, CHUNK)
        ]
        names = dict.fromkeys(name for chunk in chunks for name in chunk)
        together = {name: torch.cat([c[name] for c in chunks if name in c], dim=1) for name in names}
        figures = {name: values for name, values in together.items() if not name.startswith("quality/")}
        table += [*rows(split, figures, layers), *sums(split, figures, layers)]
        sites += qualities(split, together, layers)
        tensors |= {f"{split}/{name}": values.float() for name, values in figures.items()}
    made = {"recipe": "python -m recipes coverage", "layers": layers}
    tried = [Run(kinds, 0, layers - 1, forced=forced) for kinds in SETS.values() for forced in (False, True)]
    tables = {
        "every_layer.csv": pd.DataFrame(sites),
        "coverage.csv": pd.DataFrame(table),
        "coverage_routes.csv": both(load_lm(MODEL), load_tokens("eval")[:CHUNK], tried, place),
        "coverage_seeds.csv": again(SEEDS),
    }
    for name, frame in tables.items():
        save_artifact(name, lambda path, frame=frame: frame.round(5).to_csv(path, index=False), **made)
    save_artifact("coverage_sequences.safetensors", lambda path: save_file(tensors, path), **made)


if __name__ == "__main__":
    from recipes import coverage

    coverage.main()
