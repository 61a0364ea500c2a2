"""Build the site with an address stamped in, and prepare the branch that the Colab buttons point at.

    python tools/publish.py https://github.com/you/book

Keeps a copy of the tracked files in ``_build/publish``: the address goes into ``_config.yml`` and into every notebook's
setup cell. The site is built from that copy, into ``_build/publish/_build/html``. The stamped notebooks become a commit
on the local branch ``colab``; it is pushed only if the remote ``origin`` is that very address. Done a second time, it
touches what has changed: other files of the copy, other pages, and the branch only if a notebook is another one.
"""

from __future__ import annotations

import os
import re
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
CHAPTER = re.compile(r"notebooks/[0-9][^/]*\.ipynb")


def git(*arguments: str, **options) -> str:
    result = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True, **options)
    return result.stdout.strip()


def asked(*arguments: str) -> str:
    """What git answers, or nothing where it has no answer."""
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True).stdout.strip()


def site_address(url: str) -> str:
    """Where GitHub Pages serves a repository; any other host serves the site where the repository is."""
    parts = urlsplit(url)
    if parts.netloc != "github.com":
        return url + "/"
    owner, name = parts.path.strip("/").split("/")[:2]
    host = f"{owner.lower()}.github.io"
    return f"https://{host}/" if name.lower() == host else f"https://{host}/{name}/"


def stamp_notebook(text: str, url: str) -> str:
    notebook = nbformat.reads(text, as_version=4)
    cell = next(cell for cell in notebook.cells if cell.cell_type == "code" and UNSTAMPED in cell.source)
    cell.source = stamped(cell.source, url)
    return nbformat.writes(notebook) + "\n"


def stamp_config(text: str, url: str) -> str:
    config = yaml.safe_load(text)
    sphinx = config["sphinx"]["config"]
    sphinx["ogp_site_url"] = sphinx["html_baseurl"] = site_address(url)
    theme, host = sphinx["html_theme_options"], urlsplit(url).netloc
    if host in ("github.com", "gitlab.com", "bitbucket.org"):  # the theme draws no button for others
        where = {"repository_url": url, "repository_branch": "colab", "path_to_docs": ""}
        theme |= {**where, "use_repository_button": True}
    if host == "github.com":  # Colab opens notebooks from there only
        theme["launch_buttons"] = {"colab_url": "https://colab.research.google.com"}
    return yaml.safe_dump(config, sort_keys=False)


def content(name: str, url: str) -> bytes:
    """A tracked file as it is published."""
    stamp = stamp_config if name == "_config.yml" else stamp_notebook if CHAPTER.fullmatch(name) else None
    data = (ROOT / name).read_bytes()
    return stamp(data.decode(), url).encode() if stamp else data


def bring_up_to_date(url: str) -> list[str]:
    """Write what is new or another one into the copy, take out what is tracked no more; the names of all these."""
    names = {name for name in git("ls-files", "-z").split("\0") if name and (ROOT / name).is_file()}
    listing = COPY / "_build" / "tracked.txt"
    if not listing.exists():
        shutil.rmtree(COPY, ignore_errors=True)
    gone = set(listing.read_text("utf-8").splitlines()) - names if listing.exists() else set()
    for name in gone:
        (COPY / name).unlink(missing_ok=True)
    changed = sorted(gone)
    for name in sorted(names):
        path, data = COPY / name, content(name, url)
        if not path.is_file() or path.read_bytes() != data:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            shutil.copymode(ROOT / name, path)
            changed.append(name)
    listing.parent.mkdir(parents=True, exist_ok=True)
    listing.write_text("\n".join(sorted(names)), "utf-8")
    return changed


def colab_branch() -> str:
    """The stamped notebooks, and nothing else, on the local branch ``colab``; the working tree is left alone."""
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "GIT_INDEX_FILE": str(Path(folder) / "index"), "GIT_WORK_TREE": str(COPY)}
        env["GIT_DIR"] = git("rev-parse", "--absolute-git-dir")
        subprocess.run(["git", "add", "--force", "--", "notebooks"], cwd=COPY, env=env, check=True)
        tree = git("write-tree", env=env)
    for before in ("refs/heads/colab", "refs/remotes/origin/colab"):
        if asked("rev-parse", "--verify", "--quiet", before + "^{tree}") == tree:
            commit = git("rev-parse", before)
            break
    else:
        message = f"Notebooks of {git('rev-parse', '--short', 'HEAD')}, ready for Colab"
        commit = git("commit-tree", tree, "-m", message)
    git("update-ref", "refs/heads/colab", commit)
    return commit


def main(url: str) -> None:
    url = url.rstrip("/").removesuffix(".git")
    if urlsplit(url).scheme not in ("https", "http", "file"):
        sys.exit(f"publish: expected an address such as https://github.com/you/book, got {url!r}")
    changed = bring_up_to_date(url)
    print(f"changed {len(changed)} files of the copy" + (f": {', '.join(changed)}" if len(changed) < 6 else ""))
    builder = Path(sys.executable).with_name("jupyter-book")
    subprocess.run([builder, "build", str(COPY), "-n", "-W", "--keep-going"], check=True)
    ours = asked("remote", "get-url", "origin").rstrip("/").removesuffix(".git") == url
    if ours:
        asked("fetch", "--quiet", "origin", "+colab:refs/remotes/origin/colab")
    commit = colab_branch()
    print(f"site    {COPY / '_build' / 'html'}\ncolab   {commit[:10]} on the local branch 'colab'")
    if ours:
        git("push", "--force", "origin", "colab")
        print("pushed  colab to origin")
    else:
        print("not pushed: the remote 'origin' is not that address")


if __name__ == "__main__":
    main(*sys.argv[1:])
