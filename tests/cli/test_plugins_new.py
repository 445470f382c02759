"""``dumpty plugins new``: what it writes is installed beside dumpty's wheel, and works and tests itself as written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from support.environments import ENVIRONMENT, CleanEnvironment, run

from dumpty import testing, types
from dumpty.cli import arguments

TOP = Path(__file__).parents[2]
KINDS = ("driver", "compressor", "cipher", "verifier", "store", "notifier", "transport")
PACKAGES = {**{kind: (kind,) for kind in KINDS}, "programs": ("driver", "--programs")}
"""What is written: the name of each package, without its my-, and the kind and options that make it."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A directory with a clean environment: dumpty's wheel, and all packages, which this wheel wrote."""
    top = tmp_path_factory.mktemp("authors")
    environment = CleanEnvironment(top)
    environment.install("hatchling>=1.27,<2")
    environment.install(*environment.wheels(TOP).glob("dumpty-1*.whl"))
    for name, kind in PACKAGES.items():
        run(environment.programs / "dumpty", "plugins", "new", f"my-{name}", "--kind", *kind, cwd=top)
    wheels = environment.wheels(*(top / f"dumpty-my-{name}" for name in PACKAGES))
    environment.install("--find-links", wheels, *(f"dumpty-my-{name}[test]" for name in PACKAGES))
    return top


@pytest.fixture(scope="module")
def tested(installed):
    """The packages' own tests, all running at once, against what is installed."""
    children = {}
    for name in PACKAGES:
        argv = [installed / "venv/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        children[name] = subprocess.Popen(
            [*argv, "--basetemp", installed / f"tmp-{name}"],
            cwd=installed / f"dumpty-my-{name}",
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    yield children
    for child in children.values():
        child.kill()
        child.communicate()


@pytest.mark.parametrize("name", PACKAGES)
def test_its_own_tests_pass_as_generated_and_prove_every_rule(tested, name):
    kind = PACKAGES[name][0]
    output, _ = tested[name].communicate(timeout=600)
    assert tested[name].returncode == 0, output
    passed = re.search(r"(\d+) passed", output)
    assert passed is not None, output
    suite = getattr(testing, f"{kind.capitalize()}Suite")
    rules = {name for name in dir(suite) if name.startswith("test_") and callable(getattr(suite, name))}
    # All of what a driver can claim, but restoring nothing, a password, which URLs of files have not, parts, single tables, and their
    # rows.
    flags = ("not restores", "takes_password", "takes_passphrases", "writes_parts", "restores_tables", "reads_rows")
    unclaimed = {name for flag in flags for name in suite.claims.get(flag, ())}
    skipped = re.search(r"(\d+) skipped", output)
    # What a store needs help for to be proved (a place that denies, stalls, cuts) is skipped with its reason, and so is
    # what a file, which a notifier writes to, can never do.
    assert (skipped is None) or kind in {"store", "notifier"}
    assert int(passed[1]) + int(skipped[1] if skipped else 0) >= len(rules - unclaimed)


@pytest.mark.parametrize("options", [(), ("--programs",)])
def test_the_test_file_of_a_driver_has_less_than_thirty_lines(dumpty, tmp_path, options):
    assert dumpty("plugins", "new", "new-db", "--kind", "driver", *options).status == 0
    assert len((tmp_path / "dumpty-new-db/tests/test_new_db.py").read_text().splitlines()) < 30


def test_programs_are_for_drivers(dumpty, tmp_path):
    result = dumpty("plugins", "new", "new-db", "--kind", "verifier", "--programs")
    assert result.status == 2
    assert "--programs is for drivers" in result.err
    assert os.listdir(tmp_path) == []


def test_the_packages_are_listed_as_installed_and_work(installed):
    plugins = json.loads(run(installed / "venv/bin/dumpty", "plugins", "--json", cwd=installed))["plugins"]
    by_distribution = {p["distribution"]: (p["kind"], p["name"], p["state"], p["version"]) for p in plugins}
    for name, kind in PACKAGES.items():
        assert by_distribution[f"dumpty-my-{name}"] == (kind[0], f"my-{name}", "ok", "0.1.0")


def test_a_backup_goes_through_all_four_by_the_command_line(installed, tmp_path):
    (tmp_path / "shop.jsonl").write_text('{"id": 1}\n{"id": 2}\n')
    dumpty, store = installed / "venv/bin/dumpty", f"my-store://{tmp_path}/kept"
    plugins = ("--compressor", "my-compressor", "--verifier", "my-verifier", "-o", "level=3", "--dir", store)
    run(dumpty, "backup", "my-driver:///shop.jsonl", *plugins, cwd=tmp_path)
    run(dumpty, "verify", "latest", "--dir", store, cwd=tmp_path)
    run(dumpty, "restore", "latest", "--to", "my-driver:///again.jsonl", "--dir", store, cwd=tmp_path)
    assert (tmp_path / "again.jsonl").read_text() == '{"id": 1}\n{"id": 2}\n'


@pytest.mark.parametrize(
    ("name", "url", "options"),
    [
        ("driver", "my-driver:///letters/a.jsonl", ()),
        ("programs", "my-programs:///letters", ()),
        ("compressor", "my-programs:///letters", ("--compressor", "my-compressor")),
        ("verifier", "my-programs:///letters", ("--verifier", "my-verifier")),
    ],
)
def test_a_backup_is_read_without_dumpty_as_the_readme_says(installed, tmp_path, name, url, options):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters/a.jsonl").write_text('{"id": 1}\n{"id": 2}\n')
    dumpty = installed / "venv/bin/dumpty"
    run(dumpty, "backup", url, *options, cwd=tmp_path)
    backup = json.loads(run(dumpty, "show", "latest", "--json", cwd=tmp_path))["backups"][0]
    readme = (installed / f"dumpty-my-{name}/README.md").read_text()
    command = re.search(r"Without dumpty:\s`(.*?)`, of a FILE in `backups/\w+-…`", readme)
    assert command is not None, readme
    output = run("sh", "-ec", command[1].replace("FILE", f"'{backup['files'][0]}'"), cwd=tmp_path)
    read = {
        "driver": lambda: (tmp_path / "copy.jsonl").read_text() == '{"id": 1}\n{"id": 2}\n',
        "programs": lambda: (tmp_path / "copy/a.jsonl").read_text() == '{"id": 1}\n{"id": 2}\n',
        "compressor": lambda: '{"id": 1}\n{"id": 2}\n' in output,
        "verifier": lambda: output.split()[0] == backup["details"]["digests"]["my-verifier"],
    }
    assert read[name]()


def test_what_is_installed_can_be_checked_and_keeps_its_rules(installed, tmp_path):
    (tmp_path / "shop.jsonl").write_text('{"id": 1}\n{"id": 2}\n' * 5000)
    urls = ("--source", f"my-driver:///{tmp_path}/shop.jsonl", "--target", f"my-driver:///{tmp_path}/again.jsonl")
    reply = json.loads(
        run(installed / "venv/bin/dumpty", "plugins", "check", "my-driver", *urls, "--json", cwd=tmp_path)
    )
    states = [rule["state"] for rule in reply["rules"]]
    assert reply["success"]
    assert states.count("kept") > 18
    assert "broken" not in states


def test_the_package_is_complete_and_says_what_to_do_next(dumpty, tmp_path):
    result = dumpty("plugins", "new", "new-db", "--kind", "driver")
    assert (result.status, result.err) == (0, "")
    top = tmp_path / "dumpty-new-db"
    files = sorted(str(p.relative_to(top)) for p in top.rglob("*") if p.is_file())
    assert files == [
        ".github/workflows/test.yml",
        ".gitignore",
        "LICENSE",
        "README.md",
        "pyproject.toml",
        "src/dumpty_new_db/__init__.py",
        "src/dumpty_new_db/py.typed",
        "tests/databases.py",
        "tests/test_new_db.py",
    ]
    assert f"into {top}:" in result.out
    assert (
        "  pip install -e 'dumpty-new-db[test]'\n  pytest dumpty-new-db\n  dumpty plugins check new-db\n" in result.out
    )
    reply = dumpty("plugins", "new", "other", "--kind", "store", "--json").json
    assert (reply["path"], reply["kind"], len(reply["files"])) == (
        str(tmp_path / "dumpty-other"),
        "store",
        len(files) - 1,
    )


@pytest.mark.parametrize("name", PACKAGES)
def test_nothing_in_the_package_is_left_to_fill_in(dumpty, tmp_path, name):
    assert dumpty("plugins", "new", "new-db", "--kind", *PACKAGES[name], "--dir", tmp_path).status == 0
    for path in (p for p in (tmp_path / "dumpty-new-db").rglob("*") if p.is_file()):
        text = path.read_text()
        assert not re.search(r"\{\{\w|TODO|FIXME", text), path
        assert max(map(len, text.splitlines()), default=0) <= 120, path
        if path.suffix == ".py":
            compile(text, path, "exec")
            assert '"""' in text.partition("\n")[0]


def test_every_kind_of_plugin_can_be_begun():
    assert sorted(KINDS) == sorted(get_args(types.Kind))
    assert arguments.Kind == types.Kind


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("NewDB", "lower-case"),
        ("new_db", "lower-case"),
        ("new db", "lower-case"),
        ("1db", "a letter first"),
        ("new--db", "single hyphens"),
        ("new-", "single hyphens"),
        ("../newdb", "lower-case"),
        ("newdb\n", "lower-case"),
        ("", "lower-case"),
        ("é", "lower-case"),
        ("n" * 61, "longer than 60"),
        ("dumpty-newdb", "without its prefix: newdb"),
        ("plugins", "dumpty's own"),
    ],
)
def test_a_name_that_cannot_be_one_is_refused_and_nothing_is_written(dumpty, tmp_path, name, reason):
    result = dumpty("plugins", "new", name, "--kind", "driver")
    assert (result.status, result.out) == (2, "")
    assert reason in result.err
    assert result.err.count("\n") == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "kind", "owner"),
    [("gzip", "compressor", "'gzip' of dumpty"), ("postgresql", "driver", "'postgres' of dumpty")],
)
def test_a_name_or_scheme_that_is_taken_is_refused_with_its_owner(dumpty, tmp_path, name, kind, owner):
    result = dumpty("plugins", "new", name, "--kind", kind)
    assert result.status == 2
    assert owner in result.err
    assert os.listdir(tmp_path) == []
    assert dumpty("plugins", "new", name, "--kind", "verifier").status == 0


def test_what_exists_is_never_touched(dumpty, tmp_path):
    for make in (Path.mkdir, Path.touch, lambda p: p.symlink_to("nowhere")):
        package = tmp_path / "dumpty-newdb"
        make(package)
        status_before = package.lstat()
        result = dumpty("plugins", "new", "newdb", "--kind", "driver")
        assert result.status == 2
        assert f"{package} exists already" in result.err
        assert package.lstat() == status_before
        package.rmdir() if package.is_dir() else package.unlink()


def test_a_place_that_is_not_there_or_cannot_be_written_is_told(dumpty, tmp_path):
    result = dumpty("plugins", "new", "newdb", "--kind", "driver", "--dir", tmp_path / "nowhere")
    assert result.status == 2
    assert f"there is no directory {tmp_path}/nowhere" in result.err
    result = dumpty("plugins", "new", "newdb", "--kind", "driver", "--dir", "/proc")
    assert result.status == 1
    assert "cannot write /proc/dumpty-newdb" in result.err


def test_a_kind_is_needed_and_the_kinds_are_told(dumpty):
    assert "--kind" in dumpty("plugins", "new", "newdb").err
    result = dumpty("plugins", "new", "newdb", "--kind", "magic")
    assert result.status == 2
    assert all(kind in result.err for kind in KINDS)


def test_its_help_has_examples_that_parse(dumpty):
    from dumpty.cli.commands import plugins_check, plugins_new

    for module in (plugins_new, plugins_check):
        for line in module.EXAMPLES.strip().splitlines():
            assert line in dumpty(*line.split()[1:3], "--help").out
            assert dumpty(*line.split()[1:], "--help").status == 0


def test_the_skeleton_is_data_that_no_import_finds():
    process = subprocess.run(
        [
            sys.executable,
            "-c",
            "import pkgutil, dumpty.cli as c; print([m.name for m in pkgutil.walk_packages(c.__path__)])",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "skeleton" not in process.stdout
