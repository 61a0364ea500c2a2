"""A tiny model of GPT-2's shape, a dictionary in SAELens' format."""

import json

import pytest
import torch
import transformers
from safetensors.torch import save_file
from samples import seeded

from helpers.lm import load_lm, model_folder


@pytest.fixture(scope="session")
def model_place(tmp_path_factory):
    """A random GPT-2 of 2 layers with the embedded model's tokenizer, as a folder."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder("smollm2-135m"))
    config = transformers.GPT2Config(
        vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=0, eos_token_id=0
    )
    model = transformers.GPT2LMHeadModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=seeded(parameter.numel()))
            parameter.copy_(noise * (0.3 if parameter.ndim > 1 else 0.1) + (parameter.ndim == 1))
    place = tmp_path_factory.mktemp("gpt2")
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


@pytest.fixture(scope="session")
def lm(model_place):
    return load_lm(model_place, device="cpu")


@pytest.fixture(scope="session")
def saelens(tmp_path_factory):
    """A TopK dictionary for it as SAELens writes one; its last feature never fires."""
    folder = tmp_path_factory.mktemp("saelens")
    rows = torch.randn(96, 32, generator=seeded(5))
    rows /= rows.norm(dim=1, keepdim=True)
    bias = torch.zeros(96)
    bias[-1] = -1e6
    weights = {"W_enc": rows.T.contiguous(), "W_dec": rows, "b_enc": bias, "b_dec": torch.zeros(32)}
    save_file(weights, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps({"architecture": "topk", "k": 6, "d_in": 32, "d_sae": 96}))
    return folder
