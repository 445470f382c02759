"""What to tell a recipient, by what is wrong and what he knows: each thing once, with reminders, and its end."""

from __future__ import annotations

import contextlib
import hashlib
import socket
from datetime import datetime  # noqa: TC003 - msgspec asks for it
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec import Struct

from dumpty.jobs.values import rounded_text
from dumpty.types import Message, Notice, NoticeKind, Severity

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from datetime import timedelta

    from dumpty.jobs.conditions import Condition

__all__ = ["Known", "Plan", "decode", "encode", "message_of", "noted_at", "plan_notices", "test_message"]

VERSION = 1

_LONGEST = 600
"""Characters of one text: an error may hold a whole statement."""

_MOST = 20
"""Notices that are spelled out in a message."""

_WARNINGS: frozenset[NoticeKind] = frozenset({"warning", "not-proved"})
_NOUNS: dict[str, str] = {
    "failed": "the backup failed",
    "overdue": "the backup is overdue",
    "suspicious": "a backup is suspicious",
    "damaged": "a backup is damaged or lost",
    "copy-missing": "a copy is missing",
    "not-proved": "a backup was not proved",
    "unreachable": "the repository cannot be reached",
    "unrecorded": "what came of a run could not be written down",
    "warning": "a warning",
    "test": "a test",
}
_ENDS: dict[str, str] = {
    "failed": "it is backed up again, or no longer among the job's databases",
    "overdue": "there is a good backup of it again, or it is no longer among the job's databases",
    "suspicious": "it was accepted, or removed",
    "damaged": "it is whole again, or gone",
    "copy-missing": "the copies are there again",
    "not-proved": "it was proved, or is gone",
    "unreachable": "the repository can be reached again",
    "unrecorded": "a run was written down again",
}


class Known(Struct, frozen=True, kw_only=True):
    """One thing that a recipient knows to be wrong: ``since`` when, as of the first alarm, and when last ``told``."""

    kind: NoticeKind
    subject: str
    text: str
    since: datetime
    told: datetime


class _State(Struct, kw_only=True):
    at: datetime
    open: dict[str, Known] = {}
    version: int = VERSION


class Plan(NamedTuple):
    """What to tell, and what the recipient knows then; ``changes`` is False where it is what he knows now."""

    notices: tuple[Notice, ...]
    known: dict[str, Known]
    changes: bool


# Made with the module, by one thread: several that met a type for the first time at once would crash msgspec 0.22.
_DECODER = msgspec.json.Decoder(_State)
_NOTICES = msgspec.json.Decoder(Notice)


def encode(known: dict[str, Known], now: datetime) -> bytes:
    """Return what is written down of what a recipient knows, as of ``now`` (aware)."""
    return msgspec.json.encode(_State(open=known, at=now))


def decode(contents: Iterable[bytes]) -> dict[str, Known]:
    """Return what a recipient knows by all that was written down; what nobody can read he is told again."""
    known: dict[str, Known] = {}
    for state in _states(contents):
        for key, entry in state.open.items():
            if key not in known or known[key].told < entry.told:
                known[key] = entry
    return known


def noted_at(contents: Iterable[bytes]) -> datetime | None:
    """Return when what a recipient knows was written down last; None where nothing was."""
    return max((state.at for state in _states(contents)), default=None)


def _states(contents: Iterable[bytes]) -> Iterator[_State]:
    for content in contents:
        with contextlib.suppress(msgspec.DecodeError, UnicodeError, RecursionError):
            state = _DECODER.decode(content)
            if state.version == VERSION:
                yield state


def plan_notices(
    job: str,
    conditions: Sequence[Condition],
    undecided: Collection[str],
    known: dict[str, Known],
    now: datetime,
    remind: timedelta | None,
) -> Plan:
    """Return what to tell a recipient.

    Args:
        job: its name.
        conditions: what is wrong with it.
        undecided: kinds of which it is not known whether they are over, or new.
        known: what he knows.
        now: the time (aware).
        remind: after how long what is still wrong is told again; None: never.
    """
    notices: list[Notice] = []
    after: dict[str, Known] = {}
    for condition in conditions:
        key, before, text = condition.key, known.get(condition.key), condition.text[:_LONGEST]
        if before is None:
            if condition.kind in undecided:
                continue
            since = min(condition.since or now, now)
            after[key] = Known(kind=condition.kind, subject=condition.subject, text=text, since=since, told=now)
            notices.append(_notice("alarm", job, after[key]))
        # A clock that was set back is no reason to be silent for as long as it was ahead.
        elif remind is not None and condition.kind != "warning" and abs(now - before.told) >= remind:
            after[key] = msgspec.structs.replace(before, text=text, told=now)
            notices.append(_notice("reminder", job, after[key]))
        else:
            after[key] = before
    for key, entry in known.items():
        if key in after:
            continue
        if entry.kind in undecided:
            after[key] = entry
        elif entry.kind in _ENDS:
            notices.append(_notice("recovery", job, entry))
    return Plan(tuple(notices), after, after != known)


def _notice(event: str, job: str, entry: Known) -> Notice:
    return msgspec.convert(
        {
            "event": event,
            "kind": entry.kind,
            "job": job,
            "subject": entry.subject,
            "text": entry.text if event != "recovery" else _ENDS[entry.kind],
            "since": entry.since,
        },
        Notice,
    )


def message_of(job: str, channel: str, noted: datetime | None, notices: Sequence[Notice], now: datetime) -> Message:
    """Return the message that tells all of ``notices``; who could not note that it was told makes the same id again.

    Args:
        job: its name.
        channel: what stands for the recipient.
        noted: when it was noted last what he knows; None: never.
        notices: at least one.
        now: the time (aware).
    """
    said = [(n.event, n.kind, n.subject) for n in notices]
    host = socket.gethostname()
    digest = hashlib.sha256(msgspec.json.encode([job, channel, noted, *sorted(said)])).hexdigest()
    return Message(
        id=f"dumpty-{digest[:32]}",
        severity=_severity(notices),
        title=_title(job, notices),
        body="\n".join([*_lines(notices, now), "", f"Told by dumpty on {host}. See: dumpty check {job}"]),
        host=host,
        at=now,
        notices=tuple(notices),
    )


def test_message(now: datetime) -> Message:
    """Return a message that tries whether messages arrive."""
    notice = Notice(event="alarm", kind="test", job="", subject="", text="This is a test: nothing is wrong.", since=now)
    host = socket.gethostname()
    return Message(
        id=f"dumpty-test-{hashlib.sha256(f'{host}{now.isoformat()}'.encode()).hexdigest()[:20]}",
        severity="info",
        title="dumpty: test",
        body=f"{notice.text} Messages of dumpty on {host} arrive here.",
        host=host,
        at=now,
        notices=(notice,),
    )


def _severity(notices: Sequence[Notice]) -> Severity:
    wrong = [notice.kind for notice in notices if notice.event != "recovery"]
    if not wrong:
        return "recovery"
    return "warning" if all(kind in _WARNINGS for kind in wrong) else "failure"


def _title(job: str, notices: Sequence[Notice]) -> str:
    wrong = [notice for notice in notices if notice.event != "recovery"]
    if not wrong:
        return f"dumpty: {job}: over: {_NOUNS[notices[0].kind]}" + _more(len(notices) - 1)
    still = "still: " if all(notice.event == "reminder" for notice in wrong) else ""
    return f"dumpty: {job}: {still}{_NOUNS[wrong[0].kind]}" + _more(len(wrong) - 1)


def _more(number: int) -> str:
    return f", and {number} more" if number > 0 else ""


def _lines(notices: Sequence[Notice], now: datetime) -> list[str]:
    lines = []
    for notice in notices[:_MOST]:
        subject = f" ({notice.subject})" if notice.subject else ""
        lasted = rounded_text(now - notice.since)
        if notice.event == "recovery":
            lines.append(f"OVER, after {lasted}: {_NOUNS[notice.kind]}{subject}: {notice.text}")
        elif notice.event == "reminder":
            lines.append(f"STILL, for {lasted}: {_NOUNS[notice.kind]}{subject}: {notice.text}")
        else:
            lines.append(f"{_NOUNS[notice.kind].upper()}{subject}: {notice.text}")
    if len(notices) > _MOST:
        lines.append(f"and {len(notices) - _MOST} more: dumpty check {notices[0].job}")
    return lines
