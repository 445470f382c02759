"""Dumps in parts: every row is in exactly one, of one moment, and whatever is wrong with a part is an error."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from plugins.mysql.content import OBJECTS, TYPES, build, cells
from plugins.mysql.loading import INDEXED, assert_same_content, remaining_sessions
from plugins.mysql.test_computed import zoned
from plugins.mysql.test_indexes_last import DEFERRED
from plugins.mysql.test_snapshot import ids, pair, writers
from support.drive import FileDump, FilePart, FileSink, defaults, dump, load
from support.mariadb_server import MariaDBServer
from support.toys import threads_ended

import dumpty_plugins.mysql.plugin as driver
from dumpty import BackupManager, DumptyError, IntegrityError, Locked, OptionError, SourceError
from dumpty_plugins.mysql.dumping import plan
from dumpty_plugins.mysql.dumping.parallel import PartsWriter
from dumpty_plugins.mysql.dumping.spans import Span
from dumpty_plugins.mysql.schema.catalog import Table
from dumpty_plugins.mysql.schema.columns import column
from dumpty_plugins.mysql.server.session import Session, StatementError

REAL_SIZES = {"LARGE_BYTES": plan.LARGE_BYTES, "RANGE_BYTES": plan.RANGE_BYTES}
TABLES = [
    "CREATE TABLE big (id INT PRIMARY KEY, v CHAR(32) NOT NULL, n INT, KEY by_n (n))",
    "INSERT INTO big SELECT seq, LEFT(SHA2(seq, 256), 32), seq % 7 FROM seq_1_to_4000",
    "CREATE TABLE small (id INT PRIMARY KEY)",
    "INSERT INTO small SELECT seq FROM seq_1_to_5",
    "CREATE TABLE empty_ (id INT PRIMARY KEY)",
    "ANALYZE TABLE big",  # or the server may not know yet how large it is
    "CREATE VIEW bigger AS SELECT * FROM big WHERE id > 100",
    "CREATE TRIGGER t BEFORE INSERT ON small FOR EACH ROW SET NEW.id = NEW.id + 1000",
]


@pytest.fixture
def name(database) -> str:
    return database(*TABLES)


class Once:
    """Does something once, however many threads come at the same time; the others wait until it is done."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work: Callable[[], object] | None = work
        self._lock = threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            work, self._work = self._work, None
            if work is not None:
                work()


class Acting(FileSink):
    """A sink that acts when a part with rows is begun."""

    def __init__(self, path: Path, act: Callable[[], object]) -> None:
        super().__init__(path)
        self.act = Once(act)

    @contextlib.contextmanager
    def part(self, **how) -> Iterator[FilePart]:
        with super().part(**how) as part:
            if how["section"] == "data":
                self.act()
            yield part


def back_up(source, sink: FileSink, **options) -> FileDump:
    with contextlib.closing(sink):
        evidence = driver.backup(
            source=source, sink=sink, format="parallel", options=defaults(driver, "backup", **options)
        )
    return FileDump(sink.file, "parallel", evidence, sink.parts)


def of_rows(made: FileDump) -> list[FilePart]:
    return [part for part in made.parts if part.section == "data"]


def text_of(made: FileDump, table: str) -> bytes:
    return b"".join(part.file.read_bytes() for part in of_rows(made) if table in {t.path for t in part.tables})


def nothing_is_there(server: MariaDBServer, name: str) -> bool:
    like = name.replace("_", "\\_")
    return not server.run(f"SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME LIKE '{like}%'")


# -- what is written ---------------------------------------------------------------------------------------------


def test_each_part_says_which_rows_of_which_table_it_holds(server: MariaDBServer, name: str, tmp_path: Path) -> None:
    made = dump(driver, server.source(name), tmp_path / "d", "parallel", jobs=2)
    first, *others, last = made.parts
    assert (first.section, first.suffix, first.tables) == ("pre-data", "", ())
    assert (last.section, last.suffix, last.tables) == ("post-data", ".objects.sql", ())
    assert {(part.section, part.suffix) for part in others} == {("data", ".rows.sql")}
    held: Counter[str] = Counter()
    for part in others:
        [table] = part.tables
        held[table.path] += table.rows or 0
        assert part.file.read_bytes().count(b"\n(") == table.rows
    assert held == {"big": 4000, "small": 5, "empty_": 0}
    labels = [part.tables[0].range for part in others if part.tables[0].path == "big"]
    assert len(labels) > 4
    assert len([label for label in labels if re.fullmatch(r"id to \d+", label)]) == 1, "the first one has no beginning"
    assert len([label for label in labels if re.fullmatch(r"id from \d+", label)]) == 1, "the last one has no end"
    assert all(re.fullmatch(r"id (from \d+)? ?(to \d+)?", label) for label in labels)
    assert {o.path: o.rows for o in made.evidence.objects} == {"big": 4000, "small": 5, "empty_": 0}
    definitions = first.file.read_bytes()
    assert definitions.count(b"CREATE TABLE") == 3
    assert b"INSERT" not in definitions
    assert b"TRIGGER" not in definitions
    assert all(b"CREATE" not in part.file.read_bytes() for part in others)
    assert re.search(rb"TRIGGER `?t`? BEFORE INSERT", last.file.read_bytes())


def test_small_tables_share_a_part(server: MariaDBServer, name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(plan, "LARGE_BYTES", 100_000)
    monkeypatch.setattr(plan, "RANGE_BYTES", (1 << 20, 1 << 30))
    made = dump(driver, server.source(name), tmp_path / "d", "parallel")
    assert sorted(sorted((t.path, t.rows, t.range) for t in part.tables) for part in of_rows(made)) == [
        [("big", 4000, "")],
        [("empty_", 0, ""), ("small", 5, "")],
    ]
    for size in (4096, 1 << 30):
        made = dump(driver, server.source(name), tmp_path / f"d{size}", "parallel", part_size=size)
        assert (len(of_rows(made)) > 20) == (size == 4096)
    with pytest.raises(OptionError, match="part_size"):
        dump(driver, server.source(name), tmp_path / "e", "parallel", part_size=-1)


def test_of_a_small_database_too_eight_jobs_have_several_parts_each(
    server: MariaDBServer, database, tmp_path: Path, monkeypatch
) -> None:
    for size_name, size in REAL_SIZES.items():
        monkeypatch.setattr(plan, size_name, size)
    name = database(
        "CREATE TABLE t (id INT PRIMARY KEY, v TEXT NOT NULL)",
        "INSERT INTO t SELECT seq, REPEAT('x', 7000) FROM seq_1_to_6000",
        "ANALYZE TABLE t",
    )
    rows = {
        jobs: sorted(part.tables[0].rows or 0 for part in of_rows(made))
        for jobs in (1, 8)
        for made in [dump(driver, server.source(name), tmp_path / str(jobs), "parallel", jobs=jobs)]
    }
    assert len(rows[1]) < 8
    assert len(rows[8]) > 16
    assert rows[8][-1] < 6000 / 8, "whoever begins a part last keeps the others waiting for an eighth at most"


@pytest.mark.parametrize("part_size", [0, 1, 9 << 20])
def test_no_number_of_tables_makes_more_parts_than_a_backup_may_have(monkeypatch, part_size: int) -> None:
    monkeypatch.setattr(plan, "LARGE_BYTES", 8 << 20)
    sizes = {"large": 9 << 20, "medium": 3 << 20, "small": 16 << 10}
    tables = [
        Table(name=f"{kind}{number}", engine="InnoDB", create=b"", columns=(), data_bytes=size)
        for kind, size in sizes.items()
        for number in range(12_000)
    ]
    pieces = plan.plan_parts(lambda _: [], tables, jobs=4, part_size=part_size)
    assert 1000 < len(pieces) < 4500
    assert sorted(s.table.name for piece in pieces for s in piece.spans) == sorted(t.name for t in tables)


def test_a_server_that_explains_nothing_is_dumped_in_ranges_all_the_same() -> None:
    def ask(query: str) -> list[tuple[bytes | None, ...]]:
        if query.startswith("EXPLAIN"):
            raise StatementError("error 1064: you have an error in your SQL syntax", 1064)
        return [(b"-1000", b"1000")]

    key = column("t", "id", "int", "")
    table = Table(name="t", engine="InnoDB", create=b"", columns=(key,), key=(key,), index="PRIMARY", data_bytes=80_000)
    pieces = plan.plan_parts(ask, [table], jobs=2, part_size=10_000)
    assert len(pieces) == 8
    assert {piece.spans[0].condition for piece in pieces} >= {"((`id`<=-751))", "((`id`>-1)) AND ((`id`<=249))"}


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_any_number_of_jobs_writes_and_loads_the_same(
    server: MariaDBServer, name: str, database, tmp_path: Path, jobs: int
) -> None:
    made = dump(driver, server.source(name), tmp_path / "d", "parallel", jobs=jobs)
    method = made.evidence.properties["snapshot"]
    assert (method == "one connection") == (jobs == 1 or server.kind == "mysql")
    target = database(create=False)
    evidence = load(driver, server.source(target), made, jobs=jobs)
    assert evidence.objects == made.evidence.objects
    assert_same_content(server, target, name)


def test_the_servers_client_loads_it_without_dumpty(server: MariaDBServer, database, tmp_path: Path) -> None:
    name, target = database(create=False), database()
    build(server, name, *TYPES, *OBJECTS)
    made = dump(driver, server.source(name), tmp_path / "d", "parallel")
    first, *rows, last = made.parts
    for part in (first, *reversed(rows), last):
        server.client(target, part.file.read_bytes(), "--comments")
    assert cells(server, target) == cells(server, name)
    assert server.dump(target).replace(f"`{target}`.", "") == server.dump(name).replace(f"`{name}`.", "")


KEYS = {
    "negative": ("id INT", "id", "CAST(seq AS SIGNED) - 300"),
    "large": ("id BIGINT UNSIGNED", "id", "18446744073709551615 - seq"),
    "extremes": ("id BIGINT", "id", "IF(seq=1, -9223372036854775808, IF(seq=2, 9223372036854775807, seq))"),
    "sparse": ("id BIGINT", "id", "seq * seq * seq * seq"),
    "skewed": ("id BIGINT", "id", "IF(seq % 100 = 0, seq * 100000000000, seq)"),
    "texts": (
        "id VARCHAR(99) COLLATE utf8mb4_unicode_ci",
        "id",
        "CONCAT('ä''\\\\%', CONVERT(SHA2(seq, 224) USING utf8mb4))",
    ),
    "bytes_": ("id VARBINARY(32)", "id", "UNHEX(SHA2(seq, 256))"),
    "dates": ("id DATETIME", "id", "'2024-01-01' + INTERVAL seq HOUR"),
    "moments": ("id TIMESTAMP", "id", "'2024-03-30' + INTERVAL seq MINUTE"),
    "decimals": ("id DECIMAL(20,5)", "id", "(CAST(seq AS SIGNED) - 300) / 7"),
    "pairs": ("id INT, b VARCHAR(20)", "b, id", "seq, CHAR(65 + seq / 20 USING utf8mb4)"),
    "led": ("id INT, b INT", "id, b", "seq % 3, seq"),
}
"""Columns, a key, and what is in them."""


def test_rows_of_every_key_are_in_exactly_one_range(server: MariaDBServer, database, tmp_path: Path) -> None:
    name = database(
        "SET SESSION sql_mode=''",
        "CREATE TABLE other (id INT NOT NULL, v TEXT, UNIQUE KEY (id))",
        "INSERT INTO other SELECT seq * 3, REPEAT('x', 300) FROM seq_1_to_600",
        "ANALYZE TABLE other",
        *(
            statement
            for table, (columns, key, values) in KEYS.items()
            for statement in (
                f"CREATE TABLE {table} ({columns}, v TEXT, PRIMARY KEY ({key}))",
                f"INSERT INTO {table} SELECT {values}, REPEAT('x', 300) FROM seq_1_to_600",
                f"ANALYZE TABLE {table}",
            )
        ),
    )
    for part_size in (1 << 14, 1 << 16):
        made = dump(driver, server.source(name), tmp_path / f"d{part_size}", "parallel", part_size=part_size, jobs=3)
        ranges = Counter(part.tables[0].path for part in of_rows(made))
        assert all(ranges[table] > 1 for table in [*KEYS, "other"]), ranges
        assert {o.path: o.rows for o in made.evidence.objects} == dict.fromkeys([*KEYS, "other"], 600)
        driver.examine(dump=made, options={})
        target = database(create=False)
        load(driver, server.source(target), made)
        assert cells(server, target) == cells(server, name)


def test_a_row_longer_than_a_part_and_tables_of_every_engine_come_back(
    server: MariaDBServer, database, tmp_path: Path, small: None
) -> None:
    name = database(
        "CREATE TABLE huge (id INT PRIMARY KEY, v LONGTEXT)",
        "INSERT INTO huge VALUES (1, 'x'), (2, REPEAT('it''s ', 1000000)), (3, NULL)",
        *(f"CREATE TABLE m{n} (id INT PRIMARY KEY, v TEXT) ENGINE=MyISAM" for n in (1, 2)),
        "INSERT INTO m1 SELECT seq, REPEAT('y', 500) FROM seq_1_to_300",
        "INSERT INTO m2 VALUES (7, 'z')",
        "CREATE TABLE a_both (id INT NOT NULL, v TEXT, KEY (id)) ENGINE=MRG_MyISAM UNION=(m1, m2)",
        "CREATE TABLE no_key (a INT)",
        "INSERT INTO no_key SELECT seq % 5 FROM seq_1_to_3000",
    )
    made = dump(driver, server.source(name), tmp_path / "d", "parallel", fingerprint=True, jobs=3)
    assert {o.path: o.rows for o in made.evidence.objects}["a_both"] is None
    driver.examine(dump=made, options={})
    assert Counter(part.tables[0].path for part in of_rows(made))["no_key"] == 1
    target = database(create=False)
    assert {o.path: o.rows for o in load(driver, server.source(target), made).objects} == {
        o.path: o.rows for o in made.evidence.objects
    }
    assert cells(server, target) == cells(server, name)


@pytest.mark.parametrize("zone", ["+05:30", "+00:00"])
def test_what_the_writers_time_zone_decided_comes_back(
    server: MariaDBServer, database, tmp_path: Path, small: None, zone: str
) -> None:
    name, by_client = database(*zoned(zone)), database()
    made = dump(driver, server.source(name), tmp_path / "d", "parallel", fingerprint=True, jobs=3)
    assert made.evidence.notes == ()
    target = database(create=False)
    load(driver, server.source(target), made)
    for part in made.parts:
        server.client(by_client, part.file.read_bytes(), "--comments")
    assert cells(server, target) == cells(server, by_client) == cells(server, name)


def test_rows_written_meanwhile_are_in_no_part(server: MariaDBServer, name: str, database, tmp_path: Path) -> None:
    before = cells(server, name)
    sink = Acting(
        tmp_path / "d",
        lambda: server.run(
            "UPDATE big SET v='new', id=id+100000 WHERE id % 2", "DELETE FROM big WHERE id < 1000", database=name
        ),
    )
    made = back_up(server.source(name), sink, jobs=2)
    target = database(create=False)
    load(driver, server.source(target), made)
    assert cells(server, target) == before != cells(server, name)


def test_no_parts_hold_half_a_pair_while_writers_commit(server: MariaDBServer, database, tmp_path: Path) -> None:
    name = database(
        "CREATE TABLE a_first (id INT PRIMARY KEY)",
        "CREATE TABLE filler (id INT PRIMARY KEY, a TEXT)",
        "INSERT INTO filler SELECT seq, REPEAT('x', 500) FROM seq_1_to_1000",
        "CREATE TABLE z_last (id INT PRIMARY KEY)",
        "INSERT INTO a_first SELECT seq FROM seq_1_to_2000",
        "INSERT INTO z_last SELECT seq FROM seq_1_to_2000",
        "ANALYZE TABLE a_first",
    )
    sizes = set()
    with writers(server, name, pair):
        for turn in range(15):
            # Of a size of its own: what suits depends on what the server just then knows of the other tables, too.
            made = dump(driver, server.source(name), tmp_path / f"d{turn}", "parallel", jobs=2, part_size=16384)
            found = {
                table: set().union(*(ids(p.file.read_bytes(), table) for p in of_rows(made)))
                for table in ("a_first", "z_last")
            }
            assert found["a_first"] == found["z_last"]
            assert {o.path: o.rows for o in made.evidence.objects}["a_first"] == len(found["a_first"])
            assert len([p for p in of_rows(made) if p.tables[0].path == "a_first"]) > 1
            sizes.add(len(found["a_first"]))
    assert len(sizes) > 3  # the writers were at work


def test_what_rewrites_a_table_waits_until_the_parts_are_written(
    server: MariaDBServer, name: str, tmp_path: Path
) -> None:
    threads = []
    waiting = f"SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE DB='{name}' AND STATE LIKE 'Waiting for table metadata lock'"

    def rewrite() -> None:
        for statement in ("TRUNCATE big", "DROP TABLE small", "ALTER TABLE empty_ ADD COLUMN x TEXT"):
            threads.append(threading.Thread(target=server.run, args=(statement,), kwargs={"database": name}))
            threads[-1].start()
        deadline = time.monotonic() + 30
        while server.run(waiting) != [(3,)]:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    made = back_up(server.source(name), Acting(tmp_path / "d", rewrite), jobs=2)
    for thread in threads:
        thread.join()
    assert {o.path: o.rows for o in made.evidence.objects} == {"big": 4000, "small": 5, "empty_": 0}
    assert server.run("SELECT COUNT(*) FROM big", database=name) == [(0,)]


# -- what is wrong while it is written -----------------------------------------------------------------------------


def test_a_session_that_is_lost_midway_fails_the_backup(server: MariaDBServer, name: str, tmp_path: Path) -> None:
    def kill() -> None:
        for (session,) in server.run(f"SELECT ID FROM information_schema.PROCESSLIST WHERE DB='{name}'")[-1:]:
            server.run(f"KILL {session}")

    assert remaining_sessions(server, name) == []  # that which made the tables is none of the backup's
    sink = Acting(tmp_path / "d", kill)
    with pytest.raises(SourceError, match=r"lost|killed"):
        back_up(server.source(name), sink, jobs=2)
    assert not [part for part in sink.parts if part.section == "post-data"]
    assert remaining_sessions(server, name) == []
    assert threads_ended("dumpty-parts")
    assert threads_ended("dumpty-mysql")


def test_a_sink_that_fails_in_one_part_fails_the_backup(server: MariaDBServer, name: str, tmp_path: Path) -> None:
    def fail() -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        back_up(server.source(name), Acting(tmp_path / "d", fail), jobs=2)
    assert remaining_sessions(server, name) == []


def test_ctrl_c_ends_every_session_at_once(server: MariaDBServer, name: str, tmp_path: Path) -> None:
    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)

    with pytest.raises(KeyboardInterrupt):
        back_up(server.source(name), Acting(tmp_path / "d", interrupt), jobs=2)
    assert remaining_sessions(server, name) == []
    assert threads_ended("dumpty-parts")


@pytest.mark.parametrize("fault", ["left out", "twice", "a gap", "an overlap", "a table"])
def test_parts_that_are_not_each_row_once_fail_the_backup(
    server: MariaDBServer, name: str, tmp_path: Path, monkeypatch, fault: str
) -> None:
    planned = plan.plan_parts

    def wrong(*arguments, **options):
        pieces = planned(*arguments, **options)
        cut = next(n for n, piece in enumerate(pieces) if piece.spans[0].low and piece.spans[0].high)
        span = pieces[cut].spans[0]
        number = int(span.low[0]) + (5 if fault == "a gap" else -5)
        moved = Span(table=span.table, low=(str(number),), high=span.high)
        return {
            "left out": [*pieces[:cut], *pieces[cut + 1 :]],
            "twice": [*pieces, pieces[cut]],
            "a gap": [*pieces[:cut], plan.Piece(spans=(moved,)), *pieces[cut + 1 :]],
            "an overlap": [*pieces[:cut], plan.Piece(spans=(moved,)), *pieces[cut + 1 :]],
            "a table": [piece for piece in pieces if piece.spans[0].table.name != "empty_"],
        }[fault]

    monkeypatch.setattr("dumpty_plugins.mysql.dumping.parallel.plan_parts", wrong)
    with pytest.raises(IntegrityError, match=r"the parts of table (big|empty_) are not all of it, each row once"):
        dump(driver, server.source(name), tmp_path / "d", "parallel")


def test_a_part_that_was_not_written_fails_the_backup(
    server: MariaDBServer, name: str, tmp_path: Path, monkeypatch
) -> None:
    together = PartsWriter._together
    monkeypatch.setattr(PartsWriter, "_together", lambda self, work: together(self, work[:-1]))
    with pytest.raises(IntegrityError, match="are not all of it"):
        dump(driver, server.source(name), tmp_path / "d", "parallel")


def test_rows_that_the_server_leaves_out_of_a_value_fail_the_backup(
    server: MariaDBServer, name: str, tmp_path: Path, monkeypatch
) -> None:
    """The planner's session is no witness: what the snapshot counts is, in the same statement as the rows."""
    rows = Session.rows

    def losing(self: Session, sql):
        found = rows(self, sql)
        if "GROUP_CONCAT" in str(sql) and b"(7,'" in (found[0][1] or b""):
            return [(found[0][0], re.sub(rb"\(7,[^\x1a]*\x1a", b"", found[0][1] or b""))]
        return found

    monkeypatch.setattr(Session, "rows", losing)
    made = dump(driver, server.source(name), tmp_path / "d", "parallel")
    assert b"\n(7,'" in text_of(made, "big"), "it is read again in smaller ranges, at last alone"


def test_a_lock_that_somebody_holds_is_waited_for_and_no_longer(
    server: MariaDBServer, name: str, tmp_path: Path
) -> None:
    connection = server.connect(name)
    try:
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLES big WRITE")
            with pytest.raises(Locked, match="lock_timeout"):
                dump(driver, server.source(name), tmp_path / "d", "parallel", lock_timeout=1)
    finally:
        connection.close()


# -- what is wrong with what is loaded -----------------------------------------------------------------------------


def row_of(text: bytes) -> bytes:
    return text[text.index(b"VALUES\n") + 7 :].partition(b",\n")[0]


FORGERIES: dict[str, Callable[[bytes], bytes]] = {
    "a trigger": lambda text: text.replace(
        b"INSERT",
        b"DELIMITER ;;\nCREATE TRIGGER x BEFORE INSERT ON big FOR EACH ROW SET NEW.n=1\n;;\nDELIMITER ;\nINSERT",
        1,
    ),
    "a view": lambda text: text.replace(b"INSERT", b"CREATE VIEW x AS SELECT 1;\nINSERT", 1),
    "a table": lambda text: text.replace(b"INSERT", b"CREATE TABLE x (a INT);\nINSERT", 1),
    "rows of another table": lambda text: text.replace(
        b"INSERT INTO `big`", b"INSERT INTO `small` (`id`) VALUES\n(77);\nINSERT INTO `big`", 1
    ),
    "the database's settings": lambda text: text.replace(b"INSERT", b"ALTER DATABASE COLLATE = latin1_bin;\nINSERT", 1),
    "something else": lambda text: text.replace(b"INSERT", b"DROP TABLE small;\nINSERT", 1),
    "twice": lambda text: text + text,
    "a statement behind": lambda text: text + b"SET time_zone='+00:00';\n",
    "no end": lambda text: text[: text.rindex(b"-- dumpty")],
    "half": lambda text: text[: len(text) // 2],
    "nothing": lambda _text: b"",
    "a row less": lambda text: text.replace(row_of(text) + b",\n", b"", 1),
    "a row more": lambda text: text.replace(b"VALUES\n", b"VALUES\n(77777,'x',1),\n", 1),
    "a row less, and its end says so": lambda text: re.sub(
        rb"(\d+) rows,",
        lambda found: b"%d rows," % (int(found[1]) - 1),
        text.replace(row_of(text) + b",\n", b"", 1),
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_part_that_holds_anything_but_its_rows_is_refused(
    server: MariaDBServer, name: str, database, tmp_path: Path, forgery: str
) -> None:
    made = dump(driver, server.source(name), tmp_path / "d", "parallel")
    part = next(part for part in of_rows(made) if part.tables[0].path == "big")
    part.file.write_bytes(FORGERIES[forgery](part.file.read_bytes()))
    with pytest.raises(IntegrityError):
        driver.examine(dump=made, options={})
    target = database(create=False)
    with pytest.raises(DumptyError):
        load(driver, server.source(target), made)
    assert nothing_is_there(server, target)


@pytest.mark.parametrize(
    ("section", "old", "new"),
    [
        ("pre-data", b"\n-- dumpty: complete", b"INSERT INTO `small` (`id`) VALUES\n(77);\n\n-- dumpty: complete"),
        ("pre-data", b"\n-- dumpty: complete", b"CREATE VIEW x AS SELECT 1;\n\n-- dumpty: complete"),
        ("post-data", b"\n-- dumpty: complete", b"INSERT INTO `small` (`id`) VALUES\n(77);\n\n-- dumpty: complete"),
        ("post-data", b"\n-- dumpty: complete", b"CREATE TABLE x (a INT);\n\n-- dumpty: complete"),
        ("post-data", b"0 tables, 0 rows", b"0 tables, 5 rows"),
        ("pre-data", b"3 tables, 0 rows", b"3 tables, 5 rows"),
    ],
)
def test_what_stands_in_the_wrong_part_is_refused(
    server: MariaDBServer, name: str, database, tmp_path: Path, section: str, old: bytes, new: bytes
) -> None:
    made = dump(driver, server.source(name), tmp_path / "d", "parallel")
    part = next(part for part in made.parts if part.section == section)
    assert old in part.file.read_bytes()
    # Its last line counts what was put in, so that nothing but the place of it is wrong.
    text = re.sub(
        rb"(\d+) statements", lambda found: b"%d statements" % (int(found[1]) + (b";" in new)), part.file.read_bytes()
    )
    part.file.write_bytes(text.replace(old, new))
    with pytest.raises(
        IntegrityError, match=r"stands in no such part|no dump by this driver says|cut short, or forged"
    ):
        driver.examine(dump=made, options={})
    target = database(create=False)
    with pytest.raises(IntegrityError):
        load(driver, server.source(target), made)
    assert nothing_is_there(server, target)


@pytest.mark.parametrize(
    "change", ["no tables", "tables twice", "no end", "a section", "nothing told", "a part missing", "a part twice"]
)
def test_parts_that_no_backup_makes_are_refused(
    server: MariaDBServer, name: str, database, tmp_path: Path, change: str
) -> None:
    made = dump(driver, server.source(name), tmp_path / "d", "parallel")
    first, *rows, last = made.parts
    rows.sort(key=lambda part: -part.size)
    if change == "a section":
        rows[0].section = "whole"
    elif change == "nothing told":
        rows[0].tables = ()
    made.parts = {
        "no tables": (*rows, last),
        "tables twice": (first, *made.parts),
        "no end": (first, *rows),
        "a part missing": (first, *rows[1:], last),
        "a part twice": (first, rows[0], *rows, last),
    }.get(change, made.parts)
    with pytest.raises(IntegrityError):
        driver.examine(dump=made, options={})
    target = database(create=False)
    with pytest.raises(DumptyError):
        load(driver, server.source(target), made)
    assert nothing_is_there(server, target)


def test_parts_in_another_order_are_loaded_in_the_right_one(
    server: MariaDBServer, name: str, database, tmp_path: Path
) -> None:
    made = dump(driver, server.source(name), tmp_path / "d", "parallel")
    made.parts = made.parts[::-1]
    target = database(create=False)
    load(driver, server.source(target), made)
    assert_same_content(server, target, name)


def test_rows_that_the_server_refuses_leave_the_old_content_alone(
    server: MariaDBServer, name: str, database, tmp_path: Path
) -> None:
    made = dump(driver, server.source(name), tmp_path / "d", "parallel")
    part = next(part for part in of_rows(made) if part.tables[0].range.startswith("id to"))
    part.file.write_bytes(part.file.read_bytes().replace(b"\n(5,'", b"\n(4,'", 1))
    target = database("CREATE TABLE old (x INT)")
    with pytest.raises(SourceError, match=r"INSERT big.*Duplicate"):
        load(driver, server.source(target), made, overwrite=True)
    assert server.run("SHOW TABLES", database=target) == [("old",)]


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("overwrite", [False, True])
def test_indexes_are_made_when_all_parts_of_a_table_are_in(
    server: MariaDBServer, database, tmp_path: Path, small: None, indexed_later: list[str], jobs: int, overwrite: bool
) -> None:
    name = database("SET FOREIGN_KEY_CHECKS=0", *INDEXED)
    made = dump(driver, server.source(name), tmp_path / "d", "parallel", part_size=2000)
    assert Counter(part.tables[0].path for part in of_rows(made))["many"] > 1
    target = database("CREATE TABLE before_ (id INT)") if overwrite else database(create=False)
    load(driver, server.source(target), made, overwrite=overwrite, jobs=jobs)
    assert set(indexed_later) >= DEFERRED | ({"a_child"} if server.kind == "mariadb" else set())
    assert len(indexed_later) == len(set(indexed_later))
    assert_same_content(server, target, name)


# -- as a backup ---------------------------------------------------------------------------------------------------


def test_a_backup_in_parts_is_proved_and_replaces_what_was_there(
    server: MariaDBServer, database, tmp_path: Path
) -> None:
    name, target = database(create=False), database("CREATE TABLE old (x INT)")
    build(server, name, *TYPES, *OBJECTS)
    manager = BackupManager(str(tmp_path / "r"))
    backup = manager.create_backup(server.url(name), format="parallel", fingerprint=True, jobs=2).raise_for_error()
    assert manager.verify(backup.id, level="structure")
    assert manager.drill(backup.id).ok
    assert manager.drill(backup.id, on=server.url(""), superuser=True).ok
    assert manager.restore(backup.id, server.url(target), overwrite=True, definer="current").success
    assert cells(server, target) == cells(server, name)


def test_a_damaged_part_is_named_with_its_table(server: MariaDBServer, name: str, database, tmp_path: Path) -> None:
    manager = BackupManager(str(tmp_path / "r"))
    backup = manager.create_backup(server.url(name), format="parallel").raise_for_error()
    damaged = next(Path(path) for path in backup.files if "rows.sql" in path)
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(IntegrityError, match=rf"{re.escape(damaged.name)} \((big, id|small|empty_)"):
        manager.verify(backup.id)
    target = database(create=False)
    result = manager.restore(backup.id, server.url(target))
    assert not result.success
    assert damaged.name in str(result.error)
    assert nothing_is_there(server, target)


def test_a_table_whose_name_has_the_password_in_it_comes_back(server: MariaDBServer, database, tmp_path: Path) -> None:
    name, target = database(*(statement.replace("big", "orders") for statement in TABLES)), database(create=False)
    server.run("CREATE USER keeper@localhost IDENTIFIED BY 'orders'", "GRANT ALL ON *.* TO keeper@localhost")
    try:
        manager = BackupManager(str(tmp_path / "r"))
        url = server.url(name).replace("root@", "keeper:orders@")
        backup = manager.create_backup(url, format="parallel").raise_for_error()
        assert "***" in {o.path for o in backup.evidence.objects}
        manager.verify(backup.id, level="structure")
        manager.restore(backup.id, server.url(target)).raise_for_error()
        assert cells(server, target) == cells(server, name)
    finally:
        server.run("DROP USER keeper@localhost")
