"""The built-in store of Google Cloud Storage keeps the contract, on a server as strict as the real one says it is."""

from __future__ import annotations

import pytest
from support.google_server import refusal
from support.hostile_proxy import NONE, Trouble

from dumpty.testing import StoreSuite
from dumpty_plugins import gcs

WRITES = {"PUT", "POST"}


class TestGoogle(StoreSuite):
    plugin = gcs
    memory = 64 << 20  # a chunk is under way, and the next one filled
    large = 160 << 20
    many = 40  # names; a page of the service's has a thousand

    @pytest.fixture(autouse=True)
    def credentials(self, google_credentials):
        """Nothing of this machine's own."""

    @pytest.fixture
    def bucket(self, google_server):
        return google_server.new_bucket()

    @pytest.fixture
    def store_url(self, request, google_server, bucket):
        direct = "memory" in request.node.name  # the proxy's would count, too
        return google_server.url(bucket, "a/prefix", direct=direct, timeout=60 if direct else 1)

    @pytest.fixture
    def denied(self, google_server):
        def deny(name):
            def trouble(request):
                refused = request.method == "DELETE" and request.path.partition("?")[0].endswith(
                    name.replace("/", "%2F")
                )
                return refusal(403, "forbidden") if refused else NONE

            return google_server.proxy.does(trouble)

        return deny

    @pytest.fixture
    def cut_off(self, google_server):
        return lambda name: google_server.proxy.does(
            lambda request: Trouble(cut=10) if request.method == "GET" else NONE
        )

    @pytest.fixture
    def lost_answers(self, google_server):
        return lambda: google_server.proxy.does(lambda request: Trouble(lose=500) if request.method in WRITES else NONE)

    @pytest.fixture
    def stalled(self, google_server):
        return lambda: google_server.proxy.does(lambda _: Trouble(stall=True))
