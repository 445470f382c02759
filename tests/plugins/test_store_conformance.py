"""The built-in store keeps the contract, and so it does where its file system has no hard links, or is a network's."""

from __future__ import annotations

import contextlib
import errno
import os
from unittest import mock

import pytest

from dumpty.testing import StoreSuite
from dumpty_plugins import file
from dumpty_plugins.file import filesystem

LINK, UNLINK = os.link, os.unlink


class TestFile(StoreSuite):
    plugin = file

    @pytest.fixture
    def store_url(self, tmp_path):
        return str(tmp_path / "store")

    @pytest.fixture
    def denied(self, store):
        def unlink(path, **options):
            if path == "2":
                raise PermissionError(errno.EACCES, "Permission denied", path)
            UNLINK(path, **options)

        return lambda name: mock.patch.object(os, "unlink", unlink)

    @pytest.fixture
    def cut_off(self, store):
        return lambda name: contextlib.nullcontext(os.truncate(store.path(name), 100_000))

    @pytest.fixture
    def lost_answers(self, store):
        def link(*arguments, **options):
            with contextlib.suppress(FileExistsError):
                LINK(*arguments, **options)
            raise FileExistsError(errno.EEXIST, "what NFS says to the second sending")

        return lambda: mock.patch.object(os, "link", link)


class TestFileWithoutLinks(TestFile):
    @pytest.fixture(autouse=True)
    def no_links(self, monkeypatch):
        def link(*_, **__):
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", link)

    @pytest.fixture
    def lost_answers(self):
        return self.unproved("proved with links")


class TestFileOfANetwork(TestFile):
    @pytest.fixture(autouse=True)
    def not_local(self, monkeypatch):
        monkeypatch.setattr(filesystem, "is_local", lambda _: False)
