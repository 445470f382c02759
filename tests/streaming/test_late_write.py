"""A driver that goes on writing after its backup has returned."""

from __future__ import annotations

import threading

from support.toys import ToyCompressor, ToyDriver, ToyWriter

from dumpty import BackupManager, PluginError, hookimpl


class LateWriter(ToyDriver):
    """Lets a thread go on writing, which does so while the compressor writes its trailer."""

    def __init__(self, **databases: bytes) -> None:
        super().__init__(**databases)
        self.returned, self.wrote = threading.Event(), threading.Event()
        self.error: Exception | None = None

    @hookimpl
    def backup(self, source, sink, options):
        def go_on():
            self.returned.wait(60)
            try:
                sink.write(b"more")
            except ValueError as error:
                self.error = error
            self.wrote.set()

        threading.Thread(target=go_on).start()
        return super().backup(source, sink, options)


class WaitingCompressor(ToyCompressor):
    def __init__(self, driver) -> None:
        self.driver = driver

    @hookimpl
    def compress(self, sink):
        writer = ToyWriter(sink)
        close = writer.close

        def close_after_the_late_write():
            self.driver.returned.set()
            assert self.driver.wrote.wait(60)
            close()

        writer.close = close_after_the_late_write
        return writer


def test_a_write_after_backup_returned_fails_the_backup_by_name(tmp_path):
    driver = LateWriter(db=b"x" * 100)
    manager = BackupManager(tmp_path, compressor="plainly", plugins=[driver, WaitingCompressor(driver)])
    result = manager.create_backup("toy://host/db")
    assert isinstance(result.exception, PluginError)
    assert result.error.startswith("plugin 'toy' of this program wrote into its sink after backup had returned")
    assert "has ended" in str(driver.error)
    assert manager.list_backups() == []


def test_a_write_after_the_commit_is_an_error_where_it_is_made_and_logged_by_name(tmp_path, caplog):
    driver = LateWriter(db=b"x" * 100)
    result = BackupManager(tmp_path, plugins=[driver]).create_backup("toy://host/db")
    driver.returned.set()
    assert driver.wrote.wait(60)
    assert result.success
    assert "has ended" in str(driver.error)
    (record,) = [r for r in caplog.records if getattr(r, "event", "") == "late-write"]
    assert "plugin 'toy' of this program" in record.getMessage()
