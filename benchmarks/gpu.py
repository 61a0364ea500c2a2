"""On one graphics card: training side by side with peers, exactness, repeatability. ``python -m benchmarks.gpu``

One command, no network, nothing but this repository, torch and Triton; SAELens, dictionary_learning and sparsify take
part where ``.venv-peers`` or this interpreter has them. Writes ``gpu.json`` and ``gpu.md`` beside this file, or in the
folder ``--out``. Where there is no card it says so and ends with status 2; ``--device cpu --small`` tries everything in
small.

Activations are made: sparse sums of random directions, a few of them in every input. What a step must do at least is
counted in :mod:`helpers.sae.kernels`. Parts in turn: ``rates`` (what the card does at best), ``race`` (tokens/s),
``where`` (kernels of one TopK step), ``curve`` (the sparse path's loss against the dense reference's), ``same`` (bits
of two runs, and of one that was cut), ``cosines``. Each is written down as soon as it is known.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import torch
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.bench import ARCHITECTURES, LR, PEERS, Worker, pretrain, start
from benchmarks.report import keep, stamp
from helpers.geometry import kth_largest_cosine, unit_rows
from helpers.sae import Active, Dense, Mixed, build, fastest, train

LARGE = {"d_model": 2304, "d_sae": 36864, "batch": 4096, "k": 40, "batches": 12, "rows": 65536, "steps": 500}
SMALL = {"d_model": 64, "d_sae": 1024, "batch": 256, "k": 4, "batches": 3, "rows": 512, "steps": 12}
REPEATED = {"d_model": 768, "d_sae": 12288, "batch": 2048, "k": 32, "batches": 4}  # of ``same``
KS = (1, 10, 100)
LIBRARIES = {"SAELens": "sae_lens", "dictionary_learning": "dictionary_learning", "sparsify": "sparsify"}
PAGE = """\
Measured {date} on {card} ({torch}), {machine}. d_model {d_model}, d_sae {d_sae}, batch {batch}, {k} codes an input.

**Training, tokens/s** (bfloat16 products, weights in float32)

| architecture | here | {names} | × best peer |
|---|---|{lines}---|
{race}

The best the card does: product of the encoder {gemm:,.0f} TFLOP/s in bfloat16, copies {copy:,.1f} TB/s.

| what | measured |
|---|---|
{rows}

One TopK step by kernels: {step:.2f} ms of which the card works {busy:.2f}

| kernel | ms a step | calls |
|---|---|---|
{where}
"""


def activations(n: int, d_model: int, device: torch.device, seed: int = 0) -> Tensor:
    """``(n, d_model)`` with E‖x‖² = d_model: 16 of 4·d_model directions an input, popular ones far more often."""
    generator = torch.Generator(device).manual_seed(seed)
    options = {"generator": generator, "device": device}
    rows = unit_rows(torch.randn(4 * d_model, d_model, **options))
    popular = torch.arange(1, len(rows) + 1, device=device).float().reciprocal()
    parts = []
    for size in [1024] * (n // 1024) + [n % 1024] * (n % 1024 > 0):
        which = torch.multinomial(popular, 16 * size, replacement=True, generator=generator).view(size, 16)
        amounts = torch.rand(size, 16, 1, **options) + 0.5
        parts.append((amounts * rows[which]).sum(1) + 0.02 * torch.randn(size, d_model, **options))
    x = torch.cat(parts)
    return x * (d_model / x.pow(2).sum(1).mean()).sqrt()


def seconds(work, device: torch.device, repeats: int = 5) -> float:
    """Median seconds of ``work()``, after once for nothing."""
    times = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begun)
    return median(times[1:])


def rates(size: dict, device: torch.device) -> dict:
    """What the card does at best: TFLOP/s of the encoder's product on random numbers, TB/s of a copy."""
    d_model, d_sae, batch = size["d_model"], size["d_sae"], size["batch"]
    out = {}
    for kind in (torch.bfloat16, torch.float32):
        a, b = (torch.randn(shape, device=device).to(kind) for shape in ((batch, d_model), (d_model, d_sae)))
        out[str(kind).removeprefix("torch.")] = (
            2e-12 * batch * d_model * d_sae / seconds(lambda a=a, b=b: a @ b, device)
        )
    source = torch.randn(batch, d_sae, device=device)
    target = torch.empty_like(source)
    out["copy"] = 2e-12 * source.numel() * 4 / seconds(lambda: target.copy_(source), device)
    return out


def peers(names: dict[str, str]) -> dict[str, str]:
    """Which libraries there are, and with what interpreter."""
    if PEERS.exists():
        code = f"import importlib.util as u; print(*[n for n in {list(names.values())} if u.find_spec(n)])"
        found = subprocess.run([str(PEERS), "-c", code], capture_output=True, text=True, check=True).stdout.split()
        return {name: str(PEERS) for name, module in names.items() if module in found}
    return {name: sys.executable for name, module in names.items() if importlib.util.find_spec(module)}


def race(name: str, weights: dict, threshold: float, size: dict, options, folder: Path) -> dict:
    """Tokens/s of all contenders for one architecture: blocks of steps in turns, the median block."""
    weights, hyper = start(name, weights, threshold, size["k"])
    save_file(weights, folder / "weights.safetensors")
    shared = {"architecture": name, "hyper": hyper, "lr": LR, "batch": size["batch"], "whole": True}
    shared |= {"blocks": [options.block] * (options.rounds + 1), "device": options.device}
    shared |= {"data": str(folder / "data.safetensors"), "weights": str(folder / "weights.safetensors")}
    entrants = {"here": ("here", False, sys.executable)}
    entrants |= {
        k: (k.lower(), True, python) for k, python in options.peers.items() if k != "sparsify" or name == "topk"
    }
    out, workers = {}, {}
    with ExitStack() as stack:
        for contender, (library, autocast, python) in entrants.items():
            job = {**shared, "library": library, "autocast": autocast, "python": python}
            workers[contender] = stack.enter_context(Worker(job, folder / f"{name} {contender}.json"))
        for contender in list(workers):
            try:
                workers[contender].answer()
                workers[contender].turn(timed=False)
            except RuntimeError as error:  # a peer that does not run here is left out, and says why
                out[contender] = {"error": str(error)[-600:]}
                del workers[contender]
        for _ in range(options.rounds):
            for worker in workers.values():
                worker.turn(timed=True)
        for contender, worker in workers.items():
            times = worker.seconds
            out[contender] = {
                "tokens_per_second": size["batch"] / median(times),
                "seconds_per_step": times,
                "reconstruction": worker.losses,
                "l0": worker.l0,
            }
    return out


def where(x: Tensor, size: dict, device: torch.device, steps: int = 5) -> dict:
    """Milliseconds a step of TopK training by kernel, with features that have been silent for long."""
    sae = build("topk", size["d_model"], size["d_sae"], generator=torch.Generator().manual_seed(0), k=size["k"])
    sae.to(device).silent_for[::10] = 10**9
    parts = x.split(size["batch"])
    adam = torch.optim.Adam(sae.parameters(), lr=LR, fused=True)

    def step(i: int) -> None:
        adam.zero_grad(set_to_none=True)
        sum(sae.losses(parts[i % len(parts)], fastest).values()).backward()
        adam.step()
        sae.project()

    took = seconds(lambda: [step(i) for i in range(steps)], device, 3) / steps
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        for i in range(steps):
            step(i)
        if device.type == "cuda":
            torch.cuda.synchronize()
    kernels = []
    for entry in profile.key_averages():
        spent = entry.self_device_time_total if device.type == "cuda" else entry.self_cpu_time_total
        kernels.append((spent / steps / 1e3, entry.count / steps, entry.key[:90]))
    kernels.sort(reverse=True)
    return {"ms": 1e3 * took, "busy": sum(ms for ms, _, _ in kernels), "kernels": kernels[:24]}


def curve(name: str, x: Tensor, size: dict, device: torch.device) -> dict:
    """Loss of the sparse path and of dense products in bfloat16 against those in float32, over a whole run.

    From the same weights; and from other weights, which says how far apart two runs are.
    """
    parts = x.split(size["batch"])
    every = max(1, size["steps"] // 20)

    def losses(view, seed: int = 0) -> Tensor:
        sae = build(name, size["d_model"], size["d_sae"], generator=torch.Generator().manual_seed(seed), k=size["k"])
        log = train(
            sae.to(device), lambda step: parts[step % len(parts)], steps=size["steps"], lr=LR, view=view,
            log_every=every, progress=False,
        )  # fmt: skip
        return torch.tensor(log.reconstruction.to_numpy())

    reference = losses(Dense)
    runs = {"sparse": losses(Active), "bfloat16": losses(Mixed), "another start": losses(Mixed, 1)}
    apart = {key: ((run - reference).abs() / reference).max().item() for key, run in runs.items()}
    return {"first": reference[0].item(), "last": reference[-1].item(), "largest_relative_difference": apart}


def same(name: str, size: dict, device: torch.device, folder: Path) -> dict[str, bool]:
    """Whether two runs end in the same bits, and one that was cut and went on from its checkpoint."""
    parts = activations(size["batches"] * size["batch"], size["d_model"], device).split(size["batch"])
    steps = 40

    def trained(checkpoint: Path | None = None, cut: int | None = None) -> dict[str, Tensor]:
        hyper = {"k": size["k"], "dead_after": 10 * size["batch"]} if "topk" in name else {"sparsity": 2.0}
        sae = build(name, size["d_model"], size["d_sae"], generator=torch.Generator().manual_seed(0), **hyper)

        def batches(step: int) -> Tensor:
            if step == cut:
                raise KeyboardInterrupt
            return parts[step % len(parts)]

        options = {"checkpoint": checkpoint, "checkpoint_every": steps // 2, "revive_at": (steps // 4,)}
        train(sae.to(device), batches, steps=steps, lr=1e-3, progress=False, **options)
        return sae.state_dict()

    def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
        return all(torch.equal(a[key], b[key]) for key in a)

    once, path = trained(), folder / f"{name}.safetensors"
    try:
        trained(path, cut=steps // 2 + 3)
    except KeyboardInterrupt:
        pass
    return {"twice": equal(once, trained()), "cut": equal(once, trained(path))}


def cosines(size: dict, device: torch.device) -> dict:
    """k-th largest cosines of random rows: seconds, of the product in float32 alone, and the largest difference."""
    rows = torch.randn(size["rows"], size["d_model"], generator=torch.Generator(device).manual_seed(0), device=device)
    unit = unit_rows(rows)
    chunk = min(4096, len(rows))
    buffer = torch.empty(chunk, len(rows), device=device)

    def product() -> None:
        for part in unit.split(chunk):
            torch.mm(part, unit.T, out=buffer[: len(part)])

    took = {
        "here": seconds(lambda: kth_largest_cosine(rows, KS), device, 3),
        "product": seconds(product, device, 3),
    }
    found, some = kth_largest_cosine(rows, KS), torch.arange(0, len(rows), max(1, len(rows) // 512), device=device)
    exact = unit[some].double() @ unit.double().T
    exact[torch.arange(len(some), device=device), some] = -torch.inf
    ranked = exact.topk(max(KS), dim=1).values
    apart = max((ranked[:, k - 1].float() - at[some]).abs().max().item() for k, at in zip(KS, found.T, strict=True))
    return {"seconds": took, "largest_difference": apart}


def page(results: dict, names: list[str]) -> str:
    """Everything measured so far."""
    rows, lines = [], []
    for name, entry in results.get("race", {}).items():
        speed = {k: v["tokens_per_second"] for k, v in entry.items() if "error" not in v}
        cells = [f"{speed[k]:,.0f}" if k in speed else "–" for k in ("here", *names)]
        best = max((v for k, v in speed.items() if k != "here"), default=None)
        ratio = f"**{speed['here'] / best:.2f}**" if best and "here" in speed else "–"
        lines.append(f"| {name} | {' | '.join(cells)} | {ratio} |")
    for name, entry in results.get("curve", {}).items():
        apart = entry["largest_relative_difference"]
        told = ", ".join(f"{key} {value:.2%}" for key, value in apart.items())
        rows.append(
            (f"{name}: loss over a run, {entry['first']:,.0f} → {entry['last']:,.1f}, farthest from float32", told)
        )
    for name, entry in results.get("same", {}).items():
        told = ", ".join(f"{key}: {'the same bits' if value else 'DIFFERENT'}" for key, value in entry.items())
        rows.append((f"{name}, run twice, and cut and resumed", told))
    if "cosines" in results:
        took, apart = results["cosines"]["seconds"], results["cosines"]["largest_difference"]
        told = (
            f"{took['here']:.3f} s, {took['here'] / took['product']:.2f} × the product in float32; off by {apart:.0e}"
        )
        rows.append((f"k-th largest cosines of {results['sizes']['rows']:,} rows", told))
    step = results.get("where", {"ms": 0.0, "busy": 0.0, "kernels": []})
    values = {k: results[k] for k in ("date", "machine", "card", "torch")} | results["sizes"]
    values |= {"names": " | ".join(names) or "–", "lines": "---|" * max(1, len(names)), "race": "\n".join(lines)}
    values |= {"gemm": results["rates"]["bfloat16"], "copy": results["rates"]["copy"]}
    values |= {
        "rows": "\n".join(f"| {what} | {told} |" for what, told in rows),
        "step": step["ms"],
        "busy": step["busy"],
    }
    values["where"] = "\n".join(f"| `{key}` | {ms:.3f} | {calls:.0f} |" for ms, calls, key in step["kernels"])
    return PAGE.format(**values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="everything in small, to see that it runs")
    parser.add_argument("--parts", nargs="+", default=["race", "where", "curve", "same", "cosines"])
    parser.add_argument("--architectures", nargs="+", default=ARCHITECTURES, choices=ARCHITECTURES)
    parser.add_argument("--rounds", type=int, default=5, help="timed blocks of each contender (default 5)")
    parser.add_argument("--block", type=int, default=10, help="steps in a block (default 10)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder for the results")
    options = parser.parse_args()
    os.environ["OPEN_THREADS_BARS"] = "0"
    if options.device == "cuda" and not torch.cuda.is_available():
        print("benchmarks.gpu: torch finds no graphics card here; nothing was measured")
        sys.exit(2)
    device, size = torch.device(options.device), SMALL if options.small else LARGE
    repeated = {**size, "batches": 3} if options.small else REPEATED
    options.peers = peers(LIBRARIES)
    names = list(options.peers)
    card = torch.cuda.get_device_name() if device.type == "cuda" else "no card"
    results = stamp() | {"card": card, "torch": f"torch {torch.__version__}", "sizes": size}
    results["rates"] = rates(size, device)
    x = activations(size["batches"] * size["batch"], size["d_model"], device)

    options.out.mkdir(parents=True, exist_ok=True)

    def note(part: str, name: str | None, value: dict) -> None:
        if name is None:
            results[part] = value
        else:
            results.setdefault(part, {})[name] = value
        (options.out / "gpu.json").write_text(json.dumps(results, indent=1) + "\n")
        print(part, name or "", json.dumps(value)[:400], flush=True)

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        if "race" in options.parts:
            save_file({"x": x}, folder / "data.safetensors")
            weights, begun = pretrain(x, size["d_sae"], size["batch"], size["k"])
            for name in options.architectures:
                note("race", name, race(name, weights, begun["threshold"], size, options, folder))
            del weights
        if "where" in options.parts:
            note("where", None, where(x, size, device))
        if "same" in options.parts:
            for name in options.architectures:
                note("same", name, same(name, repeated, device, folder))
        if "cosines" in options.parts:
            note("cosines", None, cosines(size, device))
        if "curve" in options.parts:
            for name in ("topk", "batchtopk"):
                note("curve", name, curve(name, x, size, device))
    keep(results, page(results, names), options.out, "gpu")


if __name__ == "__main__":
    main()
