"""How backups and restores scale with their workers where each connection has a bandwidth of its own, and no more.

Between dumpty and the server stands a proxy that lets so many bytes a second pass on each connection. All of them together
stay well below what two cores manage: what one worker waits for is its connection, and more workers have more of them.

``workers.py PORT BANDWIDTH`` is the proxy, a process of its own, until its standard input ends.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TESTS = Path(__file__).absolute().parent.parent
ENGINES = ("postgres", "mysql")
MEGABYTES = 300
BANDWIDTH = 5_000_000
"""Bytes a second, of one connection."""
WORKERS = (1, 2, 4, 8)
TARGET = 6.0
"""How much faster the most workers back up than one."""


@dataclass
class Scaling:
    """What one number of workers took for an engine's database; ``slowed`` is whether the proxy stood between."""

    engine: str
    workers: int
    slowed: bool = True
    backup: Any = field(default_factory=lambda: _figures())
    restore: Any = field(default_factory=lambda: _figures())
    plain_bytes: int = 0


def measured(engine_name: str, engine: Any, rounds: int) -> list[Scaling]:
    """Back up through the proxy with each number of workers in turn, ``rounds`` times, and with the most without it.

    Every backup is verified, and the rows that its manifest names are compared; those of the first round are restored the
    same way, and counted.
    """
    scalings = [Scaling(engine_name, workers) for workers in WORKERS]
    scalings.append(Scaling(engine_name, WORKERS[-1], slowed=False))
    with _proxy(engine.server.port) as port:
        for number in range(rounds):
            for scaling in scalings:
                print(f"  {number + 1}/{rounds} {engine_name}, {scaling.workers} workers", file=sys.stderr)
                _measure(scaling, engine, port if scaling.slowed else engine.server.port, restored=not number)
    return scalings


def rows(scalings: Sequence[Scaling]) -> list[dict[str, object]]:
    """Return plain values for JSON: each number of workers, how many times as fast as one, and the target of the most."""
    one = {s.engine: s for s in scalings if s.workers == 1}
    return [
        {
            "engine": s.engine,
            "workers": s.workers,
            "slowed": s.slowed,
            "megabytes": s.plain_bytes / 1e6,
            "backup": s.backup.report(),
            "backup_times": one[s.engine].backup.median / s.backup.median,
            "target": TARGET if s.slowed and s.workers == WORKERS[-1] else None,
            "restore": s.restore.report(),
            "restore_times": one[s.engine].restore.median / s.restore.median,
        }
        for s in scalings
    ]


def table(results: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield Markdown: a line for each engine and number of workers."""
    yield "| workers | backup, seconds | processor seconds | × one | target | | restore, seconds | × one |"
    yield "|---|---:|---:|---:|---:|---|---:|---:|"
    for row in results:
        name = f"{row['engine']}, {row['workers']}" + ("" if row["slowed"] else ", no proxy")
        backup, restore, target = row["backup"], row["restore"], row["target"]
        met = "" if target is None else "met" if row["backup_times"] >= target else "not met"
        yield (
            f"| {name} | {backup['seconds']:.2f} ± {backup['spread']:.0%} | {backup['processor_seconds']:.2f} "
            f"| {row['backup_times']:.2f} | {'' if target is None else f'≥ {target:g}'} | {met} "
            f"| {restore['seconds']:.2f} | {row['restore_times']:.2f} |"
        )


def _figures() -> Any:
    from measure import Figures

    return Figures()


def _measure(scaling: Scaling, engine: Any, port: int, *, restored: bool) -> None:
    from jobs import DUMPTY
    from measure import measured as run

    workers = f"jobs={scaling.workers}"
    with tempfile.TemporaryDirectory(prefix="dumpty-bench-") as directory:
        source = engine.url_over_tcp("shop", port)
        argv = [*DUMPTY, "backup", source, "-d", directory, "--format", "parallel", "--compressor", "zstd"]
        [made] = json.loads(run([*argv, "-o", workers, "--json"], scaling.backup, cwd=engine.top))["backups"]
        scaling.plain_bytes = made["plain_size_bytes"]
        _require_whole(directory, made["id"], engine.size.counts)
        if not restored:
            return
        target = engine.fresh("target", prepared=False)
        argv = [*DUMPTY, "restore", made["id"], "--to", engine.url_over_tcp(target, port), "-d", directory, "-q"]
        run([*argv, "-o", workers], scaling.restore, cwd=engine.top)
        if engine.counts(target, list(engine.size.counts)) != engine.size.counts:
            raise RuntimeError(f"{scaling.engine} restored other rows than there were")
        engine.drop(target)


def _require_whole(directory: str, backup: str, counts: dict[str, int]) -> None:
    from dumpty import BackupManager

    manager = BackupManager(directory)
    proof = manager.prove(backup)
    if not proof.ok:
        raise RuntimeError(proof.error)
    found = {table.path.removeprefix("public."): table.rows for table in manager.find(backup).evidence.objects}
    if found != counts:
        raise RuntimeError(f"the manifest tells of other rows than there were: {found}")


@contextlib.contextmanager
def _proxy(port: int) -> Iterator[int]:
    """Lend the port of a proxy in front of ``port``; a process of its own, so that it takes no turns with anybody."""
    argv = [sys.executable, __file__, str(port), str(BANDWIDTH)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()


def _be_the_proxy(port: int, bandwidth: int) -> None:
    sys.path.insert(0, str(TESTS))
    from support.tcp_proxy import TCPProxy

    with TCPProxy(port, bandwidth=bandwidth) as proxy:
        print(proxy.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    _be_the_proxy(int(sys.argv[1]), int(sys.argv[2]))
