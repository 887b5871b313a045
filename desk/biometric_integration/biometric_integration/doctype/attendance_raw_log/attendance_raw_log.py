"""Attendance Raw Log: the punches as Punchstream has them. Nothing of it is stored here."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn, TypeAlias

import frappe
from frappe import _
from frappe.model.document import Document
from frappe.utils import cint

from biometric_integration import console, visible_people
from biometric_integration.biometric_integration.doctype.attendance_raw_log import filters
from biometric_integration.sync import as_naive

DOCTYPE: Final = filters.DOCTYPE
NAME: Final = re.compile(r"(?P<event_id>[0-9a-f]{32})(?:-(?P<partition>\d{1,9})-(?P<offset>\d{1,18}))?")
"""The name of a raw record, or that of a punch alone, which has one record or more."""
PAGE: Final = 500
"""Punches of one answer of the console."""
MOST_PAGES: Final = 10
"""Answers of the console that are read for one list, at most."""
TIMES: Final = ("event_time", "received_at", "stored_at", "decided_at", "delivered_at")
COPIED: Final = (
    "employee",
    "device_user_id",
    "event_type",
    "site",
    "outcome",
    "reason",
    "document",
    "kept_event_id",
)
MILESTONES: Final = {
    "received": "received_at",
    "stored": "stored_at",
    "decided": "decided_at",
    "delivered": "delivered_at",
}


Row: TypeAlias = dict[str, Any]
"""What a list shows of a punch, by field."""


class AttendanceRawLog(Document):
    """One raw record of a punch, and what became of it. It is asked from the console when somebody opens it."""

    def load_from_db(self) -> None:
        """Ask the console.

        Raises:
            ConsoleProblem: it does not say.
            frappe.DoesNotExistError: it has no such punch, or not for the token.
        """
        name = NAME.fullmatch(self.name or "")
        if name is None:
            frappe.throw(
                _("There is no punch {0}").format(frappe.utils.escape_html(self.name)), frappe.DoesNotExistError
            )
        found = console.get(f"punches/{name['event_id']}")
        with console.understood():
            record = _record(found, name)
            times = {MILESTONES[each["name"]]: each["at"] for each in record["milestones"]}
            # It keeps the name by which it was opened, or the form would not find it.
            fields = _fields({**record, **times}) | {"message": record["message"], "name": self.name}
        super(Document, self).__init__(fields | {"source_payload": None, "payload_missing": None})
        if frappe.has_permission(DOCTYPE, "read", doc=self):
            self._add_names()
            self._add_payload(record)

    @staticmethod
    def get_list(args: Mapping[str, Any]) -> list[Any]:
        """The punches that a list shows, the newest first. Takes what Frappe's lists take.

        Raises:
            ConsoleProblem: the console does not say.
            frappe.ValidationError: what is asked for is nothing that the API finds.
        """
        frappe.has_permission(DOCTYPE, "read", throw=True)
        if args.get("or_filters") or args.get("group_by"):
            frappe.throw(_("Punches are listed by filters that all apply, and are not grouped"))
        filters.check_order(args.get("order_by"))
        begin = cint(args.get("start") or args.get("limit_start"))
        length = cint(args.get("page_length") or args.get("limit_page_length")) or PAGE
        if (name := filters.named(args.get("filters"))) is not None:
            rows = _named(name)
        else:
            rows = _listed(filters.which_punches(args.get("filters")), begin + length)[begin:]
        if pluck := args.get("pluck"):
            return [each[pluck] for each in rows]
        return rows

    @staticmethod
    def get_count(args: Mapping[str, Any]) -> int:
        """How many punches a list has, or `limit` where that is less.

        Raises:
            ConsoleProblem: the console does not say.
        """
        frappe.has_permission(DOCTYPE, "read", throw=True)
        limit = cint(args.get("limit")) or PAGE * MOST_PAGES
        if (name := filters.named(args.get("filters"))) is not None:
            return len(_named(name))
        which = filters.which_punches(args.get("filters"))
        if not visible_people.sees_everybody():
            return len(_listed(which, limit))
        found, after = 0, None
        for _page in range(MOST_PAGES):
            counted = console.get("punches/count", **which, after=after)
            with console.understood():
                found, after = found + sum(counted["outcomes"].values()), counted["next"]
            if after is None or found >= limit:
                return min(found, limit)
        raise _too_many()

    @staticmethod
    def get_stats(args: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG004 - Frappe's later versions give it by name
        """Nothing: a punch has no tags."""
        return {}

    def db_insert(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Refuse it: punches come from devices."""
        self._refuse()

    def db_update(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Refuse it: what a device sent stays as it was sent."""
        self._refuse()

    def delete(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Refuse it: what a device sent stays."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        frappe.throw(_("The raw log is only read"), frappe.PermissionError)
        raise AssertionError

    def _add_names(self) -> None:
        if self.employee:
            self.employee_name = frappe.db.get_value("Employee", self.employee, "employee_name")

    def _add_payload(self, record: Mapping[str, Any]) -> None:
        """Show what was sent. The punch is shown without it, too."""
        try:
            sent = console.get(f"punches/{self.hash}/sent")
        except (console.ConsoleProblem, frappe.DoesNotExistError) as error:
            frappe.clear_last_message()
            self.payload_missing = str(error)
            return
        place = record["kafka_partition"], record["kafka_offset"]
        with console.understood():
            found = [each["raw_event"] for each in sent if (each["kafka_partition"], each["kafka_offset"]) == place]
        if found:
            self.source_payload = json.dumps(found[0], indent=1, ensure_ascii=False)
        else:
            self.payload_missing = _("Kafka does not keep it any more")


def has_permission(doc: Document, user: str) -> bool | None:
    """Whether somebody may see a punch: that of an employee whom they may read.

    Args:
        doc: The punch.
        user: Who.

    Returns:
        False where they may not; None leaves it to roles and User Permissions.
    """
    if user != frappe.session.user:
        return False  # whom they may read is asked as whoever is signed in
    is_theirs = visible_people.readable([doc.employee]) if doc.employee else visible_people.sees_everybody()
    return None if is_theirs else False


def _named(name: str) -> list[Any]:
    """The punch of a name, in a list; an empty one where there is none that the user may see."""
    try:
        found = frappe.get_doc(DOCTYPE, name)
    except frappe.DoesNotExistError:
        frappe.clear_last_message()
        return []
    return [found.as_dict()] if found.has_permission("read") else []


def _listed(which: Mapping[str, str], most: int) -> list[Row]:
    """The newest punches that the user may see, at most so many."""
    is_everybody, found, after = visible_people.sees_everybody(), [], None
    for _page in range(MOST_PAGES):
        wanted = min(PAGE, most - len(found)) if is_everybody else PAGE
        page = console.get("punches", **which, most=wanted, after=after)
        with console.understood():
            rows, after = [_fields(each) for each in page["items"]], page["next"]
        found += rows if is_everybody else _visible(rows)
        if after is None or len(found) >= most:
            return _with_names(found[:most])
    raise _too_many()


def _visible(rows: Sequence[Row]) -> list[Row]:
    readable = visible_people.readable(_employees(rows))
    # What is left is few; of these Frappe looks at the User Permissions for devices and the like.
    theirs = [each for each in rows if each["employee"] in readable]
    return [each for each in theirs if frappe.has_permission(DOCTYPE, "read", doc=_document(each))]


def _document(fields: Row) -> Document:
    # `get_doc` with a name would ask the console for each.
    document = AttendanceRawLog.__new__(AttendanceRawLog)
    super(Document, document).__init__(fields)
    return document


def _with_names(rows: Sequence[Row]) -> list[Row]:
    """Rows with the names of their employees, as ERPNext has them."""
    of = _employees(rows)
    known = frappe.get_all("Employee", {"name": ["in", list(of)]}, ["name", "employee_name"]) if of else []
    names = {each.name: each.employee_name for each in known}
    return [each | {"employee_name": names.get(each["employee"])} for each in rows]


def _employees(rows: Sequence[Row]) -> set[str]:
    return {each["employee"] for each in rows if each["employee"]}


def _record(found: Sequence[Mapping[str, Any]], name: re.Match[str]) -> Mapping[str, Any]:
    """The record of a punch that a name means. Of several, a punch alone means the one that was not dropped."""
    if name["offset"] is not None:
        place = int(name["partition"]), int(name["offset"])
        for each in found:
            if (each["kafka_partition"], each["kafka_offset"]) == place:
                return each
        frappe.throw(_("There is no punch {0}").format(name.group()), frappe.DoesNotExistError)
    return next((each for each in found if each["outcome"] != "dropped"), found[0])


def _fields(record: Mapping[str, Any]) -> Row:
    """What a record of the API is here. Times are those of the site, without an offset."""
    fields = {name: record[name] for name in COPIED}
    for name in TIMES:
        at = record.get(name)
        fields[name] = None if at is None else as_naive(at)
    at = fields["stored_at"] or fields["event_time"]
    return fields | {
        "name": "{event_id}-{kafka_partition}-{kafka_offset}".format_map(record),
        "doctype": DOCTYPE,
        "docstatus": 0,
        "device": record["device_id"],
        "hash": record["event_id"],
        "owner": "Administrator",
        "modified_by": "Administrator",
        "creation": at,
        "modified": at,
    }


def _too_many() -> Exception:
    message = _("There are too many punches to look through. Choose an Employee, a Device or days.")
    frappe.msgprint(message)
    return frappe.ValidationError(message)
