"""What was not understood, made ready to be kept: without photographs and templates, and all else as it came."""

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from attendance.errors import CannotBeKept
from attendance.records.unread import UnreadRequest
from producers.devices.common.bodies import read_query
from producers.devices.contract import Head, PushRequest
from producers.pictures import cut, unpacked, without_binary

_SECRET: Final = ("auth", "cookie", "token", "secret", "key", "pass", "session", "sign", "forwarded", "real-ip")
_KEPT: Final = frozenset({"date", "user-agent"})
_KEPT_PREFIXES: Final = ("content-", "x-")


def ready(request: UnreadRequest, *, in_part: bool = False) -> UnreadRequest:
    """The request as it may be published, with its id.

    Args:
        request: As it came.
        in_part: Whether what is no text may be left out, where it cannot be told what it is.

    Raises:
        CannotBeKept: it cannot be told, and nothing may be left out.
    """
    headers, body = kept_headers(request.headers), request.body
    found = cut(body, headers.get("content-type", ""))
    if not found.is_text:
        if not in_part:
            raise CannotBeKept(f"{request.device_id}: {len(body)} bytes hold what is neither text nor a known picture")
        found = without_binary(found)
    removed = (*request.removed, *found.removed)
    return replace(request, headers=headers, body=found.data, removed=removed).with_id()


def unpacked_body(body: bytes, headers: Mapping[str, str]) -> tuple[bytes, Mapping[str, str]]:
    """The content of a body that is compressed, with the headers that it then has; otherwise both as they are.

    Args:
        body: The body.
        headers: Their names in lower case.
    """
    content = unpacked(body, headers.get("content-encoding", ""))
    if content is None:
        return body, headers
    return content, {name: value for name, value in headers.items() if name != "content-encoding"}


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Those headers that say how a body is to be read, and the vendor's own; none that opens anything.

    Args:
        headers: Their names in lower case.
    """
    return {
        name: value
        for name, value in headers.items()
        if (name in _KEPT or name.startswith(_KEPT_PREFIXES)) and not any(word in name for word in _SECRET)
    }


def request_of(unread: UnreadRequest) -> PushRequest:
    """What the adapter was given when the request came, but for what was cut out.

    Args:
        unread: The whole request.
    """
    head = Head(unread.method, unread.route, unread.params, read_query(unread.query), unread.headers)
    return PushRequest(head, unread.body, unread.received_at)
