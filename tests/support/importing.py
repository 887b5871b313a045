"""Files of punches, and a fleet that they belong to."""

from pathlib import Path
from typing import Any

import yaml

from attendance.registry import Registry

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
