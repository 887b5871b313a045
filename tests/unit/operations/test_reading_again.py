"""What was not understood is given to today's adapter, and becomes what it would have become at once."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from memory_log import MemoryLog
from msgspec.structs import replace
from openpyxl import Workbook

from attendance.errors import InvalidRecord, Reason
from attendance.fleet import Device, hash_token
from attendance.records.dead_letter import DeadLetter
from attendance.records.dead_letter_action import LetterId
from attendance.records.raw_event import UNREAD_ID, RawEvent
from attendance.records.unread import UnreadRequest
from attendance.registry import Registry
from operations.dead_letter_actions import Plan, make_replay_plan, replay
from operations.dead_letters import Selection
from operations.reading_again import NotUnderstood, Reader, old_request
from operations.unread import GONE
from producers.devices import create_file_adapter, create_push_adapter
from producers.devices.common.bodies import read_query
from producers.devices.contract import MAX_EVENTS, Head, PushRequest, Rejected
from producers.devices.generic.json_v1 import JsonV1

ARRIVED = datetime(2026, 3, 2, 5, 0, 3, 250_000, tzinfo=UTC)
FLEET: list[dict[str, Any]] = [
    {"device_id": "GATE", "site": "s", "timezone": "Asia/Riyadh", "token_sha256": hash_token("gate-token-7f3a")},
    {"device_id": "WEST", "site": "s", "timezone": "UTC", "token_sha256": hash_token("shared-token-91bc")},
    {"device_id": "EAST", "site": "s", "timezone": "UTC", "token_sha256": hash_token("shared-token-91bc")},
    {"device_id": "X05", "site": "s", "timezone": "UTC", "adapter": "hfsecurity", "token_sha256": hash_token("x" * 16)},
    {"device_id": "ADMS", "site": "s", "timezone": "UTC", "adapter": "zkteco_adms", "serial": "SN1"},
    {"device_id": "FILES", "site": "s", "timezone": "UTC", "mode": "file", "adapter": "csv"},
    {
        "device_id": "HIK",
        "site": "s",
        "timezone": "UTC",
        "mode": "pull",
        "adapter": "hikvision",
        "host": "192.0.2.4",
        "credentials": {"username": "U", "password": "P"},
    },
]


def batch(*users: object, device: str = "GATE") -> bytes:
    events = [{"user_id": user, "time": f"2026-03-02 08:0{minute}:00"} for minute, user in enumerate(users)]
    return orjson.dumps({"device_id": device, "events": events})


REQUEST = UnreadRequest(
    unread_id="",
    device_id="GATE",
    site="s",
    adapter="json",
    adapter_version="1",
    transport="push",
    received_at=ARRIVED,
    reason=Reason.UNREADABLE_BODY,
    message="not JSON",
    body=batch("7"),
    method="POST",
    path="/v1/events",
    route="/v1/events",
    headers={"content-type": "application/json"},
    devices=("GATE",),
).with_id()


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    path = tmp_path / "devices.yaml"
    path.write_text(yaml.safe_dump(FLEET))
    return Registry(path)


@pytest.fixture
def reader(registry: Registry) -> Reader:
    return Reader(registry, ())


def request(**changes: Any) -> UnreadRequest:
    return replace(REQUEST, **changes).with_id()


def refusal(reader: Reader, unread: UnreadRequest) -> str:
    with pytest.raises(NotUnderstood) as caught:
        reader.read(unread)
    return str(caught.value)


def test_a_request_becomes_the_event_that_it_would_have_become_at_once(reader: Reader) -> None:
    [event] = reader.read(REQUEST).records.events
    assert (event.device_id, event.device_user_id, event.received_at) == ("GATE", "7", ARRIVED)
    assert event.event_time == datetime(2026, 3, 2, 5, tzinfo=UTC)


def test_query_and_route_count_as_the_terminal_sent_them(reader: Reader) -> None:
    attlog = request(
        device_id="ADMS",
        devices=("ADMS",),
        path="//iclock/cdata.aspx",
        route="/iclock/cdata",
        query="SN=SN1&table=ATTLOG&Stamp=7",
        body=b"9\t2026-03-02 08:00:00\t0\t1\n",
    )
    assert [each.device_user_id for each in reader.read(attlog).records.events] == ["9"]


def test_the_device_s_id_stands_in_the_path_where_its_token_was(reader: Reader) -> None:
    identify = request(
        device_id="X05",
        devices=("X05",),
        path="/hf/X05/identify",
        route="/hf/{token}/identify",
        params={"token": "X05"},
        body=b'{"deviceKey":"X05","personId":"605","time":"1772427600000","type":"face_0"}',
    )
    assert [each.device_user_id for each in reader.read(identify).records.events] == ["605"]


MANY = MAX_EVENTS + 2
LINE = b"9\t2026-03-02 08:00:00\t0\t1\n"
ALERT = orjson.dumps(
    {
        "eventType": "AccessControllerEvent",
        "dateTime": "2026-03-02T08:00:00+00:00",
        "AccessControllerEvent": {"majorEventType": 5, "subEventType": 75, "employeeNoString": "9"},
    }
)
TOO_MANY: dict[str, tuple[str, str, bytes]] = {
    "json": (
        "GATE",
        "/v1/events",
        b'{"device_id":"GATE","events":[%b]}' % b",".join([b'{"user_id":"9","time":"2026-03-02 08:00:00"}'] * MANY),
    ),
    "zkteco_adms": ("ADMS", "/iclock/cdata", LINE * MANY),
    "zkteco_adms, a question": ("ADMS", "/iclock/getrequest", LINE * MANY),
    "hfsecurity": (
        "X05",
        "/hf/X05/record",
        b"[%b]" % b",".join([b'{"personId":"9","time":"1772427600000","type":"face_0"}'] * MANY),
    ),
    "hikvision, documents": ("HIK", "/hik/HIK", (ALERT + b"\n") * MANY),
    "hikvision, parts": ("HIK", "/hik/HIK", (b"--b\n\n" + ALERT + b"\n") * MANY + b"--b--\n"),
}


@pytest.mark.parametrize("name", TOO_MANY)
def test_more_records_than_a_request_may_have_are_refused_when_they_come_and_read_when_they_were_kept(
    registry: Registry, reader: Reader, name: str
) -> None:
    device_id, path, body = TOO_MANY[name]
    query = "SN=SN1&table=ATTLOG" if path == "/iclock/cdata" else "SN=SN1"
    unread = request(device_id=device_id, devices=(), path=path, query=query, headers={}, body=body)
    device, adapter = registry.get(device_id), create_push_adapter(name.partition(",")[0], ())
    assert device is not None
    head = Head("POST", path.replace(device_id, "{token}"), {"token": device_id}, read_query(query), {})
    with pytest.raises(InvalidRecord) as caught:
        adapter.parse(PushRequest(head, body, ARRIVED), {device_id: device})
    assert caught.value.reason is (Reason.UNREADABLE_BODY if "documents" in name else Reason.BODY_TOO_LARGE)
    assert len(reader.read(unread).records.events) == MANY


def test_what_a_device_said_of_its_clock_counts_for_its_own_events_alone(reader: Reader) -> None:
    late = replace(REQUEST, received_at=datetime(2026, 3, 2, 9, tzinfo=UTC))
    assert [each.clock_skew for each in reader.read(late).records.events] == [None]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"device_id": "NONE", "devices": ()}, "NONE is not in the fleet file"),
        ({"body": b"{"}, "not JSON"),
        ({"body": b'{"device_id":"GATE","events":[{"time":"2026-03-02 08:00:00"}]}'}, "user_id must be"),
        ({"path": "/v9/events", "route": "/v9/events"}, "json has no POST /v9/events"),
        ({"device_id": "HIK", "devices": ("HIK",)}, "hikvision has no POST /v1/events"),
        ({"device_id": "FILES", "devices": ("FILES",)}, "adapter csv takes nothing that is sent"),
        ({"transport": "pull"}, "adapter json asks no device"),
        ({"transport": "file", "adapter": "dbf"}, "none of the file adapters"),
    ],
)
def test_what_is_not_understood_today_either_has_its_reason(reader: Reader, changes: Any, reason: str) -> None:
    assert reason in refusal(reader, request(**changes))


def test_an_adapter_that_fails_is_a_reason_and_no_end(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(JsonV1, "parse", fail)
    assert "ZeroDivisionError" in refusal(reader, REQUEST)


def row_of(adapter: str, path: Path, device: Device) -> UnreadRequest:
    """The one row of a file that is rejected today, as it is kept."""
    terminals = {} if device.serial is None else {device.serial: device}
    rows = create_file_adapter(adapter, ()).rows(path, device, terminals)
    [rejected] = [each.outcome for each in rows if isinstance(each.outcome, Rejected)]
    assert rejected.raw is not None
    return request(
        device_id=device.device_id,
        devices=(device.device_id,),
        adapter=adapter,
        transport="file",
        reason=rejected.reason,
        message=rejected.message,
        place=f"file:{path.name}:{rejected.index + 1}",
        options=dict(device.options),
        body=rejected.raw,
    )


TABLE: list[list[object]] = [
    ["Employee ID", "Punch Time", "Serial Number"],
    ["605", "14/03/2026 08:00:00", "SN1"],
    ["7", "02/03/2026 08:00:00", "SN2"],
]
"""Of the second row alone nobody could tell the day from the month."""


def write_csv(path: Path) -> Path:
    path.write_text("\n".join(";".join(map(str, row)) for row in TABLE))
    return path


def write_workbook(path: Path) -> Path:
    book = Workbook()
    for row in TABLE:
        book.active.append(row)
    book.active["B3"] = datetime(2026, 3, 2, 8)  # noqa: DTZ001 - a spreadsheet has no zone
    book.active.append(["605", datetime(2026, 3, 22, 8), "SN1"])  # noqa: DTZ001
    book.save(path)
    return path


@pytest.mark.parametrize("write", [write_csv, write_workbook])
def test_a_row_of_a_table_is_read_with_its_header_once_the_fleet_has_its_terminal(
    registry: Registry, reader: Reader, tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    adapter = "csv" if write is write_csv else "xlsx"
    device = registry.get("FILES")
    assert device is not None
    row = row_of(adapter, write(tmp_path / f"march.{adapter}"), device.model_copy(update={"serial": "SN1"}))
    rejected = "the terminal of this row is another one"
    assert rejected in row.message

    [event] = reader.read(row).records.events

    assert (event.device_user_id, event.event_time, event.received_at, event.source.line) == (
        "7",
        datetime(2026, 3, 2, 8, tzinfo=UTC),
        ARRIVED,
        3,
    )


def test_a_line_of_an_attendance_log_is_read_by_the_columns_that_its_file_had(
    registry: Registry, reader: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "1_attlog.dat"
    path.write_text(f"605\t2026-03-02 08:00:00\t1\t0\n{'9' * 300}\t2026-03-02 08:01:00\t1\t0\n")
    device = registry.get("FILES")
    assert device is not None
    row = row_of("attlog", path, device)
    assert "longer than 256" in refusal(reader, row)

    monkeypatch.setattr("producers.devices.common.punch.MAX_TEXT", 500)

    [event] = reader.read(row).records.events
    assert (event.device_user_id, event.event_type, event.source.line) == ("9" * 300, "OUT", 2)


def test_what_is_no_row_is_said(reader: Reader) -> None:
    for adapter in ("csv", "attlog"):
        row = request(device_id="FILES", devices=(), adapter=adapter, transport="file", body=b"7,8")
        assert "not a" in refusal(reader, row)


def test_a_record_of_a_pulled_device_is_read_without_the_device(reader: Reader) -> None:
    record = request(
        device_id="HIK",
        devices=(),
        adapter="hikvision",
        transport="pull",
        body=b'{"major":5,"minor":75,"time":"2026-03-02T08:00:00+00:00","employeeNoString":"605","serialNo":9}',
    )
    [event] = reader.read(record).records.events
    assert (event.device_user_id, event.received_at, event.sequence) == ("605", ARRIVED, 9)


def old_letter(device: str, route: str, body: bytes, reason: Reason = Reason.UNREADABLE_BODY) -> DeadLetter:
    return DeadLetter("push", reason, "cut off", ARRIVED, device.encode() or None, body, where=f"http:{route}")


def test_the_body_of_an_old_letter_is_read_by_its_route(reader: Reader) -> None:
    unread = old_request(old_letter("GATE", "/v1/events", batch("7")))
    assert unread is not None
    [event] = reader.read(unread).records.events
    assert (event.event_id, event.received_at) == (reader.read(REQUEST).records.events[0].event_id, ARRIVED)


def test_the_table_of_an_old_letter_stands_in_its_message(reader: Reader) -> None:
    letter = old_letter("ADMS", "/iclock/cdata", b"9\t2026-03-02 08:00:00\t0\t1\n")
    unread = old_request(replace(letter, message="table 'ATTLOG Stamp=9999' is none of the protocol's"))
    assert unread is not None
    assert [each.device_user_id for each in reader.read(unread).records.events] == ["9"]
    other = old_request(replace(letter, message="table 'FOO' is none of the protocol's"))
    assert other is not None
    assert "table 'FOO' is none" in refusal(reader, other)


def test_an_old_letter_without_a_device_is_of_the_one_token_that_stands_for_several(reader: Reader) -> None:
    unread = old_request(old_letter("", "/v1/events", batch("7", device="WEST")))
    assert unread is not None
    assert [each.device_id for each in reader.read(unread).records.events] == ["WEST"]
    # A sender with that token could not speak for the others.
    assert "not that of the device" in refusal(reader, replace(unread, body=batch("7", device="GATE")))


@pytest.mark.parametrize(
    "letter",
    [
        old_letter("GATE", "/v1/events", b"[]", Reason.INVALID_EVENT),
        replace(old_letter("GATE", "/v1/events", b"[]"), topic="t.raw.v1"),
        replace(old_letter("GATE", "/v1/events", b"[]"), where="file:march.csv:7"),
        replace(old_letter("GATE", "/v1/events", b"[]"), value=None),
        replace(old_letter("GATE", "/v1/events", b""), unread="0" * 64),
    ],
)
def test_no_other_letter_holds_a_request(letter: DeadLetter) -> None:
    assert old_request(letter) is None


class Topics(MemoryLog):
    """Topics on which stands what was sent to them."""

    def keep(self, unread: UnreadRequest, *letters: DeadLetter) -> None:
        for record in unread.to_records(self.topics["unread"]):
            self.add("unread", record.key, record.value, record.headers)
        for letter in letters or [letter_of(unread)]:
            self.add("dead_letters", letter.key, letter.value, letter.encode_headers())

    def land(self) -> Iterator[str]:
        """Put what was sent on its topics. Returns their names."""
        for name in ("raw", "other_events", "dead_letters", "dead_letter_actions"):
            for record in [each for each in self.sent if each.topic == self.topics[name]]:
                self.add(name, record.key, record.value, record.headers, timestamp=int(ARRIVED.timestamp() * 1000))
                yield name
        self.sent.clear()


def letter_of(unread: UnreadRequest, message: str = "not JSON", reason: Reason = Reason.UNREADABLE_BODY) -> DeadLetter:
    return DeadLetter(
        "push", reason, message, ARRIVED, unread.key, b"", where="http:/v1/events", unread=unread.unread_id
    )


@pytest.fixture
def topics() -> Topics:
    return Topics()


def read_again(topics: Topics, reader: Reader, *ids: LetterId, force: bool = False) -> tuple[Plan, list[str]]:
    """The plan, and the topics of what was sent."""

    async def run() -> Plan:
        plan = await make_replay_plan(topics, Selection(frozenset(ids)), reader.read, force=force)
        await replay(topics, plan, per_second=1e9, by="root", report=lambda _id, problem: problems.append(problem))
        return plan

    problems: list[str | None] = []
    plan = asyncio.run(run())
    assert set(problems) <= {None}
    return plan, list(topics.land())


def events(topics: Topics) -> list[str]:
    raw = asyncio.run(collect(topics))
    return [RawEvent.decode(each.value).device_user_id for each in raw]


async def collect(topics: Topics) -> list[Any]:
    return [record async for records in topics.read("raw") for record in records]


def test_what_is_read_again_names_its_request_and_settles_its_letter(topics: Topics, reader: Reader) -> None:
    topics.keep(REQUEST)

    plan, sent = read_again(topics, reader)

    assert (plan.ids, sent) == ([LetterId(0, 0)], ["raw", "dead_letter_actions"])
    [record] = asyncio.run(collect(topics))
    assert dict(record.headers)[UNREAD_ID].decode() == REQUEST.unread_id
    assert read_again(topics, reader)[1] == []


def test_reading_again_twice_makes_nothing_double(topics: Topics, reader: Reader) -> None:
    topics.keep(REQUEST)
    read_again(topics, reader)

    _, sent = read_again(topics, reader, LetterId(0, 0), force=True)

    assert (sent, events(topics)) == (["dead_letter_actions"], ["7"])


def test_the_same_bytes_sent_twice_are_read_once_and_both_letters_are_settled(topics: Topics, reader: Reader) -> None:
    topics.keep(REQUEST)
    topics.keep(REQUEST)

    plan, sent = read_again(topics, reader)

    assert (len(plan.ids), sent) == (2, ["raw", "dead_letter_actions", "dead_letter_actions"])


def test_a_request_in_parts_is_read_whole_and_one_that_lacks_a_part_is_not(topics: Topics, reader: Reader) -> None:
    whole = request(body=batch(*"1234"))
    half = len(whole.body) // 2
    parts = [
        replace(whole, body=whole.body[:half], part=0, parts=2),
        replace(whole, body=whole.body[half:], part=1, parts=2),
    ]
    topics.add("unread", whole.key, parts[1].encode())
    letter = letter_of(whole)
    topics.add("dead_letters", letter.key, letter.value, letter.encode_headers())
    assert read_again(topics, reader)[0].refused == {LetterId(0, 0): GONE}

    topics.add("unread", whole.key, parts[0].encode())

    read_again(topics, reader)
    assert events(topics) == list("1234")


def test_what_is_not_understood_stays_open_with_the_reason_of_today(topics: Topics, reader: Reader) -> None:
    topics.keep(request(body=b"{"))

    plan, sent = read_again(topics, reader)

    assert (list(plan.refused), sent) == ([LetterId(0, 0)], [])
    assert "not JSON" in plan.refused[LetterId(0, 0)]


def test_a_request_that_is_gone_is_said(topics: Topics, reader: Reader) -> None:
    letter = letter_of(REQUEST)
    topics.add("dead_letters", letter.key, letter.value, letter.encode_headers())
    assert read_again(topics, reader)[0].refused == {LetterId(0, 0): GONE}


def test_of_a_request_that_was_understood_in_part_only_the_rest_is_added(topics: Topics, reader: Reader) -> None:
    unread = request(body=batch("1", "2", None))
    topics.keep(unread, letter_of(unread, "events[1]: no", Reason.INVALID_EVENT))
    known = reader.read(unread).records.events[0]
    topics.add("raw", *known.record(), timestamp=int(ARRIVED.timestamp() * 1000))

    _, sent = read_again(topics, reader)

    assert (sent, events(topics)) == (["raw", "dead_letter_actions"], ["1", "2"])


def test_what_is_still_rejected_of_a_request_that_is_read_again_has_a_letter_of_its_own(
    topics: Topics, reader: Reader
) -> None:
    unread = request(body=batch("1", None))
    topics.keep(unread)

    _, sent = read_again(topics, reader)

    assert sent == ["raw", "dead_letters", "dead_letter_actions"]
    plan, sent = read_again(topics, reader)
    assert (list(plan.refused), sent) == ([LetterId(0, 1)], [])


def test_a_letter_whose_record_is_still_rejected_is_refused_where_nothing_is_added(
    topics: Topics, reader: Reader
) -> None:
    unread = request(body=batch("1", None))
    topics.keep(unread, letter_of(unread, "events[1]: no", Reason.INVALID_EVENT))
    topics.add("raw", *reader.read(unread).records.events[0].record(), timestamp=int(ARRIVED.timestamp() * 1000))

    plan, sent = read_again(topics, reader)

    assert (list(plan.refused), sent) == ([LetterId(0, 0)], [])


def test_an_old_letter_is_read_again_like_any_other(topics: Topics, reader: Reader) -> None:
    for body in (batch("7"), b"{"):
        letter = old_letter("GATE", "/v1/events", body)
        topics.add("dead_letters", letter.key, letter.value, letter.encode_headers())

    plan, sent = read_again(topics, reader)

    assert (plan.ids, list(plan.refused)) == ([LetterId(0, 0)], [LetterId(0, 1)])
    assert (sent, events(topics)) == (["raw", "dead_letter_actions"], ["7"])


def test_other_events_are_not_doubled_either(topics: Topics, reader: Reader) -> None:
    door = request(
        device_id="X05",
        devices=("X05",),
        path="/hf/X05/event",
        route="/hf/{token}/event",
        params={"token": "X05"},
        body=b'{"deviceKey":"X05","eventType":2,"time":"1772427600000"}',
    )
    topics.keep(door)
    assert read_again(topics, reader)[1] == ["other_events", "dead_letter_actions"]
    assert read_again(topics, reader, LetterId(0, 0), force=True)[1] == ["dead_letter_actions"]


def test_a_letter_whose_record_is_there_is_settled_though_another_record_is_still_rejected(
    topics: Topics, reader: Reader
) -> None:
    """As after a replay that ended before it had recorded what it did."""
    unread = request(body=batch("1", None))
    letters = [letter_of(unread, f"events[{index}]: no", Reason.INVALID_EVENT) for index in (0, 1)]
    topics.keep(unread, *letters)
    topics.add("raw", *reader.read(unread).records.events[0].record(), timestamp=int(ARRIVED.timestamp() * 1000))

    plan, sent = read_again(topics, reader)

    assert (plan.ids, list(plan.refused), sent) == ([LetterId(0, 0)], [LetterId(0, 1)], ["dead_letter_actions"])


def test_parts_that_two_releases_cut_differently_are_not_mixed(topics: Topics, reader: Reader) -> None:
    whole = request(body=batch("1", "2"))

    def cut(*places: int) -> list[UnreadRequest]:
        pieces = [whole.body[start:end] for start, end in zip((0, *places), (*places, None), strict=True)]
        return [replace(whole, body=each, part=at, parts=len(pieces)) for at, each in enumerate(pieces)]

    halves, thirds = cut(40), cut(20, 60)
    for part in (halves[0], thirds[0], thirds[1], replace(halves[1], part=7), halves[1]):
        topics.add("unread", whole.key, part.encode())
    letter = letter_of(whole)
    topics.add("dead_letters", letter.key, letter.value, letter.encode_headers())

    read_again(topics, reader)

    assert events(topics) == ["1", "2"]


def test_what_a_large_request_comes_to_is_sent_in_pieces_with_its_letters_last(
    topics: Topics, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("operations.dead_letter_actions.AT_ONCE", 3)
    topics.keep(request(body=batch("1", None, "2", "3", "4")))

    _, sent = read_again(topics, reader)

    assert sent == ["raw"] * 4 + ["dead_letters", "dead_letter_actions"]


def test_a_letter_for_the_rest_is_about_each_record_from_the_one_that_it_names_on(
    topics: Topics, reader: Reader
) -> None:
    unread = request(body=batch(None, None, "2", None, None))
    rest = letter_of(unread, "events[1]: no (and 2 more of the same request)", Reason.INVALID_EVENT)
    topics.keep(unread, letter_of(unread, "events[0]: no", Reason.INVALID_EVENT), replace(rest, further=2))

    _, sent = read_again(topics, reader, LetterId(0, 1))

    # Not of the first record, whose letter stays open.
    assert (events(topics), sent) == (["2"], ["raw", *["dead_letters"] * 3, "dead_letter_actions"])
    plan, sent = read_again(topics, reader)
    assert (list(plan.refused), sent) == ([LetterId(0, 0), LetterId(0, 2), LetterId(0, 3), LetterId(0, 4)], [])


def test_a_letter_for_the_rest_is_settled_once_all_of_the_rest_is_there(topics: Topics, reader: Reader) -> None:
    unread = request(body=batch(None, "1", "2"))
    rest = letter_of(unread, "events[1]: no (and 1 more of the same request)", Reason.INVALID_EVENT)
    topics.keep(unread, letter_of(unread, "events[0]: no", Reason.INVALID_EVENT), replace(rest, further=1))
    for event in reader.read(unread).records.events:
        topics.add("raw", *event.record(), timestamp=int(ARRIVED.timestamp() * 1000))

    plan, sent = read_again(topics, reader)

    assert (plan.ids, list(plan.refused), sent) == ([LetterId(0, 1)], [LetterId(0, 0)], ["dead_letter_actions"])


def test_what_is_still_rejected_of_a_large_request_shares_a_letter(topics: Topics, reader: Reader) -> None:
    topics.keep(request(body=batch("1", *[None] * 300)))

    _, sent = read_again(topics, reader)

    assert sent == ["raw", *["dead_letters"] * 21, "dead_letter_actions"]
    plan, sent = read_again(topics, reader)
    assert (len(plan.refused), sent) == (21, [])
