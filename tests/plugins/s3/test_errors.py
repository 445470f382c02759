"""Whatever is wrong with a bucket, its server or the credentials: one line that says what to do, and nothing done."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest
from support import off_site
from support.hostile_proxy import NONE, Trouble
from support.off_site import dumpty, make_shop, wait_for
from support.ports import free_port

from dumpty import NotPermitted
from dumpty_plugins import s3


def error_of(call) -> str:
    return off_site.error_of(call, "dumptys-secret")


@pytest.fixture
def shop(tmp_path):
    return make_shop(tmp_path / "shop.db", megabytes=40)


def test_there_is_no_such_bucket(moto_server, shop):
    url = moto_server.url("no-such-bucket-here")
    store = s3.open_store(url)
    for call in (
        lambda: list(store.list()),
        lambda: store.put("a/b", b""),
        lambda: store.get("a/b"),
        lambda: store.stat("a/b"),
    ):
        assert "there is no bucket 'no-such-bucket-here'" in error_of(call)
    for arguments in (("list", "-d", url), ("backup", shop, "-d", url)):
        ended = dumpty(*arguments)
        assert ended.returncode == 1
        assert "no bucket 'no-such-bucket-here' at http://127.0.0.1" in ended.stderr
        assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("AWS_ACCESS_KEY_ID", "the server does not know the access key"),
        ("AWS_SECRET_ACCESS_KEY", "the secret key is not that of the access key"),
    ],
)
def test_a_key_is_wrong(rclone_server, monkeypatch, variable, text):
    url = rclone_server.url(rclone_server.new_bucket())
    monkeypatch.setenv(variable, "another-one")
    store = s3.open_store(url)
    assert text in error_of(lambda: list(store.list()))
    with pytest.raises(NotPermitted):
        store.get("a/b")


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [
        (400, "ExpiredToken", "have expired; renew them"),
        (403, "RequestTimeTooSkewed", "set the clock"),
        (403, "AccessDenied", "`dumpty help s3` lists the rights"),
        (400, "AuthorizationHeaderMalformed", "?region="),
        (400, "SomethingNew", "SomethingNew: made by the test"),
        (500, "InternalError", "InternalError"),
        (429, "TooManyRequests", "TooManyRequests"),
        (403, "InvalidObjectState", "it lies in an archive"),
    ],
)
def test_the_server_refuses(store, proxy, status, code, text):
    with proxy.does(lambda _: Trouble(refuse=(status, code))):
        assert text in error_of(lambda: list(store.list()))
        sent = len(proxy.requests)
        assert text in error_of(lambda: store.get("a/b"))
    # Once, if it is a refusal; again, if it may help.
    assert len(proxy.requests) - sent == (4 if status in {429, 500} else 1)


@pytest.mark.parametrize(
    "answer", [b"", b"<", b"<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>"]
)
def test_an_answer_makes_no_sense(store, proxy, answer):
    store.put("a/b", b"x")
    with proxy.does(lambda _: Trouble(rewrite=lambda _: answer)):
        assert "cannot list" in error_of(lambda: list(store.list()))
        assert error_of(lambda: upload_in_parts(store))


def test_an_answer_that_something_is_missing_and_not_what_is_no_missing_object(store, proxy):
    store.put("a/b", b"x")
    nothing = Trouble(refuse=(404, ""), rewrite=lambda _: b"no such page")
    with proxy.does(lambda request: nothing if request.method != "PUT" else NONE):
        for call in (lambda: store.get("a/b"), lambda: store.stat("a/b"), lambda: store.delete(["a/b"])):
            assert "404" in error_of(call)
    assert store.get("a/b") == b"x"


def upload_in_parts(store):
    upload = store.upload("a/large")
    try:
        upload.write(bytes(20 << 20))
        upload.commit()
    finally:
        upload.abort()


def test_there_are_no_credentials(url, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "AWS_ACCESS_KEY_ID" in error_of(lambda: s3.open_store(url).get("a/b"))
    assert "profile" in error_of(lambda: s3.open_store(url + "&profile=none-such").get("a/b"))


def test_credentials_of_a_profile_are_used(url, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    (tmp_path / "credentials").write_text("[backups]\naws_access_key_id = a\naws_secret_access_key = b\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    store = s3.open_store(url + "&profile=backups")
    store.put("a/b", b"x")
    assert store.get("a/b") == b"x"


def test_nobody_listens():
    endpoint = f"http://127.0.0.1:{free_port()}"
    store = s3.open_store(f"s3://bucket?endpoint={endpoint}&timeout=1")
    assert f"the S3 server {endpoint} cannot be reached" in error_of(lambda: store.get("a/b"))


def test_a_certificate_is_not_trusted(moto_server, bucket):
    store = s3.open_store(f"s3://{bucket}?endpoint=https://127.0.0.1:{moto_server.proxy.port}&timeout=1")
    assert "the S3 server https://127.0.0.1" in error_of(lambda: store.get("a/b"))


def test_ctrl_c_ends_a_transfer_that_hangs_and_leaves_nothing(moto_server, proxy, bucket, shop, tmp_path):
    url = moto_server.url(bucket)
    assert dumpty("backup", shop, "-d", url).returncode == 0
    before = moto_server.keys(bucket)
    hanging = lambda request: Trouble(stall=True) if "partNumber=" in request.path else NONE  # noqa: E731
    with proxy.does(hanging):
        command = [sys.executable, "-m", "dumpty", "backup", shop, "-d", url]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
            wait_for(lambda: any("partNumber=3" in request.path for request in proxy.requests[-3:]))
            child.send_signal(signal.SIGINT)
            interrupted = time.monotonic()
            error = child.communicate(timeout=120)[1]
            seconds = time.monotonic() - interrupted
    assert child.returncode == 130, error
    assert "Traceback" not in error
    assert seconds < 30, seconds  # it would have waited for minutes
    assert moto_server.unfinished(bucket) == []
    assert {key for key in moto_server.keys(bucket) if ".db" in key} == {key for key in before if ".db" in key}
    assert len(dumpty("list", "-d", url, "--json").stdout.split('"driver"')) == 2
