"""URLs and their parameters, servers that are not there, accounts that are refused: each a clear error."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from pathlib import Path

import pytest
from msgspec.structs import replace
from support.drive import dump, load
from support.mariadb_server import PASSWORD, MariaDBServer, running_server
from support.ports import free_port

from dumpty import BackupManager, DependencyError, Source, SourceError
from dumpty_plugins.mysql import plugin as mysql
from dumpty_plugins.mysql.server.connection import connect


def tcp(**overrides) -> Source:
    return Source(scheme="mysql", url="mysql://127.0.0.1/x", **({"host": "127.0.0.1", "database": "x"} | overrides))


def inspect(source: Source):
    return mysql.inspect(source=source, options={})


def test_a_password_of_awkward_characters_works_over_tcp(server: MariaDBServer, database, tmp_path: Path) -> None:
    name = database("CREATE TABLE t (id INT)")
    backup = dump(mysql, server.tcp_source(name), tmp_path / "d", "sql")
    target = database(create=False)
    assert load(mysql, server.tcp_source(target), backup).objects == backup.evidence.objects


def test_a_password_beyond_latin_1_works(server: MariaDBServer, database) -> None:
    name = database()
    server.run("CREATE USER emoji@'127.0.0.1' IDENTIFIED BY 'pä😀'", "GRANT ALL ON *.* TO emoji@'127.0.0.1'")
    try:
        source = Source(
            scheme="mysql",
            url="",
            host="127.0.0.1",
            port=server.port,
            username="emoji",
            password="pä😀",
            database=name,
        )
        assert inspect(source).exists
    finally:
        server.run("DROP USER emoji@'127.0.0.1'")


def test_a_wrong_password_is_refused_without_showing_it(server: MariaDBServer, database) -> None:
    name = database()
    with pytest.raises(SourceError, match=r"cannot connect to 127\.0\.0\.1:\d+: error 1045: Access denied") as failure:
        inspect(server.tcp_source(name, password="wr0ng-marker"))
    error: BaseException | None = failure.value
    while error:
        assert "wr0ng-marker" not in str(error)
        error = error.__cause__ or error.__context__


def test_a_server_that_is_down_is_an_error(tmp_path: Path) -> None:
    port = free_port()
    with pytest.raises(SourceError, match=rf"cannot connect to 127\.0\.0\.1:{port}: Connection refused; is the server"):
        inspect(tcp(port=port))
    with pytest.raises(SourceError, match=r"no\.sock: No such file or directory; is the server"):
        inspect(tcp(query={"unix_socket": str(tmp_path / "no.sock")}))


def test_an_unknown_host_is_an_error() -> None:
    with pytest.raises(SourceError, match=r"cannot connect to no-such-host\.invalid:3306: the host is unknown"):
        inspect(tcp(host="no-such-host.invalid"))


def test_a_server_that_says_nothing_is_given_up_in_time() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with pytest.raises(SourceError, match="cannot connect to"):
            inspect(tcp(port=listener.getsockname()[1], query={"read_timeout": "1"}))


def test_something_else_than_a_server_is_an_error() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            with pytest.raises(SourceError, match="cannot connect to"):
                inspect(tcp(port=listener.getsockname()[1]))
        finally:
            thread.join()


def test_no_database_in_the_url_is_an_error(server: MariaDBServer, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="names no database; one database is saved per backup"):
        dump(mysql, server.source(None), tmp_path / "d", "sql")


@pytest.mark.parametrize("name", ["mysql", "information_schema", "performance_schema", "sys"])
def test_the_servers_own_databases_are_refused(server: MariaDBServer, tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match=f"{name} belongs to the server"):
        dump(mysql, server.source(name), tmp_path / "d", "sql")


def test_a_missing_database_is_an_error_for_a_backup_and_absent_to_inspect(
    server: MariaDBServer, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match="Unknown database 'nowhere'"):
        dump(mysql, server.source("nowhere"), tmp_path / "d", "sql")
    inspection = inspect(server.source("nowhere"))
    assert (inspection.exists, inspection.empty, inspection.name) == (False, True, "nowhere")


def test_inspect_tells_empty_from_full_and_counts_bytes(server: MariaDBServer, database) -> None:
    empty, full = database(), database("CREATE TABLE t (id INT)", "INSERT INTO t SELECT seq FROM seq_1_to_1000")
    assert inspect(server.source(empty)).empty
    inspection = inspect(server.source(full))
    assert (inspection.exists, inspection.empty, inspection.name) == (True, False, full)
    assert inspection.estimated_bytes
    assert inspection.estimated_bytes > 1000
    assert ("MariaDB" in inspection.versions["server"]) == (server.kind == "mariadb")


def test_one_database_has_one_identity_however_it_is_reached(server: MariaDBServer, database) -> None:
    name = database()
    by_socket, by_tcp = inspect(server.source(name)).identity, inspect(server.tcp_source(name)).identity
    assert by_socket == by_tcp
    assert name in by_socket
    assert PASSWORD not in by_socket
    assert inspect(server.source(database())).identity != by_socket


@contextlib.contextmanager
def forwarded(port: int):
    """Yield another local port that leads to ``port``, as those of containers and tunnels do."""

    def carry(near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := near.recv(65536):
                far.sendall(data)
        with contextlib.suppress(OSError):
            far.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                near = listener.accept()[0]
                far = socket.create_connection(("127.0.0.1", port))
                ends.extend((near, far))
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=carry, args=pair, daemon=True).start()

    ends: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for end in ends:
                end.close()


def test_servers_behind_other_ports_of_this_machine_are_not_taken_for_one(server: MariaDBServer, database) -> None:
    name = database()
    direct = server.tcp_source(name)
    with forwarded(server.port) as first_port, forwarded(server.port) as second_port:
        identities = [inspect(replace(direct, port=port)).identity for port in (first_port, second_port)]
        assert inspect(replace(direct, port=first_port, host="localhost")).identity == identities[0]
    assert len({inspect(direct).identity, *identities}) == 3


def test_an_unknown_parameter_is_refused_with_the_valid_ones(server: MariaDBServer) -> None:
    with pytest.raises(SourceError, match=r"unknown parameter sslmode in .*; known are .*ssl_ca.*unix_socket"):
        inspect(server.source("x", sslmode="require"))


@pytest.mark.parametrize(
    ("parameter", "value", "message"),
    [
        ("connect_timeout", "soon", "a number of seconds"),
        ("ssl_verify_cert", "perhaps", "true or false"),
        ("ssl_mode", "MAYBE", "one of DISABLED"),
        ("read_timeout", "-1", "read_timeout"),
        ("ssl_ca", "/no/such/file.pem", "No such file"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_an_error(
    server: MariaDBServer, parameter: str, value: str, message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        inspect(server.source("x", **{parameter: value}))


def test_parameters_that_people_use_are_accepted(server: MariaDBServer, database) -> None:
    name = database()
    source = server.tcp_source(
        name, charset="utf8mb4", connect_timeout="5", read_timeout="30", write_timeout="30", ssl_disabled="true"
    )
    assert inspect(source).exists
    assert inspect(
        Source(scheme="mysql", url="", username="root", database=name, query={"socket": server.socket})
    ).exists


def test_tls_that_the_server_does_not_offer_is_an_error() -> None:
    with running_server("--skip-ssl") as server:  # newer ones make a certificate by themselves
        for mode in ("REQUIRED", "VERIFY_CA"):
            with pytest.raises(SourceError, match=r"(?i)SSL|TLS"):
                inspect(server.tcp_source("shop", ssl_mode=mode))


def test_tls_is_had_where_the_server_offers_it(mysql: MariaDBServer, database) -> None:
    name = database()
    assert inspect(mysql.tcp_source(name, ssl_mode="REQUIRED")).exists
    authority = str(mysql.directory / "data" / "ca.pem")
    assert inspect(mysql.tcp_source(name, ssl_mode="VERIFY_CA", ssl_ca=authority)).exists
    with pytest.raises(SourceError, match=r"(?i)certificate"):
        inspect(mysql.tcp_source(name, ssl_mode="VERIFY_CA"))


def test_tls_that_is_only_preferred_is_done_without(server: MariaDBServer, database) -> None:
    assert inspect(server.tcp_source(database(), ssl_mode="PREFERRED")).exists


def test_a_missing_library_is_named_with_the_command_that_installs_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pymysql", None)
    with pytest.raises(DependencyError, match=r'pip install "dumpty\[mysql\]"'):
        inspect(tcp())


def test_describing_the_driver_imports_no_driver() -> None:
    import subprocess

    code = "import sys, dumpty_plugins.mysql.plugin as m; m.describe(); print('pymysql' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"False\n"


def test_the_facade_saves_and_restores_by_url(server: MariaDBServer, database, tmp_path: Path) -> None:
    name = database("CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t SELECT seq FROM seq_1_to_5000")
    manager = BackupManager(str(tmp_path / "backups"))
    saved = manager.create_backup(server.url(name))
    assert saved.success, saved.error
    assert saved.backup.file_path.endswith(".sql.gz")
    target = database(create=False)
    restored = manager.restore(saved.backup.id, server.url(target))
    assert restored.success, restored.error
    assert server.run("SELECT COUNT(*), SUM(id) FROM t", database=target) == [(5000, 12502500)]
    again = manager.restore(saved.backup.id, server.url(target))
    assert not again.success
    assert "not empty" in again.error
    assert manager.restore(saved.backup.id, server.url(target), overwrite=True).success


def test_a_password_of_one_digit_leaves_the_servers_number_of_the_error(server: MariaDBServer, tmp_path: Path) -> None:
    result = BackupManager(str(tmp_path / "b")).create_backup(f"mysql://tcp:1@127.0.0.1:{server.port}/x")
    assert f"cannot connect to 127.0.0.1:{server.port}: error 1045: Access denied" in result.error


def test_the_facade_reports_a_wrong_password_without_showing_it(server: MariaDBServer, tmp_path: Path) -> None:
    manager = BackupManager(str(tmp_path / "backups"))
    result = manager.create_backup(f"mysql+pymysql://tcp:wr0ng-marker@127.0.0.1:{server.port}/x")
    assert not result.success
    assert "Access denied" in result.error
    assert "wr0ng-marker" not in result.error
    assert manager.list_backups() == []


def test_a_connection_is_kept_alive_and_given_up_where_the_network_is_dead(server: MariaDBServer, database) -> None:
    session = connect(server.tcp_source(database()), None)
    try:
        link = session._connection._sock
        assert link.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0
        assert link.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 4
        assert link.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 120_000
    finally:
        session.close()


def test_every_statement_on_a_lost_connection_says_that_it_was_lost(server: MariaDBServer, database) -> None:
    """Also the later ones, of which the library knows no more than that it has closed it."""
    session = connect(server.source(database()), None)
    try:
        server.run(f"KILL {session.text('SELECT CONNECTION_ID()')}")
        for _ in range(2):
            with pytest.raises(SourceError, match="the connection was lost: "):
                session.execute("SELECT 1")
    finally:
        session.close()


def test_a_server_that_takes_a_connection_and_never_speaks_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(SourceError, match="has stalled: not a byte came for 1 s"):
            inspect(tcp(port=port, query={"connect_timeout": "1"}))
