"""Tiny random models of every shape, and prompts for them."""

import pytest
import torch
import transformers
from samples import seeded
from transformers import AutoTokenizer

from helpers.definitions import TEMPLATES, encode
from helpers.lm import load_lm, model_folder

SHAPES = {
    "llama": dict(hidden_size=32, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
                  intermediate_size=64),
    "gpt2": dict(n_embd=32, n_layer=3, n_head=4, n_positions=64),
    "gptj": dict(n_embd=32, n_layer=3, n_head=4, rotary_dim=4, n_positions=64),
    "gpt_neox": dict(hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64),
    "gemma3_text": dict(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=1, head_dim=8,
        intermediate_size=64, sliding_window=8,
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=SHAPES)
def folder(request, tmp_path_factory):
    """A tiny random model of one shape, with the embedded model's tokenizer, saved as a folder."""
    tokenizer = AutoTokenizer.from_pretrained(model_folder("smollm2-135m"))
    config = transformers.AutoConfig.for_model(request.param, vocab_size=len(tokenizer), **SHAPES[request.param])
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=seeded(parameter.numel()))
            parameter.copy_(noise * (0.3 if parameter.ndim > 1 else 0.1) + (parameter.ndim == 1))
    place = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def lm(folder):
    return load_lm(folder)


@pytest.fixture(scope="module")
def prompts(lm):
    return encode(lm, TEMPLATES[0], ("table", "dog", "idea", "river", "truth"))
