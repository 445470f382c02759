"""The listing of a repository: rebuilt from its manifests, kept whole by removals that fail."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest
from support.places import stored_files
from support.toys import StoreWrapper, ToyDriver

from dumpty import BackupManager, MissingFile, StoreError, UnknownBackup
from dumpty.repository.sealed import seal, unseal


@pytest.fixture
def top(tmp_path):
    return tmp_path / "dir"


def manager(top, **replaced):
    driver = ToyDriver(db=b"one", other=b"two")
    if replaced:
        return BackupManager(f"wrapped://{top}", plugins=[driver, StoreWrapper(**replaced)])
    return BackupManager(str(top), plugins=[driver])


def made(facade, count=1):
    results = [facade.create_backup("toy://h/db") for _ in range(count)]
    assert all(r.success for r in results), results
    return [r.backup for r in results]


def ids(backups):
    return [b.id for b in backups]


visible = stored_files


def full(*_):
    raise StoreError("cannot do it: Input/output error")


def test_many_databases_in_a_row_do_not_list_the_whole_repository_once_each(top):
    asked = []

    def listing(real, folder=""):
        asked.append(folder)
        return real(folder)

    facade = manager(top, list=listing)
    facade.expect_many()
    made(facade, 20)
    assert asked.count("") == 1


# -- listing and finding -----------------------------------------------------------------------------------------


def test_backups_are_listed_oldest_first_and_found_by_id_or_its_beginning(top):
    facade = manager(top)
    backups = made(facade, 3)
    assert ids(manager(top).list_backups()) == ids(backups)
    assert facade.find("latest") == backups[-1]
    for backup in backups:
        assert facade.find(backup.id) == facade.find(backup.id[:13]) == facade.get_backup(backup.id) == backup
    assert facade.get_backup(backups[0].id[:13]) is None


@pytest.mark.parametrize("query", ["nothing", "", "latest"])
def test_a_backup_that_is_not_there_is_unknown_and_the_text_says_where(top, query):
    with pytest.raises(UnknownBackup, match=f"no backup '{query}' in {top}; dumpty list shows"):
        manager(top).find(query)


def test_an_ambiguous_beginning_says_how_many(top):
    facade = manager(top)
    made(facade, 17)  # of sixteen first digits, one comes twice
    firsts = [i[0] for i in ids(facade.list_backups())]
    twice = next(f for f in firsts if firsts.count(f) > 1)
    with pytest.raises(UnknownBackup, match=f"{firsts.count(twice)} backups .* begin with '{twice}'; give more"):
        facade.find(twice)


def manifests(top):
    return sorted(top.rglob("*.manifest.json"))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"dumpty_manifest": 7}', None])
def test_one_damaged_manifest_is_reported_and_hides_no_other(top, content, caplog):
    facade = manager(top)
    backups = made(facade, 2)
    (path,) = [p for p in manifests(top) if backups[0].id.replace("-", "")[:12] in p.name]
    if content is None:
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(content)
    assert ids(facade.list_backups()) == [backups[1].id]
    (problem,) = facade.listing().problems
    assert path.name in str(problem)
    assert path.name in caplog.text
    with pytest.raises(UnknownBackup, match="1 manifests there are damaged"):
        facade.find(backups[0].id)
    assert "damaged" in facade.restore(backups[0].id, "toy://h/x").error
    made(facade)
    assert os.path.exists(backups[0].file_path), "what a damaged manifest stands for is not cleared away"
    if content is not None:
        assert path.read_bytes() == content


def test_a_manifest_under_another_backups_name_is_damaged(top):
    facade = manager(top)
    made(facade, 2)
    first, second = manifests(top)
    second.write_bytes(first.read_bytes())
    assert len(facade.list_backups()) == 1
    assert "it belongs to" in str(facade.listing().problems[0])


def test_a_backup_in_the_folder_of_another_database_is_damaged_and_the_latest_of_neither(top):
    """The names in a manifest may be forged with it; what it says of its database may not be what the folder says."""
    facade = manager(top)
    [moved] = made(facade)
    other = facade.create_backup("toy://h/other").raise_for_error()
    [path] = (p for p in manifests(top) if str(p.parent) != os.path.dirname(other.file_path))
    folder, theirs = path.parent, os.path.dirname(other.file_path)
    content = unseal(path.read_bytes(), "it")
    content["clear"]["objects"][0]["name"] = moved.file_path.replace(str(folder), os.path.basename(theirs))
    path.unlink()
    os.rename(moved.file_path, moved.file_path.replace(str(folder), theirs))
    del content["dumpty_manifest"]
    (top / theirs / path.name).write_bytes(seal(content))
    facade = manager(top)
    assert ids(facade.list_backups()) == [other.id]
    assert "is damaged: it is that of db, in the folder of another database" in str(facade.listing().problems[0])
    for query in ("latest", "latest:other"):
        assert facade.find(query, alone=True).id == other.id
    with pytest.raises(UnknownBackup):
        facade.find("latest:db")


def test_files_of_others_are_neither_listed_nor_touched(top):
    facade = manager(top)
    made(facade)
    foreign_files = {
        "notes.txt": b"1",
        "x.sql": b"2",
        f"x.{'a' * 32}.sql": b"3",
        "x.pending": b"5",
        "film.part": b"6",
        "shop-123456/20260101T000000Z-0123456789ab-01234567.sql.gz": b"of a manifest that was lost",
        "shop-123456/notes.intent": b"7",
    }
    (top / "shop-123456").mkdir()
    for name, data in foreign_files.items():
        (top / name).write_bytes(data)
    made(facade)
    assert len(facade.list_backups()) == 2
    assert {n: (top / n).read_bytes() for n in foreign_files} == foreign_files


def test_a_clock_that_jumps_back_loses_nothing(top, monkeypatch):
    facade = manager(top)
    moments = iter([datetime(2026, 3, 29, 3, 0, tzinfo=UTC), datetime(2026, 3, 29, 1, 0, tzinfo=UTC)])

    class Clock(datetime):
        current = None

        @classmethod
        def now(cls, tz=None):
            return cls.current

    monkeypatch.setattr("dumpty.operations.backup.datetime", Clock)
    backups = []
    for moment in moments:
        Clock.current = moment
        backups += made(facade)
    assert ids(facade.list_backups()) == ids(reversed(backups))
    assert {b.timestamp for b in facade.list_backups()} == {b.timestamp for b in backups}
    for backup in backups:
        assert facade.verify(backup.id)


# -- removing ----------------------------------------------------------------------------------------------------


def test_a_removed_backup_is_gone_with_its_data_and_no_other(top):
    facade = manager(top)
    first, second = made(facade, 2)
    facade.remove(first.id)
    assert ids(facade.list_backups()) == [second.id]
    assert len(visible(top)) == 2
    with pytest.raises(UnknownBackup):
        facade.remove(first.id)


@pytest.mark.parametrize("part", [".sql.gz", ".prune/doom-", ".prune/go-"])
def test_a_removal_that_fails_before_its_data_went_keeps_the_backup_whole(top, part):
    (backup,) = made(manager(top))

    def put(real, name, data, *, new=True):
        return full() if part in name else real(name, data, new=new)

    def delete(real, names):
        names = list(names)
        return full() if any(part in name for name in names) else real(names)

    with pytest.raises(StoreError, match="Input/output"):
        manager(top, **({"delete": delete} if part == ".sql.gz" else {"put": put})).remove(backup.id)
    assert manager(top).verify(backup.id)
    assert manager(top).remove(backup.id)
    assert visible(top) == []


def test_a_removal_that_was_ended_midway_is_finished_by_the_next_run(top):
    """Its data is gone, its manifest not yet: it is not listed any more, neither as good nor as lost."""
    facade = manager(top)
    (backup,) = made(facade)

    def delete(real, names):
        names = list(names)
        return full() if any(n.endswith(".manifest.json") for n in names) else real(names)

    with pytest.raises(StoreError, match="Input/output"):
        manager(top, delete=delete).remove(backup.id)
    assert facade.list_backups() == []
    made(facade)
    assert [b.state for b in facade.list_backups()] == ["ok"]
    assert list(top.rglob(f"*{backup.id.replace('-', '')[:12]}*")) == []


def test_a_backup_whose_data_is_gone_can_still_be_removed(top):
    facade = manager(top)
    (backup,) = made(facade)
    os.unlink(backup.file_path)
    facade.remove(backup.id)
    assert visible(top) == []


def test_an_object_that_another_run_removed_meanwhile_is_not_missed(top):
    made(manager(top))

    def get(real, name):
        if name.endswith(".manifest.json"):
            raise MissingFile("it is gone")
        return real(name)

    assert manager(top, get=get).list_backups() == []
    assert manager(top, get=get).listing().problems == []
