"""Write tests/saelens/: small folders saved by SAELens itself, with the outputs it computes from them.

Run it with the peers' Python: ``.venv-peers/bin/python benchmarks/make_saelens_fixtures.py``.

Every tensor is random (also biases, thresholds and the norms of the decoder's rows), so that a reader which ignores
one of them is wrong. ``expected.safetensors`` holds ``x``, its codes (``encode``) and its reconstruction (``decode``).
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import torch
from sae_lens import SAE, TrainingSAE
from safetensors.torch import save_file

D_IN, D_SAE, BATCH = 16, 32, 12
TARGET = Path(__file__).resolve().parent.parent / "tests" / "saelens"

# folder → (class, configuration beyond the sizes, how it is saved)
CASES = {
    "standard": (SAE, {"architecture": "standard"}, "save_model"),
    "gated": (SAE, {"architecture": "gated"}, "save_model"),
    "jumprelu": (SAE, {"architecture": "jumprelu"}, "save_model"),
    "topk": (SAE, {"architecture": "topk", "k": 5}, "save_model"),
    "standard_uncentred": (SAE, {"architecture": "standard", "apply_b_dec_to_input": False}, "save_model"),
    "gated_uncentred": (SAE, {"architecture": "gated", "apply_b_dec_to_input": False}, "save_model"),
    "jumprelu_uncentred": (SAE, {"architecture": "jumprelu", "apply_b_dec_to_input": False}, "save_model"),
    "topk_rescaled": (SAE, {"architecture": "topk", "k": 5, "rescale_acts_by_decoder_norm": True}, "save_model"),
    "standard_checkpoint": (TrainingSAE, {"architecture": "standard", "l1_coefficient": 2.0}, "save_model"),
    "batchtopk": (TrainingSAE, {"architecture": "batchtopk", "k": 5.0}, "save_inference_model"),
    "standard_version_3": (SAE, {"architecture": "standard"}, "save_model"),
    "topk_version_3": (SAE, {"architecture": "topk", "k": 5}, "save_model"),
}


def randomise(sae: torch.nn.Module, generator: torch.Generator) -> None:
    """Fill every parameter; thresholds positive and near the codes, decoder rows of unequal norm."""
    with torch.no_grad():
        for name, parameter in sae.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            scale = {"W_enc": 0.4, "W_dec": 0.3}.get(name, 0.3)
            parameter.copy_(noise.abs() * 0.5 if name == "threshold" else noise * scale)
        if hasattr(sae, "topk_threshold"):
            sae.topk_threshold.fill_(0.6)


def old_config(config: dict) -> dict:
    """The same dictionary described as SAELens 3 did (the form of the public GPT-2 small dictionaries)."""
    old = {
        "architecture": "standard",
        "d_in": config["d_in"],
        "d_sae": config["d_sae"],
        "dtype": "torch.float32",
        "device": "cpu",
        "model_name": "gpt2-small",
        "hook_point": "blocks.10.hook_resid_pre",
        "hook_point_layer": 10,
        "hook_point_head_index": None,
        "activation_fn_str": "relu",
        "normalize_activations": False,
        "context_size": 128,
        "dataset_path": "openwebtext",
    }
    if config["architecture"] == "topk":
        old |= {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": config["k"]}}
    return old


def write(name: str, folder: Path) -> None:
    cls, config, method = CASES[name]
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    config = {"d_in": D_IN, "d_sae": D_SAE, "dtype": "float32", "device": "cpu", "metadata": {}} | config
    sae = cls.from_dict(config)
    randomise(sae, generator)
    shutil.rmtree(folder, ignore_errors=True)
    getattr(sae, method)(folder)
    path = folder / "cfg.json"
    saved = json.loads(path.read_text())
    if name.endswith("version_3"):
        saved = old_config(saved)
    path.write_text(json.dumps(saved, indent=1, sort_keys=True) + "\n")
    reader = TrainingSAE if name.endswith("checkpoint") else SAE
    loaded = reader.load_from_disk(folder)
    x = torch.randn(BATCH, D_IN, generator=generator)
    with torch.no_grad():
        codes = loaded.encode(x)
        decoded = loaded.decode(codes)
    save_file({"x": x, "encode": codes, "decode": decoded}, folder / "expected.safetensors")
    print(f"{name:22s} {loaded.cfg.architecture():10s} L0 {float((codes != 0).sum(-1).float().mean()):5.1f}")


if __name__ == "__main__":
    for case in sys.argv[1:] or CASES:
        write(case, TARGET / case)
