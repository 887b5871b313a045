"""Which requests are given up where too much is being received at a time."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pushing import PUNCH, TOKEN, Bench, batch, call, refusal

from attendance.errors import Overloaded
from producers.push.receiving import Receiving


def test_the_sender_that_has_the_most_loses_what_it_began_first() -> None:
    room = Receiving(100, 100)
    lost: list[str] = []
    share = {}
    for name, address, size in [("a", "10.0.0.2", 40), ("t", "10.0.0.1", 20), ("b", "10.0.0.2", 40)]:
        share[name] = room.begin(address)
        share[name].interrupt = lambda name=name: lost.append(name)
        share[name].take(size)
    share["t"].take(5)
    assert lost == ["a"]
    assert room.bytes == 65
    with pytest.raises(Overloaded):
        share["a"].take(1)
    assert room.bytes == 65


def test_what_is_whole_is_not_lost_and_nothing_more_is_begun() -> None:
    room = Receiving(100, 100)
    first, second = room.begin("10.0.0.1"), room.begin("10.0.0.2")
    first.take(90)
    first.whole()
    with pytest.raises(Overloaded):
        second.take(20)
    assert room.bytes == 90
    first.release()
    first.release()
    second.take(20)
    assert room.bytes == 20


def test_what_alone_is_larger_than_the_room_is_taken() -> None:
    room = Receiving(100, 50)
    share = room.begin("10.0.0.1")
    share.take(60)
    share.take(60)
    other = room.begin("10.0.0.1")
    with pytest.raises(Overloaded):
        share.take(1), other.take(1), share.take(1)


def test_one_sender_has_no_more_than_it_may_and_takes_it_from_itself() -> None:
    room = Receiving(1000, 50)
    mine = [room.begin("10.0.0.2") for _ in range(3)]
    theirs = room.begin("10.0.0.1")
    theirs.take(50)
    for each in mine:
        each.take(20)
    assert [each.lost for each in mine] == [True, False, False]
    assert not theirs.lost


def test_many_small_senders_keep_what_they_have_while_a_large_one_has_more() -> None:
    room = Receiving(10_000, 10_000)
    small = [room.begin(f"10.0.{number // 200}.{number % 200}") for number in range(400)]
    for each in small:
        each.take(10)
    large = [room.begin("192.0.2.1") for _ in range(100)]
    for each in large:
        try:
            each.take(100)
        except Overloaded:
            continue
    assert not any(each.lost for each in small)
    assert room.bytes <= 10_000


def body_of(chunks: list[bytes | asyncio.Event]) -> Any:
    messages = iter(chunks)

    async def receive() -> dict[str, Any]:
        chunk = next(messages)
        if isinstance(chunk, asyncio.Event):
            await chunk.wait()
            chunk = next(messages)  # type: ignore[assignment]
        return {"type": "http.request", "body": chunk, "more_body": chunk != b"end"}

    return receive


HEADERS = [(b"x-device-token", TOKEN.encode())]


def test_a_body_that_is_given_up_is_asked_for_again_and_its_connection_closed(tmp_path: Path) -> None:
    bench = Bench(tmp_path, max_receiving=65_536)
    never = asyncio.Event()

    async def story() -> tuple[tuple[int, Any], int]:
        slow = asyncio.create_task(call(bench, body_of([b"x" * 40_000, never]), *HEADERS))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        share = bench.app.receiving.begin("192.0.2.9")
        share.take(30_000)
        return await slow, bench.app.receiving.bytes

    (answer, bytes_left) = asyncio.run(story())
    assert answer == (503, refusal("overloaded"))
    assert bytes_left == 30_000


def test_nothing_is_held_of_a_request_that_has_its_answer(tmp_path: Path) -> None:
    bench = Bench(tmp_path, max_body=1024)
    assert bench.post(batch(PUNCH))[0] == 200
    assert bench.post(b"{")[0] == 400
    assert bench.post(b" " * 2000)[0] == 413
    assert bench.post(batch(PUNCH), token="nobody")[0] == 401
    bench.kafka.away = True
    assert bench.post(batch(PUNCH))[0] == 503
    assert bench.app.receiving.bytes == 0
    assert "punchstream_receiving_bytes 0.0" in bench.exposition()
