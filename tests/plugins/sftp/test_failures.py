"""A connection that is lost, a disk that is full, a server that falls silent."""

from __future__ import annotations

import os
import threading

import pytest

from dumpty import Cancellation, Exists, StoreError

SILENCE = 3


def write_much(upload):
    """Write more than is ever on its way, and commit."""
    for _ in range(64):
        upload.write(bytes(1 << 20))
    upload.commit()


def test_what_is_harmless_to_repeat_is_repeated_where_the_connection_was_lost(open_store, ssh_server, proxy, top):
    store = open_store(ssh_server.url(top, port=proxy.port))
    store.put("a/b", b"x")
    for call in (
        store.now,
        lambda: store.get("a/b"),
        lambda: store.open("a/b").close(),
        lambda: store.stat("a/b"),
        lambda: list(store.list()),
        lambda: store.put("a/c", b"y", new=False),
        lambda: store.delete(["a/c"]),
    ):
        before = proxy.accepted
        proxy.cut()
        call()
        assert proxy.accepted == before + 1
    assert [found.name for found in store.list()] == ["a/b"]


def test_a_read_goes_on_where_the_connection_was_lost(open_store, ssh_server, proxy, top):
    store = open_store(ssh_server.url(top, port=proxy.port))
    data = os.urandom(20 << 20)
    store.put("a/b", data)
    reader = store.open("a/b")
    content = bytearray(reader.read(1000))
    for _ in range(2):
        proxy.cut()
        while len(content) < len(data) // 2:
            content += reader.read(1 << 20)
    proxy.cut()
    content += reader.read(-1)
    reader.close()
    assert content == data


def test_a_read_does_not_go_on_with_another_object(open_store, ssh_server, proxy, top):
    store = open_store(ssh_server.url(top, port=proxy.port))
    store.put("a/b", bytes(8 << 20))
    reader = store.open("a/b")
    reader.read(1000)
    (top / "other").write_bytes(bytes(9 << 20))
    (top / "other").replace(top / "a" / "b")
    proxy.cut()
    with pytest.raises(StoreError, match="replaced while the connection was lost"):
        reader.read(-1)


def test_a_server_that_stays_away_is_an_error(open_store, ssh_server, proxy, top):
    store = open_store(ssh_server.url(top, port=proxy.port))
    store.put("a/b", b"x")
    proxy.refuse()
    with pytest.raises(StoreError, match="cannot connect"):
        store.get("a/b")
    proxy.accept_again()
    assert store.get("a/b") == b"x"


def test_an_upload_whose_connection_was_lost_is_an_error_and_leaves_nothing(open_store, ssh_server, proxy, top, files):
    store = open_store(ssh_server.url(top, port=proxy.port))
    upload = store.upload("a/b")
    upload.write(bytes(1 << 20))
    proxy.cut()
    with pytest.raises(StoreError, match="connection was lost"):
        write_much(upload)
    upload.abort()
    assert files() == set()


@pytest.mark.parametrize(
    ("hidden", "lost"),
    [([], "hardlink@openssh.com"), (["hardlink@openssh.com"], "rename")],
    ids=["link", "rename"],
)
def test_a_commit_whose_answer_was_lost_finds_its_object(unruly, unruly_ssh_server, files, hidden, lost):
    with unruly_ssh_server.rules(hide=hidden):
        unruly.capabilities()
    for number in range(2):
        upload = unruly.upload(f"a/{number}")
        upload.write(b"own")
        with unruly_ssh_server.rules(hide=hidden, lose=[lost]):
            upload.commit()
        upload.abort()
        assert unruly.get(f"a/{number}") == b"own"
    assert files() == {"a/0", "a/1"}


def test_a_commit_whose_answer_was_lost_finds_anothers_object(unruly, unruly_ssh_server, files):
    unruly.put("a/b", b"another's")
    upload = unruly.upload("a/b")
    upload.write(b"of own, too")
    with unruly_ssh_server.rules(lose=["hardlink@openssh.com"]), pytest.raises(Exists):
        upload.commit()
    upload.abort()
    assert unruly.get("a/b") == b"another's"
    assert files() == {"a/b"}


@pytest.mark.parametrize("request_", ["open", "write", "fsync@openssh.com", "remove"])
def test_a_put_that_was_cut_anywhere_is_done_once_more(unruly, unruly_ssh_server, files, request_):
    """What was lost, but for the removal of the part, comes before anything is visible."""
    unruly.capabilities()
    turns = []

    def work():
        unruly.put("a/b", b"x")
        turns.append(True)

    with unruly_ssh_server.rules(lose=[request_]):
        if request_ == "remove":
            work()
        else:
            with pytest.raises(StoreError, match="connection was lost"):
                work()
    if not turns:
        work()
    assert unruly.get("a/b") == b"x"


def test_a_replacement_whose_answer_was_lost_is_found(unruly, unruly_ssh_server, files):
    unruly.put("a/b", b"former")
    with unruly_ssh_server.rules(lose=["posix-rename@openssh.com"]):
        unruly.put("a/b", b"later, and longer", new=False)
    assert unruly.get("a/b") == b"later, and longer"
    assert files() == {"a/b"}


def test_a_full_disk_is_told_and_leaves_nothing(unruly, unruly_ssh_server, files):
    with unruly_ssh_server.rules(full_after=1 << 20):
        upload = unruly.upload("a/b")
        with pytest.raises(StoreError, match=r"its disk is full .* free some space"):
            write_much(upload)
        upload.abort()
        assert files() == set()
    with unruly_ssh_server.rules(full_after=0), pytest.raises(StoreError, match="its disk is full"):
        unruly.put("a/b", b"x")
    assert files() == set()


def test_a_limit_that_is_no_full_disk_is_told(unruly, unruly_ssh_server):
    rules = unruly_ssh_server.rules(refuse=[["write", "", 4]])
    with rules, pytest.raises(StoreError, match="a quota or a limit on the size of files"):
        unruly.put("a/b", b"x")


def test_a_folder_that_cannot_be_read_is_an_error_and_no_short_listing(unruly, unruly_ssh_server):
    unruly.put("a/b", b"x")
    unruly.put("c/d", b"x")
    rules = unruly_ssh_server.rules(refuse=[["opendir", "/c", 4]])
    with rules, pytest.raises(StoreError, match="cannot list"):
        list(unruly.list())


def test_a_server_whose_sftp_hangs_while_its_ssh_lives_is_given_up(open_store, unruly_ssh_server, top):
    store = open_store(unruly_ssh_server.url(top, timeout=SILENCE))
    store.put("a/b", b"x")
    with unruly_ssh_server.rules(mute=True), pytest.raises(StoreError, match="not a byte came for 3 s"):
        store.get("a/b")
    assert store.get("a/b") == b"x"


def test_an_upload_to_a_silent_server_is_given_up(open_store, ssh_server, proxy, top, files):
    store = open_store(ssh_server.url(top, port=proxy.port, timeout=SILENCE))
    upload = store.upload("a/b")
    upload.write(bytes(1 << 20))
    proxy.stall()
    with pytest.raises(StoreError, match=r"3 s|connection was lost"):
        write_much(upload)
    proxy.cut()
    proxy.flow()
    upload.abort()
    assert files() == set()


def test_a_cancellation_ends_a_wait_in_another_thread(open_store, ssh_server, proxy, tmp_path):
    """And the store serves the next call."""
    import sqlite3

    from dumpty import BackupManager, Cancelled

    with sqlite3.connect(tmp_path / "shop.db") as database:
        database.execute("CREATE TABLE t (a)")
    database.close()
    url = ssh_server.url(tmp_path / "store", port=proxy.port)
    manager = BackupManager(url)
    assert manager.create_backup(f"sqlite:///{tmp_path}/shop.db").success
    cancellation = Cancellation()
    outcomes = []

    def work():
        try:
            outcomes.append(manager.create_backup(f"sqlite:///{tmp_path}/shop.db", cancel=cancellation))
        except Cancelled as error:
            outcomes.append(error)

    proxy.stall()
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(1)
    cancellation.cancel()
    thread.join(60)
    assert not thread.is_alive()
    (outcome,) = outcomes
    assert "cancelled" in str(getattr(outcome, "error", outcome))
    proxy.cut()
    proxy.flow()
    assert len(manager.list_backups()) == 1


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_of_a_fork_has_a_connection_of_its_own(store):
    store.put("a/b", b"x")
    child = os.fork()
    if not child:
        os._exit(0 if store.get("a/b") == b"x" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.get("a/b") == b"x"
