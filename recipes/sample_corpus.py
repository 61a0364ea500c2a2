"""Sample the `train` and `eval` token sets from the model itself, at temperature 1, from a fixed seed.

    python -m recipes sample_corpus [--tokens 2097152]

Half of the sequences continue `<|endoftext|>` (the separator between training documents), half continue the opening of
a chat. Each shard of 256 sequences has its own generator and is written atomically, so a killed run goes on where it
stopped and arrives at the same tokens on the same machine. (Across machines bf16 rounding may differ: the shipped
tokens are the reference, not the seed.) The recipe may be started several times at once: each process takes shards
that no other holds, so two processes of one thread each use two cores better than one process of two.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

import numpy as np
import torch
from filelock import FileLock, Timeout
from transformers import AttentionInterface, AutoModelForCausalLM, AutoTokenizer, StaticCache

from helpers.lm import model_folder
from helpers.runs import atomic, cache_dir, progress, save_artifact

from .command import options

CTX, SHARD, SEED = 128, 256, 20240424
STARTS = ("<|endoftext|>", "<|im_start|>user\n")


def grouped_attention(module, query, key, value, attention_mask, scaling=None, **_):
    """One decoding step of grouped-query attention over the filled part of a static cache.

    query (batch, heads, 1, d_head), key and value (batch, groups, length, d_head). The queries that share a key head
    form the rows of one small matrix product, so keys are never copied per head.
    """
    batch, heads, steps, d_head = query.shape
    groups, filled = key.shape[1], grouped_attention.filled
    assert steps == 1, "this attention is for one step at a time"
    q = query.view(batch, groups, heads // groups, d_head)
    scores = (q @ key[:, :, :filled].transpose(-1, -2)).float() * scaling
    out = scores.softmax(-1).to(q.dtype) @ value[:, :, :filled]
    return out.reshape(batch, 1, heads, d_head), None


AttentionInterface.register("grouped", grouped_attention)


def draw(logits: torch.Tensor, generator: torch.Generator, rows: int = 16) -> torch.Tensor:
    """One token a row by inverting the cumulative distribution; a few rows at a time stay in the processor's cache."""
    tokens = torch.empty(len(logits), 1, dtype=torch.long)
    uniform = torch.rand(len(logits), 1, generator=generator)
    for i in range(0, len(logits), rows):
        cumulative = logits[i : i + rows].float().softmax(-1).cumsum(-1)
        point = uniform[i : i + rows] * cumulative[:, -1:]
        tokens[i : i + rows] = torch.searchsorted(cumulative, point).clamp_max(logits.shape[1] - 1)
    return tokens


@torch.inference_mode()
def sample_shard(model, start: list[int], seed: int) -> np.ndarray:
    """(SHARD, CTX) tokens that begin with ``start`` and go on as the model does."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.tensor(start).repeat(SHARD, 1)
    cache = StaticCache(model.config, max_cache_len=CTX)
    fed = 0
    while True:
        for position in range(fed, tokens.shape[1]):
            grouped_attention.filled = position + 1
            step = tokens[:, position : position + 1]
            out = model(step, past_key_values=cache, position_ids=torch.full((1, 1), position), use_cache=True)
        fed = tokens.shape[1]
        if fed == CTX:
            return tokens.numpy().astype(np.uint16)
        tokens = torch.cat([tokens, draw(out.logits[:, -1], generator)], dim=1)


def main(argv: Sequence[str] | None = None) -> None:
    parser = options("sample_corpus", __doc__)
    parser.add_argument("--tokens", type=int, default=2**21, help="training tokens; evaluation gets a sixteenth more")
    args = parser.parse_args(argv)

    folder = model_folder("smollm2-135m")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    starts = [tokenizer(s, add_special_tokens=False).input_ids for s in STARTS]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="grouped").eval()

    n_train = -(-args.tokens // (SHARD * CTX))
    n_eval = -(-n_train // 16)
    begun = time.time()
    folder = cache_dir() / "corpus"
    folder.mkdir(exist_ok=True)
    paths = [folder / f"seed{SEED}-shard{i:04d}.npy" for i in range(n_train + n_eval)]
    for i, path in enumerate(progress(paths, desc="shards sampled")):
        with contextlib.suppress(Timeout), FileLock(f"{path}.lock", blocking=False):
            if not path.exists():
                tokens = sample_shard(model, starts[i % 2], SEED + i)
                with atomic(path) as scratch, open(scratch, "wb") as file:
                    np.save(file, tokens)
    for path in paths:  # wait for the shards that another process is still writing
        with FileLock(f"{path}.lock"):
            if not path.exists():
                raise OSError(f"{path} is missing: another process gave it up. Run the recipe again.")
    shards = [np.load(path, allow_pickle=False) for path in paths]
    for split, rows in {"eval": shards[:n_eval], "train": shards[n_eval:]}.items():
        tokens = np.concatenate(rows)
        save_artifact(
            f"tokens/{split}.npy",
            lambda path, tokens=tokens: np.save(path, tokens),
            recipe="python -m recipes.sample_corpus",
            seed=SEED,
            seconds=round(time.time() - begun),
            shape=list(tokens.shape),
            licence="CC0-1.0",
            origin="sampled at temperature 1 from SmolLM2-135M-Instruct (Apache-2.0), bf16, half after "
            "<|endoftext|>, half after the opening of a chat",
        )


if __name__ == "__main__":
    from recipes import sample_corpus

    sample_corpus.main()
