"""Long computations and their files: atomic writes, hashed artifacts, sweeps that resume, progress bars.

What a recipe made lies in ``artifacts/`` and is checked against its hash when read (:func:`artifact`). What can be made
again lies in a cache (:func:`cache_dir`). :func:`sweep` runs many points on this machine's processes or on a Dask
cluster, :func:`spread` any jobs on the latter.
"""

from .bars import progress
from .schedule import rise, rise_and_fall
from .store import ROOT, artifact, artifacts_dir, atomic, cache_dir, hardware, locked, manifest, save_artifact, sha256
from .sweeps import default_folder, key_of, spread, sweep

__all__ = [
    "ROOT", "artifact", "artifacts_dir", "atomic", "cache_dir", "default_folder", "hardware", "key_of", "locked",
    "manifest", "progress", "rise", "rise_and_fall", "save_artifact", "sha256", "spread", "sweep",
]  # fmt: skip
