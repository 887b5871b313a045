"""What was not understood, made ready to be kept: without pictures, templates and names, and all else as it came."""

import re
from collections.abc import Collection, Mapping
from typing import Any, Final
from urllib.parse import quote_plus, unquote_plus

from msgspec.structs import replace

from attendance.errors import CannotBeKept
from attendance.personal import is_cut_out, plain
from attendance.records.unread import UnreadRequest
from producers.devices.common.bodies import read_query
from producers.devices.contract import Head, PushRequest
from producers.named_fields import without_personal
from producers.pictures import Cut, cut, length_of, redact, unpacked, without_binary
from producers.shapes import is_no_text

_SECRET: Final = ("auth", "cookie", "token", "secret", "key", "pass", "session", "sign", "forwarded", "real-ip")
_KEPT: Final = frozenset({"date", "user-agent"})
_KEPT_PREFIXES: Final = ("content-", "x-")
_MOST_REMOVED: Final = 20
"""Things of which it is said that they were cut out; there may be any number."""
_SHORT: Final = 64  # characters, in which no picture is
_DEEPEST: Final = 4  # times that a body may be compressed
_NO_ENCODING: Final = frozenset({"identity", "none", "chunked", "binary", "7bit", "8bit"})
"""What some write as a content encoding that is none."""
# How a body begins that is not encoded: a document, parts, a line with tabs, or a form.
_READABLE: Final = re.compile(rb"\s*+(?:[{\[<]|--|[^\t\r\n]{0,256}\t|~?[\w.%\[\]-]{1,64}=[^=\s])")
_OF_ROWS: Final = {"file": ("names",)}
"""What the body of a row is written with by us, beside its cells: the names of its columns."""


def ready(request: UnreadRequest, *, in_part: bool = False, options: Mapping[str, Any] | None = None) -> UnreadRequest:
    """The request as it may be published, with its id.

    Args:
        request: As it came.
        in_part: Whether what is no text may be left out, where it cannot be told what it is.
        options: Those of the device's entry: a field that they name is one of the user or the time, and stays.

    Raises:
        CannotBeKept: it cannot be told, and nothing may be left out.
    """
    headers, body = kept_headers(request.headers), request.body
    encoding = _unknown_encoding(request.headers.get("content-encoding", ""), body)
    if encoding and not in_part:
        raise CannotBeKept(f"{request.device_id}: {len(body)} bytes are encoded as {encoding!r}, which is not known")
    if encoding:
        found = Cut(length_of(body), (f"what is encoded as {encoding!r}, {len(body)} bytes",))
    else:
        found = cut(body, headers.get("content-type", ""))
    if not found.is_text:
        if not in_part:
            raise CannotBeKept(f"{request.device_id}: {len(body)} bytes hold what is neither text nor a known picture")
        found = without_binary(found)
    removed = (*request.removed, *found.removed)
    if len(removed) > _MOST_REMOVED:
        removed = (*removed[:_MOST_REMOVED], f"{len(removed) - _MOST_REMOVED} more")
    return replace(
        request,
        headers=headers,
        body=without_personal(found.data, {*_names(options or request.options), *_OF_ROWS.get(request.transport, ())}),
        message=_short(request.message),
        path="/".join(map(_short, request.path.split("/"))),
        params={name: _short(value) for name, value in request.params.items()},
        query=_kept_query(request.query),
        removed=removed,
    ).with_id()


def _names(options: object) -> Collection[str]:
    """The names in the options of an entry, as they are compared."""
    match options:
        case str():
            return {plain(each) for each in options.split(".")}
        case Mapping():
            return {name for each in options.values() for name in _names(each)}
        case list() | tuple():
            return {name for each in options for name in _names(each)}
    return frozenset()


def _unknown_encoding(header: str, body: bytes) -> str:
    """How a body is encoded, where that is not known: whatever it holds cannot be found in it. Empty otherwise.

    Some terminals write an encoding of letters there, or one that the body does not have.
    """
    encodings = [each for each in map(str.strip, header.lower().split(",")) if each and not _is_of_text(each)]
    if not encodings or not body.strip():
        return ""
    if _READABLE.match(body) and not is_no_text(body.decode(errors="replace")):
        return ""
    return ", ".join(encodings)[:_SHORT]


def _is_of_text(encoding: str) -> bool:
    if encoding in _NO_ENCODING:
        return True
    try:
        "".encode(encoding)
    except (LookupError, ValueError):
        return False
    return True


def _short(text: str) -> str:
    """A text without pictures, and without what is no text. Of a header, each byte may be a letter."""
    if len(text) < _SHORT:
        return text
    try:
        meant = text.encode("latin-1").decode()
    except UnicodeError:
        meant = text
    data = text.encode(errors="surrogatepass")
    return (length_of(data) if is_no_text(meant) else redact(data)).decode(errors="replace")


def _kept_query(query: str) -> str:
    """A query without what is never kept, by its names and by what its values are."""
    pairs = []
    for pair in query.split("&"):
        name, equals, value = pair.partition("=")
        if value and is_cut_out(unquote_plus(name)):
            value = ""
        elif len(value) >= _SHORT:
            meant = unquote_plus(value, "latin-1").encode("latin-1")
            is_text = not is_no_text(meant.decode(errors="replace"))
            kept = without_personal(redact(meant)) if is_text else length_of(meant)
            value = value if kept == meant else quote_plus(kept)
        pairs.append(f"{name}{equals}{value}")
    return "&".join(pairs)


def unpacked_body(body: bytes, headers: Mapping[str, str]) -> tuple[bytes, Mapping[str, str]]:
    """The content of a body that is compressed, with the headers that it then has; otherwise both as they are.

    Args:
        body: The body.
        headers: Their names in lower case.
    """
    encodings = [each.strip() for each in headers.get("content-encoding", "").lower().split(",") if each.strip()]
    content = body
    for _ in range(_DEEPEST):
        found = unpacked(content, encodings[-1] if encodings else "")
        if found is None:
            break
        content, encodings = found, encodings[:-1]
    if content is body:
        return body, headers
    kept = {name: value for name, value in headers.items() if name != "content-encoding"}
    return content, {**kept, "content-encoding": ", ".join(encodings)} if encodings else kept


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Those headers that say how a body is to be read, and the vendor's own; none that opens anything or names anybody.

    Args:
        headers: Their names in lower case.
    """
    return {
        name: _short(value)
        for name, value in headers.items()
        if (name in _KEPT or name.startswith(_KEPT_PREFIXES))
        and not any(word in name for word in _SECRET)
        and not is_cut_out(name.removeprefix("x-"))
    }


def request_of(unread: UnreadRequest) -> PushRequest:
    """What the adapter was given when the request came, but for what was cut out.

    Args:
        unread: The whole request.
    """
    head = Head(unread.method, unread.route, unread.params, read_query(unread.query), unread.headers)
    return PushRequest(head, unread.body, unread.received_at)
