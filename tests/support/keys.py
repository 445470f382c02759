"""Keys for tests: made once, and cheap to make."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

import pyrage

from dumpty import Identity, Recipient
from dumpty.signing.keys import public_line
from dumpty.signing.signer import new_signing_key


def x25519(name: str = "") -> tuple[Recipient, Identity]:
    """Return a recipient and its identity; each ``name`` has its own."""
    return _made(name)


@functools.cache
def _made(name: str) -> tuple[Recipient, Identity]:
    identity = pyrage.x25519.Identity.generate()
    return (
        Recipient(kind="X25519", text=str(identity.to_public())),
        Identity(kind="X25519", text=str(identity), origin=f"the identity {name}".rstrip()),
    )


def key_file(path: Path, name: str = "") -> str:
    """Write an identity into a file, as ``dumpty keys new`` does, and return its recipient."""
    recipient, identity = x25519(name)
    path.write_text(f"# public key: {recipient.text}\n{identity.text}\n")
    return recipient.text


def ssh_key(path: Path, kind: str, passphrase: str = "") -> str:
    """Make an SSH key at ``path``, and return its recipient."""
    bits = ["-b", "2048"] if kind == "rsa" else []
    subprocess.run(["ssh-keygen", "-q", "-t", kind, *bits, "-N", passphrase, "-f", path], check=True)
    return Path(f"{path}.pub").read_text().strip()


def signing_key(path: Path, comment: str = "") -> str:
    """Write a new key that signs into a file, and its public line into another beside it, and return that line."""
    key, public = new_signing_key(comment or path.stem)
    path.write_text(key.text)
    path.chmod(0o600)
    line = public_line(public)
    Path(f"{path}.pub").write_text(f"{line}\n")
    return line
