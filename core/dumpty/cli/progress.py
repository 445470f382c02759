"""A progress bar on standard error, where that is a terminal."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

from dumpty.cli.output import plain
from dumpty.cli.standard_streams import ForgivingStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["progress_bar"]


@contextlib.contextmanager
def progress_bar(title: str, *, quiet: bool) -> Iterator[Callable[[int, int | None], None] | None]:
    """Yield what the facades call with the bytes done and the bytes expected (None: nobody knows), or None."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    # Its redirection of the two streams would send what plugins print through the bar, in the wrong order.
    stderr: Any = ForgivingStream(sys.stderr)
    bar = Progress(*columns, console=Console(file=stderr), transient=True, redirect_stdout=False, redirect_stderr=False)
    with bar:
        task = bar.add_task(plain(title), total=None)
        bytes_before = 0

        def advance(bytes_done: int, expected: int | None) -> None:
            nonlocal bytes_before
            if bytes_done < bytes_before:  # a second pass, over the same dump
                bar.reset(task)
            bytes_before = bytes_done
            # An estimate may be too low: then the bar is full, and the numbers are still true.
            bar.update(task, completed=bytes_done, total=None if expected is None else max(bytes_done, expected))

        yield advance
