"""Verifiers that break one rule each."""

from __future__ import annotations

import hashlib
import time

from dumpty import PluginInfo, hookimpl
from testing.breaks import breaks


class Digest:
    def __init__(self):
        self.state = hashlib.sha256()

    def update(self, data):
        self.state.update(data)

    def hexdigest(self):
        return self.state.hexdigest()


class GoodVerifier:
    """What the broken ones are made of."""

    digest = Digest
    name = "toydigest"

    @hookimpl
    def describe(self):
        return PluginInfo(kind="verifier", summary="a toy")

    @hookimpl
    def verify(self):
        return self.digest()


@breaks("test_the_digest_is_lower_case_hexadecimal", "test_known_inputs_have_their_published_digests")
class UpperCase(GoodVerifier):
    class digest(Digest):
        def hexdigest(self):
            return super().hexdigest().upper()


@breaks(
    "test_chunks_of_any_size_and_type_make_no_difference",
    "test_asking_changes_nothing",
    "test_known_inputs_have_their_published_digests",
    "test_several_digests_at_once_do_not_mix",
    "test_a_backup_keeps_its_digest",
)
class DigestsTheLengthOfEachPiece(GoodVerifier):
    class digest(Digest):
        def update(self, data):
            super().update(b"%d" % len(data))
            super().update(data)


@breaks("test_chunks_of_any_size_and_type_make_no_difference", "test_a_backup_keeps_its_digest")
class TakesBytesAlone(GoodVerifier):
    class digest(Digest):
        def update(self, data):
            super().update(b"" + data if isinstance(data, (bytes, bytearray)) else data.upper())


@breaks("test_a_buffer_is_the_callers_again_after_the_update")
class KeepsBuffers(GoodVerifier):
    class digest(Digest):
        def __init__(self):
            super().__init__()
            self.last_buffer = b""

        def update(self, data):
            super().update(self.last_buffer)
            self.last_buffer = data

        def hexdigest(self):
            state = self.state.copy()
            state.update(self.last_buffer)
            return state.hexdigest()


@breaks(
    "test_every_accumulator_is_fresh",
    "test_the_digest_is_lower_case_hexadecimal",
    "test_chunks_of_any_size_and_type_make_no_difference",
    "test_a_buffer_is_the_callers_again_after_the_update",
    "test_any_difference_changes_the_digest",
    "test_asking_changes_nothing",
    "test_known_inputs_have_their_published_digests",
    "test_several_digests_at_once_do_not_mix",
    "test_a_backup_keeps_its_digest",
)
class OneForAll(GoodVerifier):
    def __init__(self):
        self.shared_digest = Digest()

    @hookimpl
    def verify(self):
        return self.shared_digest


@breaks("test_any_difference_changes_the_digest", "test_known_inputs_have_their_published_digests")
class IgnoresZeros(GoodVerifier):
    class digest(Digest):
        def update(self, data):
            super().update(bytes(data).replace(b"\0", b""))


@breaks("test_asking_changes_nothing")
class FinishesWhenAsked(GoodVerifier):
    class digest(Digest):
        def hexdigest(self):
            digest = super().hexdigest()
            self.state.update(b"finished")
            return digest


@breaks("test_known_inputs_have_their_published_digests")
class AnotherAlgorithm(GoodVerifier):
    class digest(Digest):
        def __init__(self):
            self.state = hashlib.sha3_256()


@breaks("test_memory_stays_flat")
class KeepsEverything(GoodVerifier):
    class digest(Digest):
        def __init__(self):
            self.data = bytearray()

        def update(self, data):
            self.data += data

        def hexdigest(self):
            return hashlib.sha256(self.data).hexdigest()


@breaks("test_several_digests_at_once_do_not_mix")
class NoticesOtherThreads(GoodVerifier):
    """Two updates at the same time get into each other's way."""

    def __init__(self):
        self.busy = 0

    @hookimpl
    def verify(self):
        plugin = self

        class Counting(Digest):
            def update(self, data):
                if plugin.busy and len(data) == 100_000:
                    super().update(b"somebody else was here")
                plugin.busy += 1
                time.sleep(0.01 if len(data) == 100_000 else 0)
                super().update(data)
                plugin.busy -= 1

        return Counting()


@breaks("test_a_backup_keeps_its_digest")
class TakesAnInstalledName(GoodVerifier):
    name = "sha256"
