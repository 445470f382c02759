"""Chromium, Debian's, without a window: a page as people see it; and axe-core, which finds what keeps them from using it."""

from __future__ import annotations

import importlib.resources
import os
import shutil

import pytest

WIDTHS = (390, 820, 1440)
"""A phone, a tablet, a wide screen: pixels."""


@pytest.fixture(scope="module")
def chromium():
    """A browser. Playwright's own loop runs in this thread while it is there, so it is there for one module alone."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium")
    if path is None:
        pytest.fail("the tests of the page need Chromium: apt-get install -y --no-install-recommends chromium")
    # Its sandbox needs another user than root.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*arguments, "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium):
    """Open pages in a profile of their own: ``visit(width=…, theme=…, …)``; what goes wrong in one fails the test."""
    contexts, wrong = [], []

    def visit(width=1440, theme="light", **options):
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=theme, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: wrong.append(message.text) if message.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(f"a dialog: {dialog.message}"))
        page.asked, page.wrong = [], wrong
        page.on("request", lambda request: page.asked.append(request.url))
        return page

    yield visit
    for context in contexts:
        context.close()
    assert wrong == []


def findings(page):
    """Return what axe-core finds (https://github.com/dequelabs/axe-core), each rule with the elements that break it."""
    page.evaluate((importlib.resources.files("axe_playwright_python") / "axe.min.js").read_text())
    found = page.evaluate("axe.run()")
    assert len(found["passes"]) > 10  # it has looked
    return [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found["violations"]]
