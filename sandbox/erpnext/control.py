"""What tests ask of the stand-in besides Frappe's REST interface: its knobs, and documents without any check."""

from collections.abc import Iterator
from typing import Any, Final

import orjson
from fastapi import APIRouter, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import ValidationError

from sandbox.erpnext.doctypes import ATTENDANCE, CHECKIN
from sandbox.erpnext.errors import FrappeError
from sandbox.erpnext.frappe import Frappe, Stats
from sandbox.erpnext.knobs import Control, Knobs
from sandbox.erpnext.query import Row
from sandbox.erpnext.site import Site

_ROWS_PER_CHUNK: Final = 1000


class StandIn:
    """What the parts of one application share."""

    def __init__(self, site: Site, knobs: Knobs | None) -> None:
        self.site = site
        self.control = Control(knobs)
        self.stats = Stats()
        self.frappe = Frappe(site, self.control, self.stats)

    def reset(self) -> None:
        """Forget everything, and turn all knobs back."""
        self.site.reset()
        self.control.reset()
        self.stats.reset()


def control_routes(stand_in: StandIn) -> APIRouter:
    """What tests ask of that stand-in."""
    routes = APIRouter()

    @routes.get("/knobs")
    async def get_knobs() -> Knobs:
        """All knobs; the `times` of a fault are those that are left."""
        return stand_in.control.knobs

    @routes.put("/knobs")
    async def put_knobs(changes: dict[str, Any]) -> Knobs:
        """Turn the knobs that are named, and no others."""
        try:
            knobs = Knobs.model_validate(stand_in.control.knobs.model_dump() | changes)
        except ValidationError as error:
            raise HTTPException(422, str(error)) from error
        stand_in.control.set(knobs)
        return stand_in.control.knobs

    @routes.get("/stats")
    async def get_stats() -> dict[str, Any]:
        """Requests by endpoint and status, and how many documents were inserted."""
        return stand_in.stats.as_dict()

    @routes.post("/reset")
    async def reset() -> dict[str, Any]:
        """Forget everything, and turn all knobs back."""
        stand_in.reset()
        return {}

    routes.include_router(_document_routes(stand_in))
    routes.include_router(_change_routes(stand_in))
    return routes


def _document_routes(stand_in: StandIn) -> APIRouter:
    routes = APIRouter()

    @routes.get("/checkins")
    async def get_checkins(since: str = "") -> StreamingResponse:
        """The check-ins created at or after that time of the site's, one JSON object a line, as they were stored."""
        rows = [row for row in stand_in.site.rows(CHECKIN) if row["creation"] >= since]
        return StreamingResponse(_lines(rows), media_type="application/x-ndjson")

    @routes.post("/employees")
    async def post_employees(employees: list[Row]) -> list[str]:
        """Create or replace employees, and answer with their names."""
        return stand_in.site.put_employees(employees)

    @routes.post("/shift_types")
    async def post_shift_types(shift_types: list[Row]) -> list[str]:
        """Create or replace shift types, and answer with their names."""
        return stand_in.site.put_shift_types(shift_types)

    @routes.get("/attendance")
    async def get_attendance() -> StreamingResponse:
        """All Attendance, cancelled ones too, one JSON object a line, as it was made."""
        return StreamingResponse(_lines(list(stand_in.site.rows(ATTENDANCE))), media_type="application/x-ndjson")

    return routes


def _change_routes(stand_in: StandIn) -> APIRouter:
    routes = APIRouter()

    @routes.post("/time_zone")
    async def post_time_zone(body: dict[str, str]) -> dict[str, Any]:
        """Change the `time_zone` of the site, or of the `user` that is named. What is stored stays as it is."""
        try:
            stand_in.site.set_time_zone(body["time_zone"], body.get("user"))
        except FrappeError as error:
            raise HTTPException(422, str(error)) from error
        return {}

    @routes.post("/documents/{doctype}")
    async def post_documents(doctype: str, rows: list[Row]) -> list[str]:
        """Create or replace documents of any doctype without any check, and answer with their names."""
        try:
            return stand_in.site.put(doctype, rows)
        except FrappeError as error:
            raise HTTPException(422, str(error)) from error

    @routes.delete("/documents/{doctype}/{name}")
    async def delete_document(doctype: str, name: str) -> dict[str, Any]:
        """Delete a document whatever leads to it, as from the database."""
        try:
            stand_in.site.remove(doctype, name)
        except FrappeError as error:
            raise HTTPException(422, str(error)) from error
        return {}

    @routes.post("/hourly")
    async def post_hourly() -> dict[str, Any]:
        """What the scheduler does each hour, now."""
        stand_in.site.run_hourly()
        return {}

    @routes.post("/series")
    async def post_series(body: dict[str, Any]) -> dict[str, Any]:
        """Let the naming series of `doctype` have given the number `current` last, as after a restore."""
        stand_in.site.set_series(str(body["doctype"]), int(body["current"]))
        return {}

    return routes


def _lines(rows: list[Row]) -> Iterator[bytes]:
    for start in range(0, len(rows), _ROWS_PER_CHUNK):
        yield b"".join(orjson.dumps(row) + b"\n" for row in rows[start : start + _ROWS_PER_CHUNK])
