"""What a Shift Type says to Punchstream: where its people punch, and who makes the Attendance of its days."""

from collections.abc import Callable
from datetime import date
from typing import Any, Final

import frappe
from frappe import _
from frappe.model.document import Document
from frappe.utils import flt, getdate, nowdate

from biometric_integration import rules

SHIFT_TYPE: Final = "Shift Type"
PLACE: Final = "Biometric Shift Place"
DIRECT: Final = "Punchstream"
"""Of *Attendance By*: Punchstream makes the Attendance, and not ERPNext's auto attendance."""
FIELDS: Final = (
    "punchstream_attendance_by",
    "punchstream_half_day_below",
    "punchstream_one_punch",
    "punchstream_attendance_from",
)
PLACES: Final = "punchstream_places"


def validate(doc: Document, _method: str | None = None) -> None:
    """Refuse what the fleet would refuse, and two that make the Attendance of one shift.

    Nothing is looked at where nothing of it has changed: Punchstream itself saves Shift Types to say up to when they
    are complete, and must not be held up by a device that has gone since.

    Args:
        doc: A Shift Type that is saved.
        _method: As Frappe calls a hook.
    """
    for place in _rows(doc):
        place.site = (place.site or "").strip()
    before = doc.get_doc_before_save()
    if before is not None and _said(before) == _said(doc):
        return
    places = [(place.site, place.device or "") for place in _rows(doc)]
    _check(doc, PLACES, lambda: rules.check_places(places, _devices()))
    if doc.get("punchstream_attendance_by") != DIRECT:
        return
    if doc.enable_auto_attendance:
        frappe.throw(
            _(
                "Either ERPNext or Punchstream makes the Attendance of a shift. Switch Enable Auto Attendance off, "
                "or set Attendance By to ERPNext"
            )
        )
    if not places:
        frappe.throw(_("Attendance By Punchstream needs the sites or devices at which people of this shift punch"))
    _check(doc, "punchstream_half_day_below", lambda: rules.check_half_day(flt(doc.punchstream_half_day_below)))
    first = _date(doc.punchstream_attendance_from)
    if first is not None and (before is None or first != _date(before.punchstream_attendance_from)):
        _check(doc, "punchstream_attendance_from", lambda: rules.check_first_day(first, getdate(nowdate())))


def entries() -> list[dict[str, Any]]:
    """The shifts that name a place, each as an entry of Punchstream's fleet."""
    places = _places()
    shifts = frappe.get_all(
        SHIFT_TYPE, filters={"name": ["in", list(places)]}, fields=["name", *FIELDS], order_by="name asc"
    )
    return [_entry(shift, places[shift.name]) for shift in shifts]


def refuse_removal(device: str) -> None:
    """Refuse that a device goes without which a shift would have none.

    Args:
        device: Its id.
    """
    for shift, why in _broken_by(device, None).items():
        frappe.throw(_("{0} {1} would be left without it: {2}").format(_(SHIFT_TYPE), shift, why))


def say_of_shifts(device: Document) -> None:
    """Say which shifts a change of a device leaves without one. Whoever disables a stolen device must not be refused.

    Args:
        device: As it is saved.
    """
    for shift, why in _broken_by(device.name, (device.site, bool(device.disabled))).items():
        frappe.msgprint(
            _("Punchstream does nothing for {0} {1} until it has a device again: {2}").format(
                _(SHIFT_TYPE), shift, why
            ),
            indicator="orange",
        )


def _rows(doc: Document) -> list[Document]:
    # While a site is brought to a release, it has this code before the field.
    return doc.get(PLACES) or []


def _said(doc: Document) -> tuple[object, ...]:
    """All that is looked at, in one form for what was read and what was sent."""
    return (
        bool(doc.enable_auto_attendance),
        doc.get("punchstream_attendance_by") or "",
        flt(doc.get("punchstream_half_day_below")),
        doc.get("punchstream_one_punch") or "",
        _date(doc.get("punchstream_attendance_from")),
        [(place.site or "", place.device or "") for place in _rows(doc)],
    )


def _date(value: object) -> date | None:
    return getdate(value) if value else None


def _check(doc: Document, fieldname: str, check: Callable[[], None]) -> None:
    try:
        check()
    except ValueError as error:
        frappe.throw(f"{_(doc.meta.get_label(fieldname))}: {error}")


def _devices() -> dict[str, tuple[str, bool]]:
    """Of each device its site, and whether it is disabled."""
    rows = frappe.get_all("Biometric Device", fields=["name", "site", "disabled"])
    return {row.name: (row.site, bool(row.disabled)) for row in rows}


def _places() -> dict[str, list[tuple[str, str]]]:
    """By shift the sites and the devices at which its people punch."""
    found: dict[str, list[tuple[str, str]]] = {}
    of = {"parenttype": SHIFT_TYPE, "parentfield": PLACES}
    for row in frappe.get_all(PLACE, filters=of, fields=["parent", "site", "device"], order_by="parent asc, idx asc"):
        found.setdefault(row.parent, []).append((row.site or "", row.device or ""))
    return found


def _entry(shift: Any, places: list[tuple[str, str]]) -> dict[str, Any]:  # noqa: ANN401 - a row of a query
    entry: dict[str, Any] = {
        "shift_type": shift.name,
        "sites": [site for site, _device in places if site],
        "devices": [device for _site, device in places if device],
    }
    if shift.punchstream_attendance_by != DIRECT:
        return entry | {"attendance": "erpnext"}
    entry |= {"attendance": "direct", "one_punch": (shift.punchstream_one_punch or "None").lower().replace(" ", "_")}
    if shift.punchstream_half_day_below:
        entry["half_day_below"] = round(shift.punchstream_half_day_below * 3600)
    if shift.punchstream_attendance_from:
        entry["attendance_from"] = str(shift.punchstream_attendance_from)
    return entry


def _broken_by(device: str, becomes: tuple[str, bool] | None) -> dict[str, str]:
    """The shifts that are right now and would not be any more, each with why.

    Args:
        device: What changes.
        becomes: Its site, and whether it is disabled; None where it goes.
    """
    before = _devices()
    after = {name: each for name, each in before.items() if name != device}
    if becomes is not None:
        after[device] = becomes
    broken = {}
    for shift, places in _places().items():
        why = _wrong(places, after)
        if why and not _wrong(places, before):
            broken[shift] = why
    return broken


def _wrong(places: list[tuple[str, str]], devices: dict[str, tuple[str, bool]]) -> str:
    try:
        rules.check_places(places, devices)
    except ValueError as error:
        return str(error)
    return ""
