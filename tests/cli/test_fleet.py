"""``dumpty run --workers``: jobs spread over Dask's workers, whichever of them die."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading

import pytest
from support.certificates import make_certificate
from support.dask_cluster import PATIENCE, Cluster, kill, wait_for
from support.store_files import begun, committed

from dumpty import BackupManager, StoreError
from dumpty.jobs.fleet import joining, local_workers, worker
from dumpty.jobs.fleet.dask import DaskFleet
from dumpty.jobs.work import WorkersLost

EVERY_YEAR = '"0 0 1 1 *"'


@pytest.fixture
def configure(tmp_path):
    """Write a configuration whose repository is ``backups``."""

    def configure(jobs, run="parallel = 2", defaults=""):
        path = tmp_path / "dumpty.toml"
        path.write_text(f'[run]\n{run}\n[defaults]\nrepository = "{tmp_path}/backups"\n{defaults}\n{jobs}\n')
        path.chmod(0o600)

    return configure


@pytest.fixture
def databases(tmp_path):
    """Make databases of some rows; returns the source that means them."""

    def databases(number, rows=3):
        (tmp_path / "databases").mkdir()
        for index in range(number):
            with contextlib.closing(sqlite3.connect(tmp_path / "databases" / f"db{index:03}.db")) as connection:
                connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, what TEXT)")
                connection.executemany("INSERT INTO orders (what) VALUES (?)", [("egg",)] * rows)
                connection.commit()
        return f"sqlite:///{tmp_path}/databases/*.db"

    return databases


def job(name, source, **keys):
    return "\n".join([f"[jobs.{name}]", f'source = "{source}"', *(f"{k} = {v}" for k, v in keys.items())]) + "\n"


@pytest.fixture
def here():
    """A scheduler and a worker of two threads in this process: their address."""
    from distributed import LocalCluster

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with LocalCluster(
        n_workers=1,
        threads_per_worker=2,
        processes=False,
        protocol="tcp://",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        worker_dashboard_address=None,
        silence_logs=logging.CRITICAL,
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def cluster(tmp_path):
    """A scheduler of its own, as yet without workers."""
    with Cluster(tmp_path / "cluster") as cluster:
        yield cluster


def backups(tmp_path, repository="backups"):
    return BackupManager(tmp_path / repository).list_backups()


def require_each_once(tmp_path, number):
    """Every database has one backup, which holds what it should, and nothing else is left."""
    assert len(committed(tmp_path / "backups")) == number
    made = backups(tmp_path)
    assert len({backup.source for backup in made}) == number == len(made)
    manager = BackupManager(tmp_path / "backups")
    assert all(done.ok for done in manager.verify_many())


# -- what it does ------------------------------------------------------------------------------------------------------


def test_workers_do_what_the_run_would_do_itself(dumpty, configure, databases, here, tmp_path):
    copies = f'copies = ["{tmp_path}/copies"]\nkeep = {{ last = 1 }}'
    configure(job("shop", databases(4)) + copies + "\n" + job("other", f"sqlite:///{tmp_path}/databases/db000.db"))
    first = dumpty("run", "--json", "other")
    [kept] = [run["backup"] for run in first.json["jobs"][0]["databases"]]
    for _ in range(2):
        result = dumpty("run", "shop", "--workers", here, "--json")
        assert result.status == 0, result.err
        [run] = result.json["jobs"]
        assert [run["outcome"], len(run["databases"]), run["host"]] == ["ok", 4, socket.gethostname()]
        assert all(d["ok"] and d["rows"] == 3 and d["attempts"] == 1 for d in run["databases"])
        assert [copy["ok"] for copy in run["copies"]] == [True] * len(run["copies"])
        made = {d["backup"] for d in run["databases"]}
    assert len(run["removed"]) == 8  # of both
    assert {b.id for b in backups(tmp_path)} == {kept, *made}  # what another job made is not this one's to remove
    assert {b.id for b in backups(tmp_path, "copies")} == made


def test_workers_prove_backups(dumpty, configure, databases, here, tmp_path):
    configure(job("shop", databases(2), drill='"weekly"'))
    result = dumpty("run", "--workers", here, "--json")
    assert [drill["ok"] for drill in result.json["jobs"][0]["drills"]] == [True, True]
    assert [b.proofs[-1].level for b in backups(tmp_path)] == ["restore", "restore"]
    assert sum("is proved" in line for line in dumpty("run", "--workers", here).err.splitlines()) == 0


def test_what_happens_in_workers_is_told_as_it_happens_here(dumpty, configure, databases, here):
    configure(job("shop", databases(3)))
    lines = dumpty("run", "--workers", here).err.splitlines()
    assert sum(line.endswith("is being backed up") for line in lines) == 3
    assert lines[-2].startswith("shop: ")
    assert "is backed up, 3 of 3: " in lines[-2]
    assert lines[-1].startswith("shop: ok: 3 of 3 databases backed up")


def test_workers_that_are_started_for_a_run_are_gone_after_it(dumpty, configure, databases, tmp_path):
    configure(job("shop", databases(5)))
    result = dumpty("run", "--workers", "dask", "--json")
    assert (result.status, result.json["jobs"][0]["outcome"]) == (0, "ok"), result.err
    require_each_once(tmp_path, 5)
    children = subprocess.run(["ps", "-o", "args=", "--ppid", str(os.getpid())], capture_output=True, text=True)
    assert "spawn_main" not in children.stdout


def test_a_failure_in_a_worker_is_a_failure_of_the_job(dumpty, configure, databases, here, tmp_path):
    source = databases(2)
    (tmp_path / "databases" / "db001.db").write_bytes(b"no database" * 1000)
    configure(job("shop", source, retries=0))
    result = dumpty("run", "--workers", here, "--json")
    assert result.status == 1
    [good, bad] = result.json["jobs"][0]["databases"]
    assert (good["ok"], bad["ok"], bad["error_type"]) == (True, False, "SourceError")
    assert "db001.db" in result.err
    assert "FAILED" in result.err


def test_a_job_that_is_done_by_workers_ends_at_its_deadline(dumpty, configure, databases, here):
    configure(job("shop", databases(1, rows=5000), deadline='"1s"', rate_limit='"1KB"', retries=0))
    result = dumpty("run", "--workers", here, "--json")
    assert result.status == 1
    assert "the deadline of 1s of the job shop has passed" in result.json["jobs"][0]["error"]


# -- who dies ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def fleet_run(tmp_path):
    """Start ``dumpty run`` as a program of its own, and wait until so many backups are made."""
    started = []

    def start(cluster, made, *argv):
        command = [sys.executable, "-m", "dumpty", "run", "--json", "--workers", cluster.address, *argv]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        wait_for(lambda: len(committed(tmp_path / "backups")) >= made, process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def reply(process):
    out, err = process.communicate(timeout=PATIENCE)
    assert out, err
    return json.loads(out.splitlines()[-1])


def test_a_worker_that_is_killed_has_its_work_done_by_another_one(configure, databases, cluster, fleet_run, tmp_path):
    configure(job("shop", databases(40, rows=300), rate_limit='"50KB"'))
    killed, _other = cluster.start_worker(threads=2), cluster.start_worker(threads=2)
    process = fleet_run(cluster, 5)
    kill(killed)
    [run] = reply(process)["jobs"]
    assert (run["outcome"], process.returncode) == ("ok", 0), run
    assert sum(database["ok"] for database in run["databases"]) == 40
    require_each_once(tmp_path, 40)


def test_a_run_whose_scheduler_is_killed_goes_on_from_where_it_was(configure, databases, cluster, fleet_run, tmp_path):
    configure(job("shop", databases(30, rows=300), rate_limit='"50KB"'))
    cluster.start_worker(threads=2)
    process = fleet_run(cluster, 5)
    kill(cluster.scheduler)
    ended = reply(process)
    assert process.returncode == 1
    assert f"the scheduler at {cluster.address} is gone" in ended["error"]
    slot = re.search(r"with --resume (\S+), too", ended["error"])[1]
    before = {b.id for b in backups(tmp_path)}
    assert len(before) >= 5
    cluster.start_scheduler()
    cluster.start_worker(threads=2)
    process = fleet_run(cluster, 0, "--resume", slot)
    [run] = reply(process)["jobs"]
    assert (run["outcome"], run["slot"]) == ("ok", slot)
    assert before <= {database["backup"] for database in run["databases"]}
    require_each_once(tmp_path, 30)


def test_a_run_whose_client_is_killed_is_done_by_the_next_one(configure, databases, cluster, fleet_run, tmp_path):
    configure(job("shop", databases(30, rows=300), rate_limit='"50KB"', schedule=EVERY_YEAR))
    cluster.start_worker(threads=2)
    kill(fleet_run(cluster, 5, "--due"))
    [run] = reply(fleet_run(cluster, 0, "--due"))["jobs"]
    assert (run["outcome"], sum(database["ok"] for database in run["databases"])) == ("ok", 30)
    require_each_once(tmp_path, 30)


def test_a_run_that_is_interrupted_ends_its_workers_work(configure, databases, cluster, fleet_run, tmp_path):
    configure(job("shop", databases(30, rows=3000), rate_limit='"5KB"', schedule=EVERY_YEAR))
    cluster.start_worker(threads=2)
    process = fleet_run(cluster, 0, "--due")
    wait_for(lambda: begun(tmp_path / "backups"), process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    wait_for(lambda: not begun(tmp_path / "backups"), *cluster.workers)
    assert committed(tmp_path / "backups") == []
    assert list((tmp_path / "backups" / ".runs" / "shop").glob("*.claim-*")) == []


@pytest.fixture
def meanwhile():
    """Do something in a thread of its own, while a run goes on in this one."""
    threads, failures = [], []

    def meanwhile(work):
        def noting():
            try:
                work()
            except BaseException as error:
                failures.append(error)
                raise

        threads.append(threading.Thread(target=noting))
        threads[-1].start()

    yield meanwhile
    for thread in threads:
        thread.join(PATIENCE)
    assert failures == []


def test_workers_that_come_are_given_work_and_one_that_leaves_is_told_of(
    dumpty, configure, databases, cluster, tmp_path, monkeypatch, meanwhile
):
    monkeypatch.setattr("dumpty.jobs.fleet.dask._WORKERS_SECONDS", 0.1)
    monkeypatch.setattr("dumpty.jobs.fleet.dask._LONELY_SECONDS", 0.0)
    configure(job("shop", databases(12, rows=300), rate_limit='"20KB"'))
    missed, missing = threading.Event(), DaskFleet._missing

    def missing_now(fleet):
        text = missing(fleet)
        if text:
            missed.set()
        return text

    monkeypatch.setattr(DaskFleet, "_missing", missing_now)
    cluster.start_worker()

    def work():
        wait_for(lambda: len(committed(tmp_path / "backups")) >= 2)
        kill(cluster.workers[0])
        assert missed.wait(PATIENCE)
        cluster.start_worker(threads=2)

    meanwhile(work)
    result = dumpty("run", "--workers", cluster.address)
    assert result.status == 0
    assert f"the scheduler at {cluster.address} has no workers any more; what is left waits" in result.err
    require_each_once(tmp_path, 12)


def test_a_database_that_kills_its_workers_fails_and_no_other_does(dumpty, configure, databases, tmp_path, meanwhile):
    configure(job("shop", databases(3, rows=1000), rate_limit='"20KB"'), run="parallel = 1")
    with Cluster(tmp_path / "cluster", DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0") as cluster:
        cluster.start_worker()

        def work():
            wait_for(lambda: begun(tmp_path / "backups"))
            kill(cluster.workers[0])
            cluster.start_worker()

        meanwhile(work)
        result = dumpty("run", "--workers", cluster.address, "--json")
    assert result.status == 1
    errors = [database["error"] for database in result.json["jobs"][0]["databases"] if not database["ok"]]
    assert len(errors) in {1, 2}  # the one that was at work, and one that waited there
    assert all("workers that were at it died, 1 in all, the last tcp://127.0.0.1" in error for error in errors)


def test_a_run_ends_at_once_when_its_scheduler_does(dumpty, configure, databases, cluster, tmp_path, meanwhile):
    configure(job("shop", databases(12, rows=300), rate_limit='"20KB"'))
    cluster.start_worker()

    def work():
        wait_for(lambda: len(committed(tmp_path / "backups")) >= 2)
        kill(cluster.scheduler)

    meanwhile(work)
    result = dumpty("run", "--workers", cluster.address)
    assert (result.status, f"the scheduler at {cluster.address} is gone" in result.err) == (1, True)
    assert list((tmp_path / "backups" / ".runs" / "shop").glob("*.claim-*")) == []


def test_ctrl_c_ends_what_workers_are_at(dumpty, configure, databases, here, tmp_path, meanwhile):
    configure(job("shop", databases(4, rows=3000), rate_limit='"5KB"'))

    def work():
        wait_for(lambda: len(begun(tmp_path / "backups")) >= 2)
        os.kill(os.getpid(), signal.SIGINT)

    meanwhile(work)
    assert dumpty("run", "--workers", here).status == 130
    wait_for(lambda: not begun(tmp_path / "backups"))
    assert committed(tmp_path / "backups") == []


def test_an_answer_that_nobody_hears_of_is_not_waited_for_for_ever(dumpty, configure, databases, here, monkeypatch):
    monkeypatch.setattr("dumpty.jobs.fleet.dask._TASK_SECONDS", 0.2)
    monkeypatch.setattr("distributed.Future.add_done_callback", lambda future, callback: None)
    configure(job("shop", databases(1)))
    result = dumpty("run", "--workers", here)
    assert result.status == 1
    assert "what a worker answered could not be unpacked: see its log, and the scheduler's" in result.err


def test_a_worker_without_work_gives_up_its_connections(dumpty, configure, databases, here, monkeypatch):
    monkeypatch.setattr(worker, "_IDLE_SECONDS", 0.2)
    configure(job("shop", databases(2)))
    monkeypatch.setattr(worker, "_process", worker._Process())  # the tests before have left theirs busy for a minute
    assert dumpty("run", "--workers", here).status == 0
    wait_for(lambda: not worker._process.managers)
    assert dumpty("run", "--workers", here).status == 0


def test_a_worker_tries_again_what_may_pass_before_its_first_backup(dumpty, configure, databases, here, monkeypatch):
    failures, known = [StoreError("the network is away"), StoreError("still")], worker._JobWork._require_known

    def require_known(work):
        if failures:
            raise failures.pop()
        known(work)

    monkeypatch.setattr(worker._JobWork, "_require_known", require_known)
    configure(job("shop", databases(1), retry_wait='"0s"'))
    assert dumpty("run", "--workers", here).status == 0
    assert failures == []


def test_workers_that_are_started_for_a_run_leave_ctrl_c_to_it():
    before = signal.getsignal(signal.SIGINT)
    try:
        local_workers.dask_setup(None)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


# -- who is asked, and what is said there ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("workers", "text"),
    [
        ("tcp://192.0.2.1:8786", "is off this machine, and there a scheduler needs TLS: write tls://"),
        ("tcp://scheduler.example.org:8786", "is off this machine"),
        ("https://localhost:1", "--workers is dask, or a scheduler's address: tls://scheduler.example.org:8786"),
        ("tcp://localhost", "--workers is dask, or a scheduler's address"),
        ("8", "--workers is dask, or a scheduler's address"),
    ],
)
def test_a_scheduler_that_others_can_read_is_none(dumpty, configure, databases, workers, text):
    configure(job("shop", databases(1)))
    result = dumpty("run", "--workers", workers)
    assert result.status == 2
    assert text in result.err


def test_where_no_scheduler_or_worker_is_the_run_is_not_begun(dumpty, configure, databases, cluster, monkeypatch):
    monkeypatch.setattr("dumpty.jobs.fleet.joining._ANSWER_SECONDS", 2)
    monkeypatch.setattr("dumpty.jobs.fleet.joining._FIRST_WORKER_SECONDS", 2)
    configure(job("shop", databases(1)))
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        result = dumpty("run", "--workers", f"tcp://127.0.0.1:{nobody.getsockname()[1]}")
    assert (result.status, "no scheduler answers at tcp://127.0.0.1" in result.err) == (1, True)
    monkeypatch.setattr("dumpty.jobs.fleet.joining._ANSWER_SECONDS", 60)
    result = dumpty("run", "--workers", cluster.address)
    assert (result.status, "has no workers: start some" in result.err) == (1, True)
    assert not os.path.exists("backups")


def test_a_scheduler_that_another_user_may_have_started_is_none(dumpty, configure, databases, monkeypatch):
    """What it sends would be run here, as whoever backs up."""
    configure(job("shop", databases(1)))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert joining._listeners(port) == {os.geteuid()}
        monkeypatch.setattr(joining, "_listeners", lambda _: {os.geteuid(), 12345})
        result = dumpty("run", "--workers", f"tcp://127.0.0.1:{port}")
    assert result.status == 2
    assert "another user's (uid 12345 listens at that port), who could run anything here" in result.err


@pytest.mark.parametrize(
    "keys",
    [
        {"source": "postgresql://backup:s3cr3t-word@127.0.0.1:1/shop"},
        {"repository": '"s3://key:s3cr3t-word@bucket/backups"'},
        {"copies": '["s3://key:s3cr3t-word@bucket/backups"]'},
        {"drill": '{ every = "daily", on = "postgresql://a:s3cr3t-word@127.0.0.1:1/x" }'},
        {"drill": '{ every = "daily", identities = ["# mine\\nAGE-SECRET-KEY-1S3CR3T-WORD"] }'},
        {"options": '{ password = "s3cr3t-word" }'},
    ],
)
def test_a_secret_that_is_written_out_is_not_sent(dumpty, configure, databases, here, keys):
    configure(job("shop", **{"source": databases(1), **keys}))
    result = dumpty("run", "--workers", here)
    assert result.status == 1
    assert "has a secret in it, which would be sent to workers" in result.err
    assert "env:NAME, file:PATH or cmd:PROGRAM" in result.err
    assert "s3cr3t-word" not in result.err + result.out


def test_a_reference_is_read_by_each_worker_for_itself(dumpty, configure, databases, cluster, monkeypatch, tmp_path):
    """And what it leads to there has to be what it leads to here."""
    source = databases(1)
    path = source.replace("*", "db000")
    configure(job("shop", "env:SHOP", retries=0))
    monkeypatch.setenv("SHOP", path)
    cluster.start_worker(SHOP="sqlite:////elsewhere/shop.db")
    result = dumpty("run", "--workers", cluster.address)
    assert result.status == 1
    assert f"on {socket.gethostname()} env:SHOP leads to sqlite:////" in result.err
    cluster.start_worker("--name", "good", SHOP=path)
    kill(cluster.workers[0])
    assert dumpty("run", "--workers", cluster.address).status == 0
    assert len(backups(tmp_path)) == 1


def test_a_repository_that_workers_do_not_share_is_refused(
    dumpty, configure, databases, cluster, monkeypatch, tmp_path
):
    configure(job("shop", databases(2), repository='"env:VAULT"', retries=0))
    monkeypatch.setenv("VAULT", str(tmp_path / "backups"))
    cluster.start_worker(VAULT=str(tmp_path / "another"))
    result = dumpty("run", "--workers", cluster.address)
    assert result.status == 1
    assert re.search(r"on \S+ \S+another knows nothing of the run \S+ of the job shop: it is another place", result.err)
    assert backups(tmp_path, "another") == []


def test_files_are_backed_up_where_they_are_or_not_at_all(dumpty, configure, databases, cluster):
    configure(job("shop", databases(2)))
    cluster.start_worker(preload='import socket\nsocket.gethostname = lambda: "elsewhere"\n')
    result = dumpty("run", "--workers", cluster.address)
    assert result.status == 1
    assert (
        f"a source of the job shop is of {socket.gethostname()}, and no worker of {cluster.address} runs there"
        in result.err
    )
    assert not os.path.exists("backups/.runs")


@pytest.mark.parametrize(
    ("source", "keys", "what"),
    [
        ("postgresql://localhost/shop", {}, "a source"),
        ("postgresql:///shop?host=/run/postgresql", {}, "a source"),
        ("mysql://backup@127.0.0.1/shop", {}, "a source"),
        ("postgresql://db.example.org/shop", {"via": '"docker://db"'}, "a source"),
        ("postgresql://db.example.org/shop", {"copies": '["/srv/copies"]'}, "a copy"),
        (
            "postgresql://db.example.org/shop",
            {"drill": '{ every = "daily", on = "postgresql://localhost/x" }'},
            "the server",
        ),
    ],
)
def test_what_is_another_thing_on_another_machine_is_done_on_this_one(dumpty, configure, cluster, source, keys, what):
    configure(job("shop", source, **keys))
    cluster.start_worker(preload='import socket\nsocket.gethostname = lambda: "elsewhere"\n')
    result = dumpty("run", "--workers", cluster.address)
    assert result.status == 1
    assert re.search(rf"{what}.* of the job shop is of {socket.gethostname()}, and no worker of \S+ runs", result.err)


def test_a_name_that_is_no_text_is_backed_up_by_workers_too(dumpty, configure, databases, here, tmp_path):
    source = databases(1)
    shutil.copy(tmp_path / "databases" / "db000.db", os.path.join(os.fsencode(tmp_path), b"databases", b"\xff.db"))
    configure(job("shop", source))
    result = dumpty("run", "--workers", here, "--json")
    assert (result.status, len(result.json["jobs"][0]["databases"])) == (0, 2), result.err


def test_a_run_whose_scheduler_goes_while_it_copies_is_not_done(
    dumpty, configure, databases, here, tmp_path, monkeypatch
):
    configure(job("shop", databases(2), schedule=EVERY_YEAR))

    def lost(self, made, key):
        raise WorkersLost("the scheduler at tcp://gone is gone")

    with monkeypatch.context() as patch:
        patch.setattr("dumpty.jobs.fleet.dask_work.DaskWork.follow_up", lost)
        result = dumpty("run", "--due", "--workers", here)
    assert (result.status, "is gone; call the same again" in result.err) == (1, True)
    made = {b.id for b in backups(tmp_path)}
    [run] = dumpty("run", "--due", "--workers", here, "--json").json["jobs"]
    assert (run["outcome"], {database["backup"] for database in run["databases"]}) == ("ok", made)


def test_a_worker_without_dumpty_is_told_of_before_anything_is_begun(dumpty, configure, databases, cluster, tmp_path):
    configure(job("shop", databases(1)))
    cluster.start_worker(preload="import sys\nsys.modules['dumpty'] = None\n")
    result = dumpty("run", "--workers", cluster.address)
    assert result.status == 2
    assert re.search(r"the worker at tcp://127\.0\.0\.1:\d+ has no dumpty \(.*\): install the same there", result.err)
    assert not os.path.exists("backups")


def test_a_worker_of_another_version_is_told_apart(dumpty, configure, databases, cluster):
    configure(job("shop", databases(1), retries=0))
    cluster.start_worker(preload='import dumpty._version\ndumpty._version.__version__ = "0.1"\n')
    result = dumpty("run", "--workers", cluster.address)
    assert result.status == 1
    assert "has dumpty 0.1, and" in result.err
    assert "install the same there" in result.err


def test_a_run_by_hand_is_resumed_by_its_name_alone(dumpty, configure, databases):
    configure(job("shop", databases(1)))
    result = dumpty("run", "--resume", "yesterday")
    assert (result.status, "'yesterday' is no run by hand" in result.err) == (2, True)
    result = dumpty("run", "--due", "--resume", "20261126T030000Z-hand-0011aabb")
    assert (result.status, "--resume is for runs by hand" in result.err) == (2, True)


# -- servers -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def shops(postgres):
    """Four databases of a server, whose user has a password: the source that means them."""
    names = [postgres.create() for _ in range(4)]
    for name in names:
        postgres.script(name, "CREATE TABLE orders AS SELECT generate_series(1, 50) AS id")
    postgres.execute("ALTER ROLE postgres PASSWORD 'egg-on-a-wall'")
    yield names, postgres.url("*", password="egg-on-a-wall").replace("%2A", "*")
    postgres.execute("ALTER ROLE postgres PASSWORD NULL")
    for name in names:
        postgres.drop(name)


def test_a_password_goes_to_workers_by_reference_alone(dumpty, configure, shops, here, monkeypatch, tmp_path):
    from distributed import Client

    names, url = shops
    monkeypatch.setenv("SHOPS", url)
    configure(job("shops", "env:SHOPS", include=json.dumps(names[:1]), rate_limit='"600B"'))
    result = dumpty("run", "--workers", here, "--json")
    assert result.status == 0, result.err
    made = result.json["jobs"][0]["databases"]
    assert [(database["database"], database["rows"]) for database in made] == [(names[0], 50)]
    with Client(here, set_as_default=False) as client:
        told = repr(client.get_events("dumpty"))
        sent = repr(client.story())
    assert names[0] in told
    assert "egg-on-a-wall" not in told + sent + result.out + result.err


@pytest.mark.parametrize("per_server", [1, 2])
def test_of_a_server_no_more_are_at_work_than_may_be(dumpty, configure, shops, here, monkeypatch, per_server):
    names, url = shops
    monkeypatch.setenv("SHOPS", url)
    configure(job("shops", "env:SHOPS", include=json.dumps(names)), run=f"parallel = 4\nper_server = {per_server}")
    result = dumpty("run", "--workers", here)
    at_work, most = 0, 0
    for line in result.err.splitlines():
        at_work += ("is being backed up" in line) - ("is backed up, " in line)
        most = max(most, at_work)
    assert (result.status, at_work, most) == (0, 0, per_server)


def test_a_scheduler_on_a_network_is_spoken_with_by_tls(dumpty, program, configure, databases, tmp_path, monkeypatch):
    key, certificate = make_certificate(tmp_path, "127.0.0.1")
    tls = {"--tls-ca-file": certificate, "--tls-cert": certificate, "--tls-key": key}
    configure(job("shop", databases(2)))
    with Cluster(tmp_path / "cluster", *itertools.chain(*tls.items()), protocol="tls") as cluster:
        cluster.start_worker()
        assert cluster.address.startswith("tls://")
        result = dumpty("run", "--workers", cluster.address)
        assert (result.status, "settings (distributed.comm.tls) name none" in result.err) == (2, True)
        for name, path in {"CA_FILE": certificate, "CLIENT__CERT": certificate, "CLIENT__KEY": key}.items():
            monkeypatch.setenv(f"DASK_DISTRIBUTED__COMM__TLS__{name}", str(path))
        assert program("run", "--workers", cluster.address).status == 0  # Dask reads its settings once
    require_each_once(tmp_path, 2)
