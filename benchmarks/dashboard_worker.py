"""SAEDashboard's data for every feature of a dictionary, as it comes. Runs in the peers' environment.

Its runner with its default layout; activations are kept on disk between its groups of features (its ``cache_dir``),
so that it runs the model once. The clock begins when model, dictionary and tokens are there, and ends when all data
of all features is: no page is written.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from peak import peak
from sae_dashboard.sae_vis_data import SaeVisConfig
from sae_dashboard.sae_vis_runner import SaeVisRunner
from sae_lens import SAE
from safetensors.torch import load_file
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM, AutoTokenizer


def model(folder: str) -> TransformerBridge:
    """The model as ``helpers.lm.load_lm`` loads it."""
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    loaded.config.architectures = loaded.config.architectures or [type(loaded).__name__]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    bridge = TransformerBridge.boot_transformers(folder, hf_model=loaded, tokenizer=tokenizer, device="cpu")
    return bridge.eval().requires_grad_(False)


def main() -> None:
    asked = json.load(sys.stdin)
    torch.set_num_threads(asked["threads"])
    lm, sae = model(asked["model"]), SAE.load_from_disk(asked["dictionary"])
    tokens = load_file(asked["tokens"])["tokens"].long()
    config = SaeVisConfig(
        hook_point=asked["hook"], features=list(range(sae.cfg.d_sae)), ignore_positions=[0],
        cache_dir=Path(asked["cache"]),
    )  # fmt: skip
    before, wall, cpu = peak(), time.perf_counter(), time.process_time()
    data = SaeVisRunner(config).run(encoder=sae, model=lm, tokens=tokens)
    out = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    out |= {"before": before, "peak": peak()}
    groups = [d.sequence_data.seq_group_data[0].title for d in data.feature_data_dict.values()]
    out["largest"] = [float(title.split("= ")[1]) for title in groups]
    Path(asked["out"]).write_text(json.dumps(out))


if __name__ == "__main__":
    main()
