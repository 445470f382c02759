"""The JSON schema of what is printed under ``--json``; ``python -m dumpty.replies.schema`` prints it."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

import msgspec

from dumpty.replies import SCHEMA_VERSION
from dumpty.replies.verbs import REPLIES, Failure, Reply

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["schema", "text"]

_REFERENCE = "#/$defs/{name}"
_FAILED = {"success": {"const": False}, "error": {"type": "string"}, "error_type": {"type": "string"}}
_DONE = {"success": {"const": True}, "error": {"type": "null"}, "error_type": {"type": "null"}}


def schema() -> dict[str, Any]:
    """Return the schema: any verb's object; those of one verb are under ``$defs``, named after it."""
    kinds: dict[str, type[Reply]] = {
        kind.__name__: kind for kinds_of_verb in REPLIES.values() for kind in kinds_of_verb
    }
    _, components = msgspec.json.schema_components([Failure, *kinds.values()], ref_template=_REFERENCE)
    for component in components.values():
        component["required"] = list(component["properties"])
        # Docstrings, of whose indentation Python keeps none from 3.13 on.
        component["description"] = inspect.cleandoc(component["description"])
        for value in component["properties"].values():
            value.pop("default", None)
    components["Failure"]["properties"]["success"] = {"const": False}
    verbs = {verb: _any_of((*kinds_of_verb, Failure)) for verb, kinds_of_verb in REPLIES.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:dumpty:json:{SCHEMA_VERSION}",
        "title": "What dumpty prints under --json",
        "anyOf": [_reference(name) for name in verbs],
        "if": {"properties": {"status": {"const": 0}}},
        "then": {"properties": _DONE},
        "else": {"properties": _FAILED},
        "$defs": {**verbs, **components},
    }


def text() -> str:
    """Return the schema as it stands in ``json_schema.json``."""
    return json.dumps(schema(), indent=1) + "\n"


def _any_of(kinds: Iterable[type[Reply]]) -> dict[str, Any]:
    return {"anyOf": [_reference(kind.__name__) for kind in kinds]}


def _reference(name: str) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(name=name.replace(" ", "%20"))}


if __name__ == "__main__":
    print(text(), end="")  # noqa: T201 - for whoever changes the types
