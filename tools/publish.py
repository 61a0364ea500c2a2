"""Build the site with an address stamped in, and prepare the branch that the Colab buttons point at.

    python tools/publish.py https://github.com/you/book

Writes a copy of the tracked files into ``_build/publish``: the address goes into ``_config.yml`` and into every
notebook's setup cell. The site is built from that copy, into ``_build/publish/_build/html``. The stamped notebooks
become a commit on the local branch ``colab``; it is pushed only if the remote ``origin`` is that very address.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import yaml
from setup_cell import UNSTAMPED, stamped

ROOT = Path(__file__).resolve().parent.parent
COPY = ROOT / "_build" / "publish"


def git(*arguments: str, **options) -> str:
    result = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True, **options)
    return result.stdout.strip()


def site_address(url: str) -> str:
    """Where GitHub Pages serves a repository; any other host serves the site where the repository is."""
    parts = urlsplit(url)
    if parts.netloc != "github.com":
        return url + "/"
    owner, name = parts.path.strip("/").split("/")[:2]
    host = f"{owner.lower()}.github.io"
    return f"https://{host}/" if name.lower() == host else f"https://{host}/{name}/"


def stamp_notebook(path: Path, url: str) -> None:
    notebook = nbformat.read(path, as_version=4)
    cell = next(cell for cell in notebook.cells if cell.cell_type == "code" and UNSTAMPED in cell.source)
    cell.source = stamped(cell.source, url)
    nbformat.write(notebook, path)


def stamp_config(path: Path, url: str) -> None:
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    sphinx = config["sphinx"]["config"]
    sphinx["ogp_site_url"] = sphinx["html_baseurl"] = site_address(url)
    theme = sphinx["html_theme_options"]
    theme |= {"repository_url": url, "repository_branch": "colab", "path_to_docs": "", "use_repository_button": True}
    if urlsplit(url).netloc == "github.com":  # Colab opens notebooks from there only
        theme["launch_buttons"] = {"colab_url": "https://colab.research.google.com"}
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def copy_tracked() -> None:
    shutil.rmtree(COPY, ignore_errors=True)
    for name in git("ls-files", "-z").split("\0"):
        if name and (ROOT / name).is_file():
            (COPY / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, COPY / name)


def colab_branch(url: str) -> str:
    """Commit the stamped notebooks, and nothing else, to the local branch ``colab``; leave the working tree alone."""
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "GIT_INDEX_FILE": str(Path(folder) / "index"), "GIT_WORK_TREE": str(COPY)}
        env["GIT_DIR"] = git("rev-parse", "--absolute-git-dir")
        subprocess.run(["git", "add", "--force", "--", "notebooks"], cwd=COPY, env=env, check=True)
        tree = git("write-tree", env=env)
    message = f"Notebooks of {git('rev-parse', '--short', 'HEAD')}, ready for Colab"
    commit = git("commit-tree", tree, "-m", message)
    git("update-ref", "refs/heads/colab", commit)
    return commit


def main(url: str) -> None:
    url = url.rstrip("/").removesuffix(".git")
    if urlsplit(url).scheme not in ("https", "http", "file"):
        sys.exit(f"publish: expected an address such as https://github.com/you/book, got {url!r}")
    copy_tracked()
    stamp_config(COPY / "_config.yml", url)
    for path in sorted((COPY / "notebooks").glob("[0-9]*.ipynb")):
        stamp_notebook(path, url)
    builder = Path(sys.executable).with_name("jupyter-book")
    subprocess.run([builder, "build", str(COPY), "-n", "-W", "--keep-going"], check=True)
    commit = colab_branch(url)
    remote = subprocess.run(
        ["git", "remote", "get-url", "origin"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    print(f"site    {COPY / '_build' / 'html'}\ncolab   {commit[:10]} on the local branch 'colab'")
    if remote.rstrip("/").removesuffix(".git") == url:
        git("push", "--force", "origin", "colab")
        print("pushed  colab to origin")
    else:
        print("not pushed: the remote 'origin' is not that address")


if __name__ == "__main__":
    main(*sys.argv[1:])
