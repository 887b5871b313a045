"""The employees of check-ins, as ERPNext has them now. It stores a check-in of an employee who does not exist."""

from collections.abc import Mapping
from datetime import date
from typing import Final

from attendance.erpnext import CHECKIN, EVENT_ID_FIELD, Document, ErpnextClient
from attendance.errors import (
    ConfigurationError,
    DocumentRejected,
    InvalidRecord,
    PermissionDenied,
    Reason,
    RequestAbandoned,
    ServerError,
)
from attendance.records.checkin import Checkin
from attendance.records.user_map import Employee
from sinks.targets.base import Delivered, SentBack
from sinks.targets.erpnext.ingest import REQUEST_TOO_LARGE

EMPLOYEE: Final = "Employee"
FIELDS: Final = ("name", "status", "date_of_joining", "relieving_date", "creation")

_Found = Employee | SentBack | ServerError | None
"""An employee; why there is none; why one cannot be looked up. None where a User Permission hides what there is."""


def not_to_be_sent(
    client: ErpnextClient, checkins: Mapping[int, Checkin], documents: Mapping[int, Document]
) -> dict[int, SentBack | Delivered | ServerError | InvalidRecord]:
    """The check-ins that must not be stored for their employee, each with what becomes of it.

    One request where every employee is there. Nothing is remembered: what was right a second ago may be wrong.

    Args:
        client: Asks ERPNext.
        checkins: Those of one call, by their index.
        documents: What would be sent, by the same index. A check-in without a document is left alone.

    Returns:
        By index: `SentBack`, or `Delivered` where ERPNext has it already, from before its employee was gone.
        `ServerError` where this one employee cannot be looked up: the others do not wait for that. `InvalidRecord`
        where its day is not known.

    Raises:
        TargetUnavailable, AccessDenied, DocumentRejected: As `ErpnextClient.call`; nothing is known then.
    """
    wanted = {index: checkins[index] for index in documents}
    if not wanted:
        return {}
    employees = _look_up(client, sorted({each.employee for each in wanted.values()}))
    found = {
        index: objection
        for index, each in wanted.items()
        if (objection := _objection(each, employees[each.employee])) is not None
    }
    back = {index: checkins[index] for index, objection in found.items() if isinstance(objection, SentBack)}
    return found | already_there(client, back, documents)


def _look_up(client: ErpnextClient, names: list[str]) -> dict[str, _Found]:
    employees: dict[str, _Found] = {row["name"]: _read(row) for row in _listed(client, names)}
    waited = False
    for name in names:
        if name in employees:
            continue
        try:
            employees[name] = _look_for(client, name)
        except RequestAbandoned as error:
            # One employee may hold up whoever asks for them. Two are the site.
            if waited:
                raise
            waited = True
            employees[name] = ServerError(f"employee {name!r} cannot be looked up: {error}")
    return employees


def _look_for(client: ErpnextClient, name: str) -> _Found:
    """Who is not in a list, which leaves out what this user may not see: only this question tells the two apart."""
    try:
        return _read(client.get(EMPLOYEE, name))
    except PermissionDenied:
        return None
    except ServerError as error:
        return error
    except RequestAbandoned as error:
        if not error.answered:
            raise
        return ServerError(f"employee {name!r} cannot be looked up: {error}")
    except DocumentRejected as error:
        if error.is_missing:
            return SentBack(Reason.UNKNOWN_EMPLOYEE, f"ERPNext has no employee {name!r}")
        return ServerError(f"employee {name!r} cannot be looked up: {error}")


def _listed(client: ErpnextClient, names: list[str]) -> list[Document]:
    try:
        return client.get_list(EMPLOYEE, FIELDS, [("name", "in", names)])
    except DocumentRejected as error:
        if error.status != REQUEST_TOO_LARGE or len(names) == 1:
            raise
    middle = len(names) // 2
    return _listed(client, names[:middle]) + _listed(client, names[middle:])


def _objection(checkin: Checkin, employee: _Found) -> SentBack | ServerError | InvalidRecord | None:
    if not isinstance(employee, Employee):
        return employee
    if checkin.employee_created not in (None, employee.created):
        message = (
            f"{employee.name} is somebody else now: created {employee.created}, and the punch was for whom was created "
            f"{checkin.employee_created}"
        )
        return SentBack(Reason.UNKNOWN_EMPLOYEE, message)
    try:
        day = checkin.day
    except (ConfigurationError, OverflowError) as error:
        return InvalidRecord(Reason.UNREADABLE_TIME, f"no day at the device: {error}")
    refusal = employee.refusal(day)
    if refusal is None:
        return None
    message = (
        f"{employee.name} may not check in on {day}: {employee.status}, joined {employee.date_of_joining}, "
        f"relieved {employee.relieving_date}"
    )
    return SentBack(refusal, message)


def already_there(
    client: ErpnextClient, checkins: Mapping[int, Checkin], documents: Mapping[int, Document]
) -> dict[int, Delivered]:
    """Those that ERPNext holds: a merge or a rename takes the documents along. A correction may hold the old one.

    Args:
        client: Asks ERPNext, once, and not where the documents have no `event_id`.
        checkins: Those in question, by index.
        documents: What would be sent, by the same index.

    Returns:
        By index, those that are there.

    Raises:
        TargetUnavailable, AccessDenied, DocumentRejected: As `ErpnextClient.call`.
    """
    ids = {
        index: documents[index][EVENT_ID_FIELD]
        for index, each in checkins.items()
        if EVENT_ID_FIELD in documents[index] and each.supersedes is None
    }
    if not ids:
        return {}
    rows = client.get_list(CHECKIN, ["name", EVENT_ID_FIELD], [(EVENT_ID_FIELD, "in", sorted({*ids.values()}))])
    there = {row[EVENT_ID_FIELD]: row["name"] for row in rows}
    # One call may hold an event twice: what was released before a crash is released again after it.
    return {index: Delivered(there[id_], "already_there") for index, id_ in ids.items() if id_ in there}


def _read(document: Document) -> Employee | ServerError:
    try:
        return Employee(
            name=document["name"],
            status=document["status"],
            relieving_date=_date(document["relieving_date"]),
            date_of_joining=_date(document["date_of_joining"]),
            created=document["creation"],
        )
    except (KeyError, TypeError, ValueError) as error:
        return ServerError(f"an employee that cannot be read: {error!r}")


def _date(value: str | None) -> date | None:
    return date.fromisoformat(value) if value else None
