"""Database URLs as they are given on a command line: literally, or from where ``ps`` does not look."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from dumpty.cli.status import UsageError
from dumpty.errors import OptionError, SourceError
from dumpty.url import MalformedURL

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dumpty.types import Source

__all__ = ["forget", "read_url", "redacted", "remember", "watch"]

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

    masked = redact(text, tuple(_secrets))  # jobs in other threads add to them
    return _USERINFO.sub(lambda m: m[0] if _holds_no_password(m[0]) else "***@", masked)


def _holds_no_password(userinfo: str) -> bool:
    return ":" not in userinfo or userinfo.endswith(":***@")


def forget() -> None:
    """Forget the secrets of an earlier command line in this process."""
    _secrets.clear()


def remember(secrets: Iterable[str]) -> None:
    """Keep these out of what ``redacted`` returns, too."""
    _secrets.update(secrets)


def _url_text(argument: str) -> str:
    from dumpty import indirection

    try:
        if argument == "-":
            return indirection.single_line(sys.stdin.read(indirection.LIMIT), "the standard input", "database URL")
        return indirection.indirect_line(argument, "database URL")
    except OptionError as error:
        raise UsageError(str(error)) from None
