"""Without a key the ecosystem's own chain signs in, over TLS: here what `az login` left."""

from __future__ import annotations

import json
import os
import time

import pytest
from support.azure_server import ACCOUNT, azurite
from support.certificates import make_certificate

from dumpty import NotPermitted
from dumpty_plugins import objectstore


@pytest.fixture
def certificate(tmp_path):
    return make_certificate(tmp_path, "127.0.0.1")


@pytest.fixture
def signed_in(monkeypatch, tmp_path):
    """`az` has a token for that audience, and nothing else signs in."""

    def sign_in(audience):
        import jwt

        now = int(time.time())
        claims = {"iss": "https://sts.windows.net/tenant/", "aud": audience, "iat": now, "nbf": now, "exp": now + 3600}
        token = {"accessToken": jwt.encode(claims, "k" * 32), "expires_on": now + 3600, "tokenType": "Bearer"}
        (tmp_path / "programs").mkdir(exist_ok=True)
        program = tmp_path / "programs" / "az"
        program.write_text(f"#!/bin/sh\nprintf '%s\\n' '{json.dumps(token)}'\n")
        program.chmod(0o755)

    monkeypatch.delenv("AZURE_STORAGE_KEY")
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "AzureCliCredential")
    monkeypatch.setenv("PATH", f"{tmp_path / 'programs'}{os.pathsep}{os.environ['PATH']}")
    return sign_in


def test_who_has_signed_in_needs_no_key(certificate, signed_in, monkeypatch):
    key, trusted = certificate
    with azurite("--cert", str(trusted), "--key", str(key), "--oauth", "basic") as server:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(trusted))
        url = f"az://backups/here?endpoint=https://127.0.0.1:{server.port}/{ACCOUNT}"
        create(server)
        signed_in("https://storage.azure.com")
        store = objectstore.open_store(url)
        upload = store.upload("a/large")
        upload.write(bytes(17 << 20))
        upload.commit()
        store.put("a/small", b"x")
        assert {found.name: found.size for found in store.list()} == {"a/large": 17 << 20, "a/small": 1}
        assert store.get("a/small") == b"x"
        store.delete(["a/large"])
        signed_in("https://another.example.org")
        with pytest.raises(NotPermitted, match=r"sign in again|AZURE_STORAGE_KEY"):
            objectstore.open_store(url).get("a/small")


def create(server):
    from azure.core.credentials import AzureNamedKeyCredential
    from azure.storage.blob import BlobServiceClient
    from support.azure_server import KEY

    endpoint = f"https://127.0.0.1:{server.port}/{ACCOUNT}"
    BlobServiceClient(endpoint, AzureNamedKeyCredential(ACCOUNT, KEY)).create_container("backups")
