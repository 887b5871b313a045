"""Devices are asked for a day again, each by the way that its protocol has."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from memory_log import MemoryLog

from attendance.errors import ConfigurationError, DeviceUnavailable, KafkaUnavailable, Reason
from attendance.fleet import Device
from attendance.records.fleet import DevicePause
from attendance.records.raw_event import RawEvent
from attendance.records.terminals import Order
from attendance.settings import PullSettings
from attendance.times import now
from operations.log import Skipped
from operations.reconcile import Fetched
from operations.refetch import Refetch
from producers.devices.contract import Fetch, Page, Rejected
from pulling import FakeAdapter, device, event

DAY = date(2026, 11, 20)
AT = datetime(2026, 11, 20, 12, tzinfo=UTC)


class Published:
    """Stands for the publisher."""

    def __init__(self) -> None:
        self.events: list[RawEvent] = []

    async def __call__(self, events: Sequence[RawEvent]) -> None:
        self.events += events


def gives(*pages: Page) -> FakeAdapter:
    async def answer(_: FakeAdapter, __: Fetch) -> AsyncIterator[Page]:
        for page in pages:
            yield page

    return FakeAdapter(answer)


def fetched(
    fleet: Sequence[Device],
    adapter: FakeAdapter,
    known: dict[str, frozenset[str]] | None = None,
    *,
    log: MemoryLog | None = None,
    publish: Any = None,
    of: Sequence[Device] | None = None,
) -> dict[str, Fetched]:
    def adapter_of(of: Device) -> Any:
        if of.adapter == "wrong":
            raise ConfigurationError("there is no such adapter")
        return adapter

    settings = PullSettings(page_timeout=0.5)
    refetch = Refetch(log or MemoryLog(), fleet, settings, adapter_of, publish or Published(), Skipped())
    asked = of or fleet
    return asyncio.run(refetch(asked, DAY, known or {each.device_id: frozenset() for each in asked}))


def test_what_kafka_lacks_of_the_day_is_published_and_nothing_else() -> None:
    there, lacking, next_day = event("1", AT), event("2", AT), event("3", AT + timedelta(days=1))
    publish = Published()
    adapter = gives(Page({}, [there, next_day]), Page({}, [lacking, lacking]))
    found = fetched([device()], adapter, {"D1": frozenset((there.event_id,))}, publish=publish)
    assert publish.events == [lacking]
    assert found["D1"].names == {there.event_id, lacking.event_id}
    assert found["D1"].said == (
        "D1 gave 2 punches of the day. Kafka lacked 1 of them, and has them now: run this again in a minute."
    )
    [wanted] = adapter.wanted
    assert (wanted.cursor, wanted.since) == (None, datetime(2026, 11, 20, tzinfo=UTC))
    assert adapter.closed == 1


def test_a_day_begins_where_the_device_is() -> None:
    riyadh = device(timezone="Asia/Riyadh")
    early = event("1", datetime(2026, 11, 19, 21, 30, tzinfo=UTC), riyadh)
    adapter = gives(Page({}, [early]))
    assert fetched([riyadh], adapter)["D1"].names == {early.event_id}
    assert adapter.wanted[0].since == datetime(2026, 11, 19, 21, tzinfo=UTC)


def test_a_terminal_is_asked_by_way_of_the_server_that_holds_its_records_once_for_all() -> None:
    server = device("SERVER")
    terminals = [device(name, via="SERVER", serial=name) for name in ("T1", "T2")]
    of_both = event("1", AT, terminals[0]), event("1", AT, terminals[1])
    adapter = gives(Page({}, [*of_both, event("9", AT, server)]))
    found = fetched([server, *terminals], adapter, of=terminals)
    assert {name: each.names for name, each in found.items()} == {
        "T1": {of_both[0].event_id},
        "T2": {of_both[1].event_id},
    }
    assert len(adapter.wanted) == 1


def test_what_a_device_has_and_can_be_no_punch_is_said() -> None:
    page = Page({}, [event("1", AT)], [Rejected(0, Reason.UNDECODABLE_RECORD, "no", b"?")])
    assert fetched([device()], gives(page))["D1"].said.endswith("can be no punch, of whatever day: 1.")


async def _away(_: FakeAdapter, __: Fetch) -> AsyncIterator[Page]:
    raise DeviceUnavailable("no route")
    yield Page({})


async def _silent(_: FakeAdapter, __: Fetch) -> AsyncIterator[Page]:
    await asyncio.sleep(60)
    yield Page({})


async def _broken(_: FakeAdapter, __: Fetch) -> AsyncIterator[Page]:
    raise KeyError("serial")
    yield Page({})


@pytest.mark.parametrize(
    ("asked", "adapter", "why"),
    [
        (device(), FakeAdapter(_away), "no route"),
        (device(), FakeAdapter(_silent), "no page within 0.5 s"),
        (device(adapter="wrong"), gives(), "no such adapter"),
        (device(), FakeAdapter(_broken), "its adapter failed: KeyError"),
    ],
)
def test_a_device_that_does_not_answer_is_no_device_that_has_nothing(
    asked: Device, adapter: FakeAdapter, why: str
) -> None:
    found = fetched([asked], adapter)["D1"]
    assert (found.names, found.failed) == (None, True)
    assert why in found.said


def test_a_kafka_that_does_not_take_the_events_is_an_error() -> None:
    async def away(_: object) -> None:
        raise KafkaUnavailable("away")

    with pytest.raises(KafkaUnavailable):
        fetched([device()], gives(Page({}, [event("1", AT)])), publish=away)


def test_a_zkteco_terminal_that_pushes_is_told_to_send_and_to_count() -> None:
    log = MemoryLog()
    terminal = device(mode="push", adapter="zkteco_adms", serial="S1")
    found = fetched([terminal], gives(), log=log)["D1"]
    commands = [Order.decode(record.value).command for record in log.sent]
    day = "StartTime=2026-11-20 00:00:00\tEndTime=2026-11-20 23:59:59"
    assert commands == [f"DATA QUERY ATTLOG {day}", f"VERIFY SUM ATTLOG {day}"]
    assert (found.names, found.failed) == (None, False)
    assert found.said.startswith("D1 is to send the day again when it next asks")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"mode": "push", "adapter": "json", "token_sha256": "0" * 64}, "it pushes by json"),
        ({"mode": "file", "adapter": "csv"}, "import its file again"),
        ({"disabled": True}, "is disabled"),
        ({"via": "GONE", "serial": "S1"}, "GONE holds its records"),
    ],
)
def test_of_a_device_that_cannot_be_asked_that_is_said(fields: dict[str, Any], why: str) -> None:
    adapter = gives(Page({}, [event("1", AT)]))
    found = fetched([device(**fields)], adapter)["D1"]
    assert (found.names, found.failed, adapter.wanted) == (None, False, [])
    assert why in found.said


def test_a_paused_device_is_not_asked() -> None:
    adapter = gives(Page({}, [event("1", AT)]))
    paused = device().model_copy(update={"paused": DevicePause("D1", now(), "fatima", "moved")})
    found = fetched([paused], adapter)["D1"]
    assert (found.names, adapter.wanted, found.said) == (None, [], "D1 is paused: it was not asked.")
