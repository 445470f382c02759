"""``post_http``: what was taken, what was not, and what is shown of it."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time

import pytest
from support.certificates import make_certificate
from support.recipients import TINY, WebRecipient

from dumpty import MalformedURL, NotificationError, post_http, require_http_url

TOKEN, PASSWORD = "t0ken-of-the-path", "pa55word"
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def start():
    """Start a web server, which leaves at the end."""
    started = []

    def start(*arguments):
        started.append(WebRecipient(*arguments))
        return started[-1]

    yield start
    for server in started:
        server.leave()


def refusal(url, *arguments, **options):
    """Return the text of the error that posting ends with; nothing of it is a secret."""
    with pytest.raises(NotificationError) as caught:
        post_http(url, *arguments, **options)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    assert not any(secret in str(caught.value) for secret in (TOKEN, PASSWORD))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_posted_arrives_as_it_is(start):
    server = start()
    post_http(f"http://127.0.0.1:{server.port}/a%20path?q=1#part", b"\0\xff", {"X-Own": "yes"})
    [(path, headers, body)] = server.requests
    assert (path, body) == ("/a%20path?q=1", b"\0\xff")
    assert headers["x-own"] == "yes"
    assert headers["user-agent"] == "dumpty"
    assert "authorization" not in headers


def test_nothing_can_be_posted_too(start):
    server = start(200)
    post_http(f"http://127.0.0.1:{server.port}")
    [(path, headers, body)] = server.requests
    assert (path, headers["content-length"], body) == ("/", "0", b"")


def test_user_and_password_are_sent_as_basic_authentication(start):
    server = start()
    post_http(f"http://a%40b:p%3Aw%C3%A4@127.0.0.1:{server.port}/")
    [(_, headers, _)] = server.requests
    assert headers["authorization"] == "Basic YUBiOnA6d8Ok"
    assert headers["host"] == f"127.0.0.1:{server.port}"


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_every_2xx_is_taken(start, status):
    post_http(f"http://127.0.0.1:{start(status).port}/")


@pytest.mark.parametrize("status", [304, 400, 404, 429, 500, 503])
def test_every_other_status_is_an_error(start, status):
    server = start(status)
    assert refusal(f"http://127.0.0.1:{server.port}/{TOKEN}") == f"http://127.0.0.1:{server.port} answered {status}"
    assert len(server.requests) == 1


def test_what_a_server_answers_is_shown_without_what_was_sent_to_it(start):
    url = f"http://user:{PASSWORD}@127.0.0.1:{start('refuses').port}/{TOKEN}/b?key={PASSWORD}2&x=y"
    text = refusal(url, b"", {"X-Signature": TOKEN})
    assert "answered 500: cannot POST ***" in text
    assert "dXNlcjpw" not in text  # the basic authentication


def test_an_answer_that_never_ends_is_shown_in_part(start):
    text = refusal(f"http://127.0.0.1:{start('boasts').port}/")
    assert "answered 500: all is lost all is lost" in text
    assert text.endswith("…")
    assert len(text) < 400


def test_a_compressed_answer_and_a_page_are_not_shown(start):
    class Compressed(WebRecipient):
        def _refuses(self, handler, body):
            handler.send_response(500)
            handler.send_header("Content-Encoding", "gzip")
            handler.end_headers()
            handler.wfile.write(gzip.compress(bytes(1000)))

    class Page(WebRecipient):
        def _refuses(self, handler, body):
            handler.send_response(502)
            handler.end_headers()
            handler.wfile.write(b"\n<html>what a page</html>")

    for kind, end in ((Compressed, "answered 500"), (Page, "answered 502")):
        server = kind("refuses")
        try:
            assert refusal(f"http://127.0.0.1:{server.port}/").endswith(end)
        finally:
            server.leave()


def test_a_redirection_is_no_success_and_not_followed(start):
    server = start("redirects")
    text = refusal(f"http://127.0.0.1:{server.port}/{TOKEN}", b"secret")
    assert "answered 302: it is somewhere else; write the address that it has now" in text
    assert [path for path, _, _ in server.requests] == [f"/{TOKEN}"]


@pytest.mark.parametrize("behaviour", ["hangs", "drips"])
def test_a_server_that_never_comes_to_an_end_is_given_up_and_its_connection_dropped(start, behaviour):
    server = start(behaviour)
    text = refusal(f"http://127.0.0.1:{server.port}/{TOKEN}", seconds=TINY)
    assert text == f"http://127.0.0.1:{server.port} gave no answer within {TINY:g} s"
    end = time.monotonic() + 60
    while any(t.name == "dumpty-http" for t in threading.enumerate()):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_server_that_takes_no_connection_is_given_up():
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(3)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        try:
            assert "gave no answer" in refusal(f"http://127.0.0.1:{port}/", seconds=TINY)
        finally:
            for client in waiting:
                client.close()


def test_a_server_that_hangs_up_or_speaks_another_language_is_an_error(start):
    assert "cannot be told: " in refusal(f"http://127.0.0.1:{start('hangs-up').port}/{TOKEN}")

    class Foreign(WebRecipient):
        def _refuses(self, handler, body):
            handler.wfile.write(f"SSH-2.0 {TOKEN}\r\n".encode())

    server = Foreign("refuses")
    try:
        assert "cannot be told: " in refusal(f"http://127.0.0.1:{server.port}/{TOKEN}")
    finally:
        server.leave()


def test_a_server_that_is_not_there_says_what_the_system_says(start):
    server = start()
    server.leave()
    text = refusal(f"http://127.0.0.1:{server.port}/{TOKEN}")
    assert text == f"http://127.0.0.1:{server.port} cannot be told: Connection refused"
    assert "cannot be told: " in refusal(f"http://nowhere.invalid/{TOKEN}")


def test_what_cannot_be_sent_shows_no_header(start):
    server = start()
    assert "cannot be told: " in refusal(f"http://127.0.0.1:{server.port}/", b"", {"X-Own": f"{TOKEN}\r\nX-Other: x"})
    assert "cannot be told: " in refusal(f"http://127.0.0.1:{server.port}/", b"", {"X-Own": f"{TOKEN}\u20ac"})
    assert server.requests == []


@pytest.fixture
def secure(tmp_path, start):
    """A server that speaks HTTPS, and its certificate."""
    key, certificate = make_certificate(tmp_path, "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return start("takes", context), certificate


def test_a_certificate_that_the_system_trusts_is_trusted(secure, monkeypatch):
    server, certificate = secure
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    post_http(f"https://127.0.0.1:{server.port}/{TOKEN}", b"x")
    assert [body for _, _, body in server.requests] == [b"x"]


def test_a_certificate_of_nobody_or_of_another_host_is_an_error_and_nothing_is_sent(secure, monkeypatch):
    server, certificate = secure
    assert "certificate verify failed" in refusal(f"https://127.0.0.1:{server.port}/{TOKEN}", b"x")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert "localhost" in refusal(f"https://localhost:{server.port}/{TOKEN}", b"x")
    assert server.requests == []


def test_a_server_that_speaks_no_tls_is_an_error(start):
    assert "cannot be told: " in refusal(f"https://127.0.0.1:{start().port}/{TOKEN}")


@pytest.mark.parametrize("form", ["http://us%40er:{password}@127.0.0.1:{port}/", "us%40er:{password}@127.0.0.1:{port}"])
def test_a_proxy_of_the_environment_is_asked_with_its_password(start, monkeypatch, form):
    proxy = start()
    monkeypatch.setenv("http_proxy", form.format(port=proxy.port, password=PASSWORD))
    post_http(f"http://nowhere.invalid/{TOKEN}", b"x")
    [(path, headers, body)] = proxy.requests
    assert (path, body) == (f"http://nowhere.invalid/{TOKEN}", b"x")
    assert headers["proxy-authorization"] == "Basic dXNAZXI6cGE1NXdvcmQ="


def test_a_proxy_that_lets_nobody_through_is_an_error(start, monkeypatch):
    proxy = start()
    monkeypatch.setenv("https_proxy", f"http://user:{PASSWORD}@127.0.0.1:{proxy.port}")
    assert "407" in refusal(f"https://nowhere.invalid/{TOKEN}", b"x")
    assert [path for path, _, _ in proxy.requests] == ["nowhere.invalid:443"]
    proxy.leave()
    assert "Connection refused" in refusal(f"https://nowhere.invalid/{TOKEN}", b"x")
    monkeypatch.setenv("https_proxy", f"socks5://user:{PASSWORD}@127.0.0.1:{proxy.port}")
    assert "cannot be told: " in refusal(f"https://nowhere.invalid/{TOKEN}", b"x")


def test_hosts_that_need_no_proxy_are_asked_without_one(start, monkeypatch):
    proxy, server = start(), start()
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("no_proxy", f"127.0.0.1:{server.port}")
    post_http(f"http://127.0.0.1:{server.port}/")
    assert (len(proxy.requests), len(server.requests)) == (0, 1)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"https://user:{PASSWORD}@Example.org/{TOKEN}?a=b#c", "https://example.org"),
        ("HTTP://example.org:8080", "http://example.org:8080"),
        (f"http://[::1]:80/{TOKEN}", "http://[::1]:80"),
    ],
)
def test_of_a_url_scheme_host_and_port_are_shown(url, shown):
    assert require_http_url(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "",
        f"{TOKEN}",
        f"ftp://host/{TOKEN}",
        f"https://{TOKEN}:x/",
        f"https:///{TOKEN}",
        f"https://host:0/{TOKEN}",
        f"https://host/{TOKEN} b",
        f"https://host/{TOKEN}\r\nX: y",
        f"https://host/{TOKEN}ä",
        f"https://{TOKEN}:8443/b@host/",
        f"https://[{TOKEN}/",
    ],
)
def test_what_is_no_url_of_http_is_said_without_showing_it(url):
    for function in (require_http_url, post_http):
        with pytest.raises(MalformedURL) as caught:
            function(url)
        assert not url or TOKEN not in str(caught.value).replace(repr(url[:20]), "")
