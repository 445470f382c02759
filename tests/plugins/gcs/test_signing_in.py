"""Google's own chain of credentials signs in, over TLS, by the name of Google's own server; and nowhere else."""

from __future__ import annotations

import json
import socket
import ssl
import threading

import pytest
from support.certificates import make_certificate

from dumpty import NotPermitted, StoreError
from dumpty_plugins import gcs

GOOGLE = "storage.googleapis.com"


class Tunnels:
    """A proxy for HTTPS at whose other end, whatever it is called, is a server of the tests; and that server itself."""

    def __init__(self, port: int, certificate) -> None:
        self._server_port = port
        key, chain = certificate
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(chain, key)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.asked: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            if client.recv(1, socket.MSG_PEEK) == b"C":
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    head += client.recv(1)
                self.asked.append(head.split()[1].decode())
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with (
                self._context.wrap_socket(client, server_side=True) as inner,
                socket.create_connection(("127.0.0.1", self._server_port)) as server,
            ):
                back = threading.Thread(target=copy, args=(server, inner), daemon=True)
                back.start()
                copy(inner, server)
                back.join(30)
        except OSError:
            client.close()


def copy(source, target) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@pytest.fixture
def tunnels(google_server, tmp_path, monkeypatch):
    certificate = make_certificate(tmp_path, GOOGLE, "storage.example.org", f"{GOOGLE}.example.org")
    tunnels = Tunnels(google_server.port, certificate)
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{tunnels.port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[1]))
    yield tunnels
    tunnels.close()


@pytest.fixture
def service_account(google_server, tmp_path, monkeypatch):
    """A file of credentials whose tokens the server of the tests gives out."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    file = tmp_path / "account.json"

    def write(**other):
        account = {
            "type": "service_account",
            "project_id": "p",
            "private_key_id": "1",
            "private_key": pem,
            "client_email": "backup@p.iam.gserviceaccount.com",
            "token_uri": f"{google_server.endpoint}/token",
        }
        file.write_text(json.dumps(account | other))

    write()
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    return write


def test_a_service_account_signs_in_at_googles_own_server(google_server, bucket, tunnels, service_account):
    with google_server.being(tokens=["first-token"], scheme="https"):
        store = gcs.open_store(f"gs://{bucket}/here?part_size=1M")
        store.put("a/small", b"x")
        upload = store.upload("a/large")
        upload.write(bytes(3 << 20))
        upload.commit()
        assert {found.name: found.size for found in store.list()} == {"a/small": 1, "a/large": 3 << 20}
        # A token that is not accepted any more is renewed, in the midst of an upload, too.
        upload = store.upload("a/second")
        upload.write(bytes(2 << 20))
        google_server.control(tokens=["second-token"])
        upload.write(bytes(1 << 20))
        upload.commit()
        assert store.get("a/second") == bytes(3 << 20)
    assert set(tunnels.asked) == {f"{GOOGLE}:443"}
    assert store.locate("a/small") == f"gs://{bucket}/here/a/small"


def test_an_account_that_gets_no_token_is_refused(bucket, tunnels, service_account):
    with pytest.raises(NotPermitted, match="Invalid JWT Signature"):
        gcs.open_store(f"gs://{bucket}").get("a/b")


def test_a_token_that_is_never_accepted_is_an_error_and_not_asked_for_without_end(
    google_server, bucket, tunnels, service_account
):
    store = gcs.open_store(f"gs://{bucket}")
    with google_server.being(tokens=["given-out"]):
        assert list(store.list()) == []
        google_server.control(tokens=["given-out-next"])
        assert list(store.list()) == []
    seen = len(google_server.control()["seen"])
    with google_server.being(tokens=[{"none": "is"}]), pytest.raises(StoreError):
        list(gcs.open_store(f"gs://{bucket}").list())
    assert len(google_server.control()["seen"]) - seen <= 4


def test_a_token_goes_to_no_other_server(google_server, bucket, tunnels, service_account):
    before = len(google_server.control()["seen"])
    with google_server.being(tokens=["hidden-token"]):
        store = gcs.open_store(f"gs://{bucket}?endpoint=https://storage.example.org")
        with pytest.raises(NotPermitted):
            store.get("a/b")
        with pytest.raises(NotPermitted):
            gcs.open_store(f"gs://{bucket}?endpoint=https://{GOOGLE}.example.org").get("a/b")
    seen = google_server.control()["seen"][before:]
    assert seen == [["storage.example.org", ""], [f"{GOOGLE}.example.org", ""]]


def test_credentials_of_another_cloud_of_googles_are_for_its_servers(google_server, bucket, tunnels, service_account):
    service_account(universe_domain="example.org")
    with pytest.raises(NotPermitted, match=r"endpoint=https://storage\.example\.org"):
        gcs.open_store(f"gs://{bucket}").get("a/b")
    with google_server.being(tokens=["a-token"]):
        store = gcs.open_store(f"gs://{bucket}?endpoint=https://storage.example.org")
        with pytest.raises(StoreError):  # such an account signs its tokens itself, which this server does not know
            store.get("a/b")
    assert google_server.control()["seen"][-1][1].startswith("Bearer ey")
