"""The k-th largest cosines of a dictionary's rows: time against the bare product, a sort, topk and faiss; memory.

    python -m benchmarks.geometry [--rounds N] [--rows N]

Prints one table and writes ``geometry.json`` and ``geometry.md`` beside this file. All contenders get the same rows and
as many threads, and go in turns; reported are medians over rounds. Memory is that of a process of its own. faiss runs
in the peers' environment, and is left out where that is not there.
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
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor

from benchmarks import report
from benchmarks.peak import peak
from helpers.geometry import kth_largest_cosine, unit_rows
from helpers.ranks import bf16_is_fast
from helpers.runs import ROOT

PEERS = Path(os.environ.get("PEERS_ENV", ROOT / ".venv-peers")) / "bin" / "python"
N, D, KS, BLOCK = 24576, 768, (1, 10, 100), 1024
GROWTH, QUERIES = (24576, 65536, 131072), 1024
CELLS = 256 * 24576  # cosines held at a time while n grows


def dictionary(n: int, d: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0))


def blocks(rows: Tensor):
    """The full product, a block of rows at a time in one buffer, each without its own cosines."""
    unit = unit_rows(rows)
    buffer = torch.empty(BLOCK, len(unit))
    for start in range(0, len(unit), BLOCK):
        part = unit[start : start + BLOCK]
        block = torch.mm(part, unit.T, out=buffer[: len(part)])
        block.diagonal(start).fill_(-1.0)
        yield block


def gemm(rows: Tensor) -> None:
    for _ in blocks(rows):
        pass


def sort(rows: Tensor) -> Tensor:
    picked = torch.tensor(KS) - 1
    return torch.cat([block.sort(dim=1, descending=True).values[:, picked] for block in blocks(rows)])


def topk(rows: Tensor) -> Tensor:
    picked = torch.tensor(KS) - 1
    return torch.cat([block.topk(max(KS), dim=1).values[:, picked] for block in blocks(rows)])


def here(rows: Tensor) -> Tensor:
    return kth_largest_cosine(rows, KS)


class Faiss:
    """faiss' exact index in the peers' environment: a process that searches once for every line it reads."""

    def __init__(self, rows: Tensor, folder: Path):
        np.save(folder / "rows.npy", unit_rows(rows).numpy())
        job = [str(folder / "rows.npy"), str(folder / "found.npy"), str(torch.get_num_threads()), json.dumps(KS)]
        script = str(Path(__file__).with_name("faiss_worker.py"))
        self.found, self.process = folder / "found.npy", subprocess.Popen(
            [str(PEERS), script, *job], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )  # fmt: skip

    def __enter__(self) -> Faiss:
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()

    def __call__(self, rows: Tensor) -> Tensor:
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the faiss process stopped; its message is above")
        self.memory = json.loads(line)
        return torch.from_numpy(np.load(self.found))


def race(rows: Tensor, rounds: int) -> tuple[dict[str, float], dict[str, float], dict | None]:
    """Median seconds of each, largest difference from the sort, and faiss' memory in MiB: peak, and after imports."""
    with ExitStack() as stack:
        contenders = {"gemm": gemm, "here": here, "topk": topk, "sort": sort}
        if PEERS.exists() and subprocess.run([str(PEERS), "-c", "import faiss"], capture_output=True).returncode == 0:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            contenders["faiss"] = stack.enter_context(Faiss(rows, folder))
        seconds, found = {name: [] for name in contenders}, {}
        for f in contenders.values():
            f(rows[: 2 * BLOCK]) if f is not contenders.get("faiss") else f(rows)
        for turn in range(rounds):
            for name in list(contenders)[:: -1 if turn % 2 else 1]:
                begun = time.perf_counter()
                found[name] = contenders[name](rows)
                seconds[name].append(time.perf_counter() - begun)
        apart = {k: (v - found["sort"]).abs().max().item() for k, v in found.items() if k not in ("gemm", "sort")}
        memory = contenders["faiss"].memory if "faiss" in contenders else None
    return {name: median(s) for name, s in seconds.items()}, apart, memory


def alone(name: str, *arguments: int) -> dict:
    """What a function of this module prints as JSON in a fresh process."""
    code = f"import benchmarks.geometry as b; b.{name}{arguments!r}"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=os.environ)
    return json.loads(out.stdout)


def whole(n: int, d: int) -> None:
    imports = peak()
    here(dictionary(n, d))
    print(json.dumps({"peak": peak(), "imports": imports}))


def some(n: int, d: int, queries: int) -> None:
    """A subset of query rows against n rows, with as many cosines held at a time whatever n is."""
    rows = dictionary(n, d)
    begun = time.perf_counter()
    kth_largest_cosine(rows, KS, chunk=max(1, CELLS // n), queries=torch.arange(queries))
    seconds = time.perf_counter() - begun
    stored = rows.numel() * (4 + (2 if bf16_is_fast() else 4)) / 2**20  # the rows and their rounded copy
    print(json.dumps({"peak": peak(), "stored": stored, "seconds": seconds}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=N, help="a small number tries the benchmark out")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder for the results")
    options = parser.parse_args()
    os.environ["OPEN_THREADS_BARS"] = "0"
    results = report.stamp() | {
        "threads": torch.get_num_threads(),
        "sizes": {"n": options.rows, "d": D, "ks": KS, "queries": QUERIES},
    }
    seconds, apart, faiss = race(dictionary(options.rows, D), options.rounds)
    results |= {"seconds": seconds, "largest_difference": apart}
    results["memory"] = {"here": alone("whole", options.rows, D), "faiss": faiss}
    sizes = [n * options.rows // N for n in GROWTH]
    results["growth"] = {str(n): alone("some", n, D, min(QUERIES, n)) for n in sizes}
    report.keep(results, report.geometry(results), options.out, "geometry")


if __name__ == "__main__":
    from benchmarks import geometry

    geometry.main()
