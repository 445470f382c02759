"""Measures one command: wall-clock and processor seconds, peak memory of its process tree."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Figures:
    """What repeated runs of one job gave; ``server`` has the database server's processor time, where there is one."""

    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    server: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    stored_bytes: int = 0

    @property
    def median(self) -> float:
        """The median of the wall-clock seconds."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Half the distance between the slowest and the fastest run, relative to the median."""
        return (max(self.seconds) - min(self.seconds)) / 2 / self.median

    def report(self) -> dict[str, float | int | None]:
        """Return plain values for JSON."""
        return {
            "seconds": round(self.median, 3),
            "spread": round(self.spread, 3),
            "processor_seconds": round(statistics.median(self.processor), 3),
            "server_seconds": round(statistics.median(self.server), 3) if self.server else None,
            "peak_bytes": self.peak_bytes,
            "stored_bytes": self.stored_bytes,
            "runs": len(self.seconds),
        }


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files below a directory."""
    if path.is_dir():
        return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    return path.stat().st_size if path.exists() else 0


def processor_seconds(pid: int) -> float:
    """Return the processor time of a process and of all below it, those that have ended and were waited for, too."""
    seconds = 0.0
    for process in _tree(pid):
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended: its parent counts it
        # utime and stime; of the children that were waited for, cutime and cstime (proc(5))
        seconds += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return seconds


def measured(argv: Sequence[str], figures: Figures, *, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Run a command to its end, add what it took to ``figures``, and return its standard output."""
    usage_before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    with subprocess.Popen(
        list(argv), cwd=cwd, env=os.environ | (env or {}), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        peak = _Peak(child.pid)
        out, err = child.communicate()
        seconds = time.perf_counter() - started
        peak.end()
    if child.returncode:
        raise RuntimeError(f"{' '.join(argv)[:300]} failed with status {child.returncode}: {err[-800:]}")
    usage_after = resource.getrusage(resource.RUSAGE_CHILDREN)
    figures.seconds.append(seconds)
    figures.processor.append(
        usage_after.ru_utime + usage_after.ru_stime - usage_before.ru_utime - usage_before.ru_stime
    )
    figures.peak_bytes = max(figures.peak_bytes, peak.value)
    return out


class _Peak:
    """Samples the proportional memory of a process and all below it."""

    def __init__(self, pid: int) -> None:
        self.value = 0
        self._pid = pid
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._finished.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._finished.wait(0.03):
            self.value = max(self.value, sum(map(_memory, _tree(self._pid))))


def _tree(pid: int) -> list[int]:
    processes = [pid]
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                processes += _tree(int(child))
    except OSError:
        pass
    return processes


def _memory(pid: int) -> int:
    # Anonymous memory and shared memory: the page cache of mapped files is the kernel's to take back.
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    fields = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "RssShmem"))}
    return sum(fields.values()) * 1024
