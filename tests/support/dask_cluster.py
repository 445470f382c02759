"""A scheduler of Dask and its workers, each a process of its own, on this machine's own interface."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PATIENCE = 90


class Cluster:
    """A block in which a scheduler runs; ``address`` is where.

    ``folder`` is for what the processes write. ``arguments`` go to the scheduler and to each worker: certificates, say; so does ``environment``.
    """

    def __init__(self, folder: Path, *arguments: object, protocol: str = "tcp", **environment: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._arguments = folder, [*map(str, arguments), "--protocol", protocol, "--host", "127.0.0.1"]
        self._environment = environment
        self._started = 0
        self.scheduler = None
        self.workers: list[subprocess.Popen] = []
        self.address = ""

    def __enter__(self):
        self.start_scheduler()
        return self

    def __exit__(self, *error):
        for process in (*self.workers, self.scheduler):
            if process is not None:
                process.kill()
                process.wait(PATIENCE)

    def start_scheduler(self):
        """Start a scheduler, at another port than any before it."""
        self._started += 1
        path = self._folder / f"scheduler-{self._started}.json"
        path.unlink(missing_ok=True)
        self.scheduler = self._start(
            "dask_scheduler",
            "--port",
            "0",
            "--no-dashboard",
            "--dashboard-address",
            "127.0.0.1:0",
            "--scheduler-file",
            path,
        )
        wait_for(lambda: path.exists() and path.read_text().rstrip().endswith("}"), self.scheduler)
        self.address = json.loads(path.read_text())["address"]

    def start_worker(self, *arguments, threads=1, preload="", **environment):
        """Start a worker; ``preload`` is Python that it runs first. Returns its process."""
        self._started += 1
        if preload:
            path = self._folder / f"preload_{self._started}.py"
            path.write_text(preload)
            arguments = (*arguments, "--preload", path)
        options = ("--nthreads", threads, "--no-nanny", "--no-dashboard", "--local-directory", self._folder)
        worker = self._start("dask_worker", self.address, *options, *arguments, **environment)
        self.workers.append(worker)
        return worker

    def _start(self, program, *arguments, **environment):
        command = [sys.executable, "-m", f"distributed.cli.{program}", *map(str, arguments), *self._arguments]
        log = (self._folder / f"log-{self._started}").open("wb")
        with log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | self._environment | environment,
            )

    def logs(self) -> str:
        """Return what all have logged."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self._folder.glob("log-*")))


def kill(process) -> None:
    """End a process as a power failure does."""
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE)


def wait_for(condition, *processes) -> None:
    """Wait until something is so; a process that ends before is a failure."""
    ends = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < ends, "it never was so"
        for process in processes:
            assert process.poll() is None, f"{process.args} ended with {process.returncode}"
        time.sleep(0.02)
