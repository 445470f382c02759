"""The built-in store of object storage keeps the contract, on the emulator of its maker."""

from __future__ import annotations

import pytest
from support.hostile_proxy import NONE, Trouble

from dumpty.testing import StoreSuite
from dumpty_plugins import objectstore


class TestAzure(StoreSuite):
    plugin = objectstore
    memory = 64 << 20  # several blocks are under way
    large = 160 << 20
    many = 40  # names; a page of the service's has five thousand

    @pytest.fixture(autouse=True)
    def credentials(self, azure_credentials):
        """The children of a test have them, too."""

    @pytest.fixture
    def container(self, azure_server):
        return azure_server.new_container()

    @pytest.fixture
    def store_url(self, request, azure_server, container):
        direct = "memory" in request.node.name  # the proxy's would count, too
        return azure_server.url(container, "a/prefix", direct=direct, timeout=60 if direct else 1)

    @pytest.fixture
    def denied(self, azure_server):
        def deny(name):
            def trouble(request):
                refused = request.method == "DELETE" and request.path.partition("?")[0].endswith(name)
                return Trouble(refuse=(403, "AuthorizationPermissionMismatch")) if refused else NONE

            return azure_server.proxy.does(trouble)

        return deny

    @pytest.fixture
    def cut_off(self, azure_server):
        def trouble(request):
            return Trouble(cut=10) if request.method == "GET" else NONE

        return lambda name: azure_server.proxy.does(trouble)

    @pytest.fixture
    def lost_answers(self, azure_server):
        return lambda: azure_server.proxy.does(lambda request: Trouble(lose=500) if request.method == "PUT" else NONE)

    @pytest.fixture
    def stalled(self, azure_server):
        return lambda: azure_server.proxy.does(lambda _: Trouble(stall=True))
