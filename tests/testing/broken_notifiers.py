"""Notifiers that break one rule each, and the letter boxes that they send to."""

from __future__ import annotations

import logging
import os
import threading
import time

from dumpty import MalformedURL, NotificationError, OptionError, PluginInfo, hookimpl
from testing.breaks import breaks

boxes: dict[str, Box] = {}
"""Those that are there, by the token in their URLs: ``toypost://house/TOKEN``."""


class Box:
    """One recipient. ``behaviour`` is as in ``dumpty.testing.Recipient``."""

    def __init__(self, token, behaviour):
        self.token, self.behaviour = token, behaviour
        self.texts, self.contacts = [], 0
        self.answered = threading.Event()
        boxes[token] = self

    def leave(self):
        boxes.pop(self.token, None)
        self.answered.set()


class Post:
    """Sends into one box."""

    seconds = 0.05

    def __init__(self, token):
        self.token = token

    def send(self, message):
        self.put(f"{message.title}\n{message.body}")

    def put(self, text):
        box = boxes.get(self.token)
        if box is None:
            self.fail("nobody is there")
        box.contacts += 1
        if box.behaviour == "hangs":
            box.answered.wait(self.seconds)
            self.fail("nobody answered")
        if box.behaviour == "hangs-up":
            self.fail("it went away")
        if box.behaviour == "refuses":
            self.fail("it was refused")
        box.texts.append(text)

    def fail(self, reason):
        raise NotificationError(reason)


class GoodNotifier:
    """What the broken ones are made of."""

    post = Post
    name = "toypost"

    @hookimpl
    def describe(self):
        return PluginInfo(kind="notifier", summary="a toy", schemes=("toypost",))

    @hookimpl
    def open_notifier(self, url, secret):
        self.check(url, secret)
        return self.post(url.rpartition("/")[2])

    def check(self, url, secret):
        if not url.startswith("toypost://house/"):
            raise MalformedURL("it is no such URL")
        if 0 < len(secret) < 24 or secret.startswith("a secret that nobody"):
            raise OptionError("it is too short")


class Signing:
    """A notifier whose messages are signed."""

    flags = {"signs": True, "bad_secrets": ("s3cret-word",)}  # noqa: RUF012 - never changed


@breaks("test_opening_tells_nobody")
class ConnectsAtOpening(GoodNotifier):
    class post(Post):
        def __init__(self, token):
            super().__init__(token)
            if token in boxes:
                boxes[token].contacts += 1


@breaks("test_opening_tells_nobody", "test_a_message_arrives_whole_and_once", "test_several_threads_do_not_mix")
class TriesItAtOpening(GoodNotifier):
    class post(Post):
        def __init__(self, token):
            super().__init__(token)
            if token in boxes and boxes[token].behaviour == "takes":
                self.put("is anybody there?")


@breaks("test_a_malformed_url_is_refused_at_opening_and_not_shown")
class ChecksWhenItSends(GoodNotifier):
    def check(self, url, secret):
        super().check("toypost://house/", secret)


@breaks("test_a_malformed_url_is_refused_at_opening_and_not_shown")
class ShowsTheURL(GoodNotifier):
    def check(self, url, secret):
        try:
            super().check(url, secret)
        except MalformedURL as error:
            raise MalformedURL(f"{url}: {error}") from None


@breaks("test_a_bad_secret_is_refused_at_opening_and_not_shown")
class IgnoresSecrets(GoodNotifier):
    def check(self, url, secret):
        super().check(url, "")


@breaks("test_a_bad_secret_is_refused_at_opening_and_not_shown")
class ShowsTheSecret(Signing, GoodNotifier):
    def check(self, url, secret):
        try:
            super().check(url, secret)
        except OptionError as error:
            raise OptionError(f"{secret}: {error}") from None


@breaks("test_a_message_arrives_whole_and_once")
class KnowsNothingButASCII(GoodNotifier):
    class post(Post):
        def put(self, text):
            super().put(text.encode("ascii", "replace").decode())


@breaks("test_a_message_arrives_whole_and_once")
class InterpretsEscapes(GoodNotifier):
    class post(Post):
        def put(self, text):
            super().put(text.replace("\\n", "\n"))


@breaks("test_a_message_arrives_whole_and_once", "test_several_threads_do_not_mix")
class SendsTwice(GoodNotifier):
    class post(Post):
        def put(self, text):
            super().put(text)
            super().put(text)


@breaks(
    "test_a_message_arrives_whole_and_once",
    "test_a_long_message_arrives_or_says_that_it_was_cut",
    "test_several_threads_do_not_mix",
)
class SendsTitlesAlone(GoodNotifier):
    class post(Post):
        def send(self, message):
            self.put(message.title)


@breaks("test_a_long_message_arrives_or_says_that_it_was_cut")
class CutsWithoutASign(GoodNotifier):
    class post(Post):
        def put(self, text):
            super().put(text[:2000])


@breaks("test_a_long_message_arrives_or_says_that_it_was_cut")
class RefusesLongMessages(GoodNotifier):
    class post(Post):
        def put(self, text):
            if len(text) > 2000:
                self.fail("it is too long")
            super().put(text)


@breaks("test_several_threads_do_not_mix")
class KeepsTheMessage(GoodNotifier):
    class post(Post):
        def put(self, text):
            self.text = text
            time.sleep(0.02 if text.startswith("title ") else 0)
            super().put(self.text)


@breaks("test_a_refusal_is_an_error")
class IgnoresRefusals(GoodNotifier):
    class post(Post):
        def fail(self, reason):
            if reason != "it was refused":
                super().fail(reason)


@breaks("test_a_connection_that_ends_midway_is_an_error")
class RaisesWhatTheLibraryDid(GoodNotifier):
    class post(Post):
        def fail(self, reason):
            if reason == "it went away":
                raise ConnectionResetError(reason)
            super().fail(reason)


@breaks("test_a_recipient_that_is_gone_is_an_error")
class SaysNotWhy(GoodNotifier):
    class post(Post):
        def fail(self, reason):
            super().fail("" if reason == "nobody is there" else reason)


@breaks("test_a_recipient_that_never_answers_is_given_up")
class WaitsForEver(GoodNotifier):
    class post(Post):
        seconds = None


@breaks("test_a_recipient_that_never_answers_is_given_up")
class TakesSilenceForSuccess(GoodNotifier):
    class post(Post):
        def fail(self, reason):
            if reason != "nobody answered":
                super().fail(reason)


@breaks("test_no_secret_is_shown")
class ShowsTheToken(GoodNotifier):
    class post(Post):
        def fail(self, reason):
            super().fail(f"{self.token}: {reason}")


@breaks("test_no_secret_is_shown")
class ShowsTheTokenInTheCause(GoodNotifier):
    class post(Post):
        def fail(self, reason):
            raise NotificationError(reason) from OSError(self.token)


@breaks("test_no_secret_is_shown")
class LogsTheToken(GoodNotifier):
    class post(Post):
        def put(self, text):
            super().put(text)
            logging.getLogger("toypost").warning("told %s", self.token)


@breaks("test_nothing_is_printed")
class Prints(GoodNotifier):
    class post(Post):
        def put(self, text):
            super().put(text)
            print("sent")


@breaks("test_nothing_is_left_behind")
class LeavesAThread(GoodNotifier):
    class post(Post):
        def put(self, text):
            super().put(text)
            threading.Thread(target=threading.Event().wait, args=(60,), daemon=True).start()


@breaks("test_nothing_is_left_behind")
class LeavesADescriptor(GoodNotifier):
    class post(Post):
        def put(self, text):
            super().put(text)
            os.dup(0)


@breaks("test_nothing_is_left_behind")
class SetsAVariable(GoodNotifier):
    class post(Post):
        def put(self, text):
            os.environ["TOYPOST"] = text
            super().put(text)
