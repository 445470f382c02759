"""Whatever is wrong, the command line says so in one line, with the documented status, and nothing is lost."""

from __future__ import annotations

import contextlib
import json
import os
import random
import sqlite3
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from support.places import stored_files

from dumpty import BackupManager
from dumpty.repository import sealed

FAILED, USAGE, UNVERIFIED, NO_STORE, LOCKED = 1, 2, 4, 10, 11


def database(path: Path, rows: int = 3000) -> Path:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (i INTEGER PRIMARY KEY, x TEXT)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", ((i, f"row {i}" * 9) for i in range(rows)))
        connection.commit()
    return path


# -- SQLite sources --------------------------------------------------------------------------------------------------


def missing(path: Path) -> None:
    """There is nothing."""


def directory(path: Path) -> None:
    path.mkdir()


def empty(path: Path) -> None:
    path.touch()


def text(path: Path) -> None:
    path.write_text("this is a letter to my grandmother, not a database\n" * 100)


def encrypted(path: Path) -> None:
    path.write_bytes(random.Random(7).randbytes(1 << 16))


def corrupt(path: Path) -> None:
    data = bytearray(database(path).read_bytes())
    data[8192:32768] = random.Random(7).randbytes(32768 - 8192)
    path.write_bytes(data)


def truncated(path: Path) -> None:
    data = database(path).read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize("form", ["sql", "native"])
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (missing, "no database file"),
        (directory, "directory"),
        (empty, "empty"),
        (text, "not a database"),
        (encrypted, "encrypted"),
        (corrupt, "."),
        (truncated, "."),
    ],
)
def test_a_sqlite_source_that_is_no_good(refused, tmp_path, make, says, form):
    path = tmp_path / "bad.db"
    make(path)
    content_before = path.read_bytes() if path.is_file() else None
    message = refused("backup", f"sqlite:///{path}", "--format", form, status=FAILED)
    assert says in message
    assert str(path) in message or "bad.db" in message
    assert (path.read_bytes() if path.is_file() else None) == content_before


# Root may read and write everything, so the command runs as nobody. A first backup, in a place of its own, has by
# then imported everything: nobody may not even be allowed to read Python itself.
AS_NOBODY = """
import contextlib, os, sqlite3, sys, tempfile
from dumpty.cli import main
with tempfile.TemporaryDirectory() as warm:
    with contextlib.closing(sqlite3.connect(warm + "/a.db")) as connection:
        connection.execute("CREATE TABLE t (x)")
    main(["backup", "sqlite:///" + warm + "/a.db", "--dir", warm, "--quiet"])
    main(["backup", "sqlite:///" + warm + "/none.db", "--dir", warm, "--json"])
os.getuid() or os.setuid(65534)
sys.exit(main(["backup", sys.argv[1], "--dir", sys.argv[2]]))
"""


def let_others_in(path):
    """Let every account into a directory of pytest's, and into those above it."""
    for directory in (path, *path.parents):
        if not directory.name.startswith(("test_", "popen-", "pytest-")):
            break
        directory.chmod(0o755)


def test_no_permission_to_read_a_source(tmp_path, older):
    path = database(tmp_path / "private.db")
    let_others_in(tmp_path)
    path.chmod(0)
    private_directory = tmp_path / "mine"
    private_directory.mkdir()
    if os.getuid() == 0:
        os.chown(private_directory, 65534, -1)
    process = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, f"sqlite:///{path}", private_directory],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == FAILED, process.stderr
    [line] = process.stderr.splitlines()
    assert "private.db" in line
    assert "permission" in line.lower() or "read" in line


def test_a_source_that_stays_locked(refused, tmp_path):
    path = database(tmp_path / "busy.db")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        message = refused("backup", f"sqlite:///{path}", "-o", "busy_timeout=0.2", status=LOCKED)
    assert "busy.db" in message


# -- servers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
@pytest.mark.parametrize("location", ["127.0.0.1:1", "no-such-host.invalid"])
def test_a_server_that_is_down_or_unknown(refused, scheme, location):
    message = refused("backup", f"{scheme}://u:marker-pw@{location}/x", status=FAILED)
    assert location.partition(":")[0] in message
    assert "marker-pw" not in message


@pytest.mark.parametrize("password", ["wrong-marker", None])
def test_a_wrong_or_missing_postgres_password(refused, postgres, password):
    role = f"r_{uuid.uuid4().hex[:8]}"
    postgres.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'right'")
    message = refused("backup", postgres.url("postgres", role, password), status=FAILED)
    assert "password" in message
    assert "wrong-marker" not in message


def test_a_wrong_mysql_password(refused, mariadb):
    message = refused("backup", f"mysql://tcp:wrong-marker@127.0.0.1:{mariadb.port}/shop", status=FAILED)
    assert "denied" in message.lower() or "password" in message
    assert "wrong-marker" not in message


def test_a_database_that_does_not_exist(refused, postgres, mariadb):
    for url in (postgres.url("nothing_here"), mariadb.url("nothing_here")):
        assert "nothing_here" in refused("backup", url, status=FAILED)


def test_pg_dump_is_missing(refused, postgres, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "pg_dump" in refused("backup", postgres.url("postgres"), status=FAILED)


def test_pg_dump_is_too_old_for_the_server(refused, postgres, postgres_newer):
    message = refused("backup", postgres_newer.url("postgres"), "-o", f"bindir={postgres.bindir}", status=FAILED)
    assert "pg_dump" in message
    assert str(postgres_newer.major) in message


def plugin_modules() -> dict[str, object]:
    return {name: module for name, module in sys.modules.items() if name.startswith("dumpty_plugins.")}


@pytest.fixture
def plugins_anew():
    """Import plugins again in the test, and leave those of before behind it, in their packages, too."""
    modules_before = plugin_modules()
    for name in modules_before:
        del sys.modules[name]
    yield
    for name in plugin_modules():
        del sys.modules[name]
    sys.modules.update(modules_before)
    for name, module in modules_before.items():
        package, _, attribute = name.rpartition(".")
        setattr(sys.modules[package], attribute, module)


@pytest.mark.parametrize(("scheme", "module"), [("postgresql", "psycopg2"), ("mysql", "pymysql")])
def test_a_driver_library_is_not_installed(refused, monkeypatch, plugins_anew, scheme, module):
    monkeypatch.setitem(sys.modules, module, None)
    assert "pip install" in refused("backup", f"{scheme}://127.0.0.1:1/x", status=USAGE)


# -- names and words -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("backup", "newdb://x/y"), "installed: "),
        (("backup", "shop.db"), "sqlite:///"),
        (("backup", ""), "sqlite:///"),
        (("backup", "postgresql://u:pa/marker@h/x"), "%2F"),
        (("backup", "postgresql://h:99999/x"), "65535"),
        (("backup", "sqlite:///older.db", "-o", "nonsense=1"), "valid here"),
        (("backup", "sqlite:///older.db", "-o", "level=fast"), "int"),
        (("backup", "sqlite:///older.db", "-o", "level"), "="),
        (("backup", "sqlite:///older.db", "--format", "xml"), "sql, native"),
        (("backup", "sqlite:///older.db", "--compressor", "rar"), "gzip"),
        (("backup", "sqlite:///older.db", "--verifier", "crc"), "sha256"),
        (("backup", "env:NOT_SET_ANYWHERE"), "NOT_SET_ANYWHERE"),
        (("backup", "file:no/such/file"), "no/such/file"),
        (("frobnicate",), "frobnicate"),
        (("backup",), "URL"),
    ],
)
def test_wrong_words_are_usage_errors_that_say_what_would_be_right(dumpty, older, argv, says):
    result = dumpty(*argv)
    assert result.status == USAGE, result
    assert says in result.err
    assert "marker" not in result.err
    assert "Traceback" not in result.err
    assert [b.id for b in BackupManager("backups").list_backups()] == [older.id]


def test_sqlite_urls_with_two_slashes_say_what_is_missing(refused):
    assert "sqlite:///" in refused("backup", "sqlite://older.db", status=USAGE)


@pytest.mark.parametrize("name", ["a/b", "..", "a\0b", "a\nb", "latestx", "ffffffff", "🥚", "a b", "-"])
@pytest.mark.parametrize("verb", ["show", "verify", "restore"])
def test_an_unknown_id_whatever_it_looks_like(refused, verb, name):
    options = ("--to", "sqlite:///new.db") if verb == "restore" else ()
    assert "no backup" in refused(verb, name, *options, status=FAILED)
    assert not os.path.exists("new.db")


@pytest.mark.parametrize("name", ["with space.db", "été 🥚.db", "a'b\"c.db", "100%.db", "a;b.db"])
def test_odd_file_names_work(dumpty, older, tmp_path, name):
    database(tmp_path / name, rows=5)
    url = "sqlite:///" + name.replace("%", "%25")
    assert dumpty("backup", url).status == 0
    assert dumpty("restore", "latest", "--to", "sqlite:///back.db").status == FAILED
    assert dumpty("restore", f"latest:{name.removesuffix('.db')}", "--to", "sqlite:///back.db").status == 0
    assert dumpty("restore", "latest", "--source", f"./{name}", "--to", "sqlite:///again.db").status == 0


# -- targets ---------------------------------------------------------------------------------------------------------


def test_a_target_that_is_not_empty(refused, older, tmp_path):
    path = database(tmp_path / "full.db")
    content_before = path.read_bytes()
    assert "--overwrite" in refused("restore", older.id, "--to", f"sqlite:///{path}", status=FAILED)
    assert path.read_bytes() == content_before


def test_a_target_whose_directory_does_not_exist(refused, older):
    assert "nowhere" in refused("restore", older.id, "--to", "sqlite:///nowhere/x.db", status=FAILED)
    assert not os.path.exists("nowhere")


def test_a_target_of_another_kind(refused, older, postgres):
    assert "sqlite" in refused("restore", older.id, "--to", postgres.url("postgres"), status=FAILED)


def test_a_target_that_is_no_database(refused, older, tmp_path):
    (tmp_path / "letter.txt").write_text("dear grandmother\n" * 99)
    refused("restore", older.id, "--to", "sqlite:///letter.txt", status=FAILED)
    assert (tmp_path / "letter.txt").read_text().startswith("dear")


# -- the backup directory --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "verb", [("list",), ("show", "latest"), ("verify", "latest"), ("prune", "--keep", "1", "--yes")]
)
def test_a_backup_directory_that_does_not_exist(refused, verb):
    assert "nowhere" in refused(*verb, "--dir", "nowhere", status=NO_STORE)
    assert not os.path.exists("nowhere")


def test_a_backup_directory_that_is_a_file(refused, tmp_path):
    (tmp_path / "file").touch()
    assert "file" in refused("backup", "sqlite:///older.db", "--dir", "file", status=FAILED)


@pytest.fixture
def small(tmp_path):
    """A file system of one megabyte, or, where mounting is not permitted, nothing that can be written at all."""
    mount_point = tmp_path / "small"
    mount_point.mkdir()
    mounted = (
        os.getuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m,mode=755", "tmpfs", mount_point], capture_output=True, check=False
        ).returncode
    )
    if not mounted:
        mount_point = Path("/dev/full")
    yield mount_point
    if mounted:
        subprocess.run(["umount", mount_point], check=True)


@pytest.mark.parametrize("form", ["sql", "native"])
def test_a_full_disk(refused, small, tmp_path, form):
    path = tmp_path / "big.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (x BLOB)")
        connection.executemany("INSERT INTO t VALUES (?)", ((random.randbytes(4000),) for _ in range(700)))
        connection.commit()
    message = refused("backup", f"sqlite:///{path}", "--dir", small, "--format", form, status=FAILED)
    assert "space" in message or "is a file" in message
    if small.is_dir():
        assert stored_files(small) == []


def test_a_backup_directory_that_cannot_be_written(tmp_path, older):
    read_only = tmp_path / "readonly"
    read_only.mkdir()
    let_others_in(tmp_path)
    read_only.chmod(0o555)
    (tmp_path / "older.db").chmod(0o644)
    process = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, f"sqlite:///{tmp_path}/older.db", read_only],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == FAILED, process.stderr
    [line] = process.stderr.splitlines()
    assert str(read_only) in line
    assert os.listdir(read_only) == []


# -- damaged backups -------------------------------------------------------------------------------------------------


@pytest.fixture
def victim(dumpty, older, tmp_path):
    """A second backup, to be damaged: its data and its manifest."""
    database(tmp_path / "shop.db")
    result = BackupManager("backups").create_backup("sqlite:///shop.db")
    data = Path(result.backup.file_path)
    [manifest] = [
        p for p in Path("backups").rglob("*.manifest.json") if json.loads(p.read_text())["id"] == result.backup.id
    ]
    return result.backup, data, manifest


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [flip, cut, emptied])
def test_a_damaged_backup_file_is_found_and_never_restored(dumpty, older, victim, damage):
    backup, data, _ = victim
    damage(data)
    result = dumpty("verify", backup.id)
    assert result.status == UNVERIFIED, result
    assert data.name in result.err + result.out
    result = dumpty("restore", backup.id, "--to", "sqlite:///new.db")
    assert result.status == UNVERIFIED
    assert "Traceback" not in result.err
    assert not os.path.exists("new.db")
    assert dumpty("verify", older.id).status == 0


def test_a_deleted_backup_file_is_found(dumpty, older, victim):
    backup, data, _ = victim
    data.unlink()
    result = dumpty("restore", backup.id, "--to", "sqlite:///new.db")
    assert result.status == FAILED
    assert data.name in result.err
    assert dumpty("verify", backup.id).status != 0
    assert dumpty("restore", older.id, "--to", "sqlite:///new.db").status == 0


@pytest.mark.parametrize("damage", [flip, cut, emptied])
def test_a_damaged_manifest_is_reported_and_hides_no_other(dumpty, older, victim, damage):
    backup, _, path = victim
    damage(path)
    manifest_before = path.read_bytes()
    result = dumpty("list")
    assert older.id[:8] in result.out
    assert path.name in result.err
    assert dumpty("show", backup.id).status == FAILED
    assert dumpty("verify", older.id).status == 0
    assert dumpty("backup", "sqlite:///shop.db").status == 0
    assert path.read_bytes() == manifest_before


def test_a_manifest_from_a_newer_dumpty_is_refused_with_advice_and_kept(dumpty, older, victim):
    backup, _, path = victim
    content = json.loads(path.read_text()) | {"dumpty_manifest": sealed.VERSION + 1}
    path.write_text(json.dumps(content))
    result = dumpty("list")
    assert "newer dumpty" in result.err
    assert "pip install --upgrade dumpty" in result.err
    assert dumpty("restore", backup.id, "--to", "sqlite:///new.db").status == FAILED
    assert json.loads(path.read_text()) == content


def test_a_manifest_swapped_with_another_backups_is_found(dumpty, older, victim):
    _, _, path = victim
    [other_path] = [p for p in Path("backups").rglob("*.manifest.json") if p != path]
    first_manifest, second_manifest = path.read_bytes(), other_path.read_bytes()
    path.write_bytes(second_manifest)
    other_path.write_bytes(first_manifest)
    result = dumpty("list")
    assert "damaged" in result.err
    assert older.id[:8] not in result.out
