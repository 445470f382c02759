"""A marker password goes through every verb and every failure, and is then looked for everywhere it must not be."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import traceback
import uuid
from pathlib import Path
from typing import Self
from urllib.parse import quote

import pytest

from dumpty import BackupFormat, BackupManager, DatabaseBackup

PASSWORD = "MaRk3r/p@ss:w%rd?#&"
SPELLINGS = {PASSWORD, quote(PASSWORD, safe=""), quote(PASSWORD), "MaRk3r"}


def leaks(text: str) -> bool:
    return any(spelling in text for spelling in SPELLINGS)


def chain(error: BaseException | None) -> str:
    """Return all that an exception and its causes say, their attributes included."""
    texts = []
    while error is not None:
        texts += [repr(error), str(error), repr(vars(error)), "".join(traceback.format_exception_only(error))]
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


class Watch:
    """Reads the command line of every process below this one, again and again."""

    def __init__(self) -> None:
        self.command_lines: set[str] = set()
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._finished.set()
        self._thread.join()

    def _run(self) -> None:
        own_pid = str(os.getpid())
        while not self._finished.wait(0.005):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                if path.parent.name != own_pid:
                    with contextlib.suppress(OSError):
                        self.command_lines.add(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))


@pytest.fixture(params=["postgres", "mysql"])
def urls(request):
    """A URL with the marker password that works, one where there is nothing yet, and ones that fail in every way."""
    name = f"s_{uuid.uuid4().hex[:8]}"
    secret = quote(PASSWORD, safe="")
    wrong_password = quote(PASSWORD + "x", safe="")
    if request.param == "postgres":
        server = request.getfixturevalue("postgres")
        server.execute(f"CREATE ROLE {name} LOGIN SUPERUSER PASSWORD '{PASSWORD}'")
        server.create(name)
        server.execute("CREATE TABLE t AS SELECT g AS i FROM generate_series(1, 20000) g", database=name)
        tail = f"127.0.0.1:{server.port}"
        valid_url = f"postgresql://{name}:{secret}@{tail}/{name}"
        invalid_urls = [
            f"postgresql://{name}:{wrong_password}@{tail}/{name}",
            f"postgresql://{name}:{secret}@127.0.0.1:1/{name}",
            f"postgresql://{name}:{secret}@no-such-host.invalid/{name}",
            f"postgresql://{name}@{tail}/{name}?password={wrong_password}",
            f"postgresql://{name}:{secret}@{tail}/{name}?sslmode=verify-full&sslpassword={secret}",
            f"postgresql://{name}:{secret}@{tail}/{name}?nonsense=1",
            f"postgresql://{name}:{PASSWORD}@{tail}/{name}",
        ]
        yield valid_url, f"postgresql://{name}:{secret}@{tail}/{name}_t", invalid_urls
        for database in (name, f"{name}_t"):
            server.drop(database)
        server.execute(f"DROP ROLE {name}")
    else:
        server = request.getfixturevalue("mariadb")
        server.run(f"CREATE DATABASE {name}")
        server.run("CREATE TABLE t (i INT PRIMARY KEY)", "INSERT INTO t SELECT seq FROM seq_1_to_20000", database=name)
        server.run(f"CREATE USER '{name}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'")
        server.run(f"GRANT ALL ON *.* TO '{name}'@'127.0.0.1'")
        tail = f"127.0.0.1:{server.port}"
        valid_url = f"mysql://{name}:{secret}@{tail}/{name}"
        invalid_urls = [
            f"mysql://{name}:{wrong_password}@{tail}/{name}",
            f"mysql://{name}:{secret}@127.0.0.1:1/{name}",
            f"mysql://{name}:{secret}@no-such-host.invalid/{name}",
            f"mysql://{name}:{secret}@{tail}/{name}?nonsense=1",
            f"mysql://{name}:{secret}@{tail}/{name}?ssl_ca=/no/such/file",
            f"mysql://{name}:{PASSWORD}@{tail}/{name}",
        ]
        yield valid_url, f"mysql://{name}:{secret}@{tail}/{name}_t", invalid_urls
        for database in (name, f"{name}_t"):
            server.run(f"DROP DATABASE IF EXISTS {database}")
        server.run(f"DROP USER '{name}'@'127.0.0.1'")


def test_no_verb_and_no_failure_of_the_library_shows_the_password(urls, tmp_path, caplog, capfd):
    valid_url, target, invalid_urls = urls
    manager = BackupManager(str(tmp_path / "b"))
    texts: list[str] = []
    failures = []
    with caplog.at_level(logging.DEBUG), Watch() as watch:
        failures.append(manager.create_backup(target))
        for form in ("sql", "native"):
            backed_up = manager.create_backup(valid_url, format=form)
            assert backed_up.success, backed_up.error
            restored = manager.restore(backed_up.backup.id, target, overwrite=True)
            assert restored.success, restored.error
            texts += [repr(backed_up), repr(restored)]
        failures += [manager.create_backup(url) for url in invalid_urls]
        failures += [manager.restore(backed_up.backup.id, url, overwrite=True) for url in invalid_urls]
        failures += [manager.restore(backed_up.backup.id, target), manager.restore("nothing", target)]
        failures += [manager.create_backup(valid_url, nonsense=1), manager.create_backup(valid_url, format="xml")]
        Path(backed_up.backup.file_path).write_bytes(b"damaged")
        failures += [manager.restore(backed_up.backup.id, target, overwrite=True)]
        texts += [repr(manager.list_backups())]
    assert not any(f.success for f in failures)
    texts += [repr(f) + chain(f.exception) for f in failures]
    texts += [caplog.text, *capfd.readouterr(), *watch.command_lines]
    texts += [repr(vars(record)) for record in caplog.records]
    assert [text for text in texts if leaks(text)] == []
    if valid_url.startswith("postgresql"):  # else there is no child, and other people's processes prove nothing
        assert any("pg_dump" in line for line in watch.command_lines)
    for path in (tmp_path / "b").rglob("*"):
        assert not leaks(path.name)
        if path.is_file():
            assert not leaks(path.read_bytes().decode("latin-1"))


def test_no_verb_and_no_failure_of_the_command_line_shows_the_password(urls, tmp_path, dumpty, monkeypatch):
    valid_url, target, invalid_urls = urls
    monkeypatch.setenv("GOOD_URL", valid_url)
    monkeypatch.setenv("TARGET_URL", target)
    monkeypatch.setenv("DUMPTY_DEBUG", "1")
    (tmp_path / "url").write_text(valid_url)
    texts = []
    with Watch() as watch:
        result = [
            dumpty("backup", "env:TARGET_URL"),
            dumpty("backup", "env:GOOD_URL"),
            dumpty("backup", "file:url", "--json"),
            dumpty("list"),
            dumpty("list", "--json"),
            dumpty("show", "latest"),
            dumpty("show", "latest", "--json"),
            dumpty("verify", "--all"),
            dumpty("restore", "latest", "--to", "env:TARGET_URL"),
            dumpty("doctor", "env:GOOD_URL"),
            dumpty("plugins"),
        ]
        assert [r.status for r in result] == [1] + [0] * (len(result) - 1)
        for url in invalid_urls:
            for argv in (
                ("backup", url),
                ("backup", url, "--json"),
                ("restore", "latest", "--to", url),
                ("doctor", url),
            ):
                result.append(dumpty(*argv))
                assert result[-1].status != 0, result[-1]
        result.append(dumpty("prune", "--keep", "1", "--yes"))
    texts += [repr(r) for r in result]
    # The tests' own process has the URLs in its memory, not on a command line.
    texts += list(watch.command_lines)
    assert [text for text in texts if leaks(text)] == []
    for path in (tmp_path / "backups").rglob("*"):
        if path.is_file():
            assert not leaks(path.read_bytes().decode("latin-1"))


@pytest.fixture(params=["postgres", "mysql"])
def bookkeeping(request):
    """A database whose tables, and a role, are named after its password; and a URL where there is nothing yet."""
    name = f"s_{uuid.uuid4().hex[:8]}"
    if request.param == "postgres":
        server = request.getfixturevalue("postgres")
        server.execute(f"CREATE ROLE {name} LOGIN SUPERUSER PASSWORD 'bookkeeping'")
        server.execute("CREATE ROLE bookkeeping")
        server.create(name)
        for table in ("bookkeeping", "bookkeeping_2", "other"):
            server.execute(f"CREATE TABLE {table} AS SELECT g AS i FROM generate_series(1, 20) g", database=name)
        server.execute("ALTER TABLE other OWNER TO bookkeeping", database=name)
        url = f"postgresql://{name}:bookkeeping@127.0.0.1:{server.port}/{name}"
        yield url, f"{url}_t"
        for database in (name, f"{name}_t"):
            server.drop(database)
        server.execute(f"DROP ROLE {name}")
        server.execute("DROP ROLE bookkeeping")
    else:
        server = request.getfixturevalue("mariadb")
        server.run(f"CREATE DATABASE {name}")
        for table in ("bookkeeping", "bookkeeping_2", "other"):
            server.run(f"CREATE TABLE {table} (i INT)", f"INSERT INTO {table} VALUES (1), (2)", database=name)
        server.run(f"CREATE USER '{name}'@'127.0.0.1' IDENTIFIED BY 'bookkeeping'")
        server.run(f"GRANT ALL ON *.* TO '{name}'@'127.0.0.1'")
        url = f"mysql://{name}:bookkeeping@127.0.0.1:{server.port}/{name}"
        yield url, f"{url}_t"
        for database in (name, f"{name}_t"):
            server.run(f"DROP DATABASE IF EXISTS {database}")
        server.run(f"DROP USER '{name}'@'127.0.0.1'")


def test_a_password_that_is_the_name_of_a_table_is_not_shown_and_its_backup_goes_back(bookkeeping, tmp_path):
    url, target = bookkeeping
    manager = BackupManager(str(tmp_path / "b"))
    for form in ("sql", "native"):
        backed_up = manager.create_backup(url, format=form, fingerprint=True)
        assert backed_up.success, backed_up.error
        assert backed_up.backup.source.endswith(url.rpartition("/")[2])
        assert "bookkeeping" not in repr(backed_up)
        restored = manager.restore(backed_up.backup.id, target, overwrite=True)
        assert restored.success, restored.error
        assert manager.verify(backed_up.backup.id, level="structure").verification_status.failed is None
    for path in (tmp_path / "b").iterdir():
        if path.name.endswith(".json"):
            assert "bookkeeping" not in path.read_text()


def test_a_drill_knows_the_tables_that_are_named_after_the_password(bookkeeping, tmp_path):
    url, _ = bookkeeping
    manager = BackupManager(str(tmp_path / "b"))
    backed_up = manager.create_backup(url, fingerprint=True)
    assert backed_up.success, backed_up.error
    proof = manager.prove(backed_up.backup.id)
    assert proof.ok, proof.error
    assert any("every value: 3 objects" in step.what for step in proof.proved), proof


def test_the_named_facade_shows_no_password_in_what_it_raises(postgres, tmp_path):
    backups = DatabaseBackup(str(tmp_path / "b"))
    secret = quote(PASSWORD, safe="")
    dsn_value = PASSWORD.replace("\\", "\\\\").replace("'", "\\'")
    for connection in (
        f"postgresql://nobody:{secret}@127.0.0.1:{postgres.port}/postgres",
        f"postgresql://nobody:{secret}@127.0.0.1:1/postgres",
        f"host=127.0.0.1 port={postgres.port} user=nobody dbname=postgres password='{dsn_value}'",
        f"host=127.0.0.1 password='{dsn_value}' this is no dsn",
        f"postgresql://nobody:{PASSWORD}@127.0.0.1/postgres",
    ):
        with Watch() as watch, pytest.raises(Exception, match=r".") as caught:
            backups.backup_postgres(connection, "pg", BackupFormat.SQL)
        assert not leaks(chain(caught.value))
        assert not [line for line in watch.command_lines if leaks(line)]
    assert backups.list_backups() == []
