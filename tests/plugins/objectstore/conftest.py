"""A container of Azurite's for every test, behind the proxy."""

from __future__ import annotations

import pytest

from dumpty_plugins import objectstore


@pytest.fixture(autouse=True)
def credentials(azure_credentials):
    """Every test has them."""


@pytest.fixture
def container(azure_server):
    return azure_server.new_container()


@pytest.fixture
def proxy(azure_server):
    azure_server.proxy.requests.clear()
    return azure_server.proxy


@pytest.fixture
def url(azure_server, container):
    return azure_server.url(container, "here", timeout=2)


@pytest.fixture
def store(url):
    return objectstore.open_store(url)
