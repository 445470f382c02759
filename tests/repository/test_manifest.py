"""Manifests: what is written is read back; what is damaged, foreign or from the future is refused by name."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support.toys import ToyDriver

from dumpty import BackupManager, DumptyError, Evidence, ManifestError, ObjectEvidence
from dumpty.repository import manifest
from dumpty.repository.manifest import bare_name, decode, encode, statement
from dumpty.repository.sealed import VERSION, seal, unseal, utc
from dumpty.types import PluginRef, Record, SealedPart, Signature, StageRecord, StoredObject, TableContent

RECORD = Record(
    id="6f1c8f4e-0000-4000-8000-000000000001",
    url="mysql://u:***@h/shöp",
    identity="mysql://h/shöp",
    database="shöp",
    driver=PluginRef(name="mysql", distribution="dumpty", version="1.0"),
    format="sql",
    suffix=".sql",
    objects=(
        StoredObject(
            name="shop-20260101T000000Z-6f1c8f4e0000.p1.sql.gz",
            size=5,
            sha256="b" * 64,
            plain_size=10,
            plain_sha256="a" * 64,
            stages=(StageRecord(plugin=PluginRef(name="gzip"), params={"level": 2, "names": ["a"]}),),
            digests={"blake3": "cc"},
            section="pre-data",
        ),
        StoredObject(
            name="shop-20260101T000000Z-6f1c8f4e0000.p2.sql",
            size=7,
            sha256="c" * 64,
            plain_size=7,
            plain_sha256="c" * 64,
            section="data",
            tables=(
                TableContent(path="a.b", rows=3, range="pages 0 to 8191"),
                TableContent(path="c", rows=0),
                TableContent(path="d", range="ids from 7"),
                TableContent(path="e"),
            ),
        ),
    ),
    started=datetime(2026, 1, 1, 1, tzinfo=UTC),
    ended=datetime(2026, 1, 1, 2, 3, 4, 5, tzinfo=UTC),
    evidence=Evidence(
        objects=(
            ObjectEvidence(path="a.b", rows=3),
            ObjectEvidence(path="c", fingerprint="f"),
            ObjectEvidence(path="c_2026", rows=1, part_of="c"),
        ),
        snapshot="00-1",
        consistent=False,
        versions={"server": "8"},
        notes=("one", "zwö"),
        properties={"encoding": "utf8", "roles": ["x"]},
    ),
    options={"jobs": 2},
    tags=("nightly",),
    suspicions=("table c: gone, had 5 rows in backup 1a2b3c4d of 2025-12-31 01:00Z",),
)


def resealed(**changes):
    whole = json.loads(encode(RECORD))
    for path, value in changes.items():
        *parents, last = path.split("__")
        at = whole
        for parent in parents:
            at = at[int(parent) if isinstance(at, list) else parent]
        if value is ...:
            del at[last]
        else:
            at[last] = value
    del whole["digest"], whole["dumpty_manifest"]
    return seal(whole)


def test_a_record_is_read_back_as_it_was_written():
    assert decode(encode(RECORD), "m") == RECORD
    assert decode(resealed(), "m") == RECORD


def test_a_manifest_is_json_that_people_can_read():
    text = encode(RECORD).decode()
    assert "shöp" in text
    assert text.endswith("}\n")
    assert json.loads(text)["dumpty_manifest"] == VERSION == 1


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters()),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)


@given(
    st.dictionaries(st.text(st.characters(), max_size=5).filter(lambda k: k not in {"digest", "dumpty_manifest"}), JSON)
)
def test_any_content_is_unsealed_as_it_was_sealed(content):
    assert unseal(seal(content), "m") == {"dumpty_manifest": VERSION, **content}


@given(st.dictionaries(st.text(max_size=5), JSON), st.text(st.characters(), max_size=5))
def test_any_content_is_read_back_as_it_was_written(properties, text):
    """Also numbers that no register holds, and names of files that are no UTF-8."""
    evidence = replace(RECORD.evidence, properties=properties)
    record = replace(RECORD, evidence=evidence, options=properties, tags=(text,))
    assert decode(encode(record), "m") == record


SIGNATURE = Signature(key=bytes(range(32)), data=bytes(range(64)))


def test_what_is_signed_is_what_it_always_was():
    """Every signature that was ever made is of these bytes: whoever alters them makes another kind of statement."""
    record = replace(
        RECORD,
        objects=RECORD.objects[1:],
        evidence=Evidence(properties={"ü": [1.5, -0.0, 1e300, 2**70]}),
        started=datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
        options={"z": 1, "a": "\udcff"},
        signatures=(SIGNATURE,),
    )
    assert statement(record).decode() == (
        "dumpty manifest signature v1\0"
        '{"clear":{"database":"sh\\u00f6p","driver":{"distribution":"dumpty","name":"mysql","version":"1.0"},'
        '"ended":"2026-01-01T02:03:04.000005+00:00","format":{"directory":false,"name":"sql","suffix":".sql"},'
        '"objects":[{"digests":{},"sha256":"' + "c" * 64 + '","size":7,"stages":[]}],"source":"mysql://h/sh\\u00f6p",'
        '"started":"2026-01-01T00:00:00+00:00","suspicious":true,"tags":["nightly"],"totals":{"rows":0,"tables":0},'
        '"url":"mysql://u:***@h/sh\\u00f6p","verifiers":[]},"id":"6f1c8f4e-0000-4000-8000-000000000001",'
        '"sealed":{"evidence":{"consistent":true,"notes":[],"objects":[],'
        '"properties":{"\\u00fc":[1.5,-0.0,1e+300,1180591620717411303424]},"snapshot":null,"versions":{}},'
        '"options":{"a":"\\udcff","z":1},"parts":[{"section":"data","sha256":"' + "c" * 64 + '","size":7,'
        '"tables":[["a.b",3,"pages 0 to 8191"],["c",0],["d",null,"ids from 7"],["e",null]]}],'
        '"suspicions":["table c: gone, had 5 rows in backup 1a2b3c4d of 2025-12-31 01:00Z"]}}'
    )


CONTENTS = st.builds(
    TableContent,
    path=st.text(st.characters(), min_size=1, max_size=5),
    rows=st.none() | st.integers(0, 2**63 - 1),
    range=st.text(st.characters(), max_size=5),
)


@given(st.lists(CONTENTS, max_size=4), st.lists(CONTENTS, max_size=4))
def test_what_each_object_holds_of_which_tables_is_read_back(first, second):
    objects = [replace(o, tables=tuple(t)) for o, t in zip(RECORD.objects, (first, second), strict=True)]
    record = replace(RECORD, objects=tuple(objects))
    found = decode(encode(record), "m")
    assert found == record
    assert statement(found) == statement(record)


@given(
    st.dictionaries(st.text(st.characters(), max_size=5), JSON),
    st.text(st.characters(), max_size=5),
    st.datetimes(timezones=st.timezones(), min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)),
    st.lists(CONTENTS, max_size=2),
    st.booleans(),
)
def test_what_is_signed_is_the_same_when_it_is_read_back(properties, text, moment, tables, is_sealed):
    record = replace(
        RECORD,
        objects=(RECORD.objects[0], replace(RECORD.objects[1], tables=tuple(tables))),
        url=text,
        evidence=replace(RECORD.evidence, properties=properties, notes=(text,)),
        options=properties,
        tags=(text,),
        started=moment.astimezone(UTC),
        ended=moment,
        signatures=(SIGNATURE, SIGNATURE),
    )
    if is_sealed:
        stage = StageRecord(plugin=PluginRef(name="age"), params={"recipients": ["X25519"]}, kind="cipher")
        objects = tuple(
            replace(o, stages=(stage,), plain_size=0, plain_sha256="", section="whole", tables=())
            for o in RECORD.objects
        )
        closed = SealedPart(data=text.encode("utf-8", "surrogatepass") or b"x", tables=2, rows=3)
        record = replace(record, objects=objects, evidence=Evidence(), options={}, sealed=closed)
    found = decode(encode(record), "m")
    assert found.signatures == record.signatures
    assert statement(found) == statement(record)
    renamed = replace(found, objects=tuple(replace(o, name=f"x{o.name}") for o in found.objects), signatures=())
    assert statement(renamed) == statement(record)


def places_of(value, place=()):
    """Yield the place of every value within nested JSON."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*place, key)
        if isinstance(inner, (dict, list)):
            yield from places_of(inner, (*place, key))


@given(st.data())
def test_no_two_records_that_differ_but_in_names_are_signed_alike(data):
    """Whatever is put into a manifest, or taken out: it is damaged, or signed otherwise, or no reader goes by it."""
    content = json.loads(encode(replace(RECORD, signatures=(SIGNATURE,))))
    del content["digest"], content["dumpty_manifest"]
    *parents, last = data.draw(st.sampled_from(list(places_of(content))))
    inner = content
    for key in parents:
        inner = inner[key]
    if data.draw(st.booleans()):
        del inner[last]
    else:
        inner[last] = data.draw(st.one_of(JSON, st.sampled_from([str(inner[last]), [inner[last]], not inner[last]])))
    try:
        found = decode(seal(content), "m")
    except ManifestError:
        return
    if statement(found) == statement(RECORD):
        objects = tuple(replace(o, name=known.name) for o, known in zip(found.objects, RECORD.objects, strict=True))
        assert replace(found, objects=objects, signatures=()) == RECORD


def test_a_manifest_without_a_signature_says_nothing_of_signatures():
    assert b"signatures" not in encode(RECORD)
    assert decode(encode(RECORD), "m").signatures == ()


def test_a_flipped_bit_anywhere_is_noticed():
    data = encode(RECORD)
    for bit in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            record = decode(bytes(damaged), "the manifest m")
        except ManifestError as error:
            assert str(error).startswith("the manifest m ")  # noqa: PT017 - both outcomes are right
        else:
            assert record == RECORD  # white space between the values


@pytest.mark.parametrize("cut", [0, 1, 10, 300, -3])
def test_a_cut_manifest_is_damaged(cut):
    with pytest.raises(ManifestError, match="m is damaged"):
        decode(encode(RECORD)[:cut], "m")


@given(
    st.one_of(
        st.binary(), JSON.map(lambda v: json.dumps(v).encode()), st.dictionaries(st.text(max_size=4), JSON).map(seal)
    )
)
def test_whatever_the_bytes_are_the_error_is_ours(data):
    with pytest.raises(ManifestError, match="m is damaged"):
        decode(data, "m")


@pytest.mark.parametrize(
    "data",
    [b'{"a":' * 100_000, b"[" * 100_000, b'{"dumpty_manifest":1,"digest":"","a":' + b"[" * 980 + b"]" * 980 + b"}"],
)
def test_endless_nesting_is_damage(data):
    with pytest.raises(ManifestError, match="damaged"):
        unseal(data, "m")


def test_a_newer_manifest_is_refused_with_the_way_to_read_it():
    whole = {**json.loads(encode(RECORD)), "dumpty_manifest": VERSION + 1}
    with pytest.raises(
        ManifestError, match=r"newer dumpty \(manifest version 2, this one reads up to 1\): pip install --upgrade"
    ):
        decode(json.dumps(whole).encode(), "m")


@pytest.mark.parametrize("version", [None, 0, "1", 1.5])
def test_any_other_version_is_damage(version):
    whole = {**json.loads(encode(RECORD)), "dumpty_manifest": version}
    with pytest.raises(ManifestError, match="damaged"):
        decode(json.dumps(whole).encode(), "m")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("id", ...), ("id", 7), ("more", 1), ("clear", []), ("sealed", None), ("clear__more", 1), ("clear__objects", []), ("clear__objects", [1]), ("clear__objects", 7),
        ("clear__driver", "mysql"), ("clear__driver__more", 1), ("clear__driver__name", ...), ("clear__driver__name", 7),
        ("clear__started", "today"), ("clear__started", 7), ("clear__started", "2026-01-01T00:00:00"), ("clear__ended", "0001-01-01T00:00:00+23:00"),
        ("clear__format", []), ("clear__verifiers", [{}]), ("clear__totals__rows", -1), ("clear__totals__tables", True), ("clear__tags", [1]),
        ("clear__format__suffix", "/../../x"), ("clear__format__suffix", "sql"), ("clear__format__suffix", ""), ("clear__format__suffix", 7), ("clear__format__suffix", ".a/b"), ("clear__format__suffix", ".a\n"),
        ("sealed__evidence", None), ("sealed__evidence__objects", [[1]]), ("sealed__evidence__objects", [["a", True, None]]), ("sealed__evidence__objects", [["a", -1, None]]), ("sealed__evidence__versions", [1]), ("sealed__evidence__versions", {"a": 1}),
        ("clear__suspicious", False), ("clear__suspicious", 1), ("clear__suspicious", ...), ("sealed__suspicions", []), ("sealed__suspicions", [1]), ("sealed__suspicions", ...),
        ("sealed__evidence__objects", [["a", 1, None, 7]]), ("sealed__evidence__objects", [["a", 1, None, "b", "c"]]), ("sealed__options", [1]), ("sealed__parts", []), ("sealed__parts", [{}]),
        *((f"clear__objects__0__{key}", value) for key, value in (
            ("size", "x"), ("size", None), ("size", -1), ("size", True), ("size", 1e300), ("sha256", "x"), ("sha256", "B" * 64), ("digests", 3), ("stages", [1]), ("stages", 7), ("more", 1),
            ("name", "../x"), ("name", "/etc/passwd"), ("name", ".."), ("name", "."), ("name", ""), ("name", "a\0b"), ("name", "a\\b"), ("name", 7), ("name", None),
            ("name", "shop-20260101T000000Z-6f1c8f4e0000.p2.sql"),
        )),
        *((f"sealed__parts__1__{key}", value) for key, value in (("size", [1]), ("size", -1), ("sha256", ""), ("section", "schema"), ("tables", "a"), ("tables", [1]), ("tables", ["a"]), ("tables", [["a"]]), ("tables", [["a", -1]]), ("tables", [["a", True]]), ("tables", [["a", 1, None]]), ("tables", [["a", 1, "b", 2]]))),
    ],
)  # fmt: skip
def test_a_manifest_that_is_sealed_but_not_ours_is_damaged(path, value):
    with pytest.raises(ManifestError, match=r"^m is damaged"):
        decode(resealed(**{path: value}), "m")


@pytest.mark.parametrize("name", ["a", "a.b", "...", " ", "ä\n"])
def test_a_bare_name_stays_as_it_is(name):
    assert bare_name(name, "m") == name


def test_times_are_aware_and_in_utc():
    east = timezone(timedelta(hours=5, minutes=30))
    moment = datetime(2026, 3, 29, 2, 30, tzinfo=east)
    assert utc(moment.isoformat()) == moment
    assert utc(moment.isoformat()).utcoffset() == timedelta(0)
    with pytest.raises(ValueError, match="no offset"):
        utc("2026-01-01T00:00:00")


def test_a_plugin_is_named_with_its_distribution():
    assert str(PluginRef(name="x", distribution="dumpty-x", version="2")) == "plugin 'x' of dumpty-x 2"
    assert str(PluginRef(name="x", distribution="this program")) == "plugin 'x' of this program"


@pytest.mark.parametrize("kind", ["driver", "stages", "verifiers"])
def test_a_plugin_that_is_named_by_no_text_is_one_that_is_not_installed(tmp_path, kind):
    manager = BackupManager(str(tmp_path), plugins=[ToyDriver(db=b"data")])
    made = manager.create_backup("toy://h/db").backup
    [manifest] = tmp_path.rglob("*.manifest.json")
    whole = json.loads(manifest.read_text())
    ref = {"name": None, "distribution": "dumpty", "version": "1"}
    clear = whole["clear"]
    (clear["objects"][0] if kind == "stages" else clear)[kind] = {
        "driver": ref,
        "stages": [{"kind": "compressor", "plugin": ref, "params": {}}],
        "verifiers": [ref],
    }[kind]
    del whole["digest"], whole["dumpty_manifest"]
    manifest.write_bytes(seal(whole))
    result = manager.restore(made.id, "toy://h/again")
    assert not result.success
    with pytest.raises(DumptyError):
        manager.verify(made.id, level="structure")


def sealed_record() -> Record:
    """A record whose sealed part was not opened, as a repository is given it."""
    cipher = StageRecord(plugin=PluginRef(name="age"), params={"recipients": ["X25519"]}, kind="cipher")
    objects = tuple(
        replace(o, plain_size=0, plain_sha256="", section="whole", tables=(), stages=(*o.stages, cipher))
        for o in RECORD.objects
    )
    part = SealedPart(data=b"an age file", tables=RECORD.tables, rows=RECORD.rows, suspicious=True)
    return replace(RECORD, objects=objects, evidence=Evidence(), options={}, sealed=part, suspicions=())


def test_a_sealed_record_reads_back_as_one_that_was_not_opened():
    record = sealed_record()
    read_back = manifest.decode(manifest.encode(record), "the manifest")
    assert read_back == record
    assert (read_back.tables, read_back.rows) == (RECORD.tables, RECORD.rows) != (0, 0)
    assert read_back.suspicious
    assert read_back.plain_size is None
    assert read_back.recipient_kinds == ("X25519",)


def test_what_was_sealed_opens_to_what_was_known():
    closed = sealed_record()
    known = replace(RECORD, recipients=("age1…",))
    opened = manifest.open_sealed(closed, manifest.encode_sealed(known), "the manifest")
    assert opened.sealed is None
    assert [replace(o, stages=o.stages[:-1]) for o in opened.objects] == list(RECORD.objects)
    assert replace(opened, objects=RECORD.objects) == known


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"[]", b"{}", b"[" * 100_000, b'{"id": 1}'], ids=["nothing", "no text", *"abcd"]
)
def test_what_is_sealed_may_be_anything_and_is_then_damaged(content):
    with pytest.raises(ManifestError, match="the manifest"):
        manifest.open_sealed(sealed_record(), content, "the manifest")


@pytest.mark.parametrize("said", [None, 7, "X25519", [1, "X25519", None], {"X25519": 1}], ids=range(5))
def test_recipients_that_are_no_texts_are_none(said):
    """They stand in the clear, and so may be anything: a listing shows what it can."""
    stage = StageRecord(plugin=PluginRef(name="age"), params={"recipients": said}, kind="cipher")
    assert stage.recipient_kinds == (("X25519",) if isinstance(said, list) else ())
