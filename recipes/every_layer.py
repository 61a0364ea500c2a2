"""Chapter 8's dictionaries: resid_pre, attention output and MLP output of every layer of the embedded model.

    python -m recipes every_layer [--until MINUTES] [--layers N]

Goes up the model a layer at a time. The residual stream of all training tokens lies in the cache; the layer is run on
it once, which gives its two outputs and the next residual stream, and the three dictionaries are trained. What a layer
no longer needs is deleted, so that 25 GB of disk suffice. A killed run goes on at the shard or checkpoint where it was.
Started twice, with one thread each (``OMP_NUM_THREADS=1``), two processes share the work: neither does what the other
is doing, and the results are the same. The dictionaries stay in the cache (a gigabyte).
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from helpers.lm import load_tokens, model_folder
from helpers.runs import atomic, cache_dir, progress
from helpers.sae import SAE, build, load, save, train

from .command import options
from .harvest import KIND, MODEL, ROWS, Activations, shuffle
from .sharing import Unit, working

KINDS = ("hook_resid_pre", "hook_attn_out", "hook_mlp_out")
K, BATCH, LR = 40, 512, 2e-3
AHEAD = 2  # layers at most whose outputs lie ready while dictionaries below are trained
SILENT = 2**16  # a latent that was silent on so many tokens at the end of training is dead


def folder() -> Path:
    return cache_dir() / "every_layer-1"


@cache
def model(shuffled: bool = False):
    whole = AutoModelForCausalLM.from_pretrained(model_folder(MODEL), dtype=KIND, attn_implementation="sdpa").eval()
    if shuffled:
        shuffle(whole.model.layers)
    return whole.requires_grad_(False)


def one_layer(whole, layer: int, residual: Tensor) -> dict[str, Tensor]:
    """What a layer makes of ``residual (n_seq, ctx, d_model)``: its two outputs and the next residual stream."""
    block, seen = whole.model.layers[layer], {}
    hooks = [
        part.register_forward_hook(
            lambda _, __, out, kind=kind: seen.__setitem__(kind, out[0] if isinstance(out, tuple) else out)
        )
        for kind, part in (("hook_attn_out", block.self_attn), ("hook_mlp_out", block.mlp))
    ]
    position = torch.arange(residual.shape[1])[None]
    try:
        out = block(
            residual,
            attention_mask=None,
            position_ids=position,
            position_embeddings=whole.model.rotary_emb(residual, position),
        )
    finally:
        for hook in hooks:
            hook.remove()
    return seen | {"next": out[0] if isinstance(out, tuple) else out}


@torch.inference_mode()
def climb(whole, tokens: Tensor, sites: Sequence[str]) -> dict[str, Tensor]:
    """Activations ``(n, ctx, d_model)`` at ``sites``, from one run through the layers up to the last of them."""
    residual, seen = whole.model.embed_tokens(tokens), {}
    for layer in range(1 + max(int(site.split(".")[1]) for site in sites)):
        made = {KINDS[0]: residual, **one_layer(whole, layer, residual)}
        seen |= {site: made[kind] for kind in KINDS if (site := f"blocks.{layer}.{kind}") in sites}
        residual = made["next"]
    return seen


def climb_to_files(whole, tokens: Tensor, paths: dict[str, Path]) -> None:
    """The activations of ``tokens (n_seq, ctx)`` at the sites that are the keys of ``paths``, a file each, in order."""
    parts = [climb(whole, rows, list(paths)) for rows in tokens.split(32)]
    for site, path in paths.items():
        write(path, torch.cat([seen[site] for seen in parts]))


def shards(layer: int, kind: str) -> list[Path]:
    """Files ``(n_seq, ctx, d_model)`` of one site: bfloat16 as int16, position 0 included."""
    n = -(-len(load_tokens("train")) // ROWS)
    return [folder() / f"activations/{layer}.{kind}" / f"{i:04d}.npy" for i in range(n)]


def write(path: Path, x: Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as scratch, open(scratch, "wb") as file:
        np.save(file, x.bfloat16().view(torch.int16).numpy())


def read(path: Path) -> Tensor:
    return torch.from_numpy(np.load(path, allow_pickle=False)).view(torch.bfloat16).to(KIND)


@torch.inference_mode()
def ascend(layer: int) -> None:
    """Make the outputs of ``layer`` and the residual stream behind it, from the one before it."""
    whole, tokens = model(), load_tokens("train").split(ROWS)
    if layer == 0:
        for path, part in zip(shards(0, KINDS[0]), tokens, strict=True):
            if not path.exists():
                write(path, whole.model.embed_tokens(part))
    kinds = {kind: shards(layer, kind) for kind in KINDS[1:]}
    if layer + 1 < len(whole.model.layers):
        kinds["next"] = shards(layer + 1, KINDS[0])
    for i, path in enumerate(progress(shards(layer, KINDS[0]), desc=f"layer {layer}")):
        if all(paths[i].exists() for paths in kinds.values()):
            continue
        parts = [one_layer(whole, layer, x) for x in read(path).split(32)]
        for kind, paths in kinds.items():
            write(paths[i], torch.cat([part[kind] for part in parts]))
    risen(layer).touch()


class Site(Activations):
    """The activations of one site, from its shards: :class:`recipes.harvest.Activations` without the harvest."""

    def __init__(self, paths: list[Path]):
        wholes = [np.load(path, mmap_mode="r", allow_pickle=False) for path in paths]
        norms = []
        for whole in wholes:  # position 0 carries the attention sink: left out
            x = torch.from_numpy(np.array(whole)).view(torch.bfloat16)
            norms.append(x.float().norm(dim=-1).numpy())
            norms[-1][:, 0] = np.nan
        self.use([whole.reshape(-1, whole.shape[-1]) for whole in wholes], np.concatenate(norms).ravel())


def sites(layer: int) -> Iterator[str]:
    for kind in KINDS:
        yield f"blocks.{layer}.{kind}"


def place(site: str) -> Path:
    return folder() / "dictionaries" / site


def plane(acts: Site) -> dict[str, Tensor]:
    """The mean of a site's activations and the ``K`` directions in which they vary most, in its own units."""
    x = acts.rows(torch.arange(0, len(acts), max(1, len(acts) // 20_000)), scale=1.0).double()
    _, directions = torch.linalg.eigh(torch.cov(x.T))
    return {"mean": x.mean(0).float(), "directions": directions[:, -K:].T.flip(0).float().contiguous()}


def fit(site: str) -> SAE:
    """Train the dictionary of a site on its shards, or load it."""
    _, layer, kind = site.split(".")
    return fitted(place(site), shards(int(layer), kind))


def fitted(where: Path, paths: list[Path], seed: int = 0) -> SAE:
    """The dictionary in the folder ``where``: trained on the shards ``paths`` if it is not there yet, and rescaled to
    their own units."""
    if where.exists():
        return load(where)
    acts = Site(paths)
    d_model, steps = acts.mean.numel(), len(acts) // BATCH
    sae = build("batchtopk", d_model, 4 * d_model, generator=torch.Generator().manual_seed(seed), k=K)
    sae.b_dec.data.copy_(acts.mean)
    checkpoint = where.parent / f"{where.name}.ckpt.safetensors"
    train(
        sae, acts.batches(BATCH, seed), steps=steps, lr=LR, clip=1.0, seed=seed,
        checkpoint=checkpoint, checkpoint_every=1000, progress=False,
    )  # fmt: skip
    sae.rescale(acts.scale)
    facts = {
        "cutoff": acts.cutoff,
        "scale": acts.scale,
        "outliers": acts.left_out,
        "tokens": len(acts) // BATCH * BATCH,
        "dead": (sae.silent_for > SILENT).double().mean().item(),
    }
    with atomic(where.with_name(f"{where.name}.json")) as scratch:
        scratch.write_text(json.dumps(facts))
    with atomic(where.with_name(f"{where.name}.plane.safetensors")) as scratch:
        save_file(plane(acts), scratch)
    save(sae, where)
    checkpoint.unlink(missing_ok=True)
    return sae


def risen(layer: int) -> Path:
    """Is there once the outputs of ``layer`` and the residual stream behind it are."""
    return folder() / "activations" / f"{layer}.risen"


def finished(layer: int) -> bool:
    return all(place(site).exists() for site in sites(layer))


def to_do(layers: int) -> Iterator[Unit]:
    """What can be done now, the lowest layer first."""
    for layer in [layer for layer in range(layers) if not finished(layer)][: 1 + AHEAD]:
        if not risen(layer).exists():
            if layer == 0 or risen(layer - 1).exists():
                yield risen(layer), partial(ascend, layer)
            return
        yield from ((place(site), partial(fit, site)) for site in sites(layer) if not place(site).exists())


def tidy(layers: int) -> None:
    """Delete the activations that nothing waits for."""
    for layer in range(layers):
        if finished(layer) and risen(layer).exists():
            for kind in KINDS:
                shutil.rmtree(shards(layer, kind)[0].parent, ignore_errors=True)


def main(argv: Sequence[str] | None = None) -> None:
    parser = options("every_layer", __doc__, "until")
    parser.add_argument("--layers", type=int, default=30, metavar="N", help="go up to this layer only")
    args = parser.parse_args(argv)
    until = None if args.until is None else time.time() + 60 * args.until
    with progress(total=3 * args.layers, desc="dictionaries") as bar:
        for _ in working(lambda: list(to_do(args.layers)), folder() / "locks", until):
            tidy(args.layers)
            bar.update(sum(place(site).exists() for layer in range(args.layers) for site in sites(layer)) - bar.n)
    tidy(args.layers)


if __name__ == "__main__":
    from recipes import every_layer

    every_layer.main()
