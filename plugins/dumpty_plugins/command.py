"""The notifier ``command``: a program of this machine is run, with the message as JSON on its standard input."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING
from urllib.parse import unquote

from dumpty import (
    CommandError,
    MalformedURL,
    NotificationError,
    OptionError,
    PluginInfo,
    hookimpl,
    message_json,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dumpty import Message, Notifier
    from dumpty.process import Child

_SECONDS = 30.0
"""How long a program may take."""
_LONGEST_TITLE = 4000
"""Characters of a title in the environment, of which systems take no more than 128 KiB in one piece."""
_LAST_LINES, _LONGEST_LINE = 3, 200


@hookimpl
def describe() -> PluginInfo:
    """Describe this plugin."""
    return PluginInfo(kind="notifier", summary="a program, given JSON", schemes=("command",))


@hookimpl
def open_notifier(url: str, secret: str) -> Notifier:
    """Return what runs the program that a URL names: ``command:///usr/local/bin/page?arg=--to&arg=ops``.

    Raises:
        MalformedURL: it names no program that this user may run, or has other parameters than ``arg``.
        OptionError: there is a secret: nothing is signed.
    """
    if secret:
        raise OptionError("a command's messages are not signed, for they leave no machine: take the secret away")
    path, _, query = url.partition("://")[2].partition("?")
    if not path.startswith("/"):
        raise MalformedURL("a command's URL is command:///PATH/OF/PROGRAM?arg=FIRST&arg=SECOND, the path absolute")
    program = _decoded(path)
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    if "#" in url or any(name != "arg" or not equals for name, equals, _ in pairs):
        raise MalformedURL(
            "of a command's URL, the only parameter is arg, once for each argument of the program; in one write # as "
            "%23, & as %26, and a % as %25"
        )
    if not (os.path.isfile(program) and os.access(program, os.X_OK)):
        raise MalformedURL(f"there is no program {program} that this user may run: check path and permissions")
    return _Command(program, [_decoded(value) for _, _, value in pairs])


class _Command:
    """Runs one program. It keeps nothing: several threads use it at once."""

    def __init__(self, program: str, arguments: list[str]) -> None:
        self._argv = [program, *arguments]

    def send(self, message: Message, /) -> None:
        from dumpty.process import Child

        expired = threading.Event()
        variables = {"DUMPTY_SEVERITY": message.severity, "DUMPTY_TITLE": message.title[:_LONGEST_TITLE]}
        try:
            # Its arguments are nobody's to read: a token may be among them. And not by dumpty.process.run, for which a
            # program that reads nothing of its input has failed.
            with (
                Child(self._argv, env=variables, secrets=self._argv[1:], stdin=True, stdout=False) as child,
                _ended_after(_SECONDS, child, expired),
            ):
                with contextlib.suppress(CommandError):
                    child.write(message_json(message))
                child.wait()
        except CommandError as error:
            name = os.path.basename(self._argv[0])
            event = f"{name} did not end within {_SECONDS:g} s" if expired.is_set() else str(error)
            raise NotificationError(_with_last_lines(event, error.stderr_tail)) from None


@contextlib.contextmanager
def _ended_after(seconds: float, child: Child, expired: threading.Event) -> Iterator[None]:
    """End a child that is not over when the time is, whatever the block waits for then."""

    def end() -> None:
        expired.set()
        child.end()

    timer = threading.Timer(seconds, end)
    timer.name, timer.daemon = "dumpty-command", True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _with_last_lines(event: str, tail: str) -> str:
    """Return what happened to a program, with the last lines that it wrote to its standard error."""
    lines = [" ".join("".join(c if c.isprintable() else " " for c in line).split()) for line in tail.splitlines()]
    said = " / ".join(line[:_LONGEST_LINE] for line in list(filter(None, lines))[-_LAST_LINES:])
    # The error of a child ends with the last of them, or says that there are none.
    return f"{event.partition(': ')[0]}: {said}" if said else event


def _decoded(text: str) -> str:
    """Return what a part of a URL means, as bytes that need not be UTF-8; a plus is a plus."""
    decoded = unquote(text, errors="surrogateescape")
    if "\0" in decoded:
        raise MalformedURL("a command's URL has a zero byte in it, which no program's name or argument may have")
    return decoded
