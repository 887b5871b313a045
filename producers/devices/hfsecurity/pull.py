"""HFSECURITY terminals that are asked.

Callbacks may be lost while the server is away, and their address is known to be forgotten, so a terminal that pushes
should be asked as well. Nothing is ever deleted, and the only setting that is written is the callbacks' address, where
the entry's option `callback_url` names one. Nothing of this was tried on hardware.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Final

import structlog
from msgspec.structs import replace

from attendance.errors import DeviceRefused, DeviceUnavailable, InvalidRecord, UnreadableAnswer
from attendance.records.raw_event import RawEvent, Source
from attendance.registry import Device
from attendance.times import format_seconds, parse_utc
from producers.devices.common.bodies import read_json, write_record
from producers.devices.common.clocks import ASSUMED_LAG, LOST_CLOCK, MAX_ZONE_DIFFERENCE
from producers.devices.common.options import read_options
from producers.devices.contract import Cursor, DeviceReport, Fetch, Other, Page, Probed, Rejected, Tools
from producers.devices.hfsecurity.lan_api import EARLIEST, LENGTH, LanApi, Part, Window, addresses_in, times_of
from producers.devices.hfsecurity.recognition import (
    NAME,
    VERIFIED_ON,
    VERSION,
    HfSecurityOptions,
    kept,
    payload_names,
    read_record,
)

log = structlog.get_logger(__name__)

OVERLAP: Final = timedelta(minutes=10)
LOOK_AFTER: Final = timedelta(minutes=15)
"""How long a device is believed to post to the address that it was last seen to have."""


class HfSecurityPull:
    """The pull adapter."""

    name: Final = NAME
    version: Final = VERSION
    verified_on: Final = VERIFIED_ON
    options: Final = HfSecurityOptions

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._payload = payload_names(tools.payload_fields)
        self._looked_after: dict[str, datetime] = {}

    async def fetch(self, wanted: Fetch) -> AsyncIterator[Page]:
        """The records since the cursor less an overlap, by the device's time. See `PullAdapter.fetch`."""
        device = wanted.source
        lan = LanApi(self._tools, device)
        await lan.check_serial()
        progress = _Progress(wanted)
        windows = _windows(wanted, progress.begun_at)
        begun = False
        for window in windows:
            async for part in lan.read(window):
                # Only now: punches come first, and a wrong password is to be tried once.
                report = None if begun else await self._look_after(lan, wanted.now)
                begun = True
                last = part.last and window is windows[-1]
                yield self._page(wanted, part, progress.after(part, last=last), report, last=last)
                if part.fault is not None:
                    raise UnreadableAnswer(f"{device.device_id}: {part.fault}")

    def read_again(self, raw: bytes, wanted: Fetch) -> Page:
        """What a record comes to today. See `PullAdapter.read_again`."""
        return self._page(wanted, Part([read_json(raw)], last=False), {}, None, last=False)

    async def probe(self, source: Device) -> Probed:
        """Its serial number, and what it says of itself. See `PullAdapter.probe`."""
        lan = LanApi(self._tools, source)
        return Probed(await lan.serial(), await lan.information())

    def _page(self, wanted: Fetch, part: Part, cursor: Cursor, report: DeviceReport | None, *, last: bool) -> Page:
        events: list[RawEvent] = []
        others: list[Other] = []
        rejected: list[Rejected] = []
        batch_id = token_hex(16)
        options = read_options(wanted.source, HfSecurityOptions)
        for index, record in enumerate(part.records):
            try:
                outcome = read_record(
                    record,
                    wanted.source,
                    options,
                    received_at=wanted.now,
                    source=Source("pull", NAME, VERSION, batch_id, index),
                    payload=self._payload,
                    sequence=record.get("id") if isinstance(record, Mapping) else None,
                )
            except InvalidRecord as error:
                rejected.append(
                    Rejected(index, error.reason, error.message, kept(record, self._payload), write_record(record))
                )
                continue
            if isinstance(outcome, Other):
                others.append(outcome)
            else:
                events.append(outcome)
        until = None
        # A total that is no more than a full page may be that of the page.
        if last and part.fault is None and wanted.since is None and len(part.records) < LENGTH:
            clock = None if report is None else report.device_time
            until = wanted.now - ASSUMED_LAG if clock is None else min(wanted.now, clock)
        return Page(cursor, events, rejected, others, report, until)

    async def _look_after(self, lan: "LanApi", now: datetime) -> DeviceReport | None:
        """What the device says of itself, now and then; and its callbacks' address put right, where one is wanted.

        None of it may hold up the punches.
        """
        device_id = lan.device.device_id
        looked = self._looked_after.get(device_id)
        if looked is not None and now - looked < LOOK_AFTER:
            return None
        self._looked_after[device_id] = now
        report = DeviceReport()
        try:
            report = await lan.information()
            found = await _reconcile(lan)
        except (DeviceUnavailable, DeviceRefused) as error:
            log.warning("A device's settings cannot be looked after.", device_id=device_id, error=str(error))
            found = {"callback": f"unknown: {error}"} if lan.options.callback_url is not None else {}
        return replace(report, details={**report.details, **found})


class _Progress:
    """How far a fetch has come, as the cursor of its pages.

    The cursor is the time of the newest record that has been read. Before the window's end it moves only as long as
    the device gives its records in the order of their times, for a fetch that goes on there asks for later ones. It
    does not move by a record that is dated ahead of the server's clock, or all before that would be passed over.
    """

    def __init__(self, wanted: Fetch) -> None:
        self._wanted = wanted
        self.begun_at = _through(wanted.cursor)
        self._newest = self.begun_at
        self._previous = datetime.min.replace(tzinfo=UTC)
        self._ordered = True
        # A sweep that begins after the cursor leaves a gap behind it.
        self._covers = wanted.since is None or (self.begun_at is not None and wanted.since <= self.begun_at)

    def after(self, part: Part, *, last: bool) -> Cursor:
        """The cursor after this page, of which `last` says whether it is the last of the fetch.

        Args:
            part: The page.
            last: Whether it is the last of the fetch.
        """
        for time in times_of(part.records, self._wanted.source):
            if time is None or time < self._previous:
                self._ordered = False
                continue
            self._previous = time
            if EARLIEST <= time <= self._wanted.now and (self._newest is None or time > self._newest):
                self._newest = time
        moves = self._covers and part.fault is None and (last or self._ordered)
        if not moves or self._newest is None:
            return self._wanted.cursor or {}
        return {"through": format_seconds(self._newest)}


async def _reconcile(lan: LanApi) -> Mapping[str, str]:
    """Have the device post to the entry's `callback_url`, and say what was found; nothing where there is none."""
    wanted = lan.callback_url()
    if wanted is None:
        return {}
    found = addresses_in(await lan.callbacks())
    differs = False
    for url, post in (
        (f"{wanted}/identify", lan.post_recognitions_to),
        (f"{wanted}/heartbeat", lan.post_heartbeats_to),
    ):
        if not addresses_in(url) <= found:
            await post(url)
            differs = True
    if not differs:
        return {"callback": "as wanted"}
    # Their paths hold a token.
    hosts = ", ".join(sorted({f"{host}:{port}" for host, port, _ in found})) or "nowhere"
    log.warning("A device posted elsewhere; its address was set again.", device_id=lan.device.device_id, found=hosts)
    return {"callback": f"set again: it posted to {hosts}"}


def _windows(wanted: Fetch, through: datetime | None) -> Sequence[Window]:
    if wanted.since is not None:
        since = max(wanted.since, EARLIEST) - MAX_ZONE_DIFFERENCE
        lost = Window(EARLIEST, str(LOST_CLOCK.replace(tzinfo=None)))
        return [Window(since)] if since <= LOST_CLOCK else [lost, Window(since)]
    return [Window(EARLIEST) if through is None else Window(through - OVERLAP, anchor=through)]


def _through(cursor: Cursor | None) -> datetime | None:
    """The time of the newest record that was read; None where nothing can be said, and all is read again."""
    try:
        return max(parse_utc((cursor or {})["through"]), EARLIEST)
    except (KeyError, TypeError, ValueError):
        return None
