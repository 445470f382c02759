"""The command line: ``main`` runs one verb and turns every outcome into output and an exit status.

``program`` is ``main`` in a process of its own, which ends with it.

The verbs are in ``commands``; beside it stand what they share in words (``description``, ``output``, ``proving``) and
how the program ends (``status``, ``signals``, ``second_signal``, ``standard_streams``, ``process_end``).
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from dumpty.cli.app import Outcome
    from dumpty.cli.second_signal import Listener

__all__ = ["main", "program"]

_GARBAGE = 500_000
"""Objects made before garbage is looked for: a directory of ten thousand backups is no garbage, but many objects."""


def program() -> int:
    """Run the command line of this process and end it, or return the exit status to end it with."""
    from dumpty.cli.process_end import end_process  # now: at the end it may not be there any more

    return end_process(main())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (without the program's name) and return the exit status."""
    from dumpty.cli import output, standard_streams, urls
    from dumpty.cli.second_signal import Listener
    from dumpty.cli.signals import Signals
    from dumpty.cli.status import UsageError
    from dumpty.process import interruption

    arguments = sys.argv[1:] if argv is None else list(argv)
    if argv is None:
        gc.set_threshold(_GARBAGE)
    urls.forget()
    interruption.forget_unfinished()
    json_wanted = "--json" in arguments[: arguments.index("--")] if "--" in arguments else "--json" in arguments
    standard_streams.settle()
    hangup = _on_hangup(arguments)
    listening = Listener(json_wanted=json_wanted, describe=output.failure, hangup_ends=hangup is None)
    listener = listening if argv is None else None
    with Signals(process_ends=argv is None, listener=listener, on_hangup=hangup) as signals:
        error: BaseException
        warnings: Sequence[str] = ()
        try:
            outcome = _run(arguments)
            failed = None if isinstance(outcome, int) else outcome.error
            warnings = () if isinstance(outcome, int) else outcome.warnings
            if signals.caught:
                error = failed or signals.caught[0]  # typer made an exit status of it
            elif isinstance(outcome, int):
                return outcome
            elif outcome.report is not None:
                _claim_report(listener)
                signals.begin_reporting()
                status = output.emit(outcome.report)
                signals.end_reporting()
                return status
            else:
                error = failed or UsageError("name a command")
        except (KeyboardInterrupt, Exception) as unforeseen:  # noqa: BLE001 - no traceback, whatever happens
            error = unforeseen
        interrupt = signals.caught[0] if signals.caught else None  # what followed from it may have taken its place
        if not isinstance(error, KeyboardInterrupt):
            urls.watch(arguments)
        _claim_report(listener)
        signals.begin_reporting()
        if os.environ.get("DUMPTY_DEBUG", "") not in {"", "0"}:
            _write_traceback(error)
        status = output.fail(interrupt or error, _error_text(error, interrupt), warnings, json_wanted=json_wanted)
        signals.end_reporting()
        return status


def _on_hangup(arguments: Sequence[str]) -> Callable[[int, FrameType | None], None] | None:
    """Return what SIGHUP calls, for a verb that goes on after it; None where it ends the verb."""
    if arguments[:1] != ["serve"]:
        return None
    from dumpty.cli import reloading

    reloading.current = reloading.Reloading()
    return reloading.current.asked_by


def _claim_report(listener: Listener | None) -> None:
    """Claim the report, or wait for the end where a second signal has claimed it."""
    if listener is not None and not listener.claim_report():
        threading.Event().wait()


def _run(arguments: Sequence[str]) -> Outcome | int:
    import typer

    from dumpty.cli import standard_streams
    from dumpty.cli.app import Outcome, build
    from dumpty.cli.status import INTERRUPTED, UsageError
    from dumpty.errors import DumptyError

    usage_error: Any = typer.BadParameter.__base__  # typer exports neither it nor its base
    click_error: Any = usage_error.__base__
    try:
        result = build(arguments[0] if arguments else "")(args=arguments, prog_name="dumpty", standalone_mode=False)
    except click_error as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "dumpty"
        text = error.format_message().rstrip().rstrip(".")
        raise UsageError(f"{text}; see {command} --help") from None
    except (typer.Abort, SystemExit) as end:  # typer ends so after completing words, and when nobody reads its help
        code = getattr(end, "code", INTERRUPTED)
        return Outcome(error=DumptyError(code)) if isinstance(code, str) else int(code or 0)
    except OSError as error:  # a verb's own is within what it returns: this is help, or the version, being printed
        standard_streams.drop(sys.stdout)
        reason = f"cannot write to the standard output: {error.strerror or error}"
        return Outcome(error=DumptyError(reason))
    return result if isinstance(result, Outcome) else int(result or 0)


def _error_text(error: BaseException, interrupt: KeyboardInterrupt | None) -> str:
    from dumpty.errors import DumptyError
    from dumpty.process.interruption import unfinished
    from dumpty.redaction import one_line

    not_removed = unfinished()
    if isinstance(error, KeyboardInterrupt):
        suffix = f", but not {'; '.join(not_removed)}" if not_removed else ""
        return f"interrupted by {str(error) or 'SIGINT'}: what was not complete is removed{suffix}"
    text = one_line(error) + (f"; still there: {'; '.join(not_removed)}" if not_removed else "")
    if interrupt is not None:
        description = text if isinstance(error, DumptyError) else f"{type(error).__name__}: {text}"
        return f"interrupted by {interrupt}, and then it failed: {description}"
    if isinstance(error, DumptyError):
        return text
    return (
        f"unexpected {type(error).__name__}: {text}; this is a bug in dumpty or in a plugin. "
        "For a report, run it again with DUMPTY_DEBUG=1: that shows where it happened"
    )


def _write_traceback(error: BaseException) -> None:
    import traceback

    from dumpty.cli import output

    output.write_error_lines("".join(traceback.format_exception(type(error), error, error.__traceback__)))
