"""Files: what the recipes made (``artifacts/``, hashed in ``manifest.json``) and what can be made again (the cache).

Every write is atomic: a temporary neighbour is filled, then renamed over the target, under a lock.
Every read of an artifact is checked against the SHA-256 in the manifest first.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_dir

ROOT = Path(__file__).resolve().parents[2]
NO_PLACE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)


def cache_dir() -> Path:
    """The folder for what can be made again: ``$OPEN_THREADS_CACHE``, else the platform's cache folder."""
    path = _cache()
    with _told(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def _cache() -> Path:
    return Path(os.environ.get("OPEN_THREADS_CACHE") or user_cache_dir("open-threads"))


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``. Where nothing can be written nobody else writes either, and none is needed.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from helpers.runs import locked
    >>> with tempfile.TemporaryDirectory() as folder, locked(Path(folder) / "a.lock"):
    ...     print("alone")
    alone
    """
    lock = FileLock(path)
    try:
        lock.acquire()
    except OSError as error:
        if error.errno not in NO_PLACE:
            raise
    try:
        yield
    finally:
        lock.release()


def artifacts_dir() -> Path:
    """The folder of shipped artifacts: ``$OPEN_THREADS_ARTIFACTS``, else ``artifacts/`` beside the package."""
    return Path(os.environ.get("OPEN_THREADS_ARTIFACTS") or ROOT / "artifacts")


def sha256(path: Path) -> str:
    """Hex SHA-256 of one file.

    >>> from helpers.runs import artifact, manifest, sha256
    >>> sha256(artifact("toys.csv")) == manifest()["toys.csv"]["sha256"]["toys.csv"]
    True
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def atomic(path: Path, size: int | None = None) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it takes ``path``'s place, on failure it is gone.

    The caller may create a file or a folder there. ``OSError`` where there is no room or no right to write says so, and
    how large it would be, in bytes, if ``size`` is given.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from helpers.runs import atomic
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic(Path(folder) / "one.txt") as path:
    ...         _ = path.write_text("1")
    ...     (Path(folder) / "one.txt").read_text()
    '1'
    """
    path = Path(path)
    with _told(path, size):
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            new = scratch / path.name
            yield new
            if not new.exists():
                raise FileNotFoundError(f"nothing was written for {path}, so it stays as it was")
            if path.is_dir():
                os.rename(path, scratch / f"replaced {path.name}")
            os.replace(new, path)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


@contextlib.contextmanager
def _told(path: Path, size: int | None = None) -> Iterator[None]:
    """Say of a failure to write, for want of room or right, what was to be written, how large it is and what to do."""
    try:
        yield
    except Exception as error:
        number = getattr(error, "errno", None) or (errno.ENOSPC if "No space left" in str(error) else None)
        of_another = str(getattr(error, "filename", None) or path.parent)
        if number not in NO_PLACE or "cannot be written" in str(error) or not of_another.startswith(str(path.parent)):
            raise
        there = next(p for p in path.absolute().parents if p.is_dir())
        what = f"{path}" + (f" ({size / 1e6:,.0f} MB)" if size else "") + f" cannot be written: {os.strerror(number)}"
        places = {"CACHE": _cache(), "ARTIFACTS": artifacts_dir()}
        known = [f"OPEN_THREADS_{name}=…" for name, place in places.items() if path.is_relative_to(place)]
        advice = f"Name another place: {known[0]}" if known else "Name another place."
        free = shutil.disk_usage(there).free / 1e6
        raise OSError(number, f"{what}; {free:,.0f} MB are free there. {advice}") from error


def _files(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def manifest(folder: Path | None = None) -> dict[str, dict]:
    """``manifest.json`` as a dict: artifact name → its files' hashes and how, when and where it was made.

    >>> from helpers.runs import manifest
    >>> sorted(manifest()["toys.csv"]), manifest()["toys.csv"]["made"]["recipe"]
    (['bytes', 'made', 'sha256'], 'python -m recipes.toys')
    """
    path = (folder or artifacts_dir()) / "manifest.json"
    try:
        return json.loads(path.read_text()) if path.exists() else {}
    except ValueError as error:
        raise OSError(f"{path} is corrupt: {error}. Restore it with git.") from error


def _home(name: str) -> Path:
    """The folder whose manifest names it: what a reduced recipe made, ``reduced/…``, is not part of the project."""
    return artifacts_dir() / "reduced" if name.startswith("reduced/") else artifacts_dir()


def _inside(name: str) -> bool:
    """Whether a path stays inside its folder, and is none of the manifest's own."""
    parts, own = Path(name).parts, ("manifest.json", ".manifest.lock")
    return not Path(name).is_absolute() and ".." not in parts and parts[-1] not in own and "\0" not in name


def artifact(name: str) -> Path:
    """Path of the artifact ``name`` (a file or a folder), after checking every hash.

    Raises
    ------
    KeyError
        ``name`` is not in the manifest.
    OSError
        A file is missing, or is not the one the manifest describes. The message names it.

    >>> from helpers.runs import artifact
    >>> artifact("toys.csv").name
    'toys.csv'
    >>> try:
    ...     artifact("toy.csv")
    ... except KeyError as error:
    ...     print(error.args[0][:30])
    artifact name='toy.csv' is not
    """
    if not isinstance(name, str):
        raise ValueError(f"name={name!r}; expected the name of an artifact, a str")
    entries = manifest(_home(name))
    if name not in entries:
        known = ", ".join(sorted(entries)) or "none yet"
        raise KeyError(f"artifact name={name!r} is not in {_home(name) / 'manifest.json'}; known: {known}")
    base = artifacts_dir()
    for file, expected in entries[name]["sha256"].items():
        path = base / file
        if not path.exists():
            raise OSError(f"artifact {name!r}: {path} is missing. Restore it with git, or run `make artifacts`.")
        seen = sha256(path)
        if seen != expected:
            raise OSError(
                f"artifact {name!r}: {path} is corrupt (sha256 {seen[:12]}…, manifest says {expected[:12]}…). "
                "Restore it with git, or run `make artifacts`."
            )
    return base / name


def save_artifact(name: str, write: Callable[[Path], object], **made) -> Path:
    """Let ``write(path)`` produce a file or folder, move it to ``artifacts/name`` and record it in the manifest.

    ``made`` is kept beside the hashes: say at least ``recipe`` (the command), ``seed`` and ``seconds``.
    Where and when are added here.

    >>> import tempfile
    >>> import os
    >>> from unittest.mock import patch
    >>> from helpers.runs import artifact, manifest, save_artifact
    >>> with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, OPEN_THREADS_ARTIFACTS=folder):
    ...     _ = save_artifact("one.txt", lambda path: path.write_text("1"), recipe="by hand", seed=0, seconds=0)
    ...     artifact("one.txt").read_text(), sorted(manifest()["one.txt"]["made"])
    ('1', ['at', 'on', 'recipe', 'seconds', 'seed'])
    """
    if not isinstance(name, str) or name in (".", "reduced") or Path(name).as_posix() != name or not _inside(name):
        raise ValueError(f"name={name!r}: expected a relative path inside artifacts/")
    if not callable(write):
        raise ValueError(f"write={write!r}; expected a function of the path to write to")
    try:
        json.dumps(made)
    except (TypeError, ValueError) as error:
        raise ValueError(f"made={made!r}: {error}; expected JSON values") from error
    base, home = artifacts_dir(), _home(name)
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / ".manifest.lock"):
        with atomic(base / name) as path:
            write(path)
        entries = manifest(home)
        entries[name] = {
            "sha256": {str(f.relative_to(base)): sha256(f) for f in _files(base / name)},
            "bytes": sum(f.stat().st_size for f in _files(base / name)),
            "made": {"on": hardware(), "at": datetime.now(UTC).strftime("%Y-%m-%d"), **made},
        }
        with atomic(home / "manifest.json") as path:
            path.write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n")
    return base / name


def hardware() -> str:
    """The machine in a few words: processor, cores, torch version."""
    import torch

    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), cpu)
    if torch.cuda.is_available():
        cpu = f"{torch.cuda.get_device_name()} + {cpu}"
    return f"{cpu}, {os.cpu_count()} cores, torch {torch.__version__}"
