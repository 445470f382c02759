"""Measures dumpty beside what people use now: same data, same run, interleaved; every output is checked by restoring.

``sh tests/bench/run.sh --small`` takes minutes, ``--full`` (the sizes of the manual's tables) most of an hour.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import bucket
import chart
import data
import growth
import jobs
import targets
import workers
from engines import ENGINES
from jobs import Job
from measure import Figures, measured, processor_seconds, size_of

sys.path.insert(0, str(Path(__file__).parents[1]))

TITLES = {
    "sqlite": "SQLite",
    "postgres": "PostgreSQL",
    "postgres-four": "PostgreSQL, four equal tables",
    "mysql": "MariaDB",
}
PROGRAMS = {"ITERDUMP": jobs.ITERDUMP, "DJANGO": jobs.DJANGO, "THREADED": jobs.THREADED}


class Bench:
    """Runs the jobs of one engine, in turn, ``rounds`` times."""

    def __init__(self, engine: Any, rounds: int) -> None:
        self.engine = engine
        self.rounds = rounds
        self.figures: dict[Job, Figures] = {}
        self.stored_backups: dict[str, tuple[Path, str]] = {}

    def run(self, selected: list[Job]) -> dict[Job, Figures]:
        possible = [job for job in selected if _possible(job)]
        for number in range(self.rounds):
            for job in possible:
                if job.made_by in self.stored_backups or not job.made_by:
                    print(f"  {number + 1}/{self.rounds} {job.verb} {job.name}", file=sys.stderr)
                    self._run_job(job, self.figures.setdefault(job, Figures()))
            for path, _ in self.stored_backups.values():
                shutil.rmtree(path, ignore_errors=True)
            self.stored_backups.clear()
        return self.figures

    def _run_job(self, job: Job, figures: Figures) -> None:
        slot = self.engine.top / f"{job.engine}-{abs(hash(job.name))}"
        if job.verb == "backup":
            slot.mkdir()
            out = slot / "out"
            with self._server_measured(figures):
                reply = measured(self._argv(job, out=out), figures, cwd=self.engine.top, env=PROGRAMS)
            if job.shell:
                figures.stored_bytes, self.stored_backups[job.name] = size_of(out), (slot, str(out))
            else:
                [backup] = json.loads(reply)["backups"]
                figures.stored_bytes, self.stored_backups[job.name] = int(backup["size_bytes"]), (slot, backup["id"])
            return
        path, backup = self.stored_backups[job.made_by]
        if job.verb == "verify":
            if job.shell:
                [stored] = [p for p in (path / "out").rglob("*") if p.suffix == ".gz"]
                argv = self._argv(job, out=path, backup=str(stored))
            else:
                argv = [*jobs.DUMPTY, "verify", backup, "-d", str(path / "out"), "-q", *job.options]
            measured(argv, figures, cwd=self.engine.top)
            return
        target = self.engine.fresh("target", prepared=job.prepared)
        with self._server_measured(figures):
            measured(self._argv(job, out=path / "out", backup=backup, target=target), figures, cwd=self.engine.top)
        held = self.engine.held
        wanted = [job.table] if job.table else list(held)
        if self.engine.counts(target, wanted) != {table: held[table] for table in wanted}:
            raise RuntimeError(f"{job.name} restored other rows than there were")
        self.engine.drop(target)

    @contextlib.contextmanager
    def _server_measured(self, figures: Figures) -> Iterator[None]:
        """Add to the figures what processor time the server takes in the block."""
        processes = self.engine.server_processes()
        before = sum(map(processor_seconds, processes))
        yield
        if processes:
            figures.server.append(sum(map(processor_seconds, processes)) - before)

    def _argv(self, job: Job, *, out: Path, backup: str = "", target: str = "") -> list[str]:
        if job.shell:
            placeholders = self.engine.placeholders | {"out": str(out), "backup": backup, "target": target}
            return ["bash", "-o", "pipefail", "-ec", job.shell.format(**placeholders)]
        if job.verb == "backup":
            return [*jobs.DUMPTY, "backup", self.engine.source, "-d", str(out), "--json", *job.options]
        table = ["--table", job.table] if job.table else []
        return [*jobs.DUMPTY, "restore", backup, "--to", self.engine.url(target), "-d", str(out), "-q", *table]


def _possible(job: Job) -> bool:
    if not job.shell:
        return True
    missing = shutil.which(job.shell.split()[0]) is None
    if "pigz" in job.shell:
        missing = shutil.which("pigz") is None
    if "zstd" in job.shell:
        missing = shutil.which("zstd") is None
    if "DJANGO" in job.shell:
        missing = importlib.util.find_spec("dbbackup") is None
    if missing:
        print(f"  left out, not installed: {job.name}", file=sys.stderr)
    return not missing


def table(results: dict[Job, Figures]) -> Iterator[str]:
    """Yield Markdown: for each engine and verb, every job, with its time relative to dumpty's first."""
    for engine, title in TITLES.items():
        for verb in ("backup", "restore", "verify"):
            rows = [(j, f) for j, f in results.items() if (j.engine, j.verb) == (engine, verb)]
            if not rows:
                continue
            base = next((f.median for j, f in rows if not j.shell), rows[0][1].median)
            served = any(f.server for _, f in rows)
            yield f"\n**{title}: {verb}**\n"
            yield (
                "| job | seconds | against dumpty | processor seconds | "
                + "server's | " * served
                + "peak memory | stored |"
            )
            yield "|---|---:|---:|---:|" + "---:|" * served + "---:|---:|"
            for job, f in _ordered(rows):
                stored = f"{f.stored_bytes / 1e6:.1f} MB" if f.stored_bytes else ""
                report = f.report()
                server = f"{report['server_seconds']:.2f} | " if served else ""
                yield (
                    f"| {escaped(job.name)} | {f.median:.2f} ± {f.spread:.0%} | {f.median / base:.2f} × "
                    f"| {report['processor_seconds']:.2f} | {server}{f.peak_bytes / 1e6:.0f} MB | {stored} |"
                )


def _ordered(rows: list[tuple[Job, Figures]]) -> list[tuple[Job, Figures]]:
    """Return the rows, those first in which another program is faster than the best of dumpty's: nobody need look."""
    best = min((f.median for job, f in rows if not job.shell and not job.table), default=0.0)
    return sorted(rows, key=lambda row: not (row[0].shell and row[1].median < best))


def escaped(name: str) -> str:
    """Return ``name`` as a cell of a Markdown table."""
    return name.replace("|", "\\|")


def versions() -> str:
    """Return date, machine and versions, for the head of the table."""
    programs = {"sqlite3": "--version", "pg_dump": "--version", "mariadb-dump": "--version", "gzip": "--version"}
    lines = [f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"]
    for name, flag in programs.items():
        if path := shutil.which(name):
            version_text = subprocess.run([path, flag], capture_output=True, text=True, check=False).stdout
            lines.append(" ".join(version_text.split()[:6]))
    return "; ".join(lines)


def drawn(results: dict[Job, Figures], size: data.Size) -> str:
    """Return the chart of a run: backups and restores, dumpty's rows first."""
    groups = {
        f"{title}: {verb}": [
            (j.name.replace(f"dumpty {engine} ", "dumpty "), f.median, not j.shell)
            for j, f in results.items()
            if (j.engine, j.verb) == (engine, verb)
        ]
        for engine, title in TITLES.items()
        for verb in ("backup", "restore")
    }
    return chart.bars(
        {title: rows for title, rows in groups.items() if rows}, f"Seconds for {size.megabytes} MB, {versions()[:10]}"
    )


def measure(
    engines: Sequence[str], size: data.Size, rounds: int, selected: Callable[[Job], bool]
) -> dict[Job, Figures]:
    """Make the data and run the jobs of each engine."""
    results: dict[Job, Figures] = {}
    for name in engines:
        with tempfile.TemporaryDirectory(prefix="dumpty-bench-") as top:
            print(f"{name}: making {size.megabytes} MB", file=sys.stderr)
            engine = ENGINES[name](Path(top), size)
            try:
                results |= Bench(engine, rounds).run([j for j in jobs.JOBS if j.engine == name and selected(j)])
            finally:
                engine.close()
    return results


def merged(files: Sequence[str]) -> dict[Job, Figures]:
    """Return what earlier runs have found."""
    jobs_by_key = {(job.engine, job.verb, job.name): job for job in jobs.JOBS}
    merged_figures = {}
    for row in (row for file in files for row in json.loads(Path(file).read_text())["results"]):
        middle, spread = row["seconds"], row["seconds"] * row["spread"]
        merged_figures[jobs_by_key[row["engine"], row["verb"], row["job"]]] = Figures(
            seconds=[middle - spread, middle, middle + spread],
            processor=[row["processor_seconds"]],
            server=[row["server_seconds"]] if row["server_seconds"] is not None else [],
            peak_bytes=row["peak_bytes"],
            stored_bytes=row["stored_bytes"],
        )
    return merged_figures


def grow(engines: Sequence[str]) -> dict[int, dict[tuple[str, str, str], Figures]]:
    """Measure dumpty's defaults at every size."""
    names_of_dumpty = set(growth.FORMS.values())
    results_by_size = {}
    for megabytes in growth.SIZES:
        results = measure(engines, data.Size(megabytes), 1, lambda j: j.name in names_of_dumpty and j.verb != "verify")
        results_by_size[megabytes] = {(j.engine, j.verb, j.name): f for j, f in results.items()}
    return results_by_size


def scaled(engines: Sequence[str], megabytes: int, rounds: int) -> list[workers.Scaling]:
    """Measure how backups and restores scale with their workers, on each engine that has a server."""
    results = []
    for name in (name for name in workers.ENGINES if name in engines):
        with tempfile.TemporaryDirectory(prefix="dumpty-bench-") as top:
            print(f"{name}: making {megabytes} MB", file=sys.stderr)
            engine = ENGINES[name](Path(top), data.Size(megabytes))
            try:
                results += workers.measured(name, engine, rounds)
            finally:
                engine.close()
    return results


Report = tuple[list[dict[str, Any]], list[str], str]
"""What was measured: rows for JSON, lines of Markdown, and a chart, or ""."""


def reported(options: argparse.Namespace) -> Report:
    """Measure what the arguments ask for."""
    engines = options.engine or list(ENGINES)
    if options.growth:
        return _growth(options.engine or list(growth.FORMS))
    if options.fixed:
        return _fixed(options.backups)
    if options.bucket:
        return _bucket(options.megabytes or 250, options.rounds or 3, options.backups // 10)
    if options.workers:
        rows = workers.rows(scaled(engines, options.megabytes or workers.MEGABYTES, options.rounds or 3))
        return rows, list(workers.table(rows)), ""
    size = data.Size(options.megabytes or (750 if options.full or options.merge else 50))
    results = (
        merged(options.merge)
        if options.merge
        else measure(engines, size, options.rounds or (3 if options.full else 1), lambda _: True)
    )
    rows = [{"engine": j.engine, "verb": j.verb, "job": j.name} | f.report() for j, f in results.items()]
    return rows, [f"{size.megabytes} MB", *table(results), *targets.reached(results)], drawn(results, size)


def _growth(engines: Sequence[str]) -> Report:
    panels = growth.grown(grow(engines))
    rows: list[dict[str, Any]] = [
        {"panel": p, "line": name, "points": line} for p, lines in panels.items() for name, line in lines.items()
    ]
    text = [f"| {r['panel']} | {r['line']} | {r['points']} |" for r in rows]
    return rows, text, chart.growth(panels, {"time": "seconds", "memory": "MB"})


def _fixed(backups: int) -> Report:
    with tempfile.TemporaryDirectory(prefix="dumpty-bench-") as top:
        fixed_costs = [*growth.fixed(Path(top), backups), *growth.far(Path(top), backups // 10)]
    rows: list[dict[str, Any]] = [{"what": step, "seconds": took, "target": most} for step, took, most in fixed_costs]
    lines = [f"| {w} | {t:.3f} | {b:g} |" for w, t, b in fixed_costs]
    return rows, ["| what | seconds | target |", "|---|---:|---:|", *lines], ""


def _bucket(megabytes: int, rounds: int, backups: int) -> Report:
    figures = list(bucket.measured(megabytes, rounds, backups))
    rows: list[dict[str, Any]] = [{"what": w, "measured": value, "target": target} for w, value, target in figures]
    lines = [f"| {w} | {v:.4g} | {'' if t is None else f'{t:g}'} |" for w, v, t in figures]
    return rows, ["| what | measured | target |", "|---|---:|---:|", *lines], ""


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="50 MB, once")
    parser.add_argument("--full", action="store_true", help="750 MB, three times")
    parser.add_argument("--growth", action="store_true", help="dumpty alone, from 10 MB to 2 GB")
    parser.add_argument(
        "--fixed",
        action="store_true",
        help="what costs the same whatever the data, 10,000 backups, and 1,000 that are 30 ms away",
    )
    parser.add_argument("--bucket", action="store_true", help="age, and a bucket: beside obstore, and 30 ms away")
    parser.add_argument(
        "--workers", action="store_true", help="one to eight workers, each connection of few bytes a second"
    )
    parser.add_argument("--backups", type=int, default=growth.BACKUPS, help="other than 10,000, and a tenth of it")
    parser.add_argument("--megabytes", type=int, help="another size")
    parser.add_argument("--rounds", type=int, help="how often each job runs")
    parser.add_argument("--engine", choices=sorted(ENGINES), action="append", help="only this engine; may be repeated")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--merge", metavar="FILE", nargs="+", help="measure nothing: tell what --json runs have found")
    parser.add_argument("--chart", metavar="FILE", help="draw it, too, as SVG")
    options = parser.parse_args()
    rows, text, picture = reported(options)
    if options.chart and picture:
        Path(options.chart).write_text(picture)
    if options.json:
        print(json.dumps({"versions": versions(), "results": rows}))
    else:
        print("\n".join([versions(), *text]))


if __name__ == "__main__":
    main()
