"""Files are whole or not there, and are what the manifest says."""

import json

import pytest

from helpers.runs import store


@pytest.fixture
def artifacts(tmp_path, monkeypatch):
    monkeypatch.setenv("OPEN_THREADS_ARTIFACTS", str(tmp_path / "artifacts"))
    return tmp_path / "artifacts"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_atomic_replaces_a_file_or_a_folder(tmp_path, kind):
    target = tmp_path / "here"
    for content in ("old", "new"):
        with store.atomic(target) as path:
            if kind == "folder":
                path.mkdir()
            (path / "a" if kind == "folder" else path).write_text(content)
            assert content == "old" or target.exists()
    assert (target / "a" if kind == "folder" else target).read_text() == "new"
    assert names(tmp_path) == ["here"]


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError])
def test_a_failed_write_leaves_what_was_there_and_nothing_else(tmp_path, kind, failure):
    target = tmp_path / "here"
    if kind == "folder":
        target.mkdir()
    inner = target / "a" if kind == "folder" else target
    inner.write_text("old")
    with pytest.raises(failure), store.atomic(target) as path:
        if kind == "folder":
            path.mkdir()
        (path / "a" if kind == "folder" else path).write_text("half")
        raise failure
    assert inner.read_text() == "old" and names(tmp_path) == ["here"]


def test_a_write_that_writes_nothing_is_an_error_and_loses_nothing(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "a").write_text("old")
    with pytest.raises(FileNotFoundError, match="nothing was written for .*here"), store.atomic(tmp_path / "here"):
        pass
    assert (tmp_path / "here" / "a").read_text() == "old" and names(tmp_path) == ["here"]


def test_an_artifact_is_recorded_with_hashes_and_origin(artifacts):
    store.save_artifact("tables/a.csv", lambda path: path.write_text("x\n1\n"), recipe="make a", seed=3)
    entry = json.loads((artifacts / "manifest.json").read_text())["tables/a.csv"]
    assert entry["sha256"] == {"tables/a.csv": "daff832f802000e645771a60983c76c963f6ee602a6230e45237bd360e91cc1a"}
    assert entry["bytes"] == 4 and entry["made"]["recipe"] == "make a" and entry["made"]["seed"] == 3
    assert {"on", "at"} <= entry["made"].keys()
    assert store.artifact("tables/a.csv").read_text() == "x\n1\n"


def folder_of_two(path):
    path.mkdir()
    (path / "a").write_text("a")
    (path / "b").write_text("b")


def test_every_file_of_a_folder_is_checked(artifacts):
    store.save_artifact("pair", folder_of_two)
    assert names(store.artifact("pair")) == ["a", "b"]
    (artifacts / "pair" / "b").write_text("c")
    with pytest.raises(OSError, match="'pair'.*b is corrupt.*make artifacts"):
        store.artifact("pair")
    (artifacts / "pair" / "b").unlink()
    with pytest.raises(OSError, match="'pair'.*b is missing"):
        store.artifact("pair")


def test_a_failed_artifact_leaves_file_and_manifest_as_they_were(artifacts):
    store.save_artifact("a", lambda path: path.write_text("old"))
    before = (artifacts / "manifest.json").read_text()

    def fail(path):
        path.write_text("half")
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        store.save_artifact("a", fail)
    assert store.artifact("a").read_text() == "old"
    assert (artifacts / "manifest.json").read_text() == before


def test_what_a_reduced_recipe_made_leaves_the_shipped_manifest_alone(artifacts):
    store.save_artifact("a", lambda path: path.write_text("shipped"))
    before = (artifacts / "manifest.json").read_text()
    store.save_artifact("reduced/a", lambda path: path.write_text("reduced"))
    assert (artifacts / "manifest.json").read_text() == before
    assert store.artifact("reduced/a").read_text() == "reduced" and store.artifact("a").read_text() == "shipped"
    (artifacts / "reduced" / "a").write_text("other")
    with pytest.raises(OSError, match="'reduced/a'.*a is corrupt"):
        store.artifact("reduced/a")


def test_an_unknown_artifact_is_named_with_those_there_are(artifacts):
    with pytest.raises(KeyError, match="'b' is not in .*none yet"):
        store.artifact("b")
    store.save_artifact("a", lambda path: path.write_text("x"))
    with pytest.raises(KeyError, match="'b' is not in .*known: a"):
        store.artifact("b")


def test_a_corrupt_manifest_is_named(artifacts):
    artifacts.mkdir()
    (artifacts / "manifest.json").write_text('{"a": ')
    with pytest.raises(OSError, match="manifest.json is corrupt"):
        store.artifact("a")


@pytest.mark.parametrize("content", ["", "0", "zz", "another text"])
def test_any_other_content_is_corrupt(artifacts, content):
    """Whether its hash comes before or after the one recorded."""
    store.save_artifact("a", lambda path: path.write_text("recorded"))
    recorded = store.sha256(artifacts / "a")
    (artifacts / "a").write_text(content)
    with pytest.raises(OSError, match=rf"sha256 {store.sha256(artifacts / 'a')[:12]}…, manifest says {recorded[:12]}…"):
        store.artifact("a")


@pytest.mark.parametrize("name", [".", "./a", "a/", "reduced", "manifest.json", "b/manifest.json", ".manifest.lock"])
def test_no_artifact_takes_the_place_of_the_folder_or_of_its_manifest(artifacts, name):
    store.save_artifact("kept", lambda path: path.write_text("kept"))
    with pytest.raises(ValueError, match="expected a relative path"):
        store.save_artifact(name, lambda path: path.write_text("x"))
    assert store.artifact("kept").read_text() == "kept" and names(artifacts.parent) == ["artifacts"]


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../a", "a/../../b"])
def test_artifacts_stay_inside_their_folder(artifacts, name):
    with pytest.raises(ValueError, match="expected a relative path"):
        store.save_artifact(name, lambda path: path.write_text("x"))
    assert not artifacts.exists()


@pytest.mark.parametrize("name", sorted(store.manifest()))
def test_every_shipped_artifact_is_the_one_recorded(name):
    assert store.artifact(name).exists()


def test_the_cache_is_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("OPEN_THREADS_CACHE", str(tmp_path / "cache"))
    assert store.cache_dir() == tmp_path / "cache" and (tmp_path / "cache").is_dir()


def test_folders_are_made_as_deep_as_they_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("OPEN_THREADS_CACHE", str(tmp_path / "a" / "b"))
    monkeypatch.setenv("OPEN_THREADS_ARTIFACTS", str(tmp_path / "c" / "d"))
    assert store.cache_dir() == store.cache_dir() == tmp_path / "a" / "b"
    for name in ("e/f/g", "e/f/g", "reduced/e/f/g"):
        assert store.save_artifact(name, lambda path: path.write_text("x")) == store.artifact(name)
    with store.atomic(tmp_path / "h" / "i" / "j") as path:
        path.write_text("x")
    assert (tmp_path / "h" / "i" / "j").read_text() == "x"


def test_a_failure_is_told_even_where_the_scratch_is_gone_already(tmp_path):
    with pytest.raises(KeyError, match="the reason"), store.atomic(tmp_path / "a") as path:
        path.parent.rmdir()
        raise KeyError("the reason")
    assert names(tmp_path) == []


def test_a_manifest_changes_where_an_artifact_does_and_nowhere_else(artifacts):
    for name in ("b", "a", "c"):
        store.save_artifact(name, lambda path: path.write_text("x"), seed=0, recipe="by hand")
    text = (artifacts / "manifest.json").read_text()
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n"
    assert list(store.manifest()) == ["a", "b", "c"]


def test_the_shipped_artifacts_lie_beside_the_package(monkeypatch):
    monkeypatch.delenv("OPEN_THREADS_ARTIFACTS", raising=False)
    assert (store.ROOT / "helpers" / "runs" / "store.py").samefile(store.__file__)
    assert store.artifacts_dir() == store.ROOT / "artifacts" and len(store.manifest()) > 10


@pytest.mark.parametrize(
    ("cpuinfo", "processor", "said"),
    [
        ("processor\t: 0\nmodel name\t: A: 2 GHz\nmodel name\t: B\n", "p", "A: 2 GHz, "),
        ("processor\t: 0\n", "p", "p, "),
        (None, "p", "p, "),
        (None, "", "m, "),
    ],
)
def test_a_machine_is_called_by_the_best_name_it_has(monkeypatch, cpuinfo, processor, said):
    def read(path):
        if cpuinfo is None:
            raise OSError
        return cpuinfo

    monkeypatch.setattr(store.Path, "read_text", read)
    monkeypatch.setattr(store.platform, "processor", lambda: processor)
    monkeypatch.setattr(store.platform, "machine", lambda: "m")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert store.hardware().startswith(said) and "cores, torch" in store.hardware()
