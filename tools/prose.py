"""Prose and its numbers: write the values in, and say what is wrong with how a chapter is told.

    python tools/prose.py            # write the values that cells published into the text that quotes them
    python tools/prose.py --check    # list what is wrong, in chapters that have an opening; exit 1 if anything is

Fine print in ``<details>``, tables, code and mathematics are spared the rules for running text. A setting is stated as
code or mathematics: `s = 100`, $s=100$.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book" / "_ext"))

import chapters  # noqa: E402

WORDS, SENTENCE_WORDS, SENTENCE_NUMBERS = 1800, 25, 2
NAMES = re.compile(
    r"\b(?:L0|L1|L2|A\d|E\d|D\d|f\d|GPT-\d|GPT-J|SmolLM2(?:-135M)?|Gemma-3(?:-270M)?|top-1|bfloat16|float\d\d)\b"
)
LINK = re.compile(r"!?\[([^\]]*)\]\(([^)\s]*)(?:\s+\"[^\"]*\")?\)")
BRACKET = re.compile(r"\([^()]*\d[^()]*\b(?:to|–|±)\s[^()]*\d[^()]*\)|±")


def paths() -> list[Path]:
    pages = [*sorted((ROOT / "book").glob("*.md")), ROOT / "README.md"]
    return [*sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")), *pages]


def write_values() -> list[Path]:
    """Write present values into every link to a number, and the numbers of figures and boxes; returns what changed."""
    known, names, changed = chapters.all_numbers(), chapters.all_labels(), []
    for path in paths():
        before = path.read_text(encoding="utf-8")
        if path.suffix == ".md":
            after = chapters.with_values(before, known, names)
        else:
            notebook = nbformat.reads(before, as_version=4)
            stale = _renew(notebook, known, names)
            after = nbformat.writes(notebook) + "\n" if stale else before
        if after != before:
            temporary = path.with_suffix(".tmp")
            temporary.write_text(after, encoding="utf-8")
            os.replace(temporary, path)
            changed.append(path)
    return changed


def _renew(notebook, known: dict[str, dict], names: dict[str, str]) -> bool:
    """Write values into a notebook's Markdown and captions; return whether any was another."""
    stale = False
    for cell in notebook.cells:
        figure = cell.metadata.get("mystnb", {}).get("figure", {})
        for place, name in ((cell, "source"), (figure, "caption")):
            if name in place and (cell.cell_type == "markdown" or name == "caption"):
                new = chapters.with_values(place[name], known, names)
                stale |= new != place[name]
                place[name] = new
    return stale


def prose(notebook) -> str:
    """All Markdown of a notebook."""
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def unfolded(text: str) -> str:
    """Without what is folded."""
    return re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)


def running(text: str) -> str:
    """Running text only: no folds, code, mathematics, tables, headings' marks or pictures."""
    text = unfolded(text)
    for pattern in (r"```.*?```", r"`[^`]*`", r"\$\$.*?\$\$", r"\$[^$\n]*\$", r"<[^>]*>", r"!\[[^\]]*\]\([^)]*\)"):
        text = re.sub(pattern, "¤", text, flags=re.DOTALL)
    return "\n".join(line for line in text.splitlines() if not line.lstrip("> ").startswith("|"))


def sentences(text: str) -> list[str]:
    """Sentences of running text, each with its links as they stand."""
    found = []
    for block in re.split(r"\n\s*\n|\n(?=[-*>#\d])", running(text)):
        flat = " ".join(block.split())
        found += re.split(r"(?<=[.!?:;])[*\")]*\s+(?=[A-ZÀ-Þ\[*“¤(])", flat)
    return [sentence for sentence in found if sentence.strip(" >#*-")]


def captions(notebook) -> str:
    figures = [cell.metadata.get("mystnb", {}).get("figure", {}) for cell in notebook.cells]
    return "\n\n".join(figure.get("caption", "") for figure in figures)


def stale_values(notebook, known: dict[str, dict]) -> list[str]:
    found = []
    for match in chapters.NUMBER.finditer(f"{prose(notebook)}\n\n{captions(notebook)}"):
        if match["key"] in known and known[match["key"]]["text"] != match["text"]:
            found.append(f"{match['key']} is {known[match['key']]['text']!r}, the text says {match['text']!r}")
    return found


def stale_labels(notebook, names: dict[str, str]) -> list[str]:
    found = [match for match in chapters.LABEL.finditer(prose(notebook)) if match["id"] in names]
    told = [(match, f"[{names[match['id']]}](#{match['id']})") for match in found]
    return [f"{match[0]} is {now} now: make run" for match, now in told if match[0] != now]


def typed_digits(notebook) -> list[str]:
    """Digits in prose that no cell computed: outside links, code, mathematics, sources and names.

    Of links within the book, those to numbers and sources and those that say "Figure 4.2" may hold digits.
    """
    from pybtex.database import parse_file

    sources = parse_file(ROOT / "book" / "references.bib").entries

    def linked(match: re.Match) -> str:
        text, target = match[1], match[2]
        spared = not target.startswith("#") or chapters.NUMBER.fullmatch(match[0]) or target[1:] in sources
        return " " if spared or chapters.LABEL.fullmatch(match[0]) else f" {text} "

    text = prose(notebook)
    for pattern in (r"```.*?```", r"`[^`]*`", r"\$\$.*?\$\$", r"\$[^$\n]*\$", r"<[^>]*>"):
        text = re.sub(pattern, " ", text, flags=re.DOTALL)
    text = NAMES.sub(" ", LINK.sub(linked, text))
    text = re.sub(r"(?m)^#\s+\d+\s·", "# ", text)  # the chapter's own number
    text = re.sub(r"(?m)^\s*\d+\.\s", "", text)  # a list
    return [f"{found!r} is typed by hand" for found in re.findall(r"\S*\d\S*", text)]


def dangling_links(notebook, names: set[str]) -> list[str]:
    targets = [target for _, target in LINK.findall(prose(notebook)) if target.startswith("#")]
    return [f"{target} names nothing" for target in targets if target[1:] not in names]


def crowded_sentences(notebook) -> list[str]:
    found = []
    for sentence in sentences(prose(notebook)):
        count = len(chapters.NUMBER.findall(sentence))
        if count > SENTENCE_NUMBERS:
            found.append(f"{count} numbers in one sentence: {sentence[:90]}…")
        if BRACKET.search(LINK.sub(lambda m: m[1], sentence)):
            found.append(f"an interval in running text: {sentence[:90]}…")
    return found


def too_long(notebook) -> list[str]:
    count = len(re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", LINK.sub(lambda m: m[1], running(prose(notebook)))))
    return [f"{count} words outside folds; at most {WORDS}"] if count > WORDS else []


def opening_faults(notebook) -> list[str]:
    marked = {
        tag: [c for c in notebook.cells if tag in chapters.tags(c)] for tag in ("opening", "answer-figure", "drawing")
    }
    found = [f"{len(cells)} cells tagged {tag}; expected one" for tag, cells in marked.items() if len(cells) != 1]
    if not marked["opening"]:
        return found
    match = chapters.OPENING.match(marked["opening"][0].source)
    if not match:
        return [*found, "the opening does not begin with a stance in bold and a sentence"]
    if match["stance"] not in chapters.STANCES:
        found.append(f"stance {match['stance']!r}; expected one of {', '.join(chapters.STANCES)}")
    words = LINK.sub(lambda m: m[1], match["sentence"]).split()
    if len(words) > SENTENCE_WORDS:
        found.append(f"the opening's sentence has {len(words)} words; at most {SENTENCE_WORDS}")
    if len(chapters.NUMBER.findall(match["sentence"])) > SENTENCE_NUMBERS:
        found.append("the opening's sentence has more than two numbers")
    return found


def another_question(notebook, number: int) -> list[str]:
    """The question above the stance, if there is one, is the front page's."""
    opening = next((cell.source for cell in notebook.cells if "opening" in chapters.tags(cell)), "")
    match = chapters.OPENING.match(opening)
    asked = [thread.question for thread in chapters.threads() if thread.number == number]
    differs = match and match["question"] and asked and match["question"] != asked[0]
    return [f"the opening asks {match['question']!r}; book/threads.yml asks {asked[0]!r}"] if differs else []


def roles_and_fences(notebook) -> list[str]:
    found = re.findall(r"\{[\w:-]+\}`[^`]*`|^\s*(?:`{3,}|:{3,})\s*\{[^}]*\}", prose(notebook), flags=re.MULTILINE)
    return [f"{mark!r} shows only on the site" for mark in found]


def link_names(notebook) -> set[str]:
    """All that a link of this notebook may name: its headings, and what any chapter publishes, draws or boxes."""
    import told
    from pybtex.database import parse_file

    names = set(chapters.all_numbers()) | set(chapters.numbers(notebook)) | set(told.glossary(ROOT))
    names |= set(parse_file(ROOT / "book" / "references.bib").entries)
    names |= {chapters.slug(heading) for heading in re.findall(r"(?m)^#+\s+(.+)$", LINK.sub(r"\1", prose(notebook)))}
    chapters_read = [nbformat.read(path, as_version=4) for path in paths() if path.suffix == ".ipynb"]
    for book in [notebook, *chapters_read]:
        names |= {chapters.slug(f"{kind} {name}") for kind, name in chapters.boxes(prose(book)) if name}
        names |= {cell.metadata.get("mystnb", {}).get("figure", {}).get("name") for cell in book.cells}
    return names - {None}


def faults(notebook) -> list[str]:
    """All that is wrong with how a chapter is told."""
    known = {**chapters.all_numbers(), **chapters.numbers(notebook)}
    found = re.search(r"(?m)^# 0*(\d+) ·", prose(notebook))
    number = int(found[1]) if found else 0
    names = {**chapters.all_labels(), **chapters.labels(notebook, number)}
    return [
        *stale_values(notebook, known), *stale_labels(notebook, names), *typed_digits(notebook),
        *dangling_links(notebook, link_names(notebook)), *crowded_sentences(notebook), *too_long(notebook),
        *opening_faults(notebook), *another_question(notebook, number), *roles_and_fences(notebook),
    ]  # fmt: skip


def main(arguments: list[str]) -> int:
    if "--check" not in arguments:
        for path in write_values():
            print(f"wrote values into {path.relative_to(ROOT)}")
        return 0
    wrong = 0
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        for fault in faults(notebook) if chapters.converted(notebook) else []:
            print(f"{path.name}: {fault}")
            wrong += 1
    return wrong > 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
