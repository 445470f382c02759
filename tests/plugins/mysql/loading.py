"""A database with every kind of index, and dumps that act while they are read."""

from __future__ import annotations

import time
from collections.abc import Callable

from plugins.mysql.content import cells
from support.drive import FileDump
from support.mariadb_server import MariaDBServer

INDEXED = [
    """CREATE TABLE a_child (id INT PRIMARY KEY, p INT, q VARCHAR(40), KEY by_q (q), KEY by_p (p, q),
        CONSTRAINT known FOREIGN KEY (p) REFERENCES parent (code), CONSTRAINT self FOREIGN KEY (p) REFERENCES a_child (id))""",
    "CREATE TABLE parent (id INT PRIMARY KEY, code INT, KEY also (code, id), UNIQUE KEY coded (code))",
    "CREATE TABLE z_child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES parent (code) ON DELETE CASCADE)",
    """CREATE TABLE many (id INT, n INT NOT NULL AUTO_INCREMENT, t TEXT, s VARCHAR(50), j INT, d INT AS (j * 2) VIRTUAL,
        FULLTEXT KEY full (t), KEY z_first (s DESC, j), KEY counted (n), KEY part (t(7)) COMMENT 'it''s, (odd) `x',
        UNIQUE KEY alone (s, n), UNIQUE KEY hashed (t /*!80000 (50) */, s), PRIMARY KEY (id), KEY seen (d), KEY dull (j) /*M! IGNORED */ /*!80000 INVISIBLE */,
        KEY `we``ird, KEY ``x`` (``id``)` (`j`, id)) COMMENT='KEY `no` (`id`), it''s', AUTO_INCREMENT=77""",
    """CREATE TABLE places (id INT PRIMARY KEY, p POINT NOT NULL, a INT, KEY first_ (a), SPATIAL KEY second_ (p),
        KEY third (a, id))""",
    """CREATE TABLE parts (id INT, at DATE, a INT, PRIMARY KEY (id, at), KEY local (a)) PARTITION BY RANGE (YEAR(at))
        (PARTITION p0 VALUES LESS THAN (2000), PARTITION p1 VALUES LESS THAN MAXVALUE)""",
    "CREATE TABLE no_primary (a INT NOT NULL, b INT, UNIQUE KEY (a), KEY (b))",
    "CREATE TABLE heap (a INT, b INT, KEY (b))",
    "INSERT INTO parent SELECT seq, seq * 2 FROM seq_1_to_50",
    "INSERT INTO a_child SELECT seq, seq * 2, LEFT(SHA2(seq, 256), 32) FROM seq_1_to_50",
    "DELETE FROM a_child WHERE id IN (2, 4)",
    "INSERT INTO z_child SELECT seq, seq * 2 FROM seq_1_to_50",
    "INSERT INTO many (id, n, t, s, j) SELECT seq, seq, LEFT(SHA2(seq, 256), 32), LEFT(SHA2(-seq, 256), 32), seq % 7 FROM seq_1_to_50",
    "INSERT INTO places SELECT seq, POINT(seq, -seq), seq % 5 FROM seq_1_to_50",
    "INSERT INTO parts SELECT seq, IF(seq % 2, '1999-01-01', '2020-01-01'), seq % 5 FROM seq_1_to_50",
    "INSERT INTO no_primary SELECT 51 - seq, seq % 5 FROM seq_1_to_50",
    "INSERT INTO heap SELECT 51 - seq, seq % 5 FROM seq_1_to_50",
]


def assert_same_content(server: MariaDBServer, first: str, second: str) -> None:
    assert cells(server, first) == cells(server, second)
    assert server.dump(first).replace(f"`{first}`.", "") == server.dump(second).replace(f"`{second}`.", "")


def sessions_of(server: MariaDBServer, name: str) -> list[int]:
    """The sessions on ``name`` or beside it."""
    rows = server.run(f"SELECT ID FROM information_schema.PROCESSLIST WHERE DB LIKE '{name}%' ORDER BY ID")
    return [n for (n,) in rows]


def remaining_sessions(server: MariaDBServer, name: str) -> list[int]:
    """The sessions that stay: a server takes a moment to end one whose connection was closed."""
    until = time.monotonic() + 60
    while (sessions := sessions_of(server, name)) and time.monotonic() < until:
        time.sleep(0.02)
    return sessions


class During(FileDump):
    """A dump that acts when a part of it has been read."""

    def __init__(self, backup: FileDump, act: Callable[[], object], part: float = 0.6) -> None:
        super().__init__(backup.file, backup.format, backup.evidence)
        self._act = act
        self._part = part

    def open(self):
        stream = super().open()
        due, act = int(self.size * self._part), self._act

        class Reader:
            def __init__(self) -> None:
                self.remaining = due

            def read(self, size: int = -1) -> bytes:
                block = stream.read(min(size, 1000) if size > 0 else 1000)
                before, self.remaining = self.remaining, self.remaining - len(block)
                if before > 0 >= self.remaining:
                    act()
                return block

            def close(self) -> None:
                stream.close()

        return Reader()
