"""The zone of an ERPNext site: what the site says, what is recorded, and why the two are in doubt. Loads no Kafka.

Whoever reads or writes a naive time of the site asks `trusted_zone`. Only the sink may write while the zone is not
proven yet: one check-in at a time, of which it looks at the creation (`fits`).
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol
from urllib.parse import urlsplit

import structlog

from attendance.errors import ConfigurationError, InvalidRecord, ZoneInDoubt
from attendance.kafka.records import KeyValue
from attendance.records.site import SiteZone, decode_key
from attendance.times import to_wall_clock, zone

log = structlog.get_logger(__name__)

CLOCKS_DIFFER: Final = timedelta(minutes=7)
"""By how much what dates a document may differ from the clock that is compared with it. Zones differ by 15 minutes and
more."""
REMEDY: Final = (
    "Let the API user read System Settings, or let its GET /app through to ERPNext; or decide it with "
    "`punchstream erpnext zone --accept ZONE`."
)
_PORTS: Final = {"http": 80, "https": 443}


class ReadsZone(Protocol):
    """A client of ERPNext."""

    def site_zone(self) -> str:
        """See `attendance.erpnext.ErpnextClient.site_zone`."""


class KnownZones(Protocol):
    """Where it stands in which zone a site keeps its times, for every process and for good."""

    def get(self, site: str) -> SiteZone | None:
        """What is recorded of a site. Safe from any thread.

        Args:
            site: By the name that `site_of` gives it.
        """


class ZoneStore(KnownZones, Protocol):
    """The same, to be written."""

    async def put(self, zone: SiteZone) -> None:
        """Record a zone, and return when that is durable."""


def site_of(url: str) -> str:
    """The name by which a site is recorded: its address, spelled in one way.

    Args:
        url: As `ERPNEXT_URL` has it.
    """
    parts = urlsplit(url)
    port = "" if parts.port in (None, _PORTS.get(parts.scheme.lower())) else f":{parts.port}"
    return f"{parts.scheme.lower()}://{parts.hostname}{port}{parts.path.rstrip('/')}"


class ZoneRecords:
    """The site topic in memory, fed record by record."""

    def __init__(self) -> None:
        self._zones: dict[str, SiteZone] = {}

    def learn(self, record: KeyValue) -> None:
        """Take in one record; one that cannot be read is logged and ignored."""
        try:
            if record.value is None:
                self._zones.pop(decode_key(record.key).site, None)
            else:
                found = SiteZone.decode(record.key, record.value)
                self._zones[found.site] = found
        except InvalidRecord as error:
            log.error("Ignoring a record of the site that cannot be read.", key=record.key, error=error.message)

    def get(self, site: str) -> SiteZone | None:
        """What is recorded of a site, by the name that `site_of` gives it."""
        return self._zones.get(site)


@dataclass(frozen=True, slots=True)
class ZoneReading:
    """What a site says of its own zone.

    Attributes:
        name: The IANA zone, which exists; None if the site does not say it.
        problem: Why it is None.
    """

    name: str | None
    problem: str | None = None


def read_zone(client: ReadsZone) -> ZoneReading:
    """Ask a site for its own zone.

    Args:
        client: The site.

    Raises:
        PunchstreamError: What `ErpnextClient.call` raises; but not that the site does not say it.
    """
    try:
        name = client.site_zone()
    except ZoneInDoubt as error:
        return ZoneReading(None, f"ERPNext does not say its zone: {error}")
    try:
        return ZoneReading(zone(name).key)
    except ConfigurationError as error:
        return ZoneReading(None, f"The time zone in ERPNext's System Settings: {error}")


def find_doubt(reading: ZoneReading, recorded: SiteZone | None) -> str | None:
    """Why nothing may be written at the site.

    Args:
        reading: What the site says now.
        recorded: What is recorded of it.

    Returns:
        The reason and what to do, or None. Without a reason the zone is either recorded or has to be proven.
    """
    if recorded is not None and recorded.state == "accepted" and reading.name in (recorded.zone, recorded.read):
        return None
    if reading.name is None:
        return f"{reading.problem}. {REMEDY}"
    # What failed for another zone says nothing of this one.
    if recorded is None or (recorded.zone == reading.name) == (recorded.state != "in_doubt"):
        return None
    if recorded.state == "in_doubt":
        return recorded.why or f"{recorded.by} could not prove that ERPNext's zone is {recorded.zone}. {REMEDY}"
    return (
        f"ERPNext's zone was {recorded.zone} ({recorded.state} at {recorded.at:%Y-%m-%d %H:%M} UTC) and is "
        f"{reading.name} now. Set it back in System Settings, or accept it with "
        f"`punchstream erpnext zone --accept {reading.name}`."
    )


def known_zone(reading: ZoneReading, recorded: SiteZone | None) -> str | None:
    """The zone that was proven or accepted, and still is what the site says. None while it is in doubt or unproven.

    Args:
        reading: What the site says now.
        recorded: What is recorded of it.
    """
    if recorded is None or recorded.state == "in_doubt" or find_doubt(reading, recorded) is not None:
        return None
    return recorded.zone


def trusted_zone(client: ReadsZone, recorded: SiteZone | None) -> str:
    """The site's zone, for everybody but the sink.

    Args:
        client: The site, which is asked.
        recorded: What is recorded of it.

    Returns:
        An IANA zone that exists.

    Raises:
        ZoneInDoubt: It is in doubt, or not proven yet.
        PunchstreamError: What `ErpnextClient.call` raises.
    """
    reading = read_zone(client)
    name = known_zone(reading, recorded)
    if name is None:
        raise ZoneInDoubt(find_doubt(reading, recorded) or unproven(reading))
    return name


def unproven(reading: ZoneReading) -> str:
    """What to say of a zone that nobody has proven or accepted.

    Args:
        reading: What the site says.
    """
    return (
        f"ERPNext says that its zone is {reading.name}, which is not proven yet: the sink proves it with its first "
        f"check-in. To go on before that: `punchstream erpnext zone --accept {reading.name}`."
    )


@dataclass(frozen=True, slots=True)
class Creation:
    """When the site says that it stored a document, and when that was in UTC.

    Attributes:
        document: Its name.
        stamp: The naive time that the site gave it.
        began: The site's clock before the request, UTC; ours if it does not show its own.
        ended: The same after the request.
    """

    document: str
    stamp: datetime
    began: datetime
    ended: datetime

    def fits(self, zone_name: str) -> bool:
        """Whether a site in this zone would have dated it so.

        Where the clock goes back, a naive time is of two instants, and either may be meant.

        Args:
            zone_name: An IANA zone that exists.
        """
        for fold in (0, 1):
            instant = self.stamp.replace(tzinfo=zone(zone_name), fold=fold).astimezone(UTC)
            # No clock of the zone shows a time that a change leaves out.
            exists = to_wall_clock(instant, zone_name) == self.stamp.replace(microsecond=0)
            if exists and self.began - CLOCKS_DIFFER <= instant <= self.ended + CLOCKS_DIFFER:
                return True
        return False

    def doubt(self, zone_name: str) -> str:
        """What to say where it does not fit.

        Args:
            zone_name: The zone that it does not fit.
        """
        middle = (self.began + (self.ended - self.began) / 2).replace(microsecond=0)
        said = middle.astimezone(zone(zone_name)).utcoffset() or timedelta()
        seen = self.stamp - middle.replace(tzinfo=None)
        return (
            f"ERPNext says that its zone is {zone_name} ({_offset(said)}), but it dated {self.document} as in "
            f"{_offset(seen)}: {self.stamp:%Y-%m-%d %H:%M:%S}, when it was {middle:%Y-%m-%d %H:%M:%S} UTC. Set the "
            "zone in System Settings and the server's clock right; then `punchstream erpnext zone --prove-again`, or "
            "decide it with `--accept ZONE`."
        )


def _offset(offset: timedelta) -> str:
    minutes = round(offset / timedelta(minutes=15)) * 15
    return f"UTC{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
