"""Backups of every database are restored without dumpty, by the commands of the pages ``restoring`` and ``encryption``."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.keys import key_file, ssh_key, x25519
from support.pages import MANUAL, blocks

from dumpty import BackupManager
from dumpty.repository.sealed import seal
from dumpty_plugins.postgres.dumping import plan

CHOOSING, RESTORING, PARTS, MYSQL_PARTS, SQLITE_PARTS, ROLES = (
    block.text for block in blocks(MANUAL / "restoring.md") if block.language == "sh"
)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    with contextlib.closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.executescript("CREATE TABLE item (id INTEGER PRIMARY KEY, name); INSERT INTO item VALUES (1, 'egg')")
    return tmp_path


def rows(path: Path) -> list[tuple]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT * FROM item").fetchall()


def recipe(database: str) -> str:
    """Return the commands that choose the newest backup of ``shop`` and restore it."""
    [command] = re.findall(rf"^(zcat .*\S) +# {database}$", RESTORING, re.MULTILINE)
    return f"{CHOOSING}\n{command}"


def run(script: str, directory: Path, **environment: str) -> str:
    """Run commands as a shell does, each of which must succeed, and return what they print."""
    process = subprocess.run(
        ["sh", "-euc", script], cwd=directory, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def fill(directory: Path, url: str, other_url: str, change: Callable[[], object], **options: object) -> None:
    """Make backups of which the newest of ``shop`` lies among others: an older one, and those of another database."""
    manager = BackupManager(str(directory / "backups"))
    for database_url in (other_url, url):
        result = manager.create_backup(database_url, **options)
        assert result.success, result.error
    while int(time.time()) == int(result.backup.timestamp.timestamp()):  # names tell seconds: the next one is later
        time.sleep(0.02)
    change()
    for database_url in (url, other_url):
        result = manager.create_backup(database_url, **options)
        assert result.success, result.error


@pytest.mark.parametrize("form", ["sql", "native"])
def test_backups_of_sqlite_restore_without_dumpty(shop, form):
    def change() -> None:
        with contextlib.closing(sqlite3.connect(shop / "shop.db")) as connection:
            connection.executescript("INSERT INTO item VALUES (2, 'wall')")

    with contextlib.closing(sqlite3.connect(shop / "shop-old.db")) as connection:
        connection.executescript("CREATE TABLE item (id INTEGER PRIMARY KEY, name); INSERT INTO item VALUES (9, 'old')")
    fill(shop, f"sqlite:///{shop}/shop.db", f"sqlite:///{shop}/shop-old.db", change, format=form)
    assert '"sha256": "' in run(recipe(f"SQLite, {form}"), shop)
    assert rows(shop / "restored.db") == [(1, "egg"), (2, "wall")]
    if form == "sql":
        [command] = re.findall(r"^(zcat .*tail.*\S) +#", RESTORING, re.MULTILINE)
        assert "end of dump, 1 tables, 2 rows" in run(f"{CHOOSING}\n{command}", shop)


def test_a_backup_of_sqlite_in_parts_restores_without_dumpty(shop):
    def change() -> None:
        with contextlib.closing(sqlite3.connect(shop / "shop.db")) as connection:
            connection.executescript("INSERT INTO item VALUES (2, 'wall'); CREATE INDEX by_name ON item (name)")

    with contextlib.closing(sqlite3.connect(shop / "shop.db")) as connection:
        connection.executemany("INSERT INTO item VALUES (?, ?)", ((n, "x" * 1000) for n in range(100, 3000)))
        connection.commit()
    shutil.copy(shop / "shop.db", shop / "shop-old.db")
    urls = [f"sqlite:///{shop}/{name}.db" for name in ("shop", "shop-old")]
    fill(shop, *urls, change, format="parallel", part_size=100_000)
    choosing = CHOOSING.partition('grep "$(sha')[0]
    run(f"{choosing}\n{SQLITE_PARTS}", shop)
    assert len((shop / "parts").read_text().splitlines()) > 12
    assert sorted(rows(shop / "restored.db")) == sorted(rows(shop / "shop.db"))
    with contextlib.closing(sqlite3.connect(shop / "restored.db")) as connection:
        assert connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'").fetchall() == [("by_name",)]
    # Without one of them there is no database, whatever the others hold.
    (shop / "restored.db").unlink()
    Path(shop / (shop / "parts").read_text().splitlines()[4]).unlink()
    with pytest.raises(AssertionError, match=r"rows\.sql\.gz: No such file"):
        run(f"{choosing}\n{SQLITE_PARTS}", shop)
    assert not (shop / "restored.db").exists()


def test_one_of_two_databases_of_one_name_is_chosen_by_its_source(shop):
    (shop / "other").mkdir()
    shutil.copy(shop / "shop.db", shop / "other" / "shop.db")

    def change() -> None:
        with contextlib.closing(sqlite3.connect(shop / "shop.db")) as connection:
            connection.executescript("INSERT INTO item VALUES (2, 'wall')")

    fill(shop, f"sqlite:///{shop}/shop.db", f"sqlite:///{shop}/other/shop.db", change, format="sql")
    assert """'  "source": "…",'""" in (MANUAL / "restoring.md").read_text()
    chosen = f"""'  "source": "sqlite:{shop}/shop.db",'"""
    run(recipe("SQLite, sql").replace("""'  "database": "shop",'""", chosen), shop)
    assert rows(shop / "restored.db") == [(1, "egg"), (2, "wall")]


@pytest.mark.parametrize("roles", ["of the server", "of the manifest"])
@pytest.mark.parametrize("form", ["sql", "native"])
def test_backups_of_postgresql_restore_without_dumpty(postgres, tmp_path, form, roles):
    names = ("shop", "shop-old", "restored")
    postgres.execute('CREATE ROLE "shop keeper"')
    for name in names[:2]:
        postgres.create(name)
        postgres.execute('CREATE TABLE item (id int); ALTER TABLE item OWNER TO "shop keeper"', database=name)
    environment = {"PGHOST": str(postgres.sockets), "PGPORT": str(postgres.port), "PGUSER": "postgres"}
    path = f"{postgres.bindir}:{os.environ['PATH']}"
    try:
        urls = [postgres.url(name) for name in names[:2]]
        fill(tmp_path, *urls, lambda: postgres.execute("INSERT INTO item VALUES (7)", database="shop"), format=form)
        dumping, loading, making = [line for line in ROLES.splitlines() if line]
        run(dumping, tmp_path, PATH=path, **environment)
        for name in names[:2]:
            postgres.drop(name)
        postgres.execute('DROP ROLE "shop keeper"')
        run(loading if roles == "of the server" else f"{CHOOSING}\n{making}", tmp_path, PATH=path, **environment)
        postgres.create("restored")
        run(recipe(f"PostgreSQL, {form}"), tmp_path, PATH=path, **environment)
        assert postgres.execute("TABLE item", database="restored") == [(7,)]
        owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'item'"
        assert postgres.execute(owner, database="restored") == [("shop keeper",)]
    finally:
        for name in names:
            postgres.drop(name)
        postgres.execute('DROP ROLE IF EXISTS "shop keeper"')


def test_a_backup_of_postgresql_in_parts_restores_without_dumpty(postgres, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "LARGE_BYTES", 1)  # a table of a few rows comes in parts, too
    environment = {"PGHOST": str(postgres.sockets), "PGPORT": str(postgres.port), "PGUSER": "postgres"}
    names = ("shop", "shop-old", "restored")
    try:
        for name in names:
            postgres.create(name)
        for name in names[:2]:
            postgres.execute("CREATE TABLE item (id int PRIMARY KEY); CREATE TABLE none (id int)", database=name)
            postgres.execute("INSERT INTO item VALUES (6)", database=name)
        urls = [postgres.url(name) for name in names[:2]]
        fill(
            tmp_path, *urls, lambda: postgres.execute("INSERT INTO item VALUES (7)", database="shop"), format="parallel"
        )
        choosing = CHOOSING.partition('grep "$(sha')[0]
        path = f"{postgres.bindir}:{os.environ['PATH']}"
        run(f"{choosing}\n{PARTS}", tmp_path, PATH=path, **environment)
        assert postgres.execute("TABLE item", database="restored") == [(6,), (7,)]
        index = "SELECT indexname FROM pg_indexes WHERE tablename = 'item'"
        assert postgres.execute(index, database="restored") == [("item_pkey",)]
    finally:
        for name in names:
            postgres.drop(name)


def test_backups_of_mariadb_restore_without_dumpty(mariadb, tmp_path):
    names = ("shop", "shop-old", "restored")
    try:
        mariadb.run(*(f"CREATE DATABASE `{name}`" for name in names))
        for name in names[:2]:
            mariadb.run("CREATE TABLE item (id INT PRIMARY KEY)", database=name)
        urls = [mariadb.url(name) for name in names[:2]]
        fill(tmp_path, *urls, lambda: mariadb.run("INSERT INTO item VALUES (7)", database="shop"))
        # skip-ssl: newer clients do not trust the certificate that the server made for itself.
        (tmp_path / ".my.cnf").write_text(f"[client]\nsocket={mariadb.socket}\nuser=root\nskip-ssl\n")
        run(recipe("MySQL, MariaDB"), tmp_path, HOME=str(tmp_path))
        assert mariadb.run("SELECT * FROM item", database="restored") == [(7,)]
    finally:
        mariadb.run(*(f"DROP DATABASE IF EXISTS `{name}`" for name in names))


def test_a_backup_of_mariadb_in_parts_restores_without_dumpty(mariadb, tmp_path):
    names = ("shop", "shop-old", "restored")
    try:
        mariadb.run(*(f"CREATE DATABASE `{name}`" for name in names))
        for name in names[:2]:
            mariadb.run(
                "CREATE TABLE item (id INT PRIMARY KEY, t TEXT)",
                "INSERT INTO item SELECT seq, REPEAT('x', 500) FROM seq_1_to_100",
                "ANALYZE TABLE item",
                "CREATE TABLE none (id INT)",
                "CREATE TRIGGER t BEFORE INSERT ON item FOR EACH ROW SET NEW.t = 'seen'",
                database=name,
            )
        urls = [mariadb.url(name) for name in names[:2]]
        options = {"format": "parallel", "part_size": 16384}
        fill(tmp_path, *urls, lambda: mariadb.run("INSERT INTO item VALUES (777, '')", database="shop"), **options)
        (tmp_path / ".my.cnf").write_text(f"[client]\nsocket={mariadb.socket}\nuser=root\nskip-ssl\n")
        choosing = CHOOSING.partition('grep "$(sha')[0]
        run(f"{choosing}\n{MYSQL_PARTS}", tmp_path, HOME=str(tmp_path))
        rows = "SELECT COUNT(*), SUM(t = 'seen'), SUM(LENGTH(t)) FROM item"
        assert mariadb.run(rows, database="restored") == [(101, 1, 50_004)]
        assert mariadb.run("SHOW TRIGGERS", database="restored")[0][0] == "t"
        assert len([*tmp_path.glob("backups/*/*.rows.sql.gz")]) > 2
    finally:
        mariadb.run(*(f"DROP DATABASE IF EXISTS `{name}`" for name in names))


WITH_AGE, SEALED = (
    block.text for block in blocks(MANUAL / "encryption.md") if "test_an_encrypted_backup_restores" in block.note
)


@pytest.mark.parametrize("form", ["sql", "native"])
def test_an_encrypted_backup_restores_with_age_alone(shop, form):
    recipient = key_file(shop / "key.txt")
    manager = BackupManager(shop / "backups")
    manager.create_backup(f"sqlite:///{shop}/shop.db", format=form, encrypt_to=[recipient]).raise_for_error()
    native = WITH_AGE.replace(".sql.", ".db.").replace("| sqlite3 restored.db", "> restored.db")
    run(WITH_AGE if form == "sql" else native, shop)
    assert rows(shop / "restored.db") == [(1, "egg")]
    sealed = json.loads(run(SEALED, shop))
    assert (sealed["recipients"], sealed["evidence"]["objects"]) == ([recipient], [["item", 1, None]])


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_the_age_program_opens_what_is_encrypted_to_an_ssh_key(shop, kind):
    recipients = [x25519()[0].text, ssh_key(shop / "key.txt", kind)]
    manager = BackupManager(shop / "backups")
    url = f"sqlite:///{shop}/shop.db"
    manager.create_backup(url, format="sql", encrypt_to=recipients).raise_for_error()
    run(WITH_AGE, shop)
    assert rows(shop / "restored.db") == [(1, "egg")]


def test_what_the_age_program_made_is_restored(shop):
    """The stored file replaced by one that age encrypted, its manifest told of it: dumpty reads every age file."""
    recipient = key_file(shop / "key.txt")
    manager = BackupManager(shop / "backups", compressor=None)
    backup = manager.create_backup(f"sqlite:///{shop}/shop.db", encrypt_to=[recipient]).raise_for_error()
    path = Path(backup.file_path)
    run(f"age -d -i key.txt {path} | age -r {recipient} > new.age", shop)
    data = (shop / "new.age").read_bytes()
    assert data != path.read_bytes()
    path.write_bytes(data)
    manifest = path.with_name(path.name.partition(".")[0] + ".manifest.json")
    content = json.loads(manifest.read_bytes())
    del content["digest"], content["dumpty_manifest"]
    content["clear"]["objects"][0] |= {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest.write_bytes(seal(content))
    manager = BackupManager(shop / "backups")
    result = manager.restore(backup.id, f"sqlite:///{shop}/restored.db", identities=[shop / "key.txt"])
    assert result.success, result.error
    assert rows(shop / "restored.db") == [(1, "egg")]


def test_a_key_of_dumpty_is_one_for_age_and_the_other_way_round(shop):
    program = f"{os.path.dirname(sys.executable)}/dumpty"
    script = f"""{program} keys new --out key.txt
        age-keygen -y key.txt > recipient.txt
        grep -q "$(cat recipient.txt)" key.txt
        age-keygen -o theirs.txt
        {program} backup sqlite:///shop.db --encrypt-to recipient.txt --encrypt-to "$(age-keygen -y theirs.txt)"
        {program} keys check --identity theirs.txt
        {program} keys check --identity key.txt"""
    assert run(script, shop).count("1 database opened") == 2


def test_encrypted_backups_of_postgresql_restore_without_dumpty(postgres, tmp_path):
    recipient = key_file(tmp_path / "key.txt")
    environment = {"PGHOST": str(postgres.sockets), "PGPORT": str(postgres.port), "PGUSER": "postgres"}
    try:
        for name in ("shop", "restored", "again"):
            postgres.create(name)
        postgres.execute("CREATE TABLE item (id int); INSERT INTO item VALUES (7)", database="shop")
        manager = BackupManager(tmp_path / "backups")
        backup = manager.create_backup(postgres.url("shop"), encrypt_to=[recipient]).raise_for_error()
        to_psql = WITH_AGE.replace("sqlite3 restored.db", "psql -X -v ON_ERROR_STOP=1 -d restored")
        run(to_psql, tmp_path, PATH=f"{postgres.bindir}:{os.environ['PATH']}", **environment)
        assert postgres.execute("TABLE item", database="restored") == [(7,)]
        result = manager.restore(backup.id, postgres.url("again"), identities=[tmp_path / "key.txt"])
        assert result.success, result.error
        assert postgres.execute("TABLE item", database="again") == [(7,)]
        assert manager.drill(backup.id, identities=[tmp_path / "key.txt"]).ok
    finally:
        for name in ("shop", "restored", "again"):
            postgres.drop(name)


def test_encrypted_backups_of_mariadb_restore_without_dumpty(mariadb, tmp_path):
    recipient = key_file(tmp_path / "key.txt")
    names = ("shop", "restored", "again")
    try:
        mariadb.run(*(f"CREATE DATABASE `{name}`" for name in names))
        mariadb.run("CREATE TABLE item (id INT PRIMARY KEY)", "INSERT INTO item VALUES (7)", database="shop")
        manager = BackupManager(tmp_path / "backups")
        backup = manager.create_backup(mariadb.url("shop"), encrypt_to=[recipient]).raise_for_error()
        (tmp_path / ".my.cnf").write_text(f"[client]\nsocket={mariadb.socket}\nuser=root\nskip-ssl\n")
        run(WITH_AGE.replace("sqlite3 restored.db", "mariadb --comments restored"), tmp_path, HOME=str(tmp_path))
        assert mariadb.run("SELECT * FROM item", database="restored") == [(7,)]
        result = manager.restore(backup.id, mariadb.url("again"), identities=[tmp_path / "key.txt"])
        assert result.success, result.error
        assert mariadb.run("SELECT * FROM item", database="again") == [(7,)]
    finally:
        mariadb.run(*(f"DROP DATABASE IF EXISTS `{name}`" for name in names))
