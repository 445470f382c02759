"""``dumpty keys new``, ``keys show`` and ``keys check``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from dumpty.cli import description, prompt
from dumpty.cli.arguments import DIRECTORY, Database, Directory, Json, Quiet, Source, open_existing, short_ids
from dumpty.cli.keys import Identities, opened, read_identities
from dumpty.cli.output import Line, Report, Table, count, moment, warn
from dumpty.cli.status import UsageError, error_type
from dumpty.cli.urls import redacted, remember
from dumpty.errors import DumptyError, IntegrityError, NotProvable

if TYPE_CHECKING:
    from dumpty.backup_manager import BackupManager
    from dumpty.operations.key_check import KeyCheck
    from dumpty.operations.result import Backup
    from dumpty.replies import values
    from dumpty.types import Identity

EXAMPLES = """
dumpty keys new --out key.txt
dumpty keys new --signing --out signing.key
dumpty keys check --identity key.txt --dir /srv/backups
dumpty keys show --dir /srv/backups
"""

_COLUMNS = 64


_Out = Annotated[
    str | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="The file to write; it must not exist [default: key.txt, with --signing signing.key].",
    ),
]
_Signing = Annotated[
    bool, typer.Option("--signing", help="Make a key that signs backups, and FILE.pub, which shows that it did.")
]
_Passphrase = Annotated[
    bool,
    typer.Option("--passphrase", help="Seal the file with a passphrase: asked for, or $DUMPTY_IDENTITY_PASSPHRASE."),
]


def new(
    out: _Out = None,
    signing: _Signing = False,
    passphrase: _Passphrase = False,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Make a key: the identity, which opens backups, into a file, and its recipient, to encrypt to, on the screen.

    Whoever has the file reads the backups, and without it nobody does: keep it away from the machine that is backed up,
    on paper, too. The age program takes it as it is.

    With --signing: a key for `dumpty backup --sign-with FILE`, in the form of OpenSSH's, and its public one, for
    --require-signature, on the screen and in FILE.pub. It stays where the backups are made; FILE.pub goes to whoever
    restores.
    """
    from dumpty.encryption.machine_key import key_text
    from dumpty.operations.given_keys import CIPHER
    from dumpty.registry.host import default_host
    from dumpty.replies.verbs import NewKeyReply

    if signing:
        if passphrase:
            raise UsageError("a signing key has no passphrase, for nobody can be asked for it when a backup is made")
        return _new_signing_key(_new_path(out or "signing.key"), json=json, quiet=quiet)
    path = _new_path(out or "key.txt")
    host = default_host()
    pair = host.new_identity(host.named("cipher", CIPHER))
    remember(pair.identity.secrets)
    text = key_text(pair)
    if passphrase:
        text = _sealed(text, _ask_twice())
    _write(path, text)
    recipient = pair.recipient.text
    return Report(
        reply=NewKeyReply(path=path, recipient=recipient, passphrase=passphrase),
        lines=(
            recipient,
            f"  the identity is in {path}: keep it where the backups are not",
            f"  dumpty backup URL --encrypt-to {recipient}",
        ),
        json=json,
        quiet=quiet,
    )


def show(
    identity: Identities = None,
    database: Database = "",
    source: Source = "",
    directory: Directory = DIRECTORY,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Show whom each backup is encrypted to: how many recipients, and the kinds of their keys.

    Which keys those are is sealed: --identity opens that, where it is one of them, and without it this machine's own
    key, for what was encrypted here.
    """
    from dumpty.operations.selection import Filter
    from dumpty.replies.verbs import KeysReply

    identities = read_identities(identity)
    manager = open_existing(directory)
    listing = manager.listing()
    backups = [
        _opened(manager, b, identities) for b in Filter(database=database, source=source).filter(listing.backups)
    ]
    short = short_ids(backups)
    lines: list[Line] = [
        Table(
            ("ID", "DATABASE", "TAKEN", "ENCRYPTED TO"),
            [(short[b.id], b.database_name, moment(b.timestamp), description.recipients(b)) for b in backups],
        )
    ]
    for backup in backups:
        lines += [f"{short[backup.id]}  {recipient}" for recipient in backup.recipients]
    return Report(
        reply=KeysReply(keys=[_recipients(b) for b in backups]),
        lines=lines if backups else [f"no backups in {os.path.abspath(directory)}"],
        warnings=[str(problem) for problem in listing.problems],
        json=json,
        quiet=quiet,
        only_prints=True,
    )


def check(
    identity: Identities = None,
    directory: Directory = DIRECTORY,
    json: Json = False,
    quiet: Quiet = False,
) -> Report:
    """Prove that an identity opens the newest backup of every database.

    Decrypts what is sealed of its manifest, and the beginning of its data. Where it does not open one of them the exit
    status is 4, and 3 where nothing there is encrypted. Do it with the copy of the key that you keep, and now and then:
    a key that is lost opens nothing.
    """
    from dumpty.replies.verbs import CheckKeysReply
    from dumpty.url import shown_address

    if not identity:
        raise UsageError("say which identity is to open the backups: --identity FILE")
    identities = read_identities(identity)
    checks = open_existing(directory).check_keys(identities)
    failed = [c for c in checks if not c.opened]
    lines: list[Line] = [_check_line(c) for c in checks]
    proved = sum(c.opened and bool(c.backup and c.backup.recipient_kinds) for c in checks)
    lines.append(f"{count(proved, 'database')} opened" + (f", {len(failed)} NOT OPENED" if failed else ""))
    error: DumptyError | None = None
    if failed:
        error = IntegrityError(
            f"{len(failed)} of {len(checks)} newest backups are not opened, the first: {_why(failed[0])}"
        )
    elif not proved:
        error = NotProvable(f"nothing in {shown_address(directory)} is encrypted, so nothing is proved of the identity")
    reply = CheckKeysReply(checks=[_check_value(c) for c in checks])
    return Report(reply=reply, lines=lines, error=error, json=json, quiet=quiet)


def _new_signing_key(path: str, *, json: bool, quiet: bool) -> Report:
    from dumpty.replies.verbs import NewSigningKeyReply
    from dumpty.repository.verification import current_user
    from dumpty.signing.keys import public_line
    from dumpty.signing.signer import new_signing_key
    from dumpty.signing.wire import fingerprint

    public_path = _new_path(f"{path}.pub")
    key, public = new_signing_key(current_user())
    remember(key.secrets)
    line = public_line(public)
    _write(public_path, f"{line}\n", 0o644)
    try:
        _write(path, key.text)
    except DumptyError:
        os.unlink(public_path)
        raise
    shown_fingerprint = fingerprint(public.data)
    return Report(
        reply=NewSigningKeyReply(path=path, public_path=public_path, public_key=line, fingerprint=shown_fingerprint),
        lines=(
            line,
            f"  {shown_fingerprint}",
            f"  the key that signs is in {path}: only the machine that makes backups needs it",
            f"  dumpty backup URL --sign-with {path}",
            f"  dumpty restore ID --to URL --require-signature {public_path}",
        ),
        json=json,
        quiet=quiet,
    )


def _new_path(out: str) -> str:
    """Return the path of a file that is to be made.

    Raises:
        UsageError: it is there.
    """
    path = os.path.abspath(os.path.expanduser(out))
    if os.path.lexists(path):
        raise UsageError(f"{path} exists already, and is never overwritten; name another file with --out")
    return path


def _ask_twice() -> str:
    from dumpty.encryption.identities import PASSPHRASE

    passphrase = os.environ.get(PASSPHRASE, "")
    if not passphrase:
        passphrase = prompt.passphrase("Passphrase for the new identity: ")
        if passphrase and prompt.passphrase("Once more: ") != passphrase:
            raise UsageError("the two passphrases differ; nothing was written")
    if not passphrase:
        raise UsageError(f"no passphrase was given: there is no terminal to ask on, and {PASSPHRASE} is not set")
    remember([passphrase])
    return passphrase


def _sealed(text: str, passphrase: str) -> str:
    """Return ``text`` as an age file that a passphrase opens, as lines of letters: paper takes those."""
    import base64

    from dumpty.encryption import envelope
    from dumpty.operations.given_keys import CIPHER
    from dumpty.registry.host import default_host
    from dumpty.types import Recipient

    host = default_host()
    recipient = Recipient(kind="scrypt", text=passphrase)
    data = envelope.encrypt(host, host.named("cipher", CIPHER), text.encode(), [recipient], {}, "the new identity")
    encoded = base64.b64encode(data).decode()
    lines = [encoded[i : i + _COLUMNS] for i in range(0, len(encoded), _COLUMNS)]
    return "\n".join(["-----BEGIN AGE ENCRYPTED FILE-----", *lines, "-----END AGE ENCRYPTED FILE-----", ""])


def _write(path: str, text: str, mode: int = 0o600) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(descriptor)
        except BaseException:
            os.unlink(path)  # half a key opens nothing
            raise
    except FileExistsError:
        raise UsageError(f"{path} exists already, and is never overwritten; name another file with --out") from None
    except OSError as error:
        raise DumptyError(f"cannot write the key to {path}: {error.strerror or error}") from error


def _opened(manager: BackupManager, backup: Backup, identities: tuple[Identity, ...]) -> Backup:
    """Return a backup with its recipients, where they can be known."""
    try:
        return opened(manager, backup, identities)
    except DumptyError as error:
        warn(str(error))
        return backup


def _recipients(backup: Backup) -> values.KeyRecipients:
    from dumpty.replies import values

    return values.KeyRecipients(
        id=backup.id,
        database=backup.database_name,
        source=backup.source,
        timestamp=backup.timestamp,
        encrypted=bool(backup.recipient_kinds),
        recipient_kinds=list(backup.recipient_kinds),
        recipients=None if backup.sealed else list(backup.recipients),
    )


def _why(check: KeyCheck) -> str:
    return redacted(str(check.exception))


def _check_line(check: KeyCheck) -> str:
    backup = check.backup
    if backup is None:
        return f"NOT OPENED: {_why(check)}"
    head = f"{backup.id[:8]}  {backup.database_name}, taken {moment(backup.timestamp)}: "
    if not check.opened:
        return f"{head}NOT OPENED: {_why(check)}"
    return head + (
        f"opened; encrypted to {description.recipients(backup)}" if backup.recipient_kinds else "not encrypted"
    )


def _check_value(check: KeyCheck) -> values.KeyCheck:
    from dumpty.replies import values

    backup, error = check.backup, check.exception
    return values.KeyCheck(
        id=backup.id if backup else None,
        database=backup.database_name if backup else None,
        source=backup.source if backup else None,
        timestamp=backup.timestamp if backup else None,
        encrypted=bool(backup.recipient_kinds) if backup else None,
        opened=check.opened,
        error=None if error is None else _why(check),
        error_type=None if error is None else error_type(error),
    )
