"""The most memory that this process ever held. Imports nothing else: workers in the peers' environment use it, too."""

from pathlib import Path


def peak() -> float:
    """MiB. ``getrusage`` would count what the parent held when it started this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
