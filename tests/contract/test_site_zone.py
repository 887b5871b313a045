"""The zone of the site, by an API user who is only an HR User and whose own zone is another."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from attendance.erpnext import ErpnextClient
from attendance.errors import ZoneInDoubt
from attendance.records.checkin import Checkin
from attendance.records.site import SiteZone
from attendance.settings import ErpnextSettings
from attendance.site import site_of
from attendance.times import now
from sandbox.erpnext.server import ErpnextStandIn
from sandbox.erpnext.users import HR_CLERK
from sinks.targets.base import Delivered
from sinks.targets.erpnext.target import ErpnextTarget
from sinks.targets.erpnext.zone import OwnMemory

MORNING = datetime(2026, 3, 2, 5, tzinfo=UTC)  # 08:00 in Riyadh, 10:30 in Kolkata, 14:00 in Tokyo


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ErpnextStandIn]:
    log_file: Path = tmp_path_factory.mktemp("erpnext") / "stand-in.log"
    with ErpnextStandIn(log_file=log_file, employee_count=20) as stand_in:
        yield stand_in


@pytest.fixture
def site(stand_in: ErpnextStandIn) -> Iterator[ErpnextStandIn]:
    yield stand_in
    stand_in.reset()


def connect(site: ErpnextStandIn) -> ErpnextClient:
    return ErpnextClient(
        ErpnextSettings(
            url=site.url, api_key=HR_CLERK.api_key, api_secret=SecretStr(HR_CLERK.api_secret), _env_file=None
        )
    )


def punch(number: int) -> Checkin:
    time = MORNING + timedelta(minutes=number)
    return Checkin(f"{number:032x}", f"HR-EMP-{number:05}", time, "IN", "D1", str(number), "HQ", "UTC")


def play(site: ErpnextStandIn, zones: OwnMemory, scene: Callable[[ErpnextTarget], Awaitable[None]]) -> None:
    async def opened() -> None:
        target = ErpnextTarget(lambda: connect(site), 2, 100, site=site_of(site.url))
        target.use_zones(zones, lambda _: None)
        try:
            await target.open()
            await scene(target)
        finally:
            await target.close()

    asyncio.run(opened())


def stored(site: ErpnextStandIn) -> list[str]:
    return sorted(row["time"] for row in site.checkins())


def test_punches_are_stored_in_the_zone_of_the_site_and_not_in_that_of_the_user(site: ErpnextStandIn) -> None:
    site.employees([{"name": f"HR-EMP-{number:05}"} for number in range(1, 20)])
    site.time_zone("Asia/Kolkata", site.clerk_name)
    zones = OwnMemory()

    async def scene(target: ErpnextTarget) -> None:
        results = await target.deliver([punch(1), punch(2)])
        assert all(isinstance(result, Delivered) for result in results)

    play(site, zones, scene)
    assert stored(site) == ["2026-03-02 08:01:00", "2026-03-02 08:02:00"]
    recorded = zones.get(site_of(site.url))
    assert recorded is not None
    assert (recorded.zone, recorded.state) == ("Asia/Riyadh", "proven")


def test_a_change_at_the_site_stops_the_sink_that_runs_and_one_that_starts_until_it_is_accepted(
    site: ErpnextStandIn,
) -> None:
    site.employees([{"name": f"HR-EMP-{number:05}"} for number in range(1, 20)])
    zones = OwnMemory()

    async def change(target: ErpnextTarget) -> None:
        await target.deliver([punch(1)])
        site.time_zone("Asia/Tokyo")
        with pytest.raises(ZoneInDoubt, match=r"was Asia/Riyadh .* is Asia/Tokyo now"):
            await target.open()
        with pytest.raises(ZoneInDoubt):
            await target.deliver([punch(2)])

    async def go_on(target: ErpnextTarget) -> None:
        await target.deliver([punch(2)])

    play(site, zones, change)
    with pytest.raises(ZoneInDoubt):
        play(site, zones, go_on)
    asyncio.run(zones.put(SiteZone(site_of(site.url), "Asia/Tokyo", "accepted", now(), "fatima", "Asia/Tokyo")))
    play(site, zones, go_on)
    assert stored(site) == ["2026-03-02 08:01:00", "2026-03-02 14:02:00"]


def test_a_zone_that_the_first_document_contradicts_leaves_nothing_at_the_site(
    site: ErpnextStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.employees([{"name": f"HR-EMP-{number:05}"} for number in range(1, 20)])
    monkeypatch.setattr(ErpnextClient, "site_zone", lambda _: "Asia/Kolkata")  # as the user's profile said
    zones = OwnMemory()

    async def scene(target: ErpnextTarget) -> None:
        results = await target.deliver([punch(number) for number in range(1, 10)])
        assert {type(result) for result in results} == {ZoneInDoubt}

    play(site, zones, scene)
    assert stored(site) == []
    with pytest.raises(ZoneInDoubt, match=r"Asia/Kolkata \(UTC\+05:30\).*UTC\+03:00"):
        play(site, zones, scene)
