"""A real Dask cluster on this machine, and the end of one of its workers while it is at work."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path


@contextlib.contextmanager
def cluster(folder, workers, more=()):
    """A Dask scheduler and its workers on the loopback address, each a process of its own; the address, the workers."""
    tests = Path(__file__).resolve().parent
    found = [str(place) for place in (*more, tests, tests / "runs", tests.parent)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(found)}
    file = folder / "scheduler.json"

    def start(program, *options):
        command = [sys.executable, "-m", f"distributed.cli.{program}", "--host", "127.0.0.1", *options]
        with open(folder / f"{program}.log", "a") as log:
            return subprocess.Popen(command, env=env, cwd=folder, stdout=log, stderr=log)

    scheduler = start("dask_scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
    started = [scheduler]
    try:
        wait_for(lambda: file.exists() and file.read_text().rstrip().endswith("}"), scheduler)  # written, and whole
        address = json.loads(file.read_text())["address"]
        options = (address, "--no-nanny", "--nthreads", "1", "--no-dashboard", "--death-timeout", "60")
        started += [start("dask_worker", *options) for _ in range(workers)]
        yield address, started[1:]
    finally:
        for process in started:
            process.kill()
            process.wait()


def wait_for(condition, *processes, seconds=300):
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, "waited too long"
        assert all(process.poll() is None for process in processes), "a process of the cluster has ended"
        time.sleep(0.02)


@contextlib.contextmanager
def loses_a_worker(folder):
    """The address of a cluster of two workers, of which one is killed as soon as it is at work."""
    from distributed import Client

    with cluster(folder, workers=2) as (address, (stays, goes)), Client(address) as client:
        client.wait_for_workers(2, timeout=300)
        by_pid = {pid: worker for worker, pid in client.run(os.getpid).items()}
        at_work = []

        def busy():
            at_work[:] = [key for key in client.processing()[by_pid[goes.pid]] if str(key).startswith("_alone")]
            return at_work

        def kill():
            wait_for(busy, goes)
            goes.send_signal(signal.SIGKILL)
            goes.wait()

        killer = threading.Thread(target=kill)
        killer.start()
        yield address
        killer.join()
        assert at_work and goes.returncode == -signal.SIGKILL and stays.poll() is None
