"""Progress bars that show in a terminal and in a live notebook, and never in a stored output.

Set ``OPEN_THREADS_BARS=0`` to silence them; the test suite and the notebook runner do.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from tqdm.auto import tqdm


def progress(items: Iterable[Any] | None = None, **options: Any) -> tqdm:
    """``tqdm`` over ``items``, silent where bars would end up in a notebook's committed outputs.

    >>> from helpers.runs import progress
    >>> sum(progress(range(4), desc="adding", disable=True))
    6
    """
    quiet = os.environ.get("OPEN_THREADS_BARS", "1") == "0"
    return tqdm(items, **{"leave": False, **options, "disable": quiet or options.get("disable", False)})
