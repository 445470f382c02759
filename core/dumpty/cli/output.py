"""What a verb has to say, and how it is said: to people, or as one JSON object."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from dumpty.cli import live_lines
from dumpty.cli.live_lines import cells
from dumpty.cli.manual_page import Page, show
from dumpty.cli.standard_streams import ForgivingStream, drop
from dumpty.cli.status import DONE, FAILED, error_type, status_of
from dumpty.cli.urls import redacted
from dumpty.redaction import plain
from dumpty.replies import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime, timedelta

    from dumpty.replies.verbs import Reply

__all__ = [
    "Line",
    "Report",
    "Table",
    "count",
    "emit",
    "fail",
    "moment",
    "say",
    "seconds",
    "size",
    "warn",
    "write_error_lines",
]


class Table(NamedTuple):
    """Rows under column names; ``right_aligned`` are the columns of numbers, set flush right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    right_aligned: frozenset[int] = frozenset()


Line = str | Table | Page


class Report(NamedTuple):
    """How a verb went.

    ``reply`` is for programs, ``lines`` for people, ``warnings`` for both. ``error`` says what failed where the
    verb has more to tell than an exception could; it decides the exit status. ``only_prints`` is True where the verb
    did nothing but find out what to say: then it has failed where that cannot be said.
    """

    reply: Reply
    lines: Sequence[Line] = ()
    warnings: Sequence[str] = ()
    error: BaseException | None = None
    json: bool = False
    quiet: bool = False
    only_prints: bool = False
    shows_error: bool = False


def size(count_of_bytes: int) -> str:
    """Return a size as people read it."""
    from rich.filesize import decimal

    return decimal(count_of_bytes)


def count(number: int, singular: str, plural: str = "") -> str:
    """Return a number with what it counts."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def moment(when: datetime) -> str:
    """Return a time in UTC."""
    return when.replace(tzinfo=None, microsecond=0).isoformat(" ") + "Z"


def seconds(duration: float | timedelta) -> str:
    """Return a duration."""
    value = duration if isinstance(duration, (int, float)) else duration.total_seconds()
    return f"{value:.1f} s" if value < 60 else f"{value // 60:.0f} min {value % 60:.0f} s"  # noqa: PLR2004 - a minute


def emit(report: Report) -> int:
    """Say how a verb went, and return its exit status."""
    error = report.error
    status = DONE if error is None else status_of(error)
    for warning in report.warnings:
        warn(warning)
    if report.json:
        import msgspec

        head = _head(report.warnings) if error is None else failure(error, _text(error), report.warnings)
        result = {**msgspec.to_builtins(report.reply), **head}
        return _print_lines([json.dumps(result)], status, only_prints=report.only_prints)
    lines = [] if report.quiet else [text for line in report.lines for text in _rendered(line)]
    if any(isinstance(line, Page) for line in report.lines) and show(lines):
        return status
    status = _print_lines(lines, status, only_prints=report.only_prints)
    if error is not None and not report.shows_error:
        say(f"dumpty: {_text(error)}")
    return status


def fail(error: BaseException, text: str, warnings: Iterable[str] = (), *, json_wanted: bool) -> int:
    """Say that a verb failed and why, in one line, and return its exit status; ``warnings`` were said already."""
    status = status_of(error)
    if not json_wanted:
        say(f"dumpty: {text}")
        return status
    return _print_lines([json.dumps(failure(error, text, warnings))], status)


def failure(error: BaseException, text: str, warnings: Iterable[str] = ()) -> dict[str, object]:
    """Return what ``fail`` says as JSON: a ``replies.verbs.Failure``, for which nothing is imported here."""
    return {
        "schema": SCHEMA_VERSION,
        "success": False,
        "status": status_of(error),
        "error": plain(redacted(text)),
        "error_type": error_type(error),
        "warnings": [redacted(warning) for warning in warnings],
    }


def _head(warnings: Iterable[str]) -> dict[str, object]:
    """Return what every JSON object of a success begins with."""
    return {
        "schema": SCHEMA_VERSION,
        "success": True,
        "status": DONE,
        "error": None,
        "error_type": None,
        "warnings": [redacted(warning) for warning in warnings],
    }


def warn(text: str) -> None:
    """Say on standard error what is no failure, but should be known."""
    say(f"dumpty: warning: {text}")


def write_error_lines(text: str) -> None:
    """Write a text of several lines to standard error: a traceback."""
    for line in redacted(text).splitlines():
        _write_error(plain(line))


def say(text: str) -> None:
    """Write one line to standard error."""
    _write_error(plain(redacted(" ".join(text.split()))))


def _write_error(line: str) -> None:
    live = live_lines.current
    if live is not None and live.write_above(line):
        return
    errors = ForgivingStream(sys.stderr)  # nobody may listen
    errors.write(line + "\n")
    errors.flush()


def _text(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _rendered(line: Line) -> list[str]:
    if isinstance(line, Page):
        return line.lines()
    if not isinstance(line, Table):
        return [plain(line)]
    # Every row is one line, however long: a terminal wraps it, nothing is cut, and a pipe gets the same. Drawn here and
    # not by rich, which takes four seconds for ten thousand rows.
    columns = zip(*([plain(cell) for cell in row] for row in (line.columns, *line.rows)), strict=True)
    aligned = [_aligned(column, right=index in line.right_aligned) for index, column in enumerate(columns)]
    head, *body = ["  ".join(row).rstrip() for row in zip(*aligned, strict=True)]
    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        head = f"\x1b[1m{head}\x1b[0m"
    return [head, *body]


def _aligned(column: Sequence[str], *, right: bool) -> list[str]:
    sizes = [*map(cells, column)]
    width = max(sizes)
    if right:
        return [" " * (width - size) + cell for cell, size in zip(column, sizes, strict=True)]
    return [cell + " " * (width - size) for cell, size in zip(column, sizes, strict=True)]


def _print_lines(lines: Sequence[str], status: int, *, only_prints: bool = False) -> int:
    """Print what a verb has to say, and return its status: what it did stands, whether or not that can be said."""
    try:
        for line in lines:
            sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except KeyboardInterrupt:
        drop(sys.stdout)  # else the interpreter's end would wait for whoever does not read
        raise
    except BrokenPipeError:
        drop(sys.stdout)
    except (OSError, ValueError) as error:
        drop(sys.stdout)
        reason = getattr(error, "strerror", None) or str(error)
        say(f"dumpty: cannot write to the standard output: {reason}")
        return (status or FAILED) if only_prints else status
    return status
