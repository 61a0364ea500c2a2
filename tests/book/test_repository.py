"""What the repository says about itself is so."""

import re
import subprocess
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import chapters
import nbformat
import publish
import pytest
import readme
import setup_cell
import yaml

ROOT = Path(__file__).resolve().parents[2]


def tracked(*patterns: str) -> list[Path]:
    result = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, text=True)
    if result.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in result.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_readme_quotes_the_notebooks_as_they_are():
    assert not readme.refresh(check=True), "README.md is out of date: run `python tools/readme.py`"


def test_the_sheet_of_answers_has_each_thread_once_and_every_name_in_it_leads_somewhere():
    ElementTree.register_namespace("", "http://www.w3.org/1998/Math/MathML")  # as those who write formulas do
    sheet = readme.sheet().decode()
    assert "ns0:" not in sheet
    ids = re.findall(r'\bid="([^"]+)"', sheet)
    assert len(ids) == len(set(ids)) > 100
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', sheet)) <= set(ids)
    there = [thread for thread in chapters.threads() if thread.path.exists()]
    told = [thread for thread in there if not (one := chapters.chapter(thread.path)).open and one.answer]
    heads = re.findall(r">(\d+) · ", sheet)
    assert heads == [str(thread.number) for thread in told] and len(heads) >= 9


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_make_command_in_the_prose_exists(page):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", (ROOT / page).read_text(), re.MULTILINE))
    assert named and named <= targets


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_file_linked_from_the_prose_exists(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / page).read_text()):
        assert (ROOT / target).exists(), target


def test_citation_names_what_a_citation_needs():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "version"} <= set(citation)
    assert citation["version"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_requirements_are_pinned_and_the_package_is_not():
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    assert all("==" in line for line in lines)
    loose = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert not any(bound in line for line in loose for bound in ("==", "<", "~="))


def test_every_page_of_the_book_is_in_its_table_of_contents():
    toc = (ROOT / "_toc.yml").read_text()
    for page in [*(ROOT / "book").glob("*.md"), *(ROOT / "notebooks").glob("[0-9]*.ipynb")]:
        assert f"{page.parent.name}/{page.stem}" in toc, f"{page.name} is not in _toc.yml"


def test_no_two_chapters_use_one_label():
    labels = []
    for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            labels += re.findall(r"^:label: *(\S+)", cell.source, re.MULTILINE)
            labels.append(cell.metadata.get("mystnb", {}).get("figure", {}).get("name"))
            named = chapters.boxes(cell.source) if cell.cell_type == "markdown" else []
            labels += [chapters.slug(f"{kind} {name}") for kind, name in named if name]
    labels = [label for label in labels if label]
    assert len(labels) > 20 and sorted(labels) == sorted(set(labels))


def test_the_repository_knows_no_address_of_its_own():
    for path in tracked("_config.yml", "Makefile", "tools", "notebooks", "book/*.md"):
        text = path.read_text(encoding="utf-8")
        assert "colab.research.google.com/github" not in text, path.name
    config = yaml.safe_load((ROOT / "_config.yml").read_text())["sphinx"]["config"]
    assert "repository_url" not in config["html_theme_options"] and not config["ogp_site_url"]


def test_stamping_fills_the_address_into_the_setup_cell_once():
    url = "https://github.com/you/book"
    source = setup_cell.stamped(setup_cell.SOURCE, url)
    assert source.splitlines()[0].startswith(f'ADDRESS = "{url}"')
    with pytest.raises(ValueError, match="setup cell"):
        setup_cell.stamped(source, url)


def test_pages_address_follows_from_the_repository():
    assert publish.site_address("https://github.com/You/book") == "https://you.github.io/book/"
    assert publish.site_address("https://github.com/you/you.github.io") == "https://you.github.io/"
