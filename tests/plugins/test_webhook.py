"""The notifier ``webhook``: what it posts, and that others can verify who did."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import shutil
import subprocess
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from support.recipients import WebRecipient

from dumpty import Host, Message, Notice, OptionError

AT = datetime(2026, 11, 28, 17, 4, 5, tzinfo=timezone(timedelta(hours=2)))
NOTICE = Notice(event="alarm", kind="overdue", job="shop", subject="", text="it is „late“", since=AT)
MESSAGE = Message(
    id="msg-1", severity="failure", title="shop is late", body="a\nb", host="db1", at=AT, notices=(NOTICE,)
)
RAW = b"thirty-two bytes of secret, raw!"


@pytest.fixture
def server():
    server = WebRecipient()
    yield server
    server.leave()


def sent(server, secret=""):
    """Send the message, and return the headers and the body that came."""
    host = Host()
    url = f"http://127.0.0.1:{server.port}/hook"
    host.open_notifier(host.notifier(url), url=url, secret=secret).send(MESSAGE)
    [(path, headers, body)] = server.requests
    assert path == "/hook"
    return headers, body


@pytest.mark.parametrize("scheme", ["http", "https", "HTTPS"])
def test_it_answers_urls_of_http(scheme):
    assert Host().notifier(f"{scheme}://host/").name == "webhook"


def test_the_message_comes_as_json(server):
    headers, body = sent(server)
    assert headers["content-type"] == "application/json"
    assert body.decode().count("„late“") == 1
    since = "2026-11-28T15:04:05Z"
    assert json.loads(body) == {
        "version": 1,
        "id": "msg-1",
        "severity": "failure",
        "title": "shop is late",
        "body": "a\nb",
        "host": "db1",
        "at": since,
        "notices": [
            {
                "event": "alarm",
                "kind": "overdue",
                "job": "shop",
                "subject": "",
                "text": "it is „late“",
                "since": since,
            }
        ],
    }


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        (f"whsec_{base64.b64encode(RAW).decode()}", RAW),
        ("twenty-four characters !", b"twenty-four characters !"),
        ("vierundzwanzig Größen, ja", "vierundzwanzig Größen, ja".encode()),
    ],
)
def test_a_secret_signs_as_the_specification_says(server, secret, key):
    headers, body = sent(server, secret)
    moment = headers["webhook-timestamp"]
    assert headers["webhook-id"] == "msg-1"
    assert abs(int(moment) - time.time()) < 600  # of the attempt, as recipients refuse what is old
    signed = hmac.new(key, f"msg-1.{moment}.".encode() + body, hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(signed).decode()}"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_a_signature_is_verified_by_openssl(server):
    headers, body = sent(server, f"whsec_{base64.b64encode(RAW).decode()}")
    content = b".".join((headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body))
    argv = ["openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{RAW.hex()}", "-binary"]
    digest = subprocess.run(argv, input=content, capture_output=True, check=True).stdout
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"


def test_without_a_secret_nothing_is_signed(server):
    headers, _ = sent(server)
    assert headers["webhook-id"] == "msg-1"
    assert "webhook-signature" not in headers


def test_a_bad_secret_says_how_to_make_one():
    host = Host()
    with pytest.raises(OptionError, match=r"shorter than 24 characters: make one with `echo whsec_\$\(head"):
        host.open_notifier(host.notifier("http://h/"), url="http://h/", secret="short-secret")
    with pytest.raises(OptionError, match=r"no base64: copy it once more"):
        host.open_notifier(host.notifier("http://h/"), url="http://h/", secret="whsec_short-secret")


def test_what_is_no_text_is_replaced(server):
    """A file's name need not be text, and no reader of JSON takes half a surrogate pair."""
    host = Host()
    message = Message(id="m", severity="info", title="\udcff.db", body="x", host="h", at=datetime.now(UTC))
    url = f"http://127.0.0.1:{server.port}"
    host.open_notifier(host.notifier(url), url=url).send(message)
    assert json.loads(server.requests[0][2])["title"] == "?.db"
