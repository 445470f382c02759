"""What is large goes in parts, whole or not at all, whatever the network does to any request."""

from __future__ import annotations

import gc
import os
import re
import time
import warnings
from datetime import timedelta

import pytest
from support.hostile_proxy import NONE, Trouble
from support.off_site import DATA, MIB, NAME, once, upload

from dumpty import Exists, MissingFile, StoreError
from dumpty_plugins import s3
from dumpty_plugins.s3.parts import MAX_PARTS, part_size


def part(number):
    return lambda request: request.method == "PUT" and f"partNumber={number}" in request.path


def completion(request):
    return request.method == "POST" and "uploadId=" in request.path


def beginning(request):
    return request.method == "POST" and request.path.endswith("?uploads")


def test_a_large_object_is_what_was_written(store, moto_server, bucket):
    upload(store)
    assert store.get(NAME) == DATA
    assert store.stat(NAME).size == len(DATA)
    assert store.open(NAME, 10 * MIB + 1).read(-1) == DATA[10 * MIB + 1 :]
    assert moto_server.unfinished(bucket) == []


def test_parts_that_are_large_wait_in_files(moto_server, bucket):
    store = s3.open_store(moto_server.url(bucket, part_size="17M"))
    upload(store, DATA * 2)
    assert store.get(NAME) == DATA * 2


@pytest.mark.parametrize("size", [0, 1, MIB, 16 * MIB + 1])
def test_what_is_smaller_than_a_part_is_whole_too(moto_server, bucket, size):
    store = s3.open_store(moto_server.url(bucket, part_size="64M"))
    upload(store, DATA[:size])
    assert store.get(NAME) == DATA[:size]


def test_what_is_small_is_read_whole_over_a_line_that_breaks(store, proxy):
    store.put(NAME, DATA[:MIB])
    with proxy.does(lambda request: Trouble(cut=100_000) if request.method == "GET" else NONE):
        assert store.get(NAME) == DATA[:MIB]


def test_parts_grow_so_that_all_that_s3_takes_of_one_object_fits():
    sizes = [part_size(number) for number in range(1, MAX_PARTS + 1)]
    assert sizes[0] == 8 * MIB
    assert sizes == sorted(sizes)
    assert max(sizes) <= 5 << 30
    assert sum(sizes) >= 5 << 40


@pytest.mark.parametrize(
    "trouble", [Trouble(lose=500), Trouble(lose=503), Trouble(lose="reset"), Trouble(refuse=(503, "SlowDown"))]
)
@pytest.mark.parametrize(
    "request_kind", [part(1), part(3), completion, beginning], ids=["first", "last", "completion", "beginning"]
)
def test_an_answer_that_is_lost_loses_nothing(store, proxy, request_kind, trouble):
    store.capabilities()
    with proxy.does(once(request_kind, trouble)):
        upload(store)
    assert store.get(NAME) == DATA


def test_a_server_that_got_other_bytes_than_were_sent_is_not_believed(store, proxy):
    lie = Trouble(headers={"ETag": '"' + "0" * 32 + '"', "x-amz-checksum-crc32": None})
    with proxy.does(lambda request: lie if part(2)(request) else NONE), pytest.raises(StoreError, match="other bytes"):
        upload(store)
    with pytest.raises(MissingFile):
        store.stat(NAME)


def test_a_small_object_of_which_the_server_says_otherwise_is_read_back(store, proxy):
    lie = Trouble(headers={"ETag": '"' + "0" * 32 + '"', "x-amz-checksum-crc32": None})
    store.capabilities()
    with proxy.does(lambda request: lie if request.method == "PUT" else NONE):
        store.put(NAME, b"content")
    assert store.get(NAME) == b"content"


def test_a_name_that_was_taken_meanwhile_stays_anothers(store, moto_server, bucket):
    writer = store.upload(NAME)
    writer.write(DATA)
    store.put(NAME, b"another's")
    with pytest.raises(Exists):
        writer.commit()
    writer.abort()
    assert store.get(NAME) == b"another's"
    assert moto_server.unfinished(bucket) == []


def test_an_upload_that_fails_is_aborted_and_stays_failed(store, proxy, moto_server, bucket):
    writer = store.upload(NAME)
    with proxy.does(lambda request: Trouble(refuse=(403, "AccessDenied")) if part(1)(request) else NONE):
        with pytest.raises(StoreError, match="AccessDenied"):
            writer.write(DATA * 3)
        with pytest.raises(StoreError, match="AccessDenied"):
            writer.write(b"more")
        with pytest.raises(StoreError, match="AccessDenied"):
            writer.commit()
    writer.abort()
    assert moto_server.keys(bucket) == moto_server.unfinished(bucket) == []


def test_an_upload_that_was_removed_meanwhile_says_so(store, proxy, moto_server, bucket):
    writer = store.upload(NAME)
    writer.write(DATA)
    gone = Trouble(refuse=(404, "NoSuchUpload"))
    with proxy.does(lambda request: gone if completion(request) else NONE):
        with pytest.raises(StoreError, match="lifecycle rule"):
            writer.commit()
        writer.abort()
    assert moto_server.keys(bucket) == moto_server.unfinished(bucket) == []


def test_sweep_aborts_what_is_old_and_spares_what_is_young(store, proxy, moto_server, bucket):
    moto_server.client.create_multipart_upload(Bucket=bucket, Key="elsewhere/not-dumptys")
    writer = store.upload(NAME)
    writer.write(DATA)
    while len(moto_server.parts(bucket, f"here/{NAME}")) < 2:  # they are sent side by side with this
        time.sleep(0.02)

    def begun_an_hour_ago(listing):  # moto tells the same time of all
        return re.sub(rb"(<Initiated>)[^<]*", rb"\g<1>" + begun.isoformat().encode(), listing)

    begun = store.now() - timedelta(hours=1)

    def grown_an_hour_ago(listing):
        return re.sub(rb"(<LastModified>)[^<]*", rb"\g<1>" + begun.isoformat().encode(), begun_an_hour_ago(listing))

    with proxy.does(lambda _: Trouble(rewrite=begun_an_hour_ago)):
        store.sweep(timedelta(hours=2))
        store.sweep(timedelta(minutes=59))  # begun long ago, and it still grows
        assert len(moto_server.unfinished(bucket)) == 2
    with proxy.does(lambda _: Trouble(rewrite=grown_an_hour_ago)):
        store.sweep(timedelta(minutes=59))
    assert moto_server.unfinished(bucket) == ["elsewhere/not-dumptys"]
    with pytest.raises(StoreError):
        writer.commit()
    writer.abort()


def test_the_storage_class_is_that_of_data_alone(moto_server, bucket):
    store = s3.open_store(moto_server.url(bucket, storage_class="STANDARD_IA"))
    upload(store)
    upload(store, b"small", NAME + ".2")
    store.put("shop-abcdef/stem.manifest.json", b"{}")
    head = moto_server.client.head_object
    assert [head(Bucket=bucket, Key=NAME + end)["StorageClass"] for end in ("", ".2")] == ["STANDARD_IA"] * 2
    assert "StorageClass" not in head(Bucket=bucket, Key="shop-abcdef/stem.manifest.json")


def test_encryption_that_is_asked_for_and_not_applied_is_an_error(moto_server, bucket, proxy):
    store = s3.open_store(moto_server.url(bucket, sse="AES256"))
    upload(store)
    store.put("a/b", b"x")
    head = moto_server.client.head_object
    assert {head(Bucket=bucket, Key=key)["ServerSideEncryption"] for key in (NAME, "a/b")} == {"AES256"}
    forgets = Trouble(headers={"x-amz-server-side-encryption": None})
    with proxy.does(lambda request: forgets if request.method in {"PUT", "POST"} else NONE):
        with pytest.raises(StoreError, match="asked to encrypt"):
            store.put("a/c", b"x")
        with pytest.raises(StoreError, match="asked to encrypt"):
            upload(store, name="a/d")


def test_a_read_goes_on_where_the_connection_broke_off(store, proxy):
    upload(store)
    cuts = iter([MIB, 5, 3 * MIB])
    with proxy.does(lambda request: Trouble(cut=next(cuts, None)) if request.method == "GET" else NONE):
        assert store.open(NAME).read(-1) == DATA


def test_a_read_that_trickles_ends_in_an_error_and_so_does_its_close(moto_server, proxy, bucket, monkeypatch):
    monkeypatch.setattr("dumpty_plugins.buckets.waiting._SLOWEST", 1 << 20)  # a block may take 1 s, and not 16
    store = s3.open_store(moto_server.url(bucket, timeout=1))
    store.put(NAME, DATA[:100_000])
    with proxy.does(lambda request: Trouble(trickle=1000) if request.method == "GET" else NONE):
        reader = store.open(NAME)
        begun = time.monotonic()
        with pytest.raises(StoreError, match="stalled"):
            reader.read()
        reader.close()
    assert time.monotonic() - begun < 120  # and not for as long as the server likes


def test_a_read_from_behind_the_end_is_an_error(store):
    store.put(NAME, b"0123456789")
    with pytest.raises(StoreError, match="10 bytes"):
        store.open(NAME, 11)


def test_a_read_does_not_go_on_in_another_object(store, proxy):
    store.put(NAME, os.urandom(200_000))

    def cut_and_replace(request):
        if request.method != "GET":
            return NONE
        proxy.trouble = lambda _: NONE
        return Trouble(cut=70_000)

    with proxy.does(cut_and_replace):
        reader = store.open(NAME)
        reader.read(10)
        store.put(NAME, os.urandom(200_000), new=False)
        with pytest.raises(StoreError):
            reader.read(-1)


def test_a_server_that_ignores_where_to_begin_is_not_believed(store, proxy):
    store.put(NAME, b"0123456789")
    with proxy.does(lambda _: Trouble(strip=("range",))), pytest.raises(StoreError, match="other bytes"):
        store.open(NAME, 5)


def test_no_connection_is_left_open_by_an_answer_that_is_not_believed(store, proxy):
    store.put(NAME, DATA[:3_000_000])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with proxy.does(lambda _: Trouble(strip=("range",))):
            for _ in range(5):
                with pytest.raises(StoreError) as caught:
                    store.open(NAME, 5)
                caught.value.itself = caught.value  # as errors are kept that know of each other
                del caught
        gc.collect()
    assert [str(warning.message) for warning in told] == []


@pytest.mark.parametrize("more", [b"", b"<NextContinuationToken>again</NextContinuationToken>"])
def test_a_listing_that_does_not_say_how_it_goes_on_is_an_error(store, proxy, more):
    def say_that_it_goes_on(body):
        return body.replace(b"<IsTruncated>false</IsTruncated>", b"<IsTruncated>true</IsTruncated>" + more)

    store.put("a/b", b"x")
    ignoring = Trouble(rewrite=say_that_it_goes_on)
    with proxy.does(lambda _: ignoring), pytest.raises(StoreError):
        list(store.list())


def test_a_backup_too_large_for_its_parts_says_what_to_do(store, monkeypatch):
    monkeypatch.setattr("dumpty_plugins.s3.upload.MAX_PARTS", 1)
    with pytest.raises(StoreError, match="part_size"):
        upload(store)
