"""Drivers that break one rule each, on top of the toy driver."""

from __future__ import annotations

import contextlib
import glob
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

from msgspec.structs import replace

from dumpty import (
    DumptyError,
    Evidence,
    Format,
    IntegrityError,
    ObjectEvidence,
    Option,
    PluginInfo,
    SourceError,
    hookimpl,
)
from testing.breaks import ANY, breaks
from testing.jsonl import (
    JsonLines,
    JsonLinesByTable,
    JsonLinesInParts,
    JsonLinesInPartsByTable,
    JsonLinesWithRows,
    ProvingJsonLines,
)

# -- inspect ---------------------------------------------------------------------------------------------------------


class ChangedInspection(JsonLines):
    @hookimpl
    def inspect(self, source, options):
        return self.look(Path(source.database), super().inspect(source, options))


@breaks("test_inspect_tells_a_filled_database", *ANY)
class CallsEverythingEmpty(ChangedInspection):
    def look(self, path, inspection):
        return replace(inspection, empty=True)


@breaks("test_inspect_creates_nothing", *ANY)
class CreatesWhatItLooksAt(ChangedInspection):
    def look(self, path, inspection):
        path.mkdir(exist_ok=True)
        return inspection


# -- databases -------------------------------------------------------------------------------------------------------


@breaks("test_the_databases_of_a_server_are_listed")
class ListsNothing(JsonLines):
    def paths(self, pattern):
        return []


@breaks("test_the_databases_of_a_server_are_listed", *ANY)
class ListsEachTwice(JsonLines):
    def paths(self, pattern):
        return super().paths(pattern) * 2


@breaks("test_databases_are_listed_in_order")
class ListsAsTheyCome(JsonLines):
    def paths(self, pattern):
        return [*super().paths(pattern), "/another"]


@breaks("test_no_database_of_the_server_itself_is_listed")
class ListsTheServersOwn(JsonLines):
    def paths(self, pattern):
        return sorted(filter(os.path.isdir, glob.glob(pattern)))


@breaks("test_the_databases_of_a_server_are_listed", *ANY)
class ListsThoseOfAnotherUser(JsonLines):
    @hookimpl
    def databases(self, source):
        return super().databases(source.replace(username="nobody"))


@breaks("test_a_listed_database_keeps_its_password_to_itself", *ANY)
class ShowsThePasswordOfTheServer(JsonLines):
    @hookimpl
    def databases(self, source):
        return [replace(entry, url=f"{entry.url}?as={source.password}") for entry in super().databases(source)]


@breaks("test_a_listed_database_keeps_its_password_to_itself", *ANY)
class ForgetsThePasswordOfTheServer(JsonLines):
    @hookimpl
    def databases(self, source):
        return super().databases(source.replace(password=None))


@breaks("test_what_is_listed_can_be_backed_up", *ANY)
class BacksUpOnceAfterListing(JsonLines):
    left = 100

    @hookimpl
    def databases(self, source):
        self.left = 1
        return super().databases(source)

    @hookimpl
    def backup(self, source, sink, options):
        self.left -= 1
        if self.left < 0:
            raise SourceError("the connection was closed")
        return super().backup(source, sink, options)


@breaks("test_inspect_tells_a_server_from_its_databases")
class TakesItsServerForADatabase(JsonLines):
    @hookimpl
    def describe(self):
        info = super().describe()
        formats = (*info.formats, Format(name="people", suffix=".people", server=True))
        server = Option(name="server", default=False, help="look at the server", verbs=("inspect",))
        return replace(info, formats=formats, options=(*info.options, server))


# -- backup ----------------------------------------------------------------------------------------------------------


class ChangedBackup(JsonLines):
    """``changed_evidence`` gets the evidence, and what else a broken one needs."""

    @hookimpl
    def backup(self, source, sink, options):
        return self.changed_evidence(super().backup(source, sink, options), source, options)


@breaks("test_a_backup_leaves_the_source_as_it_was", *ANY)
class MarksItsSource(ChangedBackup):
    def changed_evidence(self, evidence, source, options):
        with Path(source.database, "item.jsonl").open("a") as table:
            table.write("\n")
        return evidence


@breaks("test_evidence_counts_the_rows")
class CountsAfterwards(JsonLines):
    @hookimpl
    def backup(self, source, sink, options):
        evidence = super().backup(source, sink, options)
        return replace(evidence, objects=tuple(o for o in evidence.objects if o.rows))

    def check(self, evidence, dump):
        super().check(replace(evidence, objects=tuple(o for o in evidence.objects if o.rows)), dump)

    @hookimpl
    def restore(self, target, dump, overwrite, options):
        evidence = super().restore(target, dump, overwrite, options)
        return replace(evidence, objects=tuple(o for o in evidence.objects if o.rows))


class Miscounts(JsonLines):
    """``altered`` makes another number of each; everywhere, so that nothing shows but by the rows themselves."""

    def miscounted(self, evidence):
        return replace(evidence, objects=tuple(replace(o, rows=self.altered(o.rows)) for o in evidence.objects))

    @hookimpl
    def backup(self, source, sink, options):
        return self.miscounted(super().backup(source, sink, options))

    def check(self, evidence, dump):
        super().check(self.miscounted(evidence), dump)

    @hookimpl
    def restore(self, target, dump, overwrite, options):
        return self.miscounted(super().restore(target, dump, overwrite, options))


@breaks("test_evidence_counts_the_rows", "test_every_count_is_of_the_rows")
class CountsTooFew(Miscounts):
    def altered(self, rows):
        return max(rows - 1, 0)


@breaks("test_evidence_counts_the_rows", "test_every_count_is_of_the_rows")
class CountsTooMany(Miscounts):
    def altered(self, rows):
        return rows + 1


@breaks("test_evidence_counts_the_rows", "test_every_count_is_of_the_rows")
class CountsNothing(Miscounts):
    def altered(self, rows):
        return 0


@breaks("test_every_count_is_of_the_rows")
class CountsOtherwiseWhenAsked(ProvingJsonLines):
    def count(self, table):
        return super().count(table) + 1


# -- parts -----------------------------------------------------------------------------------------------------------


@breaks("test_every_part_is_left_before_the_backup_returns", "test_the_process_is_left_as_it_was")
class ReturnsWithinItsLastPart(JsonLinesInParts):
    @hookimpl
    def backup(self, source, sink, options):
        return super().backup(source, _Unleaving(sink), options)


class _Unleaving:
    """Enters the part with the end mark, and leaves it to nobody."""

    def __init__(self, sink):
        self.sink = sink

    def part(self, *, section="data", **arguments):
        part = self.sink.part(section=section, **arguments)
        if section == "data":
            return part
        self.kept = part
        return contextlib.nullcontext(part.__enter__())


@breaks("test_the_rows_in_the_parts_are_those_that_were_counted")
class CountsARowMoreInEachPart(JsonLinesInParts):
    def tell(self, part, name, rows, which):
        part.holds(name, rows=rows + 1, range=which)


@breaks("test_the_rows_in_the_parts_are_those_that_were_counted")
class NamesTablesInAWayOfItsOwn(JsonLinesInParts):
    def tell(self, part, name, rows, which):
        part.holds(f"main.{name}", range=which)


@breaks("test_a_table_in_several_parts_says_which_rows_are_where")
class CallsOneHalfTheWhole(JsonLinesInParts):
    def tell(self, part, name, rows, which):
        part.holds(name, rows=rows, range="" if which == "the first half" else which)


@breaks("test_evidence_is_plain_data", *ANY)
class EvidenceThatIsNoJson(ChangedBackup):
    def changed_evidence(self, evidence, source, options):
        return replace(evidence, properties={"place": Path(source.database)})


@breaks("test_evidence_is_plain_data")
class InconsistentWithoutAWord(ChangedBackup):
    def changed_evidence(self, evidence, source, options):
        return replace(evidence, consistent=False)


@breaks("test_only_declared_options_are_read")
class ReadsWhatNobodyDeclared(ChangedBackup):
    def changed_evidence(self, evidence, source, options):
        options.get("jobs", 4)
        return evidence


@breaks("test_an_error_of_the_sink_comes_out")
class SwallowsTheSinksErrors(JsonLines):
    def emit(self, sink, value):
        with contextlib.suppress(OSError):
            super().emit(sink, value)


@breaks("test_an_error_of_the_sink_comes_out", "test_an_interrupted_backup_leaves_nothing")
class TellsOfAnotherError(JsonLines):
    def emit(self, sink, value):
        failed = False
        try:
            super().emit(sink, value)
        except KeyboardInterrupt:
            failed = True
        if failed:
            raise SourceError("the source went away")


@breaks("test_a_source_that_does_not_exist_is_an_error", "test_no_error_shows_a_secret")
class DumpsNothing(JsonLines):
    @hookimpl
    def backup(self, source, sink, options):
        if Path(source.database).is_dir():
            return super().backup(source, sink, options)
        sink.write(b"")
        return Evidence()


@breaks("test_a_source_that_does_not_exist_is_an_error")
class CreatesItsSource(JsonLines):
    @hookimpl
    def backup(self, source, sink, options):
        existed = Path(source.database).is_dir()
        Path(source.database).mkdir(exist_ok=True)
        if not existed:
            raise SourceError("there is nothing in it")
        return super().backup(source, sink, options)


@breaks("test_a_source_that_dies_midway_is_an_error")
class TakesHalfForAll(JsonLines):
    def row(self, sink, line):
        with contextlib.suppress(json.JSONDecodeError):
            super().row(sink, line)


@breaks("test_no_error_shows_a_secret", "test_no_secret_is_returned_or_shown")
class LogsThePassword(ChangedInspection):
    @hookimpl
    def inspect(self, source, options):
        logging.getLogger("jsonl").warning("logging in with %s", source.password)
        return super().inspect(source, options)

    def look(self, path, inspection):
        return inspection


@breaks("test_no_error_shows_a_secret", "test_no_secret_is_returned_or_shown")
class PrintsThePassword(JsonLines):
    @hookimpl
    def inspect(self, source, options):
        print(source.password, file=sys.stderr)
        return super().inspect(source, options)


# -- secrets ---------------------------------------------------------------------------------------------------------


@breaks("test_no_secret_is_returned_or_shown")
class NotesThePassword(ChangedBackup):
    def changed_evidence(self, evidence, source, options):
        return replace(evidence, notes=(f"as {source.username} with {source.password}",))


@breaks("test_no_secret_is_returned_or_shown")
class KeepsThePasswordForARestore(ChangedBackup):
    def changed_evidence(self, evidence, source, options):
        return replace(evidence, properties={"connection": {"arguments": [source.password or ""]}})


@breaks("test_no_secret_is_returned_or_shown", "test_no_error_shows_a_secret")
class IdentifiesByPassword(ChangedInspection):
    @hookimpl
    def inspect(self, source, options):
        return replace(super().inspect(source, options), identity=f"{source.database}:{source.password}")

    def look(self, path, inspection):
        return inspection


@breaks("test_no_secret_is_returned_or_shown")
class NotesThePasswordOfItsTarget(JsonLines):
    @hookimpl
    def restore(self, target, dump, overwrite, options):
        return replace(super().restore(target, dump, overwrite, options), notes=(target.password or "",))


@breaks("test_no_secret_is_returned_or_shown")
class GivesThePasswordToAProgram(ChangedBackup):
    def changed_evidence(self, evidence, source, options):
        subprocess.run(["true", f"--password={source.password}"], check=True)
        return evidence


@breaks("test_no_secret_is_returned_or_shown")
class GivesThePasswordToAProgramThatItSpawns(ChangedBackup):
    def changed_evidence(self, evidence, source, options):
        os.waitpid(os.posix_spawn("/bin/true", ["true", f"--password={source.password}"], {}), 0)
        return evidence


@breaks("test_no_secret_is_returned_or_shown")
class GivesThePasswordToAShell(ChangedBackup):
    def changed_evidence(self, evidence, source, options):
        os.system(f"true --password={source.password}")
        return evidence


@breaks("test_no_secret_is_returned_or_shown")
class LogsThePasswordOfEveryBackup(ChangedBackup):
    def changed_evidence(self, evidence, source, options):
        logging.getLogger("jsonl").debug("backed up with %r", source)
        logging.getLogger("jsonl").debug("backed up with %r", source.password)
        return evidence


# -- what is left ----------------------------------------------------------------------------------------------------


@breaks("test_the_process_is_left_as_it_was", "test_an_interrupted_backup_leaves_nothing")
class LeavesAThread(ChangedBackup):
    def changed_evidence(self, evidence, source, options):
        threading.Thread(target=time.sleep, args=(5,), daemon=True).start()
        return evidence


@breaks("test_the_process_is_left_as_it_was")
class LeavesAProgram(ChangedBackup):
    def changed_evidence(self, evidence, source, options):
        self.program = subprocess.Popen(["sleep", "5"])
        return evidence


@breaks("test_the_process_is_left_as_it_was")
class LeavesAProgramThatAnotherOneStarted(ChangedBackup):
    def changed_evidence(self, evidence, source, options):
        subprocess.run("sleep 5 &", shell=True, check=True)
        return evidence


@breaks("test_the_process_is_left_as_it_was", *ANY)
class ChangesItsDirectory(ChangedBackup):
    def changed_evidence(self, evidence, source, options):
        os.chdir(source.database)
        return evidence


@breaks("test_the_process_is_left_as_it_was", *ANY)
class ChangesTheUmask(ChangedBackup):
    def changed_evidence(self, evidence, source, options):
        os.umask(0)
        return evidence


@breaks("test_the_process_is_left_as_it_was", *ANY)
class SetsAVariable(ChangedBackup):
    def changed_evidence(self, evidence, source, options):
        os.environ["JSONL_PASSWORD"] = source.password or "none"
        return evidence


@breaks("test_the_process_is_left_as_it_was", *ANY)
class HandlesASignal(ChangedBackup):
    def changed_evidence(self, evidence, source, options):
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGUSR1, lambda *_: None)
        return evidence


@breaks("test_the_process_is_left_as_it_was", "test_an_interrupted_backup_leaves_nothing")
class LeavesATemporaryFile(JsonLines):
    @hookimpl
    def backup(self, source, sink, options):
        tempfile.mkstemp(prefix="jsonl-")
        return super().backup(source, sink, options)


@breaks("test_nothing_is_written_after_the_backup", *ANY)
class WritesLate(JsonLines):
    @hookimpl
    def backup(self, source, sink, options):
        evidence = super().backup(source, sink, options)

        def write_late():
            time.sleep(0.02)
            with contextlib.suppress(ValueError):
                sink.write(b"late\n")

        threading.Thread(target=write_late).start()
        return evidence


@breaks("test_an_interrupted_backup_leaves_nothing")
class LocksItsSource(JsonLines):
    """Takes its lock away only where all went well."""

    @hookimpl
    def backup(self, source, sink, options):
        lock = Path(source.database).with_suffix(".lock")
        lock.touch()
        try:
            evidence = super().backup(source, sink, options)
        except Exception:
            lock.unlink(missing_ok=True)
            raise
        lock.unlink(missing_ok=True)
        return evidence


@breaks("test_an_interrupted_backup_leaves_nothing")
class GoesOnWithoutItsCaller(JsonLines):
    @hookimpl
    def backup(self, source, sink, options):
        try:
            return super().backup(source, sink, options)
        except KeyboardInterrupt:
            self.program = subprocess.Popen(["sleep", "5"])
            raise


@breaks("test_an_interrupted_restore_leaves_nothing")
class CleansUpAfterErrorsOnly(JsonLines):
    @hookimpl
    def restore(self, target, dump, overwrite, options):
        path = Path(target.database)
        self.refuse(path, overwrite)
        temporary = path.with_name(f"{path.name}.part")
        temporary.mkdir(exist_ok=True)
        try:
            evidence = self.load(dump, temporary)
            self.check(evidence, dump)
            self.put_in_place(temporary, path)
        except Exception:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        return evidence


@breaks("test_an_interrupted_restore_leaves_nothing")
class KeepsWhatCameUntilTheInterrupt(JsonLines):
    def lines(self, dump):
        try:
            yield from super().lines(dump)
        except KeyboardInterrupt:
            yield b'{"end": 0}'

    def check(self, evidence, dump):
        if not isinstance(getattr(dump, "error", None), KeyboardInterrupt):
            super().check(evidence, dump)


# -- through the facade ----------------------------------------------------------------------------------------------


@breaks("test_older_backups_are_left_alone")
class RemovesOlderBackups(JsonLines):
    @hookimpl
    def backup(self, source, sink, options):
        for folder in sink.workspace().parents:
            if folder.name == "backups":
                for older in folder.rglob("*.bin.gz"):
                    older.unlink()
        return super().backup(source, sink, options)


@breaks("test_an_unreachable_server_is_a_failed_result")
class RaisesWhateverComes(JsonLines):
    @hookimpl
    def backup(self, source, sink, options):
        if not Path(source.database).is_dir():
            raise KeyError(source.database)
        return super().backup(source, sink, options)


@breaks("test_an_unreachable_server_is_a_failed_result", "test_no_error_shows_a_secret")
class SaysWithWhichPasswordItFailed(JsonLines):
    @hookimpl
    def backup(self, source, sink, options):
        if not Path(source.database).is_dir():
            print(f"cannot connect with {source.password}", file=sys.stderr)
        return super().backup(source, sink, options)


@breaks("test_memory_stays_flat", "test_a_source_that_dies_midway_is_an_error")
class ReadsAllAtOnce(JsonLines):
    @hookimpl
    def backup(self, source, sink, options):
        pieces = []

        class All:
            def write(self, data):
                pieces.append(data)
                return len(data)

        evidence = super().backup(source, All(), options)
        for piece in pieces:
            sink.write(piece)
        return evidence


@breaks("test_several_backups_at_once_do_not_mix")
class OneListForAll(JsonLines):
    """Collects its evidence in the plugin."""

    def __init__(self):
        self.row_tables = []

    @hookimpl
    def backup(self, source, sink, options):
        self.row_tables.clear()
        super().backup(source, sink, options)
        return Evidence(
            objects=tuple(ObjectEvidence(path=t, rows=self.row_tables.count(t)) for t in self.tables(source))
        )

    def tables(self, source):
        return sorted(p.stem for p in Path(source.database).glob("*.jsonl"))

    def emit(self, sink, value):
        self.table = value.get("table", getattr(self, "table", ""))
        super().emit(sink, value)

    def row(self, sink, line):
        super().row(sink, line)
        self.row_tables.append(self.table)


@breaks("test_a_backup_is_made_and_verified", "test_a_backup_is_restored")
class AnswersAnInstalledScheme(JsonLines):
    @hookimpl
    def describe(self):
        return PluginInfo(
            kind="driver", schemes=("jsonl", "sqlite"), formats=(Format(name="lines", suffix=".jsonl"),), files=True
        )

    @hookimpl
    def backup(self, source, sink):
        return super().backup(source, sink, {"indent": 0})


# -- restore ---------------------------------------------------------------------------------------------------------


@breaks("test_a_database_comes_back", *ANY)
class LosesEmptyTables(JsonLines):
    def put_in_place(self, temporary, path):
        for table in temporary.iterdir():
            if not table.stat().st_size:
                table.unlink()
        super().put_in_place(temporary, path)


@breaks("test_a_missing_target_is_created")
class RemembersWhatItRestored(JsonLines):
    def __init__(self):
        self.restored = {}

    @hookimpl
    def restore(self, target, dump, overwrite, options):
        if target.database in self.restored and not overwrite:
            dump.open().read()
            return self.restored[target.database]
        self.restored[target.database] = super().restore(target, dump, overwrite, options)
        return self.restored[target.database]


@breaks("test_an_empty_target_is_used")
class RefusesWhatExists(JsonLines):
    def refuse(self, path, overwrite):
        if path.is_dir():
            super().refuse(Path("/usr"), overwrite)


@breaks("test_a_full_target_is_refused")
class OverwritesUnasked(JsonLines):
    def refuse(self, path, overwrite):
        pass


@breaks("test_overwriting_replaces_the_target", "test_an_interrupted_restore_leaves_nothing")
class MergesWithTheOld(JsonLines):
    def put_in_place(self, temporary, path):
        if path.is_dir():
            for table in path.iterdir():
                if not (temporary / table.name).exists():
                    shutil.copy(table, temporary)
        super().put_in_place(temporary, path)


@breaks("test_the_old_content_stands_until_the_dump_has_ended")
class PutsTheOldAsideFirst(JsonLines):
    @hookimpl
    def restore(self, target, dump, overwrite, options):
        path = Path(target.database)
        self.refuse(path, overwrite)
        moved = path.with_name(path.name + ".aside")
        if path.exists():
            path.rename(moved)
        try:
            return super().restore(target, dump, overwrite, options)
        except BaseException:
            if moved.exists():
                moved.rename(path)
            raise
        finally:
            shutil.rmtree(moved, ignore_errors=True)


@breaks(
    "test_a_failed_restore_leaves_no_new_database",
    "test_rows_that_are_missing_are_an_error",
    "test_a_failed_restore_leaves_the_old_content",
    "test_the_old_content_stands_until_the_dump_has_ended",
    "test_overwriting_replaces_the_target",
    "test_an_interrupted_restore_leaves_nothing",
)
class LoadsInPlace(JsonLines):
    @hookimpl
    def restore(self, target, dump, overwrite, options):
        path = Path(target.database)
        self.refuse(path, overwrite)
        path.mkdir(exist_ok=True)
        evidence = self.load(dump, path)
        self.check(evidence, dump)
        return evidence


@breaks("test_a_failed_restore_leaves_no_new_database", "test_a_failed_restore_leaves_the_old_content")
class TakesDamageForTheEnd(JsonLines):
    def lines(self, dump):
        with contextlib.suppress(IntegrityError):
            yield from super().lines(dump)
        yield b'{"end": 0}'

    def check(self, evidence, dump):
        if getattr(dump, "error", None) is None:
            super().check(evidence, dump)


@breaks(
    "test_a_failed_restore_leaves_the_old_content",
    "test_the_old_content_stands_until_the_dump_has_ended",
    "test_an_interrupted_restore_leaves_nothing",
)
class RemovesTheOldFirst(JsonLines):
    @hookimpl
    def restore(self, target, dump, overwrite, options):
        path = Path(target.database)
        self.refuse(path, overwrite)
        shutil.rmtree(path, ignore_errors=True)
        return super().restore(target, dump, overwrite, options)


@breaks("test_rows_that_are_missing_are_an_error")
class ChecksNoEvidence(JsonLines):
    def check(self, evidence, dump):
        pass


@breaks("test_a_restore_reads_the_dump_to_its_end", *ANY)
class StopsAtItsOwnEndMark(JsonLines):
    def lines(self, dump):
        stream, partial_line = dump.open(), b""
        while block := stream.read(1000):
            *lines, partial_line = (partial_line + block).split(b"\n")
            yield from lines
            if lines and b'"end"' in lines[-1]:
                return


@breaks("test_a_backup_is_restored", "test_inspect_tells_a_filled_database")
class CannotReadAhead(JsonLines):
    """Asks its dump's stream for what no stream of dumpty has."""

    def lines(self, dump):
        stream = dump.open()
        if type(stream).__name__ != "_Stream":
            stream.seek(0)
        return super().lines(dump)


@breaks("test_restore_is_refused_where_it_is_not_claimed")
class RestoresUnclaimed(JsonLines):
    flags = {"restores": False}  # noqa: RUF012 - of its suite


# -- restore_tables --------------------------------------------------------------------------------------------------

ALONE_RULE = "test_a_table_comes_back_alone"
BESIDE_RULE = "test_a_table_comes_back_beside_what_is_there"
REPLACING_RULE = "test_overwriting_replaces_one_table"
FAILING_RULE = "test_a_failed_restore_of_a_table_leaves_the_target"
COUNT_RULE = "test_rows_that_a_table_lacks_are_an_error"
LACKING_RULE = "test_a_table_that_the_dump_lacks_is_an_error"


@breaks(ALONE_RULE, BESIDE_RULE, REPLACING_RULE)
class RestoresAllTables(JsonLinesByTable):
    def put_tables(self, loaded, changed, tables):
        others = {table.stem: table.stem for table in loaded.iterdir()}
        super().put_tables(loaded, changed, {**others, **tables})


@breaks(ALONE_RULE, BESIDE_RULE)
class CountsNoTable(JsonLinesByTable):
    @hookimpl
    def restore_tables(self, target, dump, tables, overwrite):
        super().restore_tables(target, dump, tables, overwrite)
        return Evidence()


@breaks(ALONE_RULE, FAILING_RULE)
class LeavesAPartUnread(JsonLinesInPartsByTable):
    """Reads no part but those that name a table."""

    @hookimpl
    def restore(self, target, dump, overwrite, options):
        return JsonLinesInParts().restore(target=target, dump=dump, overwrite=overwrite, options=options)

    def lines(self, dump):
        yield from super().lines(SimpleNamespace(parts=[part for part in dump.parts if part.tables]))
        yield b'{"end": 0}'


@breaks(BESIDE_RULE)
class ForgetsTheNewName(JsonLinesByTable):
    def put_tables(self, loaded, changed, tables):
        super().put_tables(loaded, changed, {table: table for table in tables})


@breaks(BESIDE_RULE)
class CountsUnderTheNewName(JsonLinesByTable):
    @hookimpl
    def restore_tables(self, target, dump, tables, overwrite):
        evidence = super().restore_tables(target, dump, tables, overwrite)
        return replace(evidence, objects=tuple(replace(o, path=tables[o.path]) for o in evidence.objects))


@breaks("test_a_table_that_is_there_is_refused")
class OverwritesATableUnasked(JsonLinesByTable):
    def refuse_tables(self, path, tables, overwrite):
        pass


@breaks(REPLACING_RULE)
class MergesIntoATable(JsonLinesByTable):
    def put_tables(self, loaded, changed, tables):
        for table, name in tables.items():
            with (changed / f"{name}.jsonl").open("a") as file:
                file.write((loaded / f"{table}.jsonl").read_text())


@breaks(REPLACING_RULE)
class KeepsATableThatIsThere(JsonLinesByTable):
    def put_tables(self, loaded, changed, tables):
        missing = {t: name for t, name in tables.items() if not (changed / f"{name}.jsonl").exists()}
        super().put_tables(loaded, changed, missing)


@breaks(REPLACING_RULE)
class DropsTheOtherTables(JsonLinesByTable):
    @hookimpl
    def restore_tables(self, target, dump, tables, overwrite):
        evidence = super().restore_tables(target, dump, tables, overwrite)
        if overwrite:
            for table in Path(target.database).iterdir():
                if table.stem not in tables.values():
                    table.unlink()
        return evidence


@breaks(FAILING_RULE, COUNT_RULE)
class DropsATableBeforeTheEnd(JsonLinesByTable):
    def refuse_tables(self, path, tables, overwrite):
        super().refuse_tables(path, tables, overwrite)
        for name in tables.values():
            (path / f"{name}.jsonl").unlink(missing_ok=True)


@breaks(FAILING_RULE)
class TakesDamageForTheEndOfATable(JsonLinesByTable):
    @hookimpl
    def restore_tables(self, target, dump, tables, overwrite):
        try:
            return super().restore_tables(target, dump, tables, overwrite)
        except IntegrityError as error:
            if "damaged" in str(error):
                return dump.evidence
            raise


@breaks(COUNT_RULE)
class ChecksNoTable(JsonLinesByTable):
    @hookimpl
    def restore(self, target, dump, overwrite, options):
        return JsonLines().restore(target=target, dump=dump, overwrite=overwrite, options=options)

    def check(self, evidence, dump):
        pass


@breaks(LACKING_RULE)
class RestoresNothingOfATableThatIsMissing(JsonLinesByTable):
    @hookimpl
    def restore_tables(self, target, dump, tables, overwrite):
        try:
            return super().restore_tables(target, dump, tables, overwrite)
        except DumptyError as error:
            if "only" in str(error):
                return Evidence()
            raise


# -- read_rows -------------------------------------------------------------------------------------------------------

ALL_ROWS_RULE = "test_rows_are_all_given"
SAME_ROWS_RULE = "test_rows_read_the_same_where_they_were_restored"
MISSING_ROWS_RULE = "test_rows_of_what_is_missing_are_an_error"
UNREAD_ROWS_RULE = "test_rows_may_be_left_unread"


@breaks(ALL_ROWS_RULE)
class SkipsARow(JsonLinesWithRows):
    def table_rows(self, values):
        return super().table_rows(values[1:])


@breaks(ALL_ROWS_RULE)
class GivesARowTwice(JsonLinesWithRows):
    def table_rows(self, values):
        return super().table_rows(values + values[:1])


@breaks(ALL_ROWS_RULE)
class RepeatsAKey(JsonLinesWithRows):
    """Reads numbers by their tens, and calls them a key all the same."""

    def table_rows(self, values):
        rows = super().table_rows(values)
        rows.read = lambda value: value // 10 if type(value) is int else value
        return rows


class AfterARestore(JsonLinesWithRows):
    """``alter`` changes the rows of what it restored."""

    def __init__(self):
        self.restored = set()

    @hookimpl
    def restore(self, target, dump, overwrite, options):
        evidence = super().restore(target, dump, overwrite, options)
        self.restored.add(target.database)
        return evidence

    @contextlib.contextmanager
    def opened(self, path, table):
        with super().opened(path, table) as rows:
            if str(path) in self.restored:
                self.alter(rows)
            yield rows


@breaks(SAME_ROWS_RULE)
class ReadsOtherwiseAfterARestore(AfterARestore):
    def alter(self, rows):
        rows.read = lambda value: float(value) if type(value) is int else value


@breaks(SAME_ROWS_RULE)
class TurnsTheColumnsAfterARestore(AfterARestore):
    def alter(self, rows):
        rows.columns = rows.columns[::-1]


@breaks(SAME_ROWS_RULE)
class LosesTheKeyAfterARestore(AfterARestore):
    def alter(self, rows):
        rows.key = ()


@breaks("test_reading_rows_changes_nothing", UNREAD_ROWS_RULE)
class RemovesWhatItReads(JsonLinesWithRows):
    @contextlib.contextmanager
    def opened(self, path, table):
        with super().opened(path, table) as rows:
            yield rows
        (path / f"{table}.jsonl").unlink()


@breaks(MISSING_ROWS_RULE)
class GivesNoRowsOfAMissingTable(JsonLinesWithRows):
    def file_of(self, path, table):
        missing = path.is_dir() and not (path / f"{table}.jsonl").exists()
        return contextlib.nullcontext(()) if missing else super().file_of(path, table)


@breaks(MISSING_ROWS_RULE)
class GivesNoRowsOfAMissingDatabase(JsonLinesWithRows):
    def file_of(self, path, table):
        return super().file_of(path, table) if path.is_dir() else contextlib.nullcontext(())


@breaks(MISSING_ROWS_RULE)
class CreatesAMissingDatabase(JsonLinesWithRows):
    def file_of(self, path, table):
        path.mkdir(exist_ok=True)
        return super().file_of(path, table)


@breaks(UNREAD_ROWS_RULE)
class SwallowsTheCallersErrors(JsonLinesWithRows):
    @contextlib.contextmanager
    def opened(self, path, table):
        with super().opened(path, table) as rows, contextlib.suppress(RuntimeError):
            yield rows


@breaks(UNREAD_ROWS_RULE)
class TakesTheCallersErrorsForItsOwn(JsonLinesWithRows):
    @contextlib.contextmanager
    def opened(self, path, table):
        with super().opened(path, table) as rows:
            try:
                yield rows
            except RuntimeError as error:
                raise SourceError(f"{table} cannot be read") from error


@breaks(UNREAD_ROWS_RULE)
class FailsWhenLeftEarly(JsonLinesWithRows):
    @contextlib.contextmanager
    def opened(self, path, table):
        with super().opened(path, table) as rows:
            rows.values = iter(rows.values)
            yield rows
            if any(True for _ in rows.values):
                raise SourceError(f"there are rows of {table} that nobody read")


# -- examine and scratch ---------------------------------------------------------------------------------------------

COPY_RULE = "test_a_copy_of_a_scratch_holds_the_same_and_is_another"


@breaks("test_examine_reads_the_dump_to_its_end", "test_examine_lets_damage_through")
class ExaminesUpToItsEndMark(ProvingJsonLines):
    def lines(self, dump):
        for line in super().lines(dump):
            yield line
            if "end" in json.loads(line):
                return

    @hookimpl
    def restore(self, target, dump, overwrite, options):
        return JsonLines().restore(target=target, dump=dump, overwrite=overwrite, options=options)


@breaks("test_examine_finds_a_dump_that_is_cut", "test_examine_lets_damage_through")
class ExaminesTheFirstLine(ProvingJsonLines):
    @hookimpl
    def examine(self, dump):
        stream = dump.open()
        with contextlib.suppress(IntegrityError):
            while stream.read(1000):
                pass
        return dump.evidence


@breaks("test_examine_lets_damage_through")
class ExaminesDamageAsTheEnd(ProvingJsonLines):
    @hookimpl
    def examine(self, dump):
        try:
            return super().examine(dump)
        except IntegrityError as error:
            if "damaged" in str(error):
                return dump.evidence
            raise


@breaks("test_a_scratch_is_empty_and_takes_the_dump", *ANY)
class LendsWhatIsFull(ProvingJsonLines):
    def lend(self, path):
        path.mkdir()
        (path / "old.jsonl").write_text("{}\n")
        return super().lend(path)


@breaks("test_a_scratch_is_gone_after_its_block", "test_an_error_in_a_scratch_comes_out")
class LeavesItsScratch(ProvingJsonLines):
    @contextlib.contextmanager
    def scratch_at(self, dump):
        yield self.lend(dump.workspace() / "scratch")


@breaks("test_an_error_in_a_scratch_comes_out")
class SwallowsTheDrillsErrors(ProvingJsonLines):
    @contextlib.contextmanager
    def scratch_at(self, dump):
        with contextlib.suppress(RuntimeError), super().scratch_at(dump) as scratch:
            yield scratch


class ChangedScratch(ProvingJsonLines):
    """``alter`` changes what is lent."""

    def lend(self, path):
        scratch = super().lend(path)
        self.alter(scratch)
        return scratch


@breaks("test_a_scratch_names_the_checks_that_were_run")
class ChecksAndSaysYes(ChangedScratch):
    def alter(self, scratch):
        scratch.check = lambda: True


@breaks("test_a_scratch_is_asked", COPY_RULE)
class AnswersNothing(ChangedScratch):
    def alter(self, scratch):
        scratch.ask = lambda statement: []


class ChangedAnswer(ChangedScratch):
    """``altered`` changes what is answered."""

    def alter(self, scratch):
        ask = scratch.ask
        scratch.ask = lambda statement: self.altered(ask, statement, scratch.path)


@breaks("test_a_scratch_is_asked")
class AnswersTheFirstRow(ChangedAnswer):
    def altered(self, ask, statement, path):
        return ask(statement)[:1]


@breaks("test_a_scratch_is_asked")
class AnswersZeroForNull(ChangedAnswer):
    def altered(self, ask, statement, path):
        return [(0,) if row == (None,) else row for row in ask(statement)]


@breaks("test_a_scratch_is_asked")
class AnswersErrorsWithNothing(ChangedAnswer):
    def altered(self, ask, statement, path):
        try:
            return ask(statement)
        except SourceError:
            return []


@breaks("test_a_scratch_is_asked")
class DoesWhatItIsAsked(ChangedAnswer):
    def altered(self, ask, statement, path):
        if statement.startswith("remove "):
            (path / statement.partition(" ")[2]).unlink()
            return []
        return ask(statement)


@breaks(COPY_RULE)
class LendsItselfAsACopy(ChangedScratch):
    def alter(self, scratch):
        scratch.clone = lambda: contextlib.nullcontext(scratch)


@breaks(COPY_RULE)
class CopiesNothing(ChangedScratch):
    def alter(self, scratch):
        @contextlib.contextmanager
        def clone():
            with type(scratch).clone(scratch) as copy:
                for file in copy.path.iterdir():
                    file.unlink()
                yield copy

        scratch.clone = clone


@breaks(COPY_RULE)
class LeavesItsCopies(ChangedScratch):
    def alter(self, scratch):
        def clone():
            return contextlib.nullcontext(type(scratch).clone(scratch).__enter__())

        scratch.clone = clone


@breaks(COPY_RULE)
class TakesTheOriginalWithTheCopy(ChangedScratch):
    def alter(self, scratch):
        @contextlib.contextmanager
        def clone():
            with type(scratch).clone(scratch) as copy:
                yield copy
            for file in scratch.path.iterdir():
                file.unlink()

        scratch.clone = clone
