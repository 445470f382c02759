"""``dumpty list`` and ``dumpty show``."""

from __future__ import annotations

import os
import uuid

import pytest

from dumpty.cli.arguments import short_ids
from dumpty.operations.result import Backup


def test_every_backup_has_a_line_oldest_first(dumpty, make, shop):
    first, second = make(shop), make(shop, "--format", "sql", "--compressor", "none")
    head, *lines = dumpty("list").out.splitlines()
    assert head.split() == ["ID", "TAKEN", "DATABASE", "SOURCE", "FORMAT", "SIZE", "LAST", "PROVEN", "FILE"]
    assert [line.split()[0] for line in lines] == [first["id"][:8], second["id"][:8]]
    assert "native+gzip" in lines[0]
    assert lines[1].split()[-1] == os.path.basename(second["files"][0])


def test_json_holds_every_backup_and_its_tables_only_on_request(dumpty, make, shop):
    backup = make(shop)
    reply = dumpty("list", "--json").json
    assert (reply["success"], reply["status"], reply["warnings"]) == (True, 0, [])
    assert reply["backups"] == [backup] == dumpty("list", "--all", "--json").json["backups"]
    tables = [{"path": "orders", "rows": 2, "fingerprint": None, "stored_bytes": None}]
    assert dumpty("list", "--tables", "--json").json["backups"] == [{**backup, "objects": tables}]
    assert "objects" not in backup


def test_quiet_lists_nothing_but_warnings(dumpty, make, shop):
    os.unlink(make(shop)["files"][0])
    for verb in (("list",), ("show", "latest")):
        assert dumpty(*verb, "-q").out == ""
    assert "is lost" in dumpty("list", "-q").err
    assert dumpty("list", "-q", "--json").json["backups"][0]["state"] == "lost"


def test_an_empty_directory_lists_nothing_and_is_no_failure(dumpty, tmp_path):
    (tmp_path / "empty").mkdir()
    result = dumpty("list", "-d", "empty")
    assert (result.status, result.out) == (0, f"no backups in {tmp_path}/empty\n")


def test_a_damaged_manifest_is_named_and_hides_no_other_backup(dumpty, make, shop, tmp_path):
    make(shop)
    hidden = next(p for p in (tmp_path / "backups").rglob("*") if p.name.endswith(".manifest.json"))
    hidden.write_bytes(b"{" + hidden.read_bytes()[5:])
    readable = make(shop)
    result = dumpty("list")
    assert result.status == 0
    assert readable["id"][:8] in result.out
    assert hidden.name in result.err
    assert dumpty("list", "--json").json["warnings"][0].startswith("the manifest")


def test_a_file_url_names_the_directory_too(dumpty, make, shop, tmp_path):
    make(shop, "--dir", tmp_path / "my backups")
    assert len(dumpty("list", "-d", f"file://{tmp_path}/my%20backups", "--json").json["backups"]) == 1


@pytest.mark.parametrize(
    "argv",
    [
        ("list",),
        ("show", "latest"),
        ("verify", "--all"),
        ("verify", "latest"),
        ("prune", "--keep", "1"),
        ("restore", "latest", "--to", "sqlite:///x.db"),
    ],
)
@pytest.mark.parametrize("directory", ["absent", "file", "file:///absent"])
def test_a_directory_that_is_not_there_has_a_status_of_its_own_and_is_not_made(dumpty, tmp_path, argv, directory):
    (tmp_path / "file").write_text("")
    names_before = sorted(os.listdir(tmp_path))
    result = dumpty(*argv, "--dir", directory)
    assert result.status == 10
    assert "--dir" in result.err
    assert result.err.count("\n") == 1
    assert sorted(os.listdir(tmp_path)) == names_before


def test_show_tells_all(dumpty, make, shop):
    backup = make(shop)
    out = dumpty("show", backup["id"][:4]).out
    for value in (
        backup["id"],
        backup["checksum"],
        backup["files"][0],
        backup["source"],
        "sqlite version",
        "1 object, 2 rows",
    ):
        assert value in out
    [shown] = dumpty("show", "latest", "--json").json["backups"]
    assert {key: shown[key] for key in backup} == backup
    assert set(shown) - set(backup) == {"objects", "details"}
    assert shown["details"]["versions"]["sqlite"]


def test_show_tells_fingerprints_notes_and_what_was_not_counted(dumpty, make, odd):
    make("odd://torn/db")
    out = dumpty("show", "latest").out
    assert "f00" in out
    assert "not counted" in out
    assert "NO: not of one moment" in out
    assert "a note" in out


@pytest.mark.parametrize("unknown_id", ["nope", "", "../../etc/passwd", "a\nb\x1b[2J", "🥚"])
def test_an_unknown_id_fails_and_says_where_to_look(dumpty, make, shop, unknown_id):
    make(shop)
    result = dumpty("show", unknown_id)
    assert result.status == 1
    assert "dumpty list" in result.err
    assert result.err.count("\n") == 1
    assert "\x1b" not in result.err


def test_an_id_that_fits_two_backups_is_refused(dumpty, make, shop, monkeypatch):
    uuid4_unpatched = uuid.uuid4
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID("abcdef12" + uuid4_unpatched().hex[8:]))
    ids = [make(shop)["id"] for _ in range(2)]
    result = dumpty("show", "abcdef12")
    assert result.status == 1
    assert "give more of the id" in result.err
    short = [line.split()[0] for line in dumpty("list").out.splitlines()[1:]]
    assert sorted(dumpty("show", s, "--json").json["backups"][0]["id"] for s in short) == sorted(ids)


@pytest.mark.parametrize(
    ("host", "summary"),
    [("nothing", "nothing that was counted"), ("uncounted", "1 object"), ("fine", "2 objects, 7 rows (1 not counted)")],
)
def test_show_says_how_much_was_counted(dumpty, make, odd, host, summary):
    make(f"odd://{host}/db")
    assert f"contents        {summary}\n" in dumpty("show", "latest").out


def test_short_ids_are_long_enough_to_tell_backups_apart():
    def backup(identity: str) -> Backup:
        return Backup(identity, "", "", None, 0, "")  # type: ignore[arg-type]

    first_id = str(uuid.UUID(int=1))
    second_id = first_id[:12] + "f" + first_id[13:]
    assert short_ids([backup(first_id), backup(second_id)]) == {first_id: first_id[:13], second_id: second_id[:13]}
    assert short_ids([backup(first_id)]) == {first_id: first_id[:8]}
