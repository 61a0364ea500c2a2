"""The page for people with a model of their own: its lines run as they stand, beside small files of those names."""

import re
import shutil
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from models import FAMILIES, write_folder, write_gguf
from safetensors.torch import save_file
from samples import seeded

PAGE = Path(__file__).resolve().parents[2] / "book" / "your_model.md"
BLOCKS = {
    text.split("\n")[0].removeprefix("# ").split(":")[0]: text
    for text in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A model folder of each family, made when first asked for."""
    home, made = tmp_path_factory.mktemp("families"), {}
    return lambda family: made.get(family) or made.setdefault(family, write_folder(home / family, family))


@pytest.fixture
def beside(tmp_path, monkeypatch, folders):
    """What the lines name."""
    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folders("GPT2"), "my-model")
    write_gguf(tmp_path / "my-model.gguf")
    Path("my-text.txt").write_text("It was the best of times, it was the worst of times — <b>so far</b>.\n" * 40)
    rows = torch.nn.functional.normalize(torch.randn(96, 32, generator=seeded(5)), dim=1)
    np.savez("my-dictionary.npz", W_enc=rows.T.numpy(), W_dec=rows.numpy())
    Path("my-saelens-folder").mkdir()
    weights = {"W_enc": rows.T.contiguous(), "W_dec": rows, "b_enc": torch.zeros(96), "b_dec": torch.zeros(32)}
    save_file(weights, "my-saelens-folder/sae_weights.safetensors")
    Path("my-saelens-folder/cfg.json").write_text('{"architecture": "topk", "k": 6, "d_in": 32, "d_sae": 96}')


def said(name, capsys):
    exec(compile(BLOCKS[name], PAGE.name, "exec"), {})
    return capsys.readouterr().out


def test_every_block_is_tried_here():
    tried = {"a file", "a frontier point", "a feature browser", "a histogram with its nulls", "two arrays that encode"}
    assert set(BLOCKS) == tried


def test_a_file(beside, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("OPEN_THREADS_CACHE", str(tmp_path / "cache"))
    lines = said("a file", capsys).splitlines()
    nats = [float(line.split(": ")[1]) for line in lines]
    assert len(lines) == 3 and all(2 < n < 12 for n in nats) and nats[0] != nats[2] != nats[1]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_frontier_point(beside, capsys, folders, family):
    shutil.rmtree("my-model")
    shutil.copytree(folders(family), "my-model")
    line = said("a frontier point", capsys).splitlines()
    found = eval(line[0])
    assert 0 < found["l0"] <= 8 and found["fvu"] < 0.6
    clean, with_it, without = map(float, re.findall(r"\d+\.\d+", line[1]))
    assert abs(with_it - clean) < 0.5 and clean < 12 and without < 12


def test_a_feature_browser(beside, capsys):
    assert said("a feature browser", capsys).strip() == "open pages/index.html"
    assert Path("pages/index.html").exists() and list(Path("pages/data/0").glob("*.js"))


def test_a_histogram_with_its_nulls(beside, capsys):
    own, moment, random = map(float, re.findall(r"\d\.\d+", said("a histogram with its nulls", capsys)))
    assert abs(own - random) < 0.03 and abs(moment - random) < 0.06  # the rows are random here
    assert Path("nearest.png").stat().st_size > 1000


def test_two_arrays_that_encode(beside, capsys):
    line = said("two arrays that encode", capsys).splitlines()
    assert "TopK(d_model=32, d_sae=96, k=8" in line[0] and "tensor(8.)" in line[0]
    assert line[-1].startswith("torch.float32 again")
