"""The toy driver that the broken drivers are made of keeps every rule itself."""

from __future__ import annotations

from testing.jsonl import IN_PARTS, PLUGIN, PROVING
from testing.jsonl_suite import JsonLinesSuite


class TestJsonLines(JsonLinesSuite):
    plugin = PLUGIN


class TestProvingJsonLines(JsonLinesSuite):
    plugin = PROVING


class TestJsonLinesInParts(JsonLinesSuite):
    plugin = IN_PARTS
