"""Killed after each request to a place elsewhere: what is listed is whole, what was there is there, the next run works."""

from __future__ import annotations

import contextlib
import copy
import os
import shutil
import signal
import sqlite3

import pytest
from faults.ledger import FACTOR, LEDGER
from faults.vault import Vault
from support.s3_server import KEY, SECRET

from dumpty import BackupManager

ENVIRONMENT = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_EC2_METADATA_DISABLED": "true"}


class Repository(Vault):
    """A repository elsewhere, ``name`` of several in one place."""

    stride = 3
    """Of so many requests one is the last, another one in each run; a long run tries them all."""

    def __init__(self, place) -> None:
        super().__init__(place)
        self.top = self.url_of("first")
        for _ in range(2):
            self.advance()
            self.backup()
        self.advance()

    def url_of(self, name: str) -> str:
        raise NotImplementedError

    def copy_all(self, name: str) -> None:
        """Copy all there is in the first repository into another."""
        raise NotImplementedError

    def manager(self, **options: object) -> BackupManager:
        return BackupManager(self.top, **options)

    def check(self, event: str, *, restore_all: bool = False) -> list[str]:
        """Check that all older backups are listed, and all that is listed is whole; return the new ids, restored."""
        manager = self.manager()
        assert manager.listing().problems == [], event
        listed = {backup.id for backup in manager.list_backups()}
        new_ids = sorted(listed - self.versions.keys())
        for lost in self.versions.keys() - listed:
            LEDGER.record_lost_backup(f"{lost} after {event}")
        self.versions |= dict.fromkeys(new_ids, self.version)
        for backup_id in self.versions:
            assert manager.verify(backup_id), event
        for backup_id in self.versions if restore_all else new_ids:
            self.require_restore(manager, backup_id, event)
        return new_ids

    def copied(self, name: str) -> Repository:
        """Return a repository with all there is in the first one."""
        other = copy.copy(self)
        other.versions = dict(self.versions)
        other.top = self.url_of(name)
        self.copy_all(name)
        return other


class Bucket(Repository):
    def __init__(self, place, server) -> None:
        self.server, self.bucket = server, server.new_bucket()
        super().__init__(place)

    def url_of(self, name):
        return self.server.url(self.bucket, name, direct=True, part_size="5M")

    def copy_all(self, name):
        for entry in self.server.client.list_objects_v2(Bucket=self.bucket, Prefix="first/")["Contents"]:
            source = {"Bucket": self.bucket, "Key": entry["Key"]}
            key = entry["Key"].replace("first/", f"{name}/", 1)
            self.server.client.copy_object(Bucket=self.bucket, Key=key, CopySource=source)


class GoogleBucket(Repository):
    def __init__(self, place, server) -> None:
        self.server, self.bucket = server, server.new_bucket()
        super().__init__(place)

    def url_of(self, name):
        return self.server.url(self.bucket, name, direct=True, part_size="1M")

    def copy_all(self, name):
        self.server.control(copy=[self.bucket, "first/", f"{name}/"])


class Directory(Repository):
    stride = 12  # SFTP takes many small ones, of which most change nothing

    def __init__(self, place, server) -> None:
        self.server, self.root = server, place / "remote"
        super().__init__(place)

    def url_of(self, name):
        return self.server.url(self.root / name)

    def copy_all(self, name):
        shutil.copytree(self.root / "first", self.root / name)


@pytest.fixture(params=["bucket", "google", "directory"])
def repository(request, place, s3_credentials, google_credentials, monkeypatch):
    if request.param == "bucket":
        return Bucket(place, request.getfixturevalue("moto_server"))
    if request.param == "google":
        return GoogleBucket(place, request.getfixturevalue("google_server"))
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return Directory(place, request.getfixturevalue("ssh_server"))


def every_request(zygote, repository, dice, argv, check) -> int:
    """Kill a command after each of its requests, in a fresh copy of the repository; return how many there were."""
    stride = max(1, repository.stride // FACTOR)
    number = 1 + dice.randrange(stride)
    while True:
        vault = repository.copied(f"copy-{number}")
        outcome = zygote.run(*argv(vault), request=number, env=ENVIRONMENT)
        event = f"kill -9 after request {number} to {type(vault).__name__}: {argv(vault)[0]}"
        LEDGER.rounds += 1
        assert outcome.status in {0, -signal.SIGKILL}, (event, outcome)
        if outcome.status:
            LEDGER.fault("kills at a request")
        check(vault, event, outcome)
        if outcome.status == 0:
            return number
        number += stride


def test_a_backup_killed_after_each_request(zygote, repository, dice):
    with contextlib.closing(sqlite3.connect(repository.database)) as database:  # this one goes in parts
        database.execute("CREATE TABLE large (content)")
        database.execute("INSERT INTO large VALUES (?)", (os.urandom(6 << 20),))
        database.commit()

    def check(vault, event, outcome):
        new_ids = vault.check(event)
        if outcome.status == 0 and not new_ids:
            LEDGER.record_false_success(f"{event}: exit status 0, and no backup")
        vault.backup()

    assert every_request(zygote, repository, dice, lambda v: ("backup", v.url, "--dir", v.top), check) > 12


def test_a_prune_killed_after_each_request(zygote, repository, dice):
    manager = repository.manager()
    pinned, gone = repository.versions
    manager.pin(pinned)
    newest = repository.backup()

    def check(vault, event, outcome):
        listed = {backup.id for backup in vault.manager().list_backups()}
        if not {pinned, newest} <= listed:
            LEDGER.record_lost_backup(event)
        if outcome.status == 0 and gone in listed:
            LEDGER.record_false_success(f"{event}: exit status 0, and nothing was removed")
        vault.versions = {backup_id: vault.versions[backup_id] for backup_id in listed}
        vault.check(event)  # what is still listed is whole

    argv = ("prune", "--keep-last", "1", "--yes", "--dir")
    assert every_request(zygote, repository, dice, lambda v: (*argv, v.top), check) > 10
