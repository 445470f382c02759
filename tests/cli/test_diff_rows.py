"""``dumpty diff --rows``."""

from __future__ import annotations

import pytest
from cli.test_diff import change

from dumpty import BackupManager, Cancellation, Cancelled, Phase


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "shop.db"
    change(
        path,
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT, price REAL)",
        "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) "
        "INSERT INTO orders SELECT i, 'item ' || i, i / 4.0 FROM n",
        "CREATE TABLE lines (a, b)",
        "INSERT INTO lines VALUES (1, 'x'), (1, 'x'), (1, 'x'), (NULL, x'00ff')",
        "CREATE TABLE pairs (a TEXT, b TEXT, c TEXT, PRIMARY KEY (b, a)) WITHOUT ROWID",
        "INSERT INTO pairs VALUES ('a', 'b', 'c')",
    )
    return path


@pytest.fixture
def url(file):
    return f"sqlite:///{file}"


LATER = (
    "DELETE FROM orders WHERE id = 5",
    "UPDATE orders SET item = 'other', price = 1 WHERE id = 7",
    "UPDATE orders SET price = NULL WHERE id = 9",
    "INSERT INTO orders VALUES (1000, 'new', 1)",
    "DELETE FROM lines WHERE rowid IN (1, 2)",
    "UPDATE lines SET b = x'00fe' WHERE a IS NULL",
)


def row(kind, *key, columns=(), count=1) -> dict:
    return {"kind": kind, "key": list(key), "columns": list(columns), "count": count}


ORDERS = [
    row("removed", 5),
    row("changed", 7, columns=["item", "price"]),
    row("changed", 9, columns=["price"]),
    row("added", 1000),
]


@pytest.mark.parametrize("live", [False, True])
def test_the_keys_that_are_gone_new_and_changed_are_told(dumpty, make, url, file, live):
    first = make(url)["id"]
    change(file, *LATER)
    second = url if live else make(url)["id"]
    result = dumpty("diff", first, second, "--rows", "orders", "--json")
    assert result.status == 12
    reply = result.json
    assert (reply["table"], reply["key"], reply["rows"]) == ("orders", ["id"], ORDERS)
    assert [reply[name] for name in ("rows_before", "rows_after", "removed", "added", "changed")] == [100, 100, 1, 1, 2]
    assert reply["restored"] == ([first] if live else [first, second])
    assert reply["other_url"] == (url if live else None)
    lines = dumpty("diff", first, second, "--rows", "orders").out.splitlines()
    assert (
        "differ in orders, which has 100 and 100 rows: 1 only in the first, 1 only in the second, 2 changed" in lines[0]
    )
    assert [line.split(None, 1) for line in lines[1:]] == [
        ["id", "DIFFERENCE"],
        ["5", "only in the first"],
        ["7", "changed: item, price"],
        ["9", "changed: price"],
        ["1000", "only in the second"],
    ]


def test_rows_without_a_key_are_compared_as_a_whole_and_counted(dumpty, make, url, file):
    first = make(url)["id"]
    change(file, *LATER)
    result = dumpty("diff", first, url, "--rows", "lines", "--json")
    assert result.status == 12
    assert result.json["key"] == []
    assert result.json["rows"] == [
        row("removed", 1, "x", count=2),
        row("removed", None, "\\x00ff"),
        row("added", None, "\\x00fe"),
    ]
    assert (result.json["removed"], result.json["added"], result.json["changed"]) == (3, 1, 0)
    lines = dumpty("diff", first, url, "--rows", "lines").out.splitlines()
    assert [" ".join(line.split()) for line in lines[1:]] == [
        "ROW DIFFERENCE",
        "1, x only in the first, 2 times",
        "NULL, \\x00ff only in the first",
        "NULL, \\x00fe only in the second",
    ]


def test_what_is_the_same_is_said_to_be(dumpty, make, url, file):
    first = make(url)["id"]
    change(file, *LATER)
    result = dumpty("diff", first, url, "--rows", "pairs")
    assert result.status == 0
    assert "the 1 row of pairs in backup" in result.out
    assert "are the same" in result.out


def test_equal_fingerprints_in_both_manifests_are_enough(dumpty, make, url):
    ids = [make(url, "-o", "fingerprint=on")["id"] for _ in range(2)]
    result = dumpty("diff", *ids, "--rows", "orders", "--json")
    assert result.status == 0
    assert (result.json["restored"], result.json["rows_before"], result.json["rows"]) == ([], 100, [])


def test_only_so_many_rows_are_listed_and_all_are_counted(dumpty, make, url, file):
    first = make(url)["id"]
    change(file, "UPDATE orders SET price = 0 WHERE id <= 30")
    out = dumpty("diff", first, url, "--rows", "orders").out.splitlines()
    assert "30 changed" in out[0]
    assert len(out) == 1 + 1 + 20 + 1
    assert out[-1] == "and 10 rows more: --limit 0 lists all"
    assert len(dumpty("diff", first, url, "--rows", "orders", "--limit", "3", "--json").json["rows"]) == 3
    assert len(dumpty("diff", first, url, "--rows", "orders", "--limit", "0", "--json").json["rows"]) == 30


def test_columns_of_one_side_alone_are_said_and_the_others_compared(dumpty, make, url, file):
    first = make(url)["id"]
    change(
        file,
        "ALTER TABLE orders ADD COLUMN note TEXT DEFAULT 'x'",
        "ALTER TABLE orders DROP COLUMN item",
        "UPDATE orders SET price = 0 WHERE id = 3",
    )
    result = dumpty("diff", first, url, "--rows", "orders", "--json")
    assert result.status == 12
    assert (result.json["columns_removed"], result.json["columns_added"]) == (["item"], ["note"])
    assert result.json["rows"] == [row("changed", 3, columns=["price"])]
    out = dumpty("diff", first, url, "--rows", "orders").out
    assert "not compared: item, only in the first" in out
    assert "not compared: note, only in the second" in out


def test_a_column_more_is_a_difference_though_no_row_differs_in_the_others(dumpty, make, url, file):
    first = make(url)["id"]
    change(file, "ALTER TABLE orders ADD COLUMN note TEXT")
    result = dumpty("diff", first, url, "--rows", "orders")
    assert result.status == 12
    assert "0 only in the first, 0 only in the second, 0 changed" in result.out


def test_a_key_that_is_another_one_now_tells_no_rows_apart(dumpty, make, url, file):
    first = make(url)["id"]
    change(
        file,
        "CREATE TABLE again (a TEXT PRIMARY KEY, b TEXT, c TEXT)",
        "INSERT INTO again SELECT a, b, 'other' FROM pairs",
        "DROP TABLE pairs",
        "ALTER TABLE again RENAME TO pairs",
    )
    result = dumpty("diff", first, url, "--rows", "pairs", "--json")
    assert (result.json["key"], result.json["removed"], result.json["added"]) == ([], 1, 1)


def test_rows_whose_key_is_null_are_compared_as_a_whole(dumpty, make, url, file):
    change(
        file,
        "CREATE TABLE loose (a TEXT PRIMARY KEY, b)",
        "INSERT INTO loose VALUES (NULL, 1), (NULL, 1), (NULL, 2), ('k', 1)",
    )
    first = make(url)["id"]
    change(file, "DELETE FROM loose WHERE rowid = 1", "UPDATE loose SET b = 3 WHERE b = 2")
    result = dumpty("diff", first, url, "--rows", "loose", "--json")
    assert result.json["rows"] == [row("removed", None), row("removed", None), row("added", None)]


def test_values_that_only_look_alike_differ(dumpty, make, url, file):
    change(
        file, "CREATE TABLE kinds (id INTEGER PRIMARY KEY, v)", "INSERT INTO kinds VALUES (1, 1), (2, '1'), (3, 'a')"
    )
    first = make(url)["id"]
    change(file, "UPDATE kinds SET v = '1' WHERE id = 1", "UPDATE kinds SET v = 1.0 WHERE id = 2")
    change(file, "UPDATE kinds SET v = CAST('a' AS BLOB) WHERE id = 3")
    result = dumpty("diff", first, url, "--rows", "kinds", "--json")
    assert [r["key"] for r in result.json["rows"]] == [[1], [2], [3]]


def test_what_a_key_holds_cannot_write_to_the_terminal(dumpty, make, url, file):
    change(
        file,
        "CREATE TABLE evil (id TEXT PRIMARY KEY)",
        "INSERT INTO evil VALUES ('a' || char(27) || '[2J' || char(10) || 'b')",
    )
    change(file, "INSERT INTO evil VALUES (CAST(x'61ff' AS TEXT))", "INSERT INTO evil VALUES (printf('%.1000c', 'x'))")
    first = make(url)["id"]
    change(file, "DELETE FROM evil")
    result = dumpty("diff", first, url, "--rows", "evil")
    assert "\x1b" not in result.out
    assert len(result.out.splitlines()) == 1 + 1 + 3
    keys = [r["key"][0] for r in dumpty("diff", first, url, "--rows", "evil", "--json").json["rows"]]
    assert "a\x1b[2J\nb" in keys
    assert "a\\udcff" in keys
    assert "x" * 199 + "…" in keys


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (("--rows", "nothing"), 2, "has no table nothing; it has lines, orders, pairs"),
        (("--rows", "oders"), 2, "Did you mean 'orders'?"),
        (("--rows", "orders", "--counts"), 2, "give one of them"),
        (("--limit", "3"), 2, "name a table with it"),
        (("--rows", "orders", "--limit", "-1"), 2, "--limit"),
        (("--rows", ""), 2, "the name of a table is empty"),
    ],
)
def test_what_cannot_be_asked_for_is_an_error(dumpty, make, url, arguments, status, text):
    make(url)
    result = dumpty("diff", "latest", url, *arguments)
    assert (result.status, result.out) == (status, "")
    assert text in result.err


def test_a_table_that_the_database_lacks_is_an_error(dumpty, make, url, file):
    make(url)
    change(file, "DROP TABLE orders")
    result = dumpty("diff", "latest", url, "--rows", "orders")
    assert (result.status, result.out) == (1, "")
    assert "has no table orders that holds rows of its own" in result.err


def test_a_database_that_does_not_exist_is_an_error(dumpty, make, url, tmp_path):
    make(url)
    result = dumpty("diff", "latest", f"sqlite:///{tmp_path}/none.db", "--rows", "orders")
    assert "does not exist: there is nothing to compare with" in result.err
    assert not (tmp_path / "none.db").exists()


def test_a_limit_of_any_size_is_one(dumpty, make, url, file):
    first = make(url)["id"]
    change(file, *LATER)
    assert len(dumpty("diff", first, url, "--rows", "orders", "--limit", str(10**30), "--json").json["rows"]) == 4


def test_a_comparison_that_is_cancelled_when_all_is_read_ends(make, url, tmp_path):
    token = Cancellation()

    def progress(state):
        if state.phase is Phase.COMPARING and state.items_done == 200:
            token.cancel()

    backup_id = make(url)["id"]
    manager = BackupManager(str(tmp_path / "backups"))
    with pytest.raises(Cancelled):
        manager.diff_rows(backup_id, url, "orders", cancel=token, progress=progress)
