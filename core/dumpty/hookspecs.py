"""The contract between dumpty and its plugins: signatures and what they promise, nothing else.

A plugin is a module (or any object) found through the entry-point group ``dumpty``. It implements some of these
hooks with ``dumpty.hookimpl``. dumpty picks *one* plugin, by URL scheme or by name, and calls the hook on that one
alone; hook wrappers see every call. All arguments are passed by keyword, and an implementation may take fewer.
Returning means success and returning None is an error: a failure is raised. An exception leaves every older
backup, and the target of a restore, as it was. ``finished`` alone is an event: every plugin that implements it is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from dumpty.types import (
        ByteSink,
        Dump,
        Event,
        Evidence,
        Identity,
        Inspection,
        KeyPair,
        Notifier,
        Options,
        PluginInfo,
        Reader,
        Recipient,
        Repository,
        Scratch,
        Sink,
        Source,
        Store,
        TableRows,
        Transport,
        Verifier,
        Writer,
    )

hookspec = pluggy.HookspecMarker("dumpty")

hookimpl = pluggy.HookimplMarker("dumpty")
"""Marks a function as the implementation of a hook of this module."""


@hookspec(firstresult=True)
def describe() -> PluginInfo:  # type: ignore[empty-body]
    """Say what this plugin is. Called often and early: imports no driver, opens nothing, cannot fail.

    .. versionadded:: 1.0
    """


@hookspec(firstresult=True)
def inspect(source: Source, options: Options) -> Inspection:  # type: ignore[empty-body]
    """Look at the database behind ``source`` without changing anything, or creating it.

    Needed for ``restore``, where it tells an empty target from a full one. A database that does not exist is
    ``exists=False, empty=True``, not an error; one that cannot be reached is an error. Something that is no
    database, but could be overwritten, is ``exists=True, empty=False`` with a note.

    .. versionadded:: 1.0
    """


@hookspec(firstresult=True)
def databases(source: Source, options: Options) -> Iterable[Source]:  # type: ignore[empty-body]
    """Return every database that a backup of the whole server behind ``source`` wants, ordered by name.

    Each is ``source.replace(database=NAME)``: named as a URL names it once it is decoded. The server's own databases
    are none of them; one that this account knows of and cannot read is, for its backup then says so. ``source`` names
    no database; for a plugin whose ``PluginInfo.files`` is True it is a glob of paths (``*``, ``?``, ``[…]``, and
    ``**`` for folders of any depth), and the files that match are wanted, each once. Nothing is
    changed, or opened that need not be. What cannot be looked at is an error, never left out.

    .. versionadded:: 1.0
    """


@hookspec(firstresult=True)
def backup(source: Source, sink: Sink, format: str, options: Options) -> Evidence:  # type: ignore[empty-body]
    """Write one complete, consistent dump of ``source`` into ``sink``; returning means success.

    The source is only read. Errors out of ``sink.write`` are not to be swallowed (dumpty raises them again). A database
    that cannot be written in ``format``, but may be in another one, raises ``FormatNotSupported``: what was written is
    removed, and if nobody asked for this one (``BackupManager.create_backup``, ``auto``) the next is tried.

    .. versionadded:: 1.0
    """


@hookspec(firstresult=True)
def restore(target: Source, dump: Dump, overwrite: bool, options: Options) -> Evidence:  # type: ignore[empty-body]
    """Load ``dump`` into ``target``: a missing database is created, an existing empty one used.

    A target that holds anything is refused with ``TargetNotEmpty`` unless ``overwrite`` is True; then the old
    content is replaced only after the new one is complete and checked against ``dump.evidence``. A dump is
    complete only at end-of-file of ``dump.open()``: nothing may be committed before it. ``dumpty.commit_point()`` tells
    that this is about to happen, for callers who may cancel until then.

    .. versionadded:: 1.0
    """


@hookspec(firstresult=True)
def restore_tables(  # type: ignore[empty-body]
    target: Source, dump: Dump, tables: Mapping[str, str], overwrite: bool, options: Options
) -> Evidence:
    """Load some tables of ``dump`` into ``target``, beside what is there, each with all that belongs to it.

    ``tables`` has the path of each (``ObjectEvidence.path``), and the name that it is to have: the path itself where it
    keeps its own. Indexes, constraints among these tables, numbers that are handed out and triggers come with them. A
    database that is missing is created. A table that is there already is refused with ``TargetNotEmpty`` unless
    ``overwrite`` is True; then it is replaced as a database is by ``restore``. What they refer to and the target lacks
    raises ``SourceError`` before anything is written. Nothing else in the target changes, and nothing at all where this
    fails. ``dump.parts`` are those that hold rows of these tables, or say of none what they hold: each is read to its
    end. What is returned counts each table, under its path in the backup.

    .. versionadded:: 1.0
    """


@hookspec(firstresult=True)
def read_rows(  # type: ignore[empty-body]
    source: Source, table: str, options: Options
) -> AbstractContextManager[TableRows]:
    """Return the rows of one table of ``source``, for ``dumpty diff --rows``; the block may end before they do.

    ``table`` is its path (``ObjectEvidence.path``); of a partitioned one all partitions are read. A database or a table
    that is not there raises ``SourceError`` when the block begins. ``options`` are those of ``inspect``. The source is
    only read, and nothing is held when the block has ended.

    .. versionadded:: 1.0
    """


@hookspec(firstresult=True)
def examine(dump: Dump, options: Options) -> Evidence:  # type: ignore[empty-body]
    """Read ``dump`` to its end as its own tools would, without a database, and return what it holds.

    A dump that is not whole, or not what ``dump.evidence`` says, raises ``IntegrityError``.

    .. versionadded:: 1.0
    """


@hookspec(firstresult=True)
def scratch(  # type: ignore[empty-body]
    dump: Dump, on: Source | None, options: Options
) -> AbstractContextManager[Scratch]:
    """Return a scratch database that ``dump`` can be restored into, cleaned up whatever happens.

    What a dump holds is code of whoever owned the database: it is loaded with no privileges beyond this database,
    unless the user insists. ``on`` names a server to use instead of one that the driver starts from local programs.
    What this machine lacks (a server of that version, an extension) raises ``NotProvable``, which says so. It may also
    say how to use what was restored (``shell``, ``environment``) and how to copy it (``clone``, ``another``).

    .. versionadded:: 1.0
    """


@hookspec(firstresult=True)
def compress(sink: ByteSink, options: Options, at_once: int) -> Writer:  # type: ignore[empty-body]
    """Return a writer that compresses into ``sink``. Its ``close()`` flushes the trailer and leaves ``sink`` open.

    ``at_once`` is how many such writers are at work at the same time: who uses threads shares the processors with them.

    .. versionadded:: 1.0
    """


@hookspec(firstresult=True)
def decompress(stream: Reader, params: Options) -> Reader:  # type: ignore[empty-body]
    """Return a reader of what ``compress`` was given; ``params`` are the options it had, from the manifest.

    Input that is truncated, damaged, or followed by anything raises ``IntegrityError``, never a short read.

    .. versionadded:: 1.0
    """


@hookspec(firstresult=True)
def encrypt(sink: ByteSink, recipients: Sequence[Recipient], options: Options) -> Writer:  # type: ignore[empty-body]
    """Return a writer that encrypts into ``sink`` so that each of ``recipients`` alone can read it.

    What it writes is one age file (https://age-encryption.org/v1), not armored, with one stanza for each recipient:
    dumpty reads its header back. A recipient that is none raises ``OptionError``, here and not from the writer. As with
    ``compress``, ``close()`` leaves ``sink`` open. Where the writer holds a thread or a process it also has
    ``abandon()``, which ends it, called after whatever failed; ``dumpty.TransformingWriter`` is such a writer.

    .. versionadded:: 1.0
    """


@hookspec(firstresult=True)
def decrypt(stream: Reader, identities: Sequence[Identity], params: Options) -> Reader:  # type: ignore[empty-body]
    """Return a reader of what ``encrypt`` was given; ``params`` are the options it had, from the manifest.

    Where none of ``identities`` opens it ``IdentityError`` is raised, from here or from ``read``; so it is for one that
    is none. Input that is truncated, damaged, or followed by anything raises ``IntegrityError``, never a short read;
    only where damage to the header looks like another's file it may be ``IdentityError``.

    .. versionadded:: 1.0
    """


@hookspec(firstresult=True)
def new_identity() -> KeyPair:  # type: ignore[empty-body]
    """Make a new identity, of kind ``X25519``. A cipher that cannot does not implement it.

    .. versionadded:: 1.0
    """


@hookspec(firstresult=True)
def verify() -> Verifier:  # type: ignore[empty-body]
    """Return a fresh digest.

    .. versionadded:: 1.0
    """


@hookspec(firstresult=True)
def open_store(url: str, options: Options) -> Store:  # type: ignore[empty-body]
    """Open the store behind ``url`` (``file``: a directory's path), creating it where it does not exist.

    ``url`` is what the user wrote, nothing of it decoded. Settings stand in its query: refuse those that you do not
    know. It is shown and written down, so refuse a password in it with ``MalformedURL``, and take secrets from the
    environment, a file or an agent. A place that is far away may be made by the first write; until then it is empty.
    ``-o`` reaches no store: ``options`` has the defaults of those that it declares for ``open_store``.

    .. versionadded:: 1.0
    """


@hookspec(firstresult=True)
def open_repository(url: str, options: Options) -> Repository:  # type: ignore[empty-body]
    """Open a repository whose layout is the plugin's own, instead of a store that holds dumpty's.

    ``options`` are those declared for ``open_store``. A store that implements this hook needs no ``open_store``.

    .. versionadded:: 1.0
    """


@hookspec(firstresult=True)
def open_notifier(url: str, secret: str) -> Notifier:  # type: ignore[empty-body]
    """Return what tells the recipient behind ``url``; it sends nothing, and connects to nobody.

    ``url`` is what the user wrote, nothing of it decoded; ``secret`` is what messages are to be signed with, "" where
    nobody asks for that. Settings stand in the query. Whatever is wrong with either raises ``MalformedURL`` or
    ``OptionError`` here, and not from ``send``: that is how a configuration is checked. A whole URL may be a secret
    (many services have a token in its path): show of it, in texts, no more than the scheme and the host.

    .. versionadded:: 1.0
    """


@hookspec(firstresult=True)
def open_transport(url: str) -> Transport:  # type: ignore[empty-body]
    """Return the way that ``url`` names: to another machine, or into a container. It connects to nobody.

    ``url`` is what the user wrote, nothing of it decoded. Settings stand in the query: refuse those that you do not
    know. Whatever is wrong with it raises ``MalformedURL`` here, and not later: that is how a configuration is checked.
    It is shown and written down, so refuse a password in it; and what a program would take for an option of its own.

    .. versionadded:: 1.0
    """


@hookspec
def finished(event: Event) -> None:
    """Take note of how a backup, restore, verification, drill, pruning or removal ended.

    Called on every plugin that implements it, after the manifest is written or the failure known, in the thread of the
    caller, who waits. It changes nothing: what it raises or returns is logged under the plugin's name. Nothing else
    needs to be implemented, ``describe`` neither. It has no wrappers.

    .. versionadded:: 1.0
    """
