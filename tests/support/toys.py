"""Small plugins that do what a test asks of them: registered as a program registers its own."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from dumpty import Evidence, Format, Inspection, ObjectEvidence, Option, PluginInfo, SourceError, Worker, hookimpl


class ToyDriver:
    """A driver of databases that are bytes in a dictionary; ``toy://host/NAME``."""

    name = "toy"

    def __init__(self, **databases: bytes) -> None:
        self.databases = databases

    @hookimpl
    def describe(self):
        return PluginInfo(
            kind="driver",
            schemes=("toy",),
            formats=(Format(name="sql", suffix=".sql"), Format(name="native", suffix=".bin")),
            options=(Option(name="chunk", default=1 << 16, help="bytes written at a time"),),
        )

    @hookimpl
    def inspect(self, source):
        data = self.databases.get(source.database)
        return Inspection(exists=data is not None, empty=not data, identity=f"toy:{source.database}")

    @hookimpl
    def backup(self, source, sink, options):
        if source.database not in self.databases:
            raise SourceError(f"there is no {source.url}")
        data = self.databases[source.database]
        sink.expect(len(data))
        for start in range(0, len(data), options["chunk"]):
            sink.write(data[start : start + options["chunk"]])
        return Evidence(versions={"toy": "1"})

    @hookimpl
    def restore(self, target, dump):
        blocks = []
        stream = dump.open()
        while block := stream.read(100_000):
            blocks.append(block)
        self.databases[target.database] = b"".join(blocks)
        return Evidence()


class PartsDriver:
    """A driver of databases that are tables, bytes by name, in a dictionary; ``many://host/NAME``.

    Its format ``parts`` has a part for the schema, and one for each table, written by ``at_once`` threads. ``write``,
    called with the sink, does that in another way; ``read``, with the dump, returns the tables of it.
    """

    name = "many"

    def __init__(self, databases=None, *, write=None, read=None, at_once=3) -> None:
        self.databases = databases or {}
        self.write = write
        self.read = read
        self.at_once = at_once
        self.dumps = []

    @hookimpl
    def describe(self):
        formats = (Format(name="parts", suffix=".rows", parts=True), Format(name="stream", suffix=".sql"))
        return PluginInfo(kind="driver", schemes=("many",), formats=formats)

    @hookimpl
    def inspect(self, source):
        tables = self.databases.get(source.database)
        return Inspection(exists=tables is not None, empty=not tables, identity=f"many:{source.database}")

    @hookimpl
    def backup(self, source, sink, format):
        if self.write is not None:
            return self.write(sink) or Evidence()
        tables = self.databases[source.database]
        sink.expect(sum(map(len, tables.values())))
        if format == "stream":
            sink.write(b"".join(tables.values()))
            return Evidence()
        with sink.part(section="pre-data", suffix=".sql") as part:
            part.write(" ".join(tables).encode())
        with ThreadPoolExecutor(self.at_once) as pool:
            list(pool.map(lambda item: self.write_table(sink, *item), tables.items()))
        return Evidence(objects=tuple(ObjectEvidence(path=name, rows=len(data)) for name, data in tables.items()))

    def write_table(self, sink, name, data):
        with sink.part(at_once=self.at_once) as part:
            for start in range(0, len(data), 1 << 16):
                part.write(data[start : start + (1 << 16)])
            part.holds(name, rows=len(data), range="all of it")

    @hookimpl
    def restore(self, target, dump):
        self.dumps.append([(part.section, part.suffix, part.tables) for part in dump.parts])
        self.databases[target.database] = self.read(dump) if self.read is not None else self.tables(dump)
        return Evidence()

    def tables(self, dump):
        schema, *data = dump.parts
        with ThreadPoolExecutor(self.at_once) as pool:
            contents = list(pool.map(lambda part: (part.tables[0].path, part.open().read()), data))
        assert sorted(schema.open().read().decode().split()) == sorted(name for name, _ in contents)
        return dict(contents)


class ToyCompressor:
    """Stores bytes as they are, behind one byte of header."""

    name = "plainly"

    @hookimpl
    def describe(self):
        return PluginInfo(kind="compressor", suffix=".plain")

    @hookimpl
    def compress(self, sink):
        return ToyWriter(sink)

    @hookimpl
    def decompress(self, stream):
        assert stream.read(1) == b"!"
        return stream


class ToyWriter:
    def __init__(self, sink) -> None:
        self.sink = sink
        self.header_written = False

    def write(self, data):
        if not self.header_written:
            self.header_written = True
            self.sink.write(b"!")
        return self.sink.write(data)

    def close(self):
        self.write(b"")


class ToyVerifier:
    """Counts bytes."""

    name = "counter"

    @hookimpl
    def describe(self):
        return PluginInfo(kind="verifier")

    @hookimpl
    def verify(self):
        return Counter()


class Counter:
    def __init__(self) -> None:
        self.size = 0

    def update(self, data):
        self.size += len(data)

    def hexdigest(self):
        return f"{self.size:x}"


class StoreWrapper:
    """The store ``wrapped:///path``: the directory's own store, with methods replaced by those given.

    A replacement is called with the real method and its arguments.
    """

    name = "wrapped"

    def __init__(self, **replaced) -> None:
        self.replaced = replaced

    @hookimpl
    def describe(self):
        return PluginInfo(kind="store", schemes=("wrapped",))

    @hookimpl
    def open_store(self, url):
        return _PatchedStore(open_directory(url.removeprefix("wrapped://")), self.replaced)


class _PatchedStore:
    def __init__(self, store, replaced) -> None:
        self._store = store
        self._replaced = replaced

    def __getattr__(self, name):
        real = getattr(self._store, name)
        replacement = self._replaced.get(name)
        return real if replacement is None else lambda *a, **k: replacement(real, *a, **k)


def open_directory(path, **options):
    """Return the built-in store for a directory."""
    from dumpty.registry.host import Host

    host = Host()
    plugin = host.store(str(path))
    return host.open_store(plugin, url=str(path), options=host.options({"open_store": plugin}, options)["open_store"])


def python(code, *arguments, env=None, timeout=60, check=True):
    """Run Python code in a process of its own and return what became of it."""
    import os

    environment = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(__file__)), **(env or {})}
    process = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment,
        check=False,
    )
    if check:
        assert process.returncode == 0, process.stderr
    return process


def threads(name):
    """Return the threads that run now and whose name begins so."""
    return [t for t in threading.enumerate() if t.name.startswith(name)]


def wait_until_waiting(thread):
    """Return when ``thread`` waits for work in another thread."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        frame = sys._current_frames().get(thread.ident)
        while frame is not None:
            if frame.f_code in {Worker.wait.__code__, Worker.end.__code__}:
                return
            frame = frame.f_back
        time.sleep(0.005)
    raise AssertionError(f"{thread.name} never waited")


def threads_ended(name, before=()):
    """Wait until no thread of that name runs, save those that ran before."""
    until = time.monotonic() + 60
    while (running := {*threads(name)} - {*before}) and time.monotonic() < until:
        time.sleep(0.01)
    return not running
