"""``dumpty remove``: one backup goes, with all that belongs to it, or stays and says why."""

from __future__ import annotations

import pytest
from support.toys import open_directory

from dumpty.repository.plain import PlainRepository
from dumpty.repository.protocol import reader_pin
from dumpty.repository.protocol.process_identity import process_identity


@pytest.fixture
def three(make, shop) -> list[str]:
    """Three backups of one database, oldest first."""
    return [make(shop)["id"] for _ in range(3)]


def listed_ids(dumpty) -> list[str]:
    return [b["id"] for b in dumpty("list", "--json").json["backups"]]


def test_a_backup_is_removed_by_the_beginning_of_its_id(dumpty, three):
    result = dumpty("remove", three[1][:13], "--yes", "--json")
    assert result.status == 0
    assert (result.json["backups"][0]["id"], result.json["removed"]) == (three[1], [three[1]])
    assert listed_ids(dumpty) == [three[0], three[2]]


def test_what_was_removed_is_said_in_one_line(dumpty, three):
    result = dumpty("remove", "latest", "--yes")
    assert (result.status, result.err) == (0, "")
    [line] = result.out.splitlines()
    assert line.startswith(f"removed: backup {three[2]} of shop, taken ")


def test_a_dry_run_says_what_would_go_and_removes_nothing(dumpty, three):
    result = dumpty("remove", "latest", "--dry-run")
    assert (result.status, result.out.startswith(f"would be removed: backup {three[2]} of shop, taken ")) == (0, True)
    assert listed_ids(dumpty) == three
    dumpty("pin", "latest")
    result = dumpty("remove", "latest", "--dry-run")
    assert (result.status, f"dumpty unpin {three[2]} frees it" in result.err) == (1, True)


def test_without_a_terminal_nothing_is_removed_that_was_not_confirmed(dumpty, three):
    result = dumpty("remove", "latest")
    assert result.status == 2
    assert f"nothing was removed: say --yes to remove backup {three[2]}" in result.err
    assert listed_ids(dumpty) == three


def test_a_pinned_backup_is_not_removed(dumpty, three):
    dumpty("pin", three[0])
    result = dumpty("remove", three[0], "--yes")
    assert result.status == 1
    assert f"dumpty unpin {three[0]} frees it" in result.err
    assert listed_ids(dumpty) == three


def test_a_backup_that_is_being_read_stays_and_the_command_says_so(dumpty, three):
    repository = PlainRepository(open_directory("backups"))
    with repository.reading(repository.get(three[0])):
        result = dumpty("remove", three[0], "--yes", "--json")
    assert result.status == 1
    assert (result.json["success"], result.json["removed"]) == (False, [])
    assert f"backup {three[0]} is not removed: it is being read" in str(result.json["warnings"])
    assert listed_ids(dumpty) == three


def test_a_backup_whose_reader_was_killed_is_removed_at_once(dumpty, three, monkeypatch):
    repository = PlainRepository(open_directory("backups"))
    with monkeypatch.context() as patch:
        patch.setattr(reader_pin, "process_identity", lambda: {**process_identity(), "started": "1"})
        killed = repository.reading(repository.get(three[0]))
        killed.__enter__()
    assert dumpty("remove", three[0], "--yes", "--json").json["removed"]
    assert listed_ids(dumpty) == three[1:]


def test_a_backup_that_is_not_there_is_unknown(dumpty, three):
    result = dumpty("remove", "ffffffff", "--yes")
    assert result.status == 1
    assert "no backup 'ffffffff'" in result.err
