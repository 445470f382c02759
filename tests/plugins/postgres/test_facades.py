"""The driver as people meet it: through the facades, with URLs and connection strings."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from dumpty import BackupFormat, BackupManager, DatabaseBackup


@pytest.fixture
def name(dbs):
    return dbs.new("CREATE TABLE t AS SELECT g AS a FROM generate_series(1, 10) g")


@pytest.mark.parametrize("form", [None, "native", "tar"])
def test_a_backup_manager_brings_a_database_back(dbs, name, role, tmp_path, form):
    user, password = role
    dbs.server.execute(f"ALTER ROLE {user} CREATEDB")
    dbs.server.execute(f"ALTER TABLE t OWNER TO {user}", database=name)
    url = f"postgresql+psycopg2://{user}:{quote(password, safe='')}@127.0.0.1:{dbs.server.port}/"
    manager = BackupManager(str(tmp_path / "store"))
    made = manager.create_backup(url + name, format=form)
    assert made.success, made.error
    assert {o.path: o.rows for o in made.backup.evidence.objects} == {"public.t": 10}
    new_manager = BackupManager(str(tmp_path / "store"))
    copy = dbs.name()
    assert new_manager.restore(made.backup.id, url + copy).success
    refusal = new_manager.restore(made.backup.id, url + copy)
    assert not refusal.success
    assert "not empty" in refusal.error
    overwritten = new_manager.restore(made.backup.id, url + copy, overwrite=True)
    assert overwritten.success, overwritten.error
    assert dbs.server.execute("SELECT count(*) FROM t", database=copy) == [(10,)]
    for path in (tmp_path / "store").rglob("*"):
        assert path.is_dir() or password.encode() not in path.read_bytes()


@pytest.mark.parametrize("form", list(BackupFormat))
def test_database_backup_takes_a_uri_or_a_dsn(dbs, name, tmp_path, form):
    backups = DatabaseBackup(str(tmp_path))
    dsn = f"host={dbs.server.sockets} port={dbs.server.port} user=postgres dbname={name}"
    for number, connection in enumerate((dbs.server.url(name), dsn)):
        made = backups.backup_postgres(connection, f"b{number}", form)
        assert (made.format, made.database_name) == (form.value, name)
        assert made.size_bytes > 500
    assert len(backups.list_backups()) == 2
    with pytest.raises(RuntimeError, match="does not exist"):
        backups.backup_postgres(dbs.server.url("not_there"), "b2", form)
    assert len(backups.list_backups()) == 2
