"""The status page shows what was run again and agreed, and nothing else."""

import datetime
import json
import re
from types import SimpleNamespace

import chapters
import checked
import nbformat
import pytest
import status
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook


def rows(tab):
    return [row.locator("td").all_inner_texts() for row in tab.locator(".status-table tbody tr").all()]


def test_a_chapter_that_was_run_shows_day_time_and_versions_and_the_others_that_they_were_not(visit):
    tab = visit("book/status.html")
    four, five = rows(tab)
    assert four == ["4 · Values", "2030-01-02; changed since", "61 s"]
    assert five == ["5 · An older one", "not yet", "–"]
    assert tab.get_by_text("All on Python 3.11.0.").count() == 1


def test_on_a_phone_a_row_says_what_its_numbers_are(visit):
    tab = visit("book/status.html", viewport={"width": 375, "height": 700})
    before = "e => getComputedStyle(e, '::before').content"
    said = [one.evaluate(before) for one in tab.locator(".status-table tbody tr").first.locator("td p").all()]
    assert said == ["none", '"agreed: "', '"run time: "']


def test_versions_have_a_column_where_chapters_differ(tmp_path):
    made = {"seconds": 9, "load": 0.1, "checked": "2030-01-02", "cells": ""}
    names = [thread.notebook for thread in chapters.threads()]
    known = {name: {**made, "versions": {"numpy": f"{i % 2}.0"}} for i, name in enumerate(names[:2])}
    (tmp_path / "book").mkdir()
    directive = checked.Status(
        "status", [], {}, [], 1, 0, "", SimpleNamespace(document=document(tmp_path)), SimpleNamespace(reporter=None)
    )
    for same, found in ((False, [4]), (True, [3])):
        for one in known.values() if same else ():
            one["versions"] = {"numpy": "1.0"}
        (tmp_path / "book" / "status.json").write_text(json.dumps(known))
        tables = [node for node in directive.run() if node.tagname == "table"]
        assert [table[0]["cols"] for table in tables] == found


def document(folder):
    env = SimpleNamespace(srcdir=str(folder), note_dependency=lambda path: None)
    return SimpleNamespace(settings=SimpleNamespace(env=env))


def test_the_shipped_file_speaks_of_notebooks_that_are_there_in_the_form_that_the_command_writes():
    known = status.known()
    present = {thread.notebook for thread in chapters.threads() if thread.path.exists()}
    assert set(known) <= present
    for made in known.values():
        assert list(made) == ["seconds", "load", "checked", "cells", "versions"]
        assert datetime.date.fromisoformat(made["checked"]) <= datetime.date.today()
        assert 0 < made["seconds"] < 3600 and re.fullmatch("[0-9a-f]{16}", made["cells"])
        assert set(made["versions"]) == {"Python", *status.PACKAGES}


@pytest.fixture
def notebook(tmp_path):
    def write(printed="1", source="print(1)"):
        output = nbformat.v4.new_output("stream", text=f"{printed}\n")
        cells = [new_markdown_cell("# 4"), new_code_cell(source, outputs=[output], execution_count=1)]
        path = tmp_path / "04_values.ipynb"
        nbformat.write(
            new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "x"}}), path
        )
        return path

    return write


def test_only_a_notebook_that_agrees_is_written_down(notebook, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(status, "STATUS", tmp_path / "status.json")
    monkeypatch.setattr(status, "ROOT", tmp_path)
    (tmp_path / "notebooks").mkdir()
    path = notebook()
    (tmp_path / "notebooks" / path.name).write_bytes(path.read_bytes())
    assert status.main([str(path)]) == 0
    first = json.loads((tmp_path / "status.json").read_text())
    assert first["04_values"]["cells"] == checked.digest(path)
    assert status.main([str(notebook(printed="2"))]) == 1
    assert "not as committed: 04_values" in capsys.readouterr().out
    assert json.loads((tmp_path / "status.json").read_text()) == first


def test_the_digest_minds_what_cells_say_and_not_what_they_printed(notebook):
    first = checked.digest(notebook())
    assert checked.digest(notebook(printed="2")) == first != checked.digest(notebook(source="print(2)"))
