"""What ``--json`` prints, held against the schema that ships: every runner of command lines in the tests asks this."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from importlib.resources import files

from jsonschema import Draft202012Validator

SCHEMA = json.loads(files("dumpty.replies").joinpath("json_schema.json").read_text(encoding="utf-8"))


def asks_for_json(argv: Sequence[str]) -> bool:
    """Return whether a command line, without the program's name, asks for JSON, and not for its help."""
    options = argv[: argv.index("--")] if "--" in argv else argv
    return "--json" in options and not {"--help", "-h", "--version"} & set(options)


def verb_of(argv: Sequence[str]) -> str:
    """Return the verb of a command line: a name under ``$defs``; ``Failure`` where there is no such verb."""
    words = [*argv, "", ""]
    verb = " ".join(words[:2]) if " ".join(words[:2]) in SCHEMA["$defs"] else words[0]
    return verb if verb in SCHEMA["$defs"] else "Failure"


def check_reply(argv: Sequence[str], out: str) -> dict:
    """Return the JSON object that a command line printed last, after the schema of its verb was seen to allow it."""
    reply = json.loads(out.splitlines()[-1])
    validator(verb_of(argv)).validate(reply)
    return reply


@functools.cache
def validator(name: str) -> Draft202012Validator:
    """Return what validates the objects of one verb."""
    assert name in SCHEMA["$defs"], name
    schema = {**SCHEMA, "anyOf": [{"$ref": f"#/$defs/{name.replace(' ', '%20')}"}]}
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
