import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from attendance.errors import ConfigurationError, DeviceRefused, DeviceUnavailable, UnreadableAnswer
from attendance.fleet import Device
from producers.devices.common.http import HttpAnswer, ask, base_url, create_client
from producers.devices.common.options import HttpOptions

SECRET = "swordfish"
URL = f"http://10.0.0.1:8090/records?pass={SECRET}"


def answered(respond: Callable[[httpx.Request], httpx.Response], **options: Any) -> HttpAnswer:
    """What `ask` makes of what the device responds."""

    async def scenario() -> HttpAnswer:
        async with httpx.AsyncClient(transport=httpx.MockTransport(respond)) as http:
            return await ask(http, "D1", "GET", URL, **options)

    return asyncio.run(scenario())


@asynccontextmanager
async def served(raw: bytes) -> AsyncIterator[str]:
    """A server that writes these bytes for an answer, and closes."""

    connections: set[asyncio.Task[Any]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(raw)
            await writer.drain()
        except asyncio.IncompleteReadError:
            pass  # it asked nothing
        finally:
            writer.close()
            await writer.wait_closed()

    async with await asyncio.start_server(connected, "127.0.0.1") as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/records"
        await asyncio.gather(*connections)


def over_the_wire(raw: bytes) -> HttpAnswer:
    async def scenario() -> HttpAnswer:
        async with served(raw) as url, create_client(connect_seconds=5, answer_seconds=5, cafile=None) as http:
            return await ask(http, "D1", "GET", url)

    return asyncio.run(scenario())


def test_an_answer_is_read_whole() -> None:
    answer = answered(lambda _: httpx.Response(200, content=b'\xef\xbb\xbf{"a": "\xc3\xa4"}', headers={"X-Date": "1"}))
    assert answer.json() == {"a": "ä"}
    assert answer.headers["x-date"] == "1"


@pytest.mark.parametrize("status", [401, 403, 301, 302, 307])
def test_credentials_that_are_not_taken_and_redirects_need_a_person(status: int) -> None:
    with pytest.raises(DeviceRefused, match=str(status)):
        answered(lambda _: httpx.Response(status, headers={"Location": "http://elsewhere/"}))


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_device_that_is_busy_is_asked_again(status: int) -> None:
    with pytest.raises(DeviceUnavailable) as raised:
        answered(lambda _: httpx.Response(status, headers={"Retry-After": "17"}))
    assert not isinstance(raised.value, UnreadableAnswer)
    assert raised.value.retry_after == 17


@pytest.mark.parametrize("status", [400, 404, 405, 418])
def test_any_other_status_cannot_be_read_unless_the_caller_does(status: int) -> None:
    with pytest.raises(UnreadableAnswer, match=str(status)):
        answered(lambda _: httpx.Response(status))
    assert answered(lambda _: httpx.Response(status), accept={status}).status == status


def test_an_answer_over_the_limit_is_not_read_to_its_end() -> None:
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1000
            yield b"x" * 1000

    with pytest.raises(UnreadableAnswer, match="larger than 5000"):
        answered(lambda _: httpx.Response(200, content=body()), limit=5000)
    assert read == 6000


def test_an_answer_is_asked_for_as_it_is_and_not_unpacked() -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        assert request.headers["accept-encoding"] == "identity"
        return httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(b"\x1f\x8b"))

    with pytest.raises(UnreadableAnswer, match="compressed"):
        answered(respond)


@pytest.mark.parametrize("error", [httpx.ConnectError, httpx.ReadTimeout, httpx.PoolTimeout, httpx.ReadError])
def test_a_device_that_does_not_answer_is_unavailable(error: type[httpx.TransportError]) -> None:
    def respond(_: httpx.Request) -> httpx.Response:
        raise error(f"cannot reach {URL}")

    with pytest.raises(DeviceUnavailable) as raised:
        answered(respond)
    assert str(raised.value) == f"D1: GET /records: {error.__name__}"


def test_an_answer_that_is_cut_off_is_none() -> None:
    with pytest.raises(DeviceUnavailable):
        over_the_wire(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[1, 2")


def test_cookies_of_one_device_are_not_kept() -> None:
    async def scenario() -> None:
        raw = b"HTTP/1.1 200 OK\r\nSet-Cookie: session=1\r\nContent-Length: 2\r\n\r\n[]"
        async with served(raw) as url, create_client(connect_seconds=5, answer_seconds=5, cafile=None) as http:
            await ask(http, "D1", "GET", url)
            assert not list(http.cookies.jar)

    asyncio.run(scenario())


@pytest.mark.parametrize("headers", [{"X-Token": "gr\xfc\u0142n"}, {"X-Token": "two\r\nlines"}])
def test_a_credential_that_cannot_be_sent_needs_a_person(headers: dict[str, str]) -> None:
    async def scenario() -> None:
        raw = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"
        async with served(raw) as url, create_client(connect_seconds=5, answer_seconds=5, cafile=None) as http:
            await ask(http, "D1", "GET", url, headers=headers)

    with pytest.raises(DeviceRefused) as raised:
        asyncio.run(scenario())
    assert "two" not in str(raised.value)


@pytest.mark.parametrize("url", ["ftp://10.0.0.1/", "http://[::1", "records"])
def test_an_address_that_cannot_be_asked_needs_a_person(url: str) -> None:
    async def scenario() -> None:
        async with create_client(connect_seconds=1, answer_seconds=1, cafile=None) as http:
            await ask(http, "D1", "GET", url)

    with pytest.raises(DeviceRefused):
        asyncio.run(scenario())


@pytest.mark.parametrize(
    "body",
    [b"", b"<a>", b"{}", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", b"<a>A<B</a>"],
)
def test_what_is_no_xml_or_expands_entities_cannot_be_read(body: bytes) -> None:
    with pytest.raises(UnreadableAnswer):
        HttpAnswer("D1: GET /", 200, {}, body).xml()


def test_xml_is_read() -> None:
    assert HttpAnswer("D1: GET /", 200, {}, "<a><b>ä</b></a>".encode()).xml().findtext("b") == "ä"


@pytest.mark.parametrize("body", [b"", b"[1, 2", b"NaN", b"<html>"])
def test_what_is_no_json_cannot_be_read(body: bytes) -> None:
    with pytest.raises(UnreadableAnswer):
        HttpAnswer("D1: GET /", 200, {}, body).json()


def test_certificates_that_are_not_there_stop_the_start() -> None:
    with pytest.raises(ConfigurationError, match="PULL_SSL_CAFILE"):
        create_client(connect_seconds=1, answer_seconds=1, cafile=Path("no-such-file.pem"))


def test_an_entry_says_where_its_device_is_and_whether_by_tls() -> None:
    entry = Device(device_id="D1", site="hq", timezone="UTC", mode="pull", host="192.0.2.7", port=8081)
    assert str(base_url(entry, HttpOptions())) == "http://192.0.2.7:8081"
    without_port = entry.model_copy(update={"port": None})
    assert str(base_url(without_port, HttpOptions(tls=True))) == "https://192.0.2.7"
    assert str(base_url(without_port, HttpOptions(), 8090)) == "http://192.0.2.7:8090"


@pytest.mark.parametrize("host", [None, "192.0.2.999"])
def test_an_entry_without_a_host_that_could_be_one_is_refused(host: str | None) -> None:
    with pytest.raises(DeviceRefused, match="D1"):
        base_url(Device(device_id="D1", site="hq", timezone="UTC").model_copy(update={"host": host}), HttpOptions())
