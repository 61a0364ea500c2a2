"""Chapter 9: what devinterp's SGLD says of the same losses, and how fast it is beside ours.

    python -m recipes singular_peer

Writes `artifacts/singular_peer.csv`, a row a loss: devinterp's estimate with its interval over chains, and how many
times as many steps ours makes in a second. Needs the peers' environment (`benchmarks/peers.sh`, or `$PEERS_ENV`). Same
loss, step, temperature and box; devinterp's chains run one after the other, as its sampler runs them, ours together.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import t as student

from helpers.runs import save_artifact
from helpers.singular import local_learning_coefficient

from .command import options
from .singularities import MONOMIALS, NETWORKS, STEPS, T, loss

ROOT = Path(__file__).resolve().parent.parent
CHAINS, DRAWS = 8, 2000


def asked() -> list[dict]:
    rows = []
    for name, powers in MONOMIALS.items():
        rows.append({"name": name, "sizes": [1] * len(powers), "powers": powers, "localiser": 0.0, "radius": 1.0})
    for name, sizes in NETWORKS.items():
        rows.append({"name": name, "sizes": sizes, "powers": [1] * len(sizes), "localiser": 1.0, "radius": 8.0})
    return [row | {"t": T, "step": STEPS["sgld 0.1"] / T} for row in rows]


def main(argv: Sequence[str] | None = None) -> None:
    options("singular_peer", __doc__).parse_args(argv)
    torch.set_num_threads(1)
    python = Path(os.environ.get("PEERS_ENV", ROOT / ".venv-peers")) / "bin" / "python"
    question = json.dumps({"losses": asked(), "chains": CHAINS, "steps": DRAWS})
    command = [python, ROOT / "benchmarks" / "devinterp_worker.py"]
    answer = subprocess.run(command, input=question, stdout=subprocess.PIPE, text=True, check=True)
    rows = []
    for name, found in json.loads(answer.stdout).items():
        K, d, around, _, rlct = loss(name)
        begun = time.perf_counter()
        local_learning_coefficient(K, np.zeros(d), T, sampler="sgld", step=STEPS["sgld 0.1"] / T, chains=CHAINS,
                                   burn_in=0, draws=DRAWS, **around)  # fmt: skip
        rate = CHAINS * DRAWS / (time.perf_counter() - begun)
        values = np.array(found["chains"])
        half = student.ppf(0.975, CHAINS - 1) * values.std(ddof=1) / np.sqrt(CHAINS)
        rows.append({"loss": name, "rlct": rlct, "value": values.mean(), "low": values.mean() - half,
                     "high": values.mean() + half, "times": rate / found["steps_per_second"]})  # fmt: skip
        print(f"{name}: {values.mean():.3f} ± {half:.3f}, λ {rlct:.3f}; ours {rows[-1]['times']:.1f} × the steps")
    write = partial(pd.DataFrame(rows).to_csv, index=False, float_format="%.5g")
    save_artifact("singular_peer.csv", write, recipe="python -m recipes.singular_peer", seed=list(range(CHAINS)))


if __name__ == "__main__":
    from recipes import singular_peer

    singular_peer.main()
