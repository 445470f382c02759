"""What a plugin says of itself: its kind, formats and options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, Union

from msgspec import Struct

OptionValue = Union[str, int, float, bool, "list[str]"]
Options = Mapping[str, OptionValue]
"""Read-only, complete with the declared defaults, each value of its declared type."""

SUFFIX = re.compile(r"(\.[A-Za-z0-9_+-]+)+")
"""What may end the name of a backup's file: a format's suffix, a compressor's and a cipher's."""

Kind = Literal["driver", "compressor", "cipher", "verifier", "store", "notifier", "transport"]
Verb = Literal[
    "backup",
    "restore",
    "restore_tables",
    "inspect",
    "databases",
    "examine",
    "scratch",
    "compress",
    "encrypt",
    "open_store",
]


class Option(Struct, frozen=True, kw_only=True):
    """One option of a plugin.

    ``default`` also decides the type: ``-o name=text`` is coerced to it. ``verbs`` are the hooks that take it.
    ``choices``, where given, are the only values accepted.
    """

    name: str
    default: OptionValue
    help: str
    verbs: tuple[Verb, ...] = ("backup",)
    choices: tuple[OptionValue, ...] = ()


class Format(Struct, frozen=True, kw_only=True):
    """One form in which a driver writes dumps.

    ``suffix`` ends the stored name, dot included (``.sql``). ``directory`` is True for a form that is a directory
    of files, written through ``Sink.directory()`` and possible only where no stage follows. ``parts`` is True for one
    of several objects, each with stages of its own, written through ``Sink.part()`` and read through ``Dump.parts``;
    ``suffix`` is then that of a part which is given none.

    ``automatic`` is False for one that ``auto`` never stands for: whoever wants it names it.

    ``server`` is True for a form that is of a whole server, such as its accounts, and not of one database. A URL
    need not name a database then, and such backups are never mixed with a database's: the driver declares the option
    ``server`` (bool) for ``inspect``, and where that is on its ``Inspection`` is of the server. A restore adds to the
    server what is missing, and refuses with ``TargetNotEmpty`` what it would have to change, without ``overwrite``.

    ``sensitive`` names the option for ``backup`` that decides whether secrets are in the dump, such as the hashes of
    passwords: ``on`` (the default), ``off``, or ``plain``. At ``on`` dumpty takes a backup only if it is encrypted.
    """

    name: str
    suffix: str
    help: str = ""
    directory: bool = False
    parts: bool = False
    automatic: bool = True
    server: bool = False
    sensitive: str = ""


class Addressing(Struct, frozen=True, kw_only=True):
    """How the URLs of a driver say where its server is, so that dumpty can put the end of a way there in its place.

    What is a Unix socket there becomes one here, in a private directory; what is TCP becomes a port of the loopback
    that lets in nobody but this user: so TLS, and whatever else depends on either, is as it would be there.

    ``port`` is where it listens, where a URL names no port. ``sockets`` names the parameters that a URL names a Unix
    socket by. With ``socket_name`` these, and the host, are its directory, and it is called that there, ``{port}``
    replaced. ``default_sockets`` are paths, of the same kind, where a server's socket is looked for if a URL names no
    host; without any, no host is ``localhost``. ``address`` names the parameter that takes the address to connect to,
    while the host remains the server's name, which certificates are compared with; where a driver has none, its host
    becomes 127.0.0.1. ``elsewhere`` are parameters that take the server's address from a file or a service of this
    machine: they are refused.
    """

    port: int
    sockets: tuple[str, ...] = ()
    socket_name: str = ""
    default_sockets: tuple[str, ...] = ()
    address: str = ""
    elsewhere: tuple[str, ...] = ()


class PluginInfo(Struct, frozen=True, kw_only=True):
    """What a plugin says of itself, without importing anything heavy.

    ``schemes`` (drivers, stores, notifiers, transports): the URL schemes it answers, lower case; a notifier's may be
    ``*``: all that no other answers. ``formats`` (drivers): the first is the default. ``suffix`` (compressors,
    ciphers): ends the stored name, dot included; a cipher's is ``.age``.
    ``requires``: the pip requirement that brings its library, for messages (``dumpty[postgres]``). ``files`` (drivers):
    a database is a file or a directory, whose path its URL names; with wildcards in it, ``databases`` gets that path.
    ``addressing`` (drivers of servers): how a server is reached by a transport; without it, the URL must name a port.
    """

    kind: Kind
    summary: str = ""
    schemes: tuple[str, ...] = ()
    formats: tuple[Format, ...] = ()
    suffix: str = ""
    options: tuple[Option, ...] = ()
    requires: str = ""
    files: bool = False
    addressing: Addressing | None = None
