"""The manual's page about JSON says what the types say, and its examples are what the schema allows."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest
from support.replies import SCHEMA, check_reply

from dumpty.cli import status
from dumpty.replies.verbs import REPLIES, Reply

PAGE = files("dumpty").joinpath("manual", "json.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"\n`dumpty ([^`\n]*)`[^\n]*\n\n```json\n(.*?)```", PAGE, re.DOTALL)


def keys_in(row: str) -> list[str]:
    """Return the names in the second cell of a table's row, as far as a comma."""
    return re.findall(r"`(\w+)`", row.split("|")[2].partition(",")[0])


def section(heading: str) -> list[str]:
    """Return the rows of the tables of a section."""
    text = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [line for line in text.splitlines() if line.startswith("| `")]


def test_the_keys_of_every_command_are_those_of_its_type():
    rows = section("Keys by command")
    documented = {re.match(r"\| `([a-z ]+)`", row)[1]: keys_in(row) for row in rows[: len(REPLIES)]}
    head = list(Reply.__struct_fields__)
    declared = {
        verb: [k for kind in kinds[:1] for k in kind.__struct_fields__ if k not in head]
        for verb, kinds in REPLIES.items()
    }
    assert documented == declared
    assert [re.match(r"\| `(\w+)`", row)[1] for row in section("What every object begins with")] == head


@pytest.mark.parametrize("name", ["Backup", "Details", "Table"])
def test_every_key_of_a_backup_is_described(name):
    for key in SCHEMA["$defs"][name]["properties"]:
        assert re.search(rf"`{key}`", PAGE), key


def test_the_exit_statuses_are_those_of_the_schema():
    table = PAGE.partition("\n## Exit statuses\n")[2].partition("\n\nWhere")[0]
    documented = {int(n) for row in re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE) for n in row.split(",")}
    assert documented == set(SCHEMA["$defs"]["Failure"]["properties"]["status"]["enum"])
    assert {value for _, value in status.TABLE} | {status.DONE, status.FAILED} <= documented


@pytest.mark.parametrize(("command_line", "out"), EXAMPLES, ids=[line.partition(" ")[0] for line, _ in EXAMPLES])
def test_the_examples_are_what_the_schema_allows(command_line, out):
    assert check_reply(command_line.split(), json.dumps(json.loads(out)))


def test_the_one_liners_of_jq_say_what_the_page_promises(dumpty, make, shop):
    first, second = make(shop), make(shop)
    [block] = re.findall(r"(?m)^```sh tested apart: \w+\n((?:dumpty .*\n)+)```$", PAGE)
    with open(first["files"][0], "r+b") as stream:
        stream.write(b"no longer")
    dumpty("verify", "--all")
    said = []
    for line in block.splitlines():
        command, _, program = line.partition(" | jq ")
        out = dumpty(*shlex.split(command)[1:]).out
        jq = subprocess.run(["jq", *shlex.split(program)], input=out, capture_output=True, text=True, check=True)
        said.append(jq.stdout.strip())
    assert said[0] == f"{first['id']} damaged"
    assert said[1] == first["id"]
    assert said[2:4] == [str(first["size_bytes"] + second["size_bytes"]), second["files"][0]]
    assert Path(first["files"][0]).name in said[4]
    assert said[5].startswith(first["id"])
    assert said[6] == "true"


def test_there_is_an_example_for_a_success_and_a_failure():
    assert {json.loads(out)["status"] for _, out in EXAMPLES} == {0, 1, 4}
    assert len(EXAMPLES) == 5
