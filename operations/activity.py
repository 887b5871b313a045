"""Activity: who had the console do what. Written before an action and after it, and read back, the newest first."""

from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Literal, get_args
from uuid import uuid4

import structlog
from msgspec.structs import replace

from attendance.errors import InvalidRecord
from attendance.kafka.records import OutRecord, Record
from attendance.records.activity import Activity
from attendance.times import now
from operations.log import Log

log = structlog.get_logger(__name__)

Via = Literal["console", "api"]
Act = Literal[
    "account.add",
    "account.change",
    "account.password",
    "account.remove",
    "number.ignore",
    "number.map",
    "number.stop_ignoring",
    "number.unmap",
    "correction.apply",
    "import.commit",
    "late.repair",
    "time.give",
    "job.cancel",
    "letters.discard",
    "letters.replay",
    "device.add",
    "device.approve",
    "device.backfill",
    "device.change",
    "device.configure",
    "device.forget",
    "device.pause",
    "device.remove",
    "device.resume",
    "device.token",
    "token.add",
    "token.remove",
]
"""Everything that somebody can have the console do."""
ACTS: Final[tuple[str, ...]] = get_args(Act)
MOST: Final = 20_000
"""Actions that a process keeps. The topic has them all until its retention."""


@dataclass(slots=True)
class Ending:
    """How an action ends. Whoever does it says what came of it in `result`."""

    result: str | None = None


@asynccontextmanager
async def recorded(
    log_: Log, by: str, via: Via, act: Act, about: Mapping[str, str], note: str | None = None
) -> AsyncIterator[Ending]:
    """Do something that is written down: before, so that nothing is done of which there is no word; and after.

    Args:
        log_: The topics.
        by: Who does it.
        via: By which way.
        act: What.
        about: Of what.
        note: Why.

    Yields:
        Where to say what came of it.

    Raises:
        KafkaUnavailable: Kafka does not answer. What is in the context may be done without its end on the topic.
    """
    begun = Activity(uuid4().hex, now(), by, via, act, "begun", dict(about), note)
    ending = Ending()
    async with log_.sending() as send:
        topic = log_.topics["console_activity"]
        await send(OutRecord(topic, begun.key, begun.encode()))
        try:
            yield ending
        except Exception as error:
            failed = replace(begun, at=now(), state="failed", result=str(error))
            await send(OutRecord(topic, failed.key, failed.encode()))
            raise
        done = replace(begun, at=now(), state="done", result=ending.result)
        await send(OutRecord(topic, done.key, done.encode()))


class Activities:
    """The newest actions. Fed record by record."""

    def __init__(self, most: int = MOST) -> None:
        """There is none yet.

        Args:
            most: How many are kept.
        """
        self._most = most
        self._actions: OrderedDict[str, Activity] = OrderedDict()

    def __iter__(self) -> Iterator[Activity]:
        """As each is now, the newest first, with the time at which it began."""
        return reversed(self._actions.values())

    def learn(self, record: Record) -> None:
        """Take in one record, or log that it cannot be read. One without a value is gone from the topic."""
        if record.value is None:
            self._actions.pop((record.key or b"").decode(errors="replace"), None)
            return
        try:
            activity = Activity.decode(record.value)
        except InvalidRecord as error:
            log.error("An activity of the console cannot be read.", error=error.message)
            return
        before = self._actions.get(activity.id)
        if before is not None:
            # Read once more, a beginning does not take back an end.
            activity = replace(before if activity.state == "begun" else activity, at=before.at)
        self._actions[activity.id] = activity
        while len(self._actions) > self._most:
            self._actions.popitem(last=False)
