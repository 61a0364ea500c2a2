"""A dictionary from nothing: the language model run over tokens and the dictionary trained on what comes out.

``python -m benchmarks.whole`` with ``.venv-peers`` there. Here: :func:`helpers.lm.activations`, the shuffling buffer
and :func:`helpers.sae.train`. SAELens: its own runner, from the same files, with the model in transformers. Each once
in float32 and once with the model in bfloat16 (SAELens: autocast of model and dictionary). All start from the same
tokens, harvest the middle layer and train a TopK dictionary of the same size at the same batch; each is a process of
its own, and they take turns. What 2 M tokens take follows from the rate after loading.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks import report
from benchmarks.bench import PEERS, gemm_rate
from helpers.lm import load_lm, load_tokens, model_folder
from helpers.runs import ROOT
from helpers.sae import shuffled

LAYER, D_SAE, K, BATCH, BUFFER = 15, 4608, 40, 4096, 8  # the buffer in batches
CONTENDERS = {  # whose Python, and is the model in bfloat16
    "here": (sys.executable, True),
    "here float32": (sys.executable, False),
    "SAELens": (PEERS, True),
    "SAELens float32": (PEERS, False),
}
WHOLE = 2_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=int, default=98_304, help="tokens that each trains on (default 98304)")
    parser.add_argument("--rounds", type=int, default=1, help="turns each contender gets (default 1)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder for the results")
    options = parser.parse_args()
    if not PEERS.exists():
        sys.exit(f"{PEERS} is not there: run benchmarks/peers.sh first (or set PEERS_ENV)")
    rows = load_tokens("train")
    rows = rows[: -(-2 * options.tokens // rows.shape[1])]  # more than enough for a full buffer
    results = report.stamp() | {
        "sizes": {"layer": LAYER, "d_sae": D_SAE, "k": K, "batch": BATCH, "tokens": options.tokens},
        "floor": floor(options.tokens),
        "seconds": {name: [] for name in CONTENDERS},
    }
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "tokens.npy", rows.numpy())
        for turn in range(options.rounds):
            for name in list(CONTENDERS)[:: -1 if turn % 2 else 1]:
                results["seconds"][name].append(run(name, Path(folder), options.tokens))
    report.keep(results, report.whole(results), options.out, "whole")


def drawn(tokens: int, batch: int = 4096) -> int:
    """How many activations our shuffling buffer has asked for when so many have been trained on."""
    count = 0

    def stream():
        nonlocal count
        while True:
            count += batch
            yield torch.zeros(batch, 1)

    batches = iter(shuffled(stream(), BATCH, BUFFER * BATCH, torch.Generator().manual_seed(0)))
    for _ in range(tokens // BATCH):
        next(batches)
    return count


def floor(tokens: int) -> float:
    """Seconds for the products of the layers below, at the best rate of one product in bfloat16."""
    cfg = load_lm("smollm2-135m").cfg
    kept = cfg.n_key_value_heads or cfg.n_heads
    weights = LAYER * cfg.d_model * (2 * cfg.d_model + 2 * kept * cfg.d_head + 3 * cfg.d_mlp)
    return 2 * weights * drawn(tokens) / max(gemm_rate(torch.bfloat16) for _ in range(5))


def run(name: str, folder: Path, tokens: int) -> dict[str, float]:
    """Seconds until the model is loaded, and from then on."""
    python, half = CONTENDERS[name]
    job = {
        "library": name.split()[0], "half": half, "model": str(model_folder("smollm2-135m")), "layer": LAYER,
        "d_sae": D_SAE, "k": K, "batch": BATCH, "buffer": BUFFER, "tokens": tokens, "rows": str(folder / "tokens.npy"),
    }  # fmt: skip
    quiet = {"WANDB_MODE": "disabled", "HF_HUB_OFFLINE": "1", "OPEN_THREADS_BARS": "0"}
    out = subprocess.run(
        [str(python), str(Path(__file__).with_name("whole_worker.py")), json.dumps(job)],
        stdout=subprocess.PIPE, text=True, cwd=folder, env=os.environ | quiet | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    if out.returncode:
        raise RuntimeError(f"{name} stopped with {out.returncode}; its message is above")
    return json.loads(out.stdout.splitlines()[-1])


if __name__ == "__main__":
    from benchmarks import whole

    whole.main()
