"""Chapter 1's sweep: every arm, at two sites of the embedded model, over five sparsity levels and several seeds.

    python -m recipes gated_sweep [--reduced] [--until MINUTES] [--extend] [--scheduler tcp://…]

Each run trains on about two million activations in one epoch and is then judged on the `eval` and `human` tokens. The
table goes to `artifacts/gated_sweep.csv`, a handful of dictionaries to `artifacts/dictionaries/`. Runs are kept in the
cache one by one, so the recipe can be stopped and started at will; `--until` writes the table from what is done then,
and `--extend` goes on from a shipped table where the cache is gone. Activations are memory-mapped: a worker's own
memory stays below two gigabytes, most of it copies of the model.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from helpers.lm import activations, load_lm, load_tokens, model_folder
from helpers.runs import artifact, atomic, cache_dir, hardware, key_of, save_artifact, sweep
from helpers.sae import SAE, RescaleShift, build, evaluate, load, loss_recovered, save, train

from .command import options
from .harvest import KIND, MODEL, SITES, Activations, tokens_of

VERSION = 5  # raise it when a change makes kept runs incomparable
D_SAE, BATCH, LR, EVAL_SEQUENCES = 2304, 512, 2e-3, 48
LEVELS = (0, 2, 4, 1, 3)  # far apart first, so that an unfinished sweep already spans the frontier
K = (8, 14, 24, 40, 64)
# The same λ gives the L1 arms unequal L0, so each has a grid of its own, set from the L0 of trial runs.
SPARSITY = {
    "standard": (0.3, 0.22, 0.16, 0.12, 0.09),
    "expanded": (0.7, 0.52, 0.38, 0.27, 0.19),
    "gated": (0.36, 0.26, 0.18, 0.125, 0.085),
    "gated_shared_bias": (0.43, 0.31, 0.22, 0.155, 0.11),
    "jumprelu": (0.009, 0.0055, 0.0035, 0.002, 0.0012),
}
CENTRAL = ("standard", "expanded", "gated")
LOSSES = "per run (eval, human) x (clean, spliced, zero-ablated) x sequence: mean next-token cross-entropy, nats"
KEPT = [(name, site, 0, 2) for name in CENTRAL for site in SITES]


def hyper(architecture: str, level: int) -> dict:
    """Sparsity hyperparameters of one level, from sparse (0) to dense (4)."""
    if architecture == "rescale_shift":
        architecture = "standard"
    if architecture == "jumprelu":
        return {"sparsity": SPARSITY[architecture][level], "bandwidth": 0.05}
    return {"sparsity": SPARSITY[architecture][level]} if architecture in SPARSITY else {"k": K[level]}


@cache
def data(site: str, sequences: int, shuffled: bool = False, model: str = MODEL) -> Activations:
    return Activations(tokens_of("train", model)[:sequences], site, shuffled, model)


@cache
def judge(site: str, model: str = MODEL) -> Judge:
    return Judge(site, model=model)


class Judge:
    """Cross-entropies with one site replaced, by running only the layers behind it on stored residual streams.

    Every ``stride``-th next token is predicted: with a large vocabulary most of the work is there.
    """

    def __init__(self, site: str, sequences: int = EVAL_SEQUENCES, model: str = MODEL):
        lm = load_lm(model, device="cpu", dtype=KIND)  # where the layers behind the site are run
        layer, kind = int(site.split(".")[1]), site.split(".")[2]
        self.begin = layer if kind == "hook_resid_pre" else layer + 1
        residual = f"blocks.{self.begin}.hook_resid_pre"
        self.tokens = {split: tokens_of(split, model)[:sequences] for split in ("eval", "human")}
        self.stride = 1 if model == MODEL else 4
        self.at, self.behind = {}, {}
        for split, tokens in self.tokens.items():
            parts = list(activations(lm, tokens, (site, residual), batch_size=16))
            shape = (*tokens.shape, lm.cfg.d_model)
            self.at[split] = torch.cat([p[site] for p in parts]).reshape(shape)
            self.behind[split] = torch.cat([p[residual] for p in parts]).reshape(shape)
        whole = AutoModelForCausalLM.from_pretrained(model_folder(model), dtype=KIND)
        self.tail = copy.deepcopy(whole).eval()
        self.tail.model.layers = whole.model.layers[self.begin :]
        kinds = getattr(whole.config, "layer_types", None)  # full or sliding attention, by a layer's place
        if kinds:
            self.tail.config.layer_types = kinds[self.begin :]

    def untouched(self, x: Tensor, cutoff: float) -> Tensor:
        """Positions that keep their activation: the first, and outliers by the rule of the training data."""
        mask = x.float().norm(dim=-1) > cutoff
        mask[:, 0] = True
        return mask

    @torch.inference_mode()
    def loss(self, split: str, new: Tensor) -> Tensor:
        """Each sequence's mean next-token cross-entropy (nats), the site's ``(n_seq, ctx, d_model)`` set to ``new``."""
        residual = self.behind[split] + (new.to(KIND) - self.at[split])
        ahead = self.tokens[split][:, 1 :: self.stride]
        pairs = zip(residual.split(4), ahead.split(4), strict=True)
        each = [F.cross_entropy(self.logits(x).flatten(0, 1), t.flatten(), reduction="none") for x, t in pairs]
        return torch.cat(each).view(ahead.shape).double().mean(1)

    def logits(self, residual: Tensor) -> Tensor:
        """``(n_seq, positions, vocabulary)`` at every ``stride``-th position but the last, float32."""
        positions = torch.arange(0, residual.shape[1] - 1, self.stride)
        return self.tail(inputs_embeds=residual, use_cache=False, logits_to_keep=positions).logits.float()

    @torch.inference_mode()
    def divergence(self, split: str, new: Tensor) -> Tensor:
        """Each sequence's mean KL divergence (nats) of the predictions with ``new`` from those without."""
        out, step = [], new.to(KIND) - self.at[split]
        for x, change in zip(self.behind[split], step, strict=True):
            clean, spliced = self.logits(torch.stack([x, x + change])).log_softmax(-1)
            out.append((clean.exp() * (clean - spliced)).sum(-1).double().mean())
        return torch.stack(out)

    @cache  # noqa: B019 (one judge a process)
    def bounds(self, split: str, cutoff: float) -> tuple[Tensor, Tensor]:
        """Cross-entropies clean, and with the site zeroed wherever a dictionary would replace it."""
        x = self.at[split]
        return self.loss(split, x), self.loss(split, x * self.untouched(x, cutoff).unsqueeze(-1))

    def rows(self, split: str, cutoff: float) -> Tensor:
        x = self.at[split]
        return x[~self.untouched(x, cutoff)].float()

    @torch.inference_mode()
    def measures(self, sae, acts: Activations) -> dict:
        """Sparsity, fidelity and cross-entropies on both splits; each sequence's losses too, for resampling."""
        out = {"by_sequence": {}}
        for split in self.tokens:
            x = self.at[split]
            new = x.float() * acts.scale
            new = torch.where(self.untouched(x, acts.cutoff).unsqueeze(-1), x.float(), sae(new) / acts.scale)
            clean, zero = self.bounds(split, acts.cutoff)
            spliced = self.loss(split, new)
            out["by_sequence"][split] = [losses.tolist() for losses in (clean, spliced, zero)]
            clean, spliced, zero = (losses.mean().item() for losses in (clean, spliced, zero))
            figures = evaluate(sae, (self.rows(split, acts.cutoff) * acts.scale).split(2048)) | {
                "ce_clean": clean, "ce_spliced": spliced, "ce_zero": zero,
                "ce_recovered": loss_recovered(clean, spliced, zero),
            }  # fmt: skip
            if split == "eval":
                kl = self.divergence(split, new)
                out["by_sequence"]["kl"], figures["kl"] = kl.tolist(), kl.mean().item()
            out |= {k if split == "eval" else f"{k}_{split}": v for k, v in figures.items() if k != "dead_fraction"}
        return out


def weights(point: dict) -> Path:
    """Folder of one run's dictionary in the cache; runs of other settings never share one."""
    return folder("dictionaries") / key_of(fit, point)


def folder(kind: str) -> Path:
    return cache_dir() / f"gated_sweep-{VERSION}" / kind


def fit(architecture: str, site: str, seed: int, level: int, sequences: int, **options) -> SAE:
    """Train one dictionary on the scaled activations, or load it if that was done; kept in the cache."""
    point = {"architecture": architecture, "site": site, "seed": seed, "level": level, "sequences": sequences}
    place, of = weights({**point, **options}), {k: options.pop(k) for k in ("shuffled", "model") if k in options}
    acts = data(site, sequences, **of)
    if place.exists():
        return load(place)
    steps = options.pop("epochs", 1) * (len(acts) // BATCH)
    generator = torch.Generator().manual_seed(seed)
    if architecture == "rescale_shift":
        sae, steps = RescaleShift.of(fit(**{**point, "architecture": "standard"}, **of, **options)), steps // 4
    else:
        name = "topk" if architecture == "random" else architecture
        sae = build(name, acts.mean.numel(), 4 * acts.mean.numel(), generator=generator, **options)
        sae.b_dec.data.copy_(acts.mean)
        sae.W_dec.requires_grad_(architecture != "random")
    checkpoint = place.parent / f"{place.name}.ckpt.safetensors"
    log = train(
        sae, acts.batches(BATCH, seed), steps=steps, lr=LR, sparsity_warmup=0.5, clip=1.0, seed=seed,
        checkpoint=checkpoint, checkpoint_every=1000, progress=False,
    )  # fmt: skip
    save(sae, place)
    log.to_csv(place / "log.csv", index=False)
    checkpoint.unlink(missing_ok=True)
    return sae


class PCA:
    """A null: the best linear reconstruction from ``k`` directions."""

    def __init__(self, acts: Activations, k: int):
        x = acts.rows(torch.arange(0, len(acts), max(1, len(acts) // 20_000)))
        self.mean = x.mean(0)
        self.directions = torch.linalg.svd(x - self.mean, full_matrices=False).Vh[:k]
        self.d_sae, self.d_model = k, x.shape[1]

    def eval(self):
        return self

    def encode(self, x: Tensor) -> Tensor:
        return (x - self.mean) @ self.directions.T

    def decode(self, codes: Tensor) -> Tensor:
        return codes @ self.directions + self.mean

    def __call__(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


def run(architecture: str, site: str, seed: int, level: int, sequences: int, **options) -> dict:
    """One row of the table."""
    model = options.get("model", MODEL)
    begun, acts = time.process_time(), data(site, sequences, model=model)
    if architecture == "pca":
        sae, dead = PCA(acts, options["k"]), 0.0
    else:
        sae = fit(architecture, site, seed, level, sequences, **options)
        some = acts.rows(torch.arange(0, len(acts), max(1, len(acts) // 65_536)))
        dead = evaluate(sae, some.split(4096))["dead_fraction"]
    row = {
        "d_sae": sae.d_sae, "tokens": len(acts) // BATCH * BATCH, **judge(site, model).measures(sae, acts),
        "dead_fraction": dead, "outliers": acts.left_out, "hardware": hardware(),
    }  # fmt: skip
    return {**row, "seconds": round(time.process_time() - begun)}


def grid(sequences: int) -> Iterator[dict]:
    """The runs, the most needed first, so that a sweep that is cut short is still a table of whole seeds."""

    def points(architectures, seed):
        for level in LEVELS:
            for site in SITES:
                for name in architectures:
                    point = {"architecture": name, "site": site, "seed": seed, "level": level, "sequences": sequences}
                    yield point | hyper(name, level)

    yield from points(CENTRAL, 0)
    yield from points(CENTRAL, 1)
    yield from points(("gated_shared_bias", "rescale_shift", "pca"), 0)
    yield from points(CENTRAL, 2)
    yield from points(("jumprelu", "topk", "batchtopk", "matryoshka", "random"), 0)


def reduced_grid(sequences: int) -> Iterator[dict]:
    """Six runs as long as the sweep's, on a quarter of its tokens shown four times, with a seed it does not have."""
    for level in (1, 3):
        for name in CENTRAL:
            point = {"architecture": name, "site": SITES[0], "seed": 3, "level": level, "sequences": sequences // 4}
            yield point | hyper(name, level) | {"epochs": 4}


def take_over(points: list[dict]) -> None:
    """Put the shipped table's runs among the finished ones, so that a sweep can be extended on another machine."""
    table = pd.read_csv(artifact("gated_sweep.csv"))
    losses = load_file(artifact("gated_sweep_losses.safetensors"))
    for point in points:
        row = table[(table[list(point)] == list(point.values())).all(axis=1)] if {*point} <= {*table} else table[:0]
        path = folder("runs") / f"{key_of(run, point)}.json"
        if len(row) == 1 and not path.exists():
            key = f"{point['architecture']}/{point['site']}/{point['seed']}/{point['level']}"
            splits = dict(zip(("eval", "human"), losses[key].tolist(), strict=True))
            result = json.loads(row.drop(columns=list(point)).dropna(axis=1).iloc[0].to_json())
            with atomic(path) as scratch:
                scratch.write_text(json.dumps(result | {"by_sequence": splits}))


def main(argv: Sequence[str] | None = None) -> None:
    parser = options("gated_sweep", __doc__, "until", "scheduler", reduced="six runs on a quarter of the tokens")
    parser.add_argument("--extend", action="store_true", help="take over the runs that the shipped table already has")
    args = parser.parse_args(argv)
    begun = time.time()
    sequences = len(load_tokens("train"))
    points = list(reduced_grid(sequences) if args.reduced else grid(sequences))
    for site, sequences in sorted({(point["site"], point["sequences"]) for point in points}):
        data(site, sequences)  # harvest before the workers start
    if args.extend:
        take_over(points)
    table = sweep(
        run,
        points,
        folder=folder("runs"),
        scheduler=args.scheduler,
        deadline=None if args.until is None else begun + 60 * args.until,
    )
    name = "reduced/" * args.reduced + "gated_sweep"
    losses = {f"{r.architecture}/{r.site}/{r.seed}/{r.level}": r.by_sequence for r in table.itertuples()}
    table = table.drop(columns="by_sequence")
    made = {"recipe": "python -m recipes.gated_sweep", "planned_runs": len(points), "finished_runs": len(table)}
    save_artifact(f"{name}.csv", lambda path: table.round(6).to_csv(path, index=False), **made)
    tensors = {key: torch.tensor([v["eval"], v["human"]]) for key, v in losses.items()}
    save_artifact(f"{name}_losses.safetensors", lambda path: save_file(tensors, path), **made, what=LOSSES)
    if args.reduced:
        return
    done = {(r.architecture, r.site, r.seed, r.level) for r in table.itertuples()}
    for point in points:
        run_ = tuple(point[key] for key in ("architecture", "site", "seed", "level"))
        if run_ in KEPT and run_ in done and weights(point).exists():
            sae, acts = load(weights(point)), data(point["site"], sequences)
            sae.rescale(acts.scale)
            save_artifact(
                f"dictionaries/{point['architecture']}-{point['site']}",
                lambda path, sae=sae: save(sae, path, dtype=torch.float16),
                recipe=made["recipe"], **point, cutoff=acts.cutoff, scale=acts.scale,
            )  # fmt: skip


if __name__ == "__main__":
    from recipes import gated_sweep  # under its own name, so that worker processes can import what they are sent

    gated_sweep.main()
