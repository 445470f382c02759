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

__all__ = ["forget", "read_url", "redacted", "watch"]

_LIMIT = 1 << 16
_seen: set[str] = set()
# Whatever stands between "://" and an "@" may hold a password, in text that is no URL, too.
_USERINFO = re.compile(r"(?<=://)[^\s'\"]*@")


def read_url(given: str) -> tuple[str, Source]:
    """Return the database URL that ``given`` is or leads to, and its parts.

    ``env:NAME`` is an environment variable, ``file:PATH`` a file, ``cmd:PROGRAM ARGUMENTS`` the output of a command
    that runs without a shell, ``-`` the standard input; everything else is the URL itself.

    Raises:
        UsageError: there is nothing to read.
        MalformedURL: it is no URL.
        CommandError: the command failed.
    """
    from dumpty.url import parse_url

    url = _fetched(given)
    try:
        source = parse_url(url)
    except SourceError as error:
        where = "" if url == given else f" ({given.partition(':')[0]}:…)" if given != "-" else " (standard input)"
        raise MalformedURL(f"{error}{where}") from None
    _seen.update(source.secrets)
    return url, source


def watch(argv: Iterable[str]) -> None:
    """Remember the secrets in the URLs of a command line, wherever they stand, for ``redacted``."""
    from dumpty.url import parse_url

    for word in argv:
        start = re.search(r"[A-Za-z][\w.+-]*://", word)
        if start is not None:
            try:
                _seen.update(parse_url(word[start.start() :]).secrets)
            except SourceError:  # `redacted` blanks what stands before its "@"
                continue


def redacted(text: str) -> str:
    """Return ``text`` without the secrets of any URL that was given."""
    from dumpty.redaction import redact

    masked = redact(text, _seen)
    return _USERINFO.sub(lambda m: m[0] if _harmless(m[0]) else "***@", masked)


def _harmless(userinfo: str) -> bool:
    return ":" not in userinfo or userinfo.endswith(":***@")


def forget() -> None:
    """Forget the secrets of an earlier command line in this process."""
    _seen.clear()


def _fetched(given: str) -> str:
    form, colon, rest = given.partition(":")
    if given == "-":
        return _one_line(sys.stdin.read(_LIMIT), "the standard input")
    if not colon or form not in {"env", "file", "cmd"}:
        return given
    if form == "env":
        if rest not in os.environ:
            raise UsageError(f"the environment has no variable {rest!r} to take the database URL from")
        return _one_line(os.environ[rest], f"the environment variable {rest}")
    if form == "file":
        try:
            with open(rest, encoding="utf-8") as stream:
                return _one_line(stream.read(_LIMIT), f"the file {rest}")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise UsageError(f"cannot read the database URL from the file {rest!r}: {reason}") from None
    return _one_line(_output(rest), "the command's output")


def _output(command: str) -> str:
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
        raise CommandError(f"cannot take the database URL from cmd: {error}", argv=error.argv) from None


def _one_line(text: str, where: str) -> str:
    lines = text.strip().splitlines()
    if len(lines) != 1:
        raise UsageError(f"{where} holds {len(lines)} lines, not the one line that a database URL is")
    return lines[0]
