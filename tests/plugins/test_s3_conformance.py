"""The built-in store of S3 keeps the contract, on a server that knows what S3 means and on one that does not."""

from __future__ import annotations

import pytest
from support.hostile_proxy import NONE, Trouble
from support.s3_server import PAGE

from dumpty.testing import StoreSuite
from dumpty_plugins import s3


class _S3(StoreSuite):
    plugin = s3
    memory = 64 << 20  # several parts are under way
    large = 160 << 20

    @pytest.fixture(autouse=True)
    def credentials(self, s3_credentials):
        """The children of a test have them, too."""

    @pytest.fixture
    def bucket(self, server):
        return server.new_bucket()

    @pytest.fixture
    def store_url(self, request, server, bucket):
        direct = "memory" in request.node.name  # the proxy's would count, too
        return server.url(bucket, "a/prefix", direct=direct, timeout=60 if direct else 1)

    @pytest.fixture
    def denied(self, server):
        def deny(name):
            def trouble(request):
                batch = request.method == "POST" and "delete" in request.path
                if batch:
                    return Trouble(refuse=(501, "NotImplemented"))  # so each is asked for, and one is refused
                key = request.path.partition("?")[0]
                return (
                    Trouble(refuse=(403, "AccessDenied")) if request.method == "DELETE" and key.endswith(name) else NONE
                )

            return server.proxy.does(trouble)

        return deny

    @pytest.fixture
    def cut_off(self, server):
        def on_reads(trouble):
            return lambda request: trouble if request.method == "GET" else NONE

        with server.proxy.does(on_reads(Trouble(pause=100_000))):
            yield lambda name: server.proxy.cuts(on_reads(Trouble(cut=0)))

    @pytest.fixture
    def lost_answers(self, server):
        return lambda: server.proxy.does(lambda request: Trouble(lose=500) if request.method == "PUT" else NONE)

    @pytest.fixture
    def stalled(self, server):
        return lambda: server.proxy.does(lambda _: Trouble(stall=True))


class TestS3(_S3):
    many = 2 * PAGE + 30  # a listing of three pages; for deletions see plugins/s3/test_guarantees.py

    @pytest.fixture
    def server(self, moto_server):
        return moto_server


class TestS3WithoutConditions(_S3):
    many = 40  # pages are those of the other server

    @pytest.fixture
    def server(self, rclone_server):
        return rclone_server
