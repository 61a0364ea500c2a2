"""The first code cell of every notebook, kept here once; a test holds the notebooks to it.

``ADDRESS`` is empty in the repository, which knows no address of its own. Publishing stamps it.
"""

SOURCE = """\
ADDRESS = ""  # where the book's repository is; filled in when the book is published

import importlib.metadata
import importlib.util
import subprocess
import sys
from pathlib import Path

here = Path.cwd()
home = next((p for p in [here, *here.parents, here / "open-threads"] if (p / "helpers" / "lm").is_dir()), None)
if home is None and importlib.util.find_spec("helpers") is None:
    if not ADDRESS:
        raise ModuleNotFoundError("Run this notebook inside a clone of its repository, or `pip install` that first.")
    home = here / "open-threads"
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", ADDRESS, str(home)], check=True)
    keep = home / "keep.txt"  # whatever torch is here stays
    torch = importlib.util.find_spec("torch") and importlib.metadata.version("torch")
    keep.write_text(f"torch=={torch}\\n" if torch else "")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", str(keep), "--editable", str(home)]
    subprocess.run(install, check=True)
if home is not None:
    sys.path.insert(0, str(home))
"""

UNSTAMPED = 'ADDRESS = ""'


def stamped(source: str, address: str) -> str:
    """``source`` with its address filled in."""
    if UNSTAMPED not in source:
        raise ValueError(f"setup cell: expected a line starting {UNSTAMPED!r}, found {source.splitlines()[:1]}")
    return source.replace(UNSTAMPED, f"ADDRESS = {address!r}".replace("'", '"'), 1)
