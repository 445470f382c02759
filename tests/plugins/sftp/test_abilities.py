"""What a server and an account can do is found out, and is what is claimed."""

from __future__ import annotations

import os
import threading

import pytest

from dumpty import Cap, Exists, NotPermitted, StoreError

FULL = Cap.CREATE_NEW | Cap.STRONG_LIST | Cap.DELETE
DENIED, FAILURE = 3, 4


def race(stores, name):
    """Let each put its number at once; return the numbers of those who won."""
    won, barrier = [], threading.Barrier(len(stores))

    def work(number):
        barrier.wait()
        try:
            stores[number].put(name, b"%d" % number)
        except Exists:
            return
        won.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(stores))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return won


def test_with_hard_links_all_is_claimed_and_nothing_is_left(store, files):
    assert store.capabilities() == store.capabilities() == FULL
    assert files() == set()


def test_an_account_that_only_reads_has_no_error(open_store, start_server, ssh_server, top, files):
    open_store(ssh_server.url(top)).put("a/b", b"x")
    os.utime(top / "a", (4_000_000_000, 4_000_000_000))
    store = open_store(start_server("internal-sftp -R").url(top))
    assert store.capabilities() == Cap.STRONG_LIST
    assert [found.name for found in store.list()] == ["a/b"]
    assert store.get("a/b") == b"x"
    assert store.now().timestamp() == 4_000_000_000  # what lies there is no later than now
    for call in (lambda: store.put("a/c", b"x"), lambda: store.delete(["a/b"]), lambda: store.upload("a/c")):
        with pytest.raises(NotPermitted):
            call()
    assert files() == {"a/b"}


def test_an_account_that_may_not_remove_adds_and_leaves_no_part(open_store, start_server, top, files):
    store = open_store(start_server("internal-sftp -P remove,rmdir,posix-rename,setstat,fsetstat").url(top))
    assert store.capabilities() == Cap.STRONG_LIST
    store.put("a/b", b"x")
    upload = store.upload("a/c")
    upload.write(b"y")
    upload.commit()
    with pytest.raises(Exists):
        store.put("a/b", b"z")
    assert files() == {"a/b", "a/c"}
    with pytest.raises(NotPermitted):
        store.delete(["a/b"])


def test_without_hard_links_a_rename_that_refuses_will_do(open_store, start_server, top, files):
    url = start_server("internal-sftp -P hardlink").url(top)
    stores = [open_store(url) for _ in range(4)]
    assert stores[0].capabilities() == FULL
    assert files() == set()
    for number in range(5):
        assert len(race(stores, f"race/{number}")) == 1
    assert files() == {f"race/{number}" for number in range(5)}


def test_a_rename_that_nobody_can_race_for_is_not_relied_on(open_store, start_server, top, files):
    store = open_store(start_server("internal-sftp -P hardlink", "MaxSessions 1").url(top))
    assert store.capabilities() == Cap.STRONG_LIST | Cap.DELETE
    store.put("a/b", b"x")
    with pytest.raises(Exists):
        store.put("a/b", b"y")
    assert files() == {"a/b"}


@pytest.mark.parametrize("manner", ["over", "look"])
def test_a_rename_that_replaces_or_only_looks_is_not_relied_on(unruly, unruly_ssh_server, files, manner):
    """The second is refused where a name is taken; but of several at once more than one find that it is not."""
    with unruly_ssh_server.rules(hide=["hardlink@openssh.com"], rename=manner):
        assert unruly.capabilities() == Cap.STRONG_LIST | Cap.DELETE
        assert files() == set()
        unruly.put("a/b", b"x")
        with pytest.raises(Exists):
            unruly.put("a/b", b"y")
        assert unruly.get("a/b") == b"x"
    assert files() == {"a/b"}


def test_a_file_system_without_links_under_a_server_with_them_is_not_relied_on(unruly, unruly_ssh_server):
    """There OpenSSH's own rename looks first, and renames then."""
    with unruly_ssh_server.rules(refuse=[["hardlink@openssh.com", "", FAILURE]]):
        assert unruly.capabilities() == Cap.STRONG_LIST | Cap.DELETE
        unruly.put("a/b", b"x")
        with pytest.raises(Exists):
            unruly.put("a/b", b"y")


def test_a_server_with_one_session_for_each_login_will_do(open_store, start_server, top):
    assert open_store(start_server("internal-sftp", "MaxSessions 1").url(top)).capabilities() == FULL


def test_a_server_without_extensions_keeps_objects(unruly, unruly_ssh_server, files):
    hidden = ("hardlink", "posix-rename", "fsync", "statvfs", "limits", "fstatvfs", "lsetstat")
    with unruly_ssh_server.rules(hide=[f"{name}@openssh.com" for name in hidden]):
        assert unruly.capabilities() == FULL
        for data in (b"first", b"later", b"more", b""):
            unruly.put("a/b", data, new=False)
            assert unruly.get("a/b") == data
        upload = unruly.upload("a/c")
        upload.write(bytes(100_000))
        upload.commit()
        assert unruly.stat("a/c").size == 100_000
    assert files() == {"a/b", "a/c"}


def test_what_cannot_be_found_out_is_an_error_and_asked_again(unruly, unruly_ssh_server):
    with unruly_ssh_server.rules(refuse=[["open", ".part", FAILURE]]), pytest.raises(StoreError, match="find out"):
        unruly.capabilities()
    assert unruly.capabilities() == FULL
