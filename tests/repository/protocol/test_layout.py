"""Names: what is given is understood again, and nothing else ever leads anywhere."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dumpty.repository.protocol import layout
from dumpty.repository.protocol.layout import (
    TOMBSTONE,
    Entry,
    data_name,
    expiry,
    folder_name,
    is_stem,
    new_stem,
    parse_listing,
    split_name,
    time_text,
)
from dumpty.types import Found

NOW = datetime(2026, 11, 26, 17, tzinfo=UTC)
STEM = "shop-abcdef/20261126T170000Z-0123456789ab-01234567"
MEANINGS = [".intent", ".beat-1", ".manifest.json", ".pin-01234567", ".proof-20261126T170000Z-01234567"]
MEANINGS += [".accepted-20261126T170000Z-01234567"]
SAFE = re.compile(r"(?!\.{1,2}(/|\Z))[A-Za-z0-9_.-]+(/(?!\.{1,2}(/|\Z))[A-Za-z0-9_.-]+){0,3}")


def found(name, size=1, modified=NOW, retained_until=None):
    return Found(name=name, size=size, tag="", modified=modified, retained_until=retained_until)


ANY_TEXT = st.text(st.characters(categories=None))


@given(ANY_TEXT, ANY_TEXT, st.datetimes(min_value=datetime(1000, 1, 1), timezones=st.just(UTC)), st.uuids(version=4))
def test_every_database_has_a_folder_and_every_attempt_a_stem_that_a_store_takes(database, identity, started, number):
    folder = folder_name(database, identity)
    stem = new_stem(folder, started, str(number))
    assert is_stem(stem)
    assert stem.startswith(f"{folder}/{time_text(started)}-{number.hex[:12]}-")
    for ending in [".sql.gz", ".p1.sql.zst", ".db", *MEANINGS]:
        assert split_name(stem + ending) == (stem, ending)
        assert SAFE.fullmatch(stem + ending)
        assert len(stem + ending) <= layout.NAME_LIMIT


def test_databases_of_one_name_have_folders_of_their_own():
    assert folder_name("shop", "/a/shop.db") != folder_name("shop", "/b/shop.db")
    assert folder_name("shop", "/a/shop.db") == folder_name("shop", "/a/shop.db")


def test_two_attempts_at_one_backup_have_stems_of_their_own():
    number = str(uuid.uuid4())
    assert new_stem("shop-abcdef", NOW, number) != new_stem("shop-abcdef", NOW, number)


@pytest.mark.parametrize("folder", ["..", "a/b", ".prune", ".runs", "", "a b", "ä", "a" * 300])
def test_no_stem_is_made_in_a_folder_that_is_none(folder):
    with pytest.raises(ValueError, match="cannot be the name"):
        new_stem(folder, NOW, str(uuid.uuid4()))


@pytest.mark.parametrize("ending", [*MEANINGS, "", ".", "sql", ".sql/x", "/../x", ".sql\n", ".ä", "." + "x" * 200])
def test_no_data_has_an_ending_that_means_something_else(ending):
    with pytest.raises(ValueError, match="cannot be the ending"):
        data_name(STEM, ending)


@given(ANY_TEXT | st.from_regex(r"[./\\\n\0A-Za-z0-9-]{0,80}"))
def test_what_others_put_there_is_in_no_listing(name):
    listing = parse_listing([found(name)])
    parts = split_name(name)
    assert (parts is None) == (not listing.entries)
    assert all(is_stem(stem) and SAFE.fullmatch(stem) for stem in listing.entries)


@pytest.mark.parametrize(
    "name",
    [
        "../" + STEM + ".sql",
        "/" + STEM + ".sql",
        STEM + ".sql\n",
        STEM + ".sql/../../x",
        STEM + "/x.sql",
        STEM,
        "a/" + STEM + ".sql",
        ".." + STEM[4:] + ".sql",
        ".prune/doom-../../x",
        ".prune/doom-0123456789abcdef\n",
        ".prune/doom-",
        ".prune/20261126T170000Z-0123456789ab-01234567.sql",
        "shop-abcdef/२०२६1126T170000Z-0123456789ab-01234567.sql",
        "backup_manifest.json",
    ],
)
def test_hostile_and_foreign_names_are_nobodys(name):
    listing = parse_listing([found(name)])
    assert not listing.entries
    assert not listing.dooms
    assert not listing.decisions


def test_a_listing_is_one_entry_for_each_stem():
    other = STEM.replace("shop", "blog")
    names = [STEM + e for e in (*MEANINGS, ".p1.sql", ".p2.sql", ".beat-2")] + [other + ".db", other + ".intent"]
    names += [".prune/doom-0123456789abcdef", ".prune/go-0123456789abcdef", ".runs/nightly/1.result", "README"]
    listing = parse_listing(map(found, reversed(names)))
    assert listing.entries.keys() == {STEM, other}
    entry = listing.entries[STEM]
    assert sorted(f.name for f in entry.all()) == sorted(n for n in names if n.startswith(STEM))
    assert {f.name for f in entry.data} == {STEM + ".p1.sql", STEM + ".p2.sql"}
    assert (len(entry.beats), len(entry.pins), len(entry.notes)) == (2, 1, 2)
    assert entry.committed
    assert not listing.entries[other].committed
    assert listing.committed.keys() == {STEM}
    assert listing.dooms.keys() == listing.decisions.keys() == {"0123456789abcdef"}


def test_a_tombstone_is_known_by_its_size_and_an_empty_manifest_is_none():
    entry = parse_listing([found(STEM + ".manifest.json", size=len(TOMBSTONE))]).entries[STEM]
    assert (entry.tombstone, entry.committed) == (True, False)
    entry = parse_listing([found(STEM + ".manifest.json", size=0)]).entries[STEM]
    assert (entry.tombstone, entry.committed) == (False, True)


@pytest.mark.parametrize(
    ("pin", "pinned"),
    [
        (".pin-01234567", True),
        (".pin-01234567-20261126T170001Z", True),
        (".pin-01234567-20261126T170000Z", False),
        (".pin-01234567-20269999T170000Z", True),
        (".pin-", True),
        (".pin-of-a-newer-dumpty", True),
    ],
)
def test_a_pin_holds_until_it_expires_and_for_ever_where_that_cannot_be_told(pin, pinned):
    entry = parse_listing([found(STEM + pin)]).entries[STEM]
    assert entry.pinned(NOW) is pinned


def test_an_expiry_is_read_from_the_name_alone():
    assert expiry(STEM + ".pin-01234567-20261126T170000Z") == NOW
    assert expiry(STEM + ".pin-01234567") is None
    assert expiry("no pin") is None


def test_what_the_place_retains_is_known_where_it_says_so():
    entry = Entry(stem=STEM, data=[found(STEM + ".db", retained_until=NOW + timedelta(days=1))])
    assert entry.retained(NOW)
    assert not entry.retained(NOW + timedelta(days=1))
