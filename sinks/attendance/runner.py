"""DirectAttendance: for each shift that asks for it, the days that became complete or changed become Attendance.

Completeness says up to when a shift is complete (`offer`). The check-ins that changed since the last look are read, and
each day of theirs that is over is decided anew by all that ERPNext has of it. Nothing is kept in the process that it
could not find again: what was written is in ERPNext, and from where to read on is on the progress topic.
"""

import asyncio
import random
from collections.abc import Awaitable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby, islice
from typing import Final, NoReturn

import structlog

from attendance.errors import (
    AccessDenied,
    ConfigurationError,
    Conflict,
    DocumentRejected,
    InvalidRecord,
    KafkaUnavailable,
    PermissionDenied,
    ServerError,
    TargetUnavailable,
)
from attendance.fleet import Device, Shift
from attendance.guards import Guards
from attendance.kafka.producer import Producer
from attendance.kafka.readers import snapshot
from attendance.kafka.records import OutRecord
from attendance.metrics import Metrics
from attendance.records.attendance_day import AttendanceDay, AttendanceProgress
from attendance.settings import KafkaSettings
from attendance.times import now, to_wall_clock
from sinks.attendance.days import FIRST_DAYS, OpenDays
from sinks.attendance.policy import Day
from sinks.attendance.site import AttendanceSite
from sinks.attendance.writer import NotAmended, bring_about, rejected

log = structlog.get_logger(__name__)

CHUNK: Final = 100
"""Days whose facts are read together."""
AT_A_TIME: Final = 1000
"""Days of one shift, before the next shift has its turn."""
CHUNK_FAILS: Final = 5
"""Failures after which the rest of a chunk waits for the next look, if nothing was written in this one."""
SITE_FAILS: Final = 10
"""Failures, in several chunks, after which a look in which nothing was written ends: it is ERPNext that fails."""


@dataclass(frozen=True, slots=True)
class CompleteShift:
    """Up to when a shift is complete.

    Attributes:
        shift: The entry of the fleet.
        until: A naive time in the zone.
        zone_name: The IANA zone in which ERPNext has the check-ins of the shift; None where they are in several.
    """

    shift: Shift
    until: datetime
    zone_name: str | None


def common_zone(devices: Iterable[Device], site_zone: str) -> str | None:
    """The one zone in which ERPNext has the check-ins of these devices; None where there are several."""
    zones = {device.timezone if device.checkin_time == "device_local" else site_zone for device in devices}
    return zones.pop() if len(zones) == 1 else None


@dataclass(slots=True)
class _Done:
    """What came of some days: their records, and which of the days need no other look, or one later."""

    records: list[AttendanceDay] = field(default_factory=list)
    finished: list[Day] = field(default_factory=list)
    failed: list[Day] = field(default_factory=list)


@dataclass(slots=True)
class _Look:
    """Whether anything was written in a look, and on how many days ERPNext failed."""

    has_written: bool = False
    failures: int = 0

    def is_hopeless(self, failures: int) -> bool:
        """Whether nothing was written and ERPNext failed so often."""
        return not self.has_written and self.failures >= failures


class DirectAttendance:
    """The days of all shifts that ask for it. One at a time, and each Attendance by itself."""

    def __init__(
        self,
        kafka: KafkaSettings,
        site: AttendanceSite,
        producer: Producer,
        metrics: Metrics,
        guards: Guards | None = None,
    ) -> None:
        """Nothing is read or asked yet.

        Args:
            kafka: Where the records are written.
            site: The site, with a connection of its own.
            producer: Writes what came of each day.
            metrics: What is counted.
            guards: What may keep it from working; None is nothing.
        """
        self._guards = guards or Guards(metrics)
        self._kafka = kafka
        self._site = site
        self._producer = producer
        self._metrics = metrics
        self._offered: Sequence[CompleteShift] = ()
        self._is_due = asyncio.Event()
        self._saved: dict[str, AttendanceProgress] = {}
        self._days: dict[str, OpenDays] = {}
        self._refused: dict[str, str] = {}
        self._is_restored = False
        self._is_withdrawn = False

    @property
    def refused(self) -> Mapping[str, str]:
        """The shifts for which nothing is written, and why."""
        return self._refused

    def offer(self, shifts: Sequence[CompleteShift], asking: Collection[str]) -> None:
        """Say up to when shifts are complete.

        Args:
            shifts: Those that are complete up to some time. Others are left alone until they are named again.
            asking: Every Shift Type that asks for Attendance directly.
        """
        for shift_type in self._refused.keys() - set(asking):
            del self._refused[shift_type]
            self._metrics.ready(f"attendance of {shift_type}", None)
        self._offered = shifts
        self._is_withdrawn = False
        self._is_due.set()

    def withdraw(self) -> None:
        """What was offered is in doubt: write nothing more until the next offer."""
        self._offered = ()
        self._is_withdrawn = True

    async def run(self, client_id: str, shifts: Iterable[str]) -> NoReturn:
        """Look at what was offered, for ever.

        Args:
            client_id: By what name Kafka knows the consumer.
            shifts: The Shift Types that are looked at once now, for what stands in the way.
        """
        for shift_type in shifts:
            await self._try(shift_type, asyncio.to_thread(self._may_write, shift_type))
        while True:
            await self._is_due.wait()
            await self._guards.until_clear()
            self._is_due.clear()
            for complete in self._offered:
                if await self._try(complete.shift.shift_type, self.look(complete, client_id)):
                    self._is_due.set()

    async def look(self, complete: CompleteShift, client_id: str) -> bool:
        """Turn the days of one shift that became complete, or changed, into Attendance.

        Args:
            complete: The shift.
            client_id: By what name Kafka knows the consumer.

        Returns:
            Whether more days could be looked at now.

        Raises:
            ConfigurationError: its check-ins are in several zones, or ERPNext does not say which days are holidays.
            KafkaUnavailable: what came of the last days is not recorded yet; they are looked at again.
            PunchstreamError: what `ErpnextClient.call` raises of the site as a whole.
        """
        shift, zone_name = complete.shift, complete.zone_name
        if zone_name is None:
            raise ConfigurationError("ERPNext has the check-ins of its devices in several time zones (checkin_time)")
        clock = to_wall_clock(now(), zone_name)
        if not await asyncio.to_thread(self._may_write, shift.shift_type):
            return False
        await self._restore(client_id)
        days = self._open_days(shift, clock)
        await asyncio.to_thread(self._read, days)
        ready = days.complete(complete.until, clock)
        if len(ready) <= AT_A_TIME:
            await asyncio.to_thread(self._go_over, days, complete.until)
            ready = days.complete(complete.until, clock)
        look = _Look()
        # In any order: ten employees on whom ERPNext fails must not stand before a thousand others each time.
        chunks = list(_chunks(ready[:AT_A_TIME]))
        for chunk in random.sample(chunks, len(chunks)):
            if self._is_withdrawn or self._guards.standing:
                return False
            done = _Done()
            try:
                await asyncio.to_thread(self._work_on, days, chunk, complete, zone_name, look, done)
            finally:
                await self._record(done.records)
                for day in done.finished:
                    days.finished(day)
                for day in done.failed:
                    days.failed(day, clock)
            if look.is_hopeless(SITE_FAILS):
                log.error(
                    "ERPNext refuses every Attendance of this shift; trying again later.", shift_type=days.shift_type
                )
                break
        await self._save(days.advance(clock))
        if self._refused.pop(shift.shift_type, None) is not None:
            self._metrics.ready(f"attendance of {shift.shift_type}", None)
            log.info("Attendance is written for this shift again.", shift_type=shift.shift_type)
        return len(ready) > AT_A_TIME and not look.is_hopeless(SITE_FAILS)

    async def _try(self, shift_type: str, work: Awaitable[bool]) -> bool:
        """Await work and return what it returns; whatever goes wrong is logged, and gives False."""
        try:
            return await work
        except KafkaUnavailable as error:
            log.warning("Waiting for Kafka.", error=str(error))
        except TargetUnavailable as error:
            log.warning("Waiting for ERPNext.", shift_type=shift_type, error=str(error))
        except (AccessDenied, DocumentRejected, ConfigurationError) as error:
            self._refuse(shift_type, str(error))
        except Exception:
            log.exception("The Attendance of this shift failed; trying again later.", shift_type=shift_type)
        return False

    def _may_write(self, shift_type: str) -> bool:
        """Whether this shift is Punchstream's. Two that make Attendance of one day would pay it by whoever is first."""
        if self._site.shift_type(shift_type).auto_attendance:
            self._refuse(shift_type, "auto attendance is switched on for this Shift Type in ERPNext")
            return False
        return True

    def _refuse(self, shift_type: str, why: str) -> None:
        if self._refused.get(shift_type) != why:
            log.error("No Attendance is written for this shift.", shift_type=shift_type, error=why)
        self._refused[shift_type] = why
        self._metrics.ready(f"attendance of {shift_type}", f"no Attendance is written for {shift_type}: {why}")

    def _open_days(self, shift: Shift, clock: datetime) -> OpenDays:
        name = shift.shift_type
        days, saved = self._days.get(name), self._saved.get(name)
        begins = shift.attendance_from
        if begins is None:
            begins = days.begins if days else saved.begins if saved else clock.date() - FIRST_DAYS
        if days is None or begins != days.begins:
            days = self._days[name] = OpenDays.resumed(name, begins, saved)
        return days

    def _read(self, days: OpenDays) -> None:
        self._site.begin()
        for page in self._site.changed_checkins(days.shift_type, days.since):
            days.add(page)

    def _go_over(self, days: OpenDays, until: datetime) -> None:
        on = days.next_date(until)
        if on >= days.begins:
            days.went_over(on, self._site.left_behind(days.shift_type, on))

    def _work_on(
        self,
        days: OpenDays,
        chunk: Sequence[Day],
        complete: CompleteShift,
        zone_name: str,
        look: _Look,
        done: _Done,
    ) -> None:
        """Decide and write each day, and add what came of it to `done`."""
        shift_type = self._site.shift_type(days.shift_type)
        if shift_type.auto_attendance:
            return  # switched on meanwhile; the next look says so
        facts = self._site.facts(shift_type, chunk[0].attendance_date, [day.employee for day in chunk])
        before = look.failures
        for day in random.sample(chunk, len(chunk)):
            if look.is_hopeless(before + CHUNK_FAILS):
                break
            found, at = facts[day], now()
            if found.ends is not None and found.ends >= complete.until:
                days.reopen(day, found.ends)
                continue
            try:
                record = bring_about(self._site, shift_type, complete.shift, day, found, zone_name, at)
            except Conflict:
                done.failed.append(day)  # a person is at it
                continue
            except (DocumentRejected, ServerError, PermissionDenied, NotAmended) as error:
                look.failures += 1
                self._add_failure(days, day, error, rejected(day, error, at, zone_name), done)
                continue
            done.finished.append(day)
            if record is not None:
                done.records.append(record)
                look.has_written |= record.outcome in {"written", "corrected"}

    def _add_failure(self, days: OpenDays, day: Day, error: Exception, record: AttendanceDay, done: _Done) -> None:
        done.failed.append(day)
        is_new = not days.has_failed(day)
        if is_new:
            done.records.append(record)
        if record.supersedes is not None:
            # At each try, because a day that was paid is not paid now. The tries grow rare.
            log.error(
                "ERPNext refuses what replaces a cancelled Attendance; the day has none until it takes it.",
                day=day.marker(),
                cancelled=record.supersedes,
                error=str(error),
            )
        elif is_new:
            log.warning("ERPNext refused an Attendance; trying again later.", day=day.marker(), error=str(error))

    async def _record(self, done: Sequence[AttendanceDay]) -> None:
        topic = self._kafka.topics["attendance_days"]
        await self._producer.send(*(OutRecord(topic, day.key, day.encode(), day.headers()) for day in done))
        for day in done:
            self._metrics.count("punchstream_attendance_days_total", outcome=day.outcome, reason=day.reason or "")
            if day.outcome in {"written", "corrected"}:
                log.info("Attendance written.", day=day.day, document=day.document, status=day.status)

    async def _save(self, progress: AttendanceProgress) -> None:
        if self._saved.get(progress.shift_type) != progress:
            topic = self._kafka.topics["attendance_progress"]
            await self._producer.send(OutRecord(topic, progress.key, progress.encode()))
            self._saved[progress.shift_type] = progress

    async def _restore(self, client_id: str) -> None:
        if self._is_restored:
            return
        for record in await snapshot(self._kafka, self._kafka.topics["attendance_progress"], client_id):
            try:
                progress = AttendanceProgress.decode(record.value)
            except InvalidRecord as error:
                # Then its shift is read from its first day, which decides the same.
                log.error("Ignoring a record of progress that cannot be read.", error=error.message)
                continue
            self._saved[progress.shift_type] = progress
        self._is_restored = True


def _chunks(days: Sequence[Day]) -> Iterator[list[Day]]:
    """The days in their order, some of one date at a time."""
    for _, members in groupby(days, key=lambda day: day.attendance_date):
        while chunk := list(islice(members, CHUNK)):
            yield chunk
