"""Chapter 3's dictionaries: does reading along a row tell where a feature is active, and what is suffered there?

    python -m recipes readings [--reduced] [--processes N] [--scheduler tcp://…]

All shipped dictionaries on the evaluation tokens of the model's own text (256 sequences, 64 if reduced), one pass each,
and nulls without any training. Writes `artifacts/superposition_rows.csv` (a line an arm) and
`artifacts/superposition_features.csv` (a line a feature).

Arms, all with the labels "the encoder says active":

* ``rows``: the dictionary's rows read the sum of its codes. ``random``: the same codes along random directions.
  ``shuffled``: its rows, each feature's codes shuffled over tokens, so that company is lost (``shuffled, random``: the
  same along random directions). ``stream``: its rows read the model's activation itself. ``trimmed``: rows without the
  activations' first 20 principal directions.
* nulls, with one-shot thresholded codes at the dictionary's L0: ``white`` (random directions, white noise in),
  ``shaped`` (noise with the activations' covariance, directions drawn from it), ``own`` (the same noise, the
  dictionary's rows); the last two for the gated dictionaries.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from helpers.evidence import interval
from helpers.lm import activations, load_lm, load_tokens
from helpers.runs import artifact, atomic, cache_dir, manifest, progress, save_artifact, sweep
from helpers.sae import load
from helpers.superposition import directions, one_shot, separation, suffered

from .command import options
from .harvest import SITES

ARCHITECTURES = ("standard", "expanded", "gated")
NULLS = ("white", "shaped", "own")
MOST, LEAST = 0.2, 20  # a feature counts if active on fewer than this share of tokens, and on at least so many
BLOCK = 256  # features at a time
TRIMMED = 20


def stored(count: int) -> dict[str, np.ndarray]:
    """Activations ``(tokens, d_model)`` of the first ``count`` evaluation sequences, without position 0; cached."""
    tokens = load_tokens("eval")[:count]
    name = hashlib.sha256(tokens.numpy().astype(np.uint16).tobytes()).hexdigest()[:16]
    paths = {site: cache_dir() / "activations" / site / f"{name}-float32.npy" for site in SITES}
    if not all(path.exists() for path in paths.values()):
        lm = load_lm()
        parts = tokens.split(32)
        parts = [next(activations(lm, p, SITES, skip_first=1)) for p in progress(parts, desc="evaluation tokens")]
        for site, path in paths.items():
            with atomic(path) as scratch, open(scratch, "wb") as file:
                np.save(file, torch.cat([p[site].cpu() for p in parts]).numpy())
    return {site: np.load(path, mmap_mode="r", allow_pickle=False) for site, path in paths.items()}


def inputs(site: str, count: int) -> tuple[Tensor, Tensor]:
    """Activations that a dictionary is for, and the sequence of each; outliers in norm are left out, as in training."""
    x = torch.from_numpy(np.array(stored(count)[site]))
    sequence = torch.arange(count).repeat_interleave(len(x) // count)
    keep = x.norm(dim=1) <= manifest()[f"dictionaries/gated-{site}"]["made"]["cutoff"]
    return x[keep], sequence[keep]


@torch.no_grad()
def measure(codes: Tensor, rows: Tensor, sequence: Tensor, read: Tensor | None = None) -> tuple[dict, dict]:
    """Measures of one arm, and those per feature. ``read (tokens, d_model)`` is read instead of the sum of codes."""
    n, m = rows.shape[1], rows.shape[0]
    whole = (codes @ rows if read is None else read).T.contiguous()
    power = codes.pow(2).sum(1)
    sums = torch.zeros(int(sequence.max()) + 1, 2, dtype=torch.float64)  # suffered², and by chance, per sequence
    total = dict.fromkeys(("code", "on", "off", "positive", "within", "left", "plain"), 0.0)
    times, each = torch.zeros(m), {name: np.full(m, np.nan) for name in ("auc", "d_prime", "errors")}
    for low in range(0, m, BLOCK):
        part = slice(low, min(low + BLOCK, m))
        y, f = rows[part] @ whole, codes[:, part].T.contiguous()  # (features, tokens)
        on = f > 0
        i, t = on.nonzero(as_tuple=True)  # where there is something to suffer
        code = f[i, t].double()
        s = y[i, t].double() - code * rows[part].double().pow(2).sum(1)[i]

        def per_feature(values: Tensor, i: Tensor = i, many: int = len(on)) -> Tensor:
            return torch.zeros(many, dtype=torch.float64).index_add_(0, i, values)

        chance = (power[t].double() - code**2) / n
        sums.index_add_(0, sequence[t], torch.stack([s**2, chance], 1))
        k, over, square = per_feature(torch.ones_like(s)), per_feature(s), per_feature(s**2)
        silent = y.sum(1).double() - per_feature(y[i, t].double())  # readings of silent tokens are all interference
        mean_all = (silent + over) / len(codes)
        busy = k > 1
        times[part] = k.float()
        total["code"] += float(code.sum())
        total["on"] += float(over.sum())
        total["off"] += float(silent.sum())
        total["positive"] += float((s > 0).sum())
        total["within"] += float(((square - over**2 / k) * k / (k - 1))[busy].sum())
        total["left"] += float((square - 2 * mean_all * over + k * mean_all**2).sum())
        total["plain"] += float(square.sum())
        wanted = ((k >= LEAST) & (k < MOST * len(codes))).numpy()
        seen = separation(y.numpy()[wanted].T, on.numpy()[wanted].T)
        for name, values in each.items():
            values[part][wanted] = getattr(seen, name)
    count, size = int(times.sum()), total["code"] / int(times.sum())
    draws = np.random.default_rng(0).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), 2000)
    bootstrapped = draws @ sums.numpy()
    low, high = interval(np.sqrt(bootstrapped[:, 0] / bootstrapped[:, 1]))
    found = {
        "tokens": len(codes), "l0": count / len(codes), "features": int(np.isfinite(each["auc"]).sum()),
        "ratio": float((sums[:, 0].sum() / sums[:, 1].sum()).sqrt()), "ratio_low": low, "ratio_high": high,
        "active_mean": total["on"] / count / size,
        "silent_mean": total["off"] / (codes.numel() - count) / size,
        "positive": total["positive"] / count,
        "constant": 1 - total["within"] / total["plain"],  # of the power on active tokens: each feature's mean there
        "left": total["left"] / total["plain"],  # of it when each feature's mean over all tokens is taken off
    }  # fmt: skip
    for name, values in each.items():
        values = values[np.isfinite(values)]
        found |= {name: values.mean(), f"{name}_se": values.std(ddof=1) / np.sqrt(len(values))}
    return {k: float(v) for k, v in found.items()}, {"active": times.int().tolist()} | {
        name: [None if np.isnan(v) else round(float(v), 5) for v in values] for name, values in each.items()
    }


def coherent(codes: Tensor, rows: Tensor) -> float:
    """Share of the power suffered that would not be there if the contributions of a token's features had random signs.

    On a tenth of the tokens: the squares of all overlaps are needed.
    """
    codes = codes[::10]
    on, apart = codes > 0, (rows @ rows.T).fill_diagonal_(0).pow(2)
    alone = float(((codes.pow(2) @ apart) * on).sum())
    return 1 - alone / float((suffered(codes, rows).pow(2) * on).sum())


def shuffled(codes: Tensor, generator: torch.Generator) -> Tensor:
    """Each feature's codes in an order of their own."""
    out = torch.empty_like(codes)
    for i in range(codes.shape[1]):
        out[:, i] = codes[torch.randperm(len(codes), generator=generator), i]
    return out


@torch.no_grad()
def dictionary(architecture: str, site: str, count: int) -> dict:
    """All arms of one shipped dictionary."""
    begun = time.process_time()
    sae = load(artifact(f"dictionaries/{architecture}-{site}"))
    x, sequence = inputs(site, count)
    codes, rows = sae.encode(x), sae.W_dec
    D = torch.from_numpy(directions(rows.shape[1], 0, len(rows), seed=0))
    mean = x.mean(0)
    top = torch.linalg.eigh((x - mean).T @ (x - mean) / len(x)).eigenvectors[:, -TRIMMED:]
    trimmed = torch.nn.functional.normalize(rows - (rows @ top) @ top.T, dim=1)
    mixed = shuffled(codes, torch.Generator().manual_seed(0))
    arms = {
        "rows": (codes, rows, None), "random": (codes, D, None),
        "shuffled": (mixed, rows, None), "shuffled, random": (mixed, D, None),
        "stream": (codes, rows, x - sae.b_dec), "trimmed": (codes, trimmed, None),
    }  # fmt: skip
    table, features = [], {}
    for arm, (f, W, read) in arms.items():
        found, features[arm] = measure(f, W, sequence, read)
        table.append({"arm": arm, **found} | ({} if arm == "stream" else {"coherent": coherent(f, W)}))
    aligned = torch.nn.functional.cosine_similarity(sae.W_enc.T, rows, dim=1)[codes.sum(0) > 0].mean()
    return {
        "table": table, "features": features, "encoder_cosine": float(aligned),
        "seconds": time.process_time() - begun,
    }  # fmt: skip


@torch.no_grad()
def null(kind: str, architecture: str, site: str, l0: float, count: int, tokens: int) -> dict:
    """One-shot codes of noise at a dictionary's L0: along their own rows, and along random directions."""
    begun = time.process_time()
    generator = torch.Generator().manual_seed(0)
    sae = load(artifact(f"dictionaries/{architecture}-{site}"))
    m, n = sae.W_dec.shape
    noise = torch.randn(tokens + m, n, generator=generator)
    if kind != "white":
        x, _ = inputs(site, count)
        values, vectors = torch.linalg.eigh(torch.cov((x - x.mean(0)).T))
        noise = (noise * values.clamp_min(0).sqrt()) @ vectors.T
    rows = sae.W_dec if kind == "own" else torch.nn.functional.normalize(noise[tokens:], dim=1)
    codes = one_shot(noise[:tokens], rows, l0)
    D = torch.from_numpy(directions(n, 0, m, seed=1))
    sequence = torch.arange(tokens) // 100
    table = []
    for arm, W in ((kind, rows), (f"{kind}, random", D)):
        table.append({"arm": arm, **measure(codes, W, sequence)[0], "coherent": coherent(codes, W)})
    return {"table": table, "seconds": time.process_time() - begun}


def main(argv: Sequence[str] | None = None) -> None:
    parser = options("readings", __doc__, "processes", "scheduler", reduced="64 sequences, the gated dictionaries")
    args = parser.parse_args(argv)
    count, arms = (64, ("gated",)) if args.reduced else (256, ARCHITECTURES)
    tokens = 4000 if args.reduced else 8000
    many = {"folder": cache_dir() / "runs", "processes": args.processes, "scheduler": args.scheduler}
    stored(count)
    grid = [{"architecture": a, "site": s, "count": count} for s in SITES for a in arms]
    done = sweep(dictionary, grid, **many)
    grid = []
    for row in done.itertuples():
        l0 = round(row.table[0]["l0"], 2)
        point = {"architecture": row.architecture, "site": row.site, "l0": l0, "count": count, "tokens": tokens}
        grid += [{"kind": kind, **point} for kind in (NULLS if row.architecture == "gated" else NULLS[:1])]
    nulls = sweep(null, grid, **many)
    lines, features = [], []
    for row in [*done.itertuples(), *nulls.itertuples()]:
        lines += [{"architecture": row.architecture, "site": row.site, **line} for line in row.table]
    for row in done.itertuples():
        columns = {"feature": range(len(row.features["rows"]["active"])), "active": row.features["rows"]["active"]}
        for arm in ("rows", "random", "shuffled", "shuffled, random", "stream"):
            columns |= {f"{name}_{arm}": row.features[arm][name] for name in ("auc", "errors")}
        features.append(pd.DataFrame({"architecture": row.architecture, "site": row.site, **columns}).dropna())
    cosines = {(r.architecture, r.site): r.encoder_cosine for r in done.itertuples()}
    table = pd.DataFrame(lines)
    table["encoder_cosine"] = [cosines[a, s] for a, s in zip(table.architecture, table.site, strict=True)]
    made = {
        "recipe": "python -m recipes.readings" + " --reduced" * args.reduced, "seed": 0,
        "seconds": round(done.seconds.sum() + nulls.seconds.sum()),
    }  # fmt: skip
    place = "reduced/" * args.reduced
    for name, frame in (("rows", table), ("features", pd.concat(features))):
        save_artifact(
            f"{place}superposition_{name}.csv",
            lambda path, frame=frame: frame.to_csv(path, index=False, float_format="%.4g"),
            **made,
        )


if __name__ == "__main__":
    from recipes import readings  # under its own name, so that worker processes can import what they are sent

    readings.main()
