"""ZoneGuard: lets documents through to ERPNext only while it is certain in which zone the site keeps its times.

A zone that nobody has proven or accepted is proven by the first document: ERPNext dates it by its own clock, in its own
zone. Until then one document at a time is sent. If the proof fails, that document is taken back.
"""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf
from typing import Any, Final, Literal, Protocol

import structlog

from attendance.erpnext import CHECKIN, ErpnextClient
from attendance.errors import (
    AccessDenied,
    DocumentRejected,
    InvalidRecord,
    PermissionDenied,
    ServerError,
    TargetUnavailable,
    ZoneInDoubt,
)
from attendance.records.checkin import Checkin
from attendance.records.site import SiteZone, ZoneState
from attendance.site import Creation, ZoneReading, ZoneStore, find_doubt, known_zone, read_zone
from attendance.times import format_seconds, now
from sinks.targets.base import Delivered, Result, SentBack

log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 60.0  # between two looks at the site's zone
_SAME_NAME: Final = timedelta(minutes=1)

Send = Callable[[Sequence[Checkin], str], Awaitable[list[Result]]]
"""Delivers check-ins to a site that is in this zone."""


class InThread(Protocol):
    """Runs work that asks ERPNext, in a thread with a client of its own."""

    async def __call__(self, work: Callable[[ErpnextClient], Any], /) -> Any:  # noqa: ANN401 - what `work` returns
        """Return what `work` returns."""


@dataclass(frozen=True, slots=True)
class _Sample:
    """A document that ERPNext dated while we sent it: its `creation`, or `modified` where it was there before."""

    document: str
    checkin: Checkin
    zone: str
    """In which the site was then."""
    field: Literal["creation", "modified"]
    began: datetime
    ended: datetime


class OwnMemory:
    """A `ZoneStore` for a target that runs without Kafka: it forgets with the process."""

    def __init__(self) -> None:
        self._zones: dict[str, SiteZone] = {}

    def get(self, site: str) -> SiteZone | None:
        """See `ZoneStore.get`."""
        return self._zones.get(site)

    async def put(self, zone: SiteZone) -> None:
        """See `ZoneStore.put`."""
        self._zones[zone.site] = zone


class ZoneGuard:
    """The zone of one site, as this process knows it."""

    def __init__(
        self,
        site: str,
        in_thread: InThread,
        *,
        clock: Callable[[], float] = time.monotonic,
        utc: Callable[[], datetime] = now,
    ) -> None:
        """Nothing is asked of ERPNext yet.

        Args:
            site: By what name its zone is recorded.
            in_thread: Asks ERPNext.
            clock: Seconds, monotonic.
            utc: The server's clock.
        """
        self._site = site
        self._in_thread = in_thread
        self._clock = clock
        self._utc = utc
        self._zones: ZoneStore = OwnMemory()
        self._report: Callable[[str | None], object] = lambda _: None
        self._reading: ZoneReading | None = None
        self._looked = 0.0
        self._looked_at = utc()
        self._latest: _Sample | None = None
        self._unverified: _Sample | None = None
        self._looking = asyncio.Lock()
        self._proving = asyncio.Lock()

    def use(self, zones: ZoneStore, report: Callable[[str | None], object]) -> None:
        """Keep what is found out in `zones`, and say to `report` why the zone is in doubt; None where it is not."""
        self._zones, self._report = zones, report

    @property
    def name(self) -> str | None:
        """The zone that the site says it has. None while that is unknown."""
        return self._reading.name if self._reading else None

    async def look(self) -> None:
        """Ask the site for its zone, and when it created the newest document that we know of.

        Raises:
            ZoneInDoubt: Nothing may be written.
            PunchstreamError: What `ErpnextClient.call` raises.
        """
        async with self._looking:
            await self._look()

    async def look_if_due(self) -> None:
        """Look, if the last look was a minute ago. Raises what `look` raises."""
        if self._is_due():
            async with self._looking:
                if self._is_due():  # nobody else has looked while we waited
                    await self._look()

    def _is_due(self) -> bool:
        return self._reading is None or self._clock() - self._looked >= LOOK_SECONDS

    async def _look(self) -> None:
        recorded, before = self._zones.get(self._site), self._reading
        # Once: ERPNext gives the name of a document that is removed to another one, of any time.
        sample, self._latest = self._latest, None
        # What a person accepted needs no proof.
        if sample is not None and (recorded is None or (recorded.state, recorded.zone) != ("proven", sample.zone)):
            sample = None
        self._reading, creation = await self._in_thread(lambda client: (read_zone(client), _look_at(client, sample)))
        self._log_change(before, self._reading)
        self._looked, self._looked_at = self._clock(), self._utc()
        known = known_zone(self._reading, recorded)
        if creation is not None and known is not None and not creation.fits(known):
            await self._put("in_doubt", creation.document, creation.doubt(known))
        self._check()

    def _log_change(self, before: ZoneReading | None, after: ZoneReading) -> None:
        if before is not None and before.name is not None and after.name not in (before.name, None):
            log.error(
                "ERPNext's time zone has changed. What was stored since the last look may be in the old one.",
                before=before.name,
                now=after.name,
                since=format_seconds(self._looked_at),
            )

    async def deliver(self, checkins: Sequence[Checkin], send: Send) -> list[Result]:
        """Deliver check-ins, if that is safe.

        Args:
            checkins: Those of one call of `Target.deliver`.
            send: Delivers them.

        Returns:
            What became of each check-in.

        Raises:
            ZoneInDoubt: Nothing was sent.
            PunchstreamError: What `look` raises; nothing was sent either.
        """
        await self.look_if_due()
        known = self._check()
        if known is None:
            return await self._send_one_by_one(checkins, self._watched(send))
        began = self._utc()
        results = await self._watched(send)(checkins, known)
        for checkin, result in zip(checkins, results, strict=True):
            if isinstance(result, Delivered) and result.status == "created":
                self._latest = _Sample(result.document, checkin, known, "creation", began, self._utc())
        return results

    def _watched(self, send: Send) -> Send:
        """The same, and if ERPNext does not answer, look again before anything is sent after that."""

        async def watched(checkins: Sequence[Checkin], zone: str) -> list[Result]:
            results = await send(checkins, zone)
            if any(isinstance(each, TargetUnavailable) and not isinstance(each, ServerError) for each in results):
                self._looked = -inf
            return results

        return watched

    def _check(self) -> str | None:
        """The zone if it is known, None if it has to be proven. Raises ZoneInDoubt."""
        assert self._reading is not None
        recorded = self._zones.get(self._site)
        doubt = find_doubt(self._reading, recorded)
        self._report(doubt)
        if doubt is not None:
            raise ZoneInDoubt(doubt)
        return known_zone(self._reading, recorded)

    async def _send_one_by_one(self, checkins: Sequence[Checkin], send: Send) -> list[Result]:
        results: list[Result] = []
        async with self._proving:
            while len(results) < len(checkins):
                try:
                    if self._unverified is not None:
                        await self._verify(self._unverified)
                    if self._check() is not None:
                        break
                except (TargetUnavailable, AccessDenied) as error:
                    return _pad(results, checkins, error)
                result = await self._send_one(checkins[len(results)], send)
                results.append(result)
                if not isinstance(result, Delivered | InvalidRecord | SentBack):
                    return _pad(results, checkins, result if isinstance(result, ZoneInDoubt) else None)
        if len(results) < len(checkins):
            try:
                results += await self.deliver(checkins[len(results) :], send)
            except (TargetUnavailable, AccessDenied) as error:
                return _pad(results, checkins, error)
        return results

    async def _send_one(self, checkin: Checkin, send: Send) -> Result:
        """Send one check-in to a site whose zone is not proven, and verify the zone by it."""
        assert self._reading is not None
        assert self._reading.name is not None
        began = self._utc()
        [result] = await send([checkin], self._reading.name)
        if not isinstance(result, Delivered) or result.status == "already_there":
            return result
        field: Literal["creation", "modified"] = "creation" if result.status == "created" else "modified"
        self._unverified = _Sample(result.document, checkin, self._reading.name, field, began, self._utc())
        try:
            await self._verify(self._unverified)
        except (TargetUnavailable, AccessDenied) as error:
            return error
        return result

    async def _verify(self, sample: _Sample) -> None:
        """Record what a document proves. Raises ZoneInDoubt if that is nothing, and takes the document back."""
        assert self._reading is not None
        assert self._reading.name is not None
        try:
            creation: Creation | None = await self._in_thread(lambda client: _creation(client, sample))
            unreadable = "ERPNext does not show it"
        except (PermissionDenied, DocumentRejected) as error:
            creation, unreadable = None, str(error)
        if creation is not None and creation.fits(self._reading.name):
            await self._put("proven", sample.document, None)
            log.info("The site's time zone is proven.", zone=self._reading.name, document=sample.document)
            self._unverified, self._latest = None, sample
            return
        if creation is not None:
            why = creation.doubt(self._reading.name)
        else:
            why = (
                f"The zone {self._reading.name} cannot be proven, because the {sample.field} of {sample.document} "
                f"cannot be read: {unreadable}. Let the API user read Employee Checkin, or accept the zone with "
                f"`punchstream erpnext zone --accept {self._reading.name}`."
            )
        # After a while another document may have its name, so it must have been seen.
        may_remove = creation is not None or self._utc() - sample.ended < _SAME_NAME
        removed = may_remove and await self._in_thread(lambda client: _take_back(client, sample))
        await self._put("in_doubt", sample.document, why)
        self._unverified = None
        log.error(
            "The site's time zone is not proven.",
            zone=self._reading.name,
            document=sample.document,
            document_removed=removed,
            reason=why,
        )
        self._check()

    async def _put(self, state: ZoneState, document: str, why: str | None) -> None:
        assert self._reading is not None
        assert self._reading.name is not None
        by = f"sink on {socket.gethostname()}"
        name = self._reading.name
        await self._zones.put(SiteZone(self._site, name, state, self._utc(), by, name, document, why))


def _pad(results: list[Result], checkins: Sequence[Checkin], rest: Result) -> list[Result]:
    return results + [rest] * (len(checkins) - len(results))


def _creation(client: ErpnextClient, sample: _Sample) -> Creation | None:
    """When ERPNext dated the document; None if it does not show it. Raises what `get_list` raises."""
    fields = [sample.field, "employee", "device_id"]
    rows = client.get_list(CHECKIN, fields, [("name", "=", sample.document)], limit=1)
    ours = (sample.checkin.employee, sample.checkin.device_id)
    if not rows or (rows[0]["employee"], rows[0]["device_id"]) != ours:
        return None
    try:
        stamp = datetime.fromisoformat(str(rows[0][sample.field]))
    except (LookupError, ValueError):
        return None
    # By the site's own clock: one of ours that is wrong says nothing of its zone, and nor does one of its.
    began, ended = sample.began + client.clock_ahead, sample.ended + client.clock_ahead
    return Creation(sample.document, stamp.replace(tzinfo=None), began, ended)


def _look_at(client: ErpnextClient, sample: _Sample | None) -> Creation | None:
    """The same of a document that nothing depends on. Somebody may have removed it."""
    try:
        return _creation(client, sample) if sample is not None else None
    except (PermissionDenied, DocumentRejected):
        return None


def _take_back(client: ErpnextClient, sample: _Sample) -> bool:
    """Remove a document that we created; whether it is gone."""
    if sample.field != "creation":
        return False
    try:
        client.delete(CHECKIN, sample.document)
    except (TargetUnavailable, AccessDenied, DocumentRejected) as error:
        log.error("A document with a doubtful time stays in ERPNext.", document=sample.document, error=str(error))
        return False
    return True
