"""Prompts of different lengths: what a mask leaves out, and pads without one."""

import pytest
import torch

from helpers.lm import activations, load_lm, load_tokens, spliced_loss
from helpers.lm.masks import read_mask

HOOK = "blocks.3.hook_resid_pre"


@pytest.fixture(scope="module")
def lm():
    return load_lm()


@pytest.fixture(scope="module")
def padded():
    tokens = load_tokens("human")[:3, :12].clone()
    lengths = (12, 7, 3)
    mask = torch.arange(12) < torch.tensor(lengths)[:, None]
    return tokens.masked_fill(~mask, 7), mask, lengths


def test_activations_are_those_of_the_prompts_alone(lm, padded):
    tokens, mask, lengths = padded
    together = torch.cat(list(activations(lm, tokens, HOOK, batch_size=2, mask=mask, skip_first=1)))
    alone = [next(iter(activations(lm, tokens[i : i + 1, :n], HOOK, skip_first=1))) for i, n in enumerate(lengths)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-3)


def test_losses_are_those_of_the_prompts_alone(lm, padded):
    tokens, mask, lengths = padded
    together = spliced_loss(lm, tokens, HOOK, lambda x: x, batch_size=2, mask=mask)
    alone = [spliced_loss(lm, tokens[i : i + 1, :n], HOOK, lambda x: x) for i, n in enumerate(lengths)]
    weights = [n - 1 for n in lengths]
    want = sum(w * loss for w, loss in zip(weights, alone, strict=True)) / sum(weights)
    assert together == pytest.approx(want, abs=1e-4)
    assert spliced_loss(lm, tokens, HOOK, lambda x: x) != pytest.approx(want, abs=0.1)


@pytest.mark.parametrize("what", ["left", "shape", "numbers", "all"])
def test_other_masks_are_refused_by_name(lm, padded, what):
    tokens, mask, _ = padded
    wrong = {"left": mask.flip(1), "shape": mask[:, 1:], "numbers": mask * 2, "all": mask & False}[what]
    with pytest.raises(ValueError, match="mask"):
        spliced_loss(lm, tokens, HOOK, lambda x: x, mask=wrong)
    with pytest.raises(ValueError, match="mask"):
        list(activations(lm, tokens, HOOK, mask=wrong))


class Stub:
    """A model whose tokenizer has a pad of its own, as Gemma's has."""

    class tokenizer:
        pad_token_id, bos_token_id, eos_token_id, unk_token_id = 0, 2, 1, 3


def test_pads_without_a_mask_are_refused_where_they_can_be_told(padded):
    tokens = torch.tensor([[2, 5, 0, 0]])
    with pytest.raises(ValueError, match="pad id 0 and mask=None"):
        read_mask(Stub, tokens, None)
    assert read_mask(Stub, tokens[:, :2], None) is None
    assert read_mask(Stub, tokens, tokens != 0).sum() == 2


def test_heads_are_joined_for_both(lm):
    tokens, hook = load_tokens("eval")[:2, :8], "blocks.3.attn.hook_z"
    x = next(iter(activations(lm, tokens, hook)))
    seen = []

    def replace(z):
        seen.append(z)
        return z * 0.5

    spliced_loss(lm, tokens, hook, replace)
    assert x.shape[1] == seen[0].shape[2] and seen[0].ndim == 3
    torch.testing.assert_close(seen[0].flatten(0, 1), x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("hook", ["blocks.3.attn.hook_pattern", "blocks.3.attn.hook_attn_scores"])
def test_hooks_of_pairs_of_positions_are_refused(lm, hook):
    with pytest.raises(ValueError, match="each pair of positions"):
        list(activations(lm, load_tokens("eval")[:2, :8], hook))
    with pytest.raises(ValueError, match="each pair of positions"):
        spliced_loss(lm, load_tokens("eval")[:2, :8], hook, lambda x: x)
