"""``dumpty notify``: those who are told what is wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from dumpty.cli.arguments import Config, Json, Quiet  # noqa: TC001 - typer reads annotations at run time
from dumpty.cli.output import Line, Report, count
from dumpty.cli.status import UsageError
from dumpty.cli.urls import redacted, remember
from dumpty.errors import DumptyError, NotificationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dumpty.jobs.document import Channel
    from dumpty.replies import runs

EXAMPLES = """
dumpty notify test
dumpty notify test env:NTFY_URL
"""


def notify() -> None:
    """See whether those who are to be told what is wrong with backups can be."""


def try_out(
    addresses: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ADDRESS...]",
            help="Whom to tell: a notifier's URL, or env:NAME, file:PATH, cmd:PROGRAM; [default: all of the jobs]",
        ),
    ] = None,
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Send a test message to everybody whom the jobs of the configuration name, or to the addresses given.

    Says of each whether it was taken, and ends with 1 where one was not. Heartbeats are not touched: what waits for
    them would take that for a backup.
    """
    from dumpty.replies.verbs import NotifyReply

    channels = list(_channels(addresses, config))
    outcomes = [_tried(channel) for channel in channels]
    failed = [outcome for outcome in outcomes if not outcome.ok]
    lines: list[Line] = [f"{o.address}: {'taken' if o.ok else f'FAILED: {o.error}'}" for o in outcomes]
    text = f"{count(len(failed), 'address', 'addresses')} of {len(outcomes)} could not be told"
    return Report(
        reply=NotifyReply(notified=outcomes),
        lines=lines,
        error=NotificationError(f"{text}; the first: {failed[0].error}") if failed else None,
        json=json,
        quiet=quiet,
    )


def _channels(addresses: list[str] | None, config: str | None) -> Iterable[Channel]:
    from dumpty.jobs.document import Channel
    from dumpty.jobs.settings import load

    if addresses:
        return [Channel(url=address) for address in dict.fromkeys(addresses)]
    configuration = load(config)
    channels = {channel.url: channel for job in configuration.chosen(()) for channel in job.notify}
    if not channels:
        raise UsageError(f'{configuration.file.path} has nobody to notify: write notify = ["URL"] in [defaults]')
    return channels.values()


def _tried(channel: Channel) -> runs.Notified:
    from dumpty.cli.status import error_type
    from dumpty.indirection import is_indirect
    from dumpty.jobs.alarms import test_message
    from dumpty.jobs.notifying import deliver, shown_channel
    from dumpty.replies import runs

    shown = channel.url if is_indirect(channel.url) else shown_channel(channel.url)
    try:
        deliver(channel, test_message(datetime.now(UTC)), remember)
    except DumptyError as error:
        text = redacted(" ".join(str(error).split()))
        return runs.Notified(address=shown, ok=False, error=text, error_type=error_type(error))
    return runs.Notified(address=shown, ok=True, error=None, error_type=None)
