"""Publishing, rehearsed with a repository on this disk: what is stamped and pushed, what a second time changes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import publish as publish_tool
import pytest
import setup_cell
import small_book
import yaml

ROOT = Path(__file__).resolve().parents[2]


def git(folder, *arguments):
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def fork(tmp_path_factory, four):
    """A clone of the small book, ``origin`` its bare repository; nothing else in it was edited."""
    home = tmp_path_factory.mktemp("fork")
    git(home, "init", "--bare", "--quiet", "book.git")
    work = small_book.write(home / "work", four)
    for path in sorted((work / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        cell = nbformat.v4.new_code_cell(setup_cell.SOURCE, id="setup", metadata={"tags": ["remove-cell"]})
        notebook.cells.insert(1, cell)
        nbformat.write(notebook, path)
    (work / "tools").mkdir()
    for name in ("publish.py", "setup_cell.py"):
        shutil.copy(ROOT / "tools" / name, work / "tools")
    (work / ".gitignore").write_text("_build/\n__pycache__/\n")
    git(work, "init", "--quiet")
    git(work, "remote", "add", "origin", (home / "book.git").as_uri())
    commit(work, "Begin")
    git(work, "push", "--quiet", "origin", "main")
    return work


def commit(work, message):
    git(work, "add", "--all")
    git(work, "commit", "--quiet", "-m", message)


def publish(work):
    url = git(work, "remote", "get-url", "origin")
    who = {f"GIT_{role}_{what}": "a@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    command = [sys.executable, "tools/publish.py", url]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, env={**os.environ, **who})
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]
    return done.stdout, git(work, "ls-remote", "origin", "colab").split()[0]


def test_a_fork_is_published_and_a_second_time_only_what_changed_is_touched(fork):
    said, first = publish(fork)
    url = git(fork, "remote", "get-url", "origin").removesuffix(".git")
    assert "pushed  colab to origin" in said
    site = fork / "_build" / "publish" / "_build" / "html"
    for name in ("index.html", "404.html", ".nojekyll", "sitemap.xml", "changes.xml"):
        assert (site / name).exists(), name
    assert f'rel="canonical" href="{url}/"' in (site / "index.html").read_text("utf-8")
    assert f"<loc>{url}/notebooks/04_values.html</loc>" in (site / "sitemap.xml").read_text("utf-8")
    pushed = git(fork, "ls-tree", "-r", "--name-only", "origin/colab").split()
    assert pushed == ["notebooks/04_values.ipynb", "notebooks/05_older.ipynb"]
    assert f'ADDRESS = \\"{url}\\"' in git(fork, "show", "origin/colab:notebooks/04_values.ipynb")
    assert git(fork, "status", "--porcelain") == "" and git(fork, "branch", "--show-current") == "main"

    before = {path: path.read_bytes() for path in site.rglob("*") if path.is_file()}
    said, again = publish(fork)
    assert "changed 0 files" in said and again == first

    page = fork / "book" / "glossary.md"
    page.write_text(
        page.read_text("utf-8").replace("A feature that never fires", "A feature that fires never"), "utf-8"
    )
    commit(fork, "Say it better")
    said, again = publish(fork)
    assert "changed 1 files of the copy: book/glossary.md" in said and again == first
    assert "fires never" in (site / "book" / "glossary.html").read_text("utf-8")
    # chapter 4 quotes the glossary
    other = {path.relative_to(site).as_posix() for path in before if path.read_bytes() != before[path]}
    assert {name for name in other if name.endswith(".html")} == {"book/glossary.html", "notebooks/04_values.html"}, (
        other
    )

    path = fork / "notebooks" / "05_older.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[2].source += "\n\nMore."
    nbformat.write(notebook, path)
    commit(fork, "Say more")
    said, later = publish(fork)
    assert "changed 1 files of the copy: notebooks/05_older.ipynb" in said and later != first
    assert "More." in git(fork, "show", "origin/colab:notebooks/05_older.ipynb")

    git(fork, "rm", "--quiet", "README.md")
    git(fork, "commit", "--quiet", "-m", "Take out")
    publish(fork)
    assert not (fork / "_build" / "publish" / "README.md").exists()


def test_an_address_that_is_none_is_refused():
    done = subprocess.run([sys.executable, "tools/publish.py", "nowhere"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0 and "publish: expected an address such as" in done.stderr


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def jobs(path):
    return yaml.safe_load(path.read_text("utf-8"))["jobs"]


def events(path):
    return yaml.safe_load(path.read_text("utf-8"))[True]  # YAML reads the key `on` as a truth


def runs(path, name=None):
    """All lines that a job (or every job) of a file runs, with those of what it calls and of what it waits for."""
    lines = []
    for key, job in jobs(path).items():
        if name is None or key == name:
            lines += [line for step in job.get("steps", []) for line in step.get("run", "").splitlines()]
            lines += runs(ROOT / job["uses"]) if "uses" in job else []
            needs = job.get("needs", [])
            lines += [line for one in ([needs] if isinstance(needs, str) else needs) for line in runs(path, one)]
    return lines


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_are_valid_and_what_they_run_is_there(path):
    checker = Path(sys.executable).with_name("check-jsonschema")
    command = [checker, "--builtin-schema", "vendor.github-workflows", path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    targets = {line.split(":")[0] for line in (ROOT / "Makefile").read_text("utf-8").splitlines() if ":" in line}
    for job in jobs(path).values():
        for step in job.get("steps", []):
            for line in step.get("run", "").splitlines():
                word, *rest = line.split()
                assert word in ("git", "command", "make", ".ci/run"), line
                assert word != "make" or rest[0] in targets, line
                assert word != ".ci/run" or (ROOT / word).stat().st_mode & 0o100, line


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_a_workflow_waits_for_and_calls_is_there(path):
    for job in jobs(path).values():
        needs = job.get("needs", [])
        assert set([needs] if isinstance(needs, str) else needs) <= set(jobs(path))
        if "uses" in job:
            assert "workflow_call" in events(ROOT / job["uses"])


def test_nothing_is_published_before_the_checks_have_passed():
    publishing = [
        (path, name)
        for path in WORKFLOWS
        for name, job in jobs(path).items()
        for step in job.get("steps", [])
        if "deploy-pages" in step.get("uses", "")
    ]
    assert publishing
    for path, name in publishing:
        assert ".ci/run" in runs(path, name), f"{path.name}: {name}"


def test_a_request_and_a_push_to_main_are_checked():
    checked = {event for path in WORKFLOWS if ".ci/run" in runs(path) for event in events(path)}
    assert {"pull_request", "push"} <= checked


@pytest.mark.parametrize(
    ("url", "button", "colab"),
    [
        ("https://github.com/you/book", True, True), ("https://gitlab.com/you/book", True, False),
        ("https://codeberg.org/you/book", False, False), ("http://git.example.org/book", False, False),
        ("file:///srv/git/book", False, False),
    ],
)  # fmt: skip
def test_a_host_gets_the_buttons_that_it_can_serve(url, button, colab):
    stamped = yaml.safe_load(publish_tool.stamp_config((ROOT / "_config.yml").read_text("utf-8"), url))
    theme = stamped["sphinx"]["config"]["html_theme_options"]
    assert theme.get("use_repository_button", False) == button == ("repository_url" in theme)
    assert ("launch_buttons" in theme) == colab and (theme.get("repository_branch", "colab") == "colab")
