"""What a driver owes to the facade: failures that are results, and a repository whose older backups it leaves alone."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from dumpty.errors import DependencyError, MissingFile, PluginError, SourceError
from dumpty.testing.memory import MemoryDriver
from dumpty.testing.rules import require, shown
from dumpty.testing.secrecy import require_no_secret
from dumpty.testing.sources import DriverRules
from dumpty.url import parse_url

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from dumpty.backup_manager import BackupManager, BackupResult

__all__ = ["FacadeRules"]

_REMEDY = "Mend what the error says."


class FacadeRules(DriverRules):
    """The part of ``DriverSuite`` that goes through ``BackupManager``."""

    def manager(self, tmp_path: Path, *plugins: object) -> BackupManager:
        """Return a manager of a repository of this test's own, which knows the driver, and ``plugins``."""
        from dumpty.backup_manager import BackupManager

        try:
            return BackupManager(str(tmp_path / "backups"), plugins=[self.plugin, *plugins])
        except PluginError as error:
            require(False, "BackupManager takes the driver by its scheme.", _REMEDY, f"it said: {error}")
            raise

    def test_a_backup_is_made_and_verified(self, source: str, tmp_path: Path) -> None:
        """BackupManager backs the database up in every format, lists it, and verifies it."""
        manager = self.manager(tmp_path)
        for form in self.stream_formats():
            backed_up = manager.create_backup(source, format=form)
            require(
                backed_up.success and backed_up.backup,
                "A backup succeeds.",
                _REMEDY,
                f"in format {form}: {backed_up.error}",
            )
            if backed_up.backup is not None:
                manager.verify(backed_up.backup.id)
        number = len(manager.list_backups())
        require(number == len(self.stream_formats()), "Every backup is listed.", _REMEDY, f"{number} are")

    def test_older_backups_are_left_alone(self, source: str, tmp_path: Path) -> None:
        """A backup removes and changes nothing in its repository, whose files lie near its workspace."""
        other = MemoryDriver(databases={"older": b"older"})
        manager = self.manager(tmp_path, other)
        manager.create_backup(other.url("older")).raise_for_error()
        files = {path: path.read_bytes() for path in _stored_files(tmp_path)}
        manager.create_backup(source).raise_for_error()
        harmed = [p.name for p, data in files.items() if not p.is_file() or p.read_bytes() != data]
        require(
            not harmed,
            "A driver leaves the repository alone: which backups go is for prune to decide.",
            "Write into the sink and into sink.workspace() alone.",
            f"gone or changed was {', '.join(sorted(harmed))}",
        )

    def test_an_unreachable_server_is_a_failed_result(
        self, unreachable: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """Where the server is not there, create_backup fails in time, with a SourceError that shows no secret."""
        caplog.set_level(logging.DEBUG)
        manager = self.manager(tmp_path)
        results: list[BackupResult] = []
        thread = threading.Thread(target=lambda: results.append(manager.create_backup(unreachable)), daemon=True)
        thread.start()
        thread.join(self.deadline)
        rule = "A server that is not there is an error within bounded time."
        require(not thread.is_alive(), rule, "Give up: see dumpty.Peer.", f"{self.deadline:g} s were not enough")
        [result] = results
        rule = "A server or database that is not there is a failed backup."
        require(not result.success, rule, "Raise dumpty.SourceError.", "it succeeded")
        expected = isinstance(result.exception, (SourceError, MissingFile, DependencyError))
        rule = "A server that cannot be reached is a dumpty.SourceError, which says what to look at."
        require(expected, rule, "Raise it from what the library raises.", f"it was {shown(result.exception)}")
        texts = [
            ("the result", str(result.error)),
            ("the log", caplog.text),
            ("the output", "".join(capfd.readouterr())),
        ]
        require_no_secret(parse_url(unreachable).secrets, texts)
        files = sorted(path.name for path in _stored_files(tmp_path))
        rule = "A backup that failed leaves nothing in the repository."
        require(not files and not manager.list_backups(), rule, "Write into the sink alone.", f"there is {files}")


def _stored_files(tmp_path: Path) -> list[Path]:
    """Return the files of the repository, without those whose folder is hidden: the repository's own."""
    return [path for path in (tmp_path / "backups").glob("[!.]*/*") if path.is_file()]
