"""What dumpty reads of an age file without a key: that it is one, and for how many of which kind."""

from __future__ import annotations

import io
import subprocess

import pyrage
import pytest
from support.keys import ssh_key, x25519

from dumpty import IntegrityError
from dumpty.encryption.header import require_encrypted

MAC = "--- " + "A" * 43 + "\n"
X25519 = "-> X25519 " + "B" * 43 + "\n" + "C" * 43 + "\n"


class Trickle(io.BytesIO):
    """Gives few bytes at a time."""

    def read(self, size=-1):
        return super().read(min(size, 7) if size and size > 0 else 7)


def check(data: bytes, *kinds: str) -> None:
    for stream in (io.BytesIO(data), Trickle(data)):
        require_encrypted(stream, kinds, "the file")


def header(*stanzas: str, version: str = "age-encryption.org/v1\n", mac: str = MAC) -> bytes:
    return (version + "".join(stanzas) + mac).encode() + b"\0payload"


@pytest.mark.parametrize("count", [1, 2, 5])
def test_recipients_are_counted_whatever_grease_stands_between_them(count):
    key = pyrage.x25519.Recipient.from_str(x25519()[0].text)
    for _ in range(30):  # grease has another name, other arguments and another length each time
        data = pyrage.encrypt(b"egg", [key] * count)
        check(data, *["X25519"] * count)
        for wrong in (count - 1, count + 1):
            with pytest.raises(IntegrityError, match="other recipients"):
                check(data, *["X25519"] * wrong)


def test_ssh_keys_are_told_by_their_kind(tmp_path):
    keys = [pyrage.ssh.Recipient.from_str(ssh_key(tmp_path / kind, kind)) for kind in ("ed25519", "rsa")]
    keys.append(pyrage.x25519.Recipient.from_str(x25519()[0].text))
    check(pyrage.encrypt(b"egg", keys), "X25519", "ssh-rsa", "ssh-ed25519")
    with pytest.raises(IntegrityError, match=r"ssh-ed25519 \(1\).*not X25519 \(3\)"):
        check(pyrage.encrypt(b"egg", keys), "X25519", "X25519", "X25519")


def test_what_the_age_program_writes_is_read_too(tmp_path):
    command = ["age", "-r", x25519()[0].text, "-r", x25519("other")[0].text]
    check(subprocess.run(command, input=b"egg", capture_output=True, check=True).stdout, "X25519", "X25519")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"egg",
        b"\x1f\x8b\x08" + bytes(1000),
        header(X25519, version="age-encryption.org/v2\n"),
        header(X25519, version=""),
        header(X25519, mac=""),
        header(X25519, mac="--- short\n"),
        header("X25519\n"),
        header("-> X25519 \n", X25519),
        header(X25519, "!\n"),
        header("-> X25519 B\n" + "C" * 65 + "\n"),
        header("-> X25519 B\n" + "C" * 64 + "\n"),
        b"-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n",
        header(X25519)[:40],
    ],
    ids=range(14),
)
def test_what_is_no_header_of_an_age_file_is_refused(data):
    with pytest.raises(IntegrityError, match="the file"):
        check(data, "X25519")


def test_a_stanza_that_is_neither_a_recipient_nor_grease_is_somebody_who_was_not_asked_for():
    check(header(X25519, "-> j-grease x\n\n"), "X25519")
    for other in ("-> scrypt a 10\nDDDD\n", "-> piv-p256 a\nDDDD\n", X25519):
        with pytest.raises(IntegrityError, match="other recipients"):
            check(header(X25519, other), "X25519")


def test_a_body_of_several_lines_ends_with_a_shorter_one():
    check(header("-> ssh-rsa x\n" + ("C" * 64 + "\n") * 5 + "CC\n"), "ssh-rsa")
    check(header("-> ssh-rsa x\n" + ("C" * 64 + "\n") * 5 + "\n"), "ssh-rsa")


def test_no_more_of_a_large_file_is_read_than_a_header_may_be_long():
    stream = io.BytesIO(b"x" * (5 << 20))
    with pytest.raises(IntegrityError):
        require_encrypted(stream, ["X25519"], "the file")
    assert stream.tell() <= 2 << 20
    stream = io.BytesIO(header(X25519) + bytes(5 << 20))
    require_encrypted(stream, ["X25519"], "the file")
    assert stream.tell() < 1 << 16
