"""Accounts: up to which offset each stage has done its work, and the wire format of the accounts topic.

The topic is compacted and holds three kinds of records, told apart by their key: how far a stage has come in one
partition of a topic, a loss that a person has accepted, and an adoption: records that have other offsets now. It has
one partition: of two of its records, the later one was written knowing the other.
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Final, NamedTuple

from msgspec import Meta, Struct
from msgspec.json import Decoder

from attendance.times import format_milliseconds
from attendance.wire import KeyedRecord, Milliseconds, Offset, Partition, Text, decode_json, encode_json


class AccountKey(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="account"):
    """The key of an account: `["account", stage, topic, partition]`."""

    stage: str
    topic: str
    partition: int


class LossKey(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="accepted_loss"):
    """The key of an accepted loss: `["accepted_loss", topic, partition, first, at]`."""

    topic: str
    partition: int
    first: int
    at: str


class AdoptionKey(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="adoption"):
    """The key of an adoption: `["adoption", at]`."""

    at: str


class Fingerprint(NamedTuple):
    """By what a partition of a topic is known again: one of its records.

    A topic that was made anew, or was cut short and has grown again, has another record at that offset, or none. The
    id that Kafka gives a topic would say less: it stays the same where a log is cut short, it is another after a copy
    that keeps every offset, and brokers before 2.8 have none.
    """

    offset: Offset
    timestamp: int
    """As the record has it, in milliseconds since 1970; -1 where that is not known, as after an adoption."""
    digest: str
    """The first 128 bits of SHA-256 over the record's key and value, in hexadecimal."""


class Account(KeyedRecord, frozen=True):
    """A stage has done its work for every record of a partition from `first` up to and without `through`.

    Each stage writes its own, about once a minute and when it stops, where it has committed `through`. `identity` is
    the last record before `through` that could be read; None where there was none. `end` is where the partition ended
    at the time `at`, None where that is not known.
    """

    what: ClassVar[str] = "an account"
    in_key: ClassVar[Sequence[str]] = ("stage", "topic", "partition")

    stage: Text
    topic: Text
    partition: Partition
    first: Offset
    through: Offset
    at: Milliseconds
    identity: Fingerprint | None = None
    end: Offset | None = None

    @property
    def key(self) -> bytes:
        """The record key."""
        return encode_json(AccountKey(self.stage, self.topic, self.partition))


class AcceptedLoss(KeyedRecord, frozen=True):
    """A person has accepted that records of a partition are lost: stages that lack them go on at `through`.

    `first` is the lowest offset that is lost. `records` is how many are lost at most; where the partition was `anew`
    (made anew, or cut short), how many are known of. `by` is the operating system's user, `note` what they say of it.
    It holds for a stage whose account is older than it on the accounts topic.
    """

    what: ClassVar[str] = "an accepted loss"
    in_key: ClassVar[Sequence[str]] = ("topic", "partition", "first", "at")

    topic: Text
    partition: Partition
    first: Offset
    through: Offset
    records: Annotated[int, Meta(ge=0)]
    at: Milliseconds
    by: Text
    note: Text
    anew: bool = False

    @property
    def key(self) -> bytes:
        """The record key."""
        return encode_json(LossKey(self.topic, self.partition, self.first, format_milliseconds(self.at)))


class Moved(NamedTuple):
    """Records of a partition that followed each other, from `first` up to and without `through`, begin at `now`."""

    topic: Text
    partition: Partition
    first: Offset
    through: Offset
    now: Offset


class Ended(NamedTuple):
    """A partition ended at `offset` when it was adopted: what is written before that names places as they were.

    `last` is the digest of its last record, as in a `Fingerprint`, by which a later adoption finds that place again.
    """

    topic: Text
    partition: Partition
    offset: Offset
    last: str | None = None


class Adoption(KeyedRecord, frozen=True):
    """A person has had Punchstream go on with topics whose records have other offsets now, as after a restore.

    What was before and is in none of `moved` is not there any more. `by` is the operating system's user, `note` what
    they say of it. `ended` has the partitions of the topics that name places, `missing` is how many records of those
    that were known of are not there. `earlier` has for each adoption before this one, in order, where its `ended` are
    by the offsets of this one.
    """

    what: ClassVar[str] = "an adoption"
    in_key: ClassVar[Sequence[str]] = ("at",)

    at: Milliseconds
    by: Text
    note: Text
    moved: tuple[Moved, ...] = ()
    ended: tuple[Ended, ...] = ()
    missing: Annotated[int, Meta(ge=0)] = 0
    earlier: tuple[tuple[Ended, ...], ...] = ()

    @property
    def key(self) -> bytes:
        """The record key."""
        return encode_json(AdoptionKey(format_milliseconds(self.at)))

    def encode(self) -> bytes:
        """The record value: JSON in UTF-8. The fields that came later are left out where they say nothing."""
        value = super().encode()
        has_more = self.ended or self.missing or self.earlier
        return value if has_more else value.removesuffix(b',"ended":[],"missing":0,"earlier":[]}') + b"}"


def decode(key: bytes | None, value: bytes | None) -> Account | AcceptedLoss | Adoption:
    """What a record of the topic says, as `key` and `encode` wrote it.

    Raises:
        InvalidRecord: It is something else (`undecodable_record`).
    """
    match decode_key(key):
        case AccountKey(stage, topic, partition):
            return Account.decode_value(value, stage=stage, topic=topic, partition=partition)
        case LossKey(topic, partition, first, at):
            return AcceptedLoss.decode_value(value, topic=topic, partition=partition, first=first, at=at)
        case AdoptionKey(at):
            return Adoption.decode_value(value, at=at)


def decode_key(key: bytes | None) -> AccountKey | LossKey | AdoptionKey:
    """What a record of the topic is about.

    Raises:
        InvalidRecord: Nothing that is known (`undecodable_record`).
    """
    about: AccountKey | LossKey | AdoptionKey = decode_json(_KEY, key, "a key of the accounts topic")
    return about


_KEY: Final = Decoder(AccountKey | LossKey | AdoptionKey)
