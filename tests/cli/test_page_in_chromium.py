"""The page as people see it, in Chromium: found without a manual, by keyboard, on a phone, in the dark, without scripts."""

from __future__ import annotations

import contextlib
import re
import shlex
import sqlite3
import sys
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from playwright.sync_api import expect
from support.chromium import WIDTHS, findings
from support.history import age

from dumpty import BackupManager

TOKEN = "a-token-that-nobody-guesses"
HOSTILE = "<img src=x onerror=alert(1)>\"'&lt;"
PAGES = ("/", "/calendar", "/storage", "/runs")


@pytest.fixture
def site(serve, dumpty, configure, tmp_path):
    """A page of two jobs with a past: ``shop`` is well, ``blog`` failed last, and holds a table of a stranger's name."""
    with contextlib.closing(sqlite3.connect(tmp_path / "blog.db")) as connection, connection:
        name = HOSTILE.replace('"', '""')
        connection.execute(f'CREATE TABLE "{name}" (x)')
    configure('schedule = "30 2 * * *"\nmax_age = "26h"\nkeep = { daily = 7 }\n', jobs=("shop", "blog"))
    dumpty("run")
    for backup in BackupManager(tmp_path / "backups").list_backups():
        for n in range(1, 30):
            if n not in {5, 6}:
                day = datetime.now(UTC).replace(hour=2, minute=31) - timedelta(days=n)
                age(tmp_path / "backups", backup, day, grown=1 - n / 100, proof="restore" if n % 7 == 1 else None)
    (tmp_path / "blog.db").rename(tmp_path / "blog.away")
    dumpty("run", "blog")
    served = serve("--only-page", "--port", "0")
    said = served.said("page at http")
    return SimpleNamespace(url=re.search(r"page at (http://\S+)/,", said)[1], served=served)


def every_page(page, site):
    """Return the addresses of a page of each kind."""
    page.goto(site.url)
    database = page.get_by_role("row", name="blog").get_by_role("link").get_attribute("href")
    page.goto(site.url + database)
    backup = page.get_by_role("region", name="Backups").get_by_role("link").first.get_attribute("href")
    page.goto(f"{site.url}/runs")
    run = page.get_by_role("region", name="Runs").get_by_role("link").first.get_attribute("href")
    return [*PAGES, database, backup, run]


expect.set_options(timeout=30_000)  # as long as everything else of a page is waited for


def require_heading(page, text):
    """Wait until a page is there that has this heading."""
    expect(page.get_by_role("heading", level=1)).to_have_text(text, use_inner_text=True)


def test_a_broken_job_is_found_and_a_backup_restored_by_what_is_shown(site, visit, dumpty, tmp_path):
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    page.goto(site.url)
    found = page.get_by_role("region", name=re.compile("Somebody should look at 1 thing"))
    assert f"there is no database file {tmp_path}/blog.db" in found.inner_text()
    found.get_by_role("link", name="blog").click()
    require_heading(page, "blog failed")
    page.get_by_role("region", name="Backups").get_by_role("link").first.click()
    page.get_by_role("region", name="Restore it").get_by_role("button", name="Copy").click()
    page.get_by_role("button", name="Copied").wait_for()
    command = shlex.split(page.evaluate("navigator.clipboard.readText()"))
    assert dumpty(*command[1:]).status == 0
    with contextlib.closing(sqlite3.connect(tmp_path / "blog-restored.db")) as restored:
        assert restored.execute("SELECT count(*) FROM t").fetchone() == (200,)


@pytest.mark.parametrize(("width", "theme"), [*((width, "light") for width in WIDTHS), (1440, "dark")])
def test_nothing_keeps_people_from_using_it(site, visit, width, theme):
    # Its policy lets nothing be put into the page, as axe-core has to be.
    page = visit(width, theme, bypass_csp=True)
    for address in every_page(page, site):
        page.goto(site.url + address)
        assert (address, findings(page)) == (address, [])
        assert page.evaluate("document.documentElement.scrollWidth") <= width, address
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground))) < 380) == (theme == "dark")


def test_nothing_is_asked_of_anybody_else_and_a_strangers_names_do_nothing(site, visit):
    page = visit()
    for address in every_page(page, site):
        page.goto(site.url + address)
    assert {url.partition("/")[2].partition("/")[2].partition("/")[0] for url in page.asked} == {site.url[7:]}
    page.goto(site.url + next(url for url in every_page(page, site) if "/backups/" in url))
    assert page.get_by_role("rowheader", name=HOSTILE).count() == 1
    assert page.locator("img").count() == 0


def test_without_scripts_all_is_there(site, visit):
    page = visit(java_script_enabled=False)
    page.goto(site.url)
    page.get_by_role("navigation", name="Pages of dumpty").get_by_role("link", name="Calendar").click()
    expect(page.locator("rect.gap")).to_have_count(4)  # a click does not wait for what it leads to
    page.get_by_role("link", name="shop").click()
    expect(page.get_by_role("img", name=re.compile(r"^Rows of 28 backups"))).to_have_count(1)
    page.get_by_role("button", name="Look again").click()
    require_heading(page, "shop ok")
    page.goto(site.url)
    page.get_by_label("Find").fill("blo")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_role("rowheader")).to_have_text(["blog"], use_inner_text=True)


def test_times_are_of_the_readers_zone_where_that_is_asked_for(site, visit):
    page = visit(timezone_id="Asia/Tokyo")
    page.goto(f"{site.url}/calendar")
    page.get_by_role("link", name="shop").click()
    cell = page.get_by_role("region", name="Backups").get_by_role("rowheader").nth(1)
    assert cell.inner_text().endswith("02:31Z")
    page.get_by_role("button", name="Show local time").click()
    assert cell.inner_text().endswith("11:31")
    assert "Asia/Tokyo" in page.locator("footer").inner_text()
    page.reload()
    assert cell.inner_text().endswith("11:31")  # it is remembered
    page.get_by_role("button", name="Show UTC").click()
    assert cell.inner_text().endswith("02:31Z")


def test_by_keyboard_the_content_is_two_keys_away(site, visit):
    page = visit()
    page.goto(site.url)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('main').contains(document.activeElement)")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"


def test_a_run_that_goes_on_is_followed_until_it_has_ended(serve, configure, visit, tmp_path):
    path = configure('schedule = "0 0 1 1 *"\n')
    end = tmp_path / "end"
    waits = f"import pathlib, time\\nwhile not pathlib.Path('{end}').exists(): time.sleep(0.05)\\nprint('sqlite:///{tmp_path}/shop.db')"
    program = tmp_path / "url.py"
    program.write_text(waits.replace("\\n", "\n"))
    path.write_text(re.sub(r'"sqlite:.*"', f'"cmd:{sys.executable} {program}"', path.read_text()))
    served = serve("--port", "0")
    url = re.search(r"page at (http://\S+)/,", served.said("page at http"))[1]
    page = visit()
    page.goto(f"{url}/runs")
    page.get_by_role("button", name="Look again").click()
    page.get_by_role("cell", name="running").wait_for()
    end.touch()
    served.said("shop: ok")
    page.get_by_text("shop: ok: 1 of 1 database backed up").wait_for()  # nobody has reloaded it


def test_a_page_that_nobody_answers_any_more_says_so(serve, configure, visit):
    path = configure('schedule = "0 0 1 1 *"\n')
    path.write_text(re.sub(r'"sqlite:.*"', '"cmd:sleep 1000"', path.read_text()))
    served = serve("--port", "0")
    page = visit()
    page.goto(re.search(r"page at (http://\S+)/,", served.said("page at http"))[1] + "/runs")
    page.get_by_text("looking for databases").wait_for()
    served.end()
    page.get_by_role("status").get_by_text("could not be renewed").wait_for()
    page.wrong.clear()  # the browser says so, too


def test_the_token_is_asked_for_once_and_a_restore_is_then_a_click(site, serve, visit, monkeypatch, tmp_path):
    monkeypatch.setenv("TOKEN", TOKEN)
    served = serve("--dir", "backups", "--port", "0", "--token", "env:TOKEN")
    url = re.search(r"page at (http://\S+)/\n", served.said("page at http"))[1]
    page = visit(bypass_csp=True)
    page.goto(f"{url}/calendar")
    page.get_by_label("Access token").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    assert "That is not the token" in page.get_by_role("alert").inner_text()
    [refused] = page.wrong
    assert "403" in refused
    page.wrong.clear()
    assert findings(page) == []
    page.get_by_label("Access token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    require_heading(page, "Databases")
    backup = next(address for address in every_page(page, SimpleNamespace(url=url)) if "/backups/" in address)
    for address in ("/runs", backup):
        page.goto(url + address)
        assert (address, findings(page)) == (address, [])
    page.get_by_label("New name").fill("blog_beside")
    page.get_by_role("button", name="Restore it into this new database").click()
    page.wait_for_url("**/tasks/*")
    page.locator("h1 .status.ok").wait_for()  # nobody has reloaded it
    assert (tmp_path / "blog_beside.db").exists()
    assert findings(page) == []
    page.get_by_role("button", name="Log out").click()
    page.goto(f"{url}/runs")
    assert page.get_by_label("Access token").count() == 1


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_report_is_read_from_a_file(site, visit, dumpty, tmp_path, theme):
    assert dumpty("report", "--html", "report.html").status == 0
    page = visit(390, theme, bypass_csp=True)
    page.goto(f"file://{tmp_path}/report.html")
    assert page.asked == [f"file://{tmp_path}/report.html"]
    assert findings(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert "there is no database file" in page.get_by_role("region", name="What somebody should look at").inner_text()
