"""What `punchstream sink` calls: many check-ins in one request, with an outcome for each."""

from collections.abc import Mapping
from typing import Any, Final

import frappe
from frappe import _

from biometric_integration.ingest.bulk import Bulk
from biometric_integration.ingest.conditions import CHECKIN, obstacles

MOST: Final = 1000
"""Check-ins in one request."""

_SAVEPOINT: Final = "biometric_ingest"
_REFUSED: Final = frappe.ValidationError.http_status_code

Outcome = dict[str, Any]


@frappe.whitelist()
def describe() -> dict[str, Any]:
    """What `insert` would do for this user.

    Returns:
        `most`, the check-ins that one request may have; `bulk`, whether they are stored in bulk; `why`, the reasons why
        they are not.

    Raises:
        frappe.PermissionError: the user may not create check-ins.
    """
    frappe.has_permission(CHECKIN, "create", throw=True)
    why = obstacles()
    return {"most": MOST, "bulk": not why, "why": why}


@frappe.whitelist(methods=["POST"])
def insert(checkins: list | str) -> dict[str, Any]:
    """Store check-ins, each as its own `insert` would. One that is refused changes nothing for the others.

    Args:
        checkins: At most `MOST` documents, each with an `event_id`.

    Returns:
        `why`, the reasons why none went in bulk, and `outcomes`, one for each check-in, in order:

        - `event_id`: that of the check-in.
        - `outcome`: `inserted`; `exists`, where one with this `event_id` is there; `refused`; or `skipped`, because one
          before it of the same employee failed otherwise than by a refusal.
        - `name`: the document's, where there is one.
        - `way`: `bulk` or `insert`, where it was tried, and `why` it did not go in bulk.
        - `status`, `exc_type`, `message`: of a refusal, what the answer to the `insert` of this document alone has.

    Raises:
        frappe.ValidationError: the list cannot be read; nothing is stored.
        frappe.QueryDeadlockError, frappe.QueryTimeoutError: nothing is stored.
    """
    documents = dict(enumerate(_read(checkins)))
    there = _there([each["event_id"] for each in documents.values()])
    outcomes: dict[int, Outcome] = {
        index: {"outcome": "exists", "name": there[each["event_id"]]}
        for index, each in documents.items()
        if each["event_id"] in there
    }
    rest = {index: each for index, each in documents.items() if index not in outcomes}
    why = obstacles()
    doubts = dict.fromkeys(rest, "see why") if why else _in_bulk(rest, outcomes)
    failed = {documents[index].get("employee") for index, each in outcomes.items() if _has_failed(each)}
    for index, each in rest.items():
        if index in outcomes:
            continue
        if each.get("employee") in failed:
            outcomes[index] = {"outcome": "skipped"}
            continue
        outcomes[index] = _insert_one(each) | {"why": doubts[index]}
        if _has_failed(outcomes[index]):
            failed.add(each.get("employee"))
    return {
        "why": why,
        "outcomes": [{"event_id": each["event_id"]} | outcomes[index] for index, each in documents.items()],
    }


def _has_failed(outcome: Outcome) -> bool:
    return outcome["outcome"] == "refused" and outcome["status"] != _REFUSED


def _read(checkins: object) -> list[dict[str, Any]]:
    given = frappe.parse_json(checkins)
    if not isinstance(given, list) or len(given) > MOST:
        frappe.throw(_("checkins: a list of at most {0} check-ins").format(MOST))
    for each in given:
        if not isinstance(each, Mapping) or not isinstance(each.get("event_id"), str) or not each["event_id"]:
            frappe.throw(_("Each check-in has an event_id"))
        if each.get("doctype", CHECKIN) != CHECKIN:
            frappe.throw(_("{0}: only {1} is stored here").format(each["event_id"], CHECKIN))
    return [{**each, "doctype": CHECKIN} for each in given]


def _there(event_ids: list[str]) -> dict[str, str]:
    """The names of those that are there and that this user may read."""
    if not frappe.get_meta(CHECKIN).has_field("event_id") or not frappe.has_permission(CHECKIN, "read"):
        return {}
    filters = {"event_id": ["in", event_ids]}
    rows = frappe.get_list(CHECKIN, filters=filters, fields=["name", "event_id"], limit_page_length=0)
    return {row.event_id: row.name for row in rows}


def _in_bulk(documents: Mapping[int, Mapping[str, Any]], outcomes: dict[int, Outcome]) -> dict[int, str]:
    """Store in bulk what may be, and add its outcomes.

    The first goes by `insert`. Only if that has stored the very row that the bulk would have, the others follow.

    Returns:
        Of the others, why they were not.
    """
    bulk = Bulk(documents)
    if not bulk.rows:
        return bulk.doubts
    first = next(iter(bulk.rows))
    outcomes[first] = _insert_one(documents[first]) | {"why": "the first, with which the others are compared"}
    if outcomes[first]["outcome"] != "inserted":
        return bulk.doubts | dict.fromkeys(bulk.rows, "the first was refused")
    if differences := bulk.differences(first, outcomes[first]["name"]):
        return bulk.doubts | dict.fromkeys(bulk.rows, f"insert stores another row: {', '.join(differences)}")
    if not bulk.rows:
        return bulk.doubts
    frappe.db.savepoint(_SAVEPOINT)
    try:
        names = bulk.insert()
    except (frappe.QueryDeadlockError, frappe.QueryTimeoutError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, `insert` finds the document that it is about
        frappe.db.rollback(save_point=_SAVEPOINT)
        return bulk.doubts | dict.fromkeys(bulk.rows, f"the bulk was refused: {type(error).__name__}")
    frappe.db.release_savepoint(_SAVEPOINT)
    outcomes |= {index: {"outcome": "inserted", "name": name, "way": "bulk"} for index, name in names.items()}
    # Open lists look for what is new when they hear of one.
    told = {"doctype": CHECKIN, "name": next(reversed(names.values())), "user": frappe.session.user}
    frappe.publish_realtime("list_update", told, after_commit=True)
    return bulk.doubts


def _insert_one(document: Mapping[str, Any]) -> Outcome:
    """Store one as ever, and take back whatever it has done where it is refused."""
    frappe.clear_messages()
    frappe.flags.error_message = None
    saving = len(frappe.flags.currently_saving)
    frappe.db.savepoint(_SAVEPOINT)
    try:
        name = frappe.get_doc(dict(document)).insert().name
    except (frappe.QueryDeadlockError, frappe.QueryTimeoutError):
        # A deadlock has rolled back everything, and a lock that is never free holds up each that follows.
        raise
    except Exception as error:  # noqa: BLE001 - of hooks and scripts, which raise what they like
        outcome = {
            "outcome": "refused",
            "way": "insert",
            "status": getattr(error, "http_status_code", 500),
            "exc_type": type(error).__name__,
            "message": _message(),
        }
        frappe.db.rollback(save_point=_SAVEPOINT)
    else:
        outcome = {"outcome": "inserted", "name": name, "way": "insert"}
        frappe.db.release_savepoint(_SAVEPOINT)
    frappe.clear_messages()
    frappe.flags.error_message = None
    del frappe.flags.currently_saving[saving:]
    return outcome


def _message() -> str:
    """The words that an answer with this error has first: its message, or else the last line of the traceback."""
    if frappe.local.message_log:
        return str(frappe.local.message_log[0].get("message", ""))
    if frappe.get_system_settings("allow_error_traceback"):
        return frappe.utils.get_traceback().splitlines()[-1]
    return frappe.flags.error_message or ""
