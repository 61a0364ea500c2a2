"""Features described: `collect` against SAEDashboard, its memory as tokens grow, and the browser's sizes and search.

    python -m benchmarks.dashboard [--rows N] [--features N] [--rounds N]

Prints one table and writes ``dashboard.json`` and ``dashboard.md`` beside this file. Both get the embedded model, one
of the book's dictionaries (as a SAELens folder) and the same tokens, each in a fresh process, in turns; the unit is
features × tokens a second. The clock runs from model, dictionary and tokens in memory to all data of all features.
The browser is then made of what was collected, its site repeated until there are as many as on a whole model.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from safetensors.torch import load_file, save_file

from benchmarks import report
from benchmarks.peak import peak
from helpers.runs import ROOT

PEERS = Path(os.environ.get("PEERS_ENV", ROOT / ".venv-peers")) / "bin" / "python"
HOOK = "blocks.6.hook_mlp_out"
DICTIONARY = ROOT / "artifacts" / "dictionaries" / f"standard-{HOOK}"
GROWTH = (1, 2, 8)  # times the tokens of the race
FEATURES = 41_472  # of the browser: those of 18 such dictionaries
QUERIES = ("the", "s", "word", "mlp_out", "129", "“", "zzzz", "6.hook_mlp/5")
TRIES = 7
TYPED = """async (query) => {
    const [box, status] = ["query", "status"].map((id) => document.getElementById(id));
    const seen = new Promise((done) => new MutationObserver(done).observe(status, {childList: true}));
    const start = performance.now();
    box.value = query;
    box.dispatchEvent(new Event("input"));
    await seen;
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    return performance.now() - start; }"""


def prepare(folder: Path, rows: int, features: int | None = None) -> dict:
    """The dictionary (its first ``features``) as SAELens writes one, tokens, and what both contenders are told."""
    from helpers.lm import load_tokens, model_folder
    from helpers.sae import load

    sae = load(DICTIONARY)
    (folder / "sae").mkdir(parents=True)
    weights = {key: getattr(sae, key).detach() for key in ("W_enc", "W_dec", "b_enc", "b_dec")}
    weights |= {key: weights[key][:features].contiguous() for key in ("W_dec", "b_enc")}
    weights["W_enc"] = weights["W_enc"][:, :features].contiguous()
    d_sae, d_model = weights["W_dec"].shape
    save_file(weights, folder / "sae" / "sae_weights.safetensors")
    about = {"architecture": "standard", "d_in": d_model, "d_sae": d_sae, "dtype": "float32", "device": "cpu"}
    about |= {"apply_b_dec_to_input": True, "normalize_activations": "none", "reshape_activations": "none"}
    (folder / "sae" / "cfg.json").write_text(json.dumps({**about, "metadata": {}}))
    tokens = load_tokens("train")
    for times in GROWTH:
        save_file({"tokens": tokens[: times * rows].int()}, folder / f"tokens{times}.safetensors")
    return {
        "hook": HOOK, "model": str(model_folder("smollm2-135m")), "dictionary": str(folder / "sae"),
        "tokens": str(folder / "tokens1.safetensors"), "cache": str(folder / "cache"),
        "threads": torch.get_num_threads(),
    }  # fmt: skip


def fresh(command: list[str], asked: dict, folder: Path) -> dict:
    """What a contender finds, in a process of its own."""
    out = folder / "out.json"
    subprocess.run(
        command, input=json.dumps({**asked, "out": str(out)}), text=True, check=True, cwd=ROOT,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    return json.loads(out.read_text())


def here(asked: dict, folder: Path, **options) -> dict:
    command = [sys.executable, "-c", "from benchmarks import dashboard; dashboard.work()"]
    return fresh(command, {**asked, **options}, folder)


def saedashboard(asked: dict, folder: Path) -> dict:
    shutil.rmtree(asked["cache"], ignore_errors=True)
    return fresh([str(PEERS), str(ROOT / "benchmarks" / "dashboard_worker.py")], asked, folder)


class Clock:
    """Seconds by the wall and of the processors since it was made, and the highest memory of the process (MiB)."""

    def __init__(self):
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def read(self) -> dict:
        return {
            "seconds": time.perf_counter() - self.wall,
            "cpu_seconds": time.process_time() - self.cpu,
            "peak": peak(),
        }


def work() -> None:
    """Collect, and if asked also name, and run the model alone; what is asked stands on standard input."""
    from helpers.dashboard import collect, name_features
    from helpers.lm import activations, load_lm
    from helpers.sae import load_saelens

    asked = json.load(sys.stdin)
    torch.set_num_threads(asked["threads"])
    lm, sae, tokens = load_lm(), load_saelens(asked["dictionary"]), load_file(asked["tokens"])["tokens"].long()
    out = {"before": Clock().read()["peak"]}
    clock = Clock()
    found = collect(lm, tokens, {asked["hook"]: sae})
    out |= clock.read() | {"largest": found[asked["hook"]].largest.round(3).astype(float).tolist()}
    if asked.get("names"):
        name_features(found, asked["hook"], lm.tokenizer)
        out["named"] = clock.read()
        found.save(asked["names"])
        clock = Clock()
        for _ in activations(lm, tokens, asked["hook"], 16):
            pass
        out["model"] = clock.read()
    Path(asked["out"]).write_text(json.dumps(out))


def race(asked: dict, folder: Path, rounds: int) -> dict[str, list[dict]]:
    """Both in turns; the largest activation of each feature must be the same."""
    turns: dict[str, list[dict]] = {"here": [], "SAEDashboard": []}
    for _ in range(rounds):
        if PEERS.exists():
            turns["SAEDashboard"].append(saedashboard(asked, folder))
        turns["here"].append(here(asked, folder, names=str(folder / "found")))
    largest = [turn.pop("largest") for turn in (*turns["here"], *turns["SAEDashboard"])]
    apart = max(abs(a - b) / max(1.0, b) for other in largest for a, b in zip(other, largest[0], strict=True))
    if apart > 1e-2:
        raise ValueError(f"largest activations differ by {apart:.1e}; expected the same features and tokens")
    return {name: runs for name, runs in turns.items() if runs}


def pages(folder: Path, asked: dict) -> Path:
    """A browser of what the race collected."""
    from transformers import AutoTokenizer

    from helpers.dashboard import Collected, write_browser

    tokens = {"text": load_file(asked["tokens"])["tokens"]}
    found = Collected.load(folder / "found", tokens)
    return write_browser(folder / "pages", found, AutoTokenizer.from_pretrained(asked["model"]))


def repeat(folder: Path, sites: int) -> None:
    """Make a browser's first site stand for ``sites`` of them: its features again, under other names."""
    data = folder / "data"
    head, text = (data / "about.js").read_text().split(", ", 1)
    about = json.loads(text.removesuffix(");\n"))
    about["sites"] = [{**about["sites"][0], "hook": f"blocks.{i}.hook_mlp_out"} for i in range(sites)]
    (data / "about.js").write_text(f"{head}, {json.dumps(about)});\n")
    for i in range(1, sites):
        (data / str(i)).mkdir(exist_ok=True)
        for path in (data / "0").iterdir():
            text = path.read_text().replace('take("0/', f'take("{i}/', 1)
            (data / str(i) / path.name).write_text(text)


def compressed(path: Path) -> int:
    """Bytes of a file as servers send it."""
    return len(gzip.compress(path.read_bytes(), 6))


def weights(page, folder: Path, hook: str, features: int) -> dict[str, int]:
    """Compressed bytes of what a page loads at first, for a card more (the largest of some), and for search."""
    asked: list[Path] = []
    page.on("request", lambda request: asked.append(folder / request.url.split(folder.name + "/")[1].split("#")[0]))

    def settled(expression: str) -> int:
        end = time.monotonic() + 300
        while not page.evaluate(expression):
            if time.monotonic() > end:
                raise TimeoutError(f"{expression} is not so after five minutes")
            page.wait_for_timeout(50)
        weight = sum(compressed(path) for path in set(asked))
        asked.clear()
        return weight

    page.goto((folder / "index.html").as_uri(), wait_until="load")
    out = {"first_view": settled("document.querySelectorAll('#list a').length > 20"), "card": 0}
    for feature in range(0, 512, 64):
        page.evaluate("address => { location.hash = address }", f"#{hook}/{feature}")
        shown = f"document.querySelector('#card .where')?.textContent.endsWith('feature {feature}')"
        out["card"] = max(out["card"], settled(shown))
    page.locator("#query").focus()
    out["indexes"] = settled(f"features.find('blocks', '', 'match').length === {features}")
    return out


def looked_at(folder: Path, sites: int, chromium: str) -> dict:
    """The pages of so many sites in a browser, from disk: bytes of what each step loads, milliseconds of searches."""
    from playwright.sync_api import sync_playwright

    flags = "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags.split())
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        features = len(json.loads(index(folder))["label"]) * sites
        out = {"features": features, "sites": sites, **weights(page, folder, "blocks.0.hook_mlp_out", features)}
        page.wait_for_timeout(500)
        found = "q => { const t = performance.now(); features.find(q, '', 'match'); return performance.now() - t; }"
        out["search"] = {q: [page.evaluate(found, q) for _ in range(TRIES)] for q in QUERIES}
        out["typed"] = {q: [page.evaluate(TYPED, q) for _ in range(TRIES)] for q in QUERIES}
        browser.close()
    return out


def index(folder: Path) -> bytes:
    """The first site's search index, unpacked."""
    return gzip.decompress(base64.b64decode((folder / "data/0/index.js").read_text().split('"')[3]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=64, help="sequences of 128 tokens in the race")
    parser.add_argument("--features", type=int, help="so many of the dictionary's; by default all")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder for the results")
    options = parser.parse_args()
    os.environ["OPEN_THREADS_BARS"] = "0"
    results = {**report.stamp(), "threads": torch.get_num_threads()}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        asked = prepare(folder, options.rows, options.features)
        tokens = load_file(asked["tokens"])["tokens"]
        d_sae, d_model = load_file(folder / "sae" / "sae_weights.safetensors")["W_dec"].shape
        results["sizes"] = {"d_sae": d_sae, "d_model": d_model, "tokens": tokens.numel(), "hook": HOOK}
        results["race"] = race(asked, folder, options.rounds)
        results["growth"] = {"1": median(turn["peak"] for turn in results["race"]["here"])}
        for times in GROWTH[1:]:
            more = here({**asked, "tokens": str(folder / f"tokens{times}.safetensors")}, folder)
            results["growth"][str(times)] = more["peak"]
        known = (os.environ.get("CHROMIUM"), *map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
        if chromium := next(filter(None, known), None):
            made, sites = pages(folder, asked), round(FEATURES / d_sae)
            repeat(made, sites)
            results["browser"] = looked_at(made, sites, chromium)
    report.keep(results, report.dashboard(results), options.out, "dashboard")


if __name__ == "__main__":
    from benchmarks import dashboard

    dashboard.main()
