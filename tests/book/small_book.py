"""A book of two chapters with this repository's own configuration: what the notation can say, and what it must refuse.

Chapter 4 speaks the notation of CONTRIBUTING.md, chapter 5 the older one of roles and fences. Only the notebooks and
pages are made here; extensions, styles, templates and ``_config.yml`` are the repository's.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parents[2]

OPENING = """\
**No.** Old values bring back [11 of 16](#ch04_back) words, old keys
[−0.02 nats](#ch04_keys) of them; "chance" is another matter.
"""

NUMBERS = """\
from helpers.evidence import number

number("ch04_back", 11, "{:.0f} of 16", interval=(9, 13), covers="95%, over words", null="1 of 16, by chance")
number("ch04_keys", -0.021, "{:.2f} nats", interval=(-0.1, 0.05), covers="95%, over 5 seeds <b> & 'texts'", null=0.0)
number("ch04_words", 110, "d", covers="exact")
"""

PROSE = """\
## The old values carry it

The old values bring back [11 of 16](#ch04_back) words, of [110](#ch04_words) in all, see [Figure 4.2](#fig-ch04-values)
and [Theorem 4.2](#theorem-half-of-it). [Till 2024](#till2024true) calls it [shrinkage](#shrinkage); a
[dead feature](#dead-feature) has none. At $s = 100$ and `s = 1000` it is the same, as
[the verdict's section](#what-we-say) says, and [the toy](#exercise-by-hand).

| claim | measured | null |
|---|---|---|
| it is back | [11 of 16](#ch04_back) | by luck |

> **Theorem.** An unnamed one, so that the next is the second.

> **Theorem** (half of it). Let $a$ be a vector. Then
>
> $$ \\lVert a \\rVert \\ge 0 $$
>
> and that is [110](#ch04_words).

> **Proof.** By *inspection*.

> **Proof** (another way). By *hand*.

> **Proof.** And again.

> **Exercise** (by hand). Compute it.

<details><summary>Solution & more</summary>

- a list, with [110](#ch04_words)

| a | b |
|---|---|
| 1 | 2 |

$$ 1 + 1 = 2 $$

```python
print("code")
```

> **Lemma** (inside). A box in a fold.

</details>

> An ordinary quote.

## What we say

> **Verdict.** It holds: [−0.02 nats](#ch04_keys).
"""

PICTURE = """\
import matplotlib.pyplot as plt

fig, ax = plt.subplots(figsize=(4, 2.4))
ax.bar(["keys", "values"], [0, 11])
plt.show()
"""

TABLE = """\
from IPython.display import HTML

one_name_that_goes_on, another_name_that_goes_on = "keys", "values"
HTML('<table border="1" class="dataframe"><tbody><tr><th>' + one_name_that_goes_on + "</th><td>0</td></tr><tr><th>" + another_name_that_goes_on + "</th><td>11</td></tr></tbody></table>")
"""  # noqa: E501 (a long line, to be wrapped)

OLDER = """\
# 5 · An older chapter

It quotes {glue:text}`ch05_old`, cites {cite}`till2024true` and the number [11 of 16](#ch04_back) of chapter 4.

```{prf:theorem} Old
:label: thm-old
Nothing.
```

See {prf:ref}`thm-old`.

```{admonition} Verdict
:class: verdict

{glue:text}`ch05_verdict`
```
"""

INDEX = """\
# Small

```{threads}
```

Over all, [11 of 16](#ch04_back) words come back, for [110](#ch04_words).

## Cite this

```{cite-this}
```
"""

VERDICTS = """\
# Verdicts

All answers in one table.

```{verdict-table}
```
"""

STATUS = """\
{"04_values": {"seconds": 61, "load": 0.2, "checked": "2030-01-02", "cells": "none", "versions": {"Python": "3.11.0"}}}
"""

CHANGES = """\
- {date: 2030-01-02, title: Chapter 5 <&>, page: notebooks/05_older, text: Told again & again.}
- {date: 2030-01-01, title: Chapter 4, page: notebooks/04_values, text: New.}
"""

GLOSSARY = """\
# Glossary

Two words of this book.

:::{glossary}
dead feature
  A feature that never fires {cite}`till2024true`.

shrinkage
  The bias of a code towards zero, $x$ < <b>y</b>.
:::
"""

THREADS = """\
- {number: 4, title: Values, notebook: 04_values, question: "Do the old values do it?", held_against: chance, seeds: 12}
- {number: 5, title: An older one, notebook: 05_older, question: "Does it still work?"}
- {number: 6, title: Open, notebook: 06_open, question: "And this?"}
"""

BIB = """\
@misc{till2024true,
  title = {{Do sparse autoencoders find true features?}},
  author = {Till, Demian},
  year = {2024},
  note = {A post with < and &}
}
"""

TOC = """\
format: jb-book
root: book/index
chapters:
  - file: notebooks/04_values
  - file: notebooks/05_older
  - file: book/verdicts
  - file: book/glossary
  - file: book/references
  - file: book/status
  - file: book/changes
"""


def picture_cell(*tags: str, name: str, caption: str):
    figure = {"image": {"alt": f"Bars of what comes back, {name}"}, "figure": {"caption": caption, "name": name}}
    return new_code_cell(PICTURE, metadata={"tags": ["hide-input", *tags], "mystnb": figure})


def chapter_four() -> nbformat.NotebookNode:
    """A chapter in the notation, as its author writes it; not executed."""
    return new_notebook(
        cells=[
            new_markdown_cell("# 4 · Old values bring the word back"),
            new_markdown_cell(OPENING, metadata={"tags": ["opening"]}),
            new_code_cell("width = 3", metadata={"tags": ["hide-input"]}),
            picture_cell("answer-figure", name="fig-ch04-answer", caption="What comes back."),
            new_markdown_cell("## What is asked of [110](#ch04_words) words\n\nTwo ways to the word."),
            picture_cell("drawing", name="fig-ch04-values", caption="Two ways."),
            new_code_cell(NUMBERS, metadata={"tags": ["hide-input"]}),
            new_markdown_cell(PROSE),
            new_code_cell(TABLE, metadata={"table": {"caption": "What comes back <of it>."}}),
        ],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )


def chapter_five() -> nbformat.NotebookNode:
    def glued(key: str, text: str):
        scrapbook = {"scrapbook": {"name": key, "mime_prefix": "application/papermill.record/"}}
        return new_output("display_data", {"application/papermill.record/text/plain": repr(text)}, metadata=scrapbook)

    cell = new_code_cell("glue(…)", metadata={"tags": ["remove-cell"]}, execution_count=1)
    cell.outputs = [glued("ch05_old", "12%"), glued("ch05_verdict", "It is as it was, 12% of it.")]
    return new_notebook(cells=[cell, new_markdown_cell(OLDER)], metadata=chapter_four().metadata)


def executed(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    return notebook


def write(folder: Path, four: nbformat.NotebookNode) -> Path:
    """The sources of the small book, with ``four`` as its chapter 4."""
    for name in ("book", "notebooks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for path in (ROOT / "book").glob("_*/"):
        shutil.copytree(path, folder / "book" / path.name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("_config.yml", "CITATION.cff", "recipes/registry.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    (folder / "_toc.yml").write_text(TOC)
    (folder / "README.md").write_text("# Small\n\nIt is [old](#ch04_words).\n")
    pages = {"index.md": INDEX, "verdicts.md": VERDICTS, "glossary.md": GLOSSARY}
    pages |= {"references.md": "# References\n\n```{bibliography}\n:style: plain\n:all:\n```\n"}
    pages |= {"status.md": "# Status\n\nWhen it agreed.\n\n```{status}\n```\n", "status.json": STATUS}
    pages |= {"changes.md": "# Changes\n\nWhat is new in it.\n\n```{changes}\n```\n", "changes.yml": CHANGES}
    for name, text in {**pages, "threads.yml": THREADS, "references.bib": BIB}.items():
        (folder / "book" / name).write_text(text, encoding="utf-8")
    nbformat.write(four, folder / "notebooks" / "04_values.ipynb")
    nbformat.write(chapter_five(), folder / "notebooks" / "05_older.ipynb")
    return folder


def build(folder: Path, strict: bool = True) -> tuple[int, str]:
    """Exit status of the strict build, and what it warned of."""
    command = [Path(sys.executable).with_name("jupyter-book"), "build", folder, "--all", "-n"]
    result = subprocess.run([*command, *(["-W", "--keep-going"] * strict)], capture_output=True, text=True)
    said = (result.stdout + result.stderr).splitlines()
    return result.returncode, "\n".join(line for line in said if "WARNING" in line or "rror" in line)
