"""One place decides where the model lies, and all that meets it follows: shown on a card that is pretended.

The live cells of the chapters, the lines that pages print for one's own model, and the recipes that ask a model are
run where :func:`helpers.lm.load_lm` finds a card. Of a chapter only the cells that need the model are run, and what
these need; of its explorers the first picture is drawn.
"""

import re
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch
from card import CARD, Card
from cells import CELLS, given_and_taken
from models import write_folder, write_gguf
from samples import seeded, shaken

import helpers.lm
import helpers.page
from helpers.definitions import TEMPLATES, centroid, definition_run, encode, find_heads, write
from helpers.lm import activations, load_lm, load_tokens, spliced_loss
from helpers.sae import SparseFeatures, build, feature_recovery, fvu, train

ROOT = Path(__file__).resolve().parents[1]
LIVE = [path for path, cells in CELLS.items() if any("load_lm()" in cell for cell in cells)]
PRINTED = {
    text.split("\n")[0]: text
    for page in ("README.md", "book/your_model.md")
    for text in re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.DOTALL | re.MULTILINE)
    if "load_lm" in text
}


def live(cells: list[str]) -> list[int]:
    """Numbers of the cells that have to do with the model, and of those that they need."""
    last, needs, picked = {}, [], set()
    for i, cell in enumerate(cells):
        made, taken = given_and_taken(cell)
        needs.append({last[name] for name in taken if name in last})
        picked |= {i} if "load_lm()" in cell or needs[i] & picked else set()
        last |= dict.fromkeys(made, i)
    for i in reversed(range(len(cells))):
        picked |= needs[i] if i in picked else set()
    return sorted(picked)


@pytest.fixture(autouse=True)
def no_windows():
    matplotlib.use("agg")
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def one_card():
    return Card()


@pytest.fixture
def card(one_card):
    with one_card:
        yield one_card


@pytest.fixture(scope="module")
def lm(one_card):
    """The model that the chapters ask, as :func:`load_lm` leaves it where there is a card."""
    with one_card:
        return load_lm()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny Llama, and beside it a GGUF file."""
    place = tmp_path_factory.mktemp("models")
    write_gguf(place / "my-model.gguf")
    return write_folder(place / "my-model", "Llama", layers=8)


# The card itself


def test_what_a_card_refuses(card):
    there, here = torch.zeros(3, device="cuda"), torch.ones(3)
    assert there.device == CARD == (there[1:] + 1).device and here.device.type == "cpu"
    for mixed in (
        lambda: there + here, lambda: here @ there, lambda: here[there.long()], lambda: torch.equal(there, here),
        lambda: torch.nn.functional.embedding(here.long(), there[:, None]), lambda: torch.cat([there, here]),
        lambda: torch.randn(3, device="cuda", generator=seeded()),
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match="expected"):
            mixed()
    with pytest.raises(TypeError, match="numpy"):
        there.numpy()
    assert (there * torch.tensor(2.0) + 1).tolist() == [1, 1, 1] == there[here.long()].add(1).tolist()
    assert (there.cpu() + here).device.type == "cpu" == there.to(here).device.type and (here.to(there) + there).is_cuda
    layer = torch.nn.Linear(3, 2).to("cuda")
    layer(there).sum().backward()
    assert layer.weight.device == layer.weight.grad.device == CARD


# What meets the model


@pytest.mark.slow
@pytest.mark.parametrize("path", LIVE, ids=lambda path: path.stem)
def test_a_chapters_live_cells_go_where_the_model_is(path, lm, card, monkeypatch):
    def drawn(draw, controls, *, alt, start=None, **_):
        first = {name: values[0] for name, values in controls.items()} | (start or {})
        return draw(**first), alt(**first) if callable(alt) else alt

    monkeypatch.setattr(helpers.page, "Explorer", drawn)
    monkeypatch.setattr(helpers.lm, "load_lm", lambda: lm)
    before = card.steps
    cells, space = CELLS[path], {"__name__": "__main__"}
    for i in live(cells):
        exec(compile(cells[i], f"{path.stem}, code cell {i + 1}", "exec"), space)
    assert lm.cfg.device == "cuda" and card.steps > before + 100
    assert torch.get_float32_matmul_precision() == "highest" and not torch.backends.cuda.matmul.allow_tf32


def test_no_chapter_asks_a_model_in_another_way():
    for path, cells in CELLS.items():
        if path not in LIVE:
            assert not any(re.search(r"helpers\.lm import[^#]*(load_lm|activations)", cell) for cell in cells), (
                path.stem
            )


@pytest.mark.parametrize("name", PRINTED)
def test_the_printed_lines_do_too(name, card, folder, tmp_path, monkeypatch):
    (tmp_path / "my-model").symlink_to(folder)
    (tmp_path / "my-model.gguf").symlink_to(folder.parent / "my-model.gguf")
    (tmp_path / "my-text.txt").write_text("It was the best of times, it was the worst of times. " * 40)
    for place, layer in (("my-saelens-folder", "topk"), ("my-sae", "topk")):
        helpers.sae.save(build(layer, 32, 64, generator=seeded(), k=4), tmp_path / place)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(helpers.lm, "load_lm", lambda name=folder: load_lm(name))
    before = card.steps
    exec(compile(PRINTED[name], name, "exec"), {})
    assert card.steps > before + 100


def test_dictionaries_take_what_is_there_and_measures_compare_it(card):
    x = torch.randn(40, 8, generator=seeded())
    sae, there = shaken("topk", dtype=torch.float32), x.to("cuda")
    assert sae(there).device.type == "cpu" and sae.cuda()(x).device == CARD
    assert fvu(there, sae.cpu()(there)) == pytest.approx(fvu(x, sae(x)))
    assert feature_recovery(sae.W_dec, there) == pytest.approx(feature_recovery(sae.W_dec, x))


@pytest.mark.parametrize("where", ["cpu", "cuda"])
def test_training_goes_on_where_the_dictionary_is(card, where):
    source = SparseFeatures(8, 8)
    sae = build("standard", 8, 24, generator=seeded(), sparsity=0.1).to(where)
    sae.silent_for[:5] = 10_000
    train(sae, lambda step: source.sample(64, seeded(step))[0].to("cuda"), steps=4, lr=1e-2, revive_at=(2,))
    assert sae.W_dec.device.type == where and int(sae.silent_for.max()) < 1000


def test_a_replacement_may_come_from_elsewhere(card, folder):
    lm, tokens, hook = load_lm(folder), load_tokens("eval")[:4, :12], "blocks.1.hook_resid_pre"
    sae = build("topk", 32, 64, generator=seeded(), k=4)
    mask = torch.ones_like(tokens, dtype=torch.bool)
    mask[1, 7:] = False
    assert lm.cfg.device == "cuda" and next(iter(activations(lm, tokens, hook, mask=mask))).device == CARD
    assert spliced_loss(lm, tokens, hook, sae, mask=mask) > 0 < spliced_loss(lm, tokens, hook, lambda x: x.cpu())


def test_definitions_are_asked_for_where_the_model_is(card, folder):
    lm = load_lm(folder)
    words = ("table", "dog", "idea", "river", "truth")
    prompts = encode(lm, TEMPLATES[0], words)
    assert definition_run(lm, prompts, 3.0, centre=centroid(lm)).logp.device == CARD
    assert len(write(lm, prompts, 2.0, length=2, generator=seeded())) == len(words)
    heads = find_heads(lm, [(TEMPLATES[0], words)])
    assert set(heads.role) >= {"A1", "A2"}
