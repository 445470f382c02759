"""A toy driver: a database is a directory of ``TABLE.jsonl`` files. It keeps every rule."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import tempfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

from msgspec.structs import replace

from dumpty import (
    Evidence,
    Format,
    Inspection,
    IntegrityError,
    ObjectEvidence,
    Option,
    PluginInfo,
    Source,
    SourceError,
    TargetNotEmpty,
    database_files,
    hookimpl,
)
from dumpty.url import parse_url


class JsonLines:
    """Written in small methods, for the broken drivers to override one each."""

    name = "jsonl"

    @hookimpl
    def describe(self):
        return PluginInfo(
            kind="driver",
            schemes=("jsonl",),
            formats=(Format(name="lines", suffix=".jsonl"),),
            options=(Option(name="indent", default=0, help="spaces", verbs=("backup",)),),
            files=True,
        )

    @hookimpl
    def inspect(self, source, options):
        path = Path(source.database)
        names = os.listdir(path) if path.is_dir() else []
        return Inspection(exists=path.is_dir(), empty=not names, identity=str(path), name=path.name)

    @hookimpl
    def databases(self, source):
        return [source.replace(database=path) for path in self.paths(source.database)]

    def paths(self, pattern):
        found = database_files(source=Source(scheme="jsonl", database=pattern), directories=True)
        return [entry.database for entry in found if os.path.basename(entry.database) != "_system"]

    @hookimpl
    def backup(self, source, sink, options):
        path = Path(source.database)
        if not path.is_dir():
            raise SourceError(f"there is no directory {path}")
        self.emit(sink, {"begin": "jsonl", "indent": options["indent"]})
        objects = []
        for table in sorted(path.glob("*.jsonl")):
            self.emit(sink, {"table": table.stem})
            rows = 0
            with table.open() as lines:
                for line in lines:
                    self.row(sink, line)
                    rows += 1
            objects.append(ObjectEvidence(path=table.stem, rows=rows))
        self.emit(sink, {"end": len(objects)})
        return Evidence(objects=tuple(objects))

    def emit(self, sink, value):
        sink.write(json.dumps(value).encode() + b"\n")

    def row(self, sink, line):
        self.emit(sink, {"row": json.loads(line)})

    @hookimpl
    def restore(self, target, dump, overwrite, options):
        path = Path(target.database)
        self.refuse(path, overwrite)
        temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
        temporary.mkdir()
        try:
            evidence = self.load(dump, temporary)
            self.check(evidence, dump)
            self.put_in_place(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return evidence

    def refuse(self, path, overwrite):
        if not overwrite and path.is_dir() and os.listdir(path):
            raise TargetNotEmpty(f"{path} holds something")

    def load(self, dump, temporary):
        rows, opened = {}, {}
        complete = False
        with contextlib.ExitStack() as files:
            for line in self.lines(dump):
                value = json.loads(line)
                if "table" in value:
                    table = value["table"]
                    if table not in rows:
                        opened[table] = files.enter_context((temporary / f"{table}.jsonl").open("w"))
                    file = opened[table]
                    rows.setdefault(table, 0)
                elif "row" in value:
                    file.write(json.dumps(value["row"]) + "\n")
                    rows[table] += 1
                complete = "end" in value
        if not complete:
            raise IntegrityError("the dump has no end mark")
        return Evidence(objects=tuple(ObjectEvidence(path=t, rows=n) for t, n in rows.items()))

    def lines(self, dump):
        stream, partial_line = dump.open(), b""
        while block := stream.read(1000):
            *lines, partial_line = (partial_line + block).split(b"\n")
            yield from lines
        if partial_line:
            raise IntegrityError("the dump ends within a line")

    def check(self, evidence, dump):
        if evidence.objects != dump.evidence.objects:
            raise IntegrityError(f"the dump holds {evidence.objects}, not {dump.evidence.objects}")

    def put_in_place(self, temporary, path):
        moved = path.with_name(f"{path.name}.{uuid.uuid4().hex}.old")
        if path.exists():
            path.rename(moved)
        temporary.rename(path)
        shutil.rmtree(moved, ignore_errors=True)


class JsonLinesInParts(JsonLines):
    """The same, with a part for each table, or two: ``split`` writes the lines of one."""

    @hookimpl
    def describe(self):
        return replace(super().describe(), formats=(Format(name="lines", suffix=".jsonl", parts=True),))

    @hookimpl
    def backup(self, source, sink, options):
        path = Path(source.database)
        if not path.is_dir():
            raise SourceError(f"there is no directory {path}")
        tables = {table: self.count(table) for table in sorted(path.glob("*.jsonl"))}
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(self.write_part, sink, *part) for part in self.divided(tables)]:
                done.result()
        with sink.part(section="post-data") as part:
            self.emit(part, {"end": len(tables)})
        return Evidence(objects=tuple(ObjectEvidence(path=t.stem, rows=rows) for t, rows in tables.items()))

    def count(self, table):
        with table.open() as lines:
            return sum(1 for _ in lines)

    def divided(self, tables):
        for table, rows in tables.items():
            yield from [(table, 0, rows // 2, "the first half"), (table, rows // 2, rows, "the second half")]

    def write_part(self, sink, table, start, stop, which):
        with sink.part(at_once=2) as part, table.open() as lines:
            self.emit(part, {"table": table.stem})
            rows = start
            for rows, line in enumerate(itertools.islice(lines, start, stop), start + 1):  # noqa: B007
                self.row(part, line)
            if rows != stop:
                raise SourceError(f"{table} has become shorter")
            self.tell(part, table.stem, stop - start, which)

    def tell(self, part, name, rows, which):
        part.holds(name, rows=rows, range=which)

    def lines(self, dump):
        # Several threads begin them: of a table the second half may come first.
        last = [("\uffff", "")]
        for part in sorted(dump.parts, key=lambda part: [(t.path, t.range) for t in part.tables] or last):
            yield from super().lines(part)


class JsonLinesByTable(JsonLines):
    """The same, and it restores single tables."""

    @hookimpl
    def restore_tables(self, target, dump, tables, overwrite):
        path = Path(target.database)
        self.refuse_tables(path, tables, overwrite)
        loaded, changed = (path.with_name(f"{path.name}.{uuid.uuid4().hex}.part") for _ in range(2))
        loaded.mkdir()
        try:
            evidence = self.of_tables(self.load(dump, loaded), tables)
            self.check(evidence, dump)
            self.copy_old(path, changed)
            self.put_tables(loaded, changed, tables)
            self.put_in_place(changed, path)
        finally:
            for directory in (loaded, changed):
                shutil.rmtree(directory, ignore_errors=True)
        return evidence

    def refuse_tables(self, path, tables, overwrite):
        there = [name for name in tables.values() if (path / f"{name}.jsonl").exists()]
        if there and not overwrite:
            raise TargetNotEmpty(f"{path} has {there}")

    def of_tables(self, evidence, tables):
        found = replace(evidence, objects=tuple(o for o in evidence.objects if o.path in tables))
        if len(found.objects) != len(tables):
            raise IntegrityError(f"the dump holds of {list(tables)} only {[o.path for o in found.objects]}")
        return found

    def copy_old(self, path, changed):
        if path.is_dir():
            shutil.copytree(path, changed)
        else:
            changed.mkdir()

    def put_tables(self, loaded, changed, tables):
        for table, name in tables.items():
            (loaded / f"{table}.jsonl").replace(changed / f"{name}.jsonl")


class JsonLinesInPartsByTable(JsonLinesByTable, JsonLinesInParts):
    """Both: parts, of which those of single tables are read."""


class _TableRows:
    def __init__(self, values):
        self.columns = tuple(sorted({name for value in values for name in value}))
        identities = [value.get("id") for value in values]
        unique = None not in identities and len({*map(json.dumps, identities)}) == len(values)
        self.key = ("id",) if values and unique else ()
        self.values = values

    def __iter__(self):
        for value in self.values:
            yield tuple(self.read(value.get(name)) for name in self.columns)

    def read(self, value):
        return value if type(value) in {str, int, float, type(None)} else json.dumps(value)


class JsonLinesWithRows(JsonLines):
    """The same, and it gives the rows of a table."""

    @hookimpl
    def read_rows(self, source, table):
        return self.opened(Path(source.database), table)

    @contextlib.contextmanager
    def opened(self, path, table):
        with self.file_of(path, table) as lines:
            yield self.table_rows([json.loads(line) for line in lines])

    def file_of(self, path, table):
        file = path / f"{table}.jsonl"
        if not file.is_file():
            raise SourceError(f"{path} has no table {table}")
        return file.open()

    def table_rows(self, values):
        return _TableRows(values)


class _Scratch:
    versions = MappingProxyType({"jsonl": "1"})

    def __init__(self, path):
        self.path = path
        self.target = parse_url(f"jsonl:///{path}")

    def check(self):
        return ("every line is JSON",)

    @contextlib.contextmanager
    def clone(self):
        path = self.path.with_name(f"clone-{uuid.uuid4().hex}")
        try:
            shutil.copytree(self.path, path)
            yield type(self)(path)
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def ask(self, statement):
        verb, _, words = statement.partition(" ")
        if verb == "count":
            return [(len(list(self.path.glob(words))),)]
        if verb == "values":
            return [(json.loads(word),) for word in words.split()]
        raise SourceError(f"{statement!r} is no question")


class ProvingJsonLines(JsonLines):
    """The same, and its backups can be proved, and its tables counted."""

    @hookimpl
    def describe(self):
        evidence = Option(
            name="evidence", default="off", choices=("off", "counts"), help="count rows", verbs=("inspect",)
        )
        info = super().describe()
        return replace(info, options=(*info.options, evidence))

    @hookimpl
    def inspect(self, source, options):
        tables = sorted(Path(source.database).glob("*.jsonl"))
        objects = tuple(ObjectEvidence(path=t.stem, rows=self.count(t)) for t in tables)
        evidence = Evidence(objects=objects) if options["evidence"] == "counts" else None
        return replace(super().inspect(source, options), evidence=evidence)

    def count(self, table):
        return table.read_text().count("\n")

    @hookimpl
    def examine(self, dump):
        with tempfile.TemporaryDirectory() as temporary:
            evidence = self.load(dump, Path(temporary))
        self.check(evidence, dump)
        return evidence

    @hookimpl
    def scratch(self, dump):
        return self.scratch_at(dump)

    @contextlib.contextmanager
    def scratch_at(self, dump):
        path = dump.workspace() / "scratch"
        try:
            yield self.lend(path)
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def lend(self, path):
        return _Scratch(path)


PLUGIN = JsonLines()
PROVING = ProvingJsonLines()
IN_PARTS = JsonLinesInParts()
BY_TABLE = JsonLinesByTable()
IN_PARTS_BY_TABLE = JsonLinesInPartsByTable()
WITH_ROWS = JsonLinesWithRows()
