"""The feature browser in the book: written beside the chapters where its data are, and only then."""

import os
import re
import shutil
from pathlib import Path
from unittest.mock import patch

import features
import numpy as np
import pytest
import small_book
import torch
from samples import seeded

from helpers.dashboard import Words, collect, name_features
from helpers.runs import save_artifact
from helpers.sae import build

pytestmark = pytest.mark.browser
HOOK, OTHER = "blocks.2.hook_resid_pre", "blocks.2.hook_mlp_out"
VOCAB = [f" word{i}" for i in range(40)]


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """Two sites of 130 features over two sets of tokens, as the recipe leaves them."""
    folder = tmp_path_factory.mktemp("data") / "artifacts"
    tokens = {n: torch.randint(0, 40, (24, 20), generator=seeded(i)) for i, n in enumerate(("model", "human"))}
    saes = {hook: build("topk", 8, 130, generator=seeded(i), k=4) for i, hook in enumerate((HOOK, OTHER))}
    given = {}
    for i, name in enumerate(tokens):
        x = {hook: torch.randn(24, 20, 8, generator=seeded(9 + 3 * i + j)) for j, hook in enumerate(saes)}
        given[name] = [(range(24), x)]
    found = collect(None, tokens, saes, activations=given, sentences=2)
    for hook in saes:
        name_features(found, hook, VOCAB)

    def pack(path):
        found.small().save(path)
        Words(VOCAB).save(path / "words.xz")

    with patch.dict(os.environ, OPEN_THREADS_ARTIFACTS=str(folder)):
        for name, rows in tokens.items():
            file = lambda path, rows=rows: np.save(path.open("wb"), rows.numpy().astype(np.uint16))  # noqa: E731
            save_artifact(f"tokens/{name}.npy", file)
        save_artifact("dashboards", pack, tokens={name: f"tokens/{name}.npy" for name in tokens})
    return folder


@pytest.fixture(scope="module")
def book(tmp_path_factory, four, artifacts):
    """A book without data, and the same book once it has them, built twice."""
    folder = small_book.write(tmp_path_factory.mktemp("browsed"), four)
    html = folder / "_build" / "html"
    status, said = small_book.build(folder)
    assert status == 0 and not (html / "features").exists(), said
    shutil.copytree(artifacts, folder / "artifacts")
    status, said = small_book.build(folder)
    assert status == 0, said
    return folder


def test_pages_are_written_anew_only_when_something_changed(book):
    index = book / "_build" / "html" / "features" / "index.html"
    before = index.stat().st_mtime_ns
    assert small_book.build(book)[0] == 0 and index.stat().st_mtime_ns == before
    manifest = book / "artifacts" / "manifest.json"
    kept = manifest.read_text()
    assert features.key(book / "artifacts") is not None and features.key(book / "notebooks") is None
    wanted = features.key(book / "artifacts")
    digest = re.search(r'"dashboards/0.xz": "(\w+)"', kept)[1]
    manifest.write_text(kept.replace(digest, "0" * 64))
    assert features.key(book / "artifacts") != wanted
    status, said = small_book.build(book)  # a file that is not the recorded one stops the book
    manifest.write_text(kept)
    assert status != 0


def test_a_reader_finds_a_feature_with_nothing_from_elsewhere(book, browser):
    home = book / "_build" / "html"
    for scheme, paper in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(20, 23, 26)")):
        context = browser.new_context(color_scheme=scheme)
        page, asked = context.new_page(), []
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.goto((home / "features" / "index.html").as_uri() + f"#{OTHER}/70")
        page.wait_for_selector("#card .facts")
        assert f"{OTHER} · feature 70" in page.locator("#card").inner_text()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == paper
        page.locator("#query").fill("word7")
        page.locator("#list a", has_text="word7").nth(2).wait_for()
        page.goto((home / "features" / "index.html").as_uri() + "#sentences/1")
        page.wait_for_selector(".prose-tokens button")
        assert page.locator(".prose-tokens button").count() > 10
        fonts = [url for url in asked if url.endswith(".woff2")]
        assert fonts and all(Path(url.removeprefix("file://")).exists() for url in fonts)
        assert all(url.startswith("file://") for url in asked)
        context.close()
