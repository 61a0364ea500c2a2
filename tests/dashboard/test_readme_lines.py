"""The README's own lines make a browser of a reader's dictionaries: run as they stand, beside the folders they name."""

import base64
import gzip
import json
import os
import re
from pathlib import Path

import pytest
from samples import seeded

from helpers.sae import build, save

README = Path(__file__).resolve().parents[2] / "README.md"


def block(name: str) -> str:
    """The one block of Python in the README that calls ``name``."""
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    (found,) = [text for text in blocks if f"{name}(" in text]
    return found


@pytest.fixture
def beside(tmp_path, monkeypatch, model_place, saelens):
    """A folder with everything the lines name: a model, a text, a dictionary of SAELens' and one of ours."""
    os.symlink(model_place, tmp_path / "my-model")
    os.symlink(saelens, tmp_path / "my-saelens-folder")
    save(build("topk", 32, 80, generator=seeded(2), k=5), tmp_path / "my-sae")
    (tmp_path / "my-text.txt").write_text("It was the best of times, it was the worst of times — <b>so far</b>.\n" * 40)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_readmes_lines_make_a_browser_of_both_kinds_of_folder(beside):
    exec(compile(block("write_browser"), "README.md", "exec"), {})
    about = (beside / "pages" / "data" / "about.js").read_text()
    sites = json.loads(about.split(", ", 1)[1].removesuffix(");\n"))["sites"]
    assert [(site["hook"], site["features"]) for site in sites] == [
        ("blocks.1.hook_resid_pre", 96),
        ("blocks.0.hook_mlp_out", 80),
    ]
    assert all(site["live"] > 10 for site in sites) and (beside / "pages" / "index.html").exists()
    for i in range(2):
        packed = (beside / "pages" / "data" / str(i) / "0.js").read_text().split('"')[3]
        cards = json.loads(gzip.decompress(base64.b64decode(packed)))
        shown = [card for card in cards if card["sets"][0]["count"]]
        assert all(card["label"] and card["sets"][0]["top"] and len(card["up"]) == 10 for card in shown)
        assert any("score" in card for card in shown)
