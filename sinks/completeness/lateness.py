"""Which deliveries came after the day of their shift was closed: ERPNext does not count them by itself.

Auto attendance closes a day once the shift's `last_sync_of_checkin` is beyond the end of its last shift hour; whoever
has no check-in then is Absent, and what is stored after that changes nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Final

import structlog

from attendance.erpnext import CHECKIN, SHIFT_TYPE, ErpnextClient
from attendance.errors import AccessDenied, DocumentRejected, TargetUnavailable
from attendance.records.checkin import Checkin
from attendance.records.outcomes import Late
from sinks.targets.base import Delivered, Result

log = structlog.get_logger(__name__)

FRESH: Final = timedelta(minutes=2)
"""A punch that is stored within so much of its own time is not late: `sinks.completeness.runner` stays further
behind the clock. What is between the two is for clocks that differ."""


def mark(
    client: ErpnextClient, checkins: Sequence[Checkin], results: Sequence[Result], site_zone: str, stored: datetime
) -> list[Result]:
    """The results, with those marked that are late. Does not raise.

    To be called after the documents were stored, so that no close is missed: one that comes later counts them. Where
    ERPNext does not say, a delivery is marked without a shift; one that is not marked would never be looked at again.

    Args:
        client: Asked only where a punch is not fresh, in one or two requests for all of them.
        checkins: What was to be stored.
        results: What became of each.
        site_zone: In which ERPNext has them.
        stored: The server's clock after that, UTC.
    """
    marked = list(results)
    candidates = {
        index: result
        for index, (checkin, result) in enumerate(zip(checkins, results, strict=True))
        if isinstance(result, Delivered) and checkin.event_time < stored - FRESH
    }
    if not candidates:
        return marked
    days: Mapping[str, tuple[str, date]] | None = None
    try:
        synced = synced_shifts(client)
        names = [
            each.document
            for index, each in candidates.items()
            if any(checkins[index].wall_clock(site_zone) < closed for closed in synced.values())
        ]
        days = closed_days(client, names, synced) if names else {}
    except (TargetUnavailable, AccessDenied, DocumentRejected) as error:
        log.warning("It is not known which deliveries are late; they are marked to be looked at.", error=str(error))
    for index, result in candidates.items():
        device_id = checkins[index].device_id
        if days is None:
            marked[index] = replace(result, late=Late(device_id))
        elif (day := days.get(result.document)) is not None:
            marked[index] = replace(result, late=Late(device_id, *day))
    return marked


def synced_shifts(client: ErpnextClient) -> dict[str, datetime]:
    """The shifts that have auto attendance, with the naive time up to which it goes. Raises what `get_list` raises."""
    rows = client.get_list(SHIFT_TYPE, ["name", "last_sync_of_checkin"], [("enable_auto_attendance", "=", 1)])
    return {
        row["name"]: datetime.fromisoformat(row["last_sync_of_checkin"]) for row in rows if row["last_sync_of_checkin"]
    }


def closed_days(
    client: ErpnextClient, names: Collection[str], synced: Mapping[str, datetime]
) -> dict[str, tuple[str, date]]:
    """Of these check-ins those whose day is closed and which no attendance counts: by name, the shift and the day.

    Raises what `get_list` raises.
    """
    rows = client.get_list(
        CHECKIN, ["name", "shift", "shift_start", "shift_actual_end", "attendance"], [("name", "in", list(names))]
    )
    return {
        row["name"]: (row["shift"], datetime.fromisoformat(row["shift_start"]).date())
        for row in rows
        # One that was made by hand may name a shift and have no times.
        if row["shift"] in synced
        and row["shift_start"]
        and row["shift_actual_end"]
        and not row["attendance"]
        and datetime.fromisoformat(row["shift_actual_end"]) < synced[row["shift"]]
    }
