"""A bucket of the stand-in's for every test, behind the proxy."""

from __future__ import annotations

import pytest

from dumpty_plugins import gcs


@pytest.fixture(autouse=True)
def credentials(google_credentials):
    """Nothing of this machine's own."""


@pytest.fixture
def bucket(google_server):
    return google_server.new_bucket()


@pytest.fixture
def proxy(google_server):
    google_server.proxy.requests.clear()
    return google_server.proxy


@pytest.fixture
def url(google_server, bucket):
    return google_server.url(bucket, "here", timeout=2)


@pytest.fixture
def store(url):
    return gcs.open_store(url)
