"""What a fleet costs for each database, how it scales over workers that wait, and what it asks of a bucket.

    .venv-test/bin/python tests/bench/fleet.py [--sqlite 2000] [--postgres 20] [--waiting 96] [--bucket 200]
                                               [--chart tests/bench/fleet.svg] [--json]

Everything is made anew in a temporary directory, and each run is of the same databases; of several runs the median
counts. Beside dumpty stands what people use now: one program after another, as many at once (``xargs -P``).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from chart import lines_over
from support.dask_cluster import Cluster, wait_for
from support.postgres_server import PostgresServer, _debian
from support.s3_server import KEY, SECRET, moto

DUMPTY = [sys.executable, "-m", "dumpty"]
PARALLEL = 2
ROWS = 100
SERVER_SECONDS = 1.0
"""About how long each backup waits for its server, where that is what is measured; what it was is told."""
WORKER_THREADS = 8


def make_sqlite(folder, number, rows=ROWS):
    """Make small databases, about 10 KB each."""
    folder.mkdir()
    for index in range(number):
        with contextlib.closing(sqlite3.connect(folder / f"t{index:06}.db")) as connection:
            connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, what TEXT, paid REAL)")
            connection.executemany(
                "INSERT INTO orders (what, paid) VALUES (?, ?)",
                [(f"order {index} {row}" * 3, row * 0.5) for row in range(rows)],
            )
            connection.commit()


def configure(path, repository, source, *, parallel=PARALLEL, per_server=PARALLEL, more=""):
    path.write_text(
        f'[run]\nparallel = {parallel}\nper_server = {per_server}\n[defaults]\nrepository = "{repository}"\n{more}\n'
        f'[jobs.all]\nsource = "{source}"\n'
    )
    path.chmod(0o600)


def seconds_of(command, runs, before=lambda: None, **environment):
    """Return the median of how long a command takes, and its last output."""
    taken, output = [], ""
    for _ in range(runs):
        before()
        begun = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=False)
        taken.append(time.perf_counter() - begun)
        if done.returncode:
            raise SystemExit(f"{command} ended with {done.returncode}: {done.stdout}{done.stderr}")
        output = done.stdout
    return statistics.median(taken), output


def require_backed_up(output, number):
    """See that every database has its backup: a figure of a run that failed is none."""
    made = sum(database["ok"] for run in json.loads(output)["jobs"] for database in run["databases"])
    if made != number:
        raise SystemExit(f"{made} of {number} databases were backed up")


class Bench:
    """The measurements, each in a folder of its own."""

    def __init__(self, place, runs):
        self.place, self.runs = place, runs
        self.results = []

    def add(self, what, seconds, number, **more):
        row = {
            "what": what,
            "databases": number,
            "seconds": round(seconds, 2),
            "each_ms": round(seconds / number * 1e3, 1),
        }
        self.results.append(row | more)
        print(f"{what}: {seconds:.2f} s, {seconds / number * 1e3:.1f} ms each", file=sys.stderr)

    def compare(self, name, number, source, peer, **environment):
        """Measure the same databases by the peer, by a run, by a run with workers, and by workers that stand ready."""
        repository, config, out = self.place / "repository", self.place / "dumpty.toml", self.place / "out"
        configure(config, repository, source)

        def clean():
            for folder in (repository, out):
                shutil.rmtree(folder, ignore_errors=True)
            out.mkdir()

        run = [*DUMPTY, "run", "--config", str(config), "--json", "-q"]
        seconds, _ = seconds_of(["sh", "-c", peer.format(out=out)], self.runs, clean, **environment)
        self.add(f"{name}: one program each, xargs -P{PARALLEL}", seconds, number)
        seconds, output = seconds_of(run, self.runs, clean, **environment)
        require_backed_up(output, number)
        self.add(f"{name}: dumpty run", seconds, number)
        seconds, output = seconds_of([*run, "--workers", "dask"], self.runs, clean, **environment)
        require_backed_up(output, number)
        self.add(f"{name}: dumpty run --workers dask", seconds, number)
        with Cluster(self.place / f"cluster-{name}", **environment) as cluster:
            for _ in range(PARALLEL):
                cluster.start_worker()
            command = [*run, "--workers", cluster.address]
            seconds_of(command, 1, clean, **environment)  # workers import dumpty once
            seconds, output = seconds_of(command, self.runs, clean, **environment)
            require_backed_up(output, number)
            self.add(f"{name}: dumpty run --workers tcp://…, {PARALLEL} that stand ready", seconds, number)

    def sqlite(self, number):
        folder = self.place / "sqlite"
        make_sqlite(folder, number)
        peer = f"ls {folder} | xargs -P{PARALLEL} -I@ sh -c 'sqlite3 {folder}/@ .dump | gzip > {{out}}/@.sql.gz'"
        self.compare("SQLite", number, f"sqlite:///{folder}/*.db", peer)
        shutil.rmtree(folder)

    def postgres(self, number):
        server = PostgresServer(_debian())
        try:
            names = [server.create(f"tenant_{index:03}") for index in range(number)]
            for name in names:
                server.script(
                    name,
                    f"CREATE TABLE orders AS SELECT i AS id, 'order ' || i AS what FROM generate_series(1, {ROWS}) i",
                )
            listed = "\\n".join(names)
            options = f"-h {server.sockets} -p {server.port} -U postgres"
            peer = (
                f"printf '{listed}\\n' | xargs -P{PARALLEL} -I@ sh -c 'pg_dump {options} @ | gzip > {{out}}/@.sql.gz'"
            )
            url = server.url("tenant_*").replace("%2A", "*")
            self.compare("PostgreSQL", number, "env:TENANTS", peer, TENANTS=url)
        finally:
            server.stop()

    def waiting(self, number, workers):
        """Measure how many databases a second are backed up where each backup waits for its server."""
        folder, repository, config = self.place / "waiting", self.place / "repository", self.place / "waiting.toml"
        make_sqlite(folder, number)
        size = len(subprocess.run(["sqlite3", folder / "t000000.db", ".dump"], capture_output=True, check=True).stdout)
        configure(config, repository, f"sqlite:///{folder}/*.db", more=f'rate_limit = "{int(size / SERVER_SECONDS)}B"')
        points = []
        for count in workers:
            with Cluster(self.place / f"cluster-{count}") as cluster:
                for _ in range(count):
                    cluster.start_worker(threads=WORKER_THREADS)
                command = [*DUMPTY, "run", "--config", str(config), "--json", "-q", "--workers", cluster.address]
                shutil.rmtree(repository, ignore_errors=True)
                wait_for(
                    lambda cluster=cluster, count=count: (
                        cluster.logs().count("Starting established connection") >= count
                    )
                )
                seconds, output = seconds_of(command, 1)
                run = json.loads(output)["jobs"][0]
                require_backed_up(output, number)
                each = statistics.median(database["duration_seconds"] for database in run["databases"])
                threads = count * WORKER_THREADS
                self.add(
                    f"backups that wait for their server: {count} workers of {WORKER_THREADS} threads",
                    run["duration_seconds"],
                    number,
                    threads=threads,
                    per_second=round(number / run["duration_seconds"], 2),
                    waits_seconds=round(each, 2),
                    whole_seconds=round(seconds, 2),
                )
                points.append((threads, number / run["duration_seconds"], each))
        shutil.rmtree(folder)
        return points

    def bucket(self, number):
        """Count what a run asks of a bucket, for each database."""
        folder = self.place / "bucket"
        make_sqlite(folder, number, rows=10)
        with moto() as server:
            environment = {
                "AWS_ACCESS_KEY_ID": KEY,
                "AWS_SECRET_ACCESS_KEY": SECRET,
                "AWS_EC2_METADATA_DISABLED": "true",
            }
            config, name = self.place / "bucket.toml", server.new_bucket()
            configure(config, server.url(name), f"sqlite:///{folder}/*.db")
            counted = {}
            for what in ("first run", "second run"):
                server.proxy.requests.clear()
                _, output = seconds_of([*DUMPTY, "run", "--config", str(config), "--json", "-q"], 1, **environment)
                require_backed_up(output, number)
                counted[what] = Counter(kind_of(request) for request in server.proxy.requests)
        for what, kinds in counted.items():
            each = {kind: round(count / number, 2) for kind, count in sorted(kinds.items())}
            self.results.append({"what": f"requests for each database, {what}", "databases": number, "requests": each})
            print(f"{what}: {each}", file=sys.stderr)


def kind_of(request):
    """Return what a request is billed as."""
    if request.method == "GET" and re.search(r"[?&](list-type|prefix)=", request.path):
        return "LIST"
    return request.method


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sqlite", type=int, default=2000)
    parser.add_argument("--postgres", type=int, default=20)
    parser.add_argument("--waiting", type=int, default=96)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--bucket", type=int, default=200)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--chart", type=Path)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dumpty-bench-") as folder:
        bench = Bench(Path(folder), asked.runs)
        if asked.sqlite:
            bench.sqlite(asked.sqlite)
        if asked.postgres:
            bench.postgres(asked.postgres)
        if asked.bucket:
            bench.bucket(asked.bucket)
        points = bench.waiting(asked.waiting, asked.workers) if asked.waiting else []
    if asked.chart and points:
        waits = points[0][2]
        ideal = [(threads, threads / waits) for threads, _, _ in points]
        head = f"databases a second, where each backup waits {waits:.1f} s for its server"
        asked.chart.write_text(lines_over([point[:2] for point in points], ideal, head))
    if asked.json:
        print(json.dumps({"results": bench.results}))
    else:
        for row in bench.results:
            print("| " + " | ".join(str(value) for value in row.values()) + " |")


if __name__ == "__main__":
    main()
