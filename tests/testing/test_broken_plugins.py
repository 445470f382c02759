"""Every rule of every suite is proved by a plugin that breaks it, and is caught, by that rule's name."""

from __future__ import annotations

import concurrent.futures
import functools

import pytest

from dumpty.testing.suite import Suite
from testing import caught
from testing.suites import SMALL

MODULES = tuple(SMALL)


@functools.cache
def all_results():
    """Run the suites over all broken plugins, two pytests at a time."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return dict(zip(MODULES, pool.map(caught.run, MODULES), strict=True))


def results(module):
    return all_results()[module]


def every_plugin():
    return [
        pytest.param(module, name, broken_rule, id=name)
        for module in MODULES
        for name, broken_rule in caught.plugins(module).items()
    ]


@pytest.mark.parametrize(("module", "name", "broken_rule"), every_plugin())
def test_a_broken_plugin_is_caught_by_the_test_of_its_rule(module, name, broken_rule):
    failed = results(module)[name]
    assert broken_rule.rule in failed
    assert broken_rule.allows(failed)
    assert not failed[broken_rule.rule].startswith(("TypeError", "AttributeError", "NameError", "KeyError")), failed


@pytest.mark.parametrize("module", MODULES)
def test_every_test_of_a_suite_catches_a_broken_plugin(module):
    suite_tests = caught.tests_of(SMALL[module]) - caught.tests_of(Suite)
    suite_tests |= {test for tests in SMALL[module].claims.values() for test in tests}
    assert suite_tests - {broken_rule.rule for broken_rule in caught.plugins(module).values()} == set()


def test_every_test_that_all_suites_share_catches_a_broken_plugin():
    rules = {broken_rule.rule for module in MODULES for broken_rule in caught.plugins(module).values()}
    assert caught.tests_of(Suite) - rules == set()
