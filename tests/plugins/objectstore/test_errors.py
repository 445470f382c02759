"""Whatever is wrong with a container, its server or the credentials: one line that says what to do, and nothing done."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest
from support import off_site
from support.azure_server import ACCOUNT, KEY
from support.hostile_proxy import NONE, Trouble
from support.off_site import dumpty, make_shop, wait_for
from support.ports import free_port

from dumpty import NotPermitted
from dumpty_plugins import objectstore

OTHER_KEY = "b3RoZXIg" * 11


def refusal(status, code):
    return Trouble(refuse=(status, code), headers={"x-ms-error-code": code, "Content-Type": "application/xml"})


def error_of(call) -> str:
    return off_site.error_of(call, KEY, OTHER_KEY)


@pytest.fixture
def shop(tmp_path):
    return make_shop(tmp_path / "shop.db", megabytes=40)


def test_there_is_no_such_container(azure_server, shop):
    url = azure_server.url("no-such-container")
    store = objectstore.open_store(url)
    for call in (
        lambda: list(store.list()),
        lambda: store.put("a/b", b""),
        lambda: store.get("a/b"),
        lambda: store.stat("a/b"),
        lambda: store.delete(["a/b"]),
    ):
        assert "there is no container 'no-such-container'" in error_of(call)
    for arguments in (("list", "-d", url), ("backup", shop, "-d", url)):
        ended = dumpty(*arguments)
        assert ended.returncode == 1
        assert "no container 'no-such-container' at http://127.0.0.1" in ended.stderr
        assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("key", [OTHER_KEY, "no key at all"])
def test_a_key_is_wrong(url, monkeypatch, key):
    monkeypatch.setenv("AZURE_STORAGE_KEY", key)
    store = objectstore.open_store(url)
    assert "AZURE_STORAGE_KEY" in error_of(lambda: list(store.list()))
    with pytest.raises(NotPermitted):
        store.get("a/b")


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [
        (403, "AuthenticationFailed", "does not accept the credentials"),
        (401, "InvalidAuthenticationInfo", "sign in again"),
        (403, "AuthorizationPermissionMismatch", "`dumpty help objectstore` lists the rights"),
        (403, "AuthorizationFailure", "`dumpty help objectstore` lists the rights"),
        (400, "SomethingNew", "SomethingNew"),
        (500, "InternalError", "InternalError"),
        (429, "TooManyRequests", "TooManyRequests"),
        (409, "BlobArchived", "it lies in the archive tier"),
        (409, "ContainerBeingDeleted", "is being deleted"),
    ],
)
def test_the_server_refuses(store, proxy, status, code, text):
    with proxy.does(lambda _: refusal(status, code)):
        assert text in error_of(lambda: store.get("a/b"))
        # Once, if it is a refusal; again, if it may help.
        assert len(proxy.requests) == (4 if status in {429, 500} else 1)
        if status not in {429, 500}:
            assert text in error_of(lambda: list(store.list()))
            assert text in error_of(lambda: store.stat("a/b"))


@pytest.mark.parametrize(
    "answer", [b"", b"<", b"<EnumerationResults><Blobs><Blob><Name>here/a/b</Name></Blob></Blobs>"]
)
def test_an_answer_makes_no_sense(store, proxy, answer):
    store.put("a/b", b"x")
    with proxy.does(lambda _: Trouble(rewrite=lambda _: answer)):
        assert "cannot list" in error_of(lambda: list(store.list()))


def test_an_answer_that_something_is_missing_and_not_what_is_no_missing_object(store, proxy):
    store.put("a/b", b"x")
    nothing = Trouble(refuse=(404, ""), rewrite=lambda _: b"no such page")
    with proxy.does(lambda request: nothing if request.method != "PUT" else NONE):
        for call in (lambda: store.get("a/b"), lambda: store.stat("a/b"), lambda: store.delete(["a/b"])):
            assert "404" in error_of(call)
    assert store.get("a/b") == b"x"


def test_nothing_is_sent_over_plain_http_that_was_signed_in_with(url, proxy, monkeypatch):
    monkeypatch.delenv("AZURE_STORAGE_KEY")
    assert "plain HTTP" in error_of(lambda: objectstore.open_store(url).get("a/b"))
    assert proxy.requests == []


def test_there_are_no_credentials(monkeypatch):
    monkeypatch.delenv("AZURE_STORAGE_KEY")
    monkeypatch.setenv(
        "AZURE_TOKEN_CREDENTIALS", "AzureCliCredential"
    )  # what this machine's own could answer is left out
    monkeypatch.setenv("PATH", "/nowhere")
    store = objectstore.open_store("az://container?endpoint=https://127.0.0.1:1&timeout=1")
    assert "nothing signs in" in error_of(lambda: store.get("a/b"))
    with pytest.raises(NotPermitted):
        store.get("a/b")


def test_no_account_is_named(monkeypatch):
    store = objectstore.open_store("az://container")
    assert "?account=NAME" in error_of(lambda: store.get("a/b"))


def test_a_connection_string_says_it_all(azure_server, container, monkeypatch):
    monkeypatch.delenv("AZURE_STORAGE_KEY")
    server = f"http://127.0.0.1:{azure_server.port}/{ACCOUNT}"
    text = f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={server};"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
    # That of plain HTTP has to be said where it is shown.
    assert "?endpoint=http://" in error_of(lambda: objectstore.open_store(f"az://{container}").get("a/b"))
    store = objectstore.open_store(f"az://{container}?endpoint={server}")
    store.put("a/b", b"x")
    assert store.get("a/b") == b"x"
    # Its key is not for another account.
    other = objectstore.open_store(f"az://{container}?endpoint={server}&account=another")
    assert "plain HTTP" in error_of(lambda: other.get("a/b"))


def test_a_sas_token_is_enough(azure_server, container, url, monkeypatch):
    from datetime import UTC, datetime, timedelta

    from azure.storage.blob import ContainerSasPermissions, generate_container_sas

    monkeypatch.delenv("AZURE_STORAGE_KEY")
    token = generate_container_sas(
        ACCOUNT,
        container,
        KEY,
        permission=ContainerSasPermissions(read=True, list=True, create=True, write=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", token)
    store = objectstore.open_store(url)
    store.put("a/b", b"x")
    assert [found.name for found in store.list()] == ["a/b"]
    assert "dumpty help objectstore" in error_of(lambda: store.delete(["a/b"]))
    assert "sig=" not in error_of(lambda: store.delete(["a/b"])) + store.locate("a/b")


def test_nobody_listens():
    endpoint = f"http://127.0.0.1:{free_port()}/{ACCOUNT}"
    store = objectstore.open_store(f"az://container?endpoint={endpoint}&timeout=1")
    assert f"the blob server {endpoint} cannot be reached" in error_of(lambda: store.get("a/b"))


def test_a_certificate_is_not_trusted(azure_server, container):
    endpoint = f"https://127.0.0.1:{azure_server.proxy.port}/{ACCOUNT}"
    store = objectstore.open_store(f"az://{container}?endpoint={endpoint}&timeout=1")
    assert "the blob server https://127.0.0.1" in error_of(lambda: store.get("a/b"))


@pytest.mark.parametrize("trouble", [Trouble(lose="reset"), Trouble(stall=True), refusal(403, "AuthenticationFailed")])
def test_no_error_shows_a_sas_token(azure_server, container, proxy, monkeypatch, trouble):
    monkeypatch.setattr("dumpty_plugins.buckets.asking._PAUSES", (0.1, 0.1, 0.1))  # what it says after four attempts
    url = azure_server.url(container, timeout=1)
    monkeypatch.delenv("AZURE_STORAGE_KEY")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "?sv=2024-11-04&sp=rl&sig=hidden-secret")
    texts = [error_of(lambda: objectstore.open_store(url.replace("http://", "https://")).get("a/b"))]
    with proxy.does(lambda _: trouble):
        texts += [error_of(lambda: objectstore.open_store(url).get("a/b"))]
    assert any("sig=hidden-secret" in request.path for request in proxy.requests)
    for text in texts:
        assert "hidden-secret" not in text
        assert "sig=" not in text


def test_ctrl_c_ends_a_transfer_that_hangs_and_leaves_nothing(azure_server, proxy, container, shop):
    url = azure_server.url(container)
    assert dumpty("backup", shop, "-d", url).returncode == 0
    before = azure_server.blobs(container)
    proxy.requests.clear()
    hanging = lambda request: Trouble(stall=True) if "comp=block&" in request.path else NONE  # noqa: E731
    with proxy.does(hanging):
        command = [sys.executable, "-m", "dumpty", "backup", shop, "-d", url]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
            wait_for(lambda: sum("comp=block&" in request.path for request in proxy.requests) >= 3)
            child.send_signal(signal.SIGINT)
            interrupted = time.monotonic()
            error = child.communicate(timeout=120)[1]
            seconds = time.monotonic() - interrupted
    assert child.returncode == 130, error
    assert "Traceback" not in error
    assert seconds < 30, seconds  # it would have waited for minutes
    assert {name for name in azure_server.blobs(container) if ".db" in name} == {n for n in before if ".db" in n}
    assert len(dumpty("list", "-d", url, "--json").stdout.split('"driver"')) == 2
