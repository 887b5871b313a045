"""Which deliveries came after the day of their shift was closed: ERPNext does not count them by itself.

Auto attendance closes a day once the shift's `last_sync_of_checkin` is beyond the end of its last shift hour. Whoever
has no check-in then is Absent, and what is stored after that changes nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Final

import structlog

from attendance.erpnext import CHECKIN, SHIFT_TYPE, ErpnextClient
from attendance.errors import AccessDenied, DocumentRejected, TargetUnavailable
from attendance.records.checkin import Checkin
from attendance.records.outcomes import Late

log = structlog.get_logger(__name__)

FRESH: Final = timedelta(minutes=2)
"""A punch that is stored within this time of being made is not late: `sinks.completeness.runner` keeps
`last_sync_of_checkin` further behind the clock. The difference between the two is for clocks that differ."""


def find_late(
    client: ErpnextClient, stored: Sequence[tuple[Checkin, str]], site_zone: str, stored_at: datetime
) -> list[Late | None]:
    """Find out which check-ins are late. Does not raise.

    Call it after the documents were stored, so that no closed day is missed: a day that is closed later counts them. If
    ERPNext does not answer, that remains unknown: a check-in has a `Late` without a shift, which is not counted as late
    and which `punchstream audit --late` asks ERPNext about. One with None would never be looked at again.

    Args:
        client: ERPNext, which is asked only if a punch is not fresh: one or two requests for all of them.
        stored: Each check-in that ERPNext holds, with the name of its document.
        site_zone: The IANA zone in which ERPNext has them.
        stored_at: The server's clock after they were stored, UTC.

    Returns:
        For each check-in, in order: what makes it late, or None.
    """
    candidates = {index: each for index, each in enumerate(stored) if each[0].event_time < stored_at - FRESH}
    if not candidates:
        return [None] * len(stored)
    days: Mapping[str, tuple[str, date]] | None = None
    try:
        synced = synced_shifts(client)
        documents = [
            document
            for checkin, document in candidates.values()
            if any(checkin.wall_clock(site_zone) < closed for closed in synced.values())
        ]
        days = _closed_days(client, documents, synced) if documents else {}
    except (TargetUnavailable, AccessDenied, DocumentRejected) as error:
        log.warning(
            "Could not ask ERPNext which deliveries are late; `punchstream audit --late` will.",
            deliveries=len(candidates),
            error=str(error),
        )
    late: list[Late | None] = [None] * len(stored)
    for index, (checkin, document) in candidates.items():
        if days is None:
            late[index] = Late(checkin.device_id)
        elif (day := days.get(document)) is not None:
            late[index] = Late(checkin.device_id, *day)
    return late


def synced_shifts(client: ErpnextClient) -> dict[str, datetime]:
    """The shifts that have auto attendance, with the naive time up to which it goes. Raises what `get_list` raises."""
    rows = client.get_list(SHIFT_TYPE, ["name", "last_sync_of_checkin"], [("enable_auto_attendance", "=", 1)])
    return {
        row["name"]: datetime.fromisoformat(row["last_sync_of_checkin"]) for row in rows if row["last_sync_of_checkin"]
    }


def _closed_days(
    client: ErpnextClient, documents: Collection[str], synced: Mapping[str, datetime]
) -> dict[str, tuple[str, date]]:
    """Those of the documents whose day is closed and which no attendance counts: by name, the shift and the day."""
    rows = client.get_list(
        CHECKIN, ["name", "shift", "shift_start", "shift_actual_end", "attendance"], [("name", "in", list(documents))]
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
