"""Which server is let talk to, which keys are shown to it, and what is said where that fails."""

from __future__ import annotations

import os
import signal
import socket
import subprocess

import pytest

from dumpty import DependencyError, MissingFile, NotPermitted, StoreError
from dumpty_plugins.sftp.connecting import PASSPHRASE


def refused(store):
    with pytest.raises(StoreError) as error:
        store.capabilities()
    assert not isinstance(error.value, MissingFile)
    assert "\n" not in str(error.value)
    return str(error.value)


def fingerprint(key):
    output = subprocess.run(["ssh-keygen", "-lf", f"{key}.pub"], capture_output=True, text=True, check=True).stdout
    return output.split()[1]


def test_nothing_is_connected_before_it_is_used(open_store):
    assert open_store("sftp://127.0.0.1:1/b").locate("a/b") == "sftp://127.0.0.1:1/b/a/b"


def test_a_host_key_that_is_not_known_is_refused(open_store, ssh_server, ssh_keys, top, tmp_path):
    empty = tmp_path / "empty"
    empty.write_text("# nobody\n")
    text = refused(open_store(ssh_server.url(top, known_hosts=empty)))
    assert "not known" in text
    assert fingerprint(ssh_keys.host) in text
    assert f"ssh-keyscan -p {ssh_server.port} 127.0.0.1 >> {empty}" in text
    assert not top.exists()


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_a_host_key_that_has_changed_is_refused(open_store, ssh_server, ssh_keys, top, tmp_path, kind):
    """Also where the known one is of a kind that the server does not have any more."""
    key, known = tmp_path / "former", tmp_path / "known"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", key], check=True)
    known.write_text(f"[127.0.0.1]:{ssh_server.port} {key.with_suffix('.pub').read_text()}")
    text = refused(open_store(ssh_server.url(top, known_hosts=known)))
    assert "can be an attack" in text
    assert fingerprint(ssh_keys.host) in text
    assert f"ssh-keygen -R '[127.0.0.1]:{ssh_server.port}' -f {known}" in text


def test_a_configuration_cannot_waive_the_host_key(open_store, ssh_server, top, tmp_path):
    config = tmp_path / "config"
    config.write_text("Host *\n  UserKnownHostsFile none\n  StrictHostKeyChecking no\n")
    assert "not known" in refused(open_store(ssh_server.url(top, known_hosts=None, config=config)))


def test_known_hosts_that_cannot_be_read_are_named(open_store, ssh_server, top, tmp_path):
    assert f"{tmp_path}/none: No such file" in refused(open_store(ssh_server.url(top, known_hosts=tmp_path / "none")))


def test_an_alias_of_the_configuration_leads_to_its_host(open_store, ssh_server, top, tmp_path):
    """The user's own file is read; host, port, user, key and known hosts are those of the alias."""
    directory = tmp_path / "home" / ".ssh"
    directory.mkdir(mode=0o700)
    (directory / "known_hosts").write_text(ssh_server.known_hosts.read_text())
    (directory / "config").write_text(
        f"Host vault\n  HostName 127.0.0.1\n  Port {ssh_server.port}\n  User {ssh_server.user}\n"
        f"  IdentityFile {ssh_server.identity}\n  RemoteCommand false\n  RequestTTY yes\n"
    )
    store = open_store(f"sftp://vault{top}")
    store.put("a/b", b"x")
    assert (top / "a" / "b").read_bytes() == b"x"
    assert store.locate("a/b") == f"sftp://vault{top}/a/b"


def test_a_jump_host_is_jumped_over(open_store, ssh_server, start_server, top, tmp_path):
    inner = start_server()
    config, known = tmp_path / "config", tmp_path / "known"
    known.write_text(inner.known_hosts.read_text() + ssh_server.known_hosts.read_text().replace("127.0.0.1", "bastion"))
    config.write_text(
        f"Host bastion\n  HostName 127.0.0.1\n  HostKeyAlias bastion\n  Port {ssh_server.port}\n"
        "Host *\n  ProxyJump bastion\n"
        f"  User {ssh_server.user}\n  UserKnownHostsFile {known}\n  IdentityFile {ssh_server.identity}\n"
    )
    url = inner.url(top, identity=None, known_hosts=None, config=config)
    store = open_store(url)
    store.put("a/b", b"x")
    assert (top / "a" / "b").read_bytes() == b"x"
    known.write_text(inner.known_hosts.read_text())
    text = refused(open_store(url))
    assert "bastion on the way to" in text
    assert "not known" in text


def test_a_key_that_the_server_does_not_take_is_named(open_store, ssh_server, ssh_keys, top):
    text = refused(open_store(ssh_server.url(top, identity=ssh_keys.stranger)))
    assert f"tried: {ssh_keys.stranger}" in text
    assert "ssh-copy-id" in text


def test_where_there_is_no_key_that_is_said(open_store, ssh_server, top):
    assert "no key to try, and no agent" in refused(open_store(ssh_server.url(top, identity=None)))


def test_a_key_file_that_is_not_there_is_named(open_store, ssh_server, top, tmp_path):
    assert f"{tmp_path}/none: No such file" in refused(open_store(ssh_server.url(top, identity=tmp_path / "none")))


def test_a_passphrase_is_taken_from_the_environment_and_never_shown(open_store, ssh_server, ssh_keys, top, monkeypatch):
    url = ssh_server.url(top, identity=ssh_keys.secret)
    assert f"${PASSPHRASE}, and it is not set" in refused(open_store(url))
    monkeypatch.setenv(PASSPHRASE, "over the hill")
    text = refused(open_store(url))
    assert "not the one" in text
    assert "over the hill" not in text
    monkeypatch.setenv(PASSPHRASE, ssh_keys.passphrase)
    open_store(url).put("a", b"x")


def test_keys_of_an_agent_are_used(open_store, ssh_server, top, tmp_path, monkeypatch):
    path = str(tmp_path / "agent")
    output = subprocess.run(["ssh-agent", "-s", "-a", path], capture_output=True, text=True, check=True).stdout
    process = int(output.partition("SSH_AGENT_PID=")[2].partition(";")[0])
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", path)
        subprocess.run(["ssh-add", "-q", ssh_server.identity], check=True)
        for config in ("none", None):
            open_store(ssh_server.url(top, identity=None, config=config)).put(f"a/{config}", b"x")
    finally:
        os.kill(process, signal.SIGTERM)


def test_a_refused_connection_and_an_unknown_host_are_told_apart(open_store):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        assert "refused" in refused(open_store(f"sftp://127.0.0.1:{port}/b?config=none"))
    assert "no host of that name" in refused(open_store("sftp://nobody.invalid/b?config=none"))


def test_a_server_that_says_nothing_is_given_up(open_store):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        text = refused(open_store(f"sftp://127.0.0.1:{silent.getsockname()[1]}/b?config=none&timeout=1"))
        assert "1 s" in text


def test_a_server_without_sftp_is_told(open_store, start_server, top):
    text = refused(open_store(start_server("/bin/false").url(top)))
    assert "offers it no SFTP" in text
    assert "Subsystem sftp internal-sftp" in text


def test_a_path_below_the_home_is_found(open_store, start_server, tmp_path):
    home = tmp_path / "login"
    home.mkdir()
    store = open_store(start_server(f"internal-sftp -d {home}").url("/~/backups/shop"))
    store.put("a/b", b"x")
    assert (home / "backups" / "shop" / "a" / "b").read_bytes() == b"x"
    assert store.locate("a/b").endswith("/~/backups/shop/a/b")


def test_directories_are_made_for_their_owner_alone(store, top):
    store.put("a/b", b"x")
    for path, mode in ((top, 0o700), (top / "a", 0o700), (top / "a" / "b", 0o600)):
        assert path.stat().st_mode & 0o777 == mode


def test_a_file_in_the_place_of_the_directory_is_told(open_store, ssh_server, top):
    top.write_text("mine")
    assert "is a file, not a backup directory" in refused(open_store(ssh_server.url(top)))


def test_a_directory_that_cannot_be_made_is_told(open_store, unruly_ssh_server, unruly, top):
    with unruly_ssh_server.rules(refuse=[["mkdir", "", 3]]):
        assert "cannot make it" in refused(unruly)
    with unruly_ssh_server.rules(refuse=[["stat", "", 3]]), pytest.raises(NotPermitted, match="may not look into it"):
        unruly.capabilities()


def test_a_directory_that_everybody_may_write_to_is_warned_of(store, top, caplog):
    top.mkdir()
    top.chmod(0o777)
    store.capabilities()
    assert "chmod o-w" in caplog.text


def test_a_missing_library_is_a_dependency_error(open_store, monkeypatch):
    import sys

    for name in [n for n in sys.modules if n.startswith("dumpty_plugins.sftp.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "asyncssh", None)
    with pytest.raises(DependencyError, match=r'pip install "dumpty\[sftp\]"'):
        open_store("sftp://h/b")
