"""`punchstream devices list`: the fleet as it is understood, and what each device last said of itself."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Final

import typer

from attendance.durations import format_rounded
from attendance.errors import ConfigurationError
from attendance.fleet import Device
from attendance.records.device_status import DeviceStatus
from attendance.times import format_seconds, now
from attendance.working_hours import WorkingHours
from punchstream.commands.arguments import known_fleet
from punchstream.commands.device_filters import (
    OfAdapter,
    OfSites,
    Silent,
    SortBy,
    chosen,
    is_silent,
    newest_statuses,
    silence,
    sort_rows,
)
from punchstream.commands.ledger_database import FromTopics
from punchstream.output import AsCsv, AsJson, print_records, print_whole

SHOWN: Final = (
    *("device_id", "name", "site", "timezone", "mode", "adapter", "direction", "checkin_time", "disabled", "paused"),
)
SAID: Final = (
    *("device_id", "site", "adapter", "disabled", "paused", "heard_at", "last_event", "pending", "complete_until"),
    *("clock_skew", "details"),
)


def list_devices(
    *,
    status: Annotated[bool, typer.Option("--status", help="Show what each device last said of itself.")] = False,
    site: OfSites = None,
    adapter: OfAdapter = None,
    silent: Silent = None,
    sort: SortBy = "device_id",
    from_topics: FromTopics = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show the fleet as it is understood.

    What devices last said of themselves is asked of the ledger where LEDGER_URL is set, and otherwise of its topic.
    """
    if silent is not None and not status:
        raise ConfigurationError("--silent needs --status")
    fleet = known_fleet()
    devices = chosen(fleet, site, adapter)
    if not status:
        rows = [{name: getattr(device, name) for name in SHOWN} | {"paused": bool(device.paused)} for device in devices]
        sort_rows(rows, SHOWN, sort)
        print_records(SHOWN, rows, as_json=as_json, as_csv=as_csv)
        return
    longest = None if silent is None else silence(silent)
    newest = newest_statuses(from_topics=from_topics)
    at, hours = now(), fleet.fleet.hours
    rows = [
        _row(device, status)
        for device in devices
        for status in (newest.get(device.device_id),)
        if longest is None or is_silent(device, status, hours.get(device.device_id), at, longest)
    ]
    sort_rows(rows, SAID, sort)
    if as_json or as_csv:
        print_records(SAID, rows, as_json=as_json, as_csv=as_csv)
    else:
        of_devices = [(row, newest.get(row["device_id"]), hours.get(row["device_id"])) for row in rows]
        print_whole(SAID, [list(_as_read(row, status, at, of)) for row, status, of in of_devices])
    if longest is not None and rows:
        raise typer.Exit(1)


def _row(device: Device, status: DeviceStatus | None) -> dict[str, Any]:
    until = status.complete_until if status else None
    details = status.details if status else {}
    return {
        "device_id": device.device_id,
        "site": device.site,
        "adapter": device.adapter,
        "disabled": device.disabled,
        "paused": bool(device.paused),
        "heard_at": format_seconds(status.heard_at) if status else None,
        "last_event": format_seconds(status.last_event) if status and status.last_event else None,
        "pending": status.pending if status else None,
        "complete_until": format_seconds(until) if until else None,
        "clock_skew": status.clock_skew if status else None,
        "details": ", ".join(f"{name}: {value}" for name, value in details.items()) or None,
    }


def _as_read(
    row: dict[str, Any], status: DeviceStatus | None, at: datetime, hours: WorkingHours | None
) -> Iterable[object]:
    """The cells of a row for people: how long ago it was heard, and by how much its clock is off, in words."""
    words = dict(row)
    if status is not None:
        ago = f"{format_rounded(max(0.0, (at - status.heard_at).total_seconds()))} ago"
        outside = "" if hours is None or hours.include(at) else ", outside working hours"
        words["heard_at"] = f"{row['heard_at']} ({ago}{outside})"
    if row["clock_skew"] is not None:
        skew = row["clock_skew"]
        words["clock_skew"] = f"{format_rounded(abs(skew))} {'ahead' if skew > 0 else 'behind'}" if skew else "right"
    return words.values()
