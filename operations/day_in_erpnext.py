"""Which punches of a day ERPNext has, asked by their event ids."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass

from attendance.erpnext import CHECKIN, EVENT_ID_FIELD, Document, ErpnextClient
from attendance.errors import ConfigurationError, ZoneInDoubt
from attendance.settings import ErpnextSettings
from attendance.site import site_of
from attendance.times import from_milliseconds, to_wall_clock
from operations.day_punches import Punch
from operations.deleted_rows import LOOK_UP
from operations.log import Log
from operations.site.zone import the_sites_zone
from sinks.targets.erpnext.documents import StoredPunch


@dataclass(frozen=True, slots=True)
class Erpnext:
    """The site that is asked."""

    settings: ErpnextSettings

    async def which(self, log: Log, punches: Sequence[Punch]) -> frozenset[str]:
        """The event ids of the punches that ERPNext has. ERPNext is asked in a thread, for its client waits.

        Args:
            log: The topics, which have the zone of the site.
            punches: Delivered ones.

        Raises:
            PunchstreamError: what `ErpnextClient.call` raises.
            KafkaUnavailable: Kafka does not answer.
        """
        return await asyncio.to_thread(asyncio.run, self._which(log, punches))

    async def _which(self, log: Log, punches: Sequence[Punch]) -> frozenset[str]:
        with closing(ErpnextClient(self.settings)) as client:
            try:
                zone = await the_sites_zone(log, client, site_of(self.settings.url))
            except ZoneInDoubt:
                zone = None
            return find(client, punches, zone)


def find(client: ErpnextClient, punches: Sequence[Punch], site_zone: str | None) -> frozenset[str]:
    """The event ids of the punches that ERPNext has.

    A document counts that has the event id. Where none has it, the document counts that was delivered, if it has no
    event id or says the same time: ERPNext may have had it from elsewhere, or another terminal's of the same second.

    Args:
        client: The site.
        punches: Delivered ones.
        site_zone: In which the site keeps its times; None where that is in doubt. Then a document of the same name
            counts only if it has no event id.

    Raises:
        PunchstreamError: what `ErpnextClient.call` raises.
    """
    has_field = client.has_event_id_field()
    found: set[str] = set()
    if has_field:
        for ids in _parts(sorted({each.name for each in punches})):
            rows = client.get_list(CHECKIN, [EVENT_ID_FIELD], [(EVENT_ID_FIELD, "in", ids)])
            found |= {row[EVENT_ID_FIELD] for row in rows}
    of_document: dict[str, list[Punch]] = {}
    for punch in punches:
        if punch.name not in found:
            for delivery in punch.deliveries:
                of_document.setdefault(delivery.document, []).append(punch)
    fields = ["name", "employee", "time", "log_type", *([EVENT_ID_FIELD] if has_field else [])]
    for names in _parts(sorted(of_document)):
        for row in client.get_list(CHECKIN, fields, [("name", "in", names)]):
            its = of_document.get(row["name"], ())
            found |= {punch.name for punch in its if not row.get(EVENT_ID_FIELD) or _says(row, punch, site_zone)}
    return frozenset(found)


def _says(row: Document, punch: Punch, site_zone: str | None) -> bool:
    """Whether a document has the time of a punch, in the zone of the site or in that of the device."""
    times = set()
    for checkin in punch.checkins:
        at = from_milliseconds(checkin.event_time)
        for zone in (site_zone, checkin.device_timezone):
            try:
                times.add("" if zone is None else f"{to_wall_clock(at, zone):%Y-%m-%d %H:%M:%S}")
            except (ConfigurationError, OverflowError):
                continue
    return site_zone is not None and StoredPunch.of(row).time in times


def _parts(names: Iterable[str]) -> Iterable[list[str]]:
    every = list(names)
    return (every[begin : begin + LOOK_UP] for begin in range(0, len(every), LOOK_UP))
