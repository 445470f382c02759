"""Keys for tests: made once, and cheap to make."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

import pyrage

from dumpty import Identity, Recipient


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
