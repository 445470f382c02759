"""Whatever is wrong with a bucket, its server or the credentials: one line that says what to do, and nothing done."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest
from support.google_server import refusal
from support.hostile_proxy import NONE, Trouble
from support.off_site import dumpty, error_of, make_shop, wait_for
from support.ports import free_port

from dumpty import Cap, NotPermitted
from dumpty_plugins import gcs

METHOD_NOT_FOUND = json.dumps({"error": {"message": "Not Found", "errors": [{"reason": "notFound"}]}}).encode()


@pytest.fixture
def shop(tmp_path):
    return make_shop(tmp_path / "shop.db", megabytes=40)


def test_there_is_no_such_bucket(google_server, shop):
    url = google_server.url("no-such-bucket")
    store = gcs.open_store(url)
    for call in (
        lambda: list(store.list()),
        lambda: store.put("a/b", b""),
        lambda: store.get("a/b"),
        lambda: store.stat("a/b"),
        lambda: store.delete(["a/b"]),
        lambda: store.upload("a/b").write(bytes(33 << 20)),
    ):
        assert "there is no bucket 'no-such-bucket'" in error_of(call)
    for arguments in (("list", "-d", url), ("backup", shop, "-d", url)):
        ended = dumpty(*arguments)
        assert ended.returncode == 1
        assert "no bucket 'no-such-bucket' at http://127.0.0.1" in ended.stderr
        assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("status", "reason", "text"),
    [
        (401, "authError", "does not accept the credentials"),
        (401, "required", "does not accept the credentials"),
        (403, "forbidden", "`dumpty help gcs` lists the rights"),
        (403, "insufficientPermissions", "`dumpty help gcs` lists the rights"),
        (400, "userProjectMissing", "?project=NAME"),
        (400, "somethingNew", "somethingNew"),
        (500, "backendError", "backendError"),
        (429, "rateLimitExceeded", "rateLimitExceeded"),
        (403, "userRateLimitExceeded", "userRateLimitExceeded"),
    ],
)
def test_the_server_refuses(store, proxy, status, reason, text):
    again = "RateLimit" in reason or status in {429, 500}
    with proxy.does(lambda _: refusal(status, reason)):
        assert text in error_of(lambda: store.get("a/b"))
        # Once, if it is a refusal; again, if it may help.
        assert len(proxy.requests) == (4 if again else 1)
        if not again:
            assert text in error_of(lambda: list(store.list()))
            assert text in error_of(lambda: store.stat("a/b"))


@pytest.mark.parametrize(
    "body", [b"no such page", b"", METHOD_NOT_FOUND, b'{"error": "other"}', b"<html>", b"[" * 100_000]
)
def test_an_answer_that_something_is_missing_and_not_what_is_no_missing_object(store, proxy, body):
    store.put("a/b", b"x")
    nothing = Trouble(refuse=(404, ""), rewrite=lambda _: body)
    with proxy.does(lambda request: nothing if request.method != "POST" else NONE):
        for call in (lambda: store.get("a/b"), lambda: store.stat("a/b"), lambda: store.delete(["a/b"])):
            text = error_of(call)
            assert "404" in text or "notFound" in text
    assert store.get("a/b") == b"x"


@pytest.mark.parametrize("place", ["http://127.0.0.1:9/", "http://[", "//\xff"])
def test_a_redirection_is_not_followed(store, proxy, place):
    store.put("a/b", b"x")
    elsewhere = Trouble(refuse=(302, ""), headers={"Location": place})
    with proxy.does(lambda _: elsewhere):
        assert "302" in error_of(lambda: store.get("a/b"))


def test_a_page_that_is_somebody_elses_is_no_deletion(store, proxy):
    store.put("a/b", b"x")
    page = Trouble(refuse=(200, ""), rewrite=lambda _: b"<html>Please sign in</html>")
    with proxy.does(lambda request: page if request.method == "DELETE" else NONE):
        assert "makes no sense" in error_of(lambda: store.delete(["a/b"]))


def test_a_page_of_a_proxys_that_refuses_says_nothing_of_rights(store, proxy):
    page = Trouble(refuse=(403, ""), rewrite=lambda _: b"<html>Blocked</html>")
    with proxy.does(lambda _: page):
        assert "HTTP status 403" in error_of(store.capabilities)
    assert Cap.CREATE_NEW in store.capabilities()


def test_an_upload_that_is_dropped_while_the_server_is_silent_raises_nothing(google_server, proxy, bucket):
    store = gcs.open_store(google_server.url(bucket, timeout=20, part_size="1M"))
    writer = store.upload("a/b")
    writer.write(bytes(2 << 20))
    with proxy.does(lambda request: Trouble(stall=True) if request.method == "DELETE" else NONE):
        writer.abort()


def test_a_large_answer_to_a_small_question_is_not_read(store, proxy):
    store.put("a/b", b"x")
    large = Trouble(rewrite=lambda _: b"[" + b"{}," * (1 << 20) + b"{}]")
    with proxy.does(lambda _: large):
        assert "more than it was asked for" in error_of(lambda: store.stat("a/b"))


def test_an_answer_about_another_object_is_not_believed(store, proxy):
    store.put("a/b", b"x")
    other = Trouble(rewrite=lambda body: body.replace(b"here/a/b", b"here/a/c"))
    with proxy.does(lambda _: other):
        assert "another object" in error_of(lambda: store.stat("a/b"))


def test_nobody_listens():
    endpoint = f"http://127.0.0.1:{free_port()}"
    store = gcs.open_store(f"gs://bucket?endpoint={endpoint}&timeout=1")
    assert f"the server {endpoint} cannot be reached" in error_of(lambda: store.get("a/b"))


def test_a_certificate_is_not_trusted(google_server, bucket):
    endpoint = f"https://127.0.0.1:{google_server.proxy.port}"
    store = gcs.open_store(f"gs://{bucket}?endpoint={endpoint}&timeout=1")
    assert "the server https://127.0.0.1" in error_of(lambda: store.get("a/b"))


def test_no_error_shows_the_session_that_lets_its_holder_write(store, proxy):
    store.capabilities()
    writer = store.upload("a/b")
    with proxy.does(lambda request: Trouble(lose="reset") if request.method == "PUT" else NONE):
        text = error_of(lambda: writer.write(bytes(40 << 20)) and writer.commit())
    writer.abort()
    sessions = [request.path for request in proxy.requests if "upload_id=" in request.path]
    assert sessions
    assert "upload_id" not in text


def test_ctrl_c_ends_a_transfer_that_hangs_and_leaves_nothing(google_server, proxy, bucket, shop):
    url = google_server.url(bucket)
    assert dumpty("backup", shop, "-d", url).returncode == 0
    before = google_server.objects(bucket)
    proxy.requests.clear()
    hanging = lambda request: Trouble(stall=True) if request.method == "PUT" else NONE  # noqa: E731
    with proxy.does(hanging):
        command = [sys.executable, "-m", "dumpty", "backup", shop, "-d", url]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
            wait_for(lambda: any(request.method == "PUT" for request in proxy.requests))
            child.send_signal(signal.SIGINT)
            interrupted = time.monotonic()
            error = child.communicate(timeout=120)[1]
            seconds = time.monotonic() - interrupted
    assert child.returncode == 130, error
    assert "Traceback" not in error
    assert seconds < 30, seconds  # it would have waited for minutes
    assert {name for name in google_server.objects(bucket) if ".db" in name} == {n for n in before if ".db" in n}
    assert len(json.loads(dumpty("list", "-d", url, "--json").stdout)["backups"]) == 1


def test_what_is_sent_over_plain_http_is_signed_by_nobody(url, proxy, monkeypatch, tmp_path):
    """A token is whoever holds it."""
    file = tmp_path / "user.json"
    file.write_text(
        json.dumps(
            {"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "hidden-secret"}
        )
    )
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    assert list(gcs.open_store(url).list()) == []
    assert proxy.requests
    assert all("authorization" not in request.headers for request in proxy.requests)


@pytest.mark.parametrize("content", [None, "no json", "{}", '{"type": "authorized_user"}'])
def test_there_are_no_credentials(monkeypatch, tmp_path, content):
    if content is not None:
        (tmp_path / "file.json").write_text(content)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "file.json"))
    store = gcs.open_store("gs://bucket?timeout=1")
    text = error_of(lambda: store.get("a/b"))
    assert "nothing signs in" in text
    assert "GOOGLE_APPLICATION_CREDENTIALS" in text
    with pytest.raises(NotPermitted):
        store.get("a/b")
