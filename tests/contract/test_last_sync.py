"""The last sync of a Shift Type at the stand-in, which moves it by itself as hrms does."""

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from attendance.erpnext import SHIFT_TYPE, ErpnextClient
from attendance.metrics import Metrics
from attendance.settings import ErpnextSettings
from sandbox.erpnext.server import ErpnextStandIn
from sinks.completeness.last_sync import SERIES, LastSync

DAY = "Day Shift"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[ErpnextStandIn]:
    with ErpnextStandIn(log_file=tmp_path / "stand-in.log") as stand_in:
        yield stand_in


@pytest.fixture
def client(site: ErpnextStandIn) -> Iterator[ErpnextClient]:
    settings = ErpnextSettings(url=site.url, api_key=site.clerk_key, api_secret=site.clerk_secret, _env_file=None)
    with closing(ErpnextClient(settings)) as clerk:
        yield clerk


@pytest.fixture
def now() -> datetime:
    """The site's wall clock."""
    return datetime.now(ZoneInfo("Asia/Riyadh")).replace(tzinfo=None, microsecond=0)


def ahead(metrics: Metrics) -> list[str]:
    return [line for line in metrics.exposition().decode().splitlines() if line.startswith(f"{SERIES}{{")]


def test_hrms_own_move_beyond_what_devices_claim_is_noticed_and_left(
    site: ErpnextStandIn, client: ErpnextClient, now: datetime
) -> None:
    # Of a shift that lasts until this evening, nothing moves before.
    ended = now - timedelta(hours=2)
    times = {"start_time": f"{ended - timedelta(hours=6):%H:%M:%S}", "end_time": f"{ended:%H:%M:%S}"}
    site.shift_types([{"name": DAY, "auto_update_last_sync": 1, **times}])
    metrics = Metrics()
    last_sync = LastSync(client, metrics)
    claimed = now - timedelta(days=3)
    last_sync.advance(DAY, claimed, now)
    with capture_logs() as said:
        site.hourly()
        moved = client.get(SHIFT_TYPE, DAY)["last_sync_of_checkin"]
        last_sync.advance(DAY, claimed + timedelta(hours=1), now)
    assert datetime.fromisoformat(moved) > claimed + timedelta(days=1)
    assert client.get(SHIFT_TYPE, DAY)["last_sync_of_checkin"] == moved
    assert [entry["last_sync_of_checkin"] for entry in said if "Something else moved" in entry["event"]] == [moved]
    assert ahead(metrics) == [f'{SERIES}{{shift_type="{DAY}"}} 1.0']


def test_without_that_setting_the_hour_moves_nothing_and_nothing_is_said(
    site: ErpnextStandIn, client: ErpnextClient, now: datetime
) -> None:
    metrics = Metrics()
    last_sync = LastSync(client, metrics)
    with capture_logs() as said:
        last_sync.advance(DAY, now - timedelta(days=3), now)
        site.hourly()
        last_sync.advance(DAY, now - timedelta(days=2), now)
    assert {entry["log_level"] for entry in said} == {"info"}
    assert ahead(metrics) == [f'{SERIES}{{shift_type="{DAY}"}} 0.0']
