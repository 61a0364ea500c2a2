"""Side by side with peers, in one run: ``make bench``, or ``python -m benchmarks.bench`` with ``.venv-peers`` there.

Prints one table and writes ``results.json`` and ``results.md`` beside this file. Every contender is a process that
waits its turn (:mod:`benchmarks.worker`); they step in turns, A B C A B C, on the same batches from the same weights,
so that a slow minute of the machine is everybody's. Reported are medians over all timed steps.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.report import keep, markdown, stamp
from helpers.runs import ROOT, progress
from helpers.sae import build, train

PEERS = Path(os.environ.get("PEERS_ENV", ROOT / ".venv-peers")) / "bin" / "python"
D_MODEL, D_SAE, BATCH, LR = 576, 4608, 4096, 3e-4
LAYER, HOOK = 15, "blocks.15.hook_resid_pre"
K, PRETRAINING, SPARSITY, BANDWIDTH = 40, 100, 1.0, 0.2
MODES = {  # contender → (library, autocast)
    "here": ("here", False),
    "SAELens": ("saelens", False),
    "SAELens bf16": ("saelens", True),
    "dictionary_learning": ("dictionary_learning", False),
    "dictionary_learning bf16": ("dictionary_learning", True),
    "sparsify": ("sparsify", False),
    "sparsify bf16": ("sparsify", True),
}
ARCHITECTURES = ("standard", "gated", "topk", "jumprelu", "batchtopk")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--architectures", nargs="+", default=ARCHITECTURES, choices=ARCHITECTURES)
    parser.add_argument("--rounds", type=int, default=3, help="turns each contender gets (default 3)")
    parser.add_argument("--steps", type=int, default=3, help="timed steps in a turn (default 3)")
    parser.add_argument("--batches", type=int, default=12, help="distinct batches of activations (default 12)")
    parser.add_argument("--harvest", action="store_true", help="measure the activations alone again; keep the rest")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder for the results")
    options = parser.parse_args()
    if options.harvest:
        results = json.loads((options.out / "results.json").read_text())
        results["harvest"], _ = harvest((options.batches + 1) * BATCH)
        return keep(results, markdown(results), options.out, "results")
    if not PEERS.exists():
        sys.exit(f"{PEERS} is not there: run benchmarks/peers.sh first (or set PEERS_ENV)")
    begun = time.time()
    results = stamp() | {
        "threads": torch.get_num_threads(),
        "sizes": {"d_model": D_MODEL, "d_sae": D_SAE, "batch": BATCH, "lr": LR, "hook": HOOK, "l0": K},
    }
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        results["harvest"], x = harvest((options.batches + 1) * BATCH)
        x = prepare(x)
        save_file({"x": x}, folder / "data.safetensors")
        weights, results["start"] = pretrain(x)
        results["gemm"] = {"float32": [], "bfloat16": []}
        results["training"] = {
            name: race(name, weights, results["start"]["threshold"], options, folder, results["gemm"])
            for name in options.architectures
        }
        results["data"] = x.numel() * x.element_size() / 2**20
        results["buffer"] = ask_buffer(folder)
    results["gemm"] = {kind: round(median(rates) / 1e9, 1) for kind, rates in results["gemm"].items()}
    results["seconds"] = round(time.time() - begun)
    keep(results, markdown(results), options.out, "results")


def harvest(rows: int, rounds: int = 3) -> tuple[dict, Tensor]:
    """Activations here and from plain transformers cut at the same layer; tokens/s of each, and the activations."""
    from transformers import AutoModel

    from helpers.lm import activations, load_lm, load_tokens, model_folder

    tokens = load_tokens("eval")
    n, batch = -(-rows // (tokens.shape[1] - 1)), 32
    if len(tokens) < n:
        sys.exit(f"the eval split has {len(tokens)} sequences, {n} are needed for {rows} activations")
    lm = load_lm()
    plain = AutoModel.from_pretrained(model_folder("smollm2-135m"), dtype=torch.float32).eval()
    plain.layers, plain.norm = plain.layers[:LAYER], torch.nn.Identity()

    @torch.inference_mode()
    def theirs(part: Tensor) -> Tensor:
        return plain(part, use_cache=False).last_hidden_state[:, 1:].flatten(0, 1)

    def ours(part: Tensor) -> Tensor:
        return next(activations(lm, part, HOOK, batch, skip_first=1))

    seconds, kept, worst = {ours: [], theirs: []}, [], 0.0
    parts = tokens[:n].split(batch)
    for f in (ours, theirs):
        f(parts[0])
    for i, part in enumerate(progress(parts, desc="harvest")):
        out = {}
        for f in (ours, theirs) if i % 2 else (theirs, ours):
            if f is theirs and i >= 4 * rounds:
                continue  # enough to compare; ours goes on, for the data
            since = time.perf_counter()
            out[f] = f(part)
            seconds[f].append((time.perf_counter() - since) / part.numel())
        kept.append(out[ours])
        if theirs in out:
            worst = max(worst, ((out[ours] - out[theirs]).abs().max() / out[theirs].abs().max()).item())
    compared = len(seconds[theirs])
    rates = {"here": 1 / median(seconds[ours][:compared]), "transformers": 1 / median(seconds[theirs])}
    return {
        **rates,
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"),
        "largest_relative_difference": worst,
    }, torch.cat(kept)[:rows].clone()


def prepare(x: Tensor) -> Tensor:
    """Shuffled, without attention sinks (their norms are a hundred times the others'), scaled to E‖x‖² = d_model."""
    norms = x.norm(dim=1)
    x = x[norms < 5 * norms.median()]
    x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))][: len(x) // BATCH * BATCH]
    return x * (D_MODEL / x.pow(2).sum(1).mean()).sqrt()


def pretrain(x: Tensor, d_sae: int = D_SAE, batch: int = BATCH, k: int = K) -> tuple[dict[str, Tensor], dict]:
    """A briefly trained TopK dictionary, for everybody to start from, and the threshold above which its codes lie."""
    sae = build("topk", x.shape[1], d_sae, generator=torch.Generator().manual_seed(0), k=k).to(x.device)
    parts = x.split(batch)
    train(sae, lambda step: parts[step % len(parts)], steps=PRETRAINING, lr=1e-3, log_every=PRETRAINING)
    with torch.no_grad():
        threshold = sae.pre(parts[0]).flatten().topk(k * batch).values.min().item()
    weights = {name: p.detach().clone() for name, p in sae.named_parameters()}
    return weights, {"steps": PRETRAINING, "threshold": threshold}


def race(name: str, weights: dict[str, Tensor], threshold: float, options, folder: Path, gemm: dict) -> dict:
    """All contenders for one architecture, in turns."""
    weights, hyper = start(name, weights, threshold)
    save_file(weights, folder / f"{name}.safetensors")
    blocks = [2] + [options.steps] * options.rounds
    shared = {"architecture": name, "hyper": hyper, "lr": LR, "batch": BATCH, "blocks": blocks}
    shared |= {"data": str(folder / "data.safetensors"), "weights": str(folder / f"{name}.safetensors")}
    entrants = {k: v for k, v in MODES.items() if v[0] != "sparsify" or name == "topk"}
    with ExitStack() as stack:
        workers = {}
        for contender, (library, autocast) in entrants.items():
            job = {**shared, "library": library, "autocast": autocast}
            workers[contender] = stack.enter_context(Worker(job, folder / f"{name} {contender}.json"))
        for worker in workers.values():
            worker.answer()
        turns = [(i, contender) for i in range(len(blocks)) for contender in workers]
        for i, contender in progress(turns, desc=name):
            if contender == "here" and i:
                for kind, rates in gemm.items():
                    rates.append(gemm_rate(getattr(torch, kind)))
            workers[contender].turn(timed=i > 0)
        return {
            "hyper": hyper,
            "contenders": {k: w.summary(BATCH, workers["here"]) for k, w in workers.items()},
        }


def start(name: str, weights: dict[str, Tensor], threshold: float, k: int = K) -> tuple[dict[str, Tensor], dict]:
    """Weights and hyperparameters at which an architecture has K codes an input, as the pretrained dictionary has."""
    zeros = torch.zeros_like(weights["b_enc"])
    if name == "jumprelu":
        return {**weights, "threshold": zeros + threshold}, {"sparsity": SPARSITY, "bandwidth": BANDWIDTH}
    if name in ("topk", "batchtopk"):
        return weights, {"k": k}
    weights = {**weights, "b_enc": weights["b_enc"] - threshold}
    if name == "gated":
        weights |= {"r_mag": zeros, "b_mag": weights["b_enc"].clone()}
    return weights, {"sparsity": SPARSITY}


def gemm_rate(dtype: torch.dtype, repeats: int = 5) -> float:
    """Flop/s of the encoder's product at this size."""
    x, W = torch.ones(BATCH, D_MODEL, dtype=dtype), torch.ones(D_MODEL, D_SAE, dtype=dtype)
    seconds = []
    for _ in range(repeats + 1):
        since = time.perf_counter()
        torch.mm(x, W)
        seconds.append(time.perf_counter() - since)
    return 2 * BATCH * D_MODEL * D_SAE / median(seconds[1:])


class Worker:
    """A contender's process, and what it answered."""

    def __init__(self, job: dict, path: Path):
        path.write_text(json.dumps(job))
        python = job.get("python") or (sys.executable if job["library"] in ("here", "buffer") else str(PEERS))
        self.log = path.with_suffix(".log")
        environment = {k: v for k, v in os.environ.items() if k != "THP_MEM_ALLOC_ENABLE"}  # ours sets it for itself
        self.process = subprocess.Popen(
            [python, str(Path(__file__).with_name("worker.py")), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=open(self.log, "w"),  # noqa: SIM115 (closed with the process)
            text=True,
            env={**environment, "TQDM_DISABLE": "1", "WANDB_MODE": "disabled"},
        )
        self.seconds: list[float] = []
        self.losses: list[float] = []
        self.l0: list[float] = []

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()

    def answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.log.stem} stopped:\n{self.log.read_text()[-3000:]}")
        return json.loads(line)

    def turn(self, timed: bool) -> None:
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        answer = self.answer()
        self.losses += answer["losses"]
        self.l0.append(answer["l0"])
        self.memory = {"peak": answer["peak"], "idle": answer["idle"]}
        if timed:
            self.seconds += answer["seconds"]

    def summary(self, batch: int, reference: Worker) -> dict:
        gaps = [abs(a - b) / b for a, b in zip(self.losses, reference.losses, strict=True)]
        return {
            "tokens_per_second": batch / median(self.seconds),
            "seconds_per_step": self.seconds,
            "reconstruction": self.losses,
            "l0": self.l0,
            "largest_relative_difference": max(gaps),
            **{k: round(v / 2**20) for k, v in self.memory.items()},
        }


def ask_buffer(folder: Path) -> dict:
    """Growth of memory while a stream many times its size passes through the activation buffer, in MiB."""
    job = {"library": "buffer", "d_model": D_MODEL, "batch": BATCH, "capacity": 16 * BATCH, "pieces": 200}
    with Worker(job, folder / "buffer.json") as worker:
        return {k: round(v / 2**20) for k, v in worker.answer().items()}


if __name__ == "__main__":
    main()
