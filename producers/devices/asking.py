"""What every adapter that asks over HTTP has in common: an entry's address, and what went wrong by whom it concerns."""

from http import HTTPStatus
from typing import Any, Final

import httpx

from attendance.errors import DeviceRefused, DeviceUnavailable
from attendance.registry import Device

_NOT_NOW: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


def base_url(device: Device) -> httpx.URL:
    """Where an entry's `host` and `port` are; `options.tls` makes it HTTPS, checked against the authorities known.

    Raises:
        DeviceRefused: the entry names no host, or none that could be one.
    """
    if device.host is None:
        raise DeviceRefused(f"{device.device_id}: its entry names no host")
    try:
        scheme = "https" if device.options.get("tls") is True else "http"
        return httpx.URL(scheme=scheme, host=device.host, port=device.port)
    except (httpx.InvalidURL, ValueError) as error:
        raise DeviceRefused(f"{device.device_id}: host: {error}") from error


async def ask(
    http: httpx.AsyncClient,
    device: Device,
    method: str,
    url: httpx.URL,
    **request: Any,
) -> httpx.Response:
    """The whole answer to a request, whatever it says of it but "not now". Redirects are not followed.

    Raises:
        DeviceUnavailable: there is none, or it says that it cannot serve now.
    """
    try:
        response = await http.request(method, url, follow_redirects=False, **request)
    except httpx.HTTPError as error:
        raise DeviceUnavailable(f"{device.device_id}: {url.path}: {error or type(error).__name__}") from error
    if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR or response.status_code in _NOT_NOW:
        seconds = response.headers.get("retry-after", "")
        raise DeviceUnavailable(
            f"{device.device_id}: {url.path}: {response.status_code}", int(seconds) if seconds.isdecimal() else None
        )
    return response
