"""The kernels for graphics cards agree with dense products: run in Triton's interpreter, and compiled for a card.

Both need Triton and no card. ``benchmarks/triton.sh`` builds the environment that has it; without it these skip.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
PYTHON = Path(os.environ.get("TRITON_ENV", ROOT / ".venv-triton")) / "bin" / "python"

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason=".venv-triton is not there; benchmarks/triton.sh builds it")


def run(*arguments: str, **extra: str) -> subprocess.CompletedProcess:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(HERE)])
    env = {**os.environ, "PYTHONPATH": paths, **extra}
    return subprocess.run([PYTHON, *arguments], cwd=ROOT, env=env, capture_output=True, text=True, timeout=3000)


@pytest.mark.slow
def test_kernels_in_the_interpreter():
    done = run("-m", "pytest", "-p", "no:cacheprovider", str(HERE / "interpreted.py"), TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


def test_kernels_compile_for_a_card_and_read_sixteen_bytes_at_once(tmp_path):
    done = run(str(HERE / "compiled.py"), TRITON_CACHE_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr[-5000:]
    found = json.loads(done.stdout)
    assert {name for name, kernel in found.items() if kernel["wide"]} == set(found) - {"totals"}
    assert all(kernel["bytes"] for kernel in found.values())
