"""The suites, small enough to run over many broken plugins."""

from __future__ import annotations

import hashlib
import itertools
import os

import pytest
from support.echo import Echo

from dumpty import Endpoint
from dumpty.testing import (
    CipherSuite,
    CompressorSuite,
    NotifierSuite,
    ReachablePlace,
    Recipient,
    RepositorySuite,
    StoreSuite,
    TransportSuite,
    VerifierSuite,
)
from dumpty.testing.stage import StageRules
from dumpty.testing.suite import Suite
from testing import broken_notifiers
from testing.breaks import ANY
from testing.jsonl_suite import JsonLinesSuite

numbers = itertools.count()

WITH_MANAGERS = ("test_every_verb_works_on_it", "test_what_was_damaged_is_never_restored")
"""The rules of a repository that take a manager with all its plugins each time."""


COSTLY = (
    "test_describe_brings_in_no_library",
    "test_describe_prints_nothing",
    "test_a_backup_is_made_and_verified",
    "test_a_backup_is_restored",
    "test_older_backups_are_left_alone",
    "test_an_unreachable_server_is_a_failed_result",
    "test_memory_stays_flat",
)
"""The rules of a driver that take a process, a repository, or a large database, each time."""


OF_ITS_DESCRIPTION = ("test_describe_brings_in_no_library", "test_describe_prints_nothing")
"""The rules of every plugin that take a fresh process."""


def may_break(plugin, rules):
    """Return whether a plugin may break any of the rules; one that is not said to be broken has to keep them."""
    broken = vars(type(plugin)).get("broken")
    return broken is None or bool({broken.rule, *broken.may_fail_too} & {*rules, *ANY})


def leave_out(suite, rules):
    """Take rules away from a suite of one plugin."""
    for name in rules:
        setattr(suite, name, None)


def rules_in_vain(plugin, suite):
    """Return the rules of which it says nothing whether a plugin breaks them: where it may break any, all but its own."""
    broken = vars(type(plugin)).get("broken")
    if broken is None or broken.may_fail_too != {*ANY}:
        return []
    return [name for name in dir(suite) if name.startswith("test_") and name != broken.rule]


class OneProcess:
    """A suite that starts no fresh process for a plugin whose description breaks no rule."""

    def __init_subclass__(cls, **keywords):
        super().__init_subclass__(**keywords)
        leave_out(cls, rules_in_vain(getattr(cls, "plugin", None), cls))

    @pytest.fixture(autouse=True)
    def _no_fresh_process(self, request):
        if request.function.__name__ in OF_ITS_DESCRIPTION and not may_break(self.plugin, OF_ITS_DESCRIPTION):
            self.unproved("what is broken here shows in one process")


class Drivers(JsonLinesSuite):
    items = 60

    def __init_subclass__(cls, **keywords):
        """Leave out what costs much and shows nothing; of a plugin that may fail anything, all but its own rule."""
        super().__init_subclass__(**keywords)
        leave_out(cls, rules_in_vain(cls.plugin, cls))
        leave_out(cls, [name for name in COSTLY if not may_break(cls.plugin, [name])])


class Compressors(OneProcess, CompressorSuite):
    large = 4 << 20
    memory = 3 << 20
    libraries = ("colorsys",)


class Ciphers(OneProcess, CipherSuite):
    libraries = ("colorsys",)

    def __init_subclass__(cls, **keywords):
        """Leave out what broken compressors prove, for both suites share it, and what takes seconds and shows nothing."""
        super().__init_subclass__(**keywords)
        broken = vars(type(cls.plugin)).get("broken")
        rule = "test_a_passphrase_seals_and_opens_and_another_one_does_not"
        if broken and broken.rule != rule:
            leave_out(cls, [rule])


for _name in {name for name in dir(CompressorSuite) if name.startswith("test_")} & set(dir(StageRules)) - set(
    dir(Suite)
):
    setattr(Ciphers, _name, None)


class Verifiers(OneProcess, VerifierSuite):
    large = 4 << 20
    memory = 1 << 20
    known = {b"abc": hashlib.sha256(b"abc").hexdigest()}  # noqa: RUF012 - never changed


class Notifiers(OneProcess, NotifierSuite):
    longest = 4000
    bound = 3.0
    patience = 2.0
    malformed = {"toypost://s3cret-word": "s3cret-word", "": ""}  # noqa: RUF012 - never changed

    @pytest.fixture
    def new_recipient(self):
        made = []

        def make(behaviour):
            made.append(broken_notifiers.Box(f"t0ken-{next(numbers)}", behaviour))
            box = made[-1]
            return Recipient(
                url=f"toypost://house/{box.token}",
                received=lambda: box.texts,
                contacts=lambda: box.contacts,
                leave=box.leave,
                secret="s3cret-of-twenty-four-characters" if self.signs else "",
                hidden=[box.token],
            )

        yield make
        for box in made:
            box.leave()


class Transports(OneProcess, TransportSuite):
    patience = 8.0  # a program of Python takes seconds to begin where many others work
    malformed = {"toyway://here?unknown=s3cret-word": "s3cret-word", "toyway://": ""}  # noqa: RUF012 - never changed

    @pytest.fixture
    def place(self):
        echo = Echo()
        yield ReachablePlace(
            url="toyway://here",
            echo=Endpoint(host="127.0.0.1", port=echo.port),
            silent=Endpoint(host="127.0.0.1", port=1),
            missing="toyway://missing",
            same=["toyway://user@here", "toyway://here?file=x"],
            others=["toyway://there"],
        )
        echo.close()


class Stores(OneProcess, StoreSuite):
    large = 4 << 20
    memory = 1 << 20
    many = 120
    contenders = 2

    @pytest.fixture(autouse=True)
    def no_flushing(self, monkeypatch):
        """No computer loses its power here, and many thousand objects are written."""
        monkeypatch.setattr(os, "fsync", lambda _: None)

    @pytest.fixture(autouse=True)
    def _rule(self, request):
        self.rule = request.function.__name__

    def _child(self, program, *arguments):
        if not may_break(self.plugin, [self.rule]):
            self.unproved("what is broken here shows in one process")
        return super()._child(program, *arguments)

    @pytest.fixture
    def store_url(self, tmp_path):
        return f"shelf://tester:s3cret@{tmp_path}/shelf"

    @pytest.fixture
    def denied(self):
        return self.plugin.place.denying

    @pytest.fixture
    def cut_off(self):
        return self.plugin.place.cutting_off

    @pytest.fixture
    def lost_answers(self):
        return self.plugin.place.losing_answers

    @pytest.fixture
    def stalled(self):
        return self.plugin.place.stalled


class Repositories(RepositorySuite):
    # The other kinds' broken plugins prove these, and each takes a process of its own.
    test_describe_brings_in_no_library = None
    test_describe_prints_nothing = None

    @pytest.fixture(autouse=True)
    def no_cache(self, monkeypatch):
        """What is in memory is far away for dumpty, which would remember each object in a file."""
        monkeypatch.setenv("XDG_CACHE_HOME", os.devnull)

    @pytest.fixture
    def repository_url(self):
        return f"vault://tester:s3cret@/{next(numbers)}"

    @pytest.fixture
    def damage(self, repository):
        return repository.damage

    def _manager(self, *arguments):
        if not may_break(self.plugin, WITH_MANAGERS):
            self.unproved("what is broken here shows without a manager")
        return super()._manager(*arguments)


SMALL = {
    "broken_stores": Stores,
    "broken_compressors": Compressors,
    "broken_ciphers": Ciphers,
    "broken_drivers": Drivers,
    "broken_repositories": Repositories,
    "broken_verifiers": Verifiers,
    "broken_notifiers": Notifiers,
    "broken_transports": Transports,
}
