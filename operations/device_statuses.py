"""What each device last said of itself: by the topic, or by a ledger."""

import json
from typing import Protocol

from msgspec import structs

from attendance.records.device_status import DeviceStatus
from attendance.wire import encode_json
from operations.facts import StatusFact
from operations.log import Log, Skipped, decoded
from operations.sources import FromTopics, Source


class StatusSource(Source, Protocol):
    """Where statuses of devices are."""

    async def newest(self) -> dict[str, DeviceStatus]:
        """What each device last said of itself, by device_id; of its details, what it last said of each.

        Raises:
            RetriableError: it does not answer.
        """


class StatusesOnTopic(FromTopics):
    """The topic of device statuses. See `StatusSource`."""

    def __init__(self, log: Log, skipped: Skipped) -> None:
        """Nothing is read yet.

        Args:
            log: The topics.
            skipped: Where the records are counted that are no status.
        """
        self._log = log
        self._skipped = skipped

    async def newest(self) -> dict[str, DeviceStatus]:
        """See `StatusSource.newest`. Raises KafkaUnavailable."""
        return await newest_statuses(self._log, self._skipped)


async def newest_statuses(log: Log, skipped: Skipped) -> dict[str, DeviceStatus]:
    """What each device last said of itself. See `StatusSource.newest`.

    Args:
        log: The topics.
        skipped: Where the records are counted that are no status.

    Raises:
        KafkaUnavailable: Kafka does not answer, or the topic is missing.
    """
    newest: dict[str, DeviceStatus] = {}
    async for batch in log.read("device_status"):
        there = [record for record in batch if record.value is not None]
        for _, status in decoded(there, lambda record: DeviceStatus.decode(record.value), skipped):
            before = newest.get(status.device_id)
            # A terminal that pushes and is asked says some things to the one process only.
            details = {**(before.details if before else {}), **status.details}
            newest[status.device_id] = structs.replace(status, details=details)
    return newest


def merged(before: StatusFact | None, after: StatusFact) -> StatusFact:
    """What a device said last, with the details that it said before.

    Args:
        before: What it said before; None where that is not known.
        after: What it said then.
    """
    if before is None:
        return after
    return after._replace(details=encode_json(json.loads(before.details) | json.loads(after.details)).decode())
