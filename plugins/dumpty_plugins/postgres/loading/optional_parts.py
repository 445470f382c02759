"""The parts of a dump that a restore may leave out, because not everybody may create them everywhere."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from msgspec import Struct

from dumpty import CommandError, Option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dumpty import Options

_NAME = rb'(?:"(?:[^"]|"")+"|[A-Za-z_\x80-\xff][\w$\x80-\xff]*)'
_STATEMENTS = {
    "owner": re.compile(rb"ALTER\s.*\sOWNER TO " + _NAME + rb"\s*;?\s*\Z|SET SESSION AUTHORIZATION\s", re.DOTALL),
    "privileges": re.compile(rb"(?:GRANT|REVOKE|ALTER DEFAULT PRIVILEGES)\s"),
    "tablespaces": re.compile(rb"SET default_tablespace = (?!'')"),
    "publications": re.compile(rb"(?:CREATE|ALTER|COMMENT ON) (?:PUBLICATION|SUBSCRIPTION)\s"),
    "comments": re.compile(rb"COMMENT ON\s"),
}
_FLAGS = {
    "owner": ("--no-owner",),
    "privileges": ("--no-privileges",),
    "tablespaces": ("--no-tablespaces",),
    "publications": ("--no-publications", "--no-subscriptions"),
    "comments": ("--no-comments",),
}
_COMMAND = re.compile(r"Command was: (.*?;)\s*$", re.MULTILINE | re.DOTALL)

OPTIONS = tuple(
    Option(name=name, default=True, help=text, verbs=("restore", "restore_tables"))
    for name, text in (
        ("owner", "give every object its owner; off: whoever restores owns all"),
        ("privileges", "grant and revoke what the dump says, default privileges included"),
        (
            "tablespaces",
            "put tables and indexes into their tablespaces; off: into the database's own (of accounts: none are made)",
        ),
        ("publications", "create publications and subscriptions"),
        ("comments", "create comments; those on extensions are for their owner alone"),
    )
)


class Parts(Struct, frozen=True):
    """What a restore leaves out: the names of options that are off."""

    excluded: frozenset[str] = frozenset()

    @classmethod
    def of(cls, options: Options) -> Parts:
        """Return what ``options`` leave out."""
        return cls(frozenset(name for name in _STATEMENTS if not options[name]))

    @property
    def flags(self) -> list[str]:
        """The same for pg_restore."""
        return [flag for name in _FLAGS if name in self.excluded for flag in _FLAGS[name]]

    @property
    def notes(self) -> tuple[str, ...]:
        """What to say of it."""
        return (f"left out, as asked: {', '.join(sorted(self.excluded))}",) if self.excluded else ()

    def include(self, statement: bytes) -> bool:
        """Return whether ``statement`` is to be run."""
        return not any(_STATEMENTS[name].match(statement) for name in self.excluded)


ALL = Parts()


def advice(statement: bytes) -> str:
    """Return which option leaves ``statement`` out, for the end of an error's text; "" where none does."""
    names = [name for name, pattern in _STATEMENTS.items() if pattern.match(statement)]
    return f"; or leave such out: -o {names[0]}=off" if names else ""


@contextlib.contextmanager
def advise_options() -> Iterator[None]:
    """Let the error of a pg_restore say which option would leave out the command that failed.

    Raises:
        CommandError: the same, with that advice.
    """
    try:
        yield
    except CommandError as error:
        command = _COMMAND.search(error.stderr_tail)
        option_hint = advice(command[1].encode("utf-8", "replace")) if command else ""
        if not option_hint:
            raise
        raise CommandError(
            f"{error}{option_hint}", argv=error.argv, returncode=error.returncode, stderr_tail=error.stderr_tail
        ) from error
