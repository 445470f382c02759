"""``dumpty config``: begun, checked down to what it refers to, and shown without secrets."""

from __future__ import annotations

import json
import os
import stat
import tomllib

import pytest
from jsonschema import Draft202012Validator


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "dumpty.toml"
        path.write_text(text)
        path.chmod(0o600)
        return path

    return write


def test_a_configuration_that_was_begun_works_as_it_is(dumpty, shop, tmp_path):
    result = dumpty("config", "init", shop, "env:OTHER_URL", "--dir", "backups")
    assert result.status == 0
    path = tmp_path / "dumpty.toml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    written = tomllib.loads(path.read_text())
    assert written["defaults"]["repository"] == str(tmp_path / "backups")
    assert {name: job["source"] for name, job in written["jobs"].items()} == {
        "shop": shop,
        "OTHER_URL": "env:OTHER_URL",
    }
    assert dumpty("run", "shop").status == 0


def test_a_relative_file_becomes_a_whole_path(dumpty, shop, tmp_path):
    assert dumpty("config", "init", "sqlite:///shop.db").status == 0
    assert tomllib.loads((tmp_path / "dumpty.toml").read_text())["jobs"]["shop"]["source"] == shop
    assert dumpty("run").status == 0


def test_two_databases_of_one_name_are_two_jobs(dumpty, tmp_path):
    assert dumpty("config", "init", "postgresql://a/shop", "postgresql://b/shop", "postgresql://c/*").status == 0
    assert list(tomllib.loads((tmp_path / "dumpty.toml").read_text())["jobs"]) == ["shop", "shop-2", "database"]


def test_a_configuration_is_never_replaced(dumpty, write):
    path = write("# mine\n")
    result = dumpty("config", "init")
    assert (result.status, path.read_text()) == (2, "# mine\n")
    assert "is there already" in result.err


def test_a_configuration_is_not_written_through_a_link(dumpty, tmp_path):
    (tmp_path / "dumpty.toml").symlink_to(tmp_path / "elsewhere")
    assert dumpty("config", "init").status == 2
    assert not (tmp_path / "elsewhere").exists()


def test_an_empty_beginning_says_that_there_are_no_jobs(dumpty):
    assert dumpty("config", "init").status == 0
    result = dumpty("config", "check", "--json")
    assert result.status == 2
    assert "has no jobs" in result.json["problems"][0]


def test_every_mistake_is_told_with_its_line(dumpty, write, tmp_path):
    write(f"""[defaults]
repository = "nosuch://place"
copies = ["env:NOT_SET"]
compressor = "gzp"
verifier = "md6"
encrypt_to = ["age1nonsense"]
sign_with = "file:{tmp_path}/none"
[jobs.shop]
source = "postgresql://server/shop"
format = "sqll"
options = {{ fingerprnt = true }}
drill = {{ every = "weekly", identities = ["env:NO_KEY"] }}
[jobs.other]
source = ["nosuch://server/db", "file:{tmp_path}/none", "cmd:false"]
""")
    result = dumpty("config", "check", "--json")
    assert (result.status, result.json["error_type"]) == (2, "ConfigurationError")
    told = {problem.partition(": ")[2].partition(": ")[0] for problem in result.json["problems"]}
    assert told == {
        *("defaults.repository", "defaults.copies", "defaults.compressor", "defaults.verifier", "defaults.encrypt_to"),
        *("defaults.sign_with", "jobs.shop.format", "jobs.shop.options", "jobs.shop.drill", "jobs.other.source"),
    }
    assert sum("jobs.other.source" in problem for problem in result.json["problems"]) == 3
    assert "dumpty.toml:2: defaults.repository" in result.json["problems"][0]
    assert all(problem in dumpty("config", "check").out for problem in result.json["problems"])


def test_what_is_right_says_when_each_job_is_due(dumpty, shop, write):
    write(
        f'[defaults]\nrepository = "/srv/b"\n[jobs.a]\nsource = "{shop}"\nschedule = "0 0 1 1 *"\n[jobs.b]\nsource = "{shop}"\n'
        'format = "auto"\n'
    )
    result = dumpty("config", "check")
    assert result.status == 0
    assert "is right: 2 jobs" in result.out
    assert "a: next 20" in result.out
    assert "b: next by hand" in result.out


def test_a_password_that_everybody_may_read_is_warned_of(dumpty, write):
    path = write('[jobs.a]\nrepository = "/srv/b"\nsource = "postgresql://u:s3cr3t@server/db"\n')
    assert "warning" not in dumpty("config", "check").err
    path.chmod(0o644)
    result = dumpty("config", "check")
    assert result.status == 0
    assert "holds a password, and everybody may read it: chmod 600 it" in result.err
    assert "s3cr3t" not in result.out + result.err


def test_show_merges_the_defaults_and_masks_secrets(dumpty, write, monkeypatch):
    monkeypatch.setenv("SHOP_URL", "postgresql://u:never-read@server/db")
    write("""[defaults]
repository = "s3://key:s3cr3t-store@bucket/prefix"
copies = [{ repository = "gs://k:s3cr3t-copy@vault", keep = "all" }]
keep = { daily = 7 }
[jobs.a]
source = ["env:SHOP_URL", "mysql://u:s3cr3t-db@server/db?ssl=on"]
options = { password = "s3cr3t-option", jobs = 2 }
drill = { every = "weekly", on = "postgresql://u:s3cr3t-on@drills/", identities = ["AGE-SECRET-KEY-1S3CR3T"] }
[jobs.b]
source = "sqlite:////b.db"
keep = "all"
""")
    result = dumpty("config", "show")
    assert result.status == 0
    assert "s3cr3t" not in result.out.lower()
    shown = tomllib.loads(result.out)["jobs"]
    assert shown["a"]["source"] == ["env:SHOP_URL", "mysql://u:***@server/db?ssl=on"]
    assert shown["a"]["options"] == {"password": "***", "jobs": 2}
    assert (shown["a"]["keep"], shown["b"]["keep"]) == ({"daily": 7}, "all")
    assert [job["job"] for job in dumpty("config", "show", "b", "--json").json["jobs"]] == ["b"]


def test_the_schema_for_editors_is_printed(dumpty, shop, tmp_path):
    schema = json.loads(dumpty("config", "show", "--schema").out)
    Draft202012Validator.check_schema(schema)
    assert dumpty("config", "init", shop).status == 0
    Draft202012Validator(schema).validate(tomllib.loads((tmp_path / "dumpty.toml").read_text()))
    assert dumpty("config", "show", "--schema", "--json").json["config_schema"] == schema


def test_a_configuration_is_found_by_name_and_by_the_environment(dumpty, shop, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere.toml"
    assert dumpty("config", "init", shop, "--config", elsewhere).status == 0
    assert dumpty("config", "check", "--config", elsewhere).status == 0
    monkeypatch.setenv("DUMPTY_CONFIG", str(elsewhere))
    assert dumpty("config", "check").status == 0
    os.unlink(elsewhere)
    assert dumpty("config", "check").status == 2
