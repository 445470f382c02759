"""Formats of a whole server: never mixed with a database's backups, added to what is there, and encrypted or not made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dumpty import (
    BackupManager,
    Evidence,
    Format,
    Inspection,
    IntegrityError,
    ObjectEvidence,
    Option,
    OptionError,
    OtherDatabase,
    PluginInfo,
    Rules,
    TargetNotEmpty,
    UnknownBackup,
    hookimpl,
)
from dumpty.repository.manifest import seal
from dumpty_plugins.age import new_identity

HASHES = Option(name="hashes", default="on", help="hashes", choices=("on", "off", "plain"))
SERVER = Option(name="server", default=False, help="look at the server", verbs=("inspect",))


class Club:
    """Servers (by host) of people, and databases; people are added, and changed only where somebody insists."""

    name = "club"

    def __init__(self):
        self.people = {"a": {"ann": "1"}, "b": {}}
        self.databases = {("a", "people@a"): b"rows"}
        self.identity = ""
        self.asked = []

    @hookimpl
    def describe(self):
        formats = (
            Format(name="rows", suffix=".rows"),
            Format(name="people", suffix=".people", server=True, sensitive="hashes"),
        )
        return PluginInfo(kind="driver", schemes=("club",), formats=formats, options=(HASHES, SERVER))

    @hookimpl
    def inspect(self, source, options):
        self.asked.append(options["server"])
        if options["server"]:
            return Inspection(exists=True, empty=not self.people[source.host], name=source.host, identity=self.identity)
        exists = (source.host, source.database) in self.databases
        return Inspection(exists=exists, empty=not exists)

    @hookimpl
    def backup(self, source, sink, format):
        if format == "rows":
            sink.write(self.databases[source.host, source.database])
            return Evidence()
        people = self.people[source.host]
        sink.write("".join(f"{k}={v};" for k, v in people.items()).encode() or b";")
        return Evidence(objects=(ObjectEvidence(path="people", rows=len(people)),))

    @hookimpl
    def examine(self, dump):
        while dump.open().read():
            pass
        return Evidence()

    @hookimpl
    def restore(self, target, dump, overwrite):
        pairs = dict(p.split("=") for p in dump.open().read().decode().split(";") if p)
        there = self.people[target.host]
        if not overwrite and any(there.get(k, v) != v for k, v in pairs.items()):
            raise TargetNotEmpty("ann differs")
        there.update(pairs)
        return Evidence(objects=(ObjectEvidence(path="people", rows=len(pairs)),), notes=("bob was left",))


@pytest.fixture
def club():
    return Club()


@pytest.fixture
def manager(club, tmp_path):
    return BackupManager(str(tmp_path / "backups"), plugins=[club], compressor=None)


@pytest.fixture
def manager_with_age(club, tmp_path):
    from dumpty_plugins import age, sha256

    return BackupManager(str(tmp_path / "backups"), plugins=[club, age, sha256], compressor=None)


def people(manager, host="a", **options):
    result = manager.create_backup(f"club://{host}/", format="people", **{"hashes": "plain", **options})
    result.raise_for_error()
    return result.backup


def test_a_server_is_a_source_of_its_own(manager, club):
    """Whatever a database is called, its backups are not the server's: by identity, in retention, for latest."""
    server = people(manager)
    database = manager.create_backup("club://a/people%40a", format="rows")
    database.raise_for_error()
    assert (server.source, server.database_name) == ("people@club://a/", "people@a")
    assert database.backup.database_name == server.database_name
    assert database.backup.source != server.source
    assert club.asked == [True, False]
    with pytest.raises(UnknownBackup, match="could be a backup of 2 databases"):
        manager.find("latest:people@a", alone=True)
    assert all(d.keep for d in manager.prune(Rules(keep=1), dry_run=True).decisions)


def test_servers_are_told_apart_by_their_names(manager):
    """Two servers have backups of two names."""
    assert people(manager).id == manager.find("latest:people@a", alone=True).id
    assert people(manager, "b").id == manager.find("latest:people@b", alone=True).id


def test_the_url_of_a_database_means_no_backup_of_its_server(manager, club):
    """Whichever database the server was reached by, its backups are those of its own URL, and of no database's."""
    club.databases["a", "shop"] = b"rows"
    server = manager.create_backup("club://a/shop?x=1&dbname=shop", format="people", hashes="plain")
    server.raise_for_error()
    assert server.backup.database_url == "club://a/?x=1"
    by_path = manager.create_backup("club://a/shop", format="people", hashes="plain").raise_for_error()
    database = manager.create_backup("club://a/shop", format="rows").raise_for_error()
    meant = {
        "club://a/shop": database,
        "club://a/": by_path,
        "club://a": by_path,
        "club://a?x=1": server.backup,
        "club://a/shop?x=1&dbname=shop": None,
        "club://a/?x=1&dbname=shop": None,
    }
    for url, backup in meant.items():
        if backup is not None:
            assert manager.find("latest", source=url, alone=True).id == backup.id
            continue
        with pytest.raises(UnknownBackup):
            manager.find("latest", source=url)


def test_a_server_is_the_same_by_whichever_database_it_is_reached(manager, club):
    """An overwrite of a server that was built anew needs no further yes by its URL, though another database is named."""
    result = manager.create_backup("club://a/shop", format="people", hashes="plain")
    result.raise_for_error()
    club.identity = "anew"
    manager.restore(result.backup.id, "club://a/other", overwrite=True, other=False).raise_for_error()


def test_what_is_sensitive_is_encrypted_or_asked_for(manager_with_age, club):
    """Without a cipher such a backup is refused before the server is asked anything; each way round it works."""
    manager = manager_with_age
    result = manager.create_backup("club://a/", format="people")
    assert isinstance(result.exception, OptionError)
    assert all(way in result.error for way in ("--encrypt-to", "-o hashes=off", "-o hashes=plain"))
    assert club.asked == []
    people(manager, hashes="off")
    people(manager, hashes="plain")
    people(manager, hashes="on", encrypt_to=[new_identity().recipient.text])
    manager.create_backup("club://a/people%40a", format="rows").raise_for_error()


def test_a_restore_adds_to_a_server(manager, club, caplog):
    """A server that holds something is added to; what its driver refuses stays; insisting on another's wants a yes."""
    backup = people(manager)
    club.people["b"]["bea"] = "2"
    manager.restore(backup.id, "club://b/", other=False).raise_for_error()
    assert club.people["b"] == {"ann": "1", "bea": "2"}
    assert "bob was left" in caplog.text
    club.people["b"]["ann"] = "3"
    assert isinstance(manager.restore(backup.id, "club://b/").exception, TargetNotEmpty)
    other = manager.restore(backup.id, "club://b/", overwrite=True, other=False)
    assert isinstance(other.exception, OtherDatabase)
    assert club.people["b"]["ann"] == "3"
    manager.restore(backup.id, "club://b/", overwrite=True, other=True).raise_for_error()
    assert club.people["b"] == {"ann": "1", "bea": "2"}


def test_a_server_is_never_created(manager):
    """A restore that may only create its target is refused: a server is there."""
    result = manager.restore(people(manager).id, "club://b/", create=True)
    assert isinstance(result.exception, TargetNotEmpty)


def test_nobody_says_of_a_database_that_it_is_a_server(manager, club):
    """What a backup is of its format decides, and no option."""
    manager.create_backup("club://a/people%40a", format="rows", server=True).raise_for_error()
    assert club.asked == [False]


def forge(backup, format: str) -> None:
    """Change the format in a manifest, and give it the digest of what it says then."""
    path = Path(backup.file_path)
    manifest = path.parent / f"{path.name.partition('.')[0]}.manifest.json"
    content = json.loads(manifest.read_text())
    del content["digest"], content["dumpty_manifest"]
    content["clear"]["format"]["name"] = format
    manifest.write_bytes(seal(content))


@pytest.mark.parametrize("format", ["people", "rows"])
def test_no_altered_format_turns_a_restore_into_another(manager, club, format):
    """A restore of a database changes no accounts because its manifest says so; nor does a proof read it as those."""
    club.databases["a", "shop"] = b"eve=1;"
    shop = manager.create_backup("club://a/shop", format="rows").backup
    backup = shop if format == "people" else people(manager)
    forge(backup, format)
    before = json.dumps(club.people)
    result = manager.restore(backup.id, "club://a/shop", overwrite=True, other=True)
    assert isinstance(result.exception, IntegrityError)
    assert "was altered" in result.error
    assert json.dumps(club.people) == before
    proof = manager.prove(backup.id, level="structure")
    assert not proof.ok
    assert "was altered" in proof.error


def test_accounts_under_a_databases_name_are_refused(manager, club, monkeypatch):
    """``latest:shop`` is never a server's accounts, though every other part of a manifest says that it is."""
    name = "dumpty.operations.backup.identity_and_name"
    monkeypatch.setattr(name, lambda *_: ("people@club://a/", "shop"))
    backup = people(manager)
    result = manager.restore(backup.id, "club://a/shop")
    assert isinstance(result.exception, IntegrityError)
    assert "was altered" in result.error
