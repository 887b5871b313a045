"""The pipeline beside a real ERPNext: what HR and IT say in the desk, and what becomes of punches there."""

import json
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from eventually import eventually
from frappe_bench import SiteUser
from site_pipeline import SitePipeline, event, minute

TOKEN = "a-token-of-the-desk-7731"
CHECKIN = "Employee Checkin"
FIELDS = ["name", "employee", "time", "log_type", "device_id", "event_id"]
SOON = 60.0


class Fleet:
    """Three devices, and who is who on them."""

    def __init__(self, make: Any) -> None:
        self.gate, self.door, self.hall = (make.device(name, TOKEN) for name in ("gate", "door", "hall"))
        self.anna = make.employee("Anna")
        self.bashir = make.employee("Bashir", attendance_device_id=f"B{make.run}")
        make.document("Biometric User Map", device_user_id="7", employee=self.anna, device=self.gate)


@pytest.fixture(scope="module")
def fleet(make: Any) -> Fleet:
    """What stands in the desk before the pipeline starts."""
    return Fleet(make)


@pytest.fixture(autouse=True)
def until_read(fleet: Fleet, pipeline: SitePipeline) -> None:
    """The devices of the desk are known to push."""
    wanted = f"{fleet.hall} may send"
    eventually(lambda: pipeline.post(fleet.hall, TOKEN, []) == 200, within=SOON, wanted=wanted)


@pytest.fixture(autouse=True)
def checkins_go(fleet: Fleet, administrator: SiteUser) -> Iterator[None]:
    """Check-ins of these employees are deleted, without which the employees could not be."""
    yield
    for row in stored(administrator, fleet.anna) + stored(administrator, fleet.bashir):
        administrator.delete(CHECKIN, row["name"])


def stored(user: SiteUser, employee: str) -> list[dict[str, Any]]:
    """The check-ins of an employee."""
    return user.find(CHECKIN, [["employee", "=", employee]], FIELDS)


def test_the_check_finds_the_site_ready_and_fast_ingest(pipeline: SitePipeline) -> None:
    checked = pipeline.command("erpnext", "check", "--json")

    found = {each["name"]: each for each in json.loads(checked.stdout)}
    assert checked.returncode == 0, checked.stdout
    assert {name: found[name]["state"] for name in ("event_id field", "fast ingest", "a check-in, undone")} == {
        "event_id field": "ok",
        "fast ingest": "ok",
        "a check-in, undone": "ok",
    }


def test_a_punch_of_a_mapped_number_is_a_check_in_at_the_hour_of_the_site(
    pipeline: SitePipeline, fleet: Fleet, administrator: SiteUser, prepared: dict[str, Any]
) -> None:
    time = minute(ago=95)

    assert pipeline.post(fleet.gate, TOKEN, [event("7", time)]) == 200

    (row,) = eventually(lambda: stored(administrator, fleet.anna), within=SOON, wanted="a check-in of Anna")
    at_the_site = time.astimezone(ZoneInfo(prepared["zone"])).replace(tzinfo=None)
    assert (row["time"], row["log_type"], row["device_id"]) == (str(at_the_site), "IN", fleet.gate)


def test_a_punch_waits_until_a_row_says_whose_it_is(
    pipeline: SitePipeline, fleet: Fleet, administrator: SiteUser, make: Any
) -> None:
    time = minute(ago=120)
    assert pipeline.post(fleet.door, TOKEN, [event("31", time)]) == 200
    said = lambda: pipeline.command("users", "unmapped", "--json").stdout  # noqa: E731
    eventually(lambda: '"31"' in said(), within=SOON, wanted="the number waits")
    assert stored(administrator, fleet.anna) == []

    make.document("Biometric User Map", device_user_id="31", employee=fleet.anna, device=fleet.door)

    (row,) = eventually(lambda: stored(administrator, fleet.anna), within=SOON, wanted="the check-in that waited")
    assert row["device_id"] == fleet.door


def test_what_a_device_said_last_is_in_its_document(
    pipeline: SitePipeline, fleet: Fleet, administrator: SiteUser
) -> None:
    before = administrator.get("Biometric Device", fleet.hall)
    assert pipeline.post(fleet.hall, TOKEN, [event("nobody", minute(ago=200))]) == 200

    def written() -> dict[str, Any] | None:
        now = administrator.get("Biometric Device", fleet.hall)
        return now if now.get("last_sync_at") else None

    after = eventually(written, within=120, wanted="live fields")
    assert after["modified"] == before["modified"]


def test_the_raw_log_has_the_punch_from_the_console_and_leads_to_its_check_in(
    pipeline: SitePipeline, fleet: Fleet, administrator: SiteUser, console_asked: None
) -> None:
    assert pipeline.post(fleet.gate, TOKEN, [event("7", minute(ago=300))]) == 200
    (row,) = eventually(lambda: stored(administrator, fleet.anna), within=SOON, wanted="a check-in of Anna")

    def delivered() -> list[dict[str, Any]]:
        of_anna = [["employee", "=", fleet.anna], ["outcome", "=", "delivered"]]
        listed = administrator.find("Attendance Raw Log", of_anna, ["name", "hash", "document"])
        return [each for each in listed if each["hash"] == row["event_id"]]

    (listed,) = eventually(delivered, within=SOON, wanted="the punch in the raw log")
    opened = administrator.get("Attendance Raw Log", listed["name"])
    assert (opened["hash"], opened["document"]) == (row["event_id"], row["name"])
    assert (opened["device"], opened["device_user_id"], opened["employee"]) == (fleet.gate, "7", fleet.anna)
    raw = json.loads(opened["source_payload"])
    assert (raw["event_id"], raw["device_user_id"], raw["payload"]) == (row["event_id"], "7", {"type": "IN"})


def test_the_token_of_a_device_that_was_deleted_opens_nothing(
    pipeline: SitePipeline, fleet: Fleet, administrator: SiteUser, make: Any
) -> None:
    extra = make.device("extra", TOKEN)
    eventually(lambda: pipeline.post(extra, TOKEN, []) == 200, within=SOON, wanted="the new device may send")

    administrator.delete("Biometric Device", extra)

    eventually(lambda: pipeline.post(extra, TOKEN, []) in (401, 403), within=SOON, wanted="it may not any more")
    assert pipeline.post(fleet.gate, TOKEN, []) == 200
