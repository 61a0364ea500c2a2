"""Helpers behind the notebooks of Open Threads: dictionaries, their geometry, and the interventions.

One folder an idea. A folder's ``__init__`` is its face: it says the idea, and ``__all__`` lists what others may use;
the modules inside are the folder's own affair. Arrows go down only, which a contract in ``pyproject.toml`` holds:

    composition  definitions  reviewer  superposition      what one thread asks
    sae                                                     dictionaries, from the equations to a trained file
    lm  geometry                                            language models; how directions lie
    evidence  page  runs                                    intervals and numbers; figures; files and sweeps
    checks  ranks                                           checks of arguments; the largest of many numbers

Start with :mod:`helpers.lm` and :mod:`helpers.sae`.
"""

import os

# Memory comes in large pages, where Linux has them: a training step on a processor asks for 40 MB anew, and 4 kB at a
# time that takes a tenth of it. Torch reads this once, at its first allocation.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
