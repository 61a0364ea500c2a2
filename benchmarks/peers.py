"""The peers, filled with this project's weights. Runs in their environment (``.venv-peers``), never in ours.

Names of tensors are ours everywhere: ``W_enc (d_model, d_sae)``, ``W_dec (d_sae, d_model)``, ``b_enc``, ``b_dec``, for
gated also ``r_mag`` and ``b_mag`` (``b_enc`` is the gate's bias), for jumprelu ``threshold``. Hyperparameters too:
``sparsity`` (λ), ``k``, ``bandwidth``.

``python benchmarks/peers.py JOB.json`` computes codes, reconstructions, loss terms and gradients for the parity test.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

LENS_NAMES = {"gated": {"b_enc": "b_gate"}}  # ours → SAELens', where they differ


def saelens(architecture: str, weights: dict[str, Tensor], hyper: dict):
    """SAELens' training SAE in the weights' dtype."""
    import sae_lens

    own = {
        "standard": (sae_lens.StandardTrainingSAE, sae_lens.StandardTrainingSAEConfig, {"l1_coefficient": "sparsity"}),
        "gated": (sae_lens.GatedTrainingSAE, sae_lens.GatedTrainingSAEConfig, {"l1_coefficient": "sparsity"}),
        "jumprelu": (
            sae_lens.JumpReLUTrainingSAE,
            sae_lens.JumpReLUTrainingSAEConfig,
            {"l0_coefficient": "sparsity", "jumprelu_bandwidth": "bandwidth"},
        ),
        "topk": (sae_lens.TopKTrainingSAE, sae_lens.TopKTrainingSAEConfig, {"k": "k"}),
        "batchtopk": (sae_lens.BatchTopKTrainingSAE, sae_lens.BatchTopKTrainingSAEConfig, {"k": "k"}),
    }
    cls, config, options = own[architecture]
    d_model, d_sae = weights["W_enc"].shape
    dtype = str(weights["W_enc"].dtype).removeprefix("torch.")
    options = {theirs: hyper[ours] for theirs, ours in options.items()}
    sae = cls(config(d_in=d_model, d_sae=d_sae, dtype=dtype, device="cpu", **options))
    parameters, names = dict(sae.named_parameters()), LENS_NAMES.get(architecture, {})
    with torch.no_grad():
        for name, value in weights.items():
            parameters.pop(names.get(name, name)).copy_(value)
    assert not parameters, f"not filled: {sorted(parameters)}"
    return sae


def saelens_losses(architecture: str, weights: dict[str, Tensor], hyper: dict, x: Tensor) -> dict[str, Tensor]:
    from sae_lens.saes.sae import TrainStepInput

    sae = saelens(architecture, weights, hyper)
    coefficients = {"l1": hyper.get("sparsity"), "l0": hyper.get("sparsity")}
    step = TrainStepInput(x, coefficients, dead_neuron_mask=None, n_training_steps=0, is_logging_step=False)
    out = sae.training_forward_pass(step)
    out.loss.backward()
    terms = {
        "mse_loss": "reconstruction",
        "l1_loss": "sparsity",
        "l0_loss": "sparsity",
        "auxiliary_reconstruction_loss": "auxiliary",
    }
    names = LENS_NAMES.get(architecture, {})
    parameters = dict(sae.named_parameters())
    return {
        "codes": out.feature_acts,
        "x_hat": out.sae_out,
        **{f"term.{terms[k]}": v for k, v in out.losses.items()},
        **{f"grad.{name}": parameters[names.get(name, name)].grad for name in weights},
    }


def without_nnsight() -> None:
    """dictionary_learning imports nnsight for its activation buffer, which is not used here."""
    sys.modules.setdefault("nnsight", types.SimpleNamespace(LanguageModel=None))


def dictionary_learning(
    architecture: str, weights: dict[str, Tensor], hyper: dict, lr: float = 3e-4, device: str = "cpu"
):
    """dictionary_learning's trainer, its dictionary in ``.ae``; no warm-ups."""
    without_nnsight()
    from dictionary_learning import trainers

    d_model, d_sae = weights["W_enc"].shape
    options = dict(steps=10**9, activation_dim=d_model, dict_size=d_sae, layer=0, lm_name="", lr=lr, device=device)
    options["warmup_steps"] = 0
    if architecture in ("standard", "gated"):
        cls = {"standard": trainers.StandardTrainer, "gated": trainers.GatedSAETrainer}[architecture]
        trainer = cls(l1_penalty=hyper["sparsity"], sparsity_warmup_steps=None, **options)
    elif architecture == "jumprelu":
        options |= dict(bandwidth=hyper["bandwidth"], sparsity_penalty=hyper["sparsity"], sparsity_warmup_steps=None)
        trainer = trainers.JumpReluTrainer(target_l0=hyper.get("target_l0", 20.0), **options)
    else:
        cls = {"topk": trainers.TopKTrainer, "batchtopk": trainers.BatchTopKTrainer}[architecture]
        trainer = cls(k=hyper["k"], **options)
    trainer.ae.to(weights["W_enc"].dtype)
    with torch.no_grad():
        for name, parameter in learning_parameters(architecture, trainer.ae).items():
            parameter.copy_(weights[name])
        if architecture == "jumprelu":  # it does not centre its input in training
            trainer.ae.b_enc -= trainer.ae.b_dec @ trainer.ae.W_enc
    return trainer


def learning_parameters(architecture: str, ae) -> dict[str, Tensor]:
    """Views of dictionary_learning's parameters under our names and in our orientation."""
    if architecture == "jumprelu":
        return {name: getattr(ae, name) for name in ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")}
    shared = {"W_enc": ae.encoder.weight.T, "W_dec": ae.decoder.weight.T}
    if architecture == "gated":
        return {**shared, "b_enc": ae.gate_bias, "b_dec": ae.decoder_bias, "r_mag": ae.r_mag, "b_mag": ae.mag_bias}
    return {**shared, "b_enc": ae.encoder.bias, "b_dec": ae.bias if architecture == "standard" else ae.b_dec}


def dictionary_learning_losses(architecture: str, weights: dict[str, Tensor], hyper: dict, x: Tensor) -> dict:
    trainer = dictionary_learning(architecture, weights, hyper)
    log = trainer.loss(x, step=1, logging=True)
    trainer.loss(x, step=1).backward()
    terms = {"reconstruction": log.losses["l2_loss" if "mse_loss" not in log.losses else "mse_loss"]}
    if "sparsity_loss" in log.losses:
        terms["sparsity"] = hyper["sparsity"] * log.losses["sparsity_loss"]
    elif architecture == "jumprelu":
        terms["sparsity"] = log.losses["loss"] - log.losses["l2_loss"]
    if "aux_loss" in log.losses:
        terms["auxiliary"] = log.losses["aux_loss"]
    parameters = dict(trainer.ae.named_parameters())
    grads = types.SimpleNamespace(
        encoder=types.SimpleNamespace(**{n.split(".")[1]: p.grad for n, p in parameters.items() if "encoder." in n}),
        decoder=types.SimpleNamespace(**{n.split(".")[1]: p.grad for n, p in parameters.items() if "decoder." in n}),
        **{n: p.grad for n, p in parameters.items() if "." not in n},
    )
    return {
        "codes": log.f,
        "x_hat": log.recon if architecture == "jumprelu" else log.x_hat,
        **{f"term.{k}": torch.tensor(v, dtype=torch.float64) for k, v in terms.items()},
        **{f"grad.{k}": v for k, v in learning_parameters(architecture, grads).items()},
    }


def main(path: str) -> None:
    """JOB.json: a list of {"peer", "architecture", "hyper", "weights", "out"}; weights hold also ``x``."""
    functions = {"saelens": saelens_losses, "dictionary_learning": dictionary_learning_losses}
    for job in json.loads(Path(path).read_text()):
        weights = load_file(job["weights"])
        x = weights.pop("x")
        out = functions[job["peer"]](job["architecture"], weights, job["hyper"], x)
        save_file({k: v.detach().contiguous().clone() for k, v in out.items()}, job["out"])


if __name__ == "__main__":
    main(sys.argv[1])
