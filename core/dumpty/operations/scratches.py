"""Scratch databases that are kept beyond their drill, to be tried."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping  # noqa: TC003 - help() asks what the fields of a struct are
from typing import TYPE_CHECKING, Self

from msgspec import Struct
from msgspec.structs import replace

from dumpty.errors import DumptyError, NotProvable
from dumpty.operations.cloning import Cloner  # noqa: TC001 - help() asks what the fields of a struct are
from dumpty.operations.scratch_questions import attribute_errors
from dumpty.types.databases import url_with_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dumpty.registry.plugin import Plugin
    from dumpty.registry.proxies import CheckedScratch

__all__ = ["KeptScratch", "Trial"]


class Trial(Struct, frozen=True, kw_only=True):
    """A restored database that may be used until its block ends.

    ``url`` leads there, secrets included; ``shown_url`` is the same without them. ``environment`` are the variables
    that lead the database's own programs there, secrets included: None for one that must not be set. ``shell`` are the
    arguments of its own client, empty where that was not asked for. ``path`` is the database's file, "" where it is on
    a server.
    """

    url: str
    shown_url: str
    environment: Mapping[str, str | None]
    shell: tuple[str, ...] = ()
    path: str = ""
    _cloner: Cloner | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.shown_url!r})"

    @property
    def can_clone(self) -> bool:
        """Whether its driver can make further databases with the same content."""
        return self._cloner is not None and self._cloner.is_able

    @contextlib.contextmanager
    def clone(self) -> Iterator[Trial]:
        """Lend a copy of the database until the block ends; then the copy is gone, whoever is connected to it.

        Several may be lent at once; they are asked for, and given back, by one thread at a time. While the database
        itself is used by nobody, each copy holds what was restored. The first is compared with the backup.

        Raises:
            NotProvable: its driver cannot copy it (``can_clone``).
            IntegrityError: the copy does not hold what was backed up.
            DumptyError: it cannot be made; behind the block, that it cannot be removed.
        """
        if self._cloner is None or not self.can_clone:
            raise NotProvable(f"the driver of {self.shown_url} makes no copies of what it restored: restore it again")
        with self._cloner.clone() as clone:
            yield _trial(clone, is_file=bool(self.path))


class KeptScratch:
    """The scratch database of a drill, which it does not take away when it has held; ``trial`` is what it is then.

    A context manager: it is gone when the block ends, whatever happens there.

    Args:
        shell: whether its driver has to have a shell for it.
    """

    def __init__(self, *, shell: bool) -> None:
        self._wants_shell = shell
        self._holding: list[contextlib.ExitStack] = []
        self._trial: Trial | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Not told of what failed in the block: that is no failure of the scratch's.
        with contextlib.ExitStack() as stack:
            for holding in reversed(self._holding):
                stack.push(holding)

    @property
    def trial(self) -> Trial:
        """What the drill left.

        Raises:
            DumptyError: nothing, for it did not hold.
        """
        if self._trial is None or not self._holding:
            raise DumptyError("nothing was restored that could be tried")
        return self._trial

    def prepare(self, driver: Plugin, scratch: CheckedScratch, cloner: Cloner) -> None:
        """Find out what is needed to use ``scratch``, and to copy it, before anything is restored into it.

        Raises:
            NotProvable: its driver says of no shell.
            CommandError: the shell's program is not installed.
        """
        if self._wants_shell and not scratch.has_shell:
            raise NotProvable(
                f"{driver} names no shell for a scratch database of this kind: name a program to run in its place, "
                "as in `dumpty try ID -- PROGRAM`, which finds the database's URL in DUMPTY_URL"
            )
        with attribute_errors(driver, "shell"):
            trial = _trial(scratch, is_file=driver.described.files)
            self._trial = replace(trial, shell=scratch.shell() if self._wants_shell else (), _cloner=cloner)

    def keep(self, holding: contextlib.ExitStack) -> None:
        """Take over what holds the scratch database, which is as it should be; what is closed first comes first."""
        self._holding.append(holding)


def _trial(scratch: CheckedScratch, *, is_file: bool) -> Trial:
    return Trial(
        url=url_with_secrets(scratch.target),
        shown_url=scratch.target.url,
        environment=scratch.environment(),
        path=str(scratch.target.database) if is_file else "",
    )
