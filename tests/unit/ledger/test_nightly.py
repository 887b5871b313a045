"""Yesterday of each site is reconciled once, when it is due, and never at the cost of the ledger."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from ledger_story import START, START_MS, TOPICS, Story, event, prepared
from memory_log import MemoryLog
from postgres import Postgres
from sqlalchemy import select

from attendance.adoptions import NOTHING_MOVED
from attendance.errors import ConfigurationError, KafkaUnavailable, TargetUnavailable
from attendance.fleet import Device
from attendance.metrics import Metrics
from ledger import nightly
from ledger.database import Database
from ledger.nightly import Nightly, due_day
from ledger.reconciliations import ReconciledDay, Reconciliations, WhichDays
from ledger.store import Store
from ledger.tables import FACTS, POSITIONS, RECONCILED_DEVICES, RECONCILIATIONS
from operations.fact_reading import FactReader

DAY = START.date()
NEXT_DAY = START + timedelta(days=1)


def device(device_id: str = "D1", site: str = "s", timezone: str = "UTC", **fields: Any) -> Device:
    return Device.model_validate({"device_id": device_id, "site": site, "timezone": timezone} | fields)


class Night:
    """A ledger, its topics, and the processes that reconcile."""

    def __init__(self, directory: Path) -> None:
        self.story = Story()
        self.log = MemoryLog()
        self.database = Database(prepared(directory / "ledger.sqlite"))
        self.devices: Sequence[Device] = [device()]
        self.clock = NEXT_DAY + timedelta(hours=4)
        self.in_erpnext: Any = None
        self.metrics = Metrics("ledger")

    def take(self) -> None:
        """What happened is on the topics and in the ledger."""
        for (name, _), records in self.story.log.items():
            self.log.put(name, *records)
        store = Store(self.database)
        store.apply(FactReader(TOPICS, NOTHING_MOVED), dict(self.story.log), store.load(), START_MS)

    def process(self, at: time = time(3)) -> Nightly:
        async def read_fleet() -> Sequence[Device]:
            return self.devices

        return Nightly(self.log, self.database, at, read_fleet, self.in_erpnext, self.metrics, clock=lambda: self.clock)

    def run(self, process: Nightly | None = None) -> None:
        asyncio.run((process or self.process()).run_due())

    def rows(self, table: Any = RECONCILIATIONS) -> list[dict[str, Any]]:
        with self.database.transaction() as connection:
            return [dict(row) for row in connection.execute(select(table)).mappings()]

    def shown(self, name: str) -> list[str]:
        lines = self.metrics.exposition().decode().splitlines()
        return [line for line in lines if line.startswith(f"{name}{{")]


@pytest.fixture
def night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Night:
    monkeypatch.setattr(nightly, "REACH_SECONDS", 0.0)
    night = Night(tmp_path)
    night.story.deliver(night.story.checkin(night.story.raw(event("1", 8)), "EMP-1"), "CHK-1")
    night.story.wait(night.story.raw(event("9", 9)))
    return night


def test_a_day_is_kept_with_the_counts_of_each_device_and_shown(night: Night) -> None:
    night.take()
    night.devices = [device(), device("D2"), device("D3", "t")]
    night.run()
    [s, t] = night.rows()
    assert s == {
        "site": "s",
        "day": "2026-03-02",
        "reconciled_at": round(night.clock.timestamp() * 1000),
        "devices": 2,
        "devices_with_gap": 1,
        "missing": 1,
        "problem": None,
    }
    assert (t["site"], t["devices_with_gap"]) == ("t", 0)
    [first, second, _] = night.rows(RECONCILED_DEVICES)
    assert first == {
        "day": "2026-03-02",
        "device_id": "D1",
        "site": "s",
        "timezone": "UTC",
        "reconciled_at": s["reconciled_at"],
        "counted": None,
        "complete_until": None,
        "raw_records": 2,
        "punches": 2,
        "delivered": 1,
        "superseded": 0,
        "dropped": 0,
        "discarded": 0,
        "undecided": 0,
        "undelivered": 0,
        "waiting": 1,
        "dead_letters": 0,
        "rejected": 0,
        "in_erpnext": None,
        "missing": 1,
        "gaps": "waiting",
    }
    assert (second["device_id"], second["gaps"]) == ("D2", "")
    assert night.shown("punchstream_reconciled_devices_with_gap") == [
        'punchstream_reconciled_devices_with_gap{site="s"} 1.0',
        'punchstream_reconciled_devices_with_gap{site="t"} 0.0',
    ]
    assert night.shown("punchstream_reconciled_missing_punches")[0].endswith(" 1.0")
    [until, _] = night.shown("punchstream_reconciled_until_timestamp_seconds")
    assert float(until.split()[-1]) == NEXT_DAY.timestamp()


def every_day(night: Night, which: WhichDays, most: int = 2) -> list[ReconciledDay]:
    found: list[ReconciledDay] = []
    token = None
    for _ in range(100):
        page = Reconciliations(night.database).days(which, most, token)
        found += page.rows
        if (token := page.next) is None:
            return found
    raise AssertionError("the list has no end")


def test_the_days_of_devices_are_listed_page_by_page_the_newest_first(night: Night) -> None:
    night.take()
    night.devices = [device(), device("D2"), device("D3", "t")]
    night.run()
    night.clock += timedelta(days=1)
    night.run()
    listed = every_day(night, WhichDays())
    assert [(each.day.day, each.device_id) for each in listed] == [
        (day, device_id) for day in (3, 2) for device_id in ("D1", "D2", "D3")
    ]
    assert every_day(night, WhichDays(sites=frozenset(("t",))), 1) == [each for each in listed if each.site == "t"]
    assert every_day(night, WhichDays(sites=frozenset())) == []
    assert every_day(night, WhichDays(device="D2", last=DAY)) == [listed[4]]
    assert every_day(night, WhichDays(first=DAY + timedelta(days=1))) == listed[:3]
    [only] = every_day(night, WhichDays(only_gaps=True))
    assert (only.punches, only.delivered, only.waiting, only.gaps) == (2, 1, 1, ("waiting",))
    assert only.reconciled_at == NEXT_DAY + timedelta(hours=4)


def test_postgresql_keeps_results_as_sqlite_does(night: Night, postgres: Postgres) -> None:
    lite = night.database
    night.take()
    night.run()
    of_lite = night.rows(), night.rows(RECONCILED_DEVICES)
    night.database = Database(postgres.new_database())
    night.database.prepare()
    store = Store(night.database)
    store.apply(FactReader(TOPICS, NOTHING_MOVED), dict(night.story.log), store.load(), START_MS)
    for _ in range(2):
        night.run()
        assert (night.rows(), night.rows(RECONCILED_DEVICES)) == of_lite
    store.prune(1, {})
    for each in (lite, night.database):
        each.close()


def test_each_day_is_reconciled_once_whatever_is_started_anew(night: Night) -> None:
    night.take()
    night.run()
    [first] = night.rows()
    for hours in (5, 12, 26):
        night.clock = NEXT_DAY + timedelta(hours=hours)
        night.run()
        assert night.rows() == [first]
    night.clock = NEXT_DAY + timedelta(hours=27)
    night.run()
    assert [row["day"] for row in night.rows()] == ["2026-03-02", "2026-03-03"]
    assert night.rows()[0] == first
    fresh = Night.__new__(Night)
    fresh.__dict__ |= night.__dict__ | {"metrics": Metrics("ledger")}
    fresh.run()
    assert fresh.shown("punchstream_reconciled_devices_with_gap"), "a new process shows what an earlier one found"


def test_a_ledger_that_is_behind_is_waited_for(night: Night) -> None:
    night.take()
    night.log.add("raw", b"D1", event("1", 10).encode())
    process = night.process()
    night.run(process)
    assert night.rows() == []
    more = night.story.raw(event("1", 10))
    Store(night.database).apply(
        FactReader(TOPICS, NOTHING_MOVED), {("raw", 0): [more]}, Store(night.database).load(), START_MS
    )
    night.run(process)
    [row] = night.rows()
    assert (row["day"], row["missing"]) == ("2026-03-02", 2)


def test_nothing_of_what_the_ledger_keeps_is_touched(night: Night) -> None:
    night.take()

    def kept() -> list[Any]:
        return [night.rows(table) for table in (*FACTS.values(), POSITIONS)]

    before = kept()
    night.run()
    assert night.rows()
    assert kept() == before


def test_an_erpnext_that_did_not_answer_is_asked_again_until_it_does(night: Night) -> None:
    answers: list[Any] = [TargetUnavailable("away"), TargetUnavailable("away"), frozenset((event("1", 8).event_id,))]

    async def in_erpnext(*_: object) -> frozenset[str]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        found: frozenset[str] = answer
        return found

    night.in_erpnext = in_erpnext
    night.take()
    night.run()
    [row] = night.rows()
    assert row["problem"] == "ERPNext was not asked: away"
    assert night.rows(RECONCILED_DEVICES)[0]["in_erpnext"] is None
    night.run()
    night.run()
    night.run()
    assert (night.rows()[0]["problem"], answers) == (None, [])
    assert night.rows(RECONCILED_DEVICES)[0]["in_erpnext"] == 1


def test_a_site_that_is_gone_is_shown_no_longer_and_its_results_stay(night: Night) -> None:
    night.take()
    process = night.process()
    night.devices = [device(), device("D3", "t")]
    night.run(process)
    assert len(night.shown("punchstream_reconciled_missing_punches")) == 2
    night.devices = [device()]
    night.run(process)
    assert len(night.shown("punchstream_reconciled_missing_punches")) == 1
    assert len(night.rows()) == 2


@pytest.mark.parametrize("error", [KafkaUnavailable("away"), RuntimeError("a fault")])
def test_what_fails_is_tried_again_and_ends_nothing(
    night: Night, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FIRST_SECONDS", "RETRY_SECONDS"):
        monkeypatch.setattr(nightly, name, 0.01)
    night.take()
    process = night.process()
    fails = [error, error]

    async def read_fleet() -> Sequence[Device]:
        if fails:
            raise fails.pop()
        return night.devices

    process._read_fleet = read_fleet

    async def scenario() -> None:
        task = asyncio.create_task(process.keep())
        while not night.rows():
            assert not task.done()
            await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(scenario())


def test_while_the_fleet_cannot_be_read_the_previous_one_is_reconciled(night: Night) -> None:
    night.take()
    process, fleets = night.process(), [ConfigurationError("devices.yaml: D2: no site"), [device()]]

    async def read_fleet() -> Sequence[Device]:
        found = fleets.pop() if len(fleets) > 1 else fleets[0]
        if isinstance(found, ConfigurationError):
            raise found
        return found

    process._read_fleet = read_fleet
    night.run(process)
    night.clock += timedelta(days=1)
    night.run(process)
    assert [row["day"] for row in night.rows()] == ["2026-03-02", "2026-03-03"]


def test_a_fleet_that_was_never_read_is_waited_for(night: Night) -> None:
    night.take()
    process = night.process()

    async def read_fleet() -> Sequence[Device]:
        raise ConfigurationError("devices.yaml: D2: no site")

    process._read_fleet = read_fleet
    with pytest.raises(ConfigurationError):
        night.run(process)
    assert night.rows() == []


def test_results_go_with_the_rows_of_their_days(night: Night) -> None:
    night.take()
    night.run()
    store = Store(night.database)
    store.prune(1, {})
    assert night.rows()
    late = night.story.raw(event("1", 24 * 4))
    store.apply(FactReader(TOPICS, NOTHING_MOVED), {("raw", 0): [_at(late, days=4)]}, store.load(), START_MS)
    store.prune(2, {})
    assert (night.rows(), night.rows(RECONCILED_DEVICES)) == ([], [])


def _at(record: Any, days: int) -> Any:
    record.timestamp += days * 86_400_000
    return record


@pytest.mark.parametrize(
    ("zones", "now", "day"),
    [
        (["UTC"], datetime(2026, 3, 3, 3, 0, tzinfo=UTC), date(2026, 3, 2)),
        (["UTC"], datetime(2026, 3, 3, 2, 59, tzinfo=UTC), date(2026, 3, 1)),
        (["Asia/Riyadh"], datetime(2026, 3, 3, 0, 0, tzinfo=UTC), date(2026, 3, 2)),
        (["Asia/Riyadh"], datetime(2026, 3, 2, 23, 59, tzinfo=UTC), date(2026, 3, 1)),
        (["Asia/Riyadh", "America/New_York"], datetime(2026, 3, 3, 3, 0, tzinfo=UTC), date(2026, 3, 1)),
    ],
)
def test_a_day_is_due_once_its_time_has_come_in_every_zone_of_the_site(
    zones: list[str], now: datetime, day: date
) -> None:
    assert due_day([device(timezone=zone) for zone in zones], time(3), now) == day


def test_no_result_yet_is_none(night: Night) -> None:
    assert Reconciliations(night.database).newest() == []
