"""HFSECURITY terminals that are asked, by the LAN API or by HeyStar.

Callbacks may be lost while the server is away, and their address is known to be forgotten, so a terminal that pushes
should be asked as well. Nothing is ever deleted. Of a LAN API the only setting that is written is the callbacks'
address, where the entry's option `callback_url` names one; those of HeyStar are written only when a person says so.
Nothing of this was tried on hardware.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Final, Literal

import structlog
from msgspec.structs import replace

from attendance.errors import DeviceRefused, DeviceUnavailable, InvalidRecord, UnreadableAnswer
from attendance.fleet import Device
from attendance.records.raw_event import RawEvent, Source
from attendance.times import format_seconds, parse_utc
from producers.devices.common.bodies import read_json, write_record
from producers.devices.common.clocks import ASSUMED_LAG, LOST_CLOCK, MAX_ZONE_DIFFERENCE
from producers.devices.common.options import read_options
from producers.devices.common.settings import Setting
from producers.devices.contract import Cursor, DeviceReport, Fetch, Other, Page, Probed, Rejected, Tools
from producers.devices.hfsecurity.heystar import PORTS, HeyStarApi, serial_in
from producers.devices.hfsecurity.heystar_pull import HeyStarReader, check_serial, facts_in
from producers.devices.hfsecurity.heystar_records import (
    PERSON,
    is_record,
    kept_record,
    read_heystar_record,
    record_payload_names,
)
from producers.devices.hfsecurity.heystar_settings import compare, write
from producers.devices.hfsecurity.lan_api import (
    EARLIEST,
    LENGTH,
    LanApi,
    Part,
    Window,
    addresses_in,
    callback_url,
    times_of,
)
from producers.devices.hfsecurity.listed import KeptFields
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

CALLBACK: Final = "callback"
"""The name of the address that a LAN API posts to, in its status and among its settings."""
OVERLAP: Final = timedelta(minutes=10)
LOOK_AFTER: Final = timedelta(minutes=15)
"""How long a device is believed to post to the address that it was last seen to have."""


Api = Literal["lan", "cgi", "middleware"]


class HfSecurityPull:
    """The pull adapter."""

    name: Final = NAME
    version: Final = VERSION
    verified_on: Final = VERIFIED_ON
    options: Final = HfSecurityOptions

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._payload = payload_names(tools.payload_fields)
        self._record_payload = record_payload_names(tools.payload_fields)
        self._kept_fields = KeptFields(tools.payload_fields)
        self._looked_after: dict[str, datetime] = {}
        self._heystar = HeyStarReader()
        self._spoken: dict[tuple[str, str | None, int | None], Api] = {}

    async def fetch(self, wanted: Fetch) -> AsyncIterator[Page]:
        """The records since the cursor less an overlap, by the device's time. See `PullAdapter.fetch`."""
        device = wanted.source
        try:
            api = await self._api(device)
            pages = self._fetch_lan(api, wanted) if isinstance(api, LanApi) else self._fetch_heystar(api, wanted)
            async for page in pages:
                yield page
        except (DeviceUnavailable, DeviceRefused):
            # Another device may be there by now, which is to hear no password before it is known.
            self._spoken.pop(_address_of(device), None)
            raise

    async def _fetch_heystar(self, api: HeyStarApi, wanted: Fetch) -> AsyncIterator[Page]:
        def to_page(rows: Sequence[object], cursor: Cursor) -> Page:
            return self._page(wanted, Part(rows, last=False), cursor, None, last=False)

        async for page in self._heystar.fetch(api, wanted, to_page, lambda: self._callback_url(wanted.source)):
            yield page

    async def _api(self, device: Device) -> LanApi | HeyStarApi:
        """How the device is asked: as its entry says, or else as what answers there does before it hears a password.

        Raises:
            DeviceUnavailable, DeviceRefused, UnreadableAnswer: nothing answers, or nothing that is known.
        """
        options = read_options(device, HfSecurityOptions)
        api = options.api or self._spoken.get(_address_of(device))
        if api is None:
            api = await self._recognise(device)
            self._spoken[_address_of(device)] = api
        return LanApi(self._tools, device) if api == "lan" else HeyStarApi(self._tools, device, api)

    async def _recognise(self, device: Device) -> Api:
        if device.port == PORTS["middleware"]:
            return "middleware"
        if await LanApi(self._tools, device).is_spoken():
            return "lan"
        if await HeyStarApi(self._tools, device, "cgi").is_spoken():
            return "cgi"
        raise UnreadableAnswer(f"{device.device_id}: it answers neither as a LAN API nor as HeyStar")

    async def _fetch_lan(self, lan: LanApi, wanted: Fetch) -> AsyncIterator[Page]:
        device = wanted.source
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
        api = await self._api(source)
        if isinstance(api, LanApi):
            return Probed(await api.serial(), await api.information())
        about = await api.about()
        return Probed(serial_in(about), DeviceReport(details=facts_in(about)))

    async def settings(self, source: Device) -> Sequence[Setting]:
        """The settings on which its punches depend. See `Configurable.settings`."""
        api = await self._api(source)
        if isinstance(api, LanApi):
            return await self._lan_settings(api)
        return [each.setting for each in await compare(api, self._callback_url(source))]

    async def configure(self, source: Device, names: Collection[str]) -> Sequence[Setting]:
        """Change those that differ. See `Configurable.configure`."""
        api = await self._api(source)
        if isinstance(api, LanApi):
            if CALLBACK in names:
                await _reconcile(api)
            return await self._lan_settings(api)
        await check_serial(api)
        await write(api, await compare(api, self._callback_url(source)), names)
        return [each.setting for each in await compare(api, self._callback_url(source))]

    async def _lan_settings(self, lan: LanApi) -> Sequence[Setting]:
        wanted = lan.callback_url()
        if wanted is None:
            return []
        found = addresses_in(await lan.callbacks())
        right = addresses_in([f"{wanted}/identify", f"{wanted}/heartbeat"])
        has = _hosts(found) if not right & found or right <= found else f"{_hosts(found)}, another path"
        return [Setting(CALLBACK, has, _hosts(right), not right <= found)]

    def _callback_url(self, device: Device) -> str | None:
        return callback_url(self._tools, device)

    def _page(self, wanted: Fetch, part: Part, cursor: Cursor, report: DeviceReport | None, *, last: bool) -> Page:
        events: list[RawEvent] = []
        others: list[Other] = []
        rejected: list[Rejected] = []
        batch_id = token_hex(16)
        options = read_options(wanted.source, HfSecurityOptions)
        for index, record in enumerate(part.records):
            source = Source("pull", NAME, VERSION, batch_id, index)
            try:
                outcome = self._read(record, wanted, options, source)
            except InvalidRecord as error:
                raw = write_record(self._kept_fields.of_record(record))
                rejected.append(Rejected(index, error.reason, error.message, self._kept(record), raw))
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

    def _read(self, record: object, wanted: Fetch, options: HfSecurityOptions, source: Source) -> RawEvent | Other:
        """What a record says, by its own words, so that it says the same when it is read again.

        Raises:
            InvalidRecord: it may have been meant as a punch and can be none (`invalid_event`).
        """
        if _is_heystar(record):
            return read_heystar_record(
                record,
                wanted.source,
                options,
                received_at=wanted.now,
                source=source,
                payload=self._record_payload,
            )
        return read_record(
            record,
            wanted.source,
            options,
            received_at=wanted.now,
            source=source,
            payload=self._payload,
            sequence=record.get("id") if isinstance(record, Mapping) else None,
        )

    def _kept(self, record: object) -> bytes:
        if isinstance(record, str):  # an answer that cannot be read, in which anybody's name may be
            return b"null"
        return kept_record(record, self._record_payload) if _is_heystar(record) else kept(record, self._payload)

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
            found = {CALLBACK: f"unknown: {error}"} if lan.options.callback_url is not None else {}
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
        return {CALLBACK: "as wanted"}
    hosts = _hosts(found)
    log.warning("A device posted elsewhere; its address was set again.", device_id=lan.device.device_id, found=hosts)
    return {CALLBACK: f"set again: it posted to {hosts}"}


def _is_heystar(record: object) -> bool:
    return isinstance(record, Mapping) and (PERSON in record or is_record(record))


def _hosts(addresses: Collection[tuple[str, int, str]]) -> str:
    """Addresses to show: their paths hold a token."""
    return ", ".join(sorted({f"{host}:{port}" for host, port, _ in addresses})) or "nowhere"


def _address_of(device: Device) -> tuple[str, str | None, int | None]:
    return device.device_id, device.host, device.port


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
