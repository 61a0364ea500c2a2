"""What every test shares: quiet progress bars, this interpreter for every kernel, and what nbval may skip."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent
collect_ignore = [] if find_spec("triton") else ["helpers/sae/kernels.py"]  # which has no examples

os.environ["OPEN_THREADS_BARS"] = "0"  # a progress bar must never land in a notebook's output
os.environ.setdefault("PYTHONHASHSEED", "0")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin while they wait starve others
os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")
os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
# The kernels run the notebooks with the code of this checkout, whichever folder the tests were started from.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


def pytest_configure(config):
    if hasattr(config.option, "nbval_sanitize_with") and config.option.nbval_sanitize_with is None:
        config.option.nbval_sanitize_with = str(ROOT / "tests" / "nbval_sanitize.cfg")
    if hasattr(config.option, "nbval_cell_timeout") and config.option.nbval_cell_timeout == 2000:
        config.option.nbval_cell_timeout = 300  # a cell that takes five minutes is a defect


def pytest_collectstart(collector):
    """SVG pictures differ in their ids between runs; PNG and widget views are skipped by nbval itself."""
    if collector.fspath and collector.fspath.ext == ".ipynb":
        collector.skip_compare += ("image/svg+xml",)
