"""Database URLs as they are given on a command line: literally, or from where ``ps`` does not look."""

from __future__ import annotations

import os
import re
import shlex
import sys
from typing import TYPE_CHECKING

from dumpty.cli.status import UsageError
from dumpty.errors import CommandError, SourceError
from dumpty.url import MalformedURL

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dumpty.types import Source

__all__ = ["forget", "indirect", "read_url", "redacted", "remember", "watch"]

_LIMIT = 1 << 16
_secrets: set[str] = set()
# Whatever stands between "://" and an "@" may hold a password, in text that is no URL, too.
_USERINFO = re.compile(r"(?<=://)[^\s'\"]*@")


def read_url(argument: str) -> tuple[str, Source]:
    """Return the database URL that ``argument`` is or leads to, and its parts.

    ``env:NAME`` is an environment variable, ``file:PATH`` a file, ``cmd:PROGRAM ARGUMENTS`` the output of a command
    that runs without a shell, ``-`` the standard input; everything else is the URL itself.

    Raises:
        UsageError: there is nothing to read.
        MalformedURL: it is no URL.
        CommandError: the command failed.
    """
    from dumpty.url import parse_url

    url = _url_text(argument)
    try:
        source = parse_url(url)
    except SourceError as error:
        origin = (
            "" if url == argument else f" ({argument.partition(':')[0]}:…)" if argument != "-" else " (standard input)"
        )
        raise MalformedURL(f"{error}{origin}") from None
    _secrets.update(source.secrets)
    return url, source


def watch(argv: Iterable[str]) -> None:
    """Remember the secrets in the URLs of a command line, wherever they stand, for ``redacted``."""
    from dumpty.url import parse_url

    for argument in argv:
        start = re.search(r"[A-Za-z][\w.+-]*://", argument)
        if start is not None:
            try:
                _secrets.update(parse_url(argument[start.start() :]).secrets)
            except SourceError:  # `redacted` blanks what stands before its "@"
                continue


def redacted(text: str) -> str:
    """Return ``text`` without the secrets of any URL that was given."""
    from dumpty.redaction import redact

    masked = redact(text, _secrets)
    return _USERINFO.sub(lambda m: m[0] if _holds_no_password(m[0]) else "***@", masked)


def _holds_no_password(userinfo: str) -> bool:
    return ":" not in userinfo or userinfo.endswith(":***@")


def forget() -> None:
    """Forget the secrets of an earlier command line in this process."""
    _secrets.clear()


def remember(secrets: Iterable[str]) -> None:
    """Keep these out of what ``redacted`` returns, too."""
    _secrets.update(secrets)


def indirect(argument: str, noun: str) -> tuple[str, str] | None:
    """Return the text that ``env:NAME``, ``file:PATH`` or ``cmd:PROGRAM…`` leads to, and its origin, for messages.

    ``noun`` says what is read there. Anything else is None.

    Raises:
        UsageError: there is nothing to read.
        CommandError: the command failed.
    """
    form, colon, location = argument.partition(":")
    if not colon or form not in {"env", "file", "cmd"}:
        return None
    if form == "env":
        if location not in os.environ:
            raise UsageError(f"the environment has no variable {location!r} to take the {noun} from")
        return os.environ[location], f"the environment variable {location}"
    if form == "file":
        try:
            with open(location, encoding="utf-8") as stream:
                return stream.read(_LIMIT), f"the file {location}"
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise UsageError(f"cannot read the {noun} from the file {location!r}: {reason}") from None
    return _output(location, noun), "the command's output"


def _url_text(argument: str) -> str:
    if argument == "-":
        return _one_line(sys.stdin.read(_LIMIT), "the standard input")
    found = indirect(argument, "database URL")
    return argument if found is None else _one_line(*found)


def _output(command: str, noun: str) -> str:
    from dumpty.process import run

    try:
        argv = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"cannot take the command after cmd: apart: {error}") from None
    if not argv:
        raise UsageError("nothing stands after cmd:; write for example cmd:pass show shop-url")
    try:
        return run(argv)
    except CommandError as error:
        raise CommandError(f"cannot take the {noun} from cmd: {error}", argv=error.argv) from None


def _one_line(text: str, origin: str) -> str:
    lines = text.strip().splitlines()
    if len(lines) != 1:
        raise UsageError(f"{origin} holds {len(lines)} lines, not the one line that a database URL is")
    return lines[0]
