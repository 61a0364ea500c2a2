"""Helpers behind the notebooks of Open Threads: dictionaries, their geometry, and the interventions.

Each module is one idea; imports go downwards only. Start with :mod:`helpers.lm` and :mod:`helpers.sae`.
"""
