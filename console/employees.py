"""Employees: their names, asked from ERPNext when they are shown, and kept in memory for some minutes.

They stand on no topic and in no ledger. Without ERPNext, or while it does not answer, nobody has a name.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from attendance.erpnext import Filter
from attendance.errors import PunchstreamError

log = structlog.get_logger(__name__)

KEPT_SECONDS: Final = 300.0
REST_SECONDS: Final = 30.0
"""So long ERPNext is not asked again after it did not answer."""
MOST_KEPT: Final = 10_000
MOST_FOUND: Final = 20
LONGEST_SECONDS: Final = 4.0
"""So long a page waits for ERPNext."""
_FIELDS: Final = ("name", "employee_name", "status", "department")


class ErpnextLists(Protocol):
    """The part of `attendance.erpnext.ErpnextClient` that is needed. One thread at a time calls it."""

    def get_list(
        self,
        doctype: str,
        fields: Sequence[str],
        filters: Sequence[Filter] = (),
        *,
        order_by: str | None = None,
        start: int = 0,
        limit: int = 0,
    ) -> list[dict[str, Any]]:
        """See `attendance.erpnext.ErpnextClient.get_list`."""


@dataclass(frozen=True, slots=True)
class NamedEmployee:
    """An employee as people know them. `name` is the name of the record, `called` that of the person."""

    name: str
    called: str
    status: str
    department: str


class Employees:
    """Finds employees by name and number."""

    def __init__(self, client: ErpnextLists, clock: Callable[[], float] = time.monotonic) -> None:
        """Nobody is known yet.

        Args:
            client: Asks ERPNext. Nobody else uses it.
            clock: Seconds that only go on.
        """
        self._client = client
        self._clock = clock
        self._turn = asyncio.Lock()
        self._kept: dict[str, tuple[float, NamedEmployee]] = {}
        self._found: dict[str, tuple[float, list[NamedEmployee]]] = {}
        self._rests_until = 0.0

    async def named(self, names: Collection[str]) -> dict[str, NamedEmployee] | None:
        """The employees of these records.

        Args:
            names: Of their records in ERPNext.

        Returns:
            Those that ERPNext has, by record; None where it does not answer.
        """
        until = self._clock() - KEPT_SECONDS
        known = {name: kept for name in names if (kept := self._kept.get(name)) is not None and kept[0] > until}
        missing = [name for name in names if name not in known]
        found: list[NamedEmployee] | None = []
        if missing:
            found = await self._ask([("name", "in", missing)], len(missing))
        if found is None:
            return None
        return {name: employee for name, (_, employee) in known.items()} | {each.name: each for each in found}

    async def find(self, text: str) -> list[NamedEmployee] | None:
        """Employees whose name, record or number in ERPNext has a text in it.

        Args:
            text: What somebody typed, not empty.

        Returns:
            At most `MOST_FOUND`; None where ERPNext does not answer.
        """
        wanted = " ".join(text.split())
        before = self._found.get(wanted)
        if before is not None and before[0] > self._clock() - KEPT_SECONDS:
            return before[1]
        # What is a wildcard to the database is nothing that a name has.
        pattern = "%" + wanted.replace("\\", "").replace("%", "").replace("_", r"\_") + "%"
        found: dict[str, NamedEmployee] = {}
        for field in ("name", "employee_name", "attendance_device_id"):
            page = await self._ask([(field, "like", pattern)], MOST_FOUND)
            if page is None:
                return None
            found |= {each.name: each for each in page}
        listed = sorted(found.values(), key=lambda each: (each.status != "Active", each.called, each.name))[:MOST_FOUND]
        if len(self._found) >= MOST_KEPT:
            self._found.clear()
        self._found[wanted] = self._clock(), listed
        return listed

    async def _ask(self, filters: Sequence[Filter], most: int) -> list[NamedEmployee] | None:
        if self._clock() < self._rests_until:
            return None
        asking = asyncio.create_task(self._list(filters, most))
        asking.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            # Shielded: a thread cannot be stopped, and until it has ended nobody else has their turn.
            rows = await asyncio.wait_for(asyncio.shield(asking), LONGEST_SECONDS)
        except (PunchstreamError, TimeoutError) as error:
            log.warning("ERPNext does not say the names of employees.", error=str(error) or "no answer in time")
            self._rests_until = self._clock() + REST_SECONDS
            return None
        if len(self._kept) >= MOST_KEPT:
            self._kept.clear()
        at = self._clock()
        self._kept |= {each.name: (at, each) for each in rows}
        return rows

    async def _list(self, filters: Sequence[Filter], most: int) -> list[NamedEmployee]:
        async with self._turn:
            rows = await asyncio.to_thread(
                lambda: self._client.get_list("Employee", _FIELDS, filters, order_by="name", limit=most)
            )
        return [NamedEmployee(*(str(row.get(field) or "") for field in _FIELDS)) for row in rows]
