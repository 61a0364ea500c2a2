"""Fitting a dictionary: one loop, resumable to the same weights after being killed at any moment.

    log = train(sae, batches, steps=1000, lr=1e-3, checkpoint="run.safetensors")

``batches(step)`` (or an iterable) gives ``(batch, d_model)`` tensors. The loop is Adam with unit decoder rows restored
after every step, a linear warm-up and a linear decay of the learning rate, a warm-up of the sparsity term, and where
asked for the revival of dead features.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import pandas as pd
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..checks import finite, share, whole
from ..runs import atomic, rise, rise_and_fall
from ..runs import progress as bar
from .architectures import architecture
from .codes import fastest
from .dictionary import SAE
from .penalties import describe


def train(
    sae: SAE,
    batches: Callable[[int], Tensor] | Iterable[Tensor],
    *,
    steps: int,
    lr: float,
    betas: tuple[float, float] = (0.0, 0.999),
    warmup: float = 0.05,
    decay: float = 0.2,
    sparsity_warmup: float = 0.1,
    clip: float | None = None,
    revive_at: tuple[int, ...] = (),
    seed: int = 0,
    view=fastest,
    log_every: int = 50,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 250,
    progress: bool = True,
) -> pd.DataFrame:
    """Train ``sae`` in place and return its log: one row per logged step with every loss term, ``l0`` and ``lr``.

    A dictionary in bfloat16 or float16 is trained in float32, checkpoints included, and rounded at the end: steps of
    the size of the learning rate would be lost in half of the digits.

    Parameters
    ----------
    batches
        A function from the step to ``(batch, d_model)`` activations, or an iterable of them. A resumed run calls the
        function for the remaining steps only; of an iterable it skips what was used.
    steps, lr, betas
        Of Adam. β₁ = 0 follows the gated SAE paper.
    warmup, decay, sparsity_warmup
        Shares of ``steps`` over which the learning rate rises, falls to zero at the end, and the sparsity term rises.
    clip
        Largest norm of the whole gradient; longer ones are shortened to it. A guard against runaway steps.
    revive_at
        Steps at which features silent for 100 batches are pointed at badly reconstructed inputs (see :func:`revive`).
    seed
        Of the run's own generator (revival, random penalties); its state is part of the checkpoint.
    view
        How codes are held (:mod:`helpers.sae.codes`).
    checkpoint
        A ``.safetensors`` path, written atomically every ``checkpoint_every`` steps and at the end. If it exists, the
        run goes on from there; if it belongs to another run, ``ValueError`` says in what.

    Raises ``ValueError`` for arguments out of range, batches of another shape or with NaN, running out of batches, and
    where a loss is not finite at a logged step.

    >>> import torch
    >>> from helpers.sae import SparseFeatures, build, train
    >>> source, generator = SparseFeatures(8, 16), torch.Generator().manual_seed(0)
    >>> sae = build("topk", 16, 32, generator=generator, k=1)
    >>> log = train(sae, lambda step: source.sample(64, generator)[0], steps=100, lr=1e-2, progress=False)
    >>> log.step.tolist(), bool(log.reconstruction.iloc[-1] < log.reconstruction.iloc[0] / 2)
    ([0, 50, 99], True)
    """
    steps, lr = whole("steps", steps, 1), finite("lr", lr, above=0)
    for name, value in (("warmup", warmup), ("decay", decay), ("sparsity_warmup", sparsity_warmup)):
        share(name, value)
    whole("log_every", log_every, 1), whole("checkpoint_every", checkpoint_every, 1), whole("seed", seed)
    betas, revive_at = _betas(betas), [whole("revive_at", step) for step in _several("revive_at", revive_at)]
    if not callable(batches):
        batches = _several("batches", batches)
    if clip is not None:
        finite("clip", clip, above=0)
    generator, kind = torch.Generator().manual_seed(seed), sae.W_dec.dtype
    if kind.itemsize < 4:
        sae.float()
    trainable = {n: p for n, p in sae.named_parameters() if p.requires_grad}
    optimiser = torch.optim.Adam(trainable.values(), lr=lr, betas=betas, fused=True)
    identity = {
        "architecture": architecture(sae), "d_model": sae.d_model, "d_sae": sae.d_sae,
        "hyper": {**sae.hyper, "penalty": describe(sae.hyper["penalty"])},
        "steps": steps, "lr": lr, "betas": list(betas), "warmup": warmup, "decay": decay,
        "sparsity_warmup": sparsity_warmup, "clip": clip, "revive_at": list(revive_at), "seed": seed,
    }  # fmt: skip
    begun, rows = 0, []
    if checkpoint is not None and Path(checkpoint).exists():
        begun, rows = _resume(Path(checkpoint), sae, optimiser, trainable, generator, identity)
    sae.train()
    for step, x in zip(
        bar(range(begun, steps), desc=architecture(sae), initial=begun, total=steps, disable=not progress),
        _from(batches, begun, steps),
        strict=False,
    ):
        for group in optimiser.param_groups:
            group["lr"] = lr * rise_and_fall(step, steps, warmup, decay)
        if step in revive_at:
            revive(sae, x, 100 * len(x), optimiser, trainable, generator)
        terms = sae.losses(x.detach() if isinstance(x, Tensor) else x, view, generator)
        if "sparsity" in terms:
            terms["sparsity"] = terms["sparsity"] * rise(step, steps, sparsity_warmup)
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(trainable.values(), clip)
        optimiser.step()
        sae.project()
        done = step + 1
        if step % log_every == 0 or done == steps:
            _still_finite(terms, step, lr)
            rows.append({"step": step, **{k: v.item() for k, v in terms.items()}, "lr": group["lr"], **_glance(sae, x)})
        if checkpoint is not None and (done % checkpoint_every == 0 or done == steps):
            _checkpoint(Path(checkpoint), sae, optimiser, trainable, generator, identity, done, rows)
    sae.to(kind).eval()
    return pd.DataFrame(rows)


def shuffled(stream: Iterable[Tensor], batch: int, capacity: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Random batches from a stream of ``(n, d_model)`` activations through a buffer of at most ``capacity`` rows.

    The buffer fills, gives away a random half in batches, and fills again. Memory is bounded by one and a half times
    ``capacity`` (the half that stays is moved) plus one piece of the stream. Rows short of a last batch are dropped.
    """
    batch, capacity = whole("batch", batch, 1), whole("capacity", capacity, 2)
    if 2 * batch > capacity:
        raise ValueError(f"batch={batch!r}, capacity={capacity!r}; expected a capacity of two batches or more")
    held, n = None, 0
    for piece in stream:
        held = piece.new_empty(capacity, *piece.shape[1:]) if held is None else held
        while len(piece):
            taken, piece = piece[: capacity - n], piece[capacity - n :]
            held[n : n + len(taken)] = taken
            n += len(taken)
            if n == capacity:
                order = torch.randperm(capacity, generator=generator)
                used = capacity // 2 // batch * batch
                yield from (held[part] for part in order[:used].split(batch))
                n = capacity - used
                held[:n] = held[order[used:]]
    if n >= batch:
        order = torch.randperm(n, generator=generator)[: n // batch * batch]
        yield from (held[part] for part in order.split(batch))


@torch.no_grad()
def revive(sae: SAE, x: Tensor, silent_for: int, optimiser, trainable: dict, generator: torch.Generator) -> int:
    """Point features silent for ``silent_for`` inputs at badly reconstructed inputs; returns how many there were.

    After Bricken et al. 2023: inputs are drawn with probability proportional to their squared error; the decoder row
    becomes the centred input's direction, the encoder column the same at 0.2 of the mean norm of the living ones,
    biases and thresholds what they were at the start, and the optimiser forgets the old feature.
    """
    dead = (sae.silent_for >= silent_for).nonzero()[:, 0]
    if not len(dead) or len(dead) == sae.d_sae:
        return 0
    training, _ = sae.training, sae.eval()
    x = x.to(sae.W_dec)
    loss = (x - sae(x)).pow(2).sum(1)
    sae.train(training)
    picked = torch.multinomial(loss.cpu() / loss.sum().cpu(), len(dead), replacement=True, generator=generator)
    rows = torch.nn.functional.normalize(x[picked.to(x.device)] - sae.b_dec, dim=1)
    alive = torch.ones(sae.d_sae, dtype=torch.bool).index_fill_(0, dead.cpu(), False)
    new = newborn(sae, rows, sae.W_enc.norm(dim=0)[alive].mean())
    for name, parameter in trainable.items():
        if name not in new:
            continue
        where = (slice(None), dead) if name == "W_enc" else (dead,)
        parameter[where] = new[name]
        for moment in ("exp_avg", "exp_avg_sq"):
            if parameter in optimiser.state:
                optimiser.state[parameter][moment][where] = 0.0
    sae.silent_for[dead] = 0
    return len(dead)


def newborn(sae: SAE, rows: Tensor, size: Tensor) -> dict[str, Tensor | float]:
    """What :func:`revive` gives features that are to read ``rows``, where living encoder columns have norm ``size``."""
    new = {"W_dec": rows, "W_enc": (rows * (size * 0.2)).T, "b_enc": 0.0, "b_mag": 0.0, "r_mag": 0.0, "gap": 0.0}
    return new | {"threshold": sae.hyper.get("bandwidth", 0.0) / 2}


def _several(name: str, value) -> Iterable:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ValueError(f"{name}={value!r}; expected several" + (", or a function of the step" * (name == "batches")))
    return value


def _betas(betas) -> tuple[float, float]:
    if not isinstance(betas, tuple | list) or len(betas) != 2 or not all(0 <= finite("betas", b) < 1 for b in betas):
        raise ValueError(f"betas={betas!r}; expected two numbers from 0 to below 1")
    return tuple(betas)


def _still_finite(terms: dict[str, Tensor], step: int, lr: float) -> None:
    seen = {name: term.item() for name, term in terms.items()}
    if not all(map(math.isfinite, seen.values())):
        told = ", ".join(f"{name} {value:.3g}" for name, value in seen.items())
        raise ValueError(
            f"the loss is not finite at step {step} ({told}); expected a smaller lr than {lr:g}, or a clip"
        )


def _from(batches, begun: int, steps: int) -> Iterator[Tensor]:
    if callable(batches):
        yield from (batches(step) for step in range(begun, steps))
        return
    given = begun
    for x in islice(batches, begun, steps):
        yield x
        given += 1
    if given < steps:
        raise ValueError(f"batches ran out after {given} of steps={steps}")


@torch.no_grad()
def _glance(sae: SAE, x: Tensor) -> dict[str, float]:
    codes = sae.eval().encode(x[:512])
    sae.train()
    return {"l0": (codes > 0).sum(1).double().mean().item()}


def _checkpoint(path: Path, sae, optimiser, trainable, generator, identity, done: int, rows: list) -> None:
    tensors = {f"sae.{k}": v.detach().contiguous() for k, v in sae.state_dict().items()}
    for name, parameter in trainable.items():
        tensors |= {f"adam.{name}.{k}": v.contiguous() for k, v in optimiser.state[parameter].items()}
    tensors["generator"] = generator.get_state()
    meta = {"identity": json.dumps(identity), "done": str(done), "rows": json.dumps(rows)}
    with atomic(path) as scratch:
        save_file(tensors, scratch, meta)


def _resume(path: Path, sae, optimiser, trainable, generator, identity) -> tuple[int, list]:
    try:
        with safe_open(path, "pt") as file:
            meta = file.metadata()
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        saved = json.loads(meta["identity"])
    except Exception as error:
        what = f"checkpoint={str(path)!r} is corrupt or no checkpoint: {error}"
        raise OSError(f"{what}. Delete it to start anew.") from error
    for key, value in json.loads(json.dumps(identity)).items():
        if saved.get(key) != value:
            raise ValueError(
                f"checkpoint={str(path)!r} is of another run: its {key} is {saved.get(key)!r}, this run's is {value!r}"
            )
    sae.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("sae.")})
    for name, parameter in trainable.items():
        prefix = f"adam.{name}."
        state = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        optimiser.state[parameter] = {k: v.to(parameter.device) for k, v in state.items()}
    generator.set_state(tensors["generator"])
    return int(meta["done"]), json.loads(meta["rows"])
