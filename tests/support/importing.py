"""Files of punches, and a fleet that they belong to."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from openpyxl import Workbook

from attendance.fleet import Device
from attendance.records.raw_event import RawEvent
from attendance.registry import Registry
from producers.devices import create_file_adapter
from producers.devices.contract import Rejected, Row

PUNCH = "417\t2026-03-04 08:00:00\t1\t0\t1\t0\n"
DEVICES: list[dict[str, Any]] = [
    {"device_id": "USB-1", "mode": "file", "adapter": "attlog", "installed_on": "2026-01-01"},
    {"device_id": "SERVER", "mode": "file", "adapter": "csv", "options": {"user_width": 4}},
    {"device_id": "DOOR-1", "via": "SERVER", "serial": "S1", "installed_on": "2026-03-01"},
    {"device_id": "DOOR-2", "via": "SERVER", "serial": "S2", "disabled": True},
    {"device_id": "PUSHES", "serial": "Z1", "adapter": "hfsecurity", "options": {"of": "another adapter"}},
]


def fleet_file(directory: Path) -> Registry:
    path = directory / "devices.yaml"
    path.write_text(yaml.safe_dump([{"site": "HQ", "timezone": "Asia/Riyadh", **device} for device in DEVICES]))
    return Registry(path)


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(lines))
    return path


def device(name: str = "GATE-1", **fields: Any) -> Device:
    return Device.model_validate(
        {"device_id": name, "site": "HQ", "timezone": "Asia/Riyadh", "mode": "file", "adapter": "csv", **fields}
    )


def rows(adapter: str, path: Path, entry: Device | None = None, **terminals: Device) -> list[Row]:
    return list(create_file_adapter(adapter, ("temperature",)).rows(path, entry or device(), terminals))


def outcomes(adapter: str, path: Path, **options: Any) -> list[tuple[str, datetime | None, str] | str]:
    """User, time and direction of each event, the message of each that was rejected."""
    return [
        (row.outcome.device_user_id, row.outcome.event_time, row.outcome.event_type)
        if isinstance(row.outcome, RawEvent)
        else row.outcome.message
        if isinstance(row.outcome, Rejected)
        else row.outcome.what
        for row in rows(adapter, path, device(options=options))
    ]


def workbook(path: Path, *sheets: Sequence[Sequence[Any]]) -> Path:
    book = Workbook()
    book.remove(book["Sheet"])
    for number, sheet in enumerate(sheets, start=1):
        page = book.create_sheet(f"Page {number}")
        for row in sheet:
            page.append(row)
    book.save(path)
    return path
