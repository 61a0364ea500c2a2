"""Change one sign, number or comparison at a time in the modules that measure, and see whether a test notices.

    pip install cosmic-ray
    python tools/mutants.py                          # all modules below: an hour or so
    python tools/mutants.py helpers/sae/metrics.py   # one of them: minutes

cosmic-ray makes the mutants; each is tried in a fork of one process that has the libraries loaded already, which takes
a second where a fresh process takes ten. Nothing on disk is touched. What no test notices is listed with its line: a
test is missing there, or the mutant says the same in other words, as those in ``SAME`` do, which are only counted.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.machinery
import os
import re
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
TESTS = {  # what pytest is asked to run
    "helpers/sae/metrics.py": ["tests/sae/test_metrics.py"],
    "helpers/geometry/cosines.py": [
        "tests/geometry/test_neighbours.py", "tests/geometry/test_cosines.py", "-k", "not law and not density"
    ],
    "helpers/geometry/units.py": ["tests/geometry/test_cosines.py", "-k", "not law and not density"],
    "helpers/runs/store.py": [
        "tests/runs/test_store.py", "tests/lm/test_cache.py", "tests/runs/test_run_guises.py", "-k",
        "(store or full_disk or megabytes or errors or cannot_be or guises) and not (sweep or job or every_shipped)",
    ],
    "helpers/evidence/frontiers.py": [
        "tests/evidence/test_frontiers.py", "tests/evidence/test_share_guises.py",
        "tests/test_guises.py::test_a_gain_is_the_mean_of_interpolated_differences",
    ],
}  # fmt: skip
SAME = {  # by module and a part of the line: parts of new lines that say the same in other words
    "helpers/sae/metrics.py": {
        "if spread == 0": ["spread <= 0"],  # a sum of squares
        "ndim and x.ndim != ndim": ["x.ndim > ndim"],  # ndim is 2, and fewer dimensions are out already
        "W_dec.shape[-1] != features": ["[+1]", "[1]"],  # both have two dimensions
    },
    "helpers/geometry/units.py": {
        "self.largest == 0,": ["largest <= 0"],  # a norm
        "bad[:, 0]": ["bad[:, -1]"],  # one column
        "PART = 512": ["PART = 513", "PART = 511"],  # the size of a piece
    },
    "helpers/geometry/cosines.py": {
        "chunk: int = ": ["chunk: int = 513", "chunk: int = 511", "chunk: int = 257", "chunk: int = 255"],  # likewise
        'desc="cosines", delay=2': ["delay= "],  # when a bar shows
        'chunk = whole("chunk", chunk, 1)': ["chunk, 0)"],  # asked in two places, of which one is enough
        "max(chunk, 2048)": ["2047", "2049"],  # on a graphics card
        "many = 1 if k is None": ["many = 2 if k is None"],  # the first of them is taken
        "(part[:, 0] for part in found)": ["part[:, -1]"],  # of one
    },
    "helpers/runs/store.py": {
        "{known[0]}": ["known[ -1]"],  # where a path lies in both places, either advice holds
    },
    "helpers/evidence/frontiers.py": {
        "np.clip(np.searchsorted(x, at), 1, len(x) - 1)": ["len(x) + 1", "len(x) * 1", "len(x) - 0", ", 0, len"],
        "(l0 > 0) & np.isfinite(l0)": ["(l0 > 0) * np", "l0.ndim < 1"],  # bool; shapes of other dimension differ anyway
        "l0.ndim != 1 or not l0.size or y.shape[-1:] != l0.shape:": ["l0.ndim < 1"],
        "(table.site == one_of(": [")) * table"],
        "(rows.seed == s) & (": ["(rows.seed == s) * ("],
        "full == full.max()": ["full >= full.max()"],
        "len(found) <= split": ["len(found) == split"],  # fewer is none, which is refused as empty
        "len(counts) > 1": ["len(counts) != 1"],
        "rows.level, strict=True": ["strict=False"],  # columns of one table
        "gains = np.empty((2,": ["np.empty(( 3,"],
        "np.log([where]))[..., 0]": ["[..., -1]"],  # one place
    },
}
# Left out: operators that only touch annotations and decorators, and those that no slip of the pen makes.
DULL = re.compile(
    r"ReplaceBinaryOperator_(BitOr|\w+_(BitOr|BitAnd|BitXor|LShift|RShift|Mod|FloorDiv|Pow))"
    r"|ReplaceComparisonOperator_\w+_(Is|IsNot)$|Decorator"
)
LIMIT = 120  # seconds; a mutant that hangs is noticed


class Mutant(NamedTuple):
    """One change: who makes it, the line, and the module's text with it."""

    operator: str
    line: int
    was: str
    now: str
    text: str


def mutants(path: Path) -> list[Mutant]:
    from cosmic_ray.ast import ast_nodes, get_ast_from_path
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator, operator_names

    text, tree, made = path.read_text("utf-8"), get_ast_from_path(path), []
    for name in operator_names():
        kind = get_operator(name)
        if kind.arguments() or DULL.search(name):
            continue
        spots = [at for node in ast_nodes(tree) for at in kind().mutation_positions(node)]
        for occurrence, (begin, _) in enumerate(spots):
            new = mutate_code(text, kind(), occurrence)
            if new is not None and new != text:
                before, after = text.splitlines(), new.splitlines()
                at = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), begin[0] - 1)
                made.append(Mutant(name.split("/")[-1], at + 1, before[at].strip(), after[at].strip(), new))
    return made


def tried(path: Path, text: str, arguments: list[str]) -> tuple[int, str]:
    """Exit status of pytest in a fork that reads ``text`` for the module ``path``, and what it said."""
    with tempfile.TemporaryFile("w+") as said:
        if not (child := os.fork()):
            os.setpgrp()
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            os._exit(_in_fork(path, text, arguments))
        end, status = time.monotonic() + LIMIT, None
        while status is None and time.monotonic() < end:
            done, code = os.waitpid(child, os.WNOHANG)
            status = os.waitstatus_to_exitcode(code) if done else time.sleep(0.05)
        if status is None:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
        said.seek(0)
        return -1 if status is None else status, said.read()


def _in_fork(path: Path, text: str, arguments: list[str]) -> int:
    import pytest

    loader = importlib.machinery.SourceFileLoader
    usual = loader.get_code

    def get_code(self, name):
        own = Path(self.path).resolve() == path
        return compile(text, str(path), "exec", dont_inherit=True) if own else usual(self, name)

    loader.get_code = get_code
    try:
        quick = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:unraisableexception"]
        return int(pytest.main([*quick, *arguments]))
    except BaseException:
        return 1


def warm() -> None:
    """Load what the tests need, then forget the project itself, so that each fork reads it anew."""
    import pytest
    import torch

    files = {part for parts in TESTS.values() for part in parts if part.startswith("tests/")}
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", *files])
    torch.use_deterministic_algorithms(True)  # loads a compiler
    torch.use_deterministic_algorithms(False)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(ROOT) + os.sep) and name != "__main__":
            del sys.modules[name]
    gc.freeze()  # what is shared with the forks is looked at no more


def _says_the_same(mutant: Mutant, same: dict[str, list[str]]) -> bool:
    return any(old in mutant.was and new in mutant.now for old, parts in same.items() for new in parts)


def main(modules: list[str]) -> int:
    os.chdir(ROOT)
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    os.environ |= {"OMP_NUM_THREADS": "1", "OPEN_THREADS_BARS": "0"}
    warm()
    for module in modules or TESTS:
        path, arguments = ROOT / module, TESTS[module]
        status, said = tried(path, path.read_text("utf-8"), arguments)
        if status:
            print(said, f"{module}: its tests fail as it stands", sep="\n")
            return 1
        every, left, same = mutants(path), 0, SAME.get(module, {})
        tellable = [mutant for mutant in every if not _says_the_same(mutant, same)]
        for number, mutant in enumerate(tellable, 1):
            print(f"{number} of {len(tellable)}", end="\r", file=sys.stderr, flush=True)
            if tried(path, mutant.text, arguments)[0] == 0:
                left += 1
                print(f"{module}:{mutant.line}: {mutant.operator}\n  - {mutant.was}\n  + {mutant.now}", flush=True)
        noticed = len(tellable) - left
        said = f"{module}: {len(every)} mutants, {noticed} noticed, {left} not"
        print(f"{said}, {len(every) - len(tellable)} the same in other words", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
