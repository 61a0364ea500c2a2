"""Tiny models with random weights: a GGUF file, and folders of several families."""

import torch
import transformers

from helpers.lm import model_folder

FAMILIES = ("GPT2", "Llama", "Llama, tied", "Mistral", "Qwen2", "Qwen3", "GPTNeoX", "Phi", "OPT")


def byte_alphabet():
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return list(bytes_to_unicode().values())


def write_gguf(path, d=16, layers=2, heads=2, kv=1, ff=32, seed=0):
    """A Llama with a byte-level tokenizer."""
    import gguf
    import numpy as np

    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *byte_alphabet(), "th", "the"]
    vocab, head = len(tokens), d // heads
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(layers)
    writer.add_context_length(64)
    writer.add_embedding_length(d)
    writer.add_feed_forward_length(ff)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(head)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(vocab)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * (vocab - 3))
    writer.add_token_merges(["t h", "th e"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    random = np.random.default_rng(seed)
    shapes = {"token_embd": (vocab, d), "output": (vocab, d)}
    for i in range(layers):
        shapes |= {f"blk.{i}.attn_q": (d, d), f"blk.{i}.attn_k": (kv * head, d), f"blk.{i}.attn_v": (kv * head, d)}
        shapes |= {f"blk.{i}.attn_output": (d, d), f"blk.{i}.ffn_gate": (ff, d), f"blk.{i}.ffn_up": (ff, d)}
        shapes |= {f"blk.{i}.ffn_down": (d, ff)}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", random.normal(0, 0.3, shape).astype(np.float32))
    for name in ["output_norm", *(f"blk.{i}.{part}_norm" for i in range(layers) for part in ("attn", "ffn"))]:
        writer.add_tensor(f"{name}.weight", np.ones(d, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_folder(place, family="Llama", d=32, layers=2):
    """A model of a family with the embedded model's words, as ``save_pretrained`` writes it."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder("smollm2-135m"))
    sizes = {"hidden_size": d, "num_hidden_layers": layers, "num_attention_heads": 4, "intermediate_size": 2 * d}
    if family == "GPT2":
        sizes = {"n_embd": d, "n_layer": layers, "n_head": 4}
    family, _, tied = family.partition(", ")
    if family in ("Llama", "Mistral", "Qwen2", "Qwen3"):
        sizes["num_key_value_heads"] = 2
    if family == "Qwen3":
        sizes["head_dim"] = 2 * d // 4  # heads are wider together than the stream, as in its own models
    if family == "OPT":
        sizes |= {"ffn_dim": sizes.pop("intermediate_size"), "word_embed_proj_dim": d}
    if tied:
        sizes["tie_word_embeddings"] = True
    config = getattr(transformers, f"{family}Config")(vocab_size=len(tokenizer), **sizes)
    config.bos_token_id = config.eos_token_id = config.pad_token_id = 0
    torch.manual_seed(0)
    kind = getattr(transformers, f"{family}LMHeadModel" if family == "GPT2" else f"{family}ForCausalLM")
    kind(config).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place
