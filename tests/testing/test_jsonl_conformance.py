"""The toy driver that the broken drivers are made of keeps every rule itself."""

from __future__ import annotations

from testing.jsonl import BY_TABLE, IN_PARTS, IN_PARTS_BY_TABLE, PLUGIN, PROVING, WITH_ROWS
from testing.jsonl_suite import JsonLinesSuite


class TestJsonLines(JsonLinesSuite):
    plugin = PLUGIN


class TestProvingJsonLines(JsonLinesSuite):
    plugin = PROVING


class TestJsonLinesInParts(JsonLinesSuite):
    plugin = IN_PARTS


class TestJsonLinesByTable(JsonLinesSuite):
    plugin = BY_TABLE


class TestJsonLinesInPartsByTable(JsonLinesSuite):
    plugin = IN_PARTS_BY_TABLE


class TestJsonLinesWithRows(JsonLinesSuite):
    plugin = WITH_ROWS
