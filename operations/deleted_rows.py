"""Which documents that ERPNext lacks were deleted by somebody, as far as ERPNext lets us see that."""

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

import orjson

from attendance.erpnext import CHECKIN, EVENT_ID_FIELD, Document, ErpnextClient
from attendance.errors import AccessDenied, DocumentRejected, InvalidRecord, ServerError
from attendance.records.checkin import Checkin
from sinks.targets.erpnext.documents import StoredPunch, to_document

DELETED: Final = "Deleted Document"
LOOK_UP: Final = 500  # events or documents in one request

SCHEMA: Final = """
create table deleted (event_id primary key, by) without rowid;
create view missing as select event_id, document from standing
where event_id not in (select event_id from in_target) and event_id not in (select event_id from waiting);
"""


def find_deleted(
    db: sqlite3.Connection,
    client: ErpnextClient,
    site_zone: str | None,
    versions: Callable[[str], Iterable[Checkin]],
) -> bool:
    """Note which of the missing documents somebody has deleted.

    Args:
        db: The tables of the audit, with `SCHEMA`.
        client: The site.
        site_zone: In which it keeps its times; None where that is in doubt.
        versions: The check-ins of an event.

    Returns:
        Whether ERPNext let us see what was deleted.

    Raises:
        PunchstreamError: What `ErpnextClient.call` raises of the site as a whole.
    """
    us = ""
    cursor = db.execute("select event_id, document from missing")
    while missing := cursor.fetchmany(LOOK_UP):
        us = us or client.logged_user()
        names = sorted({document for _, document in missing})
        filters = [("deleted_doctype", "=", CHECKIN), ("deleted_name", "in", names)]
        try:
            rows = client.get_list(DELETED, ["deleted_name", "owner", "data"], filters)
        except (AccessDenied, DocumentRejected, ServerError):
            return False
        by = defaultdict(list)
        for row in rows:
            # What we deleted was to be replaced, and something came between.
            if row["owner"] != us:
                by[row["deleted_name"]].append((row["owner"], _content(row["data"])))
        for event_id, document in missing:
            for owner, content in by[document]:
                if _stood_for(event_id, content, versions, site_zone):
                    db.execute("insert or ignore into deleted values (?, ?)", (event_id, owner))
    return True


def _stood_for(
    event_id: str, content: Document, versions: Callable[[str], Iterable[Checkin]], site_zone: str | None
) -> bool:
    """Whether a deleted document was that of the event.

    ERPNext gives the name of a deleted document again: it may have been another punch's. Or it was that of the punches
    of several devices in one second, and has the event_id of one of them.
    """
    if content.get(EVENT_ID_FIELD) in (event_id, None):
        return True
    said = "employee" in content and "time" in content
    return said and StoredPunch.of(content) in punches_of(versions(event_id), site_zone)


def _content(data: str | None) -> Document:
    """The document that ERPNext keeps as JSON; empty where it is none."""
    try:
        document = orjson.loads(data or "")
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def punches_of(checkins: Iterable[Checkin], site_zone: str | None) -> set[StoredPunch]:
    """What the documents of check-ins say; those whose time is not known are left out.

    Args:
        checkins: Of one event.
        site_zone: In which ERPNext keeps its times; None where that is in doubt.
    """
    found = set()
    for each in checkins:
        if site_zone is not None or each.checkin_time == "device_local":
            with suppress(InvalidRecord):  # it never was a document
                found.add(StoredPunch.of(to_document(each, site_zone or "UTC", event_id=False)))
    return found
