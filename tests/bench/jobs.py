"""The jobs that are compared: dumpty and, for each thing it does, what people use now.

A job makes or restores one backup of the same database. ``{out}`` is where it writes, ``{backup}`` what the backup job
of the same name wrote, ``{target}`` a database that does not exist (or was just created, empty, where the tool wants
that).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

DUMPTY = [sys.executable, "-m", "dumpty"]
ITERDUMP = (
    "import gzip,sqlite3,sys\n"
    "with gzip.open(sys.argv[2], 'wt', compresslevel=6, encoding='utf-8') as out:\n"
    "    for line in sqlite3.connect(sys.argv[1]).iterdump(): out.write(line + '\\n')\n"
)


@dataclass(frozen=True)
class Job:
    """One thing to measure.

    ``shell`` is its pipeline, where it is not dumpty's; ``made_by`` the backup job whose output a restore takes.
    """

    name: str
    engine: str
    verb: str
    shell: str = ""
    options: tuple[str, ...] = ()
    made_by: str = ""
    prepared: bool = False


def _dumpty(engine: str, name: str, *options: str) -> list[Job]:
    return [
        Job(name, engine, "backup", options=options),
        Job(name, engine, "restore", made_by=name),
        Job(f"{name}: verify", engine, "verify", made_by=name),
    ]


def _peer(engine: str, name: str, backup: str, restore: str = "", *, prepared: bool = False) -> list[Job]:
    jobs = [Job(name, engine, "backup", shell=backup)]
    if restore:
        jobs.append(Job(name, engine, "restore", shell=restore, made_by=name, prepared=prepared))
    return jobs


PG = "-h {host} -p {port} -U postgres"
MY = "--no-defaults --socket={socket} --user=root"

JOBS: list[Job] = [
    *_dumpty("sqlite", "dumpty native gzip", "--format", "native"),
    *_dumpty("sqlite", "dumpty native zstd", "--format", "native", "--compressor", "zstd"),
    *_dumpty("sqlite", "dumpty sql gzip", "--format", "sql"),
    *_dumpty("sqlite", "dumpty sql zstd", "--format", "sql", "--compressor", "zstd"),
    *_peer(
        "sqlite",
        "sqlite3 .backup + gzip",
        "sqlite3 {source} '.backup {out}.db' && gzip -c {out}.db > {out} && rm {out}.db",
        "gunzip -c {backup} > {target}",
    ),
    *_peer(
        "sqlite",
        "sqlite3 .backup + pigz",
        "sqlite3 {source} '.backup {out}.db' && pigz -c {out}.db > {out} && rm {out}.db",
    ),
    *_peer(
        "sqlite", "sqlite3 .dump | gzip", "sqlite3 {source} .dump | gzip > {out}", "zcat {backup} | sqlite3 {target}"
    ),
    *_peer("sqlite", "python iterdump + gzip", f'{sys.executable} -c "$ITERDUMP" {{source}} {{out}}'),
    *_dumpty("postgres", "dumpty native gzip", "--format", "native"),
    *_dumpty("postgres", "dumpty native zstd", "--format", "native", "--compressor", "zstd"),
    *_dumpty("postgres", "dumpty sql gzip", "--format", "sql"),
    *_peer(
        "postgres",
        "pg_dump -Fc",
        f"pg_dump {PG} -Fc -f {{out}} {{source}}",
        f"pg_restore {PG} -e -d {{target}} {{backup}}",
        prepared=True,
    ),
    *_peer("postgres", "pg_dump -Fc -Z0 > /dev/null", f"pg_dump {PG} -Fc -Z0 {{source}} > /dev/null; touch {{out}}"),
    *_peer(
        "postgres",
        "pg_dump | gzip",
        f"pg_dump {PG} {{source}} | gzip > {{out}}",
        f"zcat {{backup}} | psql {PG} -qX -v ON_ERROR_STOP=1 -o /dev/null {{target}}",
        prepared=True,
    ),
    *_peer("postgres", "pg_dump | zstd", f"pg_dump {PG} {{source}} | zstd -q -1 > {{out}}"),
    *_peer(
        "postgres",
        "pg_dump -Fd -j2",
        f"pg_dump {PG} -Fd -j2 -f {{out}} {{source}}",
        f"pg_restore {PG} -e -j2 -d {{target}} {{backup}}",
        prepared=True,
    ),
    *_dumpty("mysql", "dumpty sql gzip"),
    *_dumpty("mysql", "dumpty sql zstd", "--compressor", "zstd"),
    *_peer(
        "mysql",
        "mariadb-dump | gzip",
        f"mariadb-dump {MY} --single-transaction {{source}} | gzip > {{out}}",
        f"zcat {{backup}} | mariadb {MY} {{target}}",
        prepared=True,
    ),
    *_peer(
        "mysql",
        "mydumper -t2 -c",
        "mydumper -S {socket} -u root -B {source} -t 2 -c -o {out}",
        "myloader -S {socket} -u root -B {target} -t 2 -d {backup} -s {source}",
        prepared=True,
    ),
]
