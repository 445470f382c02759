"""The command line: ``main`` runs one verb and turns every outcome into output and an exit status."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dumpty.cli.app import Ended

__all__ = ["main"]

_AGAIN_SECONDS = 0.01
_GARBAGE = 50_000
"""Objects made before garbage is looked for: a directory of ten thousand backups is no garbage, but many objects."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (without the program's name) and return the exit status."""
    from dumpty.cli import output, urls
    from dumpty.cli.status import UsageError

    arguments = sys.argv[1:] if argv is None else list(argv)
    if argv is None:
        gc.set_threshold(_GARBAGE)
    urls.forget()
    json_wanted = "--json" in arguments[: arguments.index("--")] if "--" in arguments else "--json" in arguments
    debug = os.environ.get("DUMPTY_DEBUG", "") not in {"", "0"}
    output.settle()
    with _signals() as caught:
        try:
            ended = _run(arguments)
            if caught:
                raise caught[0]  # typer made an exit status of it
            if isinstance(ended, int):
                return ended
            if ended.report is not None:
                return output.emit(ended.report)
            error = ended.error or UsageError("name a command")
        except (KeyboardInterrupt, Exception) as unforeseen:  # noqa: BLE001 - no traceback, whatever happens
            error = unforeseen
        if not isinstance(error, KeyboardInterrupt):
            urls.watch(arguments)
        if debug:
            _trace(error)
        return output.fail(error, _told(error), json_wanted=json_wanted)


def _run(arguments: Sequence[str]) -> Ended | int:
    import typer

    from dumpty.cli.app import Ended, build
    from dumpty.cli.status import INTERRUPTED, UsageError
    from dumpty.errors import DumptyError

    usage_error: Any = typer.BadParameter.__base__  # typer exports neither it nor its base
    click_error: Any = usage_error.__base__
    try:
        result = build()(args=arguments, prog_name="dumpty", standalone_mode=False)
    except click_error as error:
        context = getattr(error, "ctx", None)
        where = context.command_path if context is not None else "dumpty"
        text = error.format_message().rstrip().rstrip(".")
        raise UsageError(f"{text}; see {where} --help") from None
    except (typer.Abort, SystemExit) as end:  # typer ends so after completing words, and when nobody reads its help
        code = getattr(end, "code", INTERRUPTED)
        return Ended(error=DumptyError(code)) if isinstance(code, str) else int(code or 0)
    return result if isinstance(result, Ended) else int(result or 0)


def _told(error: BaseException) -> str:
    from dumpty.errors import DumptyError
    from dumpty.results import one_line

    if isinstance(error, KeyboardInterrupt):
        return _interrupted(error)
    if isinstance(error, DumptyError):
        return one_line(error)
    return (
        f"unexpected {type(error).__name__}: {one_line(error)}; this is a bug in dumpty or in a plugin. "
        "For a report, run it again with DUMPTY_DEBUG=1: that shows where it happened"
    )


def _interrupted(interrupt: KeyboardInterrupt) -> str:
    return f"interrupted by {str(interrupt) or 'SIGINT'}: what was not complete is removed"


def _trace(error: BaseException) -> None:
    import traceback

    from dumpty.cli import output

    output.complain("".join(traceback.format_exception(type(error), error, error.__traceback__)))


@contextlib.contextmanager
def _signals() -> Iterator[list[KeyboardInterrupt]]:
    """End in good order when asked to: children are ended, and partial files removed.

    Only the first signal counts; a second one would interrupt the cleaning up. What is ignored (``nohup``, a
    shell's background job) stays ignored. Yields what was caught.
    """
    from dumpty.cli.status import Terminated

    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    caught: list[KeyboardInterrupt] = []

    over = False
    sent = signal.SIGINT

    def end(number: int, _: object) -> None:
        nonlocal sent
        if not caught and not over:
            sent = signal.Signals(number)
            caught.append(KeyboardInterrupt("SIGINT") if number == signal.SIGINT else Terminated(number))
            raise caught[0]

    def again() -> None:
        if not over:
            os.kill(os.getpid(), sent)

    def dropped(unraisable: sys.UnraisableHookArgs) -> None:
        if not any(unraisable.exc_value is one for one in caught):
            complaining(unraisable)
            return
        # It was raised in a finalizer, where Python drops it: the signal is sent again when that is over.
        caught.clear()
        threading.Timer(_AGAIN_SECONDS, again).start()

    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {number: signal.getsignal(number) for number in numbers}
    taken = [n for n in numbers if before[n] in {signal.SIG_DFL, signal.default_int_handler}]
    for number in taken:
        signal.signal(number, end)
    complaining, sys.unraisablehook = sys.unraisablehook, dropped
    try:
        yield caught
    finally:
        over = True  # what there was to say is said: too late to interrupt anything
        sys.unraisablehook = complaining
        for number in taken:
            signal.signal(number, before[number])
