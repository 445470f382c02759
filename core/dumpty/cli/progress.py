"""A progress bar on standard error, which names the phase, where that is a terminal."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

from dumpty.cli.standard_streams import ForgivingStream
from dumpty.redaction import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dumpty.types import Progress, ProgressCallback

__all__ = ["progress_bar"]


@contextlib.contextmanager
def progress_bar(title: str, *, quiet: bool) -> Iterator[ProgressCallback | None]:
    """Yield what the facades call with how far they have come, or None where nobody looks."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    # Its redirection of the two streams would send what plugins print through the bar, in the wrong order.
    stderr: Any = ForgivingStream(sys.stderr)
    bar = Bar(*columns, console=Console(file=stderr), transient=True, redirect_stdout=False, redirect_stderr=False)
    with bar:
        task = bar.add_task(plain(title), total=None)
        phase_before = ""

        def advance(progress: Progress) -> None:
            nonlocal phase_before
            if progress.phase != phase_before:  # whose speed is another one
                bar.reset(task)
                phase_before = progress.phase
            bar.update(
                task,
                description=plain(f"{title}: {progress.phase}{_items(progress)}"),
                completed=progress.bytes_done,
                total=progress.bytes_total,
            )

        yield advance


def _items(progress: Progress) -> str:
    return f" ({progress.items_done} of {progress.items_total})" if progress.items_total else ""
