"""Rebuild the artifacts: `python -m recipes [--reduced]`, or one by name, as `python -m recipes.gated_sweep`.

Reduced, it keeps the shipped tokens and repeats small versions of the computations, whose tables stand beside the
shipped ones (`*_reduced.csv`, not committed) and are compared with them.
"""

from __future__ import annotations

import subprocess
import sys

STEPS = {
    "recipes.sample_corpus": False,
    "recipes.human_text": False,
    "recipes.toys": True,
    "recipes.gated_sweep": True,
}

reduced = "--reduced" in sys.argv[1:]
for module, has_reduced in STEPS.items():
    if reduced and not has_reduced:
        continue
    print(f"== {module}", flush=True)
    subprocess.run([sys.executable, "-m", module, *(["--reduced"] if reduced else [])], check=True)
if reduced:
    subprocess.run([sys.executable, "-m", "recipes.compare"], check=True)
