"""A dump in several objects, written and read by several threads: one backup, whole, or none."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import gzip
import hashlib
import os
import random
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.keys import signing_key, x25519
from support.places import left_over, stored_files
from support.toys import PartsDriver, StoreWrapper, ToyVerifier, threads, threads_ended

from dumpty import (
    BackupManager,
    Cancellation,
    Cancelled,
    DatabaseBackup,
    Evidence,
    IntegrityError,
    MissingFile,
    OptionError,
    Phase,
    Pinned,
    PluginError,
    TableContent,
)
from dumpty.cli import description
from dumpty.encryption.header import MOST_HEADER_BYTES
from dumpty.operations.locations import locate_backups
from dumpty.registry.host import Host
from dumpty.replies.backups import with_details
from dumpty.repository.retention import Rules
from dumpty.testing.streams import peak_memory

URL, NEW = "many://h/db", "many://h/new"
MIB = 1 << 20
RECIPIENT, IDENTITY = (key.text for key in x25519("parts"))
OTHER = x25519("other")[0].text


def contents(number=5, size=300_000):
    source = random.Random(number)
    return {f"t{n}": source.randbytes(1 + n * size // number) + b"x" * size for n in range(number)}


TABLES = contents()


@pytest.fixture
def driver():
    return PartsDriver({"db": dict(TABLES)})


@pytest.fixture
def top(tmp_path):
    return tmp_path / "dir"


def opened(top, driver, *plugins, **options):
    return BackupManager(top, plugins=[driver, *plugins], **options)


def made(top, driver, *plugins, compressor="gzip", **options):
    manager = opened(top, driver, *plugins, compressor=compressor)
    return manager, manager.create_backup(URL, **options).raise_for_error()


# -- whole -----------------------------------------------------------------------------------------------------------


def test_parts_that_several_threads_write_are_one_backup_and_come_back(top, driver):
    manager, backup = made(top, driver)
    assert [os.path.basename(file).partition(".")[2] for file in backup.files] == [
        "p1.sql.gz",
        *(f"p{n}.rows.gz" for n in range(2, 7)),
    ]
    assert {file.partition(".p")[0] + ".p" for file in backup.files} == {backup.file_path}
    assert len(stored_files(top)) == 7
    assert manager.list_backups() == [manager.get_backup(backup.id)] == [backup]
    assert manager.restore(backup.id, NEW).success
    assert driver.databases["new"] == TABLES
    [told] = driver.dumps
    assert told[0] == ("pre-data", ".sql", ())
    assert {(t.path, t.rows, t.range) for _, _, tables in told[1:] for t in tables} == {
        (name, len(data), "all of it") for name, data in TABLES.items()
    }
    assert {(section, suffix) for section, suffix, _ in told[1:]} == {("data", ".rows")}
    assert not left_over(top)


def test_the_figures_are_those_of_all_parts_and_the_checksum_is_what_sha256sum_prints(top, driver):
    _, backup = made(top, driver)
    sizes = [os.path.getsize(file) for file in backup.files]
    assert backup.size_bytes == sum(sizes)
    assert backup.plain_size_bytes == sum(map(len, TABLES.values())) + len(" ".join(TABLES))
    names = sorted(os.path.relpath(file, top) for file in backup.files)
    printed = subprocess.run(["sha256sum", *names], cwd=top, capture_output=True, check=True).stdout
    assert backup.checksum == hashlib.sha256(printed).hexdigest()
    assert (backup.tables, backup.rows) == (5, sum(map(len, TABLES.values())))


def test_parts_stand_in_the_order_in_which_they_were_begun_whichever_ended_first(top):
    def write(sink):
        first, last = sink.part(suffix=".one"), sink.part(suffix=".two.tail")
        with first as part, last as other:
            part.write(b"1")
            other.write(b"2")
            other.holds("b")
            part.holds("a", rows=0)
        with sink.part(section="post-data") as part:
            part.write(b"3")

    driver = PartsDriver(write=write, read=lambda dump: [part.open().read() for part in dump.parts])
    manager, backup = made(top, driver, compressor=None)
    assert manager.restore(backup.id, NEW).success
    assert driver.databases["new"] == [b"1", b"2", b"3"]
    assert driver.dumps == [
        [
            ("data", ".one", (TableContent(path="a", rows=0),)),
            ("data", ".two.tail", (TableContent(path="b"),)),
            ("post-data", ".rows", ()),
        ]
    ]


def test_more_than_nine_parts_keep_their_order_and_a_backup_may_be_of_one(top):
    count = 12

    def write(sink):
        for number in range(count):
            with sink.part() as part:
                part.write(b"%d" % number)

    driver = PartsDriver(write=write, read=lambda dump: [part.open().read() for part in dump.parts])
    for count in (12, 1):
        manager, backup = made(top / str(count), driver, compressor=None)
        assert len(backup.files) == count
        assert manager.restore(backup.id, NEW, overwrite=True).success
        assert driver.databases["new"] == [b"%d" % number for number in range(count)]
    assert backup.file_path == backup.files[0]
    assert backup.file_path.endswith(".p1.rows")


def test_each_part_is_compressed_encrypted_and_digested_by_itself(top, driver):
    manager = opened(top, driver, ToyVerifier(), verifier="counter")
    backup = manager.create_backup(URL, encrypt_to=[RECIPIENT]).raise_for_error()
    assert backup.stages == ("gzip", "age")
    for file in backup.files:
        assert file.endswith(".gz.age")
        assert Path(file).read_bytes().startswith(b"age-encryption.org/v1\n-> X25519 ")
    assert all(name.encode() not in path.read_bytes() for name in ("pre-data", "all of it") for path in files(top))
    assert not manager.restore(backup.id, NEW).success
    assert "new" not in driver.databases
    assert manager.restore(backup.id, NEW, identities=[IDENTITY]).success
    assert driver.databases["new"] == TABLES
    assert manager.verify(backup.id, identities=[IDENTITY]).id == backup.id


def files(top):
    return [Path(top) / name for name in stored_files(top)]


def test_a_part_can_be_read_without_dumpty(top, driver):
    _, backup = made(top, driver)
    assert sorted(gzip.decompress(Path(file).read_bytes()) for file in backup.files[1:]) == sorted(TABLES.values())


def test_a_proof_by_digest_says_that_it_is_of_each_file(top, driver):
    manager, backup = made(top, driver)
    proof = manager.verify_many([backup.id])[0].proof
    assert "each of the 6 stored files has the size and SHA-256" in proof.proved[0].what


def test_a_copy_has_all_parts_and_one_that_is_encrypted_on_the_way_too(top, driver, tmp_path):
    manager, backup = made(top, driver)
    for name, options in (("plain", {}), ("sealed", {"encrypt_to": [RECIPIENT]})):
        to = opened(tmp_path / name, driver)
        [outcome] = manager.copy(to=to, **options)
        assert outcome.ok, outcome.exception
        assert len(outcome.backup.files) == 6
        identities = {"identities": [IDENTITY]} if options else {}
        assert to.restore(backup.id, f"many://h/{name}", **identities).success
        assert driver.databases[name] == TABLES
        assert driver.dumps[-1] == driver.dumps[0]
        assert not manager.copy(to=to, **options)[0].copied
    again = opened(tmp_path / "again", driver)
    [outcome] = to.copy(to=again, encrypt_to=[OTHER], identities=[IDENTITY])
    assert outcome.ok, outcome.exception
    assert [file.endswith(".gz.age") for file in outcome.backup.files] == [True] * 6


def test_a_signed_dump_is_restored_from_a_copy_of_all_parts_that_was_compared_first(top, driver, tmp_path):
    line = signing_key(tmp_path / "mine")
    manager, backup = made(top, driver, sign_with=str(tmp_path / "mine"))
    assert manager.restore(backup.id, NEW, require_signature=[line]).success
    assert driver.databases["new"] == TABLES
    Path(backup.files[3]).write_bytes(Path(backup.files[4]).read_bytes())
    driver.dumps.clear()
    result = manager.restore(backup.id, NEW, require_signature=[line], overwrite=True)
    assert isinstance(result.exception, IntegrityError)
    assert driver.dumps == []


def test_copies_are_told_from_others_by_a_size_that_grows_with_the_number_of_files(top, driver, tmp_path):
    driver.databases["db"] = {f"t{number}": b"%d" % number for number in range(3)}
    manager, backup = made(top, driver)
    sealed = opened(tmp_path / "sealed", driver)
    [outcome] = manager.copy(to=sealed, encrypt_to=[RECIPIENT])
    files, header = len(backup.files), MOST_HEADER_BYTES - 1000

    def places(other):
        [located] = locate_backups({"a": [backup], "b": [other]}, lambda *_: False)
        return located.places

    def of(size, number=files):
        return dataclasses.replace(outcome.backup, size_bytes=size, files=outcome.backup.files[:number])

    assert places(outcome.backup) == ("a", "b")
    assert places(of(backup.size_bytes + files * header)) == ("a", "b")
    assert places(of(backup.size_bytes + (files + 1) * MOST_HEADER_BYTES)) == ("a",)
    assert places(of(backup.size_bytes + 5000, files - 1)) == ("a",)


def test_a_backup_of_which_one_part_is_gone_is_lost_whatever_else_is_wrong_with_it(top, driver):
    manager, backup = made(top, driver)
    with open(backup.files[1], "ab") as file:
        file.write(b"more")
    assert manager.list_backups()[0].state == "damaged"
    os.unlink(backup.files[4])
    [listed] = manager.list_backups()
    assert (listed.state, listed.state_reason) == ("lost", f"its data {backup.files[4]} is gone")


def test_the_command_line_shows_where_all_parts_are(top, driver):
    _, backup = made(top, driver)
    shown = {line.partition(" ")[0]: line for line in description.details(backup) if isinstance(line, str)}
    pattern = f"{backup.file_path}[0-9]*"
    assert shown["files"] == f"files        {pattern} (6 files)"
    assert sorted(glob.glob(pattern)) == sorted(backup.files)
    printed = subprocess.run(f"sha256sum {backup.file_path[len(str(top)) + 1 :]}[0-9]* | sha256sum",
        shell=True, cwd=top, capture_output=True, text=True, check=True)  # fmt: skip
    assert shown["sha256"] == f"sha256       {printed.stdout.split()[0]}, of the lines that sha256sum prints of them"
    assert with_details(backup).files == list(backup.files)
    assert len(backup.files) == 6


def test_what_is_removed_pruned_or_pinned_is_all_parts_together(top, driver):
    manager, first = made(top, driver)
    second = manager.create_backup(URL).raise_for_error()
    third = manager.create_backup(URL).raise_for_error()
    manager.pin(first.id)
    with pytest.raises(Pinned):
        manager.remove(first.id)
    assert manager.prune(Rules(keep=1)).removed == (second.id,)
    manager.unpin(first.id)
    assert manager.remove(first.id)
    assert {str(path) for path in files(top)} - {
        str(top / name) for name in stored_files(top) if "manifest" in name
    } == set(third.files)
    assert [b.id for b in manager.list_backups()] == [third.id]


def test_a_backup_that_is_made_once_is_given_to_whoever_tries_again(top, driver):
    manager, first = made(top, driver, once="the night of 1 May")
    assert manager.create_backup(URL, once="the night of 1 May").raise_for_error() == first
    assert len(stored_files(top)) == 7


# -- no backup -------------------------------------------------------------------------------------------------------


def swallowed(sink):
    with sink.part() as part:
        part.write(b"good")
    try:
        with sink.part() as part:
            part.write(b"half")
            raise LookupError("the server is gone")
    except LookupError:
        pass


def swallowed_in_a_thread(sink):
    with ThreadPoolExecutor(2) as pool:
        pool.submit(swallowed, sink)


def ended_by_a_thread(sink):
    def leave():
        with contextlib.suppress(SystemExit), sink.part() as part:
            part.write(b"x")
            raise SystemExit(0)

    thread = threading.Thread(target=leave)
    thread.start()
    thread.join()


def never_left(sink):
    with sink.part() as part:
        part.write(b"good")
    never_left.kept = sink.part()
    never_left.kept.__enter__().write(b"x" * 3 * MIB)


def never_left_nor_kept(sink):
    sink.part().__enter__().write(b"x" * 3 * MIB)


def written_when_complete(sink):
    with sink.part() as part:
        part.write(b"x")
    with pytest.raises(ValueError, match="outside of its block"):
        part.write(b"y")


def written_before_its_block(sink):
    with sink.part() as part:
        part.write(b"x")
    with pytest.raises(ValueError, match="outside of its block"):
        sink.part().write(b"y")


def write_was_swallowed(sink):
    with sink.part() as part:
        part.write(b"x")
    with pytest.raises(PluginError):
        sink.write(b"y")


def left_twice(sink):
    with sink.part() as part:
        part.write(b"x")
    with pytest.raises(ValueError, match="left once"):
        part.__exit__(None, None, None)


def wrong(**arguments):
    def write(sink):
        with sink.part() as part:
            part.write(b"x")
        with pytest.raises(PluginError):
            sink.part(**arguments)

    return write


def holding(*calls):
    """Return what tells of a part what is wrong, and swallows that it is told so."""

    def write(sink):
        with sink.part() as part:
            part.write(b"x")
            for arguments, keywords in calls[:-1]:
                part.holds(*arguments, **keywords)
            arguments, keywords = calls[-1]
            with pytest.raises(PluginError):
                part.holds(*arguments, **keywords)

    return write


def held_when_complete(sink):
    with sink.part() as part:
        part.write(b"x")
    with pytest.raises(PluginError):
        part.holds("t")


def empty(sink):
    with sink.part():
        pass


def directory(sink):
    sink.directory()


FAILURES = {
    "an error that the driver swallowed": (swallowed, PluginError, "LookupError: the server is gone"),
    "one in a thread": (swallowed_in_a_thread, PluginError, "LookupError: the server is gone"),
    "a part never left": (never_left, PluginError, "while part 2 was still being written"),
    "a part never left, and forgotten": (never_left_nor_kept, PluginError, "while part 1 was still being written"),
    "a part left twice": (left_twice, PluginError, "left once"),
    "a write into a complete part": (written_when_complete, PluginError, "outside of its block"),
    "a write before its block": (written_before_its_block, PluginError, "outside of its block"),
    "a plain write": (lambda sink: sink.write(b"x"), PluginError, "beside its parts"),
    "a plain write that was swallowed": (write_was_swallowed, PluginError, "beside its parts"),
    "a directory": (directory, PluginError, "in parts"),
    "no part": (lambda sink: None, IntegrityError, "wrote no part"),
    "not one byte": (empty, IntegrityError, "not one byte"),
    "a suffix without a dot": (wrong(suffix="sql"), PluginError, "which is none: a dot"),
    "a suffix that leads elsewhere": (wrong(suffix="./../x"), PluginError, "which is none: a dot"),
    "a suffix that a store may sweep away": (wrong(suffix=".x.part"), PluginError, "which is none: a dot"),
    "a suffix of bytes": (wrong(suffix=b".x"), PluginError, "which is none: a dot"),
    "a section that there is not": (wrong(section="all"), PluginError, "the section 'all', which is none of"),
    "none at once": (wrong(at_once=0), PluginError, "0 parts are written at once"),
    "some at once": (wrong(at_once=2.0), PluginError, "parts are written at once"),
    "a table told twice": (holding((("t",), {}), (("t",), {"rows": 1})), PluginError, "told once"),
    "a table without a name": (holding((("",), {})), PluginError, "what a str names"),
    "a number for a table": (holding(((7,), {})), PluginError, "what a str names"),
    "fewer than no rows": (holding((("t",), {"rows": -1})), PluginError, "rows are counted"),
    "rows that are true": (holding((("t",), {"rows": True})), PluginError, "rows are counted"),
    "a range of numbers": (holding((("t",), {"range": (1, 2)})), PluginError, "in words"),
    "contents told when it is complete": (held_when_complete, PluginError, "while it is written"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_what_is_wrong_with_a_part_fails_the_backup_by_name_and_leaves_nothing(top, driver, failure):
    write, kind, text = FAILURES[failure]
    manager, older = made(top, driver)
    before, running = stored_files(top), threads("dumpty-stages")
    driver.write = write
    result = manager.create_backup(URL)
    assert type(result.exception) is kind
    assert text in result.error
    assert "plugin 'many' of this program" in result.error or kind is IntegrityError
    assert stored_files(top) == before
    assert left_over(top) == []
    assert threads_ended("dumpty-stages", running)
    assert manager.verify(older.id) == older


def test_a_thread_that_asks_to_exit_within_a_part_makes_no_backup(top, driver):
    driver.write = ended_by_a_thread
    with pytest.raises(SystemExit, match=r"plugin 'many' .* called sys\.exit\(0\) in backup"):
        opened(top, driver).create_backup(URL)
    assert stored_files(top) == left_over(top) == []


def test_a_format_of_one_stream_takes_no_parts(top, driver):
    def write(sink):
        with sink.part() as part:
            part.write(b"x")

    driver.write = write
    result = opened(top, driver).create_backup(URL, format="stream")
    assert isinstance(result.exception, PluginError)
    assert "plugin 'many' of this program" in (result.exception.plugin or "")
    assert "not declared with parts=True" in result.error
    assert stored_files(top) == []


def test_a_secret_in_what_a_part_holds_is_masked(top):
    def write(sink):
        with sink.part() as part:
            part.write(b"x")
            part.holds("shop of s3cr3t-M", range="up to s3cr3t-M")

    driver = PartsDriver(write=write, read=lambda dump: dump.parts[0].open().read())
    manager = opened(top, driver)
    assert manager.create_backup("many://u:s3cr3t-M@h/db").success
    assert all(b"s3cr3t" not in path.read_bytes() for path in files(top))


def test_a_part_that_is_begun_when_the_backup_is_over_is_an_error_where_that_is_done(top):
    errors, go_on, done = [], threading.Event(), threading.Event()

    def write(sink):
        def late():
            go_on.wait(60)
            for act in (lambda: sink.part().__enter__(), lambda: part.write(b"more")):
                try:
                    act()
                except ValueError as error:
                    errors.append(str(error))
            done.set()

        with sink.part() as part:
            part.write(b"x")
        threading.Thread(target=late).start()

    manager, backup = made(top, PartsDriver(write=write))
    before = stored_files(top)
    go_on.set()
    assert done.wait(60)
    assert errors == ["a part was begun in a sink whose backup has ended", "write to a part outside of its block"]
    assert stored_files(top) == before
    assert manager.verify(backup.id) == backup


def test_a_thread_that_still_writes_when_another_part_has_failed_is_stopped(top, driver):
    errors, writing = [], threading.Event()

    def write(sink):
        def go_on():
            try:
                with sink.part() as part:
                    until = time.monotonic() + 30
                    while time.monotonic() < until:
                        part.write(bytes(MIB))
                        writing.set()
            except ValueError as error:
                errors.append(error)

        threading.Thread(target=go_on).start()
        assert writing.wait(60)
        raise LookupError("no such table")

    driver.write = write
    result = opened(top, driver).create_backup(URL)
    assert "no such table" in result.error
    assert stored_files(top) == left_over(top) == []
    assert threads_ended("dumpty-stages")
    until = time.monotonic() + 60
    while not errors and time.monotonic() < until:
        time.sleep(0.01)
    assert errors


def test_an_interrupt_while_parts_are_written_leaves_nothing(top, driver):
    manager, older = made(top, driver)
    before = stored_files(top)

    def write(sink):
        with ThreadPoolExecutor(2) as pool:
            for n in range(4):
                pool.submit(driver.write_table, sink, f"t{n}", bytes(MIB))
            with sink.part() as part:
                part.write(b"x" * MIB)
                raise KeyboardInterrupt

    driver.write = write
    with pytest.raises(KeyboardInterrupt):
        manager.create_backup(URL)
    assert stored_files(top) == before
    assert left_over(top) == []
    assert threads_ended("dumpty-stages")
    assert manager.verify(older.id) == older


@pytest.mark.parametrize("swallows", [False, True])
def test_a_cancellation_reaches_the_threads_that_write_parts(top, driver, swallows):
    cancel, errors = Cancellation(), []

    def write_forever(sink):
        try:
            with sink.part() as part:
                until = time.monotonic() + 30
                while time.monotonic() < until:
                    part.write(bytes(MIB))
        except BaseException as error:
            errors.append(error)
            if not swallows:
                raise

    def write(sink):
        with ThreadPoolExecutor(2) as pool:
            futures = [pool.submit(write_forever, sink) for _ in range(2)]
            time.sleep(0.1)
            cancel.cancel()
        for future in futures:
            future.result()

    driver.write = write
    result = opened(top, driver).create_backup(URL, cancel=cancel)
    assert isinstance(result.exception, Cancelled)
    assert [isinstance(error, KeyboardInterrupt) for error in errors] == [True, True]
    assert stored_files(top) == left_over(top) == []


# -- damaged ---------------------------------------------------------------------------------------------------------


def damaged(data, harm):
    return data[: len(data) // 2] if harm == "cut" else data[:-20] + bytes([data[-20] ^ 1]) + data[-19:]


@pytest.mark.parametrize("harm", ["missing", "cut", "altered"])
@pytest.mark.parametrize("compressor", ["gzip", None])
def test_damage_of_a_part_is_told_by_its_file_and_its_table_and_spares_the_target(top, driver, harm, compressor):
    manager, backup = made(top, driver, compressor=compressor)
    driver.databases["new"] = {"old": b"content"}
    assert manager.restore(backup.id, URL, overwrite=True).success
    table = next(
        tables[0].path for (_, _, tables), file in zip(driver.dumps[0], backup.files, strict=True) if ".p4." in file
    )
    [path] = [Path(file) for file in backup.files if ".p4." in file]
    whole = path.read_bytes()
    path.unlink()
    if harm != "missing":
        path.write_bytes(damaged(whole, harm))
    kind = MissingFile if harm == "missing" else IntegrityError
    with pytest.raises(kind) as caught:
        manager.verify(backup.id)
    result = manager.restore(backup.id, NEW, overwrite=True)
    assert isinstance(result.exception, kind)
    for text in (str(caught.value), result.error):
        assert f"{path.name} ({table}, all of it)" in text
    assert driver.databases["new"] == {"old": b"content"}
    [listed] = manager.list_backups()
    assert listed.state == ("damaged" if harm == "altered" else "lost")


def test_a_driver_that_does_not_read_one_part_to_its_end_has_not_restored(top, driver):
    def read(dump):
        for part in dump.parts[:-1]:
            part.open().read()
        dump.parts[-1].open().read(10)
        return {}

    driver.read = read
    manager, backup = made(top, driver)
    result = manager.restore(backup.id, NEW)
    assert isinstance(result.exception, IntegrityError)
    assert "did not read it to its end" in result.error


def test_a_dump_in_parts_is_not_opened_as_one_and_each_can_be_had_as_a_file(top, driver):
    def read(dump):
        for act in (dump.open, dump.path):
            with pytest.raises(PluginError, match="of 6 parts: open these, not the dump"):
                act()
        return {part.tables[0].path: part.path().read_bytes() for part in dump.parts if part.tables or (part.path()
                and part.tables)}  # fmt: skip

    driver.read = read
    manager, backup = made(top, driver)
    assert manager.restore(backup.id, NEW).success
    assert driver.databases["new"] == TABLES


# -- what it takes ---------------------------------------------------------------------------------------------------


def test_memory_is_bounded_by_the_parts_at_once_and_not_by_their_number(top):
    block = random.Random(1).randbytes(1 << 16)

    def write(sink):
        def write_part(_):
            with sink.part(at_once=2) as part:
                for _ in range(4 * MIB // len(block)):
                    part.write(block)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(write_part, range(40)))

    def read(dump):
        def read_part(part):
            stream = part.open()
            while stream.read(1 << 16):
                pass

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(read_part, dump.parts))
        return {}

    driver = PartsDriver(write=write, read=read)
    manager = opened(top, driver, compressor=None)
    assert peak_memory(lambda: manager.create_backup(URL).raise_for_error()) < 24 * MIB
    [backup] = manager.list_backups()
    assert backup.size_bytes == 160 * MIB
    assert peak_memory(lambda: manager.restore(backup.id, NEW).raise_for_error()) < 24 * MIB


def test_of_many_parts_none_holds_a_descriptor_or_a_thread_when_it_is_complete(top, tmp_path):
    most = [0, 0]

    def look():
        most[0] = max(most[0], len(os.listdir("/proc/self/fd")))
        most[1] = max(most[1], threading.active_count())

    def write(sink):
        for number in range(300):
            with sink.part() as part:
                part.write(b"%d" % number)
                look()

    def read(dump):
        found = []
        for part in dump.parts:
            found.append(part.open().read(-1) if len(found) % 2 else b"".join(iter(part.open().read, b"")))
            look()
        return found

    driver = PartsDriver(write=write, read=read)
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    manager, backup = made(top, driver)
    assert manager.restore(backup.id, NEW).success
    assert driver.databases["new"] == [b"%d" % number for number in range(300)]
    [outcome] = manager.copy(to=opened(tmp_path / "copy", driver), progress=lambda _: look())
    assert outcome.ok
    assert most[0] < before[0] + 30
    assert most[1] < before[1] + 10


def test_a_part_is_stored_when_it_is_complete_and_is_gone_when_the_backup_fails_afterwards(top):
    seen = []

    def write(sink):
        for _ in range(3):
            with sink.part() as part:
                part.write(b"x")
        seen.extend(name for name in stored_files(top) if ".rows" in name)
        raise LookupError("no fourth")

    result = opened(top, PartsDriver(write=write)).create_backup(URL)
    assert "no fourth" in result.error
    assert [name.partition(".")[2] for name in seen] == [f"p{n}.rows.gz" for n in (1, 2, 3)]
    assert stored_files(top) == left_over(top) == []


def test_a_store_that_fails_when_a_part_is_complete_fails_the_backup(top, driver):
    def upload(real, name, *arguments):
        made = real(name, *arguments)
        if ".p3." in name:

            def fail():
                raise OSError(28, "no space left on device")

            made.commit = fail
        return made

    class Opaque:
        def __init__(self, upload):
            self.upload = upload

        def __getattr__(self, name):
            return getattr(self.upload, name)

    wrapper = StoreWrapper(upload=lambda real, name, *a: upload(lambda *b: Opaque(real(*b)), name, *a))
    result = opened(f"wrapped://{top}", driver, wrapper).create_backup(URL)
    assert "no space left on device" in result.error
    assert stored_files(top) == left_over(top) == []


def test_progress_over_parts_never_goes_back_and_ends_at_the_total(top, driver, tmp_path):
    total = sum(map(len, TABLES.values()))
    reports = []
    manager, backup = made(top, driver, progress=reports.append)
    dumping = [report for report in reports if report.phase is Phase.DUMPING]
    assert {report.bytes_total for report in dumping[1:]} <= {total, total + len(" ".join(TABLES))}
    for phase, act in (
        (Phase.DUMPING, lambda reported: None),
        (Phase.LOADING, lambda reported: manager.restore(backup.id, NEW, progress=reported)),
        (Phase.CHECKING, lambda reported: manager.verify_many([backup.id], progress=reported)),
        (Phase.COPYING, lambda reported: manager.copy(to=opened(tmp_path / "to", driver), progress=reported)),
    ):
        if act(reports.append) is not None:
            pass
        done = [report.bytes_done for report in reports if report.phase is phase]
        assert done == sorted(done)
        last = [report for report in reports if report.phase is phase][-1]
        assert last.bytes_done == (last.bytes_total or 0) > 0, phase
        reports.clear()


def test_an_error_of_a_progress_callback_in_a_thread_fails_the_backup_as_anywhere(top, driver):
    def report(progress):
        if progress.bytes_done > 400_000:
            raise LookupError("nobody listens")

    result = opened(top, driver).create_backup(URL, progress=report)
    assert isinstance(result.exception, Cancelled)
    assert "its progress callback raised LookupError: nobody listens" in result.error
    assert stored_files(top) == left_over(top) == []


def test_a_rate_limit_is_that_of_all_parts_together(top):
    def write(sink):
        def write_part(_):
            with sink.part(at_once=4) as part:
                for _ in range(8):
                    part.write(bytes(1 << 18))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write_part, range(4)))

    begun = time.monotonic()
    made(top, PartsDriver(write=write), rate_limit=8 * MIB)
    assert time.monotonic() - begun >= 0.9


def test_a_named_backup_is_no_place_for_several_files(top, driver, monkeypatch):
    host = Host([driver])
    monkeypatch.setattr("dumpty.backup.default_host", lambda: host)
    backups = DatabaseBackup(top)
    with pytest.raises(OptionError, match="is of several files, and a named backup is one"):
        backups.backup(URL, "mine")
    assert stored_files(top) == []


def test_a_compressor_is_told_how_many_work_at_once(top, driver):
    from support.toys import ToyCompressor, ToyWriter

    from dumpty import hookimpl

    told = []

    class Told(ToyCompressor):
        @hookimpl
        def compress(self, sink, at_once):
            told.append(at_once)
            return ToyWriter(sink)

    _, backup = made(top, driver, Told(), compressor="plainly")
    assert told == [1, 3, 3, 3, 3, 3]
    assert backup.evidence == Evidence(objects=backup.evidence.objects)
