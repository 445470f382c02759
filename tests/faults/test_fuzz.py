"""What dumpty parses, made up or mutated and sealed again: errors of dumpty's own hierarchy, and targets untouched.

URLs and unsealed manifests are fuzzed in ``test_url.py`` and ``repository/test_manifest.py``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from faults.ledger import FACTOR, LEDGER
from faults.servers import MariaDB, Postgres
from faults.servers import version_of as server_version_of
from faults.vault import advance, create, version_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dumpty import BackupManager, DatabaseBackup, DumptyError
from dumpty.repository.sealed import seal

SQLITE, SERVERS = 60 * FACTOR, 8 * FACTOR
FUZZ = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}
JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 1 << 70), st.floats(), st.text(max_size=9), st.just([]), st.just({}),
    st.sampled_from(["../../etc/passwd", "/etc/passwd", "x/y", "sqlite", "native", "gzip", "1e999", "", "\0"]),
)  # fmt: skip
FRAGMENTS = [
    b"'",
    b";",
    b"\n",
    b"\\.",
    b"\0",
    b"/*",
    b"--",
    b"NULL",
    b"COMMIT;\n",
    b"DROP TABLE t;\n",
    b"0",
    b"$$",
    b'"',
]


def paths_of(value, path=()):
    """Yield the path of every value within nested JSON."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, key)
        if isinstance(inner, (dict, list)):
            yield from paths_of(inner, (*path, key))


def mutated(content: dict, data) -> dict:
    """Return manifest content with one value replaced by junk, or taken out."""
    content = json.loads(json.dumps(content))
    path = data.draw(st.sampled_from([p for p in paths_of(content) if p[0] not in {"digest", "dumpty_manifest"}]))
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    if data.draw(st.booleans()) and isinstance(inner, dict):
        del inner[path[-1]]
    else:
        inner[path[-1]] = data.draw(JUNK)
    return {k: v for k, v in content.items() if k not in {"digest", "dumpty_manifest"}}


@pytest.fixture
def shop(place):
    """A backup of version 1, and a target of version 1000."""
    database = create(place / "shop.db", rows=40)
    advance(database, 1)
    target = create(place / "target.db", rows=40)
    advance(target, 1000)
    return place, database, target


@settings(max_examples=SQLITE, **FUZZ)
@given(data=st.data())
def test_a_sealed_manifest_that_is_wrong_anywhere_restores_nothing_wrong(shop, data):
    place, database, target = shop
    top = place / "backups"
    manager = BackupManager(str(top))
    stored = manager.create_backup(f"sqlite:///{database}").backup
    try:
        [path] = top.rglob("*.manifest.json")
        path.write_bytes(seal(mutated(json.loads(path.read_text()), data)))
        LEDGER.rounds += 1
        LEDGER.fault("manifests forged")
        for backup in manager.list_backups():
            assert backup.timestamp.utcoffset() is not None
            with contextlib.suppress(DumptyError):
                manager.verify(backup.id)
            result = manager.restore(backup.id, f"sqlite:///{target}", overwrite=True)
            assert result.success or isinstance(result.exception, DumptyError), repr(result.exception)
            if version_of(target, 40) not in ({1} if result.success else {1000}):
                LEDGER.record_false_success("a forged manifest")
        result = manager.create_backup(f"sqlite:///{database}")
        assert result.success, result.error
        assert Path(stored.file_path).exists()
    finally:
        advance(target, 1000)
        shutil.rmtree(top)


@settings(max_examples=SQLITE // 2, **FUZZ)
@given(data=st.data())
def test_a_sealed_shared_manifest_that_is_wrong_anywhere_restores_nothing_wrong(shop, data):
    place, database, target = shop
    top = place / "named"
    DatabaseBackup(str(top)).backup_sqlite(str(database), "one")
    try:
        path = top / "backup_manifest.json"
        path.write_bytes(seal(mutated(json.loads(path.read_text()), data)))
        LEDGER.rounds += 1
        LEDGER.fault("manifests forged")
        try:
            manager = DatabaseBackup(str(top))
            manager.list_backups()
            restored = manager.restore_sqlite("one", str(target))
        except DumptyError:
            restored = False
        if version_of(target, 40) != (1 if restored else 1000):
            LEDGER.record_false_success("a forged shared manifest")
    finally:
        advance(target, 1000)
        shutil.rmtree(top)


def altered(plain: bytes, data) -> bytes:
    """Return a dump with a few places cut out, repeated, replaced or filled with what a parser may stumble over."""
    changed = bytearray(plain)
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, max(0, len(changed) - 1)))
        end = min(len(changed), start + data.draw(st.sampled_from([0, 1, 2, 10, 300, len(plain) // 3])))
        kind = data.draw(st.sampled_from(["cut", "repeat", "word", "flip", "random"]))
        if kind == "cut":
            del changed[start:end]
        elif kind == "repeat":
            changed[start:start] = changed[start:end]
        elif kind == "word":
            changed[start:end] = data.draw(st.sampled_from(FRAGMENTS))
        elif kind == "flip" and changed:
            changed[start] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "random":
            changed[start:end] = data.draw(st.binary(max_size=40))
    return bytes(changed)


def forge(top: Path, plain: bytes, number: int = 0) -> None:
    """Put ``plain`` in place of an object of the one uncompressed dump in ``top``, and make digests and sizes right."""
    [path] = top.rglob("*.manifest.json")
    content = json.loads(path.read_text())
    digest = hashlib.sha256(plain).hexdigest()
    entry, part = content["clear"]["objects"][number], content["sealed"]["parts"][number]
    part |= {"size": len(plain), "sha256": digest}
    entry |= {"size": len(plain), "sha256": digest}
    (top / entry["name"]).write_bytes(plain)
    path.write_bytes(seal({k: v for k, v in content.items() if k not in {"digest", "dumpty_manifest"}}))


@pytest.mark.parametrize("form", ["sql", "native", "parallel"])
@settings(max_examples=SQLITE, **FUZZ)
@given(data=st.data())
def test_a_forged_sqlite_dump_loads_whole_or_not_at_all(shop, form, data):
    place, database, target = shop
    top = place / form
    if not top.exists():
        part_size = {} if form == "native" else {"part_size": 500}
        BackupManager(str(top), compressor=None).create_backup(f"sqlite:///{database}", format=form, **part_size)
        shutil.copytree(top, place / f"{form}.original")
    shutil.copytree(place / f"{form}.original", top, dirs_exist_ok=True)
    manager = BackupManager(str(top), compressor=None)
    files = manager.find("latest").files
    number = data.draw(st.integers(0, len(files) - 1))
    forge(top, altered(Path(files[number]).read_bytes(), data), number)
    manager = BackupManager(str(top), compressor=None)
    LEDGER.rounds += 1
    LEDGER.fault("dumps forged")
    target_before = target.read_bytes()
    result = manager.restore(manager.find("latest").id, f"sqlite:///{target}", overwrite=True)
    if result.success:
        # Altered within a value: that much no count can tell. The structure and every row are there.
        with contextlib.closing(sqlite3.connect(target)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            counts = connection.execute("SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM u)").fetchone()
        if counts != (40, 1):
            LEDGER.record_false_success(f"a forged {form} dump restored {counts} rows")
        target.write_bytes(target_before)
    else:
        assert isinstance(result.exception, DumptyError), repr(result.exception)
        assert "\n" not in result.error
        assert target.read_bytes() == target_before
    assert [n.name for n in place.iterdir() if n.name.startswith("target.db.")] == []


@pytest.fixture(params=["postgres-sql", "postgres-native", "mariadb-sql"])
def forgery(request, place):
    """A server with a target of version 1000, and a backup to forge."""
    kind, _, form = request.param.partition("-")
    server = (Postgres if kind == "postgres" else MariaDB)(request.getfixturevalue(kind))
    databases_before = server.databases()
    server.make("fuzzed", 1)
    server.make("target", 1000)
    top = place / "backups"
    stored = BackupManager(str(top), compressor=None).create_backup(server.url("fuzzed"), format=form)
    assert stored.success, stored.error
    yield server, top, Path(stored.backup.file_path).read_bytes()
    for name in server.databases() - databases_before:
        server.drop(name)


@settings(max_examples=SERVERS, **FUZZ)
@given(data=st.data())
def test_a_forged_dump_of_a_server_loads_whole_or_not_at_all(forgery, data):
    server, top, plain = forgery
    forge(top, altered(plain, data))
    manager = BackupManager(str(top), compressor=None)
    LEDGER.rounds += 1
    LEDGER.fault("dumps forged")
    databases = server.databases()
    result = manager.restore(manager.find("latest").id, server.url("target"), overwrite=True)
    if result.success:
        counts = tuple(server.execute("SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM u)", "target")[0])
        if counts != (3000, 1):
            LEDGER.record_false_success(f"a forged dump restored {counts} rows")
        server.make("target", 1000)
    else:
        assert isinstance(result.exception, DumptyError), repr(result.exception)
        assert "\n" not in result.error
        assert server_version_of(server, "target") == 1000
    assert server.databases() == databases
