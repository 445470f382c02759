"""An s3:// URL says where, and holds no secret; one that makes no sense is refused before anything is asked."""

from __future__ import annotations

import pytest

from dumpty import MalformedURL
from dumpty_plugins import s3


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("s3://key:hidden-secret@bucket", "AWS_SECRET_ACCESS_KEY"),
        ("s3://key@bucket/x", "AWS_ACCESS_KEY_ID"),
        ("s3://", "no name of a bucket"),
        ("s3:///prefix", "no name of a bucket"),
        ("s3://b%63ket", "no name of a bucket"),
        ("s3://bucket/a//b", "no prefix"),
        ("s3://bucket/../x", "no prefix"),
        ("s3://bucket/a b", "no prefix"),
        ("s3://bucket#part", "no prefix"),
        ("s3://bucket/" + "x/" * 400 + "y", "no prefix"),
        ("s3://bucket?endpont=http://x", "did you mean endpoint?"),
        ("s3://bucket?secret_key=hidden-secret", "no parameter"),
        ("s3://bucket?region", "key=value"),
        ("s3://bucket?region=", "no value"),
        ("s3://bucket?region=a&region=b", "twice"),
        ("s3://bucket?endpoint=ftp://host", "https://HOST"),
        ("s3://bucket?endpoint=http://k:hidden-secret@host", "no credentials"),
        ("s3://bucket?endpoint=https://host/path", "no path"),
        ("s3://bucket?addressing=sideways", "path, virtual"),
        ("s3://bucket?sse=rot13", "AES256"),
        ("s3://bucket?sse=AES256&kms_key=arn:x", "drop one of them"),
        ("s3://bucket?part_size=4M", "5M to 5G"),
        ("s3://bucket?part_size=6G", "5M to 5G"),
        ("s3://bucket?part_size=8MB", "5M to 5G"),
        ("s3://bucket?timeout=0", "number of seconds"),
        ("s3://bucket?timeout=soon", "number of seconds"),
        ("s3://[bucket", "s3://BUCKET"),
    ],
)
def test_what_makes_no_sense_is_refused_without_showing_a_secret(url, text):
    with pytest.raises(MalformedURL) as caught:
        s3.open_store(url)
    assert text in str(caught.value)
    assert "hidden-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("s3://bucket", "s3://bucket/folder/name"),
        ("s3://bucket/", "s3://bucket/folder/name"),
        ("s3://bucket/a/b/?region=eu-west-1", "s3://bucket/a/b/folder/name"),
        ("s3://bucket?endpoint=http://h:9000", "s3://bucket/folder/name?endpoint=http://h:9000"),
        ("s3://bucket?endpoint=h:9000", "s3://bucket/folder/name?endpoint=https://h:9000"),  # never plain, unless asked
        ("s3://bucket/a%2Fb", "s3://bucket/a/b/folder/name"),
    ],
)
def test_an_object_is_located(url, location):
    assert s3.open_store(url).locate("folder/name") == location
