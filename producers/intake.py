"""One batch on its way from an adapter to the publisher: what one request, page or part of a file brought.

Push, pull and files use it alike. It decides what becomes of each thing that an adapter found; when to send the result,
how often to try, and what follows, is up to them.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

import structlog

from attendance.kafka.records import MAX_VALUE_BYTES
from attendance.records.dead_letter import DeadLetter
from attendance.records.other_event import OtherEvent
from attendance.records.raw_event import RawEvent
from attendance.registry import Device
from producers.clocks import Clocks
from producers.devices.contract import DeviceReport, Other, Rejected

log = structlog.get_logger(__name__)


class Batch(Protocol):
    """What an adapter made of one request, page or part of a file. `Parsed` and `Page` are batches."""

    @property
    def events(self) -> Sequence[RawEvent]:
        """Punches."""

    @property
    def rejected(self) -> Sequence[Rejected]:
        """What can never become a punch."""

    @property
    def others(self) -> Sequence[Other]:
        """What was never meant as a punch."""

    @property
    def report(self) -> DeviceReport | None:
        """What the device said of itself."""


class Place(NamedTuple):
    """Where a rejected record stood.

    `record` names it in the dead letter's message, such as `line 7`; `where` is the dead letter's own field.
    """

    record: str
    where: str


class Records(NamedTuple):
    """What is to be published of a batch, in the order of `Publisher.publish`."""

    events: Sequence[RawEvent]
    dead_letters: Sequence[DeadLetter]
    other_events: Sequence[OtherEvent]


class Intake:
    """Makes records of what adapters found.

    Args:
        stage: Whose dead letters they are: `push`, `pull` or `import`.
        clocks: What is known of the devices' clocks; None where nothing can be, as with files.
    """

    def __init__(self, stage: str, clocks: Clocks | None = None) -> None:
        self._stage = stage
        self._clocks = clocks

    def to_records(
        self, batch: Batch, device: Device, adapter: str, at: datetime, place_of: Callable[[Rejected], Place]
    ) -> Records:
        """Take in a batch. What it says of the device's clock counts for its own events already.

        Args:
            batch: What the adapter found.
            device: Whose batch it is. Its events may be of other devices, whose records it holds.
            adapter: The adapter's name.
            at: When the batch arrived: the server's clock, UTC.
            place_of: Where a rejected record stood.

        Returns:
            The events, those of a device whose clock is off with its skew; a dead letter for each rejected record; and
            the other events. What no record has room for is cut off.
        """
        events = batch.events
        if self._clocks is not None:
            report = batch.report
            if report is not None and report.device_time is not None:
                self._clocks.measured(device.device_id, report.device_time, at)
            events = self._clocks.with_skew(events)
        return Records(
            events,
            self._dead_letters(batch.rejected, device, at, place_of) if batch.rejected else (),
            _other_events(batch.others, device, adapter, at) if batch.others else (),
        )

    def _dead_letters(
        self, rejected: Sequence[Rejected], device: Device, at: datetime, place_of: Callable[[Rejected], Place]
    ) -> list[DeadLetter]:
        key = device.device_id.encode()
        return [
            DeadLetter(
                stage=self._stage,
                reason=each.reason,
                message=f"{place.record}: {each.message}",
                at=at,
                key=key,
                value=each.value[:MAX_VALUE_BYTES],
                where=place.where,
            )
            for each, place in zip(rejected, map(place_of, rejected), strict=True)
        ]


def _other_events(others: Sequence[Other], device: Device, adapter: str, at: datetime) -> list[OtherEvent]:
    return [
        OtherEvent(device.device_id, device.site, adapter, each.kind, at, each.value[:MAX_VALUE_BYTES])
        for each in others
    ]


def log_rejected(device_id: str, dead_letters: Sequence[DeadLetter]) -> None:
    """Say that records of a device were rejected, if some were.

    Args:
        device_id: Whose records they were.
        dead_letters: What became of them.
    """
    if dead_letters:
        log.warning(
            "A device sent records that cannot be punches.",
            device_id=device_id,
            rejected=len(dead_letters),
            first=dead_letters[0].message,
        )
