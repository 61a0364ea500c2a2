"""Work that several processes share: each takes the first unit that no other is at.

A unit is the path that is there when it is done, and the function that makes it. Locks lie in one folder of the cache;
a killed process leaves none held.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

Unit = tuple[Path, Callable[[], None]]


def one_unit(to_do: Iterable[Unit], locks: Path) -> bool:
    """Do the first of ``to_do`` that no other process is at; whether there was one."""
    locks.mkdir(parents=True, exist_ok=True)
    for done, work in to_do:
        try:
            held = FileLock(str(locks / f"{done.name}.lock")).acquire(timeout=0)
        except Timeout:
            continue
        with held:
            if not done.exists():
                work()
        return True
    return False


def working(to_do: Callable[[], list[Unit]], locks: Path, until: float | None = None) -> Iterator[list[Unit]]:
    """Work until nothing is to do, or the time is ``until``; gives what is to do before each unit.

    ``to_do()`` says what can be done now. While others do all of that, wait.
    """
    while units := to_do():
        yield units
        if until is not None and time.time() >= until:
            return
        if not one_unit(units, locks):
            time.sleep(1)
