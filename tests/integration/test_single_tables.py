"""One table out of a backup that is elsewhere and encrypted: no more is fetched than what holds it."""

from __future__ import annotations

import json

import pytest
from support.keys import x25519
from support.tcp_proxy import TCPProxy

from dumpty import BackupManager

TABLES = """
CREATE TABLE events AS
    SELECT g AS id, string_agg(md5(g::text || random()), '') AS text FROM generate_series(1, 40000) g, generate_series(1, 9)
    GROUP BY g;
CREATE TABLE people AS SELECT * FROM events WHERE id <= 400;
ALTER TABLE people ADD PRIMARY KEY (id);
"""


@pytest.fixture
def database(postgres):
    name = postgres.create()
    postgres.script(name, TABLES)
    yield name
    postgres.drop(name)


def test_only_what_holds_the_table_is_fetched(postgres, database, moto_server, s3_credentials):
    target = f"{database}_again"
    recipient, identity = x25519()
    with TCPProxy(moto_server.port) as proxy:
        direct = moto_server.url(moto_server.new_bucket(), "shop", direct=True)
        url = direct.replace(str(moto_server.port), str(proxy.port))
        manager = BackupManager(url)
        backup = manager.create_backup(
            postgres.url(database), format="parallel", part_size=64 << 10, encrypt_to=[recipient]
        ).raise_for_error()
        assert len(backup.files) > 3

        def fetched(to: str, **what) -> int:
            before = proxy.passed
            BackupManager(url).restore(backup.id, postgres.url(to), identities=[identity], **what).raise_for_error()
            return proxy.passed - before

        everything = fetched(target)
        one_table = fetched(database, tables=["people=people_before"])
    postgres.drop(target)
    assert everything > backup.size_bytes
    assert one_table < everything / 20, (one_table, everything)
    sql = "SELECT count(*) FROM (TABLE people EXCEPT TABLE people_before) AS lost"
    assert postgres.execute(sql, database=database) == [(0,)]


def test_the_command_lists_tables_with_their_stored_size_and_restores_one(dumpty, postgres, database, tmp_path):
    url = postgres.url(database)
    made = dumpty("backup", url, "--format", "parallel", "-o", "part_size=65536", "--json", "-d", tmp_path)
    backup = json.loads(made.out)["backups"][0]
    shown = json.loads(dumpty("show", "latest", "--json", "-d", tmp_path).out)["backups"][0]
    sizes = {table["path"]: table["stored_bytes"] for table in shown["objects"]}
    assert sizes["public.people"] < sizes["public.events"] < backup["size_bytes"]
    lines = dumpty("show", "latest", "-d", tmp_path).out.splitlines()
    heading = next(line for line in lines if line.startswith("OBJECT"))
    assert heading.split() == ["OBJECT", "ROWS", "STORED"]
    result = dumpty("restore", "latest", "--table", "people=people_before", "--to", url, "-d", tmp_path)
    assert result.status == 0
    assert f"1 table of backup {backup['id']}" in result.out
    assert "public.people as people_before: 400 rows" in result.out
    refused = dumpty(
        "restore", "latest", "--table", "people,people=people_before", "--to", url, "-d", tmp_path, "--json"
    )
    assert refused.status == 2
    assert "the table public.people is named twice" in json.loads(refused.out)["error"]
    replaced = dumpty(
        "restore", "latest", "--table", "people", "--overwrite", "--to", url, "-d", tmp_path, "--json", "-q"
    )
    assert json.loads(replaced.out)["tables"] == [{"path": "public.people", "name": "public.people", "rows": 400}]
    assert postgres.execute("SELECT count(*) FROM people", database=database) == [(400,)]
