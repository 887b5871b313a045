"""A request that was not understood: as it is kept, and how often it may be refused because it cannot be."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Final, NamedTuple
from urllib.parse import quote, unquote_plus

from attendance.errors import InvalidRecord
from attendance.records.dead_letter import MAX_MESSAGE
from attendance.records.unread import UnreadRequest
from attendance.registry import Device
from producers.devices.contract import PushAdapter, PushRequest, Sender

REFUSALS: Final = 10
"""So often a terminal may try to get rid of what cannot be kept, before the rest of it is kept."""
_MOST: Final = 1_000
_SHORTEST_TOKEN: Final = 8


class Refusals:
    """How often the same was refused, of that which came last."""

    def __init__(self, enough: int = REFUSALS, most: int = _MOST) -> None:
        self._enough = enough
        self._most = most
        self._counts: dict[bytes, int] = {}

    def are_enough(self, *what: object) -> bool:
        """Whether this was refused so often that it may be no more."""
        return bool(self._counts) and self._counts.get(_digest(what), 0) >= self._enough

    def add(self, *what: object) -> int:
        """Count a refusal.

        Returns:
            How many there are of this.
        """
        digest = _digest(what)
        count = self._counts.pop(digest, 0) + 1
        self._counts[digest] = count
        if len(self._counts) > self._most:
            del self._counts[next(iter(self._counts))]
        return count


class Came(NamedTuple):
    """A request as it came. `path` has no escapes; `missing` is how many bytes at the end of its body were not read."""

    path: str
    query: str
    request: PushRequest
    sender: Sender
    devices: Mapping[str, Device]
    missing: int = 0


def unread_request(adapter: PushAdapter, came: Came, device: Device, error: InvalidRecord) -> UnreadRequest:
    """The request with the device's id where the sender's token was. Pictures are still in it, and it has no id yet.

    Args:
        adapter: The one that did not understand it.
        came: The request.
        device: The device under whose id it is kept.
        error: Why it was not understood.
    """
    head, hidden = came.request.head, _Hidden(came.sender.token or "", device.device_id)
    return UnreadRequest(
        unread_id="-",
        device_id=device.device_id,
        site=device.site,
        adapter=adapter.name,
        adapter_version=adapter.version,
        transport="push",
        received_at=came.request.received_at,
        reason=error.reason,
        message=error.message[:MAX_MESSAGE],
        body=hidden.in_bytes(came.request.body),
        method=head.method,
        path=hidden.in_text(came.path),
        route=head.route,
        params={name: hidden.in_text(value) for name, value in head.params.items()},
        query=hidden.in_query(came.query),
        headers={name: hidden.in_text(value) for name, value in head.headers.items()},
        removed=(f"the end, {came.missing} bytes",) if came.missing else (),
        devices=tuple(came.devices),
    )


class _Hidden:
    """Puts the device's id where the token is. A token of a few letters stands in many words."""

    def __init__(self, token: str, device_id: str) -> None:
        self._token = token
        self._device_id = device_id

    def in_text(self, text: str) -> str:
        if not self._token:
            return text
        if len(self._token) < _SHORTEST_TOKEN:
            return "/".join(self._device_id if each == self._token else each for each in text.split("/"))
        return text.replace(self._token, self._device_id)

    def in_query(self, query: str) -> str:
        return "&".join(self._in_pair(pair) for pair in query.split("&")) if self._token else query

    def in_bytes(self, data: bytes) -> bytes:
        if len(self._token) < _SHORTEST_TOKEN:
            return data
        return data.replace(self._token.encode(), self._device_id.encode())

    def _in_pair(self, pair: str) -> str:
        name, equals, value = pair.partition("=")
        read = unquote_plus(value, "latin-1")
        if self._token not in read or (len(self._token) < _SHORTEST_TOKEN and read != self._token):
            return pair
        return f"{name}{equals}{quote(read.replace(self._token, self._device_id), encoding='latin-1')}"


def _digest(what: tuple[object, ...]) -> bytes:
    digest = blake2b(digest_size=16)
    for each in what:
        digest.update(each if isinstance(each, bytes) else str(each).encode(errors="replace"))
        digest.update(b"\0")
    return digest.digest()
