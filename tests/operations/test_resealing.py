"""A copy that is encrypted on its way: to whom it was asked for, holding what was there, or there is none."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pyrage
import pytest
from msgspec.structs import replace
from support.keys import key_file, signing_key, ssh_key, x25519
from support.places import left_over
from support.toys import StoreWrapper, ToyDriver

from dumpty import (
    BackupManager,
    Cancellation,
    Cancelled,
    IdentityError,
    IntegrityError,
    MissingFile,
    Option,
    OptionError,
    Phase,
    PluginInfo,
    SignatureError,
    StoreError,
    hookimpl,
)
from dumpty.operations import backup as backing_up
from dumpty.operations.locations import locate_backups
from dumpty.repository.sealed import seal
from dumpty.streaming.streams import read_all
from dumpty_plugins import age as built_in

DATA = os.urandom(1 << 20) + b"love letters" * 5000
OLD, NEW, OTHER = (x25519(name)[0].text for name in ("old", "new", "other"))
COMPRESSORS = {"gzip": ".sql.gz", "zstd": ".sql.zst", None: ".sql"}


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    for name in ("old", "new", "other"):
        key_file(tmp_path / f"{name}.txt", name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def driver():
    return ToyDriver(db=DATA)


@pytest.fixture
def open_manager(place, driver):
    return lambda name, *plugins, **options: BackupManager(name, plugins=[driver, *plugins], **options)


@pytest.fixture
def origin(open_manager):
    return open_manager("origin")


@pytest.fixture
def vault(open_manager):
    return open_manager("vault")


def back_up(manager, **options):
    return manager.create_backup("toy://h/db", **options).raise_for_error()


def restore(manager, driver, backup, identity):
    manager.restore(backup.id, "toy://h/new", overwrite=True, identities=[identity]).raise_for_error()
    assert driver.databases.pop("new") == DATA


def manifest_of(backup) -> dict[str, object]:
    path = Path(backup.file_path)
    return json.loads((path.parent / f"{path.name.partition('.')[0]}.manifest.json").read_text())


def decrypted(data: bytes, name: str) -> bytes:
    return pyrage.decrypt(data, [pyrage.x25519.Identity.from_str(x25519(name)[1].text)])


@pytest.mark.parametrize("compressor", list(COMPRESSORS))
def test_a_copy_of_what_is_not_encrypted_is(open_manager, vault, driver, compressor):
    origin = open_manager("origin", compressor=compressor, verifier="sha256")
    backup = back_up(origin)
    [outcome] = origin.copy(to=vault, encrypt_to=[NEW])
    assert outcome.copied, outcome.exception
    copied = outcome.backup
    assert copied.file_path.endswith(COMPRESSORS[compressor] + ".age")
    stored = Path(copied.file_path).read_bytes()
    assert decrypted(stored, "new") == Path(backup.file_path).read_bytes()
    assert (copied.id, copied.timestamp, copied.ended) == (backup.id, backup.timestamp, backup.ended)
    assert (copied.sealed, copied.recipient_kinds) == (True, ("X25519",))
    text = json.dumps(manifest_of(copied))
    for secret in (backup.checksum, NEW, origin._place.repository.get(backup.id).objects[0].plain_sha256):
        assert secret not in text
    opened = vault.unsealed(backup.id, ["new.txt"])
    assert (opened.recipients, opened.evidence, opened.plain_size_bytes) == ((NEW,), backup.evidence, len(DATA))
    restore(vault, driver, backup, "new.txt")
    assert origin.list_backups() == [backup]


def test_a_copy_is_for_its_own_recipients_and_not_for_those_of_the_backup(place, origin, vault, driver):
    backup = back_up(origin, encrypt_to=[OLD])
    ssh = ssh_key(place / "ssh", "ed25519")
    [outcome] = origin.copy(to=vault, encrypt_to=[NEW, ssh], identities=["old.txt"])
    assert outcome.copied, outcome.exception
    assert outcome.backup.recipient_kinds == ("X25519", "ssh-ed25519")
    assert outcome.backup.file_path.endswith(".sql.gz.age")
    for identity in ("new.txt", "ssh"):
        restore(vault, driver, backup, identity)
        assert vault.unsealed(backup.id, [identity]).recipients == (NEW, " ".join(ssh.split()[:2]))
    assert isinstance(vault.restore(backup.id, "toy://h/new", identities=["old.txt"]).exception, IdentityError)
    old, new = (Path(b.file_path).read_bytes() for b in (backup, outcome.backup))
    assert decrypted(old, "old") == decrypted(new, "new")
    sealed = [base64.b64decode(manifest_of(b)["sealed"]) for b in (backup, outcome.backup)]
    with pytest.raises(pyrage.DecryptError):
        decrypted(sealed[1], "old")


def test_a_verifier_digests_the_bytes_that_lie_there(place, origin, open_manager):
    class Sum:
        name = "sum"

        def __init__(self):
            self.total = 0

        @hookimpl
        def describe(self):
            return PluginInfo(kind="verifier")

        @hookimpl
        def verify(self):
            return Sum()

        def update(self, data):
            self.total += len(data)

        def hexdigest(self):
            return f"{self.total:x}"

    origin, vault = (open_manager(name, Sum(), verifier="sum") for name in ("origin", "vault"))
    backup = back_up(origin)
    [outcome] = origin.copy(to=vault, encrypt_to=[NEW])
    assert outcome.backup.digests == {"sum": f"{outcome.backup.size_bytes:x}"}
    assert outcome.backup.digests != backup.digests
    assert vault.verify(backup.id).state == "ok"


def test_the_pin_goes_along_and_what_was_proved_of_other_bytes_does_not(origin, vault):
    backup = back_up(origin)
    origin.verify(backup.id)
    origin.pin(backup.id, "before the upgrade")
    [outcome] = origin.copy(to=vault, encrypt_to=[NEW])
    assert "before the upgrade" in outcome.backup.pinned
    assert outcome.backup.proofs == ()
    assert [proof.level for proof in vault.verify(backup.id).proofs] == ["digest"]


@pytest.mark.parametrize(
    ("identities", "said"),
    [((), "give the identity of one of them"), (("other.txt",), "belongs to none of those whom")],
)
def test_without_its_key_nothing_encrypted_is_encrypted_anew_and_the_next_one_is(origin, vault, identities, said):
    backup, plain = back_up(origin, encrypt_to=[OLD]), back_up(origin)
    newer, older = origin.copy(to=vault, encrypt_to=[NEW], identities=identities)
    assert (newer.backup_id, newer.copied) == (plain.id, True)
    assert (older.backup_id, older.backup, type(older.exception)) == (backup.id, None, IdentityError)
    assert said in str(older.exception)
    assert [b.id for b in vault.list_backups()] == [plain.id]
    assert left_over(Path("vault")) == []


@pytest.mark.parametrize("recipients", [[OLD], None])
@pytest.mark.parametrize("damage", ["altered", "cut", "longer", "gone"])
def test_what_is_not_what_was_stored_has_no_copy(origin, vault, damage, recipients):
    backup = back_up(origin, encrypt_to=recipients)
    path = Path(backup.file_path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"altered": data, "cut": data[:-100], "longer": path.read_bytes() + b"x"}[damage])
    [outcome] = origin.copy(to=vault, encrypt_to=[NEW], identities=["old.txt"])
    assert isinstance(outcome.exception, MissingFile if damage == "gone" else IntegrityError)
    assert vault.list_backups() == []
    assert left_over(Path("vault")) == []


def test_damage_behind_what_the_age_file_holds_is_damage(origin, vault):
    """Whoever decrypts stops at the end of the age file: the digest is of all that lies there."""
    backup = back_up(origin, encrypt_to=[OLD])
    record = origin._place.repository.get(backup.id)
    [stored] = record.objects
    repository = origin._place.repository
    wrong = replace(record, objects=(replace(stored, sha256="0" * 64),))
    listed = replace(repository.look_up(record), record=wrong)
    repository.look_up = lambda _: listed
    [outcome] = origin.copy([backup.id], to=vault, encrypt_to=[NEW], identities=["old.txt"])
    assert "another SHA-256" in str(outcome.exception)
    assert vault.list_backups() == []


class Cipher:
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


class ToOneOnly(Cipher):
    """Encrypts to the first recipient alone, but for the two that are tried before."""

    calls = 0

    @hookimpl
    def encrypt(self, sink, recipients):
        self.calls += len(recipients) > 1
        return built_in.encrypt(sink, recipients if self.calls <= 2 else recipients[:1])


def test_a_cipher_that_encrypts_to_others_has_made_no_copy(origin, open_manager):
    back_up(origin)
    vault = open_manager("vault", ToOneOnly(), cipher="toycipher")
    [outcome] = origin.copy(to=vault, encrypt_to=[NEW, OTHER])
    assert "other recipients than those asked for: X25519 (1), not X25519 (2)" in str(outcome.exception)
    assert vault.list_backups() == []


class EndsEarly(Cipher):
    """Says that what it decrypts ends where it does not."""

    @hookimpl
    def decrypt(self, stream, identities):
        data = read_all(built_in.decrypt(stream, identities))
        return io.BytesIO(data[: len(data) // 2] if len(data) > 10_000 else data)


class WritesLess(Cipher):
    """Leaves out what it is given second."""

    @hookimpl
    def encrypt(self, sink, recipients):
        writer, count = built_in.encrypt(sink, recipients), [0]
        write = writer.write

        def leave_out(data):
            count[0] += 1
            return len(data) if count[0] == 2 else write(data)

        writer.write = leave_out
        return writer


@pytest.mark.parametrize("compressor", list(COMPRESSORS))
def test_a_cipher_that_opens_too_little_has_made_no_copy(open_manager, vault, compressor):
    origin = open_manager("origin", EndsEarly(), cipher="toycipher", compressor=compressor)
    back_up(origin, encrypt_to=[OLD])
    [outcome] = origin.copy(to=vault, encrypt_to=[NEW], identities=["old.txt"])
    assert not outcome.ok
    assert vault.list_backups() == []
    assert left_over(Path("vault")) == []


def test_a_cipher_that_writes_too_little_has_made_no_copy_and_no_backup(origin, open_manager):
    back_up(origin)
    vault = open_manager("vault", WritesLess(), cipher="toycipher", compressor=None)
    [outcome] = origin.copy(to=vault, encrypt_to=[NEW])
    assert "does not hold the" in str(outcome.exception)
    result = vault.create_backup("toy://h/db", encrypt_to=[NEW])
    assert "does not hold the" in result.error
    assert vault.list_backups() == []


def test_the_dump_of_another_backup_under_its_manifest_is_not_passed_on(origin, vault, driver):
    """Whoever can write to a repository may put one backup's file where another one's is named."""
    one = back_up(origin, encrypt_to=[OLD])
    driver.databases["db"] = DATA[::-1]
    two = back_up(origin, encrypt_to=[OLD])
    content = Path(two.file_path).read_bytes()
    Path(one.file_path).write_bytes(content)
    path = Path(one.file_path)
    manifest = path.parent / f"{path.name.partition('.')[0]}.manifest.json"
    values = json.loads(manifest.read_text())
    values["clear"]["objects"][0] |= {"size": two.size_bytes, "sha256": two.checksum}
    for key in ("dumpty_manifest", "digest"):
        values.pop(key)
    manifest.write_bytes(seal(values))
    [outcome] = origin.copy([one.id], to=vault, encrypt_to=[NEW], identities=["old.txt"])
    assert "another SHA-256" in str(outcome.exception)
    assert vault.list_backups() == []


def test_the_options_of_a_cipher_are_those_that_it_declares(origin, open_manager):
    class WithOption(Cipher):
        @hookimpl
        def describe(self):
            level = Option(name="level", default=3, help="how hard", verbs=("encrypt",))
            return PluginInfo(kind="cipher", suffix=".age", options=(level,))

        @hookimpl
        def encrypt(self, sink, recipients, options):
            assert options["level"] == 3
            return built_in.encrypt(sink, recipients)

    back_up(origin)
    vault = open_manager("vault", WithOption(), cipher="toycipher")
    [outcome] = origin.copy(to=vault, encrypt_to=[NEW])
    assert outcome.copied, outcome.exception
    assert manifest_of(outcome.backup)["clear"]["objects"][0]["stages"][-1]["params"]["level"] == 3


def test_the_cipher_may_be_another_one_here_and_there(origin, open_manager, driver):
    backup = back_up(origin, encrypt_to=[OLD])
    vault = open_manager("vault", Cipher(), cipher="toycipher")
    [outcome] = origin.copy(to=vault, encrypt_to=[NEW], identities=["old.txt"])
    assert outcome.copied, outcome.exception
    assert outcome.backup.stages == ("gzip", "toycipher")
    assert outcome.backup.file_path.endswith(".sql.gz.age")
    restore(vault, driver, backup, "new.txt")


@pytest.mark.parametrize("recipients", [[OLD], None])
def test_what_was_encrypted_on_the_way_once_is_there_already(origin, vault, recipients):
    backup = back_up(origin, encrypt_to=recipients)
    origin.copy(to=vault, encrypt_to=[NEW], identities=["old.txt"])
    origin.pin(backup.id, "needed")
    [again] = origin.copy(to=vault, encrypt_to=[NEW], identities=["old.txt"])
    assert (again.ok, again.copied, again.warning) == (True, False, "")
    assert "needed" in vault.find(backup.id).pinned


def test_a_copy_for_another_key_is_none_for_this_one(origin, vault, monkeypatch):
    """Whoever means to drop the old key must not be told that all is there."""
    back_up(origin)
    origin.copy(to=vault, encrypt_to=[NEW])
    [again] = origin.copy(to=vault, encrypt_to=[OTHER])
    assert isinstance(again.exception, StoreError)
    assert "encrypted anew, to X25519: to other keys; copy it as that was, or remove it there" in str(again.exception)
    monkeypatch.setenv("DUMPTY_MACHINE_KEY", "off")  # now nothing here can tell
    [again] = origin.copy(to=vault, encrypt_to=[OTHER])
    assert again.ok
    assert "here nothing tells whose keys open it" in again.warning
    [again] = origin.copy(to=vault, encrypt_to=[OTHER], identities=["new.txt"])
    assert isinstance(again.exception, StoreError)


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ({}, {"encrypt_to": [NEW]}, "copied encrypted to X25519, and has a copy in"),
        ({"encrypt_to": [NEW]}, {}, "copied as it is stored, and has a copy in"),
        ({"encrypt_to": [NEW]}, {"encrypt_to": [NEW, OTHER]}, "encrypted anew, to X25519; copy it as that was"),
    ],
)
@pytest.mark.parametrize("recipients", [[OLD], None])
def test_a_copy_that_is_stored_otherwise_than_asked_for_is_told(origin, vault, first, second, said, recipients):
    back_up(origin, encrypt_to=recipients)
    assert origin.copy(to=vault, identities=["old.txt"], **first)[0].copied
    [outcome] = origin.copy(to=vault, identities=["old.txt"], **second)
    assert isinstance(outcome.exception, StoreError)
    assert said in str(outcome.exception)
    assert "remove it there, and copy again" in str(outcome.exception)


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: None])
def test_an_encrypted_copy_that_is_not_whole_any_more_is_told(origin, vault, damage):
    back_up(origin)
    [outcome] = origin.copy(to=vault, encrypt_to=[NEW])
    path = Path(outcome.backup.file_path)
    path.write_bytes(left) if (left := damage(path.read_bytes())) else path.unlink()
    [again] = origin.copy(to=vault, encrypt_to=[NEW])
    assert isinstance(again.exception, IntegrityError)
    assert "is not whole" in str(again.exception)


def test_it_counts_as_a_copy_where_several_repositories_are_listed(origin, vault):
    back_up(origin)
    origin.copy(to=vault, encrypt_to=[NEW])
    places = {"origin": origin.list_backups(), "vault": vault.list_backups()}
    for names in (["origin", "vault"], ["vault", "origin"]):
        [located] = locate_backups({name: places[name] for name in names}, lambda *_: False)
        assert located.places == tuple(names)


def test_bytes_that_agree_with_no_copy_are_none_in_whatever_order(origin, vault):
    """Encrypted, a copy has bytes of its own; that makes no copy of any bytes that lie somewhere else."""
    back_up(origin)
    origin.copy(to=vault, encrypt_to=[NEW])
    [plain], [sealed] = origin.list_backups(), vault.list_backups()
    other = dataclasses.replace(plain, checksum="0" * 64)
    short = dataclasses.replace(sealed, checksum="1" * 64, size_bytes=4)
    held = {"plain": plain, "sealed": sealed, "other": other, "short": short}
    for names, counted in {
        ("plain", "other"): ("plain",),
        ("plain", "sealed", "other"): ("plain", "sealed"),
        ("sealed", "plain", "other"): ("sealed", "plain"),
        ("plain", "short"): ("plain",),
    }.items():
        [located] = locate_backups({name: [held[name]] for name in names}, lambda *_: False)
        assert located.places == counted


def test_an_encrypted_copy_that_says_it_holds_another_dump_is_told_where_somebody_here_can_read_it(
    origin, vault, open_manager, driver, monkeypatch
):
    backup = back_up(origin, encrypt_to=[OLD])
    [outcome] = origin.copy(to=vault, encrypt_to=[NEW, OLD], identities=["old.txt"])
    driver.databases["db"] = DATA[::-1]
    monkeypatch.setattr(backing_up, "uuid", SimpleNamespace(uuid4=lambda: backup.id))
    other = open_manager("other")
    forged = back_up(other, encrypt_to=[NEW, OLD])
    values, theirs = manifest_of(outcome.backup), manifest_of(forged)
    values["sealed"] = theirs["sealed"]
    told = {key: theirs["clear"]["objects"][0][key] for key in ("size", "sha256")}
    values["clear"]["objects"][0] |= told
    for key in ("dumpty_manifest", "digest"):
        values.pop(key)
    path = Path(outcome.backup.file_path)
    path.write_bytes(Path(forged.file_path).read_bytes())
    (path.parent / f"{path.name.partition('.')[0]}.manifest.json").write_bytes(seal(values))
    [again] = origin.copy([backup.id], to=vault, encrypt_to=[NEW, OLD], identities=["old.txt"])
    assert isinstance(again.exception, IntegrityError)
    assert "is not the same in" in str(again.exception)


def test_identities_are_read_though_nothing_is_to_be_opened(origin, vault):
    back_up(origin)
    with pytest.raises(IdentityError):
        origin.copy(to=vault, identities=["missing.txt"])


@pytest.mark.parametrize("size", [4, 50_000_000])
def test_an_encrypted_copy_of_a_size_that_it_cannot_have_is_told(origin, vault, size):
    backup = back_up(origin)
    [outcome] = origin.copy(to=vault, encrypt_to=[NEW])
    path = Path(outcome.backup.file_path)
    os.truncate(path, size)
    manifest = path.parent / f"{path.name.partition('.')[0]}.manifest.json"
    values = json.loads(manifest.read_text())
    values["clear"]["objects"][0] |= {"size": size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    for key in ("dumpty_manifest", "digest"):
        values.pop(key)
    manifest.write_bytes(seal(values))
    [again] = origin.copy([backup.id], to=vault, encrypt_to=[NEW])
    assert "is not the same in" in str(again.exception)


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ({"encrypt_to": [NEW[:-1]]}, OptionError),
        ({"encrypt_to": []}, OptionError),
        ({"encrypt_to": NEW}, TypeError),
        ({"encrypt_to": [NEW], "identities": ["missing.txt"]}, IdentityError),
        ({"encrypt_to": [NEW], "identities": "old.txt"}, TypeError),
    ],
)
def test_keys_that_are_none_are_refused_before_anything_is_begun(origin, vault, keys, error):
    back_up(origin)
    with pytest.raises(error):
        origin.copy(to=vault, **keys)
    assert vault.list_backups() == []


@pytest.mark.parametrize("method", ["put", "upload", "stat"])
def test_a_place_that_fails_has_no_copy_and_nothing_is_left_there(origin, open_manager, place, method, driver):
    backup = back_up(origin)
    failing = [method]

    def fail(real, *arguments, **options):
        if failing:
            raise StoreError("the place is full")
        return real(*arguments, **options)

    vault = open_manager(f"wrapped://{place}/vault", StoreWrapper(**{method: fail}))
    [outcome] = origin.copy(to=vault, encrypt_to=[NEW])
    assert "the place is full" in str(outcome.exception)
    failing.clear()
    assert vault.list_backups() == []
    assert origin.copy(to=vault, encrypt_to=[NEW])[0].copied
    assert left_over(place / "vault") == []
    restore(vault, driver, backup, "new.txt")


@pytest.mark.parametrize("recipients", [[OLD], None])
def test_progress_is_told_in_the_callers_own_thread_and_an_interrupt_there_ends_all(origin, vault, recipients):
    for _ in range(2):
        back_up(origin, encrypt_to=recipients)
    threads, done = set(), []

    def follow(step):
        threads.add(threading.current_thread())
        if step.items_done and step.bytes_done:
            raise KeyboardInterrupt
        done.append(step.bytes_done)

    with pytest.raises(KeyboardInterrupt):
        origin.copy(to=vault, encrypt_to=[NEW], identities=["old.txt"], progress=follow)
    assert threads == {threading.main_thread()}
    [copied] = vault.list_backups()
    # Its own size, for no two age files are of one: each has a part of random length in its header.
    assert max(done) == origin.get_backup(copied.id).size_bytes


def test_cancelled_it_leaves_nothing(origin, vault):
    back_up(origin)
    token, progress = Cancellation(), []

    def follow(step):
        progress.append(step)
        if step.phase == Phase.COPYING and step.bytes_done:
            token.cancel("enough")

    [outcome] = origin.copy(to=vault, encrypt_to=[NEW], progress=follow, cancel=token)
    assert isinstance(outcome.exception, Cancelled)
    assert vault.list_backups() == []
    assert left_over(Path("vault")) == []


@pytest.mark.parametrize("recipients", [[NEW], None])
def test_a_copy_can_be_signed_and_keeps_no_signature_of_other_bytes(place, origin, vault, driver, recipients):
    theirs, ours = signing_key(place / "theirs"), signing_key(place / "ours")
    backup = back_up(origin, sign_with="theirs")
    [outcome] = origin.copy(to=vault, encrypt_to=recipients, sign_with="ours")
    assert outcome.copied, outcome.exception
    keys = {"overwrite": True, "identities": ["new.txt"]}
    assert vault.restore(backup.id, "toy://h/new", require_signature=[ours], **keys).success
    assert driver.databases["new"] == DATA
    result = vault.restore(backup.id, "toy://h/new", require_signature=[theirs], **keys)
    assert result.success == (recipients is None)
    [again] = origin.copy(to=vault, encrypt_to=recipients)
    assert (again.ok, again.copied) == (True, False)


def test_nobody_vouches_for_what_another_has_put_there(place, origin, vault):
    theirs, ours = signing_key(place / "theirs"), signing_key(place / "ours")
    signed, planted = back_up(origin, sign_with="theirs"), back_up(origin)
    newer, older = origin.copy(to=vault, encrypt_to=[NEW], sign_with="ours", require_signature=[theirs])
    assert (newer.backup_id, type(newer.exception)) == (planted.id, SignatureError)
    assert (older.backup_id, older.copied) == (signed.id, True)
    assert vault.find("latest", require_signature=[ours]).id == signed.id


@pytest.mark.parametrize("recipients", [[NEW], None])
def test_a_copy_without_the_signature_that_is_asked_for_is_told(place, origin, vault, recipients):
    line = signing_key(place / "ours")
    back_up(origin)
    assert origin.copy(to=vault, encrypt_to=recipients)[0].copied
    [again] = origin.copy(to=vault, encrypt_to=recipients, sign_with="ours")
    assert isinstance(again.exception, SignatureError)
    assert "is not as asked" in str(again.exception)
    assert vault.remove(again.backup_id)
    assert origin.copy(to=vault, encrypt_to=recipients, sign_with="ours")[0].copied
    [again] = origin.copy(to=vault, encrypt_to=recipients, sign_with="ours")
    assert (again.ok, again.copied) == (True, False)
    assert vault.find("latest", require_signature=[line]).id == again.backup_id
