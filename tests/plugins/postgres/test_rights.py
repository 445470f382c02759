"""``doctor URL`` says which rights a backup would miss, and the statements that it says are enough."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from support.drive import dump, load
from support.replies import check_reply

import dumpty_plugins.postgres.plugin as driver
from dumpty.cli import main
from dumpty_plugins.postgres.schema import privileges

CONTENT = """CREATE SCHEMA "A b"; CREATE TABLE "A b".t AS SELECT 1 AS a; CREATE SEQUENCE "A b".s;
CREATE TABLE p (a integer) PARTITION BY RANGE (a); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (9);
CREATE TABLE secret AS SELECT 1 AS a; ALTER TABLE secret ENABLE ROW LEVEL SECURITY;
CREATE MATERIALIZED VIEW m AS SELECT 1 AS a; CREATE EXTENSION hstore; SELECT lo_from_bytea({0}, 'x')"""


def url_of(dbs, name: str, role: tuple[str, str]) -> str:
    return f"postgresql://{role[0]}:{quote(role[1], safe='')}@127.0.0.1:{dbs.server.port}/{name}"


def doctor(capsys, url: str) -> tuple[int, dict]:
    capsys.readouterr()
    status = main(["doctor", url, "--json"])
    return status, check_reply(["doctor"], capsys.readouterr().out)


@pytest.mark.parametrize("large", [0, 25])
@pytest.mark.parametrize("reads_all", [14, 99])
def test_what_doctor_says_to_grant_is_what_a_backup_needs(dbs, role, capsys, tmp_path, monkeypatch, large, reads_all):
    monkeypatch.setattr(privileges, "_READS_ALL", reads_all)  # 99: as on servers that have no role pg_read_all_data
    name = dbs.new(CONTENT.format(0) + f"; SELECT lo_create(0) FROM generate_series(1, {large})")
    url = url_of(dbs, name, role)
    status, report = doctor(capsys, url)
    assert status == 1
    assert "a backup of" in report["error"]
    lacks = report["database"]["lacks"]
    assert len(lacks) == 3
    assert "public.p, public.p1" in lacks[0] or '"A b"' in lacks[0]
    with pytest.raises((RuntimeError, OSError)):
        dump(driver, dbs.source(name, *role), tmp_path / "d", "native")
    for missing in lacks:
        statements = re.split(r": (?:in psql, )?", missing, maxsplit=1)[1]
        dbs.server.script(name, statements.replace(" \\gexec", " \\gexec\n") + (";" if "gexec" not in missing else ""))
    status, report = doctor(capsys, url)
    assert (status, report["database"]["lacks"]) == (0, [])
    made = dump(driver, dbs.source(name, *role), tmp_path / "d", "native")
    rows = {o.path: o.rows for o in made.evidence.objects}
    assert rows["public.secret"] == 1
    assert rows["pg_catalog.pg_largeobject"] == 1 + large
    load(driver, dbs.source(dbs.name()), made)
    dbs.server.execute(f"ALTER ROLE {role[0]} NOBYPASSRLS")
    if reads_all == 14:
        dbs.server.execute(f"REVOKE pg_read_all_data FROM {role[0]}")


def test_a_superuser_and_an_owner_lack_nothing(dbs, role, capsys):
    name = dbs.new(CONTENT.format(0))
    status, report = doctor(capsys, dbs.server.url(name))
    assert (status, report["database"]["lacks"]) == (0, [])
    own_database = dbs.new()
    dbs.server.script(own_database, f"SET ROLE {role[0]}; SELECT lo_create(0)")
    dbs.server.script(own_database, f"CREATE TABLE t (); ALTER TABLE t OWNER TO {role[0]}")
    status, report = doctor(capsys, url_of(dbs, own_database, role))
    assert (status, report["database"]["lacks"]) == (0, [])


def test_the_text_names_what_is_lacking(dbs, role, capsys):
    name = dbs.new("CREATE TABLE t ()")
    assert main(["doctor", url_of(dbs, name, role)]) == 1
    output = capsys.readouterr()
    assert f'lacks SELECT on public.t: GRANT pg_read_all_data TO "{role[0]}"' in output.out + output.err
    assert role[1] not in output.out + output.err


def test_options_of_user_mappings_that_are_not_seen_are_told(dbs, role, tmp_path):
    name = dbs.new(
        "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;"
        "CREATE USER MAPPING FOR postgres SERVER s OPTIONS (password 'x'); CREATE USER MAPPING FOR PUBLIC SERVER s"
    )
    [note] = dump(driver, dbs.source(name, *role), tmp_path / "d", "sql").evidence.notes
    assert note.startswith("the options (passwords, perhaps) of 2 user mapping(s) are not in the dump")
    assert dump(driver, dbs.source(name), tmp_path / "d", "sql").evidence.notes == ()
