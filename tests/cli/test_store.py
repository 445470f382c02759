"""``dumpty store check``: what a place guarantees is found out by trying, and what follows is said."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from support.hostile_proxy import NONE, Trouble
from support.toys import StoreWrapper

from dumpty import Cap, Host, MissingFile, PluginError, PluginInfo, Retained, hookimpl
from dumpty.operations.store_check import check_store


def findings(tmp_path, **replaced):
    host = Host([StoreWrapper(**replaced)], discover=True)
    return {finding.name: finding for finding in check_store(host, f"wrapped://{tmp_path}")}


def test_a_directory_guarantees_everything_and_is_left_as_it_was(dumpty, tmp_path):
    (tmp_path / "vault").mkdir()
    result = dumpty("store", "check", tmp_path / "vault")
    assert result.status == 0
    assert result.out.count(" holds ") == 7
    assert list((tmp_path / "vault").iterdir()) == []
    reply = dumpty("store", "check", tmp_path / "vault", "--json").json
    assert {check["holds"] for check in reply["checks"]} == {True}
    assert "MB/s up" in str(reply["checks"])


@pytest.mark.parametrize(("server", "status"), [("moto_server", 0), ("rclone_server", 12)])
def test_a_bucket_says_which_guarantees_hold_there(dumpty, request, s3_credentials, server, status):
    server = request.getfixturevalue(server)
    bucket = server.new_bucket()
    result = dumpty("store", "check", server.url(bucket, "here"), "--json")
    assert result.status == status
    checks = {check["name"]: check for check in result.json["checks"]}
    assert checks["one of several wins a new name"]["holds"] is (status == 0)
    assert not any(check["fault"] for check in checks.values())
    assert [key for key in server.keys(bucket) if server.holds(bucket, key)] == []
    if status:
        assert "after a week" in result.json["error"]


def test_a_container_guarantees_everything(dumpty, azure_server, azure_credentials):
    container = azure_server.new_container()
    result = dumpty("store", "check", azure_server.url(container, "here"))
    assert result.status == 0
    assert result.out.count(" holds ") == 7
    assert azure_server.blobs(container) == []


def test_a_directory_of_an_ssh_server_guarantees_everything(dumpty, ssh_server, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    result = dumpty("store", "check", ssh_server.url(tmp_path / "vault"))
    assert result.status == 0
    assert result.out.count(" holds ") == 7
    assert [path for path in (tmp_path / "vault").rglob("*") if path.is_file()] == []


def test_rights_without_deletion_are_told_with_what_is_left(dumpty, moto_server, s3_credentials):
    bucket = moto_server.new_bucket()

    def append_only(request):
        deletes = request.method == "DELETE" or request.path.endswith("?delete")
        return Trouble(refuse=(403, "AccessDenied")) if deletes else NONE

    with moto_server.proxy.does(append_only):
        result = dumpty("store", "check", moto_server.url(bucket))
    assert result.status == 12
    assert "prune and remove do not work with these rights" in result.out
    assert any(key.split("/")[1] in result.out for key in moto_server.keys(bucket))


def test_there_is_no_such_place(dumpty, moto_server, s3_credentials):
    result = dumpty("store", "check", moto_server.url("no-bucket-of-that-name"))
    assert result.status == 1
    assert "there is no bucket" in result.err
    assert dumpty("store", "check", "s3://a@b").status == 2
    assert dumpty("store").status == 2


def test_a_store_that_lets_two_win_and_says_that_one_does_is_a_fault(tmp_path):
    together = threading.Barrier(2)

    def put(real, name, data, *, new=True):
        if "race" in name and not together.broken:
            together.wait(60)  # both have looked
            return real(name, data, new=False)
        return real(name, data, new=new)

    found = findings(tmp_path, put=put)["one of several wins a new name"]
    assert found.fault
    assert "8, 8, 8 won" in found.seen


def test_a_store_whose_listing_lags_and_that_says_it_does_not_is_a_fault(tmp_path):
    found = findings(tmp_path, list=lambda real, *a: iter(()))["what was written is listed at once"]
    assert found.fault
    lagging = findings(tmp_path, list=lambda real, *a: iter(()), capabilities=lambda real: real() & ~Cap.STRONG_LIST)[
        "what was written is listed at once"
    ]
    assert not lagging.fault
    assert "a day later" in lagging.follows


def test_a_store_that_returns_other_bytes_is_a_fault(tmp_path):
    class Cut:
        def __init__(self, real):
            self.read, self.close = (lambda size=-1: b""), real.close

    found = findings(tmp_path, open=lambda real, name, offset=0: Cut(real(name)) if offset else real(name))
    assert found["read from any byte on"].fault
    found = findings(tmp_path, get=lambda real, name: real(name)[:-1])
    assert found["write and read back"].fault


def test_a_store_that_returns_the_parts_of_a_large_object_in_another_order_is_a_fault(tmp_path):
    class Swapped:
        def __init__(self, real):
            blocks = [real.read(1 << 18) for _ in range(64)]
            self.blocks, self.close = iter(blocks[::-1]), real.close

        def read(self, size=-1):
            return next(self.blocks, b"")

    def open_swapped(real, name, offset=0):
        return Swapped(real(name)) if "large" in name else real(name, offset)

    assert findings(tmp_path, open=open_swapped)["a large object is there whole or not at all"].fault


def test_a_clock_that_is_wrong_is_told_and_nothing_follows(dumpty, tmp_path, monkeypatch):
    found = findings(tmp_path, now=lambda real: real() + timedelta(hours=2))["its clock is near this machine's"]
    assert (found.holds, found.follows) == (False, "")
    assert "NTP" in found.seen


def test_a_store_that_shows_what_is_not_committed_is_a_fault(tmp_path):
    def upload(real, name, expected=None):
        visible.append(name)
        return real(name, expected)

    def stat(real, name):
        return real(next(iter(found_names))) if name in visible else real(name)

    visible, found_names = [], []

    def put(real, name, data, *, new=True):
        found_names.append(name)
        return real(name, data, new=new)

    found = findings(tmp_path, upload=upload, stat=stat, put=put)
    assert found["a large object is there whole or not at all"].fault


def test_a_deletion_that_does_nothing_is_a_fault_and_one_that_must_wait_is_not(tmp_path):
    def retain(real, names):
        raise Retained("kept until tomorrow")

    assert findings(tmp_path, delete=lambda real, names: None)["what was written can be deleted"].fault
    found = findings(tmp_path, delete=retain)["what was written can be deleted"]
    assert (found.holds, found.fault) == (False, False)
    assert "retained" in found.seen


def test_what_it_wrote_goes_when_the_place_fails_midway(tmp_path):
    def fail(real, *_):
        raise MissingFile("gone")

    with pytest.raises(MissingFile):
        findings(tmp_path, open=fail)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_layout_of_its_own_is_no_store():
    class Layout:
        name = "layout"

        @hookimpl
        def describe(self):
            return PluginInfo(kind="store", schemes=("layout",))

        @hookimpl
        def open_repository(self, url):
            raise NotImplementedError

    with pytest.raises(PluginError, match="layout of its own"):
        list(check_store(Host([Layout()]), "layout://x"))
