"""``--encrypt-to``, ``--identity`` and ``dumpty keys``: what they take, what they say, and with which status."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.keys import key_file, x25519
from support.pages import MANUAL, blocks

RECIPIENT, SECRET = x25519()[0].text, x25519()[1].text
PASSPHRASE = "DUMPTY_IDENTITY_PASSPHRASE"


@pytest.fixture(autouse=True)
def _keys(tmp_path, monkeypatch):
    key_file(tmp_path / "key.txt")
    key_file(tmp_path / "other.txt", "other")
    monkeypatch.delenv(PASSPHRASE, raising=False)


@pytest.fixture
def _elsewhere(monkeypatch):
    """Be another machine than the one that makes the backups."""
    monkeypatch.setenv("DUMPTY_MACHINE_KEY", "off")


@pytest.fixture
def sealed(make, shop) -> dict:
    """An encrypted backup."""
    return make(shop, "--encrypt-to", RECIPIENT)


def test_a_recipient_is_given_as_it_is_or_read_from_where_it_stands(dumpty, shop, monkeypatch):
    Path("recipients.txt").write_text(f"# the vault\n{RECIPIENT}\n{x25519('other')[0].text}\n")
    monkeypatch.setenv("VAULT", RECIPIENT)
    ways = {RECIPIENT: 1, "recipients.txt": 2, "env:VAULT": 1, "file:recipients.txt": 2, "cmd:cat recipients.txt": 2}
    for way, count in ways.items():
        result = dumpty("backup", shop, "--encrypt-to", way)
        assert result.status == 0, result
        kinds = ", ".join(["X25519"] * count)
        assert f"encrypted to {count} recipient{'s' if count > 1 else ''} ({kinds})" in result.out
    shown = dumpty("show", "latest", "--json", "--identity", "other.txt").json["backups"][0]["details"]
    assert shown["recipients"] == [RECIPIENT, x25519("other")[0].text]


@pytest.mark.parametrize("argument", ["age1typo", "nobody.txt", "key.txt", "env:NOBODY", "file:none", "cmd:false"])
def test_a_recipient_that_is_none_is_wrong_usage_and_makes_no_backup(dumpty, shop, argument):
    result = dumpty("backup", shop, "--encrypt-to", argument)
    assert result.status == (1 if argument == "cmd:false" else 2)
    assert result.err.count("\n") == 1
    assert SECRET not in result.err
    assert not list(Path("backups").glob("shop*"))


def test_a_mistyped_recipient_names_itself(dumpty, shop):
    mistyped = RECIPIENT[:-1] + ("p" if RECIPIENT.endswith("q") else "q")
    result = dumpty("backup", shop, "--encrypt-to", mistyped, "--json")
    assert (result.status, result.json["error_type"]) == (2, "OptionError")
    assert mistyped in result.json["error"]


@pytest.mark.parametrize("identity", ["key.txt", "env:KEY", "file:key.txt", "cmd:cat key.txt", "the key itself"])
def test_an_identity_opens_what_is_encrypted_to_it_wherever_it_is_read(dumpty, sealed, orders, monkeypatch, identity):
    monkeypatch.setenv("KEY", Path("key.txt").read_text())
    identity = SECRET if identity == "the key itself" else identity
    result = dumpty("restore", "latest", "--to", "sqlite:///new.db", "--identity", "other.txt", "--identity", identity)
    assert result.status == 0, result
    assert orders("new.db") == [(1, "egg"), (2, "wall")]


ENDS = [
    (("restore", "latest", "--to", "sqlite:///new.db"), 2, "give the identity of one of them, --identity FILE"),
    (("restore", "latest", "--to", "sqlite:///new.db", "--identity", "other.txt"), 2, "other.txt belongs to none"),
    (("restore", "latest", "--to", "sqlite:///new.db", "--identity", "none.txt"), 2, "none.txt cannot be read"),
    (("restore", "latest", "--to", "sqlite:///new.db", "--identity", "shop.db"), 2, "is no text"),
    (("verify", "latest", "--level", "structure"), 3, "give the identity of one of them"),
    (("verify", "latest", "--identity", "other.txt"), 3, "other.txt belongs to none"),
    (("drill",), 3, "give the identity of one of them"),
    (("drill", "--identity", "none.txt"), 2, "none.txt cannot be read"),
    (("show", "latest", "--identity", "other.txt"), 2, "other.txt belongs to none"),
    (("keys", "check", "--identity", "other.txt"), 4, "other.txt belongs to none"),
    (("keys", "check"), 2, "--identity FILE"),
    (("verify", "latest"), 0, "that it can be decrypted"),
    (("verify", "latest", "--identity", "key.txt"), 0, "through gzip+age it gives the dump"),
    (("verify", "latest", "--level", "structure", "--identity", "key.txt"), 0, "it is decrypted, decompresses"),
    (("drill", "--identity", "key.txt"), 0, "1 object and 2 rows"),
    (("keys", "check", "--identity", "key.txt"), 0, "opened; encrypted to 1 recipient (X25519)"),
    (("show", "latest"), 0, "sealed "),
    (("list",), 0, "native+gzip+age"),
]


@pytest.mark.usefixtures("_elsewhere")
@pytest.mark.parametrize(("argv", "status", "said"), ENDS, ids=[" ".join(argv) for argv, _, _ in ENDS])
def test_a_key_that_is_missing_or_anothers_is_told_with_its_status(dumpty, sealed, argv, status, said):
    result = dumpty(*argv)
    assert result.status == status, result
    assert said in result.out + result.err
    assert not Path("new.db").exists()


def test_damage_is_status_4_whatever_of_an_age_file_it_hits(dumpty, sealed):
    [path] = map(Path, sealed["files"])
    whole = path.read_bytes()
    for data in (whole.replace(b"X25519 ", b"X25519 A", 1), whole[:70], whole[:-3], whole[:200] + b"\0" + whole[201:]):
        path.write_bytes(data)
        result = dumpty("restore", "latest", "--to", "sqlite:///new.db", "--identity", "key.txt")
        assert result.status == 4, result
        assert not Path("new.db").exists()


def test_a_wrong_key_stops_no_proof_of_what_is_not_encrypted(dumpty, sealed, make, shop):
    make(shop)
    result = dumpty("verify", "--all", "--level", "structure", "--identity", "other.txt", "--json")
    assert (result.status, result.json["error_type"]) == (3, "NotProvable")
    assert [proof["ok"] for proof in result.json["proofs"]] == [None, True]


@pytest.mark.usefixtures("_elsewhere")
def test_show_says_what_is_sealed_and_with_the_key_what_is_in_it(dumpty, sealed):
    assert (sealed["encrypted"], sealed["plain_size_bytes"] is None) == (True, False)  # whoever made it knows
    closed = dumpty("show", "latest", "--json").json["backups"][0]
    assert (closed["plain_size_bytes"], closed["objects"]) == (None, [])
    details = closed["details"]
    assert (details["sealed"], details["tables"], details["rows"]) == (True, 1, 2)
    assert (details["recipients"], details["consistent"], details["versions"]) == (None, None, {})
    opened = dumpty("show", "latest", "--json", "--identity", "key.txt").json["backups"][0]
    assert opened["objects"] == [{"path": "orders", "rows": 2, "fingerprint": None, "stored_bytes": None}]
    assert (opened["details"]["sealed"], opened["details"]["recipients"]) == (False, [RECIPIENT])
    assert opened["plain_size_bytes"] == sealed["plain_size_bytes"]
    text = dumpty("show", "latest").out
    assert "encrypted    to 1 recipient (X25519)" in text
    assert "--identity FILE shows them" in text
    assert "1 object, 2 rows" in text
    assert RECIPIENT in dumpty("show", "latest", "--identity", "key.txt").out


def test_a_new_key_is_private_never_overwritten_and_opens_what_is_encrypted_to_it(dumpty, make, shop):
    umask = os.umask(0)
    try:
        result = dumpty("keys", "new", "--out", "new.txt")
    finally:
        os.umask(umask)
    assert result.status == 0
    recipient = result.out.splitlines()[0]
    path = Path("new.txt")
    text = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    created, public, secret = text.splitlines()
    assert created.startswith("# created: 20")
    assert public == f"# public key: {recipient}"
    assert secret.startswith("AGE-SECRET-KEY-1")
    assert secret not in result.out + result.err
    again = dumpty("keys", "new", "--out", "new.txt")
    assert (again.status, path.read_text()) == (2, text)
    assert "never overwritten" in again.err
    make(shop, "--encrypt-to", recipient)
    assert dumpty("keys", "check", "--identity", "new.txt").status == 0


@pytest.mark.parametrize("place", ["a directory", "a dangling link", "nowhere"])
def test_a_new_key_follows_no_link_and_leaves_nothing_half_written(dumpty, tmp_path, place):
    path = tmp_path / "new.txt"
    if place == "a directory":
        path.mkdir()
    elif place == "a dangling link":
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path = tmp_path / "none" / "new.txt"
    result = dumpty("keys", "new", "--out", path)
    assert result.status == (1 if place == "nowhere" else 2)
    assert str(path) in result.err
    assert not (tmp_path / "elsewhere").exists()


def test_a_key_under_a_passphrase_is_text_and_opens_with_it_alone(dumpty, make, shop, monkeypatch):
    monkeypatch.setenv(PASSPHRASE, "sesame")
    recipient = dumpty("keys", "new", "--passphrase", "--out", "new.txt", "--json").json["recipient"]
    text = Path("new.txt").read_text()
    assert text.startswith("-----BEGIN AGE ENCRYPTED FILE-----\n")
    assert "AGE-SECRET-KEY" not in text
    make(shop, "--encrypt-to", recipient)
    assert dumpty("keys", "check", "--identity", "new.txt").status == 0
    monkeypatch.setenv(PASSPHRASE, "open, barley")
    result = dumpty("keys", "check", "--identity", "new.txt")
    assert result.status == 2
    assert "the passphrase is not the one" in result.err
    monkeypatch.delenv(PASSPHRASE)
    result = dumpty("restore", "latest", "--to", "sqlite:///new.db", "--identity", "new.txt")
    assert result.status == 2
    assert PASSPHRASE in result.err


def test_a_passphrase_is_asked_for_twice_on_a_terminal(dumpty, make, shop, monkeypatch):
    answers = []
    monkeypatch.setattr("dumpty.cli.prompt.on_terminal", lambda: True)
    monkeypatch.setattr("getpass.getpass", lambda question, stream: answers.pop(0))
    answers[:] = ["sesame", "seasme"]
    result = dumpty("keys", "new", "--passphrase", "--out", "new.txt")
    assert (result.status, Path("new.txt").exists()) == (2, False)
    answers[:] = ["sesame", "sesame", "sesame"]
    recipient = dumpty("keys", "new", "--passphrase", "--out", "new.txt", "--json").json["recipient"]
    make(shop, "--encrypt-to", recipient)
    assert dumpty("keys", "check", "--identity", "new.txt").status == 0
    assert answers == []


def test_without_a_terminal_and_a_variable_no_passphrase_is_made_up(dumpty):
    result = dumpty("keys", "new", "--passphrase", "--out", "new.txt")
    assert (result.status, Path("new.txt").exists()) == (2, False)
    assert PASSPHRASE in result.err


@pytest.mark.usefixtures("_elsewhere")
def test_keys_show_tells_of_each_backup_whom_it_is_encrypted_to(dumpty, make, shop):
    make(shop)
    make(shop, "--encrypt-to", RECIPIENT)
    make(shop, "--encrypt-to", RECIPIENT, "--encrypt-to", x25519("other")[0].text)
    keys = dumpty("keys", "show", "--json").json["keys"]
    assert [(k["encrypted"], k["recipient_kinds"], k["recipients"]) for k in keys] == [
        (False, [], []),
        (True, ["X25519"], None),
        (True, ["X25519", "X25519"], None),
    ]
    opened = dumpty("keys", "show", "--identity", "other.txt", "--json").json["keys"]
    assert [k["recipients"] for k in opened] == [[], None, [RECIPIENT, x25519("other")[0].text]]
    assert "nobody: it is not encrypted" in dumpty("keys", "show").out


def test_keys_check_fails_for_the_databases_that_are_not_opened(dumpty, make, shop, sealed, tmp_path):
    (tmp_path / "other.db").write_bytes((tmp_path / "shop.db").read_bytes())
    make("sqlite:///other.db", "--encrypt-to", x25519("other")[0].text)
    result = dumpty("keys", "check", "--identity", "key.txt", "--json")
    assert (result.status, result.json["error_type"]) == (4, "IntegrityError")
    checks = {c["database"]: (c["opened"], c["error_type"]) for c in result.json["checks"]}
    assert checks == {"shop": (True, None), "other": (False, "IdentityError")}
    both = dumpty("keys", "check", "--identity", "key.txt", "--identity", "other.txt")
    assert both.status == 0
    assert "2 databases opened" in both.out


def test_keys_check_of_what_is_not_encrypted_proves_nothing_and_says_so(dumpty, make, shop):
    make(shop)
    result = dumpty("keys", "check", "--identity", "key.txt")
    assert result.status == 3
    assert "nothing in backups is encrypted, so nothing is proved of the identity" in result.err
    assert "not encrypted" in result.out


def test_no_secret_is_shown_whatever_goes_wrong(dumpty, sealed):
    half = SECRET[:-2]
    for argv in (
        ("restore", "latest", "--to", "sqlite:///new.db", "--identity", half),
        ("backup", "sqlite:///shop.db", "--encrypt-to", SECRET),
        ("backup", "sqlite:///shop.db", "--encrypt-to", half),
    ):
        result = dumpty(*argv, "--json")
        assert result.status == 2
        assert SECRET[20:40] not in result.out + result.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_an_encrypted_backup_and_leaves_nothing(shop, tmp_path, number):
    with contextlib.closing(sqlite3.connect(tmp_path / "shop.db")) as database:
        database.executemany("INSERT INTO orders (what) VALUES (?)", [(os.urandom(500).hex(),) for _ in range(5000)])
        database.commit()
    argv = ["backup", shop, "--format", "sql", "--compressor", "none", "--rate-limit", "1MB", "--encrypt-to", RECIPIENT]
    process = subprocess.Popen([sys.executable, "-m", "dumpty", *argv], stderr=subprocess.PIPE, text=True)
    patience = time.monotonic() + 60
    while (
        not any(p.stat().st_size for p in Path("backups").glob("shop*/*") if ".age" in p.name)
        and time.monotonic() < patience
    ):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number, said
    left = [p for p in Path("backups").rglob("*") if p.is_file() and ".prune" not in str(p)]
    assert left == []


def test_the_page_encryption_is_followed(dumpty, program, shop, tmp_path):
    """All that it has of shell but what needs the age program, which test_restoring_without_dumpty.py runs."""
    (tmp_path / "key.txt").unlink()
    found = [b for b in blocks(MANUAL / "encryption.md") if "test_the_page_encryption_is_followed" in b.note]
    assert len(found) == 4
    environment = {**os.environ, "PATH": f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"}
    script = "dumpty keys new --out key.txt\n" + "\n".join(block.text for block in found)
    process = subprocess.run(["sh", "-euc", script], env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("1 database opened") == 2
    assert "OBJECT" in process.stdout


def test_the_machine_that_made_a_backup_shows_what_is_in_it_and_restores_nothing(dumpty, sealed, tmp_path):
    shown = dumpty("show", "latest", "--json").json["backups"][0]
    assert [o["path"] for o in shown["objects"]] == ["orders"]
    assert dumpty("keys", "show").out.splitlines()[-1].endswith(RECIPIENT)
    assert dumpty("restore", "latest", "--to", f"sqlite:///{tmp_path}/new.db").status == 2
    assert dumpty("show", "latest", "--identity", "other.txt").status == 2


def test_what_the_machines_own_key_cannot_open_is_shown_as_far_as_it_is_known(dumpty, sealed, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyrage", None)
    result = dumpty("show", "latest")
    assert result.status == 0
    assert "sealed " in result.out
    assert 'pip install "dumpty[age]"' in result.err
    assert dumpty("keys", "show").status == 0
