"""``dumpty prune``."""

from __future__ import annotations

import os
import sqlite3

import pytest
from support.places import stored_files


@pytest.fixture
def five(make, shop) -> list[str]:
    """Five backups of one database, oldest first."""
    return [make(shop)["id"] for _ in range(5)]


def listed_ids(dumpty) -> list[str]:
    return [b["id"] for b in dumpty("list", "--json").json["backups"]]


def test_the_newest_are_kept_and_the_rest_goes(dumpty, five):
    result = dumpty("prune", "--keep", "2", "--yes")
    assert result.status == 0
    assert "3 backups of 5 removed" in result.out
    assert listed_ids(dumpty) == five[3:]
    assert dumpty("verify", "--all").status == 0


def test_each_database_is_pruned_apart_whatever_its_urls_spelling(dumpty, make, shop, five, tmp_path):
    with sqlite3.connect(tmp_path / "other.db") as database:
        database.execute("CREATE TABLE t (a)")
    database.close()
    other_id = make(f"sqlite:///{tmp_path}/other.db")["id"]
    again_id = make("sqlite:///shop.db")["id"]
    assert dumpty("prune", "--keep", "1", "--yes").status == 0
    assert listed_ids(dumpty) == [other_id, again_id]


def test_a_dry_run_gives_a_reason_for_each_and_removes_nothing(dumpty, five):
    result = dumpty("prune", "--keep", "2", "--dry-run")
    assert result.status == 0
    lines = result.out.splitlines()
    assert [line.split()[0] for line in lines[1:6]] == ["keep", "keep", "remove", "remove", "remove"]
    assert "the newest of its database" in lines[1]
    assert "number 5, beyond the 2 newest" in lines[5]
    assert "3 backups of 5 would be removed" in lines[6]
    reply = dumpty("prune", "--keep", "2", "--dry-run", "--json").json
    assert [d["keep"] for d in reply["decisions"]] == [True, True, False, False, False]
    assert (reply["dry_run"], reply["removed"]) == (True, [])
    assert listed_ids(dumpty) == five


def test_what_is_known_of_old_runs_goes_though_no_backup_does(dumpty, five, tmp_path):
    result_file = tmp_path / "backups/.runs/nightly/20200101T030000Z.result"
    result_file.parent.mkdir(parents=True)
    result_file.write_bytes(b"{}\n")
    os.utime(result_file, (0, 0))
    assert dumpty("prune", "--keep", "5", "--dry-run").status == 0
    assert result_file.exists()
    assert dumpty("prune", "--keep", "5").status == 0
    assert not result_file.exists()
    assert listed_ids(dumpty) == five


def test_age_alone_never_removes_the_newest(dumpty, five):
    assert dumpty("prune", "--older-than", "0h", "--yes").status == 0
    assert listed_ids(dumpty) == five[4:]


def test_what_is_younger_is_kept_though_it_is_beyond_the_number(dumpty, five):
    result = dumpty("prune", "--keep", "1", "--older-than", "30d", "--yes")
    assert result.status == 0
    assert "0 backups of 5 removed" in result.out
    assert listed_ids(dumpty) == five


def test_without_a_terminal_it_needs_to_be_told_yes(dumpty, five):
    result = dumpty("prune", "--keep", "2")
    assert result.status == 2
    assert "--yes" in result.err
    assert listed_ids(dumpty) == five


def test_without_a_terminal_nothing_to_remove_needs_no_yes(dumpty, five):
    assert dumpty("prune", "--keep", "9").status == 0


@pytest.mark.parametrize(
    ("answer", "status", "remaining"), [("y", 0, 1), ("YES", 0, 1), ("n", 1, 5), ("", 1, 5), ("what", 1, 5)]
)
def test_on_a_terminal_it_asks(dumpty, five, terminal, answer, status, remaining):
    terminal.type(answer + "\n")
    result = dumpty("prune", "--keep", "1", terminal=terminal)
    shown = terminal.read()
    assert result.status == status
    assert "Remove 4 backups" in shown
    assert f"{five[0][:8]}" in shown
    assert len(listed_ids(dumpty)) == remaining


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("--keep", "0"),
        ("--keep", "-3"),
        ("--keep", "many"),
        ("--older-than", "soon"),
        ("--older-than", "30"),
        ("--older-than", "999999999w"),
        ("--older-than", "-3d"),
    ],
)
def test_rules_that_say_nothing_sensible_are_usage_errors(dumpty, argv):
    result = dumpty("prune", *argv, "--yes")
    assert result.status == 2
    assert result.err.count("\n") == 1


def test_what_cannot_be_removed_is_still_listed_and_fails_the_command_and_the_rest_is_removed(
    dumpty, five, monkeypatch
):
    from dumpty import NotPermitted
    from dumpty_plugins.file import FileStore

    real = FileStore.delete

    def delete(self, names):
        names = list(names)
        refused = [n for n in names if n.endswith(".gz") and any(f"-{i.replace('-', '')[:12]}-" in n for i in five[:2])]
        real(self, [n for n in names if n not in refused])
        if refused:
            raise NotPermitted(f"cannot remove {refused[0]}: Operation not permitted")

    monkeypatch.setattr(FileStore, "delete", delete)
    result = dumpty("prune", "--keep", "1", "--yes", "--json")
    assert result.status == 1
    assert result.json["success"] is False
    assert "Operation not permitted" in result.json["error"]
    assert sorted(result.json["removed"]) == sorted([five[2], five[3]])
    assert listed_ids(dumpty) == [*five[:2], five[4]]
    monkeypatch.setattr(FileStore, "delete", real)
    assert dumpty("prune", "--keep", "1", "--yes").status == 0
    assert listed_ids(dumpty) == [five[4]]


def test_what_another_prune_removes_meanwhile_is_no_failure(dumpty, five, monkeypatch):
    """Between deciding and announcing somebody else removes one of them."""
    from dumpty import BackupManager
    from dumpty_plugins.file import FileStore

    real = FileStore.put
    removed = []

    def put(self, name, data, *, new=True):
        if name.startswith(".prune/doom-") and not removed:
            removed.append(name)
            assert BackupManager(self.locate("")).remove(five[0])
        real(self, name, data, new=new)

    monkeypatch.setattr(FileStore, "put", put)
    result = dumpty("prune", "--keep", "3", "--yes")
    assert (result.status, len(removed)) == (0, 1)
    assert listed_ids(dumpty) == five[2:]


def test_pruning_leaves_no_file_behind(dumpty, five, tmp_path):
    dumpty("prune", "--keep", "1", "--yes")
    assert len(stored_files(tmp_path / "backups")) == 2
