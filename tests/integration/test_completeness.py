"""From a terminal's silence to a repaired day, with every stage its own process, on real brokers."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from attendance.erpnext import ErpnextClient
from attendance.fleet import hash_token
from attendance.settings import ErpnextSettings, KafkaSettings
from attendance.times import format_seconds, now
from operations.site.setup import EVENT_ID
from punchstream.stages import COMPLETENESS, STAGES, Stages
from sandbox.erpnext.server import ErpnextStandIn

pytestmark = pytest.mark.broker

DEADLINE = 60
TOKEN = "gate-token-7f3a"
SHIFT = "Day Shift"
DAY = now().date() - timedelta(days=3)
EMPLOYEES = {"1": "HR-EMP-00001", "2": "HR-EMP-00002"}
NEVER = "2025-01-01 00:00:00"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[ErpnextStandIn]:
    """Two people on the day shift, who joined on the day that is looked at."""
    with ErpnextStandIn(log_file=tmp_path / "erpnext.log", time_zone="Asia/Riyadh") as stand_in:
        stand_in.shift_types([{"name": SHIFT, "process_attendance_after": str(DAY)}])
        stand_in.employees(
            {"name": name, "attendance_device_id": user, "default_shift": SHIFT, "date_of_joining": str(DAY)}
            for user, name in EMPLOYEES.items()
        )
        yield stand_in


class World:
    """All stages, with two terminals of one shift."""

    def __init__(self, stages: Stages, site: ErpnextStandIn, directory: Path) -> None:
        self._stages = stages
        self._site = site
        self._directory = directory
        self._http = httpx.Client(base_url=stages.url, headers={"X-Device-Token": TOKEN}, timeout=DEADLINE)
        self.erpnext = ErpnextClient(ErpnextSettings.load())

    def close(self) -> None:
        self._http.close()
        self.erpnext.close()

    def post(self, path: str, **body: Any) -> None:
        self._http.post(path, json=body).raise_for_status()

    def works(self, device_id: str, user: str) -> None:
        """Hand over the two punches of a user's day."""
        events = [{"user_id": user, "time": f"{DAY} {clock}"} for clock in ("08:00:00", "17:00:00")]
        self.post("/v1/events", device_id=device_id, events=events)

    def heartbeat(self, device_id: str) -> None:
        self.post("/v1/heartbeat", device_id=device_id, time=format_seconds(now()), pending=0)

    def until(self, condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + DEADLINE
        while not condition():
            logs = {path.name: path.read_text()[-2000:] for path in self._directory.glob("*.log")}
            assert time.monotonic() < deadline, logs
            self._stages.check()
            time.sleep(0.2)

    def logged(self, sentence: str) -> list[dict[str, Any]]:
        lines = (self._directory / f"{COMPLETENESS}.log").read_text().splitlines()
        return [json.loads(line) for line in lines if sentence in line]

    def stored(self) -> int:
        return len(self._site.checkins())

    def last_sync(self) -> str:
        return str(self.erpnext.get("Shift Type", SHIFT)["last_sync_of_checkin"])

    def day_of(self, user: str) -> list[tuple[str, float]]:
        return [
            (row["status"], row["working_hours"])
            for row in self._site.attendance()
            if row["employee"] == EMPLOYEES[user] and row["attendance_date"] == str(DAY) and row["docstatus"] == 1
        ]

    def audit(self, *options: str) -> tuple[int, list[dict[str, Any]]]:
        return self.run("audit", *options)

    def run(self, *words: str) -> tuple[int, list[dict[str, Any]]]:
        command = [sys.executable, "-m", "punchstream", *words, "--json"]
        done = subprocess.run(command, capture_output=True, timeout=DEADLINE, check=False)
        return done.returncode, json.loads(done.stdout)


@pytest.fixture
def world(
    kafka: KafkaSettings, site: ErpnextStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    devices = [
        {"device_id": name, "site": "hq", "timezone": "Asia/Riyadh", "token_sha256": hash_token(TOKEN)}
        for name in ("GATE-1", "GATE-2")
    ]
    registry = tmp_path / "devices.yaml"
    registry.write_text(yaml.safe_dump({"devices": devices, "shifts": [{"shift_type": SHIFT, "sites": ["hq"]}]}))
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_ENABLE_IDEMPOTENCE": str(kafka.enable_idempotence),
        "KAFKA_SESSION_TIMEOUT": str(kafka.session_timeout),
        "KAFKA_TOPIC_PREFIX": kafka.topic_prefix,
        "KAFKA_PARTITIONS": str(kafka.partitions),
        "ERPNEXT_URL": site.url,
        "ERPNEXT_API_KEY": site.api_key,
        "ERPNEXT_API_SECRET": site.api_secret,
        "PUNCHSTREAM_DEVICES": str(registry),
        "PUSH_PORT": "0",
        "COMPLETENESS_INTERVAL": "0.5",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with Stages(tmp_path, (COMPLETENESS, *STAGES)) as stages:
        world = World(stages, site, tmp_path)
        world.erpnext.insert(EVENT_ID)
        yield world
        world.close()


def test_a_silent_terminal_holds_its_shift_back_and_what_comes_late_is_listed_and_repaired_when_asked(
    world: World,
) -> None:
    world.works("GATE-1", "1")
    world.heartbeat("GATE-1")
    world.until(lambda: world.stored() == 2)
    world.until(lambda: world.logged("Devices hold a shift back."))
    world.until(lambda: any(entry["first"] == ["GATE-2"] for entry in world.logged("Devices hold a shift back.")))
    assert world.last_sync() == NEVER
    assert not world.day_of("1")

    _, devices = world.run("devices", "list", "--status")
    assert {each["device_id"]: each["pending"] for each in devices} == {"GATE-1": 0, "GATE-2": None}

    world.heartbeat("GATE-2")
    world.until(lambda: world.last_sync() != NEVER)
    world.until(lambda: world.day_of("1") == [("Present", 9.0)] and world.day_of("2") == [("Absent", 0.0)])

    # The terminal contradicts itself.
    world.works("GATE-2", "2")
    world.until(lambda: world.stored() == 4)
    world.until(lambda: len(world.audit("--late")[1]) == 2)
    status, late = world.audit("--late", "--against-erpnext")
    assert status == 1
    assert {(each["employee"], each["attendance_date"], each["shift_type"], each["device_id"]) for each in late} == {
        (EMPLOYEES["2"], str(DAY), SHIFT, "GATE-2")
    }
    assert [each["attendance"] for each in late] == ["Absent", "Absent"]
    assert world.day_of("2") == [("Absent", 0.0)], "to list is not to repair"

    status, repairs = world.audit("--repair-late")
    assert (status, [each["result"] for each in repairs]) == (0, ["repaired"])
    assert world.day_of("2") == [("Present", 9.0)]
    assert world.audit("--late", "--against-erpnext")[0] == 0
