"""What a reader has to load stays small on the scale of a whole model: sizes, of real words, as they are sent."""

import numpy as np
import pytest
import torch
import transformers
from samples import seeded

from benchmarks.dashboard import repeat, weights
from helpers.dashboard import Words, collect, write_browser
from helpers.lm import load_tokens, model_folder
from helpers.sae import build

pytestmark = pytest.mark.browser

WIDTH, SITES = 2304, 18  # as many features as the book's dictionaries, at as many sites


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Human text in two sets, a dictionary of random activations, with names, scores and losses of the usual length."""
    words = Words(transformers.AutoTokenizer.from_pretrained(model_folder("smollm2-135m")))
    text, d = load_tokens("human")[:128, :64].long(), 24
    sets = {"model": text[:64], "human": text[64:]}
    given = {n: [(range(64), {"a": torch.randn(64, 64, d, generator=seeded(i))})] for i, n in enumerate(sets)}
    sae = build("topk", d, WIDTH, generator=seeded(), k=32)
    found = collect(None, sets, {"a": sae}, activations=given)
    site, rng = found["a"], np.random.default_rng(0)
    assert (site.top.row >= 0).mean() > 0.9, "cards are full"
    tokens = words.shown(text[:, ::4].flatten().tolist())
    site.labels = [" · ".join(f"after “{t.strip()}”" for t in tokens[3 * i : 3 * i + 3]) for i in range(WIDTH)]
    site.scores, site.losses = rng.random((WIDTH, 3), np.float32), rng.random((WIDTH, 3), np.float32)
    made = write_browser(tmp_path_factory.mktemp("large") / "pages", found, words)
    repeat(made, SITES)
    return made


def test_a_whole_model_takes_little_to_look_at(browser, folder):
    page = browser.new_page()
    found = weights(page, folder, "blocks.0.hook_mlp_out", SITES * WIDTH)
    page.close()
    assert 20_000 < found["first_view"] <= 250_000, "page, style, script, what there is, one site's index"
    assert 2_000 < found["card"] <= 80_000, "a shard of 64 cards"
    assert found["indexes"] <= 250_000 * SITES, "the rest comes when somebody searches"
