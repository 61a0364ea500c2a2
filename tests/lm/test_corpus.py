"""Token sets: their shapes, their first token, and that no sequence is in two of them."""

import pytest
import torch

from helpers.lm import SPLITS, load_tokens, model_folder

LEAST = {"train": 2_000_000, "eval": 20_000, "human": 100_000}


@pytest.fixture(scope="module")
def tokens():
    return {split: load_tokens(split) for split in SPLITS}


@pytest.mark.parametrize("split", SPLITS)
def test_shape_type_and_range(tokens, split):
    t = tokens[split]
    assert t.ndim == 2 and t.shape[1] == 128 and t.dtype == torch.int64
    assert t.numel() >= LEAST[split]
    assert 0 <= t.min() and t.max() < 49152


@pytest.mark.parametrize("split", SPLITS)
def test_every_sequence_begins_with_a_special_token(tokens, split):
    from transformers import AutoTokenizer

    special = torch.tensor(AutoTokenizer.from_pretrained(model_folder("smollm2-135m")).all_special_ids)
    assert torch.isin(tokens[split][:, 0], special).all()


def test_no_sequence_is_in_two_splits(tokens):
    rows = {split: {row.numpy().tobytes() for row in t} for split, t in tokens.items()}
    assert not rows["train"] & rows["eval"]
    assert not rows["human"] & (rows["train"] | rows["eval"])


@pytest.mark.parametrize("split", SPLITS)
def test_sequences_are_varied(tokens, split):
    rows = tokens[split][:, 1:]
    assert len(rows.unique(dim=0)) > 0.99 * len(rows)
    assert len(rows.unique()) > 2000


def test_an_unknown_split_is_named():
    with pytest.raises(ValueError, match="split='test'; expected one of train, eval, human"):
        load_tokens("test")
