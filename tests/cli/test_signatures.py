"""``--sign-with``, ``--require-signature`` and ``keys new --signing``: what they take, say, and end with."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from support.keys import signing_key
from support.pages import MANUAL, blocks

from dumpty.signing.keys import read_verification_keys
from dumpty.signing.wire import fingerprint


@pytest.fixture(autouse=True)
def _keys(tmp_path):
    signing_key(tmp_path / "mine")
    signing_key(tmp_path / "theirs")


@pytest.fixture
def signed(make, shop) -> dict:
    """A signed backup."""
    return make(shop, "--sign-with", "mine")


def print_of(path: str) -> str:
    [key] = read_verification_keys([path])
    return fingerprint(key.data)


@pytest.mark.parametrize("key", ["mine", "env:KEY", "file:mine", "cmd:cat mine"])
def test_a_key_is_read_wherever_it_is_kept(dumpty, shop, orders, monkeypatch, key):
    monkeypatch.setenv("KEY", Path("mine").read_text())
    monkeypatch.setenv("PUBLIC", Path("mine.pub").read_text())
    result = dumpty("backup", shop, "--sign-with", key)
    assert result.status == 0, result
    assert f"signed by {print_of('mine.pub')}" in result.out
    public = {"mine": "mine.pub", "env:KEY": "env:PUBLIC", "file:mine": "file:mine.pub"}
    required = public.get(key, Path("mine.pub").read_text().strip())
    argv = ("--require-signature", "theirs.pub", "--require-signature", required)
    result = dumpty("restore", "latest", "--to", "sqlite:///new.db", *argv)
    assert result.status == 0, result
    assert orders("new.db") == [(1, "egg"), (2, "wall")]


ENDS = [
    (("restore", "latest", "--to", "sqlite:///new.db"), "mine.pub", 0, "is restored in"),
    (("restore", "latest", "--to", "sqlite:///new.db"), "theirs.pub", 4, "is signed, as it says, by SHA256:"),
    (("restore", "latest", "--to", "sqlite:///new.db"), "mine", 2, "is a private key, which is secret"),
    (("restore", "latest", "--to", "sqlite:///new.db"), "nobody.pub", 2, "no file is read there"),
    (("restore", "latest", "--to", "sqlite:///new.db"), "", 2, "no file is read there"),
    (("restore", "latest", "--to", "sqlite:///new.db"), "env:NOBODY", 2, "has no variable"),
    (("verify", "latest"), "mine.pub", 0, "what its manifest says is signed by SHA256:"),
    (("verify", "latest"), "theirs.pub", 4, "(theirs) is required"),
    (("verify", "--all"), "theirs.pub", 4, "FAILED: backup"),
    (("verify", "--all"), "nobody.pub", 2, "no file is read there"),
    (("drill",), "mine.pub", 0, "1 backup proven by restoring"),
    (("drill",), "theirs.pub", 4, "(theirs) is required"),
    (("drill", "--all"), "mine.pub", 0, "1 backup proven by restoring"),
    (("drill", "--all"), "theirs.pub", 4, "0 backups proven by restoring, 1 FAILED"),
]


@pytest.mark.parametrize(("argv", "key", "status", "said"), ENDS, ids=[" ".join((*a, k)) for a, k, _, _ in ENDS])
def test_what_is_required_is_checked_and_ends_with_its_status(dumpty, signed, argv, key, status, said):
    result = dumpty(*argv, "--require-signature", key)
    assert result.status == status, result
    assert said in result.out + result.err
    assert Path("new.db").exists() == (status == 0 and argv[0] == "restore")


def test_a_refusal_is_told_to_programs_as_such(dumpty, signed, make, shop):
    result = dumpty("verify", "latest", "--require-signature", "theirs.pub", "--json")
    assert (result.status, result.json["error_type"]) == (4, "SignatureError")
    unsigned = make(shop)
    result = dumpty("verify", "--all", "--require-signature", "mine.pub", "--json")
    assert (result.status, result.json["error_type"]) == (4, "SignatureError")
    assert [proof["ok"] for proof in result.json["proofs"]] == [True, False]
    assert [proof["recorded"] for proof in result.json["proofs"]] == [True, False]
    assert [proof["error_type"] for proof in result.json["proofs"]] == [None, "SignatureError"]
    Path(signed["files"][0]).write_bytes(b"no longer")
    result = dumpty("verify", "--all", "--require-signature", "mine.pub", "--json")
    assert (result.status, result.json["error_type"]) == (4, "IntegrityError")  # damage is more than a lack
    result = dumpty("restore", "latest", "--to", "sqlite:///new.db", "--require-signature", "mine.pub", "--json")
    assert (result.status, result.json["error_type"]) == (4, "SignatureError")
    assert unsigned["id"] in result.json["error"]
    assert f"The newest that is rightly signed is {signed['id']}" in result.json["error"]


def test_what_the_latest_is_to_a_copy_it_is_to_a_restore(dumpty, signed, make, shop):
    make(shop)
    argv = ("copy", "latest", "--to", "vault", "--require-signature", "mine.pub", "--json")
    result = dumpty(*argv)
    assert (result.status, result.json["error_type"]) == (4, "SignatureError")
    assert f"The newest that is rightly signed is {signed['id']}" in result.json["error"]
    newest = make(shop, "--sign-with", "mine")
    [manifest] = Path("backups").rglob(f"*{newest['id'].partition('-')[0]}*.manifest.json")
    manifest.write_text("{}")
    result = dumpty(*argv)
    assert (result.status, result.json["error_type"]) == (4, "SignatureError")
    assert not list(Path().glob("vault/shop*"))
    assert dumpty("copy", signed["id"], "--to", "vault", "--require-signature", "mine.pub").status == 0


def test_a_mistake_with_the_signing_key_is_wrong_usage_and_makes_no_backup(dumpty, shop):
    for argument in ("mine.pub", "nobody", "shop.db", "env:NOBODY", ""):
        result = dumpty("backup", shop, "--sign-with", argument)
        assert result.status == 2, result
        assert result.err.count("\n") == 1
    assert not list(Path().glob("backups/shop*"))


def test_show_says_by_which_key_a_backup_says_that_it_is_signed(dumpty, signed, make, shop):
    shown = dumpty("show", signed["id"]).out
    assert f"signed          as it says, by {print_of('mine.pub')}; unchecked:" in shown
    details = dumpty("show", signed["id"], "--json").json["backups"][0]["details"]
    assert details["claimed_signers"] == [print_of("mine.pub")]
    unsigned = make(shop)
    assert "signed          no\n" in dumpty("show", unsigned["id"]).out
    assert dumpty("show", unsigned["id"], "--json").json["backups"][0]["details"]["claimed_signers"] == []


def test_a_copy_made_at_once_is_signed_too(dumpty, shop):
    argv = ("backup", shop, "--sign-with", "mine", "--copy-to", "vault")
    assert dumpty(*argv).status == 0
    restore = ("restore", "latest", "--dir", "vault", "--to", "sqlite:///new.db")
    assert dumpty(*restore, "--require-signature", "mine.pub").status == 0


@pytest.mark.parametrize("forged", [False, True])
def test_a_signature_is_checked_without_dumpty(dumpty, make, shop, forged):
    [block] = [b for b in blocks(MANUAL / "signatures.md") if "test_a_signature_is_checked_without_dumpty" in b.note]
    dumpty("keys", "new", "--signing")
    backup = make(shop, "--sign-with", "signing.key")
    [manifest] = Path("backups").rglob("*.manifest.json")
    if forged:
        manifest.write_text(manifest.read_text().replace(backup["checksum"], "0" * 64))
    process = subprocess.run(["sh", "-euc", block.text], capture_output=True, text=True, check=False)
    assert (process.returncode == 0) == (not forged), process.stderr
    assert f"Signature Verif{'ication Failure' if forged else 'ied Successfully'}" in process.stdout


def test_a_new_key_is_private_never_overwritten_and_signs(dumpty, make, shop):
    umask = os.umask(0)
    try:
        result = dumpty("keys", "new", "--signing", "--out", "new")
    finally:
        os.umask(umask)
    assert result.status == 0, result
    line, shown, *_ = result.out.splitlines()
    assert Path("new.pub").read_text() == f"{line}\n"
    assert shown.strip() == print_of("new.pub")
    assert stat.S_IMODE(Path("new").stat().st_mode) == 0o600
    text = Path("new").read_text()
    assert not any(secret in result.out + result.err for secret in text.splitlines()[1:-1])
    said = subprocess.run(["ssh-keygen", "-y", "-f", "new"], capture_output=True, text=True, check=True)
    assert said.stdout.split()[:2] == line.split()[:2]
    for present in ("new", "new.pub"):
        again = dumpty("keys", "new", "--signing", "--out", "new")
        assert (again.status, Path("new.pub").read_text()) == (2, f"{line}\n")
        assert f"{present} exists already, and is never overwritten" in again.err
        Path(present).rename("moved") if present == "new" else None
    Path("moved").rename("new")
    make(shop, "--sign-with", "new")
    assert dumpty("verify", "latest", "--require-signature", line).status == 0


def test_a_new_signing_key_by_default_in_json_and_without_a_passphrase(dumpty):
    reply = dumpty("keys", "new", "--signing", "--json").json
    assert reply["path"] == os.path.abspath("signing.key")
    assert Path(reply["public_path"]).read_text() == reply["public_key"] + "\n"
    assert reply["fingerprint"] == print_of("signing.key.pub")
    result = dumpty("keys", "new", "--signing", "--out", "other", "--passphrase")
    assert result.status == 2
    assert not Path("other").exists()
    assert dumpty("keys", "new", "--signing", "--out", "none/key").status == 1
