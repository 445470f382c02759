"""Questions to a scratch database: the user's assertions, and which version of the database's server it is to be of."""

from __future__ import annotations

import contextlib
import numbers
from typing import TYPE_CHECKING

from dumpty.errors import DumptyError, IntegrityError, NotProvable, OptionError, PluginError
from dumpty.redaction import one_line

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from dumpty.registry.plugin import Plugin
    from dumpty.types import Scratch

__all__ = ["NOT_REHEARSED", "attribute_errors", "failed_rehearsal_text", "require_true", "require_versions"]

NOT_REHEARSED = "that the applications, and the settings of the original's server, work with that version"
"""What restoring into another version leaves open, whatever the database is."""

_VERSION_OPTIONS = {"server_version": "--server-version", "bindir": "--bindir"}


@contextlib.contextmanager
def attribute_errors(driver: Plugin, part: str) -> Iterator[None]:
    """Name the plugin in whatever fails inside that is no error of dumpty's."""
    try:
        yield
    except DumptyError:
        raise
    except Exception as error:
        text = one_line(error)
        raise PluginError(
            f"{driver} failed in {part}: {type(error).__name__}: {text}", plugin=str(driver), hook="scratch"
        ) from error


def require_true(driver: Plugin, scratch: Scratch, assertion: str, backup_id: str) -> None:
    """Ask a query of what was restored, which must give one row whose first value is true.

    Raises:
        IntegrityError: it is not true.
        NotProvable: this machine cannot ask it.
        OptionError: the database cannot answer it.
    """
    try:
        with attribute_errors(driver, "ask"):
            rows = scratch.ask(assertion)
    except (OptionError, NotProvable):
        raise
    except DumptyError as error:
        raise OptionError(f"the assertion {assertion!r} cannot be asked of backup {backup_id}: {error}") from None
    shown = f"the assertion {assertion!r}"
    if len(rows) != 1 or not rows[0]:
        raise IntegrityError(f"{shown} gives {len(rows)} rows, not the one row that it should")
    value = rows[0][0]
    if not isinstance(value, numbers.Number) or not value:
        raise IntegrityError(f"{shown} is not true of what was restored: it gives {value!r}")


def require_versions(driver: Plugin, overrides: Collection[str]) -> None:
    """See that the driver can choose the version of a server, where ``overrides`` (names of options) ask for one.

    Raises:
        OptionError: it restores without a server, or cannot choose one.
    """
    declared = {option.name for option in driver.described.options if "scratch" in option.verbs}
    for name, flag in _VERSION_OPTIONS.items():
        if name in overrides and name not in declared:
            raise OptionError(f"{driver.name} has no server whose version a drill could choose: drill without {flag}")


def failed_rehearsal_text(rehearsal: str) -> str:
    """Return why a proof that failed is not written down: ``rehearsal`` says on what it was made; "" where it is."""
    if not rehearsal:
        return ""
    return f"it was {rehearsal}, and that it failed there does not say that the backup is bad"
