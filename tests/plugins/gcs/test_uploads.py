"""What is large goes in chunks, whole or not at all, whatever the network does to any request."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace

import pytest
from support.google_server import refusal
from support.hostile_proxy import NONE, Trouble
from support.off_site import DATA, MIB, NAME, once, upload

from dumpty import Exists, MissingFile, StoreError
from dumpty_plugins import gcs

KIB = 1 << 10


@pytest.fixture
def store(google_server, bucket):
    """A store with small chunks, so that there are several of them."""
    return gcs.open_store(google_server.url(bucket, "here", timeout=2, part_size="8M"))


def finish(writer, data):
    writer.write(data)
    writer.commit()


def beginning(request):
    return request.method == "POST" and "uploadType=resumable" in request.path


def chunk(request):
    return request.method == "PUT" and request.headers["content-range"].endswith("/*") and bool(request.body)


def completion(request):
    return request.method == "PUT" and not request.headers["content-range"].endswith("/*") and bool(request.body)


def resource(**other):
    """Say something else of the object in an answer."""
    return Trouble(rewrite=lambda body: json.dumps(json.loads(body) | other).encode())


@pytest.mark.parametrize("size", [17 * MIB, 16 * MIB, 21 * MIB])
def test_a_large_object_is_what_was_written(store, google_server, bucket, size):
    upload(store, DATA[:size])
    assert store.get(NAME) == DATA[:size]
    assert store.stat(NAME).size == size
    assert store.open(NAME, 10 * MIB + 1).read(-1) == DATA[10 * MIB + 1 : size]


@pytest.mark.parametrize("size", [0, 1, MIB, 8 * MIB])
def test_what_fits_into_a_chunk_is_put_in_one_request(store, proxy, size):
    store.capabilities()
    proxy.requests.clear()
    upload(store, DATA[:size])
    assert [request.method for request in proxy.requests] == ["POST"]
    assert store.get(NAME) == DATA[:size]


def test_chunks_that_are_large_wait_in_files(google_server, bucket):
    store = gcs.open_store(google_server.url(bucket, part_size="17M"))
    upload(store, DATA * 2)
    assert store.get(NAME) == DATA * 2


@pytest.mark.parametrize(
    "trouble", [Trouble(lose=500), Trouble(lose=503), Trouble(lose="reset"), refusal(503, "backendError")]
)
@pytest.mark.parametrize("request_kind", [beginning, chunk, completion])
def test_an_answer_that_is_lost_loses_nothing_and_doubles_nothing(store, proxy, request_kind, trouble):
    store.capabilities()
    with proxy.does(once(request_kind, trouble)):
        upload(store)
    assert store.get(NAME) == DATA


def test_an_end_whose_every_answer_is_lost_is_looked_up(store, proxy):
    store.capabilities()
    lost = lambda request: Trouble(lose=500) if request.method == "PUT" and completion(request) else NONE  # noqa: E731
    with proxy.does(lost):
        upload(store)
    assert store.get(NAME) == DATA


def test_what_arrived_although_the_answer_was_lost_and_more_were_refused_then_is_there(store, proxy):
    """A server that takes one change of a name a second says no to what it has done already."""
    store.capabilities()
    answers = iter([Trouble(lose="reset"), *[refusal(429, "rateLimitExceeded")] * 2, refusal(403, "forbidden")])
    with proxy.does(lambda request: next(answers, NONE) if request.method == "POST" else NONE):
        store.put("a/b", b"x")
    assert store.get("a/b") == b"x"


def test_a_small_object_goes_in_blocks_so_that_a_slow_network_has_time_for_each(google_server, bucket, monkeypatch):
    import socket

    store = gcs.open_store(google_server.url(bucket, "here", direct=True))  # the proxy would send it on at once
    sizes = []
    send = socket.socket.sendall

    def sending(self, data, *flags):
        sizes.append(len(data))
        return send(self, data, *flags)

    store.capabilities()
    monkeypatch.setattr(socket.socket, "sendall", sending)
    store.put("a/b", bytes(4 * MIB))
    assert 0 < max(sizes) <= 1 * MIB


@pytest.mark.parametrize("kept", [256 * KIB, 5 * MIB])
def test_what_of_a_chunk_did_not_arrive_is_sent_again(store, google_server, kept):
    with google_server.being(keeps=kept):
        upload(store)
    assert store.get(NAME) == DATA


def test_a_server_that_takes_nothing_is_given_up(store, proxy):
    store.capabilities()
    nothing = Trouble(refuse=(308, ""))
    with (
        proxy.does(lambda request: nothing if request.method == "PUT" else NONE),
        pytest.raises(StoreError, match="took none"),
    ):
        upload(store)
    with pytest.raises(MissingFile):
        store.stat(NAME)


@pytest.mark.parametrize("arrived", ["bytes=0-99999999", "bytes=0-3"])
def test_a_server_that_has_more_than_was_sent_or_less_than_it_said_is_not_believed(store, proxy, arrived):
    store.capabilities()
    parts = iter(range(9))
    lie = Trouble(headers={"Range": arrived})
    with (
        proxy.does(lambda request: lie if chunk(request) and next(parts) == 1 else NONE),
        pytest.raises(StoreError, match="have arrived"),
    ):
        upload(store)
    with pytest.raises(MissingFile):
        store.stat(NAME)


def test_bytes_that_change_on_their_way_make_no_backup(store, proxy, google_server, bucket):
    store.capabilities()
    with (
        proxy.does(lambda request: Trouble(alter=True) if chunk(request) else NONE),
        pytest.raises(StoreError, match="other bytes"),
    ):
        upload(store)
    with (
        proxy.does(lambda request: Trouble(alter=True) if completion(request) else NONE),
        pytest.raises(StoreError, match="other bytes"),
    ):
        upload(store, name=NAME + ".2")


def test_bytes_that_change_are_noticed_even_where_the_answer_is_lost(store, proxy):
    store.capabilities()

    def trouble(request):
        if completion(request):
            return Trouble(lose=500, alter=True)
        return Trouble(lose=500) if request.method == "PUT" and not request.body else NONE

    with proxy.does(trouble), pytest.raises(StoreError, match="other bytes"):
        upload(store)


def test_a_small_object_that_changes_on_its_way_is_refused_by_the_server(store, proxy, google_server, bucket):
    store.capabilities()

    def altered(request):
        return replace(request, body=request.body.replace(b"the content", b"the c0ntent"))

    with (
        proxy.does(lambda request: Trouble(change=altered) if request.method == "POST" else NONE),
        pytest.raises(StoreError, match="CRC32C"),
    ):
        store.put("a/b", b"the content")
    assert google_server.objects(bucket) == {}


@pytest.mark.parametrize("lie", [{"crc32c": "AAAAAA=="}, {"size": "1"}, {"crc32c": None}])
def test_a_server_that_got_other_bytes_than_were_sent_is_not_believed(store, proxy, lie):
    store.capabilities()
    told = resource(**lie)
    with (
        proxy.does(lambda request: told if completion(request) or request.method == "GET" else NONE),
        pytest.raises(StoreError, match="arrived"),
    ):
        upload(store)


def test_a_small_object_of_which_the_server_says_otherwise_is_read_back(store, proxy):
    store.capabilities()
    lie = resource(crc32c="AAAAAA==")
    with proxy.does(lambda request: lie if request.method == "POST" else NONE):
        store.put(NAME, b"content")
    assert store.get(NAME) == b"content"


def test_an_object_that_the_server_says_it_made_and_has_not_is_an_error(store, proxy):
    store.capabilities()
    said = {"name": f"here/{NAME}", "size": str(len(DATA)), "generation": "1", "timeCreated": "2026-11-28T03:00:00Z"}
    with (
        proxy.does(
            lambda request: (
                Trouble(refuse=(200, ""), rewrite=lambda _: json.dumps(said).encode()) if completion(request) else NONE
            )
        ),
        pytest.raises(StoreError),
    ):
        upload(store)
    with pytest.raises(MissingFile):
        store.stat(NAME)


def test_an_object_that_is_said_to_be_whole_before_its_end_is_an_error(store, proxy):
    store.capabilities()
    whole = Trouble(refuse=(200, ""), rewrite=lambda _: b'{"name": "x"}')
    with (
        proxy.does(lambda request: whole if chunk(request) else NONE),
        pytest.raises(StoreError, match="whose end was not sent"),
    ):
        upload(store)


@pytest.mark.parametrize(
    "place",
    [
        "http://127.0.0.1:9/upload?upload_id=1",
        "https://storage.googleapis.com/upload?upload_id=1",
        "/upload?upload_id=1",
        "http://[",
        "http://elsewhere.example.org\\@127.0.0.1:{port}/upload?upload_id=1",
        None,
    ],
)
def test_an_upload_that_is_to_go_on_elsewhere_is_an_error_and_nothing_goes_there(store, proxy, place):
    store.capabilities()
    elsewhere = Trouble(headers={"Location": place and place.replace("{port}", str(proxy.port))})
    with (
        proxy.does(lambda request: elsewhere if beginning(request) else NONE),
        pytest.raises(StoreError, match="does not say where the upload goes on"),
    ):
        upload(store)


@pytest.mark.parametrize("early", [True, False])
def test_a_name_that_was_taken_meanwhile_stays_anothers(store, google_server, early):
    with google_server.being(checks_at_begin=early):
        store.capabilities()
        writer = store.upload(NAME)
        if not early:
            writer.write(DATA)
        store.put(NAME, b"another's", new=False)
        with pytest.raises(Exists):
            finish(writer, DATA)
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


def test_an_upload_that_fails_is_ended_and_stays_failed(store, proxy, google_server, bucket):
    store.capabilities()
    dropped = google_server.control()["dropped"]
    writer = store.upload(NAME)
    with proxy.does(lambda request: refusal(403, "forbidden") if chunk(request) else NONE):
        with pytest.raises(StoreError, match="forbidden"):
            writer.write(DATA * 3)
        with pytest.raises(StoreError, match="forbidden"):
            writer.write(b"more")
        with pytest.raises(StoreError, match="forbidden"):
            writer.commit()
    writer.abort()
    assert google_server.objects(bucket) == {}
    assert google_server.control()["dropped"] == dropped + 1


def test_a_session_that_is_gone_says_so(store, google_server, bucket):
    writer = store.upload(NAME)
    writer.write(DATA[: 9 * MIB])
    google_server.control(forget_sessions=True)
    with pytest.raises(StoreError, match="back up again"):
        finish(writer, DATA[9 * MIB :])
    writer.abort()
    assert google_server.objects(bucket) == {}


def test_a_session_that_is_gone_because_it_has_made_the_object_is_none_of_a_failure(store, proxy, google_server):
    store.capabilities()

    def lose_and_forget(request):
        if completion(request):
            return Trouble(lose="reset")
        if request.method == "PUT" and not request.body:
            google_server.control(forget_sessions=True)
        return NONE

    with proxy.does(lose_and_forget):
        upload(store)
    assert store.get(NAME) == DATA


def test_a_part_that_is_slow_to_begin_is_not_taken_for_the_last_one(store, monkeypatch):
    from dumpty_plugins.gcs.upload import GoogleUpload

    send = GoogleUpload.send_part

    def slowly(self, part):
        time.sleep(0.3)
        send(self, part)

    monkeypatch.setattr(GoogleUpload, "send_part", slowly)
    upload(store)
    assert store.get(NAME) == DATA


def test_what_was_asked_for_beside_the_bytes_is_compared(google_server, bucket, proxy):
    key = "projects/p/locations/eu/keyRings/r/cryptoKeys/k"
    store = gcs.open_store(google_server.url(bucket, storage_class="COLDLINE", kms_key=key))
    upload(store)
    upload(store, b"small", NAME + ".2")
    store.put("shop-abcdef/stem.manifest.json", b"{}")
    found = google_server.objects(bucket)
    assert [found[NAME + end]["storageClass"] for end in ("", ".2")] == ["COLDLINE", "COLDLINE"]
    assert found["shop-abcdef/stem.manifest.json"]["storageClass"] == "STANDARD"  # it is read at every listing
    assert all(resource["kmsKeyName"].startswith(f"{key}/") for resource in found.values())
    with google_server.being(autoclass=True):
        for data in (DATA, b"small"):
            with pytest.raises(StoreError, match="COLDLINE, and says STANDARD"):
                upload(store, data, NAME + ".3" + str(len(data)))
    other = resource(kmsKeyName=key + "2/cryptoKeyVersions/1")
    with (
        proxy.does(
            lambda request: other if request.method in {"POST", "PUT"} and "multipart" in request.path else NONE
        ),
        pytest.raises(StoreError, match="encrypt it with"),
    ):
        gcs.open_store(google_server.url(bucket, kms_key=key, timeout=2)).put("a/b", b"x")


def test_who_pays_is_told_in_every_request(google_server, bucket, proxy):
    store = gcs.open_store(google_server.url(bucket, "here", project="a-project", part_size="8M"))
    upload(store)
    list(store.list())
    store.delete([NAME])
    asked = [request for request in proxy.requests if "upload_id" not in request.path]
    assert asked
    assert all("userProject=a-project" in request.path for request in asked)


def test_a_read_goes_on_where_the_connection_broke_off(store, proxy):
    upload(store)
    cuts = iter([MIB, 5, 300_000])
    with proxy.does(lambda request: Trouble(cut=next(cuts, None)) if request.method == "GET" else NONE):
        assert store.open(NAME).read(-1) == DATA


def test_a_small_object_that_changes_on_its_way_back_is_asked_for_again(store, proxy):
    store.put(NAME, b"content")
    altered = Trouble(rewrite=lambda body: body.replace(b"c", b"C"))
    with proxy.does(once(lambda request: "alt=media" in request.path, altered)):
        assert store.get(NAME) == b"content"
    with (
        proxy.does(lambda request: altered if "alt=media" in request.path else NONE),
        pytest.raises(StoreError, match="other bytes came"),
    ):
        store.get(NAME)


def test_an_answer_longer_than_what_was_asked_for_is_not_read_on(store, proxy):
    store.put(NAME, b"content")
    endless = Trouble(rewrite=lambda body: body * (80 << 10))
    with proxy.does(lambda request: endless if request.method == "GET" else NONE), pytest.raises(StoreError):
        store.get(NAME)


def test_a_read_that_trickles_ends_in_an_error_and_so_does_its_close(google_server, proxy, bucket):
    store = gcs.open_store(google_server.url(bucket, timeout=1))
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


def test_an_empty_object_is_read(store):
    store.put(NAME, b"")
    assert store.get(NAME) == b""


def test_a_read_does_not_go_on_in_another_object(store):
    store.put(NAME, os.urandom(200_000))
    reader = store.open(NAME)
    reader.read(10)
    store.put(NAME, os.urandom(200_000), new=False)
    with pytest.raises(StoreError, match="replaced"):
        reader.read(-1)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Range": "bytes 0-4/5"},
        {"Content-Range": None},
        {"x-goog-generation": "1"},
        {"x-goog-generation": None},
    ],
)
def test_a_server_that_answers_something_else_is_not_believed(store, proxy, headers):
    store.put(NAME, os.urandom(200_000))
    reader = store.open(NAME)
    lie = Trouble(headers=headers)
    with proxy.does(lambda request: lie if request.method == "GET" else NONE), pytest.raises(StoreError):
        reader.read(-1)


def test_a_listing_goes_on_from_page_to_page(store, google_server):
    with google_server.being(page=2):
        for number in range(5):
            store.put(f"a/{number}", b"x")
        assert sorted(found.name for found in store.list("a")) == [f"a/{number}" for number in range(5)]


def test_a_listing_that_does_not_say_how_it_goes_on_is_an_error(store, proxy):
    store.put("a/b", b"x")
    again = resource(nextPageToken="YWdhaW4=")
    with proxy.does(lambda _: again), pytest.raises(StoreError, match="does not say how"):
        list(store.list())


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"{}",
        b"[]",
        b"[" * 100_000,
        b'{"items": 1}',
        b'{"items": [{"name": "here/a/b"}]}',
        b'{"items": [1]}',
        b"<html>",
    ],
)
def test_an_answer_makes_no_sense(store, proxy, answer):
    store.put("a/b", b"x")
    with proxy.does(lambda _: Trouble(rewrite=lambda _: answer)), pytest.raises(StoreError, match="cannot list"):
        list(store.list())
