"""Rebuild the artifacts: `python -m recipes [--reduced]`, or one by name, as `python -m recipes.gated_sweep`.

Reduced, it keeps the shipped tokens and repeats small versions of the computations, whose tables stand beside the
shipped ones in `artifacts/reduced/` (not committed) and are compared with them.
"""

from __future__ import annotations

import subprocess
import sys

FULL = (
    ["recipes.sample_corpus"],
    ["recipes.human_text"],
    ["recipes.toys"],
    ["recipes.gated_sweep"],
    ["recipes.cosines"],
    ["recipes.orthogonality"],
    ["recipes.superposition"],
    ["recipes.rescaling"],
    ["recipes.reviewer_lm"],
    ["recipes.three_features"],
    ["recipes.peaks"],
)
REDUCED = (
    ["recipes.toys", "--reduced"],
    ["recipes.gated_sweep", "--reduced"],
    ["recipes.orthogonality", "--reduced"],
    ["recipes.superposition", "--reduced"],
    ["recipes.rescaling", "--reduced", "--model", "smollm2-135m"],
    ["recipes.reviewer_lm", "--reduced"],
    ["recipes.three_features", "--reduced"],
    ["recipes.peaks", "--reduced"],
    ["recipes.compare"],
)

for step in REDUCED if "--reduced" in sys.argv[1:] else FULL:
    print("==", *step, flush=True)
    subprocess.run([sys.executable, "-m", *step], check=True)
