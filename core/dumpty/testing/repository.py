"""``RepositorySuite``: what ``open_repository`` and the repository behind it owe."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from dumpty.errors import DumptyError, PluginError, UnknownBackup
from dumpty.repository.names import slug
from dumpty.testing.backups import STARTED
from dumpty.testing.keeping import KeepingRules
from dumpty.testing.memory import MemoryDriver
from dumpty.testing.rules import refused, require, shown
from dumpty.testing.runs import RunRules
from dumpty.testing.streams import SAMPLES
from dumpty.testing.transactions import TransactionRules

if TYPE_CHECKING:
    from dumpty.backup_manager import BackupManager
    from dumpty.registry.host import Host
    from dumpty.types import Repository

__all__ = ["RepositorySuite"]

_HOUR = timedelta(hours=1)
Damage = Callable[[str, str], None]


class RepositorySuite(KeepingRules, RunRules, TransactionRules):
    """The rules of a repository whose layout is a plugin's own.

    A subclass needs ``plugin``, and a fixture ``repository_url``: the URL of a place of its own for every test, which
    is empty or does not exist. Rules for which an object must go wrong are unproved where objects are no files, unless
    the subclass has a fixture ``damage``.
    """

    @pytest.fixture
    def damage(self, repository: Repository) -> Damage:
        """``damage(name, how)`` makes an object "cut" short, "altered" in one bit, or "gone"; to be overridden."""

        def damage(name: str, how: str) -> None:
            path = repository.local_path(name)
            if path is None or not path.is_file():
                self.unproved("no fixture damage(name, how) cuts, alters or removes a stored object")
            data = path.read_bytes()
            middle = len(data) // 2
            path.unlink()
            if how != "gone":
                altered = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
                path.write_bytes(data[:middle] if how == "cut" else altered)

        return damage

    # -- found and read ------------------------------------------------------------------------------------------

    def test_reading_begins_at_the_offset(self, repository: Repository) -> None:
        """open(name, offset) reads from there on, and read(size) returns no more than that."""
        record = self.write(repository, (b"0123456789",))
        name = record.objects[0].name
        for offset in (0, 1, 9, 10):
            content = self.content(repository, name, offset)
            expected = b"0123456789"[offset:]
            seen = f"from {offset} on it read {content!r}"
            require(content == expected, "open() reads from the offset on.", "Skip as many bytes.", seen)
        reader = repository.open(name)
        block = reader.read(3)
        reader.close()
        require(0 < len(block) <= 3, "read(size) returns at most that.", "Keep to it.", f"it returned {block!r}")  # noqa: PLR2004

    def test_candidates_lead_to_their_backups(self, repository: Repository) -> None:
        """candidates() has all backups, oldest first, each with what tells it and its database from the others."""
        later = self.write(repository, started=STARTED + _HOUR)
        records = [self.write(repository, started=STARTED + _HOUR * hour) for hour in (3, 2)]
        namesake = self.write(repository, identity="test:another server", started=STARTED)
        ordered = [namesake, later, *reversed(records)]
        candidates = repository.candidates()
        loaded = [candidate.load().record for candidate in candidates]
        rule = "candidates() has every backup, oldest first, and load() returns it."
        require(loaded == ordered, rule, "Sort by the time.", f"it had {[r.id for r in loaded]}")
        for candidate, record in zip(candidates, ordered, strict=True):
            fits = (
                record.id.startswith(candidate.id_start)
                and candidate.started.replace(microsecond=0) == record.started.replace(microsecond=0)
                and candidate.database in {"", slug(record.database)}
            )
            rule = "A candidate says how its backup's id begins, when it was begun, and its database's slug, or ''."
            require(fits, rule, "See dumpty.Candidate.", shown(candidate))
        groups = [candidate.group for candidate in candidates]
        rule = "The group of a candidate is the same for all backups of one database, and of them alone."
        apart = groups[0] not in groups[1:] and len(set(groups[1:])) == 1
        require(apart, rule, "Make it of the identity, not the name.", f"the groups were {groups}")

    def test_of_a_database_all_candidates_are_there(self, repository: Repository) -> None:
        """candidates(database=…, identity=…) has all backups of that database, oldest first; others may be left out."""
        records = [self.write(repository, started=STARTED + _HOUR * hour) for hour in (1, 2)]
        self.write(repository, identity="test:another server")
        candidates = repository.candidates(database="shop", identity="test:shop")
        loaded = [candidate.load().record for candidate in candidates]
        of_it = [record for record in loaded if record.identity == "test:shop"]
        rule = "candidates() of a database has all of its backups, oldest first."
        require(of_it == records, rule, "Leave out only those of others.", f"it had {[r.id for r in of_it]}")

    def test_an_unknown_backup_is_unknown(self, repository: Repository) -> None:
        """get() of an id that no backup has, or of the beginning of one, raises UnknownBackup."""
        record = self.write(repository)
        for wanted in (str(uuid.uuid4()), record.id[:8], "", "../" + record.id, "latest"):
            rule = f"get({wanted[:8]!r}…) of what is no whole id of a backup raises dumpty.UnknownBackup."
            with refused(UnknownBackup, rule, "Compare the whole id."):
                repository.get(wanted)

    def test_a_repository_opened_again_has_its_backups(self, host: Host, repository_url: str) -> None:
        """Opening the same URL again shows the same backups, with their data, proofs and pins."""
        first = self.opened(host, repository_url)
        records = [self.write(first, (b"%d" % hour,), started=STARTED + _HOUR * hour) for hour in range(3)]
        first.pin(records[0], "for ever")
        reopened = self.opened(host, repository_url)
        self.require_listed(reopened, *records)
        for number, record in enumerate(records):
            self.require_whole(reopened, record, (b"%d" % number,))
        pinned = self.listed(reopened)[records[0].id].annotations.pinned
        require(pinned, "A pin is there for whoever opens the repository again.", "Store it.", "it was gone")

    def test_clear_keeps_what_was_committed(self, repository: Repository) -> None:
        """clear() removes nothing of a committed backup."""
        record = self.write(repository)
        for _ in range(2):
            repository.clear()
        self.require_listed(repository, record)
        self.require_whole(repository, record)

    @pytest.mark.parametrize("how", ["cut", "altered", "gone"])
    def test_what_was_damaged_is_never_restored(
        self, host: Host, repository_url: str, damage: Damage, how: str
    ) -> None:
        """An object that was cut, altered or removed fails verification and restore: its bytes are read as they are."""
        databases = MemoryDriver({"shop": SAMPLES["random"]()})
        manager = self._manager(repository_url, databases)
        backup = manager.create_backup(databases.url("shop")).raise_for_error()
        [entry] = self.opened(host, repository_url).get(backup.id).objects
        damage(entry.name, how)
        later = self._manager(repository_url, databases)
        restored = later.restore(backup.id, databases.url("again"))
        safe = not restored.success and "again" not in databases.databases
        rule = "open() reads what is stored: core compares it with the digest, and restores nothing that differs."
        require(safe, rule, "Keep no copy of your own.", f"an object that was {how} was restored")
        rule = f"An object that was {how} fails verification."
        with refused(DumptyError, rule, "Read it from where it is stored."):
            later.verify(backup.id)

    @pytest.mark.parametrize("how", ["cut", "gone"])
    def test_what_is_cut_or_gone_is_listed_as_lost(self, repository: Repository, damage: Damage, how: str) -> None:
        """listing() and look_up() say of a backup whose data is short or gone that it is not there, and why."""
        record = self.write(repository, (SAMPLES["random"](), b"another"))
        damage(record.objects[0].name, how)
        for presence in (repository.look_up(record).presence, self.listed(repository)[record.id].presence):
            rule = "A backup whose data is gone, or short, is listed as lost, with the reason."
            noticed = presence.state != "ok" and presence.reason
            require(noticed, rule, "Look whether each object is there, and how large it is.", shown(presence))

    # -- behaviour -----------------------------------------------------------------------------------------------

    def test_an_object_is_located_without_secrets(self, repository: Repository, repository_url: str) -> None:
        """locate() tells where an object, or for "" the repository, is, and shows no password of the URL."""
        record = self.write(repository)
        password = repository_url.partition("://")[2].rpartition("@")[0].partition(":")[2]
        for name in ("", record.objects[0].name):
            location = repository.locate(name)
            well_formed = isinstance(location, str) and location and not (password and password in location)
            rule = "locate() returns a text that holds no secret."
            require(well_formed, rule, "Build it from the URL without its password.", shown(location))

    def test_a_workspace_is_private_and_goes_away(self, repository: Repository) -> None:
        """workspace() is an empty directory of its owner's alone, that goes away with the block."""
        with repository.workspace() as path:
            mode, content = path.stat().st_mode & 0o077, sorted(path.iterdir())
            require(not mode, "A workspace is its owner's alone.", "Create it with mode 0700.", f"{mode:#o} is open")
            require(not content, "A workspace is empty.", "Make a new one.", f"it holds {content}")
            (path / "spool").write_bytes(b"x")
        require(not path.exists(), "A workspace goes away with its block.", "Remove it.", f"{path} is still there")

    def test_only_declared_options_are_read(self, host: Host, repository_url: str) -> None:
        """open_repository() reads only options that describe() declares, for open_store."""
        options = self.options(host, "open_store")
        host.open_repository(self.plugin_under_test(host), url=repository_url, options=options)
        options.require_declared()

    def test_every_verb_works_on_it(self, repository_url: str) -> None:
        """BackupManager(repository_url) backs up, lists, verifies, pins, restores and prunes."""
        databases = MemoryDriver({"shop": SAMPLES["random"]()})
        remedy = "Mend what the error says."
        manager = self._manager(repository_url, databases)
        backed_up = manager.create_backup(databases.url("shop"))
        require(backed_up.success, "A backup into the repository succeeds.", remedy, str(backed_up.error))
        later = self._manager(repository_url, databases)
        require(later.list_backups() == [backed_up.backup], "Another BackupManager lists it.", remedy)
        for backup in later.list_backups():
            require(later.find("latest") == backup, "It is the latest.", remedy)
            later.verify(backup.id)
            restored = later.restore(backup.id, databases.url("again"))
            require(restored.success, "Restoring out of the repository succeeds.", remedy, str(restored.error))
            identical = databases.databases["again"] == databases.databases["shop"]
            require(identical, "What was backed up comes back.", remedy, "other bytes came back")
            require(later.pin(backup.id, "why").pinned, "A backup can be pinned.", remedy)
            require(later.unpin(backup.id), "A backup can be unpinned.", remedy)
            if self.removes:
                require(later.remove(backup.id), "A backup can be removed.", remedy, "it stayed")

    # ------------------------------------------------------------------------------------------------------------

    def _manager(self, url: str, databases: MemoryDriver) -> BackupManager:
        from dumpty.backup_manager import BackupManager

        try:
            return BackupManager(url, plugins=[self.plugin, databases])
        except PluginError as error:
            require(False, "BackupManager opens the repository by its URL.", "Mend it.", f"it said: {error}")
            raise
