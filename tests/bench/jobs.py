"""The jobs that are compared: dumpty and, for each thing it does, what people use now.

A job makes or restores one backup of the same database. ``{out}`` is where it writes, ``{backup}`` what the backup job
of the same name wrote, ``{target}`` a database that does not exist (or was just created, empty, where the tool wants
that).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

DUMPTY = [sys.executable, "-m", "dumpty"]
IGZIP = f"{sys.executable} -m isal.igzip"
THREADED = (
    "import shutil,sys\n"
    "from isal import igzip_threaded\n"
    "with open(sys.argv[1], 'rb') as data, igzip_threaded.open(sys.argv[2], 'wb', compresslevel=2, threads=2) as out:\n"
    "    shutil.copyfileobj(data, out, 1 << 20)\n"
)
DJANGO = (
    "import sys\n"
    "from django.conf import settings\n"
    "own = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': sys.argv[1]}}\n"
    "place = {'BACKEND': 'django.core.files.storage.FileSystemStorage', 'OPTIONS': {'location': '/'}}\n"
    "settings.configure(DATABASES=own, INSTALLED_APPS=['dbbackup'], STORAGES={'default': place, 'dbbackup': place})\n"
    "import django\n"
    "from django.core.management import call_command\n"
    "django.setup()\n"
    "call_command('dbbackup', compress=True, output_path=sys.argv[2], verbosity=0)\n"
)
ITERDUMP = (
    "import gzip,sqlite3,sys\n"
    "with gzip.open(sys.argv[2], 'wt', compresslevel=6, encoding='utf-8') as out:\n"
    "    for line in sqlite3.connect(sys.argv[1]).iterdump(): out.write(line + '\\n')\n"
)


@dataclass(frozen=True)
class Job:
    """One thing to measure.

    ``shell`` is its pipeline, where it is not dumpty's; ``made_by`` the backup job whose output a restore takes, of
    which ``table`` is all that it restores, unless it is "".
    """

    name: str
    engine: str
    verb: str
    shell: str = ""
    options: tuple[str, ...] = ()
    made_by: str = ""
    prepared: bool = False
    table: str = ""


def _dumpty(engine: str, name: str, *options: str, one_table: bool = True) -> list[Job]:
    name = f"dumpty {engine} {name}"
    jobs = [
        Job(name, engine, "backup", options=options),
        Job(name, engine, "restore", made_by=name),
        Job(name, engine, "verify", made_by=name),
        Job(f"{name}, structure", engine, "verify", made_by=name, options=("--level", "structure")),
    ]
    if one_table:
        jobs.append(Job(f"{name}, one table of 1 %", engine, "restore", made_by=name, table="returned"))
    if name.endswith(" gzip") and "parallel" not in name:  # it reads one file
        jobs.append(
            Job(f"igzip -dc of {name}", engine, "verify", shell=f"{IGZIP} -dc {{backup}} > /dev/null", made_by=name)
        )
    return jobs


def _peer(engine: str, name: str, backup: str, restore: str = "", *, prepared: bool = False) -> list[Job]:
    jobs = [Job(name, engine, "backup", shell=backup)]
    if restore:
        jobs.append(Job(name, engine, "restore", shell=restore, made_by=name, prepared=prepared))
    return jobs


PG = "-h {host} -p {port} -U postgres"
MY = "--no-defaults --socket={socket} --user=root"

JOBS: list[Job] = [
    *_dumpty("sqlite", "native gzip", "--format", "native"),
    *_dumpty("sqlite", "native zstd", "--format", "native", "--compressor", "zstd"),
    *_dumpty("sqlite", "sql gzip", "--format", "sql"),
    *_dumpty("sqlite", "sql zstd", "--format", "sql", "--compressor", "zstd"),
    *_dumpty("sqlite", "parallel zstd", "--format", "parallel", "--compressor", "zstd"),
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
        "sqlite",
        "sqlite3 .backup + zstd -1 -T0",
        "sqlite3 {source} '.backup {out}.db' && zstd -q -1 -T0 -o {out} {out}.db && rm {out}.db",
        "zstd -qdc {backup} > {target}",
    ),
    *_peer(
        "sqlite", "sqlite3 .dump | gzip", "sqlite3 {source} .dump | gzip > {out}", "zcat {backup} | sqlite3 {target}"
    ),
    *_peer("sqlite", "python iterdump + gzip", f'{sys.executable} -c "$ITERDUMP" {{source}} {{out}}'),
    *_peer("sqlite", "django-dbbackup", f'{sys.executable} -c "$DJANGO" {{source}} {{out}}'),
    *_peer("sqlite", "the file through igzip, two threads", f'{sys.executable} -c "$THREADED" {{source}} {{out}}'),
    *_dumpty("postgres", "native gzip", "--format", "native"),
    *_dumpty("postgres", "native zstd", "--format", "native", "--compressor", "zstd"),
    *_dumpty("postgres", "parallel gzip", "--format", "parallel"),
    *_dumpty("postgres", "parallel zstd", "--format", "parallel", "--compressor", "zstd"),
    *_dumpty("postgres", "sql gzip", "--format", "sql"),
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
    *_peer(
        "postgres",
        "pg_dump | zstd -1 -T0",
        f"pg_dump {PG} {{source}} | zstd -q -1 -T0 > {{out}}",
        f"zstd -qdc {{backup}} | psql {PG} -qX -v ON_ERROR_STOP=1 -o /dev/null {{target}}",
        prepared=True,
    ),
    *_peer("postgres", "pg_dump -Fd -j2 -Z1", f"pg_dump {PG} -Fd -j2 -Z1 -f {{out}} {{source}}"),
    *_peer("postgres", "pg_dump -Fd -j2 -Z0", f"pg_dump {PG} -Fd -j2 -Z0 -f {{out}} {{source}}"),
    *_peer(
        "postgres",
        "pg_dump 18 -Fc --compress=zstd:1",
        f"pg_dump-18 {PG} -Fc --compress=zstd:1 -f {{out}} {{source}}",
    ),
    *_peer(
        "postgres",
        "pg_dump 18 -Fd -j2 --compress=zstd:1",
        f"pg_dump-18 {PG} -Fd -j2 --compress=zstd:1 -f {{out}} {{source}}",
    ),
    *_peer(
        "postgres",
        "pg_dump -Fd -j2",
        f"pg_dump {PG} -Fd -j2 -f {{out}} {{source}}",
        f"pg_restore {PG} -e -j2 -d {{target}} {{backup}}",
        prepared=True,
    ),
    *_dumpty("postgres-four", "parallel zstd", "--format", "parallel", "--compressor", "zstd", one_table=False),
    *_peer(
        "postgres-four",
        "four tables: pg_dump -Fd -j2",
        f"pg_dump {PG} -Fd -j2 -f {{out}} {{source}}",
        f"pg_restore {PG} -e -j2 -d {{target}} {{backup}}",
        prepared=True,
    ),
    *_peer(
        "postgres-four",
        "four tables: pg_dump -Fd -j2 -Z0",
        f"pg_dump {PG} -Fd -j2 -Z0 -f {{out}} {{source}}",
        f"pg_restore {PG} -e -j2 -d {{target}} {{backup}}",
        prepared=True,
    ),
    *_dumpty("mysql", "sql gzip", "--format", "sql"),
    *_dumpty("mysql", "sql zstd", "--format", "sql", "--compressor", "zstd"),
    *_dumpty("mysql", "parallel gzip", "--format", "parallel"),
    *_dumpty("mysql", "parallel zstd", "--format", "parallel", "--compressor", "zstd"),
    *_peer(
        "mysql",
        "mariadb-dump | gzip",
        f"mariadb-dump {MY} --single-transaction {{source}} | gzip > {{out}}",
        f"zcat {{backup}} | mariadb {MY} {{target}}",
        prepared=True,
    ),
    *_peer(
        "mysql",
        "mariadb-dump | zstd -1 -T0",
        f"mariadb-dump {MY} --single-transaction {{source}} | zstd -q -1 -T0 > {{out}}",
        f"zstd -qdc {{backup}} | mariadb {MY} {{target}}",
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
