"""A progress bar on standard error, where that is a terminal."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

from dumpty.cli.output import plain
from dumpty.cli.standard_streams import Forgiving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["progress_bar"]


@contextlib.contextmanager
def progress_bar(what: str, *, quiet: bool) -> Iterator[Callable[[int, int | None], None] | None]:
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
    said: Any = Forgiving(sys.stderr)
    bar = Progress(*columns, console=Console(file=said), transient=True, redirect_stdout=False, redirect_stderr=False)
    with bar:
        task = bar.add_task(plain(what), total=None)
        last = 0

        def advance(done: int, expected: int | None) -> None:
            nonlocal last
            if done < last:  # a second pass, over the same dump
                bar.reset(task)
            last = done
            # An estimate may be too low: then the bar is full, and the numbers are still true.
            bar.update(task, completed=done, total=None if expected is None else max(done, expected))

        yield advance
