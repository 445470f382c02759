"""What makes a new backup suspicious: by property, and each rule by an example."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from dumpty import Evidence, ObjectEvidence, PluginRef, SealedPart, ShrinkRules, StoredObject
from dumpty.operations.shrinking import findings, uncounted_tables
from dumpty.types import Record, StageRecord

NOW = datetime(2026, 11, 27, 2, 30, 59, tzinfo=UTC)
GZIP = StageRecord(plugin=PluginRef(name="gzip"))


def backup(tables=(), *, size=1_000_000, stored=None, days=0, **fields):
    """A backup of tables: (path, rows), or (path, rows, part_of)."""
    objects = tuple(
        ObjectEvidence(path=path, rows=rows, part_of=root[0] if root else None) for path, rows, *root in tables
    )
    stored_object = StoredObject(
        name="x.sql",
        size=size // 3 if stored is None else stored,
        sha256="0" * 64,
        plain_size=size,
        plain_sha256="0" * 64,
        stages=(GZIP,),
    )
    defaults = {"id": str(uuid.uuid4()), "format": "sql", "evidence": Evidence(objects=objects)}
    return Record(
        **defaults | fields,
        url="toy://h/shop",
        identity="toy:shop",
        database="shop",
        driver=PluginRef(name="toy"),
        suffix=".sql",
        objects=(stored_object,),
        started=NOW - timedelta(days=days),
        ended=NOW - timedelta(days=days),
    )


def series(*records):
    """Backups, newest first, a day apart, the first of them yesterday's."""
    return [replace(r, started=NOW - timedelta(days=day)) for day, r in enumerate(records, start=1)]


def sealed(record):
    """A backup as it is known to whoever cannot open what is sealed of it."""
    part = SealedPart(data=b"x", tables=record.tables, rows=record.rows)
    objects = tuple(replace(o, plain_size=0, plain_sha256="") for o in record.objects)
    return replace(record, evidence=Evidence(), objects=objects, sealed=part)


def found(new, *earlier, **rules):
    """Return what was found, each as its kind and its path."""
    return [(f.kind, f.path) for f in findings(new, series(*earlier), ShrinkRules(**rules))]


SHOP = (("public.orders", 480_000), ("public.customers", 20_000), ("public.notes", 5))

# -- by property -----------------------------------------------------------------------------------------------------

paths = st.sampled_from(["a", "b", "c", "p"])
rows = st.none() | st.integers(0, 1000)
tables = st.dictionaries(paths, rows, max_size=4).flatmap(
    lambda whole: st.dictionaries(st.sampled_from(["p_1", "p_2", "p_3"]), rows, max_size=3).map(
        lambda parts: [*whole.items(), *((path, number, "p") for path, number in parts.items())]
    )
)
sizes = st.integers(0, 300_000)
backups = st.builds(
    lambda held, size, shut: sealed(backup(held, size=size)) if shut else backup(held, size=size),
    tables,
    sizes,
    st.sampled_from([False, False, False, True]),
)
shares = st.none() | st.sampled_from([0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 1])
rules = st.builds(
    ShrinkRules,
    table_rows=shares,
    rows=shares,
    size=shares,
    gone=st.booleans(),
    backups=st.integers(1, 4),
    least_rows=st.sampled_from([0, 10, 100]),
    least_bytes=st.sampled_from([0, 65_536]),
    ignore=st.sampled_from([(), ("a",), ("p", "b*")]),
)


@settings(max_examples=150)
@given(tables, sizes, st.lists(backups, max_size=4), rules)
def test_what_is_as_the_last_backup_was_is_never_suspicious(held, size, older, rule):
    new = backup(held, size=size)
    assert findings(new, series(replace(new, id="same"), *older), rule) == ()


@settings(max_examples=150)
@given(tables, sizes, st.lists(backups, min_size=1, max_size=4), rules, st.data())
def test_whoever_holds_more_is_not_more_suspicious(held, size, older, rule, data):
    # Where nothing was counted, and then something is, no more is held, but more is known.
    assume(not held or any(number is not None for _, number, *_ in held))
    new, earlier = backup(held, size=size), series(*older)
    more = [(p, None if n is None else n + data.draw(st.integers(0, 50)), *rest) for p, n, *rest in held]
    more += [("another", data.draw(st.integers(0, 5)))]
    larger = backup(more, size=size + data.draw(sizes))
    before = {(f.kind, f.path) for f in findings(new, earlier, rule)}
    after = {(f.kind, f.path) for f in findings(larger, earlier, rule)}
    # Of a database that has lost all tables that alone is told.
    assert after <= before or (not held and ("tables", "") in before)


@settings(max_examples=100)
@given(tables, st.lists(backups, min_size=1, max_size=4), rules, st.randoms())
def test_the_order_of_tables_and_of_backups_makes_no_difference(held, older, rule, dice):
    new, earlier = backup(held), series(*older)
    expected = findings(new, earlier, rule)
    shuffled = list(new.evidence.objects)
    dice.shuffle(shuffled)
    mixed = list(earlier)
    dice.shuffle(mixed)
    assert findings(replace(new, evidence=Evidence(objects=tuple(shuffled))), mixed, rule) == expected


@settings(max_examples=100)
@given(tables, st.lists(backups, min_size=1, max_size=3), st.randoms())
def test_how_rows_are_spread_over_partitions_makes_no_difference(held, older, dice):
    new = backup(held)
    members = [o for o in new.evidence.objects if o.part_of and o.rows is not None]
    others = tuple(o for o in new.evidence.objects if o not in members)
    total = sum(o.rows for o in members)
    cut = dice.randint(0, total)
    spread = (
        [replace(members[0], path="p_x", rows=cut), replace(members[0], path="p_y", rows=total - cut)]
        if members
        else []
    )
    moved = replace(new, evidence=Evidence(objects=(*others, *spread)))
    earlier = [record for record in series(*older) if record.sealed is None]
    assert findings(moved, earlier, ShrinkRules()) == findings(new, earlier, ShrinkRules())


@settings(max_examples=100)
@given(tables, st.lists(backups, min_size=1, max_size=4), rules)
def test_an_older_backup_that_held_as_little_lets_it_pass(held, older, rule):
    new = backup(held)
    earlier = series(*older[: rule.backups - 1], replace(new, id="as little"), *older[rule.backups - 1 :])
    assert findings(new, earlier, rule) == ()


# -- by example ------------------------------------------------------------------------------------------------------


def test_a_finding_is_an_exact_sentence_with_the_smallest_of_the_last():
    earlier = series(backup(SHOP), backup([("public.orders", 470_000), *SHOP[1:]]), backup(SHOP))
    smallest = replace(earlier[1], id="1a2b3c4d-0000-4000-8000-000000000000")
    new = backup([("public.orders", 12_000), *SHOP[1:]], size=300_000)
    assert [str(f) for f in findings(new, [earlier[0], smallest, earlier[2]], ShrinkRules())] == [
        "all tables together: 32,005 rows, had 490,005 in backup 1a2b3c4d of 2026-11-25 02:30Z",
        f"the dump: 300,000 bytes, had 1,000,000 in backup {earlier[0].id[:8]} of 2026-11-26 02:30Z",
        "table public.orders: 12,000 rows, had 470,000 in backup 1a2b3c4d of 2026-11-25 02:30Z",
    ]


@pytest.mark.parametrize(("left", "suspicious"), [(240_000, True), (240_001, False), (480_000, False), (0, True)])
def test_half_of_the_rows_is_too_much(left, suspicious):
    new = backup([("public.orders", left), ("public.customers", 9_000_000), SHOP[2]])
    assert (found(new, backup(SHOP)) == [("rows", "public.orders")]) is suspicious


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.7, 0.9, 1])
def test_the_share_is_met_to_the_row(share):
    before = backup([("t", 1000)])
    lost = round(1000 * share)
    assert found(backup([("t", 1000 - lost)]), before, table_rows=share, rows=None) == [("rows", "t")]
    assert found(backup([("t", 1000 - lost + 1)]), before, table_rows=share, rows=None) == []


def test_the_first_backup_is_not_suspicious():
    assert findings(backup(), [], ShrinkRules()) == ()


def test_a_database_without_anything_left_is_suspicious_in_one_sentence():
    [rows, tables] = findings(backup(), series(backup(SHOP)), ShrinkRules())
    assert str(rows).startswith("all tables together: 0 rows, had 500,005 in ")
    assert str(tables).startswith("tables: 0, had 3 in ")


def test_a_dump_of_nothing_is_suspicious_though_nobody_counts():
    assert found(backup(size=0), backup(size=200)) == [("size", "")]
    assert found(backup(size=100), backup(size=200)) == []  # so small that a share says nothing
    assert found(backup(size=100_000), backup(size=200_000)) == [("size", "")]


def test_sizes_of_other_formats_and_stages_say_nothing():
    image, text = backup(size=4_000_000, format="native"), backup(size=900_000)
    assert found(text, image) == []
    assert found(text, sealed(image), sealed(image)) == []
    plain = sealed(backup(size=0, stored=900_000))
    unpacked = replace(plain, objects=(replace(plain.objects[0], stages=()),))
    assert found(backup(size=900_000), unpacked) == []
    assert found(backup(size=900_000), plain) == [("size", "")]


def test_a_table_that_is_gone_is_suspicious_unless_it_held_nothing():
    assert found(backup(SHOP[:2]), backup(SHOP)) == [("gone", "public.notes")]
    assert found(backup(SHOP), backup([*SHOP, ("public.empty", 0)])) == []
    assert found(backup(SHOP), backup([*SHOP, ("public.uncounted", None)])) == [("gone", "public.uncounted")]
    assert found(backup(SHOP[:2]), backup(SHOP), gone=False) == []


def test_a_table_that_comes_and_goes_is_not_told_anew_each_time():
    assert found(backup(SHOP[:2]), backup(SHOP), backup(SHOP[:2]), backup(SHOP)) == []
    assert found(backup(SHOP[:2]), backup(SHOP), backup(SHOP), backup(SHOP), backup(SHOP[:2])) == [
        ("gone", "public.notes")
    ]


def with_queue(rows):
    return backup([*SHOP[:2], ("public.queue", rows)])


@pytest.mark.parametrize(
    ("before", "now", "suspicious"),
    [
        ((40, 40, 40), 3, False),  # so few that a share says nothing
        ((40, 38, 41), 0, True),
        ((40, 3, 17), 0, False),  # it is emptied as it goes
        ((40, 0, 40), 0, False),
        ((40,), 0, True),
    ],
)
def test_of_a_small_table_only_the_loss_of_all_rows_counts(before, now, suspicious):
    assert bool(found(with_queue(now), *map(with_queue, before))) is suspicious


def test_a_large_table_is_compared_with_the_smallest_of_the_last():
    assert found(with_queue(2000), *map(with_queue, (9000, 3000, 9000))) == []
    assert found(with_queue(2000), *map(with_queue, (9000, 9000, 9000, 3000))) == [("rows", "public.queue")]
    assert found(with_queue(2000), *map(with_queue, (9000, 9000, 9000, 3000)), backups=4) == []


def test_what_is_ignored_is_in_none_of_the_counts():
    before, after = [*SHOP, ("app.sessions", 9_000_000)], [*SHOP, ("app.sessions", 0)]
    assert found(backup(after), backup(before)) == [("rows", ""), ("rows", "app.sessions")]
    assert found(backup(after), backup(before), ignore=("*.sessions",)) == []
    assert found(backup(SHOP), backup(before), ignore=("app.*",)) == []


def partitioned(*rows):
    return backup([*SHOP, ("log", None), *((f"log_{n}", number, "log") for n, number in enumerate(rows))])


def test_partitions_count_as_the_table_that_they_are_of():
    assert found(partitioned(7000, 8000), partitioned(5000, 5000, 5000)) == []
    assert found(partitioned(7000), partitioned(5000, 5000, 5000)) == [("rows", "log")]
    assert found(partitioned(), partitioned(5000, 5000)) == [("rows", "log")]
    assert found(backup(SHOP), partitioned(5000, 5000)) == [("gone", "log")]
    assert found(partitioned(), partitioned(5000, 5000), ignore=("log",)) == []
    nested = [*SHOP, ("log", None), ("log_old", None, "log")]
    assert found(backup(nested), backup([*nested, ("log_old_0", 9000, "log")])) == [("rows", "log")]


def test_partitions_whose_rows_the_outermost_table_counts_count_once_and_are_missed():
    def through_root(rows, *partitions):
        return backup([*SHOP, ("log", rows), *((path, None, "log") for path in partitions)])

    earlier = through_root(15_000, "log_0", "log_1")
    assert found(through_root(15_000, "log_0"), earlier) == []
    assert found(through_root(5000, "log_0", "log_1"), earlier) == [("rows", "log")]
    assert found(through_root(0), earlier) == [("rows", "log")]
    assert found(through_root(None, "log_0", "log_1"), earlier) == []
    assert uncounted_tables(through_root(None, "log_0", "log_1"), series(earlier)) == ["log"]
    assert found(partitioned(8000, 7000), earlier) == []


def test_what_nobody_counted_this_time_is_not_taken_for_lost():
    uncounted = backup([(path, None) for path, _ in SHOP])
    assert found(uncounted, backup(SHOP)) == []
    assert uncounted_tables(uncounted, series(backup(SHOP))) == sorted(path for path, _ in SHOP)
    one = backup([SHOP[0], (SHOP[1][0], None), SHOP[2]])
    assert found(one, backup(SHOP)) == []
    assert uncounted_tables(one, series(backup(SHOP))) == ["public.customers"]
    assert uncounted_tables(partitioned(), series(partitioned(5))) == []
    assert uncounted_tables(backup(SHOP), []) == []
    assert found(uncounted, sealed(backup(SHOP))) == []


def test_of_what_is_sealed_the_totals_are_compared():
    shut = sealed(backup(SHOP))
    assert found(backup([SHOP[0]]), shut) == [("tables", "")]
    assert found(backup([("public.orders", 9)]), shut) == [("rows", ""), ("tables", "")]
    assert found(backup(SHOP, size=400_000), shut) == [("size", "")]
    assert found(backup([("public.orders", 9), *SHOP[1:]]), shut, backup(SHOP)) == [
        ("rows", ""),
        ("rows", "public.orders"),
    ]
    assert found(backup(SHOP), shut) == []


def test_what_is_not_to_be_compared_is_not():
    none = {"table_rows": None, "rows": None, "size": None, "gone": False}
    assert found(backup(size=0), backup(SHOP), **none) == []


def test_a_pattern_alone_is_not_taken_for_one_of_each_letter():
    with pytest.raises(TypeError, match="several"):
        ShrinkRules(ignore="sessions")


@pytest.mark.parametrize(
    "fields", [{"rows": 0}, {"size": 1.1}, {"table_rows": -1}, {"backups": 0}, {"least_rows": -1}, {"least_bytes": -1}]
)
def test_rules_that_say_nothing_sensible_are_refused(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        ShrinkRules(**fields)
