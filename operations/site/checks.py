"""Everything that deliveries need of the site, and what some commands need: looked at before it is missed."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from attendance.erpnext import CHECKIN, SHIFT_TYPE, ErpnextClient
from attendance.errors import ConfigurationError, Conflict, KafkaUnavailable, PunchstreamError, TargetUnavailable
from attendance.records.site import SiteZone
from attendance.registry import Registry
from operations.site.attendance import look_at_attendance
from operations.site.documents import look_at_documents
from operations.site.geolocation import GEOLOCATION, SETTING, look_at_geolocation
from operations.site.people import look_at_people
from operations.site.results import Check, attempt, failed, ok, some, unseen, warning
from operations.site.shifts import look_at_shifts
from operations.site.zone import look_at_zone
from sinks.targets.erpnext.ingest import look_for_ingest
from sinks.targets.erpnext.uniqueness import Field, try_uniqueness

EVENT_ID: Final = "event_id field"
FAST_INGEST: Final = "fast ingest"


def checks(
    client: ErpnextClient, read_fleet: Callable[[], Registry], recorded: SiteZone | KafkaUnavailable | None = None
) -> Iterator[Check]:
    """Look at everything that deliveries need, then at what some commands need. Nothing is left at the site.

    Args:
        client: The site.
        read_fleet: Gives the fleet, or raises ConfigurationError: what depends on it is not checked then.
        recorded: What is recorded of the site's zone, or why that is not known.

    Yields:
        What was found of each thing, as soon as it was looked at.
    """
    try:
        user = client.logged_user()
    except TargetUnavailable as error:
        yield Check("reachable", "failed", str(error), "is ERPNEXT_URL right, and the site up?")
        return
    except PunchstreamError as error:
        yield ok("reachable", "the site answers")
        yield Check(
            "credentials", "failed", str(error), "set ERPNEXT_API_KEY and ERPNEXT_API_SECRET to those of the API user"
        )
        return
    yield ok("reachable", "the site answers")
    yield ok("credentials", user)
    zone_check, site_zone = look_at_zone(client, recorded)
    yield zone_check
    yield attempt(EVENT_ID, "run it again", lambda: _event_id_field(client))
    yield attempt(FAST_INGEST, "run it again", lambda: _fast_ingest(client))
    yield from look_at_people(client, user)
    fleet: Registry | None = None
    try:
        fleet = read_fleet()
    except ConfigurationError as error:
        yield unseen("fleet", str(error), "run this where Kafka or the fleet file is, with PUNCHSTREAM_DEVICES")
    devices = None if fleet is None else [device for device in fleet if not device.disabled]
    wanted = False
    try:
        wanted = client.wants_coordinates()
    except PunchstreamError as error:
        yield unseen(GEOLOCATION, str(error), f"look at {SETTING}")
    else:
        yield from look_at_geolocation(client, devices, user, wanted=wanted)
    yield from look_at_documents(client, devices, user, wants_place=wanted, site_zone=site_zone)
    for name, doctype, only_for in (
        ("corrections", CHECKIN, "replay --correct, audit --repair-late"),
        ("shift types", SHIFT_TYPE, "completeness, audit --repair-late"),
    ):
        remedy = f"let {user} read and write {doctype}, such as by the role HR User"
        yield attempt(name, remedy, partial(_may_write, client, doctype), only_for)
    direct = () if fleet is None else tuple(fleet.direct_shifts)
    yield from look_at_shifts(client, None if fleet is None else fleet.shifts, direct)
    yield from look_at_attendance(client, direct)


def _event_id_field(client: ErpnextClient) -> str | Check:
    found = try_uniqueness(client)
    risk = "a retry after a timeout may store a punch twice, so check-ins are sent one at a time"
    match found.field:
        case Field.UNIQUE:
            return "there, and unique: a second document was refused"
        case Field.MISSING:
            return failed(EVENT_ID, f"missing: {risk}", "run `punchstream erpnext setup`, as a System Manager")
        case Field.NOT_UNIQUE:
            remedy = "tick Unique in Customize Form, Employee Checkin, as a System Manager"
            return failed(EVENT_ID, f"there, and not unique: {risk}", remedy)
        case Field.UNKNOWN:
            detail = f"there; it cannot be tried whether it is unique: {found.why}. Until then {risk}"
            return Check(EVENT_ID, "not checked", detail, "repair what refuses the trial, and run this again")


def _fast_ingest(client: ErpnextClient) -> str | Check:
    found = look_for_ingest(client)
    if found is None:
        return "not there: check-ins go by insert_many"
    if not found.why:
        return f"there: up to {found.most:,} check-ins in one request, stored in bulk"
    detail = f"there, and it stores check-ins one by one: {some(found.why, '; ')}"
    return warning(FAST_INGEST, detail, "nothing, unless deliveries are too slow: docs/desk.md says what hinders it")


def _may_write(client: ErpnextClient, doctype: str) -> str:
    """Ask by a change to a version that is long gone: ERPNext looks at the permission, and then at the version."""
    rows = client.get_list(doctype, ["name"], limit=1)
    if not rows:
        return f"may be read; there is no {doctype} yet to try writing on"
    try:
        client.update(doctype, rows[0]["name"], {"modified": "2000-01-01 00:00:00"})
    except Conflict:
        return "may be read and written"
    raise ConfigurationError(f"the site took a change to an old version of {doctype} {rows[0]['name']}")
