"""Dictionaries of every architecture for the tests, with every parameter off its initial value."""

import torch

from helpers.sae import SAE, build

HYPER = {
    "standard": {"sparsity": 0.7},
    "expanded": {"sparsity": 0.7},
    "gated": {"sparsity": 0.7},
    "gated_shared_bias": {"sparsity": 0.7},
    "rescale_shift": {},
    "jumprelu": {"sparsity": 0.3, "bandwidth": 0.4},
    "topk": {"k": 4, "k_aux": 3, "dead_after": 100},
    "batchtopk": {"k": 4, "k_aux": 3, "dead_after": 100},
    "matryoshka": {"k": 4, "k_aux": 3, "dead_after": 100},
}
D_MODEL, D_SAE, BATCH = 8, 32, 24


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shaken(name: str, d_model: int = D_MODEL, d_sae: int = D_SAE, dtype=torch.float64, seed: int = 0, **hyper) -> SAE:
    """Noise on everything, unit decoder rows, thresholds from zero up, a fifth of the features silent for long."""
    generator = seeded(seed)
    sae = build(name, d_model, d_sae, generator=generator, dtype=dtype, **{**HYPER[name], **hyper})
    with torch.no_grad():
        for key, parameter in sae.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(dtype)
            parameter.copy_(0.4 * noise.abs() if key == "threshold" else parameter + 0.2 * noise)
        sae.W_dec /= sae.W_dec.norm(dim=1, keepdim=True)
        sae.silent_for[: d_sae // 5] = 1000
        if name in ("batchtopk", "matryoshka"):
            sae.threshold.fill_(0.8)
    return sae


def inputs(batch: int = BATCH, d_model: int = D_MODEL, dtype=torch.float64, seed: int = 1) -> torch.Tensor:
    return torch.randn(batch, d_model, generator=seeded(seed), dtype=torch.float64).to(dtype)


def gradients(sae: SAE, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of ``loss``, by parameter; zero where it does not reach."""
    parameters = {k: p for k, p in sae.named_parameters() if p.requires_grad}
    grads = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, retain_graph=True)
    return {k: torch.zeros_like(p) if g is None else g for (k, p), g in zip(parameters.items(), grads, strict=True)}
