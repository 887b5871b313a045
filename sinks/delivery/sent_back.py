"""SentBackRecords: the waiting records of check-ins that are sent back, made of the raw records they came from."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final

import structlog

from attendance.errors import InvalidRecord
from attendance.kafka.records import MAX_VALUE_BYTES, OutRecord, Record
from attendance.records.outcomes import SENT_BACK, Waiting
from attendance.records.raw_event import RAW_RECORD, RawEvent
from attendance.times import now
from attendance.topics import Topics
from attendance.wire import Place, position
from sinks.delivery.queue import QueuedCheckin
from sinks.targets.base import SentBack

log = structlog.get_logger(__name__)

ReadRaw = Callable[[Collection[Place]], Awaitable[Mapping[Place, Record]]]
"""The raw records at these places; one that is gone is left out. It waits for Kafka."""

LONGEST_COUNT: Final = 1_000_000  # of a header that anybody may have written


class SentBackRecords:
    """Decides what becomes of check-ins that the target sent back: they wait again, or are dead-lettered."""

    def __init__(self, topics: Topics, read_raw: ReadRaw) -> None:
        """Nothing is read yet.

        Args:
            topics: Their names.
            read_raw: Reads the raw events, which the waiting records hold whole.
        """
        self._topics = topics
        self._read_raw = read_raw

    async def make(self, sent_back: Sequence[tuple[QueuedCheckin, SentBack]]) -> list[OutRecord | InvalidRecord]:
        """The waiting record of each check-in, ready to be sent.

        Args:
            sent_back: Check-ins, each with why it was sent back.

        Returns:
            In their order. `InvalidRecord` where the punch cannot wait again, because its raw record is not there.
        """
        places = [position(queued.record.headers, RAW_RECORD) for queued, _ in sent_back]
        raw = await self._read_raw({place for place in places if place is not None}) if any(places) else {}
        made = [
            self._make(queued, result, place, None if place is None else raw.get(place))
            for (queued, result), place in zip(sent_back, places, strict=True)
        ]
        self._log(sent_back, made)
        return made

    def _make(
        self, queued: QueuedCheckin, result: SentBack, place: Place | None, raw: Record | None
    ) -> OutRecord | InvalidRecord:
        checkin = queued.checkin
        if place is None:
            return _cannot_wait(result, "its check-in does not say of which raw record it was made")
        at = f"{place[0]}:{place[1]}"
        event = _event(raw)
        if event is None or event.event_id != checkin.event_id:
            return _cannot_wait(result, f"the raw topic does not have its record {at} any more")
        key, value, headers = Waiting(
            event,
            result.reason,
            checkin.employee,
            sent_back=_times(queued.record) + 1,
            sent_back_at=now(),
            employee_created=checkin.employee_created,
            message=result.message,
            checkin=f"{queued.record.partition}:{queued.record.offset}",
        ).record()
        if len(value) > MAX_VALUE_BYTES:
            return _cannot_wait(result, f"its raw record takes {len(value)} bytes when it is written again")
        headers.append((RAW_RECORD, at.encode()))
        # As the stream does: a worker of it has all that waits for one device user.
        user = event.device_user_id.encode()
        return OutRecord(self._topics["unmapped"], key, value, headers, partition_key=user)

    def _log(
        self, sent_back: Sequence[tuple[QueuedCheckin, SentBack]], made: Sequence[OutRecord | InvalidRecord]
    ) -> None:
        waiting: dict[tuple[str, str], list[SentBack]] = defaultdict(list)
        for (queued, result), record in zip(sent_back, made, strict=True):
            if isinstance(record, OutRecord):
                waiting[queued.checkin.employee, result.reason].append(result)
        for (employee, reason), results in waiting.items():
            log.warning(
                "Sending check-ins back to wait.",
                employee=employee,
                reason=reason,
                checkins=len(results),
                error=results[0].message,
            )


def _cannot_wait(result: SentBack, why: str) -> InvalidRecord:
    return InvalidRecord(result.reason, f"{result.message}; it cannot wait, because {why}")


def _event(record: Record | None) -> RawEvent | None:
    try:
        return None if record is None else RawEvent.decode(record.value)
    except InvalidRecord:
        return None


def _times(record: Record) -> int:
    """How often in a row it was sent back before."""
    count = dict(record.headers).get(SENT_BACK, b"")
    return min(int(count), LONGEST_COUNT) if count.isdigit() and len(count) < 10 else 0
