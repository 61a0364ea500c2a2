"""What the cells of a chapter give to each other, so that a test can run only those that it needs."""

import ast
import symtable
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = {path: nbformat.read(path, as_version=4) for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))}
CELLS = {path: [c.source for c in book.cells if c.cell_type == "code"] for path, book in CHAPTERS.items()}


def given_and_taken(cell: str) -> tuple[set[str], set[str]]:
    """The names that a cell leaves to others, and those that it takes from them."""
    made, taken = set(), set()
    for statement in ast.parse(cell).body:
        table = symtable.symtable(ast.unparse(statement), "cell", "exec")
        inner, todo = set(), list(table.get_children())
        while todo:
            one = todo.pop()
            todo += one.get_children()
            inner |= {s.get_name() for s in one.get_symbols() if s.is_global()}
        here = table.get_symbols()
        stored = {s.get_name() for s in here if s.is_assigned() or s.is_imported() or s.is_namespace()}
        own = stored if isinstance(statement, ast.For | ast.With | ast.FunctionDef) else set()
        taken |= ({s.get_name() for s in here if s.is_referenced()} | inner) - made - own
        made |= stored
    return made, taken


def needed(cells: list[str], wanted: int, given: set[str]) -> list[int]:
    """Numbers of the cells that ``wanted`` needs, itself last, where the names ``given`` are there already."""
    last, needs = {}, []
    for i, cell in enumerate(cells):
        made, taken = given_and_taken(cell)
        needs.append({last[name] for name in taken - given if name in last})
        last |= dict.fromkeys(made, i)
    picked = {wanted}
    for i in reversed(range(wanted + 1)):
        picked |= needs[i] if i in picked else set()
    return sorted(picked)
