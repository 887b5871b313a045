"""What is done about documents in ERPNext that are not right: each kind only when it is asked for.

A document that somebody changed, or that an Attendance counts, is left alone. What was done can be done again.
"""

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import islice
from typing import Final, Literal

from msgspec.structs import replace

from attendance.erpnext import CHECKIN, ErpnextClient
from attendance.errors import DocumentRejected, PermissionDenied, Reason, ServerError
from attendance.fleet import Device
from attendance.kafka.records import OutRecord
from attendance.records.checkin import Checkin
from attendance.records.outcomes import Delivery
from attendance.records.raw_event import RawEvent
from attendance.records.user_map import IgnoredUser
from attendance.times import now
from attendance.user_map import UserMap
from operations.in_erpnext import ErpnextRows, Finding
from operations.log import Log, Send, Skipped, decoded
from operations.users import read_user_map
from sinks.targets.erpnext.documents import StoredPunch
from streams.mapping import assign

FETCH_SHIFT: Final = "/api/method/hrms.hr.doctype.employee_checkin.employee_checkin.bulk_fetch_shift"
AT_ONCE: Final = 50  # documents of one request, in which ERPNext saves each of them

_REFUSED: Final = (DocumentRejected, ServerError, PermissionDenied)

Done = Literal["removed", "corrected", "waits", "shift found", "left alone"]


@dataclass(frozen=True, slots=True)
class Change:
    """What was done about one document, or would be."""

    event_id: str
    document: str
    done: Done
    why: str

    def to_json(self) -> dict[str, object]:
        """The change for programs."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Repairs:
    """What is to be repaired.

    Attributes:
        surplus: Remove the copies of documents.
        employees: Decide anew whose the documents without their employee are.
        shifts: Have ERPNext look again for the shift of documents that are on none.
        dry_run: Change nothing, and say what would be done.
        device: Finds a device of the fleet by its device_id.
        report: Called with each change, as soon as it is made.
    """

    surplus: bool = False
    employees: bool = False
    shifts: bool = False
    dry_run: bool = False
    device: Callable[[str], Device | None] = lambda _: None
    report: Callable[[Change], object] = lambda _: None

    @property
    def any(self) -> bool:
        """Whether anything is to be repaired."""
        return self.surplus or self.employees or self.shifts


NO_REPAIRS: Final = Repairs()


async def make_repairs(
    log: Log, client: ErpnextClient, rows: ErpnextRows, wanted: Repairs, since: datetime | None
) -> AsyncGenerator[Change, None]:
    """Repair what was found.

    Args:
        log: The topics.
        client: The site.
        rows: What was found there.
        wanted: What of it is to be repaired.
        since: From when on the raw topic is read.

    Yields:
        Each change, as soon as it is made.

    Raises:
        PunchstreamError: Kafka or ERPNext does not answer, or refuses. What was yielded is done.
    """
    async with log.sending() as send:
        if wanted.surplus:
            for finding in rows.findings("surplus"):
                yield await _remove_copy(log, send, client, rows, finding, dry_run=wanted.dry_run)
        if wanted.employees:
            async with aclosing(_correct_employees(log, send, client, rows, wanted, since)) as changes:
                async for change in changes:
                    yield change
    if wanted.shifts:
        for change in _fetch_shifts(client, rows.each("off_shift"), dry_run=wanted.dry_run):
            yield change


async def _remove_copy(
    log: Log, send: Send, client: ErpnextClient, rows: ErpnextRows, finding: Finding, *, dry_run: bool
) -> Change:
    """Delete a copy, and record which document stands for the event."""
    objection = finding.stays or _objection(client, finding)
    if objection is not None:
        return _left_alone(finding, objection)
    if not dry_run:
        try:
            client.delete(CHECKIN, finding.document)
        except _REFUSED as error:
            return _left_alone(finding, f"ERPNext refuses: {error}")
        assert finding.instead is not None
        delivery = Delivery(
            *(finding.event_id, finding.employee, finding.instead, "already_there", "erpnext", now()),
            removed=finding.document,
        )
        made_of = next(iter(rows.versions(finding.event_id)), None)
        headers = delivery.headers(made_of.site, made_of.device_id) if made_of else []
        await send(OutRecord(log.topics["deliveries"], delivery.key, delivery.encode(), headers))
    return Change(finding.event_id, finding.document, "removed", finding.why)


def _objection(client: ErpnextClient, finding: Finding) -> str | None:
    """Why a document is left as it is after all: the audit may have taken hours."""
    names = [finding.document, *([finding.instead] if finding.instead else [])]
    fields = ["name", "employee", "time", "log_type", "attendance"]
    there = {row["name"]: row for row in client.get_list(CHECKIN, fields, [("name", "in", names)])}
    if finding.document not in there:
        return "it is gone"
    if finding.instead is not None and finding.instead not in there:
        return f"{finding.instead} is gone"
    row = there[finding.document]
    if row["attendance"]:
        return f"linked to {row['attendance']}: cancel that first"
    if StoredPunch.of(row) != StoredPunch(finding.employee, finding.time, finding.log_type):
        return "somebody has changed it meanwhile"
    return None


async def _correct_employees(
    log: Log, send: Send, client: ErpnextClient, rows: ErpnextRows, wanted: Repairs, since: datetime | None
) -> AsyncGenerator[Change, None]:
    """Send a correction for each document without its employee, so that the stream decides the employee anew."""
    findings: dict[str, Finding] = {}
    several = {finding.event_id for finding in rows.findings("surplus")}
    for finding in rows.findings("of_nobody"):
        if finding.stays is not None:
            yield _left_alone(finding, finding.stays)
        elif finding.event_id in several:
            yield _left_alone(finding, "ERPNext has it more than once: remove the copies, then run this again")
        else:
            findings[finding.event_id] = finding
    if not findings:
        return
    users = await read_user_map(log, Skipped())
    # A check-in that is in ERPNext and not committed may come again, and find nothing of itself any more.
    await log.until_delivered()
    async with aclosing(log.read("raw", since=since)) as batches:
        async for batch in batches:
            for _, event in decoded(batch, lambda record: RawEvent.decode(record.value), Skipped()):
                found = findings.pop(event.event_id, None)
                if found is not None:
                    yield await _correct(log, send, client, found, event, users, wanted)
    for finding in findings.values():
        yield _left_alone(finding, "the raw topic does not have the punch any more")


async def _correct(
    log: Log, send: Send, client: ErpnextClient, finding: Finding, event: RawEvent, users: UserMap, wanted: Repairs
) -> Change:
    objection = _objection(client, finding)
    if objection is not None:
        return _left_alone(finding, objection)
    correction = replace(event, supersedes=event.event_id, superseded_document=finding.document)
    outcome = assign(correction, users, wanted.device(event.device_id))
    if isinstance(outcome, Checkin):
        change = Change(finding.event_id, finding.document, "corrected", f"{finding.why}; for {outcome.employee} now")
    else:
        # Nobody can take the document over, and whoever has the number now would be paid for it.
        reason = Reason.USER_IGNORED if isinstance(outcome, IgnoredUser) else outcome.reason
        change = Change(finding.event_id, finding.document, "waits", f"{finding.why}; removed: {reason}")
        if not wanted.dry_run:
            try:
                client.delete(CHECKIN, finding.document)
            except _REFUSED as error:
                return _left_alone(finding, f"ERPNext refuses: {error}")
    if not wanted.dry_run:
        await send(OutRecord(log.topics["raw"], *correction.record()))
    return change


def _fetch_shifts(client: ErpnextClient, findings: Iterator[Finding], *, dry_run: bool) -> Iterator[Change]:
    """Have ERPNext look again for the shifts, and look what came of it."""
    while part := {finding.document: finding for finding in islice(findings, AT_ONCE)}:
        refused = {name: finding.stays for name, finding in part.items() if finding.stays is not None}
        names = [name for name in part if name not in refused]
        if names and not dry_run:
            refused |= _fetch(client, names)
        rows = client.get_list(CHECKIN, ["name", "offshift", "shift"], [("name", "in", names)]) if names else []
        shifts = {row["name"]: row["shift"] for row in rows if not row["offshift"]}
        for name, finding in part.items():
            if name in refused:
                yield _left_alone(finding, refused[name])
            elif dry_run:
                yield Change(finding.event_id, name, "shift found", "if ERPNext finds one for that time")
            elif name in shifts:
                yield Change(finding.event_id, name, "shift found", str(shifts[name]))
            else:
                yield _left_alone(finding, "ERPNext finds no shift for that time: assign one")


def _fetch(client: ErpnextClient, names: Sequence[str]) -> dict[str, str]:
    """Ask for the shifts of these documents. Returns those that were refused, with the answer."""
    try:
        client.call("POST", FETCH_SHIFT, {"checkins": list(names)})
    except _REFUSED:
        # This hrms lacks the method, or one document stands in the way of all. To save a document does the same.
        refused: dict[str, str] = {}
        for name in names:
            try:
                client.update(CHECKIN, name, {})
            except _REFUSED as error:
                refused[name] = f"ERPNext refuses: {error}"
        return refused
    return {}


def _left_alone(finding: Finding, why: str) -> Change:
    return Change(finding.event_id, finding.document, "left alone", why)
