"""What stages have accounted for, what is missing, and where a stage may begin. Loads no Kafka library.

A stage that would begin anywhere else than where it ended has lost records, or would skip some. It begins only where it
is certain that it skips none, or where a person said so (`punchstream topics accept-loss`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple, Protocol

import structlog

from attendance.adoptions import Moves, account_now
from attendance.errors import InvalidRecord
from attendance.kafka.records import KeyValue
from attendance.records.account import (
    AcceptedLoss,
    Account,
    AccountKey,
    Adoption,
    Fingerprint,
    LossKey,
    decode,
    decode_key,
)

log = structlog.get_logger(__name__)


class AccountRecord(KeyValue, Protocol):
    """A record of the accounts topic."""

    @property
    def offset(self) -> int:
        """Where it is."""


class Identified(KeyValue, Protocol):
    """A record by which a partition can be known again."""

    @property
    def offset(self) -> int:
        """Where it is."""

    @property
    def timestamp(self) -> int:
        """In milliseconds since 1970."""


def fingerprint(record: Identified) -> Fingerprint:
    """By what a partition is known again.

    Args:
        record: One of its records.
    """
    return Fingerprint(record.offset, record.timestamp, digest(record.key, record.value))


def is_fingerprint_of(identity: Fingerprint, record: Identified) -> bool:
    """Whether a partition is known again by a record.

    Args:
        identity: What an account has.
        record: What is at that offset now.
    """
    found = fingerprint(record)
    return found == identity or (identity.timestamp == -1 and found._replace(timestamp=-1) == identity)


def digest(key: bytes | None, value: bytes | None) -> str:
    """That of a `Fingerprint`."""
    key = key or b""
    return sha256(len(key).to_bytes(4) + key + (value or b"")).hexdigest()[:32]


class Accounts:
    """The accounts topic in memory, fed record by record."""

    def __init__(self) -> None:
        self._accounts: dict[AccountKey, tuple[int, Account]] = {}
        self._losses: dict[tuple[str, int], tuple[int, AcceptedLoss]] = {}
        self._adoptions: dict[bytes, tuple[int, Adoption]] = {}
        self._moves = Moves()

    def learn(self, record: AccountRecord) -> None:
        """Take in one record; one that cannot be read is logged and ignored."""
        try:
            if record.value is None:
                match decode_key(record.key):
                    case AccountKey() as about:
                        self._accounts.pop(about, None)
                    case LossKey(topic, partition):
                        self._losses.pop((topic, partition), None)
                return
            self.add(decode(record.key, record.value), record.offset)
        except InvalidRecord as error:
            log.error("Ignoring a record of accounts that cannot be read.", key=record.key, error=error.message)

    def add(self, found: Account | AcceptedLoss | Adoption, offset: int) -> None:
        """Take in what a record says.

        Args:
            found: What it says.
            offset: Where it is on the accounts topic.
        """
        match found:
            case Account():
                self._accounts[AccountKey(found.stage, found.topic, found.partition)] = (offset, found)
            case AcceptedLoss():
                self._losses[found.topic, found.partition] = (offset, found)
            case Adoption():
                self._adoptions[found.key] = (offset, found)
                self._moves = Moves(self.adoptions)

    def account(self, stage: str, topic: str, partition: int) -> Account | None:
        """What a stage has accounted for of a partition, by the offsets of today; None where that is not known."""
        found = self._accounts.get(AccountKey(stage, topic, partition))
        if found is None:
            return None
        written, account = found
        return account_now(account, (adoption for at, adoption in self._adoptions.values() if at > written))

    def accepted(self, stage: str, topic: str, partition: int) -> AcceptedLoss | None:
        """The newest loss in a partition that was accepted since a stage wrote its account; None where there is none.

        An older one may have been about other records of that name, before the topic was made anew.
        """
        written, _ = self._accounts.get(AccountKey(stage, topic, partition), (-1, None))
        accepted, loss = self._losses.get((topic, partition), (-1, None))
        adopted = max((at for at, _ in self._adoptions.values()), default=-1)
        return loss if accepted > max(written, adopted) else None

    @property
    def all(self) -> Iterable[Account]:
        """Every account, of every stage."""
        return (account for _, account in self._accounts.values())

    @property
    def adoptions(self) -> Sequence[Adoption]:
        """Every adoption, in the order of the topic."""
        return tuple(adoption for _, adoption in self._adoptions.values())

    @property
    def moves(self) -> Moves:
        """Where records are now, by the adoptions."""
        return self._moves


class Partition(NamedTuple):
    """One partition of a topic, as a stage reads it."""

    stage: str
    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}:{self.number}"


class Found(NamedTuple):
    """What the broker has of a partition now."""

    first: int
    """The offset of the first record that is there."""
    end: int
    """The offset that the next record will have."""
    is_same: bool | None = None
    """Whether it has the record of the account's fingerprint. None where there is no fingerprint, or retention has
    removed that record."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Records that a stage has not accounted for, and that are gone.

    Attributes:
        of: Of which partition, and for which stage.
        first: The lowest offset that is missing.
        through: From where the stage could go on.
        records: How many are missing; where the partition is anew, how many are known of.
        anew: Whether the partition was made anew or cut short: its offsets are of other records than before.
    """

    of: Partition
    first: int
    through: int
    records: int
    anew: bool

    def __str__(self) -> str:
        command = f"`punchstream topics accept-loss {self.of} --through {self.through} --note TEXT`"
        if self.anew:
            known = f"At least {self.records} records that it had not read are gone. " if self.records else ""
            return (
                f"{self.of} was made anew or cut short: {self.of.stage} has done its work up to offset {self.first}, "
                f"and the record before that is not there. {known}{command} has it begin at offset {self.through}, "
                "without what is gone."
            )
        return (
            f"{self.records} records of {self.of} are gone that {self.of.stage} has not read, offsets {self.first} to "
            f"{self.through - 1}. {command} has it go on without them."
        )


def begin(
    of: Partition, committed: int | None, account: Account | None, accepted: AcceptedLoss | None, found: Found
) -> int | Missing:
    """Where a stage begins in a partition, or what is missing before it could.

    Where nothing is committed (Kafka forgets the offsets of a group that is away for long), it goes on where its
    account ends, if that is certain. If it is not, it begins with the first record: what it has done already it does
    again, which changes nothing.

    Args:
        of: The stage and the partition.
        committed: The offset that it has committed, or is at; None where there is none.
        account: What it has accounted for.
        accepted: A loss that was accepted since.
        found: What the broker has.
    """
    missing = _missing(of, committed, account, found)
    if missing is not None and accepted is not None and accepted.anew == missing.anew:
        committed, account = accepted.through, None
        found = found._replace(is_same=None)
        missing = _missing(of, committed, account, found)
    if missing is not None:
        return missing
    if committed is not None:
        return max(committed, found.first)
    if account is not None and (found.is_same or account.through <= found.first):
        return max(account.through, found.first)
    return found.first


def _missing(of: Partition, committed: int | None, account: Account | None, found: Found) -> Missing | None:
    through = None if account is None else account.through
    done = max((each for each in (committed, through) if each is not None), default=None)
    if done is None:
        return None
    if found.is_same is False or done > found.end:
        known = 0 if account is None or account.end is None else account.end - account.through
        return Missing(of, done, found.first, max(0, known), anew=True)
    if done < found.first:
        return Missing(of, done, found.first, found.first - done, anew=False)
    return None
