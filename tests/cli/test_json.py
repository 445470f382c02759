"""What ``--json`` prints: one object of its verb's keys and no others, however the verb ends, as the schema says.

Every command line that the fixtures ``dumpty`` and ``program`` run is held against the schema; here is one for each
verb and way to end, and what makes the schema strict.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import shutil
import sqlite3
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from support.replies import SCHEMA, check_reply, validator, verb_of

from dumpty import BackupManager
from dumpty.cli import main
from dumpty.replies import schema
from dumpty.replies.verbs import REPLIES
from dumpty.testing import check
from dumpty.testing.check import RuleVerdict, Verdict

DISTS = Path(__file__).parent / "dists"
HEAD = ["schema", "success", "status", "error", "error_type", "warnings"]
BACKUP = [
    "id",
    "database",
    "source",
    "driver",
    "format",
    "timestamp",
    "ended",
    "size_bytes",
    "plain_size_bytes",
    "files",
    "checksum",
    "tags",
    "encrypted",
    "pinned",
    "state",
    "proof",
    "copies",
]

ENDS = [
    ("backup {shop}", 0, "backups failures duration_seconds"),
    ("backup odd://torn/db", 0, "backups failures duration_seconds"),
    ("backup sqlite:///nothing.db", 1, ""),
    ("backup", 2, ""),
    ("restore latest:shop --to sqlite:///new.db", 0, "backups duration_seconds target_url tables"),
    ("restore latest --to sqlite:///new.db", 1, ""),
    ("list", 0, "backups"),
    ("list --tables", 0, "backups"),
    ("list --database nothing", 0, "backups"),
    ("list --dir nowhere", 10, ""),
    ("show latest", 0, "backups"),
    ("show latest:shop", 0, "backups"),
    ("show ffffffff", 1, ""),
    ("verify latest:shop", 0, "level proofs"),
    ("verify --all", 4, "level proofs"),
    ("verify latest:odd --level structure", 3, "level proofs"),
    ("verify latest:altered", 4, "level proofs"),
    ("verify latest:gone", 4, "level proofs"),
    ("verify --older-than 30d", 4, "level proofs"),
    ("verify --older-than soon", 2, ""),
    ("verify latest:shop -o color=red", 2, "level proofs"),
    ("drill latest:shop", 0, "level proofs"),
    ("drill latest:odd", 3, "level proofs"),
    ("drill --all", 4, "level proofs"),
    ("drill --level restore", 2, ""),
    ("drill --coverage", 0, "level since databases backups next"),
    ("drill --coverage --level digest --older-than 7d", 0, "level since databases backups next"),
    ("drill --coverage --level magic", 2, ""),
    ("drill latest --coverage", 2, ""),
    ("diff latest:shop {shop}", 0, "backups other_url differences compared not_compared restored"),
    ("diff latest:shop latest:odd", 2, ""),
    ("diff latest:shop nothing", 1, ""),
    ("diff latest:shop", 2, ""),
    ("try latest:shop --json -- true", 0, "backups proofs program exit_status"),
    ("try latest:shop --json -- false", 1, "backups proofs program exit_status"),
    ("try latest:shop", 2, ""),
    ("try latest:altered --json -- true", 4, ""),
    ("pin latest", 0, "backups was_pinned"),
    ("pin ffffffff", 1, ""),
    ("unpin latest", 0, "backups was_pinned"),
    ("unpin ffffffff", 1, ""),
    ("accept latest", 0, "backups was_suspicious"),
    ("accept ffffffff", 1, ""),
    ("remove latest:shop --yes", 0, "backups removed dry_run"),
    ("remove latest:shop -n", 0, "backups removed dry_run"),
    ("remove latest:shop", 2, ""),
    ("prune --keep 1 --dry-run", 0, "decisions removed dry_run timezone"),
    ("prune --keep 1 --yes", 0, "decisions removed dry_run timezone"),
    ("prune", 2, ""),
    ("copy --to vault", 4, "backups copies"),
    ("copy latest:shop --to vault", 0, "backups copies"),
    ("copy --database nothing --to vault", 4, "backups copies"),
    ("copy latest:gone --to vault", 1, "backups copies"),
    ("copy", 2, ""),
    ("backup {shop} --copy-to vault", 0, "backups failures duration_seconds"),
    ("backup {shop} --copy-to shop.db", 12, "backups failures duration_seconds"),
    ("backup sqlite:///*p.db", 0, "backups failures duration_seconds"),
    ("backup sqlite:///*.*", 1, "backups failures duration_seconds"),
    ("backup sqlite:///*.nothing", 1, ""),
    ("backup sqlite:///shop.db --include x", 2, ""),
    ("run shop --config jobs.toml", 0, "jobs"),
    ("run --config jobs.toml", 1, "jobs"),
    ("run copied --config jobs.toml", 12, "jobs"),
    ("run --due --config jobs.toml", 0, "jobs"),
    ("run --dry-run --config jobs.toml", 1, "jobs"),
    ("run nothing --config jobs.toml", 2, ""),
    ("run --config nothing.toml", 2, ""),
    ("runs --config jobs.toml", 0, "runs"),
    ("runs --config nothing.toml", 2, ""),
    ("check shop --config jobs.toml", 0, "jobs"),
    ("check copied --config jobs.toml", 12, "jobs"),
    ("check --config nothing.toml", 2, ""),
    ("metrics --config jobs.toml", 0, "path metrics"),
    ("metrics --config jobs.toml --output jobs.prom", 0, "path metrics"),
    ("metrics nothing --config jobs.toml", 2, ""),
    ("report --config jobs.toml", 0, "at repositories databases path"),
    ("report --dir backups --html report.html", 0, "at repositories databases path"),
    ("report --config nothing.toml", 2, ""),
    ("serve --config nothing.toml", 2, ""),
    ("schedule systemd --config due.toml", 0, "files installed commands"),
    ("schedule systemd --config nothing.toml", 2, ""),
    ("schedule cron --config due.toml", 0, "files installed commands"),
    ("notify test command:///bin/true", 0, "notified"),
    ("notify test command:///bin/false", 1, "notified"),
    ("notify test --config jobs.toml", 2, ""),
    ("config init {shop}", 0, "path"),
    ("config init --config jobs.toml", 2, ""),
    ("config check --config jobs.toml", 2, "path jobs problems"),
    ("config check --config nothing.toml", 2, "path jobs problems"),
    ("config show shop --config jobs.toml", 0, "path jobs problems"),
    ("config show --schema", 0, "config_schema"),
    ("config show nothing --config jobs.toml", 2, ""),
    ("keys new --out new.txt", 0, "path recipient passphrase"),
    ("keys new --out shop.db", 2, ""),
    ("keys show", 0, "keys"),
    ("keys show --dir nowhere", 10, ""),
    ("keys check --identity key.txt", 4, "checks"),
    ("keys check", 2, ""),
    ("keys", 2, ""),
    ("backup {shop} --encrypt-to {recipient}", 0, "backups failures duration_seconds"),
    ("backup {shop} --encrypt-to age1", 2, ""),
    ("doctor", 0, "dumpty python platform plugins libraries clients database"),
    ("doctor {shop}", 0, "dumpty python platform plugins libraries clients database"),
    ("doctor sqlite:///nothing.db", 1, "dumpty python platform plugins libraries clients database"),
    ("doctor odd://unreachable/db", 1, "dumpty python platform plugins libraries clients database"),
    ("demo", 0, "tables rows identical damage backup_seconds restore_seconds directory"),
    ("demo --keep backups", 2, ""),
    ("plugins", 0, "plugins"),
    ("plugins --what", 2, ""),
    ("plugins show odd", 0, "plugins"),
    ("plugins show nothing", 2, ""),
    ("plugins new lz4 --kind compressor", 0, "path kind files"),
    ("plugins new Upper --kind compressor", 2, ""),
    ("plugins check sha256", 0, "plugin kind rules left"),
    ("plugins check nothing", 2, ""),
    ("store check .", 0, "store checks"),
    ("store check s3://key@bucket", 2, ""),
    ("help", 0, "topics"),
    ("help retention", 0, "topics"),
    ("help nothing", 2, ""),
    ("lst", 2, ""),
    ("", 2, ""),
]
"""Command lines, how each ends, and which keys follow those that every object begins with."""


def verbs() -> set[str]:
    """Return every verb of the command line."""
    from dumpty.cli.app import build

    app = build()
    groups = {g.name: g.typer_instance.registered_commands for g in app.registered_groups}
    return (
        {c.name for c in app.registered_commands}
        | {"plugins"}  # a verb by itself
        | {f"{group} {c.name}" for group, commands in groups.items() for c in commands}
    )


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """A directory with two whole backups, one altered, one lost and one unprovable, and a damaged manifest."""
    top = tmp_path_factory.mktemp("json")
    manager = BackupManager(top / "backups", compressor=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DISTS))
        urls = [f"sqlite:///{top}/{name}.db" for name in ("shop", "shop", "altered", "gone", "hidden")]
        for url in (*urls, "odd://h/odd"):
            if url.startswith("sqlite"):
                with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
                    database.execute("CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY)")
            form = "native" if url in urls else "text"
            BackupManager(top / "backups", compressor=None).create_backup(url, format=form).raise_for_error()
    files = {backup.database_name: Path(backup.file_path) for backup in manager.list_backups()}
    with files["altered"].open("r+b") as stream:
        stream.write(b"no longer")
    files["gone"].unlink()
    next(top.glob("backups/hidden*/*.manifest.json")).write_text("{}")
    assert main(["keys", "new", "--out", str(top / "key.txt")]) == 0
    (top / "jobs.toml").write_text(
        f'[defaults]\nrepository = "{top}/jobs"\ndrill = "weekly"\n'
        f'[jobs.shop]\nsource = "sqlite:///{top}/shop.db"\n'
        f'[jobs.copied]\nsource = "sqlite:///{top}/shop.db"\ncopies = ["{top}/shop.db"]\n'
        '[jobs.secret]\nsource = "env:NOT_SET"\n'
    )
    (top / "due.toml").write_text(
        f'[jobs.shop]\nsource = "sqlite:///{top}/shop.db"\nrepository = "{top}/jobs"\nschedule = "0 0 1 1 *"\n'
    )
    return top


@pytest.fixture
def place(original, odd, tmp_path) -> None:
    """The current directory, holding what ``original`` holds."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)


@pytest.mark.parametrize(("command_line", "status", "keys"), ENDS, ids=[line or "nothing" for line, _, _ in ENDS])
def test_an_object_has_the_keys_of_its_verb_however_it_ends(
    place, dumpty, tmp_path, monkeypatch, command_line, status, keys
):
    # What it does is tried in test_plugins_check, and takes seconds.
    rules = (RuleVerdict(test="t", rule="a rule", state="kept"),)
    monkeypatch.setattr(check, "check", lambda name, kind, *_: Verdict(plugin=name, kind=kind, rules=rules))
    recipient = re.search("age1.*", (tmp_path / "key.txt").read_text())[0]
    argv = [word.format(shop=f"sqlite:///{tmp_path}/shop.db", recipient=recipient) for word in command_line.split()]
    result = dumpty(*argv, "--json")
    assert result.status == status, result
    reply = result.json
    assert list(reply)[: len(HEAD)] == HEAD
    assert sorted(reply) == sorted([*HEAD, *keys.split()])
    assert (reply["schema"], reply["success"], reply["status"]) == (1, status == 0, status)
    assert (reply["error"] is None) == (reply["error_type"] is None) == (status == 0)


def test_every_verb_is_tried_here_and_has_its_object_in_the_schema():
    tried = {verb_of(line.split()) for line, _, _ in ENDS if keys_of(line)}
    tried |= {verb for verb, kinds in REPLIES.items() if not kinds}  # it prints nothing but a failure
    assert tried == verbs() == set(REPLIES)


def keys_of(command_line: str) -> str:
    return next(keys for line, _, keys in ENDS if line == command_line)


def test_the_schema_that_ships_is_that_of_the_types():
    shipped = json.dumps(SCHEMA, indent=1) + "\n"
    assert shipped == schema.text(), "run: python -m dumpty.replies.schema > core/dumpty/replies/json_schema.json"
    Draft202012Validator.check_schema(SCHEMA)
    objects = [component for component in SCHEMA["$defs"].values() if "properties" in component]
    assert len(objects) > len(REPLIES)
    for component in objects:
        assert component["additionalProperties"] is False
        assert component["required"] == list(component["properties"])


def test_no_object_may_have_a_key_that_is_not_declared_and_none_may_lack_one(place, dumpty):
    """Each object within a reply: with one key more, and with each one less."""
    for argv in (
        ("show", "latest:shop"),
        ("verify", "--all"),
        ("prune", "--keep", "1", "-n"),
        ("doctor",),
        ("plugins",),
    ):
        reply = dumpty(*argv, "--json").json
        tried = 0
        for path in object_paths(reply):
            for key in [*at(reply, path), "undeclared"]:
                altered = copy.deepcopy(reply)
                if at(altered, path).pop(key, altered) is altered:
                    at(altered, path)[key] = 1
                assert not validator(verb_of(argv)).is_valid(altered), (argv, path, key)
                tried += 1
        assert tried > len(reply) + 1


def object_paths(value: object, path: tuple = ()) -> list[tuple]:
    """Return where the objects of declared keys are: all, but those whose keys are names, as ``versions``."""
    if isinstance(value, list):
        return [found for index, item in enumerate(value[:1]) for found in object_paths(item, (*path, index))]
    if not isinstance(value, dict) or (path and path[-1] in {"versions", "digests", "properties"}):
        return []
    return [path, *(found for key, item in value.items() for found in object_paths(item, (*path, key)))]


def at(value: object, path: tuple) -> dict:
    for step in path:
        value = value[step]
    return value


def test_a_backup_is_told_with_the_same_keys_by_every_verb(dumpty, make, shop):
    backup = make(shop)
    assert list(backup) == BACKUP
    assert (backup["tags"], backup["copies"], backup["pinned"], backup["proof"]) == ([], [], None, None)
    dumpty("verify", "latest")
    [pinned] = dumpty("pin", "latest", "--reason", "before the upgrade", "--json").json["backups"]
    assert "before the upgrade" in pinned["pinned"]
    assert (pinned["proof"]["level"], pinned["proof"]["ok"]) == ("digest", True)
    assert list(pinned["proof"]) == ["level", "ok", "at"]
    assert dumpty("list", "--json").json["backups"] == [pinned]
    [unpinned] = dumpty("unpin", "latest", "--json").json["backups"]
    assert unpinned == {**pinned, "pinned": None}
    for verb in (("restore", "latest", "--to", "sqlite:///new.db"), ("remove", "latest", "--yes")):
        [told] = dumpty(*verb, "--json").json["backups"]
        assert {**told, "proof": pinned["proof"]} == unpinned


def test_a_proof_that_failed_is_not_ok_and_one_that_was_not_decided_is_null(place, dumpty):
    reply = dumpty("verify", "--all", "--level", "structure", "--json").json
    verdicts = {proof["database"]: proof["ok"] for proof in reply["proofs"]}
    assert verdicts == {"shop": True, "odd": None, "altered": False, "gone": False, None: False}
    assert [p["error_type"] for p in reply["proofs"] if p["id"] is None] == ["ManifestError"]
    states = {b["database"]: b["state"] for b in dumpty("list", "--json").json["backups"]}
    assert states == {"shop": "ok", "odd": "ok", "altered": "damaged", "gone": "lost"}


def test_what_was_warned_of_before_a_failure_is_in_its_object(place, dumpty, monkeypatch):
    newest = dumpty("show", "latest:shop", "--json").json["backups"][0]
    os.unlink(newest["files"][0])
    reply = dumpty("restore", "latest:shop", "--to", "sqlite:///shop.db", "--json").json
    assert reply["error_type"] == "TargetNotEmpty"
    assert any(newest["id"] in warning for warning in reply["warnings"])


def test_no_secret_is_in_a_warning(dumpty, make, shop, monkeypatch):
    from dumpty.cli import output

    monkeypatch.setattr(output, "redacted", lambda text: text.replace("s3cret", "***"))
    failure = output.failure(ValueError("s3cret"), "s3cret", ["s3cret"])
    assert (failure["error"], failure["warnings"]) == ("***", ["***"])
    assert check_reply(["list"], json.dumps(failure))
