"""The stage, with Kafka's reading replaced and ERPNext faked."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
import yaml
from fake_guard import standing
from pausing import pause
from site_zones import RecordedZones
from structlog.testing import LogCapture

from attendance.errors import AccessDenied, Conflict, DocumentRejected, KafkaUnavailable, TargetUnavailable, ZoneInDoubt
from attendance.kafka.groups import GroupProgress
from attendance.kafka.readers import OnwardReader
from attendance.kafka.records import OutRecord
from attendance.metrics import Metrics
from attendance.records.device_status import DeviceStatus
from attendance.records.raw_event import RawEvent, Source
from attendance.records.site import SiteZone, ZoneState
from attendance.registry import Registry
from attendance.settings import CompletenessSettings, ErpnextSettings, KafkaSettings
from memory_broker import install
from sinks.completeness import last_sync, runner, sequences
from sinks.completeness.runner import SYNC_LAG, Completeness

NOW = datetime(2026, 3, 2, 15, tzinfo=UTC)  # 18:00 in Riyadh
KAFKA = KafkaSettings(partitions=2, _env_file=None)


class Site:
    """ERPNext's Shift Types."""

    def __init__(self) -> None:
        self.shifts: dict[str, dict[str, Any]] = {}
        self.errors: dict[str, Exception] = {}
        self.written: list[tuple[str, str]] = []
        self.modified = 0
        self.trouble: list[Exception] = []
        self.on_write: Callable[[], object] = lambda: None

    def site_zone(self) -> str:
        if self.trouble:
            raise self.trouble.pop(0)
        return "Asia/Riyadh"

    def logged_user(self) -> str:
        return "api@example.com"

    def close(self) -> None:
        pass

    def get(self, _doctype: str, name: str) -> dict[str, Any]:
        if name in self.errors:
            raise self.errors[name]
        return dict(self.shifts.setdefault(name, {"last_sync_of_checkin": None, "modified": "0"}))

    def update(self, _doctype: str, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        row = self.shifts[name]
        if fields["modified"] != row["modified"]:
            raise Conflict("417 TimestampMismatchError")
        self.modified += 1
        row |= {**fields, "modified": str(self.modified), "modified_by": "api@example.com"}
        self.written.append((name, str(fields["last_sync_of_checkin"])))
        self.on_write()
        return row


@dataclass
class Log:
    """What Kafka holds, how far the groups are, and what was sent."""

    raw: list[Any] = field(default_factory=list)
    sequences: list[Any] = field(default_factory=list)
    waited: list[tuple[str, str]] = field(default_factory=list)
    during: Any = None
    """Called while the stage waits for the stream."""

    async def read_on(self, begin: Mapping[int, int]) -> AsyncIterator[list[Any]]:
        yield [record for record in self.raw if record.offset >= begin.get(record.partition, 0)]

    async def snapshot(self, _kafka: object, _topic: str, _client: str) -> list[Any]:
        return list(self.sequences)

    async def until_through(self, topic: str, group: str) -> None:
        self.waited.append((topic, group))
        if self.during is not None:
            self.during()

    async def send(self, *records: OutRecord) -> None:
        self.sequences += records


class Bench:
    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch, *, numbered: bool = False) -> None:
        self.path = path / "devices.yaml"
        devices = [
            {"device_id": name, "site": site, "timezone": "UTC", "mode": "pull", "numbered": numbered}
            for name, site in (("D1", "hq"), ("D2", "hq"), ("D3", "branch"))
        ]
        shifts = [{"shift_type": "Day", "sites": ["hq"]}, {"shift_type": "Night", "devices": ["D3"]}]
        self.path.write_text(yaml.safe_dump({"devices": devices, "shifts": shifts}))
        self.site = Site()
        self.zones = RecordedZones("Asia/Riyadh", "proven")
        self.log = Log()
        self.metrics = Metrics()
        self.said = LogCapture()
        monkeypatch.setattr(OnwardReader, "read_on", lambda _, begin: self.log.read_on(begin))
        monkeypatch.setattr(sequences, "snapshot", self.log.snapshot)
        monkeypatch.setattr(GroupProgress, "until_through", lambda _, *asked: self.log.until_through(*asked))
        monkeypatch.setattr(runner, "now", lambda: NOW)
        for module in (runner, last_sync):
            monkeypatch.setattr(module, "log", structlog.wrap_logger(None, [self.said]))
        self.stage = self.new_process()

    def new_process(self) -> Completeness:
        settings = CompletenessSettings(_env_file=None)
        registry = Registry(self.path, count(0, 100).__next__)  # minutes pass between two looks
        return Completeness(
            *(KAFKA, settings, registry, self.site, self.log, self.metrics),  # type: ignore[arg-type]
            recorded_zone=lambda: self.zones.get("erpnext"),
        )

    def hear(self, device_id: str, minutes_ago: float | None, **fields: int) -> None:
        until = None if minutes_ago is None else NOW - timedelta(minutes=minutes_ago)
        self.stage._add_status(SimpleNamespace(key=b"", value=DeviceStatus(device_id, NOW, until, **fields).encode()))  # type: ignore[arg-type]

    def punch(
        self,
        device_id: str,
        number: int | None,
        minutes_ago: float,
        *,
        supersedes: str | None = None,
        headers: tuple[tuple[str, bytes], ...] = (),
    ) -> None:
        made = NOW - timedelta(minutes=minutes_ago)
        event = RawEvent(
            *(device_id, "hq", "7", "IN", made, None, "UTC", made, Source("push", "json"), number),
            supersedes=supersedes,
        )
        partition = int(device_id[1:]) % 2
        offset = sum(record.partition == partition for record in self.log.raw)
        self.log.raw.append(
            SimpleNamespace(key=event.key, value=event.encode(), partition=partition, offset=offset, headers=headers)
        )

    def update(self) -> list[tuple[str, str]]:
        """What an update writes into ERPNext."""
        before = len(self.site.written)
        asyncio.run(self.stage.update())
        return self.site.written[before:]

    def shown(self, shift_type: str) -> dict[str, float]:
        """The metric's series of a shift."""
        lines = self.metrics.exposition().decode().splitlines()
        found = [line for line in lines if line.startswith("punchstream_shift_complete_") and f'"{shift_type}"' in line]
        return {line.partition("{")[2].partition(",")[0]: float(line.rpartition(" ")[2]) for line in found}

    def sentences(self) -> list[str]:
        return [entry["event"] for entry in self.said.entries]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


@pytest.fixture
def numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch, numbered=True)


def test_a_shift_moves_to_its_device_that_is_furthest_behind_in_the_zone_of_the_site(bench: Bench) -> None:
    bench.hear("D1", 10)
    bench.hear("D2", 30)
    assert bench.update() == [("Day", "2026-03-02 17:30:00")]


def test_a_device_that_was_never_heard_holds_its_own_shift_back_and_no_other(bench: Bench) -> None:
    bench.hear("D1", 10)
    bench.hear("D3", 10)
    assert bench.update() == [("Night", "2026-03-02 17:50:00")]
    [entry] = [entry for entry in bench.said.entries if entry["event"] == "Devices hold a shift back."]
    assert (entry["shift_type"], entry["first"]) == ("Day", ("D2",))
    assert bench.shown("Day") == {'held_by="D2"': 0.0}
    assert bench.shown("Night") == {'held_by=""': (NOW - timedelta(minutes=10)).timestamp()}


def test_a_shift_waits_for_a_device_that_is_paused_and_not_for_one_that_is_disabled(bench: Bench) -> None:
    bench.hear("D1", 10)
    bench.hear("D2", 30)
    pause(bench.stage._registry, "D2")
    assert bench.update() == [("Day", "2026-03-02 17:30:00")]
    assert bench.update() == [], "however long it takes"
    bench.path.write_text(bench.path.read_text().replace("device_id: D2", "device_id: D2\n  disabled: true"))
    bench.update()
    assert bench.update() == [("Day", "2026-03-02 17:50:00")]


def test_who_holds_a_shift_back_is_said_once_and_again_when_nobody_does(bench: Bench) -> None:
    bench.hear("D1", 10)
    bench.hear("D3", 10)
    for _ in range(3):
        bench.update()
    assert bench.sentences().count("Devices hold a shift back.") == 1
    bench.hear("D2", 10)
    bench.update()
    assert "No device holds the shift back any more." in bench.sentences()
    assert bench.shown("Day") == {'held_by=""': (NOW - timedelta(minutes=10)).timestamp()}, "and nobody is named"


def test_the_last_sync_stays_behind_the_clock_whatever_devices_claim(bench: Bench) -> None:
    bench.hear("D3", -60)
    latest = (NOW - SYNC_LAG + timedelta(hours=3)).replace(tzinfo=None)
    assert bench.update() == [("Night", str(latest))]


def test_it_never_moves_back_and_not_to_where_it_is(bench: Bench) -> None:
    bench.hear("D3", 30)
    bench.site.shifts["Night"] = {"last_sync_of_checkin": "2026-03-02 17:30:00.000000", "modified": "0"}
    assert not bench.update()
    bench.site.shifts["Night"]["last_sync_of_checkin"] = "2026-03-02 17:45:00"
    assert not bench.update()
    bench.hear("D3", 10)
    assert bench.update() == [("Night", "2026-03-02 17:50:00")]


def test_whoever_was_faster_is_not_overwritten(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.hear("D3", 30)
    get = bench.site.get

    def get_and_be_overtaken(doctype: str, name: str) -> dict[str, Any]:
        document = get(doctype, name)
        if name == "Night":
            bench.site.update(doctype, name, document | {"last_sync_of_checkin": "2026-03-02 17:55:00"})
        return document

    monkeypatch.setattr(bench.site, "get", get_and_be_overtaken)
    assert bench.update() == [("Night", "2026-03-02 17:55:00")]


def test_what_is_claimed_while_punches_are_waited_for_counts_only_next_time(bench: Bench) -> None:
    bench.hear("D3", 30)
    bench.log.during = lambda: bench.hear("D3", 10)
    assert bench.update() == [("Night", "2026-03-02 17:30:00")]
    assert bench.log.waited == [
        ("attendance.raw.v1", "attendance.stream"),
        ("attendance.checkins.v1", "attendance.sink"),
    ]
    assert bench.update() == [("Night", "2026-03-02 17:50:00")]


def test_a_shift_that_erpnext_refuses_does_not_hold_up_the_others(bench: Bench) -> None:
    for name in ("D1", "D2", "D3"):
        bench.hear(name, 10)
    bench.site.errors["Day"] = DocumentRejected(404, "DoesNotExistError", "Shift Type Day not found")
    assert bench.update() == [("Night", "2026-03-02 17:50:00")]
    assert "ERPNext refused to advance this shift." in bench.sentences()


def test_a_status_that_cannot_be_read_changes_nothing(bench: Bench) -> None:
    bench.hear("D3", 10)
    bench.stage._add_status(SimpleNamespace(key=b"D3", value=b"{}"))  # type: ignore[arg-type]
    bench.stage._add_status(SimpleNamespace(key=b"D3", value=None))  # type: ignore[arg-type]
    assert bench.update() == [("Night", "2026-03-02 17:50:00")]


def test_without_shifts_nothing_is_waited_for(bench: Bench) -> None:
    bench.hear("D3", 10)
    bench.update()
    bench.log.waited.clear()
    bench.path.write_text("[]")
    bench.update()
    bench.log.waited.clear()
    assert not bench.update()
    assert not bench.log.waited
    assert not bench.shown("Night"), "and what was known of them is not shown any longer"


def test_numbers_without_a_gap_move_a_shift_on_and_a_gap_is_named(numbered: Bench) -> None:
    numbered.punch("D3", 1, 300)
    numbered.punch("D3", 2, 200)
    numbered.punch("D3", 4, 100)
    assert numbered.update() == [("Night", "2026-03-02 14:40:00")]
    [entry] = [entry for entry in numbered.said.entries if entry.get("shift_type") == "Night" and "first" in entry]
    assert entry["numbers_missing"] == {"D3": 3}
    numbered.punch("D3", 3, 150)
    assert numbered.update() == [("Night", "2026-03-02 16:20:00")]


def test_a_new_process_knows_the_gaps_of_the_one_before_without_reading_again(numbered: Bench) -> None:
    numbered.punch("D3", 1, 300)
    numbered.punch("D3", 3, 100)
    numbered.update()
    numbered.log.raw = [
        SimpleNamespace(**vars(record) | {"value": b"not to be read again"}) for record in numbered.log.raw
    ]
    numbered.stage = numbered.new_process()
    numbered.punch("D3", 4, 50)
    assert not numbered.update()
    numbered.punch("D3", 2, 200)
    assert numbered.update() == [("Night", "2026-03-02 17:10:00")]


def test_a_foreign_record_among_the_kept_numbers_is_ignored(numbered: Bench) -> None:
    numbered.log.sequences = [SimpleNamespace(key=key, value=value) for key, value in ((b"1", b"no"), (b"1", None))]
    numbered.punch("D3", 1, 300)
    assert numbered.update() == [("Night", "2026-03-02 13:00:00")]


def test_numbers_of_a_device_that_is_not_numbered_are_not_read(bench: Bench) -> None:
    bench.punch("D3", 1, 100)
    assert not bench.update()
    assert not bench.log.sequences


def test_a_punch_without_a_number_is_not_counted(numbered: Bench) -> None:
    numbered.punch("D3", 7, 60)
    numbered.punch("D3", None, 50)
    numbered.update()
    assert numbered.stage._sequences.numbers("D3").newest == 7


@pytest.mark.parametrize("again", [{"supersedes": "a" * 32}, {"headers": (("x-replay-of", b"0:1"),)}])
def test_what_comes_again_is_no_record_of_the_devices(numbered: Bench, again: dict[str, Any]) -> None:
    """A number from before the device began to count anew would be far ahead, and all between would be missing."""
    numbered.punch("D3", 7, 60)
    numbered.punch("D3", 900, 50, **again)
    numbered.punch("D3", 8, 10)
    numbered.update()

    assert numbered.stage._sequences.numbers("D3").missing is None
    assert numbered.stage._sequences.numbers("D3").newest == 8


@pytest.mark.parametrize(
    ("zone", "state", "why"),
    [
        ("Asia/Tokyo", "proven", "was Asia/Tokyo"),
        ("Asia/Riyadh", "in_doubt", "could not prove"),
        (None, "proven", "not proven yet"),
    ],
)
def test_no_shift_advances_while_the_sites_zone_is_in_doubt_or_not_proven(
    bench: Bench, zone: str | None, state: ZoneState, why: str
) -> None:
    bench.zones = RecordedZones(zone or "", state)
    if zone is None:
        bench.zones.get = lambda _: None  # type: ignore[method-assign]
    for device in ("D1", "D2", "D3"):
        bench.hear(device, 10)
    with pytest.raises(ZoneInDoubt, match=why):
        asyncio.run(bench.stage.update())
    assert bench.site.written == []
    assert b"zone in doubt" in b"".join(bench.metrics.answer({"PATH_INFO": "/readyz"}, lambda *_: None))  # type: ignore[arg-type,return-value]


def test_the_process_waits_for_kafka_and_for_erpnext_and_then_writes_what_devices_claim(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    until_through = GroupProgress.until_through
    broker, kafka = install(monkeypatch)
    zone = SiteZone("http://127.0.0.1:9", "Asia/Riyadh", "proven", NOW, "sink")
    broker.put(kafka.topics["site"], zone.encode(), zone.key)
    broker.put(kafka.topics["device_status"], DeviceStatus("D3", NOW, NOW - timedelta(minutes=10)).encode(), b"D3")
    outages = [KafkaUnavailable("away")]
    bench.site.trouble = [TargetUnavailable("503"), AccessDenied("401"), DocumentRejected(417, "DataError", "no")]

    async def until_through_or_outage(*arguments: Any) -> None:
        if outages:
            raise outages.pop()
        await until_through(*arguments)

    async def scene() -> None:
        stop = asyncio.Event()
        bench.site.on_write = partial(asyncio.get_running_loop().call_soon_threadsafe, stop.set)
        erpnext = ErpnextSettings(url="http://127.0.0.1:9", api_key="key", api_secret="secret", _env_file=None)
        settings = CompletenessSettings(interval=0.001, _env_file=None)
        async with asyncio.timeout(10):
            await runner.run(kafka, erpnext, settings, Registry(bench.path), Metrics(), stop)

    monkeypatch.setattr(runner, "now", lambda: NOW)
    monkeypatch.setattr(runner, "ErpnextClient", lambda _settings: bench.site)
    monkeypatch.setattr(GroupProgress, "until_through", until_through_or_outage)
    monkeypatch.setattr(runner, "log", structlog.wrap_logger(None, [bench.said]))
    asyncio.run(scene())
    assert bench.site.written == [("Night", "2026-03-02 17:50:00")]
    assert bench.sentences()[:4] == [
        "Waiting for Kafka.",
        "Waiting for ERPNext.",
        "ERPNext denied access; no shift advances until that is repaired.",
        "ERPNext denied access; no shift advances until that is repaired.",
    ]


def test_shifts_that_ask_for_attendance_directly_are_offered_with_their_time_and_zone(bench: Bench) -> None:
    content = yaml.safe_load(bench.path.read_text())
    content["shifts"][0]["attendance"] = "direct"
    bench.path.write_text(yaml.safe_dump(content))
    offered: list[Any] = []
    bench.stage = bench.new_process()
    bench.stage._attendance = SimpleNamespace(offer=lambda shifts, _asking: offered.extend(shifts))  # type: ignore[assignment]

    bench.hear("D1", 30)
    bench.update()
    assert not offered  # D2 has claimed nothing

    bench.hear("D2", 60)
    bench.hear("D3", 10)
    bench.update()
    ((shift_type, until, zone_name),) = {(each.shift.shift_type, str(each.until), each.zone_name) for each in offered}
    assert (shift_type, until, zone_name) == ("Day", "2026-03-02 17:00:00", "Asia/Riyadh")


def test_once_the_fleet_has_no_shift_none_asks_for_attendance_any_more(bench: Bench) -> None:
    offers: list[Any] = []
    bench.stage._attendance = SimpleNamespace(offer=lambda *offer: offers.append(offer))  # type: ignore[assignment]
    bench.update()
    bench.path.write_text("[]")
    bench.update()
    offers.clear()
    bench.update()
    assert offers == [((), ())]


def test_while_a_guard_stands_no_shift_advances(bench: Bench) -> None:
    for device in ("D1", "D2", "D3"):
        bench.hear(device, 10)
    guard, guards = standing(bench.metrics)

    async def story() -> None:
        await guards.ask()
        written = asyncio.Event()
        bench.site.on_write = partial(asyncio.get_running_loop().call_soon_threadsafe, written.set)
        bench.stage._caught_up.set()
        updating = asyncio.create_task(bench.stage.update_regularly(guards))
        # Whatever an update does, it does before it pauses.
        for _ in range(100):
            await asyncio.sleep(0)
        assert not bench.log.waited
        guard.answer = None
        await guards.ask()
        await written.wait()
        updating.cancel()

    asyncio.run(asyncio.wait_for(story(), 10))
