"""Keys of OpenSSH's form: which are taken, and what is said of those that are not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.keys import signing_key, ssh_key

from dumpty import DumptyError, OptionError, SigningKey, VerificationKey
from dumpty.signing.keys import check_signing_key, public_line, read_verification_keys, verification_keys_in
from dumpty.signing.signer import Signer, is_signature
from dumpty.signing.wire import fingerprint

LINE = public_line(VerificationKey(data=bytes(range(32)), comment="the vault"))


def test_keys_of_ssh_keygen_sign_and_its_fingerprints_are_ours(tmp_path):
    line = ssh_key(tmp_path / "key", "ed25519")
    signer = Signer(SigningKey(text=(tmp_path / "key").read_text()))
    [public] = read_verification_keys([line])
    assert public.data == signer.key.data
    assert is_signature(signer.sign(b"egg"), public.data, b"egg")
    assert not is_signature(signer.sign(b"egg"), public.data, b"wall")
    said = subprocess.run(["ssh-keygen", "-l", "-f", tmp_path / "key.pub"], capture_output=True, text=True, check=True)
    assert said.stdout.split()[1] == fingerprint(public.data)


def test_our_keys_are_ssh_keygens(tmp_path):
    line = signing_key(tmp_path / "key", "root@db1")
    said = subprocess.run(["ssh-keygen", "-y", "-f", tmp_path / "key"], capture_output=True, text=True, check=True)
    assert said.stdout.split()[:2] == line.split()[:2]


def test_a_file_has_a_key_in_each_line_and_each_counts_once(tmp_path):
    path = tmp_path / "signers"
    path.write_text(f"# who may sign\n\n  {LINE}\r\n{LINE.rpartition(' ')[0]}\n")
    [key] = read_verification_keys([path, LINE, str(path)])
    assert key == VerificationKey(data=bytes(range(32)), comment="the vault")
    assert read_verification_keys(None) == ()


WRONG = {
    "rsa": ("ssh-rsa AAAAB3NzaC1yc2E me", "is of the type ssh-rsa"),
    "ecdsa": ("ecdsa-sha2-nistp256 AAAAE2Vj me", "is of the type ecdsa-sha2-nistp256"),
    "a token's": ("sk-ssh-ed25519@openssh.com AAAAGnNr me", "is of the type sk-ssh-ed25519@openssh.com"),
    "cut": (LINE[:60], "is mistyped or cut off"),
    "mistyped": (LINE.replace("A", "*", 1), "is mistyped or cut off"),
    "another key inside": (LINE.replace("AAAAC3NzaC1lZDI1NTE5", "AAAAC3NzaC1lZDI1NTE4"), "is mistyped or cut off"),
    "a recipient": ("age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq", "is no public key"),
    "options": (f"no-pty {LINE}", "is no public key"),
    "an age identity": ("AGE-SECRET-KEY-1QQQQ", "is a private key, which is secret"),
    "nothing": ("# nobody\n", "holds no public key"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_key_is_refused_and_says_where_it_stands(wrong):
    text, said = WRONG[wrong]
    with pytest.raises(OptionError, match=said) as caught:
        verification_keys_in(f"# who\n{text}", "the file of public keys signers")
    assert str(caught.value).startswith("the file of public keys signers")
    assert "\n" not in str(caught.value)


def test_a_path_that_begins_as_a_key_does_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("ssh-keys").mkdir()
    Path("ssh-keys/mine.pub").write_text(LINE)
    assert len(read_verification_keys(["ssh-keys/mine.pub"])) == 1


@settings(max_examples=30)
@given(st.one_of(st.text(max_size=60), st.binary(max_size=60).map(lambda data: LINE[:20] + data.decode("latin-1"))))
def test_anything_else_is_an_error_of_ours(text):
    for check in (
        lambda: verification_keys_in(text, "it"),
        lambda: check_signing_key(SigningKey(text=text)),
        lambda: check_signing_key(SigningKey(text=f"-----BEGIN OPENSSH PRIVATE KEY-----\n{text}\n-----END OPENSSH PRIVATE KEY-----\n")),
    ):  # fmt: skip
        try:
            check()
        except DumptyError as error:
            assert isinstance(error, OptionError)  # noqa: PT017 - a key may come of it, too


def test_a_key_of_which_any_byte_is_wrong_signs_nothing_or_what_it_should(tmp_path):
    signing_key(tmp_path / "key")
    lines = (tmp_path / "key").read_text().splitlines()
    for number in range(1, len(lines) - 1):
        for position in range(0, len(lines[number]), 7):
            changed = "B" if lines[number][position] != "B" else "C"
            line = lines[number][:position] + changed + lines[number][position + 1 :]
            try:
                signer = Signer(SigningKey(text="\n".join([*lines[:number], line, *lines[number + 1 :]])))
            except OptionError as error:
                assert lines[number][:30] not in str(error)  # noqa: PT017 - both outcomes are right
            else:
                assert is_signature(signer.sign(b"egg"), signer.key.data, b"egg")
