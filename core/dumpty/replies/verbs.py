"""What each verb prints under ``--json``: the one source of the objects, and of ``json_schema.json`` (``schema``)."""

from __future__ import annotations

from typing import Any

from msgspec import field

from dumpty.replies.coverage import CoverageReply
from dumpty.replies.differences import DiffReply, RowDiffReply
from dumpty.replies.reply import Failure, ProgramStatus, Reply
from dumpty.replies.runs import (  # noqa: TC001 - as the other values
    JobHealth,
    JobPlan,
    JobRun,
    JobSettings,
    Metric,
    Notified,
    ProtectedDatabase,
    Run,
    ScheduleFile,
)
from dumpty.replies.values import (  # noqa: TC001 - as the other values
    Backup,
    BackupFailure,
    BackupWithTables,
    Client,
    Copy,
    Count,
    Database,
    Decision,
    KeyCheck,
    KeyRecipients,
    Library,
    Moment,
    Plugin,
    Proof,
    RestoredTable,
    Rule,
    Seconds,
    ShownBackup,
    ShownPlugin,
    StoreCheck,
    Topic,
)
from dumpty.types import Kind, Level  # noqa: TC001

__all__ = ["REPLIES", "Failure", "Reply"]


class BackupReply(Reply, kw_only=True):
    """``backup``: what is backed up, and, where the URL means several databases, those that are not."""

    backups: list[Backup]
    failures: list[BackupFailure] = field(default_factory=list)
    duration_seconds: Seconds


class RestoreReply(Reply, kw_only=True):
    """``restore``: the backup that was restored; ``tables`` is null where that was all of it."""

    backups: list[Backup]
    duration_seconds: Seconds
    target_url: str
    tables: list[RestoredTable] | None


class ListReply(Reply, kw_only=True):
    """``list``."""

    backups: list[Backup]


class TablesReply(Reply, kw_only=True):
    """``list --tables``."""

    backups: list[BackupWithTables]


class ShowReply(Reply, kw_only=True):
    """``show``."""

    backups: list[ShownBackup]


class ProofsReply(Reply, kw_only=True):
    """``verify`` and ``drill``."""

    level: Level
    proofs: list[Proof]


class TryReply(Reply, kw_only=True):
    """``try``: the proof of its restore, and the program that was run, whose exit status is also ``status``."""

    status: ProgramStatus = 0  # type: ignore[assignment]
    backups: list[Backup]
    proofs: list[Proof]
    program: str
    exit_status: ProgramStatus


class PinReply(Reply, kw_only=True):
    """``pin`` and ``unpin``: the backup as it is now."""

    backups: list[Backup]
    was_pinned: bool


class AcceptReply(Reply, kw_only=True):
    """``accept``: the backup as it is now."""

    backups: list[Backup]
    was_suspicious: bool


class RemoveReply(Reply, kw_only=True):
    """``remove``: the backup as it was."""

    backups: list[Backup]
    removed: list[str]
    dry_run: bool


class PruneReply(Reply, kw_only=True):
    """``prune``: a decision for each backup, and the ids of those that are gone."""

    decisions: list[Decision]
    removed: list[str]
    dry_run: bool
    timezone: str


class CopyReply(Reply, kw_only=True):
    """``copy``: the copies that there are, and what came of each backup that was to be copied."""

    backups: list[Backup]
    copies: list[Copy]


class RunReply(Reply, kw_only=True):
    """``run``: what came of each job."""

    jobs: list[JobRun]


class RunPlanReply(Reply, kw_only=True):
    """``run --dry-run``: what each job would do."""

    jobs: list[JobPlan]


class RunsReply(Reply, kw_only=True):
    """``runs``: the latest first."""

    runs: list[Run]


class CheckReply(Reply, kw_only=True):
    """``check``: each job, whether anything is wrong with it or not."""

    jobs: list[JobHealth]


class ReportReply(Reply, kw_only=True):
    """``report``: every database, and how it stood ``at`` that time; ``path`` is the file written (null: none)."""

    at: Moment
    repositories: list[str]
    databases: list[ProtectedDatabase]
    path: str | None = None


class MetricsReply(Reply, kw_only=True):
    """``metrics``: ``path`` is the file that they were written into (null: none)."""

    path: str | None
    metrics: list[Metric]


class NotifyReply(Reply, kw_only=True):
    """``notify test``: everybody who was to be told."""

    notified: list[Notified]


class ScheduleReply(Reply, kw_only=True):
    """``schedule systemd`` and ``schedule cron``: the files, and the commands that are left to be called for them."""

    files: list[ScheduleFile]
    installed: bool
    commands: list[str]


class ConfigInitReply(Reply, kw_only=True):
    """``config init``: the file that was written."""

    path: str


class ConfigReply(Reply, kw_only=True):
    """``config check`` and ``config show``: the file, its jobs, and every mistake in it."""

    path: str
    jobs: list[JobSettings]
    problems: list[str]


class ConfigSchemaReply(Reply, kw_only=True):
    """``config show --schema``: the JSON schema of the file."""

    config_schema: dict[str, Any]


class NewKeyReply(Reply, kw_only=True):
    """``keys new``: where the identity is, and its recipient."""

    path: str
    recipient: str
    passphrase: bool


class NewSigningKeyReply(Reply, kw_only=True):
    """``keys new --signing``: where the key is, and the public one."""

    path: str
    public_path: str
    public_key: str
    fingerprint: str


class KeysReply(Reply, kw_only=True):
    """``keys show``."""

    keys: list[KeyRecipients]


class CheckKeysReply(Reply, kw_only=True):
    """``keys check``: the newest backup of every database."""

    checks: list[KeyCheck]


class DoctorReply(Reply, kw_only=True):
    """``doctor``: what is installed, and the database, where one was named."""

    dumpty: str
    python: str
    platform: str
    plugins: list[Plugin]
    libraries: list[Library]
    clients: list[Client]
    database: Database | None


class DemoReply(Reply, kw_only=True):
    """``demo``; ``directory`` is null where it is removed."""

    tables: Count
    rows: Count
    identical: bool
    damage: str
    backup_seconds: Seconds
    restore_seconds: Seconds
    directory: str | None


class PluginsReply(Reply, kw_only=True):
    """``plugins``."""

    plugins: list[Plugin]


class ShowPluginReply(Reply, kw_only=True):
    """``plugins show``: every plugin of that name."""

    plugins: list[ShownPlugin]


class NewPluginReply(Reply, kw_only=True):
    """``plugins new``: the package, and the files in it."""

    path: str
    kind: Kind
    files: list[str]


class CheckPluginReply(Reply, kw_only=True):
    """``plugins check``; ``left`` are the databases and places that it made, and that are yours to remove."""

    plugin: str
    kind: Kind
    rules: list[Rule]
    left: list[str]


class StoreCheckReply(Reply, kw_only=True):
    """``store check``: what the place guarantees."""

    store: str
    checks: list[StoreCheck]


class HelpReply(Reply, kw_only=True):
    """``help``: the pages there are, or the one that was asked for."""

    topics: list[Topic]


REPLIES: dict[str, tuple[type[Reply], ...]] = {
    "backup": (BackupReply,),
    "restore": (RestoreReply,),
    "list": (ListReply, TablesReply),
    "show": (ShowReply,),
    "verify": (ProofsReply,),
    "drill": (ProofsReply, CoverageReply),
    "diff": (DiffReply, RowDiffReply),
    "try": (TryReply,),
    "pin": (PinReply,),
    "unpin": (PinReply,),
    "accept": (AcceptReply,),
    "remove": (RemoveReply,),
    "prune": (PruneReply,),
    "copy": (CopyReply,),
    "run": (RunReply, RunPlanReply),
    "runs": (RunsReply,),
    "check": (CheckReply,),
    "metrics": (MetricsReply,),
    "report": (ReportReply,),
    "serve": (),
    "schedule systemd": (ScheduleReply,),
    "schedule cron": (ScheduleReply,),
    "notify test": (NotifyReply,),
    "config init": (ConfigInitReply,),
    "config check": (ConfigReply,),
    "config show": (ConfigReply, ConfigSchemaReply),
    "doctor": (DoctorReply,),
    "demo": (DemoReply,),
    "keys new": (NewKeyReply, NewSigningKeyReply),
    "keys show": (KeysReply,),
    "keys check": (CheckKeysReply,),
    "help": (HelpReply,),
    "plugins": (PluginsReply,),
    "plugins show": (ShowPluginReply,),
    "plugins new": (NewPluginReply,),
    "plugins check": (CheckPluginReply,),
    "store check": (StoreCheckReply,),
}
"""What each verb may print, besides a ``Failure``."""
