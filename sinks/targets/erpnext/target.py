"""The ERPNext target: check-ins as `Employee Checkin` documents, each stored once.

With the unique field `event_id` on Employee Checkin (`punchstream erpnext setup`) the database itself refuses a second
copy. So documents go in batches, and whatever is in doubt is sent again. Unless that is proven (`uniqueness.py`), they
go one by one, each after a look-up of what is there.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Final, TypeVar

import structlog

from attendance.erpnext import CHECKIN, Document, ErpnextClient
from attendance.erpnext_clock import erpnext_clock
from attendance.errors import (
    AccessDenied,
    DocumentRejected,
    InvalidRecord,
    Reason,
    TargetUnavailable,
)
from attendance.records.checkin import Checkin
from attendance.server_clock import Clock, ClockReader
from attendance.settings import ErpnextSettings, SinkSettings
from attendance.site import ZoneStore, site_of
from attendance.times import now
from sinks.completeness.lateness import find_late
from sinks.poison import as_target_failure
from sinks.targets.base import Delivered, Result
from sinks.targets.erpnext.call import Call
from sinks.targets.erpnext.coordinates import CoordinateRule
from sinks.targets.erpnext.documents import to_document
from sinks.targets.erpnext.employees import not_to_be_sent
from sinks.targets.erpnext.ingest import IngestGuard
from sinks.targets.erpnext.uniqueness import UniquenessGuard
from sinks.targets.erpnext.zone import ZoneGuard

log = structlog.get_logger(__name__)

ONE_BY_ONE: Final = 20  # documents in one call of `deliver` if each is a request of its own

_T = TypeVar("_T")


def create(settings: SinkSettings) -> "ErpnextTarget":
    """The target as the environment describes it.

    Raises:
        ConfigurationError: An `ERPNEXT_*` setting is wrong or missing.
    """
    site = ErpnextSettings.load()
    return ErpnextTarget(
        lambda: ErpnextClient(site),
        settings.concurrency,
        settings.batch,
        site=site_of(site.url),
        clock=erpnext_clock(site),
    )


class ErpnextTarget:
    """A `sinks.targets.base.Target`. Requests run in threads, each with a connection of its own."""

    name = "erpnext"
    looks_up_employees = True

    def __init__(
        self,
        connect: Callable[[], ErpnextClient],
        concurrency: int = 4,
        batch: int = 100,
        *,
        site: str = "erpnext",
        clock: ClockReader | None = None,
    ) -> None:
        """Nothing is asked of ERPNext yet.

        Args:
            connect: Makes a client, one for each thread.
            concurrency: The most calls of `deliver` at the same time.
            batch: The most documents in one request. It takes 200 at most without fast ingest.
            site: By what name its zone is recorded.
            clock: Reads its clock; None where nobody does.
        """
        self._clock = clock
        self._connect = connect
        self._batch = batch
        self._ingest = IngestGuard()
        # More than the deliveries, so that `open` need not wait for them. Those that are overdue keep others waiting
        # no longer.
        self._threads = ThreadPoolExecutor(2 * concurrency + 2, thread_name_prefix="erpnext")
        self._local = threading.local()
        self._clients: list[ErpnextClient] = []
        self._zone = ZoneGuard(site, self._in_thread)
        self._uniqueness = UniquenessGuard()
        self._opened = False
        self._coordinates = CoordinateRule()

    @property
    def max_batch(self) -> int:
        """The most check-ins in one call: those of one request, or fewer if each is a request of its own."""
        return min(self._batch, self._ingest.most if self._uniqueness.proven else ONE_BY_ONE)

    async def read_clock(self) -> Clock | None:
        """See `sinks.targets.base.HasClock`."""
        return await self._clock() if self._clock else None

    async def open(self) -> None:
        """See `sinks.targets.base.Target.open`."""
        user = await self._in_thread(self._open)
        await self._zone.look()
        if not self._opened:
            unique = self._uniqueness.proven
            log.info(
                "Connected to ERPNext.",
                user=user,
                zone=self._zone.name,
                event_id_is_unique=unique,
                fast_ingest=self._ingest.is_there,
            )
        self._opened = True

    async def deliver(self, checkins: Sequence[Checkin]) -> list[Result]:
        """See `Target.deliver`. Once the target is open it raises only what a look at the zone does."""
        if not self._opened:
            raise TargetUnavailable("ERPNext is not open")
        return await self._zone.deliver(checkins, self._send)

    def use_zones(self, zones: ZoneStore, report: Callable[[str | None], object]) -> None:
        """See `sinks.targets.base.HasZone.use_zones`."""
        self._zone.use(zones, report)

    async def look_at_zone(self) -> None:
        """See `sinks.targets.base.HasZone.look_at_zone`."""
        if self._opened:
            with suppress(TargetUnavailable, AccessDenied):  # a delivery will meet it
                await self._zone.look_if_due()

    async def _send(self, checkins: Sequence[Checkin], site_zone: str) -> list[Result]:
        return await self._in_thread(lambda client: self._deliver(client, checkins, site_zone))

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

    def _open(self, client: ErpnextClient) -> str:
        """As whom we are there."""
        try:
            user = client.logged_user()
            client.get_list(CHECKIN, ["name"], limit=1)
            self._uniqueness.look(client, now=True)
            self._ingest.look(client)
        except DocumentRejected as error:
            raise AccessDenied(f"Employee Checkin cannot be used; is Frappe HR installed? {error}") from error
        return user

    def _deliver(self, client: ErpnextClient, checkins: Sequence[Checkin], site_zone: str) -> list[Result]:
        try:
            self._uniqueness.look(client)
        except (TargetUnavailable, AccessDenied, DocumentRejected) as error:
            return [as_target_failure(error)] * len(checkins)
        has_field, unique = self._uniqueness.has_field, self._uniqueness.proven
        documents: dict[int, Document] = {}
        results: dict[int, Result] = {}
        for index, checkin in enumerate(checkins):
            try:
                if checkin.supersedes is not None and not has_field:
                    raise InvalidRecord(Reason.TARGET_REJECTED, "what it supersedes has no event_id to be found by")
                documents[index] = to_document(checkin, site_zone, event_id=has_field)
            except InvalidRecord as error:
                results[index] = error
        call = Call(client, documents, results, ingest=self._ingest)
        otherwise: Result = None
        try:
            for withhold in (not_to_be_sent, self._coordinates.withhold):
                for index, result in withhold(client, dict(enumerate(checkins)), documents).items():
                    results[index] = result
                    del documents[index]
            corrections = {i: each for i, each in enumerate(checkins) if each.supersedes}
            call.send_in_order(corrections) if unique else call.send_one_by_one(corrections)
            results |= self._coordinates.explain(client, documents, results)
        except (TargetUnavailable, AccessDenied, DocumentRejected) as error:
            # `call` has dealt with those of one document: this is that of a look-up, or the site's.
            otherwise = as_target_failure(error)
            self._uniqueness.doubt()
        if call.unanswered:
            self._uniqueness.doubt()
        self._uniqueness.verify(client, [documents[index] for index in call.created])
        answers = [
            results.get(index, otherwise if index not in call.skipped else None) for index in range(len(checkins))
        ]
        return _with_lateness(client, checkins, answers, site_zone)


def _with_lateness(
    client: ErpnextClient, checkins: Sequence[Checkin], results: list[Result], site_zone: str
) -> list[Result]:
    delivered = {index: each for index, each in enumerate(results) if isinstance(each, Delivered)}
    stored = [(checkins[index], each.document) for index, each in delivered.items()]
    late = find_late(client, stored, site_zone, now())
    for (index, result), found in zip(delivered.items(), late, strict=True):
        results[index] = replace(result, late=found)
    return results
