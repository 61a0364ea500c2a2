"""``load_saelens`` on folders that SAELens wrote (``benchmarks/make_saelens_fixtures.py``), and on broken ones."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers.sae import architecture, load_saelens

FOLDERS = sorted(path.parent for path in (Path(__file__).parent / "saelens").glob("*/cfg.json"))
READ_AS = {"batchtopk": "jumprelu"}  # SAELens saves a trained BatchTopK dictionary as JumpReLU


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.name)
def test_codes_and_reconstructions_are_those_of_saelens(folder):
    sae = load_saelens(folder)
    expected = load_file(folder / "expected.safetensors")
    assert architecture(sae) == READ_AS.get(folder.name, folder.name.split("_")[0])
    with torch.no_grad():
        codes = sae.encode(expected["x"])
        assert (codes - expected["encode"]).abs().max() < 1e-5
        assert (sae.decode(codes) - expected["decode"]).abs().max() < 1e-5
        assert (sae(expected["x"]) - expected["decode"]).abs().max() < 1e-5


def test_every_architecture_of_the_format_has_a_folder():
    assert {"standard", "gated", "jumprelu", "topk"} <= {folder.name for folder in FOLDERS}


@pytest.fixture
def folder(tmp_path) -> Path:
    return Path(shutil.copytree(FOLDERS[0].parent / "standard", tmp_path / "sae"))


def rewrite(folder: Path, **changes) -> None:
    config = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps({**config, **changes}))


def replace(folder: Path, name: str, value: torch.Tensor | None) -> None:
    tensors = load_file(folder / "sae_weights.safetensors")
    tensors = {k: v for k, v in {**tensors, name: value}.items() if v is not None}
    save_file(tensors, folder / "sae_weights.safetensors")


@pytest.mark.parametrize("file", ["cfg.json", "sae_weights.safetensors"])
def test_a_missing_file_is_named(folder, file):
    (folder / file).unlink()
    with pytest.raises(FileNotFoundError, match=file):
        load_saelens(folder)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_saelens(tmp_path / "nowhere")


def test_a_truncated_weights_file_is_named(folder):
    path = folder / "sae_weights.safetensors"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises((OSError, ValueError), match="sae_weights.safetensors"):
        load_saelens(folder)


def test_a_configuration_that_is_not_json_is_named(folder):
    (folder / "cfg.json").write_text("{")
    with pytest.raises(ValueError, match="cfg.json"):
        load_saelens(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "transcoder"}, "transcoder"),
        ({"normalize_activations": "layer_norm"}, "normalize_activations"),
        ({"d_sae": 33}, "33"),
        ({"activation_fn": "tanh-relu"}, "activation_fn='tanh-relu'; expected 'relu' or 'topk'"),
        ({"activation_fn": "topk"}, "k=None; expected an integer from 1 to d_sae=32"),
        ({"activation_fn": "topk", "activation_fn_kwargs": {"k": 33}}, "k=33; expected an integer from 1 to"),
        ({"architecture": "topk", "k": "many"}, "k='many'; expected an integer"),
        ({"architecture": "gated"}, "no tensor 'b_gate', which architecture='gated' needs"),
    ],
)
def test_a_configuration_that_cannot_be_honoured_is_refused(folder, changes, message):
    rewrite(folder, **changes)
    with pytest.raises(ValueError, match=message):
        load_saelens(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("b_enc", None),
        ("b_enc", torch.zeros(31)),
        ("W_dec", torch.zeros(32, 15)),
        ("W_enc", torch.full((16, 32), torch.nan)),
        ("W_enc", torch.zeros(16)),
        ("threshold", torch.zeros(32)),
    ],
)
def test_a_bad_tensor_is_named(folder, name, value):
    replace(folder, name, value)
    with pytest.raises(ValueError, match=name):
        load_saelens(folder)


def test_factors_of_a_finetuned_decoder_are_in_its_rows(folder):
    plain, factors = load_saelens(folder), torch.linspace(0.5, 2, 32)
    replace(folder, "scaling_factor", factors)
    torch.testing.assert_close(load_saelens(folder).W_dec, plain.W_dec * factors[:, None])
