"""The notifier ``command``: what its program is given, and what becomes of how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from datetime import UTC, datetime

import pytest

from dumpty import Host, MalformedURL, Message, NotificationError, OptionError, message_json
from dumpty_plugins import command

MESSAGE = Message(id="m", severity="warning", title="it's $late", body="a\nb", host="db1", at=datetime.now(UTC))


@pytest.fixture
def program(tmp_path):
    """Make a program: ``program(text, name)``; its path."""

    def make(text, name="page"):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\ncd '{tmp_path}'\n{text}\n")
        path.chmod(0o755)
        return path

    return make


def send(url, message=MESSAGE):
    host = Host()
    host.open_notifier(host.notifier(url), url=url).send(message)


def refusal(url, message=MESSAGE):
    with pytest.raises(NotificationError) as caught:
        send(url, message)
    return str(caught.value)


def test_a_program_gets_the_message_as_json_and_title_and_severity_in_its_environment(program, tmp_path):
    path = program('cat > input; printf %s "$DUMPTY_SEVERITY: $DUMPTY_TITLE" > variables')
    send(f"command://{path}")
    assert (tmp_path / "input").read_bytes() == message_json(MESSAGE)
    assert json.loads((tmp_path / "input").read_text())["body"] == "a\nb"
    assert (tmp_path / "variables").read_text() == "warning: it's $late"


def test_path_and_arguments_are_decoded_and_no_shell_reads_them(program, tmp_path):
    path = program(r'printf "%s\n" "$@" > arguments', "pa ge?é")
    url = f"command://{str(path).replace(' ', '%20').replace('?', '%3F').replace('é', '%C3%A9')}"
    send(f"{url}?arg=--to&arg=a%20b+c%26%3Bd&arg=&arg=$(id)%C3%BC")
    assert (tmp_path / "arguments").read_text() == "--to\na b+c&;d\n\n$(id)ü\n"


def test_what_it_prints_goes_nowhere(program, capfd):
    send(f"command://{program('echo out; echo error >&2')}")
    assert capfd.readouterr() == ("", "")


def test_a_program_that_reads_nothing_of_a_long_message_has_succeeded(program):
    """Some need no more than the title in their environment."""
    message = Message(id="m", severity="info", title="t", body="x" * (3 << 20), host="h", at=MESSAGE.at)
    send(f"command://{program('exec <&-')}", message)


def test_another_status_is_an_error_with_its_last_lines(program):
    text = refusal(f"command://{program('for i in 1 2 3 4 5; do echo line $i >&2; done; exit 3')}?arg=--to")
    assert text == "page exited with status 3: line 3 / line 4 / line 5"
    assert refusal(f"command://{program('exit 1')}") == "page exited with status 1, and said nothing"


def test_what_it_says_of_its_arguments_is_not_shown(program):
    text = refusal(f"command://{program('echo no: $1 >&2; exit 3')}?arg=t0ken-of-mine")
    assert text == "page exited with status 3: no: ***"


@pytest.mark.parametrize(
    "text", ["exec sleep 60", "exec <&-; exec sleep 60", "trap '' TERM; echo stuck >&2; exec sleep 60"]
)
def test_a_program_that_takes_too_long_is_ended_with_all_that_it_started(program, monkeypatch, text, tmp_path):
    monkeypatch.setattr(command, "_SECONDS", 0.5)
    message = Message(id="m", severity="info", title="t", body="x" * (3 << 20), host="h", at=MESSAGE.at)
    assert refusal(f"command://{program('echo $$ > pid;' + text)}", message).startswith("page did not end within 0.5 s")
    pid = (tmp_path / "pid").read_text() if (tmp_path / "pid").exists() else ""  # where it came as far as that
    with pytest.raises(ProcessLookupError) if pid else contextlib.nullcontext():
        pid and os.kill(int(pid), signal.SIGCONT)


def test_a_title_of_any_length_fits(program, tmp_path):
    message = Message(id="m", severity="info", title="é" * 200_000, body="", host="h", at=MESSAGE.at)
    path = program('cat > input; printf %s "$DUMPTY_TITLE" > title')
    send(f"command://{path}", message)
    assert (tmp_path / "title").read_text() == "é" * 4000
    assert json.loads((tmp_path / "input").read_text())["title"] == message.title


def test_what_no_environment_can_hold_is_an_error_like_others(program):
    message = Message(id="m", severity="info", title="a\0b", body="", host="h", at=MESSAGE.at)
    assert "page could not be started" in refusal(f"command://{program('')}", message)


def test_what_can_be_no_program_is_said_before_anything_is_sent(program, tmp_path):
    (tmp_path / "data").write_text("#!/bin/sh\n")
    for url in (f"command://{tmp_path}/data", f"command://{tmp_path}", "command:///no/such/program"):
        with pytest.raises(MalformedURL, match=r"there is no program /.* that this user may run"):
            send(url)
    with pytest.raises(MalformedURL, match="the path absolute"):
        send("command://bin/true")
    with pytest.raises(MalformedURL, match="the only parameter is arg"):
        send(f"command://{program('')}?argument=x")


def test_it_signs_nothing():
    host = Host()
    with pytest.raises(OptionError, match="not signed"):
        host.open_notifier(host.notifier("command:///bin/true"), url="command:///bin/true", secret="x")
