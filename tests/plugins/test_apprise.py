"""The notifier ``apprise``: which URLs it takes, and how it makes a success mean what it says."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
from datetime import UTC, datetime

import pytest
from support.recipients import MailRecipient, WebRecipient

from dumpty import DependencyError, Host, MalformedURL, Message, NotificationError, OptionError

PATIENT = "?rto=30&cto=30"
MESSAGE = Message(id="m", severity="failure", title="shop failed", body="it is full", host="db1", at=datetime.now(UTC))


@pytest.fixture
def server():
    server = WebRecipient()
    yield server
    server.leave()


def opened(url):
    host = Host()
    return host.open_notifier(host.notifier(url), url=url)


def refusal(url, kind=MalformedURL):
    with pytest.raises(kind) as caught:
        opened(url)
    return str(caught.value)


@pytest.mark.parametrize("url", ["mailto://user:x@example.org", "tgram://1:abc/2", "syslog://", "json://h"])
def test_it_answers_whatever_nobody_else_does(url):
    assert Host().notifier(url).name == "apprise"


def test_without_the_library_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "apprise", None)
    assert 'pip install "dumpty[apprise]"' in refusal("json://host/", DependencyError)


def test_without_what_a_service_needs_the_error_says_what_to_install():
    import apprise

    manager = apprise.NotificationManager()
    assert "json" in manager
    if manager["mqtt"].enabled:
        pytest.skip("paho-mqtt is installed")
    assert "mqtt:// here, for this needs paho-mqtt" in refusal("mqtt://host/topic", DependencyError)


@pytest.mark.parametrize(
    ("severity", "kind"),
    [("failure", "failure"), ("warning", "warning"), ("recovery", "success"), ("info", "info")],
)
def test_the_severity_is_told(server, severity, kind):
    import msgspec

    opened(f"json://127.0.0.1:{server.port}/{PATIENT}").send(msgspec.structs.replace(MESSAGE, severity=severity))
    assert json.loads(server.requests[0][2])["type"] == kind


def test_a_mail_is_plain_text_with_the_title_as_its_subject():
    server = MailRecipient()
    try:
        opened(f"mailto://127.0.0.1:{server.port}?from=dumpty@example.org&to=ops@example.org&cto=30").send(MESSAGE)
        [mail] = server.messages
    finally:
        server.leave()
    assert mail["Subject"] == "shop failed"
    assert mail["To"] == "ops@example.org"
    assert "dumpty@example.org" in mail["From"]
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content().strip() == "it is full"


def test_a_message_without_a_body_is_its_title(server):
    import msgspec

    opened(f"json://127.0.0.1:{server.port}/{PATIENT}").send(msgspec.structs.replace(MESSAGE, body=""))
    assert json.loads(server.requests[0][2])["message"] == "shop failed"


@pytest.mark.parametrize("scheme", ["dbus", "kde", "qt", "glib", "gio", "gnome", "macosx", "windows", "blink1"])
def test_what_shows_something_on_this_machine_is_refused(scheme):
    assert "shows something on this machine" in refusal(f"{scheme}://")


def test_every_service_that_starts_programs_or_speaks_to_a_desktop_is_known():
    """A new one of apprise's is to be looked at before it is let in."""
    import inspect

    import apprise

    manager = apprise.NotificationManager()
    assert "json" in manager
    found = set()
    for scheme in (name for name in manager.schemas() if isinstance(name, str)):
        text = inspect.getsource(inspect.getmodule(manager[scheme]))
        if any(word in text for word in ("subprocess", "os.system", "SessionBus", "Gio.", "win32", "blink1")):
            found.add(scheme)
    assert found - {"dbus", "kde", "qt", "glib", "gio", "gnome", "macosx", "windows", "blink1"} == set()


def test_a_function_that_a_program_gave_apprise_is_none_of_its_services():
    import apprise

    @apprise.decorators.notify(on="ownfunction")
    def own(*_, **__):
        return True

    try:
        assert "apprise makes nothing of the ownfunction:// URL" in refusal("ownfunction://host")
    finally:
        apprise.NotificationManager().remove("ownfunction")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "include://x", "memory://x", "config://host/x", "nosuch://x"])
def test_what_is_no_service_is_refused(url):
    assert "apprise" in refusal(url, Exception)


def test_a_setting_that_would_hide_failures_or_the_message_is_refused():
    assert "optional=yes" in refusal("json://host/?optional=yes")
    assert "a template" in refusal("discord://1234567890/abcdefghijkl?template=/etc/passwd")
    for settings in ("rto=31", "cto=60", "retry=9", "rto=10&retry=2&wait=5", "rto=nan", "rto=0", "cto=-1"):
        assert "more than 30 s" in refusal(f"json://host/?{settings}")
    opened("json://host/?rto=10&cto=10&retry=1&wait=1&optional=no")


def test_it_signs_nothing():
    host = Host()
    with pytest.raises(OptionError, match="not signed"):
        host.open_notifier(host.notifier("json://h"), url="json://h", secret="x")


def test_a_redirection_is_no_success(server):
    """What is posted is not posted again, and a page that answers is no recipient."""
    server.behaviour = "redirects"
    with pytest.raises(NotificationError, match=r"json:// did not take it: .*error=302"):
        opened(f"json://127.0.0.1:{server.port}/{PATIENT}").send(MESSAGE)
    assert len(server.requests) == 1


def test_what_apprise_says_of_a_failure_is_told_without_the_url(server, capfd):
    server.behaviour = "401"
    with pytest.raises(NotificationError) as caught:
        opened(f"json://user:pa55word@127.0.0.1:{server.port}/401-token{PATIENT}").send(MESSAGE)
    assert (
        str(caught.value)
        == "json:// did not take it: Failed to send JSON POST notification: Verification Failed., error=401"
    )
    assert capfd.readouterr() == ("", "")


def test_what_apprise_logs_of_a_send_goes_nowhere_else_and_of_others_where_it_did(server):
    import apprise

    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    apprise.logger.addHandler(handler)
    entered, leave = threading.Event(), threading.Event()
    errors = []

    class Slow(WebRecipient):
        def _slow(self, handler, body):
            entered.set()
            leave.wait(60)
            handler.send_response(500)
            handler.end_headers()

    slow = Slow("slow")

    def send():
        try:
            opened(f"json://127.0.0.1:{slow.port}/{PATIENT}").send(MESSAGE)
        except NotificationError as error:
            errors.append(str(error))

    thread = threading.Thread(target=send)
    try:
        thread.start()
        assert entered.wait(60)
        apprise.logger.warning("of somebody else")
        leave.set()
        thread.join()
    finally:
        leave.set()
        apprise.logger.removeHandler(handler)
        slow.leave()
    assert stream.getvalue() == "of somebody else\n"
    [error] = errors
    assert "error=500" in error
    assert "somebody" not in error


def test_a_message_that_is_too_long_is_cut_with_its_title_where_both_are_one(monkeypatch):
    import apprise

    sent = []
    manager = apprise.NotificationManager()
    assert "json" in manager
    kind = manager["json"]
    monkeypatch.setattr(kind, "send", lambda self, body, title="", **_: sent.append((title, body)) or True)
    monkeypatch.setattr(kind, "body_maxlen", 100)
    long = Message(id="m", severity="info", title="t" * 300, body="line\n" * 100, host="h", at=MESSAGE.at)
    opened("json://host/").send(long)
    [(title, body)] = sent
    assert (len(title), title[-1], len(body), body[-1]) == (250, "…", 100, "…")
    monkeypatch.setattr(kind, "title_maxlen", 0)
    short_title = Message(id="m", severity="info", title="title", body="line\n" * 100, host="h", at=MESSAGE.at)
    opened("json://host/").send(short_title)
    title, body = sent[1]
    assert (title, body[:7], len(body), body[-1]) == ("", "title\r\n", 100, "…")
    monkeypatch.setattr(kind, "body_max_line_count", 4)
    opened("json://host/").send(short_title)
    assert sent[2][1].splitlines() == ["title", "line", "line", "…"]
    monkeypatch.setattr(kind, "body_max_line_count", 0)
    opened("json://host/?overflow=split&retry=0").send(short_title)
    assert len(sent) > 6
