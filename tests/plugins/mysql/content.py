"""A database of everything, and its exact content: what a dump can agree on and still be wrong, cells cannot.

What only one of the servers knows stands in a comment that it executes: ``/*M! */`` MariaDB, ``/*!80000 */`` MySQL.
"""

from __future__ import annotations

from support.mariadb_server import MariaDBServer

INTEGERS = {"tinyint", "smallint", "mediumint", "int", "bigint"}
ALL_BYTES = bytes(range(256))

TYPES = [
    "SET sql_mode='NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'",
    """CREATE TABLE numbers (
        id INT AUTO_INCREMENT PRIMARY KEY, ti TINYINT, tu TINYINT UNSIGNED, si SMALLINT, mi MEDIUMINT, i INT,
        bi BIGINT, bu BIGINT UNSIGNED, z INT(8) ZEROFILL, de DECIMAL(65,30), d0 DECIMAL(65,0), f FLOAT, fm FLOAT(7,4),
        d DOUBLE, dm DOUBLE(20,5), b1 BIT(1), b9 BIT(9), b64 BIT(64), bo BOOLEAN)""",
    """INSERT INTO numbers VALUES
        (0, -128, 255, -32768, -8388608, -2147483648, -9223372036854775808, 18446744073709551615, 42,
         -99999999999999999999999999999999999.999999999999999999999999999999,
         99999999999999999999999999999999999999999999999999999999999999999, 16777216, 123.4567, 0.1, 123456.78901,
         b'1', b'101010101', b'1111111111111111111111111111111111111111111111111111111111111111', TRUE),
        (1, 127, 0, 32767, 8388607, 2147483647, 9223372036854775807, 0, 0, 0.000000000000000000000000000001, -1,
         3.4028234e38, -999.9999, 2.2250738585072014e-308, -0.00001, b'0', b'0', 0, FALSE),
        (2, 0, 1, 0, 0, 0, 0, 9223372036854775808, 99999999, 0, 0, 1e-45, 0, 1.7976931348623157e308, 0, NULL, 1, 1, 0),
        (3, 0, 1, 0, 0, 0, 0, 9223372036854775808, 99999999, 0, 0, -0e0, 0, -0e0, 0, NULL, 1, 1, 0),
        (6, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, -1e-46, 0, 1, 0, NULL, 1, 1, 0),
        (4, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0.333333343, 0, 0.30000000000000004, 0, NULL, 1, 1, 0),
        (5, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)""",
    """CREATE TABLE times (
        id INT PRIMARY KEY, da DATE, dt DATETIME, d6 DATETIME(6), ti TIME, t6 TIME(6), ts TIMESTAMP NULL,
        t3 TIMESTAMP(3) NULL DEFAULT NULL, y YEAR)""",
    "SET time_zone='+00:00'",
    """INSERT INTO times VALUES
        (1, '0000-00-00', '0000-00-00 00:00:00', '2024-00-00 00:00:00.123456', '-838:59:59', '-838:59:59.999999',
         '0000-00-00 00:00:00', '1970-01-01 00:00:01.001', '0000'),
        (2, '9999-12-31', '9999-12-31 23:59:59', '1000-01-01 00:00:00.000001', '838:59:59', '-00:00:00.000001',
         '2038-01-19 03:14:07', '2038-01-19 03:14:07.999', 2155),
        (3, '2024-02-30', '2024-02-31 12:00:00', NULL, '00:00:00', '00:00:00', '2024-03-31 01:30:00',
         '2024-10-27 00:30:00.5', 1901),
        (4, NULL, NULL, NULL, NULL, NULL, '2024-10-27 01:30:00', NULL, NULL)""",
    """CREATE TABLE texts (
        id INT PRIMARY KEY, l VARCHAR(300) CHARACTER SET latin1, l7 VARCHAR(300) CHARACTER SET latin7,
        u3 TEXT CHARACTER SET utf8mb3, u4 LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
        sj VARCHAR(300) CHARACTER SET sjis, gb TEXT CHARACTER SET gbk, u2 VARCHAR(300) CHARACTER SET ucs2,
        u16 TEXT CHARACTER SET utf16, bg CHAR(5) CHARACTER SET big5, asc_ VARCHAR(200) CHARACTER SET ascii,
        j JSON, ct VARCHAR(500) /*M!100300 COMPRESSED */, c CHAR(10) CHARACTER SET utf8mb4)""",
    f"INSERT INTO texts (id, l) VALUES (1, X'{ALL_BYTES.hex()}')",
    """INSERT INTO texts VALUES
        (2, 'é', 'x', 'ü', CONCAT('it''s "quoted" \\\\ \\r\\n\\t ', CHAR(0 USING utf8mb4), CHAR(26 USING utf8mb4), '😀 ;\\n-- x'),
         _sjis X'8160955C81E0', _gbk X'955C8173A1A4', _ucs2 X'D83DDE000041', _utf16 X'D83DDE00', _big5 X'A55C', 'a~', '{"a": ["\\\\n", 1.50, null]}',
         REPEAT('compress ', 50), 'pad '),
        (3, '', '', '', '', '', '', '', '', '', '', '{}', '', ''),
        (4, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
        (5, '\\\\', '''', '\\'', '\\\\''', _sjis X'815C', _gbk X'815C', NULL, NULL, NULL, '\\\\', '"\\\\\\\\"', '\\n', '\\\\n')""",
    """CREATE TABLE bytes_ (
        id INT PRIMARY KEY, b BINARY(5), v VARBINARY(300), t TINYBLOB, bl BLOB, m MEDIUMBLOB, lb LONGBLOB)""",
    f"""INSERT INTO bytes_ VALUES (1, X'00', X'{ALL_BYTES.hex()}', X'{ALL_BYTES[1:].hex()}', '', X'1A', X'{(ALL_BYTES * 9).hex()}'),
        (2, '', '', '', '\\\\', '''', NULL)""",
    """CREATE TABLE choices (
        id INT PRIMARY KEY, e ENUM('a','b','','it''s','1') NOT NULL, s SET('x','y','z','ä') CHARACTER SET latin1)""",
    "SET sql_mode=''",
    "INSERT INTO choices VALUES (1, 'b', 'x,z'), (2, 0, ''), (3, '', 'ä'), (4, 'no such', NULL), (5, 'it''s', 15), (6, '1', 1)",
    "CREATE TABLE shapes (id INT PRIMARY KEY, g GEOMETRY, p POINT NOT NULL, po POLYGON, SPATIAL INDEX (p))",
    """INSERT INTO shapes VALUES
        (1, ST_GeomFromText('LINESTRING(0 0,1.1 2.2)', 4326), POINT(-1e-300, 1e300), ST_GeomFromText('POLYGON((0 0,0 1,1 1,0 0))')),
        (2, ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 1),MULTIPOINT(1 2,3 4))'), POINT(0, 0), NULL)""",
    "/*M! CREATE TABLE words (id INT PRIMARY KEY, u UUID, i4 INET4, i6 INET6) */",
    """/*M! INSERT INTO words VALUES (1, '123e4567-e89b-12d3-a456-426655440000', '192.0.2.1', '2001:db8::ff00:42:8329'),
        (2, NULL, NULL, '::') */""",
    "/*!80000 CREATE TABLE vectors (id INT PRIMARY KEY, v VECTOR(3), g GEOMETRY NOT NULL SRID 4326, SPATIAL KEY (g)) */",
    "/*!80000 INSERT INTO vectors SELECT 1, TO_VECTOR('[1,-2.5,3e-9]'), ST_GeomFromText('POINT(89 -179.5)', 4326) */",
]

OBJECTS = [
    "/*M! CREATE SEQUENCE numbers_from START WITH 7 INCREMENT BY 3 MAXVALUE 1000 CYCLE CACHE 5 */",
    "/*M! SELECT NEXTVAL(numbers_from) */",
    """CREATE TABLE computed (
        id INT NOT NULL /*M! DEFAULT (NEXTVAL(numbers_from)) */ /*!80000 AUTO_INCREMENT */ PRIMARY KEY, a INT, twice INT AS (a * 2) VIRTUAL,
        text_ VARCHAR(20) AS (CONCAT('<', a, '>')) STORED, hidden INT /*M! INVISIBLE */ DEFAULT 5 /*!80000 INVISIBLE */,
        CHECK (a > 0 OR a IS NULL), KEY (text_)) COMMENT='it''s; a "comment"\\n-- with a line'""",
    "INSERT INTO computed (a) VALUES (1), (2)",
    "INSERT INTO computed (id, a, hidden) VALUES (1000, 3, 77)",
    "CREATE TABLE only_computed (a INT AS (1 + 1) VIRTUAL)",
    "INSERT INTO only_computed () VALUES (), ()",
    "CREATE TABLE no_key (a INT, b VARCHAR(20))",
    "INSERT INTO no_key VALUES (1, 'twice'), (1, 'twice'), (NULL, NULL)",
    "CREATE TABLE unique_only (a INT NOT NULL, b INT, UNIQUE KEY (a))",
    "INSERT INTO unique_only VALUES (3, 1), (2, 2)",
    "CREATE TABLE composite (a VARCHAR(20) CHARACTER SET latin1, b INT, c DATE, PRIMARY KEY (a, b, c))",
    "INSERT INTO composite VALUES ('ä', 1, '2024-01-01'), ('ä', -1, '2024-01-01'), ('b', 0, '0000-00-00')",
    "CREATE TABLE prefix_key (a BLOB, PRIMARY KEY (a(4)))",
    "INSERT INTO prefix_key VALUES ('abcdef'), ('abcxyz')",
    "CREATE TABLE cats (id INT PRIMARY KEY, dog INT)",
    "CREATE TABLE dogs (id INT PRIMARY KEY, cat INT, CONSTRAINT d_c FOREIGN KEY (cat) REFERENCES cats (id))",
    "ALTER TABLE cats ADD CONSTRAINT c_d FOREIGN KEY (dog) REFERENCES dogs (id)",
    "INSERT INTO cats VALUES (1, NULL)",
    "INSERT INTO dogs VALUES (1, 1)",
    "UPDATE cats SET dog=1",
    """CREATE TABLE parts (id INT, at DATE, PRIMARY KEY (id, at))
        PARTITION BY RANGE (YEAR(at)) SUBPARTITION BY HASH (id) SUBPARTITIONS 2
        (PARTITION p0 VALUES LESS THAN (2000), PARTITION p1 VALUES LESS THAN MAXVALUE)""",
    "INSERT INTO parts VALUES (1, '1999-01-01'), (2, '2001-01-01'), (3, '2024-12-31')",
    "CREATE TABLE `we``ird \"näme'; -- x` (`co``l '\"; x` INT PRIMARY KEY, `ä` TEXT)",
    "INSERT INTO `we``ird \"näme'; -- x` VALUES (1, 'x')",
    "CREATE TABLE old_engine (id INT PRIMARY KEY, a TEXT, FULLTEXT (a)) ENGINE=MyISAM",
    "INSERT INTO old_engine VALUES (1, 'one'), (2, 'two')",
    "CREATE TABLE aria (id INT AUTO_INCREMENT PRIMARY KEY, a TEXT) /*M! ENGINE=Aria */",
    "INSERT INTO aria (a) VALUES ('x')",
    "CREATE TABLE empty_ (id INT PRIMARY KEY) AUTO_INCREMENT=5 CHARACTER SET sjis",
    "CREATE TABLE bits (a VARCHAR(10) COLLATE utf8mb4_bin PRIMARY KEY) COLLATE utf8mb4_swedish_ci",
    "INSERT INTO bits VALUES ('A'), ('a'), ('ä'), ('')",
    "CREATE TABLE kept (id INT PRIMARY KEY, a INT) /*M! WITH SYSTEM VERSIONING */",
    "INSERT INTO kept VALUES (1, 1), (2, 1)",
    "UPDATE kept SET a=2 WHERE id=1",
    "DELETE FROM kept WHERE id=2",
    # An order in which no alphabet helps: a depends on z, and on a function.
    "CREATE VIEW z_view AS SELECT id, a FROM computed",
    "CREATE FUNCTION plus_one(x INT) RETURNS INT DETERMINISTIC RETURN x + 1 -- ;; ends in a comment",
    "CREATE SQL SECURITY INVOKER VIEW a_view AS SELECT z.id, plus_one(z.a) AS b, 'it''s' AS `c d` FROM z_view z",
    "CREATE ALGORITHM=MERGE VIEW checked AS SELECT id, a FROM computed WHERE a > 0 WITH CASCADED CHECK OPTION",
    "SET sql_mode='ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT'",
    """CREATE PROCEDURE "odd"(IN p TEXT) BEGIN DECLARE x TEXT DEFAULT 'a\\'; SELECT "id" || 'b;;' || p FROM "computed"; END""",
    "SET sql_mode=DEFAULT",
    "SET NAMES latin1",
    b"CREATE FUNCTION latin() RETURNS VARCHAR(10) CHARACTER SET latin1 DETERMINISTIC RETURN 'caf\xe9'",
    "SET NAMES utf8mb4",
    """/*M! CREATE AGGREGATE FUNCTION summed(x INT) RETURNS INT BEGIN DECLARE s INT DEFAULT 0;
    DECLARE CONTINUE HANDLER FOR NOT FOUND RETURN s; LOOP FETCH GROUP NEXT ROW; SET s = s + x; END LOOP; END */""",
    "/*M! SET sql_mode=ORACLE */",
    "/*M! CREATE PACKAGE pack AS FUNCTION one RETURN INT; END */",
    "/*M! CREATE PACKAGE BODY pack AS FUNCTION one RETURN INT AS BEGIN RETURN 1; END; END */",
    "SET sql_mode=DEFAULT",
    "/*!80000 CREATE TABLE functional (id INT PRIMARY KEY, j JSON, UNIQUE KEY ((CAST(j->>'$.a' AS UNSIGNED))), KEY ((id * 2), id)) */",
    """/*!80000 INSERT INTO functional VALUES (1, '{"a": 7}'), (2, '{"a": 8, "b": [1.10, true, null, "x"]}'), (3, NULL) */""",
    "/*!80000 CREATE TABLE checked_ (a INT, CONSTRAINT positive CHECK (a > 0) NOT ENFORCED, d INT DEFAULT (RAND() * 100)) */",
    "/*!80000 INSERT INTO checked_ VALUES (-1, 5) */",
    "CREATE TRIGGER second_ BEFORE INSERT ON composite FOR EACH ROW BEGIN SET NEW.b = NEW.b + 1; END",
    "CREATE TRIGGER first_ BEFORE INSERT ON composite FOR EACH ROW PRECEDES second_ SET NEW.b = NEW.b * 2",
    "CREATE TRIGGER after_ AFTER DELETE ON cats FOR EACH ROW DELETE FROM no_key WHERE a = OLD.id",
    "SET time_zone='+05:30'",
    "CREATE EVENT daily ON SCHEDULE EVERY 1 DAY STARTS '2024-01-01 03:00:00' COMMENT 'x' DO DELETE FROM no_key WHERE a = 99",
    "CREATE EVENT disabled_ ON SCHEDULE AT '2035-01-01 00:00:00' ON COMPLETION PRESERVE DISABLE DO BEGIN END",
    "SET time_zone=DEFAULT",
]


def build(server: MariaDBServer, name: str, *statements: str | bytes) -> None:
    """Make the database ``name`` of the given statements."""
    server.run(f"CREATE DATABASE `{name}` CHARACTER SET latin1 COLLATE latin1_german1_ci", f"USE `{name}`", *statements)


def cells(server: MariaDBServer, name: str) -> dict[str, list[tuple]]:
    """Return every table's rows with every value exact: bytes in hexadecimal, floats in full."""
    connection = server.connect(name)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET time_zone='+00:00'")
            cursor.execute(
                "SELECT TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES WHERE TABLE_SCHEMA=%s AND TABLE_TYPE<>'VIEW'",
                (name,),
            )
            tables = cursor.fetchall()
            rows_by_table = {}
            for table, kind in tables:
                cursor.execute(
                    "SELECT COLUMN_NAME, DATA_TYPE FROM information_schema.COLUMNS WHERE TABLE_SCHEMA=%s AND "
                    "TABLE_NAME=%s ORDER BY ORDINAL_POSITION",
                    (name, table),
                )
                values = [_exact(c, t) for c, t in cursor.fetchall()]
                source = "`" + table.replace("`", "``") + "`"
                if kind == "SYSTEM VERSIONED":
                    source += " FOR SYSTEM_TIME ALL"
                    values += ["CAST(row_start AS CHAR)", "CAST(row_end AS CHAR)"]
                cursor.execute(f"SELECT {','.join(values)} FROM {source}".replace("%", "%%"))
                rows_by_table[table] = sorted(cursor.fetchall(), key=repr)
            return rows_by_table
    finally:
        connection.close()


def _exact(name: str, type: str) -> str:
    quoted = "`" + name.replace("`", "``") + "`"
    if type in {"float", "double"}:
        # The first part is rounded in a FLOAT, the second in MySQL's DOUBLE; the third knows a negative zero.
        return f"CONCAT({quoted}, '/', {quoted}*1e0, '/', ATAN2({quoted},-1))"
    if type in {"bit", "enum", "set"}:
        return f"CONCAT(CAST({quoted} AS UNSIGNED))"
    if (
        type in {"date", "datetime", "timestamp", "time", "year", "decimal", "uuid", "inet4", "inet6"}
        or type in INTEGERS
    ):
        return f"CAST({quoted} AS CHAR)"
    return f"HEX({quoted})"
