"""The thread's own dictionary is read by name, from a folder in its format or not at all."""

import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch

from helpers.sae import load_saelens, load_source, sources

FORMAT = Path(__file__).parent / "saelens" / "standard"
NAME = "gpt2-small-res-jb"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OPEN_THREADS_CACHE", str(tmp_path))
    return tmp_path


def test_a_public_dictionary_is_read_from_a_folder_in_the_cache(cache):
    shutil.copytree(FORMAT, cache / "saelens" / NAME)
    torch.testing.assert_close(load_source(NAME).sae.W_dec, load_saelens(FORMAT).W_dec)
    assert load_source(NAME).page.format(feature=7).endswith("gpt2-small/10-res-jb/7")


def test_a_public_dictionary_is_fetched_file_by_file(cache, monkeypatch):
    asked = []

    def download(repository, file):
        asked.append((repository, file))
        return str(FORMAT / Path(file).name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert load_source(NAME).sae.d_sae == load_saelens(FORMAT).d_sae
    repository, inner, _ = sources.PUBLIC[NAME]
    assert asked == [(repository, f"{inner}/{file}") for file in sources.FILES]


def test_without_a_network_the_error_says_what_to_do(cache, monkeypatch):
    def download(*_):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(OSError, match=f"{NAME}.*network.*cfg.json and sae_weights.safetensors.*{NAME}.*shipped"):
        load_source(NAME)


def test_its_activations_are_centred_and_without_outliers(cache, monkeypatch):
    shutil.copytree(FORMAT, cache / "saelens" / NAME)
    x = torch.randn(50, 8) + 3.0
    x[7] = 100 * torch.randn(8)
    monkeypatch.setattr(sources, "_rows", lambda *_: x)
    kept = load_source(NAME).activations(4)
    assert len(kept) == 49 and kept.mean(1).abs().max() < 1e-5


def test_an_unknown_name_is_refused_with_those_known():
    with pytest.raises(ValueError, match="name='mine'.*smollm2-135m-standard.*gpt2-small-res-jb"):
        load_source("mine")


def test_a_shipped_dictionary_reconstructs_its_activations():
    source = load_source("smollm2-135m-standard")
    x = source.activations(2)
    assert x.shape[1] == source.sae.d_model and 200 < len(x) <= 254
    error = (x - source.sae(x)).pow(2).sum() / (x - x.mean(0)).pow(2).sum()
    assert error < 0.5


def test_another_tokenizer_reads_the_human_texts(monkeypatch):
    from helpers.lm import load_lm

    lm = load_lm()
    tokens = sources._retokenised(lm, 3)
    assert tokens.shape == (3, 128) and (tokens[:, 0] == lm.tokenizer.eos_token_id).all()
