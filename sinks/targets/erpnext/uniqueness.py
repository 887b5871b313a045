"""Uniqueness: whether ERPNext refuses a second check-in with the same `event_id`. It is tried, and nothing is left.

Three documents are sent in one request, which is all or nothing: two with one id, and a third that is always refused.
The answer tells whether the second was refused or the third was reached. All of it is rolled back, with the numbers of
the naming series. What a list says of the field is no proof: Unique may be switched off.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import uuid4

import structlog

from attendance.erpnext import CHECKIN, EVENT_ID_FIELD, Document, ErpnextClient
from attendance.errors import DocumentRejected, PermissionDenied, RequestAbandoned, ServerError, TargetUnavailable

log = structlog.get_logger(__name__)

TRIAL_EMPLOYEE: Final = "punchstream-trial"  # no employee: ERPNext takes a check-in of one, and no punch is touched
TRIAL_SECONDS: Final = 60.0  # between two trials while check-ins are delivered
_DAY: Final = "2001-01-01"
_TAKEN: Final = "UniqueValidationError"
_BAD_VALUE: Final = "ValidationError"
_NO_VALUE: Final = "MandatoryError"
_STORED: Final = "stored"


class Field(StrEnum):
    """What is known of the field `event_id`."""

    UNIQUE = "unique"
    NOT_UNIQUE = "not unique"
    MISSING = "missing"
    UNKNOWN = "unknown"
    """It is there, and the trial said nothing of it."""


@dataclass(frozen=True, slots=True)
class Uniqueness:
    """What a trial found. `why` is what ERPNext said where it is unknown."""

    field: Field
    why: str | None = None

    def __str__(self) -> str:
        return f"{self.field}: {self.why}" if self.why else str(self.field)


def try_uniqueness(client: ErpnextClient) -> Uniqueness:
    """Try whether ERPNext refuses a second document with the same `event_id`.

    Args:
        client: Of a user who may create Employee Checkin.

    Returns:
        What was found. `UNIQUE` is proven.

    Raises:
        TargetUnavailable, AccessDenied: As `ErpnextClient.call`; nothing is known then.
    """
    if not client.has_event_id_field():
        return Uniqueness(Field.MISSING)
    found = _try(client, TRIAL_EMPLOYEE)
    if found.field is not Field.UNKNOWN:
        return found
    # A User Permission or a rule of the site may forbid an employee who does not exist, and not one who does.
    for row in client.get_list("Employee", ["name"], [("status", "=", "Active")], limit=1):
        return _try(client, row["name"])
    return found


def _try(client: ErpnextClient, employee: str) -> Uniqueness:
    taken, reached = _answer(client, employee, same=True, bad_value=True)
    if taken == _TAKEN:
        # Another field of the site may be unique. With two ids nothing may be refused for that. A site that fills in
        # the direction would store a bad one; an employee it cannot fill in.
        taken, reached = _answer(client, employee, same=False, bad_value=False)
        return Uniqueness(Field.UNIQUE) if taken != _TAKEN else Uniqueness(Field.UNKNOWN, reached)
    if taken == _STORED:
        return Uniqueness(Field.NOT_UNIQUE, reached)
    if taken != _BAD_VALUE:
        return Uniqueness(Field.UNKNOWN, reached)
    # Either the third document was reached, or a rule of the site refused the first with the same word.
    taken, reached = _answer(client, employee, same=True, bad_value=False)
    return Uniqueness(Field.NOT_UNIQUE) if taken == _NO_VALUE else Uniqueness(Field.UNKNOWN, reached)


def _answer(client: ErpnextClient, employee: str, *, same: bool, bad_value: bool) -> tuple[str, str]:
    """The name of the error that ends the trial, and its words."""
    first = f"{TRIAL_EMPLOYEE}-{uuid4().hex}"
    second = first if same else f"{TRIAL_EMPLOYEE}-{uuid4().hex}"
    refused = _document(employee, 3, None) | ({"log_type": "PROBE"} if bad_value else {"employee": None})
    try:
        names = client.insert_many([_document(employee, 1, first), _document(employee, 2, second), refused])
    except DocumentRejected as error:
        return error.kind, str(error)
    except PermissionDenied as error:
        return "PermissionError", str(error)
    except RequestAbandoned as error:
        if not error.answered:
            raise
        return "locked", str(error)
    except ServerError as error:
        return "failed", str(error)
    for name in names:
        client.delete(CHECKIN, name)
    return _STORED, f"the site stored {', '.join(names)}, of which one has no direction that there is; removed again"


def _document(employee: str, number: int, event_id: str | None) -> Document:
    document: Document = {"doctype": CHECKIN, "employee": employee, "time": f"{_DAY} 08:00:0{number}"}
    # Where the site asks for coordinates, it refuses a document without them before it looks at the id.
    document |= {"latitude": 0.1, "longitude": 0.1}
    return document if event_id is None else document | {EVENT_ID_FIELD: event_id}


class UniquenessGuard:
    """Knows whether `event_id` is unique, and tries again when that may have changed. Safe for threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing was tried yet. `clock`: seconds, monotonic."""
        self._clock = clock
        self._lock = threading.Lock()
        self._found: Uniqueness | None = None
        self._tried = 0.0
        self._doubtful = True

    @property
    def proven(self) -> bool:
        """Whether what is sent twice is stored once."""
        return self._found is not None and self._found.field is Field.UNIQUE

    @property
    def has_field(self) -> bool:
        """Whether a document can carry its id."""
        return self._found is not None and self._found.field is not Field.MISSING

    def look(self, client: ErpnextClient, *, now: bool = False) -> None:
        """Try if it is time, or `now`. Raises what `try_uniqueness` raises."""
        with self._lock:
            if not now and not self._doubtful and self._clock() - self._tried < TRIAL_SECONDS:
                return
            found = try_uniqueness(client)
            self._say(found)
            self._found, self._tried, self._doubtful = found, self._clock(), False

    def doubt(self) -> None:
        """A request was not answered, so its documents are sent again: try before that."""
        self._doubtful = True

    def verify(self, client: ErpnextClient, documents: Sequence[Document]) -> None:
        """Find out whether documents that were just stored have their ids; if not, send one at a time from now on.

        A field that is deleted is left out of a document without a word.

        Args:
            client: Asks ERPNext. A failure is no answer; the next trial finds out.
            documents: As they were sent.
        """
        ids = [document[EVENT_ID_FIELD] for document in documents if EVENT_ID_FIELD in document]
        if not ids:
            return
        try:
            if client.get_list(CHECKIN, ["name"], [(EVENT_ID_FIELD, "in", ids[-1:])]):
                return
            why = "ERPNext stored a document without its event_id"
        except DocumentRejected as error:
            why = f"the field is gone: {error}"
        except (TargetUnavailable, PermissionDenied):
            self.doubt()
            return
        log.error(
            "Check-ins were stored without their event_id; sending one document at a time from now on.",
            documents=len(ids),
            first_event_id=ids[0],
            error=why,
        )
        with self._lock:
            self._found, self._doubtful = Uniqueness(Field.UNKNOWN, why), True

    def _say(self, found: Uniqueness) -> None:
        before = self._found
        if before is not None and found.field is before.field:
            return
        if found.field is Field.UNIQUE:
            if before is not None:
                log.info("The field event_id of Employee Checkin is unique; sending check-ins in batches again.")
            return
        log.warning(
            "It is not proven that Employee Checkin has a unique field event_id, so check-ins are sent one at a time, "
            "and one may be stored twice when a request is cut off while ERPNext still works on it. "
            "`punchstream erpnext setup` makes the field.",
            event_id_field=str(found.field),
            error=found.why,
        )
