"""An ERPNext that stores check-ins, behind the methods of its client, with and without fast ingest."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from site_zones import RecordedZones
from uniqueness_trial import answer_trial

from attendance.errors import DocumentRejected, ServerError, TargetUnavailable
from attendance.records.checkin import Checkin
from sinks.targets.base import Delivered, Result
from sinks.targets.erpnext.ingest import DESCRIBE, INSERT
from sinks.targets.erpnext.target import ErpnextTarget


class FakeSite:
    """What ERPNext does with check-ins, behind the methods of its client."""

    def __init__(self, *, unique: bool = True, zone: str = "Asia/Riyadh") -> None:
        self.unique = unique
        self.zone = zone
        self.rows: list[dict[str, Any]] = []
        self.coordinates = False
        self.far: set[str] = set()
        self.inactive: set[str] = set()
        self.breaking: set[str] = set()
        self.write_errors: list[Exception] = []
        self.read_errors: list[Exception] = []
        self.lost_answers = 0
        self.largest: int | None = None
        self.no_checkins = False
        self.has_app = False
        self.slow: list[str] = []
        """Why fast ingest does not store in bulk."""
        self.requests: list[str] = []
        self.closed = 0

    def logged_user(self) -> str:
        return "api@example.com"

    def site_zone(self) -> str:
        return self.zone

    def has_event_id_field(self) -> bool:
        return self.unique

    def wants_coordinates(self) -> bool:
        return self.coordinates

    def close(self) -> None:
        self.closed += 1

    def get_list(
        self, doctype: str, fields: Sequence[str], filters: Sequence[tuple[str, str, Any]] = (), *, limit: int = 0
    ) -> list[dict[str, Any]]:
        if doctype == "Shift Type":
            return []  # none has auto attendance, so nothing is late
        if doctype == "Employee":
            ((_, _, names),) = filters
            return [employee(name) for name in names]
        self.requests.append("get_list")
        if self.read_errors:
            raise self.read_errors.pop(0)
        if self.no_checkins:
            raise DocumentRejected(404, "DoesNotExistError", "DocType Employee Checkin not found")
        rows = [row for row in self.rows if all(row.get(field) in values for field, _, values in filters)]
        return [{field: row.get(field) for field in fields} for row in rows[: limit or None]]

    def insert(self, document: Mapping[str, Any]) -> str:
        self.requests.append("insert")
        return self._store([document])[0]

    def insert_many(self, documents: Sequence[Mapping[str, Any]]) -> list[str]:
        answer_trial(documents, unique=self.unique)
        self.requests.append(f"insert_many {len(documents)}")
        if self.largest is not None and len(documents) > self.largest:
            raise DocumentRejected(413, "RequestEntityTooLarge", "")
        return self._store(documents)

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        assert method == ("GET" if body is None else "POST")
        if not self.has_app:
            raise DocumentRejected(417, "ValidationError", "App biometric_integration is not installed")
        if path == DESCRIBE:
            return {"message": {"most": 1000, "bulk": not self.slow, "why": self.slow}}
        assert path == INSERT
        assert body is not None
        documents = body["checkins"]
        self.requests.append(f"ingest {len(documents)}")
        if self.largest is not None and len(documents) > self.largest:
            raise DocumentRejected(413, "RequestEntityTooLarge", "")
        if self.write_errors:
            raise self.write_errors.pop(0)
        failed: set[str] = set()
        outcomes = [{"event_id": each["event_id"]} | self._ingest(each, failed) for each in documents]
        self._lose_answer()
        return {"message": {"why": self.slow, "outcomes": outcomes}}

    def _ingest(self, document: Mapping[str, Any], failed: set[str]) -> dict[str, Any]:
        for row in self.rows:
            if row["event_id"] == document["event_id"]:
                return {"outcome": "exists", "name": row["name"]}
        if document["employee"] in failed:
            return {"outcome": "skipped"}
        try:
            [name] = self._add([document])
        except DocumentRejected as error:
            return {
                "outcome": "refused",
                "status": error.status,
                "exc_type": error.kind,
                "message": str(error).partition(": ")[2],
            }
        except ServerError:
            failed.add(document["employee"])
            return {"outcome": "refused", "status": 500, "exc_type": "AttributeError", "message": ""}
        return {"outcome": "inserted", "name": name, "way": "bulk"}

    def _store(self, documents: Sequence[Mapping[str, Any]]) -> list[str]:
        if self.write_errors:
            raise self.write_errors.pop(0)
        names = self._add(documents)
        self._lose_answer()
        return names

    def _lose_answer(self) -> None:
        if self.lost_answers:
            self.lost_answers -= 1
            raise TargetUnavailable("ReadTimeout")

    def _add(self, documents: Sequence[Mapping[str, Any]]) -> list[str]:
        new: list[dict[str, Any]] = []
        for document in documents:
            present = [*self.rows, *new]
            assert document["employee"]
            assert document["time"]
            if document["employee"] in self.inactive:
                raise DocumentRejected(417, "InactiveEmployeeStatusError", "Transactions cannot be created")
            self._check_place(document)
            if document["device_id"] in self.breaking:
                raise ServerError("500 AttributeError")
            if len(document["device_id"]) > 140:
                raise DocumentRejected(417, "CharacterLengthExceededError", "Device ID")
            if any(punch(row) == punch(document) for row in present):
                raise DocumentRejected(417, "ValidationError", "already has a log")
            if self.unique and any(row["event_id"] == document["event_id"] for row in present):
                raise DocumentRejected(417, "UniqueValidationError", "Event ID must be unique")
            new.append({"log_type": "", "event_id": None, **document, "name": f"CKIN-{len(present) + 1}"})
        self.rows += new
        return [row["name"] for row in new]

    def _check_place(self, document: Mapping[str, Any]) -> None:
        if self.coordinates and "latitude" not in document:
            raise DocumentRejected(417, "ValidationError", "Latitude and longitude values are required")
        if document["device_id"] in self.far:
            raise DocumentRejected(417, "CheckinRadiusExceededError", "You must be within 100 meters")


def employee(name: str, **fields: Any) -> dict[str, Any]:
    """An Employee as a list has it."""
    return {
        "name": name,
        "status": "Active",
        "date_of_joining": "2025-01-01",
        "relieving_date": None,
        "creation": "2024-12-20 09:00:00.1",
        **fields,
    }


def punch(document: Mapping[str, Any]) -> tuple[str, str, str]:
    return document["employee"], document["time"], document.get("log_type", "")


def checkin(number: int, **changes: Any) -> Checkin:
    fields: dict[str, Any] = {
        "event_id": f"{number:032x}",
        "employee": f"HR-EMP-{number:05}",
        "event_time": datetime(2026, 1, 1, 5, tzinfo=UTC),
        "log_type": "IN",
        "device_id": "D1",
        "device_user_id": str(number),
        "site": "HQ",
        "device_timezone": "Asia/Dubai",
    }
    return Checkin(**fields | changes)


def target_of(site: FakeSite, batch: int = 100) -> ErpnextTarget:
    """A target whose zone a person has accepted, so that nothing is proven here."""
    target = ErpnextTarget(lambda: site, batch=batch)  # type: ignore[arg-type,return-value]
    target.use_zones(RecordedZones(site.zone), lambda _: None)
    return target


def deliver(site: FakeSite, *calls: Sequence[Checkin]) -> list[list[Result]]:
    """The results of each call, on a target that has just been opened; `site.requests` is of the calls alone."""

    async def run() -> list[list[Result]]:
        target = target_of(site)
        try:
            await target.open()
            site.requests.clear()
            return [await target.deliver(call) for call in calls]
        finally:
            await target.close()

    return asyncio.run(run())


def statuses(results: Sequence[Result]) -> list[str]:
    return [result.status if isinstance(result, Delivered) else type(result).__name__ for result in results]
