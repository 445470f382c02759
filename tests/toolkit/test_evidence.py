"""Evidence compared: every kind of difference, by name, with both counts."""

from __future__ import annotations

import pytest

from dumpty import Evidence, IntegrityError, ObjectEvidence, compare_evidence, require_same_evidence


def evidence(*objects: tuple) -> Evidence:
    return Evidence(
        objects=tuple(ObjectEvidence(path=path, rows=rows, fingerprint=digest) for path, rows, digest in objects)
    )


EXPECTED = evidence(
    ("same", 7, "x:1"), ("many", 1200, None), ("gone", 3, None), ("content", 2, "x:1"), ("lost", 5, None)
)
FOUND = evidence(("same", 7, "x:1"), ("many", 1, None), ("content", 2, "x:2"), ("lost", None, None), ("more", 9, None))
TEXTS = {
    "missing": "gone is missing",
    "rows": "many has 1 row, and had 1,200 rows when it was dumped",
    "uncounted": "lost was not counted, and had 5 rows when it was dumped",
    "added": "more is there, which the backup does not know",
    "content": "content has as many rows, but another content than when it was dumped",
}


def test_every_kind_of_difference_is_named_with_both_counts():
    comparison = compare_evidence(expected=EXPECTED, found=FOUND)
    assert {d.kind: str(d) for d in comparison.differences} == TEXTS
    [rows] = [d for d in comparison.differences if d.kind == "rows"]
    assert (rows.path, rows.expected, rows.found) == ("many", 1200, 1)
    assert (comparison.objects, comparison.counted, comparison.fingerprinted) == (4, 3, 2)
    assert (comparison.uncounted, comparison.unfingerprinted) == (("lost",), ("many", "lost"))


@pytest.mark.parametrize("kind", list(TEXTS))
def test_each_difference_alone_is_an_error_unless_it_is_none_here(kind):
    others = set(TEXTS) - {kind}
    with pytest.raises(IntegrityError) as raised:
        require_same_evidence(
            expected=EXPECTED, found=FOUND, subject="the restored database", advice="stop", ignore=others
        )
    assert str(raised.value) == f"the restored database is not what was dumped: {TEXTS[kind]}; stop"
    require_same_evidence(expected=EXPECTED, found=FOUND, subject="it", ignore=set(TEXTS))


def test_a_message_names_the_first_differences_and_counts_the_rest():
    expected = evidence(*((f"t{number}", 1, None) for number in range(9)))
    with pytest.raises(
        IntegrityError, match=r"t0 is missing; t1 is missing; t2 is missing \(and 6 more\); restore another"
    ):
        require_same_evidence(expected=expected, found=Evidence(), subject="it")


def test_what_nobody_counted_or_fingerprinted_alike_is_no_difference():
    expected = evidence(("uncounted", None, None), ("other", 2, "old:1"))
    found = evidence(("uncounted", 5, "x:1"), ("other", 2, "new:9"))
    comparison = require_same_evidence(expected=expected, found=found, subject="it")
    assert comparison.differences == ()
    assert comparison.rows == 2


def test_without_recorded_objects_there_is_nothing_to_compare_with():
    require_same_evidence(expected=Evidence(), found=FOUND, subject="it")


@pytest.mark.parametrize("masked", ["expected", "found"])
def test_a_path_with_a_secret_in_it_is_the_one_that_it_masks(masked):
    shown, plain = evidence(("shop.***_log", 3, None)), evidence(("shop.hunter2_log", 3, None))
    expected, found = (shown, plain) if masked == "expected" else (plain, shown)
    assert compare_evidence(expected=expected, found=found).differences == ()
