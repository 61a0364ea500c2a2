"""The book and the small book, built once for all tests that look at them."""

import re
import subprocess
import sys
from pathlib import Path

import publish
import pytest
import small_book
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"


@pytest.fixture(scope="session")
def four():
    return small_book.executed(small_book.chapter_four())


@pytest.fixture(scope="session")
def small(tmp_path_factory, four):
    folder = small_book.write(tmp_path_factory.mktemp("small"), four)
    status, said = small_book.build(folder)
    assert status == 0, said
    return folder / "_build" / "html"


@pytest.fixture(scope="session")
def published(tmp_path_factory, four):
    """The small book with an address stamped in, as publishing does it."""
    folder = small_book.write(tmp_path_factory.mktemp("published"), four)
    config = folder / "_config.yml"
    config.write_text(publish.stamp_config(config.read_text("utf-8"), "https://github.com/you/book"), "utf-8")
    status, warned = small_book.build(folder)
    assert status == 0, warned
    return folder / "_build" / "html"


@pytest.fixture
def visit(browser, small):
    contexts = []

    def open_(name="notebooks/04_values.html", **options):
        contexts.append(browser.new_context(**{"viewport": {"width": 1280, "height": 700}, **options}))
        page = contexts[-1].new_page()
        page.goto((small / name.split("#")[0]).as_uri() + "".join(re.findall("#.*", name)), wait_until="networkidle")
        return page

    yield open_
    for context in contexts:
        context.close()


def sources() -> list[Path]:
    names = ("_config.yml", "_toc.yml", "CITATION.cff", "recipes/registry.py", "artifacts/manifest.json")
    found = [ROOT / name for name in names]
    found += [p for p in (ROOT / "benchmarks").iterdir() if p.suffix in (".json", ".md") or p.name == "headlines.py"]
    for folder in ("book", "notebooks", "helpers"):
        found += [p for p in (ROOT / folder).rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    return found


@pytest.fixture(scope="session")
def site():
    """The built site: as it is if it is newer than its sources, else built first."""
    (ROOT / "_build").mkdir(exist_ok=True)
    with FileLock(ROOT / "_build" / "site.lock"):
        stamp = SITE / ".built"
        if not stamp.exists() or stamp.stat().st_mtime < max(p.stat().st_mtime for p in sources()):
            command = [Path(sys.executable).with_name("jupyter-book"), "build", ROOT, "-n", "-W", "--keep-going"]
            result = subprocess.run(command, capture_output=True, text=True)
            said = result.stdout + result.stderr
            warnings = [line for line in said.splitlines() if "WARNING" in line or "ERROR" in line]
            assert result.returncode == 0, "\n".join(warnings) or said[-2000:]
            stamp.touch()
    return SITE


@pytest.fixture(scope="session")
def address(site, serving):
    with serving(site) as address:
        yield address
