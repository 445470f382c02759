"""Every kind of file that a backup consists of, damaged in every way: found, named, and never restored as good."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import subprocess
import zlib
from pathlib import Path

import pytest
from faults.ledger import FACTOR, LEDGER
from faults.vault import create, version_of

from dumpty import (
    BackupFormat,
    BackupManager,
    DatabaseBackup,
    DumptyError,
    IntegrityError,
    ManifestError,
    MissingFile,
    PluginInfo,
    hookimpl,
)
from dumpty.cli import main

VERSION_BEFORE = 1000

# -- ways to do damage -----------------------------------------------------------------------------------------------


def cut(path, dice, _):
    """Cut short, by one byte or by most of them."""
    data = path.read_bytes()
    path.write_bytes(data[: dice.choice([len(data) - 2, dice.randrange(1, len(data) - 2), len(data) // 100 + 1])])


def flip(path, dice, _):
    """Flip one bit."""
    data = bytearray(path.read_bytes())
    data[dice.randrange(len(data) - 1)] ^= 1 << dice.randrange(8)
    path.write_bytes(data)


def empty(path, dice, _):
    """Nothing left but the name."""
    path.write_bytes(b"")


def delete(path, dice, _):
    """Gone."""
    path.unlink()


def swap(path, dice, other_path):
    """Exchanged with another backup's."""
    content, other_content = path.read_bytes(), other_path.read_bytes()
    path.write_bytes(other_content)
    other_path.write_bytes(content)


def longer(path, dice, _):
    """Something behind the end."""
    with path.open("ab") as stream:
        stream.write(dice.randbytes(dice.choice([1, 512, 5000])))


def zeroed(path, dice, _):
    """A block of zeros, as a disk leaves it that lost a write."""
    data = bytearray(path.read_bytes())
    start = dice.choice([i for i in range(0, len(data), 128) if any(data[i : i + 512])])
    data[start : start + 512] = bytes(len(data[start : start + 512]))
    path.write_bytes(data)


DESCRIPTIONS = {
    cut: "cut",
    flip: "with a flipped bit",
    empty: "emptied",
    delete: "deleted",
    swap: "swapped",
    longer: "lengthened",
    zeroed: "zeroed in part",
}
WAYS = list(DESCRIPTIONS)
TIMES = {cut: 4, flip: 8, zeroed: 3, longer: 2}
STAGES = [
    (form, compressor, verifier)
    for form in ("sql", "native")
    for compressor in ("gzip", "zstd", "none")
    for verifier in ("sha256",)
] + [("sql", "gzip", "crc")]


class Crc:
    """A verifier of a third party, weak on purpose: SHA-256 is kept beside it."""

    name = "crc"

    @hookimpl
    def describe(self):
        return PluginInfo(kind="verifier")

    @hookimpl
    def verify(self):
        return Sum()


class Sum:
    def __init__(self) -> None:
        self.value = 0

    def update(self, data):
        self.value = zlib.crc32(data, self.value)

    def hexdigest(self):
        return f"{self.value:08x}"


@pytest.fixture
def pair(place, request):
    """Two backups of one database, different in content; and a directory with copies of them to put back."""
    form, compressor, verifier = request.param
    database = create(place / "shop.db", rows=60)

    plugins = [Crc()] if verifier == "crc" else []
    manager = BackupManager(str(place / "backups"), compressor=compressor, verifier=verifier, plugins=plugins)
    backups = []
    for version in (1, 2):
        with contextlib.closing(sqlite3.connect(database)) as connection:
            connection.executescript(f"UPDATE t SET version = {version}; UPDATE u SET version = {version}")
        result = manager.create_backup(f"sqlite:///{database}", format=form)
        assert result.success, result.error
        backups.append(result.backup)
    shutil.copytree(place / "backups", place / "good")
    return manager, backups


def manifest_of(top: Path, backup) -> Path:
    return next(p for p in top.rglob("*.manifest.json") if json.loads(p.read_text())["id"] == backup.id)


def good(place, path: Path) -> Path:
    """Return the copy of a file of the backups."""
    return place / "good" / path.relative_to(place / "backups")


def put_back(place):
    shutil.rmtree(place / "backups")
    shutil.copytree(place / "good", place / "backups")


def refused(manager, place, backup, event) -> str:
    """Restore a damaged backup over a database; it must fail, leave that as it was, and say what is wrong."""
    target = place / "target.db"
    if not target.exists():
        create(target, rows=60)
        with contextlib.closing(sqlite3.connect(target)) as connection:
            connection.executescript(
                f"UPDATE t SET version = {VERSION_BEFORE}; UPDATE u SET version = {VERSION_BEFORE}"
            )
    result = manager.restore(backup.id, f"sqlite:///{target}", overwrite=True)
    if result.success:
        LEDGER.damage(found=False, event=event)
    assert version_of(target, 60) == VERSION_BEFORE, event
    return result.error


@pytest.mark.parametrize("pair", STAGES, indirect=True, ids="-".join)
@pytest.mark.parametrize("way", WAYS)
def test_damaged_data_is_found_and_named_and_not_restored(pair, way, place, dice):
    manager, (backup, other) = pair
    for number in range(TIMES.get(way, 1) * FACTOR):
        data = Path(backup.file_path)
        event = f"{data.name}, {way.__name__} no. {number}"
        way(data, dice, Path(other.file_path))
        content = data.read_bytes() if data.exists() else None
        assert content != good(place, data).read_bytes(), event
        LEDGER.fault(f"files {DESCRIPTIONS[way]}")
        with pytest.raises((IntegrityError, MissingFile), match=data.name):
            manager.verify(backup.id)
        assert data.name in refused(manager, place, backup, event)
        assert {b.id for b in manager.list_backups()} == {backup.id, other.id}
        if way is not swap:
            manager.verify(other.id)
        LEDGER.damage(found=True, event=event)
        put_back(place)


@pytest.mark.parametrize("pair", STAGES[::5], indirect=True, ids="-".join)
@pytest.mark.parametrize("way", [cut, flip, empty, swap, longer, zeroed])
def test_a_damaged_manifest_is_found_and_named_and_hides_no_other(pair, way, place, dice):
    manager, (backup, other) = pair
    top = place / "backups"
    for number in range(TIMES.get(way, 1) * 3 * FACTOR):
        path = manifest_of(top, backup)
        event = f"{path.name}, {way.__name__} no. {number}"
        way(path, dice, manifest_of(top, other))
        if way is longer and path.read_bytes()[-1:].isspace():
            path.write_bytes(path.read_bytes() + b"x")
        LEDGER.fault(f"files {DESCRIPTIONS[way]}")
        damaged_manifest = path.read_bytes()
        problems = manager.listing().problems
        assert path.name in " ".join(map(str, problems)), event
        assert all(isinstance(p, ManifestError) for p in problems)
        said = refused(manager, place, backup, event)
        assert "damaged" in said or (way is flip and "newer dumpty" in said), event  # its version's bit, that is
        if way is not swap:
            assert [b.id for b in manager.list_backups()] == [other.id], event
            manager.verify(other.id)
        # The next run neither overwrites it nor takes its data for rubbish.
        assert manager.create_backup(f"sqlite:///{place}/shop.db").success
        assert path.read_bytes() == damaged_manifest
        assert Path(backup.file_path).read_bytes() == good(place, Path(backup.file_path)).read_bytes()
        LEDGER.damage(found=True, event=event)
        put_back(place)


@pytest.mark.parametrize("pair", STAGES[:1], indirect=True, ids="-".join)
def test_data_without_its_manifest_is_kept_and_the_others_are_whole(pair, place):
    manager, (backup, other) = pair
    manifest_of(place / "backups", backup).unlink()
    LEDGER.fault(f"files {DESCRIPTIONS[delete]}")
    assert [b.id for b in manager.list_backups()] == [other.id]
    assert "no backup" in refused(manager, place, backup, "a deleted manifest")
    assert manager.create_backup(f"sqlite:///{place}/shop.db").success
    data = Path(backup.file_path)
    assert data.read_bytes() == good(place, data).read_bytes()


@pytest.mark.parametrize("pair", STAGES[:1], indirect=True, ids="-".join)
def test_two_backups_exchanged_whole_are_found(pair, place, dice):
    manager, (backup, other) = pair
    swap(Path(backup.file_path), dice, Path(other.file_path))
    swap(manifest_of(place / "backups", backup), dice, manifest_of(place / "backups", other))
    LEDGER.fault(f"files {DESCRIPTIONS[swap]}")
    assert len(manager.listing().problems) == 2
    for exchanged in (backup, other):
        refused(manager, place, exchanged, "two backups exchanged")
        LEDGER.damage(found=True, event="two backups exchanged")


@pytest.mark.parametrize("pair", [("native", "gzip", "sha256")], indirect=True, ids="-".join)
@pytest.mark.parametrize("way", WAYS)
def test_the_command_line_names_the_damaged_backup_and_ends_with_4(pair, way, place, dice, capsys):
    _, (backup, other) = pair
    way(Path(backup.file_path), dice, Path(other.file_path))
    LEDGER.fault(f"files {DESCRIPTIONS[way]}")
    assert main(["verify", "--all", "--dir", str(place / "backups"), "--json"]) == 4
    report = json.loads(capsys.readouterr().out)
    failed_ids = [v["id"] for v in report["proofs"] if v["ok"] is False]
    assert failed_ids == ([backup.id, other.id] if way is swap else [backup.id])
    assert main(["restore", backup.id, "--dir", str(place / "backups"), "--to", f"sqlite:///{place}/new.db"]) != 0
    assert not (place / "new.db").exists()
    [line] = capsys.readouterr().err.splitlines()
    assert Path(backup.file_path).name in line
    LEDGER.damage(found=True, event=f"{way.__name__} through the command line")


# -- what lies beside a backup: its proofs and its pin ----------------------------------------------------------------


@pytest.mark.parametrize("pair", STAGES[:1], indirect=True, ids="-".join)
@pytest.mark.parametrize("kind", [".proof-", ".pin-"])
@pytest.mark.parametrize("way", [cut, flip, empty, swap, longer, zeroed])
def test_a_damaged_proof_proves_nothing_and_a_damaged_pin_still_protects(pair, kind, way, place, dice):
    manager, (backup, other) = pair
    for pinned in (backup, other):
        manager.verify(pinned.id)
        manager.pin(pinned.id, "kept for the auditors")
    shutil.rmtree(place / "good")
    shutil.copytree(place / "backups", place / "good")
    [path], [other_path] = (
        (place / "backups").glob(f"*/{Path(b.file_path).name.partition('.')[0]}{kind}*") for b in (backup, other)
    )
    for number in range(TIMES.get(way, 1) * FACTOR):
        event = f"{path.name}, {way.__name__} no. {number}"
        way(path, dice, other_path)
        if way is longer:
            path.write_bytes(path.read_bytes() + b"x")
        LEDGER.fault(f"files {DESCRIPTIONS[way]}")
        assert path.name in " ".join(map(str, manager.listing().lost_proofs)), event
        backups = {b.id: b for b in manager.list_backups()}
        assert backups.keys() == {backup.id, other.id}
        if kind == ".proof-" and backups[backup.id].proofs:
            LEDGER.damage(found=False, event=event)
        assert backups[backup.id].pinned, event
        with pytest.raises(DumptyError):
            manager.remove(backup.id)
        assert manager.create_backup(f"sqlite:///{place}/shop.db").success
        restored = place / f"back-{number}.db"
        result = manager.restore(backup.id, f"sqlite:///{restored}")
        assert result.success, result.error
        assert version_of(restored, 60) == 1
        LEDGER.damage(found=True, event=event)
        put_back(place)


# -- DatabaseBackup --------------------------------------------------------------------------------------------------


@pytest.fixture
def named(place):
    database = create(place / "shop.db", rows=60)
    manager = DatabaseBackup(str(place / "backups"))
    for version, name in ((1, "one"), (2, "two")):
        with contextlib.closing(sqlite3.connect(database)) as connection:
            connection.executescript(f"UPDATE t SET version = {version}; UPDATE u SET version = {version}")
        manager.backup_sqlite(str(database), name)
    shutil.copytree(place / "backups", place / "good")
    target = create(place / "target.db", rows=60)
    return {b.name: Path(b.file_path) for b in manager.list_backups()}, target


@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_native_copy_is_found_and_named_and_not_restored(named, way, place, dice):
    files, target = named
    for number in range(TIMES.get(way, 1) * FACTOR):
        event = f"{files['one'].name}, {way.__name__} no. {number}"
        way(files["one"], dice, files["two"])
        LEDGER.fault(f"files {DESCRIPTIONS[way]}")
        manager = DatabaseBackup(str(place / "backups"))
        with pytest.raises((IntegrityError, FileNotFoundError), match=files["one"].name):
            manager.restore_sqlite("one", str(target))
        assert version_of(target, 60) == 0, event
        if way is not swap:
            assert manager.restore_sqlite("two", str(place / "two.db"))
            assert version_of(place / "two.db", 60) == 2
        LEDGER.damage(found=True, event=event)
        put_back(place)


@pytest.mark.parametrize("way", [cut, flip, empty, zeroed, longer])
def test_a_damaged_shared_manifest_is_a_clear_error_and_never_overwritten(named, way, place, dice):
    files, _ = named
    path = place / "backups" / "backup_manifest.json"
    for number in range(TIMES.get(way, 1) * 3 * FACTOR):
        open_before = DatabaseBackup(str(place / "backups"))
        way(path, dice, None)
        if way is longer:
            path.write_bytes(path.read_bytes() + b"x")
        LEDGER.fault(f"files {DESCRIPTIONS[way]}")
        damaged = path.read_bytes()
        with pytest.raises(ManifestError, match=r"backup_manifest\.json"):
            DatabaseBackup(str(place / "backups"))
        for call in (
            lambda: open_before.backup_sqlite(str(place / "shop.db"), "three"),  # noqa: B023 - called at once
            lambda: open_before.prune(0, 0),  # noqa: B023
            lambda: open_before.restore_sqlite("one", str(place / "x.db")),  # noqa: B023
        ):
            with pytest.raises(ManifestError, match=r"backup_manifest\.json"):
                call()
        assert path.read_bytes() == damaged
        assert not (place / "x.db").exists()
        assert all(f.read_bytes() == (place / "good" / f.name).read_bytes() for f in files.values())
        LEDGER.damage(found=True, event=f"shared manifest, {way.__name__} no. {number}")
        put_back(place)


def test_a_lost_shared_manifest_takes_no_data_along(named, place):
    files, _ = named
    (place / "backups" / "backup_manifest.json").unlink()
    LEDGER.fault(f"files {DESCRIPTIONS[delete]}")
    manager = DatabaseBackup(str(place / "backups"))
    assert manager.list_backups() == []
    manager.backup_sqlite(str(place / "shop.db"), "one")
    assert manager.prune(0, 0) == 1
    assert all(f.read_bytes() == (place / "good" / f.name).read_bytes() for f in files.values())


# -- dumps of servers, as they lie -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server_backups(postgres, mariadb, tmp_path_factory):
    """Backups of both servers, every format; and what is to be left alone by their restores."""
    top = tmp_path_factory.mktemp("servers") / "backups"
    postgres.script(
        postgres.create("damage_source"), "CREATE TABLE t (a int); INSERT INTO t SELECT generate_series(1, 500)"
    )
    postgres.script(postgres.create("damage_target"), "CREATE TABLE old (a int); INSERT INTO old VALUES (7)")
    mariadb.run("CREATE DATABASE damage_source", "CREATE DATABASE damage_target")
    mariadb.run("CREATE TABLE t (a int)", "INSERT INTO t SELECT seq FROM seq_1_to_500", database="damage_source")
    mariadb.run("CREATE TABLE old (a int)", "INSERT INTO old VALUES (7)", database="damage_target")
    backups = {}
    for server, form, options in (
        *((server, form, {}) for server in (postgres, mariadb) for form in ("sql", "native")),
        *((server, "parallel", {"part_size": 8192}) for server in (postgres, mariadb)),
    ):
        result = BackupManager(str(top)).create_backup(server.url("damage_source"), format=form, **options)
        assert result.success, result.error
        backups[type(server).__name__, form] = result.backup
    yield top, backups
    postgres.drop("damage_source")
    postgres.drop("damage_target")
    mariadb.run("DROP DATABASE damage_source", "DROP DATABASE damage_target")


@pytest.mark.parametrize(
    ("kind", "form"),
    [(kind, form) for kind in ("PostgresServer", "MariaDBServer") for form in ("sql", "native", "parallel")],
)
def test_damaged_dumps_of_servers_are_found_and_the_target_is_left_alone(
    server_backups, postgres, mariadb, kind, form, dice, place
):
    top, backups = server_backups
    backup = backups[kind, form]
    other = next(b for key, b in backups.items() if key != (kind, form))
    server = postgres if kind == "PostgresServer" else mariadb
    for way in WAYS:
        shutil.copytree(top, place / "backups")
        shutil.copytree(top, place / "good")
        # Of a backup in parts, one that holds rows.
        data, other_data = (
            place / "backups" / Path(b.files[min(1, len(b.files) - 1)]).relative_to(top) for b in (backup, other)
        )
        way(data, dice, other_data)
        event = f"{data.name}, {way.__name__}"
        LEDGER.fault(f"files {DESCRIPTIONS[way]}")
        manager = BackupManager(str(place / "backups"))
        with pytest.raises((IntegrityError, MissingFile), match=data.name):
            manager.verify(backup.id)
        result = manager.restore(backup.id, server.url("damage_target"), overwrite=True)
        if result.success:
            LEDGER.damage(found=False, event=event)
        assert data.name in result.error
        if kind == "PostgresServer":
            assert server.execute("SELECT a FROM old", database="damage_target") == [(7,)]
        else:
            assert server.run("SELECT a FROM old", database="damage_target") == [(7,)]
        LEDGER.damage(found=True, event=event)
        shutil.rmtree(place / "backups")
        shutil.rmtree(place / "good")


@pytest.mark.parametrize("form", list(BackupFormat))
def test_all_formats_of_pg_dump_record_a_digest_that_tells_damage(postgres, place, dice, form):
    """``DatabaseBackup`` restores no PostgreSQL dump itself: what it offers is the digest, by the documented command."""
    database = postgres.create()
    postgres.script(database, "CREATE TABLE t (a int); INSERT INTO t SELECT generate_series(1, 500)")
    manager = DatabaseBackup(str(place / "backups"))
    backup = manager.backup_postgres(postgres.url(database), "pg", form)
    postgres.drop(database)
    path = Path(backup.file_path)

    def digest() -> str:
        if path.is_dir():
            listing = "find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
            return subprocess.run(listing, shell=True, cwd=path, capture_output=True, text=True, check=True).stdout[:64]
        return subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout[:64]

    assert digest() == backup.checksum
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        intact = file.read_bytes()
        for way in (cut, flip, zeroed, longer):
            way(file, dice, None)
            if file.read_bytes() != intact:
                LEDGER.fault(f"files {DESCRIPTIONS[way]}")
                LEDGER.damage(found=digest() != backup.checksum, event=f"{file.name}, {way.__name__}")
            file.write_bytes(intact)
