"""A backup's way out, with plugins that do their worst: what is reported as good is good, and a failure leaves no trace."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import signal
import subprocess
import sys

import pytest
from support.places import stored_files
from support.toys import StoreWrapper, ToyCompressor, ToyDriver, ToyVerifier, ToyWriter

from dumpty import BackupManager, Cap, Evidence, Format, IntegrityError, PluginError, PluginInfo, StoreError, hookimpl
from dumpty.streaming.streams import BLOCK

DATA = bytes(range(256)) * 4096 * 3  # several blocks


files = stored_files


def back_up(top, driver=None, *plugins, url="toy://h/db", compressor="gzip", **options):
    manager = BackupManager(str(top), compressor=compressor, plugins=[driver or ToyDriver(db=DATA), *plugins])
    return manager, manager.create_backup(url, **options)


def refused(top, result, text, kept=()):
    assert not result.success
    assert text in result.error
    assert result.backup is None
    assert files(top) == sorted(kept)


@pytest.fixture
def top(tmp_path):
    return tmp_path / "dir"


def test_what_is_stored_is_what_was_dumped_and_the_figures_are_right(top):
    _, result = back_up(top, chunk=1000)
    backup = result.backup
    with open(backup.file_path, "rb") as stream:
        stored = stream.read()
    assert gzip.decompress(stored) == DATA
    assert (backup.size_bytes, backup.plain_size_bytes) == (len(stored), len(DATA))
    assert backup.checksum == hashlib.sha256(stored).hexdigest()
    assert backup.stages == ("gzip",)
    name = os.path.relpath(backup.file_path, top)
    assert files(top) == sorted([name, name[:-7] + ".manifest.json"])


@pytest.mark.parametrize("compressor", [None, "none", "zstd", "plainly"])
def test_any_compressor_and_none_at_all(top, compressor):
    manager, result = back_up(top, ToyDriver(db=DATA), ToyCompressor(), compressor=compressor)
    assert result.success, result.error
    assert manager.verify(result.backup.id) == result.backup
    assert manager.restore(result.backup.id, "toy://h/new").success


def test_another_verifiers_digest_stands_beside_the_sha256_and_is_checked(top):
    driver = ToyDriver(db=DATA)
    manager = BackupManager(str(top), plugins=[driver, ToyVerifier()], verifier="counter")
    backup = manager.create_backup("toy://h/db").backup
    assert backup.digests == {"counter": f"{backup.size_bytes:x}"}
    with open(backup.file_path, "rb") as stream:
        assert backup.checksum == hashlib.sha256(stream.read()).hexdigest()
    assert manager.verify(backup.id).id == backup.id
    error = BackupManager(str(top), plugins=[driver]).restore(backup.id, "toy://h/new").error
    assert "needs the verifier plugin 'counter' of this program, which is not installed" in error
    assert "new" not in driver.databases


def test_progress_tells_the_bytes_so_far_and_those_expected(top):
    reports = []
    _, result = back_up(top, progress=reports.append)
    assert result.success
    dumped = [(r.bytes_done, r.bytes_total) for r in reports if r.phase == "dumping"]
    assert dumped[-1] == (len(DATA), len(DATA))
    assert [d for d, _ in dumped] == sorted({d for d, _ in dumped})


def failing(effect):
    class Driver(ToyDriver):
        @hookimpl
        def backup(self, source, sink):
            return effect(sink)

    return Driver(db=DATA)


def raises(error):
    def effect(sink):
        sink.write(DATA)
        raise error

    return effect


def swallows(sink):
    for _ in range(50):
        try:
            sink.write(bytes(BLOCK))
        except Exception:
            continue
    return Evidence()


@pytest.mark.parametrize(
    ("effect", "text"),
    [
        (raises(RuntimeError("connection lost")), "failed in backup: RuntimeError: connection lost"),
        (lambda sink: sink.write(b"x") and None, "returned NoneType from backup"),
        (lambda sink: sink.write(b"x"), "returned int from backup"),
        (lambda sink: sink.write("text"), "TypeError"),
        (lambda sink: sink.directory(), "not declared with directory=True"),
    ],
)
def test_a_driver_that_fails_leaves_nothing(top, effect, text):
    _, result = back_up(top, failing(effect))
    refused(top, result, text)


def test_a_driver_that_raises_system_exit_or_is_interrupted_leaves_nothing(top):
    for error in (SystemExit(0), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            back_up(top, failing(raises(error)))
        assert files(top) == []


def test_a_driver_that_exits_is_named_and_never_with_status_0(top):
    with pytest.raises(SystemExit, match=r"plugin 'toy' .* called sys\.exit\(0\) in backup") as caught:
        back_up(top, failing(raises(SystemExit(0))))
    assert isinstance(caught.value.code, str)  # Python prints it, and exits with 1


def test_a_signal_handler_that_ends_the_program_is_left_alone(top):
    def end(number, frame):
        sys.exit(7)

    before = signal.signal(signal.SIGUSR1, end)
    try:
        with pytest.raises(SystemExit) as caught:
            back_up(top, failing(lambda sink: signal.raise_signal(signal.SIGUSR1)))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert caught.value.code == 7
    assert files(top) == []


def test_a_driver_that_writes_after_the_end_is_told(top):
    kept = []

    def keeps(sink):
        sink.write(b"x")
        kept.append(sink)
        return Evidence()

    _, result = back_up(top, failing(keeps))
    assert result.success
    with pytest.raises(ValueError, match="has ended"):
        kept[0].write(b"late")
    manager, _ = back_up(top, failing(keeps))
    assert all(manager.verify(b.id) for b in manager.list_backups() if b.driver == "toy")


def test_a_workspace_is_there_for_the_driver_and_goes_with_the_backup(top):
    spaces = []

    def works(sink):
        space = sink.workspace()
        (space / "scratch").write_bytes(b"x")
        spaces.append(space)
        sink.write(b"x")
        return Evidence()

    _, result = back_up(top, failing(works))
    assert result.success
    assert spaces[0].parent == top
    assert not spaces[0].exists()


# -- stores that fail --------------------------------------------------------------------------------------------


def with_store(top, driver=None, **replaced):
    manager = BackupManager(f"wrapped://{top}", plugins=[driver or ToyDriver(db=DATA), StoreWrapper(**replaced)])
    return manager, manager.create_backup("toy://h/db")


class Upload:
    """An upload whose ``method`` fails when ``when(calls so far)`` is true."""

    def __init__(self, real, method, effect):
        self.real = real
        self.method = method
        self.effect = effect

    def __getattr__(self, name):
        return self.effect if name == self.method else getattr(self.real, name)


def failing_upload(method, effect):
    return lambda real, name, expected=None: Upload(real(name, expected), method, effect)


def failing_put(effect):
    """Return a ``put`` that fails for manifests that are no tombstones."""

    def put(real, name, data, *, new=True):
        if name.endswith(".manifest.json") and data:
            effect()
        real(name, data, new=new)

    return put


def full(*_):
    raise StoreError("cannot write: No space left on device")


@pytest.mark.parametrize(
    "replaced",
    [{"upload": failing_upload("write", full)}, {"upload": failing_upload("commit", full)}, {"put": failing_put(full)}],
    ids=["write", "commit", "manifest"],
)
@pytest.mark.parametrize("driver", [None, failing(swallows)], ids=["plain", "swallowing"])
def test_a_disk_that_is_full_fails_the_backup_even_if_the_driver_goes_on(top, replaced, driver):
    _, result = with_store(top, driver, **replaced)
    refused(top, result, "No space left")


def test_a_store_that_takes_less_than_it_is_given_fails_the_backup(top):
    _, result = with_store(top, upload=failing_upload("write", lambda data: len(data) - 1))
    refused(top, result, "bytes and raised no error")


def test_a_store_that_loses_bytes_is_found_out_by_the_size(top):
    class LosingUpload:
        def __init__(self, real):
            self.real = real

        def write(self, data):
            self.real.write(data[:-1])
            return len(data)

        def __getattr__(self, name):
            return getattr(self.real, name)

    _, result = with_store(top, upload=lambda real, name, expected=None: LosingUpload(real(name, expected)))
    refused(top, result, "were written; back up again")


def test_a_manifest_that_reads_back_otherwise_is_no_backup(top):
    def put(real, name, data, *, new=True):
        real(name, data.replace(b"toy", b"joy") if name.endswith(".json") else data, new=new)

    manager, result = with_store(top, put=put)
    assert "has the manifest of somebody else" in result.error
    assert manager.list_backups() == []


def put_and_fail(real, name, data, *, new=True):
    real(name, data, new=new)
    if name.endswith(".manifest.json") and data:
        raise StoreError("cannot write: Input/output error")


def test_a_manifest_that_stands_in_spite_of_an_error_is_a_backup(top):
    """The answer was lost on its way from another place: what is read back decides."""
    elsewhere = {"capabilities": lambda real: real() & ~Cap.LOCAL}
    manager, result = with_store(top, put=put_and_fail, **elsewhere)
    assert result.success, result.error
    assert manager.verify(result.backup.id)


def test_a_manifest_on_this_machines_disk_that_was_not_flushed_is_no_success_and_stays(top):
    manager, result = with_store(top, put=put_and_fail)
    assert "is listed, but a power failure may take it" in result.error
    [backup] = manager.list_backups()
    assert manager.verify(backup.id)


def test_older_backups_outlive_every_failure(top):
    _, first = back_up(top)
    for replaced in (
        {"upload": failing_upload("write", full)},
        {"upload": failing_upload("commit", full)},
        {"put": failing_put(full)},
        {"stat": full},
    ):
        manager, result = with_store(top, **replaced)
        assert "No space left" in result.error
        assert [b.id for b in manager.list_backups()] == [first.backup.id]
    assert BackupManager(str(top)).verify(first.backup.id)


# -- compressors that fail ---------------------------------------------------------------------------------------


def compressor(**methods):
    class Compressor(ToyCompressor):
        @hookimpl
        def compress(self, sink):
            return type("Writer", (ToyWriter,), methods)(sink)

    return Compressor()


def short(self, data):
    self.sink.write(data[:10])
    return 10


def broken(self, data):
    raise ArithmeticError("bad table")


def exits(self, data):
    raise SystemExit(0)


def swallowing(self, data):
    with contextlib.suppress(Exception):
        self.sink.write(data)
    return len(data)


@pytest.mark.parametrize(
    ("methods", "text"),
    [
        ({"write": short}, "took 10 of"),
        ({"write": broken}, "bad table"),
        ({"write": exits}, "SystemExit"),
        ({"close": lambda self: broken(self, b"")}, "bad table"),
    ],
)
def test_a_compressor_that_fails_anywhere_fails_the_backup(top, methods, text):
    _, result = back_up(top, None, compressor(**methods), compressor="plainly")
    refused(top, result, text)


def test_a_compressor_that_swallows_the_stores_error_fails_the_backup(top):
    manager = BackupManager(
        f"wrapped://{top}",
        compressor="plainly",
        plugins=[
            ToyDriver(db=DATA),
            compressor(write=swallowing),
            StoreWrapper(upload=failing_upload("write", full)),
        ],
    )
    refused(top, manager.create_backup("toy://h/db"), "No space left")


def test_a_compressor_that_forgets_its_end_is_found_by_verify_and_restores_nothing(top):
    class Holding(ToyWriter):
        held = b""

        def write(self, data):
            if self.held:
                super().write(self.held)
            self.held = bytes(data)
            return len(data)

        def close(self):
            pass

    class Compressor(ToyCompressor):
        @hookimpl
        def compress(self, sink):
            return Holding(sink)

    driver = ToyDriver(db=DATA)
    manager, result = back_up(top, driver, Compressor(), compressor="plainly")
    with pytest.raises(IntegrityError, match="short of the"):
        manager.verify(result.backup.id)
    again = manager.restore(result.backup.id, "toy://h/new")
    assert "short of the" in again.error
    assert "new" not in driver.databases


@pytest.mark.parametrize("value", [None, 7])
def test_a_verifier_that_gives_no_digest_makes_no_good_backup(top, value):
    class Odd(ToyVerifier):
        @hookimpl
        def verify(self):
            return value

    manager = BackupManager(str(top), plugins=[ToyDriver(db=DATA), Odd()], verifier="counter")
    refused(top, manager.create_backup("toy://h/db"), "from verify")


# -- directories -------------------------------------------------------------------------------------------------


class DirectoryDriver(ToyDriver):
    @hookimpl
    def describe(self):
        return PluginInfo(
            kind="driver",
            schemes=("toy",),
            formats=(Format(name="directory", suffix=".dir", directory=True), Format(name="sql", suffix=".sql")),
        )


def test_a_format_that_is_a_directory_is_refused_where_one_file_is_wanted(top):
    _, result = back_up(top, DirectoryDriver(db=DATA))
    refused(top, result, "the format directory is a directory, and a repository holds files; use sql")


def run_directory(top, effect, stages=()):
    from dumpty.registry.host import Host
    from dumpty.repository.objects import StoredObjects
    from dumpty.streaming.pipeline import Run
    from dumpty.url import parse_url

    class Driver(DirectoryDriver):
        @hookimpl
        def backup(self, sink):
            return effect(sink)

    host = Host([Driver()])
    driver = host.driver("toy")
    store = host.store(str(top))
    opened = host.open_store(store, url=str(top), options=host.options({"open_store": store}, {})["open_store"])
    run = Run(
        host=host,
        driver=driver,
        source=parse_url("toy://h/db"),
        format=driver.format(None),
        options={},
        repository=StoredObjects(opened),
        stages=stages,
    )
    upload = opened.upload("x.dir")
    try:
        outcome = run.write(lambda _ending: upload)
        upload.commit()
    finally:
        upload.abort()
    return outcome


def test_a_directory_is_stored_with_the_sum_of_its_sizes(top):
    def effect(sink):
        sink.expect(7)
        assert sink.workspace().parent == top
        (sink.directory() / "a").write_bytes(b"1234")
        (sink.directory() / "b").write_bytes(b"567")
        return Evidence(notes=("n",))

    outcome = run_directory(top, effect)
    [written] = outcome.objects
    assert (written.plain_size, written.stored_size) == (7, 7)
    assert written.stored_sha256 == written.plain_sha256
    assert files(top) == ["x.dir/a", "x.dir/b"]
    printed = subprocess.run(
        ["sh", "-c", "sha256sum a b | sha256sum"], cwd=top / "x.dir", capture_output=True, text=True, check=True
    )
    assert printed.stdout.split()[0] == written.stored_sha256


@pytest.mark.parametrize(
    ("effect", "error", "text"),
    [
        (lambda sink: sink.write(b"x"), PluginError, "this format is a directory"),
        (lambda sink: Evidence(), IntegrityError, "wrote no byte"),
        (
            lambda sink: (sink.directory() / "link").symlink_to("/etc/passwd") or Evidence(),
            IntegrityError,
            "symbolic link",
        ),
    ],
)
def test_a_directory_that_is_none_is_no_backup(top, effect, error, text):
    with pytest.raises(error, match=text):
        run_directory(top, effect)
    assert files(top) == []


def test_a_directory_goes_through_no_stage(top):
    with pytest.raises(PluginError, match="it is stored uncompressed, in a local store"):
        run_directory(top, lambda sink: Evidence(), stages=("gzip",))
    assert files(top) == []


def test_a_secret_that_a_driver_quotes_in_its_evidence_is_not_stored(top):
    def quotes(sink):
        sink.write(b"x")
        return Evidence(notes=("logged in with s3cr3t-M",), versions={"server": "8 s3cr3t-M"})

    _, result = back_up(top, failing(quotes), url="toy://u:s3cr3t-M@h/db")
    assert result.backup.evidence.notes == ("logged in with ***",)
    assert result.backup.evidence.versions == {"server": "8 ***"}
    for name in files(top):
        assert b"s3cr3t-M" not in (top / name).read_bytes()
