"""``dumpty try``."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from dumpty.cli import standard_streams
from dumpty.cli.arguments import (
    DIRECTORY,
    URL_HELP,
    Database,
    Directory,
    Id,
    Jobs,
    Json,
    PluginOptions,
    Quiet,
    Source,
    open_existing,
    parse_options,
)
from dumpty.cli.keys import Identities, RequireSignature, read_identities, read_requirement
from dumpty.cli.output import Report, moment
from dumpty.cli.progress import progress_bar
from dumpty.cli.prompt import on_terminal
from dumpty.cli.proving import decided
from dumpty.cli.status import ProgramFailed, UsageError
from dumpty.cli.urls import read_url

if TYPE_CHECKING:
    from dumpty.operations.result import Backup
    from dumpty.operations.scratches import Trial
    from dumpty.types import Proof

EXAMPLES = """
dumpty try latest
dumpty try latest:shop -- pytest tests/reports
dumpty try 1a2b3c4d -- sh -c 'psql -c "SELECT count(*) FROM orders"'
"""

_Server = Annotated[
    str | None,
    typer.Option("--on", metavar="URL", help=f"A server for the database, not a private one, as for drill. {URL_HELP}"),
]
_Program = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[-- PROGRAM [ARG]...]",
        help="What to run instead of the database's own client; $DUMPTY_URL leads there.",
    ),
]


def try_(
    backup_id: Id,
    program: _Program = None,
    on: _Server = None,
    database: Database = "",
    source: Source = "",
    identity: Identities = None,
    require_signature: RequireSignature = None,
    directory: Directory = DIRECTORY,
    jobs: Jobs = None,
    option: PluginOptions = None,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Restore a backup into a throw-away database, and give a shell in it.

    The restore is a drill's: what is stored is verified, the database is compared with what was recorded when it was
    backed up, and the proof is written down. Then sqlite3, psql, mariadb or mysql is started in it, and its URL told,
    for other programs of yours. When the shell exits, or a signal comes, the database is gone. Behind `--` stands a
    program to run instead: it finds the URL in DUMPTY_URL, and PGHOST and the like, or MYSQL_UNIX_PORT, in its
    environment.

    The exit status is that of the shell or program, 128 and the signal's number where one ended it; what failed before
    it was started has dumpty's own.
    """
    if not program and not on_terminal():
        raise UsageError("there is no terminal for a shell: name a program, as in `dumpty try ID -- PROGRAM`")
    argv = _found(program) if program else ()
    server = None if on is None else read_url(on)[0]
    options = parse_options(option, jobs, reserved={"level", "on", "assertions", "shell"})
    identities, signers = read_identities(identity), read_requirement(require_signature)
    manager = open_existing(directory)
    backup = manager.find(backup_id, database=database, source=source, require_signature=signers)
    keys = {"identities": identities, "require_signature": signers}
    with contextlib.ExitStack() as stack:
        with progress_bar(f"try {backup.id[:8]}", quiet=quiet) as progress:
            lent = manager.trial(backup.id, on=server, shell=not argv, progress=progress, **keys, **options)  # type: ignore[arg-type]
            proof, trial = stack.enter_context(lent)
        if not quiet:
            _announce(backup, trial, private=on is None)
        status = _run(argv or trial.shell, trial, json=json)
    tried = manager.get_backup(backup.id) or backup  # with its new proof
    return _report(tried, proof, (argv or trial.shell)[0], status, json=json, quiet=quiet)


def _report(backup: Backup, proof: Proof, program: str, status: int, *, json: bool, quiet: bool) -> Report:
    from dumpty.replies.backups import as_json
    from dumpty.replies.verbs import TryReply

    name = os.path.basename(program)
    return Report(
        reply=TryReply(backups=[as_json(backup)], proofs=[decided(backup, proof)], program=name, exit_status=status),
        warnings=_warnings(backup, proof),
        error=ProgramFailed(program, status) if status else None,
        json=json,
        quiet=quiet,
    )


def _found(program: list[str]) -> tuple[str, ...]:
    """Return a command line with its program's path.

    Raises:
        UsageError: there is no such program.
    """
    import shutil

    path = shutil.which(program[0])
    if path is None:
        raise UsageError(f"there is no program {program[0]} to run; nothing was restored")
    return path, *program[1:]


def _announce(backup: Backup, trial: Trial, *, private: bool) -> None:
    """Say where the database is; of a private one with its password, which is worth nothing elsewhere or later."""
    from dumpty.redaction import plain

    url = trial.url if private else trial.shown_url
    errors = standard_streams.ForgivingStream(sys.stderr)
    errors.write(f"backup {backup.id} of {plain(backup.database_name)}, taken {moment(backup.timestamp)}, is in\n")
    errors.write(f"  {plain(url)}\nuntil this ends\n")
    errors.flush()


def _run(argv: tuple[str, ...], trial: Trial, *, json: bool) -> int:
    """Run the shell or the program in the database, and return its exit status as a shell would."""
    from dumpty.process.foreground import run_in_foreground

    # Under --json standard output is for the one object, and what the program says goes to standard error.
    stdout = None if json else standard_streams.kept_output()
    status = run_in_foreground(argv, env={**trial.environment, "DUMPTY_URL": trial.url}, stdout=stdout)
    return status if status >= 0 else 128 - status


def _warnings(backup: Backup, proof: Proof) -> list[str]:
    if not proof.unrecorded:
        return []
    return [f"the proof of {backup.id} could not be written down: {proof.unrecorded}"]
