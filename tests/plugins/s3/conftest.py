"""A bucket of moto's for every test, behind the proxy."""

from __future__ import annotations

import pytest

from dumpty_plugins import s3


@pytest.fixture(autouse=True)
def credentials(s3_credentials):
    """Every test has them."""


@pytest.fixture
def bucket(moto_server):
    return moto_server.new_bucket()


@pytest.fixture
def proxy(moto_server):
    moto_server.proxy.requests.clear()
    return moto_server.proxy


@pytest.fixture
def url(moto_server, bucket):
    return moto_server.url(bucket, "here", timeout=2)


@pytest.fixture
def store(url):
    return s3.open_store(url)
