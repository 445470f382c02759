"""What a server guarantees is found out, not assumed; and what the rights at hand allow."""

from __future__ import annotations

import contextlib
import email.utils
import itertools
import re
import threading
from datetime import UTC, datetime, timedelta

import pytest
from support.hostile_proxy import NONE, Trouble
from support.off_site import make_shop

from dumpty import BackupManager, Cap, Exists, NotPermitted, Retained, StoreError
from dumpty_plugins import s3
from dumpty_plugins.buckets import waiting

IGNORES = Trouble(strip=("if-none-match",))
WRITES = {"PUT", "POST", "DELETE"}


def read_only(request):
    return Trouble(refuse=(403, "AccessDenied")) if request.method in WRITES else NONE


def append_only(request):
    deletes = request.method == "DELETE" or (request.method == "POST" and request.path.endswith("?delete"))
    return Trouble(refuse=(403, "AccessDenied")) if deletes else NONE


def test_that_the_server_decides_is_proved_by_racing_and_then_by_two_requests(store, url, proxy):
    assert Cap.CREATE_NEW | Cap.STRONG_LIST in store.capabilities()
    assert len([r for r in proxy.requests if r.method == "PUT"]) == 5
    proxy.requests.clear()
    again = s3.open_store(url)
    assert again.capabilities() == again.capabilities() == store.capabilities()
    assert [r.method for r in proxy.requests] == ["HEAD", "PUT"]
    assert list(store.list()) == []


@pytest.mark.parametrize(
    "trouble",
    [Trouble(refuse=(503, "SlowDown")), Trouble(refuse=(409, "ConditionalRequestConflict")), Trouble(lose=500)],
    ids=["busy", "conflict", "lost"],
)
def test_a_race_that_was_not_won_is_run_again_by_the_next_one(url, proxy, moto_server, bucket, trouble):
    with proxy.does(lambda request: trouble if request.method == "PUT" else NONE):
        with contextlib.suppress(StoreError):
            assert Cap.CREATE_NEW not in s3.open_store(url).capabilities()
        if trouble.lose is None:
            assert moto_server.client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    proxy.requests.clear()
    assert Cap.CREATE_NEW in s3.open_store(url).capabilities()
    assert len([r for r in proxy.requests if r.method == "PUT"]) == 5


def test_credentials_that_are_not_accepted_for_a_moment_say_nothing_of_rights_and_conditions(store, proxy):
    with proxy.does(lambda _: Trouble(refuse=(403, "ExpiredToken"))), pytest.raises(NotPermitted, match="expired"):
        store.capabilities()
    assert Cap.CREATE_NEW | Cap.DELETE in store.capabilities()


def test_a_conflict_is_no_proof_that_the_server_refuses(store, url, proxy):
    store.capabilities()
    conflict = Trouble(refuse=(409, "ConditionalRequestConflict"))
    with proxy.does(lambda request: conflict if request.method == "PUT" else NONE):
        assert Cap.CREATE_NEW not in s3.open_store(url).capabilities()


def test_a_server_whose_listings_lag_is_found_out_or_said(store, url, proxy):
    empty = Trouble(rewrite=lambda body: re.sub(rb"<Contents>.*</Contents>", b"", body, flags=re.DOTALL))
    with proxy.does(lambda request: empty if "list-type" in request.path else NONE):
        caps = s3.open_store(url).capabilities()
    assert Cap.CREATE_NEW in caps
    assert Cap.STRONG_LIST not in caps
    assert Cap.STRONG_LIST in s3.open_store(url).capabilities()  # that of before left no mark
    assert Cap.STRONG_LIST not in s3.open_store(url + "&listing=late").capabilities()


def test_a_server_that_decides_for_what_is_put_and_not_for_what_is_joined_is_used(store, proxy):
    def unknown(request):
        joins = request.method == "POST" and "if-none-match" in request.headers
        return Trouble(refuse=(501, "NotImplemented")) if joins else NONE

    store.capabilities()
    with proxy.does(unknown):
        for expected in (None, Exists):
            upload = store.upload("a/large")
            upload.write(bytes(9 << 20))
            with pytest.raises(expected) if expected else contextlib.nullcontext():
                upload.commit()
            upload.abort()
    assert store.stat("a/large").size == 9 << 20


def test_a_server_that_ignores_conditions_is_found_out_every_time(store, url, proxy, moto_server, bucket):
    store.capabilities()  # what was proved before does not count for a server that has taken its place
    with proxy.does(lambda _: IGNORES):
        for _ in range(2):
            assert Cap.CREATE_NEW not in s3.open_store(url).capabilities()
        other = s3.open_store(url)
        other.put("a/b", b"first")
        with pytest.raises(Exists):  # looked up, where the server does not say so
            other.put("a/b", b"second")
        upload = other.upload("a/b")
        upload.write(b"x" * (9 << 20))
        with pytest.raises(Exists):
            upload.commit()
        upload.abort()
    assert store.get("a/b") == b"first"
    assert moto_server.keys(bucket) == ["here/a/b"]


def test_a_server_that_looks_first_and_writes_then_is_found_out(url, proxy, moto_server, bucket):
    together = threading.Barrier(4)

    def look_first(request):
        if request.method != "PUT":
            return NONE
        key = request.path.partition("?")[0].removeprefix(f"/{bucket}/")
        if any(e["Key"] == key for e in moto_server.client.list_objects_v2(Bucket=bucket).get("Contents", ())):
            return Trouble(refuse=(412, "PreconditionFailed"))
        if "conditional" not in key:
            together.wait(30)
        return IGNORES

    with proxy.does(look_first):
        assert Cap.CREATE_NEW not in s3.open_store(url).capabilities()
    assert moto_server.client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


@pytest.mark.parametrize("code", [(501, "NotImplemented"), (400, "InvalidArgument")])
def test_a_server_that_knows_no_conditions_is_used_without(url, proxy, code):
    def unknown(request):
        return Trouble(refuse=code) if "if-none-match" in request.headers else NONE

    with proxy.does(unknown):
        store = s3.open_store(url)
        assert Cap.CREATE_NEW not in store.capabilities()
        store.put("a/b", b"x")
        assert store.get("a/b") == b"x"


def test_who_may_only_read_lists_verifies_and_restores(url, proxy, tmp_path):
    source, target = f"sqlite:///{tmp_path}/shop.db", f"sqlite:///{tmp_path}/new.db"
    make_shop(tmp_path / "shop.db")
    backup = BackupManager(url).create_backup(source).backup
    with proxy.does(read_only):
        manager = BackupManager(url)
        assert [b.id for b in manager.list_backups()] == [backup.id]
        assert manager.verify(backup.id)
        assert manager.restore(backup.id, target).success
        refused = manager.create_backup(source)
        assert not refused.success
        assert "refuses it" in str(refused.error)
        assert "dumpty help s3" in str(refused.error)
        with pytest.raises(NotPermitted):
            manager.remove(backup.id)
    assert [b.id for b in BackupManager(url).list_backups()] == [backup.id]


def test_who_may_not_delete_backs_up_and_removes_nothing(url, proxy, tmp_path):
    make_shop(tmp_path / "shop.db")
    with proxy.does(append_only):
        manager = BackupManager(url)
        ids = [manager.create_backup(f"sqlite:///{tmp_path}/shop.db").backup.id for _ in range(2)]
        with pytest.raises(NotPermitted, match="refuses it"):
            manager.remove(ids[0])
        manager.pin(ids[0])  # nothing was announced that nobody can take back
        assert {b.id for b in manager.list_backups()} == set(ids)
        assert all(manager.verify(backup_id) for backup_id in ids)


@pytest.mark.parametrize("answer", [(400, "InvalidRequest"), (501, "NotImplemented")])
def test_a_server_that_takes_no_several_deletions_at_once_gets_them_one_by_one(
    store, proxy, moto_server, bucket, answer
):
    names = [f"a/{number}" for number in range(5)]
    for name in (*names, "b/kept"):
        store.put(name, b"x")
    proxy.requests.clear()

    def refuse(request):
        if request.path.endswith("?delete"):
            return Trouble(refuse=answer)
        return Trouble(refuse=(403, "AccessDenied")) if request.path.endswith("/a/3") else NONE

    with proxy.does(refuse), pytest.raises(NotPermitted, match="/a/3"):
        store.delete(names)
    assert [request.method for request in proxy.requests].count("POST") == 1
    assert moto_server.keys(bucket) == ["here/a/3", "here/b/kept"]


def test_a_deletion_of_several_that_is_refused_is_tried_no_other_way(store, proxy, moto_server, bucket):
    names = [f"a/{number}" for number in range(5)]
    for name in names:
        store.put(name, b"x")
    proxy.requests.clear()
    denied = Trouble(refuse=(403, "AccessDenied"))
    with proxy.does(lambda request: denied if request.path.endswith("?delete") else NONE), pytest.raises(NotPermitted):
        store.delete(names)
    assert [request.method for request in proxy.requests] == ["POST"]
    assert moto_server.keys(bucket) == [f"here/{name}" for name in names]


def test_deletions_go_a_thousand_at_a_time(store, proxy, moto_server, bucket):
    """S3 takes no more with one request; moto would."""
    names = [f"a/{number}" for number in range(2_001)]
    for name in (names[0], names[1_000], names[-1], "b/kept"):  # what is not there is deleted as fast as it can be said
        store.put(name, b"x")
    proxy.requests.clear()
    too_many = Trouble(refuse=(400, "MalformedXML"))
    with proxy.does(lambda request: too_many if request.body.count(b"<Key>") > 1_000 else NONE):
        store.delete(iter(names))
    assert [request.method for request in proxy.requests] == ["POST", "POST", "DELETE"]
    assert moto_server.keys(bucket) == ["here/b/kept"]


LONG_AGO = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)


@pytest.fixture
def slow(monkeypatch):
    """An answer that takes longer than its time is taken from, and tells a time long ago."""
    monkeypatch.setattr(waiting, "_PROMPT_SECONDS", 0.4)
    return Trouble(delay=0.6, headers={"Date": email.utils.format_datetime(LONG_AGO, usegmt=True)})


def test_the_time_of_an_answer_that_was_slow_is_not_taken_where_the_next_is_prompt(store, proxy, slow):
    """It may be that of the answer's beginning, which was long before its end."""
    answers = itertools.chain([slow], itertools.repeat(NONE))
    with proxy.does(lambda _: next(answers)):
        assert abs(store.now() - datetime.now(UTC)) < timedelta(hours=1)


def test_a_server_that_is_never_prompt_has_a_time_nevertheless(store, proxy, slow):
    with proxy.does(lambda _: slow):
        assert timedelta(0) <= store.now() - LONG_AGO < timedelta(minutes=1)
    assert abs(store.now() - datetime.now(UTC)) < timedelta(hours=1)  # of that nothing is kept


def test_a_server_that_tells_no_time_is_an_error(store, proxy):
    with proxy.does(lambda _: Trouble(headers={"Date": None})), pytest.raises(StoreError, match="what time it is"):
        store.now()


def test_what_object_lock_keeps_is_retained(store, proxy):
    store.put("a/b", b"x")
    locked = b"<Error><Code>AccessDenied</Code><Message>object is WORM protected</Message></Error>"
    trouble = Trouble(refuse=(403, "AccessDenied"), rewrite=lambda _: locked)
    with (
        proxy.does(lambda request: trouble if request.method == "DELETE" else NONE),
        pytest.raises(Retained, match="keeps"),
    ):
        store.delete(["a/b"])
    assert store.get("a/b") == b"x"


def test_a_retention_that_the_server_tells_is_told(moto_server):
    bucket = moto_server.new_bucket(ObjectLockEnabledForBucket=True)
    rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 30}}
    configuration = {"ObjectLockEnabled": "Enabled", "Rule": rule}
    moto_server.client.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=configuration)
    store = s3.open_store(moto_server.url(bucket))
    upload = store.upload("a/large")
    upload.write(bytes(9 << 20))
    upload.commit()
    store.put("a/b", b"x")
    until = store.stat("a/b").retained_until
    assert until is not None
    assert 29 <= (until - store.now()).days <= 30
    store.delete(["a/b"])  # only hides it: the bucket keeps its version
    assert [found.name for found in store.list()] == ["a/large"]
    versions = moto_server.client.list_object_versions(Bucket=bucket, Prefix="a/b")
    assert len(versions["Versions"]) == len(versions["DeleteMarkers"]) == 1
