"""Small things encrypted as a whole: what of a manifest is sealed, and files of keys."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING

from dumpty.encryption.header import Beginning
from dumpty.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dumpty.registry.host import Host
    from dumpty.registry.plugin import Plugin
    from dumpty.types import Buffer, Identity, Options, Recipient

__all__ = ["decrypt", "encrypt"]

_BLOCK = 1 << 18


class _Collector:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: Buffer, /) -> int:
        self.data += data
        return len(data)


def encrypt(
    host: Host, cipher: Plugin, content: bytes, recipients: Sequence[Recipient], options: Options, label: str
) -> bytes:
    """Return ``content`` as an age file for ``recipients``; that it is one is looked at. ``label`` names it.

    Raises:
        OptionError: a recipient is none.
        IntegrityError: what the cipher made is for others.
        PluginError: it failed.
    """
    sink = _Collector()
    writer = host.encrypt(cipher, sink=sink, recipients=recipients, options=options)
    try:
        writer.write(content)
        writer.close()
    except BaseException:
        writer.abandon()
        raise
    beginning = Beginning()
    beginning.update(sink.data)
    beginning.require_encrypted([recipient.kind for recipient in recipients], label)
    if content and content in sink.data:
        raise IntegrityError(f"{label} came out of {cipher} as it was, not encrypted")
    return bytes(sink.data)


def decrypt(host: Host, cipher: Plugin, data: bytes, identities: Sequence[Identity], params: Options) -> bytes:
    """Return what an age file holds.

    Raises:
        IdentityError: none of ``identities`` opens it.
        IntegrityError: it is damaged.
    """
    stream = io.BytesIO(data)
    with contextlib.closing(host.decrypt(cipher, stream=stream, identities=identities, params=params)) as reader:
        content = bytearray()
        while block := reader.read(_BLOCK):
            content += block
    return bytes(content)
