"""Restores what tests ask for, each source once, and lends copies of it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import TYPE_CHECKING, Self

from dumpty.errors import DumptyError, MissingFile, UnknownBackup
from dumpty.indirection import indirect_line
from dumpty.operations.given_keys import given_identities
from dumpty.process.owned_directory import OwnedDirectory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from typing import Any

    from dumpty.backup_manager import BackupManager
    from dumpty.operations.scratches import Trial
    from dumpty.process.cancellation import Cancellation
    from dumpty.pytest_plugin.source import RestoreSource
    from dumpty.types import Proof

    Restore = Callable[[], AbstractContextManager[tuple[Proof, Trial]]]

__all__ = ["Lender"]

_PREFIX = "dumpty-pytest-url-"


class Lender:
    """Lends databases, by one thread at a time. A context manager: what it restored is gone behind the block.

    Args:
        cancel: ends what goes on.
    """

    def __init__(self, cancel: Cancellation) -> None:
        self._cancel = cancel
        self._stack = contextlib.ExitStack()
        self._restored: dict[str, _Restored | str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._restored.clear()
        self._stack.close()

    def lend(self, source: RestoreSource) -> AbstractContextManager[Trial]:
        """Return a database restored from ``source``, nobody else's; whoever leaves the block gives it back.

        What could not be restored is not tried again.

        Raises:
            DumptyError: it cannot be restored, or copied.
        """
        key = repr([getattr(source, name) for name in source.__struct_fields__])
        if key not in self._restored:
            try:
                self._restored[key] = self._stack.enter_context(_restored(source, self._cancel))
            except DumptyError as error:
                self._restored[key] = str(error)
        restored = self._restored[key]
        if isinstance(restored, str):
            raise DumptyError(restored)
        return restored.lend()


class _Restored:
    """One source, restored: copies of it, or, where its driver makes none, itself and further restores.

    Args:
        first: what was restored.
        restore: does that again.
    """

    def __init__(self, first: Trial, restore: Restore) -> None:
        self._first: Trial | None = first
        self._copies = first.can_clone
        self._restore = restore

    def lend(self) -> AbstractContextManager[Trial]:
        """Return one of them."""
        first = self._first
        if first is not None and self._copies:
            return first.clone()
        self._first = None  # whoever uses it may change it
        return contextlib.nullcontext(first) if first is not None else self._again()

    @contextlib.contextmanager
    def _again(self) -> Iterator[Trial]:
        with self._restore() as (_, trial):
            yield trial


@contextlib.contextmanager
def _restored(source: RestoreSource, cancel: Cancellation) -> Iterator[_Restored]:
    source.check()
    how: dict[str, Any] = {**source.options, "cancel": cancel}
    if source.on:
        how["on"] = indirect_line(source.on, "database URL")
    with contextlib.ExitStack() as stack:
        restore = _of_copy(source, how) if source.dump else _of_backup(source, how, stack)
        _, first = stack.enter_context(restore())
        yield _Restored(first, restore)


def _of_copy(source: RestoreSource, how: dict[str, Any]) -> Restore:
    """Return what restores a copy of ``DatabaseBackup``'s."""
    from dumpty.backup import DatabaseBackup

    directory, name = os.path.split(os.path.abspath(source.dump))
    if not os.path.isdir(directory):
        raise MissingFile(f"there is no directory {directory} of the copy {source.dump}")
    backups = DatabaseBackup(directory)
    copies = backups.list_backups()
    found = [copy.name for copy in copies if name in {copy.name, os.path.basename(copy.file_path)}]
    if not found:
        names = ", ".join(sorted(copy.name for copy in copies)) or "none"
        raise UnknownBackup(
            f"{source.dump} is no copy that DatabaseBackup made: those in {directory} are {names}. What another "
            "program dumped, load into a database of your own, and name that: dumpty_url"
        )
    return lambda: backups.trial(found[0], **how)


def _of_backup(source: RestoreSource, how: dict[str, Any], stack: contextlib.ExitStack) -> Restore:
    """Return what restores a backup: that which is named, or one made here of a live database."""
    from dumpty.backup_manager import BackupManager

    if source.url:
        manager, backup_id = _backed_up(indirect_line(source.url, "database URL"), how["cancel"], stack)
    else:
        if "://" not in source.dir and not os.path.isdir(source.dir):
            raise MissingFile(f"there is no repository {os.path.abspath(source.dir)} for the backup {source.backup}")
        manager = BackupManager(source.dir)
        backup_id = manager.find(source.backup).id
        how["identities"] = given_identities(source.identities)
    return lambda: manager.trial(backup_id, **how)


def _backed_up(url: str, cancel: Cancellation, stack: contextlib.ExitStack) -> tuple[BackupManager, str]:
    """Back a live database up into a directory that is gone behind ``stack``, by its driver's fastest format."""
    from dumpty.backup_manager import BackupManager
    from dumpty.registry.host import default_host
    from dumpty.url import parse_url

    parent = tempfile.gettempdir()
    OwnedDirectory.sweep(parent, _PREFIX)  # what a killed session left
    directory = stack.enter_context(OwnedDirectory(parent, _PREFIX))
    manager = BackupManager(os.path.join(directory.path, "backups"))
    formats = [f.name for f in default_host().driver(parse_url(url).scheme).described.formats]
    native = "native" if "native" in formats else None
    backup = manager.create_backup(url, format=native, cancel=cancel).raise_for_error()
    return manager, backup.id
