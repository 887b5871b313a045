"""What a list of the desk asks for, in the words of the console's API."""

from datetime import date, datetime, time, timedelta
from typing import Any, Final, TypeAlias

import frappe
from frappe import _
from frappe.utils import get_datetime, get_filter, get_system_timezone, get_timespan_date_range

Given: TypeAlias = str | dict | list | None
"""Filters as Frappe has them: JSON, a dict of values, or a list of lists."""
DOCTYPE: Final = "Attendance Raw Log"
SAME: Final = {
    "employee": "employee",
    "device": "device",
    "device_user_id": "device_user_id",
    "site": "site",
    "outcome": "outcome",
}
"""By field, what the API calls it. Each is asked for by the whole value."""
NEWEST_FIRST: Final = frozenset(("", "keep_default_ordering", "event_time desc"))


def which_punches(filters: Given) -> dict[str, str]:
    """The parameters of the API for a list.

    Args:
        filters: Those of the list.

    Raises:
        frappe.ValidationError: the API cannot find punches by one of them. It would be wrong to leave that out.
    """
    asked: dict[str, str] = {}
    first, last = None, None
    for field, operator, value in _each(filters):
        if field == "event_time":
            begin, end = _days(operator, value)
            first, last = _later(first, begin), _earlier(last, end)
        elif field in SAME and operator == "=" and isinstance(value, str) and value:
            if asked.setdefault(SAME[field], value) != value:
                frappe.throw(_("{0}: choose one value").format(_label(field)))
        else:
            frappe.throw(
                _("Punches cannot be looked for by {0} {1}. Choose Equals for {2}, and days for {3}.").format(
                    _label(field),
                    frappe.utils.escape_html(operator),
                    ", ".join(map(_label, SAME)),
                    _label("event_time"),
                )
            )
    if first is not None:
        asked["first_day"] = first.isoformat()
    if last is not None:
        asked["last_day"] = last.isoformat()
    if first is not None or last is not None:
        asked["zone"] = get_system_timezone()
    return asked


def check_order(order_by: object) -> None:
    """Refuse another order than that of the API: the newest punch first."""
    order = str(order_by or "").replace("`", "").replace(f"tab{DOCTYPE}.", "").strip().lower()
    if order not in NEWEST_FIRST:
        frappe.throw(_("Punches are listed by {0}, the newest first. There is no other order.").format(_("Event Time")))


def named(filters: Given) -> str | None:
    """The name that a list asks for, and nothing else; None where it asks for something else."""
    asked = _each(filters)
    if len(asked) == 1 and asked[0][:2] == ("name", "=") and isinstance(asked[0][2], str):
        return asked[0][2]
    return None


def _each(filters: Given) -> list[tuple[str, str, Any]]:
    given = frappe.parse_json(filters) if isinstance(filters, str) else filters
    if isinstance(given, dict):
        given = [{name: value} for name, value in given.items()]
    found = (get_filter(DOCTYPE, each) for each in given or [])
    return [(each.fieldname, each.operator.lower(), each.value) for each in found]


def _days(operator: str, value: object) -> tuple[date | None, date | None]:
    """The first and the last day that are meant, each None where there is none."""
    if operator == "timespan":
        value, operator = get_timespan_date_range(value), "between"
    if operator == "between" and isinstance(value, list | tuple) and len(value) == 2:
        return get_datetime(value[0]).date(), get_datetime(value[1]).date()
    if operator in ("=", ">=", "<=", "<") and isinstance(value, str | date):
        at = get_datetime(value)
        if operator == "<=" and _is_end(at):
            return None, at.date()
        if at.time() == time():
            # A date alone is a whole day, and so is one up to which something is.
            ends = {"=": (at, at), ">=": (at, None), "<=": (None, at), "<": (None, at - timedelta(days=1))}[operator]
            return tuple(each and each.date() for each in ends)
    message = _("{0}: choose whole days").format(_label("event_time"))
    frappe.msgprint(message)
    raise frappe.ValidationError(message)


def _is_end(at: datetime) -> bool:
    return at.time() >= time(23, 59, 59)


def _later(one: date | None, other: date | None) -> date | None:
    return max((each for each in (one, other) if each is not None), default=None)


def _earlier(one: date | None, other: date | None) -> date | None:
    return min((each for each in (one, other) if each is not None), default=None)


def _label(field: str) -> str:
    return _(frappe.get_meta(DOCTYPE).get_label(field))
