"""The directory: ERPNext's employees, and user maps from CSV files, into the user map topic.

Only differences are written, so a look that finds nothing new leaves the topic as it is.
"""

import asyncio
import csv
import io
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NoReturn

import structlog

from attendance.erpnext import Document, ErpnextClient, Filter
from attendance.errors import (
    AccessDenied,
    ConfigurationError,
    DocumentRejected,
    PunchstreamError,
    RetriableError,
    TargetUnavailable,
)
from attendance.kafka.producer import Producer
from attendance.kafka.readers import snapshot
from attendance.kafka.records import OutRecord
from attendance.metrics import Metrics
from attendance.records.user_map import EVERYWHERE, Employee, UserMap, UserMapping, device_scope, site_scope
from attendance.settings import DirectorySettings, ErpnextSettings, KafkaSettings

log = structlog.get_logger(__name__)

Entry = Employee | UserMapping

EMPLOYEE: Final = "Employee"
FIELDS: Final = ("name", "attendance_device_id", "status", "company", "branch", "relieving_date", "modified")
PAGE: Final = 500
CHUNK: Final = 1000  # records whose acknowledgements are awaited together
FEW: Final = 10  # of so few entries, any number may go at once
SLOWLY: Final = 5  # intervals between two tries while a person has to act

# A transaction's `modified` is older than its commit, so what is read next begins a little before what was read last.
# When clocks go back, ERPNext's naive times repeat an hour: such changes wait for the next full comparison.
OVERLAP: Final = timedelta(minutes=1)


class RemovalRefused(PunchstreamError):
    """A look would remove so much that a mistake at the other end is likelier. Nothing was written."""


@dataclass(frozen=True, slots=True)
class Person:
    """One employee as ERPNext lists it. `modified` is naive, in the site's own zone."""

    employee: Employee
    device_user_id: str | None
    modified: datetime


People = dict[str, Person]


def read_person(document: Document) -> Person:
    """The employee of a listed document.

    Raises:
        TargetUnavailable: the document cannot be read, so the answer it came with is not to be trusted.
    """
    try:
        relieved = document["relieving_date"]
        # A trailing space, pasted from a sheet, would match no punch.
        device_user_id = (document["attendance_device_id"] or "").strip()
        return Person(
            Employee(
                name=document["name"],
                status=document["status"],
                relieving_date=date.fromisoformat(relieved) if relieved else None,
                company=document["company"],
                branch=document["branch"],
            ),
            device_user_id or None,
            datetime.fromisoformat(document["modified"]),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TargetUnavailable(f"an employee that cannot be read: {error!r}") from error


class EmployeeReader:
    """Reads employees page by page. Its methods raise what `ErpnextClient.call` raises."""

    def __init__(self, site: ErpnextClient, page: int = PAGE) -> None:
        self._site = site
        self._page = page

    async def everyone(self) -> People:
        """Every employee, by name. Whoever is there from beginning to end is found, whatever else changes meanwhile."""
        people: People = {}
        after: list[Filter] = []
        while True:
            page = await self._list(filters=after, order_by="name asc", limit=self._page)
            people |= {person.employee.name: person for person in page}
            if len(page) < self._page:
                return people
            after = [("name", ">", page[-1].employee.name)]

    async def changed_since(self, since: datetime) -> People:
        """The employees modified then or later, by name. Those at a page's edge are read twice, none is missed."""
        people: People = {}
        start = 0
        while True:
            page = await self._list(
                filters=[("modified", ">=", str(since))],
                order_by="modified asc, name asc",
                start=start,
                limit=self._page,
            )
            people |= {person.employee.name: person for person in page}
            if len(page) < self._page:
                return people
            # A change moves its row to the end and every later row up, so rows are counted off only among equal times.
            newest = page[-1].modified
            since, start = (since, start + self._page) if newest == since else (newest, 0)

    async def newest(self) -> datetime | None:
        """When an employee was last modified; None where there is no employee."""
        return next((person.modified for person in await self._list(order_by="modified desc", limit=1)), None)

    async def _list(self, **options: Any) -> list[Person]:
        return [read_person(row) for row in await asyncio.to_thread(self._site.get_list, EMPLOYEE, FIELDS, **options)]


def holders(people: Iterable[Person]) -> dict[str, list[Person]]:
    """Who has each device user id, the one to be taken first.

    Active comes before any other status, who was not relieved or was relieved later before the others, and then the
    name decides. `modified` does not: an unrelated edit would move the mapping.
    """
    held: dict[str, list[Person]] = defaultdict(list)
    for person in people:
        if person.device_user_id is not None:
            held[person.device_user_id].append(person)
    for candidates in held.values():
        candidates.sort(key=_precedence)
    return held


def _precedence(person: Person) -> tuple[bool, int, str]:
    employee = person.employee
    return employee.status != "Active", -(employee.relieving_date or date.max).toordinal(), employee.name


def wanted(people: Iterable[Person]) -> dict[bytes, Entry]:
    """The entries that ERPNext's employees call for, by record key; every employee before any mapping."""
    people = list(people)
    entries: list[Entry] = [person.employee for person in people]
    for device_user_id, (first, *_) in holders(people).items():
        entries.append(UserMapping(EVERYWHERE, device_user_id, first.employee.name, "erpnext"))
    return {entry.key: entry for entry in entries}


def differences(current: UserMap, target: Mapping[bytes, Entry], topic: str) -> list[OutRecord]:
    """The records that make ERPNext's part of the map equal to the target. What came from a CSV file stays.

    In this order no reader sees a mapping without its employee, if there was none before.
    """
    employees, mappings = _of_erpnext(current)
    known = mappings | employees
    return [
        *(OutRecord(topic, key, entry.encode()) for key, entry in target.items() if known.get(key) != entry),
        *(OutRecord(topic, key, None) for key in known if key not in target),
    ]


def part_removed(current: UserMap, target: Mapping[bytes, Entry]) -> float:
    """The larger part, 0 to 1, of ERPNext's employees or mappings that the target no longer has."""
    return max(
        sum(key not in target for key in known) / len(known) if len(known) >= FEW else 0.0
        for known in _of_erpnext(current)
    )


def _of_erpnext(current: UserMap) -> tuple[dict[bytes, Entry], dict[bytes, Entry]]:
    employees: dict[bytes, Entry] = {employee.key: employee for employee in current.employees()}
    mappings: dict[bytes, Entry] = {entry.key: entry for entry in current.mappings() if entry.source == "erpnext"}
    return employees, mappings


class Directory:
    """Keeps ERPNext's part of the user map topic equal to ERPNext's employees.

    Assumes that it is the only one that writes that part; a full comparison repairs it where that was not so.

    Args:
        reader: ERPNext's employees.
        load: the map as the topic has it.
        send: returns when Kafka has the records.
        topic: the full name of the user map topic.
        settings: how often to look, and how much may go at once.
        metrics: where looks are counted.
        force: whether the first full comparison may remove any number of entries.
        clock: seconds, from any beginning.
    """

    def __init__(
        self,
        reader: EmployeeReader,
        load: Callable[[], Awaitable[UserMap]],
        send: Callable[..., Awaitable[object]],
        topic: str,
        settings: DirectorySettings,
        metrics: Metrics,
        *,
        force: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._load = load
        self._send = send
        self._topic = topic
        self._settings = settings
        self._metrics = metrics
        self._force = force
        self._clock = clock
        self._map = UserMap()
        self._people: People = {}
        self._contested: dict[str, list[str]] = {}
        self._compared_at: float | None = None
        self._failures = 0

    async def keep(self) -> NoReturn:
        """Look for ever."""
        while True:
            pause = await self.step()
            await asyncio.sleep(pause)

    async def step(self) -> float:
        """One look. Returns the seconds until the next; what another look may mend is logged and counted."""
        try:
            if self._compared_at is None or self._clock() - self._compared_at >= self._settings.full_interval:
                await self.compare()
            else:
                await self.catch_up()
        except RetriableError as error:
            self._failures += 1
            pause = max(self._backoff(), error.retry_after or 0)
            log.warning("The directory is waited for.", error=str(error), seconds=round(pause, 1))
            return self._looked("unavailable", pause)
        except (AccessDenied, DocumentRejected) as error:
            log.error("ERPNext does not let the directory be read.", error=str(error))
            return self._looked("refused", SLOWLY * self._settings.interval)
        except RemovalRefused as error:
            log.error("The last good user map stays.", error=str(error))
            return self._looked("removal_refused", SLOWLY * self._settings.interval)
        self._failures = 0
        self._metrics.gauge("punchstream_directory_synced_timestamp_seconds", time.time())
        return self._looked("ok", self._settings.interval)

    async def compare(self) -> None:
        """Read the topic and all employees, and write the differences, removals included.

        Raises:
            RetriableError: ERPNext or Kafka does not answer.
            AccessDenied: ERPNext refuses the credentials, or they may not read employees.
            DocumentRejected: ERPNext does not know what it is asked for.
            RemovalRefused: see there.
        """
        self._map = await self._load()
        newest = await self._reader.newest()
        people = await self._reader.everyone()
        if newest is not None:
            # What changed while the pages were read may stand in them as it was before.
            people |= await self._reader.changed_since(newest - OVERLAP)
        await self._write(people)
        self._compared_at = self._clock()
        self._force = False

    async def catch_up(self) -> None:
        """Read the employees changed since the last look, and write the differences. Raises what `compare` raises."""
        if not self._people:
            return await self.compare()
        newest = max(person.modified for person in self._people.values())
        people = self._people | await self._reader.changed_since(newest - OVERLAP)
        if people == self._people:
            return None
        if _contested(people) != self._contested:
            # ERPNext keeps the id unique: a second holder mostly means that the first was deleted or renamed.
            return await self.compare()
        return await self._write(people)

    async def _write(self, people: People) -> None:
        target = wanted(people.values())
        part = part_removed(self._map, target)
        if part > self._settings.max_removed and not self._force:
            raise RemovalRefused(
                f"{part:.0%} of the employees or of their mappings are gone from ERPNext, more than "
                f"DIRECTORY_MAX_REMOVED; if that is right, start `punchstream directory --force` once"
            )
        records = differences(self._map, target, self._topic)
        for first in range(0, len(records), CHUNK):
            await self._send(*records[first : first + CHUNK])
        for record in records:
            self._map.apply(record.key, record.value)
        self._people = people
        self._warn_of_contested(people)
        if records:
            removed = sum(record.value is None for record in records)
            log.info("The user map was written.", changed=len(records) - removed, removed=removed)
        self._metrics.gauge("punchstream_user_map_entries", len(people), kind="employee")
        self._metrics.gauge("punchstream_user_map_entries", sum(1 for _ in self._map.mappings()), kind="user")

    def _warn_of_contested(self, people: People) -> None:
        contested = _contested(people)
        for device_user_id, (taken, *others) in contested.items():
            if self._contested.get(device_user_id) != [taken, *others]:
                log.warning(
                    "Several employees have one attendance_device_id.",
                    device_user_id=device_user_id,
                    taken=taken,
                    others=others,
                )
        self._contested = contested

    def _backoff(self) -> float:
        """Seconds, with full jitter, so that processes that failed together do not return together."""
        longest = min(self._settings.interval, 2.0 ** min(self._failures, 10))
        return random.uniform(0, longest)  # noqa: S311 - not for secrets

    def _looked(self, result: str, pause: float) -> float:
        self._metrics.count("punchstream_directory_syncs_total", result=result)
        return pause


def _contested(people: People) -> dict[str, list[str]]:
    """The device user ids that several employees have, with their names, the one taken first."""
    return {
        device_user_id: [person.employee.name for person in candidates]
        for device_user_id, candidates in holders(people.values()).items()
        if len(candidates) > 1
    }


async def read_map(kafka: KafkaSettings) -> UserMap:
    """The user map as the topic has it.

    Raises:
        KafkaUnavailable: Kafka does not answer, or there is no such topic.
    """
    users = UserMap()
    for record in await snapshot(kafka, kafka.topics["user_map"], f"{kafka.topic_prefix}-users"):
        users.learn(record)
    return users


async def run(
    kafka: KafkaSettings,
    erpnext: ErpnextSettings,
    directory: DirectorySettings,
    metrics: Metrics,
    stop: asyncio.Event,
    *,
    force: bool = False,
) -> None:
    """Keep ERPNext's part of the user map topic up to date until `stop` is set.

    While ERPNext or Kafka is away, or refuses, the map stays as it is and is tried again. `force` lets the first full
    comparison remove any number of entries.
    """
    client = ErpnextClient(erpnext)
    producer = Producer(kafka, f"{kafka.topic_prefix}-directory")
    keeper = Directory(
        EmployeeReader(client),
        lambda: read_map(kafka),
        producer.send,
        kafka.topics["user_map"],
        directory,
        metrics,
        force=force,
    )
    keeping = asyncio.create_task(keeper.keep())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({keeping, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if keeping.done():
            keeping.result()
    finally:
        keeping.cancel()
        stopping.cancel()
        await asyncio.gather(keeping, stopping, return_exceptions=True)
        await producer.stop()
        client.close()


class InvalidUserMapFile(ConfigurationError):
    """Rows of a user map file are wrong, and nothing of it was used. `problems` has one line for each."""

    def __init__(self, path: Path, problems: Sequence[str]) -> None:
        rows = "1 row is wrong" if len(problems) == 1 else f"{len(problems)} rows are wrong; the first"
        super().__init__(f"{path}: {rows}: {problems[0]}")
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import did, in mappings. `unknown_employees` are not in the directory; punches of theirs wait."""

    written: int
    unchanged: int
    removed: int
    unknown_employees: tuple[str, ...]


def read_csv(path: Path) -> list[UserMapping]:
    """The mappings of a CSV file, each once.

    The header names the columns `device_user_id`, `employee` and, where a mapping is not for every device, `site` and
    `device_id`, of which a row may fill one. UTF-8; the delimiter is a comma or a semicolon. Leading zeros are kept.

    Raises:
        InvalidUserMapFile: rows are wrong, or contradict one another.
        ConfigurationError: the file or its header cannot be read.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8") from error
    delimiter = ";" if ";" in content.partition("\n")[0] else ","
    rows = csv.reader(io.StringIO(content), delimiter=delimiter, strict=True)
    problems: list[str] = []
    mappings: dict[bytes, UserMapping] = {}
    lines: dict[bytes, int] = {}
    try:
        columns = _columns(path, next(rows, []))
        for row in rows:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            try:
                mapping = _read_row(columns, cells)
                first = mappings.setdefault(mapping.key, mapping)
                line = lines.setdefault(mapping.key, rows.line_num)
                if first != mapping:
                    raise ValueError(f"this user is {mapping.employee} here and {first.employee} on line {line}")
            except ValueError as error:
                problems.append(f"line {rows.line_num}: {error}")
    except csv.Error as error:
        problems.append(f"line {rows.line_num}: {error}")
    if problems:
        raise InvalidUserMapFile(path, problems)
    return list(mappings.values())


_NEEDED: Final = ("device_user_id", "employee")
_SCOPES: Final = ("site", "device_id")


def _columns(path: Path, header: Sequence[str]) -> list[str]:
    columns = [name.strip() for name in header]
    for name in _NEEDED:
        if name not in columns:
            raise ConfigurationError(f"{path}: the header has no column {name}")
    for name in columns:
        # A misspelt `site` that was ignored would give its rows to every site.
        if name not in {*_NEEDED, *_SCOPES} or columns.count(name) > 1:
            raise ConfigurationError(f"{path}: the header has a column {name!r} that is unknown or there twice")
    return columns


def _read_row(columns: Sequence[str], cells: Sequence[str]) -> UserMapping:
    if len(cells) != len(columns):
        raise ValueError(f"{len(cells)} values for {len(columns)} columns")
    row = dict(zip(columns, cells, strict=True))
    for name in _NEEDED:
        if not row[name]:
            raise ValueError(f"no {name}")
    site, device_id = row.get("site"), row.get("device_id")
    if site and device_id:
        raise ValueError("site and device_id are both given")
    scope = site_scope(site) if site else device_scope(device_id) if device_id else EVERYWHERE
    return UserMapping(scope, row["device_user_id"], row["employee"], "csv")


async def import_csv(kafka: KafkaSettings, path: Path, *, replace: bool = False) -> ImportResult:
    """Write the mappings of a CSV file to the user map topic. With `replace`, those of earlier files that it lacks go.

    Raises:
        ConfigurationError: the file is wrong (see `read_csv`); nothing was written.
        KafkaUnavailable: Kafka does not answer; some of it may be written, and another import completes it.
    """
    target = {mapping.key: mapping for mapping in read_csv(path)}
    users = await read_map(kafka)
    known = {mapping.key: mapping for mapping in users.mappings() if mapping.source == "csv"}
    topic = kafka.topics["user_map"]
    written = [OutRecord(topic, key, mapping.encode()) for key, mapping in target.items() if known.get(key) != mapping]
    removed = [OutRecord(topic, key, None) for key in known if replace and key not in target]
    records = [*written, *removed]
    producer = Producer(kafka, f"{kafka.topic_prefix}-users-import")
    try:
        for first in range(0, len(records), CHUNK):
            await producer.send(*records[first : first + CHUNK])
    finally:
        await producer.stop()
    named = {mapping.employee for mapping in target.values()}
    return ImportResult(
        written=len(written),
        unchanged=len(target) - len(written),
        removed=len(removed),
        unknown_employees=tuple(sorted(name for name in named if users.employee(name) is None)),
    )
