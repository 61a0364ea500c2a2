"""Forward passes, losses and gradients agree with SAELens and dictionary_learning, except where a deviation is listed.

Run with the peers' environment in place (``make bench`` or ``benchmarks/peers.sh`` builds it): ``pytest -m peers``.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers.sae import build, squared_error

ROOT = Path(__file__).resolve().parents[2]
PYTHON = Path(os.environ.get("PEERS_ENV", ROOT / ".venv-peers")) / "bin" / "python"

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(not PYTHON.exists(), reason=".venv-peers is not there; benchmarks/peers.sh builds it"),
]

HYPER = {
    "standard": {"sparsity": 0.7},
    "gated": {"sparsity": 0.7},
    "jumprelu": {"sparsity": 0.3, "bandwidth": 0.2},
    "topk": {"k": 6},
}
PEERS = ("saelens", "dictionary_learning")
D_MODEL, D_SAE, BATCH, TARGET_L0 = 16, 48, 64, 20.0

# Where a peer does something else on purpose, and what it is. Every entry is tested as the difference it claims to be;
# whatever is not listed must agree.
DEVIATIONS = {
    ("saelens", "standard"): {
        "grad.W_dec": "L1 weighted by the norms of decoder rows: same value and same gradient across unit rows, "
        "one more along them (which our projection onto unit rows removes)",
    },
    ("saelens", "gated"): {
        "grad.W_dec": "the auxiliary term trains the decoder (the paper freezes it there); L1 weighted as above",
        "grad.b_dec": "the auxiliary term trains the decoder's bias too",
    },
    ("dictionary_learning", "jumprelu"): {
        "term.sparsity": "penalises λ (L0 / target - 1)² instead of λ L0",
        "grad.threshold": "that penalty; and its step function sees codes, so its window reaches above thresholds only",
        "grad.W_enc": "the decoder's bias is not subtracted from the input in training",
        "grad.b_dec": "the same, seen by the bias",
    },
}


def tensors(architecture: str) -> dict[str, torch.Tensor]:
    """Random weights and inputs in float64; unit decoder rows; thresholds exact in float32, as SAELens keeps them."""
    generator = torch.Generator().manual_seed(len(architecture))
    sae = build(architecture, D_MODEL, D_SAE, generator=generator, dtype=torch.float64, **HYPER[architecture])
    out = {}
    for name, parameter in sae.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        out[name] = parameter.detach() + 0.2 * noise
        if name == "W_dec":
            out[name] = out[name] / out[name].norm(dim=1, keepdim=True)
        if name == "threshold":
            out[name] = (0.5 + 0.3 * noise.abs()).float().double()
    out["x"] = 2.0 * torch.randn(BATCH, D_MODEL, generator=generator, dtype=torch.float64)
    return out


def ours(architecture: str) -> dict[str, torch.Tensor]:
    given = tensors(architecture)
    x = given.pop("x")
    options = {"generator": torch.Generator(), "dtype": torch.float64}
    sae = build(architecture, D_MODEL, D_SAE, **options, **HYPER[architecture])
    sae.load_state_dict({**sae.state_dict(), **given})
    sae.train()
    codes = sae.encode(x)
    terms = sae.losses(x)
    sum(terms.values()).backward()
    grads = {f"grad.{name}": p.grad for name, p in sae.named_parameters()}
    terms = {f"term.{k}": v.detach() for k, v in terms.items()}
    return {"codes": codes.detach(), "x_hat": sae.decode(codes).detach(), **terms, **grads}


@pytest.fixture(scope="module")
def theirs(tmp_path_factory) -> dict[tuple[str, str], dict[str, torch.Tensor]]:
    """Every peer's outputs for every architecture, from one process in their environment."""
    folder = tmp_path_factory.mktemp("peers")
    jobs = []
    for architecture, hyper in HYPER.items():
        save_file(tensors(architecture), folder / f"{architecture}.safetensors")
        for peer in PEERS:
            jobs.append(
                {
                    "peer": peer,
                    "architecture": architecture,
                    "hyper": {**hyper, "target_l0": TARGET_L0},
                    "weights": str(folder / f"{architecture}.safetensors"),
                    "out": str(folder / f"{peer}-{architecture}.safetensors"),
                }
            )
    (folder / "jobs.json").write_text(json.dumps(jobs))
    command = [str(PYTHON), str(ROOT / "benchmarks" / "peers.py"), str(folder / "jobs.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return {(job["peer"], job["architecture"]): load_file(job["out"]) for job in jobs}


def agree(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.allclose(a.double(), b.double(), rtol=1e-6, atol=1e-7)


def across(grad: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """What is left of a decoder gradient after projection onto unit rows."""
    return grad - (grad * rows).sum(1, keepdim=True) * rows


CASES = [(peer, architecture) for peer in PEERS for architecture in HYPER]


@pytest.mark.parametrize(("peer", "architecture"), CASES)
def test_peer_agrees_except_where_listed(theirs, peer, architecture):
    mine, other = ours(architecture), theirs[peer, architecture]
    assert {"codes", "x_hat", "term.reconstruction"} <= other.keys() & mine.keys()
    for key in sorted(mine.keys() & other.keys()):
        listed = key in DEVIATIONS.get((peer, architecture), {})
        assert agree(mine[key], other[key]) != listed, f"{key}: {'listed, yet it agrees' if listed else 'differs'}"


def test_extra_terms_of_peers_are_zero_here(theirs):
    for (peer, architecture), other in theirs.items():
        extra = {key for key in other if key.startswith("term.")} - ours(architecture).keys()
        assert all(other[key] == 0 for key in extra), (peer, architecture, extra)


def test_saelens_norm_weighting_vanishes_across_unit_rows(theirs):
    mine, other, rows = ours("standard"), theirs["saelens", "standard"], tensors("standard")["W_dec"]
    assert agree(across(mine["grad.W_dec"], rows), across(other["grad.W_dec"], rows))


def test_saelens_gated_auxiliary_trains_the_decoder(theirs):
    given = tensors("gated")
    x, rows = given["x"], given["W_dec"]
    mine, other = ours("gated"), theirs["saelens", "gated"]
    assert agree(mine["term.auxiliary"], other["term.auxiliary"])
    gate = torch.relu((x - given["b_dec"]) @ given["W_enc"] + given["b_enc"])
    W_dec, b_dec = rows.clone().requires_grad_(), given["b_dec"].clone().requires_grad_()
    squared_error(x, gate @ W_dec + b_dec).backward()
    assert agree(across(mine["grad.W_dec"] + W_dec.grad, rows), across(other["grad.W_dec"], rows))
    assert agree(mine["grad.b_dec"] + b_dec.grad, other["grad.b_dec"])
    assert across(W_dec.grad, rows).norm() > 0.1 * across(mine["grad.W_dec"], rows).norm()


def test_dictionary_learning_jumprelu_penalises_relative_l0(theirs):
    mine, other, hyper = ours("jumprelu"), theirs["dictionary_learning", "jumprelu"], HYPER["jumprelu"]
    l0 = (other["codes"] > 0).sum(1).double().mean()
    assert agree(other["term.sparsity"], hyper["sparsity"] * (l0 / TARGET_L0 - 1) ** 2)
    assert agree(mine["term.sparsity"], hyper["sparsity"] * l0)


def test_dictionary_learning_jumprelu_differs_by_the_centring_alone(theirs):
    mine, other, given = ours("jumprelu"), theirs["dictionary_learning", "jumprelu"], tensors("jumprelu")
    pull = other["grad.b_enc"]
    assert agree(mine["grad.W_enc"], other["grad.W_enc"] - torch.outer(given["b_dec"], pull))
    assert agree(mine["grad.b_dec"], other["grad.b_dec"] - given["W_enc"] @ pull)
