"""What the toy driver's author supplies to ``DriverSuite``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dumpty.testing import DriverSuite


def fill(path: Path, **tables: int) -> str:
    path.mkdir()
    for name, rows in tables.items():
        with (path / f"{name}.jsonl").open("w") as file:
            for number in range(rows):
                file.write(json.dumps({"id": number, "name": f"{name} {number}"}) + "\n")
    return f"jsonl:///{path}"


class JsonLinesSuite(DriverSuite):
    items = 300
    memory = 512 << 10
    system_databases = ("_system",)
    settle = 0.3  # nothing here ends later than its call
    question = "count item.jsonl"
    questions = {"rows": "values 1 2", "null": "values null", "error": "what", "write": "remove item.jsonl"}  # noqa: RUF012 - never changed

    @pytest.fixture
    def source(self, tmp_path):
        fill(tmp_path / "_system", item=1)
        return fill(tmp_path / "shop", item=self.items, customer=40, nothing=0)

    @pytest.fixture
    def target(self, tmp_path):
        return f"jsonl:///{tmp_path / 'again'}"

    @pytest.fixture
    def full_target(self, tmp_path):
        return fill(tmp_path / "full", other=5, customer=3)

    @pytest.fixture
    def empty_target(self, tmp_path):
        return fill(tmp_path / "hollow")

    @pytest.fixture
    def dying_source(self, tmp_path):
        return fill(tmp_path / "dying", item=self.items, zebra=self.items)

    @pytest.fixture
    def large_source(self, tmp_path):
        url = fill(tmp_path / "large")
        with (tmp_path / "large" / "item.jsonl").open("w") as file:
            for number in range(120):
                file.write(json.dumps({"id": number, "name": "x" * 10_000}) + "\n")
        return url

    def kill(self, url):
        (Path(url.removeprefix("jsonl:///")) / "zebra.jsonl").write_text('{"id": 1}\n{"id"')

    def content(self, url):
        tables = Path(url.removeprefix("jsonl:///"))
        if not tables.is_dir():
            raise FileNotFoundError(tables)
        return {table.stem: table.read_text() for table in tables.iterdir()}

    def drop(self, url):
        shutil.rmtree(url.removeprefix("jsonl:///"))

    def rows(self, url):
        return {table: text.count("\n") for table, text in self.content(url).items()}
