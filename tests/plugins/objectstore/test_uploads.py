"""What is large goes in blocks, whole or not at all, whatever the network does to any request."""

from __future__ import annotations

import os
import re
import time

import pytest
from support.hostile_proxy import NONE, Trouble
from support.off_site import DATA, MIB, NAME, once, upload

from dumpty import Exists, MissingFile, StoreError
from dumpty_plugins import objectstore
from dumpty_plugins.objectstore.parts import MAX_PARTS, part_size


def refusal(status, code):
    return Trouble(refuse=(status, code), headers={"x-ms-error-code": code, "Content-Type": "application/xml"})


def block(request):
    return request.method == "PUT" and "comp=block&" in request.path


def completion(request):
    return request.method == "PUT" and "comp=blocklist" in request.path


def test_a_large_object_is_what_was_written(store, azure_server, container):
    upload(store)
    assert store.get(NAME) == DATA
    assert store.stat(NAME).size == len(DATA)
    assert store.open(NAME, 10 * MIB + 1).read(-1) == DATA[10 * MIB + 1 :]
    assert azure_server.waiting(container) == []


def test_blocks_that_are_large_wait_in_files(azure_server, container):
    store = objectstore.open_store(azure_server.url(container, part_size="17M"))
    upload(store, DATA * 2)
    assert store.get(NAME) == DATA * 2


@pytest.mark.parametrize("size", [0, 1, MIB, 16 * MIB + 1])
def test_what_is_smaller_than_a_block_is_whole_too(azure_server, container, size):
    store = objectstore.open_store(azure_server.url(container, part_size="64M"))
    upload(store, DATA[:size])
    assert store.get(NAME) == DATA[:size]


def test_blocks_grow_so_that_five_tebibytes_fit_into_one_object():
    sizes = [part_size(number) for number in range(1, MAX_PARTS + 1)]
    assert sizes[0] == 8 * MIB
    assert sizes == sorted(sizes)
    assert max(sizes) <= 4000 * MIB
    assert sum(sizes) >= 5 << 40


@pytest.mark.parametrize(
    "trouble", [Trouble(lose=500), Trouble(lose=503), Trouble(lose="reset"), refusal(503, "ServerBusy")]
)
@pytest.mark.parametrize("request_kind", [block, completion])
def test_an_answer_that_is_lost_loses_nothing(store, proxy, request_kind, trouble):
    store.capabilities()
    with proxy.does(once(request_kind, trouble)):
        upload(store)
    assert store.get(NAME) == DATA


def test_bytes_that_change_on_their_way_are_refused_by_the_server(store, proxy, azure_server, container):
    store.capabilities()
    with proxy.does(lambda request: Trouble(alter=True) if block(request) else NONE), pytest.raises(StoreError):
        upload(store)
    with (
        proxy.does(lambda request: Trouble(alter=True) if request.method == "PUT" else NONE),
        pytest.raises(StoreError),
    ):
        store.put("a/b", b"content")
    assert azure_server.blobs(container) == []


def test_a_server_that_got_other_bytes_than_were_sent_is_not_believed(store, proxy):
    lie = Trouble(headers={"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="})
    with proxy.does(lambda request: lie if block(request) else NONE), pytest.raises(StoreError, match="MD5 mismatch"):
        upload(store)
    with pytest.raises(MissingFile):
        store.stat(NAME)


def test_a_small_object_of_which_the_server_says_otherwise_is_read_back(store, proxy):
    lie = Trouble(headers={"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="})
    store.capabilities()
    with proxy.does(lambda request: lie if request.method == "PUT" else NONE):
        store.put(NAME, b"content")
    assert store.get(NAME) == b"content"


def test_blocks_that_the_server_says_it_joined_and_has_not_are_an_error(store, proxy):
    store.capabilities()
    with (
        proxy.does(lambda request: Trouble(refuse=(201, "")) if completion(request) else NONE),
        pytest.raises(StoreError),
    ):
        upload(store)
    with pytest.raises(MissingFile):
        store.stat(NAME)


def test_what_was_left_behind_asks_no_more(azure_server, container, proxy, monkeypatch):
    """A request that stalled until its time was over is sent again by nobody, behind the back of who was told so."""
    monkeypatch.setattr("dumpty_plugins.buckets.asking._ATTEMPTS", 0.1)  # the first is given up
    monkeypatch.setattr("dumpty_plugins.buckets.asking._PAUSES", (0.1,))
    store = objectstore.open_store(azure_server.url(container, timeout=2))
    with proxy.does(lambda _: Trouble(stall=True)), pytest.raises(StoreError, match="stalled"):
        store.delete([NAME])
    time.sleep(4)  # as long as two attempts take
    assert [request.method for request in proxy.requests] == ["DELETE"]


def test_an_object_that_came_out_shorter_is_an_error(store, proxy):
    store.capabilities()

    def shorter(request):
        return Trouble(headers={"Content-Length": str(len(DATA) - 1)}) if request.method == "HEAD" else NONE

    with proxy.does(shorter), pytest.raises(StoreError, match="arrived"):
        upload(store)


def test_a_name_that_was_taken_meanwhile_stays_anothers(store):
    writer = store.upload(NAME)
    writer.write(DATA)
    store.put(NAME, b"another's", new=False)
    with pytest.raises(Exists):
        writer.commit()
    writer.abort()
    assert store.get(NAME) == b"another's"


def test_of_two_large_uploads_of_one_name_the_first_to_end_wins(store):
    first, second = store.upload(NAME), store.upload(NAME)
    for writer, letter in ((first, b"1"), (second, b"2")):
        writer.write(letter * (17 * MIB))
    first.commit()
    with pytest.raises(Exists):
        second.commit()
    second.abort()
    assert store.get(NAME) == b"1" * (17 * MIB)


def test_an_upload_that_fails_is_aborted_and_stays_failed(store, proxy, azure_server, container):
    store.capabilities()
    writer = store.upload(NAME)
    with proxy.does(lambda request: refusal(403, "AuthorizationFailure") if block(request) else NONE):
        with pytest.raises(StoreError, match="AuthorizationFailure"):
            writer.write(DATA * 3)
        with pytest.raises(StoreError, match="AuthorizationFailure"):
            writer.write(b"more")
        with pytest.raises(StoreError, match="AuthorizationFailure"):
            writer.commit()
    writer.abort()
    assert azure_server.blobs(container) == []


def test_blocks_that_are_gone_say_so(store, proxy, azure_server, container):
    store.capabilities()
    writer = store.upload(NAME)
    writer.write(DATA)
    with proxy.does(lambda request: refusal(400, "InvalidBlockList") if completion(request) else NONE):
        with pytest.raises(StoreError, match="back up again"):
            writer.commit()
        writer.abort()
    assert azure_server.blobs(container) == []


def test_the_storage_class_is_that_of_data_alone(azure_server, container):
    store = objectstore.open_store(azure_server.url(container, storage_class="Cool"))
    upload(store)
    upload(store, b"small", NAME + ".2")
    store.put("shop-abcdef/stem.manifest.json", b"{}")
    tiers = [azure_server.properties(container, NAME + end) for end in ("", ".2")]
    assert [found.blob_tier for found in tiers] == ["Cool", "Cool"]
    assert azure_server.properties(container, "shop-abcdef/stem.manifest.json").blob_tier == "Hot"


def test_a_read_goes_on_where_the_connection_broke_off(store, proxy):
    upload(store)
    cuts = iter([MIB, 5, 300_000])
    with proxy.does(lambda request: Trouble(cut=next(cuts, None)) if request.method == "GET" else NONE):
        assert store.open(NAME).read(-1) == DATA


def test_a_read_that_trickles_ends_in_an_error_and_so_does_its_close(azure_server, proxy, container):
    store = objectstore.open_store(azure_server.url(container, timeout=1))
    store.put(NAME, DATA[:50_000])
    with proxy.does(lambda request: Trouble(trickle=1000) if request.method == "GET" else NONE):
        begun = time.monotonic()
        with pytest.raises(StoreError, match="stalled"):
            store.open(NAME)
    assert time.monotonic() - begun < 120  # and not for as long as the server likes


def test_a_read_from_behind_the_end_is_an_error(store):
    store.put(NAME, b"0123456789")
    with pytest.raises(StoreError, match="10 bytes"):
        store.open(NAME, 11)
    assert store.open(NAME, 10).read(-1) == b""


def test_a_read_does_not_go_on_in_another_object(store):
    store.put(NAME, os.urandom(200_000))
    reader = store.open(NAME)
    reader.read(10)
    store.put(NAME, os.urandom(200_000), new=False)
    with pytest.raises(StoreError):
        reader.read(-1)


@pytest.mark.parametrize("headers", [{"Content-Range": "bytes 0-4/5"}, {"Content-Range": None}, {"ETag": '"another"'}])
def test_a_server_that_answers_something_else_is_not_believed(store, proxy, headers):
    store.put(NAME, os.urandom(200_000))
    reader = store.open(NAME)
    lie = Trouble(headers=headers)
    with proxy.does(lambda request: lie if request.method == "GET" else NONE), pytest.raises(StoreError):
        reader.read(-1)


def test_a_listing_that_does_not_say_how_it_goes_on_is_an_error(store, proxy):
    def say_that_it_goes_on(body):
        return re.sub(rb"<NextMarker ?/>|<NextMarker></NextMarker>", b"<NextMarker>again</NextMarker>", body)

    store.put("a/b", b"x")
    with proxy.does(lambda _: Trouble(rewrite=say_that_it_goes_on)), pytest.raises(StoreError):
        list(store.list())


def test_a_backup_too_large_for_its_blocks_says_what_to_do(store, monkeypatch):
    monkeypatch.setattr("dumpty_plugins.objectstore.upload.MAX_PARTS", 1)
    with pytest.raises(StoreError, match="part_size"):
        upload(store)
