"""dumpty.toml is read strictly: each mistake is told, with its line, and nothing is half applied."""

from __future__ import annotations

import os

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from dumpty import ConfigurationError
from dumpty.jobs import configuration, settings
from dumpty.jobs.document import Defaults, Document, Drill, Job, Keep, json_schema

HEAD = '[defaults]\nrepository = "/srv/backups"\n'
JOB = '[jobs.shop]\nsource = "sqlite:////shop.db"\n'


@pytest.fixture
def load(tmp_path):
    def load(text):
        path = tmp_path / "dumpty.toml"
        path.write_text(text)
        return settings.load(str(path))

    return load


@pytest.fixture
def problems(load):
    """What is said of a text, without the file's path."""

    def problems(text):
        with pytest.raises(ConfigurationError) as error:
            load(text)
        return [problem.partition("dumpty.toml")[2].lstrip(":") for problem in error.value.problems]

    return problems


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (HEAD + "kep = {}\n" + JOB, "3: defaults.kep: there is no such key. Did you mean 'keep'?"),
        (HEAD + JOB + "schedul = '1 2 * * *'", "5: jobs.shop.schedul: there is no such key. Did you mean 'schedule'?"),
        (HEAD + "keep = { dayly = 7 }\n" + JOB, "3: defaults.keep.dayly: there is no such key. Did you mean 'daily'?"),
        (HEAD + JOB + 'copies = [\n  "/a",\n  { repositry = "/b" },\n]', "5: jobs.shop.copies.repositry: there is no"),
        (HEAD + JOB + "drill = { evry = 'weekly' }", "5: jobs.shop.drill.evry: there is no such key. Did you mean"),
        ("job = {}\n" + HEAD + JOB, "1: job: there is no such key. Did you mean 'jobs'?"),
        ("[run]\nparalel = 2\n" + HEAD + JOB, "2: run.paralel: there is no such key. Did you mean 'parallel'?"),
        (HEAD + JOB + "retries = 'two'", "5: jobs.shop.retries: must be a whole number, and is a text"),
        (HEAD + JOB + "retries = -1", "5: jobs.shop.retries: must be a whole number >= 0"),
        (HEAD + JOB + "tags = 'prod'", "5: jobs.shop.tags: must be a list, and is a text"),
        (HEAD + JOB + "deadline = 07:00:00", "5: jobs.shop.deadline: must be a text, and is a list"),
        (HEAD + JOB + "keep = 'some'", "5: jobs.shop.keep: is none of the values that it can have"),
        (HEAD + JOB + "keep = { daily = 0 }", "5: jobs.shop.keep.daily: must be a whole number >= 1"),
        (HEAD + JOB + "keep = {}", "5: jobs.shop.keep: names no rule"),
        (HEAD + "[jobs.shop]\ntags = ['x']", "3: jobs.shop: the key source is missing"),
        (HEAD + "[jobs.shop]\nsource = []", "4: jobs.shop.source: must be a list of length >= 1"),
        (HEAD + JOB + JOB, " is no TOML: Cannot declare ('jobs', 'shop') twice (at line 5, column 11)"),
        (HEAD + "[jobs.'my shop']\nsource = 'sqlite:////x'", "3: jobs.my shop: cannot name a job"),
        ("jobs = 3", "1: jobs: is a table: write [jobs]"),
        (JOB, "1: jobs.shop: it has no repository"),
        (HEAD + JOB + "schedule = '0 0 30 2 *'", "5: jobs.shop.schedule: '0 0 30 2 *' is no schedule, or never comes"),
        (HEAD + JOB + "schedule = 'daily'", "5: jobs.shop.schedule: 'daily' is no schedule: write minute"),
        (HEAD + "timezone = 'Europe/Berln'\n" + JOB, "3: defaults.timezone: there is no time zone 'Europe/Berln'"),
        (HEAD + "timezone = 'local'\n" + JOB, "3: defaults.timezone: 'local' may be another zone"),
        (HEAD + JOB + "rate_limit = '20 bananas'", "5: jobs.shop.rate_limit: '20 bananas' is no size"),
        (HEAD + JOB + "retry_wait = '5'", "5: jobs.shop.retry_wait: '5' is no duration"),
        (HEAD + JOB + "deadline = '0s'", "5: jobs.shop.deadline: '0s' is no time at all"),
        (HEAD + JOB + "drill = 'sometimes'", "5: jobs.shop.drill: 'sometimes' is no duration"),
        (HEAD + JOB + "encrypt_to = ['age1x']\ndrill = 'weekly'", "6: jobs.shop.drill: its backups are encrypted"),
        (HEAD + JOB + "copies = ['/srv/backups']", "5: jobs.shop.copies: names other repositories than the job's own"),
        (HEAD + JOB + "copies = ['/a', '/a']", "5: jobs.shop.copies: names other repositories than the job's own"),
        (HEAD + JOB + "repository = 'backups'", "5: jobs.shop.repository: 'backups' is another directory wherever"),
        (HEAD + JOB + "copies = ['vault']", "5: jobs.shop.copies: 'vault' is another directory wherever"),
        (HEAD + JOB + "options = { tags = 'x' }", "5: jobs.shop.options: 'tags' is no option of a plugin"),
        (HEAD + JOB + "options = { shrink_guard = true }", "5: jobs.shop.options: 'shrink_guard' is no option"),
        ("[jobs.shop]\nsource = \n", " is no TOML: Invalid value (at line 2"),
    ],
)
def test_a_mistake_is_told_with_its_line(problems, text, told):
    found = problems(text)
    assert any(problem.startswith(told) for problem in found), found


def test_every_mistake_is_told_at_once(problems):
    text = HEAD + "keep = { daily = 'x' }\n" + JOB + "tags = 3\n[jobs.other]\nretries = true\nsource = 'sqlite:////x'"
    assert [p.partition(" ")[0] for p in problems(text)] == ["3:", "6:", "8:"]


def test_a_jobs_own_value_takes_the_whole_place_of_the_default(load):
    text = (
        HEAD
        + "keep = { daily = 7, weekly = 4 }\ntags = ['a', 'b']\nretries = 5\n"
        + JOB
        + "keep = { last = 3 }\ntags = []"
    )
    [job] = load(text).jobs
    assert (job.rules.keep, job.rules.daily, job.rules.weekly) == (3, None, None)
    assert (job.tags, job.retries) == ((), 5)


def test_a_copy_is_kept_by_the_rules_of_its_job_unless_it_has_its_own(load):
    copies = 'copies = ["/a", { repository = "/b", keep = "all" }, { repository = "/c", keep = { last = 1 } }]\n'
    [job] = load(HEAD + copies + "keep = { daily = 7 }\n" + JOB).jobs
    assert [(c.repository, c.rules and c.rules.daily, c.rules and c.rules.keep) for c in job.copies] == [
        ("/a", 7, None),
        ("/b", None, None),
        ("/c", None, 1),
    ]


def test_nothing_is_removed_unless_it_is_asked_for(load):
    assert load(HEAD + JOB).jobs[0].rules is None
    assert load(HEAD + "keep = { last = 1 }\n" + JOB + 'keep = "all"').jobs[0].rules is None


# -- the file ----------------------------------------------------------------------------------------------------


def test_the_first_file_that_is_there_counts(tmp_path, monkeypatch):
    home, here = tmp_path / "home", tmp_path / "here"
    (home / ".config" / "dumpty").mkdir(parents=True)
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("DUMPTY_CONFIG", raising=False)
    with pytest.raises(ConfigurationError, match="dumpty config init writes one"):
        configuration.find(None)
    (home / ".config" / "dumpty" / "dumpty.toml").touch()
    assert configuration.find(None) == str(home / ".config" / "dumpty" / "dumpty.toml")
    (here / "dumpty.toml").touch()
    assert configuration.find(None) == "dumpty.toml"
    monkeypatch.setenv("DUMPTY_CONFIG", "/named/by/the/environment.toml")
    assert configuration.find(None) == "/named/by/the/environment.toml"
    assert configuration.find("/named.toml") == "/named.toml"


def test_a_file_that_others_can_write_is_not_used(tmp_path):
    path = tmp_path / "dumpty.toml"
    path.write_text(HEAD + JOB)
    path.chmod(0o666)
    with pytest.raises(ConfigurationError, match="can be written by everybody"):
        configuration.read(str(path))


def test_a_file_of_another_user_is_not_used(tmp_path, monkeypatch):
    path = tmp_path / "dumpty.toml"
    path.write_text(HEAD + JOB)
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
    else:  # who cannot give a file away is another user than its owner
        monkeypatch.setattr(configuration.os, "geteuid", lambda: 12345)
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        configuration.read(str(path))


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"\xff", "is not UTF-8 text"), (b"#" * (1024 * 1024 + 1), "is longer than 1024 KiB"), (None, "No such file")],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path, content, told):
    path = tmp_path / "dumpty.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=told):
        configuration.read(str(path))


def test_no_other_than_a_regular_file_is_read(tmp_path):
    os.mkfifo(tmp_path / "dumpty.toml")
    writer = os.open(tmp_path / "dumpty.toml", os.O_RDWR)
    try:
        with pytest.raises(ConfigurationError, match="is no regular file"):
            configuration.read(str(tmp_path / "dumpty.toml"))
    finally:
        os.close(writer)


# -- lines, for any layout -----------------------------------------------------------------------------------------

COMMENTS = st.sampled_from(["", "# a comment", "   ", "# source = 'x'", "#[jobs.shop]"])
OTHER = st.sampled_from(["tags = [\n  'a', # one\n  'b',\n]", "retries = 1", 'deadline = """1h"""', "timezone = 'UTC'"])


@given(st.lists(COMMENTS, max_size=4), st.lists(OTHER, max_size=4, unique=True), st.lists(COMMENTS, max_size=4))
def test_the_line_is_that_of_the_statement_whatever_stands_around_it(tmp_path_factory, before, others, between):
    lines = "\n".join([*before, "[jobs.shop]", *others, *between, 'sorce = "x"', 'source = "sqlite:////x"'])
    path = tmp_path_factory.mktemp("lines") / "dumpty.toml"
    path.write_text(HEAD + lines)
    with pytest.raises(ConfigurationError) as error:
        settings.load(str(path))
    line = (HEAD + lines).splitlines().index('sorce = "x"') + 1
    assert f"dumpty.toml:{line}: jobs.shop.sorce" in str(error.value)


# -- the schema ----------------------------------------------------------------------------------------------------


def test_the_schema_for_editors_accepts_what_is_accepted_and_nothing_else():
    Draft202012Validator.check_schema(json_schema())
    schema = Draft202012Validator(json_schema())
    good = {
        "defaults": {"repository": "/x", "copies": ["/y", {"repository": "/z", "keep": "all"}], "keep": {"daily": 7}},
        "run": {"parallel": 4},
        "jobs": {
            "shop": {"source": ["env:URL"], "drill": {"every": "weekly", "level": "digest"}, "options": {"jobs": 2}}
        },
    }
    assert schema.is_valid(good)
    msgspec.convert(good, Document)
    for wrong in (
        {"defalts": {}},
        {"jobs": {"shop": {}}},
        {"jobs": {"shop": {"source": []}}},
        {"defaults": {"keep": {"daily": 0}}},
        {"defaults": {"drill": {"every": "weekly", "level": "deep"}}},
    ):
        assert not schema.is_valid(wrong)
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(wrong, Document)


@pytest.mark.parametrize("table", [Defaults, Job, Keep, Drill])
def test_every_key_is_described_in_the_schema(table):
    properties = json_schema()["$defs"][table.__name__]["properties"]
    undescribed = [name for name, schema in properties.items() if "description" not in schema]
    assert undescribed == []
