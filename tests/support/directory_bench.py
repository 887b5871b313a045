"""A directory between an ERPNext and the topic of the user map, both in memory."""

import asyncio
import operator
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zlib import crc32
from zoneinfo import ZoneInfo

from attendance.errors import DocumentRejected, PermissionDenied
from attendance.kafka.records import OutRecord
from attendance.metrics import Metrics
from attendance.records.user_map import EVERYWHERE, Employee
from attendance.settings import DirectorySettings
from attendance.user_map import UserMap
from producers.directory.desk import USER_MAP, VERSION, map_rows
from producers.directory.documents import SUMMARY
from producers.directory.employees import EmployeeReader
from producers.directory.sync import Directory, Lists

START = datetime.fromisoformat("2026-03-01 08:00:00")
TOPIC = "attendance.user-map.v1"
COMPARE: dict[str, Callable[[str, str], bool]] = {">": operator.gt, ">=": operator.ge, "<=": operator.le}


class FakeSite:
    """ERPNext's lists: rows with a clock of their own, filters and orders as they are asked for.

    `desk` has the rows of the desk's user map; it is None where that app is not installed.
    """

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.desk: dict[str, dict[str, Any]] | None = None
        self.desk_failure: Exception | None = None
        self.desk_requests = 0
        self.time = START
        self.zone: ZoneInfo | None = ZoneInfo("UTC")
        self.requests = 0
        self.hidden: set[str] = set()
        self.sums = True
        self.counts = True
        self.failure: Exception | None = None
        self.meanwhile: Callable[[], None] = lambda: None

    def save(self, name: str, device_user_id: str | None = None, status: str = "Active", **fields: Any) -> None:
        self.time += timedelta(seconds=1)
        now = str(self.wall_clock())
        self.rows[name] = {
            "creation": self.rows.get(name, {}).get("creation", now),
            "name": name,
            "attendance_device_id": device_user_id,
            "status": status,
            "company": None,
            "branch": None,
            "date_of_joining": None,
            "relieving_date": None,
            "modified": now,
        } | fields

    def map(self, name: str, device_user_id: str, employee: str, **scope: str) -> None:
        self.time += timedelta(seconds=1)
        self.desk = self.desk if self.desk is not None else {}
        self.desk[name] = {"name": name, "device_user_id": device_user_id, "employee": employee}
        self.desk[name] |= {"device": None, "site": None, "modified": str(self.wall_clock())} | scope

    def rename(self, old: str, new: str) -> None:
        """As Frappe does: the row keeps everything else, and its `modified` is now."""
        self.time += timedelta(seconds=1)
        self.rows[new] = self.rows.pop(old) | {"name": new, "modified": str(self.wall_clock())}

    def table(self, doctype: str) -> dict[str, dict[str, Any]]:
        """The rows of a doctype, one request later."""
        if self.failure is not None:
            raise self.failure
        if doctype == "Employee":
            self.requests += 1
            return self.rows
        assert doctype == USER_MAP
        self.desk_requests += 1
        if self.desk_failure is not None:
            raise self.desk_failure
        if self.desk is None:
            raise PermissionDenied("403 PermissionError: No permission for DocType")
        return self.desk

    def call(self, method: str, path: str) -> dict[str, Any]:
        assert (method, path) == ("GET", VERSION)
        self.desk_requests += 1
        if self.failure is not None:
            raise self.failure
        if self.desk is None:
            raise DocumentRejected(417, "ValidationError", "App biometric_integration is not installed")
        return {"message": "0.1.0"}

    def summary(self, rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
        if not self.sums:
            raise DocumentRejected(417, "DataError", "Field not permitted in query")
        shown = [row for name, row in rows.items() if name not in self.hidden]
        checksums = {
            "names": [crc32(row["name"].encode()) for row in shown],
            "modified": [crc32(_in_database(row["modified"])) for row in shown],
        }
        self.meanwhile()
        return {"n": len(shown)} | {name: float(sum(each)) if each else None for name, each in checksums.items()}

    def wall_clock(self) -> datetime:
        """What the clock of the site shows."""
        return self.time.replace(tzinfo=UTC).astimezone(self.zone or UTC).replace(tzinfo=None)

    def count(self, doctype: str) -> int:
        rows = self.table(doctype)
        if not self.counts:
            raise PermissionDenied("403 PermissionError: no")
        self.meanwhile()
        return len(rows.keys() - self.hidden)

    def get_list(
        self,
        doctype: str,
        fields: Sequence[str],
        filters: Sequence[tuple[str, str, str]] = (),
        *,
        order_by: str = "name asc",
        start: int = 0,
        limit: int = 0,
    ) -> list[dict[str, Any]]:
        rows = self.table(doctype)
        if fields == SUMMARY:
            return [self.summary(rows)]
        matching = [
            row
            for row in rows.values()
            if row["name"] not in self.hidden
            and all(COMPARE[compare](row[name], bound) for name, compare, bound in filters)
        ]
        for order in reversed(order_by.split(", ")):
            name, direction = order.split()
            matching.sort(key=lambda row: row[name], reverse=direction == "desc")
        page = [{name: row[name] for name in fields} for row in matching[start : start + limit]]
        self.meanwhile()
        return page


def _in_database(stamp: str) -> bytes:
    return datetime.fromisoformat(stamp).isoformat(sep=" ", timespec="microseconds").encode()


class FakeTopic:
    """The user map topic: what was acknowledged, in order."""

    def __init__(self) -> None:
        self.records: list[OutRecord] = []
        self.failure: Exception | None = None

    async def send(self, *records: OutRecord) -> None:
        if self.failure is not None:
            raise self.failure
        self.records += records

    async def load(self) -> UserMap:
        users = UserMap()
        for record in self.records:
            users.apply(record.key, record.value)
        return users


class Bench:
    """A directory between a site and a topic, with a clock that stands until it is moved."""

    def __init__(self, **options: Any) -> None:
        self.site = FakeSite()
        self.topic = FakeTopic()
        self.metrics = Metrics()
        self.restart(**options)

    def restart(self, *, page: int = 3, force: bool = False, **settings: Any) -> None:
        self.directory = Directory(
            Lists(
                EmployeeReader(self.site, page, lambda: self.site.zone),  # type: ignore[arg-type]
                map_rows(self.site),  # type: ignore[arg-type]
            ),
            self.topic.load,
            self.topic.send,
            TOPIC,
            DirectorySettings(**settings),
            self.metrics,
            force=force,
            clock=lambda: self.site.time.replace(tzinfo=UTC),
        )

    def step(self, seconds: float = 60) -> float:
        self.site.time += timedelta(seconds=seconds)
        return asyncio.run(self.directory.run_once())

    def users(self) -> dict[str, str]:
        """The employee of each device user, at a device that no mapping names."""
        users = asyncio.run(self.topic.load())
        return {
            mapping.device_user_id: mapping.employee
            for mapping in users.mappings()
            if users.in_scope(EVERYWHERE, mapping.device_user_id) == mapping
        }

    def employee(self, name: str) -> Employee | None:
        return asyncio.run(self.topic.load()).employee(name)

    def written(self) -> int:
        return len(self.topic.records)

    def counted(self, result: str) -> bool:
        return f'punchstream_directory_syncs_total{{result="{result}"}}' in self.metrics.exposition().decode()
