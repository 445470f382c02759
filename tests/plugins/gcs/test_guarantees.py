"""What a server guarantees is found out, not assumed; and what the rights at hand allow."""

from __future__ import annotations

import contextlib
import json
import threading
from dataclasses import replace

import pytest
from support.google_server import refusal
from support.hostile_proxy import NONE, Trouble
from support.off_site import make_shop

from dumpty import BackupManager, Cap, Exists, NotPermitted, Retained, StoreError
from dumpty_plugins import gcs

WRITES = {"POST", "PUT", "DELETE"}
FORBIDDEN = refusal(403, "forbidden", "a@b.iam.gserviceaccount.com does not have storage.objects.delete access")


def sent(proxy):
    return [request.method for request in proxy.requests]


def test_that_the_server_decides_is_proved_by_racing_and_then_by_two_requests(store, url, proxy):
    assert Cap.CREATE_NEW | Cap.STRONG_LIST in store.capabilities()
    assert sent(proxy).count("POST") == 5
    proxy.requests.clear()
    again = gcs.open_store(url)
    assert again.capabilities() == again.capabilities() == store.capabilities()
    assert sent(proxy) == ["GET", "POST"]
    assert list(store.list()) == []


@pytest.mark.parametrize("trouble", [refusal(503, "backendError"), Trouble(lose=500)], ids=["busy", "lost"])
def test_a_race_that_was_not_won_is_run_again_by_the_next_one(url, proxy, trouble):
    with proxy.does(lambda request: trouble if request.method == "POST" else NONE), contextlib.suppress(StoreError):
        assert Cap.CREATE_NEW not in gcs.open_store(url).capabilities()
    proxy.requests.clear()
    assert Cap.CREATE_NEW in gcs.open_store(url).capabilities()
    assert sent(proxy).count("POST") == 5


def test_that_nobody_is_let_in_for_a_moment_says_nothing_of_rights_and_conditions(url, proxy):
    store = gcs.open_store(url)
    with proxy.does(lambda _: refusal(401, "authError")), pytest.raises(NotPermitted):
        store.capabilities()
    assert Cap.CREATE_NEW | Cap.DELETE in store.capabilities()


def test_a_race_whose_winner_got_no_answer_is_run_again(url, proxy):
    done = []

    def lose_the_first(request):
        if request.method != "POST" or done:
            return NONE
        done.append(request)
        return Trouble(lose="reset")

    with proxy.does(lose_the_first):
        assert Cap.CREATE_NEW in gcs.open_store(url).capabilities()


def test_a_condition_is_sent_whatever_was_found_out(url, proxy):
    store = gcs.open_store(url)
    lagging = refusal(404, "notFound", "No such object: made by the test")
    with proxy.does(lambda request: Trouble(change=unconditional) if request.method == "POST" else NONE):
        assert Cap.CREATE_NEW not in store.capabilities()
    store.put("a/b", b"first")
    with proxy.does(lambda request: lagging if request.method == "GET" else NONE), pytest.raises(Exists):
        store.put("a/b", b"second")
    assert store.get("a/b") == b"first"


def test_a_name_that_is_written_too_often_is_tried_again(url, proxy):
    """Google takes one write of a name a second, and says 429 to the others: which says nothing of who has it."""
    first = iter([NONE])
    busy = refusal(429, "rateLimitExceeded")
    mostly = proxy.does(lambda request: NONE if request.method != "POST" else next(first, busy))
    with mostly, contextlib.suppress(StoreError):
        assert Cap.CREATE_NEW not in gcs.open_store(url).capabilities()
    done = set()

    def once_each(request):
        if request.method != "POST" or len(done) >= 3:
            return NONE
        done.add(len(done))
        return busy

    with proxy.does(once_each):
        assert Cap.CREATE_NEW in gcs.open_store(url).capabilities()


def test_a_server_whose_listings_lag_is_found_out(url, proxy):
    empty = Trouble(rewrite=lambda _: b'{"kind": "storage#objects"}')
    with proxy.does(lambda request: empty if "prefix=" in request.path else NONE):
        caps = gcs.open_store(url).capabilities()
    assert Cap.CREATE_NEW in caps
    assert Cap.STRONG_LIST not in caps
    assert Cap.STRONG_LIST in gcs.open_store(url).capabilities()  # that of before left no mark


def test_a_server_that_ignores_the_condition_is_found_out_and_names_are_looked_up(url, google_server):
    """The emulators to be had are such."""
    with google_server.proxy.does(lambda _: Trouble(change=unconditional)):
        other = gcs.open_store(url)
        assert Cap.CREATE_NEW not in other.capabilities()
        other.put("a/b", b"first")
        with pytest.raises(Exists):
            other.put("a/b", b"second")
        upload = other.upload("a/b")
        upload.write(b"x" * (17 << 20))
        with pytest.raises(Exists):
            upload.commit()
        upload.abort()
        new = other.upload("a/c")
        new.write(b"x" * (17 << 20))
        new.commit()
        assert other.get("a/b") == b"first"
        assert other.stat("a/c").size == 17 << 20


def unconditional(request):
    return replace(request, path=request.path.replace("ifGenerationMatch=0", "nothing=0"))


def test_a_server_that_looks_first_and_writes_then_is_found_out(url, proxy, google_server, bucket):
    """What it refuses it has looked for; and of all that look at once none finds anything."""
    together = threading.Barrier(4)
    said = {"size": "0", "crc32c": "AAAAAA==", "generation": "1", "timeCreated": "2026-11-28T03:00:00Z"}

    def look_first(request):
        if request.method != "POST" or b"conditional-writes" in request.body[:400]:
            return NONE
        together.wait(30)
        told = said | {"size": str(size_of(request.body)), "crc32c": crc_of(request.body)}
        return Trouble(refuse=(200, ""), rewrite=lambda _: json.dumps(told).encode())

    with proxy.does(look_first):
        assert Cap.CREATE_NEW not in gcs.open_store(url).capabilities()
    assert google_server.control()["objects"][bucket] == {}


def crc_of(body):
    return json.loads(body.split(b"\r\n")[3])["crc32c"]


def size_of(body):
    return len(body.split(b"\r\n\r\n", 2)[2].rpartition(b"\r\n--")[0])


def test_who_may_only_read_lists_verifies_and_restores(url, proxy, tmp_path):
    source, target = f"sqlite:///{tmp_path}/shop.db", f"sqlite:///{tmp_path}/new.db"
    make_shop(tmp_path / "shop.db")
    backup = BackupManager(url).create_backup(source).backup
    no_create = refusal(403, "forbidden", "a@b.iam.gserviceaccount.com does not have storage.objects.create access")
    with proxy.does(lambda request: no_create if request.method in WRITES else NONE):
        manager = BackupManager(url)
        assert [b.id for b in manager.list_backups()] == [backup.id]
        assert manager.verify(backup.id)
        assert manager.restore(backup.id, target).success
        refused = manager.create_backup(source)
        assert not refused.success
        assert "refuses it" in str(refused.error)
        assert "dumpty help gcs" in str(refused.error)
        with pytest.raises(NotPermitted):
            manager.remove(backup.id)
    assert [b.id for b in BackupManager(url).list_backups()] == [backup.id]


def test_who_may_not_delete_backs_up_and_removes_nothing(url, proxy, tmp_path):
    """Without that right an object that exists cannot be replaced either, which Google answers with the same."""
    make_shop(tmp_path / "shop.db")

    def append_only(request):
        replaces = request.method == "POST" and "ifGenerationMatch=0" not in request.path
        return FORBIDDEN if request.method == "DELETE" or replaces else NONE

    with proxy.does(append_only):
        manager = BackupManager(url)
        ids = [manager.create_backup(f"sqlite:///{tmp_path}/shop.db").backup.id for _ in range(2)]
        with pytest.raises(NotPermitted, match="refuses it"):
            manager.remove(ids[0])
        manager.pin(ids[0])  # nothing was announced that nobody can take back
        assert {b.id for b in manager.list_backups()} == set(ids)
        assert all(manager.verify(backup_id) for backup_id in ids)


@pytest.mark.parametrize("early", [True, False])
def test_where_the_right_is_missed_before_the_condition_a_name_that_is_taken_is_known(
    url, google_server, tmp_path, early
):
    make_shop(tmp_path / "shop.db")
    with google_server.being(append_only=True, checks_at_begin=early):
        store = gcs.open_store(url)
        assert Cap.CREATE_NEW in store.capabilities()
        assert Cap.CREATE_NEW in gcs.open_store(url).capabilities()
        store.put("a/b", b"first")
        with pytest.raises(Exists):
            store.put("a/b", b"second")
        with pytest.raises(NotPermitted):
            store.put("a/b", b"second", new=False)
        upload = store.upload("a/b")
        with pytest.raises(Exists):
            finish(upload, b"x" * (17 << 20))
        upload.abort()
        manager = BackupManager(url)
        backup = manager.create_backup(f"sqlite:///{tmp_path}/shop.db").raise_for_error()
        assert manager.verify(backup.id)
        with pytest.raises(NotPermitted):
            store.delete(["a/b"])


def finish(upload, data):
    upload.write(data)
    upload.commit()


@pytest.mark.parametrize("kept", ["retention", "held"])
def test_what_the_bucket_keeps_is_retained_and_says_until_when(url, google_server, bucket, kept):
    store = gcs.open_store(url)
    store.capabilities()
    with google_server.being(**({"retention": 3600} if kept == "retention" else {"held": ["here/a/b"]})):
        store.put("a/b", b"x")
        with pytest.raises(Retained, match="keeps it"):
            store.delete(["a/b"])
        with pytest.raises(Exists):
            store.put("a/b", b"y")
        with pytest.raises(Retained):
            store.put("a/b", b"y", new=False)
        assert (store.stat("a/b").retained_until is not None) == (kept == "retention")
    assert store.get("a/b") == b"x"


def test_a_retention_that_is_called_forbidden_is_known_all_the_same(store, proxy):
    store.put("a/b", b"x")
    text = (
        "Object 'b/a' is subject to bucket's retention policy and cannot be deleted, overwritten or archived until 2027"
    )
    trouble = refusal(403, "forbidden", text)
    with proxy.does(lambda request: trouble if request.method == "DELETE" else NONE), pytest.raises(Retained):
        store.delete(["a/b"])


def test_of_a_bucket_that_keeps_what_it_has_nothing_is_removed(url, google_server, tmp_path):
    make_shop(tmp_path / "shop.db")
    with google_server.being(retention=3600):
        manager = BackupManager(url)
        ids = [manager.create_backup(f"sqlite:///{tmp_path}/shop.db").backup.id for _ in range(2)]
        assert all(manager.verify(backup_id) for backup_id in ids)
        manager.remove(ids[0])
        assert {b.id for b in manager.list_backups()} == set(ids)


def test_a_server_that_takes_one_change_of_a_name_a_second_is_waited_for(url, google_server, tmp_path, monkeypatch):
    """As Google does, deletions included; claims are made and given back within one. Seconds take half a second here."""
    monkeypatch.setattr("dumpty_plugins.buckets.asking._PAUSES", (0.5, 1.0, 2.0))
    make_shop(tmp_path / "shop.db")
    before = google_server.control()["too_many"]
    with google_server.being(rate=0.5):
        manager = BackupManager(url)
        first, second = (manager.create_backup(f"sqlite:///{tmp_path}/shop.db").raise_for_error() for _ in range(2))
        assert manager.verify(first.id)
        manager.remove(first.id)
        assert [backup.id for backup in manager.list_backups()] == [second.id]
    assert google_server.control()["too_many"] > before


def test_what_a_backup_asks_of_a_bucket_is_counted(url, proxy, tmp_path):
    make_shop(tmp_path / "shop.db")
    BackupManager(url).create_backup(f"sqlite:///{tmp_path}/shop.db")
    proxy.requests.clear()
    BackupManager(url).create_backup(f"sqlite:///{tmp_path}/shop.db")
    assert len(proxy.requests) == 11
