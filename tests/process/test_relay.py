"""A child process as a connection: bytes both ways, its end, its last words, and who is let in."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import threading
import time

import pytest
from support.ways import eventually, gone

from dumpty.process.private_ports import is_own_connection, listen_on_loopback
from dumpty.process.relay import Relay

ECHO = ["sh", "-c", "echo hello; cat; echo bye"]

FREE_PORT = 20_000 + os.getpid() % 10_000
"""None that the system gives to whoever asks for any."""


class Words:
    def __init__(self):
        self.texts = []

    def __call__(self, text):
        self.texts.append(text)


def relay(argv, words=None):
    return Relay(argv, env={}, on_failure=words or Words())


def connect(path):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(60)
    client.connect(str(path))
    return client


def rest(client):
    pieces = []
    while piece := client.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def test_bytes_go_both_ways_and_what_comes_after_a_half_close_arrives(tmp_path):
    with relay(ECHO) as made:
        made.listen_at(str(tmp_path / "s"))
        with connect(tmp_path / "s") as client:
            client.sendall(b"\0\xff" * 500_000)
            client.shutdown(socket.SHUT_WR)
            assert rest(client) == b"hello\n" + b"\0\xff" * 500_000 + b"bye\n"


def test_a_client_sees_the_end_of_a_server_whose_child_goes_on(tmp_path):
    """As ssh -W does: its output ends with the server, it does not."""
    with relay(["sh", "-c", "echo all; exec >&-; cat >/dev/null"]) as made:
        made.listen_at(str(tmp_path / "s"))
        with connect(tmp_path / "s") as client:
            assert rest(client) == b"all\n"


def test_many_connections_have_a_child_each(tmp_path):
    with relay(["cat"]) as made:
        made.listen_at(str(tmp_path / "s"))
        clients = [connect(tmp_path / "s") for _ in range(40)]
        for number, client in enumerate(clients):
            client.sendall(b"%d" % number)
            client.shutdown(socket.SHUT_WR)
        for number, client in enumerate(clients):
            assert rest(client) == b"%d" % number
            client.close()


def test_a_reader_that_is_slow_gets_all_even_where_the_child_makes_the_socket_non_blocking(tmp_path):
    script = "import os, sys; os.set_blocking(0, False); sys.stdout.buffer.write(bytes(9_000_000))"
    with relay([sys.executable, "-c", script]) as made:
        made.listen_at(str(tmp_path / "s"))
        with connect(tmp_path / "s") as client:
            assert eventually(lambda: len(client.recv(1, socket.MSG_PEEK)))
            assert len(rest(client)) == 9_000_000


def test_why_a_child_failed_is_known_before_its_client_sees_the_end(tmp_path):
    words = Words()
    with relay(["sh", "-c", "exec 1>&-; sleep 0.2; echo no such place >&2; exit 3"], words) as made:
        made.listen_at(str(tmp_path / "s"))
        with connect(tmp_path / "s") as client:
            assert rest(client) == b""
            assert words.texts == ["no such place"]


def test_a_program_that_is_missing_is_said(tmp_path):
    words = Words()
    with relay(["no-such-program"], words) as made:
        made.listen_at(str(tmp_path / "s"))
        with connect(tmp_path / "s") as client:
            assert rest(client) == b""
    assert "no-such-program could not be started" in words.texts[0]


def test_what_a_child_says_whose_client_has_gone_is_no_failure(tmp_path):
    words = Words()
    with relay(["sh", "-c", "cat >/dev/null; echo broken pipe >&2; exit 1"], words) as made:
        made.listen_at(str(tmp_path / "s"))
        connect(tmp_path / "s").close()
        assert eventually(lambda: threading.active_count() and not _serving())
    assert words.texts == []


def _serving():
    return [thread for thread in threading.enumerate() if thread.name == "dumpty-connection"]


def test_at_its_end_no_child_is_left_however_it_hangs(tmp_path):
    mark = f"mark-{os.getpid()}"
    with relay(["sh", "-c", "trap '' TERM; while :; do sleep 60; done", mark]) as made:
        made.listen_at(str(tmp_path / "s"))
        client = connect(tmp_path / "s")
        assert eventually(lambda: not gone_now(mark))
    assert gone(mark)
    assert client.recv(1) == b""
    client.close()
    assert not _serving()


def test_its_end_waits_for_nobody_whom_a_child_has_handed_its_output_to(tmp_path):
    """As ssh hands it to the one that keeps the connection, which may wait for a machine that is silent."""
    script = f"setsid sh -c 'echo $$ >{tmp_path}/pid; exec sleep 600' & echo on; cat >/dev/null"
    with relay(["sh", "-c", script]) as made:
        made.listen_at(str(tmp_path / "s"))
        with connect(tmp_path / "s") as client:
            assert client.recv(3) == b"on\n"
            assert eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
    assert not _serving()
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)  # it is still there, and has the output


def gone_now(mark):
    from support.ways import running

    return not running(mark)


def test_a_child_that_ends_well_a_while_after_its_output_is_no_failure(tmp_path):
    words = Words()
    with relay(["sh", "-c", "exec >&-; sleep 0.8; exit 0"], words) as made:
        made.listen_at(str(tmp_path / "s"))
        with connect(tmp_path / "s") as client:
            assert rest(client) == b""
            time.sleep(1.5)  # what would be said is said by then
    assert words.texts == []


def test_its_descriptors_are_closed_at_the_end(tmp_path):
    gc.collect()  # what other tests left open
    before = len(os.listdir("/proc/self/fd"))
    for number in range(5):
        with relay(["cat"]) as made:
            made.listen_at(str(tmp_path / f"s{number}"))
            connect(tmp_path / f"s{number}").close()
    assert len(os.listdir("/proc/self/fd")) < before + 5


def test_a_port_has_the_number_that_was_asked_for_and_lets_this_user_in():
    with relay(ECHO) as made:
        address, port = made.listen_on_port(FREE_PORT)
        assert (address.partition(".")[0], port) == ("127", FREE_PORT)
        with socket.create_connection((address, port), 60) as client:
            client.shutdown(socket.SHUT_WR)
            assert rest(client) == b"hello\nbye\n"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_a_port_lets_no_other_user_in():
    words = Words()
    with relay(ECHO, words) as made:
        address, port = made.listen_on_port(FREE_PORT)
        pid = os.fork()
        if pid == 0:
            try:
                os.setuid(65534)
                with socket.create_connection((address, port), 60) as client:
                    os._exit(len(client.recv(9)))
            finally:
                os._exit(99)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        with socket.create_connection((address, port), 60) as client:
            assert client.recv(5) == b"hello"


def test_where_a_system_does_not_tell_nobody_is_let_in(monkeypatch):
    monkeypatch.setattr("dumpty.process.private_ports._TABLES", ("/nowhere/tcp",))
    words = Words()
    with relay(ECHO, words) as made, socket.create_connection(made.listen_on_port(FREE_PORT), 60) as client:
        assert rest(client) == b""
    assert "does not tell whose" in words.texts[0]


def test_a_connection_that_its_owner_has_closed_is_nobodys():
    with listen_on_loopback(0) as listener:
        client = socket.create_connection(listener.getsockname(), 60)
        accepted, _ = listener.accept()
        with accepted:
            assert is_own_connection(accepted)
            client.close()
            assert eventually(lambda: not is_own_connection(accepted))
