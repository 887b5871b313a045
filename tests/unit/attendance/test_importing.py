"""The package `attendance` for whoever reads the topics, without what only the stages need."""

import subprocess
import sys

import pytest

# Finds nothing but the standard library, ours, and what is named on the command line.
PROGRAM = """
import sys
from importlib.abc import MetaPathFinder

class Only(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in allowed and not name.startswith("_sysconfigdata"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

allowed = {*sys.stdlib_module_names, "attendance", *sys.argv[2].split(",")}
sys.meta_path.insert(0, Only())
exec(sys.argv[1])
"""
WORK = """
from attendance.records.raw_event import RawEvent, Source, event_id
from datetime import UTC, datetime
when = datetime(2026, 1, 1, 5, tzinfo=UTC)
event = RawEvent("d", "s", "7", "IN", when, None, "UTC", when, Source("push", "json"))
assert RawEvent.decode(event.encode()) == event
assert event.event_id == event_id("d", "7", "2026-01-01T05:00:00Z", "IN")
assert dict(event.headers())["ce_id"] == event.event_id.encode()
"""
EVERYTHING = """
import importlib, pkgutil
import attendance.contract, attendance.records
for package in (attendance.contract, attendance.records):
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
from attendance.contract.schemas import schema
assert schema("raw")["properties"]["event_id"]
"""


def run(work: str, *installed: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, work, ",".join(installed)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("work", "installed"),
    [(WORK, ("msgspec", "tzdata")), (EVERYTHING, ("msgspec", "structlog", "tzdata", "typing_extensions"))],
    ids=["events", "every record and schema"],
)
def test_records_are_read_without_faust_fastapi_or_any_client_of_kafka(work: str, installed: tuple[str, ...]) -> None:
    done = run(work, *installed)
    assert done.returncode == 0, done.stderr


def test_what_is_not_installed_would_be_noticed() -> None:
    done = run("import attendance.kafka.clients", "msgspec", "structlog", "tzdata")
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr
