"""After a restore the rows are compared: those that the driver counted, or, where it counted none, those found then."""

from __future__ import annotations

import pytest
from support.toys import ToyDriver

from dumpty import (
    BackupManager,
    Evidence,
    Format,
    Inspection,
    IntegrityError,
    ObjectEvidence,
    Option,
    PluginError,
    PluginInfo,
    SourceError,
    hookimpl,
)

LEVELS = ("off", "counts", "fingerprint")


def evidence(**rows):
    return Evidence(objects=tuple(ObjectEvidence(path=path, rows=number) for path, number in rows.items()))


class Counting(ToyDriver):
    """``loaded`` is what its restore returns, ``found`` what it finds when it is asked."""

    counted = evidence(t=3, u=1, v=None)
    loaded = Evidence()
    found = evidence(t=3, u=1, v=None)
    options = (Option(name="evidence", default="off", help="", verbs=("inspect",), choices=LEVELS),)

    def __init__(self, **databases):
        super().__init__(**databases)
        self.asked = []

    @hookimpl
    def describe(self):
        return PluginInfo(
            kind="driver", schemes=("toy",), formats=(Format(name="sql", suffix=".sql"),), options=self.options
        )

    @hookimpl
    def inspect(self, source, options):
        data = self.databases.get(source.database)
        counts = None
        if options.get("evidence", "off") != "off":
            self.asked.append(options["evidence"])
            if isinstance(self.found, Exception):
                raise self.found
            counts = self.found
        return Inspection(exists=data is not None, empty=not data, identity=f"toy:{source.database}", evidence=counts)

    @hookimpl
    def backup(self, source, sink):
        sink.write(self.databases[source.database])
        return self.counted

    @hookimpl
    def restore(self, target, dump):
        super().restore(target, dump)
        return self.loaded


class Mute(Counting):
    options = ()


def restore(tmp_path, driver, **options):
    manager = BackupManager(str(tmp_path), plugins=[driver])
    made = manager.create_backup("toy://h/db")
    assert made.success, made.error
    return manager.restore(made.backup.id, "toy://h/again", **options)


@pytest.mark.parametrize(
    "loaded", [evidence(t=3, u=1, v=None), evidence(t=3, u=1, v=9, more=7), evidence(t=None, u=1, v=2)]
)
def test_what_the_driver_counted_while_it_loaded_decides_and_nobody_is_asked(tmp_path, loaded):
    driver = Counting(db=b"x")
    driver.loaded, driver.found = loaded, evidence(t=99)  # others write to it by then
    result = restore(tmp_path, driver)
    assert result.success, result.error
    assert driver.asked == []


@pytest.mark.parametrize(
    ("loaded", "text"),
    [
        (evidence(t=2, u=1, v=None), "t has 2 rows, and had 3 rows when it was dumped"),
        (evidence(t=4, u=1, v=None), "t has 4 rows, and had 3 rows"),
        (evidence(u=1), "t is missing; v is missing"),
    ],
)
def test_a_restore_that_counted_other_rows_fails_and_says_that_the_target_was_replaced(tmp_path, loaded, text):
    driver = Counting(db=b"x", again=b"old")
    driver.loaded = loaded
    result = restore(tmp_path, driver, overwrite=True)
    assert not result.success
    assert isinstance(result.exception, IntegrityError)
    assert text in result.error
    assert "toy://h/again was restored, and what is there now is not what was backed up" in result.error
    assert "What it held before is gone" in result.error
    assert "somebody else" not in result.error


def test_a_driver_that_counted_nothing_is_asked_and_compared(tmp_path):
    driver = Counting(db=b"x")
    assert restore(tmp_path, driver).success
    assert driver.asked == ["counts"]


def test_a_difference_that_is_only_found_afterwards_fails_and_says_whose_doing_it_may_be(tmp_path):
    driver = Counting(db=b"x")
    driver.found = evidence(t=5, u=1, v=None)
    result = restore(tmp_path, driver)
    assert isinstance(result.exception, IntegrityError)
    assert "t has 5 rows, and had 3 rows" in result.error
    assert "Where somebody else writes to it already" in result.error


@pytest.mark.parametrize(("found", "text"), [(SourceError("the server is gone"), "the server is gone"), (None, "none")])
def test_one_that_can_be_asked_and_does_not_tell_has_not_restored_for_sure(tmp_path, found, text):
    driver = Counting(db=b"x")
    driver.found = found
    result = restore(tmp_path, driver)
    assert isinstance(result.exception, PluginError)
    assert "was loaded into toy://h/again, but the rows that are there now could not be counted" in result.error
    assert text in result.error


def test_one_that_neither_counts_nor_can_be_asked_is_believed(tmp_path):
    assert restore(tmp_path, Mute(db=b"x")).success


def test_a_backup_that_counted_nothing_asks_nothing(tmp_path):
    driver = Counting(db=b"x")
    driver.counted = Evidence()
    assert restore(tmp_path, driver).success
    assert driver.asked == []
