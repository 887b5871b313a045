"""Compares what ERPNext holds with what a plan says it must hold."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from attendance.times import to_wall_clock
from sandbox.fleet.model import Expected, FleetPlan
from sandbox.fleet.send import Tally

_Key = tuple[str, str, str]


def compare(plan: FleetPlan, tally: Tally, rows: Iterable[Mapping[str, Any]], erpnext_zone: str) -> list[str]:
    """The differences, each in one line; none means balanced.

    Every delivered punch that a terminal was told is durable must be there once, with its employee, time, direction
    and device; one that was attempted only may be there. `rows` are Employee Checkin documents, their times naive in
    `erpnext_zone`. A row without `event_id` (a site without that field) is known by employee, time and direction.
    """
    delivered = {expected.event_id: expected for expected in plan.expectation.of("delivered")}
    by_key = {_key(expected, erpnext_zone): expected.event_id for expected in delivered.values()}
    found: Counter[str] = Counter()
    differences = []
    for row in rows:
        key = (str(row.get("employee")), _seconds(row.get("time")), row.get("log_type") or "")
        expected = delivered.get(row.get("event_id") or by_key.get(key, ""))
        if expected is None:
            differences.append(f"{row.get('name')}: {key} must not be there")
            continue
        found[expected.event_id] += 1
        differences += _wrong(row, key, expected, erpnext_zone)
    for id_, expected in delivered.items():
        if found[id_] > 1:
            differences.append(f"{id_}: there {found[id_]} times: {_key(expected, erpnext_zone)}")
        elif not found[id_] and tally.acknowledged[id_]:
            differences.append(f"{id_}: missing: {_key(expected, erpnext_zone)}")
    return differences


def _wrong(row: Mapping[str, Any], key: _Key, expected: Expected, erpnext_zone: str) -> Iterable[str]:
    wanted = _key(expected, erpnext_zone)
    fields = zip(("employee", "time", "log_type", "device_id"), (*key, row.get("device_id")), strict=True)
    for (name, given), must in zip(fields, (*wanted, expected.terminal.device_id), strict=True):
        if given == must:
            continue
        other_zone = _wall_clock(expected, erpnext_zone if _is_local(expected) else expected.terminal.site.zone)
        note = ", the right instant in the wrong zone" if name == "time" and given == other_zone else ""
        yield f"{row.get('name')}: {expected.event_id}: {name} is {given!r}, must be {must!r}{note}"


def _key(expected: Expected, erpnext_zone: str) -> _Key:
    zone = expected.terminal.site.zone if _is_local(expected) else erpnext_zone
    return expected.employee or "", _wall_clock(expected, zone), expected.log_type


def _is_local(expected: Expected) -> bool:
    return expected.terminal.site.checkin_time == "device_local"


def _wall_clock(expected: Expected, zone: str) -> str:
    assert expected.event_time is not None
    return str(to_wall_clock(expected.event_time, zone))


def _seconds(time: object) -> str:
    """A row's time as `YYYY-MM-DD HH:MM:SS`; what cannot be read stays as it is, to be shown."""
    try:
        return str(datetime.fromisoformat(str(time)).replace(microsecond=0))
    except ValueError:
        return str(time)
