"""One batch on its way from an adapter to the publisher: what one request, page or part of a file brought.

Push, pull and files use it alike. It decides what becomes of each thing that an adapter found; when to send the result,
how often to try, and what follows, is up to them.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, NamedTuple, Protocol

import structlog

from attendance.errors import Reason
from attendance.fleet import Device
from attendance.kafka.records import MAX_VALUE_BYTES
from attendance.logs import Seldom
from attendance.records.dead_letter import MAX_MESSAGE, DeadLetter
from attendance.records.other_event import OtherEvent
from attendance.records.raw_event import RawEvent
from attendance.records.unread import Transport, UnreadRequest
from producers.clocks import Clocks
from producers.devices.contract import Adapter, DeviceReport, Other, Rejected
from producers.letters import Letters
from producers.unread import ready

log = structlog.get_logger(__name__)

_TRANSPORTS: Final[dict[str, Transport]] = {"push": "push", "pull": "pull", "import": "file"}


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
    unread: Sequence[UnreadRequest] = ()


class Intake:
    """Makes records of what adapters found.

    Args:
        stage: Whose dead letters they are: `push`, `pull` or `import`.
        clocks: What is known of the devices' clocks; None where nothing can be, as with files.
        letters: Bounds the dead letters of what is kept whole; None where each rejected record has one.
    """

    def __init__(self, stage: str, clocks: Clocks | None = None, letters: Letters | None = None) -> None:
        self._stage = stage
        self._clocks = clocks
        self._letters = letters

    def to_records(
        self,
        batch: Batch,
        device: Device,
        adapter: Adapter,
        at: datetime,
        place_of: Callable[[Rejected], Place],
        whole: UnreadRequest | None = None,
    ) -> Records:
        """Take in a batch. What it says of the device's clock counts for its own events already.

        Args:
            batch: What the adapter found.
            device: Whose batch it is. Its events may be of other devices, whose records it holds.
            adapter: The adapter.
            at: When the batch arrived: the server's clock, UTC.
            place_of: Where a rejected record stood.
            whole: The request, where that is kept whole for what was rejected of it. Otherwise each rejected record is
                kept that an adapter can read again.

        Returns:
            The events, those of a device whose clock is off with its skew; the dead letters of the rejected records;
            the other events; and what is kept to be read again. What no dead letter has room for is cut off.
        """
        events = batch.events
        if self._clocks is not None:
            report = batch.report
            if report is not None and report.device_time is not None:
                self._clocks.measured(device.device_id, report.device_time, at)
            events = self._clocks.with_skew(events)
        others = _other_events(batch.others, device, adapter.name, at) if batch.others else ()
        if not batch.rejected:
            return Records(events, (), others)
        letters: list[DeadLetter] = []
        unread: list[UnreadRequest] = [] if whole is None else [whole]
        for each in batch.rejected:
            place = place_of(each)
            kept = whole
            if kept is None and each.raw is not None:
                kept = self._unread(each, each.raw, place, device, adapter, at)
                unread.append(kept)
            letters.append(self._dead_letter(each, place, device, at, kept))
        if whole is not None and self._letters is not None:
            return Records(events, self._letters.bounded(device.device_id, letters), others, unread)
        return Records(events, letters, others, unread)

    def _dead_letter(
        self, rejected: Rejected, place: Place, device: Device, at: datetime, kept: UnreadRequest | None
    ) -> DeadLetter:
        # What stands whole elsewhere, for as long as is allowed there, does not stand here for ever.
        is_whole = kept is not None and rejected.reason is Reason.UNREADABLE_BODY
        return DeadLetter(
            stage=self._stage,
            reason=rejected.reason,
            message=f"{place.record}: {rejected.message}",
            at=at,
            key=device.device_id.encode(),
            value=b"" if is_whole else rejected.value[:MAX_VALUE_BYTES],
            where=place.where,
            unread=None if kept is None else kept.unread_id,
        )

    def _unread(
        self, rejected: Rejected, raw: bytes, place: Place, device: Device, adapter: Adapter, at: datetime
    ) -> UnreadRequest:
        transport = _TRANSPORTS[self._stage]
        request = UnreadRequest(
            unread_id="-",
            device_id=device.device_id,
            site=device.site,
            adapter=adapter.name,
            adapter_version=adapter.version,
            transport=transport,
            received_at=at,
            reason=rejected.reason,
            message=rejected.message[:MAX_MESSAGE],
            body=raw,
            place=place.where.removeprefix("file:") if transport == "file" else place.record,
            devices=(device.device_id,),
            options=dict(device.options) if transport == "file" else {},
        )
        # Whoever handed it over cannot be made to keep it: what is no text of it is never kept.
        return ready(request, in_part=True, options=device.options)


def _other_events(others: Sequence[Other], device: Device, adapter: str, at: datetime) -> list[OtherEvent]:
    return [
        OtherEvent(device.device_id, device.site, adapter, each.kind, at, each.value[:MAX_VALUE_BYTES])
        for each in others
    ]


def log_rejected(device_id: str, dead_letters: Sequence[DeadLetter], seldom: Seldom) -> None:
    """Say that records of a device were rejected, if some were: once a minute for each device and reason.

    Args:
        device_id: Whose records they were.
        dead_letters: What became of them.
        seldom: Limits it.
    """
    if dead_letters:
        seldom.say(
            ("rejected", device_id, dead_letters[0].reason),
            log.warning,
            "A device sent records that cannot be punches.",
            device_id=device_id,
            rejected=sum(1 + (each.further or 0) for each in dead_letters),
            first=dead_letters[0].message,
        )
