"""A gs:// URL says where, and holds no secret; one that makes no sense is refused before anything is asked."""

from __future__ import annotations

import pytest

from dumpty import MalformedURL
from dumpty_plugins import gcs


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("gs://key:hidden-secret@bucket", "GOOGLE_APPLICATION_CREDENTIALS"),
        ("gs://", "no name of a bucket"),
        ("gs:///prefix", "no name of a bucket"),
        ("gs://Bucket", "no name of a bucket"),
        ("gs://b", "no name of a bucket"),
        ("gs://b%6fcket", "no name of a bucket"),
        ("gs://bucket/a//b", "no prefix"),
        ("gs://bucket/../x", "no prefix"),
        ("gs://bucket/a b", "no prefix"),
        ("gs://bucket#part", "no prefix"),
        ("gs://bucket?endpont=http://x", "did you mean endpoint?"),
        ("gs://bucket?token=hidden-secret", "no parameter"),
        ("gs://bucket?project", "key=value"),
        ("gs://bucket?project=", "project's name"),
        ("gs://bucket?project=A%20b", "project's name"),
        ("gs://bucket?project=abc&project=def", "twice"),
        ("gs://bucket?endpoint=ftp://host", "https://HOST"),
        ("gs://bucket?endpoint=http://k:hidden-secret@host", "no credentials"),
        ("gs://bucket?endpoint=https://host/a/path", "https://HOST"),
        ("gs://bucket?storage_class=nearline", "NEARLINE"),
        ("gs://bucket?kms_key=k", "projects/PROJECT"),
        ("gs://bucket?part_size=4", "1M to 1G"),
        ("gs://bucket?part_size=1000001", "1M to 1G"),
        ("gs://bucket?part_size=5000000", "multiple of 256K"),
        ("gs://bucket?timeout=0", "number of seconds"),
        ("gs://[bucket", "gs://BUCKET"),
    ],
)
def test_what_makes_no_sense_is_refused_without_showing_a_secret(url, text):
    with pytest.raises(MalformedURL) as caught:
        gcs.open_store(url)
    assert text in str(caught.value)
    assert "hidden-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("gs://bucket", "gs://bucket/folder/name"),
        ("gs://bucket/a/b/?timeout=5", "gs://bucket/a/b/folder/name"),
        ("gs://a.bucket_of-ours/a?project=ours", "gs://a.bucket_of-ours/a/folder/name"),
        ("gs://bucket?endpoint=h:9", "gs://bucket/folder/name?endpoint=https://h:9"),  # never plain, unless asked
        ("gs://bucket/a%2Fb", "gs://bucket/a/b/folder/name"),
    ],
)
def test_an_object_is_located(url, location):
    assert gcs.open_store(url).locate("folder/name") == location
