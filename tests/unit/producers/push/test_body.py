"""The body of a request is read within limits, and only where its sender is known."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from pushing import (
    PUNCH,
    TOKEN,
    Bench,
    batch,
    call,
    refusal,
)

from virtual_time import run_in_virtual_time


async def chunks(body: bytes, size: int = 100) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def padded(length: int) -> bytes:
    body = batch(PUNCH)
    return body + b" " * (length - len(body))


@pytest.mark.parametrize("length", [None, "5", "999999999"])
def test_the_body_of_an_unknown_sender_is_not_read(bench: Bench, length: str | None) -> None:
    async def receive() -> dict[str, Any]:
        return pytest.fail("the body was read")

    headers = [] if length is None else [(b"content-length", length.encode())]
    assert asyncio.run(call(bench, receive, *headers)) == (401, refusal("unknown_device"))


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_the_limit_is_taken_and_one_byte_more_is_not(tmp_path: Path, chunked: bool) -> None:  # noqa: FBT001 - a parameter of the test
    bench = Bench(tmp_path, max_body=1024)

    async def send(body: bytes) -> httpx.Response:
        return await bench.send(chunks(body) if chunked else body)

    assert asyncio.run(send(padded(1024))).status_code == 200
    refused = asyncio.run(send(padded(1025)))
    assert (refused.status_code, refused.json()) == (413, refusal("body_too_large"))
    assert len(bench.kafka.records) == 1


def test_a_body_that_says_it_is_too_large_is_not_read(bench: Bench) -> None:
    async def receive() -> dict[str, Any]:
        return pytest.fail("the body was read")

    headers = [(b"x-device-token", TOKEN.encode()), (b"content-length", b"1048577")]
    assert asyncio.run(call(bench, receive, *headers)) == (413, refusal("body_too_large"))


def test_a_body_without_end_is_not_read_beyond_the_limit(bench: Bench) -> None:
    received = 0

    async def receive() -> dict[str, Any]:
        nonlocal received
        received += 60_000
        return {"type": "http.request", "body": b" " * 60_000, "more_body": True}

    answer = asyncio.run(call(bench, receive, (b"x-device-token", TOKEN.encode())))
    assert answer == (413, refusal("body_too_large"))
    assert received < bench.settings.max_body + 2 * 60_000


def test_a_body_that_drips_is_given_up(bench: Bench) -> None:
    async def receive() -> dict[str, Any]:
        await asyncio.sleep(1)
        return {"type": "http.request", "body": b" ", "more_body": True}

    answer = run_in_virtual_time(call(bench, receive, (b"x-device-token", TOKEN.encode())))
    assert answer == (408, refusal("body_too_slow"))
    assert not bench.kafka.records


def test_a_client_that_goes_away_in_the_middle_leaves_nothing(bench: Bench, logged: list[Mapping[str, Any]]) -> None:
    messages = [
        {"type": "http.disconnect"},
        {"type": "http.request", "body": batch(PUNCH), "more_body": True},
    ]

    async def receive() -> dict[str, Any]:
        return messages.pop()

    asyncio.run(call(bench, receive, (b"x-device-token", TOKEN.encode())))
    assert not bench.kafka.records
    assert {entry["log_level"] for entry in logged} == {"debug"}
