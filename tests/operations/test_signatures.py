"""Signed backups by the facade: what a restore accepts where a signature is required, and what a forger may try."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import json
import shutil
import sqlite3
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from support.keys import key_file, signing_key, x25519
from support.toys import ToyDriver

from dumpty import (
    BackupManager,
    Cancellation,
    Cancelled,
    DependencyError,
    Evidence,
    IntegrityError,
    OptionError,
    Signature,
    SignatureError,
    SigningKey,
    StoreError,
    UnknownBackup,
    VerificationKey,
    hookimpl,
)
from dumpty.operations import backup as backup_module
from dumpty.repository.protocol.layout import folder_name, time_text
from dumpty.repository.sealed import seal
from dumpty.signing.wire import fingerprint

URL = "sqlite:///shop.db"


@pytest.fixture
def place(tmp_path: Path, monkeypatch) -> Path:
    create("shop.db", at=tmp_path)
    signing_key(tmp_path / "mine")
    signing_key(tmp_path / "theirs")
    key_file(tmp_path / "key.txt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def manager(place) -> BackupManager:
    return BackupManager("backups", compressor=None)


@pytest.fixture
def apart(monkeypatch) -> None:
    """Backups are minutes apart: a name has whole seconds."""
    minutes = itertools.count()

    class Clock:
        @staticmethod
        def now(zone):
            return datetime(2026, 2, 3, 4, 5, 6, 7, tzinfo=zone) + timedelta(minutes=next(minutes))

    monkeypatch.setattr(backup_module, "datetime", Clock)


def create(name: str, rows: int = 3, *, at: Path = Path()) -> str:
    with contextlib.closing(sqlite3.connect(at / name)) as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", [(i, f"Humpty {i}") for i in range(rows)])
        connection.commit()
    return f"sqlite:///{name}"


def rows(path: str) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT count(*) FROM t").fetchone()[0]


def make(manager: BackupManager, url: str = URL, key: object = "mine", **options):
    return manager.create_backup(url, sign_with=key, **options).raise_for_error()


def manifest_of(backup) -> Path:
    path = Path(backup.file_path)
    return path.parent / f"{path.name.partition('.')[0]}.manifest.json"


def content_of(backup) -> dict:
    content = json.loads(manifest_of(backup).read_text())
    del content["digest"], content["dumpty_manifest"]
    return content


def forge(backup, change) -> None:
    """Change a manifest, and give it the digest of what it says then."""
    content = content_of(backup)
    change(content)
    manifest_of(backup).write_bytes(seal(content))


def relabel(top: Path, backup, *, folder: str = "", stem: str = "", manifest=None, data: bytes | None = None) -> None:
    """Put a backup once more into a repository, under names of somebody's choice, with the digest that it takes."""
    content = manifest or content_of(backup)
    [entry] = content["clear"]["objects"]
    old_folder, _, rest = entry["name"].partition("/")
    old_stem, dot, ending = rest.partition(".")
    name = f"{folder or old_folder}/{stem or old_stem}{dot}{ending}"
    path = top / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(Path(backup.file_path).read_bytes() if data is None else data)
    entry["name"] = name
    path.with_name(f"{path.name.partition('.')[0]}.manifest.json").write_bytes(seal(content))


def fresh(directory: str = "backups") -> BackupManager:
    """A process that has read nothing yet."""
    return BackupManager(directory, compressor=None)


def require_refused(backup_id: str, said: str = "", *, key: str = "mine.pub", kind=SignatureError, directory="backups"):
    """Nobody who requires a signature restores or proves it, and nothing is left of the attempt."""
    before = sorted(Path(directory).rglob("*"))
    manager = fresh(directory)
    result = manager.restore(backup_id, "sqlite:///new.db", require_signature=[key])
    assert isinstance(result.exception, kind), result.error
    assert said in result.error, result.error
    assert not Path("new.db").exists()
    for level in ("digest", "structure", "restore"):
        with pytest.raises(kind):
            manager.prove(backup_id, level=level, require_signature=[key])
    with pytest.raises(kind):
        manager.verify(backup_id, require_signature=[key])
    with pytest.raises(kind):
        manager.drill(backup_id, require_signature=[key])
    assert sorted(Path(directory).rglob("*")) == before  # no proof of it, either way


def require_accepted(backup_id: str, *, directory: str = "backups", **options) -> None:
    result = fresh(directory).restore(backup_id, "sqlite:///new.db", require_signature=["mine.pub"], **options)
    assert result.success, result.error
    assert rows("new.db") == 3
    Path("new.db").unlink()


@pytest.mark.parametrize("form", ["sql", "native"])
@pytest.mark.parametrize("compressor", ["gzip", None])
@pytest.mark.parametrize("encrypted", [False, True])
def test_a_signed_backup_comes_back(place, form, compressor, encrypted):
    manager = BackupManager("backups", compressor=compressor)
    backup = make(manager, format=form, encrypt_to=[x25519()[0].text] if encrypted else None)
    key = VerificationKey(data=base64.b64decode(Path("mine.pub").read_text().split()[1])[-32:])
    assert backup.claimed_signers == (fingerprint(key.data),)
    identities = ["key.txt"] if encrypted else []
    require_accepted(backup.id, identities=identities)
    proof = fresh().drill(backup.id, identities=identities, require_signature=[key])
    assert proof.proved[0].what == f"what its manifest says is signed by {fingerprint(key.data)}"
    for level in ("digest", "structure"):
        assert fresh().prove(backup.id, level=level, identities=identities, require_signature=["mine.pub"]).ok


def test_what_is_not_signed_is_refused(manager, place):
    backup = manager.create_backup(URL).raise_for_error()
    assert backup.claimed_signers == ()
    require_refused(backup.id, "is not signed, and a signature of SHA256:")
    [verification] = manager.verify_many(require_signature=["mine.pub"])
    assert isinstance(verification.exception, SignatureError)


def test_the_signature_of_another_key_is_refused_and_both_keys_are_named(manager, place):
    backup = make(manager, key="theirs")
    [claimed] = backup.claimed_signers
    require_refused(backup.id, f"is signed, as it says, by {claimed}, and a signature of SHA256:")
    require_refused(backup.id, "(mine) is required")
    assert fresh().restore(backup.id, "sqlite:///new.db", require_signature=["mine.pub", "theirs.pub"]).success


def test_a_file_of_several_keys_serves_while_a_key_is_replaced(manager, place):
    old, new = make(manager), make(manager, key="theirs")
    Path("signers").write_text(f"# until June\n{Path('mine.pub').read_text()}\n\n{Path('theirs.pub').read_text()}")
    assert all(v.ok for v in manager.verify_many([old.id, new.id], require_signature=["signers"]))


def raw(text: str) -> str:
    return base64.b64encode(bytes.fromhex(text)).decode()


CHANGES = {
    "id": lambda c: c.update(id=c["id"][:-1] + ("0" if c["id"][-1] != "0" else "1")),
    "url": lambda c: c["clear"].update(url="sqlite:///other.db"),
    "source": lambda c: c["clear"].update(source=c["clear"]["source"] + "x"),
    "database": lambda c: c["clear"].update(database="other"),
    "driver": lambda c: c["clear"]["driver"].update(name="mysql"),
    "format": lambda c: c["clear"]["format"].update(name="sql"),
    "suffix": lambda c: c["clear"]["format"].update(suffix=".sql"),
    "directory": lambda c: c["clear"]["format"].update(directory=True),
    "started": lambda c: c["clear"].update(started=c["clear"]["started"].replace("20", "21", 1)),
    "a microsecond": lambda c: c["clear"].update(started=c["clear"]["started"][:19] + ".000001+00:00"),
    "ended": lambda c: c["clear"].update(ended="2031-01-01T00:00:00+00:00"),
    "size": lambda c: c["clear"]["objects"][0].update(size=c["clear"]["objects"][0]["size"] + 1),
    "sha256": lambda c: c["clear"]["objects"][0].update(sha256="0" * 64),
    "digests": lambda c: c["clear"]["objects"][0]["digests"].update(blake3="00"),
    "stages": lambda c: c["clear"]["objects"][0]["stages"].append(
        {"kind": "compressor", "plugin": c["clear"]["driver"] | {"name": "gzip"}, "params": {"level": 1}}
    ),
    "verifiers": lambda c: c["clear"]["verifiers"].append(c["clear"]["driver"]),
    "tags": lambda c: c["clear"]["tags"].append("good"),
    "plain size": lambda c: c["sealed"]["parts"][0].update(size=1),
    "plain digest": lambda c: c["sealed"]["parts"][0].update(sha256="0" * 64),
    "tables": lambda c: c["sealed"]["parts"][0].update(tables=[["t", None]]),
    "rows of a part": lambda c: c["sealed"]["parts"][0].update(tables=[["t", 3]]),
    "range of a part": lambda c: c["sealed"]["parts"][0].update(tables=[["t", None, "the rest"]]),
    "section": lambda c: c["sealed"]["parts"][0].update(section="data"),
    "rows": lambda c: c["sealed"]["evidence"].update(objects=[["t", 4, None]]),
    "consistent": lambda c: c["sealed"]["evidence"].update(consistent=False),
    "versions": lambda c: c["sealed"]["evidence"]["versions"].update(sqlite="3.0"),
    "notes": lambda c: c["sealed"]["evidence"]["notes"].append("trust me"),
    "properties": lambda c: c["sealed"]["evidence"]["properties"].update(x=1),
    "options": lambda c: c["sealed"]["options"].update(x=True),
    "no signature": lambda c: c.pop("signatures"),
    "an empty list": lambda c: c.update(signatures=[]),
    "a bit of it": lambda c: c["signatures"][0].update(signature=raw("00" * 64)),
    "another key beside it": lambda c: c["signatures"][0].update(key=raw("01" * 32)),
    "half of it": lambda c: c["signatures"][0].update(signature=raw("00" * 32)),
    "a long key": lambda c: c["signatures"][0].update(key=raw("00" * 33)),
    "more beside it": lambda c: c["signatures"][0].update(valid=True),
}

DAMAGED = {"source", "database", "started", "half of it", "a long key", "more beside it"}
"""What no manifest is that lies where it does, or none at all, whoever signed it."""


@pytest.fixture(scope="module")
def signed_once(tmp_path_factory) -> Path:
    """A directory with a signed backup, that is only copied from."""
    top = tmp_path_factory.mktemp("signed")
    signing_key(top / "mine")
    manager = BackupManager(top / "backups", compressor=None)
    make(manager, create_absolute(top), top / "mine", format="native")
    return top


def create_absolute(top: Path) -> str:
    create("shop.db", at=top)
    return f"sqlite:///{top}/shop.db"


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_is_changed_in_a_manifest_is_refused(signed_once, tmp_path, monkeypatch, change):
    shutil.copytree(signed_once, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    [path] = Path("backups").rglob("*.manifest.json")
    content = json.loads(path.read_text())
    del content["digest"], content["dumpty_manifest"]
    CHANGES[change](content)
    path.write_bytes(seal(content))
    manager = fresh()
    result = manager.restore(content["id"], "sqlite:///new.db", require_signature=["mine.pub"])
    kind = UnknownBackup if change in DAMAGED else SignatureError
    assert isinstance(result.exception, kind), result.error
    assert not Path("new.db").exists()
    with pytest.raises(kind):
        manager.find("latest", require_signature=["mine.pub"])


def test_totals_that_are_forged_beside_what_was_counted_count_for_nothing(manager, place):
    backup = make(manager)
    forge(backup, lambda content: content["clear"].update(totals={"tables": 1000, "rows": 0}))
    assert fresh().get_backup(backup.id).rows == 3
    require_accepted(backup.id)


def test_other_data_with_digests_that_fit_is_refused(manager, place):
    backup = make(manager, format="sql")
    path = Path(backup.file_path)
    data = path.read_bytes().replace(b"Humpty 1", b"Dumpty 1")
    path.write_bytes(data)
    require_altered(backup.id)

    def change(content):
        entry, part = content["clear"]["objects"][0], content["sealed"]["parts"][0]
        for values in (entry, part):
            values["sha256"] = hashlib.sha256(data).hexdigest()

    forge(backup, change)
    require_refused(backup.id, "is not what SHA256:")
    assert fresh().restore(backup.id, "sqlite:///new.db").success  # which is why a signature is required


def require_altered(backup_id: str) -> None:
    """The manifest is as it was signed, and the data is not."""
    result = fresh().restore(backup_id, "sqlite:///new.db", require_signature=["mine.pub"])
    assert isinstance(result.exception, IntegrityError)
    assert "another SHA-256" in result.error
    assert not Path("new.db").exists()


def test_a_signature_of_another_backup_is_refused(manager, place):
    first, second = make(manager), make(manager)
    forge(second, lambda content: content.update(signatures=content_of(first)["signatures"]))
    require_refused(second.id, "or its signature is of another one")
    require_accepted(first.id)


def test_what_else_stands_among_the_signatures_makes_no_difference(manager, place):
    backup = make(manager)
    [good] = content_of(backup)["signatures"]
    nonsense = {"key": raw("07" * 32), "signature": raw("09" * 64)}
    bad = good | {"signature": nonsense["signature"]}
    forge(backup, lambda content: content.update(signatures=[nonsense, bad, good, nonsense]))
    require_accepted(backup.id)
    forge(backup, lambda content: content.update(signatures=[nonsense, bad]))
    require_refused(backup.id, "is not what SHA256:")
    forge(backup, lambda content: content.update(signatures=[nonsense | {"signature": good["signature"]}]))
    require_refused(backup.id, "is signed, as it says, by SHA256:")


def test_a_sealed_part_that_was_encrypted_anew_is_refused(manager, place):
    """Whoever knows the recipient can encrypt to it, too."""
    recipient = [x25519()[0].text]
    backup, other = make(manager, encrypt_to=recipient), make(manager, key=None, encrypt_to=recipient)
    sealed = content_of(other)["sealed"]
    forge(backup, lambda content: content.update(sealed=sealed))
    require_refused(backup.id, "is not what SHA256:")
    plain = make(manager, key=None)
    forge(plain, lambda content: content.update(signatures=content_of(backup)["signatures"]))
    require_refused(plain.id, "is not what SHA256:")


def test_a_signed_manifest_that_lies_under_another_name_is_not_that_backup(manager, place, apart):
    """In the folder of another database, or as if it were of another time, or another backup."""
    top = place / "backups"
    old = make(manager)
    new = manager.create_backup(URL, sign_with="mine").raise_for_error()
    other = make(manager, create("other.db", 5))
    folder = Path(other.file_path).parent.name
    old_stem = Path(old.file_path).name.partition(".")[0]
    _, identifier, _ = old_stem.split("-")
    later = time_text(new.timestamp.replace(year=new.timestamp.year + 1))
    relabel(top, old, folder=folder)
    relabel(top, old, stem=f"{later}-{identifier}-00000000")
    relabel(top, old, stem=f"{time_text(old.timestamp)}-{'0' * 12}-00000000")
    relabel(top, old, folder=folder_name("other", "sqlite:/nowhere"), stem=f"{later}-{identifier}-11111111")
    manager = fresh()
    assert len(manager.listing().problems) == 4
    for query, expected in (("latest:shop", new.id), ("latest:other", other.id), (old.id, old.id)):
        assert manager.find(query, alone=True).id == expected
    with pytest.raises(
        SignatureError, match=f"a newer backup of shop may be meant.*rightly signed is {new.id} of shop"
    ):
        manager.find("latest:shop", require_signature=["mine.pub"])
    assert manager.find("latest:other", require_signature=["mine.pub"]).id == other.id
    require_accepted(old.id)
    with pytest.raises(UnknownBackup, match=r"could be a backup of 2 databases: other .*, shop"):
        manager.find("latest", alone=True, require_signature=["mine.pub"])


def test_an_older_backup_once_more_is_no_newer_one(manager, place, apart):
    top = place / "backups"
    old, new = make(manager), make(manager)
    old_stem = Path(old.file_path).name.partition(".")[0]
    relabel(top, old, stem=f"{old_stem[:-8]}00000000")
    manager = fresh()
    assert [b.id for b in manager.list_backups()] == [old.id, new.id]
    assert manager.find("latest", require_signature=["mine.pub"]).id == new.id
    require_accepted(old.id)


def test_another_one_of_the_same_id_keeps_nobody_from_the_right_one(manager, place):
    """Whoever may only add can put one before it, whatever it says."""
    backup = make(manager)
    content = content_of(backup)
    content["clear"]["tags"] = ["forged"]
    stem = Path(backup.file_path).name.partition(".")[0]
    for nonce in ("00000000", "ffffffff"):
        relabel(place / "backups", backup, stem=f"{stem[:-8]}{nonce}", manifest=json.loads(json.dumps(content)))
    require_accepted(backup.id)
    found = fresh().find("latest", require_signature=["mine.pub"])
    assert (found.tags, found.file_path) == ((), backup.file_path)
    assert fresh().drill(backup.id, require_signature=["mine.pub"]).ok
    assert [v.ok for v in fresh().verify_many(require_signature=["mine.pub"])] == [True]
    for path in (Path(backup.file_path), manifest_of(backup)):
        path.unlink()
    result = fresh().restore(backup.id, "sqlite:///new.db", require_signature=["mine.pub"])
    assert isinstance(result.exception, SignatureError)
    assert f"({Path(backup.file_path).parent.name}/{stem[:-8]}00000000.sql, said" in result.error  # what to look at


@pytest.mark.parametrize("harm", ["garbage", "no manifest", "a newer dumpty's"])
def test_where_the_latest_cannot_be_read_no_older_one_takes_its_place(manager, place, apart, harm):
    old, new = make(manager), make(manager)
    other = make(manager, create("other.db", 5))
    path = manifest_of(new)
    if harm == "no manifest":
        path.unlink()
    else:
        path.write_bytes(b"garbage" if harm == "garbage" else path.read_bytes().replace(b'": 1', b'": 9', 1))
    assert fresh().find("latest:shop").id == old.id  # with a warning
    with pytest.raises(SignatureError, match=f"a newer backup of shop may be meant.*rightly signed is {old.id} of"):
        fresh().find("latest:shop", alone=True, require_signature=["mine.pub"])
    assert fresh().find("latest:other", alone=True, require_signature=["mine.pub"]).id == other.id
    assert fresh().find(old.id, require_signature=["mine.pub"]).id == old.id
    make(manager)
    assert fresh().find("latest:shop", require_signature=["mine.pub"]).id not in {old.id, new.id}


def test_where_the_latest_is_not_signed_no_older_one_takes_its_place(manager, place, apart):
    other = make(manager, create("other.db", 5))
    signed = make(manager)
    theirs, unsigned = make(manager, key="theirs"), manager.create_backup(URL).raise_for_error()
    manager.verify(signed.id)
    with pytest.raises(
        SignatureError, match=f"{unsigned.id} of shop .* is not signed.* that is rightly signed is {signed.id} of"
    ):
        fresh().find("latest:shop", require_signature=["mine.pub"])
    manager.remove(unsigned.id)
    with pytest.raises(
        SignatureError, match=f"{theirs.id} of shop .* as it says.* that is rightly signed is {signed.id} of shop"
    ):
        fresh().find("latest", database="shop", require_signature=["mine.pub"])
    manager.remove(signed.id)
    with pytest.raises(SignatureError, match="None that can be read is signed by that"):
        fresh().find("latest:shop", require_signature=["mine.pub"])
    with pytest.raises(SignatureError) as caught:
        fresh().find(theirs.id[:8], require_signature=["mine.pub"])
    assert "The newest" not in str(caught.value)
    assert fresh().find("latest:other", require_signature=["mine.pub"]).id == other.id


def test_a_copy_has_the_signature_and_is_accepted(manager, place):
    backup = make(manager, encrypt_to=[x25519()[0].text])
    vault = fresh("vault")
    [outcome] = manager.copy(to=vault)
    assert outcome.backup.claimed_signers == backup.claimed_signers
    shutil.rmtree("backups")
    require_accepted(backup.id, directory="vault", identities=["key.txt"])
    forge(outcome.backup, lambda content: content["clear"].update(tags=["good"]))
    require_refused(backup.id, directory="vault")


def test_an_altered_backup_is_no_reason_to_remove_its_copy(manager, place):
    backup = make(manager)
    vault = fresh("vault")
    assert manager.copy(to=vault)[0].copied
    Path(backup.file_path).write_bytes(b"-- nothing of it")
    digest = hashlib.sha256(b"-- nothing of it").hexdigest()

    def change(content):
        content["clear"]["objects"][0] |= {"size": 16, "sha256": digest}
        content["signatures"] = []

    forge(backup, change)
    [again] = fresh().copy([backup.id], to=vault)
    assert isinstance(again.exception, IntegrityError)
    assert "Remove neither before you know which" in str(again.exception)
    [again] = fresh().copy([backup.id], to=vault, require_signature=["mine.pub"])
    assert isinstance(again.exception, SignatureError)
    assert "vault" not in str(again.exception)
    require_accepted(backup.id, directory="vault")


@pytest.mark.parametrize("where", ["backups", "vault"])
def test_another_one_of_the_same_id_keeps_nobody_from_the_right_copy(manager, place, where):
    backup = make(manager)
    vault = fresh("vault")
    if where == "vault":
        backup = manager.copy(to=vault)[0].backup
    content = content_of(backup)
    content["clear"]["tags"] = ["forged"]
    stem = Path(backup.file_path).name.partition(".")[0]
    for nonce in ("00000000", "ffffffff"):
        relabel(place / where, backup, stem=f"{stem[:-8]}{nonce}", manifest=json.loads(json.dumps(content)))
    for ids in (None, [backup.id]):
        [outcome] = fresh().copy(ids, to=fresh("vault"), require_signature=["mine.pub"])
        assert outcome.ok, outcome.exception
        assert outcome.backup.tags == ()
    require_accepted(backup.id, directory="vault")


@pytest.mark.parametrize("form", ["sql", "native"])
def test_no_byte_reaches_a_driver_before_all_were_compared_with_what_is_signed(place, form):
    """What a forger puts into the data would be executed by then, though it is never committed."""
    given: list[bytes] = []

    class Watching(ToyDriver):
        @hookimpl
        def restore(self, target, dump):
            path = dump.path() if form == "native" else None
            given.append(path.read_bytes() if path else dump.open().read(-1))
            assert path is None or not path.is_relative_to(place)
            assert not dump.workspace().is_relative_to(place / "backups")
            return Evidence()

    driver = Watching(shop=b"humpty" * 100_000)
    manager = BackupManager("backups", plugins=[driver], compressor=None)
    backup = make(manager, "toy://host/shop")
    result = manager.restore(backup.id, "toy://host/new", require_signature=["mine.pub"])
    assert result.success, result.error
    assert given.pop() == b"humpty" * 100_000
    path = Path(backup.file_path)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    result = manager.restore(backup.id, "toy://host/new", overwrite=True, require_signature=["mine.pub"])
    assert isinstance(result.exception, IntegrityError)
    assert given == []


def test_data_that_is_exchanged_while_it_is_used_is_used_by_nobody(manager, place, monkeypatch):
    """Between the moment in which the stored file is compared with its digest and that in which it is loaded."""
    from dumpty.operations import restore, verify

    backup = make(manager)
    path = Path(backup.file_path)
    data, checked = path.read_bytes(), []
    forged = create("forged.db", 9).removeprefix("sqlite:///")

    def exchanging(check):
        def work(*args):
            check(*args)
            checked.append(1)
            path.write_bytes(Path(forged).read_bytes())

        return work

    for module in (restore, verify):
        monkeypatch.setattr(module, "check_stored", exchanging(module.check_stored))
    require_accepted(backup.id)
    assert path.read_bytes() != data
    path.write_bytes(data)
    assert fresh().drill(backup.id, require_signature=["mine.pub"]).ok
    assert checked == [1, 1]


def test_how_far_the_copy_has_come_is_told_once(manager, place):
    backup = make(manager)
    told = []
    keys = {"require_signature": ["mine.pub"]}
    for work in (
        lambda: manager.restore(backup.id, "sqlite:///new.db", progress=told.append, **keys).raise_for_error(),
        lambda: manager.drill(backup.id, progress=told.append, **keys),
    ):
        told.clear()
        work()
        checking = [step.bytes_done for step in told if step.phase == "checking"]
        assert checking == [0, backup.size_bytes]


def test_a_call_that_is_cancelled_while_it_copies_leaves_nothing(manager, place, tmp_path_factory, monkeypatch):
    temporary = tmp_path_factory.mktemp("tmp")
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    backup = make(manager)
    keys = {"require_signature": ["mine.pub"]}
    for work in (
        lambda **options: manager.restore(backup.id, "sqlite:///new.db", **keys, **options).raise_for_error(),
        lambda **options: manager.drill(backup.id, **keys, **options),
    ):
        token, made_before = Cancellation(), []

        def cancel(step, token=token, made_before=made_before):
            if step.phase == "checking" and step.bytes_done:
                made_before.extend(temporary.glob("*/object"))
                token.cancel("enough")

        with pytest.raises(Cancelled):
            work(progress=cancel, cancel=token)
        assert made_before
        assert list(temporary.iterdir()) == []
    assert not Path("new.db").exists()
    assert manager.get_backup(backup.id).proofs == ()


def test_a_copy_that_has_no_room_is_no_verdict_and_restores_nothing(manager, place, monkeypatch):
    from dumpty.streaming.verified_copy import VerifiedCopy

    backup = make(manager)
    monkeypatch.setattr(VerifiedCopy, "workspace", lambda self: contextlib.nullcontext(place / "gone"))
    result = manager.restore(backup.id, "sqlite:///new.db", require_signature=["mine.pub"])
    assert isinstance(result.exception, StoreError)
    assert "gone (TMPDIR), as a backup is whose signature is required: No such file" in result.error
    with pytest.raises(StoreError):
        manager.drill(backup.id, require_signature=["mine.pub"])
    assert manager.get_backup(backup.id).proofs == ()
    assert not Path("new.db").exists()


def test_what_is_altered_is_written_down_as_a_proof_that_failed_where_the_manifest_is_signed(manager, place):
    backup = make(manager)
    path = Path(backup.file_path)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    for level in ("digest", "structure", "restore"):
        proof = fresh().prove(backup.id, level=level, require_signature=["mine.pub"])
        assert not proof.ok
        assert isinstance(proof.exception, IntegrityError)
    path.unlink()
    assert not fresh().prove(backup.id, level="restore", require_signature=["mine.pub"]).ok


def test_without_a_key_a_proof_says_that_nobody_knows_who_made_it(manager, place):
    backup, unsigned = make(manager), make(manager, key=None)
    said = "who made it: the signature that it carries was not compared with a key of yours (--require-signature)"
    assert said in manager.prove(backup.id, level="digest").not_proved
    assert said not in manager.prove(unsigned.id, level="digest").not_proved
    assert said not in manager.prove(backup.id, level="digest", require_signature=["mine.pub"]).not_proved


def test_asked_for_and_not_applied_is_an_error(place, monkeypatch):
    from dumpty.repository.transaction import PlainTransaction

    def forgetful(self, record):
        return commit(self, replace(record, signatures=()))

    commit = PlainTransaction.commit
    monkeypatch.setattr(PlainTransaction, "commit", forgetful)
    result = fresh().create_backup(URL, sign_with="mine")
    assert isinstance(result.exception, SignatureError)
    assert "is not signed" in result.error


def test_a_signature_that_is_wrong_is_never_committed(place, monkeypatch):
    from dumpty.signing.signer import Signer

    monkeypatch.setattr(Signer, "sign", lambda self, statement: bytes(64))
    result = fresh().create_backup(URL, sign_with="mine")
    assert isinstance(result.exception, SignatureError)
    assert fresh().list_backups() == []


MISTAKES = {
    "the public key": ("mine.pub", "is a public key, which signs nothing"),
    "no file": ("nobody", "no file is read there"),
    "an age identity": ("key.txt", "opens backups and signs none"),
    "a database": ("shop.db", "is no text"),
    "a passphrase": ("locked", "has a passphrase"),
    "rsa": ("rsa", "is of the type ssh-rsa, and only ssh-ed25519"),
    "cut": ("cut", "is damaged or cut off"),
    "empty": ("empty", "is no SSH private key"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_key_that_signs_nothing_is_refused_before_anything_is_begun(place, mistake):
    from support.keys import ssh_key

    if mistake == "a passphrase":
        ssh_key(place / "locked", "ed25519", "sesame")
    elif mistake == "rsa":
        ssh_key(place / "rsa", "rsa")
    lines = Path("mine").read_text().splitlines(keepends=True)
    Path("cut").write_text("".join([*lines[:-3], lines[-1]]))
    Path("empty").touch()
    driver = ToyDriver(shop=b"humpty")
    looked = []
    driver.inspect = lambda **_: looked.append(1)
    path, said = MISTAKES[mistake]
    result = BackupManager("backups", plugins=[driver]).create_backup("toy://host/shop", sign_with=path)
    assert isinstance(result.exception, OptionError)
    assert said in result.error
    assert not looked
    assert not any(line.strip() in result.error for line in lines[1:-1])


@pytest.mark.parametrize("required", [[], ["mine"], ["nobody.pub"], ["shop.db"], [""]])
def test_a_requirement_that_is_none_is_an_error_and_restores_nothing(manager, place, required):
    backup = make(manager)
    result = manager.restore(backup.id, "sqlite:///new.db", require_signature=required)
    assert isinstance(result.exception, OptionError), result.error
    assert not Path("new.db").exists()
    with pytest.raises(OptionError):
        manager.prove(backup.id, require_signature=required)
    with pytest.raises(OptionError):
        manager.verify_many(require_signature=required)
    with pytest.raises(OptionError):
        manager.find("latest", require_signature=required)


def test_one_key_where_several_are_meant_is_a_wrong_call(manager, place):
    with pytest.raises(TypeError):
        manager.restore("an id", "sqlite:///new.db", require_signature="mine.pub")
    with pytest.raises(TypeError):
        manager.create_backup(URL, sign_with=["mine"])
    with pytest.raises(TypeError):
        manager.find("latest", require_signature=Path("mine.pub"))


def test_a_key_is_given_as_its_text_too_and_never_shown(manager, place):
    text = Path("mine").read_text()
    key = SigningKey(text=text)
    for value in (text, key, Path("mine")):
        backup = make(manager, key=value)
        assert manager.verify(backup.id, require_signature=[Path("mine.pub").read_text().strip()]).id == backup.id
    assert text.splitlines()[1] not in repr(key)
    assert all(line in key.secrets for line in text.splitlines()[1:-1])


def test_without_the_library_it_is_said_how_to_get_it(manager, place, monkeypatch):
    backup = make(manager)
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for result in (
        manager.create_backup(URL, sign_with="mine"),
        manager.restore(backup.id, "sqlite:///new.db", require_signature=["mine.pub"]),
    ):
        assert isinstance(result.exception, DependencyError)
        assert 'pip install "dumpty[sign]"' in result.error
    with pytest.raises(DependencyError):
        manager.verify_many(require_signature=["mine.pub"])
    assert manager.verify(backup.id).claimed_signers == backup.claimed_signers  # which takes no library


def test_a_signature_is_of_the_form_that_the_manual_tells(manager, place):
    """By hand: the statement, as a program of somebody else would make it."""
    from dumpty.signing.signer import is_signature

    backup = make(manager, encrypt_to=[x25519()[0].text])
    content = content_of(backup)
    [entry] = content.pop("signatures")
    for stored in content["clear"]["objects"]:
        del stored["name"]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    statement = b"dumpty manifest signature v1\0" + text.encode("ascii")
    signature = Signature(key=base64.b64decode(entry["key"]), data=base64.b64decode(entry["signature"]))
    assert is_signature(signature.data, signature.key, statement)
    assert not is_signature(signature.data, signature.key, statement + b" ")
