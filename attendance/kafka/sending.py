"""Records on their way to Kafka, and what became of them. Loads no Kafka library."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from attendance.errors import KafkaUnavailable
from attendance.kafka.records import OutRecord

Place = tuple[str, int]
"""A topic and a partition."""


class HasOffset(Protocol):
    """What the library says of a record that Kafka has."""

    @property
    def offset(self) -> int:
        """Where it is in its partition."""


class NotAcknowledged(KafkaUnavailable):
    """Kafka did not acknowledge all that was sent.

    Attributes:
        missing: What it did not acknowledge, and what is after that in the same partition, in the order of before.
        first: The offset of the first acknowledged record in each topic and partition.
        sending: Done when it is known what becomes of those that are missing; None where that is known.
    """

    def __init__(
        self,
        why: str,
        missing: Sequence[OutRecord],
        first: Mapping[Place, int],
        sending: asyncio.Task[Any] | None = None,
    ) -> None:
        """As the attributes say; `why` is for people."""
        super().__init__(why)
        self.missing = missing
        self.first = first
        self.sending = sending


class Sending:
    """Records on their way, and what is acknowledged of them."""

    def __init__(self, records: Sequence[OutRecord]) -> None:
        """Nothing is sent yet."""
        self.records = records
        self.groups: Mapping[Place, list[OutRecord]] = {}
        """The records by their places, once these are known."""
        self._acknowledgements: dict[Place, list[tuple[asyncio.Future[HasOffset], int]]] = {}

    def add(self, place: Place, acknowledgement: asyncio.Future[HasOffset], records: int) -> None:
        """Take in what will acknowledge the next records of a partition."""
        self._acknowledgements.setdefault(place, []).append((acknowledgement, records))

    async def finish(self) -> list[Exception]:
        """Return when each is acknowledged or has failed: the failures."""
        failures: list[Exception] = []
        # In turn, which costs half of what `gather` does; all of them, for none may stay unobserved.
        for acknowledgements in self._acknowledgements.values():
            for acknowledgement, _ in acknowledgements:
                try:
                    await acknowledgement
                except Exception as error:  # noqa: BLE001 - the caller raises it
                    failures.append(error)
        return failures

    def first(self) -> dict[Place, int]:
        """The offset of the first acknowledged record in each topic and partition."""
        return {
            place: acknowledgements[0][0].result().offset
            for place, acknowledgements in self._acknowledgements.items()
            if _is_in(acknowledgements[0][0])
        }

    def missing(self) -> list[OutRecord]:
        """What is not acknowledged.

        What is after it in its partition has to come after it again: of a compacted topic, the last of a key counts.
        """
        if not self.groups:
            return list(self.records)
        missing: list[OutRecord] = []
        for place, members in self.groups.items():
            acknowledged = 0
            for acknowledgement, records in self._acknowledgements.get(place, ()):
                if not _is_in(acknowledgement):
                    break
                acknowledged += records
            missing += members[acknowledged:]
        return missing


def _is_in(acknowledgement: asyncio.Future[HasOffset]) -> bool:
    return acknowledgement.done() and not acknowledgement.cancelled() and acknowledgement.exception() is None
