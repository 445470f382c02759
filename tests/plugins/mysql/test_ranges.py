"""The traps of formatting on the server, each forced."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from plugins.mysql.content import cells
from support.drive import dump, load
from support.mariadb_server import MariaDBServer

import dumpty_plugins.mysql.plugin as mysql
from dumpty import IntegrityError, SourceError
from dumpty_plugins.mysql.dumping import ranges
from dumpty_plugins.mysql.dumping.row_by_row import single_row
from dumpty_plugins.mysql.dumping.spans import Span
from dumpty_plugins.mysql.schema.catalog import Table, listing
from dumpty_plugins.mysql.schema.catalog_reader import CatalogReader
from dumpty_plugins.mysql.schema.columns import finish_rows
from dumpty_plugins.mysql.server.connection import connect
from dumpty_plugins.mysql.server.session import Session

PACKET = 64 << 10
"""Bytes: a ``max_allowed_packet`` that values pass by without being long."""


@contextlib.contextmanager
def small_packets(server: MariaDBServer) -> Iterator[None]:
    """Let ``max_allowed_packet`` be ``PACKET`` for every connection that is made in the block."""
    ((before,),) = server.run("SELECT @@GLOBAL.max_allowed_packet")
    server.run(f"SET GLOBAL max_allowed_packet={PACKET}")
    try:
        yield
    finally:
        server.run(f"SET GLOBAL max_allowed_packet={before}")


def described(server: MariaDBServer, name: str) -> tuple[Session, Table]:
    session = connect(server.source(name), name)
    reader = CatalogReader(session, name, listing(session, name), ())
    return session, reader.read().tables[0]


def dump_both_ways(server: MariaDBServer, name: str, path: Path, **options) -> bytes:
    """Dump ``name`` both ways, see that they agree, and return the dump."""
    by_server = dump(mysql, server.source(name), path / "server", "sql", **options)
    by_client = dump(mysql, server.source(name), path / "client", "sql", formatting="client")
    assert by_server.file.read_bytes() == by_client.file.read_bytes()
    assert by_server.evidence.objects == by_client.evidence.objects
    return by_server.file.read_bytes()


@pytest.mark.parametrize("longest", [1024, 5000, 70000])
@pytest.mark.usefixtures("raw_texts")
def test_a_value_that_group_concat_cuts_is_split(server: MariaDBServer, database, longest: int) -> None:
    name = database(
        "CREATE TABLE t (id INT PRIMARY KEY, a TEXT)",
        "INSERT INTO t SELECT seq, REPEAT(CHAR(65 + seq % 26), seq % 90) FROM seq_1_to_2000",
    )
    session, table = described(server, name)
    try:
        session.return_bytes()
        session.execute(f"SET SESSION group_concat_max_len={longest}")
        pieces = list(ranges.read_ranges(session, table, ["TRUE"]))
        session.execute("SET SESSION group_concat_max_len=100000000")
        ((count, block),) = ranges.read_ranges(session, table, ["TRUE"])
    finally:
        session.close()
    assert len(pieces) >= 2
    assert sum(n for n, _ in pieces) == count == 2000
    assert b"".join(b for _, b in pieces) == block


def test_texts_that_came_as_they_are_are_whole_or_not_there() -> None:
    """Wherever they are cut, and whatever is in them."""
    rows = [
        (b"2,N:(1,\x1a,'x',\x1a)\x1a" + b"\x1a'", rb"(1,'\Z\'','x',NULL)" + b"\x1a"),
        (b"0,5:(22,\x1a,NULL,\x1a)\x1a" + b"7,3:\n", rb"(22,'',NULL,'7,3:\n')" + b"\x1a"),
    ]
    block, finished = (b"".join(parts) for parts in zip(*rows, strict=True))
    assert finish_rows(block, 2) == (2, finished)
    assert finish_rows(b"", 2) == (0, b"")
    for size in range(1, len(block)):
        assert finish_rows(block[:size], 2) == ((1, rows[0][1]) if size == len(rows[0][0]) else None)


def test_a_value_cut_exactly_between_rows_is_split(server: MariaDBServer, database) -> None:
    name = database("CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t SELECT seq FROM seq_1000_to_9999")
    session, table = described(server, name)
    try:
        session.return_bytes()
        session.execute("SET SESSION group_concat_max_len=7000")  # a row is "(1000)" and its end: seven bytes
        pieces = list(ranges.read_ranges(session, table, ["TRUE"]))
    finally:
        session.close()
    assert sum(n for n, _ in pieces) == 9000
    assert b"".join(b for _, b in pieces) == b"".join(b"(%d)\x1a" % n for n in range(1000, 10000))


@pytest.mark.usefixtures("raw_texts")
def test_a_row_longer_than_max_allowed_packet_is_not_lost(server: MariaDBServer, database, tmp_path: Path) -> None:
    name = database(
        "CREATE TABLE t (id INT PRIMARY KEY, a LONGTEXT, b LONGBLOB)",
        "INSERT INTO t SELECT seq, REPEAT('x', 1000), NULL FROM seq_1_to_50",
        # Each fits; the row, formatted, is longer than what the server's functions may return.
        "INSERT INTO t VALUES (25000, REPEAT('y', 56000), REPEAT('z', 56000)), (25001, '', REPEAT('''', 62000))",
    )
    with small_packets(server):
        # Proof that the trap is there: the server itself loses the rows.
        lost = server.run("SELECT COUNT(*) - COUNT(CONCAT(a, HEX(b))) FROM t WHERE b IS NOT NULL", database=name)
        text = dump_both_ways(server, name, tmp_path)
    assert lost == [(2,)]
    assert text.count(b"\n(") == 52
    backup = dump(mysql, server.source(name), tmp_path / "d", "sql")
    target = database(create=False)
    load(mysql, server.source(target), backup)
    assert cells(server, target) == cells(server, name)


@pytest.mark.usefixtures("raw_texts")
def test_a_row_longer_than_a_range_may_be_is_not_lost(server: MariaDBServer, database, tmp_path: Path) -> None:
    name = database(
        "CREATE TABLE t (id INT PRIMARY KEY, a LONGBLOB)",
        "INSERT INTO t VALUES (1, 'a'), (2, REPEAT('b', 5000000)), (3, 'c')",
    )
    assert dump_both_ways(server, name, tmp_path).count(b"\n(") == 3


def test_a_row_that_is_counted_but_not_delivered_is_an_error(server: MariaDBServer, database) -> None:
    name = database("CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    session, table = described(server, name)
    try:
        with pytest.raises(IntegrityError, match="a range of one row of table t delivered 0"):
            single_row(session, table, "id=2")
    finally:
        session.close()


@pytest.mark.parametrize("charset", ["latin1", "utf8mb4", "sjis"])
def test_a_text_too_long_for_the_servers_functions_is_not_taken_for_null(
    server: MariaDBServer, database, tmp_path: Path, charset: str
) -> None:
    name = database(
        f"CREATE TABLE t (id INT PRIMARY KEY, a LONGTEXT CHARACTER SET {charset})",
        "INSERT INTO t VALUES (1, REPEAT('x', 56000))",
        "INSERT INTO t VALUES (2, REPEAT(CHAR(39), 56000)), (3, NULL)",
        *(["INSERT INTO t VALUES (4, REPEAT('é', 56000))"] if charset == "latin1" else []),
    )
    with small_packets(server):
        text = dump_both_ways(server, name, tmp_path)
    assert text.count(b"NULL)") == 1


@pytest.mark.parametrize("kind", ["LONGTEXT", "LONGTEXT CHARACTER SET latin1", "LONGBLOB", "JSON"])
def test_a_value_longer_than_max_allowed_packet_itself_is_not_taken_for_null(
    server: MariaDBServer, database, tmp_path: Path, kind: str
) -> None:
    name = database(
        f"CREATE TABLE t (id INT PRIMARY KEY, a {kind})",
        f"INSERT INTO t SELECT seq, CONCAT('\"', REPEAT('x', seq), '\"') FROM seq_{PACKET - 11}_to_{PACKET + 4}",
        "INSERT INTO t VALUES (1, CONCAT('\"', REPEAT('x', 200000), '\"')), (2, NULL)",
    )
    with small_packets(server):
        if (server.kind, kind) == ("mysql", "JSON"):  # of which that server gives an empty text
            for formatting in ("server", "client"):
                with pytest.raises(SourceError, match=r"a JSON value in column a is longer.*max_allowed_packet"):
                    dump(mysql, server.source(name), tmp_path / formatting, "sql", formatting=formatting)
            return
        text = dump_both_ways(server, name, tmp_path)
    assert text.count(b"NULL)") == 1
    assert len(text) > 200_000 + 16 * (PACKET - 11)


@pytest.mark.parametrize(
    ("key", "rows"),
    [
        ("id BIGINT PRIMARY KEY", "SELECT CAST(seq AS SIGNED) * 1000003 - 5000000000 FROM seq_1_to_9000"),
        ("id BIGINT UNSIGNED PRIMARY KEY", "SELECT 18446744073709551615 - seq FROM seq_0_to_9000"),
        (
            "id BIGINT PRIMARY KEY",
            "SELECT seq FROM seq_1_to_5 UNION SELECT seq + 4611686018427387904 FROM seq_1_to_9000",
        ),
        ("id INT PRIMARY KEY", "SELECT seq FROM seq_1_to_9000"),
        ("id INT PRIMARY KEY", "SELECT -CAST(seq AS SIGNED) FROM seq_1_to_4000"),
        ("id INT PRIMARY KEY", "SELECT 7"),
        ("id DECIMAL(20,3) PRIMARY KEY", "SELECT seq / 1000 FROM seq_1_to_9000"),
        ("id DATETIME(6) PRIMARY KEY", "SELECT '2024-01-01' + INTERVAL seq MICROSECOND FROM seq_1_to_9000"),
        ("id VARBINARY(20) PRIMARY KEY", "SELECT UNHEX(LEFT(SHA2(seq, 256), 32)) FROM seq_1_to_9000"),
        (
            "id VARCHAR(40) CHARACTER SET latin1 PRIMARY KEY",
            "SELECT CONCAT(LEFT(SHA2(seq, 256), 32), '''é') FROM seq_1_to_9000",
        ),
        (
            "id VARCHAR(40) COLLATE utf8mb4_bin PRIMARY KEY",
            "SELECT CONCAT('\\\\', seq % 2, '😀', LEFT(SHA2(seq, 256), 32)) FROM seq_1_to_9000",
        ),
        ("id VARCHAR(40) CHARACTER SET sjis PRIMARY KEY", "SELECT CONCAT(_sjis X'955C', seq) FROM seq_1_to_9000"),
        ("id INT NOT NULL, UNIQUE KEY k (id)", "SELECT seq * 3 FROM seq_1_to_9000"),
        ("id INT, UNIQUE KEY k (id)", "SELECT NULLIF(seq, 5) FROM seq_1_to_9000"),
        ("id FLOAT PRIMARY KEY", "SELECT seq / 7 FROM seq_1_to_9000"),
        ("id ENUM('b','a') PRIMARY KEY", "SELECT 1 UNION SELECT 2"),
    ],
)
def test_ranges_of_any_key_hold_every_row_once(
    server: MariaDBServer, database, tmp_path: Path, key: str, rows: str
) -> None:
    name = database("SET SESSION sql_mode=''", f"CREATE TABLE t ({key})", f"INSERT INTO t {rows}")
    text = dump_both_ways(server, name, tmp_path)
    ((count,),) = server.run("SELECT COUNT(*) FROM t", database=name)
    lines = [x for x in text.split(b"\n") if x.startswith(b"(")]
    assert len(lines) == count
    assert len({x.rstrip(b",;") for x in lines}) == count


def test_ranges_of_a_composite_key_hold_every_row_once(server: MariaDBServer, database, tmp_path: Path) -> None:
    name = database(
        "CREATE TABLE t (a VARCHAR(10), b INT, c DATE, PRIMARY KEY (b, a, c))",
        "INSERT INTO t SELECT CONCAT('k', seq % 7), seq % 3, '2000-01-01' + INTERVAL seq DAY FROM seq_1_to_20000",
    )
    text = dump_both_ways(server, name, tmp_path, jobs=3)
    lines = {x.rstrip(b",;") for x in text.split(b"\n") if x.startswith(b"(")}
    assert len(lines) == 20000


def test_one_job_needs_no_global_lock(server: MariaDBServer, database, tmp_path: Path) -> None:
    name = database("CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t SELECT seq FROM seq_1_to_9000")
    connection = server.connect(name)
    try:
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE busy (id INT)")
            cursor.execute("START TRANSACTION")
            cursor.execute("INSERT INTO busy VALUES (1)")
        backup = dump(mysql, server.source(name), tmp_path / "d", "sql", jobs=1)
    finally:
        connection.close()
    assert backup.evidence.notes == ()
    assert {o.path: o.rows for o in backup.evidence.objects} == {"busy": 0, "t": 9000}


def test_a_range_follows_the_rows_that_were_seen_not_what_the_server_believes_of_them(
    mariadb: MariaDBServer, database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = database(
        "CREATE TABLE t (id INT PRIMARY KEY, a TEXT) STATS_AUTO_RECALC=0",  # said to be empty for ever
        "INSERT INTO t SELECT seq, REPEAT('x', 1024) FROM seq_1_to_30000",
    )
    sizes: list[int] = []
    read = ranges.read_ranges

    def measured(session, table, conditions):
        for count, block in read(session, table, conditions):
            sizes.append(len(block))
            yield count, block

    monkeypatch.setattr(ranges, "read_ranges", measured)
    dump(mysql, mariadb.source(name), tmp_path / "d", "sql")
    assert sum(sizes) > 30_000_000
    assert max(sizes) < 1 << 20


def test_few_long_rows_far_apart_take_few_ranges(
    mariadb: MariaDBServer, database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = database(
        "CREATE TABLE t (id INT PRIMARY KEY, a MEDIUMTEXT)",
        "INSERT INTO t SELECT seq * 30000, REPEAT('x', 300000) FROM seq_0_to_1",
    )
    conditions: list[str] = []
    read = ranges.read_ranges

    def counted(session, table, waiting):
        conditions.extend(waiting)
        return read(session, table, waiting)

    monkeypatch.setattr(ranges, "read_ranges", counted)
    assert dump(mysql, mariadb.source(name), tmp_path / "d", "sql").file.read_bytes().count(b"\n(") == 2
    assert len(conditions) < 200


def test_of_a_range_with_longer_rows_than_were_seen_little_is_held_at_once(
    mariadb: MariaDBServer, database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = database(
        "CREATE TABLE t (id INT PRIMARY KEY, a MEDIUMTEXT) STATS_AUTO_RECALC=0",
        "INSERT INTO t SELECT seq, 'x' FROM seq_1_to_30000",
        "INSERT INTO t SELECT seq, REPEAT('x', 10000) FROM seq_30001_to_33000",
    )
    held: list[int] = []
    read = ranges.RangeReader._read

    def measured(reader, *arguments):
        found = read(reader, *arguments)
        held.append(sum(len(block) for _, block in found[0]))
        return found

    monkeypatch.setattr(ranges.RangeReader, "_read", measured)
    dump_both_ways(mariadb, name, tmp_path)
    assert sum(held) > 30_000_000
    assert max(held) < 2 * ranges._LONGEST_VALUE


class Planner:
    """A session of a table that has every key from 1 to ``rows``."""

    packet = 1 << 24

    def __init__(self, rows: int) -> None:
        self.count = rows
        self.searches = 0

    def execute(self, _sql: str) -> None: ...

    def return_bytes(self) -> None: ...

    def rows(self, sql: str) -> list[tuple[bytes, ...]]:
        numbers = [int(n) for n in re.findall(r"`id`(?:>|<=)(-?\d+)", sql)]
        if "MIN(" in sql:
            return [(b"1", b"%d" % self.count)]
        if "LIMIT" in sql:
            self.searches += 1
            return []
        low, high = (numbers * 2)[:2] if ">" in sql and "<=" in sql else (0, self.count)
        if "<=" in sql and ">" not in sql:
            high = numbers[0]
        elif "<=" not in sql:
            low = numbers[0]
        return [(b"%d" % (high - low), b"(1)\x1a" * (high - low))]


def test_what_is_still_being_read_makes_no_table_sparse() -> None:
    """With four sessions there is much of it, and nothing of it was counted yet."""
    planner = Planner(200_000)
    key = SimpleNamespace(name="id", integer=True, boundary="id")
    table = SimpleNamespace(name="t", key=[key], index="PRIMARY", row_bytes=4, columns=())
    counts: list[int] = []
    reader = ranges.RangeReader([Planner(200_000) for _ in range(4)], planner)  # type: ignore[list-item, arg-type]
    try:
        assert (
            reader.dump_rows(Span(table=table), SimpleNamespace(rows=lambda _, count: counts.append(count))) == 200_000
        )
    finally:
        reader.close()
    assert sum(counts) == 200_000
    assert planner.searches == 0
