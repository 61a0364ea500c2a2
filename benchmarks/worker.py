"""One contender: trains one architecture with one library's own loop, in blocks, on command.

Started by ``bench.py`` with ``PYTHON worker.py JOB.json``, in our environment or in the peers'. It says ``ready``, then
for every line it reads on stdin runs the next block of steps and answers with one line of JSON: seconds of each step,
reconstruction loss of each step, memory. Waiting costs nothing, so contenders can take turns on a quiet machine.

A step is the time between two requests for a batch, so every library is timed in its own loop (helpers.training.train,
SAELens' SAETrainer.fit), or, where that loop needs a logger or a language model, around its own update. On a graphics
card, which works behind the program's back, a block is timed as a whole and its last loss is read.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

sys.path.append(str(Path(__file__).resolve().parent.parent))


def memory(kind: str) -> int:
    """Bytes this process holds now (``VmRSS``) or ever held (``VmHWM``); getrusage would count the parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind))


class Feed(Iterator[Tensor]):
    """Hands out batches and measures what happens between them; pauses after each block until told to go on.

    ``observed`` is called after each step, outside its time, and returns that step's reconstruction loss.
    """

    def __init__(self, batches: list[Tensor], blocks: list[int], say: Callable[[dict], None]):
        self.batches, self.blocks, self.say = batches, list(blocks), say
        self.observed: Callable[[], float] | None = None
        self.l0: Callable[[], float] | None = None
        self.step, self.left, self.since = 0, 0, None
        self.seconds: list[float] = []
        self.losses: list[float] = []
        self.idle = memory("VmRSS")

    def __next__(self) -> Tensor:
        now = time.perf_counter()
        if self.since is not None:
            self.seconds.append(now - self.since)
            self.losses.append(float(self.observed()))
        if self.left == 0:
            self.pause()
        self.left -= 1
        batch = self.batches[self.step % len(self.batches)]
        self.step += 1
        self.since = time.perf_counter()
        return batch

    def pause(self) -> None:
        memories = {"peak": memory("VmHWM"), "idle": self.idle}
        l0 = self.l0() if self.l0 else None
        report = {"seconds": self.seconds, "losses": self.losses, "l0": l0, **memories}
        self.say(report if self.step else {"ready": True})
        if not self.blocks:
            sys.exit(0)
        if not sys.stdin.readline():
            sys.exit(1)
        self.left, self.seconds, self.losses = self.blocks.pop(0), [], []


class Blocks(Feed):
    """:class:`Feed` for a graphics card: times a block as a whole, and waits for the card at its ends only."""

    def __next__(self) -> Tensor:
        if self.left == 0:
            if self.batches[0].is_cuda:
                torch.cuda.synchronize()
            now = time.perf_counter()
            if self.since is not None:
                self.seconds, self.losses = [(now - self.since) / self.length], [float(self.observed())]
            self.pause()
            self.length, self.since = self.left, time.perf_counter()
        self.left -= 1
        self.step += 1
        return self.batches[(self.step - 1) % len(self.batches)]


def here(job: dict, weights: dict[str, Tensor], feed: Feed) -> None:
    """helpers.training.train, as a recipe calls it; constant learning rate and λ as for the peers."""
    from helpers.sae import build, train

    d_model, d_sae = weights["W_enc"].shape
    sae = build(job["architecture"], d_model, d_sae, generator=torch.Generator(), **job["hyper"])
    sae.load_state_dict({**sae.state_dict(), **weights})
    sae.to(job.get("device", "cpu"))
    losses, last = sae.losses, {}

    def recorded(*args):
        terms = losses(*args)
        last.update({k: v.detach() for k, v in terms.items()})
        return terms

    sae.losses = recorded
    feed.observed = lambda: last["reconstruction"]
    some = feed.batches[0][:512]
    feed.l0 = lambda: len(sae.support(sae.pre(some).detach()).nonzero()) / len(some)
    train(
        sae,
        lambda step: next(feed),
        steps=job["steps"] + 1,
        lr=job["lr"],
        betas=(0.9, 0.999),
        warmup=0,
        decay=0,
        sparsity_warmup=0,
        log_every=10**9,
        progress=False,
    )


def saelens(job: dict, weights: dict[str, Tensor], feed: Feed) -> None:
    """SAELens' SAETrainer.fit."""
    from peers import saelens as build
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    batch = len(feed.batches[0])
    config = SAETrainerConfig(
        total_training_samples=(job["steps"] + 1) * batch,
        train_batch_size_samples=batch,
        lr=job["lr"],
        lr_end=job["lr"],
        autocast=job["autocast"],
        device=job.get("device", "cpu"),
    )
    trainer = SAETrainer(config, build(job["architecture"], weights, job["hyper"]), feed)
    step, last = trainer.step, {}

    def recorded(x):
        out = step(x)
        last["loss"] = out.losses["mse_loss"].detach()
        return out

    trainer.step = recorded
    feed.observed = lambda: last["loss"]
    trainer.fit()


def dictionary_learning(job: dict, weights: dict[str, Tensor], feed: Feed) -> None:
    """dictionary_learning's trainer.update, as its trainSAE calls it (but with autocast on a CPU too, where asked)."""
    from peers import dictionary_learning as build

    device = job.get("device", "cpu")
    trainer = build(job["architecture"], weights, job["hyper"], job["lr"], device)
    for group in trainer.optimizer.param_groups:
        group["betas"] = (0.9, 0.999)  # its gated trainer uses β₁ = 0
    decode, last = trainer.ae.decode, {}

    def recorded(f):
        last["x_hat"] = out = decode(f)
        return out

    trainer.ae.decode = recorded
    feed.observed = lambda: (last["x"] - last["x_hat"].detach().float()).pow(2).sum(1).mean()
    autocast = torch.autocast(device, torch.bfloat16) if job["autocast"] else contextlib.nullcontext()
    for step, x in enumerate(feed, 1):
        last["x"] = x
        with autocast:
            trainer.update(step, x)


def sparsify(job: dict, weights: dict[str, Tensor], feed: Feed) -> None:
    """sparsify's SparseCoder in the steps of its Trainer, which wants a language model."""
    from sparsify import SparseCoder, SparseCoderConfig

    d_model, d_sae = weights["W_enc"].shape
    coder = SparseCoder(d_model, SparseCoderConfig(num_latents=d_sae, k=job["hyper"]["k"]))
    with torch.no_grad():
        coder.encoder.weight.copy_(weights["W_enc"].T)
        coder.encoder.bias.copy_(weights["b_enc"])
        coder.W_dec.copy_(weights["W_dec"])
        coder.b_dec.copy_(weights["b_dec"])
    device = job.get("device", "cpu")
    coder.to(device)
    optimiser = torch.optim.Adam(coder.parameters(), lr=job["lr"])
    silent, last = torch.zeros(d_sae, dtype=torch.long, device=device), {}
    feed.observed = lambda: (last["x"] - last["x_hat"].float()).pow(2).sum(1).mean()
    autocast = torch.autocast(device, torch.bfloat16) if job["autocast"] else contextlib.nullcontext()
    for x in feed:
        coder.set_decoder_norm_to_unit_norm()
        with autocast:
            out = coder(x, dead_mask=silent > 10_000_000)
        (out.fvu + out.auxk_loss / 32).backward()
        coder.remove_gradient_parallel_to_decoder_directions()
        optimiser.step()
        optimiser.zero_grad()
        silent += len(x)
        silent[out.latent_indices.flatten()] = 0
        last.update(x=x, x_hat=out.sae_out.detach())


def buffer(job: dict, say: Callable[[dict], None]) -> None:
    """How far the activation buffer of ours makes memory grow while a long stream passes through it."""
    from helpers.sae import shuffled

    generator = torch.Generator().manual_seed(0)
    piece = torch.randn(job["batch"], job["d_model"], generator=generator)
    before = memory("VmRSS")
    stream = (piece for _ in range(job["pieces"]))
    rows = sum(len(x) for x in shuffled(stream, job["batch"], job["capacity"], generator))
    row = piece.element_size() * job["d_model"]
    say({"grown": memory("VmHWM") - before, "capacity": job["capacity"] * row, "streamed": rows * row})


def main() -> None:
    protocol = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints goes to stderr

    def say(message: dict) -> None:
        print(json.dumps(message), file=protocol, flush=True)

    job = types.MappingProxyType(json.loads(Path(sys.argv[1]).read_text()))
    if job["library"] in ("here", "buffer"):
        import helpers.sae  # noqa: F401 (before the first tensor, as a recipe does)
    if job["library"] == "buffer":
        return buffer(job, say)
    data = load_file(job["data"], device=job.get("device", "cpu"))
    blocks = job["blocks"]
    feed = (Blocks if job.get("whole") else Feed)(list(data["x"].split(job["batch"])), blocks, say)
    run = {"here": here, "saelens": saelens, "dictionary_learning": dictionary_learning, "sparsify": sparsify}
    run[job["library"]]({**job, "steps": sum(blocks)}, load_file(job["weights"]), feed)


if __name__ == "__main__":
    main()
