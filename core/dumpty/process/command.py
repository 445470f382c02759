"""Short commands: found, run to their end, their output returned."""

from __future__ import annotations

import contextlib
import shutil
import threading
from typing import TYPE_CHECKING

from dumpty.errors import CommandError
from dumpty.process.child import Child
from dumpty.process.remote_child import RemoteChild

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dumpty.types import Remote

__all__ = ["find_program", "run"]

_READER_SECONDS = 1.5
"""What the thread that reads gets when its child is gone: what that started may hold its output open."""


def find_program(name: str, *, install: str = "") -> str:
    """Return the path of program ``name``; ``install`` says how to get it.

    Raises:
        CommandError: it is not on the PATH.
    """
    found = shutil.which(name)
    if found is None:
        advice = f"; install it: {install}" if install else ""
        raise CommandError(f"{name} was not found on the PATH{advice}", argv=(name,))
    return found


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str | None] | None = None,
    secrets: Sequence[str] = (),
    stdin: bytes = b"",
    timeout: float | None = 60.0,
    bare: bool = False,
    remote: Remote | None = None,
) -> str:
    """Run a short command to its end and return its output, decoded as UTF-8; ``bare`` is as for ``Child``.

    With ``remote`` it is run there, as a ``RemoteChild``.

    Raises:
        CommandError: it is missing, its exit status was not 0, or ``timeout`` seconds passed.
    """
    if remote is None:
        started = Child(argv, env=env, secrets=secrets, stdin=bool(stdin), bare=bare)
    else:
        started = RemoteChild(remote, argv, env=env, secrets=secrets, stdin=stdin or None)
    with started as child:
        output = bytearray()

        def collect() -> None:
            with contextlib.suppress(ValueError, OSError):  # closed under us, where something escaped and holds it
                while chunk := child.read():
                    output.extend(chunk)

        reader = threading.Thread(target=collect, name=f"{child.name}-stdout", daemon=True)
        reader.start()
        try:
            if stdin and remote is None:
                with _deadline(child, timeout):
                    child.write(stdin)
            child.wait(timeout)
        finally:
            child.end()
            reader.join(_READER_SECONDS)
        if isinstance(child, RemoteChild):
            child.require_output()
        return output.decode("utf-8", "replace")


@contextlib.contextmanager
def _deadline(child: Child, timeout: float | None) -> Iterator[None]:
    # For a child that neither reads its input nor ends: a write into a full pipe knows no timeout.
    expired = threading.Event()

    def end() -> None:
        expired.set()
        child.end()

    timer = threading.Timer(timeout or 0.0, end)
    timer.daemon = True
    if timeout is not None:
        timer.start()
    try:
        yield
    except CommandError as error:
        if expired.is_set():
            raise CommandError(f"{child.name} did not read its input within {timeout:g} s", argv=child.argv) from error
        raise
    finally:
        timer.cancel()
