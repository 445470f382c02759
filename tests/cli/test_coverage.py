"""``dumpty drill --coverage``: what is proven, what is not, and what to prove next."""

from __future__ import annotations

import contextlib
import shlex
import sqlite3
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from dumpty.repository.sealed import seal, unseal

COVERAGE = ("drill", "--coverage", "--json")


@pytest.fixture
def stock(tmp_path) -> str:
    """The URL of another small database."""
    with contextlib.closing(sqlite3.connect(tmp_path / "stock.db")) as database:
        database.executescript("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
    return f"sqlite:///{tmp_path}/stock.db"


def ids(entries: list[dict]) -> list[str]:
    return [entry["id"] for entry in entries]


def numbers(reply: dict) -> dict[str, tuple[int, int]]:
    return {entry["database"]: (entry["whole"], entry["proven"]) for entry in reply["databases"]}


def test_it_counts_what_is_proven_of_each_database_and_names_what_to_take_next(dumpty, make, shop, stock):
    first, second, third = make(shop), make(shop), make(shop)
    only = make(stock)
    dumpty("drill", second["id"])
    reply = dumpty(*COVERAGE).json
    assert (reply["level"], reply["since"]) == ("restore", None)
    assert numbers(reply) == {"shop": (3, 1), "stock": (1, 0)}
    assert ids(reply["backups"]) == ids([first, third, only])
    [of_shop, of_stock] = reply["databases"]
    assert (of_shop["newest_proof"]["id"], of_shop["newest_proof"]["level"]) == (second["id"], "restore")
    assert of_stock["newest_proof"] is None
    assert ids(reply["next"]) == ids([third, only, first])  # the newest of each, and then the oldest


def test_the_commands_that_it_names_lead_to_everything_proven(dumpty, make, shop, stock):
    for url in (shop, stock, shop, stock, shop):
        make(url)
    steps = []
    while chosen := dumpty(*COVERAGE).json["next"]:
        for entry in chosen:
            program, *argv = shlex.split(entry["command"])
            assert (program, dumpty(*argv).status) == ("dumpty", 0)
        steps.append(len(chosen))
    assert steps == [4, 1]
    reply = dumpty(*COVERAGE).json
    assert numbers(reply) == {"shop": (3, 3), "stock": (2, 2)}
    assert (reply["backups"], reply["success"]) == ([], True)


def test_a_proof_that_does_not_go_as_far_does_not_count(dumpty, make, shop, tmp_path):
    backup = make(shop, "--dir", tmp_path / "my store")
    where = ("--dir", tmp_path / "my store")
    dumpty("verify", backup["id"], "--level", "digest", *where)
    assert numbers(dumpty(*COVERAGE, *where).json) == {"shop": (1, 0)}
    assert numbers(dumpty(*COVERAGE, *where, "--level", "digest").json) == {"shop": (1, 1)}
    reply = dumpty(*COVERAGE, *where, "--level", "structure").json
    [entry] = reply["next"]
    assert dumpty(*shlex.split(entry["command"])[1:]).status == 0
    assert numbers(dumpty(*COVERAGE, *where, "--level", "structure").json) == {"shop": (1, 1)}
    assert numbers(dumpty(*COVERAGE, *where).json) == {"shop": (1, 0)}


def test_a_proof_that_is_older_than_the_age_does_not_count_any_more(dumpty, make, shop, tmp_path):
    old, new = make(shop), make(shop)
    assert dumpty("drill", "--all").status == 0
    [proof] = (tmp_path / "backups").rglob(f"*{old['id'].replace('-', '')[:12]}*.proof-*")
    content = unseal(proof.read_bytes(), "the proof")
    made_earlier = datetime.fromisoformat(content["proof"]["at"]) - timedelta(days=40)
    content["proof"]["at"] = made_earlier.isoformat()
    proof.write_bytes(seal({key: content[key] for key in ("backup", "proof")}))
    assert numbers(dumpty(*COVERAGE).json) == {"shop": (2, 2)}
    reply = dumpty(*COVERAGE, "--older-than", "30d").json
    assert numbers(reply) == {"shop": (2, 1)}
    assert ids(reply["backups"]) == ids(reply["next"]) == [old["id"]]
    assert reply["databases"][0]["newest_proof"]["id"] == new["id"]
    assert reply["since"]
    assert "restore" in dumpty("drill", "--coverage", "--older-than", "30d").out


def test_what_is_lost_or_damaged_counts_for_nothing_and_is_named(dumpty, make, shop):
    whole, lost, damaged = make(shop), make(shop), make(shop)
    assert dumpty("drill", "--all").status == 0
    Path(lost["files"][0]).unlink()
    with open(damaged["files"][0], "r+b") as stream:
        stream.write(b"no longer")
    assert dumpty("verify", damaged["id"]).status == 4
    reply = dumpty(*COVERAGE).json
    assert numbers(reply) == {"shop": (1, 1)}
    [database] = reply["databases"]
    assert database["newest_proof"]["id"] == whole["id"]
    assert [(entry["id"], entry["state"]) for entry in database["excluded"]] == [
        (lost["id"], "lost"),
        (damaged["id"], "damaged"),
    ]
    assert reply["backups"] == reply["next"] == []
    for backup, state in ((lost, "lost"), (damaged, "damaged")):
        [warning] = [text for text in reply["warnings"] if backup["id"] in text]
        assert f"counts for nothing: it is {state}" in warning
    result = dumpty("drill", "--coverage")
    assert "1 of 1 backup proven by restore; 2 lost or damaged, not counted" in result.out
    assert lost["id"] in result.err


def test_a_manifest_that_cannot_be_read_is_a_warning(dumpty, make, shop, tmp_path):
    make(shop)
    [manifest] = (tmp_path / "backups").rglob("*.manifest.json")
    manifest.write_text("{}")
    reply = dumpty(*COVERAGE).json
    assert reply["databases"] == []
    assert manifest.name in reply["warnings"][0]


def test_it_is_narrowed_as_every_selection_is_and_changes_nothing(dumpty, make, shop, stock, tmp_path):
    make(shop), make(stock)
    before = sorted(path.name for path in (tmp_path / "backups").rglob("*"))
    assert numbers(dumpty(*COVERAGE, "--database", "stock").json) == {"stock": (1, 0)}
    assert numbers(dumpty(*COVERAGE, "--source", shop).json) == {"shop": (1, 0)}
    assert dumpty(*COVERAGE, "--database", "nothing").json["databases"] == []
    assert "no backups of the database 'stok' in" in dumpty("drill", "--coverage", "--database", "stok").out
    assert sorted(path.name for path in (tmp_path / "backups").rglob("*")) == before


def test_it_says_for_people_what_is_missing_and_the_command_for_it(dumpty, make, shop):
    backup = make(shop)
    result = dumpty("drill", "--coverage")
    assert result.status == 0
    assert "NOT PROVEN" in result.out
    assert f"to be proven next:\n  dumpty drill {backup['id']}\n" in result.out
    assert "0 of 1 backup proven by restore" in result.out


@pytest.mark.parametrize(
    "argv",
    [
        ("latest",),
        ("--all",),
        ("--on", "sqlite:///x.db"),
        ("--assert", "SELECT 1"),
        ("-o", "x=1"),
        ("-j", "2"),
        ("--older-than", "soon"),
        ("--level", "magic"),
    ],
)
def test_what_makes_no_sense_with_it_is_a_usage_error(dumpty, make, shop, argv):
    make(shop)
    result = dumpty("drill", "--coverage", *argv)
    assert (result.status, result.err.count("\n"), result.out) == (2, 1, "")


def test_the_choice_is_the_one_that_jobs_make(dumpty, make, shop, tmp_path):
    """A job that drills takes, of the same repository, the very backups that are told."""
    for _ in range(3):
        make(shop)
    config = tmp_path / "dumpty.toml"
    config.write_text(f'[jobs.shop]\nsource = "{shop}"\nrepository = "{tmp_path}/backups"\ndrill = "weekly"\n')
    result = dumpty("run", "--config", config, "--json")
    assert result.status == 0
    drilled = [entry["backup"] for entry in result.json["jobs"][0]["drills"]]
    for proof in (tmp_path / "backups").rglob("*.proof-*"):
        proof.unlink()
    assert set(ids(dumpty(*COVERAGE).json["next"])) == set(drilled)
    assert len(drilled) == 2
