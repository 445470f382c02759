"""Recipients of messages, as a suite's author supplies them, and what is sent to them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from dumpty.types import Message, Notice

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["MESSAGES", "Behaviour", "Recipient", "make_message"]

Behaviour = Literal["takes", "refuses", "hangs-up", "hangs"]
"""What a recipient does with messages: takes or refuses them; ends the connection, or the work, midway; never ends."""

MESSAGES = {
    "plain": ("3 backups failed", "shop: the disk is full\ncrm: no answer"),
    "not ASCII": ("Sicherung für Köln: 失敗 😀", "„Größe“ ≤ 5 €\n二 — 三"),
    "quotes and escapes": ('it\'s "quoted"', "a 'b' \"c\" \\n \\\\ %s %(x)s {0} $HOME `id` $(id) ;|&"),
    "markup": ("<b>1 < 2 & 3</b>", "*star* _line_ [x](http://h) &amp; <script> :smile: #tag @all"),
    "leading dashes": ("--help", "-rf /\n--title=x\n- item\n."),
}
"""Titles and bodies that nothing may make anything else of."""


@dataclass(kw_only=True)
class Recipient:
    """A recipient of one test's own.

    Args:
        url: what the notifier is opened with.
        secret: what messages are to be signed with; "" for nothing.
        received: returns the texts of all messages that it took, oldest first. Each has title and body in it as a
            person sees them: decoded, with newlines for line ends.
        contacts: returns how often anybody connected to it, or started it.
        leave: takes it away: from then on, nobody is at the URL. None where that cannot be.
        hidden: what of the URL is a secret.
    """

    url: str
    received: Callable[[], Sequence[str]]
    contacts: Callable[[], int]
    leave: Callable[[], object] | None = None
    secret: str = ""
    hidden: Sequence[str] = ()


def make_message(title: str, body: str, number: int = 1) -> Message:
    """Return a message; the number makes it another one."""
    moment = datetime.now(UTC)
    notice = Notice(event="alarm", kind="failed", job="shop", subject="", text=body.partition("\n")[0], since=moment)
    return Message(
        id=f"dumpty-testing-{number}",
        severity="failure" if number % 2 else "recovery",
        title=title,
        body=body,
        host="db1.example.org",
        at=moment,
        notices=(notice,),
    )
