"""Call: the requests that store the documents of one call of `deliver`, and what became of each document."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Final, TypeGuard, TypeVar

from attendance.erpnext import CHECKIN, EVENT_ID_FIELD, Document, ErpnextClient
from attendance.errors import (
    Conflict,
    DocumentRejected,
    InvalidRecord,
    PermissionDenied,
    PunchstreamError,
    Reason,
    RequestAbandoned,
    ServerError,
)
from attendance.records.checkin import Checkin
from sinks.poison import Undecided
from sinks.targets.base import Delivered, FailedTogether, Result, SentBack
from sinks.targets.erpnext.documents import StoredPunch
from sinks.targets.erpnext.ingest import REQUEST_TOO_LARGE, IngestGuard, Outcome

GONE: Final = "DoesNotExistError"  # the document
DIVIDE_SECONDS: Final = 3.0
"""So long a call goes on after a failure. The others of its check-ins wait for its end."""
FAILURES_IN_A_ROW: Final = 8  # different documents, each alone in its request; then the site may be the cause
NAME_TAKEN: Final = "DuplicateEntryError"  # the document's own name; a value that is there has another word
_LOOK_AGAIN: Final = frozenset({"ValidationError", "DuplicateEntryError", "UniqueValidationError"})

_T = TypeVar("_T")


class Call:
    """One call of `deliver`: documents by their index, and the results as they become known.

    A failure that is the site's and not that of one document (`sinks.poison`) is raised; the results so far are kept.
    A call that has taken long, and one in which one document after the other fails, is stopped: what has no result then
    is tried in another call.
    """

    def __init__(
        self,
        client: ErpnextClient,
        documents: dict[int, Document],
        results: dict[int, Result],
        clock: Callable[[], float] = time.monotonic,
        *,
        ingest: IngestGuard | None = None,
    ) -> None:
        self._client = client
        self._ingest = ingest
        self._documents = documents
        self._results = results
        self._clock = clock
        self._began = clock()
        self._in_a_row = 0
        self._stopped = False
        self._looked_up: set[int] = set()
        self.created: list[int] = []
        """Stored by this call, in order."""
        self.unanswered = False
        """Whether ERPNext may still be at work on a request."""
        self.skipped: set[int] = set()
        """Not tried, because the site failed on an earlier document of the same employee."""

    def send_in_order(self, corrections: Mapping[int, Checkin]) -> None:
        """Store all documents. The corrections among them replace what they supersede. Needs the unique field."""
        for corrects, indexes in groupby(self._documents, key=corrections.__contains__):
            if corrects:
                for index in indexes:
                    self._correct(index, corrections[index])
            else:
                self.send(indexes)

    def send(self, indexes: Iterable[int]) -> None:
        """Store these in one request. A request that fails as a whole is divided until the bad documents are alone.

        Without fast ingest a batch is all or nothing, and the answer does not say which document was wrong. Needs the
        unique field: halves are sent again although it is not known what became of the whole.
        """
        wanted = [index for index in indexes if index not in self._results and index not in self.skipped]
        if not wanted or self._stopped:
            return
        try:
            outcomes = self._insert(wanted)
        except DocumentRejected as error:
            if error.status != REQUEST_TOO_LARGE and not self._looked_up.issuperset(wanted):
                # Most often the batch was stored by an earlier try, or by the tool used before: two look-ups find that
                # out for the whole batch.
                self._look_up(wanted)
                if any(index in self._results for index in wanted):
                    self.send(wanted)
                    return
            if len(wanted) == 1:
                self._add_rejection(wanted[0], error)
                return
            failure: PunchstreamError = error
        except (ServerError, PermissionDenied, RequestAbandoned) as error:
            if len(wanted) == 1:
                self._add_failure(wanted[0], error)
                return
            failure = error
        else:
            self._add_outcomes(dict(zip(wanted, outcomes, strict=True)))
            return
        self._note_unanswered(failure)
        if self._is_late() or self.unanswered:
            self._results |= dict.fromkeys(wanted, FailedTogether(failure, len(wanted)))
            self._stopped = True
            return
        middle = len(wanted) // 2
        self.send(wanted[:middle])
        self.send(wanted[middle:])

    def send_one_by_one(self, corrections: Mapping[int, Checkin]) -> None:
        """Store each document in a request of its own, after a look-up of what is there.

        The corrections among them replace what they supersede, which needs the field.

        Every try looks first, not only a second one: an earlier owner of the partition may have written the document
        and died before it could record that. ERPNext's own check for doubles sees the same rows, but a site may have
        switched it off. Neither sees a request that ERPNext is still working on; only the unique field does.
        """
        self._look_up(index for index in self._documents if index not in corrections)
        for index, document in self._documents.items():
            if index in corrections:
                self._correct(index, corrections[index])
                continue
            if index in self._results or index in self.skipped or self._stopped:
                continue
            try:
                name = self._client.insert(document)
            except DocumentRejected as error:
                self._add_rejection(index, error)
            except (ServerError, PermissionDenied, RequestAbandoned) as error:
                self._add_failure(index, error)
            else:
                self._add_created([index], [name])

    def _insert(self, indexes: Sequence[int]) -> Sequence[Outcome]:
        documents = [self._documents[index] for index in indexes]
        if len(documents) == 1:
            return [Delivered(self._client.insert(documents[0]), "created")]
        if self._ingest is not None and self._ingest.is_there:
            outcomes = self._ingest.insert(self._client, documents)
            if outcomes is not None:
                return outcomes
        return [Delivered(name, "created") for name in self._client.insert_many(documents)]

    def _correct(self, index: int, correction: Checkin) -> None:
        if index in self.skipped or self._stopped:
            return
        try:
            self._results[index] = self._replace(self._documents[index], correction)
        except InvalidRecord as error:
            self._results[index] = error
        except DocumentRejected as error:
            if error.kind == GONE:
                gone = f"somebody else removed a document that was to be corrected: {error}"
                self._add_failure(index, RequestAbandoned(gone))
            else:
                self._results[index] = _as_result(error)
        except Conflict as error:
            self._add_failure(index, RequestAbandoned(f"somebody else changed the document meanwhile: {error}"))
        except (ServerError, PermissionDenied, RequestAbandoned) as error:
            self._add_failure(index, error)
        else:
            self._in_a_row = 0

    def _replace(self, document: Document, correction: Checkin) -> Delivered:
        """Change the document of what is superseded into this one, in one request.

        So there is always either the old one or the new one, wherever this is interrupted, and a look-up tells which.
        If the new one is there already, the old one is removed.
        """
        event_id, superseded = correction.event_id, correction.supersedes
        fields = ["name", EVENT_ID_FIELD, "employee", "time", "log_type", "attendance", "modified"]
        rows = self._client.get_list(CHECKIN, fields, [(EVENT_ID_FIELD, "in", [superseded, event_id])])
        found = {row[EVENT_ID_FIELD]: row for row in rows}
        old, new = found.get(superseded), found.get(event_id)
        if old and old is not new and correction.superseded_document not in (None, old["name"]):
            # The wrong time was the right one of another punch, which has the event_id by now.
            old = None
        if old is None:
            return Delivered(new["name"], "already_there") if new else self._insert_or_find(document)
        if old is new and StoredPunch.of(old) == StoredPunch.of(document):
            return Delivered(old["name"], "already_there")
        if old["attendance"]:
            message = (
                f"{old['name']}, which it supersedes, is linked to {old['attendance']}: cancel that and send this again"
            )
            raise InvalidRecord(Reason.ATTENDANCE_MARKED, message)
        if new is None or new is old:
            # Whether auto attendance is to look at it was decided for the old one.
            values = {"log_type": "", **document, "skip_auto_attendance": 0, "modified": old["modified"]}
            saved = self._client.update(CHECKIN, old["name"], values)
            if StoredPunch.of(saved) != StoredPunch.of(document):
                # The time is of permission level 1, and Frappe leaves out without a word what a user may not change.
                message = f"ERPNext kept {StoredPunch.of(saved)} in {old['name']}: may the API user change it?"
                raise InvalidRecord(Reason.TARGET_REJECTED, message)
            return Delivered(old["name"], "replaced")
        self._client.delete(CHECKIN, old["name"])
        return Delivered(new["name"], "replaced")

    def _insert_or_find(self, document: Document) -> Delivered:
        """Store a document, unless another says the same: the punches of several terminals in one second share one."""
        try:
            return Delivered(self._client.insert(document), "created")
        except DocumentRejected as error:
            if error.kind in _LOOK_AGAIN:
                for row in self._with_times([document]):
                    if StoredPunch.of(row) == StoredPunch.of(document):
                        return Delivered(row["name"], "already_there")
            raise

    def _with_times(self, documents: Collection[Document]) -> list[Document]:
        """What ERPNext has of these employees at these times. The lists cross: `StoredPunch` picks."""
        employees = sorted({document["employee"] for document in documents})
        times = sorted({document["time"] for document in documents})
        fields = ["name", "employee", "time", "log_type"]
        return self._client.get_list(CHECKIN, fields, [("employee", "in", employees), ("time", "in", times)])

    def _add_created(self, indexes: Sequence[int], names: Sequence[str]) -> None:
        if indexes:
            self._in_a_row = 0
        self.created += indexes
        for index, name in zip(indexes, names, strict=True):
            self._results[index] = Delivered(name, "created")

    def _add_outcomes(self, outcomes: Mapping[int, Outcome]) -> None:
        """Take in what one request made of its documents. What is there comes first: the rest asks the site again."""
        created = {i: each.document for i, each in outcomes.items() if _is_there(each) and each.status == "created"}
        self._add_created([*created], [*created.values()])
        self._results |= {i: each for i, each in outcomes.items() if _is_there(each) and i not in created}
        rejected = {index: each for index, each in outcomes.items() if isinstance(each, DocumentRejected)}
        self._look_up_again(rejected)
        for index, error in outcomes.items():
            if index in self._results:
                continue
            if isinstance(error, DocumentRejected):
                self._add_final(index, error)
            elif isinstance(error, ServerError | PermissionDenied | RequestAbandoned):
                if not self._stopped:
                    self._add_failure(index, error)
            elif isinstance(error, PunchstreamError):
                raise error  # of the site, as where the request of one document is answered so
            else:
                self.skipped.add(index)

    def _add_rejection(self, index: int, error: DocumentRejected) -> None:
        self._look_up_again({index: error})
        if index not in self._results:
            self._add_final(index, error)

    def _look_up_again(self, rejected: Mapping[int, DocumentRejected]) -> None:
        # A copy may have been stored after the first look-up: by the request that this one raced with.
        if indexes := [index for index, error in rejected.items() if error.kind in _LOOK_AGAIN]:
            self._look_up(indexes)

    def _add_final(self, index: int, error: DocumentRejected) -> None:
        if error.kind == NAME_TAKEN:
            words = f"{error} (is the naming series of {CHECKIN} behind its documents?)"
            self._add_failure(index, ServerError(words))
        else:
            self._results[index] = _as_result(error)

    def _add_failure(self, index: int, error: Undecided) -> None:
        self._results[index] = error
        employee = self._documents[index]["employee"]
        self.skipped |= {later for later, document in self._documents.items() if document["employee"] == employee}
        self._in_a_row += 1
        self._note_unanswered(error)
        self._stopped |= self._in_a_row >= FAILURES_IN_A_ROW or self._is_late()

    def _note_unanswered(self, error: PunchstreamError) -> None:
        self.unanswered |= isinstance(error, RequestAbandoned) and not error.answered

    def _is_late(self) -> bool:
        return self._clock() - self._began >= DIVIDE_SECONDS

    def _look_up(self, indexes: Iterable[int]) -> None:
        """Find out in two requests which of these ERPNext holds: by event_id, and by what it takes for a double."""
        wanted = {index: self._documents[index] for index in indexes}
        self._looked_up |= wanted.keys()
        if any(EVENT_ID_FIELD in document for document in wanted.values()):
            ids = sorted({document[EVENT_ID_FIELD] for document in wanted.values()})
            rows = self._client.get_list(CHECKIN, ["name", EVENT_ID_FIELD], [(EVENT_ID_FIELD, "in", ids)])
            self._add_found(
                {row[EVENT_ID_FIELD]: row["name"] for row in rows}, wanted, lambda each: each[EVENT_ID_FIELD]
            )
            wanted = {index: document for index, document in wanted.items() if index not in self._results}
        if wanted:
            rows = self._with_times(wanted.values())
            self._add_found({StoredPunch.of(row): row["name"] for row in rows}, wanted, StoredPunch.of)

    def _add_found(self, names: dict[_T, str], wanted: dict[int, Document], key: Callable[[Document], _T]) -> None:
        for index, document in wanted.items():
            if key(document) in names:
                self._results[index] = Delivered(names[key(document)], "already_there")


def _is_there(outcome: Outcome) -> TypeGuard[Delivered]:
    return isinstance(outcome, Delivered)


def _as_result(error: DocumentRejected) -> SentBack | InvalidRecord:
    if error.kind == "InactiveEmployeeStatusError":  # since the look-up
        return SentBack(Reason.EMPLOYEE_INACTIVE, str(error))
    if error.kind == "CheckinRadiusExceededError":  # its device, or the Shift Location, is not where it is said to be
        return SentBack(Reason.COORDINATES_REFUSED, str(error))
    return InvalidRecord(Reason.TARGET_REJECTED, str(error))
