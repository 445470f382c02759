"""The way back: nothing reaches a target but what was stored, and a restore that was not one is no success."""

from __future__ import annotations

import os
import subprocess

import pytest
from support.toys import StoreWrapper, ToyDriver, ToyVerifier, open_directory, threads_ended

from dumpty import BackupManager, Cap, Evidence, Format, IntegrityError, MissingFile, StoreError, hookimpl
from dumpty.registry.host import Host
from dumpty.repository.objects import StoredObjects
from dumpty.streaming.directories import tree_digest
from dumpty.streaming.stored import Stored, StoredPart, check_stored, check_whole
from dumpty.streaming.stored_dump import StoredDump
from dumpty.streaming.streams import BLOCK
from dumpty_plugins.file import FileStore

DATA = bytes(range(256)) * 1024 * 16  # 4 MiB: more than is read ahead


@pytest.fixture
def top(tmp_path):
    return tmp_path / "dir"


def stored(top, driver=None, data=DATA, **options):
    driver = driver or ToyDriver()
    driver.databases["db"] = data
    manager = BackupManager(str(top), plugins=[driver], **options)
    result = manager.create_backup("toy://h/db")
    assert result.success, result.error
    return manager, driver, result.backup


def restoring(effect):
    class Driver(ToyDriver):
        @hookimpl
        def restore(self, target, dump):
            return effect(self, target, dump)

    return Driver()


def test_what_was_dumped_comes_back(top):
    manager, driver, backup = stored(top)
    reports = []
    assert manager.restore(backup.id, "toy://h/new", progress=reports.append).success
    assert driver.databases["new"] == DATA
    last = [r for r in reports if r.phase == "loading"][-1]
    assert (last.bytes_done, last.bytes_total) == (len(DATA), len(DATA))


@pytest.mark.parametrize("size", [10, BLOCK, 8 * BLOCK, 4 * BLOCK * 16])
def test_a_driver_that_stops_before_the_end_has_not_restored_whatever_was_read_ahead(top, size):
    def effect(driver, target, dump):
        stream = dump.open()
        got = b""
        while len(got) < min(size, dump.size) and (part := stream.read(min(size, dump.size) - len(got))):
            got += part
        return Evidence()

    manager, _, backup = stored(top, restoring(effect), DATA[:100])
    result = manager.restore(backup.id, "toy://h/new")
    assert "did not read it to its end" in result.error
    manager, _, backup = stored(top, restoring(effect))
    result = manager.restore(backup.id, "toy://h/new")
    assert "did not read it to its end" in result.error


def test_a_driver_that_reads_nothing_has_not_restored(top):
    manager, _, backup = stored(top, restoring(lambda *a: Evidence()))
    assert "did not read it to its end" in manager.restore(backup.id, "toy://h/new").error


def test_a_driver_that_stops_early_frees_everything(top):
    manager, _, backup = stored(top, restoring(lambda d, t, dump: dump.open().read(1) and None))
    assert "returned NoneType" in manager.restore(backup.id, "toy://h/new").error
    assert threads_ended("dumpty-read-ahead")


def test_a_dump_can_be_read_more_than_once_and_describes_itself(top):
    dump_read = {}

    def effect(driver, target, dump):
        dump_read.update(first=dump.open().read(5), whole=dump.open().read(), size=dump.size, format=dump.format)
        dump_read.update(versions=dump.versions, evidence=dump.evidence)
        return Evidence()

    manager, _, backup = stored(top, restoring(effect))
    assert manager.restore(backup.id, "toy://h/new").success
    assert (dump_read["first"], dump_read["whole"]) == (DATA[:5], DATA)
    assert (dump_read["size"], dump_read["format"], dump_read["versions"]) == (len(DATA), "sql", {"toy": "1"})
    assert dump_read["evidence"] == backup.evidence


@pytest.mark.parametrize(("compressor", "copied"), [("gzip", True), (None, False)])
def test_a_path_is_a_verified_file_copied_only_where_it_must_be(top, compressor, copied):
    received = []

    def effect(driver, target, dump):
        path = dump.path()
        assert dump.path() == path
        space = dump.workspace()
        received.extend([path, path.read_bytes(), space])
        return Evidence()

    manager, _, backup = stored(top, restoring(effect), compressor=compressor)
    result = manager.restore(backup.id, "toy://h/new")
    assert result.success, result.error
    path, data, space = received
    assert data == DATA
    assert (str(path) != backup.file_path) == copied
    assert path.exists() != copied
    assert path.name.endswith(".sql")
    assert not space.exists()
    assert os.path.exists(backup.file_path)


def test_a_store_that_is_not_local_spools_beside_the_system(top):
    paths = []

    def effect(driver, target, dump):
        paths.append(dump.path())
        assert paths[0].read_bytes() == b"data"
        return Evidence()

    class Remote:
        def __init__(self, store):
            for name in ("put", "upload", "get", "open", "stat", "list", "delete", "now", "locate", "sweep"):
                setattr(self, name, getattr(store, name))
            self.capabilities = lambda: store.capabilities() & ~Cap.LOCAL

    class Store(StoreWrapper):
        @hookimpl
        def open_store(self, url):
            return Remote(open_directory(url.removeprefix("wrapped://")))

    driver = restoring(effect)
    driver.databases["db"] = b"data"
    manager = BackupManager(f"wrapped://{top}", compressor=None, plugins=[driver, Store()])
    backup = manager.create_backup("toy://h/db").backup
    result = manager.restore(backup.id, "toy://h/new")
    assert result.success, result.error
    assert top not in paths[0].parents
    assert not paths[0].exists()


def test_a_directory_that_cannot_be_written_still_restores(top):
    paths = []

    def effect(driver, target, dump):
        paths.append(dump.path())
        return Evidence()

    driver = restoring(effect)
    driver.databases["db"] = b"data"
    _, _, backup = stored(top, driver, b"data")

    def refuses(real):
        raise PermissionError("read-only")

    manager = BackupManager(f"wrapped://{top}", plugins=[driver, StoreWrapper(workspace=refuses)])
    result = manager.restore(backup.id, "toy://h/new")
    assert result.success, result.error
    assert top not in paths[0].parents


DAMAGES = {
    "cut short": lambda data: data[:-1],
    "cut to half": lambda data: data[: len(data) // 2],
    "emptied": lambda data: b"",
    "longer": lambda data: data + b"\0",
    "one bit flipped": lambda data: data[:50] + bytes([data[50] ^ 1]) + data[51:],
    "replaced": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("compressor", [None, "gzip"])
def test_damage_is_found_before_the_driver_is_called(top, damage, compressor):
    manager, driver, backup = stored(top, data=b"to be or not to be" * 100, compressor=compressor)
    with open(backup.file_path, "r+b") as stream:
        damaged = DAMAGES[damage](stream.read())
        stream.seek(0)
        stream.truncate()
        stream.write(damaged)
    result = manager.restore(backup.id, "toy://h/new")
    assert isinstance(result.exception, IntegrityError)
    assert os.path.basename(backup.file_path) in result.error
    assert "new" not in driver.databases
    with pytest.raises(IntegrityError):
        manager.verify(backup.id)


def test_a_file_that_is_gone_is_missing_and_the_backup_is_still_listed(top):
    manager, driver, backup = stored(top)
    os.unlink(backup.file_path)
    assert isinstance(manager.restore(backup.id, "toy://h/new").exception, FileNotFoundError)
    with pytest.raises(MissingFile):
        manager.verify(backup.id)
    assert [b.id for b in manager.list_backups()] == [backup.id]
    assert "new" not in driver.databases


def test_verify_reads_the_file_once_and_reports_progress_to_the_dumps_end(top, monkeypatch):
    opened = []
    real = FileStore.open
    monkeypatch.setattr(FileStore, "open", lambda self, name, offset=0: opened.append(name) or real(self, name, offset))
    manager, _, backup = stored(top)
    reports = []
    manager.verify(backup.id, progress=reports.append)
    assert opened.count(os.path.relpath(backup.file_path, top)) == 1
    last = [r for r in reports if r.phase == "checking"][-1]
    assert (last.bytes_done, last.bytes_total) == (len(DATA), len(DATA))


@pytest.mark.parametrize("compressor", ["gzip", None])
def test_a_restore_reads_the_file_once(top, monkeypatch, compressor):
    opened = []
    real = FileStore.open
    monkeypatch.setattr(FileStore, "open", lambda self, name, offset=0: opened.append(name) or real(self, name, offset))
    manager, driver, backup = stored(top, compressor=compressor)
    assert manager.restore(backup.id, "toy://h/new").success
    assert driver.databases["new"] == DATA
    assert opened.count(os.path.relpath(backup.file_path, top)) == 1


def test_a_restore_says_what_lies_there_whatever_the_driver_made_of_it(top):
    """The driver fails over the damage before the end is reached, where it would have been found."""

    def effect(driver, target, dump):
        if b"!" in dump.open().read(10):
            raise RuntimeError("I cannot read this")
        return Evidence()

    manager, _, backup = stored(top, restoring(effect), compressor=None)
    with open(backup.file_path, "r+b") as file:
        file.write(b"!")
    error = manager.restore(backup.id, "toy://h/new").exception
    assert isinstance(error, IntegrityError)
    assert "altered or damaged" in str(error)


def test_a_failure_is_told_as_it_is_where_the_stored_file_cannot_be_read_again(top):
    def effect(driver, target, dump):
        dump.open().read(10)
        opened.append(True)
        raise RuntimeError("the server went away")

    def unreadable(real, name, *rest):
        if opened and name.endswith(".gz"):
            raise StoreError("cannot read: Input/output error")
        return real(name, *rest)

    opened = []
    _, driver, backup = stored(top, restoring(effect))
    manager = BackupManager(f"wrapped://{top}", plugins=[driver, StoreWrapper(open=unreadable)])
    assert "the server went away" in manager.restore(backup.id, "toy://h/new").error


@pytest.mark.parametrize("size", [-1, None])
def test_a_driver_may_read_to_the_end_at_once(top, size):
    read = []

    def effect(driver, target, dump):
        read.append(dump.open().read(size))
        return Evidence()

    manager, _, backup = stored(top, restoring(effect))
    result = manager.restore(backup.id, "toy://h/new")
    assert result.success, result.error
    assert read == [DATA]


def test_what_follows_the_end_of_the_compressed_stream_is_damage(top):
    manager, driver, backup = stored(top)
    with open(backup.file_path, "ab") as file:
        file.write(b"more")
    assert isinstance(manager.restore(backup.id, "toy://h/new").exception, IntegrityError)
    assert "new" not in driver.databases


def test_the_digest_of_another_verifier_is_compared_too(top):
    class Length(ToyVerifier):
        """Forgets what it knew."""

        offset = 0

        @hookimpl
        def verify(self):
            counter = super().verify()
            counter.size += self.offset
            return counter

    verifier, driver = Length(), ToyDriver(db=b"data")
    manager = BackupManager(str(top), plugins=[driver, verifier], verifier="counter")
    backup = manager.create_backup("toy://h/db").backup
    assert manager.verify(backup.id)
    verifier.offset = 1
    with pytest.raises(IntegrityError, match="has another counter than the one recorded"):
        manager.verify(backup.id)
    assert "has another counter" in manager.restore(backup.id, "toy://h/new").error
    assert "new" not in driver.databases


# -- directories -------------------------------------------------------------------------------------------------


@pytest.fixture
def directory(top):
    objects = StoredObjects(open_directory(top))
    (top / "x.dir").mkdir()
    (top / "x.dir" / "toc").write_bytes(b"123")
    size, digest = tree_digest(str(top / "x.dir"))
    form = Format(name="directory", suffix=".dir", directory=True)
    part = StoredPart(
        file="x.dir", suffix=".dir", plain_size=size, plain_sha256=digest, stored_size=size, stored_sha256=digest, stages=(), directory=True
    )  # fmt: skip
    described = Stored(format=form, parts=(part,), evidence=Evidence())
    return objects, described


def test_a_directory_is_checked_and_handed_over_as_it_lies(directory, top):
    objects, described = directory
    check_stored(Host(), objects, described)
    check_whole(Host(), objects, described)
    with StoredDump(Host(), objects, described) as dump:
        assert not dump.read_to_end
        assert dump.path() == top / "x.dir"
        assert dump.read_to_end


@pytest.mark.parametrize("change", ["printf x >> toc", "touch new", "mv toc tic", "rm toc"])
def test_a_directory_that_was_changed_is_damaged(directory, top, change):
    objects, described = directory
    subprocess.run(["sh", "-c", change], cwd=top / "x.dir", check=True)
    with pytest.raises(IntegrityError, match=r"x\.dir does not match"):
        check_stored(Host(), objects, described)


def test_a_directory_that_is_gone_is_missing(directory, top):
    objects, described = directory
    (top / "x.dir").rename(top / "y.dir")
    with pytest.raises(MissingFile, match=r"x\.dir is gone"):
        check_stored(Host(), objects, described)


def test_a_spool_that_cannot_be_written_whole_is_no_dump(top):
    import resource
    import signal

    from dumpty.streaming.stored import Stage

    _, driver, backup = stored(top, data=bytes(1 << 20))
    host = Host([driver])
    part = StoredPart(
        file=os.path.basename(backup.file_path), suffix=".sql", plain_size=1 << 20,
        plain_sha256="30e14955ebf1352266dc2ff8067e68104607e750abb9d3b36582b8af909fcb58", stored_size=backup.size_bytes,
        stored_sha256=backup.checksum, stages=(Stage(plugin=host.named("compressor", "gzip"), options={"level": 2}),),
    )  # fmt: skip
    described = Stored(format=Format(name="sql", suffix=".sql"), parts=(part,), evidence=Evidence())
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
    try:
        with (
            StoredDump(host, StoredObjects(open_directory(top)), described) as dump,
            pytest.raises((IntegrityError, OSError)),
        ):
            dump.path()
        assert not dump.read_to_end or dump._spool is None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    with StoredObjects(open_directory(top)).workspace() as space:
        assert space.parent == top
