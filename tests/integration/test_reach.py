"""Backups and restores through a real sshd: what arrives, what is said where it does not, and what is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

import pytest
from support.mariadb_server import PASSWORD
from support.ports import free_port
from support.reacher import ROWS, SECRET, done, tcp
from support.sftp_server import SSHServer
from support.ways import At, command_lines, eventually, gone, running, signal_all, ssh_url

from dumpty import BackupManager, Cancellation, MalformedURL, OtherDatabase, PluginNotFound, TransportError

pytestmark = pytest.mark.usefixtures("reacher")

ENCODED = quote(PASSWORD, safe="")


@pytest.fixture
def via(ssh_server):
    return ssh_url(ssh_server)


@pytest.fixture
def manager(tmp_path):
    return BackupManager(tmp_path / "backups")


@pytest.fixture
def directory(monkeypatch, postgres, mariadb, mysql):
    """A private directory for temporary files, in which nothing is left at the end; servers have theirs elsewhere."""
    path = tempfile.mkdtemp(prefix="drch", dir="/tmp")
    monkeypatch.setenv("TMPDIR", path)
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield Path(path)
    monkeypatch.setattr(tempfile, "tempdir", None)
    left = os.listdir(path)
    subprocess.run(["rm", "-rf", path], check=True)
    assert left == []


def failure(result):
    assert not result.success
    assert isinstance(result.exception, TransportError), result.error
    assert SECRET not in result.error
    return result.error


# -- what arrives -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["sql", "native", "custom"])
def test_postgresql_by_tcp_goes_there_and_back(manager, postgres, shop, via, target, directory, format):
    made = done(manager.create_backup(tcp(postgres, shop), via=via, format=format, fingerprint=True))
    assert made.rows == ROWS + 1
    assert made.database_url == f"postgresql://reacher:***@localhost:{postgres.port}/{shop}"
    done(manager.restore(made.id, tcp(postgres, target), via=via, jobs=4))
    assert postgres.dump(target) == postgres.dump(shop)
    done(manager.restore(made.id, tcp(postgres, target), via=via, overwrite=True))
    assert postgres.execute("SELECT count(*) FROM item", database=target) == [(ROWS,)]
    assert gone("ssh -T", str(directory))


def test_postgresql_by_its_socket_goes_there_and_back(manager, postgres, shop, via, target, directory):
    made = done(manager.create_backup(postgres.url(shop), via=via))
    done(manager.restore(made.id, postgres.url(target), via=[via]))
    assert postgres.dump(target) == postgres.dump(shop)
    assert made.source.endswith(f"/postgresql://{postgres.sockets}/.s.PGSQL.{postgres.port}/{shop}")


@pytest.mark.parametrize("kind", ["mariadb", "mysql"])
def test_mysql_and_mariadb_by_tcp_go_there_and_back(request, manager, via, directory, kind):
    server = request.getfixturevalue(kind)
    server.run("DROP DATABASE IF EXISTS reach", "DROP DATABASE IF EXISTS reach_to", "CREATE DATABASE reach")
    rows = ", ".join(f"({n}, REPEAT('x', 500))" for n in range(4000))
    server.run("CREATE TABLE item (id INT PRIMARY KEY, text TEXT)", f"INSERT INTO item VALUES {rows}", database="reach")
    url = f"mysql://tcp:{ENCODED}@127.0.0.1:{server.port}/reach"
    made = done(manager.create_backup(url, via=via, jobs=4 if kind == "mariadb" else 1))
    assert made.rows == 4000
    assert made.source == f"ssh://{via.partition('@')[2].partition('?')[0]}/mysql://localhost:{server.port}/reach"
    done(manager.restore(made.id, f"{url}_to", via=via))
    done(manager.restore(made.id, f"{url}_to", via=via, overwrite=True))
    assert server.dump("reach_to") == server.dump("reach")
    server.run("DROP DATABASE reach", "DROP DATABASE reach_to")


def test_mariadb_by_its_socket_goes_there_and_back(manager, mariadb, via, directory):
    mariadb.run("DROP DATABASE IF EXISTS reach_s", "CREATE DATABASE reach_s", "CREATE TABLE reach_s.t (a INT)")
    made = done(manager.create_backup(mariadb.url("reach_s"), via=via))
    assert made.source.endswith(f"/mysql://{mariadb.socket}/reach_s")
    done(manager.restore(made.id, mariadb.url("reach_s2"), via=via))
    assert mariadb.run("SHOW TABLES", database="reach_s2") == [("t",)]
    mariadb.run("DROP DATABASE reach_s", "DROP DATABASE reach_s2")


def test_a_chain_goes_through_each_of_its_machines(manager, postgres, shop, via, ssh_keys, directory):
    beyond = SSHServer(ssh_keys)
    try:
        made = done(manager.create_backup(tcp(postgres, shop), via=[via, ssh_url(beyond)]))
        assert made.source.startswith(
            f"ssh://127.0.0.1:{via.split(':')[2].partition('?')[0]}/ssh://127.0.0.1:{beyond.port}/"
        )
        assert "Accepted publickey" in (beyond.root / "log").read_text()
        beyond.stop()
        error = failure(manager.create_backup(tcp(postgres, shop), via=[via, ssh_url(beyond)]))
        assert "Connection refused" in error
    finally:
        beyond.stop()


# -- which database it is -----------------------------------------------------------------------------------------------


def test_the_way_is_part_of_what_a_database_is_and_the_socket_of_the_moment_is_not(manager, postgres, shop, via):
    first, second = (
        done(manager.create_backup(tcp(postgres, shop, host), via=via)) for host in ("localhost", "127.0.0.1")
    )
    direct = done(manager.create_backup(tcp(postgres, shop)))
    assert first.source == second.source != direct.source
    assert first.source.startswith(f"ssh://{via.partition('@')[2].partition('?')[0]}/")
    assert {first.database_name, direct.database_name} == {shop}
    assert manager.find(f"latest:{shop}", source=first.source).id == second.id


def test_what_has_the_same_url_here_is_another_database(manager, postgres, shop, via, target):
    made = done(manager.create_backup(tcp(postgres, shop), via=via))
    refused = manager.restore(made.id, tcp(postgres, shop), overwrite=True, other=False)
    assert isinstance(refused.exception, OtherDatabase), refused.error
    direct = done(manager.create_backup(tcp(postgres, shop)))
    refused = manager.restore(direct.id, tcp(postgres, shop), via=via, overwrite=True, other=False)
    assert isinstance(refused.exception, OtherDatabase), refused.error
    done(manager.restore(made.id, tcp(postgres, shop), via=via, overwrite=True, other=False))


def test_accounts_are_those_of_the_machine_at_the_end(manager, postgres, via):
    made = done(manager.create_backup(tcp(postgres, ""), via=via, format="accounts", hashes="plain"))
    place = via.partition("@")[2].partition("?")[0]
    assert made.source == f"accounts@ssh://{place}/postgresql://localhost:{postgres.port}/"
    assert made.database_name == f"accounts@{place}"


# -- what is said where it does not arrive ------------------------------------------------------------------------------


def test_an_unknown_host_key_says_how_to_add_it(manager, postgres, shop, ssh_server):
    error = failure(manager.create_backup(tcp(postgres, shop), via=ssh_url(ssh_server, known_hosts="/dev/null")))
    assert "Host key verification failed" in error
    assert f"ssh -p {ssh_server.port} -- {ssh_server.user}@127.0.0.1" in error
    assert "?known_hosts=FILE" in error


def test_a_key_that_changed_is_told_from_one_that_is_unknown(manager, postgres, shop, ssh_server, ssh_keys, tmp_path):
    known = tmp_path / "a file %h"
    known.write_text(f"[127.0.0.1]:{ssh_server.port} {ssh_keys.other_host.with_suffix('.pub').read_text()}")
    error = failure(manager.create_backup(tcp(postgres, shop), via=ssh_url(ssh_server, known_hosts=known)))
    assert "find out why before anything else" in error


def test_a_key_that_nobody_knows_is_said(manager, postgres, shop, ssh_server, ssh_keys):
    error = failure(manager.create_backup(tcp(postgres, shop), via=ssh_url(ssh_server, identity=ssh_keys.stranger)))
    assert "Permission denied (publickey)" in error
    assert "?identity=FILE" in error


def test_a_server_that_is_not_there_is_said_in_the_words_of_who_looked(manager, postgres, shop, via):
    port = free_port()
    error = failure(manager.create_backup(f"postgresql://reacher:{quote(SECRET)}@localhost:{port}/{shop}", via=via))
    assert "Connection refused" in error
    assert f"cannot reach postgresql://reacher:***@localhost:{port}/{shop} by ssh://" in error
    error = failure(manager.create_backup(f"postgresql://reacher:{quote(SECRET)}@/{shop}?host=/nowhere", via=via))
    assert "there is no socket /nowhere/.s.PGSQL.5432" in error
    error = failure(manager.create_backup(f"mysql://tcp:{quote(SECRET)}@localhost:{port}/{shop}", via=via))
    assert "Connection refused" in error


def test_an_ssh_that_is_missing_is_said(manager, postgres, shop, via, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    # Each time: what ends before the keeper of its connection is ready must not go unnoticed.
    for _ in range(5):
        assert re.search("ssh: .*not found", failure(manager.create_backup(tcp(postgres, shop), via=via)))


def test_tls_that_was_asked_for_is_not_dropped(manager, postgres, mariadb, shop, via):
    refused = manager.create_backup(tcp(postgres, shop, sslmode="require"), via=via)
    assert "server does not support SSL" in refused.error
    url = f"mysql://tcp:{ENCODED}@127.0.0.1:{mariadb.port}/mysql_x?ssl_mode=REQUIRED"
    refused = manager.create_backup(url, via=via)
    assert not refused.success
    # Servers since 11.4 have it without being told.
    words = ["Unknown database"] if mariadb.run("SELECT @@have_ssl") == [("YES",)] else ["TLS", "SSL"]
    assert any(word in refused.error for word in words), refused.error


def test_a_certificate_is_compared_with_the_host_of_the_url(manager, postgres, shop, via, tls):
    verified = {"sslmode": "verify-full", "sslrootcert": tls}
    done(manager.create_backup(tcp(postgres, shop, **verified), via=via))
    refused = manager.create_backup(tcp(postgres, shop, "127.0.0.1", **verified), via=via)
    assert 'does not match host name "127.0.0.1"' in refused.error
    seen = []  # where nobody asks for TLS, libpq takes it all the same

    def look():
        seen.extend(
            postgres.execute("SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'reacher'")
        )

    done(manager.create_backup(tcp(postgres, shop), via=via, progress=At(1 << 20, look), rate_limit=8 << 20))
    assert set(seen) == {(True,)}


def test_mysql_gets_the_tls_that_was_asked_for(manager, mysql, via):
    mysql.run("DROP DATABASE IF EXISTS reach_tls", "CREATE DATABASE reach_tls")
    authority = f"{mysql.run('SELECT @@datadir')[0][0]}ca.pem"
    base = f"mysql://tcp:{ENCODED}@127.0.0.1:{mysql.port}/reach_tls?ssl_mode="
    done(manager.create_backup(f"{base}REQUIRED", via=via))
    done(manager.create_backup(f"{base}VERIFY_CA&ssl_ca={authority}", via=via))
    for refused in (f"{base}VERIFY_CA", f"{base}VERIFY_IDENTITY&ssl_ca={authority}"):
        result = manager.create_backup(refused, via=via)
        assert not result.success
        assert "certificate" in result.error
    mysql.run("DROP DATABASE reach_tls")


@pytest.mark.parametrize(
    ("url", "via", "kind", "text"),
    [
        ("postgresql://h/d", "ssh://user:h1dden@host", MalformedURL, "a password has no place"),
        ("postgresql://h/d", "ssh://-oProxyCommand=id", MalformedURL, "begins with a dash"),
        ("postgresql://h/d", "ssh://-l@host", MalformedURL, "begins with a dash"),
        ("postgresql://h/d", "ssh://host:99999", MalformedURL, "port"),
        ("postgresql://h/d", "ssh://host/path", MalformedURL, "ends with the host"),
        ("postgresql://h/d", "ssh://host?proxy=x", MalformedURL, "unknown parameter proxy"),
        ("postgresql://h/d", "ssh://", MalformedURL, "not of the form"),
        ("postgresql://h/d", ["ssh://host", ""], MalformedURL, "no URL of a transport"),
        ("postgresql://h/d", "rsh://host", PluginNotFound, "no transport answers the scheme 'rsh'"),
        ("postgresql://h/d", "docker://a/b", MalformedURL, "the URL of a container is docker://NAME"),
        ("postgresql://h/d", "kubectl://pod", MalformedURL, "kubectl://NAMESPACE/POD"),
        ("postgresql://a,b/d", "ssh://host", MalformedURL, "names several hosts"),
        ("postgresql://h/d?service=x", "ssh://host", MalformedURL, "the parameter service"),
        ("postgresql://h/d?host=%40x", "ssh://host", MalformedURL, "abstract socket"),
        ("mysql://u@/d?unix_socket=x", "ssh://host", MalformedURL, "relative path"),
        ("sqlite:////srv/shop.db", "ssh://host", MalformedURL, "names a file"),
    ],
)
def test_what_cannot_be_is_refused_before_anybody_is_connected_to(manager, url, via, kind, text):
    result = manager.create_backup(url, via=via)
    assert isinstance(result.exception, kind), result.error
    assert text in result.error
    assert "h1dden" not in result.error


@pytest.mark.parametrize("via", [3, [3], {"ssh://host": 1}])
def test_what_is_no_way_at_all_is_a_type_error(manager, via):
    with pytest.raises(TypeError, match="via"):
        manager.create_backup("postgresql://h/d", via=via)


# -- what happens in between --------------------------------------------------------------------------------------------


@pytest.fixture
def large(postgres):
    """More than all buffers on the way take together."""
    name = postgres.create()
    text = "CREATE TABLE item AS SELECT g AS id, repeat(md5(g::text), 32) AS text FROM generate_series(1, 120000) g"
    postgres.script(name, text)
    yield name
    postgres.drop(name)


def test_an_sshd_that_goes_midway_fails_the_backup_with_its_own_words(manager, postgres, large, ssh_keys, directory):
    server = SSHServer(ssh_keys)
    try:
        progress = At(1 << 20, lambda: signal_all(server, signal.SIGKILL))
        url, via = tcp(postgres, large), ssh_url(server)
        error = failure(manager.create_backup(url, via=via, progress=progress, rate_limit=20 << 20))
        assert f"ssh://{server.user}@127.0.0.1:{server.port}: " in error
        assert any(words in error for words in ("closed by remote host", "Broken pipe", "reset by peer", "ended")), (
            error
        )
        assert manager.list_backups() == []
        assert gone("ssh -T", str(directory))
    finally:
        server.stop()


def test_an_sshd_that_falls_silent_is_given_up_as_a_server_is(manager, postgres, large, ssh_keys, directory):
    server = SSHServer(ssh_keys)
    try:
        progress = At(1 << 20, lambda: signal_all(server, signal.SIGSTOP))
        url, via = tcp(postgres, large), ssh_url(server)
        result = manager.create_backup(url, via=via, progress=progress, rate_limit=20 << 20, stall_timeout=3)
        assert "stalled" in result.error
        assert gone("ssh -T", str(directory))
    finally:
        signal_all(server, signal.SIGCONT)
        server.stop()


def test_a_cancelled_backup_ends_its_ssh(manager, postgres, shop, via, directory):
    cancellation = Cancellation()
    progress = At(1 << 20, cancellation.cancel)
    result = manager.create_backup(
        tcp(postgres, shop), via=via, progress=progress, cancel=cancellation, rate_limit=4 << 20
    )
    assert type(result.exception).__name__ == "Cancelled"
    assert gone("ssh -T", str(directory))


def test_no_secret_is_in_a_command_line_or_in_the_environment_of_what_it_is_no_business_of(
    manager, postgres, shop, via, monkeypatch, directory
):
    monkeypatch.setenv("PGPASSWORD", f"{SECRET}-env")
    monkeypatch.setenv("SHOP_TOKEN", f"{SECRET}-other")
    seen, environments = [], []

    def look():
        lines = command_lines()
        seen.extend(lines.values())
        for pid, line in lines.items():
            if line.startswith(("ssh ", "/bin/sh -c")) and str(directory) in line:
                with contextlib.suppress(OSError):
                    environments.append(Path(f"/proc/{pid}/environ").read_bytes())

    done(manager.create_backup(tcp(postgres, shop), via=via, progress=At(1 << 20, look), rate_limit=8 << 20))
    assert len(environments) >= 2
    assert any("-W localhost" in line for line in seen)
    assert not any(SECRET in line for line in seen)
    assert not any(SECRET.encode() in environment for environment in environments)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_no_ssh_outlives_dumpty(tmp_path, postgres, shop, via, number, directory):
    argv = [
        sys.executable,
        "-m",
        "dumpty",
        "backup",
        "env:SHOP",
        "--via",
        via,
        "-d",
        tmp_path / "b",
        "--rate-limit",
        "2MB",
    ]
    environment = {**os.environ, "SHOP": tcp(postgres, shop), "TMPDIR": str(directory)}
    process = subprocess.Popen(
        argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        assert eventually(lambda: running("ssh ", "-W localhost", str(directory)))
        assert eventually(lambda: postgres.execute("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'COPY%%item%%'"))
        process.send_signal(number)
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode in {-number, 128 + number}
    assert gone("ssh -T", str(directory))
    if number == signal.SIGKILL:
        assert [name for name in os.listdir(directory) if name.startswith("dumpty-reach-")]
        done(BackupManager(tmp_path / "other").create_backup(tcp(postgres, shop), via=via))
        for name in os.listdir(directory):  # pg_dump's own
            assert not name.startswith("dumpty-reach-")


# -- the command line, and jobs -----------------------------------------------------------------------------------------


def test_the_command_line_backs_up_lists_looks_and_restores(dumpty, postgres, shop, via, target, monkeypatch):
    monkeypatch.setenv("SHOP", tcp(postgres, shop))
    monkeypatch.setenv("ALL", tcp(postgres, f"{shop[:-1]}*"))
    monkeypatch.setenv("TARGET", tcp(postgres, target))
    assert dumpty("backup", "env:SHOP", "--via", via, "-q").status == 0
    made = json.loads(dumpty("backup", "env:ALL", "--via", via, "--json").out)["backups"]
    assert shop in {backup["database"] for backup in made}
    looked = json.loads(dumpty("doctor", "env:SHOP", "--via", via, "--json").out)["database"]
    assert looked["identity"] == next(b["source"] for b in made if b["database"] == shop)
    assert dumpty("restore", f"latest:{shop}", "--to", "env:TARGET", "--via", via, "-q").status == 0
    assert postgres.execute("SELECT count(*) FROM item", database=target) == [(ROWS,)]
    refused = dumpty("backup", "env:SHOP", "--via", "ssh://a:b@host")
    assert (refused.status, refused.err.count("\n")) == (2, 1)
    assert dumpty("doctor", "--via", via).status == 2
    assert dumpty("backup", "sqlite:///x.db", "--via", via).status == 2


CONFIGURATION = """
[defaults]
repository = "{repository}"
via = "{via}"
encrypt_to = []

[jobs.shop]
source = "env:SHOP"

[jobs.here]
source = "env:SHOP"
via = []
"""


def test_a_job_goes_by_its_way_and_another_by_none(dumpty, postgres, shop, via, tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP", tcp(postgres, shop))
    Path("dumpty.toml").write_text(CONFIGURATION.format(repository=tmp_path / "r", via=via))
    assert dumpty("config", "check").status == 0
    assert ssh_url_shown(via) in dumpty("config", "show", "shop").out
    assert dumpty("run", "-q").status == 0
    sources = {b.source for b in BackupManager(tmp_path / "r").list_backups()}
    assert sorted(source.startswith("ssh://") for source in sources) == [False, True]


def test_a_backup_that_came_by_another_way_is_none_of_the_database_behind_this_one(
    dumpty, postgres, shop, via, tmp_path, monkeypatch
):
    """The URL is the same, and means another machine's: of this one there is no backup yet."""
    monkeypatch.setenv("SHOP", tcp(postgres, shop))
    text = f'[jobs.shop]\nrepository = "{tmp_path}/r"\nsource = "env:SHOP"\nretries = 0\nmax_age = "1d"\nvia = '
    Path("dumpty.toml").write_text(f'{text}"{via}"\n')
    assert dumpty("run", "-q").status == 0
    assert dumpty("check", "-q").status == 0
    for other in ('"ssh://127.0.0.1:9"', "[]"):
        Path("dumpty.toml").write_text(f"{text}{other}\n")
        dumpty("run", "-q")
        if other != "[]":
            result = dumpty("check", "--json")
            assert result.status == 12
            [job] = json.loads(result.out)["jobs"]
            assert {problem["kind"] for problem in job["problems"]} == {"failed"}
            assert (job["databases"][0]["backup"], job["databases"][0]["overdue"]) == (None, True)
    assert dumpty("check", "-q").status == 0
    here, there = sorted(BackupManager(tmp_path / "r").list_backups(), key=lambda b: b.source.startswith("ssh://"))
    assert json.loads(dumpty("check", "--json").out)["jobs"][0]["databases"][0]["backup"] == here.id != there.id


def ssh_url_shown(via):
    return via.partition("?")[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('via = "ssh://a:b@host"', "jobs.shop.via: a password has no place"),
        ('via = ["rsh://host"]', "no transport answers the scheme 'rsh'"),
        ("via = 3", "jobs.shop.via: must be"),
    ],
)
def test_what_is_wrong_with_a_way_is_said_with_its_line(dumpty, tmp_path, text, said):
    Path("dumpty.toml").write_text(f'[jobs.shop]\nrepository = "{tmp_path}/r"\nsource = "postgresql://h/d"\n{text}\n')
    result = dumpty("config", "check")
    assert result.status == 2
    assert said in result.out
    assert "dumpty.toml:4" in result.out


def test_a_file_has_no_way(dumpty, tmp_path):
    text = f'[jobs.shop]\nrepository = "{tmp_path}/r"\nsource = "sqlite:////srv/shop.db"\nvia = "ssh://host"\n'
    Path("dumpty.toml").write_text(text)
    result = dumpty("config", "check")
    assert result.status == 2
    assert "names a file" in result.out
