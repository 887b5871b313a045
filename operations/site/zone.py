"""The zone of the ERPNext site: what it says, what is recorded of it, and a person's decision."""

from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

from attendance.errors import KafkaUnavailable, PunchstreamError, ZoneInDoubt
from attendance.kafka.records import OutRecord
from attendance.records.site import SiteZone
from attendance.site import (
    ReadsZone,
    ZoneReading,
    ZoneRecords,
    find_doubt,
    known_zone,
    read_zone,
    trusted_zone,
    unproven,
)
from attendance.times import now, zone
from operations.log import Log
from operations.site.results import Check, attempt, unseen

State = Literal["proven", "accepted", "not proven", "in doubt"]


@dataclass(frozen=True, slots=True)
class ZoneReport:
    """What is known of the zone of one site.

    Attributes:
        site: Its address.
        read: The zone that the site says it has; None where it says none, or was not asked successfully.
        recorded: The zone that is on the topic.
        state: Whether times may be written, and by what right. While it is `not proven`, the sink sends one check-in.
        at: When that was recorded, UTC.
        by: Who recorded it.
        document: By which document it was proven, or not.
        why: Why it is in doubt or not proven, and what to do.
    """

    site: str
    read: str | None
    recorded: str | None
    state: State
    at: datetime | None
    by: str | None
    document: str | None
    why: str | None


def report(site: str, reading: ZoneReading, recorded: SiteZone | None) -> ZoneReport:
    """What is known of a site's zone.

    Args:
        site: By the name that `attendance.site.site_of` gives it.
        reading: What it says.
        recorded: What is on the topic.
    """
    doubt = find_doubt(reading, recorded)
    state: State
    if doubt is not None:
        state = "in doubt"
    elif known_zone(reading, recorded) is None:
        state, doubt = "not proven", unproven(reading)
    else:
        state = "accepted" if recorded is not None and recorded.state == "accepted" else "proven"
    if recorded is None:
        return ZoneReport(site, reading.name, None, state, None, None, None, doubt)
    return ZoneReport(site, reading.name, recorded.zone, state, recorded.at, recorded.by, recorded.document, doubt)


def look_at_zone(client: ReadsZone, recorded: SiteZone | KafkaUnavailable | None) -> tuple[Check, ZoneInfo | None]:
    """Whether the site's zone is certain, for `punchstream erpnext check`.

    Args:
        client: The site.
        recorded: What is recorded of its zone, or why that is not known.

    Returns:
        What was found, and the zone that the site says, if there is one.
    """
    reading = ZoneReading(None)

    def look() -> str | Check:
        nonlocal reading
        reading = read_zone(client)
        if isinstance(recorded, KafkaUnavailable):
            detail = f"ERPNext says {reading.name or reading.problem}; what is recorded of it is not known: {recorded}"
            return unseen("time zone", detail, "run this where Kafka can be reached")
        found = report("", reading, recorded)
        if found.state == "in doubt":
            raise ZoneInDoubt(found.why)
        if found.state == "not proven":
            return f"{reading.name}, not proven yet: the sink proves it by its first check-in"
        return f"{found.recorded}, {found.state} at {found.at:%Y-%m-%d %H:%M} UTC by {found.by}"

    check = attempt("time zone", "see `punchstream erpnext zone`", look)
    return check, None if reading.name is None else zone(reading.name)


def read_or_problem(client: ReadsZone) -> ZoneReading:
    """What a site says of its zone, also where it does not answer at all."""
    try:
        return read_zone(client)
    except PunchstreamError as error:
        return ZoneReading(None, f"ERPNext could not be asked: {error}")


async def recorded_zone(log: Log, site: str) -> SiteZone | None:
    """What is recorded of a site.

    Args:
        log: The topics.
        site: By the name that `attendance.site.site_of` gives it.

    Raises:
        KafkaUnavailable: Kafka does not answer, or the topic is missing.
    """
    records = ZoneRecords()
    async with aclosing(log.read("site")) as batches:
        async for batch in batches:
            for record in batch:
                records.learn(record)
    return records.get(site)


async def the_sites_zone(log: Log, client: ReadsZone, site: str) -> str:
    """The site's zone, for whoever reads or writes its times.

    Args:
        log: The topics.
        client: The site.
        site: By the name that `attendance.site.site_of` gives it.

    Raises:
        ZoneInDoubt: It is in doubt, or not proven yet.
        PunchstreamError: Kafka or ERPNext does not answer.
    """
    return trusted_zone(client, await recorded_zone(log, site))


async def accept(log: Log, site: str, name: str, reading: ZoneReading, by: str) -> SiteZone:
    """Record that a person takes this for the site's zone. It holds as long as the site says the same as now.

    Args:
        log: The topics.
        site: By the name that `attendance.site.site_of` gives it.
        name: An IANA zone.
        reading: What the site says.
        by: The person.

    Returns:
        What was recorded.

    Raises:
        ConfigurationError: There is no such zone.
        KafkaUnavailable: Kafka does not answer, or the topic is missing.
    """
    accepted = SiteZone(site, zone(name).key, "accepted", now(), by, reading.name)
    await _send(log, [OutRecord(log.topics["site"], accepted.key, accepted.encode())])
    return accepted


async def prove_again(log: Log, recorded: SiteZone) -> None:
    """Forget what is recorded of a site, so that the sink proves its zone by its next check-in.

    Args:
        log: The topics.
        recorded: What is to be forgotten.

    Raises:
        KafkaUnavailable: Kafka does not answer, or the topic is missing.
    """
    await _send(log, [OutRecord(log.topics["site"], recorded.key, None)])


async def _send(log: Log, records: Iterable[OutRecord]) -> None:
    async with log.sending() as send:
        await send(*records)
