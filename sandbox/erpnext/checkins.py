"""Employee Checkin: what hrms makes of a document, and the transaction in which documents are stored."""

import html
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sandbox.erpnext import assignments, errors, geolocation, meta, uniqueness, user_permissions
from sandbox.erpnext.doctypes import CHECKIN, check_permission
from sandbox.erpnext.query import Row, Value
from sandbox.erpnext.store import Store, punch_key
from sandbox.erpnext.tables import Change
from sandbox.erpnext.users import User

LOG_TYPES: Final = ("", "IN", "OUT")
MAX_DATA: Final = 140  # characters of a Data field, and of a name

_CANCELLED: Final = 2
_HRMS: Final = "hrms (app)"
# In dateutil's order of preference; all the forms of ISO 8601 come before them.
_TIME_FORMATS: Final = ("%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S", "%m/%d/%Y", "%d/%m/%Y")
_DAYTIME_FORMATS: Final = ("%H:%M", "%H:%M:%S")


def read_time(value: Value, now: datetime) -> datetime:
    """The time that ERPNext takes a value for, whole seconds: null is now, and part of a time is completed.

    Raises:
        FrappeError: hrms or dateutil fails on it.
    """
    if value is None:
        return now.replace(microsecond=0)
    if not isinstance(value, str) or not value or value.startswith("0001-01-01"):
        raise errors.failed("AttributeError", "'NoneType' object has no attribute 'replace'", source=_HRMS)
    try:
        return datetime.fromisoformat(value).replace(microsecond=0)
    except ValueError:
        pass
    for pattern in (*_TIME_FORMATS, *_DAYTIME_FORMATS):
        try:
            moment = datetime.strptime(value, pattern)  # noqa: DTZ007 - ERPNext keeps naive times
        except ValueError:
            continue
        return datetime.combine(now.date(), moment.time()) if pattern in _DAYTIME_FORMATS else moment
    raise errors.failed("dateutil.parser._parser.ParserError", f"Unknown string format: {value}", source=_HRMS)


class Transaction:
    """Check-ins that are stored together or not at all.

    As in ERPNext, `insert` looks for a duplicate among what is committed and what is in this transaction. What other
    transactions commit between that and `commit` only a unique field keeps out.
    """

    def __init__(self, store: Store, user: User) -> None:
        self._store = store
        self._user = user
        self._rows: list[Row] = []
        self._numbered = 0
        self._punches: dict[Any, str] = {}
        self._unique: set[tuple[str, Any]] = set()

    def insert(self, document: Mapping[str, Any], *, keep_name: bool = False) -> None:
        """Take one document in.

        Args:
            document: Its fields; unknown ones are ignored.
            keep_name: Whether a `name` it has becomes its name.

        Raises:
            FrappeError: ERPNext would refuse it, or fail on it. The transaction is good for nothing then.
        """
        store = self._store
        if document.get("docstatus") == _CANCELLED:
            raise errors.docstatus_transition(0, _CANCELLED)
        if document.get("docstatus"):
            raise errors.not_submittable(CHECKIN)
        _check_links(store, document)
        check_permission(self._user, CHECKIN, "write")
        user_permissions.check_create(store, self._user, CHECKIN, dict(document))
        given = document.get("name")
        chosen = given if keep_name and isinstance(given, str) and given else None
        name = chosen or store.next_name(CHECKIN, self._numbered)
        row = build(store, document, name, own=self._punches)
        if chosen:
            if len(chosen) > MAX_DATA:
                raise errors.failed("pymysql.err.DataError", "(1406, \"Data too long for column 'name' at row 1\")")
            row["name"] = chosen
        else:
            self._numbered += 1
        if name in store.checkins.rows:
            raise errors.name_taken(CHECKIN, name)
        for field, key in uniqueness.values(store, CHECKIN, row):
            if (field, key) in self._unique:
                raise uniqueness.refusal(store, CHECKIN, name, field, row)
            self._unique.add((field, key))
        uniqueness.check(store, CHECKIN, row, name)
        self._punches[punch_key(row)] = name
        self._rows.append(row)

    def commit(self) -> list[Row]:
        """Store all, and return the rows in order.

        Raises:
            FrappeError: another transaction has stored a name or a unique value in the meantime.
        """
        store = self._store
        now = store.stamp()
        stored: list[Row] = []
        changes: list[Change] = []
        number = 0
        for values in self._rows:
            name = values.get("name")
            if name is None:
                name, number = store.next_name(CHECKIN, number), number + 1
            if name in store.checkins.rows:
                raise errors.name_taken(CHECKIN, name)
            uniqueness.check(store, CHECKIN, values, name)
            stamps = {"owner": self._user.name, "creation": now, "modified": now, "modified_by": self._user.name}
            row = {"name": name, **stamps, "docstatus": 0, "idx": 0, **values}
            stored.append(row)
            changes.append((CHECKIN, name, row))
        store.commit(changes)
        return stored


def build(store: Store, document: Mapping[str, Any], name: str, *, own: Mapping[Any, str] | None = None) -> Row:
    """The checked values of a document, without name and stamps, in the order in which ERPNext checks them.

    Args:
        store: The documents of the store.
        document: Its fields.
        name: By which messages call it, and which is no duplicate of itself.
        own: Punches of the same transaction, with their names.

    Raises:
        FrappeError: ERPNext would refuse it, or fail on it.
    """
    time = read_time(document.get("time"), store.now())
    employee = store.employee(document.get("employee"))
    if employee and employee["status"] == "Inactive":
        raise errors.inactive_employee(store.url, employee["name"])
    log_type = str(document.get("log_type") or "")
    row: Row = {
        # A link gets the spelling of the document it leads to; where there is none, nobody minds.
        "employee": employee["name"] if employee else document.get("employee") or None,
        "employee_name": employee["employee_name"] if employee else None,
        "log_type": log_type,
        "shift": None,
        "time": str(time),
        "device_id": document.get("device_id"),
        **{field: document.get(field) or None for field in store.custom_fields(CHECKIN)},
        "skip_auto_attendance": int(bool(document.get("skip_auto_attendance"))),
        "attendance": document.get("attendance") or None,
        "latitude": _float(document.get("latitude")),
        "longitude": _float(document.get("longitude")),
        "geolocation": None,
        **shift_times(store, employee, time),
    }
    _check_duplicate(store, row, name, own or {})
    geolocation.check(store, row, time)
    if not row["employee"]:
        raise errors.mandatory(CHECKIN, name, "employee")
    begins = {flow["workflow_state_field"]: flow["states"][0] for flow in meta.workflows(store)}
    for field, custom in store.custom_fields(CHECKIN).items():
        row[field] = row[field] or begins.get(field) or custom["default"] or None
        if custom["reqd"] and row[field] is None:
            raise errors.mandatory(CHECKIN, name, field, custom["label"])
    if log_type not in LOG_TYPES:
        options = ", ".join(f'"{each}"' for each in LOG_TYPES)
        raise errors.thrown("ValidationError", f' Log Type cannot be "{log_type}". It should be one of {options}')
    for field, label in store.data_fields():
        row[field] = _data(row[field], label, name)
    if time.tzinfo is not None:
        text = f"(1292, \"Incorrect datetime value: '{time}' for column `tabEmployee Checkin`.`time` at row 1\")"
        raise errors.failed("pymysql.err.OperationalError", text)
    return row


def _check_links(store: Store, document: Mapping[str, Any]) -> None:
    missing = []
    if document.get("shift") and document["shift"] not in store.shift_types.rows:
        missing.append(f"Shift: {document['shift']}")
    if document.get("attendance") and document["attendance"] not in store.attendances.rows:
        missing.append(f"Attendance Marked: {document['attendance']}")
    if missing:
        raise errors.thrown("LinkValidationError", f"Could not find {', '.join(missing)}")


def _check_duplicate(store: Store, row: Row, name: str, own: Mapping[Any, str]) -> None:
    key = punch_key(row)
    others = [each for each in store.checkins.find("punch", key) if each != name]
    if own.get(key):
        others.append(own[key])
    if others:
        link = (
            f'<Br><a href="/app/Form/{CHECKIN}/{others[0]}" style="font-weight: bold;">'
            f"{{doctype}} {row['employee_name'] or row['employee']}</a>"
        )
        raise errors.thrown(
            "ValidationError",
            "This employee already has a log with the same timestamp." + link.format(doctype=CHECKIN),
            german="Dieser Mitarbeiter hat bereits ein Protokoll mit demselben Zeitstempel. "
            + link.format(doctype=errors.GERMAN[CHECKIN]),
            source=_HRMS,
        )


def shift_times(store: Store, employee: Row | None, time: datetime) -> Row:
    """The employee's shift and its times on the day to which the time belongs, if any: `offshift` says that not."""
    if employee and time.tzinfo is not None and assignments.shifts_of(store, employee, time.date()):
        raise errors.failed("TypeError", "can't compare offset-naive and offset-aware datetimes", source=_HRMS)
    found = assignments.day_with(store, employee, time) if employee and time.tzinfo is None else None
    day = found[1] if found else None
    return {
        "shift": found[0]["name"] if found else None,
        "shift_start": str(day.start) if day else None,
        "shift_end": str(day.end) if day else None,
        "offshift": int(day is None),
        "shift_actual_start": str(day.opens) if day else None,
        "shift_actual_end": str(day.closes) if day else None,
    }


def fetch_shift(store: Store, row: Row) -> Row:
    """The check-in with the shift that its employee has by now. One with an Attendance keeps what it has."""
    fetched = shift_times(store, store.employee(row["employee"]), read_time(row["time"], store.now()))
    if fetched["shift"] is None:
        return row | {"shift": None, "offshift": 1}
    return row if row["attendance"] else row | fetched


def check_time_change(old: Row, row: Row) -> None:
    """Return if the time is the same, or no Attendance was made of the check-in.

    Raises:
        FrappeError: one was.
    """
    if row["attendance"] and row["time"] != old["time"]:
        raise errors.thrown(
            "ValidationError",
            "An attendance record is linked to this checkin. Please cancel the attendance before modifying time.",
            title="Cannot Modify Time",
            source=_HRMS,
        )


def _float(value: Value) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


def _data(value: Value, label: str, name: str) -> str | None:
    """A Data field as it is stored: text, bounded, and harmless as HTML."""
    if value is None:
        return None
    text = str(value)
    if len(text) > MAX_DATA:
        raise errors.thrown(
            "CharacterLengthExceededError",
            f"{CHECKIN} {name}: '<strong>{label}</strong>' ({text}) will get truncated, "
            f"as max characters allowed is {MAX_DATA}",
            title="Value too big",
        )
    return html.escape(text, quote=False) if "<" in text or ">" in text else text
