"""The built-in notifiers keep the contract: with a web server, a mail server and a program."""

from __future__ import annotations

import base64
import json

import pytest
from support.recipients import TINY, MailRecipient, WebRecipient

from dumpty.testing import NotifierSuite, Recipient
from dumpty_plugins import apprise, command, webhook

TOKEN, PASSWORD = "t0ken-of-the-path", "pa55word-of-the-user"


def text_of(document: dict) -> str:
    return f"{document['title']}\n{document['body']}"


@pytest.fixture
def start():
    """Start a recipient, which leaves at the end."""
    started = []

    def start(kind, *arguments):
        started.append(kind(*arguments))
        return started[-1]

    yield start
    for recipient in started:
        recipient.leave()


class TestWebhook(NotifierSuite):
    plugin = webhook
    libraries = ("urllib3", "ssl")
    signs = True
    bad_secrets = (
        "only-twenty-three-chars",
        f"whsec_{base64.b64encode(b'b' * 23).decode()}",
        "whsec_this is no base64 at all, but long",
        "whsec_" + "a" * 41,
    )
    malformed = {  # noqa: RUF012 - never changed
        f"http://user:{PASSWORD}": PASSWORD,
        f"http://host:port/{TOKEN}": TOKEN,
        f"https://host/a path/{TOKEN}": TOKEN,
        f"https:///{TOKEN}": TOKEN,
        f"https://[::1/{TOKEN}": TOKEN,
        f"https://user:8443/{PASSWORD}@host/path": "8443",
        f"https://host:0/{TOKEN}": TOKEN,
        f"https://hôst/{TOKEN}": TOKEN,
        "https://": "",
    }

    @pytest.fixture
    def new_recipient(self, start, monkeypatch):
        def make(behaviour):
            server = start(WebRecipient, behaviour)
            if behaviour == "hangs":
                monkeypatch.setattr(webhook, "_SECONDS", TINY)
            return Recipient(
                url=f"http://user:{PASSWORD}@127.0.0.1:{server.port}/{TOKEN}?key={TOKEN}2#{TOKEN}3",
                secret="s3cret-of-twenty-four-characters",
                hidden=(TOKEN, PASSWORD),
                received=lambda: [text_of(json.loads(body)) for _, _, body in server.requests],
                contacts=lambda: server.contacts,
                leave=server.leave,
            )

        return make


PAGE = """#!/bin/sh
echo x >> "$0.contacts"
case {behaviour} in
refuses) echo "first words" >&2; echo "no: $1" >&2; exit 3;;
hangs-up) kill -9 $$;;
hangs) exec sleep 60;;
esac
file=$(mktemp "$0.XXXXXX")
cat > "$file"
echo "$file" >> "$0.received"
"""


class TestCommand(NotifierSuite):
    plugin = command
    malformed = {  # noqa: RUF012 - never changed
        f"command://host/bin/true?arg={TOKEN}": TOKEN,
        "command://": "",
        f"command:///bin/true?{TOKEN}": TOKEN,
        f"command:///bin/true?args={TOKEN}": TOKEN,
        f"command:///bin/true?arg={TOKEN}#fragment": TOKEN,
        f"command:///bin/true?arg={TOKEN}%00": TOKEN,
        f"command:///no/such/program?arg={TOKEN}": TOKEN,
        f"command:///etc/passwd?arg={TOKEN}": TOKEN,
        f"command:///etc?arg={TOKEN}": TOKEN,
        f"command:bin/true?arg={TOKEN}": TOKEN,
    }

    @pytest.fixture
    def new_recipient(self, tmp_path, monkeypatch):
        def make(behaviour):
            (tmp_path / behaviour).mkdir()
            program = tmp_path / behaviour / "page"
            program.write_text(PAGE.format(behaviour=behaviour))
            program.chmod(0o755)
            if behaviour == "hangs":
                monkeypatch.setattr(command, "_SECONDS", TINY)

            def lines(name):
                path = program.with_name(f"page.{name}")
                return path.read_text().splitlines() if path.exists() else []

            def received():
                texts = []
                for name in lines("received"):
                    with open(name, "rb") as stream:
                        texts.append(text_of(json.load(stream)))
                return texts

            return Recipient(
                url=f"command://{program}?arg={TOKEN}",
                hidden=(TOKEN,),
                received=received,
                contacts=lambda: len(lines("contacts")),
                leave=program.unlink,
            )

        return make


class AppriseSuite(NotifierSuite):
    plugin = apprise
    libraries = ("apprise", "requests", "yaml")
    malformed = {  # noqa: RUF012 - never changed
        f"nosuch://{TOKEN}": TOKEN,
        f"file:///etc/passwd?{TOKEN}": TOKEN,
        f"json://?key={TOKEN}": TOKEN,
        f"mailto://{TOKEN}": TOKEN,
        f"json://host/{TOKEN}?optional=yes": TOKEN,
        f"json://host/{TOKEN}?rto=31": TOKEN,
        f"json://host/{TOKEN}?cto=nan": TOKEN,
        f"json://host/{TOKEN}?rto=20&retry=2": TOKEN,
        f"discord://{TOKEN}/abcdefghijkl?template=/etc/passwd": TOKEN,
        f"macosx://_/?sound={TOKEN}": TOKEN,
        f"dbus://{TOKEN}": TOKEN,
        f"{TOKEN}": TOKEN,
        "": "",
    }


class TestAppriseByJSON(AppriseSuite):
    @pytest.fixture
    def new_recipient(self, start):
        def make(behaviour):
            server = start(WebRecipient, behaviour)
            limit = "?rto=0.3" if behaviour == "hangs" else "?rto=30"

            def received():
                documents = [json.loads(body) for _, _, body in server.requests]
                return [f"{document['title']}\n{document['message']}" for document in documents]

            return Recipient(
                url=f"json://user:{PASSWORD}@localhost:{server.port}/{TOKEN}{limit}",
                hidden=(TOKEN, PASSWORD),
                received=received,
                contacts=lambda: server.contacts,
                leave=server.leave,
            )

        return make


class TestAppriseByMail(AppriseSuite):
    @pytest.fixture
    def new_recipient(self, start):
        def make(behaviour):
            server = start(MailRecipient, behaviour, PASSWORD)
            limit = TINY if behaviour == "hangs" else 30
            return Recipient(
                url=f"mailto://user:{PASSWORD}@127.0.0.1:{server.port}"
                f"?from=dumpty@example.org&to=ops@example.org&cto={limit}",
                hidden=(PASSWORD,),
                received=lambda: server.texts,
                contacts=lambda: server.contacts,
                leave=server.leave,
            )

        return make
