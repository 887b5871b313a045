"""The documents of check-ins, and what ERPNext takes for a double of one."""

from dataclasses import dataclass
from typing import Self

from attendance.erpnext import CHECKIN, EVENT_ID_FIELD, Document
from attendance.errors import ConfigurationError, InvalidRecord, Reason
from attendance.records.checkin import Checkin


def to_document(checkin: Checkin, site_zone: str, *, event_id: bool) -> Document:
    """The Employee Checkin of a check-in.

    Args:
        checkin: What is to be stored.
        site_zone: The IANA zone of the site, in which ERPNext keeps its times unless the device's is asked for.
        event_id: Whether the site has the unique field `event_id`.

    Returns:
        The document, ready to send.

    Raises:
        InvalidRecord: It has no employee, or no time that can be written. ERPNext would store "now" in its place.
    """
    if not checkin.employee.strip():
        raise InvalidRecord(Reason.UNKNOWN_EMPLOYEE, "a check-in without an employee")
    try:
        wall_clock = checkin.wall_clock(site_zone)
    except (ConfigurationError, OverflowError) as error:
        raise InvalidRecord(Reason.UNREADABLE_TIME, f"no time at the site: {error}") from error
    document: Document = {
        "doctype": CHECKIN,
        "employee": checkin.employee,
        "time": wall_clock.isoformat(sep=" ", timespec="seconds"),
        "device_id": checkin.device_id,
    }
    if checkin.log_type:
        document["log_type"] = checkin.log_type
    if checkin.latitude is not None and checkin.longitude is not None:
        # An ERPNext that has no such fields ignores them.
        document |= {"latitude": checkin.latitude, "longitude": checkin.longitude}
    if event_id:
        document[EVENT_ID_FIELD] = checkin.event_id
    return document


@dataclass(frozen=True, slots=True)
class StoredPunch:
    """What ERPNext goes by when it refuses a double: two documents with the same values. The device plays no part.

    Attributes:
        employee: The name of the Employee.
        time: The wall clock that ERPNext has it in, whole seconds: `2026-03-02 08:00:00`.
        log_type: `IN`, `OUT` or nothing.
    """

    employee: str
    time: str
    log_type: str

    @classmethod
    def of(cls, document: Document) -> Self:
        """That of an Employee Checkin, as it is sent or as ERPNext returns it."""
        return cls(document["employee"] or "", str(document["time"])[:19], document.get("log_type") or "")

    def __str__(self) -> str:
        return f"{self.employee} {self.time} {self.log_type}"
