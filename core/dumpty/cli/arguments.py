"""The arguments and options that several verbs share, and what is made of them."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import unquote

import typer

from dumpty.cli.status import NoSuchStore, UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from dumpty.backup_manager import BackupManager
    from dumpty.operations.result import Backup

__all__ = [
    "DIRECTORY",
    "Config",
    "Database",
    "Directory",
    "Id",
    "JobNames",
    "Jobs",
    "Json",
    "Kind",
    "MaybeId",
    "PluginOptions",
    "Quiet",
    "Source",
    "Via",
    "Yes",
    "add_options",
    "open_existing",
    "parse_options",
    "parse_rate",
    "short_ids",
]

Config = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="The configuration [default: $DUMPTY_CONFIG, or the first of ./dumpty.toml, ~/.config/dumpty/dumpty.toml, "
        "/etc/dumpty/dumpty.toml].",
    ),
]
JobNames = Annotated[
    list[str] | None, typer.Argument(metavar="[JOB]...", help="Jobs of the configuration [default: all].")
]
DIRECTORY = "backups"
URL_HELP = "A database URL, or where to read it, out of sight of ps: env:NAME, file:PATH, cmd:PROGRAM…, - (stdin)."

Directory = Annotated[
    str, typer.Option("--dir", "-d", metavar="REPO", envvar="DUMPTY_DIR", help="The repository: a directory, or a URL.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, failures included.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but warnings and errors.")]
# dumpty.types.Kind, which takes too long to import for a mere --help; a test keeps them equal.
Kind = Literal["driver", "compressor", "cipher", "verifier", "store", "notifier", "transport"]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed where there is no terminal.")]
Via = Annotated[
    list[str] | None,
    typer.Option(
        "--via",
        metavar="V",
        help="Reach the server by this: ssh://user@host, docker://NAME, podman://NAME, kubectl://NAMESPACE/POD; may be "
        "repeated, outermost first. `dumpty help reach`",
    ),
]
PluginOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        "-o",
        metavar="KEY=VALUE",
        help="An option of a plugin; may be repeated. `dumpty plugins show NAME` lists them.",
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs", "-j", metavar="N", min=1, help="How many jobs the driver runs side by side [default: its own]."
    ),
]


def _ids(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete an id, for the shell."""
    completions = ["latest", "latest-verified"]
    # A shell that completes wants words, never an error.
    with contextlib.suppress(Exception):
        directory = ctx.params.get("directory") or os.environ.get("DUMPTY_DIR") or DIRECTORY
        backups = open_existing(directory).list_backups()
        completions += [backup.id for backup in backups]
        name_part, colon, _ = incomplete.partition(":")
        completions += [f"{name_part}:{name}" for name in sorted({b.database_name for b in backups}) if colon]
    return [text for text in completions if text.startswith(incomplete)]


_ID = typer.Argument(
    metavar="ID",
    help="The backup's id, its first characters, `latest`, `latest-verified`, or one of those as `latest:DATABASE`.",
    autocompletion=_ids,
)
Id = Annotated[str, _ID]
MaybeId = Annotated[str | None, _ID]
Database = Annotated[str, typer.Option("--database", metavar="NAME", help="Only backups of the database of this name.")]
Source = Annotated[
    str,
    typer.Option(
        "--source",
        metavar="SOURCE",
        help="Only backups of this database: its SOURCE in `dumpty list`, the end of that, a file's path, or a URL.",
    ),
]


def open_existing(directory: str) -> BackupManager:
    """Open a backup directory that is there; nothing is created.

    Raises:
        NoSuchStore: it is not.
    """
    if "://" not in directory or directory.startswith("file://"):
        path = unquote(directory[len("file://") :]) if directory.startswith("file://") else directory
        if not os.path.isdir(path):
            state = "is not a directory" if os.path.lexists(path) else "does not exist"
            raise NoSuchStore(
                f"the backup directory {os.path.abspath(path)} {state}; "
                "name another one with --dir or DUMPTY_DIR, or make a backup first: dumpty backup URL"
            )
    from dumpty.backup_manager import BackupManager

    return BackupManager(directory)


def parse_options(
    texts: Sequence[str] | None, jobs: int | None = None, *, reserved: Collection[str] = ()
) -> dict[str, object]:
    """Take ``key=value`` apart; ``jobs`` is the driver's option of that name, ``reserved`` are no plugin's.

    Raises:
        UsageError: it is not of that form, is given twice, or is the facades' own.
    """
    from dumpty.registry.options import RESERVED

    options: dict[str, object] = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UsageError(f"the option {text!r} is not of the form KEY=VALUE; write for example -o level=6")
        if key in options:
            raise UsageError(f"the option {key!r} is given twice; several values are written a,b,c")
        if key in RESERVED | {"self", "target_url", "backup_id", *reserved}:
            raise UsageError(f"{key!r} is not an option of a plugin; see the verb's own options with --help")
        options[key] = value
    if jobs is not None:
        if "jobs" in options:
            raise UsageError("--jobs and -o jobs are the same; give one of them")
        options["jobs"] = jobs
    return options


def add_options(options: dict[str, object], **given: str | None) -> None:
    """Add to the ``options`` of plugins those that the command line has flags for; None was not given.

    Raises:
        UsageError: one was given as ``-o`` as well.
    """
    for name, value in given.items():
        if value is None:
            continue
        if name in options:
            raise UsageError(f"--{name.replace('_', '-')} and -o {name} are the same; give one of them")
        options[name] = value


def parse_rate(text: str | None) -> int | None:
    """Return the bytes a second that ``text`` says, None for None.

    Raises:
        UsageError: it says none, or less than one.
    """
    from dumpty.repository.quantities import parse_size

    if text is None:
        return None
    try:
        rate = parse_size(text)
    except ValueError as error:
        raise UsageError(f"--rate-limit: {error}") from None
    if rate < 1:
        raise UsageError(f"--rate-limit: {text!r} is less than a byte a second")
    return rate


_SHORT = 8


def short_ids(backups: Sequence[Backup]) -> dict[str, str]:
    """Return for each id its first characters, eight or as many as tell it from the others."""
    ids = sorted(b.id for b in backups)
    length = _SHORT
    while len({i[:length] for i in ids}) < len(set(ids)):
        length += 1
    return {i: i[:length] for i in ids}
