"""The command line of the recipes: the options that they share, and ``python -m recipes`` itself.

Nothing here imports a recipe before it is run: lists and help come from :mod:`recipes.registry`, and at once.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import subprocess
import sys
from collections.abc import Sequence

from .registry import RECIPES, Recipe

SHARED = {
    "reduced": ("--reduced", {"action": "store_true", "help": "a small version, under artifacts/reduced/"}),
    "until": ("--until", {"type": float, "metavar": "MINUTES", "help": "stop taking new runs after so many minutes"}),
    "processes": ("--processes", {"type": int, "metavar": "N", "help": "local processes (default: as many as cores)"}),
    "scheduler": (
        "--scheduler",
        {"metavar": "tcp://…", "help": "address of a Dask scheduler; local processes by default"},
    ),
    "model": ("--model", {"nargs": "*", "metavar": "NAME", "help": "names or paths that load_lm takes"}),
}
HELP = """Rebuild what the chapters rest on: one recipe by its name, or all of them.

    python -m recipes --list                      the recipes, what they make, cost and need
    python -m recipes NAME [options]              run one of them
    python -m recipes NAME --help                 its options
    python -m recipes --all [--reduced]           run them all, as `make artifacts` does

What is in artifacts/ is shipped, so no chapter needs this. Reduced, the shipped tokens are kept and small versions of
the computations are repeated; their tables stand in artifacts/reduced/ (not committed) and are compared with the
shipped ones."""


def options(
    name: str, doc: str, *shared: str, reduced: str | None = None, model: list[str] | None = None
) -> argparse.ArgumentParser:
    """A parser for the recipe ``name`` with those of the ``SHARED`` options that it has.

    ``reduced`` says what the small version leaves out, ``model`` which models are taken by default; without them the
    recipe does not have these two.

    >>> options("toys", "Toys.", "scheduler", reduced="two seeds").parse_args(["--reduced"])
    Namespace(reduced=True, scheduler=None)
    """
    parser = argparse.ArgumentParser(
        f"python -m recipes {name}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    own = {"reduced": reduced and {"help": reduced}, "model": model and {"default": model}}
    for key in (*(key for key, value in own.items() if value), *shared):
        flag, settings = SHARED[key]
        parser.add_argument(flag, **settings | own.get(key, {}))
    return parser


def minutes(value: float | None) -> str:
    return "–" if value is None else f"~{value:g}"


def table(recipes: Sequence[Recipe] = tuple(RECIPES.values())) -> str:
    """The recipes as text, a row for each artifact or family of them."""
    head = ("recipe", "chapter", "core-minutes", "reduced", "needs", "makes")
    rows = [head, tuple("-" * len(name) for name in head)]
    for r in recipes:
        cells = (r.name, r.chapter, minutes(r.minutes), minutes(r.reduced_minutes), r.needs)
        for i, made in enumerate(r.makes or ("a verdict, printed",)):
            rows.append((*(cells if i == 0 else ("",) * len(cells)), made))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def find(name: str) -> Recipe:
    """The recipe of this name. Raises ``LookupError``, which names the nearest, for any other."""
    if name in RECIPES:
        return RECIPES[name]
    near = difflib.get_close_matches(name, RECIPES, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(RECIPES)}"
    raise LookupError(f"NAME={name!r} is no recipe; {hint}")


def run(name: str, arguments: Sequence[str]) -> int:
    """Run one recipe in this process; its exit code."""
    return importlib.import_module(f"recipes.{find(name).name}").main(list(arguments)) or 0


def steps(reduced: bool, scheduler: str | None = None) -> list[list[str]]:
    """The commands of ``--all``, in order: module, then its options."""
    chosen = [(r, r.reduced if reduced else r.full) for r in RECIPES.values()]
    spread = ["--scheduler", scheduler] if scheduler else []
    return [
        [f"recipes.{r.name}", *given, *spread * ("--scheduler" in r.options)]
        for r, given in chosen
        if given is not None
    ]


def run_all(reduced: bool, scheduler: str | None) -> int:
    """All recipes, each in a process of its own; the exit code of the first that fails."""
    for step in steps(reduced, scheduler):
        print("==", *step, flush=True)
        if code := subprocess.run([sys.executable, "-m", *step]).returncode:
            print(f"python -m {' '.join(step)} failed with exit code {code}; what follows was not run", file=sys.stderr)
            return code
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """``python -m recipes``: the exit code, 2 for a command that is not understood."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        "python -m recipes",
        usage="python -m recipes --list | --all [--reduced] | NAME [options]",
        description=HELP,
        epilog="recipes:\n" + "\n".join(f"  {r.name:<18}{r.says}" for r in RECIPES.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if argv and not argv[0].startswith("-"):
        try:
            find(argv[0])
        except LookupError as error:
            parser.error(error.args[0])
        return run(argv[0], argv[1:])
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="what there is, what it makes, costs and needs")
    what.add_argument("--all", action="store_true", help="run every recipe, in order")
    for key in ("reduced", "scheduler"):
        flag, settings = SHARED[key]
        parser.add_argument(flag, **settings)
    args, rest = parser.parse_known_args(argv)
    if rest:
        parser.error(f"unexpected {' '.join(rest)}; a recipe's name comes first, its options behind it")
    if args.list:
        print(table())
    elif args.all:
        return run_all(args.reduced, args.scheduler)
    elif argv:
        parser.error(f"{argv[0]} alone computes nothing; expected --all or a recipe's name with it")
    else:
        parser.print_help()
    return 0
