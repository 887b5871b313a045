"""What is claimed of a device's completeness, by its reports and its punches; push and pull claim alike."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final, NoReturn

from msgspec.structs import replace

from attendance.errors import KafkaUnavailable
from attendance.kafka.records import Record
from attendance.records.device_status import DeviceStatus, read_status
from attendance.records.raw_event import RawEvent
from attendance.times import now
from producers.clocks import Clocks
from producers.devices.common.clocks import ASSUMED_LAG
from producers.devices.contract import DeviceReport
from producers.publisher import Publisher

ALIVE: Final = timedelta(seconds=60)
"""Between two reports of a device that has nothing new to say of itself. Many ask every few seconds."""

WRITE_SECONDS: Final = 1.0  # between two writes of what nobody waits for


class Statuses:
    """What devices that push say of themselves, as far as it is new; the topic has what other processes were told.

    A device states facts when it is switched on, and only signs of life after that; so its facts stay beside them.
    """

    def __init__(self, publisher: Publisher, clocks: Clocks | None = None, *, follows: bool = False) -> None:
        """Nothing is known yet.

        Args:
            publisher: Writes what is new.
            clocks: Hear what other processes measured; None where nobody is to.
            follows: Whether the topic is followed. Then `caught_up` is set by whoever does so.
        """
        self._publisher = publisher
        self._clocks = clocks
        self.caught_up = asyncio.Event()
        if not follows:
            self.caught_up.set()
        self._known: dict[str, DeviceStatus] = {}
        self._last_event: dict[str, datetime | None] = {}
        self._unwritten: dict[str, DeviceStatus] = {}
        self._heard_since: dict[str, datetime] = {}  # when the newest punches arrived that are too soon to be written

    def check(self) -> None:
        """Return where it is known what other processes were told.

        Raises:
            KafkaUnavailable: the topic is not read yet. The same punch would have another outcome here.
        """
        if not self.caught_up.is_set():
            raise KafkaUnavailable("what is known of the devices is not read yet")

    def apply(self, record: Record) -> None:
        """Take in one record of the device-status topic. One that cannot be read is logged and ignored."""
        status = read_status(record)
        if status is None:
            return
        status = _not_ahead(status, now())
        if self._clocks is not None:
            self._clocks.learn(status)
        device_id, known = status.device_id, self._known.get(status.device_id)
        if known is None:
            self._known[device_id] = status
        elif known.heard_at < status.heard_at:
            # What a terminal said to us stands beside what it answered to another process.
            self._known[device_id] = replace(status, details={**known.details, **status.details})
        ours = self._last_event.get(device_id)
        if status.last_event is not None and (ours is None or ours < status.last_event):
            self._last_event[device_id] = status.last_event

    def punched(self, device_id: str, at: datetime, events: Sequence[RawEvent]) -> None:
        """Take in that a device handed over punches. If it says nothing of itself, they are its sign of life.

        `keep` writes that, now and then.

        Args:
            device_id: The device.
            at: When they had arrived: the server's clock, UTC.
            events: The punches, which Kafka has.
        """
        if not events:
            return
        last_event = self._last_event[device_id] = newest(events, self._last_event.get(device_id))
        known = self._known.get(device_id) or DeviceStatus(device_id, datetime.min.replace(tzinfo=UTC))
        if at - known.heard_at < ALIVE:
            self._heard_since[device_id] = at
            return
        # What it once said of itself stands.
        self._known[device_id] = self._unwritten[device_id] = replace(known, heard_at=at, last_event=last_event)
        self._heard_since.pop(device_id, None)

    async def report(self, device_id: str, heard_at: datetime, report: DeviceReport) -> None:
        """Return when Kafka has it, or has nothing to learn from it. Assumes and raises what `Publisher.report` does.

        Args:
            device_id: The device.
            heard_at: When the report had arrived: the server's clock, UTC.
            report: What the device said of itself.
        """
        known = self._known.get(device_id)
        if known is not None and heard_at - known.heard_at < ALIVE and _says_nothing_new(report, known):
            return
        status = heartbeat(device_id, heard_at, report)
        status = replace(status, last_event=self._last_event.get(device_id))
        if known is not None:
            status = replace(status, details={**known.details, **report.details})
            if report.device_time is None:
                status = replace(
                    status, clock_skew=known.clock_skew, clock_measured_at=known.clock_measured_at or known.heard_at
                )
        await self._publisher.report(status)
        self._known[device_id] = status
        self._unwritten.pop(device_id, None)
        self._heard_since.pop(device_id, None)

    async def keep(self) -> NoReturn:
        """Write what `punched` left, for ever. What is lost of it is written with the next punch or heartbeat."""
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            self._take_in_last_punches(now())
            unwritten, self._unwritten = self._unwritten, {}
            if unwritten:
                with suppress(KafkaUnavailable):  # the publisher says so, once
                    await self._publisher.report(*unwritten.values())

    def _take_in_last_punches(self, at: datetime) -> None:
        """After the last punches of a day nothing may come for hours, and they would be said to have been earlier."""
        due = [each for each in self._heard_since if at - self._known[each].heard_at >= ALIVE]
        for device_id in due:
            heard_at = max(self._heard_since.pop(device_id), self._known[device_id].heard_at)
            status = replace(self._known[device_id], heard_at=heard_at, last_event=self._last_event[device_id])
            self._known[device_id] = self._unwritten[device_id] = status


def _says_nothing_new(report: DeviceReport, known: DeviceStatus) -> bool:
    if report.device_time is not None or report.pending is not None or report.last_sequence is not None:
        return False
    return report.details.items() <= known.details.items()


def _not_ahead(status: DeviceStatus, at: datetime) -> DeviceStatus:
    """The status as if it was heard just now, where a server whose clock was ahead dated it: what follows is newer."""
    measured_at = status.clock_measured_at
    return replace(
        status,
        heard_at=min(status.heard_at, at),
        clock_measured_at=None if measured_at is None else min(measured_at, at),
    )


def newest(events: Iterable[RawEvent], before: datetime | None) -> datetime | None:
    """When the newest punch of a device was made.

    Args:
        events: Punches of the device.
        before: When the newest of earlier punches was made, None where there was none.

    Returns:
        UTC, whole seconds. For a punch whose time is ahead or cannot be read it is when the punch arrived. None where
        there was no punch.
    """
    last = before
    for event in events:
        made = event.event_time
        if made is None or made > event.received_at:
            made = event.received_at.replace(microsecond=0)
        if last is None or made > last:
            last = made
    return last


def heartbeat(device_id: str, heard_at: datetime, report: DeviceReport) -> DeviceStatus:
    """The status that a heartbeat amounts to.

    A device with nothing pending has handed over every punch that it had dated before the heartbeat. Its punches are
    dated by its own clock, so the earlier of the two clocks counts. One with punches pending, or that does not say,
    claims nothing.

    Args:
        device_id: The device.
        heard_at: When the heartbeat had arrived: the server's clock, UTC.
        report: What the device said of itself.
    """
    until = skew = measured_at = None
    if report.device_time is not None:
        skew, measured_at = round((report.device_time - heard_at).total_seconds()), heard_at
    if report.pending == 0:
        until = heard_at - ASSUMED_LAG if report.device_time is None else min(heard_at, report.device_time)
    return DeviceStatus(
        device_id=device_id,
        heard_at=heard_at,
        complete_until=None if until is None else until.replace(microsecond=0),
        pending=report.pending,
        last_sequence=report.last_sequence,
        clock_skew=skew,
        clock_measured_at=measured_at,
        details=report.details,
    )
