"""What a server guarantees is found out, not assumed; and what the rights at hand allow."""

from __future__ import annotations

import contextlib
import re
import threading

import pytest
from support.hostile_proxy import NONE, Trouble
from support.off_site import make_shop

from dumpty import BackupManager, Cap, Exists, MissingFile, NotPermitted, Retained, StoreError
from dumpty_plugins import objectstore

SAYS_DONE = Trouble(
    refuse=(201, ""), headers={"ETag": '"x"', "Last-Modified": "Fri, 27 Nov 2026 20:00:00 GMT"}, rewrite=lambda _: b""
)
WRITES = {"PUT", "DELETE"}


def refusal(status, code):
    return Trouble(refuse=(status, code), headers={"x-ms-error-code": code, "Content-Type": "application/xml"})


REFUSED = refusal(403, "AuthorizationPermissionMismatch")


def read_only(request):
    return REFUSED if request.method in WRITES else NONE


def append_only(request):
    return REFUSED if request.method == "DELETE" else NONE


def sent(proxy):
    return [r.method for r in proxy.requests]


def test_that_the_server_decides_is_proved_by_racing_and_then_by_two_requests(store, url, proxy):
    assert Cap.CREATE_NEW | Cap.STRONG_LIST in store.capabilities()
    assert sent(proxy).count("PUT") == 5
    proxy.requests.clear()
    again = objectstore.open_store(url)
    assert again.capabilities() == again.capabilities() == store.capabilities()
    assert sent(proxy) == ["HEAD", "PUT"]
    assert list(store.list()) == []


@pytest.mark.parametrize("trouble", [refusal(503, "ServerBusy"), Trouble(lose=500)], ids=["busy", "lost"])
def test_a_race_that_was_not_won_is_run_again_by_the_next_one(url, proxy, trouble):
    with proxy.does(lambda request: trouble if request.method == "PUT" else NONE), contextlib.suppress(StoreError):
        assert Cap.CREATE_NEW not in objectstore.open_store(url).capabilities()
    proxy.requests.clear()
    assert Cap.CREATE_NEW in objectstore.open_store(url).capabilities()
    assert sent(proxy).count("PUT") == 5


def test_a_server_whose_listings_lag_is_found_out(store, url, proxy):
    empty = Trouble(rewrite=lambda body: re.sub(rb"<Blobs>.*</Blobs>", b"<Blobs/>", body, flags=re.DOTALL))
    with proxy.does(lambda request: empty if "comp=list" in request.path else NONE):
        caps = objectstore.open_store(url).capabilities()
    assert Cap.CREATE_NEW in caps
    assert Cap.STRONG_LIST not in caps
    assert Cap.STRONG_LIST in objectstore.open_store(url).capabilities()  # that of before left no mark


def test_a_server_that_looks_first_and_writes_then_is_found_out(url, proxy, azure_server, container):
    """What it refuses it has looked for; and of all that look at once none finds anything."""
    together = threading.Barrier(4)

    def look_first(request):
        if request.method != "PUT" or "conditional" in request.path:
            return NONE
        together.wait(30)
        return SAYS_DONE  # the signature is over the headers: so none is taken away

    with proxy.does(look_first):
        assert Cap.CREATE_NEW not in objectstore.open_store(url).capabilities()
    assert list(azure_server.client.get_container_client(container).list_blobs()) == []


def test_without_the_servers_word_a_name_that_is_taken_is_looked_up(store, url, proxy, azure_server, container):
    store.capabilities()  # what was proved before does not count for a server that has taken its place

    def believed(request):
        return SAYS_DONE if request.method == "PUT" and "conditional-writes" in request.path else NONE

    with proxy.does(believed):
        other = objectstore.open_store(url)
        assert Cap.CREATE_NEW not in other.capabilities()
        other.put("a/b", b"first")
        with pytest.raises(Exists):
            other.put("a/b", b"second")
        upload = other.upload("a/b")
        upload.write(b"x" * (9 << 20))
        with pytest.raises(Exists):
            upload.commit()
        upload.abort()
        new = other.upload("a/c")
        new.write(b"x" * (9 << 20))
        new.commit()
    assert store.get("a/b") == b"first"
    assert store.stat("a/c").size == 9 << 20


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
        assert "dumpty help objectstore" in str(refused.error)
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


def test_what_a_policy_of_the_container_keeps_is_retained(store, proxy):
    store.put("a/b", b"x")
    trouble = refusal(409, "BlobImmutableDueToPolicy")
    with (
        proxy.does(lambda request: trouble if request.method == "DELETE" else NONE),
        pytest.raises(Retained, match="keeps"),
    ):
        store.delete(["a/b"])
    assert store.get("a/b") == b"x"


def test_a_container_that_keeps_what_it_has_is_used(store, url, proxy):
    """Where a policy refuses what the condition would, the name is taken all the same."""
    store.capabilities()
    store.put("a/b", b"x")
    kept = refusal(409, "BlobImmutableDueToPolicy")
    with proxy.does(lambda request: kept if request.method == "PUT" else NONE):
        other = objectstore.open_store(url)
        assert Cap.CREATE_NEW in other.capabilities()
        with pytest.raises(Exists):
            other.put("a/b", b"y")
        with pytest.raises(Retained):
            other.put("a/b", b"y", new=False)


def test_directories_of_a_hierarchical_namespace_are_no_objects(store, azure_server, container):
    store.put("shop/a", b"x")
    client = azure_server.client.get_container_client(container)
    for name in ("here", "here/shop"):
        client.get_blob_client(name).upload_blob(b"", metadata={"hdi_isfolder": "true"})
    assert [found.name for found in store.list()] == ["shop/a"]
    with pytest.raises(MissingFile):
        store.stat("shop")


def test_what_a_backup_asks_of_a_container_is_counted(url, proxy, tmp_path):
    make_shop(tmp_path / "shop.db")
    BackupManager(url).create_backup(f"sqlite:///{tmp_path}/shop.db")
    proxy.requests.clear()
    BackupManager(url).create_backup(f"sqlite:///{tmp_path}/shop.db")
    assert len(proxy.requests) == 11
