"""Helpers behind the notebooks of Open Threads: dictionaries, their geometry, and the interventions.

One folder an idea. A folder's ``__init__`` is its face: it says the idea, and ``__all__`` lists what others may use;
the modules inside are the folder's own affair. Arrows go down only, which a contract in ``pyproject.toml`` holds:

    composition  definitions  reviewer  superposition      what one thread asks
    sae                                                     dictionaries, from the equations to a trained file
    lm  geometry                                            language models; how directions lie
    evidence  page  runs                                    intervals and numbers; figures; files and sweeps
    checks                                                  the few checks of arguments that all share

Start with :mod:`helpers.lm` and :mod:`helpers.sae`.
"""
