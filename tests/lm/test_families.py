"""Models of every family, from folders: what is streamed and spliced is what plain transformers computes."""

from pathlib import Path

import pytest
import torch
from models import FAMILIES, write_folder
from samples import seeded
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM

from helpers.lm import activations, load_lm, spliced_loss


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("families") / request.param, request.param)


def test_activations_and_losses_are_those_of_plain_transformers(folder):
    lm, tokens = load_lm(folder, device="cpu"), torch.randint(0, 5000, (3, 14), generator=seeded())
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        out = plain(tokens, labels=tokens, output_hidden_states=True, use_cache=False)
    for layer in range(lm.cfg.n_layers):
        (seen,) = activations(lm, tokens, f"blocks.{layer}.hook_resid_pre")
        torch.testing.assert_close(seen, out.hidden_states[layer].flatten(0, 1), rtol=1e-5, atol=1e-6)
    hook = "blocks.1.hook_resid_pre"
    assert spliced_loss(lm, tokens, hook, lambda x: x) == pytest.approx(out.loss.item(), abs=1e-5)
    assert spliced_loss(lm, tokens, hook, torch.zeros_like) != pytest.approx(out.loss.item(), abs=1e-5)


def test_what_is_added_to_the_stream_sums_to_it(folder):
    lm, tokens = load_lm(folder, device="cpu"), torch.randint(0, 5000, (2, 9), generator=seeded())
    parts = ("resid_pre", "attn_out", "mlp_out", "resid_post")
    hooks = [f"blocks.1.hook_{part}" for part in parts]
    (seen,) = activations(lm, tokens, hooks)
    pre, attention, mlp, post = (seen[hook] for hook in hooks)
    torch.testing.assert_close(pre + attention + mlp, post, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["opt", "neox", "gpt2"])
def test_a_folder_named_like_a_known_model_is_not_taken_for_it(folder, name, tmp_path, monkeypatch):
    """The bridge cannot tell a relative one from its own aliases: it would warn that it loads the official model."""
    asked, boot = [], TransformerBridge.boot_transformers
    monkeypatch.setattr(
        TransformerBridge, "boot_transformers", lambda name, **more: asked.append(name) or boot(name, **more)
    )
    (tmp_path / name).symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    lm = load_lm(name, device="cpu")
    assert Path(asked[0]).is_absolute() and lm.cfg.n_layers == 2
