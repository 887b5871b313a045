"""One suite for every adapter, which it takes part in by being registered with a simulated terminal of its name."""

from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from attendance.errors import DeviceRefused, DeviceUnavailable, Reason
from attendance.fleet import hash_token
from attendance.records.raw_event import RawEvent
from attendance.times import from_wall_clock
from conformance import NOW, SERIAL, SITE, WALL_CLOCK, ZONE, Pushed, device_of, pulled, punches, run
from producers.devices import FILE_ADAPTERS, PULL_ADAPTERS, PUSH_ADAPTERS, create_file_adapter
from producers.devices.contract import Fetch, Page, Parsed, Rejected
from sandbox.terminals import FILE_WRITERS, PULL_TERMINALS, PUSH_TERMINALS, simulator
from sandbox.terminals.base import NAME, PHOTO, Punch, Quirks

CENTURY = Punch("000417", datetime.fromisoformat("2000-01-01 00:00:07"), "IN", 90_001)
FUTURE = Punch("000417", WALL_CLOCK + timedelta(days=400), "OUT", 90_002)
FOLD = Punch("000417", datetime.fromisoformat("2026-11-01 01:30:00"), "IN", 90_003)
SKIPPED = Punch("000417", datetime.fromisoformat("2026-03-08 02:30:00"), "IN", 90_004)

UNNAMED = frozenset({"etimetracklite", "hfsecurity"})
"""Where a record without a user is no punch, or cannot be."""

pushing = pytest.mark.parametrize("name", sorted(PUSH_TERMINALS))
pulling = pytest.mark.parametrize("name", sorted(PULL_TERMINALS))
filing = pytest.mark.parametrize("name", sorted(FILE_WRITERS))


def adapter_name(terminal: str) -> str:
    """A terminal is named after its adapter, with its dialect behind a colon where that has several."""
    return terminal.partition(":")[0]


def as_read(event: RawEvent) -> tuple[str, datetime | None, str]:
    return event.device_user_id, event.event_time, event.event_type


def of(punch: Punch) -> tuple[str, datetime, str]:
    return punch.user, from_wall_clock(punch.at, ZONE), punch.direction or "UNKNOWN"


def events_of(parts: list[Parsed] | list[Page]) -> list[RawEvent]:
    return [event for part in parts for event in part.events]


def everything_kept(parts: list[Parsed] | list[Page]) -> bytes:
    """All bytes that would leave the way in."""
    kept = [event.encode() for event in events_of(parts)]
    kept += [rejected.value for part in parts for rejected in part.rejected]
    kept += [other.value for part in parts for other in part.others]
    kept += [str(part.report).encode() for part in parts if part.report is not None]
    return b"\n".join(kept)


def nothing_private(kept: bytes) -> bool:
    """Whether no name and no part of a photograph is there, plain or encoded."""
    secrets = [NAME.encode(), NAME.encode("ascii", "backslashreplace"), PHOTO[4:40], PHOTO[4:40].hex().encode()]
    return not any(secret in kept for secret in secrets)


def test_every_adapter_has_a_simulated_terminal() -> None:
    assert {adapter_name(name) for name in PUSH_TERMINALS} == set(PUSH_ADAPTERS)
    assert {adapter_name(name) for name in PULL_TERMINALS} == set(PULL_ADAPTERS)
    assert {adapter_name(name) for name in FILE_WRITERS} == set(FILE_ADAPTERS)


class TestPush:
    @pytest.fixture
    def pushed(self, name: str) -> Pushed:
        return Pushed(PUSH_TERMINALS[name], adapter_name(name))

    @pushing
    def test_a_terminal_says_who_it_is_before_its_body_is_read(self, pushed: Pushed) -> None:
        for request in [*pushed.terminal.hello(), *pushed.terminal.upload(punches(1))]:
            sender = pushed.adapter.sender(pushed.head(request))
            known_by_token = sender.token is not None and pushed.device.token_sha256 == hash_token(sender.token)
            assert known_by_token or (sender.serial is not None and sender.serial == pushed.device.serial)

    @pushing
    def test_what_it_says_when_it_is_switched_on_is_answered(self, pushed: Pushed) -> None:
        for parsed in pushed.parse_all(pushed.terminal.hello()):
            assert parsed.answer.status == 200
            assert parsed.device_id == SERIAL
            assert not parsed.events
            assert not parsed.rejected

    @pushing
    @pytest.mark.parametrize("count", [1, 3, 500])
    def test_every_punch_becomes_one_event(self, pushed: Pushed, count: int) -> None:
        sent = punches(count)
        parts = pushed.parse_all(pushed.terminal.upload(sent))
        assert [as_read(event) for event in events_of(parts)] == [of(punch) for punch in sent]
        assert {(event.device_id, event.site, event.device_timezone) for event in events_of(parts)} == {
            (SERIAL, SITE, ZONE)
        }
        assert {event.source.transport for event in events_of(parts)} == {"push"}
        assert {event.source.adapter for event in events_of(parts)} == {pushed.adapter.name}
        assert not any(part.rejected or part.others for part in parts)

    @pushing
    def test_it_takes_the_answer_for_stored(self, pushed: Pushed) -> None:
        requests = pushed.terminal.upload(punches(1))
        assert all(pushed.accepts(parsed.answer, 1) for parsed in pushed.parse_all(requests))

    @pushing
    def test_the_same_upload_again_has_the_same_ids(self, pushed: Pushed) -> None:
        requests = pushed.terminal.upload(punches(50))
        first, second = (events_of(pushed.parse_all(requests)) for _ in range(2))
        assert [event.event_id for event in first] == [event.event_id for event in second]

    @pushing
    @pytest.mark.parametrize("quirks", [Quirks("\n"), Quirks("\r\n", final_line_end=False), Quirks("\n", False)])
    def test_line_ends_make_no_difference(self, pushed: Pushed, quirks: Quirks) -> None:
        sent = punches(3)
        assert [as_read(event) for event in events_of(pushed.parse_all(pushed.terminal.upload(sent, quirks)))] == [
            of(punch) for punch in sent
        ]

    @pushing
    def test_garbage_in_the_middle_is_rejected_and_its_neighbours_are_kept(self, pushed: Pushed) -> None:
        sent = punches(4)
        parts = pushed.parse_all(pushed.terminal.upload(sent, Quirks(garbage_at=2)))
        assert [as_read(event) for event in events_of(parts)] == [of(punch) for punch in sent]
        assert sum(len(part.rejected) for part in parts) == 1
        # It would otherwise be sent again for ever.
        assert all(pushed.accepts(part.answer, 1) for part in parts)

    @pushing
    @pytest.mark.parametrize("punch", [CENTURY, FUTURE, FOLD, SKIPPED], ids=["2000", "future", "fold", "skipped"])
    def test_a_time_is_kept_as_it_is(self, pushed: Pushed, punch: Punch) -> None:
        (event,) = events_of(pushed.parse_all(pushed.terminal.upload([punch])))
        assert event.event_time == from_wall_clock(punch.at, ZONE)
        assert event.device_time

    @pushing
    def test_names_and_photographs_stay_out(self, pushed: Pushed) -> None:
        sent = [Punch("000417", WALL_CLOCK, "IN", 7, photo=PHOTO)]
        parts = pushed.parse_all([*pushed.terminal.upload(sent, Quirks(garbage_at=0)), *pushed.terminal.strangers()])
        assert nothing_private(everything_kept(parts))

    @pushing
    def test_what_is_no_punch_is_kept_as_such(self, pushed: Pushed) -> None:
        requests = pushed.terminal.strangers()
        parts = pushed.parse_all(requests)
        assert not events_of(parts)
        assert not any(part.rejected for part in parts)
        assert all(part.others for part in parts)
        assert all(pushed.accepts(part.answer, 1) for part in parts)

    @pushing
    @pytest.mark.parametrize(
        "reason",
        [
            Reason.KAFKA_UNAVAILABLE,
            Reason.OVERLOADED,
            Reason.STANDING_STILL,
            Reason.DEVICE_PAUSED,
            Reason.BODY_TOO_SLOW,
            Reason.UNKNOWN_DEVICE,
        ],
    )
    def test_it_keeps_its_punches_when_nothing_was_stored(self, pushed: Pushed, reason: Reason) -> None:
        for request in pushed.terminal.upload(punches(2)):
            assert not pushed.accepts(pushed.refusal(request, reason), 2)


class TestPull:
    @pulling
    @pytest.mark.parametrize("count", [0, 1, 500])
    def test_every_punch_is_fetched_once(self, name: str, count: int) -> None:
        memory = punches(count)

        async def scenario() -> None:
            async with pulled(PULL_TERMINALS[name], adapter_name(name), memory) as device:
                pages = await device.pages()
            events = events_of(pages)
            assert sorted(map(as_read, events)) == sorted(map(of, memory))
            assert {event.source.transport for event in events} <= {"pull", "sql"}
            assert nothing_private(everything_kept(pages))

        run(scenario())

    @pulling
    def test_a_record_that_was_rejected_is_rejected_again_by_the_same_release(self, name: str) -> None:
        async def scenario() -> None:
            nobody = Punch("x" * 300 if adapter_name(name) in UNNAMED else "", punches(1)[0].at, "IN", 4)
            async with pulled(PULL_TERMINALS[name], adapter_name(name), [*punches(3), nobody]) as device:
                rejected = [each for page in await device.pages() for each in page.rejected]
                for each in rejected:
                    assert each.raw is not None
                    page = device.adapter.read_again(
                        each.raw, Fetch(device.device, {SERIAL: device.device}, None, None, NOW)
                    )
                    assert [(again.reason, again.value) for again in page.rejected] == [(each.reason, each.value)]
                    assert not page.events
            assert len(rejected) == 1

        run(scenario())

    @pulling
    def test_a_fetch_goes_on_where_the_last_one_ended(self, name: str) -> None:
        async def scenario() -> None:
            async with pulled(PULL_TERMINALS[name], adapter_name(name), punches(60, until=_hours_ago(5))) as device:
                cursor = (await device.pages())[-1].cursor
                newer = punches(5, first_number=1001)
                device.terminal.memory.extend(newer)
                again = events_of(await device.pages(cursor))
            assert set(map(of, newer)) <= set(map(as_read, again))
            assert len(again) < 65

        run(scenario())

    @pulling
    def test_nothing_is_lost_after_a_stop_at_any_page(self, name: str) -> None:
        memory = punches(300)

        async def scenario() -> None:
            async with pulled(PULL_TERMINALS[name], adapter_name(name), memory) as device:
                pages = await device.pages()
                for stop in range(0, len(pages), max(1, len(pages) // 5)):
                    before = set(map(as_read, events_of(pages[: stop + 1])))
                    after = set(map(as_read, events_of(await device.pages(pages[stop].cursor))))
                    assert before | after == set(map(of, memory))

        run(scenario())

    @pulling
    def test_a_sweep_finds_what_the_cursor_has_passed(self, name: str) -> None:
        memory = punches(30)

        async def scenario() -> None:
            async with pulled(PULL_TERMINALS[name], adapter_name(name), memory) as device:
                cursor = (await device.pages())[-1].cursor
                late = Punch("000777", WALL_CLOCK - timedelta(days=2), "IN", 5000)
                device.terminal.memory.append(late)
                swept = events_of(await device.pages(cursor, since=NOW - timedelta(days=3)))
            assert of(late) in set(map(as_read, swept))

        run(scenario())

    @pulling
    def test_a_device_that_does_not_answer_is_unavailable_and_then_goes_on(self, name: str) -> None:
        memory = punches(3)

        async def scenario() -> None:
            async with pulled(PULL_TERMINALS[name], adapter_name(name), memory) as device:
                device.terminal.faults.unavailable = 1
                with pytest.raises(DeviceUnavailable):
                    await device.pages()
                assert set(map(as_read, events_of(await device.pages()))) == set(map(of, memory))

        run(scenario())

    @pulling
    def test_a_wrong_password_is_tried_twice_at_most(self, name: str) -> None:
        async def scenario() -> None:
            async with pulled(PULL_TERMINALS[name], adapter_name(name), punches(3)) as device:
                device.terminal.faults.password_wrong = True
                with pytest.raises(DeviceRefused):
                    await device.pages()
                assert device.terminal.logins_refused <= 2

        run(scenario())

    @pulling
    def test_an_answer_that_is_cut_off_is_an_error_and_loses_nothing(self, name: str) -> None:
        memory = punches(80)

        async def scenario() -> None:
            async with pulled(PULL_TERMINALS[name], adapter_name(name), memory) as device:
                device.terminal.faults.cut_after = 7
                seen: list[Page] = []
                with pytest.raises(DeviceUnavailable):
                    await device.fetch(seen)
                device.terminal.faults.cut_after = None
                rest = await device.pages(seen[-1].cursor if seen else None)
                assert set(map(as_read, events_of([*seen, *rest]))) == set(map(of, memory))

        run(scenario())

    @pulling
    @pytest.mark.parametrize("off", [-3, 5])
    def test_a_total_that_is_wrong_loses_nothing(self, name: str, off: int) -> None:
        memory = punches(40)

        async def scenario() -> None:
            async with pulled(PULL_TERMINALS[name], adapter_name(name), memory) as device:
                device.terminal.faults.count_off = off
                seen: list[Page] = []
                try:
                    await device.fetch(seen)
                except DeviceUnavailable:
                    device.terminal.faults.count_off = 0
                    seen.extend(await device.pages(seen[-1].cursor if seen else None))
                assert set(map(as_read, events_of(seen))) == set(map(of, memory))

        run(scenario())

    @pulling
    def test_punches_that_come_while_it_is_read_are_not_lost(self, name: str) -> None:
        memory = punches(120, until=_hours_ago(1))
        grows = punches(20, first_number=2001)

        async def scenario() -> None:
            async with pulled(PULL_TERMINALS[name], adapter_name(name), memory) as device:
                device.terminal.faults.grows.extend(grows)
                seen: list[Page] = []
                with suppress(DeviceUnavailable):  # it may find that the count has changed, and begin anew
                    await device.fetch(seen)
                device.terminal.memory.extend(device.terminal.faults.grows)
                device.terminal.faults.grows.clear()
                seen.extend(await device.pages(seen[-1].cursor if seen else None))
                assert set(map(as_read, events_of(seen))) == {of(punch) for punch in [*memory, *grows]}

        run(scenario())

    @pulling
    @pytest.mark.parametrize("punch", [FOLD, SKIPPED], ids=["fold", "skipped"])
    def test_a_time_around_a_change_of_clocks_is_read_by_the_one_rule(self, name: str, punch: Punch) -> None:
        async def scenario() -> None:
            async with pulled(PULL_TERMINALS[name], adapter_name(name), [punch]) as device:
                (event,) = events_of(await device.pages(since=NOW - timedelta(days=300)))
                assert event.event_time == from_wall_clock(punch.at, ZONE)

        run(scenario())

    @pulling
    def test_it_says_who_it_is(self, name: str) -> None:
        async def scenario() -> None:
            async with pulled(PULL_TERMINALS[name], adapter_name(name), []) as device:
                probed = await device.adapter.probe(device.device)
                assert probed.serial in (SERIAL, None)

        run(scenario())


class TestFile:
    @filing
    @pytest.mark.parametrize("count", [1, 500])
    @pytest.mark.parametrize("quirks", [Quirks(), Quirks("\n", final_line_end=False)], ids=["crlf", "lf"])
    def test_every_row_becomes_one_event(self, name: str, count: int, quirks: Quirks, tmp_path: Path) -> None:
        sent = punches(count)
        rows = self._rows(name, tmp_path, sent, quirks)
        assert [as_read(row) for row in rows if isinstance(row, RawEvent)] == [of(punch) for punch in sent]
        assert {row.source.transport for row in rows if isinstance(row, RawEvent)} == {"file"}
        assert not any(isinstance(row, Rejected) for row in rows)

    @filing
    def test_garbage_in_the_middle_is_rejected_and_its_neighbours_are_kept(self, name: str, tmp_path: Path) -> None:
        sent = punches(4)
        rows = self._rows(name, tmp_path, sent, Quirks(garbage_at=2))
        assert [as_read(row) for row in rows if isinstance(row, RawEvent)] == [of(punch) for punch in sent]
        assert sum(isinstance(row, Rejected) for row in rows) == 1

    @filing
    def test_names_stay_out(self, name: str, tmp_path: Path) -> None:
        rows = self._rows(name, tmp_path, punches(3), Quirks(garbage_at=1))
        kept = b"".join(row.encode() if isinstance(row, RawEvent) else row.value for row in rows)
        assert nothing_private(kept)

    def _rows(self, name: str, directory: Path, sent: list[Punch], quirks: Quirks) -> list[RawEvent | Rejected]:
        writer = simulator(FILE_WRITERS[name])()
        device = device_of(writer.registry_entry())
        path = writer.write(directory, sent, quirks)
        adapter = create_file_adapter(adapter_name(name), ())
        return [row.outcome for row in adapter.rows(path, device, {SERIAL: device})]


@pytest.mark.parametrize("name", sorted({adapter_name(name) for name in PUSH_TERMINALS} & set(PULL_TERMINALS)))
def test_a_punch_has_one_id_whether_it_is_pushed_or_pulled(name: str) -> None:
    sent = punches(30)
    pushed = Pushed(PUSH_TERMINALS[name], name)
    by_push = {event.event_id for event in events_of(pushed.parse_all(pushed.terminal.upload(sent)))}

    async def scenario() -> set[str]:
        async with pulled(PULL_TERMINALS[name], name, sent) as device:
            return {event.event_id for event in events_of(await device.pages())}

    assert by_push == run(scenario())


def _hours_ago(hours: int) -> datetime:
    return WALL_CLOCK - timedelta(hours=hours)
