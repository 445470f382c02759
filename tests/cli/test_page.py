"""``dumpty serve --port`` shows a page: what is so, to whom it may, and nothing that a stranger's text does to it."""

from __future__ import annotations

import asyncio
import contextlib
import html
import http.client
import json
import os
import re
import shlex
import signal
import socket
import sqlite3
import ssl
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from urllib.parse import quote, urlencode

import pytest
from support.certificates import make_certificate
from support.history import age
from support.mariadb_server import PASSWORD
from support.replies import validator

from dumpty import Backup, BackupManager, DumptyError
from dumpty.cli.page import Place, answering, site_of_jobs, site_of_repository
from dumpty.jobs import views
from dumpty.jobs.settings import load
from dumpty.web.access import Access, Guard
from dumpty.web.actions import Actions
from dumpty.web.commands import commands_of

PATIENCE = 60
TOKEN = "a-token-that-nobody-guesses"
YEARLY = 'schedule = "0 0 1 1 *"\n'
HOSTILE = '<script>alert("1")</script>\' onmouseover="alert(2)" \u202eevil \x1b[31m {{ 7 * 7 }}'


class Page:
    """What is answered at a port, in a session of its own."""

    def __init__(self, port, tls=None):
        self.port, self._tls, self.cookie = port, tls, None

    def ask(self, path="/", method="GET", form=None, **headers):
        """Return the status, the headers and the text of an answer."""
        sent = {"Accept": "text/html", **{name.replace("_", "-"): value for name, value in headers.items()}}
        if self.cookie:
            sent["Cookie"] = self.cookie
        body = None
        if form is not None:
            body, sent["Content-Type"] = urlencode(form), "application/x-www-form-urlencoded"
        if self._tls:
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=PATIENCE, context=self._tls)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, answer.headers, text

    def get(self, path="/"):
        """Return the text of a page that is there."""
        status, _, text = self.ask(path)
        assert status == 200, (path, status, text)
        return text

    def json(self, path, verb):
        """Return an object of the API, which is one that the verb prints under ``--json``."""
        reply = json.loads(self.get(path))
        validator(verb).validate(reply)
        return reply

    def links(self, path="/"):
        """Return the addresses that a page links to."""
        return [html.unescape(link) for link in re.findall(r'href="(/[^"]*)"', self.get(path))]

    def look_again(self):
        """Have it looked anew."""
        status, headers, _ = self.ask("/look?to=/", "POST")
        assert (status, headers["Location"]) == (303, "/")

    def log_in(self, token=TOKEN):
        """Show the token, and keep the cookie that comes; return the answer."""
        answer = self.ask("/login", "POST", {"token": token})
        if answer[0] == 303:
            self.cookie = answer[1]["Set-Cookie"].partition(";")[0]
        return answer


@pytest.fixture
def show(serve):
    """Show a page at any port: as ``dumpty serve`` with these arguments does, or, with ``apart``, by that program itself."""
    with contextlib.ExitStack() as stack:

        def start(*argv, tls=None, apart=False):
            if apart:
                served = serve("--port", "0", *argv)
                said = served.said("page at http")
            else:
                served, said = None, stack.enter_context(shown_here(*map(str, argv)))
            page = Page(int(re.search(r"page at https?://127\.0\.0\.1:(\d+)/", said)[1]), tls)
            page.served = served
            return page

        yield start


def shown_here(*argv):
    """Return the block in which a page is shown by this process."""
    words = [word for word in argv if word != "--only-page"]
    options = dict(zip(words[::2], words[1::2], strict=True))
    token = options.get("--token")
    place = Place.given("127.0.0.1", 0, token).with_certificate(options.get("--certificate"), options.get("--key"))
    if "--dir" in options:
        return answering(site_of_repository(options["--dir"], token), place)
    configuration = load(None)
    return answering(site_of_jobs(lambda: configuration, lambda _: None, token=token), place)


def database_page(page, name):
    """Return the address of the page of a database."""
    text = page.get(f"/?q={name}")
    return re.search(rf'href="(/databases/[0-9a-f]+)">{re.escape(name)}</a>', text[text.index("<tbody>") :])[1]


def newest_backup_page(page, name):
    """Return the address of the page of a database's newest backup."""
    return next(link for link in page.links(database_page(page, name)) if "/backups/" in link)


def commands_on(page, path):
    """Return the commands that a page shows."""
    return [shlex.split(html.unescape(c)) for c in re.findall(r"<code>(dumpty [^<]*)</code>", page.get(path))]


# -- what is shown -------------------------------------------------------------------------------------------------


def test_a_repository_is_shown_and_what_it_says_restores_a_backup(show, dumpty, make, shop, orders, tmp_path):
    made = make(shop)
    page = show("--dir", "backups")
    assert page.json("/api/backups", "list")["backups"][0]["id"] == made["id"]
    assert "<b>1</b> in all" in page.get()
    backup = newest_backup_page(page, "shop")
    restore, drill = commands_on(page, backup)
    assert drill[:3] == ["dumpty", "drill", made["id"]]
    assert dumpty(*restore[1:]).status == 0
    assert orders(tmp_path / "shop-restored.db") == orders(tmp_path / "shop.db")
    assert dumpty(*drill[1:]).status == 0
    again = make(shop)
    page.look_again()
    assert {b["id"] for b in page.json("/api/backups", "list")["backups"]} == {made["id"], again["id"]}
    assert re.search(r"restore, <time", page.get(backup))
    assert page.ask("/databases/0000000000000000")[0] == 404
    assert page.ask(f"{database_page(page, 'shop')}/backups/{'0' * 36}")[0] == 404


def test_what_is_wrong_comes_first_and_says_why(show, dumpty, configure, tmp_path):
    configure(
        YEARLY, jobs=("blog", "shop"), more=f'[jobs.away]\nsource = "sqlite:///x.db"\nrepository = "{tmp_path}/no"\n'
    )
    dumpty("run", "blog", "shop")
    (tmp_path / "shop.db").unlink()
    dumpty("run", "shop")
    page = show("--only-page")
    text = page.get()
    assert "Somebody should look at 2 things" in text
    assert f"there is no database file {tmp_path}/shop.db" in text
    rows = re.findall(r'<th scope="row".*?</tr>', text, re.DOTALL)
    assert [re.search(r'class="status ([\w-]+)"', row)[1] for row in rows] == ["failed", "none", "ok"]
    assert "backups/" in page.get(database_page(page, "shop"))  # what there was is still there
    states = {d["database"]: d["state"] for d in page.json("/api/databases", "report")["databases"]}
    assert states == {"shop": "failed", "away": "none", "blog": "ok"}
    assert [row for row in page.get("/?status=failed").split("<tr>") if "/databases/" in row and "blog" in row] == []
    [failed] = [run for run in page.json("/api/runs", "runs")["runs"] if run["result"]["outcome"] == "failed"]
    assert "there is no database file" in page.get(f"/runs/shop/{failed['slot']}")
    assert {job["job"] for job in page.json("/api/jobs", "check")["jobs"]} == {"away", "blog", "shop"}


def test_backups_that_no_job_makes_are_shown_beside_those_of_jobs(show, dumpty, make, configure, tmp_path):
    configure(YEARLY)
    dumpty("run")
    make(f"sqlite:///{tmp_path}/blog.db")
    found = show("--only-page").json("/api/databases", "report")["databases"]
    assert {(d["database"], d["job"], d["state"]) for d in found} == {("shop", "shop", "ok"), ("blog", None, "ok")}


def test_days_on_which_a_backup_is_missing_are_named(show, dumpty, configure, tmp_path):
    configure('schedule = "30 2 * * *"\n')
    dumpty("run")
    manager = BackupManager(tmp_path / "backups")
    [backup] = manager.list_backups()
    days = [datetime.now(UTC).replace(hour=2, minute=31) - timedelta(days=n) for n in range(1, 12)]
    for n, day in enumerate(days, 1):
        if n not in {3, 4, 8}:
            age(tmp_path / "backups", backup, day, lost=n == 6)
    text = show("--only-page").get("/calendar")
    assert text.count('<rect class="gap"') == 3
    assert text.count('<rect class="wrong"') == 1
    assert text.count('<rect class="good"') == 8  # seven days, and today
    assert "4 days without a good backup that was due" in text
    report = dumpty("report", "--markdown").out
    assert f"{days[7]:%Y-%m-%d}, {days[5]:%Y-%m-%d}, {days[3]:%Y-%m-%d} to {days[2]:%Y-%m-%d}" in report


def test_what_the_next_prune_would_take_is_what_the_next_run_takes(show, dumpty, configure, tmp_path):
    configure(f"{YEARLY}keep = {{ last = 3 }}\n")
    dumpty("run")
    [backup] = BackupManager(tmp_path / "backups").list_backups()
    for hours in range(1, 7):
        age(tmp_path / "backups", backup, datetime.now(UTC) - timedelta(hours=hours))
    page = show("--only-page")
    decisions = page.json("/api/decisions", "prune")["decisions"]
    assert len(decisions) == 4
    assert "number 4, beyond the 3 newest" in html.unescape(page.get("/storage"))
    [run] = dumpty("run", "--json").json["jobs"]
    assert {d["id"] for d in decisions} < set(run["removed"])  # and one more, for the new one


def test_many_are_shown_in_parts(show, make, shop, tmp_path):
    make(shop)
    [backup] = BackupManager(tmp_path / "backups").list_backups()
    for hours in range(1, 250):
        age(tmp_path / "backups", backup, datetime.now(UTC) - timedelta(hours=hours), grown=hours / 100)
    page = show("--dir", "backups")
    address = database_page(page, "shop")
    seen = [link for n in (1, 2, 3) for link in page.links(f"{address}?page={n}") if "/backups/" in link]
    assert len(seen) == len(set(seen)) == 250
    for odd in ("0", "99", "x", "9" * 30, "-1"):
        assert "/backups/" in page.get(f"{address}?page={odd}")
    assert page.get(address).count("<svg role") + page.get(address).count('<svg class="days') == 4


def test_what_runs_is_shown_while_it_does_and_what_it_says(show, configure, dumpty):
    path = configure(YEARLY)
    path.write_text(re.sub(r'"sqlite:.*"', '"cmd:sleep 1000"', path.read_text()))
    page, ends = show(apart=True), time.monotonic() + PATIENCE
    while not (runs := page.json("/api/runs", "runs")["runs"]):
        assert time.monotonic() < ends
        page.look_again()
    [run] = runs
    assert run["running"]
    assert 'class="status running"' in page.get("/runs")
    assert "It goes on" in page.get(f"/runs/shop/{run['slot']}")
    assert 'http-equiv="refresh"' in page.get("/runs")
    assert page.served.end()[0] == 143


def test_how_far_a_run_is_that_goes_on_here_is_shown(show, configure, tmp_path):
    path = configure(YEARLY)
    program, end = tmp_path / "url.sh", tmp_path / "end"
    program.write_text(f"#!/bin/sh\nwhile [ ! -e {end} ]; do sleep 0.05; done\necho sqlite:///{tmp_path}/shop.db\n")
    program.chmod(0o700)
    path.write_text(re.sub(r'"sqlite:.*"', f'"cmd:{program}"', path.read_text()))
    page, ends = show(apart=True), time.monotonic() + PATIENCE
    while "At work here" not in (text := page.get("/runs")):
        assert time.monotonic() < ends
    assert re.search(r"<b>shop</b> looking for databases", text)
    end.touch()
    page.served.said("shop: ok")
    assert "At work here" not in page.get("/runs")


def test_whoever_serves_shows_what_was_said(show, configure):
    configure(YEARLY)
    page = show(apart=True)
    page.served.said("shop: ok: 1 of 1 database backed up")
    page.look_again()
    assert "shop: ok: 1 of 1 database backed up" in page.get("/runs")


def test_while_nothing_is_known_that_is_what_the_page_says(show, configure, tmp_path):
    path = configure(YEARLY)
    program, begun = tmp_path / "address.sh", tmp_path / "begun"
    program.write_text(f"#!/bin/sh\necho $$ > {begun}\nexec sleep 1000\n")
    program.chmod(0o700)
    path.write_text(path.read_text().replace(f'"{tmp_path}/backups"', f'"cmd:{program}"'))
    page = show("--only-page", apart=True)
    status, _, text = page.ask()
    assert (status, "have given no answer so far" in text) == (503, True)
    assert page.ask("/api/databases")[0] == 503
    assert page.served.end()[0] == 143
    ends = time.monotonic() + PATIENCE
    while os.path.exists(f"/proc/{int(begun.read_text())}"):  # it goes with who asked it
        assert time.monotonic() < ends


def test_sighup_shows_another_configuration_and_no_wrong_one(show, configure):
    path = configure(YEARLY)
    page = show("--only-page", apart=True)
    configure(YEARLY, jobs=("shop", "blog"))
    page.served.process.send_signal(signal.SIGHUP)
    page.served.said(f"{path} is read again")
    assert {job["job"] for job in page.json("/api/jobs", "check")["jobs"]} == {"shop", "blog"}
    path.write_text("nonsense = 1\n")
    page.served.process.send_signal(signal.SIGHUP)
    page.served.said("the one from before goes on")
    assert {job["job"] for job in page.json("/api/jobs", "check")["jobs"]} == {"shop", "blog"}
    assert page.served.end()[0] == 143


def test_a_repository_that_is_gone_is_not_shown_as_well(show, make, shop, tmp_path):
    make(shop)
    page = show("--dir", "backups")
    assert 'class="status ok"' in page.get()
    (tmp_path / "backups").rename(tmp_path / "away")
    page.look_again()
    [found] = page.json("/api/databases", "report")["databases"]
    assert (found["state"], found["problems"][0]["kind"]) == ("unknown", "unreachable")
    assert "it cannot be looked at, and this is what was seen last" in page.get()
    (tmp_path / "away").rename(tmp_path / "backups")
    page.look_again()
    assert page.json("/api/databases", "report")["databases"][0]["state"] == "ok"


def test_what_was_known_long_ago_is_not_shown_as_if_it_were_now(configure, dumpty, monkeypatch):
    """A look that takes long, after one that was made long ago, as nobody has looked since."""
    configuration = load(str(configure(YEARLY)))
    dumpty("run")
    site = site_of_jobs(lambda: configuration, pytest.fail)
    assert site.protection(PATIENCE, "visited").databases[0].status == "ok"
    released, health, clock = threading.Event(), views.Views.health, time.monotonic
    monkeypatch.setattr(views.Views, "health", lambda *arguments: released.wait(PATIENCE) and health(*arguments))
    monkeypatch.setattr("time.monotonic", lambda: clock() + 1000)
    try:
        assert site.protection(0.2, "visited") is None
    finally:
        released.set()


# -- what a stranger wrote -----------------------------------------------------------------------------------------


def test_a_strangers_names_are_text_and_nothing_else(show, dumpty, make, tmp_path):
    name = HOSTILE.replace("/", "").replace("\x1b", "")
    path = tmp_path / f"{name}.db"
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        quoted = HOSTILE.replace('"', '""')
        connection.execute(f'CREATE TABLE "{quoted}" (x)')
    dumpty("backup", f"sqlite:///{path}".replace("{", "%7B").replace("}", "%7D").replace("?", "%3F"))
    page = show("--dir", "backups")
    [backup] = page.json("/api/backups", "list")["backups"]
    links = page.links()
    links += [link for link in links if link.startswith("/databases/")]
    database = next(link for link in links if link.startswith("/databases/"))
    pages = ["/", "/calendar", "/storage", "/runs", database, f"{database}/backups/{backup['id']}"]
    for address in pages:
        text = page.get(address)
        assert "<script>alert" not in text
        assert 'onmouseover="' not in text
        assert not {"\u202e", "\x1b"} & set(text)
        assert "49" not in re.findall(r"evil[^<]*", text)
    text = html.unescape(page.get(pages[-1]))
    assert "\\u202eevil \\x1b[31m {{ 7 * 7 }}" in text
    [restore, *_] = commands_on(page, pages[-1])
    assert restore[:3] == ["dumpty", "restore", backup["id"]]  # it is words still, whatever the name
    markdown = dumpty("report", "--dir", "backups", "--markdown").out
    assert "<script>" not in markdown
    assert "\\<script\\>" in markdown
    dumpty("report", "--dir", "backups", "--html", "report.html")
    assert "<script" not in (tmp_path / "report.html").read_text()


def test_names_of_bytes_that_are_no_text_are_told_and_make_no_other_command(show, dumpty, shop):
    directory = os.fsdecode(b"bad\xff")
    dumpty("backup", shop, "--dir", directory)
    page = show("--dir", directory)
    [backup] = page.json("/api/backups", "list")["backups"]
    assert directory in backup["files"][0]
    assert page.json(f"/api/backups/{backup['id']}", "show")
    here = newest_backup_page(page, "shop")
    assert commands_on(page, here) == [["dumpty", "list"]]


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("sqlite:////srv/a%20b/shop.db", "sqlite:///shop-restored.db"),
        ("postgresql://bob:***@h:5433/shop?sslmode=require", "postgresql://bob@h:5433/shop_restored?sslmode=require"),
        ("postgresql:///shop?host=/run/pg2&user=bob", "postgresql:///shop_restored?host=/run/pg2&user=bob"),
        ("postgresql://h/shop?dbname=other&password=***", "postgresql://h/shop_restored"),
        ("mysql:///shop?unix_socket=/x.sock", "mysql:///shop_restored?unix_socket=/x.sock"),
        ("other://h/shop", "URL"),
    ],
)
def test_the_command_restores_beside_the_old_database_and_nowhere_else(url, target):
    now = datetime.now(UTC)
    backup = Backup("1a2b", url, "/b/x", now, 1, "0" * 64, database_name="shop", source="x", format="sql")
    job = SimpleNamespace(via=("ssh://u:S3CRETPW@host",))
    database = SimpleNamespace(repository="backups", job=job)
    words = shlex.split(commands_of(database, backup).restore)
    assert words[words.index("--to") + 1] == target
    assert words[words.index("--via") + 1] == "ssh://u@host"
    assert words[words.index("--dir") + 1] == os.path.abspath("backups")


def test_no_secret_is_on_any_page(show, dumpty, configure, tmp_path):
    more = '[jobs.far]\nsource = "mysql://backup:S3CRETPW@127.0.0.1:1/far?password=S3CRETPW"\n'
    configure(f'{YEARLY}copies = ["sftp://u:S3CRETPW@127.0.0.1:1/x"]\n', more=more)
    dumpty("run")
    page = show("--only-page", apart=True)
    seen, left = set(), ["/", "/calendar", "/storage", "/runs"]
    while left:
        if (address := left.pop()) not in seen:
            seen.add(address)
            text = page.get(address)
            assert "S3CRETPW" not in text
            left += re.findall(r'href="(/(?:databases|runs)/[^"]*)"', text)
    assert len(seen) >= 8
    for name in ("databases", "backups", "jobs", "runs", "decisions"):
        assert "S3CRETPW" not in page.get(f"/api/{name}")
    assert "S3CRETPW" not in dumpty("report").out + dumpty("report", "--markdown").out
    assert "S3CRETPW" not in page.served.error.read_text()


# -- who may look --------------------------------------------------------------------------------------------------


def test_every_answer_keeps_a_browser_from_being_misled(show, make, shop):
    make(shop)
    page = show("--dir", "backups")
    style = next(link for link in re.findall(r'href="([^"]*)"', page.get()) if link.startswith("/static/page.css"))
    for address in ("/", "/nothing", "/api/backups", "/login", style):
        headers = page.ask(address)[1]
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
    assert page.ask()[1]["Cache-Control"] == "no-store"
    assert "immutable" in page.ask(style)[1]["Cache-Control"]
    assert page.ask("/static/..%2fapp.py")[0] == 404
    assert page.ask(Host=f"evil.example.org:{page.port}")[0] == 421
    for name, value in (("Origin", "https://evil.example.org"), ("Sec_Fetch_Site", "cross-site")):
        assert page.ask("/look", "POST", **{name: value})[0] == 403
    for to in ("//evil.example.org/", "https://evil.example.org/", "/\\evil.example.org"):
        assert page.ask(f"/look?{urlencode({'to': to})}", "POST")[1]["Location"] == "/"


def test_with_a_token_only_who_shows_it_sees_anything(show, make, shop, monkeypatch):
    make(shop)
    monkeypatch.setenv("TOKEN", TOKEN)
    page = show("--dir", "backups", "--token", "env:TOKEN")
    assert (page.ask()[0], page.ask()[1]["Location"]) == (303, "/login")
    assert page.ask("/api/backups")[0] == page.ask("/api/backups", Authorization="Bearer wrong")[0] == 401
    assert page.ask("/api/backups", Authorization=f"Bearer {TOKEN}")[0] == 200
    assert page.log_in("wrong")[0] == 403
    status, headers, _ = page.log_in()
    assert status == 303
    assert re.fullmatch(r"dumpty-\d+=[\w-]{43}; HttpOnly; Path=/; SameSite=strict", headers["Set-Cookie"])
    text = page.get()
    assert TOKEN not in text
    [key] = re.findall(r'name="key" value="([^"]*)"', text)
    page.ask("/logout", "POST", {"key": "another"})
    assert page.ask()[0] == 200
    page.ask("/logout", "POST", {"key": key})
    assert page.ask()[0] == 303


def test_nothing_but_the_form_is_open_whatever_this_machine_is_called(show, make, shop, monkeypatch):
    make(shop)
    monkeypatch.setenv("TOKEN", TOKEN)
    page = show("--dir", "backups", "--token", "env:TOKEN")
    for path in ("/api/backups", "/loginx", "//login", "/static/../api/backups", "/Login"):
        for host in (f"127.0.0.1:{page.port}", "x/login?", "x/static/y?", ""):
            assert page.ask(path, Accept="*/*", Host=host)[0] in {400, 401, 404}, (path, host)
    # A library that makes the path of what a machine is called, as some versions of ours did.
    passed = []
    guard = Guard(lambda *_: passed.append(_), Access(TOKEN, ""), pytest.fail)
    scope = {"type": "http", "method": "GET", "path": "/api/backups", "query_string": b"", "scheme": "http"}
    scope |= {"headers": [(b"host", b"x/login?")], "server": ("x", 1), "client": ("127.0.0.1", 1)}
    answered = []

    async def send(message):
        answered.append(message)

    asyncio.run(guard(scope, None, send))
    assert (passed, answered[0]["status"]) == ([], 401)


def test_whoever_only_connects_takes_no_room_from_jobs(show, make, shop):
    make(shop)
    page = show("--dir", "backups", apart=True)
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(socket.create_connection(("127.0.0.1", page.port), timeout=PATIENCE))
        ends, most = time.monotonic() + 2, 0
        while time.monotonic() < ends:
            most = max(most, len(os.listdir(f"/proc/{page.served.process.pid}/fd")))
        assert most < 64 + 50
    ends = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if page.ask()[0] == 200:
                break
        assert time.monotonic() < ends
    assert page.served.error.read_text().count("\n") == 1  # and nobody has filled a log


def test_guesses_from_everywhere_are_heard_once_a_second(monkeypatch):
    access, now = Access(TOKEN, ""), 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    for n in range(100):
        assert access.shows_token("wrong", f"10.0.0.{n}") is False
    assert access.shows_token(TOKEN, "10.0.1.1") is None
    now += 1.0
    assert access.shows_token(TOKEN, "10.0.1.1") is True
    now += 300.0
    assert [access.shows_token("wrong", f"10.0.2.{n}") for n in range(9)] == [False] * 9


@pytest.mark.parametrize("how", ["form", "bearer"])
def test_whoever_guesses_is_not_listened_to_for_a_while(show, make, shop, monkeypatch, how):
    make(shop)
    monkeypatch.setenv("TOKEN", TOKEN)
    page = show("--dir", "backups", "--token", "env:TOKEN")
    known = Page(page.port)
    known.log_in()

    def guess(token):
        if how == "form":
            return Page(page.port).log_in(token)
        return page.ask("/api/backups", Authorization=f"Bearer {token}")

    assert {guess(f"wrong {n}")[0] for n in range(10)} == ({403} if how == "form" else {401})
    status, headers, _ = guess(TOKEN)
    assert (status, headers["Retry-After"]) == (429, "300")
    assert known.ask()[0] == 200  # who was let in before stays


def test_by_tls_the_cookie_goes_no_other_way(show, make, shop, monkeypatch, tmp_path):
    make(shop)
    monkeypatch.setenv("TOKEN", TOKEN)
    key, certificate = make_certificate(tmp_path, "127.0.0.1")
    trusts = ssl.create_default_context(cafile=certificate)
    page = show("--dir", "backups", "--token", "env:TOKEN", "--certificate", certificate, "--key", key, tls=trusts)
    assert "; Secure" in page.log_in()[1]["Set-Cookie"]
    assert "shop" in page.get()


# -- what may be asked for -----------------------------------------------------------------------------------------


@pytest.fixture
def logged_in(show, monkeypatch):
    """Show a page, and log in there."""
    monkeypatch.setenv("TOKEN", TOKEN)

    def start(*argv, apart=False):
        page = show("--token", "env:TOKEN", *argv, apart=apart)
        page.log_in()
        return page

    return start


def ask_for(page, path, **form):
    """Ask for something as the form of a page does, wait until it has ended, and return how, and what it said."""
    [key] = set(re.findall(r'name="key" value="([^"]*)"', page.get("/runs")))
    status, headers, text = page.ask(path, "POST", {"key": key, **form})
    if status != 303:
        return status, html.unescape(text)
    ends = time.monotonic() + PATIENCE
    while 'class="status running"' in (text := page.get(headers["Location"])):
        assert time.monotonic() < ends
        time.sleep(0.05)
    return re.search(r'</?h1>.*class="status (\w+)"', text)[1], html.unescape(text)


def test_a_job_is_run_and_its_backup_proved_pinned_and_restored_beside_the_old_one(
    logged_in, configure, dumpty, tmp_path
):
    configure(YEARLY)
    page = logged_in("--only-page")
    assert ask_for(page, "/run", job="shop")[0] == "ok"
    [backup] = dumpty("list", "--json").json["backups"]
    here = newest_backup_page(page, "shop")
    assert ask_for(page, f"{here}/drill")[0] == "ok"
    assert ask_for(page, f"{here}/pin", reason="before -- the upgrade")[0] == "ok"
    outcome, said = ask_for(page, f"{here}/restore", name="shop_again")
    assert (outcome, f"in sqlite:///{tmp_path}/shop_again.db" in said) == ("ok", True)
    with contextlib.closing(sqlite3.connect(tmp_path / "shop_again.db")) as restored:
        assert restored.execute("SELECT count(*) FROM t").fetchone() == (200,)
    [found] = dumpty("list", "--json").json["backups"]
    assert (found["id"], found["proof"]["level"]) == (backup["id"], "restore")
    assert "before -- the upgrade" in found["pinned"]
    assert ask_for(page, f"{here}/unpin")[0] == "ok"
    status, said = ask_for(page, f"{here}/restore", name="shop_again")  # nothing that exists is replaced
    assert (status, "is there already" in said) == (400, True)


def test_a_suspicious_backup_is_accepted(logged_in, configure, dumpty, tmp_path):
    configure(YEARLY)
    dumpty("run")
    with contextlib.closing(sqlite3.connect(tmp_path / "shop.db")) as connection, connection:
        connection.execute("DELETE FROM t")
    dumpty("run")
    page = logged_in("--only-page")
    here = newest_backup_page(page, "shop")
    assert 'class="status suspicious"' in page.get(here)
    assert ask_for(page, f"{here}/accept", reason="it was archived")[0] == "ok"
    page.look_again()
    assert {d["state"] for d in page.json("/api/databases", "report")["databases"]} == {"ok"}


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "-x", "x" * 64, "a b", "a\0b", "x\n", "sqlite:///x"])
def test_a_new_database_is_named_and_nothing_else(logged_in, make, shop, tmp_path, name):
    make(shop)
    page = logged_in("--dir", "backups")
    before = sorted(path.name for path in tmp_path.iterdir())
    status, said = ask_for(page, f"{newest_backup_page(page, 'shop')}/restore", name=name)
    assert (status, "can name no new database" in said) == (400, True) if name.strip() != "x" else (status != 400)
    assert sorted(path.name for path in tmp_path.iterdir()) == before or name.strip() == "x"


@pytest.mark.parametrize("name", ["orders-wal", "orders-journal", "shop", "taken", "linked", "half"])
def test_nothing_that_is_there_is_touched_nor_taken_for_a_part(logged_in, dumpty, tmp_path, name):
    for path in (tmp_path / "shop", tmp_path / "taken", tmp_path / "half-wal"):
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("CREATE TABLE t (x)")
    (tmp_path / "linked").symlink_to(tmp_path / "nowhere")
    dumpty("backup", f"sqlite:///{tmp_path}/shop")
    before = {path.name: path.is_symlink() or path.read_bytes() for path in tmp_path.iterdir() if not path.is_dir()}
    page = logged_in("--dir", "backups")
    status, said = ask_for(page, f"{newest_backup_page(page, 'shop')}/restore", name=name)
    assert (status, "take another name" in said) == (400, True)
    after = {path.name: path.is_symlink() or path.read_bytes() for path in tmp_path.iterdir() if not path.is_dir()}
    assert {name: content for name, content in after.items() if not name.startswith("err-")} == before


@pytest.mark.parametrize(
    ("via", "source", "url", "reason"),
    [
        ((), "ssh://old/postgresql://h/shop", "postgresql://h/shop", "by another way than its job has now"),
        (("ssh://new",), "ssh://old/postgresql://h/shop", "postgresql://h/shop", "by another way than its job"),
        (("ssh://u:S3CRETPW@new",), "ssh://new/postgresql://h/shop", "postgresql://h/shop", "a password has no place"),
        (None, "ssh://old/postgresql://h/shop", "postgresql://h/shop", "by which way its server is reached"),
        (None, "postgresql://h/shop", "postgresql://u:***@h/shop", "how to log in"),
        (None, "sqlite:/srv/../etc/x", "sqlite:////srv/%2e%2e/etc/x", "not known in full"),
        (None, "postgresql:///shop", "postgresql:///shop?service=x", ""),
    ],
)
def test_a_backup_is_restored_on_no_other_machine_than_its_own(via, source, url, reason):
    backup = Backup(
        "1a2b", url, "/b/x", datetime.now(UTC), 1, "0" * 64, database_name="shop", source=source, format="sql"
    )
    job = None if via is None else SimpleNamespace(via=via, sources=("env:NOWHERE",), drill=None, repository="backups")
    database = SimpleNamespace(repository="backups", job=job, database="shop")
    actions = Actions(None, "backups", lambda _: None)
    assert reason in actions.why_not_restored(database, backup)
    with pytest.raises(DumptyError):
        actions.restore(database, backup, "beside")


def test_what_was_asked_for_can_be_ended(logged_in, configure, dumpty):
    path = configure(YEARLY)
    path.write_text(re.sub(r'"sqlite:.*"', '"cmd:sleep 1000"', path.read_text()))
    page = logged_in("--only-page", apart=True)
    [key] = set(re.findall(r'name="key" value="([^"]*)"', page.get("/runs")))
    task = page.ask("/run", "POST", {"key": key, "job": "shop"})[1]["Location"]
    ends = time.monotonic() + PATIENCE
    while not any(run["running"] for run in dumpty("runs", "--json").json["runs"]):
        assert time.monotonic() < ends, page.get(task)
    assert page.ask(f"{task}/end", "POST", {"key": "wrong"})[0] == 403
    assert page.ask(f"{task}/end", "POST", {"key": key})[0] == 303
    while 'class="status failed"' not in page.get(task):
        assert time.monotonic() < ends
    assert "interrupted by SIGTERM" in page.get(task)
    assert "asked for on the page: run of the job shop" in page.served.error.read_text()


def test_what_is_asked_for_is_not_given_the_token(logged_in, configure):
    path = configure(YEARLY)
    path.write_text(re.sub(r'"sqlite:.*"', '"env:TOKEN"', path.read_text()))
    outcome, said = ask_for(logged_in("--only-page"), "/run", job="shop")
    assert (outcome, "no variable 'TOKEN'" in said) == ("failed", True)


@pytest.fixture
def on_a_server(mariadb):
    """The URL, with its password, of a database on a server, and what says whether another one of a name is there."""

    def drop():
        mariadb.run("DROP DATABASE IF EXISTS page_shop", "DROP DATABASE IF EXISTS page_beside")

    drop()
    mariadb.run(
        "CREATE DATABASE page_shop", "CREATE TABLE page_shop.t (x INT)", "INSERT INTO page_shop.t VALUES (1), (2)"
    )
    yield f"mysql://tcp:{quote(PASSWORD, safe='')}@127.0.0.1:{mariadb.port}/page_shop", mariadb.run
    drop()


def test_into_a_server_it_goes_by_what_the_configuration_knows(logged_in, dumpty, tmp_path, on_a_server):
    url, run = on_a_server
    path = tmp_path / "dumpty.toml"
    path.write_text(f'[jobs.shop]\nsource = "{url}"\nrepository = "{tmp_path}/backups"\n')
    path.chmod(0o600)
    assert dumpty("run").status == 0
    page = logged_in("--only-page")
    here = newest_backup_page(page, "page_shop")
    outcome, said = ask_for(page, f"{here}/restore", name="page_beside")
    assert (outcome, PASSWORD in said) == ("ok", False), said
    assert run("SELECT count(*) FROM page_beside.t") == [(2,)]
    other = logged_in("--dir", "backups")  # where nobody knows how to log in
    status, said = ask_for(other, f"{newest_backup_page(other, 'page_shop')}/restore", name="third")
    assert (status, "is not known here" in said) == (400, True)


def test_without_the_key_of_the_session_nothing_is_done(logged_in, show, make, shop, dumpty):
    made = make(shop)
    page = logged_in("--dir", "backups")
    here = newest_backup_page(page, "shop")
    for form in ({}, {"key": ""}, {"key": "wrong"}, {"key": "x" * 10_000}):
        assert page.ask(f"{here}/pin", "POST", form)[0] == 403
    stranger = Page(page.port)
    assert stranger.ask(f"{here}/pin", "POST", {"key": ""})[0] in {303, 401}
    assert stranger.ask(f"{here}/pin", "POST", {"key": ""}, Authorization=f"Bearer {TOKEN}")[0] == 403
    [key] = set(re.findall(r'name="key" value="([^"]*)"', page.get("/runs")))
    for headers in ({"Origin": "https://evil.example.org"}, {"Sec_Fetch_Site": "cross-site"}):
        assert page.ask(f"{here}/pin", "POST", {"key": key}, **headers)[0] == 403
    assert page.ask(f"{here}/remove", "POST", {"key": key})[0] == 404
    open_to_all = show("--dir", "backups")
    assert open_to_all.ask(f"{here}/pin", "POST", {"key": ""})[0] == 403
    assert "<form" not in open_to_all.get(here).replace('<form method="post" action="/look', "")
    assert dumpty("show", made["id"], "--json").json["backups"][0]["pinned"] is None


def test_what_was_asked_for_ends_with_the_service(logged_in, configure, tmp_path):
    path = configure(YEARLY)
    begun = tmp_path / "begun"
    program = tmp_path / "url.sh"
    program.write_text(f"#!/bin/sh\necho $$ > {begun}\nexec sleep 1000\n")
    program.chmod(0o700)
    path.write_text(re.sub(r'"sqlite:.*"', f'"cmd:{program}"', path.read_text()))
    page = logged_in("--only-page", apart=True)
    [key] = set(re.findall(r'name="key" value="([^"]*)"', page.get("/runs")))
    assert page.ask("/run", "POST", {"key": key, "job": "shop"})[0] == 303
    again = page.ask("/run", "POST", {"key": key, "job": "shop"})  # which is the same
    assert page.get("/runs").count('href="/tasks/') == 1
    ends = time.monotonic() + PATIENCE
    while not begun.exists() or not begun.read_text():
        assert time.monotonic() < ends, page.get(again[1]["Location"])
    assert page.served.end()[0] == 143
    ends = time.monotonic() + PATIENCE
    while os.path.exists(f"/proc/{int(begun.read_text())}"):
        assert time.monotonic() < ends


# -- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "status", "reason"),
    [
        (["--dir", "nowhere"], 10, "the backup directory"),
        (["--dir", "backups", "--config", "dumpty.toml"], 2, "say one"),
        (["--dir", "backups", "--only-page"], 2, "say one"),
        (["--dir", "backups", "--key", "x"], 2, "--key goes with --certificate"),
        (["--certificate", "x"], 2, "--certificate goes with --port"),
        (["--dir", "backups", "--host", "0.0.0.0"], 2, "0.0.0.0 can be reached from elsewhere"),
        (["--dir", "backups", "--port", "0", "--certificate", "no.pem"], 1, "cannot answer by TLS with no.pem"),
    ],
)
def test_what_cannot_be_or_would_not_be_safe_is_refused(dumpty, configure, tmp_path, argv, status, reason):
    (tmp_path / "backups").mkdir(mode=0o700)
    result = dumpty("serve", *argv)
    assert (result.status, reason in result.err) == (status, True), result


@pytest.mark.parametrize("verb", [("serve",), ("report", "--html", "r.html")])
def test_without_the_extra_it_is_said_what_to_install(dumpty, make, shop, monkeypatch, tmp_path, verb):
    make(shop)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    result = dumpty(*verb, "--dir", "backups")
    assert (result.status, 'pip install "dumpty[web]"' in result.err) == (2, True), result
    assert not (tmp_path / "r.html").exists()
