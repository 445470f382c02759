"""The format that suits: the first that a driver can write the database in; what was against the others is said."""

from __future__ import annotations

import contextlib
import signal
from itertools import pairwise

import pytest
from support.places import stored_files
from support.toys import PartsDriver, ToyDriver

from dumpty import (
    BackupManager,
    Format,
    FormatNotSupported,
    OptionError,
    PluginInfo,
    PluginLoadError,
    SourceError,
    hookimpl,
)
from dumpty.registry.host import Host

SECRET = "s3cr3t-Marker"
TABLES = {"one": b"1" * 1000, "two": b"2" * 70_000}
WHY = f"db of u:{SECRET}@h is a pooler: connect to its server"


class Unsure(PartsDriver):
    """Writes some of a backup in parts before it finds out that it cannot."""

    attempts = 0

    @hookimpl
    def backup(self, source, sink, format):
        if format != "parts":
            return super().backup(source, sink, format)
        self.attempts += 1
        with sink.part(section="pre-data", suffix=".sql") as part:
            part.write(b"x" * 200_000)
        raise FormatNotSupported(WHY)


def manager(path, driver, **how):
    return BackupManager(str(path), plugins=[driver], **how)


def written(driver, path, format="auto", **options):
    result = manager(path, driver).create_backup(f"many://u:{SECRET}@h/db", format=format, **options)
    return result.raise_for_error()


def test_a_driver_that_writes_parts_writes_them(tmp_path):
    backup = written(PartsDriver({"db": TABLES}), tmp_path)
    assert (backup.format, len(backup.files), backup.evidence.notes) == ("parts", 3, ())


def test_one_without_parts_writes_what_is_called_native(tmp_path):
    driver = ToyDriver(db=b"x")
    result = manager(tmp_path, driver).create_backup("toy://h/db", format="auto")
    assert result.raise_for_error().format == "native"


def test_nobody_who_names_no_format_gets_another_than_the_first(tmp_path):
    assert manager(tmp_path, ToyDriver(db=b"x")).create_backup("toy://h/db").raise_for_error().format == "sql"


def test_where_no_parts_are_possible_the_backup_is_a_stream_and_says_why(tmp_path):
    driver = Unsure({"db": TABLES})
    backup = written(driver, tmp_path)
    assert (backup.format, driver.attempts) == ("stream", 1)
    assert backup.evidence.notes == (
        "not in the format parts, as it would be without --format stream: db of u:***@h is a pooler: connect to its server",
    )
    # Nothing is left of the parts that were written before.
    assert len(stored_files(tmp_path)) == 2
    assert backup.plain_size_bytes == 71_000
    manager(tmp_path, driver).verify(backup.id, level="digest")


def test_a_backup_that_is_made_once_is_a_stream_where_no_parts_are_possible(tmp_path):
    driver = Unsure({"db": TABLES})
    first = written(driver, tmp_path, once="the run of today")
    assert written(driver, tmp_path, once="the run of today") == first
    assert len(manager(tmp_path, driver).list_backups()) == 1


def test_no_number_of_a_phase_falls_where_a_backup_is_begun_again(tmp_path):
    told = []
    written(Unsure({"db": TABLES}), tmp_path, progress=told.append)
    phases = [told[0].phase] + [after.phase for before, after in pairwise(told) if after.phase != before.phase]
    assert phases == ["inspecting", "dumping", "inspecting", "dumping", "committing"]
    for before, after in pairwise(told):
        assert after.phase != before.phase or after.bytes_done >= before.bytes_done


def test_why_is_told_in_a_few_words_that_a_terminal_can_show(tmp_path):
    class Verbose(PartsDriver):
        @hookimpl
        def backup(self, source, sink, format):
            if format == "parts":
                raise FormatNotSupported("a\x1b[31m\n" + "b" * 5000)
            return super().backup(source, sink, format)

    [note] = written(Verbose({"db": TABLES}), tmp_path).evidence.notes
    assert len(note) < 1000
    assert note.isprintable()


def test_an_interrupt_that_a_driver_swallowed_begins_nothing_new(tmp_path):
    class Deaf(PartsDriver):
        @hookimpl
        def backup(self, source, sink, format):
            assert format == "parts"
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            raise FormatNotSupported("no parts")

    with pytest.raises(KeyboardInterrupt):
        written(Deaf({"db": TABLES}), tmp_path)
    assert stored_files(tmp_path) == []


def test_whoever_asked_for_a_format_is_told_of_the_failure_that_was_against_it(tmp_path):
    class Lacking(PartsDriver):
        @hookimpl
        def backup(self, source, sink, format):
            if format == "parts":
                raise FormatNotSupported("no session") from SourceError("the server is full")
            return super().backup(source, sink, format)

    driver = Lacking({"db": TABLES})
    assert written(driver, tmp_path).format == "stream"
    error = manager(tmp_path, driver).create_backup("many://h/db", format="parts").exception
    assert isinstance(error, SourceError)
    assert str(error) == "the server is full"


def test_a_format_that_was_asked_for_is_never_replaced(tmp_path):
    result = manager(tmp_path, Unsure({"db": TABLES})).create_backup(f"many://u:{SECRET}@h/db", format="parts")
    assert isinstance(result.exception, FormatNotSupported)
    assert result.error.endswith("is a pooler: connect to its server, or use the format stream")
    assert SECRET not in result.error
    assert stored_files(tmp_path) == []


@pytest.mark.parametrize("error", [SourceError("it is down"), RuntimeError("a bug")])
def test_another_failure_is_one(tmp_path, error):
    class Broken(PartsDriver):
        @hookimpl
        def backup(self, source, sink, format):
            assert format == "parts"
            raise error

    result = manager(tmp_path, Broken({"db": TABLES})).create_backup("many://h/db", format="auto")
    assert not result.success
    assert str(error) in result.error
    assert stored_files(tmp_path) == []


def test_a_driver_that_can_write_a_database_in_no_format_says_so(tmp_path):
    class Unable(PartsDriver):
        @hookimpl
        def backup(self, source, sink, format):
            raise FormatNotSupported(f"no {format} for it")

    result = manager(tmp_path, Unable({"db": TABLES})).create_backup("many://h/db", format="auto")
    assert isinstance(result.exception, FormatNotSupported)
    assert result.error.endswith("no stream for it")


def declared(*formats):
    class Driver(ToyDriver):
        @hookimpl
        def describe(self):
            return PluginInfo(kind="driver", schemes=("toy",), formats=formats)

    return Host([Driver()])


def test_no_driver_may_call_a_format_so():
    with pytest.raises(PluginLoadError, match="auto is no format, but stands for the one that suits"):
        declared(Format(name="auto", suffix=".bin"))


@pytest.mark.parametrize(
    ("declarations", "chosen"),
    [
        ([{"name": "tree", "directory": True}, {"name": "text"}], ["text"]),
        ([{"name": "text"}, {"name": "many", "parts": True}, {"name": "native"}], ["many", "native"]),
        ([{"name": "text"}, {"name": "many", "parts": True}], ["many", "text"]),
        ([{"name": "many", "parts": True}], ["many"]),
        ([{"name": "tree", "directory": True}], ["tree"]),
    ],
)
def test_what_suits_is_in_parts_then_native_then_the_first_and_never_a_directory(declarations, chosen):
    formats = [Format(suffix=f".{number}", **how) for number, how in enumerate(declarations)]
    assert [f.name for f in declared(*formats).driver("toy").formats("auto")] == chosen


def test_a_format_that_there_is_not_is_named_with_those_that_there_are(tmp_path):
    result = manager(tmp_path, PartsDriver({"db": TABLES})).create_backup("many://h/db", format="part")
    assert isinstance(result.exception, OptionError)
    assert "its formats: parts, stream" in result.error
