"""Values that are not written down where they are needed, but read from elsewhere: secrets, above all."""

from __future__ import annotations

import os
import shlex

from dumpty.errors import CommandError, OptionError

__all__ = ["LIMIT", "indirect", "indirect_line", "is_indirect", "single_line"]

LIMIT = 64 * 1024
"""Characters read from a file, at most."""


def is_indirect(argument: str) -> bool:
    """Return whether ``argument`` leads elsewhere: ``env:NAME``, ``file:PATH``, ``cmd:PROGRAM…``, but no URL."""
    form, colon, location = argument.partition(":")
    return bool(colon) and form in {"env", "file", "cmd"} and not location.startswith("//")


def indirect(argument: str, noun: str) -> tuple[str, str] | None:
    """Return the text that ``env:NAME``, ``file:PATH`` or ``cmd:PROGRAM…`` leads to, and its origin, for messages.

    ``noun`` says what is read there. Anything else is None.

    Raises:
        OptionError: there is nothing to read.
        CommandError: the command failed.
    """
    if not is_indirect(argument):
        return None
    form, _, location = argument.partition(":")
    if form == "env":
        if location not in os.environ:
            raise OptionError(f"the environment has no variable {location!r} to take the {noun} from")
        return os.environ[location], f"the environment variable {location}"
    if form == "file":
        try:
            with open(location, encoding="utf-8") as stream:
                return stream.read(LIMIT), f"the file {location}"
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise OptionError(f"cannot read the {noun} from the file {location!r}: {reason}") from None
    return _output(location, noun), "the command's output"


def indirect_line(argument: str, noun: str) -> str:
    """Return the one line that ``argument`` leads to, as ``indirect`` does; ``argument`` itself where it leads nowhere.

    Raises:
        OptionError: there is nothing to read, or not one line.
        CommandError: the command failed.
    """
    found = indirect(argument, noun)
    return argument if found is None else single_line(*found, noun)


def single_line(text: str, origin: str, noun: str) -> str:
    """Return the one line that ``text`` has.

    Raises:
        OptionError: it has none, or several.
    """
    lines = text.strip().splitlines()
    if len(lines) != 1:
        raise OptionError(f"{origin} holds {len(lines)} lines, not the one line that a {noun} is")
    return lines[0]


def _output(command: str, noun: str) -> str:
    from dumpty.process import run

    try:
        argv = shlex.split(command)
    except ValueError as error:
        raise OptionError(f"cannot take the command after cmd: apart: {error}") from None
    if not argv:
        raise OptionError("nothing stands after cmd:; write for example cmd:pass show shop-url")
    try:
        return run(argv)
    except CommandError as error:
        raise CommandError(f"cannot take the {noun} from cmd: {error}", argv=error.argv) from None
