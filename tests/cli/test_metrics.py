"""``dumpty metrics`` says to Prometheus how jobs are, from evidence, and ``dumpty serve --port`` answers it."""

from __future__ import annotations

import contextlib
import functools
import gzip
import http.client
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from support.pages import PAGES
from support.ports import free_port
from support.prometheus_server import lint, program, prometheus

from dumpty import BackupManager, StoreError
from dumpty.jobs import fresh, overview, views
from dumpty.jobs.activity import Activity
from dumpty.jobs.conditions import DatabaseHealth
from dumpty.jobs.health import JobHealth
from dumpty.jobs.metrics import METRICS, measure, written
from dumpty.jobs.overview import Overview
from dumpty.jobs.settings import load
from dumpty.web import server
from dumpty.web.access import Access
from dumpty.web.actions import Actions
from dumpty.web.app import make_app
from dumpty.web.site import Messages, Site
from dumpty.web.tasks import Tasks

TOP = Path(__file__).parents[2]
RULES = TOP / "examples/prometheus/dumpty-alerts.yml"
DASHBOARD = TOP / "examples/grafana/dumpty.json"
PATIENCE = 60
TOKEN = "a-token-that-nobody-guesses"


@pytest.fixture
def later(monkeypatch):
    """Let ``dumpty metrics`` be called so much later."""

    def later(by):
        class Later(datetime):
            @classmethod
            def now(cls, zone=None):
                return datetime.now(zone) + by

        monkeypatch.setattr("dumpty.cli.commands.metrics.datetime", Later)

    return later


def values(text):
    """Return the values in a text by name, and of those of a database or job by the job; what ``promtool`` is content with."""
    assert lint(text) == ""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = tuple(v for k, v in sorted(sample.labels.items()) if k in {"backup_job", "kind", "level"})
            assert (sample.name, *key) not in found
            found[(sample.name.removeprefix("dumpty_"), *key)] = sample.value
    return found


def empty(tmp_path, name="shop"):
    with contextlib.closing(sqlite3.connect(tmp_path / f"{name}.db")) as connection, connection:
        connection.execute("DELETE FROM t")


# -- what they say -------------------------------------------------------------------------------------------------


def test_of_a_database_they_say_what_its_newest_good_backup_is(dumpty, configure, tmp_path):
    configure(f'max_age = "26h"\ncopies = ["{tmp_path}/vault"]\ndrill = "daily"\nschedule = "0 3 * * *"\n')
    before = time.time()
    assert dumpty("run").status == 0
    result = dumpty("metrics")
    assert (result.status, result.err) == (0, "")
    found = values(result.out)
    [backup] = BackupManager(tmp_path / "backups").list_backups()
    assert {name: found[f"database_{name}", "shop"] for name in ("backup_bytes", "backup_plain_bytes")} == {
        "backup_bytes": backup.size_bytes,
        "backup_plain_bytes": backup.plain_size_bytes,
    }
    assert (found["database_backup_rows", "shop"], found["database_backup_tables", "shop"]) == (200, 1)
    assert found["database_last_success_timestamp_seconds", "shop"] == backup.timestamp.timestamp()
    took = (backup.ended - backup.timestamp).total_seconds()
    assert found["database_backup_duration_seconds", "shop"] == pytest.approx(took)
    [proof] = [proof for proof in backup.proofs if proof.level == "restore"]
    assert found["database_restore_duration_seconds", "shop"] == proof.seconds
    assert found["database_last_proof_timestamp_seconds", "shop", "restore"] == proof.at.timestamp()
    assert found["database_proved_backup_timestamp_seconds", "shop"] == backup.timestamp.timestamp()
    assert found["database_backups", "shop"] == 1
    for name in ("suspicious_backups", "damaged_backups", "missing_copies", "failed", "overdue"):
        assert found[f"database_{name}", "shop"] == 0, name
    assert before <= found["job_last_run_timestamp_seconds", "shop"] <= time.time()
    assert 0 < found["job_last_run_duration_seconds", "shop"] <= time.time() - before
    assert found["job_next_run_timestamp_seconds", "shop"] % 3600 == 0
    assert found["job_next_run_timestamp_seconds", "shop"] > time.time()
    for name, value in {"readable": 1, "running": 0, "databases": 1, "last_run_failed": 0}.items():
        assert found[f"job_{name}", "shop"] == value, name
    assert found["job_consecutive_failed_runs", "shop"] == 0
    assert {value for (name, *_), value in found.items() if name == "job_problems"} == {0}


def test_what_is_wrong_is_counted_where_it_is(dumpty, configure, tmp_path, later):
    configure(f'max_age = "26h"\ncopies = ["{tmp_path}/vault"]\n', jobs=("shop", "blog"))
    dumpty("run")
    empty(tmp_path)
    (tmp_path / "blog.db").unlink()
    for backup in BackupManager(tmp_path / "vault").list_backups():
        os.unlink(backup.file_path)
    for _ in range(2):
        dumpty("run", "blog")
    dumpty("run", "shop")
    found = values(dumpty("metrics").out)
    names = ("suspicious_backups", "missing_copies", "failed", "overdue", "backups")
    assert [found[f"database_{name}", "shop"] for name in names] == [1, 1, 0, 0, 1]
    assert [found[f"database_{name}", "blog"] for name in names] == [0, 1, 1, 0, 1]
    assert (found["job_last_run_failed", "blog"], found["job_consecutive_failed_runs", "blog"]) == (1, 2)
    assert found["job_problems", "shop", "suspicious"] == found["job_problems", "blog", "failed"] == 1
    assert found["database_backup_rows", "shop"] == 200  # of the newest good one
    later(timedelta(hours=27))
    found = values(dumpty("metrics").out)
    assert (found["database_overdue", "shop"], found["job_problems", "shop", "overdue"]) == (1, 1)


def test_a_database_that_fails_keeps_its_name(dumpty, tmp_path):
    file = tmp_path / "notes.sqlite3"
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE t (x)")
    (tmp_path / "dumpty.toml").write_text(
        f'[jobs.all]\nsource = "sqlite:///{tmp_path}/*.sqlite3"\nrepository = "{tmp_path}/backups"\nretries = 0\n'
    )
    assert dumpty("run").status == 0
    file.write_bytes(b"no database" * 100)
    assert dumpty("run").status == 1
    labels = f'{{backup_job="all",database="notes",source="sqlite:///{file}"}}'
    assert f"dumpty_database_failed{labels} 1.0" in dumpty("metrics").out


def test_a_backup_whose_data_is_gone_is_damaged_and_proves_nothing(dumpty, configure, tmp_path):
    configure('drill = "daily"\n')
    dumpty("run")
    [backup] = BackupManager(tmp_path / "backups").list_backups()
    os.unlink(backup.file_path)
    found = values(dumpty("metrics").out)
    assert (found["database_damaged_backups", "shop"], found["database_backups", "shop"]) == (1, 0)
    assert ("database_last_success_timestamp_seconds", "shop") not in found
    assert ("database_proved_backup_timestamp_seconds", "shop") not in found


def test_a_job_that_was_never_run_or_whose_repository_is_away_is_overdue_and_nothing_else_is_known(
    dumpty, configure, tmp_path
):
    """As ``check`` has it; a repository that is not mounted must not look as one that is well."""
    for defaults in ('max_age = "26h"\n', ""):
        configure(defaults)
        result = dumpty("metrics")
        assert result.status == 1
        assert "there is no repository at" in result.err
        found = values(result.out)
        assert {key[2]: value for key, value in found.items() if key[0] == "job_problems"} == {"overdue": 1}
        assert found["job_readable", "shop"] == 0
        assert not (tmp_path / "backups").exists()
    dumpty("run")
    (tmp_path / "backups").rename(tmp_path / "away")
    found = values(dumpty("metrics").out)
    assert (found["job_readable", "shop"], found["job_problems", "shop", "overdue"]) == (0, 1)
    (tmp_path / "backups").mkdir()
    BackupManager(tmp_path / "backups")
    found = values(dumpty("metrics").out)
    assert (found["job_databases", "shop"], found["job_readable", "shop"]) == (0, 1)


def test_a_run_that_failed_before_it_knew_its_databases_failed_them_all(dumpty, configure, tmp_path):
    (tmp_path / "dumpty.toml").write_text(
        f'[jobs.all]\nsource = "sqlite:///{tmp_path}/*.db"\nrepository = "{tmp_path}/backups"\nretries = 0\n'
    )
    dumpty("run")
    for name in ("shop", "blog"):
        (tmp_path / f"{name}.db").unlink()
    assert dumpty("run").status == 1
    text = dumpty("metrics").out
    assert re.findall(r"^dumpty_database_failed.* (\S+)$", text, re.MULTILINE) == ["1.0", "1.0"]


def test_while_a_run_goes_on_nothing_is_said_of_copies_that_may_be_on_their_way(dumpty, configure, tmp_path):
    configure(f'copies = ["{tmp_path}/vault"]\n')
    dumpty("run")
    for backup in BackupManager(tmp_path / "vault").list_backups():
        os.unlink(backup.file_path)
    key = ("job_problems", "shop", "copy-missing")
    assert values(dumpty("metrics").out)[key] == 1
    slot = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    with BackupManager(tmp_path / "backups").claim_run("shop", slot):
        found = values(dumpty("metrics").out)
    assert (key in found, ("database_missing_copies", "shop") in found) == (False, False)
    assert found["job_running", "shop"] == 1


def test_a_proof_that_stays_away_is_overdue_by_what_the_job_asks_for(dumpty, configure, later):
    dumpty("run")
    assert ("database_proof_overdue", "shop") not in values(dumpty("metrics").out)
    configure('drill = { every = "7d", level = "structure" }\n')
    for days, overdue in ((13, 0), (15, 1)):  # it was never proved
        later(timedelta(days=days))
        assert values(dumpty("metrics").out)["database_proof_overdue", "shop"] == overdue
    assert dumpty("verify", "latest", "--level", "digest").status == 0
    assert values(dumpty("metrics").out)["database_proof_overdue", "shop"] == 1
    assert dumpty("verify", "latest", "--level", "structure").status == 0
    for days, overdue in ((13, 0), (15, 1)):
        later(timedelta(days=days))
        assert values(dumpty("metrics").out)["database_proof_overdue", "shop"] == overdue


@pytest.mark.parametrize("name", ["a\u2028b", "c\x85d", "\x1b[2J", 'q"\\n', "\u202eevil"])
def test_a_name_that_breaks_lines_or_moves_the_cursor_breaks_nothing(dumpty, tmp_path, name):
    with contextlib.closing(sqlite3.connect(tmp_path / f"{name}.db")) as connection, connection:
        connection.execute("CREATE TABLE t (x)")
    (tmp_path / "dumpty.toml").write_text(
        f'[jobs.all]\nsource = "sqlite:///{tmp_path}/*.db"\nrepository = "{tmp_path}/backups"\n'
    )
    assert dumpty("run").status == 0
    text = dumpty("metrics").out
    assert values(text)["database_backups", "all"] == 1
    dumpty("metrics", "--output", "x.prom")
    assert values((tmp_path / "x.prom").read_text())["database_backups", "all"] == 1
    assert text.isascii()


def test_a_repository_that_cannot_be_looked_at_is_a_metric_and_an_error(dumpty, configure):
    configure("", jobs=("shop", "blog"), more='repository = "sftp://nobody@127.0.0.1:9/backups"\n')
    dumpty("run", "shop")
    result = dumpty("metrics")
    assert result.status == 1
    assert result.err.startswith("dumpty: blog: it cannot be said how it is: ")
    found = values(result.out)
    assert (found["job_readable", "shop"], found["job_readable", "blog"]) == (1, 0)
    assert {key[2]: v for key, v in found.items() if key[:2] == ("job_problems", "blog")} == {"unreachable": 1}
    assert found["database_backups", "shop"] == 1
    assert [key for key in found if "blog" in key and key[0].startswith("database")] == []


def test_a_repository_that_hangs_hides_no_other(dumpty, configure, monkeypatch, tmp_path):
    configure("", jobs=("shop", "blog"), more=f'repository = "{tmp_path}/hangs"\n')
    dumpty("run")
    released, health = threading.Event(), views.Views.health

    def hang(self, job, *arguments):
        if job.repository.endswith("hangs"):
            released.wait(PATIENCE)
        return health(self, job, *arguments)

    monkeypatch.setattr(views.Views, "health", hang)
    monkeypatch.setattr(overview, "_MOST_SECONDS", 2.0)  # the other job's, too
    try:
        for verb in ("metrics", "check"):
            result = dumpty(verb)
            assert result.status == 1
            assert "blog: it cannot be said how it is: its repositories have given no answer" in result.err
            assert "shop" in result.out
    finally:
        released.set()


def test_all_databases_of_one_job_are_there(dumpty, configure, tmp_path):
    files = tmp_path / "many"
    files.mkdir()
    for number in range(30):
        with contextlib.closing(sqlite3.connect(files / f"{number}.db")) as connection, connection:
            connection.execute("CREATE TABLE t (x)")
    (tmp_path / "dumpty.toml").write_text(
        f'[jobs.all]\nsource = "sqlite:///{files}/*.db"\nrepository = "{tmp_path}/backups"\n'
    )
    assert dumpty("run").status == 0
    text = dumpty("metrics").out
    assert lint(text) == ""
    found = [line for line in text.splitlines() if line.startswith("dumpty_database_backups{")]
    assert len(found) == 30
    assert {line.rpartition(" ")[2] for line in found} == {"1.0"}


@given(names=st.lists(st.text(min_size=1) | st.sampled_from(['"', "\\n", "\n", "ü\udcff", "a\\"]), max_size=4))
def test_whatever_a_database_is_called_the_text_can_be_read(names):
    [job] = _jobs()
    databases = tuple(DatabaseHealth(f"sqlite:///{name}", name, None, None) for name in names)
    health = JobHealth(job, (), running=False, databases=databases, conditions=(), undecided=frozenset())
    now = datetime.now(UTC)
    text = written(measure(Overview([health], {}, []), [job], now)).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    read = {s.labels["database"] for s in families["dumpty_database_backups"].samples} if names else set()
    assert len(read) == len({_shown(name) for name in names})
    assert all(text.isprintable() for text in read)


def _shown(name):
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def _jobs():
    import tempfile

    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write('[jobs.shop]\nsource = "sqlite:////srv/shop.db"\nrepository = "/backups"\n')
        file.flush()
        return load(file.name).jobs


def test_no_secret_and_nothing_but_dumptys_own_is_in_them(dumpty, configure, monkeypatch, tmp_path):
    monkeypatch.setenv("SHOP_URL", "postgresql://backup:S3CRETPW@127.0.0.1:9/shop")
    path = configure()
    path.write_text(path.read_text().replace(f"sqlite:///{tmp_path}/shop.db", "env:SHOP_URL"))
    dumpty("run")
    for result in (dumpty("metrics"), dumpty("metrics", "--json")):
        assert "S3CRETPW" not in result.out + result.err
    names = {line.split()[2] for line in dumpty("metrics").out.splitlines() if line.startswith("# TYPE")}
    assert names <= {gauge.name for gauge in METRICS}
    assert "dumpty_database_failed" in names


def test_the_manual_has_each_metric_and_no_other():
    text = (TOP / "core/dumpty/manual/metrics.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert rows == [gauge.name for gauge in METRICS]
    assert "metrics" in PAGES


def test_as_json_they_say_the_same(dumpty, configure):
    dumpty("run")
    reply = dumpty("metrics", "--json").json
    assert reply["path"] is None
    by_name = {metric["name"]: metric for metric in reply["metrics"]}
    [sample] = by_name["dumpty_database_backup_rows"]["samples"]
    assert (sample["value"], sample["labels"]["backup_job"], sample["labels"]["database"]) == (200, "shop", "shop")


# -- into a file ---------------------------------------------------------------------------------------------------


@pytest.fixture
def for_nobody_else():
    """What is written is nobody else's to read, unless its maker says so."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("for_nobody_else")
def test_a_file_is_replaced_at_once_and_everybody_may_read_it(dumpty, configure, tmp_path):
    dumpty("run")
    path = tmp_path / "dumpty.prom"
    result = dumpty("metrics", "--output", path)
    assert (result.status, result.err) == (0, "")
    assert re.fullmatch(rf"{path}: \d+ values of 1 job\n", result.out)
    assert values(path.read_text())["database_backup_rows", "shop"] == 200
    assert path.stat().st_mode & 0o777 == 0o644
    path.chmod(0o640)
    first = path.stat().st_ino
    assert dumpty("metrics", "--output", path, "--quiet").out == ""
    assert (path.stat().st_ino != first, path.stat().st_mode & 0o777) == (True, 0o640)
    assert [entry.name for entry in tmp_path.glob("*.prom*")] == ["dumpty.prom"]
    assert dumpty("metrics", "--output", path, "--json").json["path"] == str(path)
    assert "node_exporter reads no other file" in dumpty("metrics", "--output", tmp_path / "dumpty.txt").err


def test_what_is_no_file_of_metrics_stays(dumpty, configure, tmp_path):
    text = (tmp_path / "dumpty.toml").read_text()
    (tmp_path / "link.prom").symlink_to(tmp_path / "dumpty.toml")
    (tmp_path / "folder.prom").mkdir()
    (tmp_path / "empty.prom").touch()
    for name, status in {"dumpty.toml": 2, "empty.prom": 2, "link.prom": 2, "folder.prom": 2, "gone/x.prom": 1}.items():
        result = dumpty("metrics", "--output", tmp_path / name)
        assert result.status == status, (name, result)
        assert name in result.err
    assert (tmp_path / "dumpty.toml").read_text() == text
    assert (tmp_path / "link.prom").is_symlink()


# -- over HTTP -----------------------------------------------------------------------------------------------------


def ask(port, path="/metrics", method="GET", **headers):
    """Return the status, the headers and the body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers, body


@pytest.fixture
def answer(serve):
    """Start a ``dumpty serve`` that answers, at a ``port`` that it takes."""

    def start(*argv):
        served = serve("--port", "0", *argv)
        said = served.said("/metrics\n")
        served.port = int(re.search(r"metrics at http://127\.0\.0\.1:(\d+)/metrics\n", said)[1])
        served.ask = functools.partial(ask, served.port)
        return served

    return start


EVERY_YEAR = 'schedule = "0 0 1 1 *"\n'


def test_whoever_serves_answers_what_is_so(answer, dumpty, configure):
    configure(EVERY_YEAR)
    dumpty("run", "--due")
    served = answer()
    status, headers, body = served.ask()
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    found = values(body.decode())
    assert (found["database_backup_rows", "shop"], found["job_last_run_failed", "shop"]) == (200, 0)
    _, headers, packed = served.ask(Accept_Encoding="gzip")
    assert headers["Content-Encoding"] == "gzip"
    assert values(gzip.decompress(packed).decode()) == found
    assert served.ask(method="HEAD")[2] == b""
    assert served.ask("/nothing")[0] == 404
    assert served.ask("/metrics?x=1")[0] == 200
    assert served.ask(method="POST")[0] == 405
    assert served.end()[0] == 143


def test_a_page_in_a_browser_whose_name_means_this_machine_gets_no_answer(answer, configure):
    configure(EVERY_YEAR)
    served = answer()
    assert served.ask(Host="evil.example.org")[0] == 421
    assert served.ask(Host=f"evil.example.org:{served.port}")[0] == 421
    assert b"or serve it with a token" in served.ask(Host="evil.example.org")[2]
    for name in ("localhost", f"localhost:{served.port}", "127.0.0.1", f"[::1]:{served.port}", "[::1]"):
        assert served.ask(Host=name)[0] == 200, name


def test_with_a_token_only_whoever_shows_it_gets_an_answer(answer, configure, tmp_path):
    configure(EVERY_YEAR)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    served = answer("--token", f"file:{tmp_path}/token")
    status, headers, body = served.ask()
    assert (status, headers["WWW-Authenticate"]) == (401, 'Bearer realm="dumpty"')
    assert b"dumpty_" not in body
    for wrong in (f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer", f"Bearer {TOKEN[:-1]}", "Bearer ü"):
        assert served.ask(Authorization=wrong.encode())[0] == 401, wrong
    assert served.ask(Authorization=f"Bearer {TOKEN}", Host="db1.example.org")[0] == 200
    assert TOKEN not in served.error.read_text()
    command = Path(f"/proc/{served.process.pid}/cmdline").read_bytes()
    assert TOKEN.encode() not in command


def test_the_environment_of_a_unit_can_say_where_to_answer(answer, configure):
    configure(EVERY_YEAR)
    port = free_port()
    environment = {**os.environ, "DUMPTY_SERVE_PORT": str(port)}
    argv = [sys.executable, "-m", "dumpty", "serve"]
    with subprocess.Popen(argv, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert f"metrics at http://127.0.0.1:{port}/metrics" in process.stderr.readline()
            assert ask(port)[0] == 200
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("argv", "status", "said"),
    [
        (["--port", "0", "--host", "0.0.0.0"], 2, "0.0.0.0 can be reached from elsewhere"),
        (["--port", "0", "--host", "::"], 2, "can be reached from elsewhere"),
        (["--port", "0", "--host", "nowhere.invalid"], 1, "cannot listen at 'nowhere.invalid'"),
        (["--port", "70000"], 2, "70000"),
        (["--token", "env:TOKEN"], 2, "--token goes with --port"),
        (["--port", "0", "--token", TOKEN], 2, "on a command line everybody can read it"),
        (["--port", "0", "--token", "env:SHORT"], 2, "one of 5 characters can be guessed"),
        (["--port", "0", "--token", "env:NONE"], 2, "no variable 'NONE'"),
        (["--port", "0", "--token", "env:FOREIGN"], 2, "only characters of ASCII"),
    ],
)
def test_what_would_not_be_safe_or_cannot_be_is_refused_before_anything_is_run(
    dumpty, configure, monkeypatch, tmp_path, argv, status, said
):
    monkeypatch.setenv("TOKEN", TOKEN)
    monkeypatch.setenv("SHORT", "12345")
    monkeypatch.setenv("FOREIGN", "grüße-grüße-grüße-grüße")
    configure(EVERY_YEAR)
    result = dumpty("serve", *argv)
    assert (result.status, said in result.err) == (status, True), result.err
    assert not (tmp_path / "backups").exists()
    assert TOKEN not in result.err


def test_a_port_that_is_taken_is_an_error(dumpty, configure):
    configure(EVERY_YEAR)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = dumpty("serve", "--port", port)
    assert result.status == 1
    assert f"cannot listen at 127.0.0.1, port {port}: " in result.err


@contextlib.contextmanager
def listening(host="127.0.0.1", token=None, text=lambda _: b"x\n"):
    """Answer with metrics at a port of its own, which is yielded."""
    family, address, is_local = server.resolve(host, 0, has_token=token is not None)
    nothing = lambda *_: None  # noqa: E731
    tasks = Tasks(nothing, nothing)
    site = Site(
        "a", False, nothing, nothing, text, Messages(), Activity(), Actions(None, "a", nothing), tasks, nothing, str
    )
    app = make_app(site, Access(token, host if is_local else ""))
    with server.Server(app, family, address) as answers:
        yield int(answers.url.rstrip("/").rpartition(":")[2])


def test_where_others_reach_it_a_token_lets_it_answer():
    with listening("0.0.0.0", TOKEN) as port:
        assert ask(port)[0] == 401
        assert ask(port, Authorization=f"Bearer {TOKEN}", Host="db1:9187")[0] == 200


@pytest.mark.parametrize("sent", [b"G", b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"])
def test_more_who_ask_at_once_than_there_is_room_for_keep_nobody_out_for_long(monkeypatch, sent):
    monkeypatch.setattr(server, "_MOST_CONNECTIONS", 2)
    monkeypatch.setattr(server, "_CONNECTION_SECONDS", 1.0)
    with listening(token=TOKEN) as port, contextlib.ExitStack() as stack:
        dripping = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(2)]
        for connection in dripping:
            connection.send(sent)
        ends = time.monotonic() + PATIENCE
        while True:
            for connection in dripping:
                with contextlib.suppress(OSError):
                    connection.send(b"G")
            with contextlib.suppress(OSError, http.client.HTTPException):
                if ask(port, Authorization=f"Bearer {TOKEN}")[0] == 200:
                    break
            assert time.monotonic() < ends
            time.sleep(0.05)


def test_whoever_takes_no_answer_keeps_nobody_out_for_long(monkeypatch):
    monkeypatch.setattr(server, "_MOST_CONNECTIONS", 2)
    monkeypatch.setattr(server, "_CONNECTION_SECONDS", 1.0)
    monkeypatch.setattr(server, "_ANSWER_SECONDS", 1.0)
    large = b"x" * (64 << 20)  # more than the system takes for him
    with listening(text=lambda seconds: large if seconds == 0 else b"x\n") as port, contextlib.ExitStack() as stack:
        for _ in range(2):
            slow = stack.enter_context(socket.socket())
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", port))
            slow.sendall(
                b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                b"X-Prometheus-Scrape-Timeout-Seconds: 1\r\n\r\n"
            )
            assert slow.recv(1)
        ends = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if ask(port)[0] == 200:
                    break
            assert time.monotonic() < ends
            time.sleep(0.05)


# -- fresh, or as of when ------------------------------------------------------------------------------------------


@pytest.fixture
def look(configure):
    """Metrics of jobs, what is told of them, and how to have the configuration read again."""
    current = {"configuration": load(str(configure()))}
    told = []
    look = fresh.LookAtJobs(lambda: current["configuration"], lambda _: None, told.append, lambda: datetime.now(UTC))
    found = fresh.Fresh(look, lambda: current["configuration"], look.tell)
    found.text = lambda seconds: None if (jobs := found.get(seconds)) is None else jobs.metrics
    found.told = told
    found.read_again = lambda: current.update(configuration=load("dumpty.toml"))
    return found


def soon(look, name):
    """Return the value of the shop's ``name`` in a text that was made after this was called."""
    before, ends = look.text(PATIENCE), time.monotonic() + PATIENCE
    while (text := look.text(0)) is before:
        assert time.monotonic() < ends
        time.sleep(0.02)
    return values(text.decode())[name, "shop"]


def test_repositories_are_asked_once_a_minute_however_often_somebody_asks(look, dumpty, monkeypatch):
    dumpty("run")
    first = look.text(PATIENCE)
    dumpty("run")
    assert look.text(PATIENCE) is first
    monkeypatch.setattr(fresh, "_FRESH_SECONDS", 0.0)
    assert look.text(PATIENCE) is first  # at once, and meanwhile it is looked
    assert soon(look, "database_backups") == 2


def test_a_repository_is_listed_again_when_a_run_has_ended_or_after_a_while(look, dumpty, monkeypatch, tmp_path):
    dumpty("run")
    listed, listing = [], BackupManager.listing
    read, result = [], BackupManager.run_result
    monkeypatch.setattr(BackupManager, "listing", lambda self: listed.append(1) or listing(self))
    monkeypatch.setattr(BackupManager, "run_result", lambda *arguments: read.append(1) or result(*arguments))
    monkeypatch.setattr(fresh, "_FRESH_SECONDS", 0.0)
    assert [soon(look, "database_backups") for _ in range(2)] == [1, 1]
    assert (len(listed), len(read)) == (1, 1)
    dumpty("run")
    soon(look, "database_backups")
    assert soon(look, "database_backups") == 2
    assert (len(listed), len(read)) == (2, 2)
    BackupManager(tmp_path / "backups").remove(max(BackupManager(tmp_path / "backups").list_backups(), key=made).id)
    monkeypatch.setattr(overview, "_RENEWED_SECONDS", 0.0)
    soon(look, "database_backups")
    assert soon(look, "database_backups") == 1


def made(backup):
    return backup.timestamp


def test_a_connection_that_was_closed_meanwhile_is_made_anew(look, dumpty, monkeypatch):
    dumpty("run")
    look.text(PATIENCE)
    monkeypatch.setattr(fresh, "_FRESH_SECONDS", 0.0)
    runs, broken = BackupManager.runs, []

    def closed(self, job=""):
        if not broken:
            broken.append(self)
        if self is broken[0]:
            raise StoreError("the connection was closed")
        return runs(self, job)

    monkeypatch.setattr(BackupManager, "runs", closed)
    assert [soon(look, "job_readable") for _ in range(2)] == [1, 1]
    assert broken
    assert look.told == []


def test_a_repository_that_is_away_makes_no_other_be_listed_again(look, dumpty, configure, monkeypatch, tmp_path):
    dumpty("run")
    configure(jobs=("shop", "blog"), more=f'repository = "{tmp_path}/never"\n')
    look.read_again()
    listed, listing = [], BackupManager.listing
    monkeypatch.setattr(BackupManager, "listing", lambda self: listed.append(1) or listing(self))
    monkeypatch.setattr(fresh, "_FRESH_SECONDS", 0.0)
    for _ in range(3):
        soon(look, "job_readable")
    assert len(listed) == 1
    assert [text.partition(": it cannot")[0] for text in look.told] == ["blog"]  # once a day


def test_another_configuration_counts_at_once(look, configure):
    assert ("job_readable", "blog") not in values(look.text(PATIENCE).decode())
    configure(jobs=("shop", "blog"))
    look.read_again()
    assert ("job_readable", "blog") in values(look.text(PATIENCE).decode())


def test_while_a_repository_gives_no_answer_there_is_what_was_known_before(look, dumpty, monkeypatch):
    dumpty("run")
    first, released = look.text(PATIENCE), threading.Event()
    health = views.Views.health
    monkeypatch.setattr(views.Views, "health", lambda *arguments: released.wait(PATIENCE) and health(*arguments))
    monkeypatch.setattr(fresh, "_FRESH_SECONDS", 0.0)
    monkeypatch.setattr(fresh, "_OLD_SECONDS", 0.0)
    began = time.monotonic()
    assert look.text(0.2) is first
    assert 0.2 <= time.monotonic() - began < PATIENCE / 2
    released.set()
    ends = time.monotonic() + PATIENCE
    while look.text(0) is first:
        assert time.monotonic() < ends


def test_a_repository_that_gave_no_answer_is_left_alone_for_an_hour(dumpty, configure, monkeypatch, tmp_path):
    """Else whatever hangs in the system would be more with every look."""
    configuration = load(str(configure("", jobs=("shop", "blog"))))
    dumpty("run")
    asked, released, looks = [], threading.Event(), overview.Looks(lambda _: None)
    monkeypatch.setattr(views.Views, "health", lambda *_: asked.append(1) or released.wait(PATIENCE))
    monkeypatch.setattr(overview, "_MOST_SECONDS", 0.1)
    try:
        for _ in range(3):
            assert set(looks.overview(configuration.jobs, datetime.now(UTC)).errors) == {"shop", "blog"}
        assert len(asked) == 1
        monkeypatch.setattr(overview, "_AGAIN_SECONDS", 0.0)
        looks.overview(configuration.jobs[:1], datetime.now(UTC))
        assert len(asked) == 2
    finally:
        released.set()


def test_where_nothing_is_known_yet_that_is_the_answer_before_whoever_asks_gives_up(look, monkeypatch):
    released = threading.Event()
    monkeypatch.setattr(views.Views, "health", lambda *_: released.wait(PATIENCE))
    with listening(text=look.text) as port:
        began = time.monotonic()
        status, headers, body = ask(port, X_Prometheus_Scrape_Timeout_Seconds="1.2")
        assert time.monotonic() - began < 5
        assert (status, headers["Retry-After"]) == (503, "60")
        assert b"nothing is known yet" in body
    released.set()


def test_what_goes_wrong_while_it_is_looked_is_told_without_secrets_and_ends_nothing(look, monkeypatch):
    looks = []

    def broken(self, *_):
        looks.append(1)
        self._remember(["S3CRETPW"])
        raise StoreError("a bug of S3CRETPW")

    monkeypatch.setattr(overview.Looks, "overview", broken)
    monkeypatch.setattr(fresh, "_FRESH_SECONDS", 0.0)
    for _ in range(3):
        assert look.text(PATIENCE) is None
    assert look.told == ["a bug of ***"]
    assert len(looks) > 1


def test_where_there_is_no_room_for_a_thread_the_next_one_who_asks_tries_again(look, dumpty, monkeypatch):
    dumpty("run")

    def no_room(_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_room)
        assert look.text(PATIENCE) is None
    assert b"dumpty_job_readable" in look.text(PATIENCE)


# -- Prometheus ----------------------------------------------------------------------------------------------------


def test_prometheus_asks_alerts_and_answers_every_panel_of_the_dashboard(answer, dumpty, configure, tmp_path):
    configure(
        f'max_age = "26h"\ncopies = ["{tmp_path}/vault"]\ndrill = "daily"\n{EVERY_YEAR}',
        jobs=("shop", "blog"),
    )
    dumpty("run", "--due")
    empty(tmp_path)
    dumpty("run", "shop")
    (tmp_path / "blog.db").unlink()
    dumpty("run", "blog")
    (tmp_path / "token").write_text(TOKEN)
    served = answer("--token", f"file:{tmp_path}/token")
    target = f"127.0.0.1:{served.port}"
    with prometheus(tmp_path / "prometheus", target, RULES, token_file=tmp_path / "token") as server:
        assert server.until("dumpty_job_readable") != []
        assert {labels["job"] for labels, _ in server.query("dumpty_job_readable")} == {"dumpty"}
        assert server.until("up == 1") == [({"__name__": "up", "instance": target, "job": "dumpty"}, 1.0)]
        ends = time.monotonic() + PATIENCE
        while server.alerts() != {("BackupFailed", "firing", "blog"), ("BackupSuspicious", "firing", "shop")}:
            assert time.monotonic() < ends, server.alerts()
            time.sleep(0.1)
        dashboard = json.loads(DASHBOARD.read_text())
        expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
        assert len(expressions) > 20
        for expression in expressions:
            assert server.until(expression.replace("$backup_job", ".*")), expression


def test_the_dashboard_is_one_that_grafana_imports():
    """Without a Grafana to ask: each panel has a number, a place and a data source of its own, and says what it shows."""
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [tuple(panel["gridPos"][name] for name in "xywh") for panel in panels]
    cells = [(x + i, y + j) for x, y, w, h in places for i in range(w) for j in range(h)]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    assert all(panel["title"] and panel["type"] in {"stat", "table", "timeseries"} for panel in panels)
    uids = {target["datasource"]["uid"] for panel in panels for target in panel["targets"]}
    assert uids == {"${datasource}"}
    assert [variable["name"] for variable in dashboard["templating"]["list"]] == ["datasource", "backup_job"]
    used = set(re.findall(r"\bdumpty_\w+", DASHBOARD.read_text() + RULES.read_text()))
    assert used <= {gauge.name for gauge in METRICS}


def test_the_alerts_come_when_they_should_and_go_again(tmp_path):
    (tmp_path / "rules.yml").write_text(RULES.read_text())
    (tmp_path / "test.yml").write_text((Path(__file__).parent / "alert_rules.yml").read_text())
    argv = [program("promtool"), "test", "rules", "test.yml"]
    process = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    tested = set(re.findall(r"alertname: (\w+)", (tmp_path / "test.yml").read_text()))
    assert tested == set(re.findall(r"alert: (\w+)", RULES.read_text()))


def test_the_example_of_a_configuration_is_right():
    argv = [program("promtool"), "check", "config", TOP / "examples/prometheus/prometheus.yml"]
    process = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
