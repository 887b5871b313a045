"""HTTP as pull adapters speak it: an answer that is worth reading, or the one error that says what to do about it."""

import ssl
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any, Final
from xml.etree.ElementTree import Element

import httpx

from attendance.errors import ConfigurationError, DeviceRefused, DeviceUnavailable, InvalidRecord, UnreadableAnswer
from attendance.fleet import Device
from attendance.times import read_retry_after
from producers.devices.common.bodies import read_document, read_json, read_xml
from producers.devices.common.options import HttpOptions

MAX_ANSWER: Final = 8 * 1024 * 1024
"""Bytes of an answer: far more than a page of records takes."""

_NOT_NOW: Final = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer, whole. `asked` names the device and the question, for messages; names of headers are in lower case."""

    asked: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:  # noqa: ANN401 - the caller knows what it asked for
        """What the body says as JSON. See `bodies.read_json`.

        Raises:
            UnreadableAnswer: it is none, or nothing but part of one.
        """
        try:
            return read_json(self.body)
        except InvalidRecord as error:
            raise UnreadableAnswer(f"{self.asked}: {error.message}") from error

    def document(self) -> object:
        """What the body says as JSON or XML. See `bodies.read_document`.

        Raises:
            UnreadableAnswer: it is neither, or nothing but part of one.
        """
        try:
            return read_document(self.body)
        except InvalidRecord as error:
            raise UnreadableAnswer(f"{self.asked}: {error.message}") from error

    def xml(self) -> Element:
        """The body's root element.

        Raises:
            UnreadableAnswer: it is no XML, is cut off, or has entities of its own, which no device needs.
        """
        try:
            return read_xml(self.body)
        except InvalidRecord as error:
            raise UnreadableAnswer(f"{self.asked}: {error.message}") from error

    def text(self) -> str:
        """The body as UTF-8; what is none is replaced by U+FFFD."""
        return self.body.decode(errors="replace")


def create_client(*, connect_seconds: float, answer_seconds: float, cafile: Path | None) -> httpx.AsyncClient:
    """The one client of all devices: no proxies, no redirects, no cookies.

    Args:
        connect_seconds: How long a connection may take.
        answer_seconds: How long a device may be silent in the middle of an exchange.
        cafile: Certificates to trust instead of the system's own.

    Raises:
        ConfigurationError: the certificates cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=cafile)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"PULL_SSL_CAFILE: {error}") from error
    return httpx.AsyncClient(
        verify=context,
        trust_env=False,
        timeout=httpx.Timeout(answer_seconds, connect=connect_seconds),
        # Whoever asks bounds how many ask at a time. A device is asked again only after longer than any would wait.
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=5),
        # Devices behind one address would be sent one another's, and thousands of them would add up.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )


async def ask(
    http: httpx.AsyncClient,
    device_id: str,
    method: str,
    url: httpx.URL | str,
    *,
    headers: Mapping[str, str] | None = None,
    limit: int = MAX_ANSWER,
    accept: Collection[int] = (),
    **options: Any,
) -> HttpAnswer:
    """The answer to one request, when all of it is there and its status says that it is worth reading.

    Args:
        http: The client; it follows no redirects.
        device_id: Who is asked. Messages name it, and of the address nothing but the path: a query may hold a secret.
        method: The request's method.
        url: The whole address.
        headers: Sent beside the client's own.
        limit: Bytes of the body, at most.
        accept: Further statuses, beside 2xx, that the caller reads for itself.
        options: What else `httpx.AsyncClient.stream` takes: `params`, `content`, `data`, `json`, `auth`.

    Raises:
        DeviceUnavailable: no answer, half of one, or one that says "not now" (408, 425, 429, 5xx).
        DeviceRefused: 401 or 403; a redirect; an address or credential that cannot be sent.
        UnreadableAnswer: any other status, or a body that is larger than the limit, or compressed unasked.
    """
    asked = device_id
    try:
        asked = f"{device_id}: {method} {httpx.URL(url).path}"
        # What unpacks to more than memory holds is not even begun with.
        sent = {"accept-encoding": "identity", **(headers or {})}
        async with http.stream(method, url, headers=sent, **options) as response:
            if not (response.is_success or response.status_code in accept):
                raise _failure(asked, response)
            body = await _read(asked, response, limit)
            return HttpAnswer(asked, response.status_code, dict(response.headers), body)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError, UnicodeError) as error:
        # Nothing was sent. The error's own words may hold the address or a header, and so a secret.
        raise DeviceRefused(f"{asked}: its entry makes no request: {type(error).__name__}") from error
    except httpx.HTTPError as error:
        raise DeviceUnavailable(f"{asked}: {type(error).__name__}") from error


async def _read(asked: str, response: httpx.Response, limit: int) -> bytes:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise UnreadableAnswer(f"{asked}: the answer is compressed, which nobody asked for")
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > limit:
            raise UnreadableAnswer(f"{asked}: the answer is larger than {limit} bytes")
    return bytes(body)


def _failure(asked: str, response: httpx.Response) -> DeviceRefused | DeviceUnavailable:
    status = response.status_code
    if status in (401, 403):
        return DeviceRefused(f"{asked}: {status}: it does not take these credentials")
    if response.is_redirect:
        return DeviceRefused(f"{asked}: {status}: it sends us elsewhere, where its credentials do not belong")
    if status >= 500 or status in _NOT_NOW:
        return DeviceUnavailable(f"{asked}: {status}", read_retry_after(response.headers.get("retry-after", "")))
    return UnreadableAnswer(f"{asked}: {status}")


def base_url(device: Device, options: HttpOptions, port: int | None = None) -> httpx.URL:
    """Where an entry's `host` and `port` are.

    Args:
        device: The entry.
        options: Its options.
        port: The port where the entry names none; None for that of the scheme.

    Raises:
        DeviceRefused: it names no host, or none that could be one.
    """
    if device.host is None:
        raise DeviceRefused(f"{device.device_id}: its entry names no host")
    try:
        return httpx.URL(scheme="https" if options.tls else "http", host=device.host, port=device.port or port)
    except httpx.InvalidURL as error:
        raise DeviceRefused(f"{device.device_id}: host: {error}") from error
