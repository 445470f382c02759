"""What differs between the server that a dump came from and the one that it is rehearsed on, as far as both are known."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from support.drive import defaults, dump, load

import dumpty_plugins.postgres.plugin as driver

COLLATION = "CREATE COLLATION german (provider = icu, locale = 'de'); CREATE TABLE t (a text COLLATE german)"


@pytest.fixture
def rehearse(postgres):
    """Restore a dump that says it came from the version before, and return the scratch database's words."""

    def run(backup, **properties):
        recorded = {**backup.evidence.properties, **properties}
        backup.evidence = replace(backup.evidence, versions={"server": f"{postgres.major - 1}.3"}, properties=recorded)
        options = defaults(driver, "scratch", server_version=str(postgres.major))
        with driver.scratch(dump=backup, on=None, options=options) as scratch:
            load(driver, scratch.target, backup)
            return scratch.rehearsal, scratch.differs, scratch.not_proved

    return run


def test_a_backup_records_the_versions_of_collations_and_extensions(dbs, tmp_path):
    name = dbs.new(COLLATION + "; CREATE EXTENSION hstore")
    versions = dump(driver, dbs.source(name), tmp_path / "d", "sql").evidence.properties["object_versions"]
    [(there,)] = dbs.server.execute("SELECT collversion FROM pg_collation WHERE collname = 'german'", database=name)
    [(hstore,)] = dbs.server.execute("SELECT extversion FROM pg_extension WHERE extname = 'hstore'", database=name)
    assert versions["collations"] == {"public.german": there}
    assert versions["extensions"] == {"hstore": hstore}


def test_versions_that_differ_are_listed_and_those_that_do_not_are_not(dbs, tmp_path, rehearse):
    backup = dump(driver, dbs.source(dbs.new(COLLATION)), tmp_path / "d", "native")
    rehearsal, differs, not_proved = rehearse(backup)
    assert rehearsal.startswith(f"a rehearsal on PostgreSQL {dbs.server.major}.")
    assert rehearsal.endswith(f"of a backup of {dbs.server.major - 1}")
    assert len(differs) == 1
    assert not any("sorts" in text for text in not_proved)
    recorded = {"database": "", "collations": {"public.german": "0.1", "public.gone": "1"}, "extensions": {}}
    _, differs, _ = rehearse(backup, object_versions=recorded)
    assert [text.partition(", here")[0] for text in differs[1:]] == ["the collation public.german: version 0.1"]


def test_what_a_backup_does_not_say_is_told_as_not_known(dbs, tmp_path, rehearse):
    backup = dump(driver, dbs.source(dbs.new("CREATE EXTENSION hstore")), tmp_path / "d", "sql")
    _, differs, not_proved = rehearse(backup, object_versions=None)
    assert len(differs) == 1
    [text] = [text for text in not_proved if "sorts" in text]
    assert "hstore" in text
    assert "the backup does not say" in text


def test_a_drill_on_its_own_version_compares_nothing(dbs, tmp_path):
    backup = dump(driver, dbs.source(dbs.new(COLLATION)), tmp_path / "d", "sql")
    with driver.scratch(dump=backup, on=None, options=defaults(driver, "scratch")) as scratch:
        load(driver, scratch.target, backup)
        assert (scratch.rehearsal, scratch.differs) == ("", ())
