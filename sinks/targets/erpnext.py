"""The ERPNext target: check-ins as `Employee Checkin` documents, each stored once.

With the unique field `event_id` on Employee Checkin (`punchstream erpnext setup`) the database itself refuses a second
copy. So documents go in batches, and whatever is in doubt is sent again. Without the field they go one by one, each
after a look-up of what is there.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final, Self, TypeVar

import structlog

from attendance.erpnext import CHECKIN, EVENT_ID_FIELD, MAX_INSERT_MANY, Document, ErpnextClient
from attendance.errors import (
    AccessDenied,
    ConfigurationError,
    DocumentRejected,
    InvalidRecord,
    PermissionDenied,
    Reason,
    ServerError,
    TargetUnavailable,
)
from attendance.records.checkin import Checkin
from attendance.settings import ErpnextSettings, SinkSettings
from attendance.times import now, zone
from sinks.completeness.lateness import find_late
from sinks.poison import FailureRun, Undecided, as_target_failure
from sinks.targets.base import Delivered, Result

log = structlog.get_logger(__name__)

ONE_BY_ONE: Final = 20  # documents in one call of `deliver` if each is a request of its own
GONE: Final = "DoesNotExistError"  # the document
REQUEST_TOO_LARGE: Final = 413  # the answer of a proxy: ERPNext has not seen the request
_LOOK_AGAIN: Final = frozenset({"ValidationError", "DuplicateEntryError", "UniqueValidationError"})

_T = TypeVar("_T")


def create(settings: SinkSettings) -> "ErpnextTarget":
    """The target as the environment describes it.

    Raises:
        ConfigurationError: An `ERPNEXT_*` setting is wrong or missing.
    """
    site = ErpnextSettings.load()
    return ErpnextTarget(lambda: ErpnextClient(site), settings.concurrency, settings.batch)


class ErpnextTarget:
    """A `sinks.targets.base.Target`. Requests run in threads, each with a connection of its own."""

    name = "erpnext"

    def __init__(self, connect: Callable[[], ErpnextClient], concurrency: int = 4, batch: int = 100) -> None:
        """Nothing is asked of ERPNext yet.

        Args:
            connect: Makes a client, one for each thread.
            concurrency: The most calls of `deliver` at the same time.
            batch: The most documents in one request.
        """
        self._connect = connect
        self._batch = min(batch, MAX_INSERT_MANY)
        # One more than the deliveries, so that `open` need not wait for them.
        self._threads = ThreadPoolExecutor(concurrency + 1, thread_name_prefix="erpnext")
        self._local = threading.local()
        self._clients: list[ErpnextClient] = []
        self._site_zone = ""
        self._unique: bool | None = None
        self._stores = False  # whether it has stored a document since it was opened

    @property
    def max_batch(self) -> int:
        """The most check-ins in one call: those of one request, or fewer if each is a request of its own."""
        return self._batch if self._unique else min(self._batch, ONE_BY_ONE)

    async def open(self) -> None:
        """See `sinks.targets.base.Target.open`."""
        await self._in_thread(self._open)

    async def deliver(self, checkins: Sequence[Checkin]) -> list[Result]:
        """See `Target.deliver`. Once the target is open nothing is raised: each check-in has its own result."""
        return await self._in_thread(lambda client: self._deliver(client, checkins))

    async def close(self) -> None:
        """See `sinks.targets.base.Target.close`. A request under way ends by its own timeout."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for client in self._clients:
            client.close()

    async def _in_thread(self, work: Callable[[ErpnextClient], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(self._client()))

    def _client(self) -> ErpnextClient:
        if not hasattr(self._local, "client"):
            self._local.client = self._connect()
            self._clients.append(self._local.client)
        client: ErpnextClient = self._local.client
        return client

    def _open(self, client: ErpnextClient) -> None:
        try:
            user = client.logged_user()
            site_zone = client.time_zone()
            client.get_list(CHECKIN, ["name"], limit=1)
            unique = client.has_event_id_field()
        except DocumentRejected as error:
            raise AccessDenied(f"Employee Checkin cannot be used; is Frappe HR installed? {error}") from error
        try:
            zone(site_zone)
        except ConfigurationError as error:
            raise ConfigurationError(f"The time zone in ERPNext's System Settings: {error}") from error
        if unique != self._unique:
            log.info("Connected to ERPNext.", user=user, zone=site_zone, event_id_field=unique)
            if not unique:
                log.warning(
                    "Employee Checkin has no unique field event_id, so a punch may be stored twice when a request is "
                    "cut off while ERPNext still works on it. `punchstream erpnext setup` makes the field."
                )
        self._site_zone, self._unique, self._stores = site_zone, unique, False

    def _deliver(self, client: ErpnextClient, checkins: Sequence[Checkin]) -> list[Result]:
        if self._unique is None:
            raise TargetUnavailable("ERPNext is not open")
        documents: dict[int, Document] = {}
        results: dict[int, Result] = {}
        for index, checkin in enumerate(checkins):
            try:
                if checkin.supersedes is not None and not self._unique:
                    raise InvalidRecord(Reason.TARGET_REJECTED, "what it supersedes has no event_id to be found by")
                documents[index] = to_document(checkin, self._site_zone, event_id=self._unique)
            except InvalidRecord as error:
                results[index] = error
        failures = FailureRun(stores=self._stores)
        call = _Call(client, documents, results, failures)
        otherwise: Result = None
        try:
            if self._unique:
                call.send_in_order({i: each for i, each in enumerate(checkins) if each.supersedes})
            else:
                call.send_one_by_one()
        except (TargetUnavailable, AccessDenied, DocumentRejected) as error:
            # `call` has dealt with those of one document: this is that of a look-up, or the site's.
            otherwise = as_target_failure(error)
        self._stores |= failures.stores
        answers = [
            results.get(index, otherwise if index not in call.skipped else None) for index in range(len(checkins))
        ]
        return self._with_lateness(client, checkins, answers)

    def _with_lateness(self, client: ErpnextClient, checkins: Sequence[Checkin], results: list[Result]) -> list[Result]:
        delivered = {index: each for index, each in enumerate(results) if isinstance(each, Delivered)}
        stored = [(checkins[index], each.document) for index, each in delivered.items()]
        late = find_late(client, stored, self._site_zone, now())
        for (index, result), found in zip(delivered.items(), late, strict=True):
            results[index] = replace(result, late=found)
        return results


def to_document(checkin: Checkin, site_zone: str, *, event_id: bool) -> Document:
    """The Employee Checkin of a check-in.

    Args:
        checkin: What is to be stored.
        site_zone: The IANA zone of the site, in which ERPNext keeps its times unless the device's is asked for.
        event_id: Whether the site has the unique field `event_id`.

    Returns:
        The document, ready to send.

    Raises:
        InvalidRecord: It has no employee, or no time that can be written. ERPNext would store "now" in its place.
    """
    if not checkin.employee.strip():
        raise InvalidRecord(Reason.UNKNOWN_EMPLOYEE, "a check-in without an employee")
    try:
        wall_clock = checkin.wall_clock(site_zone)
    except (ConfigurationError, OverflowError) as error:
        raise InvalidRecord(Reason.UNREADABLE_TIME, f"no time at the site: {error}") from error
    document: Document = {
        "doctype": CHECKIN,
        "employee": checkin.employee,
        "time": wall_clock.isoformat(sep=" ", timespec="seconds"),
        "device_id": checkin.device_id,
    }
    if checkin.log_type:
        document["log_type"] = checkin.log_type
    if event_id:
        document[EVENT_ID_FIELD] = checkin.event_id
    return document


@dataclass(frozen=True, slots=True)
class StoredPunch:
    """What ERPNext goes by when it refuses a double: two documents with the same values. The device plays no part.

    Attributes:
        employee: The name of the Employee.
        time: The wall clock that ERPNext has it in, whole seconds: `2026-03-02 08:00:00`.
        log_type: `IN`, `OUT` or nothing.
    """

    employee: str
    time: str
    log_type: str

    @classmethod
    def of(cls, document: Document) -> Self:
        """That of an Employee Checkin, as it is sent or as ERPNext returns it."""
        return cls(document["employee"] or "", str(document["time"])[:19], document.get("log_type") or "")

    def __str__(self) -> str:
        return f"{self.employee} {self.time} {self.log_type}"


class _Call:
    """One call of `deliver`: documents by their index, and the results as they become known.

    A failure that is the site's and not that of one document (`sinks.poison`) is raised; the results so far are kept.
    """

    def __init__(
        self,
        client: ErpnextClient,
        documents: dict[int, Document],
        results: dict[int, Result],
        failures: FailureRun,
    ) -> None:
        self._client = client
        self._documents = documents
        self._results = results
        self._failures = failures
        self._looked_up: set[int] = set()
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

        A batch is all or nothing, and the answer does not say which document was wrong. Needs the unique field: halves
        are sent again although it is not known what became of the whole.
        """
        wanted = [index for index in indexes if index not in self._results and index not in self.skipped]
        if not wanted:
            return
        try:
            if len(wanted) == 1:
                names = [self._client.insert(self._documents[wanted[0]])]
            else:
                names = self._client.insert_many([self._documents[index] for index in wanted])
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
        except (ServerError, PermissionDenied) as error:
            if len(wanted) == 1:
                self._add_failure(wanted[0], error)
                return
        else:
            self._add_created(wanted, names)
            return
        middle = len(wanted) // 2
        self.send(wanted[:middle])
        self.send(wanted[middle:])

    def send_one_by_one(self) -> None:
        """Store each document in a request of its own, after a look-up of what is there.

        Every try looks first, not only a second one: an earlier owner of the partition may have written the document
        and died before it could record that. ERPNext's own check for doubles sees the same rows, but a site may have
        switched it off. Neither sees a request that ERPNext is still working on; only the unique field does.
        """
        self._look_up(self._documents)
        for index, document in self._documents.items():
            if index in self._results or index in self.skipped:
                continue
            try:
                name = self._client.insert(document)
            except DocumentRejected as error:
                self._add_rejection(index, error)
            except (ServerError, PermissionDenied) as error:
                self._add_failure(index, error)
            else:
                self._add_created([index], [name])

    def _correct(self, index: int, correction: Checkin) -> None:
        if index in self.skipped:
            return
        try:
            self._results[index] = self._replace(self._documents[index], correction)
        except InvalidRecord as error:
            self._results[index] = error
        except DocumentRejected as error:
            if error.kind == GONE:
                raise TargetUnavailable(
                    f"somebody else removed a document that was to be corrected: {error}"
                ) from error
            self._results[index] = _as_dead_letter(error)
        except (ServerError, PermissionDenied) as error:
            self._add_failure(index, error)
        else:
            self._failures.clear()

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
            return (
                Delivered(new["name"], "already_there") if new else Delivered(self._client.insert(document), "created")
            )
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

    def _add_created(self, indexes: Sequence[int], names: Sequence[str]) -> None:
        self._failures.clear()
        self._failures.stores = True
        for index, name in zip(indexes, names, strict=True):
            self._results[index] = Delivered(name, "created")

    def _add_rejection(self, index: int, error: DocumentRejected) -> None:
        # A copy may have been stored after the first look-up: by the request that this one raced with.
        if error.kind in _LOOK_AGAIN:
            self._look_up([index])
        if index not in self._results:
            self._results[index] = _as_dead_letter(error)

    def _add_failure(self, index: int, error: Undecided) -> None:
        self._results[index] = error
        employee = self._documents[index]["employee"]
        self.skipped |= {later for later, document in self._documents.items() if document["employee"] == employee}
        self._failures.add(error)

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
            # The two lists cross, so there may be more rows than asked for; `StoredPunch` picks.
            employees = sorted({document["employee"] for document in wanted.values()})
            times = sorted({document["time"] for document in wanted.values()})
            rows = self._client.get_list(
                CHECKIN,
                ["name", "employee", "time", "log_type"],
                [("employee", "in", employees), ("time", "in", times)],
            )
            self._add_found({StoredPunch.of(row): row["name"] for row in rows}, wanted, StoredPunch.of)

    def _add_found(self, names: dict[_T, str], wanted: dict[int, Document], key: Callable[[Document], _T]) -> None:
        for index, document in wanted.items():
            if key(document) in names:
                self._results[index] = Delivered(names[key(document)], "already_there")


def _as_dead_letter(error: DocumentRejected) -> InvalidRecord:
    inactive = error.kind == "InactiveEmployeeStatusError"
    return InvalidRecord(Reason.EMPLOYEE_INACTIVE if inactive else Reason.TARGET_REJECTED, str(error))
