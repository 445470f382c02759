"""An az:// URL says where, and holds no secret; one that makes no sense is refused before anything is asked."""

from __future__ import annotations

import pytest

from dumpty import MalformedURL
from dumpty_plugins import objectstore


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("az://account:hidden-secret@container", "AZURE_STORAGE_KEY"),
        ("az://account@container/x", "?account=NAME"),
        ("az://", "no name of a container"),
        ("az:///prefix", "no name of a container"),
        ("az://Container", "no name of a container"),
        ("az://con--tainer", "no name of a container"),
        ("az://c", "no name of a container"),
        ("az://c%6fntainer", "no name of a container"),
        ("az://container/a//b", "no prefix"),
        ("az://container/../x", "no prefix"),
        ("az://container/a b", "no prefix"),
        ("az://container#part", "no prefix"),
        ("az://container/" + "x/" * 400 + "y", "no prefix"),
        ("az://container?endpont=http://x", "did you mean endpoint?"),
        ("az://container?sig=hidden-secret", "no parameter"),
        ("az://container?account_key=hidden-secret", "no parameter"),
        ("az://container?account", "key=value"),
        ("az://container?account=", "storage account's name"),
        ("az://container?account=My-Account", "storage account's name"),
        ("az://container?account=abc&account=def", "twice"),
        ("az://container?endpoint=ftp://host", "https://HOST"),
        ("az://container?endpoint=http://k:hidden-secret@host", "no credentials"),
        ("az://container?endpoint=https://host/a/path", "https://HOST"),
        ("az://container?endpoint=", "https://HOST"),
        ("az://container?storage_class=Archive", "Hot, Cool, Cold"),
        ("az://container?part_size=4", "1M to 4000M"),
        ("az://container?part_size=6G", "1M to 4000M"),
        ("az://container?part_size=8MB", "1M to 4000M"),
        ("az://container?timeout=0", "number of seconds"),
        ("az://container?timeout=soon", "number of seconds"),
        ("az://[container", "az://CONTAINER"),
    ],
)
def test_what_makes_no_sense_is_refused_without_showing_a_secret(url, text):
    with pytest.raises(MalformedURL) as caught:
        objectstore.open_store(url)
    assert text in str(caught.value)
    assert "hidden-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("az://container", "az://container/folder/name"),
        ("az://container/", "az://container/folder/name"),
        ("az://container/a/b/?timeout=5", "az://container/a/b/folder/name"),
        ("az://container/a?account=shops", "az://container/a/folder/name?account=shops"),
        ("az://container?endpoint=http://h:9/acc", "az://container/folder/name?endpoint=http://h:9/acc"),
        ("az://container?endpoint=h:9", "az://container/folder/name?endpoint=https://h:9"),  # never plain, unless asked
        ("az://container/a%2Fb", "az://container/a/b/folder/name"),
    ],
)
def test_an_object_is_located(url, location):
    assert objectstore.open_store(url).locate("folder/name") == location
