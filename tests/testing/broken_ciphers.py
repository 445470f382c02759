"""Ciphers that break one rule each."""

from __future__ import annotations

import random
import threading

import pyrage

from dumpty import (
    IdentityError,
    IntegrityError,
    KeyPair,
    OptionError,
    PluginInfo,
    TransformingWriter,
    hookimpl,
)
from dumpty_plugins import age
from testing.breaks import ANY, breaks


class Toy:
    """The built-in cipher, in small methods for the broken ones to override. It keeps every rule."""

    name = "toycipher"

    @hookimpl
    def describe(self):
        return PluginInfo(kind="cipher", suffix=".age")

    @hookimpl
    def encrypt(self, sink, recipients):
        return self.writer(sink, recipients)

    @hookimpl
    def decrypt(self, stream, identities):
        return self.reader(stream, identities)

    @hookimpl
    def new_identity(self):
        return self.pair()

    def writer(self, sink, recipients):
        return age.encrypt(sink, recipients)

    def reader(self, stream, identities):
        return age.decrypt(stream, identities)

    def pair(self):
        return age.new_identity()


class Around:
    """A reader or writer around another one."""

    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)


@breaks("test_the_hooks_of_its_kind_are_implemented", *ANY)
class NoDecrypt(Toy):
    decrypt = None


@breaks(
    "test_each_of_several_recipients_opens_it_alone",
    "test_the_header_is_that_of_an_age_file_and_names_every_recipient",
    "test_a_recipient_that_is_none_is_an_option_error",
)
class EncryptsToTheFirstAlone(Toy):
    def writer(self, sink, recipients):
        return super().writer(sink, recipients[:1])


@breaks("test_each_of_several_recipients_opens_it_alone")
class TriesTheFirstIdentityAlone(Toy):
    def reader(self, stream, identities):
        return super().reader(stream, identities[:1])


@breaks("test_another_identity_is_told_and_opens_nothing")
class CallsAnothersKeyDamage(Toy):
    def reader(self, stream, identities):
        class Reader(Around):
            def read(self, size=-1):
                try:
                    return self.inner.read(size)
                except IdentityError as error:
                    raise IntegrityError("the stream is damaged") from error

        return Reader(super().reader(stream, identities))


MASTER = age.new_identity()


@breaks("test_the_header_is_that_of_an_age_file_and_names_every_recipient", "test_a_backup_goes_through_it_and_back")
class LetsAnotherReadAlong(Toy):
    def writer(self, sink, recipients):
        return super().writer(sink, [*recipients, MASTER.recipient])


class Rot(Toy):
    """A format of its own."""

    def writer(self, sink, recipients):
        return TransformingWriter(sink, self.turn)

    def reader(self, stream, identities):
        class Reader:
            def read(self, size=-1):
                return bytes(255 - byte for byte in stream.read(size))

            def close(self):
                pass

        return Reader()

    @staticmethod
    def turn(source, target):
        while block := source.read(8192):
            target.write(bytes(255 - byte for byte in block))


@breaks("test_any_age_reads_what_it_writes_and_it_reads_any_age_file", *ANY)
class HasAFormatOfItsOwn(Rot):
    pass


@breaks("test_nothing_of_what_was_written_is_in_the_output", *ANY)
class EncryptsNothing(Rot):
    @staticmethod
    def turn(source, target):
        while block := source.read(8192):
            target.write(block)


@breaks("test_a_recipient_that_is_none_is_an_option_error")
class FindsAMistypedRecipientLater(Toy):
    def writer(self, sink, recipients):
        def transform(source, target):
            try:
                keys = [pyrage.x25519.Recipient.from_str(r.text) for r in recipients]
            except pyrage.RecipientError as error:
                raise OptionError("it is mistyped") from error
            pyrage.encrypt_io(source, target, keys)

        return TransformingWriter(sink, transform)


@breaks("test_a_recipient_that_is_none_is_an_option_error")
class LeavesAMistypedRecipientOut(Toy):
    def writer(self, sink, recipients):
        return super().writer(sink, [r for r in recipients if self.is_one(r)])

    def is_one(self, recipient):
        try:
            pyrage.x25519.Recipient.from_str(recipient.text)
        except pyrage.RecipientError:
            return False
        return True


@breaks("test_an_identity_that_is_none_is_told_without_showing_it")
class ShowsAnIdentity(Toy):
    def reader(self, stream, identities):
        try:
            return super().reader(stream, identities)
        except IdentityError as error:
            raise IdentityError(f"{identities[0].text} is mistyped") from error


@breaks("test_an_identity_that_is_none_is_told_without_showing_it")
class LetsTheLibrarysErrorOut(Toy):
    def reader(self, stream, identities):
        try:
            return super().reader(stream, identities)
        except IdentityError as error:
            raise error.__cause__ from None


@breaks("test_what_is_abandoned_midway_leaves_no_thread")
class LeavesItsThread(Toy):
    def writer(self, sink, recipients):
        class Writer(Around):
            def abandon(self):
                threading.Thread(target=threading.Event().wait, daemon=True).start()
                self.inner.abandon()

        return Writer(super().writer(sink, recipients))


@breaks("test_a_new_identity_opens_what_is_encrypted_to_its_recipient", *ANY)
class MakesHalvesThatDoNotBelongTogether(Toy):
    def pair(self):
        return KeyPair(recipient=super().pair().recipient, identity=super().pair().identity)


@breaks("test_a_new_identity_opens_what_is_encrypted_to_its_recipient", *ANY)
class MakesTheSameKeyAgain(Toy):
    def pair(self):
        return MASTER


@breaks("test_a_passphrase_seals_and_opens_and_another_one_does_not")
class CallsAnotherPassphraseDamage(Toy):
    def writer(self, sink, recipients):
        if recipients[0].kind != "scrypt":
            return super().writer(sink, recipients)
        self.passphrase = recipients[0].text  # scrypt takes a second
        return super().writer(sink, [MASTER.recipient])

    def reader(self, stream, identities):
        if identities[0].kind != "scrypt":
            return super().reader(stream, identities)
        if identities[0].text != self.passphrase:
            raise IntegrityError("the stream is damaged")
        return super().reader(stream, [MASTER.identity])


@breaks("test_a_backup_goes_through_it_and_back", *ANY)
class TakesAnInstalledName(Toy):
    name = "age"

    @hookimpl
    def describe(self):
        return PluginInfo(kind="cipher", suffix=".age", summary=str(random.random()))
