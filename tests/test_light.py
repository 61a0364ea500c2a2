"""What an import brings along: no hub, no logger, no model library before one is asked for."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FACES = sorted(path.parent.name for path in (ROOT / "helpers").glob("*/__init__.py"))
HEAVY = ("transformers", "transformer_lens", "huggingface_hub", "datasets", "wandb", "plotly", "sae_lens")


@pytest.mark.parametrize("face", FACES)
def test_no_hub_and_no_logger_comes_with_it(face):
    code = f"import sys, helpers.{face}; print(sorted(set(sys.modules) & set({HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
