"""The benchmark runs: small, and without a look at its figures, which say nothing on a machine that tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

BENCH = Path(__file__).parent / "bench"


def run(*arguments):
    process = subprocess.run([sys.executable, str(BENCH / "bench.py"), *arguments], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_it_measures_checks_and_tells_and_tells_it_again(tmp_path):
    results_file = tmp_path / "run.json"
    results_file.write_text(run("--megabytes", "2", "--rounds", "1", "--engine", "sqlite", "--json"))
    rows = json.loads(results_file.read_text())["results"]
    assert {row["verb"] for row in rows} == {"backup", "restore", "verify"}
    assert all(row["seconds"] > 0 for row in rows)
    assert all(row["peak_bytes"] > 0 for row in rows if row["job"].startswith("dumpty"))
    text = run("--merge", str(results_file), "--chart", str(tmp_path / "bars.svg"))
    assert "| dumpty sqlite native gzip |" in text
    assert "| ratio | target | measured | |" in text
    assert "SQLite: backup" in {element.text for element in ET.parse(tmp_path / "bars.svg").iter()}


def test_what_costs_the_same_whatever_the_data_is_measured_here_and_far_away():
    rows = json.loads(run("--fixed", "--backups", "200", "--json"))["results"]
    assert all(row["seconds"] > 0 for row in rows)
    whats = {row["what"] for row in rows}
    assert {"dumpty list, 200 backups", "dumpty show latest, 200 backups", "dumpty metrics, 20 databases"} < whats
    assert "dumpty run, each of 20 SQLite databases of 10 KB" in whats
    assert len([row for row in rows if " of 20 backups 30 ms away, " in row["what"]]) == 5


def test_a_bucket_is_measured_beside_another_library():
    rows = json.loads(run("--bucket", "--megabytes", "1", "--rounds", "1", "--backups", "200", "--json"))["results"]
    assert len(rows) == 17
    assert all(row["measured"] > 0 for row in rows)


def test_workers_are_measured_over_connections_that_are_slow():
    rows = json.loads(run("--workers", "--megabytes", "1", "--rounds", "1", "--engine", "mysql", "--json"))["results"]
    ways = [(1, True), (2, True), (4, True), (8, True), (8, False)]
    assert [(row["workers"], row["slowed"]) for row in rows] == ways
    assert all(row["backup"]["seconds"] > 0 and row["restore"]["seconds"] > 0 for row in rows)
    assert [row["workers"] for row in rows if row["target"]] == [8]


def test_the_chart_of_growth_is_a_picture(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import chart

    lines = {"sqlite backup": [(10.0, 0.3), (2000.0, 9.0)], "mysql restore": [(10.0, 0.5), (2000.0, 90.0)]}
    drawn = ET.fromstring(chart.growth({"time": lines, "memory": lines}, {"time": "s", "memory": "MB"}))
    assert sum(element.tag.endswith("polyline") for element in drawn.iter()) == 4
