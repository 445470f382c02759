"""This machine's own key: it opens what is sealed of the backups that were made here, and never a dump."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.keys import key_file, x25519
from support.toys import ToyDriver

from dumpty import BackupManager, IdentityError, NotProvable, PluginInfo, hookimpl
from dumpty.encryption import machine_key
from dumpty_plugins import age as built_in

RECIPIENT = x25519()[0].text
HERE = "here/dumpty/machine-key.txt"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch) -> Path:
    key_file(tmp_path / "key.txt")
    key_file(tmp_path / "other.txt", "other")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DUMPTY_MACHINE_KEY", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "here"))
    return tmp_path


@pytest.fixture
def manager():
    return BackupManager("backups", plugins=[ToyDriver(db=b"x" * 10_000)])


def back_up(manager, **options):
    return manager.create_backup("toy://h/db", **options).raise_for_error()


def stanzas(backup) -> tuple[int, int]:
    """Return to how many the data and the sealed part are encrypted."""
    path = Path(backup.file_path)
    manifest = json.loads((path.parent / f"{path.name.partition('.')[0]}.manifest.json").read_text())
    return tuple(data.count(b"-> X25519 ") for data in (path.read_bytes(), base64.b64decode(manifest["sealed"])))


def test_it_is_made_with_the_first_encrypted_backup_and_only_this_user_reads_it(manager):
    back_up(manager)
    assert not Path("here").exists()
    back_up(manager, encrypt_to=[RECIPIENT])
    text = Path(HERE).read_text()
    assert text.splitlines()[1].startswith("# public key: age1")
    assert [stat.S_IMODE(Path(p).stat().st_mode) for p in (HERE, os.path.dirname(HERE))] == [0o600, 0o700]
    assert os.listdir(os.path.dirname(HERE)) == [os.path.basename(HERE)]
    back_up(manager, encrypt_to=[RECIPIENT])
    assert Path(HERE).read_text() == text


def test_it_opens_what_is_sealed_and_nothing_else(manager):
    made = back_up(manager, encrypt_to=[RECIPIENT])
    assert stanzas(made) == (1, 2)
    [listed] = manager.list_backups()
    assert listed.sealed
    assert listed.recipient_kinds == ("X25519",)
    opened = manager.unsealed(made.id)
    assert (opened.evidence, opened.plain_size_bytes, opened.recipients) == (made.evidence, 10_000, (RECIPIENT,))
    assert isinstance(manager.restore(made.id, "toy://h/new").exception, IdentityError)
    assert isinstance(manager.restore(made.id, "toy://h/new", identities=[HERE]).exception, IdentityError)
    with pytest.raises(NotProvable):
        manager.prove(made.id, level="structure")
    assert [check.opened for check in manager.check_keys([HERE])] == [False]


def test_it_opens_the_copies_that_were_encrypted_here(manager):
    made = back_up(manager)
    vault = BackupManager("vault", plugins=[ToyDriver()])
    assert manager.copy(to=vault, encrypt_to=[RECIPIENT])[0].copied
    assert vault.unsealed(made.id).evidence == made.evidence


def test_on_another_machine_it_is_another(manager, monkeypatch):
    made = back_up(manager, encrypt_to=[RECIPIENT])
    monkeypatch.setenv("XDG_DATA_HOME", "elsewhere")
    with pytest.raises(IdentityError, match="give the identity of one of them"):
        manager.unsealed(made.id)
    assert not Path("elsewhere").exists()
    assert manager.unsealed(made.id, ["key.txt"]).evidence == made.evidence


def test_an_identity_that_is_named_opens_or_does_not(manager):
    made = back_up(manager, encrypt_to=[RECIPIENT])
    with pytest.raises(IdentityError, match="belongs to none of those"):
        manager.unsealed(made.id, ["other.txt"])


def test_turned_off_there_is_none(manager, monkeypatch):
    monkeypatch.setenv("DUMPTY_MACHINE_KEY", "off")
    made = back_up(manager, encrypt_to=[RECIPIENT])
    assert stanzas(made) == (1, 1)
    assert not Path("here").exists()
    with pytest.raises(IdentityError):
        manager.unsealed(made.id)


def test_it_may_lie_anywhere_and_be_a_recipient_of_all_too(manager, monkeypatch):
    monkeypatch.setenv("DUMPTY_MACHINE_KEY", os.path.abspath("keys/mine.txt"))
    back_up(manager, encrypt_to=[RECIPIENT])
    mine = Path("keys/mine.txt").read_text().splitlines()[1].removeprefix("# public key: ")
    made = back_up(manager, encrypt_to=[RECIPIENT, mine])
    assert stanzas(made) == (2, 2)
    assert manager.restore(made.id, "toy://h/new", identities=["keys/mine.txt"]).success


def planted(path: Path, kind: str) -> None:
    path.parent.mkdir(parents=True)
    key_file(path.with_name("theirs.txt"), "other")
    path.with_name("theirs.txt").chmod(0o600)
    if kind == "a link":
        path.symlink_to("theirs.txt")
    elif kind == "a directory":
        path.mkdir()
    else:
        text = path.with_name("theirs.txt").read_text()
        garbled = {
            "no key": "hello\n",
            "no text": b"\xff\xfe",
            "cut off": text[:40],
            "mistyped": text.replace("age1", "age1q"),
            "another's": f"# public key: {RECIPIENT}\n{x25519('other')[1].text}\n",
            "public": f"# public key: {RECIPIENT}\n",
        }
        content = garbled.get(kind, text)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(0o644 if kind == "readable by all" else 0o600)


@pytest.mark.parametrize(
    "kind",
    ["a link", "a directory", "no key", "no text", "cut off", "mistyped", "another's", "public", "readable by all"],
)
def test_a_key_that_cannot_be_used_is_told_and_the_backup_is_made_for_its_recipients(manager, place, caplog, kind):
    planted(place / HERE, kind)
    made = back_up(manager, encrypt_to=[RECIPIENT])
    assert stanzas(made) == (1, 1)
    [line] = [r.getMessage() for r in caplog.records if getattr(r, "event", "") == "no-machine-key"]
    assert f"this machine's own key {place / HERE} cannot be used" in line
    assert "DUMPTY_MACHINE_KEY=off" in line
    with pytest.raises(IdentityError):
        manager.unsealed(made.id)


def test_where_nothing_can_be_written_there_is_none_and_that_is_told(manager, place, caplog):
    (place / "here").write_text("a file, where a directory should be")
    made = back_up(manager, encrypt_to=[RECIPIENT])
    assert stanzas(made) == (1, 1)
    assert "no-machine-key" in [getattr(r, "event", "") for r in caplog.records]


@pytest.mark.parametrize("path", ["key.txt", " ", "~nobody-of-this-name/key.txt"])
def test_a_path_that_depends_on_where_one_is_is_none(manager, monkeypatch, caplog, path):
    monkeypatch.setenv("DUMPTY_MACHINE_KEY", path)
    made = back_up(manager, encrypt_to=[RECIPIENT])
    assert stanzas(made) == (1, 1)
    assert "DUMPTY_MACHINE_KEY is no absolute path" in caplog.text


def test_an_account_without_a_home_has_none_and_everything_works():
    """As in a container that runs as a number of which nobody is told."""
    script = f"""
import pwd
def nobody(_):
    raise KeyError
pwd.getpwuid = nobody
from dumpty import BackupManager, IdentityError
from dumpty.repository.cache import SmallObjectCache
manager = BackupManager("backups")
backup = manager.create_backup("sqlite:///shop.db", encrypt_to=["{RECIPIENT}"]).raise_for_error()
try:
    manager.unsealed(backup.id)
except IdentityError:
    print("sealed")
SmallObjectCache("here").write([(("a", "b"), b"")])
"""
    with contextlib.closing(sqlite3.connect("shop.db")) as database:
        database.execute("CREATE TABLE t (x)")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("XDG_") and k != "HOME"}
    ran = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "sealed\n"), ran.stderr


def test_a_cipher_that_makes_no_key_makes_backups_all_the_same(caplog):
    class Broken:
        name = "broken"

        @hookimpl
        def describe(self):
            return PluginInfo(kind="cipher", suffix=".age")

        @hookimpl
        def encrypt(self, sink, recipients):
            return built_in.encrypt(sink, recipients)

        @hookimpl
        def decrypt(self, stream, identities):
            return built_in.decrypt(stream, identities)

        @hookimpl
        def new_identity(self):
            raise RuntimeError("no randomness")

    manager = BackupManager("backups", plugins=[ToyDriver(db=b"x"), Broken()], cipher="broken")
    assert stanzas(back_up(manager, encrypt_to=[RECIPIENT])) == (1, 1)
    assert "no randomness" in caplog.text


def test_a_file_system_without_links_holds_a_key_too(manager, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    made = back_up(manager, encrypt_to=[RECIPIENT])
    assert manager.unsealed(made.id).recipients == (RECIPIENT,)


def test_identities_that_come_one_by_one_are_as_good(manager):
    made = back_up(manager, encrypt_to=[RECIPIENT])
    assert manager.unsealed(made.id, (name for name in ["key.txt"])).recipients == (RECIPIENT,)


def test_backups_that_begin_at_once_make_one_key(manager, monkeypatch):
    """Each is opened by the key that stayed, though all of them saw that there was none."""
    together = threading.Barrier(4)
    made_by = machine_key._make

    def make(path, text):
        together.wait(60)
        made_by(path, text)

    monkeypatch.setattr(machine_key, "_make", make)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: back_up(manager, encrypt_to=[RECIPIENT]), range(4)))
    assert [manager.unsealed(b.id).plain_size_bytes for b in made] == [10_000] * 4
    assert os.listdir(os.path.dirname(HERE)) == [os.path.basename(HERE)]
