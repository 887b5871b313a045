"""A body of lines goes to Kafka as it arrives, and is acknowledged when all of it is there."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pushing import Bench
from starlette.requests import ClientDisconnect

from attendance.errors import InvalidRecord, Reason
from producers.push.body import PART, read_lines
from producers.push.receiving import Receiving, Share
from virtual_time import run_in_virtual_time

LOG = "/iclock/cdata?SN=SN1&table=ATTLOG&Stamp=812"


def room() -> Share:
    return Receiving(10**9, 10**9).begin("192.0.2.7")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def lines(count: int, first: int = 0) -> bytes:
    return b"".join(
        b"%06d\t2026-03-%02d %02d:%02d:%02d\t0\t15\t0\t0\t0\r\n"
        % (number % 997 + 1, number // 2000 % 28 + 1, number // 3600 % 24, number // 60 % 60, number % 60)
        for number in range(first, first + count)
    )


async def arriving(*parts: bytes | Callable[[], None], size: int = 65_536) -> AsyncIterator[bytes]:
    for part in parts:
        if callable(part):
            part()
        else:
            for start in range(0, len(part), size):
                yield part[start : start + size]


def post(bench: Bench, body: bytes | AsyncIterator[bytes], path: str = LOG) -> httpx.Response:
    return asyncio.run(bench.request("POST", path, content=body))


def stamp(bench: Bench) -> str:
    answer = asyncio.run(bench.request("GET", "/iclock/cdata?SN=SN1&options=all")).text
    return dict(line.split("=", 1) for line in answer.splitlines() if "=" in line)["ATTLOGStamp"]


@pytest.mark.parametrize(("count", "chunked"), [(23_000, False), (30_000, True)])
def test_a_whole_memory_is_taken_in_one_post(bench: Bench, count: int, chunked: bool) -> None:  # noqa: FBT001 - a parameter
    body = lines(count)
    response = post(bench, arriving(body) if chunked else body)
    assert (response.status_code, response.text) == (200, f"OK: {count}")
    written = [line.split(b"\t")[:2] for line in body.splitlines()]
    assert [
        [event.device_user_id.encode(), (event.device_time or "").encode()] for event in bench.kafka.events()
    ] == written
    assert stamp(bench) == "812"


def test_many_short_lines_are_none_too_many(bench: Bench) -> None:
    assert post(bench, b"1\t1772438400\n" * 21_000).text == "OK: 21000"
    assert len(bench.kafka.events()) == 21_000


def test_what_kafka_has_in_part_is_not_acknowledged(bench: Bench) -> None:
    def away() -> None:
        bench.kafka.away = True

    response = post(bench, arriving(lines(8_000), away, lines(8_000, 8_000)))
    assert response.status_code == 503
    assert 0 < len(bench.kafka.events()) < 16_000
    assert stamp(bench) == "0"
    bench.kafka.away = False
    assert post(bench, lines(16_000)).text == "OK: 16000"
    assert len({event.event_id for event in bench.kafka.events()}) == 16_000


def test_what_cannot_be_read_of_it_is_kept_and_the_rest_is_read(bench: Bench) -> None:
    response = post(bench, lines(8_000) + b"garbage\n" + lines(5_000, 8_000))
    assert response.text == "OK: 13001"
    assert len(bench.kafka.events()) == 13_000
    assert [letter.reason for letter in bench.kafka.dead_letters()] == ["invalid_event"]


def test_a_part_that_is_of_no_table_does_not_end_the_others(bench: Bench) -> None:
    response = post(bench, b"something else\n" * 20_000 + lines(5_000), "/iclock/cdata?SN=SN1")
    assert response.status_code == 200
    assert len(bench.kafka.events()) == 5_000
    assert {letter.reason for letter in bench.kafka.dead_letters()} >= {"unreadable_body"}


@pytest.mark.parametrize(
    "path",
    [
        "/iclock/cdata?SN=SN1&table=ATTPHOTO",
        "/iclock/fdata?SN=SN1",
        "/iclock/cdata?SN=SN1&table=tabledata&tablename=transaction",
    ],
)
def test_what_is_not_read_by_lines_has_the_limit_of_all_others(tmp_path: Path, path: str) -> None:
    bench = Bench(tmp_path, max_body=50_000)
    assert post(bench, lines(2_000), path).status_code == 413
    assert post(bench, lines(2_000)).text == "OK: 2000"


def test_beyond_its_own_limit_it_is_refused_before_it_is_read(tmp_path: Path) -> None:
    bench = Bench(tmp_path, max_body=1024)
    assert post(bench, lines(2_000)).status_code == 413
    assert post(bench, arriving(lines(2_000))).status_code == 413
    assert post(bench, lines(1_600)).text == "OK: 1600"


def parts_of(chunks: list[bytes], **limits: Any) -> list[bytes]:
    async def read() -> list[bytes]:
        messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
        messages.append({"type": "http.request"})
        received = iter(messages)

        async def receive() -> dict[str, Any]:
            return next(received)

        return [part async for part in read_lines(receive, "", limits.get("limit", 10**8), 30, room())]

    return asyncio.run(read())


@given(st.lists(st.binary(max_size=50) | st.sampled_from([b"\r\n", b"\n" * 12_000, b"x" * PART, b"1\t2\n" * 70_000])))
@settings(deadline=None, max_examples=50)
def test_the_parts_are_the_body_and_end_with_a_line(chunks: list[bytes]) -> None:
    parts = parts_of(chunks)
    assert b"".join(parts) == b"".join(chunks)
    assert all(len(part) <= PART and part.count(b"\n") + part.count(b"\r") <= 10_000 for part in parts)
    assert all(part.endswith((b"\r", b"\n")) or len(part) == PART for part in parts[:-1])


def test_a_client_that_goes_away_or_does_not_go_on_is_given_up() -> None:
    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def silent() -> dict[str, Any]:
        await asyncio.sleep(3600)
        return {}

    async def read(receive: Any) -> None:
        async for _ in read_lines(receive, "", 1024, 30, room()):
            pass

    with pytest.raises(ClientDisconnect):
        asyncio.run(read(gone))
    with pytest.raises(InvalidRecord) as caught:
        run_in_virtual_time(read(silent))
    assert caught.value.reason is Reason.BODY_TOO_SLOW
