"""Recipients and identities as people name them: keys, and files of them; each mistake is one clear line."""

from __future__ import annotations

import base64
import subprocess
import sys

import pyrage
import pytest
from support.keys import key_file, ssh_key, x25519

from dumpty import DependencyError, Host, Identity, IdentityError, OptionError, Recipient
from dumpty.encryption import envelope
from dumpty.encryption.identities import PASSPHRASE, IdentityReader
from dumpty.encryption.recipients import read_recipients

AGE = x25519()[0].text
SECRET = x25519()[1].text
SSH = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPP+i20DCc4qkb8hG9mJ2aVC1xDxLKEbmbDN9LcvDBIW"


def reader(ask=None) -> IdentityReader:
    host = Host()
    return IdentityReader(host, lambda: host.named("cipher", "age"), ask)


def test_recipients_come_from_texts_and_files_each_once(tmp_path):
    file = tmp_path / "recipients.txt"
    file.write_text(f"# the vault\n\n{AGE}\n  {SSH} root@db1\n")
    assert read_recipients([AGE, str(file), file, f"{SSH} another comment"]) == (
        Recipient(kind="X25519", text=AGE),
        Recipient(kind="ssh-ed25519", text=SSH),
    )


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (AGE[:-1], "has 61 characters"),
        (AGE.upper(), "AGE1"),
        ("age1yubikey1qwerty", "another kind"),
        ("ssh-ed25519", "none that is known"),
        ("ssh-dss AAAAB3Nza", "none that is known"),
        (SECRET, "is an identity, which is secret"),
        (SECRET.lower(), "is an identity, which is secret"),
        ("nobody", "no file of them is there"),
        ("", "no file of them"),
    ],
    ids=range(9),
)
def test_what_is_no_recipient_is_told_in_one_line_without_a_secret(value, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError) as caught:
        read_recipients([value])
    assert said in str(caught.value)
    assert SECRET not in str(caught.value).upper()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no recipient"),
        ("# nobody\n", "holds no recipient"),
        (f"{AGE}\negg\n", "line 2, 'egg' is none that is known"),
        (f"# public key: {AGE}\n{SECRET}\n", "line 2, is an identity"),
        ("\x00\xff", "is no text"),
    ],
    ids=range(5),
)
def test_a_file_that_holds_something_else_is_told_with_its_line(text, said, tmp_path):
    (tmp_path / "file").write_bytes(text.encode("latin-1"))
    with pytest.raises(OptionError, match=said) as caught:
        read_recipients([tmp_path / "file"])
    assert SECRET not in str(caught.value)


def test_a_large_file_is_not_read_as_one_of_keys(tmp_path):
    (tmp_path / "file").write_bytes(bytes(2 << 20))
    with pytest.raises(OptionError, match="longer than"):
        read_recipients([tmp_path / "file"])
    with pytest.raises(IdentityError, match="longer than"):
        reader().read([tmp_path / "file"])


def test_one_value_where_several_are_meant_is_a_wrong_call(tmp_path):
    for value in (AGE, tmp_path):
        with pytest.raises(TypeError):
            read_recipients(value)
        with pytest.raises(TypeError):
            reader().read(value)


def test_nobody_is_no_recipient():
    with pytest.raises(OptionError, match="nobody"):
        read_recipients([])


def test_identities_come_from_texts_and_files(tmp_path):
    key_file(tmp_path / "key.txt")
    ssh_key(tmp_path / "ssh", "ed25519")
    first, second = reader().read([tmp_path / "key.txt", SECRET, str(tmp_path / "ssh")])[::2]
    assert (first.kind, first.text, first.origin) == ("X25519", SECRET, f"the identity file {tmp_path}/key.txt")
    assert (second.kind, second.origin) == ("ssh", f"the identity file {tmp_path}/ssh")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no identity"),
        (f"# public key: {AGE}\n", "holds no identity"),
        (f"{AGE}\n", "line 1, is a recipient, which is public and opens nothing"),
        (f"{SECRET}\nAGE-PLUGIN-YUBIKEY-1QWERTY\n", "line 2, is no identity"),
        ("\x00\xff", "is no text"),
        ("age-encryption.org/v1\n-> scr", "is sealed with a passphrase"),
    ],
    ids=range(6),
)
def test_a_file_that_holds_no_identity_says_so_and_shows_nothing_of_it(text, said, tmp_path, monkeypatch):
    monkeypatch.delenv(PASSPHRASE, raising=False)
    (tmp_path / "key.txt").write_bytes(text.encode("latin-1"))
    with pytest.raises(IdentityError, match=said) as caught:
        reader().read([tmp_path / "key.txt"])
    assert SECRET not in str(caught.value)
    assert "YUBIKEY" not in str(caught.value)


def test_a_missing_identity_file_is_told_by_its_path(tmp_path):
    with pytest.raises(IdentityError, match=rf"{tmp_path}/none cannot be read: No such file"):
        reader().read([str(tmp_path / "none")])


@pytest.fixture(scope="module")
def sealed() -> bytes:
    """A key file that the passphrase ``sesame`` opens."""
    return pyrage.passphrase.encrypt(f"# a key\n{SECRET}\n".encode(), "sesame")


@pytest.mark.parametrize("form", ["binary", "armored"])
def test_a_passphrase_opens_an_identity_file_given_by_the_environment_or_asked_for(sealed, form, tmp_path, monkeypatch):
    text = base64.b64encode(sealed).decode()
    encoded = "".join(f"{text[i : i + 64]}\n" for i in range(0, len(text), 64))
    armored = f"-----BEGIN AGE ENCRYPTED FILE-----\n{encoded}-----END AGE ENCRYPTED FILE-----\n".encode()
    path = tmp_path / "key.age"
    path.write_bytes(sealed if form == "binary" else armored)
    questions = []

    def ask(question):
        questions.append(question)
        return "sesame"

    monkeypatch.delenv(PASSPHRASE, raising=False)
    [identity] = reader(ask).read([path])
    assert (identity.kind, identity.text) == ("X25519", SECRET)
    assert questions == [f"Passphrase of the identity file {path}: "]
    monkeypatch.setenv(PASSPHRASE, "sesame")
    assert reader(ask).read([path]) == (identity,)
    assert len(questions) == 1


def test_another_passphrase_a_missing_one_and_damage_are_told_apart(sealed, tmp_path, monkeypatch):
    path = tmp_path / "key.age"
    path.write_bytes(sealed)
    monkeypatch.setenv(PASSPHRASE, "open, barley")
    with pytest.raises(IdentityError, match="the passphrase is not the one that it was sealed with"):
        reader().read([path])
    monkeypatch.delenv(PASSPHRASE)
    with pytest.raises(IdentityError, match=f"give it in the environment, as {PASSPHRASE}"):
        reader().read([path])
    path.write_bytes(sealed[:-5])
    monkeypatch.setenv(PASSPHRASE, "sesame")
    with pytest.raises(IdentityError, match="is damaged"):
        reader().read([path])


def test_neither_an_identity_nor_a_passphrase_is_seen_where_it_is_printed():
    for value in (Identity(kind="X25519", text=SECRET), Recipient(kind="scrypt", text="sesame")):
        assert SECRET not in repr(value)
        assert "sesame" not in repr(value)
    assert AGE in repr(x25519()[0])


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "rsa as PEM"])
def test_an_ssh_key_opens_with_its_passphrase_and_with_no_other(kind, tmp_path, monkeypatch):
    path = tmp_path / "ssh"
    recipient = ssh_key(path, kind.split()[0], "secret")
    if "PEM" in kind:
        change = ["ssh-keygen", "-q", "-p", "-m", "PEM", "-P", "secret", "-N", "secret", "-f", path]
        subprocess.run(change, check=True, capture_output=True)
    monkeypatch.delenv(PASSPHRASE, raising=False)
    questions = []
    [identity] = reader(lambda question: questions.append(question) or "secret").read([path])
    assert questions == [f"Passphrase of the identity file {path}: "]
    host = Host()
    cipher = host.named("cipher", "age")
    data = envelope.encrypt(host, cipher, b"Humpty", read_recipients([recipient]), {}, "it")
    assert envelope.decrypt(host, cipher, data, [identity], {}) == b"Humpty"
    monkeypatch.setenv(PASSPHRASE, "open, barley")
    with pytest.raises(IdentityError, match="the passphrase is another, or the key is damaged"):
        reader().read([path])
    monkeypatch.delenv(PASSPHRASE)
    with pytest.raises(IdentityError, match=f"give it in the environment, as {PASSPHRASE}"):
        reader().read([path])


def test_an_ssh_key_that_is_damaged_is_told_without_what_is_in_it(tmp_path, monkeypatch):
    path = tmp_path / "ssh"
    ssh_key(path, "ed25519", "secret")
    lines = path.read_text().splitlines()
    monkeypatch.setenv(PASSPHRASE, "secret")
    host = Host()
    cipher = host.named("cipher", "age")
    for damaged in ([*lines[:2], *lines[3:]], [*lines[:-2], lines[-1]], [lines[0], "b3BlbnNzaC1rZXktdjE=", lines[-1]]):
        path.write_text("\n".join(damaged) + "\n")
        with pytest.raises(IdentityError) as caught:
            envelope.decrypt(host, cipher, b"", reader().read([path]), {})
        assert lines[2] not in str(caught.value)


def test_without_the_library_it_is_said_how_to_get_it(tmp_path, monkeypatch):
    ssh_key(tmp_path / "ssh", "ed25519", "secret")
    monkeypatch.setenv(PASSPHRASE, "secret")
    monkeypatch.setitem(sys.modules, "bcrypt", None)
    with pytest.raises(DependencyError, match=r'pip install "dumpty\[age\]"'):
        reader().read([tmp_path / "ssh"])


def test_a_machine_that_is_busy_for_a_moment_opens_what_a_passphrase_seals(sealed, tmp_path, monkeypatch):
    """The library takes a moment's measure of the machine, and refuses what seems to take too long."""
    monkeypatch.delenv(PASSPHRASE, raising=False)
    (tmp_path / "key.txt").write_bytes(sealed)
    decrypt, refused = pyrage.passphrase.decrypt, [3]

    def slow(*arguments):
        if refused[0]:
            refused[0] -= 1
            raise pyrage.DecryptError(
                "Excessive work parameter for passphrase.\nDecryption would take around 32 seconds"
            )
        return decrypt(*arguments)

    monkeypatch.setattr(pyrage.passphrase, "decrypt", slow)
    [identity] = reader(lambda _: "sesame").read([tmp_path / "key.txt"])
    assert identity.text == SECRET
    refused[0] = 1000
    with pytest.raises(IdentityError, match=r"sealed on a machine so much faster"):
        reader(lambda _: "sesame").read([tmp_path / "key.txt"])


def test_a_machine_that_is_busy_for_a_moment_makes_no_weak_seal(monkeypatch):
    encrypt, made = pyrage.passphrase.encrypt, []

    def weak(*arguments):
        made.append(
            b"age-encryption.org/v1\n-> scrypt AAAAAAAAAAAAAAAAAAAAAA 11\n" if len(made) < 2 else encrypt(*arguments)
        )
        return made[-1]

    monkeypatch.setattr(pyrage.passphrase, "encrypt", weak)
    recipient = Recipient(kind="scrypt", text="sesame")
    host = Host()
    data = envelope.encrypt(host, host.named("cipher", "age"), b"a key", [recipient], {}, "the key")
    assert len(made) >= 3
    assert int(data.split(b"\n")[1].split()[-1]) > 11
