"""Nothing that was cut, dropped, forged or interrupted passes for a backup, or for a restore."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
from support.drive import FileDump, FileSink, defaults, dump, load

import dumpty_plugins.postgres.plugin as driver
from dumpty import DumptyError, Evidence, IntegrityError, SourceError

TABLES = """
CREATE TABLE a AS SELECT g AS id, 'row ' || g AS v FROM generate_series(1, 40) g;
CREATE TABLE b AS SELECT g AS id FROM generate_series(1, 5) g;
CREATE FUNCTION f() RETURNS integer LANGUAGE sql AS $$ SELECT 1; $$;
SELECT lo_from_bytea(0, 'large');
ALTER TABLE a ADD PRIMARY KEY (id);
"""


@pytest.fixture
def name(dbs):
    return dbs.new(TABLES)


def cut_positions(text: bytes) -> list[int]:
    """Places to cut a plain dump: everywhere it hurts."""
    data = text.index(b"row 20\n")
    marker = text.index(b"-- PostgreSQL database dump complete")
    return [
        0,
        1,
        text.index(b"SET client_encoding"),
        text.index(b"CREATE TABLE public.a") + 10,
        text.index(b"SELECT 1;") + 9,
        data + 3,
        data + 7,  # at the end of a row: psql --single-transaction commits this, and exits with 0
        text.index(b"\\.\n", data),
        text.index(b"\\.\n", data) + 1,
        text.index(b"\\.\n", data) + 3,
        text.index(b"lowrite"),
        text.index(b"ALTER TABLE ONLY public.a"),
        marker,
        marker + 20,
    ]


def test_a_plain_dump_cut_anywhere_restores_nothing(dbs, name, tmp_path):
    made = dump(driver, dbs.source(name), tmp_path / "d", "sql")
    text = made.file.read_bytes()
    target = dbs.name()
    for cut in cut_positions(text):
        (tmp_path / "cut").write_bytes(text[:cut])
        with pytest.raises(IntegrityError, match="cut off"):  # no counts known: the dump itself must tell
            load(driver, dbs.source(target), FileDump(tmp_path / "cut", "sql", Evidence()))
        assert dbs.made_databases() == {name}


def test_a_plain_dump_cut_anywhere_leaves_an_empty_target_empty(dbs, name, role, tmp_path):
    made = dump(driver, dbs.source(name), tmp_path / "d", "sql")
    text = re.sub(rb"ALTER [^\n]* OWNER TO postgres;\n", b"", made.file.read_bytes())
    target = dbs.new()
    dbs.server.execute(f"GRANT ALL ON DATABASE {target} TO {role[0]}")
    dbs.server.execute(f"GRANT ALL ON SCHEMA public TO {role[0]}", database=target)
    for cut in (n for n in cut_positions(text) if n > 200):
        (tmp_path / "cut").write_bytes(text[:cut])
        with pytest.raises(IntegrityError, match="cut off"):
            load(driver, dbs.source(target, *role), FileDump(tmp_path / "cut", "sql", Evidence()))
        assert driver.inspect(source=dbs.source(target), options={}).empty
    (tmp_path / "cut").write_bytes(text)
    load(driver, dbs.source(target, *role), FileDump(tmp_path / "cut", "sql", made.evidence))
    assert dbs.server.execute("SELECT count(*) FROM a", database=target) == [(40,)]


@pytest.mark.parametrize("form", ["native", "custom", "tar"])
def test_an_archive_cut_anywhere_restores_nothing(dbs, name, tmp_path, form):
    made = dump(driver, dbs.source(name), tmp_path / "d", form)
    whole = made.file.read_bytes()
    # Behind the last row of the last table a cut changes nothing; evidence and end are core's to check there.
    for cut in (0, 4, 100, len(whole) // 3, len(whole) // 2, whole.index(b"dump_cut") if b"dump_cut" in whole else 600):
        (tmp_path / "cut").write_bytes(whole[:cut])
        with pytest.raises((IntegrityError, RuntimeError)):
            load(driver, dbs.source(dbs.name()), FileDump(tmp_path / "cut", form, made.evidence))
        assert dbs.made_databases() == {name}


def test_a_directory_without_one_of_its_files_restores_nothing(dbs, name, tmp_path):
    made = dump(driver, dbs.source(name), tmp_path / "d", "directory")
    for path in sorted(made.file.iterdir()):
        copy = tmp_path / "copy"
        shutil.copytree(made.file, copy)
        (copy / path.name).unlink()
        with pytest.raises((IntegrityError, RuntimeError)):
            load(driver, dbs.source(dbs.name()), FileDump(copy, "directory", made.evidence))
        shutil.rmtree(copy)
        assert dbs.made_databases() == {name}


def test_a_row_missing_from_the_dump_fails_the_restore_before_the_swap(dbs, name, tmp_path):
    made = dump(driver, dbs.source(name), tmp_path / "d", "sql")
    made.file.write_bytes(made.file.read_bytes().replace(b"20\trow 20\n", b""))
    target = dbs.new("CREATE TABLE precious AS SELECT 1 AS a")
    with pytest.raises(IntegrityError, match=r"public\.a has 39 rows, and had 40"):
        load(driver, dbs.source(target), made, overwrite=True)
    assert dbs.made_databases() == {name, target}
    assert dbs.server.execute("SELECT a FROM precious", database=target) == [(1,)]


def test_a_table_missing_from_the_dump_fails_the_restore(dbs, name, tmp_path):
    made = dump(driver, dbs.source(name), tmp_path / "d", "sql")
    other = dump(driver, dbs.source(dbs.new("CREATE TABLE b (id integer)")), tmp_path / "e", "sql")
    with pytest.raises(IntegrityError, match=r"public\.a is missing; .*public\.b has 0 rows, and had 5"):
        load(driver, dbs.source(dbs.name()), FileDump(other.file, "sql", made.evidence))


@pytest.mark.parametrize("form", ["sql", "native", "parallel", "custom", "tar"])
def test_pg_dump_that_exits_0_with_half_its_output_fails_the_backup(dbs, name, tmp_path, fake_client, form):
    whole = dump(driver, dbs.source(name), tmp_path / "whole", form).parts[0].size  # the archive, where there are more
    for size in (0, 10, whole // 2, whole - 600, whole - (80 if form == "sql" else 1), whole - 30):
        bindir = fake_client(f'"$REAL" "$@" | head -c {size}; exit 0\n')
        with pytest.raises(IntegrityError, match=r"cut off|begin with PGDMP"):
            dump(driver, dbs.source(name), tmp_path / str(size), form, bindir=bindir)


def test_pg_dump_that_loses_a_row_in_the_middle_fails_the_backup(dbs, name, tmp_path, fake_client):
    bindir = fake_client('"$REAL" "$@" | grep -v "row 20$"\n')
    with pytest.raises(IntegrityError, match=r"pg_dump's output .* public\.a has 39 rows, and had 40"):
        dump(driver, dbs.source(name), tmp_path / "d", "sql", bindir=bindir)


def test_a_directory_dump_that_lacks_a_file_fails_the_backup(dbs, name, tmp_path, fake_client):
    bindir = fake_client(
        'for a in "$@"; do case $a in --file=*) D=${a#--file=};; esac; done; "$REAL" "$@"; rm $(ls $D/[0-9]*.dat* | head -1)\n'
    )
    with pytest.raises(IntegrityError, match="holds no data of public"):
        dump(driver, dbs.source(name), tmp_path / "d", "directory", bindir=bindir)


@pytest.mark.parametrize("form", ["sql", "native", "tar"])
@pytest.mark.parametrize(
    ("ending", "message"),
    [
        ("echo 'pg_dump: error: boom' >&2; exit 3", r"failed \(status 3\): boom"),
        ("echo boom >&2; exit 3", "exited with status 3: boom"),
        ("kill -9 $$", "signal 9"),
    ],
)
def test_pg_dump_that_dies_midway_fails_the_backup(dbs, name, tmp_path, fake_client, form, ending, message):
    bindir = fake_client(f'"$REAL" "$@" | head -c 3000; {ending}\n')
    with pytest.raises(RuntimeError, match=message):
        dump(driver, dbs.source(name), tmp_path / "d", form, bindir=bindir)


def is_running(pid_file) -> bool:
    with contextlib.suppress(OSError):
        state = Path(f"/proc/{int(pid_file.read_text())}/stat").read_text().rsplit(")", 1)[1].split()[0]
        return state != "Z"
    return False


@pytest.mark.parametrize("form", ["sql", "native"])
def test_ctrl_c_ends_a_stalled_pg_dump_and_all_it_started(dbs, name, tmp_path, fake_client, form):
    bindir = fake_client(f'echo $$ > {tmp_path}/pid; "$REAL" "$@" | head -c 2000; sleep 300\n')

    def interrupt(*_args: object) -> None:
        raise KeyboardInterrupt

    former_handler = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 1.5)
        with pytest.raises(KeyboardInterrupt):
            dump(driver, dbs.source(name), tmp_path / "d", form, bindir=bindir)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former_handler)
    assert not is_running(tmp_path / "pid")
    assert dbs.server.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = %s", name)[0][0] <= 1


@pytest.mark.parametrize("whole", [False, True])
def test_ctrl_c_during_a_long_statement_of_a_restore_ends_it_now(dbs, role, tmp_path, whole):
    (tmp_path / "d").write_bytes(
        b"CREATE TABLE t (a integer);\nSELECT pg_sleep(100);\n-- PostgreSQL database dump complete\n"
    )
    target = dbs.new()
    dbs.server.execute(f"GRANT ALL ON DATABASE {target} TO {role[0]}")
    dbs.server.execute(f"GRANT ALL ON SCHEMA public TO {role[0]}", database=target)
    source = dbs.source(target, *role) if whole else dbs.source(dbs.name())

    def interrupt(*_args: object) -> None:
        raise KeyboardInterrupt

    former_handler = signal.signal(signal.SIGALRM, interrupt)
    started = time.monotonic()
    try:
        signal.setitimer(signal.ITIMER_REAL, 1.5)
        with pytest.raises(KeyboardInterrupt):
            load(driver, source, FileDump(tmp_path / "d", "sql", Evidence()))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former_handler)
    assert time.monotonic() - started < 20
    assert dbs.made_databases() == {target}
    assert driver.inspect(source=dbs.source(target), options={}).empty


class _Reader:
    def __init__(self, data: bytes, error: BaseException) -> None:
        self.data, self.error = data, error

    def read(self, size: int = -1) -> bytes:
        piece, self.data = self.data[:500], self.data[500:]
        if not piece:
            raise self.error
        return piece

    def close(self) -> None:
        pass


@pytest.mark.parametrize("error", [KeyboardInterrupt("now"), IntegrityError("digest differs")])
@pytest.mark.parametrize("whole", [False, True])
def test_an_error_out_of_the_dump_leaves_the_target_as_it_was(dbs, name, role, tmp_path, error, whole):
    made = dump(driver, dbs.source(name), tmp_path / "d", "sql")
    text = re.sub(rb"ALTER [^\n]* OWNER TO postgres;\n", b"", made.file.read_bytes())
    for part in (text, text[: text.index(b"row 20")]):  # at the very end, and inside COPY
        made.open = lambda part=part: _Reader(part, error)
        target = dbs.new()
        dbs.server.execute(f"GRANT ALL ON DATABASE {target} TO {role[0]}")
        dbs.server.execute(f"GRANT ALL ON SCHEMA public TO {role[0]}", database=target)
        source = dbs.source(target, *role) if whole else dbs.source(target)
        with pytest.raises(type(error), match=str(error)):
            load(driver, source, made)
        assert driver.inspect(source=dbs.source(target), options={}).empty


class _FullSink(FileSink):
    def write(self, data) -> int:
        raise OSError(28, "No space left on device")


def test_an_error_of_the_sink_comes_out_as_it_is(dbs, name, tmp_path):
    for form in ("sql", "native", "tar"):
        with contextlib.closing(_FullSink(tmp_path / "d")) as sink, pytest.raises(OSError, match="No space left"):
            driver.backup(source=dbs.source(name), sink=sink, format=form, options=defaults(driver, "backup"))


@pytest.mark.parametrize(
    "command",
    [
        r"\! touch {flag}",
        r"\unrestrict `touch {flag}`",
        r"\restrict `touch {flag}`",
        r"SELECT 1 \g |touch {flag}",
        r"SELECT 'x' \! touch {flag}",
        r"SELECT E'\'' \! touch {flag}",
        r"SELECT $a$ ' $a$ \! touch {flag}",
        r'SELECT "a" /* ; */ -- ;' + "\n" + r"\! touch {flag}",
        r"COPY public.a FROM PROGRAM 'true' \! touch {flag}",
        r"\copy public.a from program 'touch {flag}'",
    ],
)
def test_no_command_of_psqls_in_a_dump_is_ever_run(dbs, name, tmp_path, command):
    made = dump(driver, dbs.source(name), tmp_path / "d", "sql")
    flag = tmp_path / "flag"
    forged = made.file.read_bytes().replace(
        b"\n\nALTER TABLE ONLY public.a\n",
        b"\n" + command.format(flag=flag).encode() + b"\n\nALTER TABLE ONLY public.a\n",
    )
    assert forged != made.file.read_bytes()
    made.file.write_bytes(forged)
    with pytest.raises(IntegrityError, match="command for psql"):
        load(driver, dbs.source(dbs.name()), made)
    assert not flag.exists()
    assert dbs.made_databases() == {name}


def test_a_dump_that_commits_on_its_own_is_caught(dbs, role, tmp_path):
    target = dbs.new()
    dbs.server.execute(f"GRANT ALL ON DATABASE {target} TO {role[0]}")
    (tmp_path / "d").write_bytes(
        b"SELECT 1; COMMIT AND CHAIN; SELECT 2; ROLLBACK AND CHAIN; SELECT 2;\n-- PostgreSQL database dump complete\n"
    )
    with pytest.raises(SourceError, match="ended the transaction"):
        load(driver, dbs.source(target, *role), FileDump(tmp_path / "d", "sql", Evidence()))


def test_a_statement_the_server_refuses_is_named_in_the_error(dbs, tmp_path):
    (tmp_path / "d").write_bytes(b"SELECT 1;\nCREATE TABLE t (a nonsense);\n-- PostgreSQL database dump complete\n")
    with pytest.raises(
        DumptyError, match=r'loading \(CREATE TABLE t \(a nonsense\); \.\.\.\).*type "nonsense" does not exist'
    ) as caught:
        load(driver, dbs.source(dbs.name()), FileDump(tmp_path / "d", "sql", Evidence()))
    assert "\n" not in str(caught.value)
    assert dbs.made_databases() == set()
    assert os.listdir(tmp_path)
