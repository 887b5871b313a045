"""A request that was not understood: as it is kept, and how often it may be refused because it cannot be."""

import re
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Final, NamedTuple
from urllib.parse import quote, unquote_plus

import structlog
from msgspec.structs import replace

from attendance.errors import InvalidRecord
from attendance.fleet import Device
from attendance.logs import Seldom
from attendance.records.dead_letter import MAX_MESSAGE
from attendance.records.unread import UnreadRequest
from producers.devices.common.listed import KeptRequest, ListingAdapter
from producers.devices.contract import Head, PushAdapter, PushRequest, Sender
from producers.unread import unpacked_body

log = structlog.get_logger(__name__)

REFUSALS: Final = 10
"""So often a terminal may try to get rid of what cannot be kept, before the rest of it is kept."""
MOST_REFUSALS: Final = 50
"""So often it may try at one address, though in other bytes each time."""
_MOST: Final = 50_000
"""A fleet may get a firmware all at once, and each terminal then counts for itself."""
_SHORTEST_TOKEN: Final = 8
_WIDE: Final = ("utf-16-le", "utf-16-be")


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


def unread_request(
    adapter: PushAdapter, came: Came, device: Device, error: InvalidRecord, seldom: Seldom
) -> UnreadRequest:
    """The request with the device's id where a token was. Pictures are still in it, and it has no id yet.

    Args:
        adapter: The one that did not understand it.
        came: The request.
        device: The device under whose id it is kept.
        error: Why it was not understood.
        seldom: Limits what is logged of an adapter that fails.
    """
    head, sender = came.request.head, came.sender
    # A request may have one in its head that counts, and another in its address that does not.
    hidden = _Hidden((sender.token, head.params.get("token"), head.query.get("token")), device.device_id)
    body, headers = unpacked_body(came.request.body, head.headers)
    query, removed = came.query, []
    kept = _listed(adapter, replace(head, headers=headers), body, query, seldom)
    if kept is not None:
        body, query = kept.body, kept.query
        # The adapter has read it, so it is not encoded, whatever the header says.
        headers = {name: value for name, value in headers.items() if name != "content-encoding"}
        if kept.left_out:
            removed.append(f"{kept.left_out} values of fields that are not on the list of {adapter.name}")
    if came.missing:
        removed.append(f"the end, {came.missing} bytes")
    return UnreadRequest(
        unread_id="-",
        device_id=device.device_id,
        site=device.site,
        adapter=adapter.name,
        adapter_version=adapter.version,
        transport="push",
        received_at=came.request.received_at,
        reason=error.reason,
        message=hidden.in_text(error.message)[:MAX_MESSAGE],
        body=hidden.in_body(body),
        method=head.method,
        path=hidden.in_text(came.path),
        route=head.route,
        params={name: hidden.in_text(value) for name, value in head.params.items()},
        query=hidden.in_query(query),
        headers={name: hidden.in_text(value) for name, value in headers.items()},
        removed=tuple(removed),
        devices=tuple(came.devices),
    )


def _listed(adapter: PushAdapter, head: Head, body: bytes, query: str, seldom: Seldom) -> KeptRequest | None:
    """The request by the adapter's list of fields; None where it has no such list, or does not know the request."""
    if not isinstance(adapter, ListingAdapter):
        return None
    try:
        return adapter.kept_request(head, body, query)
    except InvalidRecord:
        return None
    except Exception as error:  # noqa: BLE001 - logged by `seldom`
        # What an adapter fails on has to be kept nevertheless.
        seldom.say(
            ("listing", adapter.name, type(error).__name__),
            log.error,
            "An adapter failed to list the fields of a request.",
            exc_info=True,
            adapter=adapter.name,
        )
        return None


class _Hidden:
    """Puts the device's id where a token is. A token of a few letters stands in many words."""

    def __init__(self, tokens: Iterable[str | None], device_id: str) -> None:
        found = {each for each in tokens if each}
        self._short = {each for each in found if len(each) < _SHORTEST_TOKEN}
        # The longest first: one token may begin as another does.
        self._long = sorted(found - self._short, key=len, reverse=True)
        self._spelled = re.compile(b"|".join(_spellings(each) for each in self._long)) if self._long else None
        self._device_id = device_id

    def in_text(self, text: str) -> str:
        if self._short:
            text = "/".join(self._device_id if each in self._short else each for each in text.split("/"))
        return self._in_bytes(text.encode(errors="surrogatepass")).decode(errors="surrogatepass")

    def in_query(self, query: str) -> str:
        return "&".join(self._in_pair(pair) for pair in query.split("&"))

    def in_body(self, data: bytes) -> bytes:
        for token in self._long:
            for encoding in _WIDE:
                data = data.replace(token.encode(encoding, "surrogatepass"), self._device_id.encode(encoding))
        return self._in_bytes(data)

    def _in_bytes(self, data: bytes) -> bytes:
        device_id = self._device_id.encode()
        for token in self._long:
            data = data.replace(token.encode(errors="surrogatepass"), device_id)
        if self._spelled is None or not (b"%" in data or b"\\" in data):
            return data
        return self._spelled.sub(lambda _: device_id, data)

    def _in_pair(self, pair: str) -> str:
        name, equals, value = pair.partition("=")
        if unquote_plus(value, "latin-1") in self._short:
            return f"{name}{equals}{quote(self._device_id)}"
        return self._in_bytes(pair.encode("latin-1")).decode("latin-1")


def _spellings(token: str) -> bytes:
    """Matches a token in each spelling that it may have in an address, in a form or in JSON."""
    return b"".join(
        rb"(?:%b|(?i:%%(?:25)*+%02x|\\{1,4}+u00%02x)|\\{1,4}+%b)" % (re.escape(each), each[0], each[0], re.escape(each))
        for each in (bytes([byte]) for byte in token.encode(errors="surrogatepass"))
    )


def _digest(what: tuple[object, ...]) -> bytes:
    digest = blake2b(digest_size=16)
    for each in what:
        digest.update(each if isinstance(each, bytes) else str(each).encode(errors="replace"))
        digest.update(b"\0")
    return digest.digest()
