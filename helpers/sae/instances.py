"""Many small dictionaries of one architecture as one computation: instances are a leading axis.

:func:`stack` gives every tensor of a list of dictionaries a first axis ``(instances, …)``, lined up so that the
architecture's own formulas (:mod:`helpers.sae.architectures`) broadcast over it, and :class:`Many` is the view of the
pre-activations ``(instances, batch, d_sae)`` that goes with it (:mod:`helpers.sae.codes`). So no loss is written twice.
:func:`train_together` is :func:`helpers.sae.train` for all of them at once; tests hold losses, gradients and
trained weights equal to one dictionary at a time.

Each instance may have its own ``sparsity``. TopK's relatives take ``auxiliary=0``: dead features are brought back by
revival only, where it is asked for.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import vmap

from ..checks import all_finite, finite, one_of, real, whole
from ..runs import progress as bar
from ..runs import rise, rise_and_fall
from .architectures import BatchTopK
from .codes import Dense
from .dictionary import SAE
from .training import newborn

VECTORS = {"b_enc", "b_dec", "r_mag", "b_mag", "gap", "threshold"}  # of one dictionary: (features,), or a scalar


class Many(Dense):
    """Codes of many dictionaries at every feature. ``pre`` is ``(instances, batch, d_sae)``."""

    def __init__(self, sae: SAE, x: Tensor):
        super().__init__(sae, x)
        self.batch, self.d_sae = x.shape[-2], sae.W_dec.shape[-2]

    def kept(self, sae: SAE) -> Tensor:
        if isinstance(sae, BatchTopK) and sae.training:
            return largest_of_batch(self.full, sae.hyper["k"]).to(self.pre.dtype)
        return super().kept(sae)

    def total(self, values: Tensor) -> Tensor:
        """Sum over features, mean over each instance's batch: ``(instances,)``."""
        return values.sum(-1).mean(-1)


def largest_of_batch(pre: Tensor, k: int) -> Tensor:
    """BatchTopK's mask for every instance: its ``k · batch`` largest positive entries, of ties the later ones."""
    flat = pre.flatten(1)
    keep = min(k * pre.shape[1], flat.shape[1])
    order = flat.flip(1).argsort(dim=1, descending=True, stable=True)[:, :keep]
    mask = torch.zeros_like(flat, dtype=torch.bool).scatter_(1, order, True).flip(1)
    return mask.view_as(pre) & (pre > 0)


def stack(saes: Sequence[SAE]) -> SAE:
    """One dictionary that holds all of ``saes`` along a first axis. ``hyper["sparsity"]`` becomes ``(instances,)``.

    Raises ``ValueError`` if they differ in architecture, sizes or any hyperparameter but ``sparsity``, and for half
    precision, in which steps of the size of a learning rate are lost.

    >>> import torch
    >>> from helpers.sae import build, stack
    >>> generator = torch.Generator().manual_seed(0)
    >>> many = stack([build("standard", 16, 32, generator=generator, sparsity=s) for s in (0.1, 0.2)])
    >>> tuple(many.W_dec.shape), [round(s, 1) for s in many.hyper["sparsity"].tolist()]
    ((2, 32, 16), [0.1, 0.2])
    """
    if not saes:
        raise ValueError("saes is empty; expected at least one dictionary")
    first = saes[0]
    for i, sae in enumerate(saes):
        same = [type(s).__name__ + str({**s.hyper, "sparsity": 0}) + str(tuple(s.W_dec.shape)) for s in (first, sae)]
        if same[0] != same[1]:
            raise ValueError(f"saes[{i}] is {same[1]}; expected it like saes[0], {same[0]}")
    if first.W_dec.itemsize < 4:
        raise ValueError(f"saes hold {first.W_dec.dtype}; expected float32 or float64, as from sae.float()")
    if first.hyper.get("auxiliary"):
        raise ValueError(f"auxiliary={first.hyper['auxiliary']!r}; expected 0: AuxK is not computed here")
    many = copy.deepcopy(first)
    many.hyper = dict(first.hyper)
    if "sparsity" in first.hyper:
        many.hyper["sparsity"] = first.W_dec.new_tensor([sae.hyper["sparsity"] for sae in saes])
    for name in first.state_dict():
        whole = torch.stack([sae.state_dict()[name] for sae in saes])
        if name in VECTORS:
            whole = whole.reshape(len(saes), 1, -1)
        one = getattr(first, name)
        is_parameter = isinstance(one, nn.Parameter)
        setattr(many, name, nn.Parameter(whole, requires_grad=one.requires_grad) if is_parameter else whole)
    return many


def unstack(many: SAE, i: int, like: SAE) -> SAE:
    """Instance ``i`` as a dictionary of its own, shaped like ``like``."""
    one = copy.deepcopy(like)
    one.hyper = {**many.hyper}
    if "sparsity" in one.hyper:
        one.hyper["sparsity"] = float(many.hyper["sparsity"][i])
    with torch.no_grad():
        for name, tensor in one.state_dict().items():
            tensor.copy_(many.state_dict()[name][i].reshape(tensor.shape))
    return one


def losses_together(many: SAE, x: Tensor, on: str = "decoder") -> dict[str, Tensor]:
    """Named terms of the training loss on ``x (instances, batch, d_model)``, each a mean over instances.

    ``on`` says whose rows the orthogonality penalty looks at: the decoder's, or, for contrast, the encoder's.
    """
    x = all_finite("x", real("x", x).to(many.W_dec))
    if x.ndim != 3 or x.shape[0] != len(many.W_dec) or x.shape[2] != many.W_dec.shape[2] or not x.shape[1]:
        wanted = f"(instances={len(many.W_dec)}, batch, d_model={many.W_dec.shape[2]})"
        raise ValueError(f"x has shape {tuple(x.shape)}; expected {wanted}")
    one_of("on", on, ("decoder", "encoder"))
    z = Many(many, x)
    f = many.codes(z)
    terms = {name: term.mean() for name, term in many.terms(x, z, f).items()}
    if many.training:
        observe(many, f.detach())
    if many.hyper["orthogonality"]:
        rows = many.W_dec if on == "decoder" else many.W_enc.transpose(1, 2)
        terms["orthogonality"] = many.hyper["orthogonality"] * vmap(many.hyper["penalty"])(rows).mean()
    return terms


@torch.no_grad()
def observe(many: SAE, f: Tensor) -> None:
    """For every instance: how long each feature has been silent; BatchTopK's running mean of the smallest code kept."""
    many.silent_for.add_(f.shape[1]).masked_fill_((f > 0).any(1), 0)
    if not isinstance(many, BatchTopK):
        return
    smallest = f.masked_fill(f <= 0, torch.inf).flatten(1).amin(1).view_as(many.threshold)
    new = torch.where(many.threshold == 0, smallest, many.threshold.lerp(smallest, 0.01))
    many.threshold = torch.where(smallest.isfinite(), new, many.threshold)


@torch.no_grad()
def encode_together(many: SAE, x: Tensor) -> Tensor:
    """Codes ``(instances, n, d_sae)`` of ``x (n, d_model)`` or ``(instances, n, d_model)``."""
    x = all_finite("x", real("x", x).to(many.W_dec))
    if x.ndim not in (2, 3) or x.shape[-1] != many.W_dec.shape[2] or x.ndim == 3 and len(x) != len(many.W_dec):
        raise ValueError(f"x has shape {tuple(x.shape)}; expected ([{len(many.W_dec)},] n, {many.W_dec.shape[2]})")
    return many.codes(Many(many, x.expand(len(many.W_dec), *x.shape[-2:])))


def tangential(gradient: Tensor, rows: Tensor) -> Tensor:
    """``gradient (…, d_sae, d_model)`` without its part along each of the unit ``rows``, of the same shape."""
    return gradient - (gradient * rows).sum(-1, keepdim=True) * rows


@torch.no_grad()
def revive_together(many: SAE, x: Tensor, silent_for: int, adam, generators: Sequence[torch.Generator]) -> int:
    """:func:`helpers.sae.revive` for every instance, with a generator each; returns how many features there were."""
    dead = many.silent_for >= silent_for
    some = (dead.any(1) & ~dead.all(1)).nonzero()[:, 0].tolist()
    if not some:
        return 0
    training, _ = many.training, many.eval()
    error = (x - encode_together(many, x) @ many.W_dec - many.b_dec).pow(2).sum(-1)
    many.train(training)
    for i in some:
        which = dead[i].nonzero()[:, 0]
        picked = torch.multinomial(error[i] / error[i].sum(), len(which), replacement=True, generator=generators[i])
        rows = torch.nn.functional.normalize(x[i, picked] - many.b_dec[i], dim=1)
        new = newborn(many, rows, many.W_enc[i].norm(dim=0)[~dead[i]].mean())
        for name, parameter in many.named_parameters():
            if name not in new or not parameter.requires_grad:
                continue
            moments = adam.state[parameter] if parameter in adam.state else {}
            for tensor in (parameter, *(value for key, value in moments.items() if key.startswith("exp_avg"))):
                value = new[name] if tensor is parameter else 0.0
                one = tensor[i, 0] if name in VECTORS else tensor[i].T if name == "W_enc" else tensor[i]
                one[which] = value.T if name == "W_enc" and tensor is parameter else value
        many.silent_for[i, which] = 0
    return sum(int(dead[i].sum()) for i in some)


def train_together(
    many: SAE,
    batches: Callable[[int], Tensor],
    *,
    steps: int,
    lr: float,
    betas: tuple[float, float] = (0.0, 0.999),
    warmup: float = 0.05,
    decay: float = 0.2,
    sparsity_warmup: float = 0.1,
    on: str = "decoder",
    tangent: bool = False,
    revive_at: tuple[int, ...] = (),
    seed: int = 0,
    progress: bool = False,
) -> SAE:
    """Train all instances in place, each as :func:`helpers.sae.train` would; ``batches(step)`` gives ``x``.

    The sum over instances is minimised, and Adam works entry by entry, so no instance feels another.

    ``tangent=True`` does what ``train`` does not: it takes out of the gradient of the unit decoder rows its part along
    each row (:func:`tangential`) before Adam sees it. The unit norm forbids a step along a row, but Adam scales each
    entry by itself, so that renormalising the row does not undo it. ``revive_at`` and ``seed`` are those of ``train``.
    """
    steps, lr = whole("steps", steps, 1), finite("lr", lr, above=0)
    generators = [torch.Generator().manual_seed(seed) for _ in many.W_dec] if revive_at else []
    trainable = [p for p in many.parameters() if p.requires_grad]
    adam = torch.optim.Adam(trainable, lr=lr, betas=betas, fused=True)
    many.train()
    for step in bar(range(steps), desc=type(many).__name__, disable=not progress):
        for group in adam.param_groups:
            group["lr"] = lr * rise_and_fall(step, steps, warmup, decay)
        x = batches(step)
        if step in revive_at:
            revive_together(many, x, 100 * x.shape[1], adam, generators)
        terms = losses_together(many, x, on)
        if "sparsity" in terms:
            terms["sparsity"] = terms["sparsity"] * rise(step, steps, sparsity_warmup)
        adam.zero_grad(set_to_none=True)
        (torch.stack(list(terms.values())).sum() * len(many.W_dec)).backward()
        if tangent:
            many.W_dec.grad = tangential(many.W_dec.grad, many.W_dec.detach())
        adam.step()
        with torch.no_grad():
            many.W_dec /= many.W_dec.norm(dim=-1, keepdim=True).clamp_min(1e-12)
            if "bandwidth" in many.hyper:
                many.threshold.clamp_min_(0)
    return many.eval()
