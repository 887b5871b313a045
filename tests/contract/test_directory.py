"""The directory's reader on the stand-in: what the site says of all employees in one answer."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from attendance.erpnext import ErpnextClient
from attendance.fleet import hash_token
from attendance.fleet_topic import FleetTopicEntries
from attendance.records.user_map import UserMapping
from attendance.settings import ErpnextSettings
from operations.desk_fleet import DEVICE, FIELDS, plan_desk, read_device
from operations.desk_shifts import DeskShifts
from producers.directory.desk import DeskList, map_rows
from producers.directory.documents import DocumentReader, Summary
from producers.directory.employees import EmployeeReader, People
from sandbox.erpnext.doctypes import SHIFT_SETTINGS
from sandbox.erpnext.server import ErpnextStandIn
from sandbox.erpnext.users import NO_ROLE_USER, SYNC_USER

NAMES = ("HR-EMP-1", "HR-EMP-2", "محمد")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ErpnextStandIn]:
    log_file: Path = tmp_path_factory.mktemp("erpnext") / "stand-in.log"
    with ErpnextStandIn(log_file=log_file) as stand_in:
        yield stand_in


@pytest.fixture
def site(server: ErpnextStandIn) -> ErpnextStandIn:
    server.reset()
    server.employees({"name": name} for name in NAMES)
    server.employees([{"name": NAMES[0], "modified": "2031-01-01 00:00:00.000000"}])
    return server


@pytest.fixture
def reader(site: ErpnextStandIn) -> Iterator[EmployeeReader]:
    settings = ErpnextSettings(
        url=site.url, api_key=site.api_key, api_secret=site.api_secret, timeout=5, _env_file=None
    )
    client = ErpnextClient(settings)
    yield EmployeeReader(client)
    client.close()


def seen(reader: EmployeeReader) -> tuple[Summary, People]:
    async def scene() -> tuple[Summary | None, People]:
        return await reader.summary(), await reader.everything()

    summary, people = asyncio.run(scene())
    assert summary is not None
    assert summary.whole
    return summary, people


def test_the_summary_of_the_site_is_that_of_its_employees(reader: EmployeeReader) -> None:
    summary, people = seen(reader)
    assert people.keys() == set(NAMES)
    assert summary.fits(people)


@pytest.mark.parametrize("change", ["renamed", "merged", "deleted", "replaced", "changed"])
def test_no_change_leaves_the_summary_as_it_was(site: ErpnextStandIn, reader: EmployeeReader, change: str) -> None:
    before, people = seen(reader)
    match change:
        case "renamed":
            site.rename_employee(NAMES[1], "HR-EMP-9")
        case "merged":
            site.rename_employee(NAMES[1], NAMES[0], merge=True)
        case "deleted":
            site.delete_employee(NAMES[1])
        case "replaced":
            site.delete_employee(NAMES[1])
            site.employees([{"name": NAMES[1]}])
        case "changed":
            site.employees([{"name": NAMES[0], "status": "Left"}])
    after, others = seen(reader)
    assert after != before
    assert not after.fits(people)
    assert after.fits(others)


def test_the_rows_of_the_desk_are_read_where_the_app_is_installed(site: ErpnextStandIn) -> None:
    rows = [{"name": "r1", "device_user_id": "0042", "employee": NAMES[0], "site": "riyadh"}]
    rows += [{"name": "r2", "device_user_id": "7", "employee": NAMES[1], "device": "riyadh-01"}]
    site.put("Biometric User Map", *rows)
    settings = ErpnextSettings(
        url=site.url, api_key=SYNC_USER.api_key, api_secret=SYNC_USER.api_secret, timeout=5, _env_file=None
    )
    client = ErpnextClient(settings)

    async def scene() -> None:
        desk = map_rows(client)
        assert await desk.read() == {}
        site.knobs(desk=True)
        found = await desk.read()
        assert found is not None
        assert [row.mapping for row in found.values()] == [
            UserMapping("site:riyadh", "0042", NAMES[0], "erpnext"),
            UserMapping("device:riyadh-01", "7", NAMES[1], "erpnext"),
        ]
        assert await desk.look() is found
        site.put("Biometric User Map", {"name": "r1", "employee": NAMES[1], "modified": "2031-01-01 00:00:00.500000"})
        changed = await desk.look()
        assert changed is not None
        assert changed["r1"].mapping.employee == NAMES[1]

    try:
        asyncio.run(scene())
    finally:
        client.close()


def test_a_user_who_may_not_read_the_rows_knows_nothing_of_them(site: ErpnextStandIn) -> None:
    site.knobs(desk=True)
    settings = ErpnextSettings(
        url=site.url, api_key=NO_ROLE_USER.api_key, api_secret=NO_ROLE_USER.api_secret, timeout=5, _env_file=None
    )
    client = ErpnextClient(settings)
    try:
        assert asyncio.run(map_rows(client).read()) is None
    finally:
        client.close()


def test_the_devices_and_shifts_of_the_desk_are_entries_of_the_fleet(site: ErpnextStandIn) -> None:
    recording = Path(__file__).parent / "erpnext_recordings" / "desk_devices.json"
    rows = json.loads(recording.read_text())["response"]["body"]["message"]
    site.knobs(desk=True)
    site.put("Biometric Device", *rows)
    settings = ErpnextSettings(
        url=site.url, api_key=SYNC_USER.api_key, api_secret=SYNC_USER.api_secret, timeout=5, _env_file=None
    )
    client = ErpnextClient(settings)
    direct = {"attendance": "direct", "half_day_below": 14400, "one_punch": "half_day", "attendance_from": "2026-03-01"}
    site.put(SHIFT_SETTINGS, {"name": "Day", "sites": ["riyadh"], "devices": [], **direct})
    try:
        devices = asyncio.run(DeskList(client, DEVICE, DocumentReader(client, DEVICE, FIELDS, read_device)).read())
        shifts = asyncio.run(DeskShifts(client).look())
    finally:
        client.close()
    assert devices is not None
    assert shifts is not None
    planned = plan_desk([each.entry for each in devices.values()], FleetTopicEntries(), shifts)
    assert (planned.refused, planned.refused_shifts) == ({}, {})
    assert [(each.kind, each.name) for each in planned.changes] == [
        ("device", "riyadh-01"),
        ("device", "riyadh-02"),
        ("shift", "Day"),
    ]
    assert planned.wanted.entries["shift", "Day"] == {"sites": ["riyadh"], "devices": []} | direct
    fields = planned.wanted.entries["device", "riyadh-02"]
    assert fields is not None
    assert fields["token_sha256"] == hash_token("recorded-token")
