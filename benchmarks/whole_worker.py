"""One contender of ``whole.py``: a dictionary from nothing, in our environment or in the peers'. Prints its seconds."""

import json
import sys
import time

import numpy as np
import torch


def here(job: dict, rows: np.ndarray) -> float:
    from helpers.lm import activations, load_lm
    from helpers.sae import build, shuffled, train

    lm = load_lm(job["model"], dtype=torch.bfloat16 if job["half"] else torch.float32)
    ready = time.perf_counter()
    stream = activations(lm, torch.from_numpy(rows), f"blocks.{job['layer']}.hook_resid_pre", batch_size=32)
    generator = torch.Generator().manual_seed(0)
    sae = build("topk", lm.cfg.d_model, job["d_sae"], generator=generator, k=job["k"])
    batches = shuffled(stream, job["batch"], job["buffer"] * job["batch"], generator)
    train(sae, batches, steps=job["tokens"] // job["batch"], lr=3e-4, log_every=10**9)
    return ready


def saelens(job: dict, rows: np.ndarray) -> float:
    from datasets import Dataset
    from sae_lens import LanguageModelSAERunnerConfig, LanguageModelSAETrainingRunner, LoggingConfig
    from sae_lens import TopKTrainingSAEConfig as Config

    config = LanguageModelSAERunnerConfig(
        sae=Config(d_in=576, d_sae=job["d_sae"], k=job["k"], dtype="float32", device="cpu"),
        model_class_name="AutoModelForCausalLM",
        model_name=job["model"],
        hook_name=f"model.layers.{job['layer'] - 1}",  # what goes into the next layer
        dataset_path="given below",
        context_size=rows.shape[1],
        prepend_bos=False,
        training_tokens=job["tokens"],
        train_batch_size_tokens=job["batch"],
        n_batches_in_buffer=-(-job["buffer"] * job["batch"] // rows.shape[1]),  # which counts in contexts
        store_batch_size_prompts=32,
        lr=3e-4,
        device="cpu",
        autocast=job["half"],
        autocast_lm=job["half"],
        logger=LoggingConfig(log_to_wandb=False),
        n_checkpoints=0,
        checkpoint_path=None,
        output_path=None,
        verbose=False,
    )
    runner = LanguageModelSAETrainingRunner(config, override_dataset=Dataset.from_dict({"tokens": rows.tolist()}))
    ready = time.perf_counter()
    runner.run()
    return ready


if __name__ == "__main__":
    job, begun = json.loads(sys.argv[1]), time.perf_counter()
    rows = np.load(job["rows"]).astype(np.int64)
    ready = {"here": here, "SAELens": saelens}[job["library"]](job, rows)
    print(json.dumps({"loading": ready - begun, "rest": time.perf_counter() - ready}))
