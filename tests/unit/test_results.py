"""How failures become results: one line, logged with fields, without secrets; nothing but wrong calls is raised."""

from __future__ import annotations

import logging

import pytest
from unit.toys import ToyDriver

import dumpty
from dumpty import BackupManager, BackupResult, backup_database, hookimpl
from dumpty.results import one_line

SECRET = "s3cr3t-Marker"


def failing(error):
    class Driver(ToyDriver):
        @hookimpl
        def backup(self, source):
            try:
                raise KeyError(f"inner {SECRET}")
            except KeyError as inner:
                raise error from inner

    return Driver()


def test_a_failure_is_a_result_and_a_log_record_with_fields(tmp_path, caplog):
    result = BackupManager(str(tmp_path), plugins=[failing(RuntimeError("a\nb"))]).create_backup(
        f"toy://u:{SECRET}@h/db"
    )
    assert (result.success, result.backup) == (False, None)
    assert result.error.endswith("RuntimeError: a b")
    assert 0 <= result.duration_seconds < 30
    (record,) = caplog.records
    assert (record.levelname, record.event, record.url, record.error_type) == (
        "ERROR",
        "backup",
        "toy://u:***@h/db",
        "PluginError",
    )
    assert record.seconds == result.duration_seconds
    assert record.exc_info is None


def test_a_success_is_logged_with_fields(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    manager = BackupManager(str(tmp_path), plugins=[ToyDriver(db=b"x")])
    result = manager.create_backup("toy://h/db")
    assert (result.success, result.error, result.exception) == (True, None, None)
    (record,) = caplog.records
    assert (record.event, record.backup, record.bytes) == ("backup", result.backup.id, result.backup.size_bytes)
    manager.restore(result.backup.id, "toy://h/new")
    assert caplog.records[-1].event == "restore"


def chain(error):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(SECRET),
        OSError(5, SECRET, SECRET),
        ImportError(SECRET),
        ImportError(SECRET, name=SECRET),
        UnicodeError(SECRET),
    ],
)
def test_no_text_of_a_failure_holds_the_password(tmp_path, caplog, error):
    result = BackupManager(str(tmp_path), plugins=[failing(error)]).create_backup(f"toy://u:{SECRET}@h/db")
    assert not result.success
    texts = [result.error, repr(result), caplog.text, str([vars(r) for r in caplog.records])]
    for one in chain(result.exception):
        texts += [str(one), repr(one), repr(vars(one)), repr(one.args)]
    assert not [t for t in texts if SECRET in t]
    stored = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert stored
    assert not [path for path in stored if SECRET.encode() in path.read_bytes()]


@pytest.mark.parametrize("url", [f"toy://u:{SECRET}/x@h/db", f"u:{SECRET}@h", f"toy://u:{SECRET}\udcff\ud800@h"])
def test_a_malformed_url_is_a_result_and_is_shown_nowhere(tmp_path, caplog, url):
    for result in (BackupManager(str(tmp_path)).create_backup(url), BackupManager(str(tmp_path)).restore("x", url)):
        assert not result.success
        assert SECRET not in result.error + caplog.text
    assert caplog.records[0].url == "(malformed URL)"


def test_a_password_that_is_no_utf8_is_redacted_too(tmp_path):
    result = BackupManager(str(tmp_path), plugins=[failing(RuntimeError("with p\udcffss-word"))]).create_backup(
        "toy://u:p\udcffss-word@h/db"
    )
    assert "with ***" in result.error


@pytest.mark.parametrize("value", [None, 7, b"sqlite:///x"])
def test_a_wrong_call_is_raised(tmp_path, value):
    manager = BackupManager(str(tmp_path))
    for call in (
        lambda: manager.create_backup(value),
        lambda: manager.restore(value, "toy://h/x"),
        lambda: manager.restore("x", value),
        lambda: backup_database(value, str(tmp_path)),
    ):
        with pytest.raises(TypeError, match=type(value).__name__):
            call()
    with pytest.raises(TypeError):
        backup_database("toy://h/x", None)


def test_a_directory_that_cannot_be_made_is_a_result_of_the_one_call(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    result = backup_database("toy://h/x", str(tmp_path / "file"))
    assert isinstance(result, BackupResult)
    assert "is a file, not a backup directory" in result.error
    assert isinstance(result.exception, dumpty.StoreError)
    assert caplog.records[0].event == "backup"


def test_the_one_call_passes_its_options_on(tmp_path):
    driver = ToyDriver(db=b"x")
    result = backup_database("toy://h/db", str(tmp_path), compressor=None, plugins=[driver], format="native", chunk=1)
    assert result.success, result.error
    assert result.backup.file_path.endswith(".bin")
    result = backup_database("toy://h/db", str(tmp_path), compressor="lz4")
    assert "no compressor is called 'lz4'" in result.error


def test_an_error_without_a_text_is_called_by_its_type():
    assert one_line(ZeroDivisionError()) == "ZeroDivisionError"
    assert one_line(ValueError(" a \n\n b ")) == "a b"


def test_a_database_whose_name_is_no_utf8_is_backed_up_and_listed(tmp_path):
    driver = ToyDriver(**{"b\udcff": b"x"})
    manager = BackupManager(str(tmp_path), plugins=[driver])
    result = manager.create_backup("toy://h/b\udcff")
    assert result.success, result.error
    assert manager.list_backups() == [result.backup]
