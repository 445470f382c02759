"""``NotifierSuite``: what ``open_notifier`` and the notifier behind it owe."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
import time
import traceback
from typing import TYPE_CHECKING, ClassVar

import pytest

from dumpty.errors import NotificationError, OptionError
from dumpty.process.state import ProcessState
from dumpty.testing.footprint import Footprint
from dumpty.testing.recipients import MESSAGES, make_message
from dumpty.testing.rules import refused, require, shown
from dumpty.testing.streams import at_once
from dumpty.testing.suite import Suite
from dumpty.url import MalformedURL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from dumpty.registry.host import Host
    from dumpty.testing.recipients import Behaviour, Recipient
    from dumpty.types import Kind, Notifier

__all__ = ["NotifierSuite"]

_THREADS, _ROUNDS = 3, 5
_POLL_SECONDS = 0.02
_BEGINNING = 100


class NotifierSuite(Suite):
    """The rules of a notifier.

    A subclass needs ``plugin``, the fixture ``new_recipient`` and ``malformed``; with ``signs``, ``bad_secrets``, too.
    """

    kind: ClassVar[Kind] = "notifier"

    malformed: ClassVar[Mapping[str, str]] = {}
    """URLs that no notifier can be opened with: what of each may not be shown, "" for nothing."""

    signs: ClassVar[bool] = False
    """Whether messages are signed where there is a secret; a notifier that signs nothing refuses every secret."""

    bad_secrets: ClassVar[Sequence[str]] = ()
    """Secrets that nothing can be signed with: too short, damaged."""

    longest: ClassVar[int] = 64 << 10
    """How many characters the body of the long message has."""

    cut_sign: ClassVar[str] = "…"
    """What stands where a message was cut."""

    bound: ClassVar[float] = 35.0
    """Within how many seconds a recipient that never answers is given up."""

    patience: ClassVar[float] = 10.0
    """For how many seconds threads, processes and connections may take to end."""

    @pytest.fixture
    def new_recipient(self) -> Callable[[Behaviour], Recipient]:
        """A function that makes a recipient that behaves so; to be overridden.

        Of a behaviour that cannot be had, end the test: ``self.unproved("why")``.
        """
        return pytest.fail("give your suite a fixture new_recipient: a function that makes a recipient to send to")

    @pytest.fixture(autouse=True)
    def _put_back(self) -> Iterator[None]:
        """Put back what a test changes of the process, so that the one that looks for it sees it."""
        state = ProcessState.observe()
        yield
        state.put_back()

    def opened(self, host: Host, recipient: Recipient) -> Notifier:
        """Open the notifier of a recipient."""
        return host.open_notifier(self.plugin_under_test(host), url=recipient.url, secret=recipient.secret)

    # -- opening -------------------------------------------------------------------------------------------------

    def test_opening_tells_nobody(self, host: Host, new_recipient: Callable[[Behaviour], Recipient]) -> None:
        """open_notifier() connects to nobody, starts nothing, and sends nothing."""
        recipient = new_recipient("takes")
        self.opened(host, recipient)
        rule = "Opening a notifier tells nobody: it is how a configuration is checked."
        received, contacts = recipient.received(), recipient.contacts()
        require(not received, rule, "Do it in send().", f"{shown(received)} arrived")
        require(not contacts, rule, "Connect in send().", f"the recipient was reached {contacts} times")

    def test_a_malformed_url_is_refused_at_opening_and_not_shown(self) -> None:
        """A URL that is none raises MalformedURL or OptionError from open_notifier(), which shows no secret of it."""
        if not self.malformed:
            self.unproved("the suite names no URLs in `malformed`")
        for url, hidden in self.malformed.items():
            rule = "What is wrong with a URL is said by open_notifier(), as MalformedURL or OptionError."
            with refused((MalformedURL, OptionError), rule, "Check all of it there.") as texts:
                self.call_bare("open_notifier", url=url, secret="")
            rule = "Whatever is wrong with a URL, the text shows no more of it than its scheme and its host."
            require(not hidden or hidden not in texts[0], rule, "Say what is expected.", f"it said {shown(texts[0])}")

    def test_a_bad_secret_is_refused_at_opening_and_not_shown(
        self, new_recipient: Callable[[Behaviour], Recipient]
    ) -> None:
        """A secret that messages cannot be signed with raises OptionError from open_notifier(), which hides it."""
        secrets = self.bad_secrets if self.signs else ("a secret that nobody has asked for",)
        if not secrets:
            self.unproved("the suite names no secrets in `bad_secrets`")
        recipient = new_recipient("takes")
        for secret in secrets:
            rule = "A secret that nothing can be signed with is OptionError, from open_notifier()."
            with refused(OptionError, rule, "Sign with it, or refuse it; never ignore it.") as texts:
                self.call_bare("open_notifier", url=recipient.url, secret=secret)
            require(secret not in texts[0], "A secret is shown nowhere.", "Leave it out.", f"it said {shown(texts[0])}")

    # -- what arrives --------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("sample", MESSAGES)
    def test_a_message_arrives_whole_and_once(
        self, host: Host, new_recipient: Callable[[Behaviour], Recipient], sample: str
    ) -> None:
        """When send() returns, title and body have arrived as they are, once."""
        recipient = new_recipient("takes")
        notifier, title_and_body = self.opened(host, recipient), MESSAGES[sample]
        for number in (1, 2):
            notifier.send(make_message(*title_and_body, number))
            received = recipient.received()
            rule = "When send() returns, the message has arrived, once."
            remedy = "Wait for the recipient's answer, and repeat nothing that may have arrived."
            require(len(received) == number, rule, remedy, f"after {number} there were {len(received)}")
            for text in title_and_body:
                rule = "Title and body arrive as they are: nothing in them is interpreted, replaced or left out."
                seen = f"{shown(text)} became {shown(received[-1])}"
                require(text in received[-1], rule, "Encode them for the service, as UTF-8 where it takes that.", seen)

    def test_a_long_message_arrives_or_says_that_it_was_cut(
        self, host: Host, new_recipient: Callable[[Behaviour], Recipient]
    ) -> None:
        """A body that is too long for the service arrives cut, with a sign of that; it is no failure."""
        recipient = new_recipient("takes")
        body = "".join(f"line {number} of many\n" for number in range(self.longest))[: self.longest - 1] + "."
        try:
            self.opened(host, recipient).send(make_message("a long one", body))
        except NotificationError as error:
            rule = "A long message is told, cut where it must be."
            require(False, rule, "Cut it to what the service takes.", f"it raised {shown(error)}")
        text = "\n".join(recipient.received())
        whole = body in text or (body[:_BEGINNING] in text and self.cut_sign in text)
        rule = f"A message that was cut says so: its beginning arrives, and {self.cut_sign}."
        require("a long one" in text and whole, rule, "Put it at the end.", f"what arrived ends {shown(text[-60:])}")

    def test_several_threads_do_not_mix(self, host: Host, new_recipient: Callable[[Behaviour], Recipient]) -> None:
        """Several threads may send at once, by one notifier."""
        recipient = new_recipient("takes")
        notifier = self.opened(host, recipient)

        def work(number: int, meet: Callable[[], None]) -> None:
            for turn in range(_ROUNDS):
                meet()
                notifier.send(
                    make_message(f"title {number}-{turn}.", f"body {number}-{turn}.", number * _ROUNDS + turn)
                )

        errors = at_once([functools.partial(work, number) for number in range(_THREADS)])
        rule, remedy = "Several threads may send at once.", "Keep nothing of a message in the notifier."
        require(not errors, rule, remedy, shown(errors[0]) if errors else "")
        names = [f"{number}-{turn}." for number in range(_THREADS) for turn in range(_ROUNDS)]
        texts = list(recipient.received())
        whole = all(sum(f"title {n}" in t and f"body {n}" in t for t in texts) == 1 for n in names)
        require(whole and len(texts) == len(names), rule, remedy, f"of {len(names)} messages arrived {shown(texts)}")

    # -- what does not -------------------------------------------------------------------------------------------

    def test_a_refusal_is_an_error(self, host: Host, new_recipient: Callable[[Behaviour], Recipient]) -> None:
        """A message that the recipient refuses is NotificationError."""
        self._must_fail(host, new_recipient("refuses"), "refused it")

    def test_a_connection_that_ends_midway_is_an_error(
        self, host: Host, new_recipient: Callable[[Behaviour], Recipient]
    ) -> None:
        """A recipient that goes away before it has answered is NotificationError: nobody knows whether it took it."""
        self._must_fail(host, new_recipient("hangs-up"), "went away before it had answered")

    def test_a_recipient_that_is_gone_is_an_error(
        self, host: Host, new_recipient: Callable[[Behaviour], Recipient]
    ) -> None:
        """A recipient that is not there is NotificationError, from send()."""
        recipient = new_recipient("takes")
        notifier = self.opened(host, recipient)
        self._take_away(recipient)
        self._must_fail(host, recipient, "was not there", notifier)

    def test_a_recipient_that_never_answers_is_given_up(
        self, host: Host, new_recipient: Callable[[Behaviour], Recipient]
    ) -> None:
        """A recipient that never answers is NotificationError, within 35 seconds."""
        self._must_fail(host, new_recipient("hangs"), "never answered")

    # -- what is shown, and what is left -------------------------------------------------------------------------

    def test_no_secret_is_shown(
        self, host: Host, new_recipient: Callable[[Behaviour], Recipient], caplog: pytest.LogCaptureFixture
    ) -> None:
        """Neither errors nor log lines show a secret of the URL, or what messages are signed with."""
        caplog.set_level(logging.INFO)
        recipients = [new_recipient("takes")]
        with contextlib.suppress(pytest.skip.Exception):  # what is there proves it, too
            recipients.append(new_recipient("refuses"))
        if not any(secret for r in recipients for secret in (*r.hidden, r.secret)):
            self.unproved("no recipient has a secret, in `hidden` or `secret`")
        texts: list[str] = []
        for recipient in recipients:
            notifier = self.opened(host, recipient)
            for take_away in (False, True):
                if take_away and recipient.leave is not None:
                    recipient.leave()
                outcome = self._outcome(notifier)
                if isinstance(outcome, BaseException):
                    texts.append("".join(traceback.format_exception_only(outcome)))
                    texts += map(str, filter(None, (outcome.__cause__, _context(outcome))))
        texts.append(caplog.text)
        rule = "A secret of the URL is in no error and no log line: a whole URL may be one."
        for recipient in recipients:
            for secret in filter(None, (*recipient.hidden, recipient.secret)):
                seen = next((text for text in texts if secret in text), "")
                require(not seen, rule, "Show scheme and host alone; raise from None.", f"there is {shown(seen)}")

    def test_nothing_is_printed(
        self, host: Host, new_recipient: Callable[[Behaviour], Recipient], capfd: pytest.CaptureFixture[str]
    ) -> None:
        """Sending writes nothing to standard output, neither where it works nor where it fails."""
        recipient = new_recipient("takes")
        notifier = self.opened(host, recipient)
        capfd.readouterr()
        self._outcome(notifier)
        if recipient.leave is not None:
            recipient.leave()
            self._outcome(notifier)
        output = capfd.readouterr().out
        rule = "A plugin writes nothing to standard output: results are printed there, as JSON where asked."
        require(not output, rule, "Raise what is to be said.", f"it printed {shown(output)}")

    def test_nothing_is_left_behind(
        self, host: Host, new_recipient: Callable[[Behaviour], Recipient], tmp_path: Path
    ) -> None:
        """Sending leaves no thread, process, file or descriptor behind, and the process as it was."""
        recipient, state = new_recipient("takes"), ProcessState.observe()
        self._outcome(self.opened(host, recipient))  # what is opened once for all, is
        (tmp_path / "empty").mkdir()
        before = _descriptors()
        with Footprint(tmp_path / "empty") as footprint:
            notifier = self.opened(host, recipient)
            self._outcome(notifier)
            if recipient.leave is not None:
                recipient.leave()
                self._outcome(notifier)
        left = footprint.left(self.patience) or ProcessState.observe().changes(state)
        end = time.monotonic() + self.patience
        while not left and _descriptors() > before and time.monotonic() < end:
            time.sleep(_POLL_SECONDS)
        if not left and _descriptors() > before:
            left = ["open files or connections"]
        rule = "Sending leaves nothing behind, and the process as it was."
        require(not left, rule, "End, close and put back what you begin, open and change.", "; ".join(left))

    # -- what the rules stand on ---------------------------------------------------------------------------------

    def _take_away(self, recipient: Recipient) -> None:
        if recipient.leave is None:
            self.unproved("its recipients cannot leave")
        recipient.leave()

    def _outcome(self, notifier: Notifier) -> object:
        """Send a message, and return the error that it ended with, or what else became of it."""
        outcome: list[object] = []

        def work() -> None:
            try:
                notifier.send(make_message("shop failed", "the disk is full"))
                outcome.append("it returned as if all were well")
            except BaseException as error:  # noqa: BLE001 - handed to the caller
                outcome.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(self.bound)
        return outcome[0] if outcome else f"it waited for more than {self.bound:g} s"

    def _must_fail(self, host: Host, recipient: Recipient, event: str, notifier: Notifier | None = None) -> None:
        outcome = self._outcome(notifier or self.opened(host, recipient))
        rule = f"Where the recipient {event}, send() raises dumpty.NotificationError, soon."
        remedy = "Return only once it was taken; wait for a network no longer than 30 seconds."
        require(isinstance(outcome, NotificationError), rule, remedy, shown(outcome))
        require(str(outcome).strip(), "The error says why.", "Say what the recipient or the system said.")


def _context(error: BaseException) -> BaseException | None:
    return None if error.__suppress_context__ else error.__context__


def _descriptors() -> int:
    """Return how many files and connections this process has open."""
    return len(os.listdir("/dev/fd"))
