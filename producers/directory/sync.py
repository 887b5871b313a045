"""Keeps ERPNext's part of the user map topic equal to ERPNext: to its employees, and to the user map of its desk.

Only differences are written, so an update that finds nothing new leaves the topic as it is.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, NoReturn
from zoneinfo import ZoneInfo

import structlog

from attendance.erpnext import ErpnextClient
from attendance.erpnext_clock import erpnext_clock
from attendance.errors import AccessDenied, DocumentRejected, PunchstreamError, RetriableError
from attendance.guards import Guards
from attendance.kafka.producer import Producer
from attendance.kafka.site import SiteTopic
from attendance.kafka.stage_guards import stage_guards
from attendance.metrics import Metrics
from attendance.records.site import SiteZone
from attendance.runtime import full_jitter, run_until_stopped
from attendance.settings import DirectorySettings, ErpnextSettings, KafkaSettings
from attendance.site import site_of
from attendance.times import now, zone
from attendance.user_map import UserMap
from producers.directory.desk import DeskList, MapRow, MapRows, map_rows
from producers.directory.documents import Summary
from producers.directory.employees import EmployeeReader, People, shared_ids
from producers.directory.user_map import (
    differences,
    part_removed,
    read_user_map,
    rows_known,
    send_records,
    wanted,
)

log = structlog.get_logger(__name__)

SLOWLY: Final = 5  # intervals between two tries while a person has to act
TRIES: Final = 2  # before a full comparison


class RemovalRefused(PunchstreamError):
    """ERPNext lacks so much of the user map that a mistake there is likelier. Nothing was written.

    `percent` is the larger part, of the employees or of their mappings, that would have been removed.
    """

    def __init__(self, percent: int) -> None:
        super().__init__(
            f"{percent}% of the employees or of their mappings are gone from ERPNext, more than "
            f"DIRECTORY_MAX_REMOVED; if that is right, start `punchstream directory --force` once"
        )
        self.percent = percent


class Lists(NamedTuple):
    """What ERPNext lists: its employees, and the rows of the user map of its desk."""

    people: EmployeeReader
    rows: DeskList[MapRow]


class Directory:
    """Keeps ERPNext's part of the user map topic equal to ERPNext's employees and the user map of its desk.

    Assumes that it is the only one that writes that part; a full comparison repairs it where that was not so.

    Args:
        lists: What ERPNext has.
        load: Reads the user map from its topic.
        send: Returns when Kafka has the records.
        topic: The full name of the user map topic.
        settings: How often to ask ERPNext, and how much of the map may be removed at once.
        metrics: Where each comparison is counted.
        force: Whether the first full comparison may remove any number of entries.
        clock: Gives the present instant, in UTC.
    """

    def __init__(
        self,
        lists: Lists,
        load: Callable[[], Awaitable[UserMap]],
        send: Callable[..., Awaitable[object]],
        topic: str,
        settings: DirectorySettings,
        metrics: Metrics,
        *,
        force: bool = False,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._reader, self._desk = lists
        self._load = load
        self._send = send
        self._topic = topic
        self._settings = settings
        self._metrics = metrics
        self._force = force
        self._clock = clock
        self._map = UserMap()
        self._people: People = {}
        # None while ERPNext does not show them.
        self._rows: MapRows | None = {}
        self._shared: dict[str, list[str]] = {}
        self._compared_at: datetime | None = None
        self._looked_at: datetime | None = None
        self._known: Summary | None = None
        # Whether ERPNext's summary is another than ours although nothing changes.
        self._never_fits = False
        self._warned_of_summary = False
        self._failures = 0
        metrics.ready("user map", "ERPNext was not asked for its employees yet")

    async def keep(self, guards: Guards) -> NoReturn:
        """Update the map for ever, while no guard stands."""
        await guards.repeat(self.run_once)

    async def run_once(self) -> float:
        """Update the map once. A failure that may pass is logged and counted.

        Returns:
            The seconds until the next update is due.
        """
        try:
            compared = self._compared_at
            if compared is None or (self._clock() - compared).total_seconds() >= self._settings.full_interval:
                await self.compare()
            else:
                await self.catch_up()
        except RetriableError as error:
            self._failures += 1
            backoff = full_jitter(self._failures, self._settings.interval, first=1.0)
            pause = max(backoff, error.retry_after or 0)
            log.warning("Could not update the user map; trying again.", error=str(error), seconds=round(pause, 1))
            return self._looked("unavailable", pause, f"the user map could not be updated: {error}")
        except (AccessDenied, DocumentRejected) as error:
            log.error("ERPNext refused access to its employees; trying again.", error=str(error))
            why = f"ERPNext refused access to its employees: {error}"
            return self._looked("refused", SLOWLY * self._settings.interval, why)
        except RemovalRefused as error:
            log.error(
                "Refused to remove a large part of the user map; keeping the previous one.",
                percent=error.percent,
                error=str(error),
            )
            why = f"a large part of the user map would go, and stays: {error}"
            return self._looked("removal_refused", SLOWLY * self._settings.interval, why)
        self._failures = 0
        self._metrics.gauge("punchstream_directory_synced_timestamp_seconds", time.time())
        return self._looked("ok", self._settings.interval)

    async def compare(self) -> None:
        """Read the topic and all employees, and write the differences, removals included.

        Raises:
            RetriableError: ERPNext or Kafka does not answer.
            AccessDenied: ERPNext refuses the credentials, or they may not read employees.
            DocumentRejected: ERPNext does not know what it is asked for.
            RemovalRefused: more than `DIRECTORY_MAX_REMOVED` of the map would go.
        """
        begin = self._clock()
        self._map = await self._load()
        before = await self._reader.summary()
        people = await self._reader.everything()
        # What changed while the pages were read may stand in them as it was before.
        people |= await self._reader.changed(people, begin, self._clock())
        after = await self._reader.summary()
        # A rename of an employee reaches the rows that name them, and no `modified` of those shows it.
        rows = await self._desk.read()
        await self._write(people, rows)
        fits = after is not None and after.fits(people)
        # If neither holds, somebody changed between two requests, and the next look finds them.
        self._known = after if fits or before == after else None
        self._never_fits = before == after and not fits
        self._warn_of_summary(after)
        self._compared_at = self._looked_at = begin
        self._force = False

    async def catch_up(self) -> None:
        """Read what changed since the last update, and write the differences. Raises what `compare` raises.

        Who is deleted, renamed or merged is not among the changes. But then the changes do not explain the summary.
        """
        if self._looked_at is None:
            return await self.compare()
        rows = await self._desk.look()
        for _ in range(TRIES):
            begin = self._clock()
            summary = await self._reader.summary()
            same = summary == self._known
            if same and summary is not None and summary.whole:
                if rows != self._rows:
                    await self._write(self._people, rows)
                self._looked_at = begin
                return None
            people = self._people | await self._reader.changed(self._people, self._looked_at, begin)
            if summary is None or summary.fits(people) or (same and self._never_fits):
                break
            # Somebody may have come between the two requests.
        else:
            return await self.compare()
        # ERPNext keeps the id unique: a second holder mostly means that the first was deleted or renamed.
        if shared_ids(people) != self._shared:
            return await self.compare()
        if people != self._people or rows != self._rows:
            await self._write(people, rows)
        self._known, self._looked_at = summary, begin
        return None

    def _warn_of_summary(self, summary: Summary | None) -> None:
        if summary is None and not self._warned_of_summary:
            log.warning("ERPNext does not count its employees; removals are noticed by full comparisons only.")
        self._warned_of_summary = summary is None

    async def _write(self, people: People, rows: MapRows | None) -> None:
        mappings = rows_known(self._map) if rows is None else [row.mapping for row in rows.values()]
        # Who was erased here stays out, though ERPNext has them.
        target = wanted((person for person in people.values() if not self._map.has_erased(person.employee)), mappings)
        part = part_removed(self._map, target)
        if part > self._settings.max_removed and not self._force:
            raise RemovalRefused(round(part * 100))
        records = differences(self._map, target, self._topic)
        await send_records(self._send, records)
        for record in records:
            self._map.apply(record.key, record.value)
        self._people, self._rows = people, rows
        self._warn_of_shared_ids(people)
        if records:
            removed = sum(record.value is None for record in records)
            log.info("User map updated.", changed=len(records) - removed, removed=removed)
        self._metrics.gauge("punchstream_user_map_entries", len(people), kind="employee")
        self._metrics.gauge("punchstream_user_map_entries", sum(1 for _ in self._map.mappings()), kind="user")

    def _warn_of_shared_ids(self, people: People) -> None:
        shared = shared_ids(people)
        for device_user_id, (taken, *others) in shared.items():
            if self._shared.get(device_user_id) != [taken, *others]:
                log.warning(
                    "Several employees share one attendance_device_id; one of them is used.",
                    device_user_id=device_user_id,
                    taken=taken,
                    others=others,
                )
        self._shared = shared

    def _looked(self, result: str, pause: float, why_not_ready: str | None = None) -> float:
        self._metrics.count("punchstream_directory_syncs_total", result=result)
        self._metrics.ready("user map", why_not_ready)
        return pause


async def run(
    kafka: KafkaSettings,
    erpnext: ErpnextSettings,
    directory: DirectorySettings,
    metrics: Metrics,
    stop: asyncio.Event,
    *,
    force: bool = False,
    beside: Sequence[Callable[[Guards], Coroutine[Any, Any, object]]] = (),
) -> None:
    """Keep ERPNext's part of the user map topic up to date until `stop` is set.

    While ERPNext or Kafka does not answer, or refuses, the map stays as it is.

    Args:
        kafka: Where the topic is.
        erpnext: The site, and the API user who may read its employees.
        directory: How often to ask, and how much of the map may be removed at once.
        metrics: Where each comparison is counted.
        stop: Set by whoever wants this to return.
        force: Whether the first full comparison may remove any number of entries.
        beside: What else this process does for ever, with the same guards.
    """
    client = ErpnextClient(erpnext)
    producer = Producer(kafka, kafka.client_id("directory"))
    zones = SiteTopic(kafka, producer, kafka.client_id("directory-site"))
    guards = stage_guards("directory", kafka, metrics, producer, erpnext_clock(erpnext))
    site = site_of(erpnext.url)
    keeper = Directory(
        Lists(EmployeeReader(client, site_zone=lambda: _certain(zones.get(site))), map_rows(client)),
        lambda: read_user_map(kafka),
        producer.send,
        kafka.topics["user_map"],
        directory,
        metrics,
        force=force,
    )
    try:
        await run_until_stopped(
            stop, keeper.keep(guards), zones.follow(), guards.keep(), *(each(guards) for each in beside)
        )
    finally:
        await producer.stop()
        client.close()


def _certain(recorded: SiteZone | None) -> ZoneInfo | None:
    """The zone of the site, if it is proven or accepted. A look in a wrong one would only cost a full comparison."""
    return None if recorded is None or recorded.state == "in_doubt" else zone(recorded.zone)
