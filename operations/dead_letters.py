"""Dead letters: what failed and why, and what became of it.

Nothing is ever changed or removed. What was done is a record of the dead-letter-actions topic, and the state of a
letter follows from those.
"""

from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Self

from msgspec.structs import replace

from attendance.adoptions import Moves
from attendance.errors import InvalidRecord, Reason
from attendance.kafka.records import Record
from attendance.records.checkin import Checkin
from attendance.records.dead_letter import DeadLetter
from attendance.records.dead_letter_action import Action, LetterId
from attendance.times import format_milliseconds
from attendance.topics import Topics
from operations.audit_accounts import read_moves
from operations.log import Log, Skipped, decoded

MAX_REPLAYS: Final = 3


class State(StrEnum):
    """What a dead letter is now."""

    OPEN = "open"
    REPLAYED = "replayed"
    DISCARDED = "discarded"
    PARKED = "parked"
    """Nothing was done about it, but it has failed after so many replays that one more is refused."""


SETTLED: Final = frozenset({State.REPLAYED, State.DISCARDED})


BORN_DISCARDED: Final = Reason.USER_IGNORED
"""The reason of letters that are discarded from the beginning: an entry of the user map said so, with a note."""


def state_of(reason: Reason, last_action: str | None, replay_count: int) -> State:
    """What a dead letter is now.

    Args:
        reason: Why it is one.
        last_action: What was last done about it; None where nothing was.
        replay_count: How often it was replayed before it came here.
    """
    if last_action is not None:
        return State(last_action)
    if reason is BORN_DISCARDED:
        return State.DISCARDED
    return State.PARKED if replay_count >= MAX_REPLAYS else State.OPEN


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter, where it stands, and what was done about it, oldest first."""

    id: LetterId
    content: DeadLetter
    history: tuple[Action, ...] = ()

    @property
    def state(self) -> State:
        """The last action decides; without one, its reason and how often it was replayed before it came here."""
        last_action = self.history[-1].action if self.history else None
        return state_of(self.content.reason, last_action, self.content.replay_count)

    def device(self, topics: Topics) -> str | None:
        """The device that it is about, None where nothing says so."""
        return device_of(self.content, topics)


def device_of(content: DeadLetter, topics: Topics) -> str | None:
    """The device that a dead letter is about, None where nothing says so.

    Args:
        content: The letter.
        topics: The full names.
    """
    if content.topic == topics["checkins"]:  # their key is the employee
        try:
            return Checkin.decode(content.value).device_id
        except InvalidRecord:
            return None
    return None if content.key is None else content.key.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters a command is about: those named, whatever became of them; else the unsettled ones of a filter.

    Attributes:
        ids: Those named. Where there are some, reasons, stage and devices say nothing.
        reasons: Those of these reasons; None for any.
        stage: Those of this stage; None for any.
        devices: Those about these devices; None for any, also for those of which nothing says it.
        ends: By partition the offset from which on letters are left out; None for none.
    """

    ids: frozenset[LetterId] = frozenset()
    reasons: frozenset[Reason] | None = None
    stage: str | None = None
    devices: frozenset[str] | None = None
    ends: Mapping[int, int] | None = None

    @classmethod
    def of(cls, reason: Reason | None = None, stage: str | None = None, device: str | None = None) -> Self:
        """Those of one reason, one stage and one device; None is any."""
        return cls(
            reasons=None if reason is None else frozenset((reason,)),
            stage=stage,
            devices=None if device is None else frozenset((device,)),
        )

    def matches(self, letter: Letter, topics: Topics) -> bool:
        """Whether it is one of the named or, where none is named, the filter lets it through.

        Args:
            letter: Any dead letter.
            topics: The full names.
        """
        if self.ends is not None and letter.id.offset >= self.ends.get(letter.id.partition, 0):
            return False
        if self.ids:
            return letter.id in self.ids
        return (
            (self.reasons is None or letter.content.reason in self.reasons)
            and self.stage in (None, letter.content.stage)
            and (self.devices is None or letter.device(topics) in self.devices)
        )

    def includes(self, letter: Letter, topics: Topics) -> bool:
        """Whether something is to be done about it. Takes what `matches` takes."""
        return self.matches(letter, topics) and (bool(self.ids) or letter.state not in SETTLED)


def begin_at(ids: Iterable[LetterId]) -> dict[int, int]:
    """The first offset of each partition that is among the ids."""
    offsets: dict[int, int] = {}
    for each in ids:
        offsets[each.partition] = min(each.offset, offsets.get(each.partition, each.offset))
    return offsets


def describe(letter: Letter) -> dict[str, object]:
    """All about one letter, for programs."""
    content = letter.content
    return {
        "id": str(letter.id),
        "state": letter.state,
        "stage": content.stage,
        "reason": content.reason,
        "message": content.message,
        "at": format_milliseconds(content.at),
        "attempts": content.attempts,
        "event_id": content.event_id,
        "further": content.further or 0,
        "replay_count": content.replay_count,
        "original": {
            "topic": content.topic,
            "partition": content.partition,
            "offset": content.offset,
            "timestamp": content.timestamp,
            "where": content.where,
        },
        "key": readable(content.key),
        "headers": [[name, readable(data)] for name, data in content.headers],
        "value": readable(content.value),
        "history": [
            {
                "action": each.action,
                "at": format_milliseconds(each.at),
                "by": each.by,
                "note": each.note,
                "replay_count": each.replay_count,
            }
            for each in letter.history
        ],
    }


def readable(data: bytes | None) -> dict[str, object] | None:
    """Bytes for people and programs: `text` where they are UTF-8, else `hex`; and how many there are."""
    if data is None:
        return None
    try:
        return {"bytes": len(data), "text": data.decode()}
    except UnicodeDecodeError:
        return {"bytes": len(data), "hex": data.hex()}


async def read_letters(
    log: Log, skipped: Skipped, begin: Mapping[int, int] | None = None
) -> AsyncGenerator[Letter, None]:
    """Every dead letter, one at a time, in offset order within a partition.

    Args:
        log: Where they stand.
        skipped: Where the records are counted that are neither dead letters nor actions.
        begin: As in `Log.read`.

    Raises:
        KafkaUnavailable: Kafka does not answer, or a topic is missing.
    """
    moves = await read_moves(log)
    letters = log.topics["dead_letters"]
    history: dict[LetterId, list[Action]] = defaultdict(list)
    async for batch in log.read("dead_letter_actions"):
        for record, action in decoded(batch, lambda record: Action.decode(record.key, record.value), skipped):
            of = moves.now(letters, (action.letter.partition, action.letter.offset), record)
            if of is not None:
                history[LetterId(*of)].append(action)
    async with aclosing(log.read("dead_letters", begin=begin)) as batches:
        async for batch in batches:
            for record, content in decoded(batch, dead_letter, skipped):
                id_ = LetterId(record.partition, record.offset)
                as_of_now = _as_of_now(content, record, moves, log.topics["raw"])
                yield Letter(id_, as_of_now, tuple(history.get(id_, ())))


async def letters_at(log: Log, ids: Iterable[LetterId], skipped: Skipped) -> list[Letter]:
    """The dead letters of these ids, in their order, without what was done about them; without those that are gone.

    Args:
        log: Where they stand.
        ids: Which ones.
        skipped: Where the records are counted that are no dead letters.

    Raises:
        KafkaUnavailable: Kafka does not answer, or a topic is missing.
    """
    moves = await read_moves(log)
    found = await log.at("dead_letters", [(each.partition, each.offset) for each in ids])
    records = [record for _, record in sorted(found.items())]
    return [
        Letter(LetterId(record.partition, record.offset), _as_of_now(content, record, moves, log.topics["raw"]))
        for record, content in decoded(records, dead_letter, skipped)
    ]


def _as_of_now(content: DeadLetter, record: Record, moves: Moves, raw: str) -> DeadLetter:
    """A letter with the places that it names as they are now."""
    if not moves.is_before(record):
        return content
    if content.topic is None or content.partition is None or content.offset is None:
        return content
    place = moves.now(content.topic, (content.partition, content.offset), record)
    partition, offset = place or (None, None)
    headers = moves.headers(content.headers, content.topic, raw, record)
    return replace(content, partition=partition, offset=offset, headers=headers)


async def count_open_before(log: Log, until: datetime) -> int:
    """How many dead letters that nobody has dealt with are older than a time.

    Args:
        log: Where they stand.
        until: The time.

    Raises:
        KafkaUnavailable: Kafka does not answer, or a topic is missing.
    """
    count = 0
    async with aclosing(read_letters(log, Skipped())) as letters:
        async for letter in letters:
            count += letter.state not in SETTLED and letter.content.at < until
    return count


def dead_letter(record: Record) -> DeadLetter:
    """The dead letter that a record holds. Raises InvalidRecord."""
    return DeadLetter.decode(record.key, record.value, record.headers)


async def find(log: Log, id_: LetterId, skipped: Skipped) -> Letter | None:
    """The dead letter of that id, None where there is none.

    Args:
        log: Where it stands.
        id_: Its partition and offset.
        skipped: As in `read_letters`.

    Raises:
        KafkaUnavailable: Kafka does not answer, or a topic is missing.
    """
    async with aclosing(read_letters(log, skipped, begin_at([id_]))) as letters:
        async for letter in letters:
            if letter.id == id_:
                return letter
    return None
