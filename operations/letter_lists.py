"""Lists of dead letters, one by one or by stage and reason: by the topics, or by a ledger."""

from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from attendance.errors import Reason
from attendance.records.dead_letter_action import LetterId
from attendance.times import format_seconds
from attendance.topics import Topics
from operations.asked import Asked
from operations.dead_letters import SETTLED, Letter, Selection, State, read_letters
from operations.log import Log, Skipped
from operations.sources import FromTopics, Source
from operations.unread import Read, ReadingAgain


class LetterLine(NamedTuple):
    """A dead letter as a list has it."""

    id: LetterId
    state: State
    stage: str
    reason: Reason
    at: datetime
    device: str | None
    replay_count: int
    message: str

    def to_json(self) -> dict[str, object]:
        """The line for programs."""
        return {
            "id": str(self.id),
            "state": self.state,
            "stage": self.stage,
            "reason": self.reason,
            "at": format_seconds(self.at),
            "device": self.device,
            "replay_count": self.replay_count,
            "readable": None,
            "message": self.message,
        }


ROW: Final = ("id", "state", "stage", "reason", "at", "device", "replay_count", "readable", "message")
"""The fields of a line for programs."""
GROUP: Final = (
    *("stage", "reason", "count", *(state.value for state in State), "readable", "first", "last", "sample_id"),
    "sample_message",
)
"""The fields of a group for programs."""


class Readable(NamedTuple):
    """Whether today's adapters understand what a letter is about that nobody has dealt with."""

    id: LetterId
    stage: str
    reason: Reason
    is_understood: bool


class LetterSource(Source, Protocol):
    """Where dead letters are."""

    async def has_heard_of(self, device: str) -> bool:
        """Whether a record of a device was ever heard of. Raises RetriableError."""

    def lines(self, wanted: Selection) -> AsyncGenerator[LetterLine, None]:
        """The letters that are wanted, in the order of each partition.

        Args:
            wanted: By reason, stage and device.

        Raises:
            RetriableError: it does not answer.
        """

    async def readable(self) -> Sequence[Readable] | None:
        """Of the letters that `lines` gave, those about something that an adapter did not understand.

        Returns:
            Those about which nothing was done. None where the source does not know.

        Raises:
            RetriableError: it does not answer.
        """


class LettersOnTopics(FromTopics):
    """The topics of dead letters and of what was done about them. See `LetterSource`."""

    def __init__(self, log: Log, read: Read, skipped: Skipped) -> None:
        """Nothing is read yet.

        Args:
            log: The topics.
            read: Gives what an adapter did not understand to that of today.
            skipped: Where the records are counted that cannot be read.
        """
        self._log = log
        self._skipped = skipped
        self._reading = ReadingAgain(read, log.topics)
        self._unsettled: dict[LetterId, LetterLine] = {}

    async def has_heard_of(self, device: str) -> bool:
        """See `LetterSource.has_heard_of`. Reads topics until a record names it. Raises KafkaUnavailable."""
        return not await Asked(devices=(device,)).not_there(self._log, ("dead_letters", "raw"))

    async def lines(self, wanted: Selection) -> AsyncGenerator[LetterLine, None]:
        """See `LetterSource.lines`. Raises KafkaUnavailable."""
        async with aclosing(read_letters(self._log, self._skipped)) as letters:
            async for letter in letters:
                if wanted.matches(letter, self._log.topics):
                    line = line_of(letter, self._log.topics)
                    if line.state not in SETTLED and self._reading.add(letter):
                        self._unsettled[line.id] = line._replace(message="")
                    yield line

    async def readable(self) -> Sequence[Readable]:
        """See `LetterSource.readable`. Raises KafkaUnavailable."""
        await self._reading.find(self._log, self._skipped)
        understood = self._reading.readable()
        return [Readable(id_, line.stage, line.reason, understood[id_]) for id_, line in self._unsettled.items()]


def line_of(letter: Letter, topics: Topics) -> LetterLine:
    """A letter as a list has it.

    Args:
        letter: Any dead letter.
        topics: The full names.
    """
    content = letter.content
    about = content.stage, content.reason, content.at, letter.device(topics)
    return LetterLine(letter.id, letter.state, *about, content.replay_count, content.message)


@dataclass(slots=True)
class Group:
    """The letters of one stage and reason, counted. The sample is the newest, if possible one that is unsettled.

    `readable` counts the unsettled ones that today's adapters understand; None where no adapter was asked.
    """

    stage: str
    reason: Reason
    states: Counter[State] = field(default_factory=Counter)
    first: datetime | None = None
    last: datetime | None = None
    sample: LetterId | None = None
    message: str = ""
    sample_is_settled: bool = True
    sampled_at: datetime | None = None
    readable: int | None = None

    def add(self, line: LetterLine) -> None:
        """Count a letter. Of the letter itself only the sample's id and message are kept."""
        at, settled = line.at, line.state in SETTLED
        self.states[line.state] += 1
        self.first = at if self.first is None else min(self.first, at)
        self.last = at if self.last is None else max(self.last, at)
        if self.sampled_at is None or (not settled, at) >= (not self.sample_is_settled, self.sampled_at):
            self.sample, self.message = line.id, line.message
            self.sample_is_settled, self.sampled_at = settled, at

    def to_json(self) -> dict[str, object]:
        """The group for programs, with the fields of `GROUP`."""
        return {
            "stage": self.stage,
            "reason": self.reason,
            "count": self.states.total(),
            **{state.value: self.states[state] for state in State},
            "readable": self.readable,
            "first": seconds(self.first),
            "last": seconds(self.last),
            "sample_id": str(self.sample),
            "sample_message": self.message,
        }


class Groups:
    """Every group, by stage and reason."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, Reason], Group] = {}

    def add(self, line: LetterLine) -> None:
        """Count a letter in its group."""
        self._of(line.stage, line.reason).add(line)

    def note(self, readable: Iterable[Readable]) -> None:
        """Count what today's adapters understand of the letters that were added."""
        for each in readable:
            group = self._of(each.stage, each.reason)
            group.readable = (group.readable or 0) + each.is_understood

    def _of(self, stage: str, reason: Reason) -> Group:
        return self._groups.setdefault((stage, reason), Group(stage, reason))

    def sorted(self) -> list[Group]:
        """The groups, in the order of stage and reason."""
        return [self._groups[key] for key in sorted(self._groups)]


def seconds(instant: datetime | None) -> str | None:
    """An instant in UTC, whole seconds."""
    return None if instant is None else format_seconds(instant)
