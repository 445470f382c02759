"""What README and manual say is so: links, options, tables, names of tests, the reference and the picture."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from support import reference
from support.pages import MANUAL, PAGES, README, TOP, manual

import dumpty
from dumpty.cli import main


def test_the_readme_is_an_introduction_with_both_commands_of_a_fresh_machine():
    text = README.read_text()
    assert len(text.splitlines()) < 150
    assert "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/dumpty demo\n" in text
    assert "\nsh tests/run.sh\n" in text
    for page in manual():
        assert f"core/dumpty/manual/{page.name})" in text, page.name


def test_the_readmes_picture_shows_what_a_drill_says_now(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(TOP / "tests" / "bench"))
    import drill_picture

    def words(svg: str) -> list[str]:
        texts = [text.replace("\xa0", " ").strip() for text in ET.fromstring(svg).itertext()]
        return [re.sub(r"^[0-9a-f]{8}|\d\S*", "", text) for text in texts if text]

    drawn = words(drill_picture.draw(drill_picture.lines()))
    assert words(drill_picture.PICTURE.read_text()) == drawn, "draw it anew: python tests/bench/drill_picture.py"


def test_every_page_is_a_topic_of_help_in_its_place():
    from dumpty.cli.commands import help as help_pages

    assert {path.stem for path in manual()} <= set(help_pages._ORDER)


def test_the_house_on_one_page_has_every_wing_of_the_core():
    table = (TOP / "CONTRIBUTING.md").read_text().partition("| Wing ")[2].partition("\n\n")[0]
    core = TOP / "core" / "dumpty"
    wings = {path.parent.name for path in core.glob("*/__init__.py")}
    assert {wing for wing in wings if f"`{wing}`" not in table} == set()


def test_every_file_that_the_house_on_one_page_names_is_there():
    core = TOP / "core" / "dumpty"
    table = (TOP / "CONTRIBUTING.md").read_text().partition("| Wing ")[2].partition("\n\n")[0]
    named = [
        (row.split("`")[1], path) for row in table.splitlines() for path in re.findall(r"`([\w/]+(?:\.py|/))`", row)
    ]
    missing = [path for wing, path in named if not (core / wing / path).exists() and not (core / path).exists()]
    assert len(named) > 7
    assert missing == []


def test_every_link_of_a_page_leads_to_a_file_and_a_heading():
    for path in PAGES.values():
        text = re.sub(r"(?ms)^```.*?^```$", "", path.read_text())
        for target, _, heading in re.findall(r"\]\(([^)#\s]*)(#?)([^)\s]*)\)", text):
            if "://" not in target:
                linked = (path.parent / target) if target else path
                assert linked.exists(), f"{path.name}: {target}"
                headings = re.findall(r"(?m)^#+ (.*)$", linked.read_text()) if heading else []
                anchors = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
                assert not heading or heading in anchors, f"{path.name}: {target}#{heading}"


def test_every_option_and_verb_that_a_page_names_exists(capsys):
    """What stands in text, not in a block: `--option` and `dumpty VERB`."""
    from dumpty.cli import app
    from dumpty.pytest_plugin import plugin

    helps = dict.fromkeys(
        [
            *("", *app.VERBS, "plugins", "plugins new", "plugins check", "keys", "keys new", "keys show", "keys check"),
            *("config", "config init", "config check", "config show"),
            *("schedule", "schedule systemd", "schedule cron", "notify", "notify test"),
        ],
        "",
    )
    for name in helps:
        main([*name.split(), "--help"])
        helps[name] = capsys.readouterr().out
    options = {o for text in helps.values() for o in re.findall(r"--[a-z-]+", text)}
    foreign = {"--fast", "--full", "--growth", "--fixed", "--small"}
    options |= {f"--dumpty-{name}" for name, *_ in (*plugin.SETTINGS, *plugin.LISTS)}  # pytest's
    for path in PAGES.values():
        text = re.sub(r"(?ms)^```.*?^```$", "", path.read_text())
        for code in re.findall(r"`([^`\n]+)`", text):
            for verb in re.findall(r"^dumpty ([a-z]+)\b", code):
                assert verb in helps, f"{path.name}: {code}"
            for option in re.findall(r"(?<!\S)(--[a-z-]+)", code):
                assert option in options | foreign, f"{path.name}: {code}"


def test_the_reference_says_what_hooks_and_types_say():
    expected = reference.page()
    command = "python tests/support/reference.py"
    assert (MANUAL / "reference.md").read_text() == expected, f"write it anew: {command}"
    facades = ("dumpty.backup", "dumpty.operations", "dumpty.repository", "builtins")
    for name in set(dumpty.__all__) - {"hookimpl", "__version__"}:
        home = getattr(getattr(dumpty, name), "__module__", "dumpty.types")
        assert home.startswith(facades) or re.search(rf"(?m)^(### |- `){name}\b", expected), name


def test_the_table_of_plugins_is_complete():
    from dumpty.registry.host import Host

    table = re.findall(r"^\| `(\w+)` \| (\w+) \|", (MANUAL / "databases.md").read_text(), re.MULTILINE)
    assert set(table) == {(p.name, p.kind) for p in Host().plugins() if p.distribution == "dumpty"}


def test_every_exit_status_is_on_the_page_of_schedules():
    from dumpty.cli import status

    section = (MANUAL / "schedules.md").read_text().partition("## Exit status\n")[2].partition("\n## ")[0]
    said = {int(number) for number in re.findall(r"\b\d+\b", section)}
    assert said == {0, 129, 130, 143, status.FAILED} | {value for _, value in status.TABLE}


def test_every_test_that_a_promise_names_exists():
    promises = re.split(r"(?m)^- ", (MANUAL / "promises.md").read_text().partition("\n## ")[0])[1:]
    assert len(promises) >= 10
    for promise in promises:
        tests = re.findall(r"^  - `([\w/]+\.py)::(\w+)`$", promise, re.MULTILINE)
        assert tests, promise
        for path, name in tests:
            text = (TOP / "tests" / path).read_text()
            assert re.search(rf"^\s*def {name}\(", text, re.MULTILINE), (path, name)
