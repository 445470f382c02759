"""Encrypted backups by the facade: what is written, what is sealed, what opens it, and what works without a key."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import shutil
import sqlite3
import sys
from pathlib import Path

import pyrage
import pytest
from msgspec.structs import replace
from support.keys import key_file, ssh_key, x25519
from support.toys import ToyDriver, threads_ended

from dumpty import (
    BackupManager,
    Cancellation,
    Cancelled,
    DependencyError,
    Evidence,
    Identity,
    IdentityError,
    IntegrityError,
    ManifestError,
    NotProvable,
    OptionError,
    PluginInfo,
    Rules,
    TransformingWriter,
    hookimpl,
)
from dumpty_plugins import age as built_in

SECRET_TABLE = "love_letters"


@pytest.fixture
def place(tmp_path: Path, monkeypatch) -> Path:
    with contextlib.closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.executescript(f"CREATE TABLE {SECRET_TABLE} (id INTEGER PRIMARY KEY, text)")
        connection.executemany(f"INSERT INTO {SECRET_TABLE} VALUES (?, ?)", [(i, f"Humpty {i}") for i in range(3000)])
        connection.commit()
    key_file(tmp_path / "key.txt")
    key_file(tmp_path / "other.txt", "other")
    monkeypatch.chdir(tmp_path)
    return tmp_path


RECIPIENT, OTHER = x25519()[0].text, x25519("other")[0].text
URL = "sqlite:///shop.db"


@pytest.fixture
def manager(place) -> BackupManager:
    return BackupManager("backups")


def rows(path: str) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT count(*) FROM {SECRET_TABLE}").fetchone()[0]


def make(manager: BackupManager, *recipients, **options):
    return manager.create_backup(URL, encrypt_to=recipients or (RECIPIENT,), **options).raise_for_error()


def manifest_of(backup) -> Path:
    path = Path(backup.file_path)
    return path.parent / f"{path.name.partition('.')[0]}.manifest.json"


@pytest.mark.parametrize("form", ["sql", "native"])
@pytest.mark.parametrize("compressor", ["gzip", "zstd", None])
def test_a_backup_is_encrypted_behind_its_compressor_and_comes_back(place, form, compressor):
    manager = BackupManager("backups", compressor=compressor)
    backup = make(manager, format=form)
    suffix = {"gzip": ".gz.age", "zstd": ".zst.age", None: ".age"}[compressor]
    assert backup.file_path.endswith({"sql": ".sql", "native": ".db"}[form] + suffix)
    assert backup.stages == (*filter(None, [compressor]), "age")
    stored = Path(backup.file_path).read_bytes()
    assert stored.startswith(b"age-encryption.org/v1\n-> X25519 ")
    assert SECRET_TABLE.encode() not in stored
    assert manager.restore(backup.id, "sqlite:///new.db", identities=["key.txt"]).success
    assert rows("new.db") == 3000


def test_each_of_several_recipients_opens_it_alone(manager, place):
    recipients = [RECIPIENT, ssh_key(place / "ssh", "ed25519"), ssh_key(place / "rsa", "rsa")]
    backup = make(manager, *recipients)
    assert backup.recipient_kinds == ("X25519", "ssh-ed25519", "ssh-rsa")
    for number, identity in enumerate([place / "key.txt", "ssh", (place / "rsa").read_text()]):
        result = manager.restore(backup.id, f"sqlite:///new{number}.db", identities=["other.txt", identity])
        assert result.success, result.error
    assert manager.unsealed(backup.id, ["key.txt"]).recipients == (
        recipients[0],
        *(" ".join(r.split()[:2]) for r in recipients[1:]),
    )


def test_what_is_sealed_stands_nowhere_in_the_repository(manager, place):
    backup = make(manager)
    text = manifest_of(backup).read_text()
    content = json.loads(text)
    for hidden in (SECRET_TABLE, RECIPIENT, str(backup.plain_size_bytes), backup.evidence.versions["sqlite"]):
        assert hidden not in text
    assert content["clear"]["totals"] == {"tables": 1, "rows": 3000}
    assert content["clear"]["objects"][0]["stages"][-1]["params"] == {"recipients": ["X25519"]}
    sealed = base64.b64decode(content["sealed"])
    opened = json.loads(pyrage.decrypt(sealed, [pyrage.x25519.Identity.from_str(x25519()[1].text)]))
    assert opened["recipients"] == [RECIPIENT]
    assert opened["parts"][0]["size"] == backup.plain_size_bytes
    assert opened["evidence"]["objects"] == [[SECRET_TABLE, 3000, None]]


def test_without_a_key_everything_works_that_needs_none(manager, place):
    backup = make(manager)
    manager = BackupManager("backups")
    [listed] = manager.list_backups()
    assert (listed.sealed, listed.tables, listed.rows, listed.plain_size_bytes) == (True, 1, 3000, None)
    assert (listed.evidence, listed.recipients, listed.recipient_kinds) == (Evidence(), (), ("X25519",))
    assert manager.find("latest:shop").id == backup.id
    proof = manager.prove(backup.id, level="digest")
    assert proof.ok
    assert any("can be decrypted" in text for text in proof.not_proved)
    assert not any("gives the dump" in step.what for step in proof.proved)
    vault = BackupManager("vault")
    [outcome] = manager.copy(to=vault)
    assert outcome.ok
    assert vault.restore(backup.id, "sqlite:///new.db", identities=["key.txt"]).success
    assert manager.pin(backup.id, "kept").pinned
    assert manager.unpin(backup.id)
    newer = make(manager)
    manager.verify(newer.id)
    assert manager.prune(Rules(keep=1)).removed == (backup.id,)
    assert manager.remove(newer.id)


@pytest.mark.parametrize("identities", [(), ["other.txt"]])
def test_without_its_key_nothing_is_restored_or_proved_and_that_is_said(manager, place, identities):
    backup = make(manager)
    result = manager.restore(backup.id, "sqlite:///new.db", identities=identities)
    assert isinstance(result.exception, IdentityError)
    assert "is encrypted to 1 recipient (X25519)" in result.error
    assert ("--identity" in result.error) == (not identities)
    assert ("the identity file other.txt belongs to none" in result.error) == bool(identities)
    assert not os.path.exists("new.db")
    for level in ("structure", "restore"):
        with pytest.raises(NotProvable, match="is encrypted to 1 recipient"):
            manager.prove(backup.id, level=level, identities=identities)
    assert manager.get_backup(backup.id).proofs == ()  # nothing was decided


def test_with_its_key_every_level_is_proved(manager, place):
    backup = make(manager)
    for level in ("digest", "structure", "restore"):
        proof = manager.prove(backup.id, level=level, identities=["key.txt"])
        assert proof.ok, proof.error
        assert not any("decrypted" in text for text in proof.not_proved)
    assert any("1 object and 3,000 rows" in step.what for step in proof.proved)
    [verification] = manager.verify_many(level="structure", identities=["key.txt"])
    assert verification.ok


@pytest.mark.parametrize("position", ["version", "recipient", "mac", "payload", "last", "cut", "header cut", "longer"])
def test_damage_is_told_as_damage_and_never_restored(manager, place, position):
    backup = make(manager)
    path = Path(backup.file_path)
    data = bytearray(path.read_bytes())
    where = {
        "version": 3,
        "recipient": data.index(b"X25519") + 10,
        "mac": data.index(b"--- ") + 6,
        "payload": len(data) // 2,
        "last": len(data) - 1,
    }
    if position in where:
        data[where[position]] ^= 1
    else:
        data = {"cut": data[:-20], "header cut": data[:60], "longer": data + b"x"}[position]
    path.write_bytes(data)
    result = manager.restore(backup.id, "sqlite:///new.db", identities=["key.txt"])
    assert isinstance(result.exception, IntegrityError), result.error
    assert not os.path.exists("new.db")
    for level in ("digest", "structure", "restore"):
        proof = manager.prove(backup.id, level=level, identities=["key.txt"])
        assert not proof.ok
        assert isinstance(proof.exception, IntegrityError)
    with pytest.raises(IntegrityError):
        manager.verify(backup.id)


def test_a_damaged_manifest_is_none_and_not_another_mans_key(manager, place):
    backup = make(manager)
    path = manifest_of(backup)
    text = path.read_text()
    start = text.index('"sealed": "') + 200
    path.write_text(text[:start] + ("A" if text[start] != "A" else "B") + text[start + 1 :])
    assert manager.listing().problems
    result = BackupManager("backups").restore(backup.id, "sqlite:///new.db", identities=["key.txt"])
    assert not result.success
    assert "damaged" in result.error


def forge(backup, change) -> None:
    """Change a manifest, and give it the digest of what it says then."""
    from dumpty.repository.sealed import seal

    content = json.loads(manifest_of(backup).read_text())
    del content["digest"], content["dumpty_manifest"]
    change(content)
    manifest_of(backup).write_bytes(seal(content))


def test_what_is_sealed_belongs_to_its_backup(manager, place):
    first, second = make(manager), make(manager)
    sealed = json.loads(manifest_of(first).read_text())["sealed"]
    forge(second, lambda content: content.update(sealed=sealed))
    result = BackupManager("backups").restore(second.id, "sqlite:///new.db", identities=["key.txt"])
    assert isinstance(result.exception, ManifestError)
    assert f"belongs to backup {first.id}" in result.error


@pytest.mark.parametrize("half", ["data", "manifest", "totals"])
def test_a_manifest_of_which_the_halves_do_not_fit_is_damaged(manager, place, half):
    backup = make(manager)
    changes = {
        "data": lambda content: content["clear"]["objects"][0]["stages"].pop(),
        "manifest": lambda content: content.update(
            sealed={"parts": [], "evidence": {}, "options": {}},
        ),
        "totals": lambda content: content["clear"]["totals"].update(rows=1),
    }
    forge(backup, changes[half])
    result = BackupManager("backups").restore(backup.id, "sqlite:///new.db", identities=["key.txt"])
    assert not result.success
    assert "damaged" in result.error
    assert not os.path.exists("new.db")


WRONG = {
    "mistyped": RECIPIENT[:-1] + ("p" if RECIPIENT[-1] == "q" else "q"),
    "cut": RECIPIENT[:-1],
    "no key": "ssh-ed25519 AAAA",
    "no file": "nobody.txt",
}


@pytest.mark.parametrize("recipient", WRONG.values(), ids=WRONG)
def test_a_recipient_that_is_none_is_refused_before_anything_is_begun(place, recipient):
    driver = ToyDriver(shop=b"humpty")
    manager = BackupManager("backups", plugins=[driver])
    looked = []
    driver.inspect = lambda **_: looked.append(1)
    result = manager.create_backup("toy://host/shop", encrypt_to=[RECIPIENT, recipient])
    assert isinstance(result.exception, OptionError)
    assert not looked
    assert not list(Path("backups").glob("shop*"))


def test_one_recipient_or_identity_where_several_are_meant_is_a_wrong_call(manager, place):
    with pytest.raises(TypeError):
        manager.create_backup(URL, encrypt_to=RECIPIENT)
    with pytest.raises(TypeError):
        manager.restore("an id", "sqlite:///new.db", identities="key.txt")


def test_encrypted_to_nobody_is_an_error_and_no_plain_backup(manager, place):
    result = manager.create_backup(URL, encrypt_to=[])
    assert isinstance(result.exception, OptionError)
    assert manager.list_backups() == []


def test_without_the_library_it_is_said_how_to_get_it(manager, place, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyrage", None)
    result = manager.create_backup(URL, encrypt_to=[RECIPIENT])
    assert isinstance(result.exception, DependencyError)
    assert 'pip install "dumpty[age]"' in result.error


class Cipher:
    """The built-in cipher, with something else in its place."""

    name = "toycipher"

    @hookimpl
    def describe(self):
        return PluginInfo(kind="cipher", suffix=".age")

    @hookimpl
    def encrypt(self, sink, recipients):
        return built_in.encrypt(sink, recipients)

    @hookimpl
    def decrypt(self, stream, identities):
        return built_in.decrypt(stream, identities)


class Plainly(Cipher):
    """Encrypts nothing, but only what is larger than what is tried before."""

    @hookimpl
    def encrypt(self, sink, recipients):
        def transform(source, target):
            block = source.read(8192)
            if len(block) < 2000:
                pyrage.encrypt_io(io.BytesIO(block), target, [x25519_key(r) for r in recipients])
            while block and len(block) >= 2000:
                target.write(block)
                block = source.read(8192)

        return TransformingWriter(sink, transform)


def x25519_key(recipient):
    return pyrage.x25519.Recipient.from_str(recipient.text)


class ToTooFew(Cipher):
    @hookimpl
    def encrypt(self, sink, recipients):
        return built_in.encrypt(sink, recipients[:1])


class Miscounting(Cipher):
    @hookimpl
    def encrypt(self, sink, recipients):
        writer = built_in.encrypt(sink, recipients)
        write = writer.write
        writer.write = lambda data: write(data) - 1
        return writer


@pytest.mark.parametrize(
    ("cipher", "said"),
    [
        (Plainly(), "is not encrypted as was asked for"),
        (ToTooFew(), "other recipients than those asked for: X25519 (1), not X25519 (2)"),
        (Miscounting(), "plugin 'toycipher' of this program returned a Writer from encrypt whose write() is"),
    ],
)
def test_asked_for_and_not_applied_is_an_error_and_no_backup(place, cipher, said):
    driver = ToyDriver(shop=os.urandom(200_000))
    manager = BackupManager("backups", plugins=[driver, cipher], cipher="toycipher")
    result = manager.create_backup("toy://host/shop", encrypt_to=[RECIPIENT, OTHER])
    assert not result.success
    assert said in result.error
    assert manager.list_backups() == []
    assert not [p for p in Path("backups").rglob("*") if p.is_file() and ".prune" not in str(p)]


def test_a_header_that_is_not_what_was_written_is_found_in_the_store_before_the_commit(manager, place, monkeypatch):
    from dumpty_plugins.file.store import FileStore

    opened = []
    read = FileStore.open

    def altered(self, name, offset=0):
        opened.append(name)
        stream = read(self, name, offset)
        if name.endswith(".age"):
            data = stream.read(-1).replace(b"-> X25519", b"-> Y25519", 1)
            stream.close()
            return io.BytesIO(data)
        return stream

    monkeypatch.setattr(FileStore, "open", altered)
    result = manager.create_backup(URL, encrypt_to=[RECIPIENT])
    assert isinstance(result.exception, IntegrityError)
    assert "Y25519" in result.error
    assert [name for name in opened if name.endswith(".age")]
    assert not list(Path("backups").glob("shop*/*"))


def test_a_driver_that_fails_midway_leaves_no_thread_and_no_file(place):
    class Failing(ToyDriver):
        @hookimpl
        def backup(self, source, sink):
            for _ in range(100):
                sink.write(os.urandom(100_000))
            raise LookupError("the server is gone")

    manager = BackupManager("backups", plugins=[Failing(shop=b"humpty")])
    result = manager.create_backup("toy://host/shop", encrypt_to=[RECIPIENT])
    assert "the server is gone" in result.error
    assert threads_ended("dumpty-age")
    assert not [p for p in Path("backups").rglob("*") if p.is_file() and ".prune" not in str(p)]


def test_a_store_that_fails_midway_is_what_is_told(place, monkeypatch):
    from dumpty_plugins.file import upload

    written = []
    write = upload.FileUpload.write

    def failing(self, data):
        written.append(len(data))
        if sum(written) > 500_000:
            raise OSError(28, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(upload.FileUpload, "write", failing)
    manager = BackupManager("backups", plugins=[ToyDriver(shop=os.urandom(5_000_000))], compressor=None)
    result = manager.create_backup("toy://host/shop", encrypt_to=[RECIPIENT])
    assert "No space left on device" in result.error
    assert threads_ended("dumpty-age")


def test_a_cancelled_backup_and_a_cancelled_restore_end_and_leave_nothing(place):
    token = Cancellation()

    class Slow(ToyDriver):
        @hookimpl
        def backup(self, source, sink):
            for number in range(10_000):
                if number == 50:
                    token.cancel("enough")
                sink.write(os.urandom(100_000))
            return Evidence()

    manager = BackupManager("backups", plugins=[Slow(shop=b"humpty")])
    result = manager.create_backup("toy://host/shop", encrypt_to=[RECIPIENT], cancel=token)
    assert isinstance(result.exception, Cancelled)
    assert manager.list_backups() == []
    assert threads_ended("dumpty-age")

    driver = ToyDriver(shop=os.urandom(20_000_000))
    manager = BackupManager("more", plugins=[driver])
    backup = manager.create_backup("toy://host/shop", encrypt_to=[RECIPIENT]).raise_for_error()
    token = Cancellation()
    result = manager.restore(
        backup.id, "toy://host/new", identities=["key.txt"], cancel=token, progress=lambda p: token.cancel("enough")
    )
    assert isinstance(result.exception, Cancelled)
    assert "new" not in driver.databases
    assert threads_ended("dumpty-age")


def test_keys_are_checked_against_the_newest_backup_of_every_database(manager, place):
    shutil.copy("shop.db", "plain.db")
    shutil.copy("shop.db", "theirs.db")
    make(manager)
    manager.create_backup("sqlite:///theirs.db", encrypt_to=[RECIPIENT]).raise_for_error()
    manager.create_backup("sqlite:///theirs.db", encrypt_to=[OTHER]).raise_for_error()
    manager.create_backup("sqlite:///plain.db").raise_for_error()
    checks = {c.backup.database_name: c for c in manager.check_keys(["key.txt"])}
    assert {name: c.opened for name, c in checks.items()} == {"shop": True, "theirs": False, "plain": True}
    assert isinstance(checks["theirs"].exception, IdentityError)
    assert all(c.opened for c in manager.check_keys(["key.txt", "other.txt"]))


def test_a_key_check_reads_where_the_data_begins(manager, place):
    backup = make(manager)
    data = bytearray(Path(backup.file_path).read_bytes())
    data[data.index(b"X25519") + 10] ^= 1
    Path(backup.file_path).write_bytes(data)
    [check] = manager.check_keys(["key.txt"])
    assert not check.opened
    Path(backup.file_path).unlink()
    [check] = manager.check_keys(["key.txt"])
    assert not check.opened


def test_an_identity_is_shown_in_no_error(manager, place):
    backup = make(manager)
    secret = x25519("other")[1].text
    for identity in (secret, secret[:-1] + "X", Identity(kind="X25519", text=secret[:-1] + "X")):
        result = manager.restore(backup.id, "sqlite:///new.db", identities=[identity])
        assert isinstance(result.exception, IdentityError)
        assert secret[16:40] not in result.error
        assert secret[16:40] not in str(result.exception.__cause__)


def test_a_record_that_was_opened_is_never_put_back_in_the_clear(manager, place):
    """What a repository is given of an encrypted backup is what is sealed, also where somebody has opened it."""
    backup = make(manager)
    record = manager._place.repository.get(backup.id)
    assert record.sealed is not None
    assert record.plain_size is None
    assert replace(record, tags=("x",)).sealed == record.sealed
    manager.unsealed(backup.id, ["key.txt"])
    assert manager._place.repository.get(backup.id).sealed is not None


def test_what_is_not_encrypted_is_never_kept_in_the_repository(place, tmp_path_factory, monkeypatch):
    """A workspace may hold the whole database: of an encrypted backup it is in this machine's place for such files."""
    temporary = tmp_path_factory.mktemp("tmp")
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    given: list[Path] = []

    class Keeping(ToyDriver):
        @hookimpl
        def backup(self, source, sink):
            given.append(sink.workspace())
            (given[-1] / "copy.db").write_bytes(b"humpty")
            sink.write(b"humpty")
            return Evidence()

        @hookimpl
        def restore(self, target, dump):
            given.append(dump.path().parent)
            given.append(dump.workspace())
            assert dump.path().read_bytes() == b"humpty"
            return Evidence()

    manager = BackupManager("backups", plugins=[Keeping(shop=b"humpty")])
    backup = manager.create_backup("toy://host/shop", encrypt_to=[RECIPIENT]).raise_for_error()
    assert manager.restore(backup.id, "toy://host/new", identities=["key.txt"]).success
    assert len(given) == 3
    assert all(path.is_relative_to(temporary) for path in given)
    assert list(temporary.iterdir()) == []
    given.clear()
    backup = manager.create_backup("toy://host/shop").raise_for_error()
    assert manager.restore(backup.id, "toy://host/new", overwrite=True).success
    assert all(path.is_relative_to(place / "backups") for path in given)
