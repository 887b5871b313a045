"""`punchstream audit --late` and `--repair-late`: what came after its day was closed."""

import asyncio
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

from attendance.settings import ErpnextSettings
from attendance.site import site_of
from attendance.times import format_seconds
from operations.log import Log, Skipped
from punchstream.output import counted, print_json, print_whole, say, say_skipped, terminal

if TYPE_CHECKING:
    from attendance.erpnext import ErpnextClient
    from operations.late import LateDelivery


def run(
    log: Log,
    erpnext: ErpnextSettings | None,
    *,
    since: datetime | None,
    device: str | None,
    repairing: bool,
    as_json: bool,
) -> int:
    """Print the late deliveries, or the repairs of their days.

    Args:
        log: The topics.
        erpnext: The site that is asked for what it has of each day; None asks none.
        since: Only what was delivered since then; None for all.
        device: Only this device's punches; None for all.
        repairing: Whether to have ERPNext process the days again that are Absent for that.
        as_json: Whether to print JSON.

    Returns:
        The exit status: 1 where ERPNext was asked and a day is still Absent, or one was to be repaired and is not.

    Raises:
        KafkaUnavailable, TargetUnavailable, AccessDenied, DocumentRejected: Kafka or ERPNext does not let us look; or
            ERPNext's zone is in doubt.
    """
    from attendance.erpnext import ErpnextClient
    from operations.late import ABSENT, late_deliveries, looked_up
    from operations.site.zone import the_sites_zone

    skipped = Skipped()
    deliveries = asyncio.run(late_deliveries(log, skipped, since=since, device=device))
    say_skipped(skipped)
    if erpnext is None:
        _show(deliveries, as_json=as_json)
        return 0
    with closing(ErpnextClient(erpnext)) as client:
        deliveries = looked_up(client, deliveries)
        if not repairing:
            _show(deliveries, as_json=as_json)
            return int(any(each.attendance == ABSENT for each in deliveries))
        # Check-ins in a wrong zone would be counted for good.
        asyncio.run(the_sites_zone(log, client, site_of(erpnext.url)))
        return _repair_and_say(client, deliveries, as_json=as_json)


def _show(deliveries: Sequence["LateDelivery"], *, as_json: bool) -> None:
    if as_json:
        print_json([asdict(each) for each in deliveries])
        return
    cells = (
        (
            each.employee,
            each.attendance_date or "not known",
            each.shift_type,
            each.attendance,
            each.event_id,
            each.device_id,
            format_seconds(each.delivered_at),
        )
        for each in deliveries
    )
    print_whole(("Employee", "Day", "Shift", "In ERPNext", "Event", "Device", "Delivered (UTC)"), cells)
    _say_how_many(deliveries)


def _say_how_many(deliveries: Sequence["LateDelivery"]) -> None:
    say(counted(len(deliveries), "late delivery", "late deliveries"))


def _repair_and_say(client: "ErpnextClient", deliveries: Sequence["LateDelivery"], *, as_json: bool) -> int:
    from operations.late import repair

    repairs = []
    for each in repair(client, deliveries):
        repairs.append(each)
        if not as_json:  # each at once: what is done is done, also where the next one fails
            day = each.day
            terminal(soft_wrap=True).print(
                f"{day.employee} {day.attendance_date} {day.shift_type}: {each.result}: {each.why}"
            )
    if as_json:
        print_json([asdict(each) for each in repairs])
    else:
        _say_how_many(deliveries)
    return int(any(each.result == "not repaired" for each in repairs))
