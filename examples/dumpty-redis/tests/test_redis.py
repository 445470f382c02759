"""One numbered database, out and back, against a real server."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
from conftest import Server

from dumpty import BackupManager, IntegrityError, SourceError, TargetNotEmpty, backup_database

KINDS = {"hash": 2, "list": 1, "set": 2, "stream": 1, "string": 6, "zset": 2}


@pytest.fixture
def manager(tmp_path) -> BackupManager:
    return BackupManager(str(tmp_path / "backups"))


def backed_up(manager: BackupManager, url: str, **options: object):
    result = manager.create_backup(url, **options)
    assert result.success, result.error
    return result.backup


def test_every_type_binary_keys_and_expiries_come_back(filled, manager):
    backup = backed_up(manager, filled.url(0))
    assert {o.path: o.rows for o in backup.evidence.objects} == KINDS
    assert backup.evidence.consistent
    result = manager.restore(backup.id, filled.url(1))
    assert result.success, result.error
    content = filled.content(1)
    assert content == filled.content(0)
    assert len(content) == sum(KINDS.values())
    assert content[b"mortal"][0] > time.time() * 1000


def test_only_the_numbered_database_is_read_and_replaced(filled, manager):
    for number in (1, 2):
        filled.client(number).set("other", number)
    backup = backed_up(manager, filled.url(0))
    assert manager.restore(backup.id, filled.url(1), overwrite=True).success
    assert filled.content(1) == filled.content(0)
    assert filled.client(2).keys() == [b"other"]
    assert set(filled.client(0).info("keyspace")) == {"db0", "db1", "db2"}


def test_a_key_that_expired_since_does_not_come_back_and_is_not_missed(server, manager):
    server.client(0).set("short", "x", px=400)
    server.client(0).set("lasting", "x")
    backup = backed_up(manager, server.url(0))
    assert backup.evidence.objects[0].rows == 2
    time.sleep(0.5)
    result = manager.restore(backup.id, server.url(1))
    assert result.success, result.error
    assert server.client(1).keys() == [b"lasting"]


def test_a_target_that_holds_keys_is_refused_until_overwrite(filled, manager):
    filled.client(1).set("precious", 1)
    backup = backed_up(manager, filled.url(0))
    assert isinstance(manager.restore(backup.id, filled.url(1)).exception, TargetNotEmpty)
    assert filled.client(1).keys() == [b"precious"]
    assert manager.restore(backup.id, filled.url(1), overwrite=True).success
    assert filled.content(1) == filled.content(0)


def test_an_empty_database_is_backed_up_and_restored(server, manager):
    backup = backed_up(manager, server.url(0))
    server.client(1).set("old", 1)
    assert manager.restore(backup.id, server.url(1), overwrite=True).success
    assert server.client(1).keys() == []


@contextlib.contextmanager
def writing_pairs(server: Server):
    """Somebody who adds to two lists in one transaction, all the time."""
    stop = threading.Event()

    def write() -> None:
        with contextlib.closing(server.client(0)) as client:
            while not stop.is_set():
                client.pipeline(transaction=True).rpush("left", "x" * 50).rpush("right", "x" * 50).execute()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        while thread.is_alive() and not server.client(0).exists("left"):
            time.sleep(0.005)
        yield
    finally:
        stop.set()
        thread.join()


def test_a_backup_beside_writers_is_of_one_moment_and_lets_them_go_on(server, manager):
    with contextlib.closing(server.client(0)) as client:
        client.mset({f"key {i}": "v" * 100 for i in range(3000)})
    with writing_pairs(server):
        backup = backed_up(manager, server.url(0))
        before = server.client(0).llen("left")
        deadline = time.monotonic() + 10
        while server.client(0).llen("left") == before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.client(0).llen("left") > before
    assert manager.restore(backup.id, server.url(1)).success
    restored = server.client(1)
    assert restored.llen("left") == restored.llen("right") > 0


def test_writers_wait_no_longer_than_allowed(server, manager):
    with contextlib.closing(server.client(0)) as client:
        client.mset({f"key {i}": i for i in range(3000)})
    result = manager.create_backup(server.url(0), pause=0.0)
    assert isinstance(result.exception, SourceError)
    assert "pause=SECONDS" in result.error
    assert manager.list_backups() == []
    started = time.monotonic()
    server.client(0).set("free", 1)
    assert time.monotonic() - started < 2


def test_a_write_in_spite_of_the_pause_fails_the_backup(filled):
    """Somebody else lifts the pause and writes while the keys are read."""
    import dumpty_redis.dump as module

    from dumpty.url import parse_url

    source = parse_url(filled.url(0))
    with module.connected(source) as client, module.Pause(client, 10.0, source) as pause:
        pause.require_kept()
        filled.client(0).client_unpause()
        filled.client(0).set("intruder", 1)
        with pytest.raises(IntegrityError, match="written to"):
            pause.require_kept()


def test_without_the_pause_the_dump_says_that_it_is_not_of_one_moment(filled, manager):
    backup = backed_up(manager, filled.url(0), consistency="none")
    assert backup.evidence.consistent is False
    assert "not of one moment" in backup.evidence.notes[0]
    assert manager.restore(backup.id, filled.url(1)).success
    assert filled.content(1) == filled.content(0)


def test_a_user_without_the_right_to_pause_is_told_the_way_out(filled, manager):
    filled.client(0).execute_command("ACL", "SETUSER", "reader", "on", ">s3cret-word", "~*", "+@all", "-client|pause")
    url = filled.url(0, user="reader:s3cret-word")
    result = manager.create_backup(url)
    assert isinstance(result.exception, SourceError)
    assert "consistency=none" in result.error
    assert backed_up(manager, url, consistency="none").database_url == filled.url(0, user="reader:***")


def test_no_error_shows_the_password(filled, manager, tmp_path, caplog):
    for url in (
        filled.url(0, user="nobody:s3cret-word"),
        filled.url(0, user="nobody:s3cret-word", socket=str(tmp_path / "none")),
        "redis://nobody:s3cret-word@127.0.0.1:1/0",
        filled.url(99, user="nobody:s3cret-word"),
        filled.url("name", user="nobody:s3cret-word"),
    ):
        result = manager.create_backup(url)
        assert isinstance(result.exception, SourceError), url
        assert "s3cret" not in result.error + caplog.text
        assert "\n" not in result.error


@pytest.mark.parametrize(
    "url", ["redis:///99?unix_socket_path={}", "redis:///x?unix_socket_path={}", "redis:///0?unix_socket_path={}&a=1"]
)
def test_a_url_that_names_no_database_is_refused(server, manager, url):
    assert isinstance(manager.create_backup(url.format(server.socket)).exception, SourceError)


def test_a_restore_needs_an_unused_number_and_says_so(filled, manager):
    backup = backed_up(manager, filled.url(0))
    for number in range(2, 16):
        filled.client(number).set("used", 1)
    result = manager.restore(backup.id, filled.url(1))
    assert isinstance(result.exception, SourceError)
    assert "no empty database" in result.error
    assert filled.client(1).keys() == []


def test_a_restore_that_fails_midway_leaves_target_and_other_numbers(filled, manager):
    """The server runs out of memory while the values are loaded."""
    filled.client(0).set("large", os.urandom(3_000_000))
    filled.client(1).set("precious", 1)
    backup = backed_up(manager, filled.url(0))
    used = filled.client(0).info("memory")["used_memory"]
    filled.client(0).config_set("maxmemory", used + 1_000_000)
    try:
        result = manager.restore(backup.id, filled.url(1), overwrite=True)
    finally:
        filled.client(0).config_set("maxmemory", 0)
    assert isinstance(result.exception, SourceError)
    assert "maxmemory" in result.error
    assert filled.client(1).keys() == [b"precious"]
    assert set(filled.client(0).info("keyspace")) == {"db0", "db1"}


def test_a_server_that_evicts_keys_is_not_filled(filled, manager):
    filled.client(0).set("large", os.urandom(3_000_000))
    backup = backed_up(manager, filled.url(0))
    used = filled.client(0).info("memory")["used_memory"]
    filled.client(0).config_set("maxmemory-policy", "allkeys-lru")
    filled.client(0).config_set("maxmemory", used + 1_000_000)
    try:
        result = manager.restore(backup.id, filled.url(1))
    finally:
        filled.client(0).config_set("maxmemory", 0)
        filled.client(0).config_set("maxmemory-policy", "noeviction")
    assert "before it evicts keys" in result.error
    assert len(filled.content(0)) == sum(KINDS.values()) + 1


def test_a_dump_goes_back_through_redis_cli_without_dumpty(filled, manager):
    program = shutil.which("redis-cli")
    assert program, "no redis-cli on the PATH; install it: apt-get install -y redis-tools"
    backup = backed_up(manager, filled.url(0))
    plain = gzip.decompress(Path(backup.file_path).read_bytes())
    assert plain.endswith(b"keys: %d\r\n" % sum(KINDS.values()))
    done = subprocess.run(
        [program, "-s", filled.socket, "-n", "1", "--pipe"], input=plain, capture_output=True, check=True
    )
    assert b"errors: 0" in done.stdout
    assert filled.content(1) == filled.content(0)


def test_the_one_call_form_works(filled, tmp_path):
    result = backup_database(filled.url(0), str(tmp_path / "b"))
    assert result.success, result.error
    assert result.backup.file_path.endswith(".resp.gz")
