"""Watermarks: up to when devices and shifts are complete. Pure: no Kafka, no ERPNext, no clock.

A device's *watermark* is an instant before which everything is there: no punch of the device that is dated earlier can
still come, unless the device contradicts what it said.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from attendance.fleet import Device
from attendance.records.device_status import DeviceStatus
from attendance.records.sequences import Counted, Run
from attendance.times import earliest_wall_clock, from_wall_clock

FIRST_NUMBER: Final = 1
MAX_RUNS: Final = 1000  # beyond that the numbers mean nothing, and memory must not grow with them
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)  # a claim from before says no less: no punch is that old
AHEAD: Final = timedelta(days=1)  # a clock further ahead of the server's tells nothing about the order of punches


class SequenceNumbers:
    """The record numbers of one device, as they arrive, in any order and with repeats.

    They show that the device is complete up to the last record before the first gap. Counting begins at the first
    record that is seen. A later punch with number 1 begins a new count: the device has forgotten the old one, and what
    was missing then cannot come any more.
    """

    def __init__(self, counted: Counted = Counted()) -> None:  # noqa: B008 - it is frozen
        """Go on from what was counted before."""
        self._runs = list(counted.runs)
        self._renewed = list(counted.renewed)
        self._until = counted.until

    @property
    def until(self) -> datetime | None:
        """The device's watermark by its numbers. Never goes back."""
        return datetime.fromtimestamp(self._until, UTC) if self._until else None

    @property
    def newest(self) -> int | None:
        """The highest number of the present count."""
        return self._runs[-1].last if self._runs else None

    @property
    def missing(self) -> int | None:
        """The first number that is missing between others."""
        return self._runs[0].last + 1 if len(self._runs) > 1 else None

    def add(self, number: int, event_time: datetime | None, received_at: datetime) -> None:
        """Count one record.

        Args:
            number: Its number. One below 0 is not counted.
            event_time: When the punch was made, by the device; None if that is not known.
            received_at: When it arrived, by the server's clock.
        """
        if number < 0:
            return
        dated = 0
        if event_time is not None and event_time - received_at <= AHEAD:
            dated = _seconds(event_time)
        run = Run(number, number, dated, min(dated, _seconds(received_at)))
        if not self._runs or number > self._runs[0].last:
            _insert(self._runs, run)
        elif dated > self._runs[0].dated:
            _insert(self._renewed, run)
            if self._renewed[0].first <= FIRST_NUMBER <= self._renewed[0].last:
                self._runs, self._renewed = self._renewed, []
        self._until = max(self._until, self._runs[0].safe)

    @property
    def counted(self) -> Counted:
        """What was counted, to go on from later."""
        return Counted(self._until, tuple(self._runs), tuple(self._renewed))


def _seconds(instant: datetime) -> int:
    """Since 1970; 0 for what is before."""
    return max(0, int(instant.replace(microsecond=0).timestamp()))  # a float rounds the last microsecond up


def _insert(runs: list[Run], new: Run) -> None:
    """Add a record to runs that are in order and do not touch, and join what then follows without a gap."""
    at = bisect_left(runs, new.first, key=lambda run: run.first)
    if (at and runs[at - 1].last >= new.first) or (at < len(runs) and runs[at].first == new.first):
        return  # a repeat
    if at < len(runs) and runs[at].first == new.last + 1:
        new = _joined(new, runs.pop(at))
    if at and runs[at - 1].last + 1 == new.first:
        at -= 1
        new = _joined(runs.pop(at), new)
    if len(runs) < MAX_RUNS:
        runs.insert(at, new)


def _joined(run: Run, next_: Run) -> Run:
    return Run(run.first, next_.last, max(run.dated, next_.dated), max(run.safe, next_.safe))


@dataclass(slots=True)
class DeviceClaims:
    """What one device has said of itself.

    Attributes:
        complete_until: The latest time up to which it claimed to be complete, and was.
        status: The newest that it said.
    """

    complete_until: datetime | None = None
    status: DeviceStatus | None = None

    def add(self, status: DeviceStatus) -> None:
        """Take in a status. A claim that once held still holds, whatever the device says of later punches."""
        self.status = status
        if status.last_sequence is None:
            self._accept(status.complete_until)

    def watermark(self, numbers: SequenceNumbers | None) -> datetime | None:
        """The device's watermark. It never goes back.

        If the device numbers its records and told its newest number, its claim counts only once that record has been
        seen as the newest.

        Args:
            numbers: The record numbers that were seen; None if the device does not number its records without gaps.

        Returns:
            An instant, or None if nothing is known.
        """
        if self.status is not None and (numbers is None or self.status.last_sequence in (None, numbers.newest)):
            self._accept(self.status.complete_until)
        return max(filter(None, (self.complete_until, numbers.until if numbers else None)), default=None)

    def _accept(self, until: datetime | None) -> None:
        # There is no wall clock before the year 1, which a record that nobody checked may claim.
        if until is not None and until.timestamp() > 0:
            self.complete_until = until if self.complete_until is None else max(self.complete_until, until)


@dataclass(frozen=True, slots=True)
class ShiftWatermark:
    """How far a shift is complete.

    Attributes:
        until: The watermark of the device that is furthest behind; None if one of them has none.
        sync: The same in the naive time of the check-ins in ERPNext: what `last_sync_of_checkin` may be.
    """

    until: datetime | None
    sync: datetime | None


def shift_watermark(
    devices: Iterable[Device], watermarks: Mapping[str, datetime], latest: datetime, site_zone: str
) -> ShiftWatermark:
    """How far a shift is complete, by the watermarks of its devices.

    Each watermark is turned into the time in which ERPNext has that device's check-ins: that of the site's zone, or of
    the device's own.

    Args:
        devices: Those of the shift, at least one.
        watermarks: Those that are known, by device.
        latest: Beyond which no shift is complete.
        site_zone: The IANA zone in which ERPNext keeps its naive times.

    Returns:
        The watermark of the device that is furthest behind.
    """
    members = [(device, watermarks.get(device.device_id)) for device in devices]
    known = [(device, max(min(watermark, latest), EPOCH)) for device, watermark in members if watermark is not None]
    if len(known) < len(members):
        return ShiftWatermark(None, None)
    return ShiftWatermark(
        until=min(watermark for _, watermark in known),
        # A device that is ahead of the site must not close what is in the site's future.
        sync=min(
            earliest_wall_clock(latest, site_zone),
            *(_in_target(watermark, device, site_zone) for device, watermark in known),
        ),
    )


def _in_target(watermark: datetime, device: Device, site_zone: str) -> datetime:
    # While its clock goes back, a terminal without offsets dates its punches as in the hour before, a second time.
    read = from_wall_clock(earliest_wall_clock(watermark, device.timezone), device.timezone)
    zone_name = device.timezone if device.checkin_time == "device_local" else site_zone
    return earliest_wall_clock(min(watermark, read), zone_name)
